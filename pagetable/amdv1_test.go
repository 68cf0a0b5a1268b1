package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestAMDv1_Decode checks entries against the layout of the specification (2.2.3), written by hand. The
// level is ours: one less than the specification's.
func TestAMDv1_Decode(t *testing.T) {
	rw := Read | Write
	page := func(oa emu.PA, lg2 uint8, s State) Entry { return Entry{Kind: Leaf, OA: oa, Lg2: lg2, State: s} }
	link := func(oa emu.PA, s State) Entry { return Entry{Kind: SubTable, OA: oa, State: s} }
	skip := func(oa emu.PA, lg2 uint8) Entry {
		return Entry{Kind: SubTable, OA: oa, Lg2: lg2, State: State{Perm: rw}}
	}
	bad := Entry{Kind: Malformed}
	for _, c := range []struct {
		name  string
		raw   uint64
		level uint8
		want  Entry
	}{
		{"PR=0 is empty, whatever else is set", 0xffff_ffff_ffff_fffe, 0, Entry{}},
		{"PR=0 on top", 0xffff_ffff_ffff_fffe, 5, Entry{}},
		{"PR alone is a page without rights", 0x1, 0, page(0, 12, State{})},
		{"IR", 0x2000_0000_04c8_7001, 0, page(0x4c87000, 12, State{Perm: Read})},
		{"IW", 0x4000_0000_04c8_7001, 0, page(0x4c87000, 12, State{Perm: Write})},
		{"both", 0x6000_0000_04c8_7001, 0, page(0x4c87000, 12, State{Perm: rw})},
		{"FC, as Linux writes it", 0x7000_0000_04c8_7001, 0, page(0x4c87000, 12, State{Perm: rw, Attr: AMDv1ForceCoherent})},
		{"U", 0x6800_0000_04c8_7001, 0, page(0x4c87000, 12, State{Perm: rw, Attr: AMDv1Untranslated})},
		{"accessed", 0x6000_0000_0000_0021, 0, page(0, 12, State{Perm: rw, Accessed: true})},
		{"dirty", 0x6000_0000_0000_0041, 0, page(0, 12, State{Perm: rw, Dirty: true})},
		{"63, 8:7 and 4:1 are ignored", 0xe000_0000_0000_019f, 0, page(0, 12, State{Perm: rw})},
		{"51 is address", 0x6008_0000_0000_0001, 0, page(1<<51, 12, State{Perm: rw})},
		{"52 is reserved in a leaf", 0x6010_0000_0000_0001, 0, bad},
		{"58 is reserved in a leaf", 0x6400_0000_0000_0001, 0, bad},
		{"58 in a leaf with its size coded", 0x6400_0000_0000_0e01, 0, bad},
		{"2 MiB", 0x6000_0000_0820_0001, 1, page(0x8200000, 21, State{Perm: rw})},
		{"20:12 of a 2 MiB leaf are ignored", 0x6000_0000_083f_f001, 1, page(0x8200000, 21, State{Perm: rw})},
		{"1 GiB", 0x6000_0000_4000_0001, 2, page(1<<30, 30, State{Perm: rw})},
		{"512 GiB", 0x6000_0080_0000_0001, 3, page(1<<39, 39, State{Perm: rw})},
		{"256 TiB", 0x6001_0000_0000_0001, 4, page(1<<48, 48, State{Perm: rw})},
		{"the highest level holds none", 0x6000_0000_0000_0001, 5, bad},
		{"nor any with its size coded", 0x600f_ffff_ffff_fe01, 5, bad},
		{"8 KiB", 0x5000_0000_09ae_2e01, 0, page(0x9ae2000, 13, State{Perm: Write, Attr: AMDv1ForceCoherent})},
		{"16 KiB", 0x6000_0000_0000_5e01, 0, page(0x4000, 14, State{Perm: rw})},
		{"64 KiB", 0x6000_0000_0003_7e01, 0, page(0x30000, 16, State{Perm: rw})},
		{"1 MiB", 0x6000_0000_0017_fe01, 0, page(0x100000, 20, State{Perm: rw})},
		{"2 MiB coded at the lowest level", 0x6000_0000_000f_fe01, 0, bad},
		{"8 KiB coded a level up", 0x6000_0000_0000_0e01, 1, bad},
		{"2 MiB coded in its own level", 0x6000_0000_000f_fe01, 1, bad},
		{"4 MiB", 0x6000_0000_005f_fe01, 1, page(0x400000, 22, State{Perm: rw})},
		{"512 MiB", 0x6000_0000_2fff_fe01, 1, page(0x20000000, 29, State{Perm: rw})},
		{"1 GiB coded", 0x6000_0000_1fff_fe01, 1, bad},
		{"2 GiB", 0x6000_0000_3fff_fe01, 2, page(0, 31, State{Perm: rw})},
		{"256 GiB", 0x6000_005f_ffff_fe01, 2, page(1<<38, 38, State{Perm: rw})},
		{"128 TiB", 0x6000_bfff_ffff_fe01, 3, page(1<<47, 47, State{Perm: rw})},
		{"512 TiB", 0x6002_ffff_ffff_fe01, 4, page(1<<49, 49, State{Perm: rw})},
		{"2 PiB", 0x600b_ffff_ffff_fe01, 4, page(1<<51, 51, State{Perm: rw})},
		{"4 PiB", 0x6007_ffff_ffff_fe01, 4, page(0, 52, State{Perm: rw})},
		{"no zero in the address", 0x600f_ffff_ffff_fe01, 4, bad},
		{"link", 0x6000_0000_03f6_0201, 1, link(0x3f60000, State{Perm: rw})},
		{"link of the highest level", 0x6000_0000_03f6_0a01, 5, link(0x3f60000, State{Perm: rw})},
		{"rights of a link", 0x2000_0000_03f6_0401, 2, link(0x3f60000, State{Perm: Read})},
		{"link, used; it has no dirty bit", 0x6000_0000_03f6_0261, 1, link(0x3f60000, State{Perm: rw, Accessed: true})},
		{"ignored bits of a link", 0xe000_0000_0000_03df, 1, link(0, State{Perm: rw})},
		{"52 is reserved in a link", 0x6010_0000_03f6_0201, 1, bad},
		{"59 (U) is reserved in a link", 0x6800_0000_03f6_0201, 1, bad},
		{"60 (FC) is reserved in a link", 0x7000_0000_03f6_0201, 1, bad},
		{"a link past one level", 0x6000_0000_03f6_0201, 2, skip(0x3f60000, 21)},
		{"from the highest level to the lowest", 0x6000_0000_03f6_0201, 5, skip(0x3f60000, 21)},
		{"to the middle", 0x6000_0000_03f6_0601, 4, skip(0x3f60000, 39)},
		{"to its own level", 0x6000_0000_03f6_0401, 1, bad},
		{"upwards", 0x6000_0000_03f6_0c01, 3, bad},
		{"down from the lowest level", 0x6000_0000_03f6_0201, 0, bad},
	} {
		got := AMDv1{}.Decode(c.raw, c.level)
		if c.want.Kind == Malformed {
			got = Entry{Kind: got.Kind}
		}
		require.Equal(t, c.want, got, c.name)
		if c.want.Kind == SubTable && c.raw&0x9000_0000_0000_01de == 0 {
			require.Equal(t, c.raw, AMDv1{}.Encode(got, c.level), c.name)
		}
	}
}

// TestAMDv1_RawEntriesWritten maps one leaf of each size and checks what is stored, bit by bit, with
// nothing but the numbers of the specification.
func TestAMDv1_RawEntriesWritten(t *testing.T) {
	for _, c := range []struct {
		lg2    uint8
		level  int
		slots  int
		coding uint64 // NextLevel and what is added to the address
	}{
		{12, 0, 1, 0}, {13, 0, 2, 0xe00}, {14, 0, 4, 0x1e00}, {15, 0, 8, 0x3e00}, {16, 0, 16, 0x7e00}, {20, 0, 256, 0x7fe00},
		{21, 1, 1, 0}, {22, 1, 2, 0x1ffe00}, {29, 1, 256, 0xffffe00},
		{30, 2, 1, 0}, {31, 2, 2, 0x3ffffe00}, {38, 2, 256, 0x1f_ffff_fe00},
		{39, 3, 1, 0}, {40, 3, 2, 0x7f_ffff_fe00}, {47, 3, 256, 0x3fff_ffff_fe00},
		{48, 4, 1, 0}, {49, 4, 2, 0xffff_ffff_fe00}, {51, 4, 8, 0x3_ffff_ffff_fe00},
	} {
		a := newArena(1)
		tab, err := New(AMDv1{Use512G: true}, a, a, Config{Levels: 6, Attr: AMDv1ForceCoherent})
		require.NoError(t, err)
		oa := uint64(1) << c.lg2
		_, err = tab.Map(emu.IOVA(oa), emu.PA(oa), oa, Write, nil)
		require.NoError(t, err)
		table := tab.root
		for level := 5; level > c.level; level-- {
			raw := a.Load64(table + emu.PA(oa>>(12+9*level)&511*8))
			require.Equal(t, uint64(0x6000_0000_0000_0001|level<<9), raw&^0xf_ffff_ffff_f000, "link at level %d", level)
			table = emu.PA(raw & 0xf_ffff_ffff_f000)
		}
		var got int
		for i := range emu.PA(512) {
			if raw := a.Load64(table + i*8); raw != 0 {
				require.Equal(t, 0x5000_0000_0000_0001|oa|c.coding, raw, "2^%d in slot %d", c.lg2, i)
				require.Equal(t, oa, uint64(i)<<(12+9*c.level)&^(oa-1)&(oa<<1-1), "slot %d of 2^%d", i, c.lg2)
				got++
			}
		}
		require.Equal(t, c.slots, got, "2^%d", c.lg2)
		requireNoLeak(t, a, tab)
	}
}

// TestAMDv1_512GiBOnlyOnRequest: that size is a leaf for the walker and for whoever reads the table, but
// Map uses it only if told to.
func TestAMDv1_512GiBOnlyOnRequest(t *testing.T) {
	a := newArena(1)
	for _, use := range []bool{false, true} {
		tab, err := New(AMDv1{Use512G: use}, a, a, Config{Levels: 5})
		require.NoError(t, err)
		_, err = tab.Map(1<<39, 1<<39, 3<<39, Read, nil)
		require.NoError(t, err)
		var sizes []uint8
		for _, l := range observed(tab, 0, ^emu.IOVA(0)) {
			sizes = append(sizes, l.Lg2)
		}
		if !use {
			require.Equal(t, []uint8{38, 38, 40}, sizes)
			tab.Destroy()
			continue
		}
		require.Equal(t, []uint8{39, 40}, sizes)
		root, levels := tab.Root()
		view, err := Open(AMDv1{}, a, a, root, Config{Levels: levels})
		require.NoError(t, err)
		got, ok := view.Lookup(1<<39 + 0x12345678)
		require.True(t, ok)
		require.Equal(t, Translation{PA: 1<<39 + 0x12345678, Lg2: 39, Perm: Read}, got)
		requireNoLeak(t, a, tab)
	}
}

// TestAMDv1_InputAddresses: m levels translate 12+9m bits, six of them 64, with a root of 128 entries.
func TestAMDv1_InputAddresses(t *testing.T) {
	a := newArena(1)
	for levels := uint8(1); levels <= 6; levels++ {
		last := ^emu.IOVA(0)
		if levels < 6 {
			last >>= 64 - (12 + 9*levels)
		}
		tab, err := New(AMDv1{MaxLevels: levels}, a, a, Config{Levels: levels})
		require.NoError(t, err)
		require.Equal(t, last, tab.Info().Last)
		_, err = tab.Map(last-0xfff, 0x1000, 0x1000, Read, nil)
		require.NoError(t, err)
		slot := emu.PA(511)
		if levels == 6 {
			slot = 127
		}
		require.NotZero(t, a.Load64(tab.root+slot*8), "%d levels", levels)
		if levels < 6 {
			_, err = tab.Map(last+1, 0, 0x1000, Read, nil)
			require.ErrorIs(t, err, ErrRange, "the unit does not walk more")
			_, ok := tab.Lookup(last + 0x1000)
			require.False(t, ok, "no wrapping round")
		} else {
			// What stands behind the 128 entries is never read.
			a.Store64(tab.root+128*8, ^uint64(0))
			require.NoError(t, tab.Check())
			a.Store64(tab.root+128*8, 0)
		}
		requireNoLeak(t, a, tab)
	}
}

// TestAMDv1_RootGrowsDuringMap: the levels that are stacked on a root are plain links of the next level.
func TestAMDv1_RootGrowsDuringMap(t *testing.T) {
	a := newArena(1)
	var tops []uint8
	tab, err := New(AMDv1{}, a, a, Config{Levels: 3, OnTop: func(_ emu.PA, levels uint8) error {
		tops = append(tops, levels)
		return nil
	}})
	require.NoError(t, err)
	low := tab.root
	for _, at := range []emu.IOVA{0x7000, 1 << 39, 1 << 63} {
		_, err = tab.Map(at, 0x5000, 0x1000, Read, nil)
		require.NoError(t, err)
	}
	require.Equal(t, []uint8{4, 6}, tops)
	table := tab.root
	for level := uint64(5); level > 2; level-- {
		raw := a.Load64(table)
		require.Equal(t, 0x6000_0000_0000_0001|level<<9, raw&^0xf_ffff_ffff_f000)
		table = emu.PA(raw & 0xf_ffff_ffff_f000)
	}
	require.Equal(t, low, table)
	requireNoLeak(t, a, tab)
}

// TestAMDv1_DirtyInAnySlot: hardware marks the one slot that it came through. Software has to look at all
// and to clear all.
func TestAMDv1_DirtyInAnySlot(t *testing.T) {
	a := newArena(1)
	tab, err := New(AMDv1{Dirty: true}, a, a, Config{Levels: 3})
	require.NoError(t, err)
	_, err = tab.Map(0x10000, 0x10000, 0x10000, Read|Write, nil)
	require.NoError(t, err)
	slot := observedSlot(tab, 0x10000)
	for i := range emu.PA(16) {
		require.NoError(t, tab.SetDirty(0x10000+emu.IOVA(i)<<12+0x123))
		for j := range emu.PA(16) {
			require.Equal(t, i == j, a.Load64(slot+j*8)&0x40 != 0, "slots %d, %d", i, j)
		}
		require.True(t, observed(tab, 0, ^emu.IOVA(0))[0].Dirty)
		var got []Range
		visit := func(f, l emu.IOVA) { got = append(got, Range{f, l}) }
		require.NoError(t, tab.ReadAndClearDirty(0x12000, 0x12fff, 0, nil, visit))
		require.Equal(t, []Range{{0x10000, 0x1ffff}}, got)
		for j := range emu.PA(16) {
			require.Zero(t, a.Load64(slot+j*8)&0x40)
		}
	}
	// A leaf that is cut hands its state on, whichever slot had it.
	require.NoError(t, tab.SetDirty(0x1f000))
	require.NoError(t, tab.Cut(0x14000, nil))
	for _, l := range observed(tab, 0, ^emu.IOVA(0)) {
		require.True(t, l.Dirty)
	}
	requireNoLeak(t, a, tab)
}

func observedSlot(tab *Table, at emu.IOVA) emu.PA {
	for l := range tab.Leaves(at, at) {
		return l.Slot
	}
	return 0
}

// TestAMDv1_RightsAddUpOverTheLevels takes one right away at each level in turn.
func TestAMDv1_RightsAddUpOverTheLevels(t *testing.T) {
	for level := range 6 {
		for bit, want := range map[int]Perm{61: Write, 62: Read} {
			a := newArena(1)
			tab, err := New(AMDv1{}, a, a, Config{Levels: 6})
			require.NoError(t, err)
			_, err = tab.Map(0, 0x7000, 0x1000, Read|Write, nil)
			require.NoError(t, err)
			slot := tab.root
			for range 5 - level {
				slot = emu.PA(a.Load64(slot) & amdAddr)
			}
			a.Store64(slot, a.Load64(slot)&^(uint64(1)<<bit))
			got, found := tab.Lookup(0xabc)
			require.True(t, found)
			require.Equal(t, Translation{PA: 0x7abc, Lg2: 12, Perm: want}, got, "level %d", level)
			require.Equal(t, want, observed(tab, 0, 0)[0].Perm)
			if level > 0 {
				_, err = tab.Map(0x1000, 0, 0x1000, Read|Write, nil)
				require.ErrorIs(t, err, ErrPerm, "a link in the way grants too little")
			}
			requireNoLeak(t, a, tab)
		}
	}
}

// TestAMDv1_WhatAnExactComparisonSees compares two trees after a change of one bit of one entry.
func TestAMDv1_WhatAnExactComparisonSees(t *testing.T) {
	a := newArena(1)
	build := func() *Table {
		tab, err := New(AMDv1{}, a, a, Config{Levels: 4})
		require.NoError(t, err)
		_, err = tab.Map(0, 1<<21, 1<<21, Read|Write, nil)
		require.NoError(t, err)
		return tab
	}
	for bit := range 64 {
		for level := uint8(1); level < 4; level++ {
			want := Same
			switch {
			case bit == 0:
				want = OnlyA
			case bit == 61 || bit == 62:
				want = DifferentPermission
			case bit >= 52 && bit <= 58:
				want = Broken
			case bit == 59 || bit == 60:
				want = Broken
				if level == 1 {
					want = DifferentAttribute
				}
			case bit >= 21 && bit < 52 && level == 1:
				want = DifferentAddress
			case bit >= 12 && bit < 52 && level > 1 || bit >= 9 && bit <= 11:
				continue // leads elsewhere
			}
			a.reset()
			ref, tab := build(), build()
			slot := tab.root
			for l := uint8(3); l > level; l-- {
				slot = emu.PA(a.Load64(slot) & amdAddr)
			}
			a.Store64(slot, a.Load64(slot)^uint64(1)<<bit)
			c, err := Compare(ref, tab, CompareOptions{Exact: true})
			require.NoError(t, err)
			if want == Same {
				require.True(t, c.Equal, "bit %d at level %d: %v", bit, level, c.Runs)
			} else {
				require.Equal(t, []DiffKind{want}, kinds(c.Runs)[:1], "bit %d at level %d", bit, level)
			}
		}
	}
}
