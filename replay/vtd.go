package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
)

// The modes of VT-d. Both translate by second-stage tables: in legacy mode the context entry points
// to them, in scalable mode the PASID-table entry does.
const (
	vtdLegacy   = "legacy"
	vtdScalable = "scalable-second-stage"
)

// vtdHAW is the host address width of the machine: the lab's memory map uses all of it.
const vtdHAW = 52

var vtdArch = &arch{
	name:  "vtd",
	modes: []string{vtdLegacy, vtdScalable},
	unit: func(p *timing.Preset, _ string, seed uint64) (emu.Unit, error) {
		c := vtd.DefaultConfig()
		c.HAW = vtdHAW
		c.ContextCache, c.PASIDCache, c.IOTLB = seeded(p.Caches.Entry, seed), seeded(p.Caches.PASID, seed), seeded(p.Caches.IOTLB, seed)
		c.Walk = nil
		for i, g := range p.Caches.Walk {
			c.Walk = append(c.Walk, iotlb.Level{Lg2: uint8(emu.PageShift + 9*(i+1)), Geometry: seeded(g, seed)})
		}
		return vtd.New(c)
	},
	driver: func(cpu host.CPU, unit int, mode string, frames *host.Frames, omit entry.Omit) (host.Driver, error) {
		o := vtddriver.Options{Unit: unit, Mode: vtddriver.ModeScalable, HAW: vtdHAW, Omit: omit}
		if mode == vtdLegacy {
			o.Mode = vtddriver.ModeLegacy
		}
		d, err := vtddriver.New(cpu, frames, o)
		if err != nil {
			return nil, err
		}
		return d, d.Enable()
	},
	pasids: func(mode string) bool { return mode == vtdScalable },
	entry: func(mode string) *entry.Format {
		if mode == vtdLegacy {
			return entry.VTD{HAW: vtdHAW}.Context()
		}
		return entry.VTD{HAW: vtdHAW}.PASID()
	},
	version: func(mode string, words []uint64) uint64 {
		if mode == vtdLegacy {
			return vtd.ContextVersion(words)
		}
		return vtd.PASIDVersion(words)
	},
	limit: func(string) uint8 { return 48 },
}

// seeded gives a random replacement policy the run's seed.
func seeded(g iotlb.Geometry, seed uint64) iotlb.Geometry {
	g.Seed ^= seed
	return g
}
