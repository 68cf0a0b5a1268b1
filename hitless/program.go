package hitless

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// Step is one step of the host: a store, an invalidation, a wait, or an invalidation that is waited for.
type Step struct {
	Label string

	// A store of Size bytes (8 or 16; 0 for none) of Data at Addr.
	Addr emu.PA
	Size uint8
	Data [2]uint64
	// Fence: all earlier steps take effect before this one. It matters where the program is weakly
	// ordered. What is waited for has a fence on either side in any case.
	Fence bool
	// Swap: a compare-and-swap, which overwrites no mark that hardware has made meanwhile.
	Swap bool

	// Invalidate lists what is dropped; the step ends when it is complete, and with it what has begun before.
	Invalidate []emu.Selector
	// NoWait: the step ends when Invalidate has taken effect. Who is under way and matches is marked: it
	// leaves nothing in caches any more, and ends before the next wait does.
	NoWait bool
}

// Store64 is an 8-byte store.
func Store64(label string, pa emu.PA, v uint64) Step {
	return Step{Label: label, Addr: pa, Size: 8, Data: [2]uint64{v}}
}

// Store128 is a 16-byte store.
func Store128(label string, pa emu.PA, lo, hi uint64) Step {
	return Step{Label: label, Addr: pa, Size: 16, Data: [2]uint64{lo, hi}}
}

// Fenced returns the step behind a fence.
func (s Step) Fenced() Step {
	s.Fence = true
	return s
}

// Sync is an invalidation and the wait for it.
func Sync(label string, sel ...emu.Selector) Step { return Step{Label: label, Invalidate: sel} }

// Drop is an invalidation that nobody waits for yet.
func Drop(label string, sel ...emu.Selector) Step {
	return Step{Label: label, Invalidate: sel, NoWait: true}
}

// Wait waits for all invalidations before it.
func Wait() Step { return Step{} }

// String writes the step for a timeline.
func (s *Step) String() string {
	fence := ""
	if s.Fence {
		fence = "fence; "
	}
	switch {
	case s.Swap:
		return fmt.Sprintf("%s: %scompare and swap %#x = %#x", s.Label, fence, uint64(s.Addr), s.Data[0])
	case s.Size == 8:
		return fmt.Sprintf("%s: %sstore8 %#x = %#x", s.Label, fence, uint64(s.Addr), s.Data[0])
	case s.Size == 16:
		return fmt.Sprintf("%s: %sstore16 %#x = %#x:%#x", s.Label, fence, uint64(s.Addr), s.Data[1], s.Data[0])
	}
	what := "invalidate and wait"
	if s.NoWait {
		what = "invalidate"
	} else if len(s.Invalidate) == 0 {
		what = "wait"
	}
	if s.Label == "" {
		return what
	}
	return s.Label + ": " + what
}

// timeline is memory as it is at each point: the base with the stores that are visible on top. It
// implements the loads of emu.Memory for one of them.
type timeline struct {
	base  emu.Memory
	steps []Step
	at    point
}

// frozen is memory as at one point, for good. Nothing that is explored stores to it: marks are not kept.
type frozen struct{ timeline }

func (*frozen) Store(emu.PA, uint8, *[4]uint64) bool { return true }
func (*frozen) CAS(emu.PA, uint8, *[4]uint64, *[4]uint64, *[4]uint64) (bool, bool) {
	return true, true
}
func (*frozen) Or(emu.PA, uint64) (uint64, bool) { return 0, true }

// Load reads what memory holds.
func (m *timeline) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	if !m.base.Load(pa, size, v) {
		return false
	}
	for i := range m.steps {
		s := &m.steps[i]
		if !m.at.over(i) {
			continue
		}
		for w := range int(s.Size) / 8 {
			at := s.Addr + emu.PA(w*8)
			switch {
			case size == 4 && at == pa&^7:
				v[0] = s.Data[w] >> (pa & 4 * 8) & 0xffff_ffff
			case size >= 8 && at >= pa && at < pa+emu.PA(size):
				v[(at-pa)/8] = s.Data[w]
			}
		}
	}
	return true
}
