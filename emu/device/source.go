package device

import "github.com/iommulab/iommulab/emu"

// Source yields the requests of a device in order.
type Source interface {
	// Next fills q with the next request and returns the earliest cycle at which it may be issued
	// (0: at once). ok is false if there is none at present; the player asks again when kicked.
	Next(q *emu.Request) (at uint64, ok bool)
}

// Func is a Source made of a function.
type Func func(q *emu.Request) (at uint64, ok bool)

// Next calls f.
func (f Func) Next(q *emu.Request) (uint64, bool) { return f(q) }

// Queue is a bounded first-in first-out Source.
type Queue struct {
	ring []queued
	head int
	n    int
}

type queued struct {
	Req emu.Request
	At  uint64
}

// NewQueue returns a queue for n requests.
func NewQueue(n int) *Queue { return &Queue{ring: make([]queued, max(n, 1))} }

// Len is the number of requests waiting.
func (s *Queue) Len() int { return s.n }

// Free is the number of requests that still fit.
func (s *Queue) Free() int { return len(s.ring) - s.n }

// Put appends a request that may be issued from cycle at on. It returns false if the queue is full.
func (s *Queue) Put(q *emu.Request, at uint64) bool {
	if s.n == len(s.ring) {
		return false
	}
	s.ring[(s.head+s.n)%len(s.ring)] = queued{*q, at}
	s.n++
	return true
}

// Next takes the oldest request.
func (s *Queue) Next(q *emu.Request) (uint64, bool) {
	if s.n == 0 {
		return 0, false
	}
	e := &s.ring[s.head]
	s.head = (s.head + 1) % len(s.ring)
	s.n--
	*q = e.Req
	return e.At, true
}

// Each calls f for every waiting request, oldest first.
func (s *Queue) Each(f func(q *emu.Request)) {
	for i := range s.n {
		f(&s.ring[(s.head+i)%len(s.ring)].Req)
	}
}

// Save appends the queue's content to e.
func (s *Queue) Save(e *emu.Encoder) {
	e.Section("device.Queue", 1)
	e.U64(uint64(s.n))
	for i := range s.n {
		e.Struct(&s.ring[(s.head+i)%len(s.ring)])
	}
}

// Restore reads back what Save wrote. The queue must be at least as large.
func (s *Queue) Restore(d *emu.Decoder) error {
	d.Section("device.Queue", 1)
	n := d.U64()
	if n > uint64(len(s.ring)) {
		d.Fail("%d requests do not fit a queue of %d", n, len(s.ring))
		return d.Err()
	}
	s.head, s.n = 0, int(n)
	for i := range s.n {
		d.Struct(&s.ring[i])
	}
	return d.Err()
}
