package conform

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// The modes of a VT-d unit.
const (
	vtdLegacy = "legacy"
	vtdSecond = "scalable-second-stage"
	vtdFirst  = "scalable-first-stage"
)

// Where the unit of QEMU has the registers whose place the capabilities tell.
const (
	vtdFRO = 0x220
	vtdIRO = 0x0f0
)

func vtdTargets() []*Target {
	mk := func(mode, about string, words Identity) *Target {
		t := &Target{
			IOMMU: "vtd", Mode: mode, About: about, Words: words, Ours: words,
			identity: vtdIdentity, registers: vtdRegisters, model: vtdModel, state: newVTDState,
			generate: func(seed uint64, m Machine) *Program { return vtdGenerate(mode, seed, m) },
			resync: map[After]func(*Runner) (bool, error){
				ClearFaults: vtdClearFaults, Rewrite: vtdRewrite, KickQueue: vtdKickQueue, SkipDescriptor: vtdSkipDescriptor, Settle: vtdSettle,
			},
			observe: vtdObserve, unsuitable: vtdUnsuitable, suits: vtdSuits, squeeze: vtdSqueeze,
			walks: mode == vtdFirst,
		}
		for _, r := range t.registers {
			t.places = append(t.places, RegisterAt{r.Off, r.Size})
		}
		for _, d := range slices.Concat(vtdDeviations, vtdUnseen) {
			if d.in(mode) {
				t.deviations = append(t.deviations, d)
			}
		}
		return t
	}
	return []*Target{
		mk(vtdLegacy, "root and context tables, second stage", Identity{0x10, 0x80d2008c222f0606, 0xf00f4a}),
		mk(vtdSecond, "scalable mode, second stage", Identity{0x10, 0x80d2008c222f0606, 0x480080f00f4a}),
		mk(vtdFirst, "scalable mode, first stage", Identity{0x10, 0x81d2008c222f0606, 0x880000f00f4a}),
	}
}

// vtdRegisters are compared after each step. Those that never change are compared by vtdModel.
var vtdRegisters = []Register{
	{Name: "GSTS_REG", Off: spec.OffGSTS, Size: 4, Layout: &spec.GSTSLayout},
	{Name: "RTADDR_REG", Off: spec.OffRTADDR, Size: 8, Layout: &spec.RTADDRLayout},
	{Name: "CCMD_REG", Off: spec.OffCCMD, Size: 8, Layout: &spec.CCMDLayout},
	{Name: "FSTS_REG", Off: spec.OffFSTS, Size: 4, Layout: &spec.FSTSLayout},
	{Name: "FECTL_REG", Off: spec.OffFECTL, Size: 4, Layout: &spec.FECTLLayout},
	{Name: "FEDATA_REG", Off: spec.OffFEDATA, Size: 4},
	{Name: "FEADDR_REG", Off: spec.OffFEADDR, Size: 4},
	{Name: "FEUADDR_REG", Off: spec.OffFEUADDR, Size: 4},
	{Name: "PMEN_REG", Off: spec.OffPMEN, Size: 4, Layout: &spec.PMENLayout},
	{Name: "IQH_REG", Off: spec.OffIQH, Size: 8, Layout: &spec.IQHLayout},
	{Name: "IQT_REG", Off: spec.OffIQT, Size: 8, Layout: &spec.IQTLayout},
	{Name: "IQA_REG", Off: spec.OffIQA, Size: 8, Layout: &spec.IQALayout},
	{Name: "ICS_REG", Off: spec.OffICS, Size: 4, Layout: &spec.ICSLayout},
	{Name: "IECTL_REG", Off: spec.OffIECTL, Size: 4, Layout: &spec.FECTLLayout},
	{Name: "IEDATA_REG", Off: spec.OffIEDATA, Size: 4},
	{Name: "IEADDR_REG", Off: spec.OffIEADDR, Size: 4},
	{Name: "IEUADDR_REG", Off: spec.OffIEUADDR, Size: 4},
	{Name: "IQERCD_REG", Off: spec.OffIQERCD, Size: 8, Layout: &spec.IQERCDLayout},
	{Name: "IRTA_REG", Off: spec.OffIRTA, Size: 8, Layout: &spec.IRTALayout},
	{Name: "IVA_REG", Off: vtdIRO + spec.OffIVA, Size: 8, Layout: &spec.IVALayout},
	{Name: "IOTLB_REG", Off: vtdIRO + spec.OffIOTLB, Size: 8, Layout: &spec.IOTLBLayout},
	{Name: "FRCD_REG", Off: vtdFRO, Size: 8, Layout: &spec.FRCDLayout, Record: "FRCD"},
	{Name: "FRCD_REG", Off: vtdFRO + 8, Size: 8, Layout: &spec.FRCDLayout, Word: 1, Record: "FRCD", Begins: 1 << 63},
}

// vtdIdentity is where the identity of a unit is read.
var vtdIdentity = []RegisterAt{{spec.OffVER, 4}, {spec.OffCAP, 8}, {spec.OffECAP, 8}}

// vtdSuits says why a unit cannot take part: its registers are elsewhere, it has several fault records.
func vtdSuits(id Identity, p Peer) error {
	fro, iro, nfr := spec.CapFRO.Of(id[1])*16, spec.EcapIRO.Of(id[2])*16, spec.CapNFR.Of(id[1])
	if fro != vtdFRO || iro != vtdIRO || nfr != 0 {
		return fmt.Errorf("%s: %d fault records at %#x, invalidation registers at %#x: want 1 at %#x, %#x", p.Name(), nfr+1, fro, iro, vtdFRO, vtdIRO)
	}
	return nil
}

// vtdCoherent is the variant of a unit whose walks in scalable mode may be coherent.
const vtdCoherent = "coherent"

// vtdModel builds our unit with the capabilities of another one, as a snapshot would. The address
// width of the host is in no register: it is taken to be that of guests.
func vtdModel(id Identity, m Machine, caches bool) (*Model, []string, error) {
	c := vtd.DefaultConfig()
	c.HAW = min(max(uint8(spec.CapMGAW.Of(id[1])+1), 32), 52)
	u, err := vtd.New(c)
	if err != nil {
		return nil, nil, err
	}
	err = u.Load(emu.RegImage{
		{Off: spec.OffVER, Size: 4, Value: id[0]}, {Off: spec.OffCAP, Size: 8, Value: id[1]}, {Off: spec.OffECAP, Size: 8, Value: id[2]},
	})
	if err != nil {
		return nil, nil, err
	}
	lost := u.Unmodelled()
	c = u.Config()
	c.CompressFaults = true // the specification leaves it open (7.3.1); QEMU does
	bare := c
	bare.ContextCache, bare.PASIDCache, bare.IOTLB, bare.Walk = iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}, nil
	bare.Walk2, bare.Stage2, bare.InterruptCache = nil, iotlb.Geometry{}, iotlb.Geometry{}
	name := "iommulab VT-d"
	if !caches {
		name, c = name+" without caches", bare
	}
	if u, err = vtd.New(c); err != nil {
		return nil, nil, err
	}
	return NewModel(name, u, m, func(variant string) (emu.Unit, error) {
		c := bare
		c.SMPWCS = c.SMPWCS || variant == vtdCoherent
		return vtd.New(c)
	}), lost, nil
}
