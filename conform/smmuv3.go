package conform

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// The modes of an SMMUv3: what its streams are translated by.
const (
	smmuS1     = "stage-1"
	smmuS2     = "stage-2"
	smmuNested = "nested"
)

func smmuTargets() []*Target {
	mk := func(mode, about string) *Target {
		t := &Target{
			IOMMU: "smmuv3", Mode: mode, Peer: "both-stages", About: about, Words: smmuWords, Ours: smmuWords,
			identity: smmuIdentity, registers: smmuRegisters, model: smmuModel, state: func() any { return new(smmuState) }, observe: smmuObserve,
			generate:   func(seed uint64, m Machine) *Program { return smmuGenerate(mode, seed, m) },
			resync:     map[After]func(*Runner) (bool, error){Settle: smmuSettle, Rewrite: smmuRewrite},
			unsuitable: smmuUnsuitable, suits: func(Identity, Peer) error { return nil }, squeeze: smmuSqueeze,
			hangs: smmuAborts,
		}
		for _, r := range t.registers {
			t.places = append(t.places, RegisterAt{r.Off, r.Size})
		}
		for _, list := range [][]*Deviation{smmuDeviations, smmuUnseen} {
			for _, d := range list {
				if d.in(mode) {
					t.deviations = append(t.deviations, d)
				}
			}
		}
		return t
	}
	return []*Target{
		mk(smmuS1, "stream table, context descriptors, stage 1"),
		mk(smmuS2, "stream table, stage 2"),
		mk(smmuNested, "stream table, context descriptors and stage 1 behind stage 2"),
	}
}

// smmuIdentity is where the identity of a unit is read. QEMU answers reads of 4 bytes only.
var smmuIdentity = []RegisterAt{{spec.OffIDR0, 4}, {spec.OffIDR1, 4}, {spec.OffIDR3, 4}, {spec.OffIDR5, 4}, {spec.OffAIDR, 4}}

// smmuWords are IDR0, IDR1, IDR3, IDR5 and AIDR of QEMU with both stages.
var smmuWords = Identity{0xd44101b, 0x2730010, 0x1414, 0x74, 0x1}

// smmuRegisters are compared after each step. Registers of 8 bytes are read as QEMU has them, whole.
var smmuRegisters = []Register{
	{Name: "CR0", Off: spec.OffCR0, Size: 4, Layout: &spec.CR0Layout},
	{Name: "CR0ACK", Off: spec.OffCR0ACK, Size: 4, Layout: &spec.CR0Layout},
	{Name: "CR1", Off: spec.OffCR1, Size: 4, Layout: &spec.CR1Layout},
	{Name: "CR2", Off: spec.OffCR2, Size: 4, Layout: &spec.CR2Layout},
	{Name: "GBPA", Off: spec.OffGBPA, Size: 4, Layout: &spec.GBPALayout},
	{Name: "IRQ_CTRL", Off: spec.OffIRQCtrl, Size: 4, Layout: &spec.IRQCtrlLayout},
	{Name: "IRQ_CTRLACK", Off: spec.OffIRQCtrlACK, Size: 4, Layout: &spec.IRQCtrlLayout},
	{Name: "GERROR", Off: spec.OffGERROR, Size: 4, Layout: &spec.GERRORLayout},
	{Name: "GERRORN", Off: spec.OffGERRORN, Size: 4, Layout: &spec.GERRORLayout},
	{Name: "STRTAB_BASE", Off: spec.OffSTRTABBase, Size: 8, Layout: &spec.STRTABBaseLayout},
	{Name: "STRTAB_BASE_CFG", Off: spec.OffSTRTABBaseCfg, Size: 4, Layout: &spec.STRTABBaseCfgLayout},
	{Name: "CMDQ_BASE", Off: spec.OffCMDQBase, Size: 8, Layout: &spec.CMDQBaseLayout},
	{Name: "CMDQ_PROD", Off: spec.OffCMDQProd, Size: 4, Layout: &spec.CMDQProdLayout},
	{Name: "CMDQ_CONS", Off: spec.OffCMDQCons, Size: 4, Layout: &spec.CMDQConsLayout},
	{Name: "EVENTQ_BASE", Off: spec.OffEVENTQBase, Size: 8, Layout: &spec.EVENTQBaseLayout},
	{Name: "EVENTQ_PROD", Off: spec.OffEVENTQProd, Size: 4, Layout: &spec.QProdLayout},
	{Name: "EVENTQ_CONS", Off: spec.OffEVENTQCons, Size: 4, Layout: &spec.QConsLayout},
}

// smmuModel builds our unit with the capabilities of another one.
func smmuModel(id Identity, m Machine, caches bool) (*Model, []string, error) {
	c, err := smmuv3.Preset("qemu")
	if err != nil {
		return nil, nil, err
	}
	u, err := smmuv3.New(c)
	if err != nil {
		return nil, nil, err
	}
	var img emu.RegImage
	for i, r := range smmuIdentity {
		img = append(img, emu.RegValue{Off: r.Off, Size: r.Size, Value: id[i]})
	}
	if err := u.Load(img); err != nil {
		return nil, nil, fmt.Errorf("identity %#x: %w", id, err)
	}
	lost := u.Unmodelled()
	c = u.Config()
	bare := c
	bare.STECache, bare.CDCache, bare.IOTLB, bare.Walk = iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}, nil
	bare.Walk2, bare.Stage2 = nil, iotlb.Geometry{}
	name := "iommulab SMMUv3"
	if !caches {
		name, c = name+" without caches", bare
	}
	if u, err = smmuv3.New(c); err != nil {
		return nil, nil, err
	}
	return NewModel(name, u, m, func(string) (emu.Unit, error) { return smmuv3.New(bare) }), lost, nil
}

// smmuSqueeze takes nothing out of the command queue: its index counts commands and wraps with a flag.
func smmuSqueeze(*Program, int) (*Program, bool) { return nil, false }

// smmuAborts says that the access of the step would end the other side: it gives up at tables of VMSAv8-32
// in stage 2 and at reserved output sizes.
func smmuAborts(c *Case) bool {
	if c.step.Op != Transfer || !spec.Cr0SMMUEN.On(c.was(ours, spec.OffCR0)) {
		return false
	}
	for _, find := range []func(*Case) (emu.PA, bool){smmuSTE, smmuTheirSTE} {
		if at, ok := find(c); ok && smmuDeadly(c.model, at) {
			return true
		}
	}
	return false
}

// smmuDeadly reports whether an STE, or its CD, ends the other side.
func smmuDeadly(m *Model, ste emu.PA) bool {
	const reserved = 7
	w0, w2 := m.word(ste), m.word(ste+16)
	switch {
	case spec.SteConfig.Of(w0)&6 == 6 && (!spec.SteS2AA64.On(w2) || spec.SteS2PS.Of(w2) == reserved):
		return true
	case spec.SteConfig.Of(w0)&5 != 5:
		return false
	}
	return spec.CdIPS.Of(m.word(emu.PA(w0&spec.SteS1Context.Mask()))) == reserved
}
