package conform

import (
	"cmp"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Target is a unit in one mode: what programs for it look like, what is compared, and in what the
// other peer is known to deviate.
type Target struct {
	IOMMU string
	Mode  string
	// Peer is the mode of the other peer that programs run on; empty: Mode.
	Peer  string
	About string
	// Words are the identity registers that the other peer is expected to have, by offset.
	Words Identity
	// Ours are those of our unit. It is built from Words; what differs does not matter to programs.
	Ours Identity

	identity   []RegisterAt // where Words are
	registers  []Register
	places     []RegisterAt                    // of registers
	suits      func(id Identity, p Peer) error // says why programs cannot run on a unit
	model      func(id Identity, m Machine, caches bool) (*Model, []string, error)
	squeeze    func(p *Program, i int) (*Program, bool) // takes step i out and moves what comes later
	generate   func(seed uint64, m Machine) *Program
	deviations []*Deviation
	unsuitable []Unsuitable
	resync     map[After]func(r *Runner) (bool, error)
	state      func() any               // what observe keeps of a program, new: track.state
	observe    func(r *Runner, s *Step) // notes what later steps depend on; nil: nothing
	hangs      func(c *Case) bool       // says that the other side would never come back from a step; may be nil
	// foresee works out what the other side shows of a step, for the deviations, and returns what memory it
	// has written; may be nil.
	foresee func(c *Case) []emu.PA
	walks   bool // hardware writes accessed and dirty flags: entries are compared after each access
}

// Identity is the registers that say what a unit can do. For VT-d: VER, CAP, ECAP. What a unit has less
// of is 0.
type Identity [5]uint64

// ReadIdentity reads the identity registers of a peer.
func (t *Target) ReadIdentity(p Peer) (id Identity, err error) {
	for i, r := range t.identity {
		if id[i], err = p.ReadReg(r.Off, r.Size); err != nil {
			return id, err
		}
	}
	return id, nil
}

// Register is a register that is compared after each step.
type Register struct {
	Name   string
	Off    uint32
	Size   uint8       // 4 or 8 bytes
	Layout *reg.Layout // nil: compared as one number
	Word   uint16      // word of the layout that this is, from 0
	Record string      // registers of the same name here are one record
	Begins uint64      // bits that say, when they rise, that the whole record is new
}

// field is a part of a register that is compared as one number.
type field struct {
	name string
	mask uint64
	lo   uint
}

// fields splits a register. Bits that the layout does not name are compared as one field without name.
func (r *Register) fields() []field {
	all := ^uint64(0) >> (64 - 8*uint(r.Size))
	if r.Layout == nil {
		return []field{{mask: all}}
	}
	var list []field
	rest := all
	for _, f := range r.Layout.Fields {
		if f.Lo/64 != r.Word {
			continue
		}
		b := reg.Bits(uint32(f.Hi%64)*1000 + uint32(f.Lo%64))
		list = append(list, field{f.Name, b.Mask(), b.Lo()})
		rest &^= b.Mask()
	}
	if rest != 0 {
		list = append(list, field{mask: rest})
	}
	return list
}

// targets lists what this build knows.
var targets = slices.Concat(vtdTargets(), amdviTargets(), smmuTargets())

// Targets returns the modes of a unit, or of all units if iommu is empty.
func Targets(iommu string) []*Target {
	var list []*Target
	for _, t := range targets {
		if iommu == "" || t.IOMMU == iommu {
			list = append(list, t)
		}
	}
	return list
}

// FindTarget returns the target of a unit and mode.
func FindTarget(iommu, mode string) (*Target, bool) {
	for _, t := range targets {
		if t.IOMMU == iommu && t.Mode == mode {
			return t, true
		}
	}
	return nil, false
}

// PeerMode names the mode of the other peer that programs run on.
func (t *Target) PeerMode() string { return cmp.Or(t.Peer, t.Mode) }

// Generate returns the program of a seed for a machine.
func (t *Target) Generate(seed uint64, m Machine) *Program { return t.generate(seed, m) }

// Model returns our machine with the capabilities of id, and what of them it cannot express, as
// register and field. Without caches every request reads all tables.
func (t *Target) Model(id Identity, m Machine, caches bool) (*Model, []string, error) {
	return t.model(id, m, caches)
}

// Deviations returns what is known of the other peer.
func (t *Target) Deviations() []*Deviation { return t.deviations }

// Strict returns the target without deviations: two machines have to show the same.
func (t *Target) Strict() *Target {
	s := *t
	s.deviations, s.foresee, s.hangs = nil, nil, nil
	return &s
}

// Deviation returns the known deviation with an id that programs can show.
func (t *Target) Deviation(id string) (*Deviation, bool) {
	for _, d := range t.deviations {
		if d.ID == id && d.match != nil {
			return d, true
		}
	}
	return nil, false
}

// Unsuitable returns what generated programs leave out, and why.
func (t *Target) Unsuitable() []Unsuitable {
	var list []Unsuitable
	for _, u := range t.unsuitable {
		if u.Modes == nil || slices.Contains(u.Modes, t.Mode) {
			list = append(list, u)
		}
	}
	return list
}
