package device

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// bus is a unit that answers every request after latency cycles.
type bus struct {
	now     uint64
	client  timing.Client
	latency uint64
	room    int // requests it takes at one time, 0 = any number
	events  []event
	most    int
	flying  int
	issued  []uint64 // times
}

type event struct {
	at    uint64
	timer bool
	tag   uint32
	req   emu.Request
	since uint64
}

func (b *bus) Now() uint64                   { return b.now }
func (b *bus) AddClient(c timing.Client) int { b.client = c; return 7 }
func (b *bus) Timer(_ int, at uint64, arg uint32) {
	b.events = append(b.events, event{at: at, timer: true, tag: arg})
}

func (b *bus) Issue(dev, _ int, tag uint32, q *emu.Request) bool {
	if dev != 7 {
		panic("another device's number")
	}
	if b.room > 0 && b.flying == b.room {
		return false
	}
	b.flying++
	b.most = max(b.most, b.flying)
	b.issued = append(b.issued, b.now)
	b.events = append(b.events, event{at: b.now + b.latency, tag: tag, req: *q, since: b.now})
	return true
}

// run handles events in order of time until none is left or n have been handled.
func (b *bus) run(n int) {
	for ; len(b.events) > 0 && n > 0; n-- {
		first := 0
		for i := range b.events {
			if b.events[i].at < b.events[first].at {
				first = i
			}
		}
		e := b.events[first]
		b.events = append(b.events[:first:first], b.events[first+1:]...)
		b.now = e.at
		if e.timer {
			b.client.Timer(e.tag)
			continue
		}
		b.flying--
		b.client.Complete(&timing.Completion{Tag: e.tag, Request: &e.req, Result: &emu.Result{Status: emu.OK}, Issued: e.since, Done: b.now})
	}
}

const all = 1 << 30

func filled(n int, at func(i int) uint64) *Queue {
	q := NewQueue(n)
	for i := range n {
		q.Put(&emu.Request{Addr: emu.IOVA(i)}, at(i))
	}
	return q
}

func now(int) uint64 { return 0 }

func TestPlayer_KeepsOutstandingInFlightAndNoMore(t *testing.T) {
	b := &bus{latency: 10}
	var order []emu.IOVA
	p := NewPlayer(b, Config{Outstanding: 4}, filled(100, now), func(c *timing.Completion) { order = append(order, c.Request.Addr) })
	p.Kick()
	require.Equal(t, 4, p.InFlight())
	b.run(all)
	require.Equal(t, 4, b.most)
	require.EqualValues(t, 100, p.Completed())
	require.True(t, p.Idle())
	for i, a := range order {
		require.EqualValues(t, i, a)
	}
	require.EqualValues(t, 250, b.now, "100 requests, 4 at a time, 10 cycles each")
}

func TestPlayer_IssuesAtRecordedTimes(t *testing.T) {
	b := &bus{latency: 3}
	p := NewPlayer(b, Config{Outstanding: 8}, filled(20, func(i int) uint64 { return uint64(100 * i) }), nil)
	p.Kick()
	b.run(all)
	for i, at := range b.issued {
		require.EqualValues(t, 100*i, at)
	}
}

func TestPlayer_RateIsTheLeastDistance(t *testing.T) {
	b := &bus{latency: 3}
	p := NewPlayer(b, Config{Outstanding: 8, Interval: 25}, filled(20, now), nil)
	p.Kick()
	b.run(all)
	for i, at := range b.issued {
		require.EqualValues(t, 25*i, at)
	}
}

func TestPlayer_TriesAgainWhenTheIngressIsFull(t *testing.T) {
	b := &bus{latency: 10, room: 2}
	p := NewPlayer(b, Config{Outstanding: 8}, filled(30, now), nil)
	p.Kick()
	b.run(all)
	require.EqualValues(t, 30, p.Completed())
	require.Equal(t, 2, b.most)
}

func TestPlayer_EachSeesWhatHasLeftTheSource(t *testing.T) {
	b := &bus{latency: 10, room: 2}
	q := filled(10, now)
	p := NewPlayer(b, Config{Outstanding: 3}, q, nil)
	p.Kick() // two in flight, one held back
	var seen []emu.IOVA
	p.Each(func(q *emu.Request) { seen = append(seen, q.Addr) })
	require.ElementsMatch(t, []emu.IOVA{0, 1, 2}, seen)
	require.Equal(t, 7, q.Len())
}

func TestPlayer_RestoreGoesOn(t *testing.T) {
	for cut := range 40 {
		b := &bus{latency: 10, room: 3}
		p := NewPlayer(b, Config{Outstanding: 4, Interval: 2}, filled(20, func(i int) uint64 { return uint64(5 * i) }), nil)
		p.Kick()
		b.run(cut)
		p.Interrupt(vector)
		p.Interrupt(Message{Source: 0x109, Addr: 0xfee0_1000, Data: 0x42})
		var e emu.Encoder
		p.Save(&e)

		c := &bus{now: b.now, latency: b.latency, room: b.room, flying: b.flying, events: append([]event(nil), b.events...)}
		r := NewPlayer(c, Config{Outstanding: 4, Interval: 2}, NewQueue(20), nil)
		require.NoError(t, r.Restore(emu.NewDecoder(e.Bytes())))
		b.issued, c.issued = nil, nil
		b.run(all)
		c.run(all)
		require.Equal(t, b.issued, c.issued, "cut after %d events", cut)
		require.Equal(t, p.Completed(), r.Completed())
	}
}

func TestPlayer_RestoreRefusesWhatDoesNotFit(t *testing.T) {
	p := NewPlayer(&bus{}, Config{Outstanding: 4}, filled(8, now), nil)
	var e emu.Encoder
	p.Save(&e)
	small := NewPlayer(&bus{}, Config{Outstanding: 3}, NewQueue(8), nil)
	require.ErrorIs(t, small.Restore(emu.NewDecoder(e.Bytes())), emu.ErrState)
	short := NewPlayer(&bus{}, Config{Outstanding: 4}, NewQueue(4), nil)
	require.ErrorIs(t, short.Restore(emu.NewDecoder(e.Bytes())), emu.ErrState)
	for n := range e.Bytes() {
		q := NewPlayer(&bus{}, Config{Outstanding: 4}, NewQueue(8), nil)
		require.ErrorIs(t, q.Restore(emu.NewDecoder(e.Bytes()[:n])), emu.ErrState)
	}
}

var vector = Message{Source: 0x108, Addr: 0xfee0_0000, Data: 0x41}

func TestInterrupt_GoesBetweenWhatIsOutAndWhatIsNot(t *testing.T) {
	b := &bus{latency: 10}
	var order []emu.Request
	p := NewPlayer(b, Config{Outstanding: 2}, filled(4, now), func(c *timing.Completion) { order = append(order, *c.Request) })
	p.Kick() // two are out
	p.Interrupt(vector)
	p.Interrupt(vector) // it waits: once is enough
	require.Equal(t, []Message{vector}, p.Pending())
	require.False(t, p.Idle())
	b.run(all)
	require.True(t, p.Idle())
	require.Len(t, order, 5)
	for i, a := range []emu.IOVA{0, 1, 0xfee0_0000, 2, 3} {
		require.Equal(t, a, order[i].Addr)
	}
	require.Equal(t, emu.Request{
		Addr: 0xfee0_0000, Source: 0x108, PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: 0x41,
	}, order[2])
	p.Interrupt(vector) // nothing stands in its way
	require.Empty(t, p.Pending())
	b.run(all)
	require.Len(t, order, 6)
}

// A timer for a request that is due much later does not hold a message up.
func TestInterrupt_KeepsTheDistanceOfIssuesAndNoMore(t *testing.T) {
	b := &bus{latency: 3}
	q := NewQueue(2)
	q.Put(&emu.Request{}, 0)
	q.Put(&emu.Request{}, 1000)
	p := NewPlayer(b, Config{Outstanding: 8, Interval: 25}, q, nil)
	p.Kick()
	p.Interrupt(vector)
	b.run(all)
	require.Equal(t, []uint64{0, 25, 1000}, b.issued)
}

func TestFunc_IsASource(t *testing.T) {
	b := &bus{latency: 1}
	n := 0
	p := NewPlayer(b, Config{}, Func(func(q *emu.Request) (uint64, bool) {
		n++
		return 0, n <= 5
	}), nil)
	p.Kick()
	b.run(all)
	require.EqualValues(t, 5, p.Completed())
	require.Equal(t, 1, b.most, "at least one in flight")
}
