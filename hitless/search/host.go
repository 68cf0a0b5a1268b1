package search

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// host is the processor: which step of the program comes next, the stores in its buffer, and how far the
// invalidation is that it waits for.
type host struct {
	buffer uint64 // bit i: the store that is step i
	pc     uint16
	drops  uint16 // of the present step, how many invalidations have dropped and marked
	left   int32  // requests that devices may still begin
}

const maxProgram = 64

// over reports whether the program has ended and all of it is visible.
func (m *machine) over(h *host) bool { return int(h.pc) == len(m.sc.Program) && h.buffer == 0 }

// mayIssue reports whether the processor can put its next step, a store, into the buffer: a fence holds it
// back until the buffer is empty.
func (m *machine) mayIssue(h *host) bool {
	if int(h.pc) == len(m.sc.Program) {
		return false
	}
	step := &m.sc.Program[h.pc]
	return step.Size != 0 && (h.buffer == 0 || !step.Fence)
}

// issue gives stores to the buffer as long as it can.
func (m *machine) issue(h *host) {
	for m.mayIssue(h) {
		h.buffer |= 1 << h.pc
		h.pc++
	}
}

// mayDrain reports whether the store i in the buffer can become visible.
func (m *machine) mayDrain(h *host, i int) bool {
	older := h.buffer & (1<<i - 1)
	if !m.sc.Weak {
		return older == 0
	}
	for ; older != 0; older &= older - 1 {
		a, b := &m.sc.Program[bits.TrailingZeros64(older)], &m.sc.Program[i]
		if a.Addr < b.Addr+emu.PA(b.Size) && b.Addr < a.Addr+emu.PA(a.Size) {
			return false
		}
	}
	return true
}

// hostActs are the actions of processor, store buffer, and the queue of invalidations.
func (m *machine) hostActs(s *state, f func(state, *end)) {
	emit := func(n state) {
		if !m.bounds.Plain {
			m.issue(&n.host)
		}
		f(n, nil)
	}
	h := &s.host
	if m.mayIssue(h) {
		n := *s
		n.host.buffer |= 1 << h.pc
		n.host.pc++
		emit(n)
	}
	for b := h.buffer; b != 0; b &= b - 1 {
		i := bits.TrailingZeros64(b)
		if m.mayDrain(h, i) {
			n := *s
			n.host.buffer &^= 1 << i
			step := &m.sc.Program[i]
			n.mem = m.stored(s.mem, step.Addr, step.Data[:step.Size/8])
			emit(n)
		}
	}
	if int(h.pc) == len(m.sc.Program) || m.sc.Program[h.pc].Size != 0 || h.buffer != 0 {
		return
	}
	sel, waits := m.sc.Program[h.pc].Invalidate, !m.sc.Program[h.pc].NoWait
	n := *s
	if int(h.drops) < len(sel) {
		x := &sel[h.drops]
		n.host.drops++
		if int(n.host.drops) == len(sel) && !waits {
			n.host.pc, n.host.drops = h.pc+1, 0
		}
		n.cache = m.dropped(s.cache, x)
		for i := range n.fly {
			if fl := &n.fly[i]; fl.txn != 0 {
				fl.txn = m.mark(fl.txn, x)
			}
		}
		if m.tell != nil {
			m.note(s, -1, "drop %d of step %d, and mark", h.drops+1, h.pc+1)
		}
		m.emit(&n, -1, f)
		return
	}
	for i := range s.fly {
		if m.txns[s.fly[i].txn].Marked {
			return // it goes on
		}
	}
	n.host.pc, n.host.drops = h.pc+1, 0
	emit(n)
}

// mark marks a request if the invalidation concerns it.
func (m *machine) mark(id int32, sel *emu.Selector) int32 {
	t := &m.txns[id]
	if t.Marked || !t.Matches(sel) {
		return id
	}
	n, ok := m.marked[id]
	if !ok {
		c := *t
		c.Marked = true
		n = m.number(c)
		m.marked[id] = n
	}
	return n
}

// when says which steps are over, as package hitless writes it.
func (m *machine) when(h *host) string {
	first, early := int(h.pc), []string{}
	if h.buffer != 0 {
		first = bits.TrailingZeros64(h.buffer)
	}
	for i := first; i < int(h.pc); i++ {
		if h.buffer>>i&1 == 0 {
			early = append(early, fmt.Sprint(i+1))
		}
	}
	if len(early) > 0 {
		return fmt.Sprintf("after step %d and %s", first, strings.Join(early, ", "))
	}
	return fmt.Sprintf("after step %d", first)
}
