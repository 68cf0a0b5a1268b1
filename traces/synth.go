package traces

import (
	"container/heap"

	"github.com/iommulab/iommulab/emu"
)

// noteSynthetic marks a trace whose accesses were not recorded.
const noteSynthetic = "accesses: made up from mappings"

// SynthAccesses returns a copy of t with accesses made up from its mappings: each Map is accessed once, page
// by page in ascending order, evenly spread over the time until it is unmapped (or the trace ends). A page
// that only allows reads is read, one that only allows writes is written, and of the others it is an
// Access of unknown direction. The result is marked synthetic and depends on nothing but t.
//
// A mapping of more than 2^16 pages is accessed in its first 2^16.
func SynthAccesses(t *Trace) *Trace {
	out := &Trace{Header: *t.Header.Clone()}
	out.Header.Synthetic = true
	out.Header.addNote(noteSynthetic)
	ends := unmapTimes(t)
	var due dueHeap
	for i := range t.Events {
		e := &t.Events[i]
		for len(due) > 0 && due[0].e.Time <= e.Time {
			out.Events = append(out.Events, due.next())
		}
		out.Events = append(out.Events, *e)
		if e.Kind == Map && e.Len > 0 && e.Perm != 0 {
			heap.Push(&due, newDueBuffer(e, ends[i], i))
		}
	}
	for len(due) > 0 {
		out.Events = append(out.Events, due.next())
	}
	return out
}

// unmapTimes returns, for the index of each Map event, the time at which the first part of it goes.
func unmapTimes(t *Trace) map[int]uint64 {
	ends := make(map[int]uint64)
	var state Mappings
	end := func(gone []Mapping, time uint64) {
		for _, m := range gone {
			if _, known := ends[m.ref]; !known {
				ends[m.ref] = time
			}
		}
	}
	for i := range t.Events {
		e := &t.Events[i]
		if (e.Kind != Map && e.Kind != Unmap) || e.Len == 0 {
			continue
		}
		s := Space{e.SID, e.PASID}
		end(state.Remove(s, e.IOVA, e.Len), e.Time)
		if e.Kind == Map {
			last := lastOf(uint64(e.IOVA), e.Len)
			state.insert(s, Mapping{IOVA: e.IOVA, Len: last - uint64(e.IOVA) + 1, PA: e.PA, HasPA: e.HasPA, Perm: e.Perm, ref: i})
		}
	}
	var last uint64
	if n := len(t.Events); n > 0 {
		last = t.Events[n-1].Time
	}
	for _, s := range state.Spaces() {
		end(state.Of(s), last)
	}
	return ends
}

// dueBuffer is a mapping whose pages are still to be accessed: e is the next access.
type dueBuffer struct {
	e     Event
	step  uint64 // ns from page to page
	pages uint64
	left  uint64 // bytes
	order int    // of its Map event, to break ties
}

func newDueBuffer(m *Event, end uint64, order int) dueBuffer {
	const maxPages = 1 << 16
	first := emu.PageSize - uint64(m.IOVA)%emu.PageSize
	pages := uint64(1)
	if m.Len > first {
		pages = min(1+(m.Len-first+emu.PageSize-1)/emu.PageSize, maxPages)
	}
	b := dueBuffer{e: *m, step: (end - m.Time) / (pages + 1), pages: pages, left: m.Len, order: order}
	b.e.Kind = Access
	switch m.Perm {
	case PermR:
		b.e.Kind = Read
	case PermW:
		b.e.Kind = Write
	case PermX:
		b.e.Kind = Exec
	}
	b.e.Time += b.step
	b.e.Len = min(first, m.Len)
	return b
}

// dueHeap orders buffers by the time of their next access.
type dueHeap []dueBuffer

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if h[i].e.Time != h[j].e.Time {
		return h[i].e.Time < h[j].e.Time
	}
	return h[i].order < h[j].order
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) { *h = append(*h, x.(dueBuffer)) }

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	b := old[len(old)-1]
	*h = old[:len(old)-1]
	return b
}

// next takes the earliest access and puts its buffer back if pages are left.
func (h *dueHeap) next() Event {
	b := &(*h)[0]
	e := b.e
	b.left -= e.Len
	b.pages--
	if b.pages == 0 {
		heap.Pop(h)
		return e
	}
	b.e.Time += b.step
	b.e.IOVA += emu.IOVA(e.Len)
	if b.e.HasPA {
		b.e.PA += emu.PA(e.Len)
	}
	b.e.Len = min(emu.PageSize, b.left)
	heap.Fix(h, 0)
	return e
}
