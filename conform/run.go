package conform

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Runner runs programs on our machine and on another peer, and compares them after each step.
type Runner struct {
	target *Target
	ours   *Model
	theirs Peer

	// Trace, if set, is told every step after it was compared.
	Trace func(i int, s *Step, diffs []Diff)

	prog  *Program
	regs  [2][]uint64 // as last seen
	view  [2]view
	last  lasting
	track track
	back  []emu.PA // where the other machine has written what ours has not
	out   *Outcomes
}

// Outcomes is what a program showed.
type Outcomes struct {
	Steps     int
	Transfers int
	Done      int            // accesses that were carried out
	Seen      map[string]int // deviations by id: in how many steps
	EndedBy   string         // deviation after which the machines cannot be compared; empty: ran to its end
	Failed    int            // step whose differences nothing explains; -1: power-on; len(Steps): memory at the end
	Diffs     []Diff         // those differences; empty: everything was explained
}

// Same reports whether every difference was explained.
func (o *Outcomes) Same() bool { return len(o.Diffs) == 0 }

// NewRunner returns a runner for programs of t. ours must be a model of t.
func NewRunner(t *Target, ours *Model, theirs Peer) *Runner {
	r := &Runner{target: t, ours: ours, theirs: theirs}
	for i := range r.regs {
		r.regs[i] = make([]uint64, len(t.registers))
		r.view[i].regs = make([]uint64, len(t.registers))
	}
	return r
}

// Check says whether the machines offer what p uses.
func (r *Runner) Check(p *Program) error {
	if p.IOMMU != r.target.IOMMU || p.Mode != r.target.Mode {
		return fmt.Errorf("the program is for %s %s, want %s %s", p.IOMMU, p.Mode, r.target.IOMMU, r.target.Mode)
	}
	for _, m := range []Machine{r.ours.Machine(), r.theirs.Machine()} {
		if p.RAM < m.RAM || p.RAM+emu.PA(p.Size) > m.RAM+emu.PA(m.Size) {
			return fmt.Errorf("the program uses memory %#x to %#x, the machine has %#x to %#x",
				uint64(p.RAM), uint64(p.RAM)+p.Size, uint64(m.RAM), uint64(m.RAM)+m.Size)
		}
		if len(p.Devices) > len(m.Devices) {
			return fmt.Errorf("the program has %d devices, the machine %d", len(p.Devices), len(m.Devices))
		}
		for i, d := range p.Devices {
			if m.Devices[i].Source != d {
				return fmt.Errorf("device %d of the program is %#04x, of the machine %#04x", i, uint16(d), uint16(m.Devices[i].Source))
			}
		}
	}
	return nil
}

// Run runs p from power-on. An error means that a peer failed or that p cannot run on it.
func (r *Runner) Run(p *Program) (*Outcomes, error) {
	if err := r.Check(p); err != nil {
		return nil, err
	}
	r.prog = p
	r.out = &Outcomes{Seen: make(map[string]int), Failed: -1}
	r.last = make(lasting)
	r.track = newTrack(r.target)
	if err := r.powerOn(); err != nil {
		return nil, err
	}
	for i := range p.Steps {
		if r.out.EndedBy != "" || !r.out.Same() {
			break
		}
		if err := r.step(i); err != nil {
			return nil, fmt.Errorf("step %d (%s): %w", i, p.Steps[i].text(), err)
		}
	}
	if r.out.EndedBy == "" && r.out.Same() {
		if err := r.end(); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

// powerOn resets both machines and compares what they come up with.
func (r *Runner) powerOn() error {
	if err := r.ours.Reset(); err != nil {
		return err
	}
	if err := r.theirs.Reset(); err != nil {
		return err
	}
	for i, p := range r.peers() {
		r.view[i] = view{regs: r.view[i].regs}
		clear(r.regs[i])
		if err := r.target.look(p, r.view[i].regs); err != nil {
			return err
		}
	}
	return r.judge(-1, &Step{Op: Clock}, nil)
}

func (r *Runner) newCase(i int, s *Step, diffs []Diff) *Case {
	return &Case{
		target: r.target, model: r.ours, prog: r.prog, step: s, index: i, diffs: diffs, track: &r.track,
		before: r.regs, after: [2]*view{&r.view[ours], &r.view[theirs]}, peers: r.peers(),
	}
}

func (r *Runner) peers() [2]Peer { return [2]Peer{r.ours, r.theirs} }

// step does one step on both machines and compares.
func (r *Runner) step(i int) error {
	s := &r.prog.Steps[i]
	if r.target.hangs != nil && r.target.hangs(r.newCase(i, s, nil)) {
		r.out.EndedBy = "it would never come back"
		return nil
	}
	r.out.Steps++
	r.ours.forget()
	for i, p := range r.peers() {
		if err := perform(p, s, &r.view[i]); err != nil {
			return err
		}
	}
	if s.Op == Transfer {
		r.out.Transfers++
		r.out.Done += int(truth(r.view[ours].ok))
	}
	r.track.step(s, r.ours)
	if s.Op == MemWrite {
		r.say(i, s, nil) // the processor's own stores change nothing but memory
		return nil
	}
	for i, p := range r.peers() {
		if err := r.target.look(p, r.view[i].regs); err != nil {
			return err
		}
	}
	return r.judge(i, s, r.words(s))
}

// words are the words of memory to compare after a step: what our hardware wrote, where the access of
// a device ended, and with accessed flags the paging entries on the way.
func (r *Runner) words(s *Step) []emu.PA {
	var list []emu.PA
	for _, a := range r.ours.seen() {
		if a.ok && (a.write || r.target.walks && s.Op == Transfer && a.size == 8) {
			for pa := a.pa &^ 7; pa < a.pa+emu.PA(a.size); pa += 8 {
				list = append(list, pa)
			}
		}
	}
	if s.Op == Transfer && s.Write && r.view[ours].ok {
		list = append(list, r.ours.Result().PA)
	}
	list = slices.DeleteFunc(list, func(pa emu.PA) bool { return pa < r.ours.mach.First })
	slices.Sort(list)
	return slices.Compact(list)
}

// judge compares what both machines show after a step.
func (r *Runner) judge(i int, s *Step, words []emu.PA) error {
	t, a, b := r.target, &r.view[ours], &r.view[theirs]
	r.last.refresh(t, r.regs, [2]*view{a, b})
	diffs := t.diffStep(nil, s, a, b, r.last)
	diffs = t.diffRegisters(diffs, a.regs, b.regs, r.last)
	diffs, err := diffMemory(diffs, r.ours, r.theirs, words, r.last)
	if err != nil {
		return err
	}
	after, by := Continue, ""
	if t.foresee != nil || len(diffs) > 0 || s.Op == Transfer && r.ours.Result().Status == emu.Blocked {
		c := r.newCase(i, s, diffs)
		if t.foresee != nil {
			more := slices.DeleteFunc(t.foresee(c), func(pa emu.PA) bool { return slices.Contains(words, pa) })
			if c.diffs, err = diffMemory(c.diffs, r.ours, r.theirs, more, r.last); err != nil {
				return err
			}
			diffs = c.diffs
		}
		c.explain(t.deviations, func(d *Deviation, hidden bool) {
			if !hidden {
				r.out.Seen[d.ID]++
			}
			if d.After > after {
				after, by = d.After, d.ID
			}
		})
		r.back = c.back
		if rest := c.unexplained(); len(rest) > 0 {
			r.out.Failed, r.out.Diffs = i, rest
		}
		r.last.keep(diffs)
	}
	for k := range r.regs {
		copy(r.regs[k], r.view[k].regs)
	}
	r.track.after(s, a, r.ours)
	if t.observe != nil {
		t.observe(r, s)
	}
	r.say(i, s, diffs)
	if after == Continue || !r.out.Same() {
		return nil
	}
	agree := false
	if f := t.resync[after]; f != nil {
		if agree, err = r.settle(i, f); err != nil {
			return err
		}
	}
	if !agree {
		r.out.EndedBy = by
	}
	return nil
}

func (r *Runner) say(i int, s *Step, diffs []Diff) {
	if r.Trace != nil {
		r.Trace(i, s, diffs)
	}
}

// settle brings both machines to the same state after a deviation, and checks that it did. It returns
// false if there is no way.
func (r *Runner) settle(i int, f func(*Runner) (bool, error)) (bool, error) {
	if ok, err := f(r); !ok || err != nil {
		return false, err
	}
	for i, p := range r.peers() {
		if err := r.target.look(p, r.view[i].regs); err != nil {
			return false, err
		}
		if _, err := p.Messages(); err != nil {
			return false, err
		}
	}
	r.last.refresh(r.target, r.regs, [2]*view{&r.view[ours], &r.view[theirs]})
	for i := range r.regs {
		copy(r.regs[i], r.view[i].regs)
	}
	if d := r.target.diffRegisters(nil, r.regs[ours], r.regs[theirs], r.last); len(d) > 0 {
		r.out.Failed, r.out.Diffs = i, d
	}
	return true, nil
}

// both does a register write on both machines.
func (r *Runner) both(off uint32, size uint8, v uint64) error {
	for _, p := range r.peers() {
		if err := p.WriteReg(off, size, v); err != nil {
			return err
		}
	}
	return nil
}

// store writes memory on both machines.
func (r *Runner) store(pa emu.PA, b []byte) error {
	for _, p := range r.peers() {
		if err := p.Write(pa, b); err != nil {
			return err
		}
	}
	return nil
}

// equalize makes words of memory of the other machine what they are in ours. Where there is no memory
// nothing is done.
func (r *Runner) equalize(words []emu.PA) error {
	var b [8]byte
	for _, pa := range words {
		v, ok := r.ours.mem.Load64(pa)
		if !ok || pa < r.ours.mach.First {
			continue
		}
		binary.LittleEndian.PutUint64(b[:], v)
		if err := r.theirs.Write(pa, b[:]); err != nil {
			return err
		}
	}
	return nil
}

// end compares all memory that the program used.
func (r *Runner) end() error {
	pages := slices.DeleteFunc(r.track.list(), func(pa emu.PA) bool { return pa < r.ours.mach.First })
	diffs, err := diffPages(nil, r.ours, r.theirs, pages, r.last)
	if err != nil {
		return err
	}
	if len(diffs) > 0 {
		r.out.Failed, r.out.Diffs = len(r.prog.Steps), diffs
	}
	return nil
}
