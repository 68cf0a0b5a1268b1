package conform

import "github.com/iommulab/iommulab/emu"

// Deviation is one known way in which the other peer differs from our unit. It recognises exactly its
// own differences: what is not recognised fails a run, and so does a deviation that no longer shows.
type Deviation struct {
	ID     string
	What   string   // what the other peer does, and what should be
	Clause string   // where it is written
	Right  Right    // who follows the specification
	Modes  []string // in which it can show; nil: all of the unit
	After  After    // how a program goes on
	Unseen string   // why programs cannot show it; such an entry is documentation

	// match claims the differences of c that this deviation accounts for.
	match func(c *Case)
}

// Right says who follows the specification.
type Right string

// Who is right.
const (
	Ours    Right = "ours"
	Theirs  Right = "theirs"
	Either  Right = "either" // the specification allows both
	Unclear Right = "unclear"
)

// After says how a program goes on after a deviation. The runner does what is needed on both machines,
// checks that they then show the same, and ends the program where they cannot.
type After uint8

// The ways to go on.
const (
	Continue       After = iota // the machines are in the same state apart from what lasts
	ClearFaults                 // the pending faults are cleared
	Rewrite                     // registers that only one of them has taken are written again
	KickQueue                   // the queue's tail is written again
	SkipDescriptor              // the descriptor at which one queue has stopped is replaced by one that does nothing
	Settle                      // memory that only one of them has written is made equal, faults are cleared, caches are emptied
	End                         // the program ends
)

var afterText = [...]string{
	Continue: "goes on", ClearFaults: "faults are cleared", Rewrite: "registers are written again", KickQueue: "the tail is written again",
	SkipDescriptor: "the descriptor is replaced", Settle: "memory is made equal, faults cleared, caches emptied", End: "ends",
}

// String returns what happens in a few words.
func (a After) String() string { return afterText[a] }

// in reports whether the deviation can show in a mode.
func (d *Deviation) in(mode string) bool {
	if d.Modes == nil {
		return true
	}
	for _, m := range d.Modes {
		if m == mode {
			return true
		}
	}
	return false
}

// Case is a step whose results differ, as deviations look at it.
type Case struct {
	target *Target
	model  *Model
	prog   *Program
	step   *Step
	index  int // of the step; -1: power-on
	diffs  []Diff
	before [2][]uint64 // registers before the step: ours, theirs
	after  [2]*view
	track  *track
	peers  [2]Peer

	story any // what the other machine should show: Target.foresee

	by      *Deviation // whose match runs
	claimed int
	shares  bool     // the deviation has its part in differences that others have claimed
	hidden  bool     // nothing differs, but the other machine has gone on where ours has not
	back    []emu.PA // where the other machine has written what ours has not
}

// The sides of a Case.
const (
	ours = iota
	theirs
)

// claim takes a difference for the deviation whose match runs.
func (c *Case) claim(d *Diff) {
	if d != nil && d.by == nil {
		d.by = c.by
		c.claimed++
	}
}

// find returns the difference in a field of a register that nothing has claimed, or nil.
func (c *Case) find(name string) *Diff {
	for i := range c.diffs {
		if d := &c.diffs[i]; d.Kind == DiffRegister && d.Name == name && d.by == nil {
			return d
		}
	}
	return nil
}

// kind returns the first difference of a kind that nothing has claimed, or nil.
func (c *Case) kind(k DiffKind) *Diff {
	for i := range c.diffs {
		if d := &c.diffs[i]; d.Kind == k && d.by == nil {
			return d
		}
	}
	return nil
}

// was and is return the register at off before and after the step.
func (c *Case) was(side int, off uint32) uint64 { return c.value(c.before[side], off) }
func (c *Case) is(side int, off uint32) uint64  { return c.value(c.after[side].regs, off) }

func (c *Case) value(regs []uint64, off uint32) uint64 {
	for i := range c.target.registers {
		if c.target.registers[i].Off == off {
			return regs[i]
		}
	}
	return 0
}

// unchanged reports whether a side shows in a field what it showed before the step.
func (c *Case) unchanged(side int, d *Diff) bool {
	return (c.before[side][d.reg]^c.after[side].regs[d.reg])&d.part.mask == 0
}

// transfer returns the request and our unit's answer if the step is an access of a device.
func (c *Case) transfer() (*emu.Result, bool) {
	return c.model.Result(), c.step.Op == Transfer
}

// source returns the requester of the step.
func (c *Case) source() emu.SourceID { return c.prog.Devices[c.step.Device] }

// writes reports whether the step is a write to the register at off.
func (c *Case) writes(off uint32) bool { return c.step.Op == RegWrite && c.step.Off == off }

// explain lets the deviations of the target claim the differences of c, and calls seen for each that
// claimed any, or that has left the machines in different states without a difference to be seen.
func (c *Case) explain(list []*Deviation, seen func(d *Deviation, hidden bool)) {
	for _, d := range list {
		if d.match == nil {
			continue
		}
		c.by, c.claimed, c.shares, c.hidden = d, 0, false, false
		d.match(c)
		if c.claimed > 0 || c.shares || c.hidden {
			seen(d, c.claimed == 0 && !c.shares)
		}
	}
}

// unexplained returns the differences that nothing has claimed.
func (c *Case) unexplained() []Diff {
	var rest []Diff
	for i := range c.diffs {
		if c.diffs[i].by == nil {
			rest = append(rest, c.diffs[i])
		}
	}
	return rest
}
