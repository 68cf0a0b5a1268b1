package entry

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuCap is a field that is reserved without a capability.
type smmuCap struct {
	bit  reg.Bits
	what string
	has  func(v *SMMUv3) bool
}

var steCaps = []smmuCap{
	{spec.SteNSCFG, "Secure streams", func(*SMMUv3) bool { return false }},
	{spec.SteS2HWU, "PBHA", func(v *SMMUv3) bool { return v.idr3(spec.Idr3PBHA) }},
	{spec.SteS1PIE, "S1PI", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S1PI) }},
	{spec.SteS2FWB, "FWB", func(v *SMMUv3) bool { return v.idr3(spec.Idr3FWB) }},
	{spec.SteS1MPAM, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.SteEATS, "ATS", func(v *SMMUv3) bool { return v.idr0(spec.Idr0ATS) }},
	{spec.StePPAR, "PRI", func(v *SMMUv3) bool { return v.idr0(spec.Idr0PRI) }},
	{spec.SteSTRW, "HYP", func(v *SMMUv3) bool { return v.idr0(spec.Idr0HYP) }},
	{spec.SteMemAttr, "ATTR_TYPES_OVR", func(v *SMMUv3) bool { return v.idr1(spec.Idr1AttrTypesOvr) }},
	{spec.SteMTCFG, "ATTR_TYPES_OVR", func(v *SMMUv3) bool { return v.idr1(spec.Idr1AttrTypesOvr) }},
	{spec.SteALLOCCFG, "ATTR_TYPES_OVR", func(v *SMMUv3) bool { return v.idr1(spec.Idr1AttrTypesOvr) }},
	{spec.SteSHCFG, "ATTR_TYPES_OVR", func(v *SMMUv3) bool { return v.idr1(spec.Idr1AttrTypesOvr) }},
	{spec.StePRIVCFG, "ATTR_PERMS_OVR", func(v *SMMUv3) bool { return v.idr1(spec.Idr1AttrPermsOvr) }},
	{spec.SteINSTCFG, "ATTR_PERMS_OVR", func(v *SMMUv3) bool { return v.idr1(spec.Idr1AttrPermsOvr) }},
	{spec.SteS2HAFT, "HTTU=3", func(v *SMMUv3) bool { return v.httu() == spec.HTTUTable }},
	{spec.SteS2PIE, "S2PI", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S2PI) }},
	{spec.SteS2POE, "S2PO", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S2PO) }},
	{spec.SteS2POI, "S2PO", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S2PO) }},
	{spec.SteDPTVMatch, "DPT", func(v *SMMUv3) bool { return v.idr3(spec.Idr3DPT) }},
	{spec.SteS2SL02, "DS", func(v *SMMUv3) bool { return v.idr5(spec.Idr5DS) }},
	{spec.SteS2DS, "DS", func(v *SMMUv3) bool { return v.idr5(spec.Idr5DS) }},
	{spec.SteS2SKL, "D128", func(v *SMMUv3) bool { return v.idr5(spec.Idr5D128) }},
	{spec.StePARTID, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.StePMG, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.SteMPAMNS, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.SteVMSPtr, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.SteMECID, "RME_IMPL", func(v *SMMUv3) bool { return v.idr0(spec.Idr0RMEImpl) }},
	{spec.SteAssuredOnly, "THE", func(v *SMMUv3) bool { return v.idr3(spec.Idr3THE) }},
	{spec.SteTL0, "THE", func(v *SMMUv3) bool { return v.idr3(spec.Idr3THE) }},
	{spec.SteTL1, "THE", func(v *SMMUv3) bool { return v.idr3(spec.Idr3THE) }},
}

// httu is the code of IDR0.HTTU.
func (v SMMUv3) httu() uint64 { return spec.Idr0HTTU.Of(uint64(v.IDR0)) }

// capable checks reserved bits and fields of capabilities that the unit lacks.
func (v SMMUv3) capable(l *reg.Layout, raw []uint64, list []smmuCap) error {
	for _, c := range list {
		if c.bit.Get(raw) != 0 && !c.has(&v) {
			return fmt.Errorf("%v needs %s, which this unit lacks", fieldNames(l, maskOf(c.bit, len(raw))), c.what)
		}
	}
	return clean(l, raw, 0)
}

// within checks the width of an address.
func (v SMMUv3) within(name string, addr uint64, bits uint8) error {
	if addr>>bits != 0 {
		return fmt.Errorf("%s %#x is wider than %d bits", name, addr, bits)
	}
	return nil
}

// granules are the capabilities that granules need.
var granules = map[spec.Granule]reg.Bits{
	spec.Granule4K: spec.Idr5GRAN4K, spec.Granule16K: spec.Idr5GRAN16K, spec.Granule64K: spec.Idr5GRAN64K,
}

func (v SMMUv3) legalGranule(g spec.Granule) error {
	if bit, ok := granules[g]; !ok || !v.idr5(bit) {
		return fmt.Errorf("granule of 2^%d bytes is not supported by this unit", g)
	}
	return nil
}

// legalFlags checks hardware updates of flags (3.13).
func (v SMMUv3) legalFlags(ha, hd, haft bool) error {
	switch {
	case (ha || hd) && v.httu() == spec.HTTUNone, hd && v.httu() == spec.HTTUAccess:
		return fmt.Errorf("HA=%t, HD=%t with HTTU=%d", ha, hd, v.httu())
	case haft && !ha:
		return fmt.Errorf("HAFT=1 with HA=0")
	}
	return nil
}

// legalEndian checks the byte order of tables.
func (v SMMUv3) legalEndian(big bool) error {
	if e := spec.Idr0TTENDIAN.Of(uint64(v.IDR0)); big && e == spec.TTEndianLE || !big && e == spec.TTEndianBE {
		return fmt.Errorf("ENDI=%t with TTENDIAN=%d", big, e)
	}
	return nil
}

// legalL1STD checks a level 1 descriptor; Span against STRTAB_BASE_CFG.SPLIT is the driver's to know.
func (v SMMUv3) legalL1STD(raw []uint64) error {
	if span := spec.L1stdSpan.Of(raw[0]); span > spec.MaxSpan {
		return fmt.Errorf("reserved Span %d", span)
	}
	if n := spec.L1STD(raw[0]).STEs(); n > 0 {
		if ptr := raw[0] & spec.L1stdL2Ptr.Mask(); ptr%(n*spec.STESize) != 0 {
			return fmt.Errorf("L2Ptr %#x of %d STEs is not aligned to their size", ptr, n)
		}
	}
	if err := clean(&spec.L1STDLayout, raw, 0); err != nil {
		return err
	}
	return v.within("L2Ptr", raw[0]&spec.L1stdL2Ptr.Mask(), v.oas())
}

// legalSTE checks an STE as 5.2 has it ("ILLEGAL").
func (v SMMUv3) legalSTE(raw []uint64) error {
	if !spec.SteV.On(raw[0]) {
		return nil
	}
	if err := v.capable(&spec.STELayout, raw, steCaps); err != nil {
		return err
	}
	s1, s2 := steConfig(raw)
	config := spec.SteConfig.Of(raw[0])
	switch {
	case spec.SteCONT.Get(raw) != 0:
		return fmt.Errorf("CONT=%d: neighbours would have to change with it", spec.SteCONT.Get(raw))
	case config != spec.ConfigAbort && config < spec.ConfigBypass:
		return fmt.Errorf("reserved Config=%d", config)
	case s1 && !v.idr0(spec.Idr0S1P):
		return fmt.Errorf("stage 1 is not supported by this unit")
	case s2 && !v.idr0(spec.Idr0S2P):
		return fmt.Errorf("stage 2 is not supported by this unit")
	case !s1 && !s2:
		return nil
	}
	if err := v.legalEATS(raw, s2); err != nil {
		return err
	}
	if strw := spec.SteSTRW.Get(raw); config == spec.ConfigS1 && strw&1 != 0 {
		return fmt.Errorf("STRW=%d is reserved", strw)
	}
	if vmid := spec.SteS2VMID.Get(raw); vmid > 0xff && !v.idr0(spec.Idr0VMID16) && v.idr0(spec.Idr0S2P) && !v.isEL2(raw) {
		return fmt.Errorf("S2VMID %#x of 8 bits", vmid)
	}
	if s1 {
		if err := v.legalS1(raw, s2); err != nil {
			return err
		}
	}
	if s2 {
		return v.legalS2(raw)
	}
	return nil
}

// legalEATS checks ATS (5.2, EATS).
func (v SMMUv3) legalEATS(raw []uint64, s2 bool) error {
	stall := s2 && spec.SteS2S.Get(raw) != 0
	switch eats := spec.SteEATS.Get(raw); {
	case eats == spec.EATSFull && stall:
		return fmt.Errorf("EATS=%d with S2S=1", eats)
	case eats == spec.EATSSplit && (stall || spec.SteConfig.Of(raw[0]) != spec.ConfigNested || v.idr0(spec.Idr0NS1ATS)):
		return fmt.Errorf("EATS=%d needs both stages, S2S=0 and split-stage ATS", eats)
	case eats == spec.EATSDPT && (!v.idr3(spec.Idr3DPT) || stall || spec.SteSTRW.Get(raw) != 0):
		return fmt.Errorf("EATS=%d needs device permission tables, S2S=0 and STRW=0", eats)
	}
	return nil
}

// legalS1 checks what leads to the CDs.
func (v SMMUv3) legalS1(raw []uint64, s2 bool) error {
	if spec.SteS1STALLD.Get(raw) != 0 && spec.Idr0StallModel.Of(uint64(v.IDR0)) != spec.StallBoth {
		return fmt.Errorf("S1STALLD=1 with STALL_MODEL=%d", spec.Idr0StallModel.Of(uint64(v.IDR0)))
	}
	cdmax, format := spec.SteS1CDMax.Of(raw[0]), spec.SteS1Fmt.Of(raw[0])
	switch {
	case cdmax > v.substreams():
		return fmt.Errorf("S1CDMax %d, SubstreamIDs have %d bits", cdmax, v.substreams())
	case cdmax != 0 && format != spec.S1FmtLinear && (!v.idr0(spec.Idr0CD2L) || format > spec.S1Fmt64K):
		return fmt.Errorf("S1Fmt=%d: two-level CD tables of that kind are not supported by this unit", format)
	case cdmax != 0 && spec.SteS1DSS.Get(raw) > spec.DSSSSID0:
		return fmt.Errorf("S1DSS=%d is reserved", spec.SteS1DSS.Get(raw))
	}
	size := uint64(spec.CDSize)
	if split := uint64(spec.CDSplit(format)); cdmax != 0 && split != 0 {
		size = spec.DescSize << max(int(cdmax)-int(split), 0)
	} else {
		size <<= cdmax
	}
	ptr := raw[0] & spec.SteS1Context.Mask()
	if ptr%max(size, 64) != 0 {
		return fmt.Errorf("S1ContextPtr %#x is not aligned to the %d bytes of its table", ptr, size)
	}
	width := v.oas()
	if s2 {
		width = v.ias()
	}
	return v.within("S1ContextPtr", ptr, width)
}

// legalS2 checks stage 2: what it needs, and that input size, start level, granule and table agree.
func (v SMMUv3) legalS2(raw []uint64) error {
	model, stall := spec.Idr0StallModel.Of(uint64(v.IDR0)), spec.SteS2S.Get(raw)
	switch {
	case stall != 0 && model == spec.StallNever, stall == 0 && model == spec.StallAlways:
		return fmt.Errorf("S2S=%d with STALL_MODEL=%d", stall, model)
	case spec.SteS2AA64.Get(raw) == 0:
		return fmt.Errorf("S2AA64=0: tables of VMSAv8-32 are not planned for")
	case !v.ttf(spec.TTFAArch64):
		return fmt.Errorf("S2AA64=1 is not supported by this unit")
	}
	if err := v.legalFlags(spec.SteS2HA.Get(raw) != 0, spec.SteS2HD.Get(raw) != 0, spec.SteS2HAFT.Get(raw) != 0); err != nil {
		return err
	}
	if err := v.legalEndian(spec.SteS2ENDI.Get(raw) != 0); err != nil {
		return err
	}
	g, ds := spec.GranuleTG0(spec.SteS2TG.Get(raw)), spec.SteS2DS.Get(raw) != 0
	if err := v.legalGranule(g); err != nil {
		return err
	}
	lowest := uint64(64 - v.ias())
	if g != spec.Granule64K && !ds {
		lowest = max(lowest, 16)
	}
	t0sz := spec.SteS2T0SZ.Get(raw)
	if highest := v.smallest(g); t0sz < max(lowest, 12) || t0sz > highest {
		return fmt.Errorf("S2T0SZ %d, want %d to %d", t0sz, max(lowest, 12), highest)
	}
	sl0 := spec.SteS2SL0.Get(raw) | spec.SteS2SL02.Get(raw)<<2
	level, ok := spec.S2StartLevel(g, sl0)
	if !ok || level == spec.LevelPage && g == spec.Granule4K && !v.idr3(spec.Idr3STT) || level > 3 && !ds || g == spec.Granule16K && level == 3 && !ds {
		return fmt.Errorf("S2SL0 %d is reserved with granules of 2^%d bytes", sl0, g)
	}
	// Bits that index the start tables: as many as one of them has, and up to 4 for tables side by side.
	index := 64 - int(t0sz) - int(g.Shift(level))
	if index < 1 || index > int(g.Stride())+spec.MaxConcatenated {
		return fmt.Errorf("S2T0SZ %d does not go with a walk from level %d of granules of 2^%d bytes", t0sz, level, g)
	}
	ttb := raw[spec.SteS2TTB.Word()] & spec.SteS2TTB.Mask()
	if ttb%(8<<index) != 0 {
		return fmt.Errorf("S2TTB %#x is not aligned to the %d bytes of its tables", ttb, 8<<index)
	}
	out := min(spec.OASBits(spec.SteS2PS.Get(raw)), v.oas())
	if g != spec.Granule64K && !ds {
		out = min(out, 48)
	}
	return v.within("S2TTB", ttb, out)
}
