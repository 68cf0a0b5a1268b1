package entry

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// CD describes a context descriptor (5.4). ASID and control are in the first word, the tables of the two
// halves in the second and the third. What is legal depends on the STE that leads to it; without one
// it is that of a stage 1 alone that may stall.
func (v SMMUv3) CD(ste []uint64) *Format {
	f := v.smmuFormat(&spec.CDLayout, spec.CdV)
	f.ID = spec.CdASID
	f.Present = func(raw []uint64) bool { return spec.CdV.On(raw[0]) }
	f.Used = usedCD
	f.Legal = func(raw []uint64) error { return v.legalCD(ste, raw) }
	return f
}

// Fields of one half of a CD's address space.
type cdHalf struct {
	name                  string
	size, granule         reg.Bits
	inner, outer, share   reg.Bits
	off                   reg.Bits // EPD
	table, had, e0pd, hwu reg.Bits
}

var cdHalves = [2]cdHalf{
	{
		"TTB0", spec.CdT0SZ, spec.CdTG0, spec.CdIR0, spec.CdOR0, spec.CdSH0, spec.CdEPD0,
		spec.CdTTB0, spec.CdHAD0, spec.CdE0PD0, spec.CdHWU0,
	}, {
		"TTB1", spec.CdT1SZ, spec.CdTG1, spec.CdIR1, spec.CdOR1, spec.CdSH1, spec.CdEPD1,
		spec.CdTTB1, spec.CdHAD1, spec.CdE0PD1, spec.CdHWU1,
	},
}

// usedCD marks the bits of a valid CD: all, but for those of a half that is off. Without any half there are no
// descriptors whose memory attributes MAIR gives.
func usedCD(raw, mask []uint64) {
	use(mask, spec.CdV)
	if !spec.CdV.On(raw[0]) {
		return
	}
	for _, fd := range spec.CDLayout.Fields {
		use(mask, fd.Bits())
	}
	if spec.CdEPD0.On(raw[0]) && spec.CdEPD1.On(raw[0]) {
		for _, b := range []reg.Bits{spec.CdMAIR0, spec.CdMAIR1, spec.CdAMAIR0, spec.CdAMAIR1} {
			b.Set(mask, 0)
		}
	}
	for _, h := range cdHalves {
		if h.off.Get(raw) != 0 {
			for _, b := range []reg.Bits{h.size, h.granule, h.inner, h.outer, h.share, h.table, h.had, h.e0pd, h.hwu} {
				b.Set(mask, 0)
			}
		}
	}
}

// cdCaps are fields that are reserved without a capability.
var cdCaps = []smmuCap{
	{spec.CdHAFT, "HTTU=3", func(v *SMMUv3) bool { return v.httu() == spec.HTTUTable }},
	{spec.CdHAD0, "HAD", func(v *SMMUv3) bool { return v.idr3(spec.Idr3HAD) }},
	{spec.CdHAD1, "HAD", func(v *SMMUv3) bool { return v.idr3(spec.Idr3HAD) }},
	{spec.CdE0PD0, "E0PD", func(v *SMMUv3) bool { return v.idr3(spec.Idr3E0PD) }},
	{spec.CdE0PD1, "E0PD", func(v *SMMUv3) bool { return v.idr3(spec.Idr3E0PD) }},
	{spec.CdHWU0, "PBHA", func(v *SMMUv3) bool { return v.idr3(spec.Idr3PBHA) }},
	{spec.CdHWU1, "PBHA", func(v *SMMUv3) bool { return v.idr3(spec.Idr3PBHA) }},
	{spec.CdDS, "DS", func(v *SMMUv3) bool { return v.idr5(spec.Idr5DS) }},
	{spec.CdPIE, "S1PI", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S1PI) }},
	{spec.CdPIIU, "S1PI", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S1PI) }},
	{spec.CdPIIP, "S1PI", func(v *SMMUv3) bool { return v.idr3(spec.Idr3S1PI) }},
	{spec.CdEPAN, "EPAN", func(v *SMMUv3) bool { return v.idr3(spec.Idr3EPAN) }},
	{spec.CdPnCH, "THE", func(v *SMMUv3) bool { return v.idr3(spec.Idr3THE) }},
	{spec.CdAIE, "AIE", func(v *SMMUv3) bool { return v.idr3(spec.Idr3AIE) }},
	{spec.CdPARTID, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.CdPMG, "MPAM", func(v *SMMUv3) bool { return v.idr3(spec.Idr3MPAM) }},
	{spec.CdNSCFG0, "Secure streams", func(*SMMUv3) bool { return false }},
	{spec.CdNSCFG1, "Secure streams", func(*SMMUv3) bool { return false }},
}

// legalCD checks a CD as 5.4 has it.
func (v SMMUv3) legalCD(ste, raw []uint64) error {
	if !spec.CdV.On(raw[0]) {
		return nil
	}
	if err := v.capable(&spec.CDLayout, raw, cdCaps); err != nil {
		return err
	}
	model := spec.Idr0StallModel.Of(uint64(v.IDR0))
	stall := spec.CdS.On(raw[0])
	nested, el2 := false, false
	if ste != nil {
		_, nested = steConfig(ste)
		el2 = v.isEL2(ste)
	}
	switch {
	case stall && ste != nil && spec.SteS1STALLD.Get(ste) != 0:
		return fmt.Errorf("S=1 under an STE with S1STALLD=1")
	case stall && model == spec.StallNever, !stall && model == spec.StallAlways:
		return fmt.Errorf("STALL_MODEL=%d with S=%d", model, spec.CdS.Of(raw[0]))
	case !spec.CdA.On(raw[0]) && v.idr0(spec.Idr0TermModel):
		return fmt.Errorf("A=0 with TERM_MODEL=1")
	case spec.CdASID.Of(raw[0]) > 0xff && !v.idr0(spec.Idr0ASID16):
		return fmt.Errorf("ASID %#x of 8 bits", spec.CdASID.Of(raw[0]))
	}
	if !spec.CdAA64.On(raw[0]) {
		return fmt.Errorf("AA64=0: tables of VMSAv8-32 are not planned for")
	}
	if !v.ttf(spec.TTFAArch64) {
		return fmt.Errorf("AA64=1 is not supported by this unit")
	}
	if err := v.legalFlags(spec.CdHA.On(raw[0]), spec.CdHD.On(raw[0]), spec.CdHAFT.Get(raw) != 0); err != nil {
		return err
	}
	if err := v.legalEndian(spec.CdENDI.On(raw[0])); err != nil {
		return err
	}
	out := min(spec.OASBits(spec.CdIPS.Of(raw[0])), v.oas())
	if nested {
		out = min(spec.OASBits(spec.CdIPS.Of(raw[0])), v.ias())
	}
	for i, h := range cdHalves {
		if h.off.Get(raw) != 0 || i == 1 && el2 {
			continue
		}
		g := spec.GranuleTG0(h.granule.Get(raw))
		if i == 1 {
			g = spec.GranuleTG1(h.granule.Get(raw))
		}
		if err := v.legalHalf(h, raw, g, out); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return nil
}

// legalHalf checks one half of a CD: the granule, the input size, the table. out is the effective output
// size.
func (v SMMUv3) legalHalf(h cdHalf, raw []uint64, g spec.Granule, out uint8) error {
	ds := spec.CdDS.Get(raw) != 0
	if err := v.legalGranule(g); err != nil {
		return err
	}
	lowest := uint64(16)
	if spec.Idr5VAX.Of(uint64(v.IDR5)) >= spec.VAX52 && (g == spec.Granule64K || ds) {
		lowest = 12
	}
	tsz := h.size.Get(raw)
	if highest := v.smallest(g); tsz < lowest || tsz > highest {
		return fmt.Errorf("TxSZ %d, want %d to %d", tsz, lowest, highest)
	}
	if g != spec.Granule64K && !ds {
		out = min(out, 48)
	}
	return v.within("table", raw[h.table.Word()]&h.table.Mask(), out)
}

// smallest returns the largest TxSZ of a granule, that of the smallest tables.
func (v SMMUv3) smallest(g spec.Granule) uint64 {
	switch {
	case !v.idr3(spec.Idr3STT):
		return 39
	case g == spec.Granule64K:
		return 47
	}
	return 48
}
