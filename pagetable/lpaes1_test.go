package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestLPAES1_Decode checks entries against the layout of the specification (Arm ARM D8.3), written by
// hand. The level is ours: lookup level 3 is 0.
func TestLPAES1_Decode(t *testing.T) {
	rw, rwx := Read|Write, Read|Write|Exec
	page := func(oa emu.PA, lg2 uint8, s State) Entry { return Entry{Kind: Leaf, OA: oa, Lg2: lg2, State: s} }
	used := func(p Perm, a Attr) State { return State{Perm: p, Attr: a, Accessed: true} }
	link := func(oa emu.PA, p Perm) Entry { return Entry{Kind: SubTable, OA: oa, State: State{Perm: p}} }
	bad := Entry{Kind: Malformed}
	k4, k16, k64 := LPAES1{}, LPAES1{Granule: 14}, LPAES1{Granule: 16}
	w4, w16, w64 := LPAES1{LPA: true}, LPAES1{Granule: 14, LPA: true}, LPAES1{Granule: 16, LPA: true}
	ha, hd, ex := LPAES1{HA: true}, LPAES1{HA: true, HD: true}, LPAES1{Exec: true}
	pr, prhd := LPAES1{Privileged: true}, LPAES1{Privileged: true, HA: true, HD: true}
	const us = 0x443 // page, AF, AP[1]
	for _, c := range []struct {
		name  string
		f     LPAES1
		raw   uint64
		level uint8
		want  Entry
	}{
		{"bit 0 clear is empty, whatever else is set", k4, 0xffff_ffff_ffff_fffe, 0, Entry{}},
		{"page", k4, 0x4611b000 | us, 0, page(0x4611b000, 12, used(rw, 0))},
		{"as Linux writes it", k4, 0x0000_0000_4611_bf47, 0, page(0x4611b000, 12, used(rw, LPAES1NonGlobal|3<<3|1))},
		{"bit 1 clear at the lowest level is reserved", k4, us &^ 2, 0, bad},
		{"2 MiB", k4, 0x4e000f45, 1, page(0x4e000000, 21, used(rw, LPAES1NonGlobal|3<<3|1))},
		{"1 GiB", k4, 0x40000441, 2, page(0x40000000, 30, used(rw, 0))},
		{"no block at lookup level 0", k4, 0x441, 3, bad},
		{"but with DS", w4, 0x80_0000_0441, 3, page(1<<39, 39, used(rw, 0))},
		{"none at lookup level -1", w4, 0x441, 4, bad},
		{"bits below a block, nT among them, are ignored", k4, 0x4e1ff441, 1, page(0x4e000000, 21, used(rw, 0))},
		{"AF=0 faults", k4, 0x43, 0, page(0, 12, State{})},
		{"but for hardware that sets it", ha, 0x43, 0, page(0, 12, State{Perm: rw})},
		{"AP=00: not for unprivileged requests", k4, 0x403, 0, page(0, 12, used(0, 0))},
		{"AP=11: to be read", k4, 0x4c3, 0, page(0, 12, used(Read, 0))},
		{"AP=10", k4, 0x483, 0, page(0, 12, used(0, 0))},
		{"AP=00, privileged", pr, 0x403, 0, page(0, 12, used(rw, LPAES1Privileged))},
		{"AP=10, privileged", pr, 0x483, 0, page(0, 12, used(Read, LPAES1Privileged))},
		{"AP=01, privileged", pr, us, 0, page(0, 12, used(rw, 0))},
		{"DBM without HD is ignored", ha, 1<<51 | 0x4c3, 0, page(0, 12, used(Read, 0))},
		{"HD without HA is none", LPAES1{HD: true}, 1<<51 | 0x4c3, 0, page(0, 12, used(Read, 0))},
		{"DBM: clean", hd, 1<<51 | 0x4c3, 0, page(0, 12, used(rw, 0))},
		{"DBM: dirty", hd, 1<<51 | us, 0, page(0, 12, State{Perm: rw, Accessed: true, Dirty: true})},
		{"writable without DBM is dirty", hd, us, 0, page(0, 12, State{Perm: rw, Accessed: true, Dirty: true})},
		{"read-only", hd, 0x4c3, 0, page(0, 12, used(Read, 0))},
		{"DBM of a privileged page", prhd, 1<<51 | 0x483, 0, page(0, 12, used(rw, LPAES1Privileged))},
		{"no UXN", ex, us, 0, page(0, 12, used(rwx, 0))},
		{"UXN", ex, 1<<54 | us, 0, page(0, 12, used(rw, 0))},
		{"PXN is not for unprivileged requests", ex, 1<<53 | us, 0, page(0, 12, used(rwx, 0))},
		{"execute only", ex, 0x403, 0, page(0, 12, used(Exec, 0))},
		{"UXN does not count without Exec", k4, 1<<54 | us, 0, page(0, 12, used(rw, 0))},
		{"NS, 50:48, PBHA, 63 and bits of software are ignored", k4, 0xff87_0000_0000_0000 | 1<<5 | us, 0, page(0, 12, used(rw, 0))},
		{"contiguous: 16 pages", k4, 1<<52 | 0x5000 | us, 0, page(0x5000, 16, used(rw, 0))},
		{"contiguous: 32 MiB", k4, 1<<52 | 0x600441, 1, page(0x600000, 25, used(rw, 0))},
		{"contiguous: 16 GiB", k4, 1<<52 | 0xc000_0441, 2, page(0xc000_0000, 34, used(rw, 0))},
		{"no contiguous blocks of 512 GiB", w4, 1<<52 | 0x441, 3, page(0, 39, used(rw, 0))},
		{"16K page", k16, 0x4c000 | us, 0, page(0x4c000, 14, used(rw, 0))},
		{"13:12 of a 16K page are ignored", k16, 0x4f000 | us, 0, page(0x4c000, 14, used(rw, 0))},
		{"16K: 2 MiB of pages", k16, 1<<52 | 0x4c000 | us, 0, page(0x4c000, 21, used(rw, 0))},
		{"16K: 32 MiB", k16, 0x0600_0441, 1, page(0x6000000, 25, used(rw, 0))},
		{"16K: 1 GiB of blocks", k16, 1<<52 | 0x0600_0441, 1, page(0x6000000, 30, used(rw, 0))},
		{"16K: no 64 GiB", k16, 0x441, 2, bad},
		{"16K: 64 GiB with DS, without a hint", w16, 1<<52 | 0x10_0000_0441, 2, page(1<<36, 36, used(rw, 0))},
		{"64K page", k64, 0x70000 | us, 0, page(0x70000, 16, used(rw, 0))},
		{"15:12 are ignored without LPA", k64, 0x7f000 | us, 0, page(0x70000, 16, used(rw, 0))},
		{"15:12 with LPA are 51:48", w64, 0x7a000 | us, 0, page(0xa_0000_0007_0000, 16, used(rw, 0))},
		{"64K: 2 MiB of pages", k64, 1<<52 | us, 0, page(0, 21, used(rw, 0))},
		{"64K: 512 MiB", k64, 0x2000_0441, 1, page(1<<29, 29, used(rw, 0))},
		{"64K: 16 GiB of blocks", k64, 1<<52 | 0x2000_0441, 1, page(1<<29, 34, used(rw, 0))},
		{"64K: no 4 TiB", k64, 0x441, 2, bad},
		{"64K: 4 TiB with LPA", w64, 0x400_0000_8441, 2, page(0x8_0400_0000_0000, 42, used(rw, 0))},
		{"SH with LPA and 64K", w64, 0x300 | us, 0, page(0, 16, used(rw, 3<<3))},
		{"9:8 with DS are 51:50", w4, 0x300 | us, 0, page(0xc_0000_0000_0000, 12, used(rw, 0))},
		{"49:48 with DS", w4, 3<<48 | us, 0, page(3<<48, 12, used(rw, 0))},
		{"9:8 of a block with DS", w16, 0x0600_0641, 1, page(0x8_0000_0600_0000, 25, used(rw, 0))},
		{"beyond the output size", LPAES1{OAS: 40}, 1<<40 | us, 0, bad},
		{"the last bit below", LPAES1{OAS: 40}, 1<<39 | us, 0, page(1<<39, 12, used(rw, 0))},
		{"beyond, with DS", LPAES1{LPA: true, OAS: 48}, 0x100 | us, 0, bad},
		{"beyond, in a link", LPAES1{OAS: 40}, 1<<47 | 3, 1, bad},
		{"an output size that is too large is 48", LPAES1{OAS: 52}, 1<<48 | us, 0, page(0, 12, used(rw, 0))},
		{"link", k4, 0x3f60003, 1, link(0x3f60000, rw)},
		{"link of lookup level -1", w4, 0x3f60003, 4, link(0x3f60000, rw)},
		{"link with DS", w4, 1<<49 | 0x3f60103, 1, link(0x6_0000_03f6_0000, rw)},
		{"link of 64K with LPA", w64, 0x3f69003, 1, link(0x9_0000_03f6_0000, rw)},
		{"what is ignored in a link", k4, 0x87f8_0000_03f6_0fff, 1, link(0x3f60000, rw)},
		{"APTable: nothing for unprivileged requests", k4, 1<<61 | 3, 1, link(0, 0)},
		{"but for others", pr, 1<<61 | 3, 1, link(0, rw)},
		{"APTable: no writes", k4, 1<<62 | 3, 1, link(0, Read)},
		{"for others neither", pr, 1<<62 | 3, 1, link(0, Read)},
		{"UXNTable", ex, 1<<60 | 3, 1, link(0, rw)},
		{"execution stays with APTable", ex, 1<<61 | 3, 1, link(0, Exec)},
		{"PXNTable", ex, 1<<59 | 3, 1, link(0, rwx)},
		{"HAD", LPAES1{HAD: true, Exec: true}, 15<<59 | 3, 1, link(0, rwx)},
	} {
		got := c.f.Decode(c.raw, c.level)
		if c.want.Kind == Malformed {
			got = Entry{Kind: got.Kind}
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// TestLPAES1_RawEntriesWritten checks what Map stores, bit by bit. Plain and unprivileged, with nG and the
// attributes of normal memory, these are the entries that Linux writes for DMA.
func TestLPAES1_RawEntriesWritten(t *testing.T) {
	const linux = LPAES1NonGlobal | 3<<3 | 1
	for _, c := range []struct {
		name string
		f    LPAES1
		perm Perm
		attr Attr
		leaf uint64 // of a block
	}{
		{"Linux", LPAES1{}, Read | Write, linux, 0xf45},
		{"Linux, read-only", LPAES1{}, Read, linux, 0xfc5},
		{"Linux, with dirty tracking", LPAES1{HA: true, HD: true, Preset: true}, Read | Write, linux, 1<<51 | 0xf45},
		{"write implies read", LPAES1{}, Write, linux, 0xf45},
		{"nothing", LPAES1{}, Read | Write, 0, 0x441},
		{"hardware sets AF", LPAES1{HA: true}, Read | Write, 0, 0x41},
		{"hardware marks dirty", LPAES1{HA: true, HD: true}, Read | Write, 0, 1<<51 | 0xc1},
		{"nothing to be marked", LPAES1{HA: true, HD: true}, Read, 0, 0xc1},
		{"no execution", LPAES1{Exec: true}, Read | Write, 0, 3<<53 | 0x441},
		{"execution", LPAES1{Exec: true}, Read | Exec, 0, 0x4c1},
		{"privileged", LPAES1{Privileged: true}, Read | Write, LPAES1Privileged, 0x401},
		{"privileged, read-only", LPAES1{Privileged: true, Exec: true}, Read, LPAES1Privileged, 0x481},
		{"for all", LPAES1{Privileged: true}, Read, 0, 0x4c1},
		{"AttrIndx", LPAES1{}, Read, LPAES1AttrIndx, 0x4dd},
	} {
		for _, k := range []struct {
			granule, lg2 uint8
			level, slots int
			hint         uint64
		}{
			{12, 12, 0, 1, 2}, {12, 16, 0, 16, 1<<52 | 2}, {12, 21, 1, 1, 0}, {12, 25, 1, 16, 1 << 52}, {12, 30, 2, 1, 0}, {12, 34, 2, 16, 1 << 52},
			{14, 14, 0, 1, 2}, {14, 21, 0, 128, 1<<52 | 2}, {14, 25, 1, 1, 0}, {14, 30, 1, 32, 1 << 52},
			{16, 16, 0, 1, 2}, {16, 21, 0, 32, 1<<52 | 2}, {16, 29, 1, 1, 0}, {16, 34, 1, 32, 1 << 52},
		} {
			f := c.f
			f.Granule = k.granule
			a := newArena(1)
			levels := f.Geometry().MaxLevels
			tab, err := New(f, a, a, Config{Levels: levels, Attr: c.attr})
			require.NoError(t, err)
			oa := uint64(3) << k.lg2
			_, err = tab.Map(emu.IOVA(oa), emu.PA(oa), 1<<k.lg2, c.perm, nil)
			require.NoError(t, err)
			table := tab.root
			bits := int(k.granule) - 3
			for level := int(levels) - 1; level > k.level; level-- {
				raw := a.Load64(table + emu.PA(oa>>(int(k.granule)+bits*level)&(1<<bits-1)*8))
				require.EqualValues(t, 3, raw&^0xffff_ffff_f000, "%s: link at level %d", c.name, level)
				table = emu.PA(raw &^ 3)
			}
			shift := int(k.granule) + bits*k.level
			got := 0
			for i := range uint64(1) << bits {
				raw := a.Load64(table + emu.PA(i*8))
				if raw == 0 {
					continue
				}
				own := oa&^(1<<(shift+bits)-1) + i<<shift
				require.Equal(t, c.leaf|k.hint|own, raw, "%s: 2^%d, slot %d", c.name, k.lg2, i)
				got++
			}
			require.Equal(t, k.slots, got, "%s: 2^%d", c.name, k.lg2)
			requireNoLeak(t, a, tab)
		}
	}
}

// TestLPAES1_RightsAddUpOverTheLevels sets the bits of the hierarchy in links of each level in turn.
func TestLPAES1_RightsAddUpOverTheLevels(t *testing.T) {
	all := Read | Write | Exec
	for level := uint8(1); level < 4; level++ {
		for _, c := range []struct {
			f    LPAES1
			set  uint64
			want Perm
		}{
			{LPAES1{Exec: true}, 1 << 62, Read | Exec},
			{LPAES1{Exec: true}, 1 << 61, Exec},
			{LPAES1{Exec: true}, 1 << 60, Read | Write},
			{LPAES1{Exec: true}, 1<<60 | 1<<62, Read},
			{LPAES1{Exec: true, HA: true, HD: true}, 1 << 62, Read | Exec}, // whatever DBM says
			{LPAES1{Exec: true, HAD: true}, 15 << 59, all},
		} {
			a := newArena(1)
			tab, err := New(c.f, a, a, Config{Levels: 4})
			require.NoError(t, err)
			_, err = tab.Map(0, 0x7000, 0x1000, all, nil)
			require.NoError(t, err)
			slot := tab.root
			for l := uint8(3); l > level; l-- {
				slot = emu.PA(a.Load64(slot) &^ 3)
			}
			a.Store64(slot, a.Load64(slot)|c.set)
			got, found := tab.Lookup(0xabc)
			require.True(t, found)
			require.Equal(t, Translation{PA: 0x7abc, Lg2: 12, Perm: c.want}, got, "%v level %d", c.f, level)
			_, err = tab.Map(0x1000, 0, 0x1000, all, nil)
			if c.want == all {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrPerm, "a link in the way grants too little")
			}
			requireNoLeak(t, a, tab)
		}
	}
}

// TestLPAES1_DirtyOfOtherSoftwaresLeaves: leaves without DBM are as dirty as can be, and cleaning them lets
// hardware mark them again. What cannot be written to cannot be marked.
func TestLPAES1_DirtyOfOtherSoftwaresLeaves(t *testing.T) {
	a := newArena(1)
	f := LPAES1{HA: true, HD: true}
	tab, err := New(f, a, a, Config{Levels: 4})
	require.NoError(t, err)
	_, err = tab.Map(0, 0, 0x3000, Read, nil)
	require.NoError(t, err)
	slot := observedSlot(tab, 0)
	a.Store64(slot, 0x443)           // AP=01 without DBM
	a.Store64(slot+8, 0x1000|0x4c3)  // AP=11 without DBM
	a.Store64(slot+16, 0x2000|0x403) // AP=00: for privileged requests only
	read := func() (got []emu.IOVA) {
		require.NoError(t, tab.ReadAndClearDirty(0, 0x2fff, 0, nil, func(first, _ emu.IOVA) { got = append(got, first) }))
		return got
	}
	require.Equal(t, []emu.IOVA{0, 0x2000}, read())
	require.Equal(t, []uint64{1<<51 | 0x4c3, 0x14c3, 1<<51 | 0x2483}, []uint64{a.Load64(slot), a.Load64(slot + 8), a.Load64(slot + 16)})
	require.Empty(t, read())
	require.NoError(t, tab.SetDirty(0x123))
	require.Equal(t, uint64(1<<51|0x443), a.Load64(slot))
	require.ErrorIs(t, tab.SetDirty(0x1123), ErrPerm)
	require.Equal(t, []emu.IOVA{0}, read())

	// Nor can it take over what another table says.
	old, err := New(VTDSS{Dirty: true}, a, a, Config{})
	require.NoError(t, err)
	_, err = old.Map(0, 0, 0x2000, Read|Write, nil)
	require.NoError(t, err)
	require.NoError(t, old.SetDirty(0))
	require.NoError(t, old.SetDirty(0x1000))
	n, err := tab.MergeDirty(old)
	require.ErrorIs(t, err, ErrPerm)
	require.Equal(t, uint64(2), n)
	require.Equal(t, []emu.IOVA{0}, read())
	old.Destroy()
	requireNoLeak(t, a, tab)
}

// TestLPAES1_InputAddresses maps at both ends of what TTB0 and TTB1 translate, and looks at the slots used.
func TestLPAES1_InputAddresses(t *testing.T) {
	const top = ^emu.IOVA(0)
	for _, c := range []struct {
		name        string
		f           LPAES1
		cfg         Config
		first, last emu.IOVA
		lastSlot    emu.PA // of the root
		rootLg2     uint8
	}{
		{"4K, 48 bits", LPAES1{}, Config{Levels: 4}, 0, 1<<48 - 1, 511, 12},
		{"4K, 39 bits", LPAES1{}, Config{Levels: 3}, 0, 1<<39 - 1, 511, 12},
		{"4K, 36 bits", LPAES1{}, Config{Levels: 3, VABits: 36}, 0, 1<<36 - 1, 63, 12},
		{"4K, 52 bits", LPAES1{LPA: true}, Config{Levels: 5}, 0, 1<<52 - 1, 15, 12},
		{"4K, 25 bits", LPAES1{}, Config{Levels: 2, VABits: 25}, 0, 1<<25 - 1, 15, 12},
		{"16K, 48 bits", LPAES1{Granule: 14}, Config{Levels: 4}, 0, 1<<48 - 1, 1, 12},
		{"16K, 47 bits", LPAES1{Granule: 14}, Config{Levels: 3}, 0, 1<<47 - 1, 2047, 14},
		{"16K, 52 bits", LPAES1{Granule: 14, LPA: true}, Config{Levels: 4}, 0, 1<<52 - 1, 31, 12},
		{"64K, 48 bits", LPAES1{Granule: 16}, Config{Levels: 3}, 0, 1<<48 - 1, 63, 12},
		{"64K, 52 bits", LPAES1{Granule: 16, LPA: true}, Config{Levels: 3}, 0, 1<<52 - 1, 1023, 13},
		{"64K, 42 bits", LPAES1{Granule: 16}, Config{Levels: 2}, 0, 1<<42 - 1, 8191, 16},
		{"TTB1, 4K, 48 bits", LPAES1{}, Config{Levels: 4, Upper: true}, 0xffff_0000_0000_0000, top, 511, 12},
		{"TTB1, 4K, 36 bits", LPAES1{}, Config{Levels: 3, VABits: 36, Upper: true}, 0xffff_fff0_0000_0000, top, 63, 12},
		{"TTB1, 64K, 52 bits", LPAES1{Granule: 16, LPA: true}, Config{Levels: 3, Upper: true}, 0xfff0_0000_0000_0000, top, 1023, 13},
	} {
		a := newArena(1)
		tab, err := New(c.f, a, a, c.cfg)
		require.NoError(t, err, c.name)
		i := tab.Info()
		require.Equal(t, []emu.IOVA{c.first, c.last}, []emu.IOVA{i.First, i.Last}, c.name)
		require.Equal(t, c.rootLg2, a.live[tab.root], c.name)
		gr := emu.IOVA(1) << max(c.f.Granule, 12)
		for at, slot := range map[emu.IOVA]emu.PA{c.first: 0, c.last - gr + 1: c.lastSlot} {
			_, err := tab.Map(at, 0x10000, uint64(gr), Read, nil)
			require.NoError(t, err, c.name)
			require.NotZero(t, a.Load64(tab.root+slot*8), "%s: %#x", c.name, at)
			tr, ok := tab.Lookup(at + 5)
			require.True(t, ok)
			require.Equal(t, emu.PA(0x10005), tr.PA)
		}
		require.Len(t, observed(tab, 0, top), 2)
		for _, not := range []emu.IOVA{c.first - gr, c.last + 1} {
			if not == 0 || not == -gr {
				continue // round the end of the space
			}
			_, err := tab.Map(not, 0, uint64(gr), Read, nil)
			require.ErrorIs(t, err, ErrRange, "%s: %#x", c.name, not)
			_, ok := tab.Lookup(not)
			require.False(t, ok)
		}
		requireNoLeak(t, a, tab)
	}
}

// TestLPAES1_TopByteIgnored: with TBI what a walker does takes any top byte, and pages are named by one
// address only.
func TestLPAES1_TopByteIgnored(t *testing.T) {
	for _, c := range []struct {
		cfg Config
		at  emu.IOVA
	}{
		{Config{Levels: 4}, 0x7000},
		{Config{Levels: 3, Upper: true}, 0xffff_ffff_ffff_7000},
	} {
		for _, tbi := range []bool{false, true} {
			a := newArena(1)
			c.cfg.TBI = tbi
			tab, err := New(LPAES1{HA: true, HD: true}, a, a, c.cfg)
			require.NoError(t, err)
			_, err = tab.Map(c.at, 0x3000, 0x1000, Read|Write, nil)
			require.NoError(t, err)
			for tag := range emu.IOVA(256) {
				at := c.at&(1<<56-1) | tag<<56
				named := at == c.at
				_, found := tab.Lookup(at)
				require.Equal(t, tbi || named, found, "%#x", at)
				require.Equal(t, tbi || named, tab.SetDirty(at) == nil, "%#x", at)
				n, err := tab.Unmap(at+0x1000, 1, nil)
				require.NoError(t, err)
				require.Zero(t, n)
				_, err = tab.Map(at, 0, 0x1000, Read, nil)
				if named {
					require.ErrorIs(t, err, ErrExists)
				} else {
					require.ErrorIs(t, err, ErrRange)
				}
			}
			_, found := tab.Lookup(c.at ^ 1<<55)
			require.False(t, found, "bit 55 is none of the top byte")
			requireNoLeak(t, a, tab)
		}
	}
}

// TestLPAES1_SmallRoots: the walker takes a root that is aligned to its entries, wherever in a page it is.
func TestLPAES1_SmallRoots(t *testing.T) {
	for _, c := range []struct {
		f    LPAES1
		cfg  Config
		root emu.PA
		ok   bool
	}{
		{LPAES1{Granule: 16}, Config{Levels: 3}, 0x1200, true}, // 64 entries
		{LPAES1{Granule: 16}, Config{Levels: 3}, 0x1100, false},
		{LPAES1{}, Config{Levels: 2, VABits: 25}, 0x1080, true}, // 16 entries
		{LPAES1{Granule: 14}, Config{Levels: 4}, 0x1010, true},  // 2 entries
		{LPAES1{Granule: 14}, Config{Levels: 4}, 0x1008, false},
		{LPAES1{Granule: 14, LPA: true}, Config{Levels: 4, VABits: 48}, 0x1040, true}, // 64 bytes with 52 bits
		{LPAES1{Granule: 14, LPA: true}, Config{Levels: 4, VABits: 48}, 0x1010, false},
		{LPAES1{Granule: 14, LPA: true, OAS: 48}, Config{Levels: 4, VABits: 48}, 0x1010, true},
		{LPAES1{}, Config{Levels: 4}, 0x1800, false},
	} {
		_, err := Open(c.f, newArena(1), nil, c.root, c.cfg)
		require.Equal(t, c.ok, err == nil, "%v %#x", c.f, c.root)
	}
}

// TestLPAES1_WhatAnExactComparisonSees compares two trees after a change of one bit of one entry.
func TestLPAES1_WhatAnExactComparisonSees(t *testing.T) {
	a := newArena(1)
	f := LPAES1{Exec: true}
	build := func() *Table {
		tab, err := New(f, a, a, Config{Levels: 4})
		require.NoError(t, err)
		_, err = tab.Map(0, 0x1000, 0x1000, Read|Write|Exec, nil)
		require.NoError(t, err)
		return tab
	}
	for bit := range 64 {
		for level := uint8(0); level < 4; level++ {
			want := Same
			switch {
			case bit == 0:
				want = OnlyA
			case bit == 1:
				want = Broken
				if level == 1 || level == 2 {
					continue // a block whose address is that of the table
				}
			case level > 0 && bit >= 59 && bit <= 62:
				want = map[int]DiffKind{59: DifferentRaw, 60: DifferentPermission, 61: DifferentPermission, 62: DifferentPermission}[bit]
			case level > 0 && bit >= 12 && bit < 48:
				continue // leads elsewhere
			case level > 0:
			case bit >= 2 && bit <= 4 || bit == 8 || bit == 9 || bit == 11:
				want = DifferentAttribute
			case bit == 6 || bit == 7 || bit == 54:
				want = DifferentPermission
			case bit == 10:
				want = OnlyA // it faults
			case bit >= 12 && bit < 48:
				want = DifferentAddress
			case bit == 52:
				want = DifferentSize
			case bit == 53:
				want = DifferentRaw
			}
			a.reset()
			ref, tab := build(), build()
			slot := tab.root
			for l := uint8(3); l > level; l-- {
				slot = emu.PA(a.Load64(slot) &^ 3)
			}
			a.Store64(slot, a.Load64(slot)^uint64(1)<<bit)
			c, err := Compare(ref, tab, CompareOptions{Exact: true})
			require.NoError(t, err)
			if want == Same {
				require.True(t, c.Equal, "bit %d at level %d: %v", bit, level, c.Runs)
			} else {
				require.Equal(t, []DiffKind{want}, kinds(c.Runs)[:min(1, len(c.Runs))], "bit %d at level %d", bit, level)
			}
		}
	}
}
