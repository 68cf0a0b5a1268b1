package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// arch is a unit that a replay knows.
type arch struct {
	name  string
	modes []*mode
}

// mode is one way in which a unit translates, with all that a replay has to know of it. Everything
// else is architecture-neutral.
type mode struct {
	name string
	// unit builds the unit with the preset's caches. seed feeds random replacement.
	unit func(p *timing.Preset, seed uint64) (emu.Unit, error)
	// driver brings the unit up from the processor.
	driver func(cpu host.CPU, unit int, frames *host.Frames, omit entry.Omit) (host.Driver, error)
	// entry describes the entry that a rewrite changes.
	entry func() *entry.Format
	// version is the provenance word of a raw entry.
	version func(words []uint64) uint64

	pasids bool       // requests may carry PASIDs
	tags   int        // so many PASIDs in turn for the requests of a trace that have none; 0: none
	stage  host.Stage // of the tables of a domain
	limit  uint8      // address bits that domains have
	nested bool       // domains are first-stage tables of a guest over a parent; rewrites replace one of them
	poison uint64     // low bits of an entry that grants everything, in tables and leaves alike; nested: of both stages
}

// architectures are the units that a replay knows, in the order of reports.
var architectures = []*arch{vtdArch}

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
