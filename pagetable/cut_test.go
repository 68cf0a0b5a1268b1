package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestCut_OneStoreAndSameTranslationThroughout cuts a 1 GiB leaf at a 4 KiB boundary: the only store to
// a page that a walker can reach is the one that links the finished subtree.
func TestCut_OneStoreAndSameTranslationThroughout(t *testing.T) {
	a := newArena(1)
	f := VTDSS{Dirty: true, Snoop: true}
	tab, err := New(f, a, a, Config{Levels: 4, Attr: VTDSSSnoop})
	require.NoError(t, err)
	_, err = tab.Map(1<<30, 5<<30, 1<<30, Read, nil)
	require.NoError(t, err)
	require.NoError(t, tab.SetDirty(1<<30))
	reachable := map[emu.PA]bool{}
	for p := range tab.TablePages() {
		reachable[p.PA] = true
	}
	visible := 0
	a.hook = func(op string, pa emu.PA) {
		if (op == "store" || op == "cas") && reachable[pa&^4095] {
			visible++
		}
		h := a.hook
		a.hook = nil
		tr, ok := tab.Lookup(1<<30 + 0x12345678)
		require.True(t, ok)
		require.Equal(t, emu.PA(5<<30+0x12345678), tr.PA)
		a.hook = h
	}
	const at = 1<<30 + 0x12345000
	var g Gather
	require.NoError(t, tab.Cut(at, &g))
	a.hook = nil
	require.Equal(t, 1, visible)
	first, last, _ := g.Range()
	require.Equal(t, Range{1 << 30, 2<<30 - 1}, Range{first, last})
	require.False(t, g.LeafOnly())
	n, boundary := 0, false
	for l := range tab.Leaves(0, ^emu.IOVA(0)) {
		require.True(t, l.Dirty)
		require.Equal(t, []any{Read, VTDSSSnoop}, []any{l.Perm, l.Attr})
		boundary = boundary || l.IOVA == at
		n++
	}
	require.Equal(t, 511+512, n)
	require.True(t, boundary)
	require.NoError(t, tab.Cut(at, nil), "a boundary already")
	_, err = tab.Unmap(at, 1<<30-0x12345000, &g)
	require.NoError(t, err)
	_, ok := tab.Lookup(at - 1)
	require.True(t, ok)
	g.Release()
	requireNoLeak(t, a, tab)
}

// TestCut_MissingSize cuts a replicated leaf where the halves have no leaf of their own size.
func TestCut_MissingSize(t *testing.T) {
	a := newArena(1)
	tab, err := New(Mock{}, a, a, Config{})
	require.NoError(t, err)
	_, err = tab.Map(1<<28, 1<<28, 1<<28, Read|Write|Exec, nil)
	require.NoError(t, err)
	require.Len(t, observed(tab, 0, ^emu.IOVA(0)), 1)
	require.NoError(t, tab.Cut(1<<28+1<<27, nil))
	l := observed(tab, 0, ^emu.IOVA(0))
	require.Len(t, l, 4)
	for i, m := range l {
		require.Equal(t, emu.IOVA(1<<28+i<<26), m.IOVA)
		require.Equal(t, emu.PA(m.IOVA), m.PA)
	}
	requireNoLeak(t, a, tab)
}

func TestCut_NoMemoryLeavesTheTree(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(1)
		tab := v.table(t, a)
		size := uint64(1) << (v.format.Geometry().Granule + v.format.Geometry().Bits)
		if tab.Info().PageSizes&size == 0 {
			t.Skip("no leaf of that size")
		}
		_, err := tab.Map(v.base(), 0, size, Read, nil)
		require.NoError(t, err)
		a.limit = len(a.live)
		require.ErrorIs(t, tab.Cut(v.base()+emu.IOVA(v.granule()), nil), ErrNoMemory)
		require.Len(t, observed(tab, 0, ^emu.IOVA(0)), 1)
		a.limit = 0
		requireNoLeak(t, a, tab)
	})
}
