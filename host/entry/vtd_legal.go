package entry

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func (v VTD) ecap(b reg.Bits) bool { return b.On(v.ECAP) }

// Domains is the number of domain ids (CAP.ND).
func (v VTD) Domains() uint32 { return 1 << (4 + 2*min(spec.CapND.Of(v.CAP), 6)) }

func (v VTD) aw(code uint64) error {
	if code > 3 || spec.CapSAGAW.Of(v.CAP)>>code&1 == 0 {
		return fmt.Errorf("address width code %d is not in SAGAW %#x", code, spec.CapSAGAW.Of(v.CAP))
	}
	return nil
}

// MaxAW is the code of the largest width in CAP.SAGAW, which legacy pass-through needs.
func (v VTD) MaxAW() uint64 {
	for code := uint64(spec.AW57); code > 0; code-- {
		if v.aw(code) == nil {
			return code
		}
	}
	return 0
}

func (v VTD) did(id uint64) error {
	if id >= uint64(v.Domains()) {
		return fmt.Errorf("domain %d of %d", id, v.Domains())
	}
	if id == 0 && spec.CapCM.On(v.CAP) {
		return fmt.Errorf("domain 0 in caching mode")
	}
	return nil
}

// legalContext checks a legacy context entry as 9.3 has it.
func (v VTD) legalContext(raw []uint64) error {
	if !spec.CtxP.On(raw[0]) {
		return nil
	}
	aw, addr := spec.CtxAW.Of(raw[1]), []reg.Bits{spec.CtxSSPTPTR}
	switch tt := spec.CtxTT.Of(raw[0]); tt {
	case spec.TTUntranslated:
	case spec.TTAll:
		if !v.ecap(spec.EcapDT) {
			return fmt.Errorf("TT=1 without device-TLB support")
		}
	case spec.TTPassThrough:
		if !v.ecap(spec.EcapPT) {
			return fmt.Errorf("pass-through is not supported")
		}
		if aw != v.MaxAW() {
			return fmt.Errorf("pass-through with address width code %d, want %d", aw, v.MaxAW())
		}
		addr = nil
	default:
		return fmt.Errorf("TT=%d is reserved", tt)
	}
	if err := v.aw(aw); err != nil {
		return err
	}
	if err := v.did(spec.CtxDID.Of(raw[1])); err != nil {
		return err
	}
	return v.legal(&spec.ContextLayout, raw, spec.CtxP, addr...)
}

// capBit is a bit of an entry that is reserved without a capability.
type capBit struct {
	bit reg.Bits
	cap reg.Bits // of ECAP
}

func (v VTD) capBits(l *reg.Layout, raw []uint64, bits []capBit) error {
	for _, b := range bits {
		if b.bit.Get(raw) != 0 && !v.ecap(b.cap) {
			return fmt.Errorf("%v is not supported by this unit", fieldNames(l, maskOf(b.bit, len(raw))))
		}
	}
	return nil
}

// legalSMContext checks a scalable-mode context entry as 9.4 has it.
func (v VTD) legalSMContext(raw []uint64) error {
	if !spec.SMCtxP.On(raw[0]) {
		return nil
	}
	if err := v.capBits(&spec.SMContextLayout, raw, []capBit{
		{spec.SMCtxDTE, spec.EcapDT}, {spec.SMCtxPASIDE, spec.EcapPASID}, {spec.SMCtxPRE, spec.EcapPRS},
		{spec.SMCtxRIDPASID, spec.EcapRPS}, {spec.SMCtxRIDPRIV, spec.EcapRPRIVS},
	}); err != nil {
		return err
	}
	if rid, pdts := spec.SMCtxRIDPASID.Of(raw[1]), spec.SMCtxPDTS.Of(raw[0]); rid>>(pdts+13) != 0 {
		return fmt.Errorf("RID_PASID %d is beyond the directory of 2^%d PASIDs", rid, pdts+13)
	}
	return v.legal(&spec.SMContextLayout, raw, spec.SMCtxP, spec.SMCtxPASIDDIRPTR)
}

// legalPASID checks a PASID-table entry as 9.6 has it.
func (v VTD) legalPASID(raw []uint64) error {
	if !spec.PasidP.On(raw[0]) {
		return nil
	}
	if err := v.capBits(&spec.PASIDLayout, raw, []capBit{
		{spec.PasidPWSNP, spec.EcapSMPWCS}, {spec.PasidPGSNP, spec.EcapSC}, {spec.PasidSSADE, spec.EcapSSADS},
		{spec.PasidCD, spec.EcapMTS}, {spec.PasidEMTE, spec.EcapMTS}, {spec.PasidEMT, spec.EcapMTS},
		{spec.PasidPWT, spec.EcapMTS}, {spec.PasidPCD, spec.EcapMTS}, {spec.PasidPAT, spec.EcapMTS},
		{spec.PasidSRE, spec.EcapSRS}, {spec.PasidERE, spec.EcapERS}, {spec.PasidEAFE, spec.EcapEAFS},
	}); err != nil {
		return err
	}
	pgtt := spec.PasidPGTT.Of(raw[0])
	need, name := reg.Bits(0), ""
	var addrs []reg.Bits
	switch pgtt {
	case spec.PGTTFirst:
		need, name, addrs = spec.EcapFSTS, "first-stage", []reg.Bits{spec.PasidFSPTPTR}
	case spec.PGTTSecond:
		need, name, addrs = spec.EcapSSTS, "second-stage", []reg.Bits{spec.PasidSSPTPTR}
	case spec.PGTTNested:
		need, name, addrs = spec.EcapNEST, "nested", []reg.Bits{spec.PasidSSPTPTR}
	case spec.PGTTPassThrough:
		need, name = spec.EcapPT, "pass-through"
	default:
		return fmt.Errorf("PGTT=%d is reserved", pgtt)
	}
	if !v.ecap(need) {
		return fmt.Errorf("%s translation is not supported by this unit", name)
	}
	if pgtt != spec.PGTTFirst {
		if err := v.aw(spec.PasidAW.Of(raw[0])); err != nil {
			return err
		}
	}
	if pgtt == spec.PGTTFirst || pgtt == spec.PGTTNested {
		if fspm := spec.PasidFSPM.Of(raw[2]); fspm > spec.FSPM5 || fspm == spec.FSPM5 && !spec.CapFS5LP.On(v.CAP) {
			return fmt.Errorf("FSPM=%d is not supported by this unit", fspm)
		}
	}
	if width := 30 + 9*spec.PasidAW.Of(raw[0]); pgtt == spec.PGTTNested && raw[2]&spec.PasidFSPTPTR.Mask()>>width != 0 {
		return fmt.Errorf("FSPTPTR %#x is beyond the %d bits of the second stage", raw[2]&spec.PasidFSPTPTR.Mask(), width)
	}
	if err := v.did(spec.PasidDID.Of(raw[1])); err != nil {
		return err
	}
	return v.legal(&spec.PASIDLayout, raw, spec.PasidP, addrs...)
}
