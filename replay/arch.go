package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// arch is what a replay has to know of an architecture. Everything else is architecture-neutral.
type arch struct {
	name  string
	modes []string
	// unit builds the unit with the preset's caches. seed feeds random replacement.
	unit func(p *timing.Preset, mode string, seed uint64) (emu.Unit, error)
	// driver brings the unit up from the processor.
	driver func(cpu host.CPU, unit int, mode string, frames *host.Frames, omit entry.Omit) (host.Driver, error)
	// pasids reports whether requests of a mode may carry PASIDs.
	pasids func(mode string) bool
	// entry describes the entry that a rewrite in this mode changes.
	entry func(mode string) *entry.Format
	// version is the provenance word of a raw entry in this mode.
	version func(mode string, words []uint64) uint64
	// limit is the number of address bits that the driver's domains have.
	limit func(mode string) uint8
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
