package conform

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// The modes of an AMD-Vi unit.
const (
	amdHost   = "host-tables"
	amdX2APIC = "host-tables-x2apic"
)

func amdviTargets() []*Target {
	mk := func(mode, about string, words Identity) *Target {
		t := &Target{
			IOMMU: "amdvi", Mode: mode, About: about, Words: words, Ours: words,
			identity: amdIdentity, registers: amdRegisters, model: amdModel, state: newAMDState,
			generate: func(seed uint64, m Machine) *Program { return amdGenerate(mode, seed, m) },
			resync:   map[After]func(*Runner) (bool, error){Settle: amdSettle},
			hangs:    amdHangs, foresee: amdForesee, unsuitable: amdUnsuitable, suits: amdSuits, squeeze: amdSqueeze,
		}
		t.Ours[0] = amdGATS(words[0])
		for _, r := range t.registers {
			t.places = append(t.places, RegisterAt{r.Off, r.Size})
		}
		for _, list := range [][]*Deviation{amdDeviations, amdUnseen} {
			for _, d := range list {
				if d.in(mode) {
					t.deviations = append(t.deviations, d)
				}
			}
		}
		return t
	}
	return []*Target{
		mk(amdHost, "device table, host tables, interrupt remapping", Identity{0x29d3}),
		mk(amdX2APIC, "the same, destinations of interrupts of 32 bits", Identity{0x29d7}),
	}
}

// amdIdentity is where the identity of a unit is read.
var amdIdentity = []RegisterAt{{spec.OffEFR, 8}, {spec.OffEFR2, 8}}

// amdRegisters are compared after each step.
var amdRegisters = []Register{
	{Name: "DEV_TABLE_BASE", Off: spec.OffDevTabBase, Size: 8, Layout: &spec.DevTabLayout},
	{Name: "CMD_BASE", Off: spec.OffCmdBufBase, Size: 8, Layout: &spec.RingLayout},
	{Name: "EVENT_BASE", Off: spec.OffEventLogBase, Size: 8, Layout: &spec.RingLayout},
	{Name: "CONTROL", Off: spec.OffControl, Size: 8, Layout: &spec.ControlLayout},
	{Name: "EXCL_BASE", Off: spec.OffExclBase, Size: 8, Layout: &spec.ExclBaseLayout},
	{Name: "EXCL_LIMIT", Off: spec.OffExclLimit, Size: 8, Layout: &spec.ExclLimitLayout},
	{Name: "PPR_BASE", Off: spec.OffPPRLogBase, Size: 8, Layout: &spec.RingLayout},
	{Name: "HW_EVENT_UPPER", Off: spec.OffHWEventUpper, Size: 8},
	{Name: "HW_EVENT_LOWER", Off: spec.OffHWEventLower, Size: 8},
	{Name: "HW_EVENT_STATUS", Off: spec.OffHWEventStatus, Size: 8, Layout: &spec.HWEventStatusLayout},
	{Name: "XT_INT", Off: spec.OffXTIntControl, Size: 8, Layout: &spec.XTIntLayout},
	{Name: "CMD_HEAD", Off: spec.OffCmdHead, Size: 8, Layout: &spec.PtrLayout},
	{Name: "CMD_TAIL", Off: spec.OffCmdTail, Size: 8, Layout: &spec.PtrLayout},
	{Name: "EVENT_HEAD", Off: spec.OffEventHead, Size: 8, Layout: &spec.PtrLayout},
	{Name: "EVENT_TAIL", Off: spec.OffEventTail, Size: 8, Layout: &spec.PtrLayout},
	{Name: "STATUS", Off: spec.OffStatus, Size: 8, Layout: &spec.StatusLayout},
	{Name: "PPR_HEAD", Off: spec.OffPPRHead, Size: 8, Layout: &spec.PtrLayout},
	{Name: "PPR_TAIL", Off: spec.OffPPRTail, Size: 8, Layout: &spec.PtrLayout},
}

// amdSuits says why a unit cannot take part.
func amdSuits(_ Identity, p Peer) error {
	if p.Machine().MSI == nil {
		return fmt.Errorf("%s: its interrupt is not configured in PCI configuration space", p.Name())
	}
	return nil
}

// amdGATS is an EFR with at most five guest levels, which is what our unit has. QEMU says six, and has
// none.
func amdGATS(efr uint64) uint64 {
	return efr&^spec.EfrGATS.Mask() | spec.EfrGATS.Put(min(spec.EfrGATS.Of(efr), spec.GATS5))
}

// amdModel builds our unit with the capabilities of another one. Those of its PCI capability are not
// among the registers: they are those of the preset.
func amdModel(id Identity, m Machine, caches bool) (*Model, []string, error) {
	c, err := amdvi.Preset("qemu")
	if err != nil {
		return nil, nil, err
	}
	c.NpCache = false // QEMU has it for drivers' sake, and keeps nothing that is not present; nor do programs expect it
	u, err := amdvi.New(c)
	if err != nil {
		return nil, nil, err
	}
	if err := u.Load(emu.RegImage{{Off: spec.OffEFR, Size: 8, Value: amdGATS(id[0])}, {Off: spec.OffEFR2, Size: 8, Value: id[1]}}); err != nil {
		return nil, nil, err
	}
	lost := u.Unmodelled()
	c = u.Config()
	bare := c
	bare.DTECache, bare.GCR3Cache, bare.IOTLB, bare.Walk = iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}, nil
	bare.Walk2, bare.Stage2, bare.Interrupt = nil, iotlb.Geometry{}, iotlb.Geometry{}
	name := "iommulab AMD-Vi"
	if !caches {
		name, c = name+" without caches", bare
	}
	if u, err = amdvi.New(c); err != nil {
		return nil, nil, err
	}
	return NewModel(name, u, m, func(string) (emu.Unit, error) { return amdvi.New(bare) }), lost, nil
}
