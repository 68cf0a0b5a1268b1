package traces

import (
	"math/bits"
	"strconv"

	"github.com/iommulab/iommulab/emu"
)

// qemuAMDVi are the events of QEMU's amd-iommu. Where nothing is done the line repeats another, or shows the
// inside of QEMU.
var qemuAMDVi = []rule[*qemuImport]{
	{"amdvi_cache_update", []string{" update iotlb domid %x devid: %x:%x.%x gpa %x hpa %x"}, (*qemuImport).amdviUpdate},
	{"amdvi_iotlb_hit", []string{"hit iotlb devid %x:%x.%x gpa %x hpa %x"}, (*qemuImport).amdviHit},
	{"amdvi_translation_result", []string{"devid: %x:%x.%x gpa %x hpa %x"}, (*qemuImport).amdviResult},

	{"amdvi_pages_inval", []string{"AMD-Vi pages for domain %x invalidated"}, (*qemuImport).amdviPages},
	{"amdvi_all_inval", []string{"Invalidation of all AMD-Vi cache requested"}, (*qemuImport).amdviAll},
	{"amdvi_devtab_inval", []string{"device table entry for devid: %x:%x.%x invalidated"}, (*qemuImport).amdviDevtab},
	{"amdvi_iotlb_inval", []string{"IOTLB pages invalidated"}, amdviMark("device IOTLB invalidation")},
	{"amdvi_intr_inval", []string{"Interrupt table invalidated"}, amdviMark("interrupt table invalidation")},
	{"amdvi_prefetch_pages", []string{"Pre-fetch of AMD-Vi pages requested"}, amdviMark("prefetch")},
	{"amdvi_ppr_exec", []string{"Execution of PPR queue requested"}, amdviMark("page request completion")},
	{"amdvi_completion_wait", []string{"completion wait requested with store address %x and store data %x"}, nil},
	{"amdvi_command_exec", []string{"command buffer head at %x command buffer tail at %x command buffer base at %x"}, nil},

	{"amdvi_mmio_read", []string{"%w read addr %x, size %d offset %x"}, (*qemuImport).amdviRead},
	{"amdvi_mmio_read_invalid", []string{"error: addr outside region (max %x): read addr %x, size %d"}, (*qemuImport).amdviReadBeyond},
	{"amdvi_mmio_write", []string{"%w write addr %x, size %d, val %x, offset %x"}, (*qemuImport).amdviWrite},
	{"amdvi_control_status", []string{"MMIO_STATUS state %x"}, nil},

	{"amdvi_ir_remap_msi_req", []string{"addr %x data %x devid %x"}, (*qemuImport).amdviMSI},
	{"amdvi_ir_remap_msi", []string{"(addr %x, data %x) -> (addr %x, data %x)"}, nil},
	{"amdvi_mem_ir_write_req", []string{"addr %x data %x size %x"}, nil},
	{"amdvi_mem_ir_write", []string{"addr %x data %x"}, nil},
	{"amdvi_ir_irte", []string{"addr %x offset %x"}, nil},
	{"amdvi_ir_irte_val", []string{"data %x"}, nil},
	{"amdvi_ir_irte_ga_val", []string{"hi %x lo %x"}, nil},
	{"amdvi_ir_intctl", []string{"int_ctl %x"}, nil},
	{"amdvi_ir_delivery_mode", []string{"%*"}, nil},
	{"amdvi_generate_msi_interrupt", []string{"Mode: %*"}, nil},
	{"amdvi_iotlb_reset", []string{"IOTLB exceed size limit - reset"}, nil},

	// Why the request of the next result, or the interrupt just asked for, is refused.
	{"amdvi_page_fault", []string{"error: page fault accessing guest physical address %x"}, amdviRefusal("page fault")},
	{"amdvi_mode_invalid", []string{"error: translation level %x translating addr %x"}, amdviRefusal("illegal mode of the device table entry")},
	{"amdvi_invalid_dte", []string{"PTE entry at %x is invalid"}, amdviRefusal("illegal device table entry")},
	{"amdvi_dte_get_fail", []string{"error: failed to access Device Entry devtab %x offset %x"}, amdviRefusal("device table read error")},
	{"amdvi_get_pte_hwerror", []string{"hardware error eccessing PTE at addr %x"}, amdviRefusal("page table read error")},
	{"amdvi_ir_target_abort", []string{"%*"}, (*qemuImport).amdviAborted},
	{"amdvi_ir_err", []string{"%*"}, (*qemuImport).amdviAborted},
	{"amdvi_err", []string{"%*"}, (*qemuImport).amdviError},

	{"amdvi_command_error", []string{"error: Executing commands with command buffer disabled %x"}, amdviMark("command buffer disabled")},
	{"amdvi_unhandled_command", []string{"unhandled command %x"}, (*qemuImport).amdviUnhandled},
	{"amdvi_command_read_fail", []string{"error: fail to access memory at %x + %x"}, amdviMarkAt("command read error")},
	{"amdvi_completion_wait_fail", []string{"error: fail to write at address %x"}, amdviMarkAt("completion store error")},
	{"amdvi_evntlog_fail", []string{"error: fail to write at addr %x + offset %x", "error: fail to write at addr %x +  offset %x"}, amdviMarkAt("event log write error")},
}

// noteAMDVi says what a log of QEMU's amd-iommu lacks.
const noteAMDVi = "translations: the log has no permissions (taken as rw), and of a page only its start, " +
	"so that pa is missing where the size of the page matters; invalidations name no address"

func amdviMark(text string) func(*qemuImport, *fields) error {
	return func(q *qemuImport, _ *fields) error {
		q.mark(text, Event{SID: NoSID, PASID: emu.NoPASID})
		return nil
	}
}

// amdviMarkAt marks what happened at an address: the first number of the line, and the second if there is one.
func amdviMarkAt(text string) func(*qemuImport, *fields) error {
	return func(q *qemuImport, f *fields) error {
		at := f.n[0]
		if f.nn > 1 {
			at += f.n[1]
		}
		q.mark(text, Event{SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(at)})
		return nil
	}
}

// amdviRefusal notes why the request that the next result names is refused.
func amdviRefusal(text string) func(*qemuImport, *fields) error {
	return func(q *qemuImport, _ *fields) error {
		if q.refusal == "" { // further lines are its consequences
			q.refusal = text
		}
		return nil
	}
}

// amdviFunction reads bus, slot and function from f.n[i] on.
func (q *qemuImport) amdviFunction(event string, f *fields, i int) (emu.SourceID, error) {
	bus, slot, fn := f.n[i], f.n[i+1], f.n[i+2]
	if bus > 0xff || slot > 0x1f || fn > 7 {
		got := strconv.FormatUint(bus, 16) + ":" + strconv.FormatUint(slot, 16) + "." + strconv.FormatUint(fn, 16)
		return 0, q.malformed(event, "a PCI function", got)
	}
	q.trace.Header.IOMMU = "amdvi"
	return q.alias(emu.SourceID(bus<<8 | slot<<3 | fn)), nil
}

// amdviUpdate is an IOTLB fill; the result it belongs to follows.
func (q *qemuImport) amdviUpdate(f *fields) error {
	sid, err := q.amdviFunction("amdvi_cache_update", f, 1)
	if err != nil {
		return err
	}
	q.inDomain(Space{sid, emu.NoPASID}, f.n[0])
	q.page = qemuPage{sid: sid, iova: emu.IOVA(f.n[4]), ok: true}
	return nil
}

func (q *qemuImport) amdviHit(f *fields) error {
	sid, err := q.amdviFunction("amdvi_iotlb_hit", f, 0)
	q.page = qemuPage{sid: sid, iova: emu.IOVA(f.n[3]), ok: err == nil}
	return err
}

// amdviResult is the end of every request. A request that is refused has the address 0; one that is not
// translated (V=0) has its own.
func (q *qemuImport) amdviResult(f *fields) error {
	sid, err := q.amdviFunction("amdvi_translation_result", f, 0)
	if err != nil {
		return err
	}
	const mask = emu.PageSize - 1
	iova, base := f.n[3], f.n[4]
	page, refusal := q.page, q.refusal
	q.page.ok, q.refusal = false, ""
	looked := page.ok && page.sid == sid && uint64(page.iova) == iova
	to := target{emu.PA(base | iova&mask), true}
	switch {
	case !looked && base == 0 && (refusal != "" || iova > mask):
		if refusal == "" {
			refusal = "refused"
		}
		q.mark(refusal, Event{SID: sid, PASID: emu.NoPASID, IOVA: emu.IOVA(iova)})
		return nil
	case !looked && base == iova&^mask: // passes
	case !sureOffset(iova, base):
		to = target{emu.PA(base), false}
		q.skip("translation in a page of unknown size: pa left out", 1)
	}
	q.trace.Header.addNote(noteAMDVi)
	q.translated(Space{sid, emu.NoPASID}, emu.IOVA(iova), to, emu.PageSize, PermRW)
	return nil
}

// sureOffset reports whether an address has the same offset in every page that can start at base: no page is
// larger than the alignment of its start.
func sureOffset(iova, base uint64) bool {
	align := bits.TrailingZeros64(base)
	return iova&(1<<align-1)&^(emu.PageSize-1) == 0
}

func (q *qemuImport) amdviPages(f *fields) error {
	q.invalidated(Event{Kind: Invalidate, SID: NoSID, PASID: emu.NoPASID, PA: emu.PA(f.n[0]), HasPA: true})
	return nil
}

func (q *qemuImport) amdviAll(*fields) error {
	q.invalidated(Event{Kind: Invalidate, SID: NoSID, PASID: emu.NoPASID})
	return nil
}

func (q *qemuImport) amdviDevtab(f *fields) error {
	sid, err := q.amdviFunction("amdvi_devtab_inval", f, 0)
	if err == nil {
		q.mark("device table entry invalidation", Event{SID: sid, PASID: emu.NoPASID})
	}
	return err
}

func (q *qemuImport) amdviRead(f *fields) error {
	q.add(Event{Kind: RegRead, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), Len: f.n[1] & 0xff})
	return nil
}

func (q *qemuImport) amdviReadBeyond(f *fields) error {
	q.add(Event{Kind: RegRead, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[1]), Len: f.n[2] & 0xff})
	return nil
}

func (q *qemuImport) amdviWrite(f *fields) error {
	q.refusal = "" // was that of no request
	// Beyond the window the address is that of its end.
	if len(f.s[0]) >= 5 && f.s[0][:5] == "error" {
		q.skip("register write outside the window", 1)
		return nil
	}
	q.add(Event{Kind: RegWrite, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), Len: f.n[1] & 0xff, PA: emu.PA(f.n[2]), HasPA: true})
	return nil
}

// amdviMSI is an interrupt request. Its device is cut off to 8 bits, and so left out.
func (q *qemuImport) amdviMSI(f *fields) error {
	q.add(Event{Kind: IRQ, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), PA: emu.PA(f.n[1]), HasPA: true})
	return nil
}

func (q *qemuImport) amdviAborted(f *fields) error {
	q.mark("interrupt refused: "+f.s[0], Event{SID: NoSID, PASID: emu.NoPASID})
	return nil
}

func (q *qemuImport) amdviError(f *fields) error {
	q.mark("error: "+f.s[0], Event{SID: NoSID, PASID: emu.NoPASID})
	return nil
}

func (q *qemuImport) amdviUnhandled(f *fields) error {
	q.mark("unknown command 0x"+strconv.FormatUint(f.n[0], 16), Event{SID: NoSID, PASID: emu.NoPASID})
	return nil
}
