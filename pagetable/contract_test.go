package pagetable

import (
	"errors"
	"math"
	"syscall"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

func TestBestPageSize_Example(t *testing.T) {
	const sizes = 1<<12 | 1<<21 | 1<<30
	const start, end = 0x3fe400000, 0x4c0600000
	type run struct {
		lg2   uint8
		count uint64
	}
	var got []run
	for at := uint64(start); at < end; {
		lg2, n, ok := BestPageSize(sizes, emu.IOVA(at), emu.PA(at), end-at)
		require.True(t, ok)
		got = append(got, run{lg2, n})
		at += n << lg2
	}
	require.Equal(t, []run{{21, 14}, {30, 3}, {21, 3}}, got)

	a := newArena(1)
	tab, err := New(VTDSS{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	_, err = tab.Map(start, start, end-start, Read|Write, nil)
	require.NoError(t, err)
	count := map[uint8]int{}
	for l := range tab.Leaves(0, math.MaxUint64) {
		count[l.Lg2]++
	}
	require.Equal(t, map[uint8]int{21: 17, 30: 3}, count)
}

func TestBestPageSize_Edges(t *testing.T) {
	const all = ^uint64(0) &^ (1<<12 - 1)
	for _, c := range []struct {
		sizes  uint64
		iova   emu.IOVA
		pa     emu.PA
		length uint64
		lg2    uint8
		count  uint64
		ok     bool
	}{
		{all, 0, 0, 0, 0, 0, false},
		{all, 0, 0, 4095, 0, 0, false},
		{all, 0x800, 0, 1 << 20, 0, 0, false},
		{all, 0, 0, 1 << 63, 63, 1, true},
		{all, 0, 0, math.MaxUint64, 63, 1, true},
		{1 << 12, 0, 0, 1 << 40, 12, 1 << 28, true},
		{1 << 12, 0xffff_ffff_ffff_f000, 0, 4096, 12, 1, true},
		{1<<12 | 1<<21, 0x1ff000, 0, 1 << 22, 12, 1024, true},
		{1<<12 | 1<<21, 0x1ff000, 0x3ff000, 1 << 22, 12, 1, true},
	} {
		lg2, n, ok := BestPageSize(c.sizes, c.iova, c.pa, c.length)
		require.Equal(t, []any{c.lg2, c.count, c.ok}, []any{lg2, n, ok}, "%+v", c)
	}
}

func TestErrors_MatchTheirErrno(t *testing.T) {
	for err, no := range map[error]syscall.Errno{
		ErrPerm: syscall.EINVAL, ErrLength: syscall.EINVAL, ErrOverflow: syscall.EOVERFLOW, ErrRange: syscall.ERANGE,
		ErrAlign: syscall.ENXIO, ErrExists: syscall.EADDRINUSE, ErrNoMemory: syscall.ENOMEM, ErrNotMapped: syscall.ENOENT,
		ErrCorrupt: syscall.EIO, ErrBusy: syscall.EBUSY, ErrUnsupported: syscall.EOPNOTSUPP, ErrGeometry: syscall.EINVAL,
	} {
		wrapped := &OpError{Op: "map", First: 1, At: 2, Err: err}
		require.ErrorIs(t, wrapped, err)
		require.ErrorIs(t, wrapped, no)
		require.Contains(t, wrapped.Error(), err.Error())
	}
}

// TestMap_Errors checks each error and, with several reasons, which comes first.
func TestMap_Errors(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(1)
		tab := v.table(t, a)
		i, gr, base := tab.Info(), v.granule(), v.base()
		require.Equal(t, base, i.First)
		wide := emu.PA(1) << i.OABits
		beyond := i.Last + 1 // 0 if the space is full
		if i.SignExtend {
			beyond = half(tab)
		}
		for _, c := range []struct {
			name   string
			iova   emu.IOVA
			pa     emu.PA
			length uint64
			perm   Perm
			want   error
		}{
			{"no permission before wide pa", base, wide, 0, 0, ErrPerm},
			{"exec alone", base, 0, gr, Exec, ErrPerm},
			{"wide pa before length", base, wide, 0, Read, ErrRange},
			{"end of pa", base, wide - emu.PA(gr), 2 * gr, Read, ErrRange},
			{"length before wrap", ^emu.IOVA(0), 0, 0, Read, ErrLength},
			{"wrap before alignment", ^emu.IOVA(0), 1, 2, Read, ErrOverflow},
			{"iova alignment", base + 1, 0, gr, Read, ErrAlign},
			{"pa alignment", base, emu.PA(gr / 2), gr, Read, ErrAlign},
			{"length alignment", base, 0, gr + 8, Read, ErrAlign},
			{"alignment before range", beyond | 1, 0, gr, Read, ErrAlign},
		} {
			done, err := tab.Map(c.iova, c.pa, c.length, c.perm, nil)
			require.ErrorIs(t, err, c.want, c.name)
			require.Zero(t, done, c.name)
		}
		if beyond != 0 {
			_, err := tab.Map(beyond, 0, gr, Read, nil)
			require.ErrorIs(t, err, ErrRange)
			_, err = tab.Map(beyond-emu.IOVA(gr), 0, 2*gr, Read, nil)
			require.ErrorIs(t, err, ErrRange)
			_, ok := tab.Lookup(beyond)
			require.False(t, ok)
			n, err := tab.Unmap(beyond, gr, nil)
			require.NoError(t, err)
			require.Zero(t, n)
		}
		if base != 0 {
			_, err := tab.Map(base-emu.IOVA(gr), 0, gr, Read, nil)
			require.ErrorIs(t, err, ErrRange)
			_, err = tab.Map(base-emu.IOVA(gr), 0, 2*gr, Read, nil)
			require.ErrorIs(t, err, ErrRange)
			_, ok := tab.Lookup(base - 1)
			require.False(t, ok)
		}
		_, err := tab.MapAttr(base, 0, gr, Read, ^Attr(0), nil)
		require.ErrorIs(t, err, ErrPerm)
		require.Empty(t, observed(tab, 0, ^emu.IOVA(0)))
		_, err = tab.Unmap(0, 0, nil)
		require.ErrorIs(t, err, ErrLength)
		_, err = tab.Unmap(^emu.IOVA(0), 2, nil)
		require.ErrorIs(t, err, ErrOverflow)
		require.ErrorIs(t, tab.Cut(1, nil), ErrAlign)
		require.ErrorIs(t, tab.SetDirty(0), ErrNotMapped)
		requireNoLeak(t, a, tab)
	})
}

func TestMap_NoMemoryReportsWhatIsDone(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(1)
		tab := v.table(t, a)
		a.limit = len(a.live)
		done, err := tab.Map(v.base(), 0, v.granule(), Read, nil)
		require.ErrorIs(t, err, ErrNoMemory)
		require.ErrorIs(t, err, errNoPages)
		require.ErrorIs(t, err, syscall.ENOMEM)
		require.Zero(t, done)
		a.limit = 0
		requireNoLeak(t, a, tab)
	})
}

func TestUnmap_LeafEdges(t *testing.T) {
	a := newArena(1)
	tab, err := New(VTDSS{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	_, err = tab.Map(0, 0, 3<<21, Read|Write, nil)
	require.NoError(t, err)
	var g Gather
	n, err := tab.Unmap(1<<12, 1<<21, &g) // begins in the middle
	require.NoError(t, err)
	require.Zero(t, n)
	_, _, any := g.Range()
	require.False(t, any)
	n, err = tab.Unmap(0, 1<<21+1, &g) // ends inside the second
	require.NoError(t, err)
	require.Equal(t, uint64(2<<21), n)
	first, last, _ := g.Range()
	require.Equal(t, Range{0, 2<<21 - 1}, Range{first, last})
	require.True(t, g.LeafOnly())
	n, err = tab.Unmap(1<<21, 1<<30, &g) // begins in a hole
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestGather_PagesLiveUntilRelease(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		a := newArena(1)
		tab := v.table(t, a)
		i := tab.Info()
		span := uint64(1) << (v.format.Geometry().Granule + v.format.Geometry().Bits) // of one lowest table
		base := v.base() + emu.IOVA(span)*2
		// Congruence to the granule only keeps the leaves small.
		_, err := tab.Map(base, emu.PA(v.granule()), span, Read, nil)
		require.NoError(t, err)
		before := len(a.live)
		var g Gather
		n, err := tab.Unmap(base, span, &g)
		require.NoError(t, err)
		require.Equal(t, span, n)
		require.False(t, g.LeafOnly())
		require.Equal(t, 1, g.Pending())
		require.Len(t, a.live, before)
		leaf, table := g.Levels()
		require.Equal(t, []uint16{1, 2}, []uint16{leaf, table})
		require.True(t, g.Disjoint(base+emu.IOVA(span)+1, base+emu.IOVA(2*span)))
		require.False(t, g.Disjoint(base+emu.IOVA(span), base+emu.IOVA(2*span)))
		g.Release()
		require.Len(t, a.live, before-1)
		require.True(t, g.LeafOnly())

		// An empty table in the way of a large leaf: replaced with a gather, kept without.
		if i.PageSizes&span == 0 {
			requireNoLeak(t, a, tab)
			return
		}
		for _, gather := range []*Gather{nil, {}} {
			_, err = tab.Map(base, 0, v.granule(), Read, nil)
			require.NoError(t, err)
			_, err = tab.Unmap(base, v.granule(), nil)
			require.NoError(t, err)
			before = len(a.live)
			_, err = tab.Map(base, emu.PA(span), span, Read, gather)
			require.NoError(t, err)
			require.Len(t, a.live, before)
			tr, ok := tab.Lookup(base + emu.IOVA(span-1))
			require.True(t, ok)
			require.Equal(t, emu.PA(2*span-1), tr.PA)
			require.Equal(t, gather != nil, uint64(1)<<tr.Lg2 == span)
			if gather != nil {
				require.Equal(t, 1, gather.Pending())
				require.False(t, gather.LeafOnly())
				gather.Release()
				require.Len(t, a.live, before-1)
			}
			_, err = tab.Unmap(base, span, &g)
			require.NoError(t, err)
			g.Release()
		}
		requireNoLeak(t, a, tab)
	})
}

func TestNewOpen_RejectBadConfig(t *testing.T) {
	a := newArena(1)
	for _, c := range []struct {
		f   Format
		cfg Config
	}{
		{VTDSS{}, Config{Levels: 2}}, {VTDSS{}, Config{Levels: 6}}, {VTDSS{}, Config{Levels: 3, VABits: 44}},
		{VTDSS{}, Config{Levels: 4, VABits: 38}}, {VTDSS{}, Config{Levels: 5, VABits: 58}}, {VTDSS{}, Config{Attr: VTDSSSnoop}},
		{VTDSS{}, Config{Levels: 3, VABits: 42}}, {concatenated{}, Config{Levels: 3, VABits: 44}},
		{X86{}, Config{Levels: 3}}, {X86{}, Config{Levels: 6}}, {X86{}, Config{Levels: 4, VABits: 48}}, {X86{}, Config{Levels: 4, VABits: 38}},
		{X86{}, Config{Levels: 5, VABits: 57}}, {X86{Unsigned: true}, Config{Levels: 4, VABits: 49}},
		{X86{}, Config{VABits: 47, SignExtend: true}}, {X86{}, Config{VABits: 49, SignExtend: true}}, {X86{}, Config{Attr: X86Supervisor}},
		{AMDv1{}, Config{Levels: 7}}, {AMDv1{MaxLevels: 4}, Config{Levels: 5}}, {AMDv1{}, Config{VABits: 40}},
		{AMDv1{}, Config{SignExtend: true}}, {AMDv1{}, Config{Attr: 4}},
		{LPAES1{}, Config{Levels: 5}}, {LPAES1{}, Config{Levels: 4, VABits: 49}}, {LPAES1{}, Config{Levels: 3, VABits: 40}},
		{LPAES1{}, Config{Levels: 3, VABits: 30}}, {LPAES1{}, Config{Levels: 4, Upper: true, SignExtend: true}}, {LPAES1{LPA: true}, Config{Attr: 1 << 3}},
		{LPAES1{}, Config{Attr: LPAES1Privileged}}, {LPAES1{Granule: 14}, Config{Levels: 5}}, {LPAES1{Granule: 16}, Config{Levels: 4}},
		{LPAES2{}, Config{Levels: 3, VABits: 44}}, {LPAES2{}, Config{Levels: 3, Upper: true}}, {LPAES2{Granule: 14}, Config{Levels: 4}},
		{LPAES2{}, Config{Levels: 4, VABits: 49}}, {LPAES2{FWB: true}, Config{Attr: LPAES2WriteBack}}, {VTDSS{}, Config{Upper: true}}, {LPAES2{}, Config{Levels: 3, TBI: true}},
		{Mock{}, Config{VABits: 40}}, {Mock{}, Config{SignExtend: true}}, {Mock{}, Config{Levels: 8}},
	} {
		_, err := New(c.f, a, a, c.cfg)
		require.ErrorIs(t, err, ErrGeometry, "%+v", c)
		_, err = Open(c.f, a, a, 0, c.cfg)
		require.ErrorIs(t, err, ErrGeometry, "%+v", c)
	}
	_, err := Open(VTDSS{}, a, a, 0x800, Config{})
	require.ErrorIs(t, err, ErrGeometry)
	_, err = Open(VTDSS{HAW: 39}, a, a, 1<<39, Config{})
	require.ErrorIs(t, err, ErrGeometry)
	require.Empty(t, a.live)
	tab, err := Open(VTDSS{}, a, nil, 0x1000, Config{})
	require.NoError(t, err)
	require.True(t, errors.Is(tab.IncreaseTop(1<<40), ErrRange))
}
