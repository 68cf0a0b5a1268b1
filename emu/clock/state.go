package clock

import "github.com/iommulab/iommulab/emu"

// Save appends the time and the events in their order to e, and leaves the queue as it is.
func (w *Wheel) Save(e *emu.Encoder) {
	e.Section("wheel", 1)
	e.U64(w.now)
	e.U64(uint64(w.n))
	for i := range uint64(wheelSlots) {
		at := (w.now + i) % wheelSlots
		if w.occ[at/64]&(1<<(at%64)) == 0 {
			continue
		}
		for n := w.slots[at].head; ; n = w.slab[n].next {
			w.slab[n].save(e)
			if n == w.slots[at].tail {
				break
			}
		}
	}
	h := heap{items: append([]far(nil), w.far.items...)}
	for len(h.items) != 0 {
		w.slab[h.pop()].save(e)
	}
}

// Restore replaces time and events with what Save wrote. On an error the queue is empty.
func (w *Wheel) Restore(d *emu.Decoder) error {
	w.Reset()
	d.Section("wheel", 1)
	now := d.U64()
	w.now = now
	last := now
	for n := d.U64(); n > 0 && d.Err() == nil; n-- {
		var ev Event
		ev.restore(d)
		if d.Err() == nil && ev.Time < last {
			d.Fail("event at %d behind one at %d", ev.Time, last)
		}
		if d.Err() == nil {
			last = ev.Time
			w.Push(ev)
		}
	}
	if d.Err() != nil {
		w.Reset()
	}
	return d.Err()
}

func (nd *node) save(e *emu.Encoder) {
	var ev Event
	nd.get(&ev)
	ev.save(e)
}

func (ev *Event) save(e *emu.Encoder) {
	e.U64(ev.Time)
	e.U64(uint64(ev.A)<<32 | uint64(ev.B))
	e.U64(uint64(ev.Prio)<<8 | uint64(ev.Kind))
}

func (ev *Event) restore(d *emu.Decoder) {
	ev.Time = d.U64()
	ab, pk := d.U64(), d.U64()
	ev.A, ev.B = uint32(ab>>32), uint32(ab)
	ev.Prio, ev.Kind = uint8(pk>>8), uint8(pk)
	if pk>>16 != 0 {
		d.Fail("event priority and kind %#x, want 16 bits", pk)
	}
}
