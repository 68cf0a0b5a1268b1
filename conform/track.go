package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// track is what a runner remembers of a program besides registers.
type track struct {
	pages map[emu.PA]bool // pages of memory to compare at the end
	done  []span          // what was translated for devices, whether memory answered or not
	state any             // of the architecture: Target.state
}

// span is a page that was translated for a device.
type span struct {
	device      uint8
	write       bool
	first, last emu.IOVA
}

func newTrack(t *Target) track { return track{pages: make(map[emu.PA]bool), state: t.state()} }

func (t *track) touch(pa emu.PA, n int) {
	for p := pa &^ (emu.PageSize - 1); p < pa+emu.PA(n); p += emu.PageSize {
		t.pages[p] = true
	}
}

// step notes the memory that a step has changed.
func (t *track) step(s *Step, m *Model) {
	if s.Op == MemWrite {
		t.touch(s.PA, 8*s.Words())
	}
	for _, a := range m.seen() {
		if a.write && a.ok {
			t.touch(a.pa, int(a.size))
		}
	}
}

// after notes what a step has shown once it was judged.
func (t *track) after(s *Step, v *view, m *Model) {
	r := m.Result()
	if s.Op != Transfer || r.Status != emu.OK {
		return
	}
	if s.Write && v.ok {
		t.touch(r.PA, 8)
	}
	if r.Lg2 < 64 {
		mask := emu.IOVA(1)<<r.Lg2 - 1
		t.done = append(t.done, span{s.Device, s.Write, s.Addr &^ mask, s.Addr | mask})
	}
}

// translated reports whether the page of an address was translated for a device before.
func (t *track) translated(device uint8, a emu.IOVA) bool {
	for i := range t.done {
		if d := &t.done[i]; d.device == device && d.first <= a && a <= d.last {
			return true
		}
	}
	return false
}

// list returns the pages, ascending.
func (t *track) list() []emu.PA {
	var l []emu.PA
	for p := range t.pages {
		l = append(l, p)
	}
	slices.Sort(l)
	return l
}
