package entry

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// VTD makes the formats of Intel VT-d. It holds what legality depends on.
type VTD struct {
	CAP, ECAP uint64 // capability registers
	HAW       uint8  // host address width; 0 is 52
}

// unit16 is what VT-d fetches at once of context and PASID entries (9.3, 9.4, 9.6).
const unit16 = 16

// Root describes a root entry of legacy mode (9.1).
func (v VTD) Root() *Format {
	f := vtdFormat(&spec.RootLayout, 8, spec.RootP, 0)
	f.Used = func(raw, mask []uint64) {
		if usedIfPresent(raw, mask, spec.RootP.Mask()) {
			mask[0], mask[1] = ^uint64(0), ^uint64(0)
		}
	}
	f.Legal = func(raw []uint64) error {
		return v.legal(&spec.RootLayout, raw, spec.RootP, spec.RootCTP)
	}
	return f
}

// SMRootHalf describes one half of a root entry of scalable mode (9.2), which is an entry of its own.
func (v VTD) SMRootHalf() *Format {
	l := &reg.Layout{Name: "scalable-mode root entry half", Bits: 64, Clause: spec.SMRootLayout.Clause,
		Fields: []reg.Field{spec.SMRootLP.Field("P", "present"), spec.SMRootLCTP.Field("CTP", "context table >> 12")}}
	f := vtdFormat(l, 8, spec.SMRootLP, 0)
	f.Used = func(raw, mask []uint64) {
		if usedIfPresent(raw, mask, spec.SMRootLP.Mask()) {
			mask[0] = ^uint64(0)
		}
	}
	f.Legal = func(raw []uint64) error { return v.legal(l, raw, spec.SMRootLP, spec.SMRootLCTP) }
	return f
}

// Context describes a context entry of legacy mode (9.3): one unit holds all of it.
func (v VTD) Context() *Format {
	f := vtdFormat(&spec.ContextLayout, unit16, spec.CtxP, spec.CtxFPD)
	f.ID = spec.CtxDID
	f.Used = func(raw, mask []uint64) {
		if !usedIfPresent(raw, mask, spec.CtxP.Mask()|spec.CtxFPD.Mask()) {
			return
		}
		mask[0], mask[1] = ^uint64(0), ^spec.CtxAVAIL.Mask()
		if spec.CtxTT.Of(raw[0]) == spec.TTPassThrough {
			mask[0] &^= spec.CtxSSPTPTR.Mask()
		}
	}
	f.Legal = v.legalContext
	return f
}

// SMContext describes a context entry of scalable mode (9.4): of its two units the second is
// reserved. PASID-table entries are cached by source-id and PASID (6.2.3): see Format.Below.
func (v VTD) SMContext() *Format {
	f := vtdFormat(&spec.SMContextLayout, unit16, spec.SMCtxP, spec.SMCtxFPD)
	f.Used = func(raw, mask []uint64) {
		if usedIfPresent(raw, mask, spec.SMCtxP.Mask()|spec.SMCtxFPD.Mask()) {
			for i := range mask {
				mask[i] = ^uint64(0)
			}
		}
	}
	f.Legal, f.Below = v.legalSMContext, belowSMContext
	return f
}

// belowSMContext returns raw with the PASID directory of other, unless they have no PASID in common: that
// of requests without one, and with PASIDE any.
func belowSMContext(raw, other []uint64) []uint64 {
	if raw[0]&other[0]&spec.SMCtxP.Mask() == 0 ||
		(raw[0]|other[0])&spec.SMCtxPASIDE.Mask() == 0 && (raw[1]^other[1])&spec.SMCtxRIDPASID.Mask() != 0 {
		return nil
	}
	mix := append(make([]uint64, 0, len(raw)), raw...)
	dir := spec.SMCtxPASIDDIRPTR.Mask() | spec.SMCtxPDTS.Mask()
	mix[0] = mix[0]&^dir | other[0]&dir
	return mix
}

// PASIDDir describes an entry of a PASID directory (9.5).
func (v VTD) PASIDDir() *Format {
	f := vtdFormat(&spec.PASIDDirLayout, 8, spec.PDirP, spec.PDirFPD)
	f.Used = func(raw, mask []uint64) {
		if usedIfPresent(raw, mask, spec.PDirP.Mask()|spec.PDirFPD.Mask()) {
			mask[0] = ^uint64(0)
		}
	}
	f.Legal = func(raw []uint64) error {
		return v.legal(&spec.PASIDDirLayout, raw, spec.PDirP, spec.PDirSMPTBLPTR)
	}
	return f
}

// PASID describes an entry of a PASID table (9.6): four units. The second-stage root is in the first
// with type and domain, the first-stage root in the second, the others are reserved.
func (v VTD) PASID() *Format {
	f := vtdFormat(&spec.PASIDLayout, unit16, spec.PasidP, spec.PasidFPD)
	f.ID = spec.PasidDID
	f.Used = usedPASID
	f.Legal = v.legalPASID
	return f
}

// usedPASID marks the bits by translation type. Where a request that no one sends today could tell
// the difference (SRE, ERE), the bit counts as used.
func usedPASID(raw, mask []uint64) {
	if !usedIfPresent(raw, mask, spec.PasidP.Mask()|spec.PasidFPD.Mask()) {
		return
	}
	for i := range mask {
		mask[i] = ^uint64(0)
	}
	second := spec.PasidSSEE.Mask() | spec.PasidSSADE.Mask() | spec.PasidSSPTPTR.Mask()
	first := spec.PasidFSPM.Mask() | spec.PasidWPE.Mask() | spec.PasidNXE.Mask() |
		spec.PasidSMEP.Mask() | spec.PasidEAFE.Mask() | spec.PasidFSPTPTR.Mask()
	switch spec.PasidPGTT.Of(raw[0]) {
	case spec.PGTTFirst:
		mask[0] &^= second | spec.PasidAW.Mask()
	case spec.PGTTSecond:
		mask[2] &^= first
	case spec.PGTTPassThrough:
		mask[0] &^= second
		mask[2] &^= first
	}
}

// usedIfPresent sets the bits that count in any case and reports whether the entry is present.
func usedIfPresent(raw, mask []uint64, always uint64) bool {
	mask[0] = always
	return raw[0]&1 != 0
}

// vtdFormat fills in what all VT-d entries have in common: bit 0 is P, FPD steers only the recording
// of faults, and an entry may be filled while P=0 without synchronisation (6.5.3.3).
func vtdFormat(l *reg.Layout, unit int, p, fpd reg.Bits) *Format {
	f := &Format{
		Name: l.Name, Words: l.Words(), Unit: unit, Handshake: true,
		Present: func(raw []uint64) bool { return p.On(raw[0]) },
		Block:   func(raw []uint64) { raw[0] &^= p.Mask() },
		Fields:  func(mask []uint64) []string { return fieldNames(l, mask) },
	}
	if fpd != 0 {
		f.Safe = []uint64{fpd.Mask()}
	}
	return f
}

// legal checks what is common: reserved bits and the width of an address.
func (v VTD) legal(l *reg.Layout, raw []uint64, p reg.Bits, addrs ...reg.Bits) error {
	if !p.On(raw[0]) {
		return nil
	}
	return clean(l, raw, v.HAW, addrs...)
}
