package pagetable

import (
	"math/rand/v2"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// skipping makes links of an AMDv1 tree skip all tables of which only slot 0 is used, as other
// software may write them, and frees these. It returns how many are gone.
func skipping(a *arena, table emu.PA, level uint8) (gone int) {
	f := AMDv1{}
	for i := range emu.PA(512) {
		slot := table + i*8
		e := f.Decode(a.Load64(slot), level)
		if e.Kind != SubTable {
			continue
		}
		next := level - 1
		for next > 0 && onlyFirst(a, e.OA, next) {
			below := f.Decode(a.Load64(e.OA), next)
			if below.Kind != SubTable {
				break
			}
			a.Free(e.OA, 12)
			e.OA, e.Perm = below.OA, e.Perm&below.Perm
			next--
			gone++
		}
		// By hand: NextLevel counts from 1.
		a.Store64(slot, uint64(e.OA)|uint64(next+1)<<9|uint64(e.Perm)<<61|1)
		if next > 0 {
			gone += skipping(a, e.OA, next)
		}
	}
	return gone
}

func onlyFirst(a *arena, table emu.PA, level uint8) bool {
	for i := emu.PA(1); i < 512; i++ {
		if a.Load64(table+i*8) != 0 {
			return false
		}
	}
	return true
}

// TestSkip_TranslatesAsBefore builds random trees twice, makes one of them skip what it can, and puts
// all operations on both.
func TestSkip_TranslatesAsBefore(t *testing.T) {
	a := newArena(2)
	r := rand.New(rand.NewPCG(3, 9))
	gone := 0
	for range 40 {
		a.reset()
		f, cfg := AMDv1{Dirty: true}, Config{Levels: 6}
		plain, err := New(f, a, a, cfg)
		require.NoError(t, err)
		tab, err := New(f, a, a, cfg)
		require.NoError(t, err)
		var at []emu.IOVA
		for range 1 + r.IntN(6) {
			// Few address bits set, so that many tables have only their slot 0 in use.
			iova := ^emu.IOVA(0xfff)
			for range 4 {
				iova &= emu.IOVA(r.Uint64())
			}
			at = append(at, iova)
			size := uint64(0x1000) << r.IntN(20)
			pa := emu.PA(iova) & (1<<40 - 1)
			perm := Perm(1 + r.IntN(3))
			n, err := plain.Map(iova, pa, size, perm, nil)
			m, err2 := tab.Map(iova, pa, size, perm, nil)
			require.Equal(t, []any{n, err == nil}, []any{m, err2 == nil})
		}
		gone += skipping(a, tab.root, tab.top)
		require.NoError(t, tab.Check())
		same := func() {
			requireSame(t, observed(plain, 0, ^emu.IOVA(0)), observed(tab, 0, ^emu.IOVA(0)))
			c, err := Compare(plain, tab, CompareOptions{Strict: true})
			require.NoError(t, err)
			require.True(t, c.Equal, c.Runs)
			for range 40 {
				// Also addresses that differ from a mapped one in a single bit: those of skipped levels
				// are the walker's fault.
				iova := at[r.IntN(len(at))] ^ 1<<r.IntN(64)
				want, ok := plain.Lookup(iova)
				got, found := tab.Lookup(iova)
				require.Equal(t, ok, found, "%#x", iova)
				require.Equal(t, want, got)
			}
		}
		same()
		var g Gather
		for i := range 8 {
			iova := at[r.IntN(len(at))] &^ (1<<(12+r.IntN(20)) - 1)
			length := uint64(0x1000) << r.IntN(22)
			switch r.IntN(4) {
			case 0:
				n, err := plain.Unmap(iova, length, &g)
				require.NoError(t, err)
				m, err := tab.Unmap(iova, length, &g)
				require.NoError(t, err)
				require.Equal(t, n, m, "%#x", iova)
			case 1:
				require.NoError(t, plain.Cut(iova, nil))
				require.NoError(t, tab.Cut(iova, nil))
			case 2:
				err := plain.SetDirty(iova)
				require.Equal(t, err == nil, tab.SetDirty(iova) == nil)
			case 3:
				visit := func(emu.IOVA, emu.IOVA) {}
				require.NoError(t, plain.ReadAndClearDirty(iova, iova|0xfffff, 0, nil, visit))
				require.NoError(t, tab.ReadAndClearDirty(iova, iova|0xfffff, 0, nil, visit))
			}
			if i&1 == 1 {
				same()
			}
		}
		g.Release()
		require.NoError(t, tab.Check())
		plain.Destroy()
		requireNoLeak(t, a, tab)
	}
	require.Greater(t, gone, 150, "many tables were skipped")
}

// skipTree is a tree of 4 levels with one page mapped at 3<<39 + 5<<12, whose root's slot 3 links the
// lowest table at once.
func skipTree(t *testing.T) (a *arena, tab *Table, slot emu.PA) {
	a = newArena(1)
	tab, err := New(AMDv1{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	low, err := a.Alloc(12)
	require.NoError(t, err)
	slot = tab.root + 3*8
	a.Store64(low+5*8, 0x6000_0000_0000_9001)
	a.Store64(slot, uint64(low)|0x6000_0000_0000_0201)
	return a, tab, slot
}

// TestSkip_MapStaysWithinReach maps around what a link past two levels translates.
func TestSkip_MapStaysWithinReach(t *testing.T) {
	const base = 3 << 39
	a, tab, slot := skipTree(t)
	done, err := tab.Map(base+6<<12, 0, 0x1000, Read, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(0x1000), done)

	// Behind its reach there is a hole that no table can be put into.
	done, err = tab.Map(base+1<<21-0x1000, 0, 0x2000, Read, nil)
	require.ErrorIs(t, err, ErrUnsupported)
	require.Equal(t, uint64(0x1000), done)
	var op *OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, []any{emu.IOVA(base + 1<<21), slot, a.Load64(slot)}, []any{op.At, op.Entry, op.Raw})
	_, ok := tab.Lookup(base + 1<<30 + 5<<12)
	require.False(t, ok)
	require.Len(t, observed(tab, base+1<<21, ^emu.IOVA(0)), 0)

	// A leaf that would belong to a level in between becomes smaller ones.
	n, err := tab.Unmap(base+5<<12, 0x2000, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(0x2000), n)
	n, err = tab.Unmap(base+1<<21-0x1000, 1<<30, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(0x1000), n)
	_, err = tab.Map(base, 1<<21, 1<<21, Read, nil)
	require.NoError(t, err)
	var sizes []uint8
	for _, l := range observed(tab, 0, ^emu.IOVA(0)) {
		sizes = append(sizes, l.Lg2)
	}
	require.Equal(t, []uint8{20, 20}, sizes)

	// The table that the link reaches leaves the tree when it has become empty.
	var g Gather
	n, err = tab.Unmap(base, 1<<30, &g)
	require.NoError(t, err)
	require.Equal(t, uint64(1)<<21, n)
	require.Zero(t, a.Load64(slot))
	require.Equal(t, 1, g.Pending())
	leaves, tables := g.Levels()
	require.Equal(t, []uint16{1, 8}, []uint16{leaves, tables})
	g.Release()
	requireNoLeak(t, a, tab)
}

// TestSkip_UnmapStopsBehindTheReach: neither a range that begins in the hole nor one that runs into it
// touches what the next slot maps.
func TestSkip_UnmapStopsBehindTheReach(t *testing.T) {
	const base = 3 << 39
	a, tab, _ := skipTree(t)
	_, err := tab.Map(4<<39+1<<21, 0, 0x1000, Read, nil)
	require.NoError(t, err)
	_, err = tab.Map(base+1<<21-0x1000, 0, 0x1000, Read, nil)
	require.NoError(t, err)
	n, err := tab.Unmap(base+1<<21, 1<<40, nil)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = tab.Unmap(base+1<<30+5<<12, 0x1000, nil)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = tab.Unmap(base+1<<21-0x1000, 1<<40, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(0x1000), n)
	_, ok := tab.Lookup(4<<39 + 1<<21)
	require.True(t, ok)
	requireNoLeak(t, a, tab)
}

// TestSkip_LevelsOfTables: a table is of the level that its link says.
func TestSkip_LevelsOfTables(t *testing.T) {
	const base = 3 << 39
	a, tab, _ := skipTree(t)
	var levels []uint8
	for p := range tab.TablePages() {
		levels = append(levels, p.Level)
	}
	require.Equal(t, []uint8{3, 0}, levels)
	_, err := tab.Map(base+8<<12, 8<<12, 0x2000, Read, nil)
	require.NoError(t, err)
	_, err = tab.Unmap(base+5<<12, 0x1000, nil)
	require.NoError(t, err)
	var g Gather
	_, err = tab.Map(2<<39, 1<<40, 1<<40, Read, &g)
	require.ErrorIs(t, err, ErrExists, "a leaf of 8 KiB is no damage there")
	g.Release()
	requireNoLeak(t, a, tab)
}

// TestSkip_EmptyTableMakesRoomForALeaf: a large leaf takes the place of a link past levels.
func TestSkip_EmptyTableMakesRoomForALeaf(t *testing.T) {
	const base = 3 << 39
	a, tab, slot := skipTree(t)
	_, err := tab.Map(base, 1<<40, 1<<40, Read, nil)
	require.Error(t, err, "the page is in the way")
	_, err = tab.Unmap(base+5<<12, 0x1000, nil)
	require.NoError(t, err)
	require.NotZero(t, a.Load64(slot))
	var g Gather
	_, err = tab.Map(2<<39, 1<<40, 1<<40, Read, &g)
	require.NoError(t, err)
	require.Equal(t, uint8(40), observed(tab, base, base)[0].Lg2)
	require.Equal(t, 1, g.Pending())
	g.Release()
	requireNoLeak(t, a, tab)
}

// TestSkip_ExactComparison: a link past a level is not the links that lead there one by one.
func TestSkip_ExactComparison(t *testing.T) {
	a, tab, _ := skipTree(t)
	plain, err := New(AMDv1{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	_, err = plain.Map(3<<39+5<<12, 0x9000, 0x1000, Read|Write, nil)
	require.NoError(t, err)
	c, err := Compare(plain, tab, CompareOptions{Strict: true})
	require.NoError(t, err)
	require.True(t, c.Equal, c.Runs)
	c, err = Compare(plain, tab, CompareOptions{Exact: true})
	require.NoError(t, err)
	require.Equal(t, []DiffKind{DifferentRaw}, kinds(c.Runs))
	c, err = Compare(tab, tab, CompareOptions{Exact: true})
	require.NoError(t, err)
	require.True(t, c.Equal)

	// What stands at the levels skipped at other addresses does not count.
	other, err := New(AMDv1{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	low, err := a.Alloc(12)
	require.NoError(t, err)
	a.Store64(low+5*8, 0x6000_0000_0000_9001)
	a.Store64(other.root+3*8, uint64(low)|0x6000_0000_0000_0201)
	for i, x := range []*Table{tab, other} {
		_, err = x.Map(0, 0, 0x1000, Read, nil)
		require.NoError(t, err)
		slot := emu.PA(a.Load64(x.root) & amdAddr)
		a.Store64(slot, a.Load64(slot)&^(uint64(i)<<62))
	}
	c, err = Compare(tab, other, CompareOptions{Exact: true})
	require.NoError(t, err)
	require.Len(t, c.Runs, 1, c.Runs)
	require.Equal(t, Range{0, 0xfff}, Range{c.Runs[0].First, c.Runs[0].Last})
}
