package traces

import (
	"cmp"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// segment is a range of an address space and what it translates to.
type segment struct {
	iova, size, pa uint64
	hasPA          bool
}

func (s segment) last() uint64 { return s.iova + s.size - 1 }

// wholePages widens a segment to page bounds. An address with another offset in its page than the IOVA,
// which only a bounce buffer has, is given up.
func (s segment) wholePages() segment {
	const mask = emu.PageSize - 1
	off := s.iova & mask
	if s.pa&mask != off {
		s.hasPA = false
	}
	if s.hasPA {
		s.pa -= off
	} else {
		s.pa = 0
	}
	s.size = (s.size + off + mask) &^ mask
	s.iova -= off
	return s
}

// allocation is what one dma event has mapped.
type allocation struct {
	pages   []segment // sorted, disjoint
	firstPA uint64    // first physical address of a list, for dma_unmap_sg
	sg      bool
}

// allocations are those of one device that are mapped. Every page is in an interval list to find its
// allocation by address.
type allocations struct {
	bySpan []span // sorted by first; spans do not overlap
	lists  map[uint64][]*allocation
}

type span struct {
	first, last uint64
	a           *allocation
}

func (f *ftraceImport) allocs(sid emu.SourceID) *allocations {
	al := f.live[sid]
	if al == nil {
		al = &allocations{lists: make(map[uint64][]*allocation)}
		f.live[sid] = al
	}
	return al
}

func (al *allocations) search(addr uint64) int {
	i, _ := slices.BinarySearchFunc(al.bySpan, addr, func(s span, a uint64) int { return cmp.Compare(s.last, a) })
	return i
}

// put adds an allocation whose pages overlap no other.
func (al *allocations) put(a allocation) {
	p := &a
	for _, s := range a.pages {
		al.bySpan = slices.Insert(al.bySpan, al.search(s.iova), span{s.iova, s.last(), p})
	}
	if a.sg {
		al.lists[a.firstPA] = append(al.lists[a.firstPA], p)
	}
}

// overlap returns an allocation that has a page in the range.
func (al *allocations) overlap(first, last uint64) *allocation {
	if i := al.search(first); i < len(al.bySpan) && al.bySpan[i].first <= last {
		return al.bySpan[i].a
	}
	return nil
}

// take removes the allocation that holds iova.
func (al *allocations) take(iova uint64) *allocation {
	a := al.overlap(iova, iova)
	if a != nil {
		al.remove(a)
	}
	return a
}

// takeSG removes the oldest list whose first physical address is pa.
func (al *allocations) takeSG(pa uint64) *allocation {
	if len(al.lists[pa]) == 0 {
		return nil
	}
	a := al.lists[pa][0]
	al.remove(a)
	return a
}

func (al *allocations) remove(a *allocation) {
	for _, s := range a.pages {
		i := al.search(s.iova)
		al.bySpan = slices.Delete(al.bySpan, i, i+1)
	}
	if a.sg {
		list := slices.DeleteFunc(al.lists[a.firstPA], func(x *allocation) bool { return x == a })
		if al.lists[a.firstPA] = list; len(list) == 0 {
			delete(al.lists, a.firstPA)
		}
	}
}

// pendingMap is an iommu:map event that waits for the dma event of its device.
type pendingMap struct{ iova, size, pa uint64 }

// maxPending bounds what waits, per task. Identity maps at boot are a few hundred.
const maxPending = 4096

func (f *ftraceImport) pend(m pendingMap) {
	list := f.maps[f.cur.task]
	if len(list) == maxPending {
		list = slices.Delete(list, 0, 1)
		f.unclaimed++
	}
	f.maps[f.cur.task] = append(list, m)
}

// claim takes the waiting maps of the current task that lie behind one another and cover first to last,
// the newest first: a task maps right before it names the device. It returns nil if there is a hole.
func (f *ftraceImport) claim(first, last uint64) []segment {
	list := f.maps[f.cur.task]
	var out []segment
	var used []int
	for at := first; ; {
		i := len(list) - 1
		for i >= 0 && (at < list[i].iova || at-list[i].iova >= list[i].size) {
			i--
		}
		if i < 0 {
			return nil
		}
		m := list[i]
		out, used = append(out, segment{m.iova, m.size, m.pa, true}), append(used, i)
		end := m.iova + m.size - 1
		if end >= last {
			break
		}
		at = end + 1
	}
	slices.Sort(used)
	for k := len(used) - 1; k >= 0; k-- {
		list = slices.Delete(list, used[k], used[k]+1)
	}
	f.maps[f.cur.task] = list
	return out
}
