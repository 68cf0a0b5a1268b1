package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

func TestCheck_FindsWhatIsWrong(t *testing.T) {
	build := func() (*arena, *Table) {
		a := newArena(1)
		tab, err := New(Mock{}, a, a, Config{})
		require.NoError(t, err)
		_, err = tab.Map(0x4000, 0x4000, 0x4000, Read, nil) // one leaf of 8 slots
		require.NoError(t, err)
		_, err = tab.Map(1<<19, 0, 0x800, Read, nil)
		require.NoError(t, err)
		require.NoError(t, tab.Check())
		return a, tab
	}
	slotOf := func(tab *Table, at emu.IOVA) emu.PA {
		for l := range tab.Leaves(at, at) {
			return l.Slot
		}
		return 0
	}
	for name, spoil := range map[string]func(a *arena, tab *Table) emu.IOVA{
		"one slot of a leaf differs": func(a *arena, tab *Table) emu.IOVA {
			s := slotOf(tab, 0x4000) + 3*8
			a.Store64(s, a.Load64(s)|mockW)
			return 0x4000
		},
		"leaf begins at the wrong slot": func(a *arena, tab *Table) emu.IOVA {
			s := slotOf(tab, 0x4000)
			a.Store64(s-8, a.Load64(s))
			return 0x3800
		},
		"reserved bit": func(a *arena, tab *Table) emu.IOVA {
			s := slotOf(tab, 1<<19)
			a.Store64(s, a.Load64(s)|1<<55)
			return 1 << 19
		},
		"table linked twice": func(a *arena, tab *Table) emu.IOVA {
			a.Store64(tab.root+5*8, a.Load64(tab.root))
			return 5 << 19
		},
	} {
		a, tab := build()
		at := spoil(a, tab)
		err := tab.Check()
		require.ErrorIs(t, err, ErrCorrupt, name)
		var op *OpError
		require.ErrorAs(t, err, &op)
		require.Equal(t, at, op.At, name)
		require.NotZero(t, op.Raw)
	}

	// A replica that differs is seen by Compare, too: the walker reads the slot that it comes to.
	a, tab := build()
	_, ref := build()
	s := slotOf(tab, 0x4000) + 3*8
	a.Store64(s, a.Load64(s)|mockW)
	c, err := Compare(ref, tab, CompareOptions{})
	require.NoError(t, err)
	require.Len(t, c.Runs, 1)
	require.Equal(t, Range{0x5800, 0x5fff}, Range{c.Runs[0].First, c.Runs[0].Last})
	require.Equal(t, DifferentPermission, c.Runs[0].Kind)
	_, err = tab.Unmap(0x4000, 0x4000, nil)
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestCheck_CyclesEnd takes over a tree whose links go round.
func TestCheck_CyclesEnd(t *testing.T) {
	a := newArena(1)
	tab, err := New(VTDSS{}, a, a, Config{Levels: 5})
	require.NoError(t, err)
	for i := range emu.PA(512) {
		a.Store64(tab.root+i*8, uint64(tab.root)|3)
	}
	require.ErrorIs(t, tab.Check(), ErrCorrupt)
}

func TestMap_LinkThatGrantsTooLittle(t *testing.T) {
	a := newArena(1)
	tab, err := New(VTDSS{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	_, err = tab.Map(0, 0, 4096, Read, nil)
	require.NoError(t, err)
	a.Store64(tab.root, a.Load64(tab.root)&^vtdW)
	_, err = tab.Map(4096, 0, 4096, Read|Write, nil)
	require.ErrorIs(t, err, ErrPerm)
	_, err = tab.Map(4096, 0, 4096, Read, nil)
	require.NoError(t, err)
}

func TestDirty_UnsupportedAndMerge(t *testing.T) {
	a := newArena(1)
	plain, err := New(VTDSS{}, a, a, Config{})
	require.NoError(t, err)
	require.ErrorIs(t, plain.ReadAndClearDirty(0, 1, 0, nil, nil), ErrUnsupported)
	require.ErrorIs(t, plain.SetDirty(0), ErrUnsupported)
	_, err = plain.MergeDirty(plain)
	require.ErrorIs(t, err, ErrUnsupported)

	old, err := New(VTDSS{Dirty: true}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	next, err := New(Mock{}, a, a, Config{})
	require.NoError(t, err)
	_, err = old.Map(0, 0, 2<<21, Read|Write, nil)
	require.NoError(t, err)
	_, err = next.Map(0, 0, 2<<21, Read|Write, nil)
	require.NoError(t, err)
	require.NoError(t, next.Cut(1<<20, nil))
	require.NoError(t, old.SetDirty(0x1234))
	n, err := next.MergeDirty(old)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	b := Bitmap{Base: 0, Lg2: 12, Words: make([]uint64, 16)}
	require.NoError(t, next.ReadAndClearDirty(0, ^emu.IOVA(0), NoClear, nil, b.Set))
	for i := range emu.IOVA(1024) {
		require.Equal(t, i < 512, b.Get(i<<12), "page %d", i)
	}
	_, err = next.Unmap(0, 1<<20, nil)
	require.NoError(t, err)
	_, err = next.MergeDirty(old)
	require.ErrorIs(t, err, ErrNotMapped)
}

func TestBitmap_AgainstBools(t *testing.T) {
	const base, pages = 0x7000, 200
	for first := emu.IOVA(0); first < 260<<12; first += 0x3800 {
		for length := emu.IOVA(1); length < 300<<12; length = length*3 + 0x777 {
			b := Bitmap{Base: base, Lg2: 12, Words: make([]uint64, 3)}
			last := first + length - 1
			b.Set(first, last)
			for i := range emu.IOVA(pages) {
				p := emu.IOVA(base) + i<<12
				want := i < 192 && first <= p+4095 && last >= p
				if want != b.Get(p) {
					t.Fatalf("%#x..%#x: page %#x is %t", first, last, p, !want)
				}
			}
		}
	}
}
