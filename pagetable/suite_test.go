package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestAgainstModel runs random operations on every format and compares every result with the
// oracle, every few steps the content of the window, and in the end that of the whole table.
func TestAgainstModel(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		t.Parallel()
		a := newArena(4)
		rapid.Check(t, func(t *rapid.T) {
			a.reset()
			s := &session{v: v, a: a, tab: v.table(t, a)}
			s.m = newModel(v, s.tab)
			s.at = rapid.SampledFrom(v.windows).Draw(t, "window")
			t.Repeat(map[string]func(*rapid.T){
				"map": s.doMap, "unmap": s.doUnmap, "cut": s.doCut, "dirty": s.doDirty, "readClear": s.doReadClear,
				"lookup": s.doLookup, "flush": func(*rapid.T) { s.g.Release() }, "": s.check,
			})
			s.compare(t, 0, ^emu.IOVA(0))
			s.g.Release()
			requireNoLeak(t, a, s.tab)
		})
	})
}

// session is one random run.
type session struct {
	v   variant
	a   *arena
	tab *Table
	m   *model
	g   Gather
	at  emu.IOVA // window
	n   int      // steps made
}

// place draws an aligned range within the window: often of a round size, sometimes up to its end.
func (s *session) place(t *rapid.T) (iova emu.IOVA, length uint64) {
	gr := s.v.granule()
	n := windowSize / gr
	align := uint64(1) << rapid.IntRange(0, 12).Draw(t, "align")
	first := rapid.Uint64Range(0, n-1).Draw(t, "first") &^ (align - 1)
	pages := rapid.OneOf(rapid.Uint64Range(1, 40), rapid.Just(align), rapid.Just(2*align), rapid.Just(n)).Draw(t, "pages")
	return s.at + emu.IOVA(first*gr), min(pages, n-first) * gr
}

func (s *session) perm(t *rapid.T) Perm {
	p := Perm(rapid.IntRange(1, 3).Draw(t, "perm"))
	if s.tab.Info().Perms&Exec != 0 && rapid.Bool().Draw(t, "exec") {
		p |= Exec
	}
	return p
}

func (s *session) doMap(t *rapid.T) {
	iova, length := s.place(t)
	pa := emu.PA(rapid.Uint64Range(0, 1<<12).Draw(t, "pa") * s.v.granule())
	if rapid.Bool().Draw(t, "congruent") {
		pa = pa&^(windowSize-1) + emu.PA(iova-s.at) + emu.PA(s.at)&(windowSize-1)
	}
	perm := s.perm(t)
	done, err := s.tab.Map(iova, pa, length, perm, &s.g)
	want, exists := s.m.mapRange(iova, pa, length, perm, s.v.cfg.Attr)
	require.Equal(t, want, done)
	if exists {
		require.ErrorIs(t, err, ErrExists)
	} else {
		require.NoError(t, err)
	}
}

func (s *session) doUnmap(t *rapid.T) {
	iova, length := s.place(t)
	done, err := s.tab.Unmap(iova, length, &s.g)
	require.NoError(t, err)
	require.Equal(t, s.m.unmap(iova, length), done)
	if done != 0 {
		first, last, ok := s.g.Range()
		require.True(t, ok && first <= iova && last >= iova+emu.IOVA(done-1))
	}
}

func (s *session) doCut(t *rapid.T) {
	iova, _ := s.place(t)
	require.NoError(t, s.tab.Cut(iova, &s.g))
	s.m.cut(iova)
}

func (s *session) doDirty(t *rapid.T) {
	iova, _ := s.place(t)
	off := emu.IOVA(rapid.Uint64Range(0, s.v.granule()-1).Draw(t, "offset"))
	if _, ok := s.m.pages[iova]; !ok {
		require.ErrorIs(t, s.tab.SetDirty(iova+off), ErrNotMapped)
		return
	}
	if s.tab.g.DirtyIsWrite && s.m.pages[iova].perm&Write == 0 {
		require.ErrorIs(t, s.tab.SetDirty(iova+off), ErrPerm)
		return
	}
	require.NoError(t, s.tab.SetDirty(iova+off))
	s.m.setDirty(iova, true)
}

func (s *session) doReadClear(t *rapid.T) {
	iova, length := s.place(t)
	last := iova + emu.IOVA(length-1)
	flags := DirtyFlags(rapid.IntRange(0, 1).Draw(t, "flags"))
	var want, got []Range
	for _, l := range s.m.leaves(iova, last) {
		if l.Dirty {
			want = append(want, Range{l.IOVA, l.Last()})
			if flags&NoClear == 0 {
				s.m.setDirty(l.IOVA, false)
			}
		}
	}
	err := s.tab.ReadAndClearDirty(iova, last, flags, &s.g, func(f, l emu.IOVA) { got = append(got, Range{f, l}) })
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func (s *session) doLookup(t *rapid.T) {
	iova, _ := s.place(t)
	off := emu.IOVA(rapid.Uint64Range(0, s.v.granule()-1).Draw(t, "offset"))
	p, ok := s.m.pages[iova]
	got, found := s.tab.Lookup(iova + off)
	require.Equal(t, ok, found)
	if ok {
		require.Equal(t, Translation{p.pa + emu.PA(off), p.lg2, p.perm, p.attr}, got)
	}
	iova, length := s.place(t)
	requireSame(t, s.m.leaves(iova, iova+emu.IOVA(length-1)), observed(s.tab, iova, iova+emu.IOVA(length-1)))
}

// check compares the content of the window every few steps.
func (s *session) check(t *rapid.T) {
	if s.n++; s.n%4 == 1 {
		s.compare(t, s.at, s.at+windowSize-1)
	}
}

// compare compares what is in first..last with the oracle, and with what a walker that does not snoop sees.
func (s *session) compare(t *rapid.T, first, last emu.IOVA) {
	want := s.m.leaves(first, last)
	requireSame(t, want, observed(s.tab, first, last))
	root, levels := s.tab.Root()
	cfg := s.v.cfg
	cfg.Levels = levels
	walker, err := Open(s.v.format, s.a.walker(), nil, root, cfg)
	require.NoError(t, err)
	for i := range want {
		want[i].Dirty = false
	}
	seen := observed(walker, first, last)
	for i := range seen {
		seen[i].Dirty = false
	}
	requireSame(t, want, seen, "a walker that does not snoop sees something else")
}
