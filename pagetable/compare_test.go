package pagetable

import (
	"math/rand/v2"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// randomTable maps about n ranges in a window, of pages that are shared between calls with equal seeds.
func randomTable(t *testing.T, v variant, window emu.IOVA, seed uint64, n int) *Table {
	a := newArena(2)
	tab := v.table(t, a)
	mutate(t, tab, window, rand.New(rand.NewPCG(seed, 1)), n)
	return tab
}

func mutate(t *testing.T, tab *Table, window emu.IOVA, r *rand.Rand, n int) {
	const gr = 4096
	for range n {
		align := uint64(1) << r.IntN(11)
		iova := window + emu.IOVA(r.Uint64N(windowSize/gr)&^(align-1)*gr)
		length := min((r.Uint64N(2)*align+1+r.Uint64N(20))*gr, uint64(window+windowSize-1-iova)+1)
		pa := emu.PA(iova) & (1<<30 - 1)
		if r.IntN(3) == 0 {
			pa = emu.PA(r.Uint64N(1<<10) * gr)
		}
		if r.IntN(5) == 0 {
			_, err := tab.Unmap(iova, length, nil)
			require.NoError(t, err)
			continue
		}
		_, err := tab.Map(iova, pa, length, Perm(1+r.IntN(3)), nil)
		if err != nil {
			require.ErrorIs(t, err, ErrExists)
		}
	}
}

// bruteCompare compares two tables 2 KiB by 2 KiB with Lookup.
func bruteCompare(a, b *Table, window emu.IOVA, o CompareOptions) (runs []Run) {
	const step = 2048
	value := func(t *Table, at emu.IOVA) Value {
		tr, ok := t.Lookup(at)
		if !ok {
			return Value{}
		}
		return Value{Leaf, tr.PA, tr.Perm, tr.Attr, tr.Lg2}
	}
	same := a.f == b.f
	for off := emu.IOVA(0); off < windowSize; off += step {
		at := window + off
		x, y := value(a, at), value(b, at)
		kind := Same
		switch {
		case x.Kind == Empty && y.Kind == Empty:
		case x.Kind == Empty:
			if !o.Subset {
				kind = OnlyB
			}
		case y.Kind == Empty:
			kind = OnlyA
		case x.PA != y.PA:
			kind = DifferentAddress
		case o.Subset && x.Perm&^y.Perm != 0, !o.Subset && x.Perm != y.Perm:
			kind = DifferentPermission
		case same && x.Attr != y.Attr:
			kind = DifferentAttribute
		case o.Strict && x.Lg2 != y.Lg2:
			kind = DifferentSize
		}
		if kind == Same {
			continue
		}
		if n := len(runs); n > 0 {
			l := &runs[n-1]
			gap := emu.PA(at - l.First)
			if l.Last+1 == at && l.Kind == kind && follows(l.A, x, gap, kind) && follows(l.B, y, gap, kind) {
				l.Last = at + step - 1
				continue
			}
		}
		runs = append(runs, Run{at, at + step - 1, kind, x, y})
	}
	return runs
}

func follows(first, v Value, gap emu.PA, kind DiffKind) bool {
	if first.Kind != v.Kind || first.Kind == Empty {
		return first.Kind == v.Kind
	}
	return v.PA == first.PA+gap && v.Perm == first.Perm && v.Attr == first.Attr &&
		(kind != DifferentSize || v.Lg2 == first.Lg2)
}

func TestCompare_AgainstBruteForce(t *testing.T) {
	byName := map[string]variant{}
	for _, v := range variants {
		byName[v.name] = v
	}
	const window = 1<<27 - 4<<20
	for _, pair := range [][2]string{
		{"vtdss-3", "vtdss-3"}, {"vtdss-3", "vtdss-5-incoherent"}, {"vtdss-3", "vtdss-4k"}, {"vtdss-3", "mock"},
		{"mock", "mock-fixed-7"}, {"mock", "hinted"}, {"signed", "vtdss-4-full"},
		{"vtdss-3", "x86-4"}, {"x86-4", "x86-5-preset"}, {"x86-4-signed", "x86-4-unsigned"}, {"x86-4-signed", "x86-4-signed"}, {"x86-5-signed", "mock"}, {"hinted", "hinted"}, {"mock-incoherent", "mock"},
	} {
		t.Run(pair[0]+"/"+pair[1], func(t *testing.T) {
			for seed := range uint64(12) {
				a := randomTable(t, byName[pair[0]], window, seed, 12)
				b := randomTable(t, byName[pair[1]], window, seed, 12)
				if seed%4 != 0 {
					mutate(t, b, window, rand.New(rand.NewPCG(seed, 2)), int(seed))
				}
				for _, o := range []CompareOptions{{}, {Strict: true}, {Subset: true}, {Subset: true, Strict: true}} {
					want := bruteCompare(a, b, window, o)
					o.MaxRuns = 1 << 20
					got, err := Compare(a, b, o)
					require.NoError(t, err)
					require.Equal(t, want, got.Runs)
					require.Equal(t, len(want) == 0, got.Equal)
					require.EqualValues(t, len(want), got.Total)
					var bytes uint64
					for _, n := range got.Bytes {
						bytes += n
					}
					for _, r := range want {
						bytes -= uint64(r.Last-r.First) + 1
					}
					require.Zero(t, bytes)
					o.MaxRuns, o.Areas = 2, []Range{{window, window + windowSize - 1}}
					capped, err := Compare(a, b, o)
					require.NoError(t, err)
					require.Equal(t, got.Total, capped.Total)
					require.Len(t, capped.Runs, min(2, len(want)))
				}
			}
		})
	}
}

func TestCompare_SharedSubtreesAreSkipped(t *testing.T) {
	for _, v := range []variant{{format: VTDSS{}, cfg: Config{Levels: 4}}, {format: X86{}}, {format: Mock{Fixed: 4}}} {
		a := newArena(4)
		x := v.table(t, a)
		gr := v.granule()
		_, err := x.Map(0, emu.PA(gr), 4000*gr, Read|Write, nil)
		require.NoError(t, err)
		c, err := Compare(x, x, CompareOptions{Exact: true})
		require.NoError(t, err)
		require.True(t, c.Equal)
		require.EqualValues(t, 1, c.SkippedShared)
		require.LessOrEqual(t, c.Entries, uint64(8))

		// A new root over the same tables, as after adoption; then one leaf of its own.
		y := v.table(t, a)
		a.Store64(y.root, a.Load64(x.root))
		_, err = y.Map(emu.IOVA(1)<<x.g.shift(3), 0, gr, Read, nil)
		require.NoError(t, err)
		c, err = Compare(x, y, CompareOptions{Strict: true})
		require.NoError(t, err)
		require.EqualValues(t, 1, c.SkippedShared)
		require.Less(t, c.Entries, uint64(2600), "five tables and the first way down")
		require.Equal(t, []DiffKind{OnlyB}, kinds(c.Runs))

		// The same pages in another memory are not shared.
		other := *a
		z, err := Open(v.format, &other, nil, x.root, v.cfg)
		require.NoError(t, err)
		c, err = Compare(x, z, CompareOptions{})
		require.NoError(t, err)
		require.True(t, c.Equal)
		require.Zero(t, c.SkippedShared)
		require.Equal(t, c.LeavesA, c.LeavesB)
		require.NotZero(t, c.LeavesA)
	}
}

func kinds(runs []Run) (out []DiffKind) {
	for _, r := range runs {
		out = append(out, r.Kind)
	}
	return out
}

// TestCompare_CostIsPerEntry compares two 512 GiB mappings of large pages in a few thousand reads.
func TestCompare_CostIsPerEntry(t *testing.T) {
	a := newArena(1)
	var tabs [2]*Table
	for i := range tabs {
		tab, err := New(VTDSS{}, a, a, Config{Levels: uint8(4 + i)})
		require.NoError(t, err)
		_, err = tab.Map(0, 0, 1<<39, Read, nil)
		require.NoError(t, err)
		tabs[i] = tab
	}
	c, err := Compare(tabs[0], tabs[1], CompareOptions{Strict: true})
	require.NoError(t, err)
	require.True(t, c.Equal)
	require.EqualValues(t, 512, c.LeavesA)
	require.Less(t, c.Entries, uint64(4000))
}

func TestCompare_WhatCounts(t *testing.T) {
	a := newArena(1)
	f := VTDSS{Dirty: true, Snoop: true}
	build := func(f Format, perm Perm, attr Attr, size uint64) *Table {
		tab, err := New(f, a, a, Config{Levels: 4})
		require.NoError(t, err)
		for at := uint64(0); at < 1<<21; at += size {
			_, err = tab.MapAttr(emu.IOVA(at), emu.PA(at), size, perm, attr, nil)
			require.NoError(t, err)
		}
		return tab
	}
	ref := build(f, Read|Write, 0, 1<<21)
	small := build(f, Read|Write, 0, 1<<12)
	require.NoError(t, small.SetDirty(0x5000))
	snoop := build(f, Read|Write, VTDSSSnoop, 1<<21)
	ro := build(f, Read, 0, 1<<21)
	nothing := build(f, Read, 0, 1<<21)
	slot := nothing.slot(nothing.root, 3, 0)
	a.Store64(slot, a.Load64(slot)&^vtdR) // the link grants W, the leaf R: nothing is left
	broken := build(f, Read, 0, 1<<21)
	slot = broken.slot(broken.root, 3, 0)
	a.Store64(slot, a.Load64(slot)|vtdReserved62)
	memory := *a
	copied, err := Open(f, &memory, nil, broken.root, Config{Levels: 4})
	require.NoError(t, err)
	restricted := build(f, Read|Write, 0, 1<<21)
	slot = restricted.slot(restricted.root, 3, 0)
	a.Store64(slot, a.Load64(slot)&^vtdW)
	empty, err := New(f, a, a, Config{Levels: 5})
	require.NoError(t, err)
	software := build(f, Read|Write, 0, 1<<21)
	for l := range software.Leaves(0, 0) {
		a.Store64(l.Slot, l.Raw|1<<60|vtdA|vtdD)
	}

	for _, c := range []struct {
		name string
		a, b *Table
		o    CompareOptions
		want DiffKind
	}{
		{"page split", ref, small, CompareOptions{}, Same},
		{"page split, strict", ref, small, CompareOptions{Strict: true}, DifferentSize},
		{"software, accessed and dirty bits", ref, software, CompareOptions{Exact: true}, Same},
		{"attribute", ref, snoop, CompareOptions{}, DifferentAttribute},
		{"permission", ref, ro, CompareOptions{}, DifferentPermission},
		{"fewer permissions are a subset", ro, ref, CompareOptions{Subset: true}, Same},
		{"more permissions are not", ref, ro, CompareOptions{Subset: true}, DifferentPermission},
		{"effective permission", ro, restricted, CompareOptions{}, Same},
		{"effective permission, exact", ro, restricted, CompareOptions{Exact: true}, DifferentRaw},
		{"no permission is a hole", nothing, empty, CompareOptions{}, Same},
		{"a hole is a subset", empty, ref, CompareOptions{Subset: true}, Same},
		{"only a", ref, empty, CompareOptions{}, OnlyA},
		{"only b", empty, ref, CompareOptions{}, OnlyB},
		{"malformed on both sides", broken, copied, CompareOptions{}, Broken},
		{"shared tables are not looked into", broken, broken, CompareOptions{}, Same},
		{"malformed", broken, ref, CompareOptions{}, Broken},
		{"malformed against a hole", empty, broken, CompareOptions{Subset: true}, Broken},
	} {
		got, err := Compare(c.a, c.b, c.o)
		require.NoError(t, err)
		if c.want == Same {
			require.True(t, got.Equal, "%s: %v", c.name, got.Runs)
		} else {
			require.Equal(t, c.want, kinds(got.Runs)[0], c.name)
			require.Contains(t, got.Runs[0].String(), c.want.String())
		}
	}
	_, err = Compare(ref, build(VTDSS{}, Read, 0, 1<<21), CompareOptions{Exact: true})
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = Compare(ref, ref, CompareOptions{Areas: []Range{{1, 0}}})
	require.ErrorIs(t, err, ErrLength)
}
