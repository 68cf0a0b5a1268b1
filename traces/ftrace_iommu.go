package traces

import (
	"strconv"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// ftraceIOMMU are the events of the system iommu.
var ftraceIOMMU = []rule[*ftraceImport]{
	{"add_device_to_group", []string{"IOMMU: groupID=%d device=%*"}, (*ftraceImport).addToGroup},
	{"remove_device_from_group", []string{"IOMMU: groupID=%d device=%*"}, (*ftraceImport).removeFromGroup},
	{"attach_device_to_domain", []string{"IOMMU: device=%*"}, (*ftraceImport).attach},
	{"detach_device_from_domain", []string{"IOMMU: device=%*"}, (*ftraceImport).detach},
	{"map", []string{"IOMMU: iova=%x - %x paddr=%x size=%d", "IOMMU: iova=%x paddr=%x size=%d"}, (*ftraceImport).iommuMap},
	{"unmap", []string{"IOMMU: iova=%x - %x size=%d unmapped_size=%d", "IOMMU: iova=%x size=%d unmapped_size=%d"}, nil},
	{"io_page_fault", []string{"IOMMU:%w %w iova=%x flags=%x"}, (*ftraceImport).ioPageFault},
}

// ftraceIntel are the events of the system intel_iommu.
var ftraceIntel = []rule[*ftraceImport]{
	{"qi_submit", []string{"%w %w: %x %x %x %x"}, (*ftraceImport).qiSubmit},
	{"prq_report", []string{"%w/%w seq# %d: rid=%x addr=%x %w pasid=%x index=%x%*"}, (*ftraceImport).prqReport},
	{"cache_tag_assign", []string{"%w/%w type %w did %d pasid %d ref %d"}, (*ftraceImport).cacheTagAssign},
	// These repeat what attach_device_to_domain and qi_submit say.
	{name: "cache_tag_unassign"}, {name: "cache_tag_flush_range"}, {name: "cache_tag_flush_range_np"},
	{name: "cache_tag_flush_all"},
}

func (f *ftraceImport) groupMark(text, device string) error {
	if sid, ok := f.device(device); ok {
		f.mark(text, Event{SID: sid, PASID: emu.NoPASID})
	}
	return nil
}

func (f *ftraceImport) addToGroup(v *fields) error {
	return f.groupMark("added to group "+uitoa(v.n[0]), v.s[0])
}

func (f *ftraceImport) removeFromGroup(v *fields) error {
	return f.groupMark("removed from group "+uitoa(v.n[0]), v.s[0])
}

func (f *ftraceImport) detach(v *fields) error {
	return f.groupMark("detached from its domain", v.s[0])
}

// attach becomes an Attach event; the domain's number is known if the driver assigned a cache tag right
// before.
func (f *ftraceImport) attach(v *fields) error {
	sid, ok := f.device(v.s[0])
	if !ok {
		return nil
	}
	e := Event{Kind: Attach, SID: sid, PASID: emu.NoPASID}
	if did, ok := f.domain[f.cur.task]; ok {
		e.PA, e.HasPA = emu.PA(did), true
		delete(f.domain, f.cur.task)
	}
	f.add(e)
	return nil
}

func (f *ftraceImport) cacheTagAssign(v *fields) error {
	f.report.Ignored++
	if v.s[2] == "iotlb" {
		f.domain[f.cur.task] = v.n[0]
	}
	return nil
}

func (f *ftraceImport) ioPageFault(v *fields) error {
	sid, ok := f.device(v.s[1])
	if !ok {
		return nil
	}
	perm := PermR
	if v.n[1]&1 != 0 {
		perm = PermW
	}
	f.mark("page fault reported by "+v.s[0], Event{SID: sid, PASID: emu.NoPASID, IOVA: emu.IOVA(v.n[0]), Perm: perm})
	return nil
}

func (f *ftraceImport) qiSubmit(v *fields) error {
	f.trace.Header.IOMMU = "vtd" // only the Intel driver has this event
	e, mark, ok := vtdDescriptor(v.n[0], v.n[1])
	switch {
	case !ok:
		f.skip("invalidation descriptor of an unknown type", 1)
	case e.Kind == Invalidate:
		f.add(e)
	case mark != "":
		f.mark(mark, e)
	default:
		f.report.Ignored++
	}
	return nil
}

// prqReport is a page request. Its address field carries the number of the page; the flags are one
// letter or '-' each.
func (f *ftraceImport) prqReport(v *fields) error {
	flags := strings.TrimSpace(v.s[2])
	if len(flags) > 5 || strings.Trim(flags, "rwxpl-") != "" {
		return f.malformed("prq_report flags", "r, w, x, p, l or -", flags)
	}
	if v.n[1] > 0xffff || v.n[2] >= 1<<52 || v.n[3] > uint64(emu.MaxPASID) {
		return f.malformed("prq_report", "a source ID of 16, a page of 52 and a PASID of 20 bits", f.cur.text)
	}
	e := Event{Kind: PRQ, SID: f.alias(emu.SourceID(v.n[1])), PASID: emu.NoPASID, IOVA: emu.IOVA(v.n[2] << emu.PageShift), Len: emu.PageSize}
	if strings.Contains(flags, "p") {
		e.PASID = emu.PASID(v.n[3])
	}
	for i, c := range []string{"r", "w", "x"} {
		if strings.Contains(flags, c) {
			e.Perm |= PermR << i
		}
	}
	f.add(e)
	return nil
}

// iommuMap waits for the dma event that names the device.
func (f *ftraceImport) iommuMap(v *fields) error {
	m := pendingMap{iova: v.n[0], pa: v.n[1], size: v.n[2]}
	if f.cur.text != "" && strings.Contains(f.cur.text, " - ") {
		m.pa, m.size = v.n[2], v.n[3]
		if end := v.n[1]; m.size == 0 || end-m.iova != m.size {
			return f.malformed("map size", "0x"+strconv.FormatUint(end-m.iova, 16), uitoa(m.size))
		}
	}
	if m.size == 0 || m.size > MaxLen || m.iova+m.size-1 < m.iova {
		return f.malformed("map size", "1 byte to 2^48, inside the address space", uitoa(m.size))
	}
	f.pend(m)
	return nil
}
