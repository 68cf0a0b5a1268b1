package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	smmuv3driver "github.com/iommulab/iommulab/host/driver/smmuv3"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
)

// The modes of SMMUv3. In stage 2 and nested mode the STE is rewritten, in stage 1 a CD in its place: that of
// requests without SubstreamID, or one of a table with one for each. Or a CD is made beside the present one, and
// the STE's pointer is rewritten.
const (
	smmuv3Stage1     = "stage1"
	smmuv3NewTable   = "stage1-new-table"
	smmuv3Stage2     = "stage2"
	smmuv3Nested     = "nested"
	smmuv3Substreams = "substreams"
)

// smmuv3OAS is the output address size of the machine: descriptors of 4K pages hold no more without DS.
const smmuv3OAS = 48

// smmuv3SSIDs is how many SubstreamIDs a device can send: as many as the unit takes.
const smmuv3SSIDs = 1 << 16

// smmuv3Deal is among how many SubstreamIDs a device deals out its requests.
const smmuv3Deal = 64

// Descriptors that grant everything, at level 3 and above it: a page or table with AF and nG; AP of
// stage 1 for reads and writes by all. As S2AP that is reads alone, but DBM makes hardware grant the
// write: read as stage 1 or as stage 2 it is all rights.
var (
	smmuv3PoisonS1   = poison{bits: 3 | 1<<6 | 1<<10 | 1<<11}
	smmuv3PoisonS2   = poison{bits: 3 | 3<<6 | 1<<10}
	smmuv3PoisonBoth = poison{bits: 3 | 1<<6 | 1<<10 | 1<<51}
)

var smmuv3Arch = &arch{name: "smmuv3", lay: smmuv3OAS, modes: []*mode{
	smmuv3Mode(mode{name: smmuv3Stage1, own: smmuv3CD, stage: host.StageFirst, poison: smmuv3PoisonS1}),
	smmuv3Mode(mode{
		name: smmuv3NewTable, own: smmuv3STE, driver: smmuv3Driver(smmuv3driver.MoveTable),
		stage: host.StageFirst, poison: smmuv3PoisonS1,
	}),
	smmuv3Mode(mode{name: smmuv3Stage2, own: smmuv3STE, stage: host.StageSecond, poison: smmuv3PoisonS2}),
	smmuv3Mode(mode{name: smmuv3Nested, own: smmuv3STE, nested: true, guest: smmuv3Guest, poison: smmuv3PoisonBoth}),
	smmuv3Mode(mode{
		name: smmuv3Substreams, own: smmuv3CD, pasid: smmuv3CD, pasids: smmuv3SSIDs, deal: smmuv3Deal,
		stage: host.StageFirst, poison: smmuv3PoisonS1,
	}),
}}

// smmuv3Mode completes a mode.
func smmuv3Mode(m mode) *mode {
	m.unit, m.limit = smmuv3Unit, 48
	if m.driver == nil {
		m.driver = smmuv3Driver(smmuv3driver.MoveASID)
	}
	return &m
}

// smmuv3Formats makes the formats of entries. Which of their bits count depends on what the unit has.
var smmuv3Formats = entry.SMMUv3{
	IDR0: uint32(spec.Idr0S1P.Mask() | spec.Idr0S2P.Mask() | spec.Idr0HYP.Mask() | spec.Idr0ATS.Mask()),
	IDR1: uint32(spec.Idr1SSIDSIZE.Put(spec.MaxSSIDSIZE)),
}

// Provenance is of STE and CD together. What is rewritten is one of them; the other is read where it is.
var (
	smmuv3STE = &structure{
		format:  smmuv3Formats.STE(),
		version: func(l *look, _ emu.SourceID, ste []uint64) uint64 { return smmuv3.Version(ste, smmuv3Context(l, ste)) },
		find:    smmuv3STEAt,
	}
	smmuv3CD = &structure{
		format: smmuv3Formats.CD(nil),
		version: func(l *look, sid emu.SourceID, cd []uint64) uint64 {
			_, ste := smmuv3STEAt(l, sid)
			return smmuv3.Version(ste, cd)
		},
	}
)

func smmuv3STEAt(l *look, sid emu.SourceID) (emu.PA, []uint64) {
	return l.driver.(*smmuv3driver.Driver).STEAt(sid)
}

// smmuv3Context returns the only CD of an STE, or nil: there is none. Under stage 2 it is in the guest's memory.
func smmuv3Context(l *look, ste []uint64) []uint64 {
	var m interface{ Load64(pa emu.PA) uint64 }
	switch spec.SteConfig.Of(ste[0]) {
	case spec.ConfigS1:
		m = labMemory{l.memory}
	case spec.ConfigNested:
		m = guestMemory{labMemory{l.memory}, l.lay}
	default:
		return nil
	}
	at := emu.PA(ste[0] & spec.SteS1Context.Mask())
	cd := make([]uint64, spec.CDSize/8)
	for i := range cd {
		cd[i] = m.Load64(at + emu.PA(i)*8)
	}
	return cd
}

// smmuv3Guest is the stage 1 of a guest. Each of its domains has an ASID of its own.
func smmuv3Guest(n int) guest.Kind { return guest.Arm{ASID: uint16(n), Flags: true} }

func smmuv3Config(p *timing.Preset) (smmuv3.Config, error) {
	c, err := configured(p, smmuv3.DefaultConfig, smmuv3.Preset)
	for spec.OASBits(uint64(c.OAS)) < smmuv3OAS {
		c.OAS++
	}
	return c, err
}

// smmuv3Unit builds a unit with the preset's caches.
func smmuv3Unit(p *timing.Preset, seed uint64) (emu.Unit, error) {
	c, err := smmuv3Config(p)
	if err != nil {
		return nil, err
	}
	c.STECache, c.CDCache, c.IOTLB = seeded(p.Caches.Entry, seed), seeded(p.Caches.PASID, seed), seeded(p.Caches.IOTLB, seed)
	c.Stage2 = seeded(p.Caches.Stage2, seed)
	c.Walk, c.Walk2 = walkLevels(p.Caches.Walk, seed), walkLevels(p.Caches.Walk2, seed)
	return smmuv3.New(c)
}

func smmuv3Driver(m smmuv3driver.Move) func(host.CPU, int, *host.Frames, entry.Omit) (host.Driver, error) {
	return func(cpu host.CPU, unit int, frames *host.Frames, omit entry.Omit) (host.Driver, error) {
		d, err := smmuv3driver.New(cpu, frames, smmuv3driver.Options{Unit: unit, Move: m, Omit: omit})
		if err != nil {
			return nil, err
		}
		return d, d.Enable()
	}
}
