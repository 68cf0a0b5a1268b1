package hitless

import (
	"cmp"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Recorder is the processor of a functional machine that takes down what host software does as a program to
// be explored: its stores and fences, and what the invalidations drop that it waits for.
type Recorder struct {
	*emu.Functional
	Aside func(pa emu.PA) bool // stores that are no steps, as those to queues; nil: none
	// Label is what the next invalidation is called for people; empty: "commands".
	Label string
	// Each: every invalidation, and every wait, is a step by itself. Otherwise a wait and what it waits for
	// are one.
	Each bool

	recording bool
	program   []Step
	pending   []emu.Selector
	fence     bool
	before    []Step // what stores have overwritten
}

// Record returns what f does, and leaves memory as it was before.
func (r *Recorder) Record(f func()) []Step {
	r.program, r.before, r.recording = nil, nil, true
	r.Trace = r.traced
	f()
	r.recording, r.Trace = false, nil
	for _, s := range slices.Backward(r.before) {
		for i := range int(s.Size) / 8 {
			r.Functional.Store64(s.Addr+emu.PA(i*8), s.Data[i])
		}
	}
	return r.program
}

// traced takes note of what commands drop, up to each wait.
func (r *Recorder) traced(x *emu.Txn) {
	switch {
	case !r.recording || x.Req.Type != emu.Job:
	case x.Act.Op == emu.OpInvalidate:
		r.pending = append(r.pending, x.Act.Sel)
		if r.Each {
			r.drop(x.Act.Sel)
		}
	case x.Act.Op == emu.OpDrain && len(r.pending) > 0:
		if r.Each {
			r.program = append(r.program, Wait())
		} else {
			r.program = append(r.program, Sync(cmp.Or(r.Label, "commands"), r.pending...))
		}
		r.pending, r.fence = nil, false
	}
}

// drop makes an invalidation a step, or a part of the last one if that has the same label: a command may
// drop several things.
func (r *Recorder) drop(sel emu.Selector) {
	label := cmp.Or(r.Label, "command")
	if n := len(r.program); n > 0 && r.program[n-1].NoWait && r.program[n-1].Label == label {
		r.program[n-1].Invalidate = append(r.program[n-1].Invalidate, sel)
		return
	}
	r.program = append(r.program, Drop(label, sel))
}

// stored makes a store a step.
func (r *Recorder) stored(s Step) {
	if !r.recording || r.Aside != nil && r.Aside(s.Addr) {
		return
	}
	old := Step{Addr: s.Addr, Size: s.Size, Data: [2]uint64{r.Functional.Load64(s.Addr), r.Functional.Load64(s.Addr + 8)}}
	r.before = append(r.before, old)
	s.Fence, r.fence = r.fence, false
	r.program = append(r.program, s)
}

// Store64 is a step.
func (r *Recorder) Store64(pa emu.PA, v uint64) {
	r.stored(Store64("store", pa, v))
	r.Functional.Store64(pa, v)
}

// Store128 is a step.
func (r *Recorder) Store128(pa emu.PA, lo, hi uint64) {
	r.stored(Store128("store", pa, lo, hi))
	r.Functional.Store128(pa, lo, hi)
}

// CAS64 is a step if it succeeds, with a fence on either side.
func (r *Recorder) CAS64(pa emu.PA, old, v uint64) bool {
	if r.Functional.Load64(pa) != old {
		return false
	}
	r.fence = true
	r.Store64(pa, v)
	if r.recording && len(r.program) > 0 {
		r.program[len(r.program)-1].Swap = true
	}
	r.fence = true
	return true
}

// CAS128 is a step if it succeeds, with a fence on either side.
func (r *Recorder) CAS128(pa emu.PA, old, v [2]uint64) bool {
	if [2]uint64{r.Functional.Load64(pa), r.Functional.Load64(pa + 8)} != old {
		return false
	}
	r.fence = true
	r.Store128(pa, v[0], v[1])
	r.fence = true
	return true
}

// Fence holds the next step back.
func (r *Recorder) Fence() { r.fence = true }
