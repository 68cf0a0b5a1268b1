package cli

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

var amdviArch = arch{
	name: "amdvi", aliases: []string{"amd", "amd-vi", "amd-iommu"}, title: "AMD-Vi",
	kinds: []structKind{
		fixed("dte", &spec.DTELayout),
		fixed("gcr3", &spec.GCR3Layout),
		{name: "v1-pte", bytes: []int{8}, layout: amdviHostEntry},
		fixed("v2-pte", &spec.GuestLayout),
		fixed("irte32", &spec.IRTE32Layout),
		{name: "irte128", bytes: []int{16}, layout: amdviIRTE128},
		{name: "command", bytes: []int{16}, layout: amdviCommand},
		{name: "event", bytes: []int{16}, layout: amdviEvent},
		fixed("ppr", &spec.PPRLayout),
		fixed("ga", &spec.GALayout),
	},
	registers:  func(emu.RegImage) []register { return namedRegisters(spec.Registers) },
	newUnit:    func() (emu.Unit, error) { return amdvi.New(amdvi.DefaultConfig()) },
	layoutOf:   amdviLayoutOf,
	devices:    amdviDevices,
	interrupts: amdviInterrupts,
	queues:     amdviQueues,
	meaning:    amdviMeaning,
	deviations: amdviDeviations,
}

// amdviHostEntry tells a PTE of a host table from a PDE by its NextLevel.
func amdviHostEntry(w []uint64) *reg.Layout {
	switch spec.PteNextLevel.Of(w[0]) {
	case spec.NextLevelPage, spec.NextLevelSize:
		return &spec.PTELayout
	}
	return &spec.PDELayout
}

func amdviIRTE128(w []uint64) *reg.Layout {
	if spec.IrteGuestMode.On(w[0]) {
		return &spec.IRTEGuestLayout
	}
	return &spec.IRTE128Layout
}

func amdviCommand(w []uint64) *reg.Layout {
	op := spec.CmdOpcode.Of(w[0])
	if l := spec.CmdLayouts[op]; l != nil {
		return l
	}
	return &reg.Layout{
		Name: fmt.Sprintf("command of unknown opcode %#x", op), Bits: 128, Clause: "2.4",
		Fields: []reg.Field{spec.CmdOpcode.Field("Opcode", "command")},
	}
}

func amdviEvent(w []uint64) *reg.Layout {
	code := spec.EvtCode.Of(w[0])
	if l := spec.EventLayouts[code]; l != nil {
		return l
	}
	return &reg.Layout{
		Name: fmt.Sprintf("event of unknown code %#x", code), Bits: 128, Clause: "2.5",
		Fields: []reg.Field{spec.EvtCode.Field("Code", "event")},
	}
}

// amdviLayoutOf knows the structures by the step that fetches them.
func amdviLayoutOf(u emu.Unit, t *emu.Txn, _ []uint64) *reg.Layout {
	switch t.Act.Step {
	case amdvi.StepDevice:
		return &spec.DTELayout
	case amdvi.StepHostTable, amdvi.StepHostLeaf, amdvi.StepHostUpdate:
		return amdviHostEntry(t.In[:1])
	case amdvi.StepGCR3:
		return &spec.GCR3Layout
	case amdvi.StepGuestTable, amdvi.StepGuestUpdate:
		return &spec.GuestLayout
	case amdvi.StepIRTE:
		if spec.CtlGAEn.On(u.ReadReg(spec.OffControl, 8)) {
			return amdviIRTE128(t.In[:2])
		}
		return &spec.IRTE32Layout
	}
	return nil
}

// amdviMeaning says which page or which range of addresses an entry or a command with a size in its
// address is about.
func amdviMeaning(l *reg.Layout, w []uint64) string {
	switch l {
	case &spec.PTELayout:
		lg2, ok := spec.PageSizeLg2(w[0])
		switch {
		case spec.PteNextLevel.Of(w[0]) != spec.NextLevelSize:
			return ""
		case !ok:
			return "the address encodes no page size"
		}
		return fmt.Sprintf("page of %#x bytes at %#x", uint64(1)<<lg2, spec.PteAddr.Mask()&w[0]>>lg2<<lg2)
	case spec.CmdLayouts[spec.CmdInvalidatePages], spec.CmdLayouts[spec.CmdInvalidateIOTLB]:
		return amdviRange(w[1])
	}
	return ""
}

// amdviRange says what the second word of an invalidation is about: one page, or with S=1 a block of the
// size that the lowest 0 of the address tells, 2.4.3.
func amdviRange(w uint64) string {
	addr, lg2 := w&spec.CmdAddr.Mask(), emu.PageShift
	if spec.CmdS.On(w) {
		if addr&spec.AllPages == spec.AllPages {
			return "all addresses"
		}
		lg2 = bits.TrailingZeros64(^(addr | (emu.PageSize - 1))) + 1
	}
	return addressRange(addr, lg2, 1)
}
