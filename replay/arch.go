package replay

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/iotlb"
)

// arch is a unit that a replay knows, with all that it has to know of it. Everything else in this
// package is architecture-neutral.
type arch struct {
	name  string
	lay   layout
	modes []*mode
}

// mode is one way in which a unit translates.
type mode struct {
	name string
	// unit builds the unit with the preset's caches. seed feeds random replacement.
	unit func(p *timing.Preset, seed uint64) (emu.Unit, error)
	// driver brings the unit up from the processor.
	driver func(cpu host.CPU, unit int, frames *host.Frames, omit entry.Omit) (host.Driver, error)
	// own and pasid are the entries that a rewrite changes: that of a device's own requests, and that
	// of one of its PASIDs; nil if there are no PASIDs.
	own, pasid *structure

	pasids uint32     // that a device can send; 0: none
	deal   int        // among so many PASIDs requests without one are dealt out; 0: they stay as they are
	stage  host.Stage // of the tables of a domain
	limit  uint8      // address bits that domains have
	nested bool       // domains are first-stage tables of a guest over a parent; rewrites replace one of them
	// guest is what the n-th first-stage tables of a guest look like; nil: as those of x86 do.
	guest  func(n int) guest.Kind
	poison poison // of tables
}

// structure is a kind of entry.
type structure struct {
	format *entry.Format
	// version is the provenance word of a raw entry of the requester sid. l is where what the entry
	// belongs with can be read.
	version func(l *look, sid emu.SourceID, words []uint64) uint64
	// find, if set, tells the entry of sid that rewrites change, and what it holds, where that is not what the
	// driver takes for it (host.Driver.EntryAt).
	find func(l *look, sid emu.SourceID) (emu.PA, []uint64)
}

// whole is an entry that has all that steers translation.
func whole(f *entry.Format, version func(words []uint64) uint64) *structure {
	return &structure{format: f, version: func(_ *look, _ emu.SourceID, words []uint64) uint64 { return version(words) }}
}

// look is how the lab sees what is around an entry, without a processor and without time.
type look struct {
	driver host.Driver
	memory emu.Memory
	lay    layout
}

// structure returns the kind of entry that requests with a PASID, or with none, go by.
func (m *mode) structure(pasid emu.PASID) *structure {
	if pasid != emu.NoPASID {
		return m.pasid
	}
	return m.own
}

// architectures are the units that a replay knows, in the order of reports.
var architectures = []*arch{vtdArch, amdviArch, smmuv3Arch}

// Units returns the names of the units that a replay knows.
func Units() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, a.name)
	}
	return names
}

func archByName(name string) *arch {
	for _, a := range architectures {
		if a.name == name {
			return a
		}
	}
	return nil
}

// modeByName returns a mode of a, or nil.
func (a *arch) modeByName(name string) *mode {
	for _, m := range a.modes {
		if m.name == name {
			return m
		}
	}
	return nil
}

// seeded gives a random replacement policy the run's seed.
func seeded(g iotlb.Geometry, seed uint64) iotlb.Geometry {
	g.Seed ^= seed
	return g
}

// configured returns the configuration of a name, or what def makes if there is none.
func configured[C any](p *timing.Preset, def func() C, named func(string) (C, error)) (C, error) {
	if p.Config == "" {
		return def(), nil
	}
	c, err := named(p.Config)
	if err != nil {
		return c, fmt.Errorf("%w: preset %s: config: %w", ErrOptions, p.Name, err)
	}
	return c, nil
}

// walkLevels gives the geometries, from the level above the leaves upwards, their region sizes: every
// level of all formats has 512 entries.
func walkLevels(list []iotlb.Geometry, seed uint64) []iotlb.Level {
	var l []iotlb.Level
	for i, g := range list {
		l = append(l, iotlb.Level{Lg2: uint8(emu.PageShift + 9*(i+1)), Geometry: seeded(g, seed)})
	}
	return l
}
