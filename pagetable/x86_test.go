package pagetable

import (
	"math"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestX86_Decode checks entries against the layout of the specification (VT-d 9.7), written by hand.
func TestX86_Decode(t *testing.T) {
	nx := X86{NXE: true}
	kernel := X86{NXE: true, Supervisor: true}
	rw, rwx := Read|Write, Read|Write|Exec
	page := func(oa emu.PA, lg2 uint8, s State) Entry { return Entry{Kind: Leaf, OA: oa, Lg2: lg2, State: s} }
	bad := Entry{Kind: Malformed}
	for _, c := range []struct {
		name  string
		f     X86
		raw   uint64
		level uint8
		want  Entry
	}{
		{"P=0 is empty, whatever else is set", X86{HAW: 39}, 0xffff_ffff_ffff_fffe, 1, Entry{}},
		{"P alone is a supervisor's read-only page", X86{}, 0x1, 0, page(0, 12, State{})},
		{"page to read", X86{}, 0x4c87005, 0, page(0x4c87000, 12, State{Perm: Read})},
		{"page to write", X86{}, 0x4c87007, 0, page(0x4c87000, 12, State{Perm: rw})},
		{"accessed", X86{}, 0x4c87025, 0, page(0x4c87000, 12, State{Perm: Read, Accessed: true})},
		{"dirty", X86{}, 0x4c87067, 0, page(0x4c87000, 12, State{Perm: rw, Accessed: true, Dirty: true})},
		{"PWT", X86{}, 0xf, 0, page(0, 12, State{Perm: rw, Attr: X86WriteThrough})},
		{"PCD", X86{}, 0x17, 0, page(0, 12, State{Perm: rw, Attr: X86CacheDisable})},
		{"bit 7 of a PTE is PAT", X86{}, 0x87, 0, page(0, 12, State{Perm: rw, Attr: X86PAT})},
		{"bit 12 of a PTE is address", X86{}, 0x1007, 0, page(0x1000, 12, State{Perm: rw})},
		{"2 MiB", X86{}, 0xbc000e7, 1, page(0xbc00000, 21, State{Perm: rw, Accessed: true, Dirty: true})},
		{"bit 12 of a 2 MiB leaf is PAT", X86{}, 0xbc01085, 1, page(0xbc00000, 21, State{Perm: Read, Attr: X86PAT})},
		{"bit 13 of a 2 MiB leaf", X86{}, 0xbc02085, 1, bad},
		{"bit 20 of a 2 MiB leaf", X86{}, 0xbd00085, 1, bad},
		{"bit 21 of a 2 MiB leaf", X86{}, 0xbe00085, 1, page(0xbe00000, 21, State{Perm: Read})},
		{"1 GiB", X86{}, 0x40000087, 2, page(0x40000000, 30, State{Perm: rw})},
		{"bit 12 of a 1 GiB leaf is PAT", X86{}, 0x40001087, 2, page(0x40000000, 30, State{Perm: rw, Attr: X86PAT})},
		{"bit 13 of a 1 GiB leaf", X86{}, 0x40002087, 2, bad},
		{"bit 29 of a 1 GiB leaf", X86{}, 0x60000087, 2, bad},
		{"1 GiB not supported", X86{Without: 1 << 30}, 0x40000087, 2, bad},
		{"its link is", X86{Without: 1 << 30}, 0x40000007, 2, Entry{Kind: SubTable, OA: 0x40000000, State: State{Perm: rw}}},
		{"PS in a PML4E", X86{}, 0x87, 3, bad},
		{"PS in a PML5E", X86{}, 0x87, 4, bad},
		{"link", X86{}, 0x3f60007, 3, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: rw}}},
		{"link, used", X86{}, 0x3f60027, 4, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: rw, Accessed: true}}},
		{"a link has no dirty bit, PWT and PCD are not a leaf's", X86{}, 0x3f6005f, 1, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: rw}}},
		{"a link without R/W", X86{}, 0x3f60005, 1, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: Read}}},
		{"a link without U/S grants nothing", X86{}, 0x3f60003, 1, Entry{Kind: SubTable, OA: 0x3f60000}},
		{"a leaf without U/S grants nothing", nx, 0x3f60003, 0, page(0x3f60000, 12, State{})},
		{"but to a supervisor", kernel, 0x3f60003, 0, page(0x3f60000, 12, State{Perm: rwx, Attr: X86Supervisor})},
		{"to whom a link without U/S is like any other", kernel, 0x3f60003, 1, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: rwx}}},
		{"and so is a user's page", kernel, 0x3f60007, 0, page(0x3f60000, 12, State{Perm: rwx})},
		{"the first bit above the host address width", X86{HAW: 39}, 1<<39 | 7, 0, bad},
		{"the last bit below", X86{HAW: 39}, 1<<38 | 7, 0, page(1<<38, 12, State{Perm: rw})},
		{"bit 51 of a link", X86{HAW: 46}, 1<<51 | 7, 2, bad},
		{"bit 51 with a width of 52", X86{}, 1<<51 | 7, 0, page(1<<51, 12, State{Perm: rw})},
		{"a HAW that is too large is 52", X86{HAW: 60}, 1<<51 | 7, 0, page(1<<51, 12, State{Perm: rw})},
		{"62:52 are ignored", X86{HAW: 39}, 0x7ff0_0000_0000_0007, 0, page(0, 12, State{Perm: rw})},
		{"G, bit 9, EA and bit 11 are ignored", X86{}, 0xf07, 0, page(0, 12, State{Perm: rw})},
		{"also in a link", X86{}, 0xf07, 1, Entry{Kind: SubTable, State: State{Perm: rw}}},
		{"XD without NXE is reserved", X86{}, 1<<63 | 7, 0, bad},
		{"in a link, too", X86{}, 1<<63 | 7, 3, bad},
		{"XD", nx, 1<<63 | 7, 0, page(0, 12, State{Perm: rw})},
		{"no XD", nx, 7, 0, page(0, 12, State{Perm: rwx})},
		{"XD in a link", nx, 1<<63 | 7, 3, Entry{Kind: SubTable, State: State{Perm: rw}}},
	} {
		got := c.f.Decode(c.raw, c.level)
		if c.want.Kind == Malformed {
			got = Entry{Kind: got.Kind}
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// TestX86_RawEntriesWritten checks what Map stores, bit by bit. With Preset these are the entries that
// Linux writes for DMA.
func TestX86_RawEntriesWritten(t *testing.T) {
	const xd = 1 << 63
	for _, c := range []struct {
		name string
		f    X86
		perm Perm
		attr Attr
		link uint64
		leaf [3]uint64 // 4 KiB, 2 MiB, 1 GiB
	}{
		{"plain", X86{}, Read | Write, 0, 0x07, [3]uint64{0x07, 0x87, 0x87}},
		{"read-only", X86{}, Read, 0, 0x07, [3]uint64{0x05, 0x85, 0x85}},
		{"write implies read", X86{}, Write, 0, 0x07, [3]uint64{0x07, 0x87, 0x87}},
		{"preset", X86{Preset: true}, Read | Write, 0, 0x27, [3]uint64{0x67, 0xe7, 0xe7}},
		{"preset, read-only", X86{Preset: true}, Read, 0, 0x27, [3]uint64{0x25, 0xa5, 0xa5}},
		{"no execution", X86{NXE: true}, Read | Write, 0, 0x07, [3]uint64{xd | 0x07, xd | 0x87, xd | 0x87}},
		{"execution", X86{NXE: true}, Read | Exec, 0, 0x07, [3]uint64{0x05, 0x85, 0x85}},
		{"memory type", X86{}, Read | Write, X86PAT | X86WriteThrough, 0x07, [3]uint64{0x8f, 0x108f, 0x108f}},
		{"cache disable", X86{}, Read | Write, X86CacheDisable, 0x07, [3]uint64{0x17, 0x97, 0x97}},
		{"supervisor", X86{Supervisor: true}, Read | Write, X86Supervisor, 0x07, [3]uint64{0x03, 0x83, 0x83}},
		{"seen by a supervisor", X86{Supervisor: true}, Read | Write, 0, 0x07, [3]uint64{0x07, 0x87, 0x87}},
	} {
		for i, lg2 := range []uint8{12, 21, 30} {
			a := newArena(1)
			tab, err := New(c.f, a, a, Config{Levels: 5, Attr: c.attr})
			require.NoError(t, err)
			oa := uint64(5) << lg2
			_, err = tab.Map(3<<30, emu.PA(oa), 1<<lg2, c.perm, nil)
			require.NoError(t, err)
			table := tab.root
			for level := uint8(4); level > uint8(i); level-- {
				raw := a.Load64(table + emu.PA(3<<30>>(12+9*level)&511*8))
				require.Equal(t, c.link, raw&^x86Addr, c.name)
				table = emu.PA(raw & x86Addr)
			}
			require.Equal(t, c.leaf[i]|oa, a.Load64(table+emu.PA(3<<30>>lg2&511*8)), c.name)
			requireNoLeak(t, a, tab)
		}
	}
}

// TestX86_RightsAddUpOverTheLevels takes one right away at each level in turn.
func TestX86_RightsAddUpOverTheLevels(t *testing.T) {
	f := X86{NXE: true}
	all := Read | Write | Exec
	for level := uint8(0); level < 5; level++ {
		for _, c := range []struct {
			name       string
			set, unset uint64
			want       Perm
		}{
			{"R/W", 0, 1 << 1, Read | Exec},
			{"U/S", 0, 1 << 2, 0},
			{"XD", 1 << 63, 0, Read | Write},
			{"XD and R/W", 1 << 63, 1 << 1, Read},
		} {
			a := newArena(1)
			tab, err := New(f, a, a, Config{Levels: 5})
			require.NoError(t, err)
			_, err = tab.Map(0, 0x7000, 0x1000, all, nil)
			require.NoError(t, err)
			slot := tab.root
			for l := uint8(4); l > level; l-- {
				slot = emu.PA(a.Load64(slot) & x86Addr)
			}
			a.Store64(slot, a.Load64(slot)&^c.unset|c.set)
			got, found := tab.Lookup(0xabc)
			require.True(t, found)
			require.Equal(t, Translation{PA: 0x7abc, Lg2: 12, Perm: c.want}, got, "%s at level %d", c.name, level)
			require.Equal(t, c.want, observed(tab, 0, 0)[0].Perm)
			if level > 0 {
				_, err = tab.Map(0x1000, 0, 0x1000, all, nil)
				require.ErrorIs(t, err, ErrPerm, "a link in the way grants too little")
			}
		}
	}
}

// TestX86_SupervisorPages keeps a page of the system out of a user's reach, and lets software that works
// for supervisor requests handle it.
func TestX86_SupervisorPages(t *testing.T) {
	a := newArena(1)
	kernel := X86{NXE: true, Supervisor: true}
	tab, err := New(kernel, a, a, Config{Attr: X86Supervisor})
	require.NoError(t, err)
	_, err = tab.Map(0, 1<<21, 1<<21, Read|Write, nil)
	require.NoError(t, err)
	root, levels := tab.Root()
	user, err := Open(X86{NXE: true}, a, a, root, Config{Levels: levels})
	require.NoError(t, err)
	got, found := user.Lookup(0x1234)
	require.True(t, found)
	require.Equal(t, Translation{PA: 1<<21 + 0x1234, Lg2: 21}, got)
	empty, err := New(X86{NXE: true}, a, a, Config{})
	require.NoError(t, err)
	c, err := Compare(user, empty, CompareOptions{})
	require.NoError(t, err)
	require.True(t, c.Equal, "what allows nothing is a hole")

	// Pieces made from a user's point of view would not be written to any more.
	require.ErrorIs(t, user.Cut(0x1000, nil), ErrUnsupported)
	_, err = tab.Map(1<<21, 1<<21, 1<<21, Read, nil) // nothing would be lost here
	require.NoError(t, err)
	require.NoError(t, user.Cut(1<<21+0x1000, nil))
	for l := range user.Leaves(1<<21, 2<<21-1) {
		require.Equal(t, x86XD|1|uint64(l.PA), l.Raw)
	}
	_, err = tab.Unmap(1<<21, 1<<21, nil)
	require.NoError(t, err)
	require.Len(t, observed(tab, 0, ^emu.IOVA(0)), 1)
	require.NoError(t, tab.Cut(0x1000, nil))
	l := observed(tab, 0, ^emu.IOVA(0))
	require.Len(t, l, 512)
	for i, m := range l {
		require.Equal(t, Mapping{IOVA: emu.IOVA(i << 12), PA: emu.PA(1<<21 + i<<12), Lg2: 12, Perm: Read | Write, Attr: X86Supervisor}, m)
	}
	empty.Destroy()
	requireNoLeak(t, a, tab)
}

// TestX86_CutMovesPAT cuts a 1 GiB leaf, whose PAT is bit 12, down to pages, whose PAT is bit 7.
func TestX86_CutMovesPAT(t *testing.T) {
	a := newArena(1)
	tab, err := New(X86{}, a, a, Config{Attr: X86PAT})
	require.NoError(t, err)
	_, err = tab.Map(1<<30, 7<<30, 1<<30, Read|Write, nil)
	require.NoError(t, err)
	require.NoError(t, tab.Cut(1<<30+0x5000, nil))
	for l := range tab.Leaves(0, ^emu.IOVA(0)) {
		want := uint64(l.PA) | 0x87
		if l.Lg2 > 12 {
			want |= 1 << 12
		}
		require.Equal(t, want, l.Raw)
		require.Equal(t, emu.PA(l.IOVA)+6<<30, l.PA)
		require.Equal(t, X86PAT, l.Attr)
	}
	requireNoLeak(t, a, tab)
}

// TestX86_PresetSurvivesACut: a walker that does not snoop must find accessed bits in the new links and
// pages as well.
func TestX86_PresetSurvivesACut(t *testing.T) {
	a := newArena(1)
	tab, err := New(X86{Preset: true}, a, a, Config{Incoherent: true})
	require.NoError(t, err)
	_, err = tab.Map(0, 0, 1<<30, Read|Write, nil)
	require.NoError(t, err)
	require.NoError(t, tab.Cut(0x1000, nil))
	_, err = tab.Map(1<<30, 0, 1<<30, Read, nil)
	require.NoError(t, err)
	for p := range tab.TablePages() {
		for i := range emu.PA(512) {
			raw := a.Load64(p.PA + i*8)
			require.True(t, raw == 0 || raw&x86A != 0, "level %d: %#x", p.Level, raw)
			if e := tab.decode(raw, p.Level); e.Kind == Leaf {
				require.Equal(t, raw&x86RW != 0, e.Dirty)
			}
		}
	}
	requireNoLeak(t, a, tab)
}

// TestX86_InputAddresses maps at the edges of what a walker takes as canonical (VT-d 3.6), and looks at
// the slots used.
func TestX86_InputAddresses(t *testing.T) {
	for _, c := range []struct {
		name string
		f    X86
		cfg  Config
		last emu.IOVA            // of the lower half, or of all
		slot map[emu.IOVA]emu.PA // index in the root
		not  []emu.IOVA          // out of range
	}{
		{"lower half, 4 levels", X86{}, Config{Levels: 4}, 1<<47 - 1,
			map[emu.IOVA]emu.PA{0: 0, 1<<47 - 0x1000: 255}, []emu.IOVA{1 << 47, 1<<48 - 0x1000, 0xffff_8000_0000_0000}},
		{"lower half, 5 levels", X86{}, Config{Levels: 5}, 1<<56 - 1,
			map[emu.IOVA]emu.PA{1 << 48: 1, 1<<56 - 0x1000: 255}, []emu.IOVA{1 << 56, 0xff00_0000_0000_0000}},
		{"narrower", X86{}, Config{Levels: 4, VABits: 42}, 1<<42 - 1,
			map[emu.IOVA]emu.PA{1<<42 - 0x1000: 7}, []emu.IOVA{1 << 42}},
		{"both halves, 4 levels", X86{}, Config{Levels: 4, SignExtend: true}, 1<<47 - 1,
			map[emu.IOVA]emu.PA{1<<47 - 0x1000: 255, 0xffff_8000_0000_0000: 256, 0xffff_ffff_ffff_f000: 511},
			[]emu.IOVA{1 << 47, 0xffff_7fff_ffff_f000}},
		{"both halves, 5 levels", X86{}, Config{Levels: 5, SignExtend: true}, 1<<56 - 1,
			map[emu.IOVA]emu.PA{1<<56 - 0x1000: 255, 0xff00_0000_0000_0000: 256, 0xffff_8000_0000_0000: 511},
			[]emu.IOVA{1 << 56, 0xfeff_ffff_ffff_f000}},
		{"unsigned, 4 levels", X86{Unsigned: true}, Config{Levels: 4}, 1<<48 - 1,
			map[emu.IOVA]emu.PA{1 << 47: 256, 1<<48 - 0x1000: 511}, []emu.IOVA{1 << 48, 0xffff_8000_0000_0000}},
		{"unsigned, 5 levels", X86{Unsigned: true}, Config{Levels: 5}, 1<<57 - 1,
			map[emu.IOVA]emu.PA{1<<57 - 0x1000: 511}, []emu.IOVA{1 << 57}},
	} {
		a := newArena(1)
		tab, err := New(c.f, a, a, c.cfg)
		require.NoError(t, err)
		i := tab.Info()
		if i.SignExtend {
			require.Equal(t, ^emu.IOVA(0), i.Last, c.name)
		} else {
			require.Equal(t, c.last, i.Last, c.name)
		}
		for at, slot := range c.slot {
			_, err := tab.Map(at, 0x1000, 0x1000, Read, nil)
			require.NoError(t, err, c.name)
			require.NotZero(t, a.Load64(tab.root+slot*8), "%s: %#x", c.name, at)
			tr, ok := tab.Lookup(at + 5)
			require.True(t, ok)
			require.Equal(t, emu.PA(0x1005), tr.PA)
		}
		for _, at := range c.not {
			_, err := tab.Map(at, 0, 0x1000, Read, nil)
			require.ErrorIs(t, err, ErrRange, "%s: %#x", c.name, at)
			_, ok := tab.Lookup(at)
			require.False(t, ok)
		}
		requireNoLeak(t, a, tab)
	}
}

// TestX86_WhatAnExactComparisonSees compares two trees after a change of one bit of one entry.
func TestX86_WhatAnExactComparisonSees(t *testing.T) {
	a := newArena(1)
	build := func(f X86) *Table {
		tab, err := New(f, a, a, Config{})
		require.NoError(t, err)
		_, err = tab.Map(0, 0, 0x1000, Read|Write|Exec, nil)
		require.NoError(t, err)
		return tab
	}
	for bit := range 64 {
		for level := uint8(0); level < 4; level++ {
			user, supervisor := Same, Same
			switch {
			case bit == 0:
				user, supervisor = OnlyA, OnlyA
			case bit == 1 || bit == 63:
				user, supervisor = DifferentPermission, DifferentPermission
			case bit == 2 && level > 0:
				user, supervisor = OnlyA, DifferentRaw // grants nothing any more to the one
			case bit == 2:
				user, supervisor = OnlyA, DifferentAttribute
			case (bit == 3 || bit == 4) && level > 0:
				user, supervisor = DifferentRaw, DifferentRaw
			case bit == 3 || bit == 4 || bit == 7 && level == 0:
				user, supervisor = DifferentAttribute, DifferentAttribute
			case bit == 7 && level == 3:
				user, supervisor = Broken, Broken
			case bit >= 12 && bit < 52 && level == 0:
				user, supervisor = DifferentAddress, DifferentAddress
			case bit == 7 || bit >= 12 && bit < 52:
				continue // leads elsewhere
			}
			for _, f := range []X86{{NXE: true}, {NXE: true, Supervisor: true}} {
				want := user
				if f.Supervisor {
					want = supervisor
				}
				a.reset()
				ref, tab := build(f), build(f)
				slot := tab.root
				for l := uint8(3); l > level; l-- {
					slot = emu.PA(a.Load64(slot) & x86Addr)
				}
				a.Store64(slot, a.Load64(slot)^uint64(1)<<bit)
				c, err := Compare(ref, tab, CompareOptions{Exact: true})
				require.NoError(t, err)
				if want == Same {
					require.True(t, c.Equal, "%v: bit %d at level %d: %v", f, bit, level, c.Runs)
				} else {
					require.Equal(t, []DiffKind{want}, kinds(c.Runs)[:1], "%v: bit %d at level %d", f, bit, level)
				}
			}
		}
	}
}

// TestX86_ReplacesASecondStage: a domain that moves to first-stage tables translates alike.
func TestX86_ReplacesASecondStage(t *testing.T) {
	a := newArena(2)
	second, err := New(VTDSS{}, a, a, Config{Levels: 4})
	require.NoError(t, err)
	first, err := New(X86{Preset: true}, a, a, Config{Levels: 5})
	require.NoError(t, err)
	for i, p := range []Perm{Read, Read | Write} {
		at := emu.IOVA(i) << 31
		for _, tab := range []*Table{second, first} {
			_, err := tab.Map(at+0x3000, emu.PA(at+0x3000), 1<<30, p, nil)
			require.NoError(t, err)
		}
	}
	c, err := Compare(second, first, CompareOptions{Strict: true})
	require.NoError(t, err)
	require.True(t, c.Equal, c.Runs)

	// A page that is only written to can be read through a first stage.
	for _, tab := range []*Table{second, first} {
		_, err := tab.Map(0, 0, 0x1000, Write, nil)
		require.NoError(t, err)
	}
	require.Equal(t, Read, first.Info().Implied)
	c, err = Compare(second, first, CompareOptions{})
	require.NoError(t, err)
	require.Equal(t, []DiffKind{DifferentPermission}, kinds(c.Runs))
	require.Equal(t, []Perm{Write, Read | Write}, []Perm{c.Runs[0].A.Perm, c.Runs[0].B.Perm})
	c, err = Compare(second, first, CompareOptions{Subset: true, Areas: []Range{{0, math.MaxUint64}}})
	require.NoError(t, err)
	require.True(t, c.Equal)
}
