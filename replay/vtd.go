package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/host/entry"
)

// The modes of VT-d. In legacy mode the context entry points to the tables, in scalable mode the
// PASID-table entry does.
const (
	vtdLegacy   = "legacy"
	vtdScalable = "scalable-second-stage"
	vtdFirst    = "scalable-first-stage"
	vtdTagged   = "pasid-tagged"
	vtdNested   = "nested"
)

// vtdHAW is the host address width of the machine: the lab's memory map uses all of it.
const vtdHAW = 52

// vtdDeal is among how many PASIDs a device deals out its requests in PASID-tagged mode.
const vtdDeal = 64

// Entries that grant everything: R and W of a second-stage entry; P, R/W, U/S, A and D of a
// first-stage one.
const (
	vtdPoisonSecond = 0x03
	vtdPoisonFirst  = 0x67
)

var vtdArch = &arch{name: "vtd", lay: vtdHAW, modes: []*mode{
	{
		name: vtdLegacy, unit: vtdUnit, driver: vtdDriver(vtddriver.ModeLegacy),
		own:   whole(entry.VTD{HAW: vtdHAW}.Context(), vtd.ContextVersion),
		stage: host.StageSecond, limit: 48, poison: poison{bits: vtdPoisonSecond},
	},
	vtdPASID(mode{name: vtdScalable, stage: host.StageSecond, limit: 48, poison: poison{bits: vtdPoisonSecond}}),
	vtdPASID(mode{name: vtdFirst, stage: host.StageFirst, limit: 47, poison: poison{bits: vtdPoisonFirst}}),
	vtdPASID(mode{name: vtdTagged, deal: vtdDeal, stage: host.StageFirst, limit: 47, poison: poison{bits: vtdPoisonFirst}}),
	vtdPASID(mode{name: vtdNested, nested: true, limit: 47, poison: poison{bits: vtdPoisonFirst}}),
}}

// vtdPASID completes a mode in which PASID-table entries are rewritten, for requests without PASID too.
func vtdPASID(m mode) *mode {
	m.unit, m.driver = vtdUnit, vtdDriver(vtddriver.ModeScalable)
	m.pasid = whole(entry.VTD{HAW: vtdHAW}.PASID(), vtd.PASIDVersion)
	m.own, m.pasids = m.pasid, uint32(emu.MaxPASID)+1
	return &m
}

// vtdUnit builds a unit with the preset's caches.
func vtdUnit(p *timing.Preset, seed uint64) (emu.Unit, error) {
	c, err := configured(p, vtd.DefaultConfig, vtd.Preset)
	if err != nil {
		return nil, err
	}
	c.HAW = vtdHAW
	c.FSTS, c.NEST, c.FS1GP = true, true, true
	c.ContextCache, c.PASIDCache, c.IOTLB = seeded(p.Caches.Entry, seed), seeded(p.Caches.PASID, seed), seeded(p.Caches.IOTLB, seed)
	c.Stage2 = seeded(p.Caches.Stage2, seed)
	c.Walk, c.Walk2 = walkLevels(p.Caches.Walk, seed), walkLevels(p.Caches.Walk2, seed)
	return vtd.New(c)
}

func vtdDriver(m vtddriver.Mode) func(host.CPU, int, *host.Frames, entry.Omit) (host.Driver, error) {
	return func(cpu host.CPU, unit int, frames *host.Frames, omit entry.Omit) (host.Driver, error) {
		d, err := vtddriver.New(cpu, frames, vtddriver.Options{Unit: unit, Mode: m, HAW: vtdHAW, Omit: omit})
		if err != nil {
			return nil, err
		}
		return d, d.Enable()
	}
}
