package pagetable

import (
	"fmt"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestMap_InterleavedAtEachAccess runs a second map of a disjoint range in the middle of a first one, at
// each of its memory accesses in turn. When the second returns, a walker that does not snoop must
// see it whole.
func TestMap_InterleavedAtEachAccess(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		if v.cfg.Incoherent || v.name == "vtdss-4-full" || v.name == "mock-fixed-7" {
			interleave(t, v)
		}
	})
}

func interleave(t *testing.T, v variant) {
	gr := v.granule()
	for stop := 0; ; stop++ {
		a := newArena(1)
		tab := v.table(t, a)
		base := v.windows[0]
		require.NoError(t, tab.IncreaseTop(base+windowSize))
		n, ran := 0, false
		a.hook = func(op string, pa emu.PA) {
			if n++; n != stop+1 {
				return
			}
			a.hook, ran = nil, true
			_, err := tab.Map(base+emu.IOVA(4*gr), emu.PA(16*gr), 3*gr, Read, nil)
			require.NoError(t, err)
			if v.cfg.Incoherent {
				requireWalker(t, v, a, tab, base+emu.IOVA(4*gr), emu.PA(16*gr))
			}
		}
		_, err := tab.Map(base, 0, 4*gr, Read|Write, nil)
		require.NoError(t, err)
		a.hook = nil
		if !ran {
			break
		}
		requireWalker(t, v, a, tab, base, 0)
		requireWalker(t, v, a, tab, base+emu.IOVA(4*gr), emu.PA(16*gr))
		for p := range tab.TablePages() {
			for i := range emu.PA(1) << (p.Lg2 - 3) {
				require.Zero(t, a.Load64(p.PA+i*8)&tab.g.Pending, "mark left behind")
			}
		}
		requireNoLeak(t, a, tab)
	}
}

func requireWalker(t *testing.T, v variant, a *arena, tab *Table, iova emu.IOVA, pa emu.PA) {
	root, levels := tab.Root()
	cfg := v.cfg
	cfg.Levels = levels
	w, err := Open(v.format, a.walker(), nil, root, cfg)
	require.NoError(t, err)
	tr, ok := w.Lookup(iova)
	require.True(t, ok, "%#x is not visible", iova)
	require.Equal(t, pa, tr.PA)
}

// TestDirty_NotLostAtAnyAccess lets hardware dirty the leaf before each access of a clear and of a cut in
// turn: the write is either reported or still marked.
func TestDirty_NotLostAtAnyAccess(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		sizes := v.format.Geometry().PageSizes &^ v.granule()
		if sizes&-sizes > windowSize || sizes == 0 {
			t.Skip("no leaf that is small and can be cut")
		}
		a := newArena(1)
		for _, op := range []string{"clear", "cut"} {
			for stop := 0; ; stop++ {
				if a.reset(); !dirtyRace(t, v, a, sizes&-sizes, op, stop) {
					break
				}
			}
		}
	})
}

func dirtyRace(t *testing.T, v variant, a *arena, size uint64, op string, stop int) (ran bool) {
	tab := v.table(t, a)
	gr, base := v.granule(), v.base()
	_, err := tab.Map(base, 0, size, Read|Write, nil)
	require.NoError(t, err)
	require.Len(t, observed(tab, 0, ^emu.IOVA(0)), 1)
	require.NoError(t, tab.ReadAndClearDirty(base, base, 0, nil, func(_, _ emu.IOVA) {})) // some formats map dirty leaves
	n, end := 0, emu.PA(arenaBase+a.next)
	a.hook = func(_ string, pa emu.PA) {
		if pa >= end {
			return // hardware does not see the new page yet: whether it writes before or after is all one
		}
		if n++; n == stop+1 {
			a.hook, ran = nil, true
			require.NoError(t, tab.SetDirty(base+emu.IOVA(gr)))
		}
	}
	reported := false
	if op == "clear" {
		require.NoError(t, tab.SetDirty(base))
		err = tab.ReadAndClearDirty(base, base+emu.IOVA(size-1), 0, nil, func(f, l emu.IOVA) { reported = true })
		require.NoError(t, err)
		require.True(t, reported)
	} else {
		require.NoError(t, tab.Cut(base+emu.IOVA(gr), nil))
	}
	a.hook = nil
	if ran && !reported {
		l := observed(tab, base+emu.IOVA(gr), base+emu.IOVA(gr))
		require.Len(t, l, 1)
		require.True(t, op == "clear" || l[0].IOVA == base+emu.IOVA(gr))
		require.True(t, l[0].Dirty, fmt.Sprint(l))
	}
	return ran
}

// TestMap_SteadyStateAllocatesNothing counts Go allocations of the calls that DMA waits for.
func TestMap_SteadyStateAllocatesNothing(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(2)
		tab := v.table(t, a)
		gr := v.granule()
		base := v.windows[0]
		var g Gather
		run := func() {
			_, err := tab.Map(base, emu.PA(gr), 700*gr, Read|Write, &g)
			if err != nil {
				panic(err)
			}
			for i := emu.IOVA(0); i < 8; i++ {
				tab.Lookup(base + i)
				_ = tab.SetDirty(base + i)
			}
			_ = tab.ReadAndClearDirty(base, base+emu.IOVA(700*gr), 0, &g, func(_, _ emu.IOVA) {})
			if n, _ := tab.Unmap(base, 700*gr, &g); n != 700*gr {
				panic(n)
			}
			g.Release()
		}
		run()
		run()
		require.Zero(t, testing.AllocsPerRun(50, run))
	})
}

// TestDirty_ClearKeepsWhatHardwareSets sets the accessed bit before each access of a clear in turn: a
// plain store of the value read before would lose it.
func TestDirty_ClearKeepsWhatHardwareSets(t *testing.T) {
	clearKeeps(t, VTDSS{Dirty: true}, vtdA)
	clearKeeps(t, X86{Dirty: true}, x86A)
	clearKeeps(t, X86{Dirty: true}, 1<<10) // EA
	clearKeeps(t, AMDv1{Dirty: true}, amdA)
}

func clearKeeps(t *testing.T, f Format, bit uint64) {
	for stop, ran := 0, true; ran; stop++ {
		ran = false
		a := newArena(1)
		tab, err := New(f, a, a, Config{})
		require.NoError(t, err)
		_, err = tab.Map(0, 0, 4096, Read|Write, nil)
		require.NoError(t, err)
		require.NoError(t, tab.SetDirty(0))
		n := 0
		a.hook = func(string, emu.PA) {
			if n++; n == stop+1 {
				a.hook, ran = nil, true
				for l := range tab.Leaves(0, 0) {
					*a.word(l.Slot) |= bit
				}
			}
		}
		require.NoError(t, tab.ReadAndClearDirty(0, 0, 0, nil, func(_, _ emu.IOVA) {}))
		a.hook = nil
		for l := range tab.Leaves(0, 0) {
			require.False(t, l.Dirty)
			require.Equal(t, ran, l.Raw&bit != 0)
		}
	}
}
