package pagetable

import (
	"errors"
	"fmt"
	"maps"

	"github.com/iommulab/iommulab/emu"
)

// arena is memory and page source of the tests. It panics at an access outside of live pages, so a
// page that is freed too early is found at the first touch.
type arena struct {
	words  []uint64
	shadow []uint64 // what a walker that does not snoop sees: the state as of the last Flush
	units  []uint8  // log2 size +1 of the live page that a 2 KiB unit belongs to, 0: none
	free   map[uint8][]emu.PA
	next   int
	live   map[emu.PA]uint8
	limit  int // pages that may be live; 0: no limit
	loads  int
	stores int
	hook   func(op string, pa emu.PA) // before each access
}

const arenaBase = 0x4000_0000

func newArena(mib int) *arena {
	n := mib << 17
	return &arena{
		words: make([]uint64, n), shadow: make([]uint64, n), units: make([]uint8, n>>8),
		free: map[uint8][]emu.PA{}, live: map[emu.PA]uint8{},
	}
}

// reset forgets all pages, without giving the memory back.
func (a *arena) reset() {
	clear(a.units[:(a.next+2047)>>11])
	*a = arena{words: a.words, shadow: a.shadow, units: a.units, free: map[uint8][]emu.PA{}, live: map[emu.PA]uint8{}}
}

func (a *arena) word(pa emu.PA) *uint64 {
	off := uint64(pa - arenaBase)
	if off&7 != 0 || off>>3 >= uint64(len(a.words)) || a.units[off>>11] == 0 {
		panic(fmt.Sprintf("access to %#x, which is no live table page", uint64(pa)))
	}
	return &a.words[off>>3]
}

func (a *arena) event(op string, pa emu.PA) {
	if h := a.hook; h != nil {
		h(op, pa)
	}
}

func (a *arena) Load64(pa emu.PA) uint64 {
	a.event("load", pa)
	a.loads++
	return *a.word(pa)
}

func (a *arena) Store64(pa emu.PA, v uint64) {
	a.event("store", pa)
	a.stores++
	*a.word(pa) = v
}

func (a *arena) CAS64(pa emu.PA, old, new uint64) bool {
	a.event("cas", pa)
	a.stores++
	w := a.word(pa)
	if *w != old {
		return false
	}
	*w = new
	return true
}

func (a *arena) Flush(pa emu.PA, n int) {
	if n == 0 {
		return
	}
	a.event("flush", pa)
	a.word(pa)
	a.word(pa + emu.PA(n) - 8)
	i := uint64(pa-arenaBase) >> 3
	copy(a.shadow[i:i+uint64(n)>>3], a.words[i:])
}

var errNoPages = errors.New("arena: no pages left")

func (a *arena) Alloc(lg2 uint8) (emu.PA, error) {
	if a.limit != 0 && len(a.live) >= a.limit {
		return 0, errNoPages
	}
	var pa emu.PA
	if f := a.free[lg2]; len(f) > 0 {
		pa = f[len(f)-1]
		a.free[lg2] = f[:len(f)-1]
	} else {
		size := 1 << lg2
		a.next = (a.next + size - 1) &^ (size - 1)
		if a.next+size > len(a.words)*8 {
			return 0, errNoPages
		}
		pa = emu.PA(arenaBase + a.next)
		a.next += size
	}
	a.live[pa] = lg2
	a.mark(pa, lg2, lg2+1)
	i := uint64(pa-arenaBase) >> 3
	clear(a.words[i : i+1<<(lg2-3)])
	return pa, nil
}

func (a *arena) Free(pa emu.PA, lg2 uint8) {
	if a.live[pa] != lg2 {
		panic(fmt.Sprintf("free of %#x (2^%d), which is not live", uint64(pa), lg2))
	}
	delete(a.live, pa)
	a.mark(pa, lg2, 0)
	a.free[lg2] = append(a.free[lg2], pa)
}

func (a *arena) mark(pa emu.PA, lg2, v uint8) {
	for u := uint64(pa-arenaBase) >> 11; u < (uint64(pa-arenaBase)+1<<lg2)>>11; u++ {
		a.units[u] = v
	}
}

// walker is the view of a walker that does not snoop.
func (a *arena) walker() Memory { return shadowView{a} }

type shadowView struct{ a *arena }

func (s shadowView) Load64(pa emu.PA) uint64 {
	s.a.word(pa)
	return s.a.shadow[uint64(pa-arenaBase)>>3]
}
func (s shadowView) Store64(emu.PA, uint64)            { panic("walkers do not store here") }
func (s shadowView) CAS64(emu.PA, uint64, uint64) bool { panic("walkers do not store here") }
func (s shadowView) Flush(emu.PA, int)                 {}

// livePages returns a copy of what is live.
func (a *arena) livePages() map[emu.PA]uint8 { return maps.Clone(a.live) }
