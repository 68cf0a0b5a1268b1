package hitless

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// recorder is the processor of a functional machine that takes down what host software does as a program to
// be explored: its stores and fences, and what the invalidations drop that it waits for.
type recorder struct {
	*emu.Functional
	aside func(pa emu.PA) bool // stores that are no steps, as those to queues; nil: none

	recording bool
	program   []Step
	pending   []emu.Selector
	fence     bool
	before    []Step // what stores have overwritten
}

// record returns what f does, and leaves memory as it was before.
func (r *recorder) record(f func()) []Step {
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
func (r *recorder) traced(x *emu.Txn) {
	switch {
	case !r.recording || x.Req.Type != emu.Job:
	case x.Act.Op == emu.OpInvalidate:
		r.pending = append(r.pending, x.Act.Sel)
	case x.Act.Op == emu.OpDrain && len(r.pending) > 0:
		r.program = append(r.program, Sync("commands", r.pending...))
		r.pending, r.fence = nil, false
	}
}

// stored makes a store a step.
func (r *recorder) stored(s Step) {
	if !r.recording || r.aside != nil && r.aside(s.Addr) {
		return
	}
	old := Step{Addr: s.Addr, Size: s.Size, Data: [2]uint64{r.Functional.Load64(s.Addr), r.Functional.Load64(s.Addr + 8)}}
	r.before = append(r.before, old)
	s.Fence, r.fence = r.fence, false
	r.program = append(r.program, s)
}

// Store64 is a step.
func (r *recorder) Store64(pa emu.PA, v uint64) {
	r.stored(Store64("store", pa, v))
	r.Functional.Store64(pa, v)
}

// Store128 is a step.
func (r *recorder) Store128(pa emu.PA, lo, hi uint64) {
	r.stored(Store128("store", pa, lo, hi))
	r.Functional.Store128(pa, lo, hi)
}

// CAS64 is a step if it succeeds, with a fence on either side.
func (r *recorder) CAS64(pa emu.PA, old, v uint64) bool {
	if r.Functional.Load64(pa) != old {
		return false
	}
	r.fence = true
	r.Store64(pa, v)
	r.fence = true
	return true
}

// CAS128 is a step if it succeeds, with a fence on either side.
func (r *recorder) CAS128(pa emu.PA, old, v [2]uint64) bool {
	if [2]uint64{r.Functional.Load64(pa), r.Functional.Load64(pa + 8)} != old {
		return false
	}
	r.fence = true
	r.Store128(pa, v[0], v[1])
	r.fence = true
	return true
}

// Fence holds the next step back.
func (r *recorder) Fence() { r.fence = true }

// without returns a program without one of its invalidations, counted over all selectors of all waits; left is
// nil if it has not so many.
func without(program []Step, n int) (p []Step, left *emu.Selector) {
	for _, s := range program {
		if s.Invalidate != nil {
			list := slices.Clone(s.Invalidate)
			if n >= 0 && n < len(list) {
				left = &s.Invalidate[n]
				list = slices.Delete(list, n, n+1)
			}
			n -= len(s.Invalidate)
			if len(list) == 0 {
				continue
			}
			s.Invalidate = list
		}
		p = append(p, s)
	}
	return p, left
}

// leftovers returns what caches may still hold after the program and would not if there had never been
// anything but the new content. same says whether two values of a cache mean the same; nil: equal ones do.
func leftovers(sc *Scenario, same func(c emu.CacheID, a, b [4]uint64) bool) (list []copyOf, err error) {
	var held [2][]copyOf
	now := &frozen{timeline{sc.Memory, sc.Program, last(len(sc.Program))}}
	for i, s := range []*Scenario{sc, {Unit: sc.Unit, Memory: now, Request: sc.Request}} {
		x, err := newExplorer(s)
		if err == nil {
			_, err = x.explore()
		}
		if err != nil {
			return nil, err
		}
		held[i] = x.copies
	}
	for _, c := range held[0] {
		fresh := slices.ContainsFunc(held[1], func(o copyOf) bool {
			return c.cache == o.cache && c.key == o.key && (c.val == o.val || same != nil && same(c.cache, c.val, o.val))
		})
		if c.until == len(sc.Program) && !fresh {
			list = append(list, c)
		}
	}
	return list, nil
}
