package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

var smmuv3Arch = arch{
	name: "smmuv3", aliases: []string{"smmu", "arm-smmuv3"}, title: "SMMUv3",
	kinds: []structKind{
		fixed("l1std", &spec.L1STDLayout),
		fixed("ste", &spec.STELayout),
		fixed("l1cd", &spec.L1CDLayout),
		fixed("cd", &spec.CDLayout),
		fixed("ttd-table", &spec.TTDTableLayout),
		fixed("ttd-s1", &spec.TTDS1Layout),
		fixed("ttd-s2", &spec.TTDS2Layout),
		{name: "command", bytes: []int{16}, layout: smmuv3Command},
		{name: "event", bytes: []int{32}, layout: smmuv3Event},
		fixed("pri", &spec.PRILayout),
	},
	registers:  func(emu.RegImage) []register { return namedRegisters(spec.Registers) },
	newUnit:    func() (emu.Unit, error) { return smmuv3.New(smmuv3.DefaultConfig()) },
	layoutOf:   smmuv3LayoutOf,
	devices:    smmuv3Devices,
	queues:     smmuv3Queues,
	meaning:    smmuv3Meaning,
	deviations: smmuv3Deviations,
}

func smmuv3Command(w []uint64) *reg.Layout {
	op := spec.CmdOpcode.Of(w[0])
	if l := spec.CmdLayouts[op]; l != nil {
		return l
	}
	return &reg.Layout{
		Name: fmt.Sprintf("command of unknown opcode %#x", op), Bits: 128, Clause: "4.1",
		Fields: []reg.Field{spec.CmdOpcode.Field("Opcode", "command")},
	}
}

func smmuv3Event(w []uint64) *reg.Layout {
	n := spec.EvtNumber.Of(w[0])
	if l := spec.EventLayouts[n]; l != nil {
		return l
	}
	what := "event of unknown number"
	if n >= spec.EvImpDefFirst && n <= spec.EvImpDefLast {
		what = "implementation defined event"
	}
	return &reg.Layout{
		Name: fmt.Sprintf("%s %#x", what, n), Bits: 256, Clause: "7.3",
		Fields: []reg.Field{spec.EvtNumber.Field("Number", "event")},
	}
}

// smmuv3LayoutOf knows the structures by the step that fetches them.
func smmuv3LayoutOf(_ emu.Unit, t *emu.Txn, w []uint64) *reg.Layout {
	leaf := (*reg.Layout)(nil)
	switch t.Act.Step {
	case smmuv3.StepL1STD:
		return &spec.L1STDLayout
	case smmuv3.StepSTE:
		return &spec.STELayout
	case smmuv3.StepL1CD:
		return &spec.L1CDLayout
	case smmuv3.StepCD:
		return &spec.CDLayout
	case smmuv3.StepS1Table:
		leaf = &spec.TTDS1Layout
	case smmuv3.StepS2Table:
		leaf = &spec.TTDS2Layout
	default:
		return nil
	}
	table := false
	if w[0], table = smmuv3.Descriptor(t); table {
		return &spec.TTDTableLayout
	}
	return leaf
}

// smmuv3Meaning says which addresses an invalidation is about: with TG=0 what translates one address, with a
// granule a range of NUM+1 units of 2^SCALE granules (4.4.1); of ATC_INV 2^Size pages (4.5.1).
func smmuv3Meaning(l *reg.Layout, w []uint64) string {
	if l.Bits != 128 || len(w) < 2 || l == &spec.PRILayout {
		return ""
	}
	if l == spec.CmdLayouts[spec.CmdAtcInv] {
		pages := spec.AtcSize.Get(w)
		if pages >= spec.AtcSizeAll {
			return "all addresses"
		}
		return addressRange(spec.CmdAddr.Get(w)<<emu.PageShift, emu.PageShift+int(pages), 1)
	}
	if _, tlbi := l.Field("TG"); !tlbi {
		return ""
	}
	addr := w[1] & spec.CmdAddr.Mask()
	granule := spec.GranuleTLBI(spec.TlbiTG.Get(w))
	if granule == 0 {
		return fmt.Sprintf("what translates %#x", addr)
	}
	scale := int(spec.TlbiScale.Get(w))
	if scale > spec.MaxTlbiScale {
		return "SCALE is reserved"
	}
	return addressRange(addr, int(granule)+scale, spec.TlbiNum.Get(w)+1)
}
