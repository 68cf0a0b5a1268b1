package traces

import (
	"maps"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// smmuRegion is how messages about a translation begin; what follows names the device.
const smmuRegion = "smmuv3-iommu-memory-region"

// qemuSMMUv3 are the events of QEMU's arm-smmuv3, as releases since 4.0 write them: identifiers became
// hexadecimal and got an 0x, and VMIDs and stages were added. Where nothing is done the line repeats
// another, or shows the inside of QEMU.
var qemuSMMUv3 = []rule[*qemuImport]{
	// A translation, in this order.
	{"smmuv3_config_cache_hit", smmuConfigTexts("HIT"), (*qemuImport).smmuConfig},
	{"smmuv3_config_cache_miss", smmuConfigTexts("MISS"), (*qemuImport).smmuConfig},
	{"smmu_iotlb_lookup_hit", smmuLookupTexts("HIT"), (*qemuImport).smmuLookup},
	{"smmu_iotlb_lookup_miss", smmuLookupTexts("MISS"), (*qemuImport).smmuLookup},
	{"smmu_iotlb_cache_hit", smmuLookupTexts("HIT"), (*qemuImport).smmuLookup},
	{"smmu_iotlb_cache_miss", smmuLookupTexts("MISS"), (*qemuImport).smmuLookup},
	{"smmu_iotlb_insert", []string{"IOTLB ++ asid=%d vmid=%d addr=%x tg=%d level=%d", "IOTLB ++ asid=%d addr=%x tg=%d level=%d"}, (*qemuImport).smmuInsert},
	{"smmuv3_translate_success", []string{
		"%w sid=0x%x iova=%x translated=%x perm=%x stage=%d", "%w sid=0x%x iova=%x translated=%x perm=%x", "%w sid=%d iova=%x translated=%x perm=%x",
	}, (*qemuImport).smmuSuccess},
	{"smmuv3_translate_disable", []string{"%w sid=0x%x bypass (smmu disabled) iova:%x is_write=%d", "%w sid=%d bypass (smmu disabled) iova:%x is_write=%d"}, (*qemuImport).smmuPass},
	{"smmuv3_translate_bypass", []string{"%w sid=0x%x STE bypass iova:%x is_write=%d", "%w sid=%d STE bypass iova:%x is_write=%d"}, (*qemuImport).smmuPass},
	{"smmuv3_translate_abort", []string{"%w sid=0x%x abort on iova:%x is_write=%d", "%w sid=%d abort on iova:%x is_write=%d"}, (*qemuImport).smmuAbort},
	{smmuRegion, []string{"translation failed for iova=%x (%*"}, (*qemuImport).smmuFailed},
	{"smmuv3_propagate_event", smmuEventTexts, (*qemuImport).smmuEvent},
	{"smmuv3_record_event", smmuEventTexts, (*qemuImport).smmuEvent},

	// Commands. What invalidates translations has a line of its own.
	{"smmuv3_cmdq_opcode", []string{"<--- %*"}, (*qemuImport).smmuCommand},
	{"smmuv3_range_inval", smmuRangeTexts, (*qemuImport).smmuRange},
	{"smmuv3_s1_range_inval", smmuRangeTexts, (*qemuImport).smmuRange},
	{"smmuv3_cmdq_tlbi_nh_va", smmuRangeTexts[2:], (*qemuImport).smmuRange},
	{"smmuv3_cmdq_tlbi_nh_vaa", []string{"vmid =%d addr=%x"}, (*qemuImport).smmuRangeAll},
	{"smmuv3_cmdq_tlbi_nh_asid", []string{"asid=%d"}, (*qemuImport).smmuASID},
	{"smmuv3_cmdq_tlbi_nh", []string{"vmid=%d", ""}, (*qemuImport).smmuStage1},
	{"smmuv3_cmdq_tlbi_s12_vmid", []string{"vmid=%d"}, (*qemuImport).smmuVMID},
	{"smmuv3_cmdq_tlbi_nsnh", []string{""}, (*qemuImport).smmuAll},
	{"smmuv3_cmdq_cfgi_ste", []string{"streamid= 0x%x", "streamid =%d"}, smmuMark("STE invalidation")},
	{"smmuv3_cmdq_cfgi_ste_range", []string{"start=0x%x - end=0x%x"}, (*qemuImport).smmuSTERange},
	{"smmuv3_cmdq_cfgi_cd", []string{"sid=0x%x", "streamid = %d"}, smmuMark("CD invalidation")},
	{"smmuv3_cmdq_consume_error", []string{"Error on %w command execution: %d"}, (*qemuImport).smmuCommandError},
	{"smmuv3_unhandled_cmd", []string{"Unhandled command type=%d"}, nil},
	{"smmuv3_cmdq_consume", []string{"prod=%d cons=%d prod.wrap=%d cons.wrap=%d"}, nil},
	{"smmuv3_cmdq_consume_out", []string{"prod:%d, cons:%d, prod_wrap:%d, cons_wrap:%d"}, nil},
	{"smmu_iotlb_inv_all", []string{"IOTLB invalidate all"}, nil},
	{"smmu_iotlb_inv_asid_vmid", []string{"IOTLB invalidate asid=%d vmid=%d"}, nil},
	{"smmu_iotlb_inv_asid", []string{"IOTLB invalidate asid=%d"}, nil},
	{"smmu_iotlb_inv_vmid", []string{"IOTLB invalidate vmid=%d"}, nil},
	{"smmu_iotlb_inv_vmid_s1", []string{"IOTLB invalidate vmid=%d"}, nil},
	{"smmu_iotlb_inv_iova", []string{"IOTLB invalidate asid=%d addr=%x"}, nil},
	{"smmu_config_cache_inv", smmuCacheInvTexts, nil},
	{"smmuv3_config_cache_inv", smmuCacheInvTexts, nil},
	{"smmu_configs_inv_sid_range", []string{"Config cache INV SID range from 0x%x to 0x%x"}, nil},

	// Registers.
	{"smmuv3_read_mmio", []string{"addr: %x val:%x size: %x(%d)"}, (*qemuImport).smmuRead},
	{"smmuv3_write_mmio", []string{"addr: %x val:%x size: %x(%d)"}, (*qemuImport).smmuWrite},
	{"smmuv3_write_gerror", []string{"toggled=%x, new GERROR=%x"}, (*qemuImport).smmuGError},
	{"smmuv3_write_gerrorn", []string{"acked=%x, new GERRORN=%x"}, nil},
	{"smmuv3_write_mmio_idr", []string{"write to RO/Unimpl reg %x val64:%x"}, nil},
	{"smmuv3_trigger_irq", []string{"irq=%d"}, nil},

	{"smmuv3_find_ste", []string{"sid=0x%x features:%x, sid_split:%x", "SID:0x%x features:%x, sid_split:%x"}, nil},
	{"smmuv3_find_ste_2lvl", []string{"strtab_base:%x l1ptr:%x l1_off:%x, l2ptr:%x l2_off:%x max_l2_ste:%d"}, nil},
	{"smmuv3_get_ste", []string{"STE addr: %x"}, nil},
	{"smmuv3_get_cd", []string{"CD addr: %x"}, nil},
	{"smmuv3_decode_cd", []string{"oas=%d"}, nil},
	{"smmuv3_decode_cd_tt", []string{"TT[%d]:tsz:%d ttb:%x granule_sz:%d had:%d", "TT[%d]:tsz:%d ttb:%x granule_sz:%d"}, nil},
	{"smmu_get_pte", []string{"baseaddr=%x index=%x, pteaddr=%x, pte=%x"}, nil},
	{"smmu_ptw_level", []string{
		"stage=%d level=%d iova=%x subpage_sz=%x baseaddr=%x offset=%d => pte=%x", "level=%d iova=%x subpage_sz=%x baseaddr=%x offset=%d => pte=%x",
	}, nil},
	{"smmu_ptw_page_pte", []string{"stage=%d level=%d iova=%x base@=%x pte@=%x pte=%x page address = %x"}, nil},
	{"smmu_ptw_block_pte", []string{"stage=%d level=%d base@=%x pte@=%x pte=%x iova=%x block address = %x block size = %d MiB"}, nil},
	{"smmu_ptw_invalid_pte", []string{"stage=%d level=%d base@=%x pte@=%x offset=%d pte=%x"}, nil},

	// Of the device model; the last two are messages of it.
	{name: "smmu_add_mr"}, {name: "smmu_reset_exit"}, {name: "smmu_inv_notifiers_mr"}, {name: "smmuv3_inv_notifiers_iova"},
	{name: "smmuv3_notify_flag_add"}, {name: "smmuv3_notify_flag_del"}, {name: "smmuv3_accel_set_iommu_device"},
	{name: "smmuv3_accel_unset_iommu_device"}, {name: "smmuv3_accel_translate_ste"}, {name: "smmuv3_accel_install_ste"},
	{name: "smmu_page_walk"}, {name: "smmu_lookup_table"}, {name: "smmuv3_update"}, {name: "smmuv3_update_check_cmd"},
	{name: "smmuv3_write_mmio_evtq_cons_bef_clear"}, {name: "smmuv3_write_mmio_evtq_cons_after_clear"},
	{name: "smmu_readl"}, {name: "smmu_readll"}, {name: "smmu_writel"}, {name: "smmu_writell"},
}

var (
	smmuEventTexts = []string{"%w sid=0x%x", "%w sid=%d"}
	smmuRangeTexts = []string{
		"vmid=%d asid=%d addr=%x tg=%d num_pages=%x ttl=%d leaf=%d stage=%d", "vmid=%d asid=%d addr=%x tg=%d num_pages=%x ttl=%d leaf=%d",
		"vmid =%d asid =%d addr=%x tg=%d num_pages=%x ttl=%d leaf=%d", "vmid =%d asid =%d addr=%x leaf=%d",
	}
	smmuCacheInvTexts = []string{"Config cache INV for sid=0x%x", "Config cache INV for sid %d"}
)

func smmuConfigTexts(outcome string) []string {
	return []string{
		"Config cache " + outcome + " for sid=0x%x (hits=%d, misses=%d, hit rate=%d)",
		"Config cache " + outcome + " for sid %d (hits=%d, misses=%d, hit rate=%d)",
	}
}

func smmuLookupTexts(outcome string) []string {
	return []string{
		"IOTLB cache " + outcome + " asid=%d vmid=%d addr=%x hit=%d miss=%d hit rate=%d",
		"IOTLB cache " + outcome + " asid=%d addr=%x hit=%d miss=%d hit rate=%d",
	}
}

// smmuLook is what the lines before a result say about it.
type smmuLook struct {
	sid    emu.SourceID // of the configuration looked up
	known  bool         // sid is
	asid   uint64       // of the IOTLB look-up of the input address; smmuNoASID: second stage only
	vmid   uint64
	iova   uint64
	ok     bool   // the three are
	page   uint64 // filled into the IOTLB last
	size   uint64 // of it; 0: none
	failed bool   // the message about the failure is marked already
}

// smmuNoASID stands for the ASID of translations of a second stage alone.
const smmuNoASID = 0xffff

// smmuDomain is the number of a domain: the tag of its translations, VMID:ASID.
func smmuDomain(vmid, asid uint64) uint64 { return vmid&0xffff<<16 | asid&0xffff }

func (q *qemuImport) smmuConfig(f *fields) error {
	q.smmu = smmuLook{sid: q.alias(emu.SourceID(f.n[0])), known: true}
	q.trace.Header.IOMMU = "smmuv3"
	q.report.Ignored++
	return nil
}

// smmuLookup keeps the look-up of the input address. Those of table and descriptor addresses of a nested
// translation are of the second stage.
func (q *qemuImport) smmuLookup(f *fields) error {
	q.report.Ignored++
	asid, vmid, addr := f.n[0]&0xffff, uint64(0), f.n[1]
	if f.nn == 6 {
		vmid, addr = f.n[1], f.n[2]
	}
	if l := &q.smmu; !l.ok || l.asid == smmuNoASID {
		l.asid, l.vmid, l.iova, l.ok = asid, vmid, addr, true
	}
	return nil
}

// smmuInsert keeps the size of the page that is translated.
func (q *qemuImport) smmuInsert(f *fields) error {
	q.report.Ignored++
	i := f.nn - 3
	addr, tg, level := f.n[i], f.n[i+1], f.n[i+2]
	if tg == 0 || tg > 3 || level > 3 {
		return q.malformed("smmu_iotlb_insert", "a granule from 1 to 3, a level from 0 to 3", uitoa(tg)+", "+uitoa(level))
	}
	granule := 10 + 2*tg
	q.smmu.size = 1 << (granule + (3-level)*(granule-3))
	q.smmu.page = addr
	return nil
}

func (q *qemuImport) smmuSuccess(f *fields) error {
	sid, iova, pa, perm := q.alias(emu.SourceID(f.n[0])), f.n[1], f.n[2], Perm(f.n[3])&PermRW
	l := q.smmu
	q.smmu = smmuLook{}
	q.trace.Header.IOMMU = "smmuv3"
	if perm == 0 {
		q.skip("translation without permission", 1)
		return nil
	}
	size := uint64(emu.PageSize)
	if l.size != 0 && l.size < MaxLen && iova&^(l.size-1) == l.page && pa&(l.size-1) == iova&(l.size-1) {
		size = l.size
	}
	s := Space{sid, emu.NoPASID}
	if l.ok && l.iova&^(emu.PageSize-1) == iova&^(emu.PageSize-1) {
		q.inDomain(s, smmuDomain(l.vmid, l.asid))
	}
	q.translated(s, emu.IOVA(iova), target{emu.PA(pa), true}, size, perm)
	return nil
}

// smmuPass is a request that is not translated. Its is_write says that it passes, not what it is.
func (q *qemuImport) smmuPass(f *fields) error {
	q.smmu = smmuLook{}
	q.trace.Header.IOMMU = "smmuv3"
	s := Space{q.alias(emu.SourceID(f.n[0])), emu.NoPASID}
	q.translated(s, emu.IOVA(f.n[1]), target{emu.PA(f.n[1]), true}, emu.PageSize, PermRW)
	return nil
}

func (q *qemuImport) smmuAbort(f *fields) error {
	q.smmu = smmuLook{}
	q.mark("abort", Event{SID: q.alias(emu.SourceID(f.n[0])), PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[1])})
	return nil
}

// smmuFailed is the message about a fault, if it is in the log. It has the address; the event that follows
// it, if one is recorded, has not.
func (q *qemuImport) smmuFailed(f *fields) error {
	sid := NoSID
	if q.smmu.known {
		sid = q.smmu.sid
	}
	q.mark(smmuEventName(strings.TrimSuffix(f.s[0], ")")), Event{SID: sid, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0])})
	q.smmu = smmuLook{failed: true}
	return nil
}

func (q *qemuImport) smmuEvent(f *fields) error {
	l := q.smmu
	q.smmu = smmuLook{}
	if l.failed {
		q.report.Ignored++
		return nil
	}
	e := Event{SID: q.alias(emu.SourceID(f.n[0])), PASID: emu.NoPASID}
	if l.ok && l.asid != smmuNoASID {
		e.IOVA = emu.IOVA(l.iova)
	}
	q.mark(smmuEventName(f.s[0]), e)
	return nil
}

// smmuEventName is the specification's name of an event.
func smmuEventName(s string) string { return strings.TrimPrefix(s, "SMMU_EVT_") }

// smmuCommand marks commands that have no other line.
func (q *qemuImport) smmuCommand(f *fields) error {
	name := strings.TrimPrefix(f.s[0], "SMMU_CMD_")
	for _, known := range []string{"SYNC", "CFGI_", "TLBI_NH_", "TLBI_NSNH_", "TLBI_S12_", "TLBI_S2_", "INVALID"} {
		if strings.HasPrefix(name, known) {
			q.report.Ignored++
			return nil
		}
	}
	q.mark("CMD_"+name, Event{SID: NoSID, PASID: emu.NoPASID})
	return nil
}

func (q *qemuImport) smmuCommandError(f *fields) error {
	q.mark("command error "+uitoa(f.n[0])+" of "+strings.TrimPrefix(f.s[0], "SMMU_"), Event{SID: NoSID, PASID: emu.NoPASID})
	return nil
}

// smmuInvalidate records an invalidation of every domain that was seen and that the function takes, or, if
// there is none, of the domain given.
func (q *qemuImport) smmuInvalidate(e Event, domain uint64, takes func(vmid, asid uint64) bool) {
	e.Kind, e.SID, e.PASID, e.HasPA = Invalidate, NoSID, emu.NoPASID, true
	any := false
	for _, d := range slices.Sorted(maps.Keys(q.deriver.spacesOf)) {
		if takes(d>>16, d&0xffff) {
			e.PA, any = emu.PA(d), true
			q.invalidated(e)
		}
	}
	if !any {
		e.PA = emu.PA(domain)
		q.invalidated(e)
	}
}

// smmuRange is TLBI_NH_VA, TLBI_NH_VAA (all ASIDs: -1) or TLBI_S2_IPA. A range is told in pieces.
func (q *qemuImport) smmuRange(f *fields) error {
	vmid, asid := f.n[0]&0xffff, f.n[1]&0xffff
	e := Event{IOVA: emu.IOVA(f.n[2] &^ (emu.PageSize - 1)), Len: emu.PageSize}
	stage := uint64(1)
	if f.nn >= 7 {
		tg, pages := f.n[3], f.n[4]
		if tg > 3 || pages == 0 {
			return q.malformed("smmuv3_range_inval", "a granule up to 3, at least one page", uitoa(tg)+", "+uitoa(pages))
		}
		if tg != 0 {
			shift := 10 + 2*tg
			e.Len = pages << shift
			if pages > MaxLen>>shift {
				e.IOVA, e.Len = 0, 0
			}
		}
	}
	if f.nn == 8 {
		stage = f.n[7]
	}
	q.smmuInvalidate(e, smmuDomain(vmid, asid), func(v, a uint64) bool {
		return v == vmid && (a == asid || asid == smmuNoASID && stage == 1)
	})
	return nil
}

// smmuRangeAll is TLBI_NH_VAA of older releases.
func (q *qemuImport) smmuRangeAll(f *fields) error {
	e := Event{IOVA: emu.IOVA(f.n[1] &^ (emu.PageSize - 1)), Len: emu.PageSize}
	q.smmuInvalidate(e, smmuDomain(f.n[0], smmuNoASID), func(v, _ uint64) bool { return v == f.n[0]&0xffff })
	return nil
}

// smmuASID is TLBI_NH_ASID. Its line has no VMID: it is taken for all.
func (q *qemuImport) smmuASID(f *fields) error {
	q.smmuInvalidate(Event{}, smmuDomain(0, f.n[0]), func(_, a uint64) bool { return a == f.n[0]&0xffff })
	return nil
}

// smmuStage1 is TLBI_NH_ALL; older releases have no VMID.
func (q *qemuImport) smmuStage1(f *fields) error {
	if f.nn == 0 {
		return q.smmuAll(f)
	}
	q.smmuInvalidate(Event{}, smmuDomain(f.n[0], smmuNoASID), func(v, a uint64) bool { return v == f.n[0]&0xffff && a != smmuNoASID })
	return nil
}

// smmuVMID is TLBI_S12_VMALL.
func (q *qemuImport) smmuVMID(f *fields) error {
	q.smmuInvalidate(Event{}, smmuDomain(f.n[0], smmuNoASID), func(v, _ uint64) bool { return v == f.n[0]&0xffff })
	return nil
}

func (q *qemuImport) smmuAll(*fields) error {
	q.invalidated(Event{Kind: Invalidate, SID: NoSID, PASID: emu.NoPASID})
	return nil
}

func smmuMark(text string) func(*qemuImport, *fields) error {
	return func(q *qemuImport, f *fields) error {
		q.mark(text, Event{SID: q.alias(emu.SourceID(f.n[0])), PASID: emu.NoPASID})
		return nil
	}
}

// smmuSTERange is CFGI_STE_RANGE, or CFGI_ALL as the range of everything.
func (q *qemuImport) smmuSTERange(f *fields) error {
	e := Event{SID: NoSID, PASID: emu.NoPASID}
	if f.n[0] == f.n[1] {
		e.SID = q.alias(emu.SourceID(f.n[0]))
	}
	q.mark("STE invalidation", e)
	return nil
}

func (q *qemuImport) smmuRead(f *fields) error {
	q.add(Event{Kind: RegRead, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), Len: f.n[2] & 0xff, PA: emu.PA(f.n[1]), HasPA: true})
	return nil
}

func (q *qemuImport) smmuWrite(f *fields) error {
	q.add(Event{Kind: RegWrite, SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[0]), Len: f.n[2] & 0xff, PA: emu.PA(f.n[1]), HasPA: true})
	return nil
}

func (q *qemuImport) smmuGError(f *fields) error {
	q.mark("GERROR", Event{SID: NoSID, PASID: emu.NoPASID, IOVA: emu.IOVA(f.n[1])})
	return nil
}
