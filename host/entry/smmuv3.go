package entry

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// SMMUv3 makes the formats of Arm SMMUv3. It holds what legality depends on.
type SMMUv3 struct {
	IDR0, IDR1, IDR3, IDR5 uint32 // identification registers
	// Wide: the unit reads, and processors store, 16 bytes in one piece. The architecture only promises
	// 8 (3.21.1); 16 come with processors that have FEAT_LSE2.
	Wide bool
}

func (v SMMUv3) idr0(b reg.Bits) bool { return b.On(uint64(v.IDR0)) }
func (v SMMUv3) idr1(b reg.Bits) bool { return b.On(uint64(v.IDR1)) }
func (v SMMUv3) idr3(b reg.Bits) bool { return b.On(uint64(v.IDR3)) }
func (v SMMUv3) idr5(b reg.Bits) bool { return b.On(uint64(v.IDR5)) }

// oas is the number of output address bits.
func (v SMMUv3) oas() uint8 { return spec.OASBits(spec.Idr5OAS.Of(uint64(v.IDR5))) }

// ias is the number of intermediate address bits (3.4).
func (v SMMUv3) ias() uint8 {
	if v.ttf(spec.TTFAArch32) {
		return max(40, v.oas())
	}
	return v.oas()
}

// ttf reports whether a format of tables is supported.
func (v SMMUv3) ttf(f uint64) bool { return spec.Idr0TTF.Of(uint64(v.IDR0))&f != 0 }

// substreams is how many bits a SubstreamID has.
func (v SMMUv3) substreams() uint64 { return spec.Idr1SSIDSIZE.Of(uint64(v.IDR1)) }

// smmuFormat fills in what STE and CD have in common. A reader may have read any part of an entry at
// any time, whatever V was when it read the first (3.21.1), and an invalid entry may be cached.
func (v SMMUv3) smmuFormat(l *reg.Layout, valid reg.Bits) *Format {
	f := &Format{
		Name: l.Name, Words: l.Words(), Unit: 8,
		Block:  func(raw []uint64) { raw[0] &^= valid.Mask() },
		Fields: func(mask []uint64) []string { return fieldNames(l, mask) },
		linux:  linuxByCritical,
	}
	if v.Wide && f.Words > 1 {
		f.Unit = 16
	}
	return f
}

// L1STD describes a level 1 stream table descriptor (5.1): one store changes all of it.
func (v SMMUv3) L1STD() *Format {
	f := v.smmuFormat(&spec.L1STDLayout, spec.L1stdSpan)
	f.Present = func(raw []uint64) bool { return spec.L1STD(raw[0]).STEs() > 0 }
	f.Used = func(raw, mask []uint64) {
		use(mask, spec.L1stdSpan)
		if f.Present(raw) {
			use(mask, spec.L1stdL2Ptr)
		}
	}
	f.Legal = v.legalL1STD
	return f
}

// L1CD describes a level 1 context descriptor (5.3): one store changes all of it.
func (v SMMUv3) L1CD() *Format {
	f := v.smmuFormat(&spec.L1CDLayout, spec.L1cdV)
	f.Present = func(raw []uint64) bool { return spec.L1cdV.On(raw[0]) }
	f.Used = func(raw, mask []uint64) {
		use(mask, spec.L1cdV)
		if f.Present(raw) {
			use(mask, spec.L1cdL2Ptr)
		}
	}
	f.Legal = func(raw []uint64) error {
		if !f.Present(raw) {
			return nil
		}
		if err := clean(&spec.L1CDLayout, raw, 0); err != nil {
			return err
		}
		return v.within("L2Ptr", raw[0]&spec.L1cdL2Ptr.Mask(), v.ias())
	}
	return f
}

// STE describes a stream table entry (5.2). The pointer to the CDs, with what says how to use it, is in
// the first word; VMID and stage 2 control in the third, the stage 2 table in the fourth. An entry
// that aborts without an event (Config 0) blocks as one does that is not valid. CDs may be cached by
// StreamID and SubstreamID: see Format.Below.
func (v SMMUv3) STE() *Format {
	f := v.smmuFormat(&spec.STELayout, spec.SteV)
	f.ID = spec.SteS2VMID
	f.Safe = make([]uint64, f.Words)
	use(f.Safe, spec.SteMEV)
	f.SafeBetween = safeEATS
	f.Present = func(raw []uint64) bool { return spec.SteV.On(raw[0]) && spec.SteConfig.Of(raw[0])&4 != 0 }
	f.Used, f.Below = v.usedSTE, belowSTE
	f.Legal = v.legalSTE
	return f
}

// safeEATS is full ATS while it changes: the device's own is off then. Together with split-stage ATS, or where
// stage 2 stalls, there are values in between that no entry may have (5.2, EATS).
func safeEATS(old, new []uint64) []uint64 {
	safe := make([]uint64, len(old))
	for _, raw := range [][]uint64{old, new} {
		_, s2 := steConfig(raw)
		if spec.SteEATS.Get(raw) > spec.EATSFull || s2 && spec.SteS2S.Get(raw) != 0 {
			return safe
		}
	}
	spec.SteEATS.Set(safe, spec.EATSFull)
	return safe
}

// steConfig takes Config of an entry apart.
func steConfig(raw []uint64) (s1, s2 bool) {
	c := spec.SteConfig.Of(raw[0])
	return c&5 == 5, c&6 == 6
}

// belowSTE returns raw with the CDs of other: a cache of CDs may know StreamID and SubstreamID only, so that
// what it took by one pointer is found under an entry that has another, and is used as that entry says
// (3.21.1: CFGI_STE drops both).
func belowSTE(raw, other []uint64) []uint64 {
	if a, _ := steConfig(raw); !a || raw[0]&other[0]&spec.SteV.Mask() == 0 {
		return nil
	}
	if b, _ := steConfig(other); !b {
		return nil
	}
	mix := append(make([]uint64, 0, len(raw)), raw...)
	cds := spec.SteS1Context.Mask() | spec.SteS1Fmt.Mask() | spec.SteS1CDMax.Mask()
	mix[0] = mix[0]&^cds | other[0]&cds
	if (raw[0]^other[0])&spec.SteConfig.Put(spec.ConfigS1^spec.ConfigNested) != 0 {
		mix[0] ^= spec.SteS1Context.Mask() // a pointer in the other address space: that of no entry
	}
	return mix
}

// isEL2 reports whether stage 1 of an entry is that of a hypervisor, whose translations have no VMID.
func (v SMMUv3) isEL2(raw []uint64) bool {
	return v.idr0(spec.Idr0HYP) && spec.SteConfig.Of(raw[0]) == spec.ConfigS1 && spec.SteSTRW.Get(raw) != spec.STRWEL1
}

// usedSTE marks the bits by Config (5.2, "IGNORED").
func (v SMMUv3) usedSTE(raw, mask []uint64) {
	use(mask, spec.SteV)
	if !spec.SteV.On(raw[0]) {
		return
	}
	use(mask, spec.SteConfig, spec.SteCONT)
	if spec.SteConfig.Of(raw[0])&4 == 0 {
		return
	}
	s1, s2 := steConfig(raw)
	use(mask, spec.SteMEV, spec.SteDRE, spec.SteDCP, spec.StePPAR, spec.StePRIVCFG, spec.SteINSTCFG,
		spec.StePARTID, spec.StePMG, spec.SteMPAMNS, spec.SteMECID)
	bypass := !s1 // of stage 1: the attributes of the transaction go on
	if s1 {
		use(mask, spec.SteS1Context, spec.SteS1CDMax, spec.SteS1CIR, spec.SteS1COR, spec.SteS1CSH,
			spec.SteS1STALLD, spec.SteS1PIE, spec.SteS1MPAM)
		if spec.SteS1CDMax.Of(raw[0]) != 0 {
			use(mask, spec.SteS1Fmt, spec.SteS1DSS)
			bypass = spec.SteS1DSS.Get(raw) == spec.DSSBypass
		}
	}
	if bypass {
		use(mask, spec.SteSHCFG, spec.SteALLOCCFG, spec.SteMTCFG)
		if spec.SteMTCFG.Get(raw) != 0 {
			use(mask, spec.SteMemAttr)
		}
	}
	if !s1 && !s2 {
		return
	}
	if v.idr0(spec.Idr0ATS) {
		use(mask, spec.SteEATS)
	}
	if s1 && !s2 && v.idr0(spec.Idr0HYP) {
		use(mask, spec.SteSTRW)
	}
	if v.idr0(spec.Idr0S2P) && !v.isEL2(raw) {
		use(mask, spec.SteS2VMID)
	}
	if !s2 {
		return
	}
	use(mask, spec.SteS2HWU, spec.SteS2FWB, spec.SteS2T0SZ, spec.SteS2SL0, spec.SteS2IR0, spec.SteS2OR0, spec.SteS2SH0,
		spec.SteS2TG, spec.SteS2PS, spec.SteS2AA64, spec.SteS2ENDI, spec.SteS2AFFD, spec.SteS2PTW, spec.SteS2HD,
		spec.SteS2HA, spec.SteS2S, spec.SteS2R, spec.SteS2HAFT, spec.SteS2PIE, spec.SteS2POE, spec.SteDPTVMatch,
		spec.SteS2SL02, spec.SteS2DS, spec.SteS2TTB, spec.SteS2SKL, spec.SteAssuredOnly, spec.SteTL0, spec.SteTL1, spec.SteS2POI)
	if s1 && spec.SteS1MPAM.Get(raw) != 0 {
		use(mask, spec.SteVMSPtr)
	}
}

// use marks fields in a mask.
func use(mask []uint64, fields ...reg.Bits) {
	for _, b := range fields {
		b.Set(mask, ^uint64(0))
	}
}
