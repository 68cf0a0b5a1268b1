package traces

import (
	"strconv"

	"github.com/iommulab/iommulab/emu"
)

// qemuVTD are the events of QEMU's intel-iommu.
var qemuVTD = []rule[*qemuImport]{
	{"vtd_iotlb_page_hit", []string{"IOTLB page hit sid %x iova %x slpte %x domain %x", "IOTLB page hit sid %x iova %x pte %x domain %x"}, (*qemuImport).vtdPage},
	{"vtd_iotlb_page_update", []string{"IOTLB page update sid %x iova %x slpte %x domain %x", "IOTLB page update sid %x iova %x pte %x domain %x"}, (*qemuImport).vtdPage},
	{"vtd_dmar_translate", []string{"dev %x:%x.%x iova %x -> gpa %x mask %x"}, (*qemuImport).vtdTranslate},
	{"vtd_dmar_fault", []string{"sid %x fault %d addr %x write %d"}, (*qemuImport).vtdFault},
	{"vtd_inv_desc", []string{"invalidate desc type %w high %x low %x"}, (*qemuImport).vtdDesc},
	{"vtd_inv_desc_iotlb_global", []string{"iotlb invalidate global"}, (*qemuImport).vtdIOTLBGlobal},
	{"vtd_inv_desc_iotlb_domain", []string{"iotlb invalidate whole domain %x"}, (*qemuImport).vtdIOTLBDomain},
	{"vtd_inv_desc_iotlb_pages", []string{"iotlb invalidate domain %x addr %x mask %x"}, (*qemuImport).vtdIOTLBPages},
	{"vtd_reg_read", []string{"addr %x size %x"}, (*qemuImport).vtdRegRead},
	{"vtd_reg_write", []string{"addr %x size %x value %x"}, (*qemuImport).vtdRegWrite},
	{"vtd_ir_remap_msi_req", []string{"addr %x data %x"}, (*qemuImport).vtdMSI},

	// These repeat what another line says, or show the inside of QEMU.
	{name: "vtd_inv_desc_cc_domain"}, {name: "vtd_inv_desc_cc_global"}, {name: "vtd_inv_desc_cc_device"},
	{name: "vtd_inv_desc_cc_devices"}, {name: "vtd_inv_desc_iec"}, {name: "vtd_inv_desc_wait_sw"},
	{name: "vtd_inv_desc_wait_irq"}, {name: "vtd_inv_desc_wait_write_fail"}, {name: "vtd_inv_qi_enable"},
	{name: "vtd_inv_qi_setup"}, {name: "vtd_inv_qi_head"}, {name: "vtd_inv_qi_tail"}, {name: "vtd_inv_qi_fetch"},
	{name: "vtd_inv_desc_iotlb_pasid_pages"}, {name: "vtd_inv_desc_iotlb_pasid"},
	{name: "vtd_context_cache_reset"}, {name: "vtd_pasid_cache_reset"}, {name: "vtd_iotlb_reset"},
	{name: "vtd_iotlb_cc_hit"}, {name: "vtd_iotlb_cc_update"}, {name: "vtd_switch_address_space"},
	{name: "vtd_re_not_present"}, {name: "vtd_ce_not_present"}, {name: "vtd_re_invalid"}, {name: "vtd_ce_invalid"},
	{name: "vtd_fault_disabled"}, {name: "vtd_frr_new"}, {name: "vtd_fsts_ppf"}, {name: "vtd_fsts_clear_ip"},
	{name: "vtd_irq_generate"}, {name: "vtd_dmar_enable"}, {name: "vtd_reset_exit"}, {name: "vtd_err"},
	{name: "vtd_reg_dmar_root"}, {name: "vtd_reg_ir_root"}, {name: "vtd_reg_write_gcmd"},
	{name: "vtd_reg_write_fectl"}, {name: "vtd_reg_write_iectl"}, {name: "vtd_reg_ics_clear_ip"},
	{name: "vtd_ir_enable"}, {name: "vtd_ir_irte_get"}, {name: "vtd_ir_remap"}, {name: "vtd_ir_remap_type"},
	{name: "vtd_ir_remap_msi"}, {name: "vtd_warn_ir_vector"}, {name: "vtd_warn_ir_trigger"},
	{name: "vtd_pt_enable_fast_path"}, {name: "vtd_warn_invalid_qi_tail"}, {name: "vtd_page_walk_level"},
	{name: "vtd_page_walk_one"}, {name: "vtd_page_walk_one_skip_map"}, {name: "vtd_page_walk_one_skip_unmap"},
	{name: "vtd_page_walk_skip_read"}, {name: "vtd_page_walk_skip_reserve"}, {name: "vtd_as_unmap_whole"},
	{name: "vtd_translate_pt"}, {name: "vtd_replay_ce_valid"}, {name: "vtd_replay_ce_invalid"},
	{name: "vtd_inv_desc_pasid_cache_gsi"}, {name: "vtd_inv_desc_pasid_cache_dsi"}, {name: "vtd_inv_desc_pasid_cache_psi"},
	{name: "vtd_pasid_cache_devsi"}, {name: "vtd_device_attach_hwpt"}, {name: "vtd_device_detach_hwpt"},
	{name: "vtd_device_reattach_def_hwpt"}, {name: "vtd_prq_read_fault"},
}

// vtdMSIBase is where interrupt requests go: never translated as DMA (VT-d 5.1, 3.15).
const (
	vtdMSIBase = 0xfee0_0000
	vtdMSILast = 0xfeef_ffff
)

// vtdPage is an IOTLB lookup; the translation it belongs to follows.
func (q *qemuImport) vtdPage(f *fields) error {
	// In both stages bit 1 is the write permission and bit 0 lets reads through.
	q.page = qemuPage{sid: q.alias(emu.SourceID(f.n[0])), iova: emu.IOVA(f.n[1]), perm: Perm(f.n[2]) & PermRW, ok: true}
	q.inDomain(Space{q.page.sid, emu.NoPASID}, f.n[3])
	q.trace.Header.IOMMU = "vtd"
	return nil
}

func (q *qemuImport) vtdTranslate(f *fields) error {
	bus, slot, fn, iova, gpa, mask := f.n[0], f.n[1], f.n[2], f.n[3], f.n[4], f.n[5]
	size, ok := pageSize(mask)
	if !ok || bus > 0xff || slot > 0x1f || fn > 7 {
		return q.malformed("vtd_dmar_translate", "a PCI function and the mask of a page", "bus "+uitoa(bus)+" mask 0x"+strconv.FormatUint(mask, 16))
	}
	page := q.page
	q.page.ok = false
	if iova >= vtdMSIBase && iova <= vtdMSILast {
		q.skip("translation of an interrupt write", 1)
		return nil
	}
	sid := q.alias(emu.SourceID(bus<<8 | slot<<3 | fn))
	at, perm := emu.IOVA(iova), PermRW
	if page.ok && page.sid == sid && uint64(page.iova)&^mask == iova&^mask {
		at, perm = page.iova, page.perm
	} else {
		q.skip("translation without its IOTLB line, taken as rw at the start of the page", 1)
	}
	if perm == 0 {
		q.skip("translation without permission", 1)
		return nil
	}
	pa := emu.PA(gpa&^mask | uint64(at)&mask)
	q.translated(Space{sid, emu.NoPASID}, at, target{pa, true}, size, perm)
	return nil
}

func (q *qemuImport) vtdFault(f *fields) error {
	perm := PermR
	if f.n[3] != 0 {
		perm = PermW
	}
	q.mark("fault reason "+uitoa(f.n[1]), Event{SID: q.alias(emu.SourceID(f.n[0])), PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[2]), Perm: perm})
	return nil
}

func (q *qemuImport) vtdDesc(f *fields) error {
	e, mark, ok := vtdDescriptor(f.n[1], f.n[0])
	switch {
	case !ok:
		q.skip("invalidation descriptor of an unknown type", 1)
	case e.Kind == Invalidate:
		q.descriptor = e
		q.invalidated(e)
	case mark != "":
		q.mark(mark, e)
	default:
		q.report.Ignored++
	}
	return nil
}

// vtdDecoded takes a decoded invalidation unless the raw one came right before.
func (q *qemuImport) vtdDecoded(e Event) error {
	if e == q.descriptor {
		q.report.Ignored++
	} else {
		q.invalidated(e)
	}
	q.descriptor = Event{}
	return nil
}

func (q *qemuImport) vtdIOTLBGlobal(*fields) error {
	return q.vtdDecoded(Event{Kind: Invalidate, SID: NoSID, PASID: emu.NoPASID})
}

func (q *qemuImport) vtdIOTLBDomain(f *fields) error {
	return q.vtdDecoded(Event{Kind: Invalidate, SID: NoSID, PASID: emu.NoPASID, PA: emu.PA(f.n[0]), HasPA: true})
}

func (q *qemuImport) vtdIOTLBPages(f *fields) error {
	e, _, _ := vtdDescriptor(f.n[0]&0xffff<<16|0x32, f.n[1]&^(emu.PageSize-1)|f.n[2]&0x3f)
	return q.vtdDecoded(e)
}

func (q *qemuImport) vtdRegRead(f *fields) error {
	q.add(Event{Kind: RegRead, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), Len: f.n[1] & 0xff})
	return nil
}

func (q *qemuImport) vtdRegWrite(f *fields) error {
	q.add(Event{Kind: RegWrite, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), Len: f.n[1] & 0xff, PA: emu.PA(f.n[2]), HasPA: true})
	return nil
}

func (q *qemuImport) vtdMSI(f *fields) error {
	q.add(Event{Kind: IRQ, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), PA: emu.PA(f.n[1]), HasPA: true})
	return nil
}
