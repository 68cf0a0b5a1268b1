package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	amdvidriver "github.com/iommulab/iommulab/host/driver/amdvi"
	"github.com/iommulab/iommulab/host/entry"
)

// The modes of AMD-Vi. In v1, v2 and nested mode the device table entry is rewritten: it points to host
// tables, to a GCR3 table of the domain, or to both. With PASIDs the device has a GCR3 table of its own,
// and an entry of that is rewritten.
const (
	amdviV1     = "v1"
	amdviV2     = "v2"
	amdviTagged = "pasid-tagged"
	amdviNested = "nested"
)

// amdviHAW is the physical address width of the machine: the lab's memory map uses all of it.
const amdviHAW = 52

// amdviPASIDs is how many PASIDs a device can send: as many as the unit takes.
const amdviPASIDs = 1 << 16

// amdviDeal is among how many PASIDs a device deals out its requests in PASID-tagged mode.
const amdviDeal = 64

// Entries that grant everything: PR, IR and IW of a host table entry, which tells the level of the next
// table; P, R/W, U/S, A and D of a guest table entry; and one that is both.
var (
	amdviPoisonHost  = poison{bits: 1 | 3<<61, down: amdviDown}
	amdviPoisonGuest = poison{bits: 0x67}
	amdviPoisonBoth  = poison{bits: amdviPoisonHost.bits | amdviPoisonGuest.bits, down: amdviDown}
)

// amdviDown is NextLevel of a host table entry: the specification counts levels from 1, and 0 is a page.
func amdviDown(level uint8) uint64 { return spec.PteNextLevel.Put(uint64(level)) }

var amdviArch = &arch{name: "amdvi", lay: amdviHAW, modes: []*mode{
	amdviMode(mode{name: amdviV1, stage: host.StageSecond, limit: 48, poison: amdviPoisonHost}),
	amdviMode(mode{name: amdviV2, stage: host.StageFirst, limit: 47, poison: amdviPoisonGuest}),
	amdviMode(mode{
		name: amdviTagged, stage: host.StageFirst, limit: 47, poison: amdviPoisonGuest, pasids: amdviPASIDs, deal: amdviDeal,
		pasid: whole(entry.AMDVi{HAW: amdviHAW}.GCR3(), func(w []uint64) uint64 { return amdvi.GCR3Version(w[0]) }),
	}),
	amdviMode(mode{name: amdviNested, nested: true, limit: 47, poison: amdviPoisonBoth}),
}}

// amdviMode completes a mode.
func amdviMode(m mode) *mode {
	m.unit, m.driver = amdviUnit, amdviDriver
	m.own = whole(entry.AMDVi{HAW: amdviHAW}.DTE(), amdvi.DTEVersion)
	return &m
}

// amdviUnit builds a unit with the preset's caches.
func amdviUnit(p *timing.Preset, seed uint64) (emu.Unit, error) {
	c, err := configured(p, amdvi.DefaultConfig, amdvi.Preset)
	if err != nil {
		return nil, err
	}
	c.PAsize = amdviHAW
	c.DTECache, c.GCR3Cache, c.IOTLB = seeded(p.Caches.Entry, seed), seeded(p.Caches.PASID, seed), seeded(p.Caches.IOTLB, seed)
	c.Stage2 = seeded(p.Caches.Stage2, seed)
	c.Walk, c.Walk2 = walkLevels(p.Caches.Walk, seed), walkLevels(p.Caches.Walk2, seed)
	return amdvi.New(c)
}

func amdviDriver(cpu host.CPU, unit int, frames *host.Frames, omit entry.Omit) (host.Driver, error) {
	d, err := amdvidriver.New(cpu, frames, amdvidriver.Options{Unit: unit, HAW: amdviHAW, Omit: omit})
	if err != nil {
		return nil, err
	}
	return d, d.Enable()
}
