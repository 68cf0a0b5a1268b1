package host

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/pagetable"
)

// words is a processor that can only reach memory.
type words struct {
	CPU
	m map[emu.PA]uint64
}

func (w *words) Store128(pa emu.PA, lo, hi uint64) { w.m[pa], w.m[pa+8] = lo, hi }

func (w *words) Zero(pa emu.PA, n int) {
	for end := pa + emu.PA(n); pa < end; pa += 8 {
		w.m[pa] = 0
	}
}

func newFrames(t require.TestingT, pages uint64) (*Frames, *words) {
	w := &words{m: map[emu.PA]uint64{}}
	f, err := NewFrames(w, 0x10_0000, pages*emu.PageSize)
	require.NoError(t, err)
	return f, w
}

func TestFrames_RangeMustBeWholePages(t *testing.T) {
	for _, c := range [][2]uint64{{0x800, 0x1000}, {0x1000, 0x800}, {0x1000, 0}, {1 << 63, 1<<63 + 0x1000}} {
		_, err := NewFrames(nil, emu.PA(c[0]), c[1])
		require.Error(t, err)
	}
}

func TestFrames_PagesAreZeroedAndAligned(t *testing.T) {
	f, w := newFrames(t, 64)
	a, err := f.Alloc(0)
	require.NoError(t, err)
	require.Equal(t, emu.PA(0x10_0000), a)
	w.m[a+0x40] = 7
	f.Free(a, 0)
	b, err := f.Alloc(12)
	require.NoError(t, err)
	require.Equal(t, a, b, "the page freed last comes first")
	require.Zero(t, w.m[a+0x40])
	c, err := f.Alloc(15)
	require.NoError(t, err)
	require.Zero(t, c%(1<<15))
}

func TestFrames_OwnerLeaksAndStats(t *testing.T) {
	f, _ := newFrames(t, 64)
	a, _ := f.For(7).Alloc(12)
	b, _ := f.AllocFor(14, 8)
	c, _ := f.Alloc(12)
	require.Equal(t, uint32(7), f.Owner(a+0xfff))
	require.Equal(t, uint32(8), f.Owner(b+0x3000))
	f.SetOwner(b, 9)
	require.Equal(t, uint32(9), f.Owner(b+0x3000))
	require.Zero(t, f.Owner(0))
	f.For(7).Free(a, 12)
	require.Zero(t, f.Owner(a))
	require.False(t, f.InUse(a))
	require.ElementsMatch(t, []Block{{b, 14, 9}, {c, 12, 0}}, slices.Collect(f.Blocks()))
	require.Equal(t, FrameStats{Allocated: 6, Freed: 1, InUse: 5, Peak: 6}, f.Stats())
}

func TestFrames_BlockAt(t *testing.T) {
	f, _ := newFrames(t, 64)
	a, _ := f.AllocFor(14, 3)
	b, ok := f.BlockAt(a)
	require.True(t, ok)
	require.Equal(t, Block{a, 14, 3}, b)
	for _, pa := range []emu.PA{a + 8, a + 0x1000, a + 0x4000, 0, 1 << 40} {
		_, ok = f.BlockAt(pa)
		require.False(t, ok, "%#x", pa)
	}
}

func TestFrames_Poison(t *testing.T) {
	f, w := newFrames(t, 4)
	f.SetPoison(true)
	a, _ := f.Alloc(12)
	f.Free(a, 12)
	require.Equal(t, uint64(Poison), w.m[a+0xff8])
	b, _ := f.Alloc(12)
	require.Equal(t, a, b)
	require.Zero(t, w.m[a+0xff8])
}

func TestFrames_RunsOutAndJoinsNeighbours(t *testing.T) {
	f, _ := newFrames(t, 8)
	var all []emu.PA
	for {
		pa, err := f.Alloc(12)
		if err != nil {
			require.ErrorIs(t, err, ErrNoFrames)
			break
		}
		all = append(all, pa)
	}
	require.Len(t, all, 8)
	for _, pa := range all {
		f.Free(pa, 12)
	}
	pa, err := f.Alloc(15)
	require.NoError(t, err, "eight free pages are one block again")
	require.Equal(t, all[0], pa)
	_, err = f.Alloc(60)
	require.ErrorIs(t, err, ErrNoFrames)
}

func TestFrames_WrongFreePanics(t *testing.T) {
	f, _ := newFrames(t, 8)
	a, _ := f.Alloc(13)
	require.Panics(t, func() { f.Free(a, 12) })
	require.Panics(t, func() { f.Free(a+0x1000, 12) })
	require.Panics(t, func() { f.Free(0, 12) })
	f.Free(a, 13)
	require.Panics(t, func() { f.Free(a, 13) })
	require.Panics(t, func() { f.SetOwner(a, 1) })
}

func TestFrames_Claim(t *testing.T) {
	f, w := newFrames(t, 16)
	at := emu.PA(0x10_0000 + 5*0x1000)
	w.m[at] = 77
	require.NoError(t, f.Claim(at, 12, 3))
	require.Equal(t, uint64(77), w.m[at], "content is kept")
	require.Equal(t, uint32(3), f.Owner(at))
	require.ErrorIs(t, f.Claim(at, 12, 3), ErrFrameInUse)
	require.ErrorIs(t, f.Claim(at-0x1000, 13, 3), ErrFrameInUse, "overlaps")
	require.ErrorIs(t, f.Claim(0x11_0000, 12, 3), ErrFrameInUse, "behind the end")
	require.ErrorIs(t, f.Claim(at+0x800, 12, 3), ErrFrameInUse, "misaligned")
	var got []emu.PA
	for {
		pa, err := f.Alloc(12)
		if err != nil {
			break
		}
		got = append(got, pa)
	}
	require.Len(t, got, 15)
	require.NotContains(t, got, at)
}

// Blocks never overlap, and the books balance, whatever the order of calls.
func TestFrames_AgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, _ := newFrames(t, 128)
		var live []Block
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				lg2 := uint8(rapid.IntRange(12, 16).Draw(t, "lg2"))
				if pa, err := f.AllocFor(lg2, 1); err == nil {
					live = add(t, live, Block{pa, lg2, 1})
				}
			case 2:
				pa := emu.PA(0x10_0000 + rapid.IntRange(0, 127).Draw(t, "page")*0x1000)
				if f.Claim(pa, 12, 2) == nil {
					live = add(t, live, Block{pa, 12, 2})
				} else {
					require.True(t, f.InUse(pa))
				}
			default:
				if len(live) > 0 {
					i := rapid.IntRange(0, len(live)-1).Draw(t, "i")
					f.Free(live[i].PA, live[i].Lg2)
					live = slices.Delete(live, i, i+1)
				}
			}
		}
		var pages uint64
		for _, b := range live {
			pages += 1 << (b.Lg2 - 12)
		}
		require.Equal(t, pages, f.Stats().InUse)
		require.ElementsMatch(t, live, slices.Collect(f.Blocks()))
	})
}

func add(t require.TestingT, live []Block, b Block) []Block {
	require.Zero(t, b.PA&(1<<b.Lg2-1))
	for _, o := range live {
		require.True(t, b.PA >= o.PA+1<<o.Lg2 || o.PA >= b.PA+1<<b.Lg2, "%x overlaps %x", b, o)
	}
	return append(live, b)
}

func TestFrames_IsPages(t *testing.T) {
	f, _ := newFrames(t, 4)
	var p pagetable.Pages = f.For(1)
	a, err := p.Alloc(12)
	require.NoError(t, err)
	p.Free(a, 12)
	require.Empty(t, slices.Collect(f.Blocks()))
}

func TestFrames_FreeAllTakesBackWhatOneOwnerHolds(t *testing.T) {
	f, _ := newFrames(t, 16)
	a, b := f.For(1), f.For(2)
	for range 3 {
		_, err := a.Alloc(12)
		require.NoError(t, err)
	}
	kept, err := b.Alloc(13)
	require.NoError(t, err)
	a.FreeAll()
	require.Equal(t, []Block{{kept, 13, 2}}, slices.Collect(f.Blocks()))
}
