package clock

import (
	"fmt"
	"math/bits"
)

// wheelSlots is the span of the wheel in cycles: events less than this ahead go to the wheel,
// one slot per cycle, later ones to the overflow heap.
const (
	wheelSlots = 4096
	wheelWords = wheelSlots / 64
)

// Wheel is an event queue: a timing wheel with an overflow heap. Events come out in the order
// (Time, Prio, order of Push). The zero value is an empty queue at time 0. In steady state nothing
// is allocated.
type Wheel struct {
	now  uint64 // no event is earlier
	next uint64 // time of the first event, if n > 0
	n    int

	words uint64             // bit w: occ[w] != 0
	occ   [wheelWords]uint64 // bit: the slot holds events
	slots [wheelSlots]slot   // valid where occ says so

	slab []node
	free uint32 // first free node + 1
	far  heap
}

// node is an event in the slab, packed: narrow fields that are written one by one and copied as a
// block would stall the processor. next leads through the events of a slot in the order in which
// they come out, or through the free nodes (plus 1).
type node struct {
	time uint64
	ab   uint64 // A in the high half, B in the low one
	next uint32
	prio uint8
	kind uint8
}

// slot is the list of the events of one cycle.
type slot struct{ head, tail uint32 }

func (nd *node) get(e *Event) {
	e.Time = nd.time
	e.A, e.B = uint32(nd.ab>>32), uint32(nd.ab)
	e.Prio, e.Kind = nd.prio, nd.kind
}

// Len returns the number of events.
func (w *Wheel) Len() int { return w.n }

// Now returns the time before which no event can be pushed: that of the last event popped, or the
// last Advance.
func (w *Wheel) Now() uint64 { return w.now }

// NextTime returns the time of the first event, and false if there is none.
func (w *Wheel) NextTime() (uint64, bool) { return w.next, w.n != 0 }

// Push adds e. It panics if e is earlier than Now.
func (w *Wheel) Push(e Event) {
	if e.Time < w.now {
		panic(fmt.Sprintf("clock: an event at %d cannot be pushed when it is %d", e.Time, w.now))
	}
	if w.n == 0 || e.Time < w.next {
		w.next = e.Time
	}
	w.n++
	var i uint32
	if w.free != 0 {
		i = w.free - 1
		w.free = w.slab[i].next
	} else {
		i = uint32(len(w.slab))
		w.slab = append(w.slab, node{})
	}
	nd := &w.slab[i]
	nd.time, nd.ab = e.Time, uint64(e.A)<<32|uint64(e.B)
	nd.prio, nd.kind = e.Prio, e.Kind
	if e.Time-w.now < wheelSlots {
		w.link(i)
	} else {
		w.far.push(e.Time, e.Prio, i)
	}
}

// Pop moves the first event to e. It returns false if there is none.
func (w *Wheel) Pop(e *Event) bool {
	if w.n == 0 {
		return false
	}
	if w.next != w.now {
		w.move(w.next)
	}
	at := w.now % wheelSlots
	sl := &w.slots[at]
	i := sl.head
	nd := &w.slab[i]
	nd.get(e)
	if i != sl.tail {
		sl.head = nd.next
	} else {
		w.occ[at/64] &^= 1 << (at % 64)
		if w.occ[at/64] == 0 {
			w.words &^= 1 << (at / 64)
		}
		w.findNext()
	}
	nd.next = w.free
	w.free = i + 1
	w.n--
	return true
}

// Advance declares that nothing will be pushed before now. It keeps the wheel near the events that
// are pushed after a long pause. It panics if an event is pending before now.
func (w *Wheel) Advance(now uint64) {
	if now <= w.now {
		return
	}
	if w.n != 0 && w.next < now {
		panic(fmt.Sprintf("clock: time cannot pass to %d over an event at %d", now, w.next))
	}
	w.move(now)
}

// Reset drops all events and sets the time to 0.
func (w *Wheel) Reset() {
	w.now, w.next, w.n = 0, 0, 0
	w.words, w.occ = 0, [wheelWords]uint64{}
	w.slab, w.free = w.slab[:0], 0
	w.far = heap{items: w.far.items[:0]}
}

// move sets the time and takes over what the wheel now reaches. Overflow events of a time enter
// their slot before any event can be pushed to it directly, and in their own order.
func (w *Wheel) move(now uint64) {
	w.now = now
	for len(w.far.items) != 0 && w.far.items[0].time-now < wheelSlots {
		w.link(w.far.pop())
	}
}

// link puts node i into its slot, behind the events with the same or a lower Prio.
func (w *Wheel) link(i uint32) {
	nd := &w.slab[i]
	at := nd.time % wheelSlots
	sl := &w.slots[at]
	switch {
	case w.occ[at/64]&(1<<(at%64)) == 0:
		w.occ[at/64] |= 1 << (at % 64)
		w.words |= 1 << (at / 64)
		sl.head, sl.tail = i, i
	case w.slab[sl.tail].prio <= nd.prio:
		w.slab[sl.tail].next = i
		sl.tail = i
	case nd.prio < w.slab[sl.head].prio:
		nd.next = sl.head
		sl.head = i
	default:
		p := sl.head
		for w.slab[w.slab[p].next].prio <= nd.prio {
			p = w.slab[p].next
		}
		nd.next = w.slab[p].next
		w.slab[p].next = i
	}
}

// findNext sets next to the first time with an event, from now on.
func (w *Wheel) findNext() {
	start := w.now % wheelSlots
	word := start / 64
	if b := w.occ[word] >> (start % 64); b != 0 {
		w.next = w.now + uint64(bits.TrailingZeros64(b))
		return
	}
	if w.words == 0 {
		if len(w.far.items) != 0 {
			w.next = w.far.items[0].time
		}
		return
	}
	// The other words in turn, and at last the low bits of the first one again.
	r := bits.RotateLeft64(w.words, -int(word+1))
	found := (word + 1 + uint64(bits.TrailingZeros64(r))) % wheelWords
	slot := found*64 + uint64(bits.TrailingZeros64(w.occ[found]))
	w.next = w.now + (slot-start)%wheelSlots
}
