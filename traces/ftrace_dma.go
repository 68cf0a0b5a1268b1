package traces

import (
	"cmp"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// ftraceDMA are the events of the system dma, and of older kernels. What follows the fields that matter
// (attrs, flags) is not looked at.
var ftraceDMA = []rule[*ftraceImport]{
	{"dma_map_phys", dmaMapTexts, (*ftraceImport).dmaMap},
	{"dma_map_page", dmaMapTexts, (*ftraceImport).dmaMap},
	{"dma_map_resource", dmaMapTexts, (*ftraceImport).dmaMap},
	{"dma_unmap_phys", dmaTexts, (*ftraceImport).dmaUnmap},
	{"dma_unmap_page", dmaTexts, (*ftraceImport).dmaUnmap},
	{"dma_unmap_resource", dmaTexts, (*ftraceImport).dmaUnmap},
	{"dma_alloc", dmaAllocTexts, (*ftraceImport).dmaAlloc},
	{"dma_alloc_pages", dmaAllocTexts, (*ftraceImport).dmaAlloc},
	{"dma_alloc_sgt", []string{"%w dir=%w dma_addr=%x size=%d phys_addrs={%w}%*"}, (*ftraceImport).dmaAllocSGT},
	{"dma_free", dmaTexts, (*ftraceImport).dmaUnmap},
	{"dma_free_pages", dmaTexts, (*ftraceImport).dmaUnmap},
	{"dma_free_sgt", dmaTexts, (*ftraceImport).dmaUnmap},
	{"dma_map_sg", []string{
		"%w dir=%w nents=%d/%d ents=%d/%d%wdma_addrs={%w} sizes={%w} phys_addrs={%w}%*",
		"%w dir=%w dma_addrs={%w} sizes={%w} phys_addrs={%w}%*",
	}, (*ftraceImport).dmaMapSG},
	{"dma_unmap_sg", []string{"%w dir=%w phys_addrs={%w}%*"}, (*ftraceImport).dmaUnmapSG},

	// Nothing was mapped, or nothing changes.
	{name: "dma_alloc_sgt_err"}, {name: "dma_map_sg_err"}, {name: "dma_sync_single_for_cpu"},
	{name: "dma_sync_single_for_device"}, {name: "dma_sync_sg_for_cpu"}, {name: "dma_sync_sg_for_device"},
	{name: "swiotlb_bounced"},
}

var (
	dmaMapTexts   = []string{"%w dir=%w dma_addr=%x size=%d phys_addr=%x attrs=%*"}
	dmaTexts      = []string{"%w dir=%w dma_addr=%x size=%d %*"}
	dmaAllocTexts = []string{"%w dir=%w dma_addr=%x size=%d virt_addr=%*", "%w dma_addr=%x size=%d virt_addr=%*"}
)

// dmaDirections are the permissions that the DMA API asks for; without a direction it asks for both.
var dmaDirections = map[string]Perm{"BIDIRECTIONAL": PermRW, "TO_DEVICE": PermR, "FROM_DEVICE": PermW, "NONE": PermRW}

// buffer is what a dma event says: who, where, how.
type buffer struct {
	sid  emu.SourceID
	perm Perm
	iova uint64
	size uint64
}

// buffer reads the device and the direction; ok is false if the event belongs to no requester.
func (f *ftraceImport) buffer(device, direction string, iova, size uint64) (b buffer, ok bool, err error) {
	perm, known := dmaDirections[direction]
	if !known {
		return b, false, f.malformed(f.cur.event+" dir", "BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE or NONE", direction)
	}
	if size > MaxLen/2 || (size > 0 && iova+size-1 < iova) {
		return b, false, f.malformed(f.cur.event+" size", "less than 2^47, inside the address space", uitoa(size))
	}
	sid, ok := f.device(device)
	if ok && size == 0 {
		f.skip("dma event of no bytes", 1)
		ok = false
	}
	return buffer{sid, perm, iova, size}, ok, nil
}

func (f *ftraceImport) dmaMap(v *fields) error {
	b, ok, err := f.buffer(v.s[0], v.s[1], v.n[0], v.n[1])
	if ok {
		f.mapped(b, []segment{{v.n[0], v.n[1], v.n[2], true}}, v.n[2], false)
	}
	return err
}

func (f *ftraceImport) dmaAlloc(v *fields) error {
	dir := v.s[1]
	if v.ns < 3 { // older kernels have no direction here
		dir = "BIDIRECTIONAL"
	}
	b, ok, err := f.buffer(v.s[0], dir, v.n[0], v.n[1])
	if ok {
		f.mapped(b, []segment{{v.n[0], v.n[1], 0, false}}, 0, false)
	}
	return err
}

func (f *ftraceImport) dmaAllocSGT(v *fields) error {
	phys, ok := numbers(v.s[2], 'x')
	if !ok {
		return f.malformed(f.cur.event+" phys_addrs", "{0x..,0x..}", v.s[2])
	}
	b, ok, err := f.buffer(v.s[0], v.s[1], v.n[0], v.n[1])
	if ok {
		// Addresses of the pieces without their sizes: of use only if there is one.
		s := segment{iova: v.n[0], size: v.n[1]}
		if len(phys) == 1 {
			s.pa, s.hasPA = phys[0], true
		}
		f.mapped(b, []segment{s}, 0, false)
	}
	return err
}

// dmaMapSG reads a list. The DMA addresses, with their sizes, are those of the list after merging; the
// physical ones are those before, without sizes, so that they pair only if nothing was merged.
func (f *ftraceImport) dmaMapSG(v *fields) error {
	lists := v.s[v.ns-4 : v.ns-1] // the last three lists; behind them the attributes
	addrs, ok1 := numbers(lists[0], 'x')
	sizes, ok2 := numbers(lists[1], 'd')
	if !ok2 {
		sizes, ok2 = numbers(lists[1], 'x')
	}
	phys, ok3 := numbers(lists[2], 'x')
	if !ok1 || !ok2 || !ok3 || len(addrs) != len(sizes) || len(addrs) == 0 {
		return f.malformed(f.cur.event, "lists {0x..,0x..} of equal length", f.cur.text)
	}
	if v.nn == 4 && (v.n[2] != v.n[3] || v.n[0] != v.n[1]) {
		f.skip("part of a dma_map_sg that the recorder truncated", 1)
	}
	first := uint64(0)
	if len(phys) > 0 {
		first = phys[0]
	}
	var segs []segment
	for i := range addrs {
		b, ok, err := f.buffer(v.s[0], v.s[1], addrs[i], sizes[i])
		if err != nil || !ok {
			return err
		}
		s := segment{iova: addrs[i], size: b.size}
		if len(phys) == len(addrs) {
			s.pa, s.hasPA = phys[i], true
		}
		segs = append(segs, s)
	}
	b, _, err := f.buffer(v.s[0], v.s[1], addrs[0], sizes[0])
	f.mapped(b, segs, first, true)
	return err
}

func (f *ftraceImport) dmaUnmap(v *fields) error {
	b, ok, err := f.buffer(v.s[0], v.s[1], v.n[0], v.n[1])
	if ok {
		f.unmapped(b.sid, f.allocs(b.sid).take(b.iova))
	}
	return err
}

func (f *ftraceImport) dmaUnmapSG(v *fields) error {
	phys, ok := numbers(v.s[2], 'x')
	if !ok || len(phys) == 0 {
		return f.malformed(f.cur.event+" phys_addrs", "{0x..,0x..}", v.s[2])
	}
	b, ok, err := f.buffer(v.s[0], v.s[1], 0, 1)
	if ok {
		f.unmapped(b.sid, f.allocs(b.sid).takeSG(phys[0]))
	}
	return err
}

// mapped records that a device may use the segments, as whole pages.
func (f *ftraceImport) mapped(b buffer, segs []segment, firstPA uint64, sg bool) {
	a := allocation{firstPA: firstPA, sg: sg}
	for _, s := range segs {
		if len(a.pages) > 0 && s.iova >= a.pages[len(a.pages)-1].iova && s.iova+s.size-1 <= a.pages[len(a.pages)-1].last() {
			continue // inside what the segment before has claimed
		}
		pages := f.claim(s.iova, s.iova+s.size-1)
		if pages == nil {
			f.skip("dma event without iommu:map, taken at its word", 1)
			pages = []segment{s.wholePages()}
		}
		a.pages = append(a.pages, pages...)
	}
	f.disjoint(&a)
	al := f.allocs(b.sid)
	for _, p := range a.pages {
		for old := al.overlap(p.iova, p.last()); old != nil; old = al.overlap(p.iova, p.last()) {
			f.skip("mapping ended by a new one in its place, its unmap is not in the log", 1)
			f.unmapped(b.sid, al.take(old.pages[0].iova))
		}
	}
	for _, p := range a.pages {
		f.add(Event{Kind: Map, SID: b.sid, PASID: emu.NoPASID, IOVA: emu.IOVA(p.iova), Len: p.size, PA: emu.PA(p.pa), HasPA: p.hasPA, Perm: b.perm})
	}
	al.put(a)
}

// disjoint sorts the pages of an allocation and drops those that overlap: segments of a list may share a
// page.
func (f *ftraceImport) disjoint(a *allocation) {
	slices.SortStableFunc(a.pages, func(x, y segment) int { return cmp.Compare(x.iova, y.iova) })
	kept := a.pages[:0]
	for _, p := range a.pages {
		if n := len(kept); n > 0 && p.iova <= kept[n-1].last() {
			if p != kept[n-1] {
				f.skip("segment that overlaps another of its list", 1)
			}
			continue
		}
		kept = append(kept, p)
	}
	a.pages = kept
}

// unmapped records the end of an allocation, one event per contiguous range.
func (f *ftraceImport) unmapped(sid emu.SourceID, a *allocation) {
	if a == nil {
		f.skip("unmap of what was mapped before the log begins", 1)
		return
	}
	for i, pages := 0, a.pages; i < len(pages); {
		first, last := pages[i].iova, pages[i].last()
		for i++; i < len(pages) && pages[i].iova == last+1 && pages[i].last()-first < MaxLen; i++ {
			last = pages[i].last()
		}
		f.add(Event{Kind: Unmap, SID: sid, PASID: emu.NoPASID, IOVA: emu.IOVA(first), Len: last - first + 1})
	}
}
