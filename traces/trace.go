package traces

import (
	"errors"
	"io"
	"iter"
)

// Source delivers a trace in order.
type Source interface {
	// Header describes the trace. The caller does not change it.
	Header() *Header
	// Read fills up to len(p) events and returns how many. It returns 0 and io.EOF at the end, or 0 and
	// an error that names the place; events before the place were delivered by earlier calls. With an
	// empty p it returns 0 and nil.
	Read(p []Event) (int, error)
}

// Sink takes a trace in order.
type Sink interface {
	// Write takes all of p or returns an error; events with a time before that of their predecessor and
	// events that the format cannot hold are refused.
	Write(p []Event) error
	// Close completes the file. It does not close what is below.
	Close() error
}

// Trace is a trace in memory.
type Trace struct {
	Header Header
	Events []Event
}

// Source streams t. Several may be used at the same time.
func (t *Trace) Source() Source { return &memSource{t: t} }

type memSource struct {
	t    *Trace
	next int
}

func (s *memSource) Header() *Header { return &s.t.Header }

func (s *memSource) Read(p []Event) (int, error) {
	if s.next == len(s.t.Events) && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, s.t.Events[s.next:])
	s.next += n
	return n, nil
}

// batch is the number of events moved at a time: large enough to make the call free, small enough to
// stay in a cache.
const batch = 1024

// All iterates over the events of s. After an error it yields that error once, with a zero event.
func All(s Source) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		var buf [batch]Event
		for {
			n, err := s.Read(buf[:])
			for i := range buf[:n] {
				if !yield(buf[i], nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
		}
	}
}

// ReadAll reads the rest of s into memory. On an error it returns what came before, too.
func ReadAll(s Source) (*Trace, error) {
	t := &Trace{Header: *s.Header().Clone()}
	for e, err := range All(s) {
		if err != nil {
			return t, err
		}
		t.Events = append(t.Events, e)
	}
	return t, nil
}

// Copy moves every event from src to dst and returns how many. It does not close dst.
func Copy(dst Sink, src Source) (uint64, error) {
	var buf [batch]Event
	var total uint64
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if err := dst.Write(buf[:n]); err != nil {
				return total, err
			}
			total += uint64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
