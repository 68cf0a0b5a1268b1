package pagetable

import (
	"errors"
	"math"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

func TestIncreaseTop_HardwareFirst(t *testing.T) {
	a := newArena(1)
	var tab *Table
	var roots []emu.PA
	refuse := errors.New("not now")
	var hook error
	tab, err := New(Mock{}, a, a, Config{OnTop: func(root emu.PA, levels uint8) error {
		old, oldLevels := tab.Root()
		require.NotEqual(t, old, root)
		require.Greater(t, levels, oldLevels)
		// The walker that uses the new root already sees all that the old one has.
		view, err := Open(Mock{}, a.walker(), nil, root, Config{Levels: levels})
		require.NoError(t, err)
		c, err := Compare(tab, view, CompareOptions{})
		require.NoError(t, err)
		require.True(t, c.Equal)
		roots = append(roots, root)
		return hook
	}})
	require.NoError(t, err)
	_, err = tab.Map(0x800, 0x800, 0x800, Read, nil)
	require.NoError(t, err)
	require.Empty(t, roots)
	hook = refuse
	pages := len(a.live)
	_, err = tab.Map(1<<40, 0, 0x800, Read, nil)
	require.ErrorIs(t, err, refuse)
	require.Len(t, a.live, pages)
	hook = nil
	a.limit = pages + 1
	require.ErrorIs(t, tab.IncreaseTop(math.MaxUint64), ErrNoMemory)
	require.Len(t, a.live, pages)
	a.limit = 0

	_, err = tab.Map(1<<40, 0, 0x800, Read, nil)
	require.NoError(t, err)
	_, levels := tab.Root()
	require.Equal(t, uint8(4), levels)
	_, err = tab.Map(math.MaxUint64-0x7ff, 0x1000, 0x800, Read|Write, nil)
	require.NoError(t, err)
	_, levels = tab.Root()
	require.Equal(t, uint8(7), levels)
	tr, ok := tab.Lookup(math.MaxUint64)
	require.True(t, ok)
	require.Equal(t, Translation{PA: 0x17ff, Lg2: 11, Perm: Read | Write}, tr)
	require.Len(t, observed(tab, 0, math.MaxUint64), 3)
	require.Len(t, roots, 3)
	requireNoLeak(t, a, tab)
}

// TestIncreaseTop_FixedTablesKeepTheirWidth: only a dynamic table may grow, and no other gets wider than
// its walker was told.
func TestIncreaseTop_FixedTablesKeepTheirWidth(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(1)
		tab := v.table(t, a)
		if tab.g.Dynamic {
			t.Skip("skipped: this table may grow")
		}
		want := tab.Info()
		if !want.SignExtend && want.Last != ^emu.IOVA(0) {
			require.ErrorIs(t, tab.IncreaseTop(want.Last+1), ErrRange)
		}
		if want.First != 0 {
			require.ErrorIs(t, tab.IncreaseTop(want.First-1), ErrRange)
		}
		require.NoError(t, tab.IncreaseTop(want.Last))
		require.Equal(t, want, tab.Info())
		if want.SignExtend {
			require.ErrorIs(t, tab.IncreaseTop(half(tab)), ErrRange)
		}
		require.Equal(t, want, tab.Info())
		requireNoLeak(t, a, tab)
	})
}

// TestFullSpace maps the largest leaves over the whole aperture and back.
func TestFullSpace(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(8)
		tab := v.table(t, a)
		i := tab.Info()
		gr := v.granule()
		ends := []emu.IOVA{i.First, i.Last - emu.IOVA(gr-1)}
		if i.SignExtend {
			ends = append(ends, half(tab)-emu.IOVA(gr), -half(tab))
		}
		for _, at := range ends {
			n, err := tab.Map(at, 0, gr, Read|Write, nil)
			require.NoError(t, err)
			require.Equal(t, gr, n)
			_, err = tab.Map(at, 0, gr, Read, nil)
			require.ErrorIs(t, err, ErrExists)
		}
		require.Len(t, observed(tab, 0, math.MaxUint64), len(ends))
		require.Len(t, observed(tab, math.MaxUint64, math.MaxUint64)[:], map[bool]int{true: 1}[i.Last == math.MaxUint64])
		var g Gather
		for _, at := range ends {
			require.NoError(t, tab.SetDirty(at))
			n, err := tab.Unmap(at, math.MaxUint64-uint64(at), &g)
			require.NoError(t, err)
			require.Equal(t, gr, n)
		}
		g.Release()
		require.Empty(t, observed(tab, 0, math.MaxUint64))
		requireNoLeak(t, a, tab)
	})
}

// TestFullSpace_OneLeafIsAll: Map writes no leaf of the whole aperture, but others may have.
func TestFullSpace_OneLeafIsAll(t *testing.T) {
	for _, c := range []struct {
		f     Format
		cfg   Config
		slots emu.PA
		raw   uint64
		lg2   uint8
	}{
		{VTDSS{}, Config{Levels: 3, VABits: 30}, 1, 0x83, 30},
		{LPAES1{}, Config{Levels: 2, VABits: 25, Upper: true}, 16, 1<<52 | 0x441, 25},
		{LPAES2{Granule: 14}, Config{Levels: 1, VABits: 21}, 128, 1<<52 | 0x4c3, 21},
	} {
		a := newArena(1)
		tab, err := New(c.f, a, a, c.cfg)
		require.NoError(t, err)
		size := uint64(1) << c.lg2
		fill := func() {
			for i := range c.slots {
				a.Store64(tab.root+i*8, c.raw|size/uint64(c.slots)*uint64(i))
			}
		}
		fill()
		first, last := tab.Info().First, tab.Info().Last
		require.NoError(t, tab.Check())
		require.Equal(t, []Mapping{{IOVA: first, PA: 0, Lg2: c.lg2, Perm: Read | Write}}, observed(tab, 0, math.MaxUint64))
		tr, ok := tab.Lookup(last)
		require.True(t, ok)
		require.Equal(t, Translation{PA: emu.PA(size) - 1, Lg2: c.lg2, Perm: Read | Write}, tr)
		require.NoError(t, tab.Cut(first+emu.IOVA(size/2), nil))
		require.Greater(t, len(observed(tab, 0, math.MaxUint64)), 1)
		n, err := tab.Unmap(first, size, &Gather{})
		require.NoError(t, err)
		require.Equal(t, size, n)
		fill()
		n, err = tab.Unmap(first, 1, nil)
		require.NoError(t, err)
		require.Equal(t, size, n)
		require.Empty(t, observed(tab, 0, math.MaxUint64))
	}
}

func TestFullSpace_LargestLeaves(t *testing.T) {
	a := newArena(8)
	tab, err := New(Mock{Fixed: 7}, a, a, Config{})
	require.NoError(t, err)
	require.Equal(t, uint64(1)<<50, tab.Info().PageSizes&^(1<<50-1))
	const size = 1 << 50
	n, err := tab.Map(^emu.IOVA(0)-(size-1), 0, size, Read, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(size), n)
	l := observed(tab, math.MaxUint64, math.MaxUint64)
	require.Len(t, l, 1)
	require.Equal(t, uint8(50), l[0].Lg2)
	require.Equal(t, ^emu.IOVA(0), l[0].Last())
	_, err = tab.Map(0, 0, 1<<51, Read, nil)
	require.NoError(t, err)
	_, err = tab.Map(1<<52, 1<<11, 1<<51, Read, nil)
	require.ErrorIs(t, err, ErrRange, "the output ends at 2^51")
	requireNoLeak(t, a, tab)
}
