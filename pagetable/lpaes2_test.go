package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestLPAES2_Decode checks what differs from stage 1 against the layout of the specification (Arm ARM
// D8.3), written by hand.
func TestLPAES2_Decode(t *testing.T) {
	rw, rwx := Read|Write, Read|Write|Exec
	page := func(oa emu.PA, lg2 uint8, s State) Entry { return Entry{Kind: Leaf, OA: oa, Lg2: lg2, State: s} }
	used := func(p Perm, a Attr) State { return State{Perm: p, Attr: a, Accessed: true} }
	bad := Entry{Kind: Malformed}
	k4, hd, ex, fwb := LPAES2{}, LPAES2{HA: true, HD: true}, LPAES2{Exec: true}, LPAES2{FWB: true}
	for _, c := range []struct {
		name  string
		f     LPAES2
		raw   uint64
		level uint8
		want  Entry
	}{
		{"bit 0 clear is empty", k4, 0xffff_ffff_ffff_fffe, 1, Entry{}},
		{"S2AP=00", k4, 0x403, 0, page(0, 12, used(0, 0))},
		{"S2AP=01", k4, 0x443, 0, page(0, 12, used(Read, 0))},
		{"S2AP=10", k4, 0x483, 0, page(0, 12, used(Write, 0))},
		{"S2AP=11", k4, 0x4c3, 0, page(0, 12, used(rw, 0))},
		{"AF=0 faults", k4, 0xc3, 0, page(0, 12, State{})},
		{"but for hardware that sets it", hd, 0x43, 0, page(0, 12, State{Perm: Read})},
		{"as Linux writes it", k4, 0x4e0007fd, 1, page(0x4e000000, 21, used(rw, LPAES2WriteBack|3<<4))},
		{"a device", k4, 0x4e0006c7, 0, page(0x4e000000, 12, used(rw, LPAES2DeviceNGnRE|2<<4))},
		{"FWB: bit 5 is ignored", fwb, 0x4e0006fb, 0, page(0x4e000000, 12, used(rw, LPAES2ForceWriteBack|2<<4))},
		{"DBM without HD is ignored", k4, 1<<51 | 0x443, 0, page(0, 12, used(Read, 0))},
		{"DBM: clean", hd, 1<<51 | 0x443, 0, page(0, 12, used(rw, 0))},
		{"DBM: clean, to be written only", hd, 1<<51 | 0x403, 0, page(0, 12, used(Write, 0))},
		{"DBM: dirty", hd, 1<<51 | 0x4c3, 0, page(0, 12, State{Perm: rw, Accessed: true, Dirty: true})},
		{"writable without DBM is dirty", hd, 0x483, 0, page(0, 12, State{Perm: Write, Accessed: true, Dirty: true})},
		{"XN=00", ex, 0x4c3, 0, page(0, 12, used(rwx, 0))},
		{"XN=01: unprivileged requests may", ex, 1<<53 | 0x4c3, 0, page(0, 12, used(rwx, 0))},
		{"XN=10", ex, 2<<53 | 0x4c3, 0, page(0, 12, used(rw, 0))},
		{"XN=11: only privileged ones may", ex, 3<<53 | 0x4c3, 0, page(0, 12, used(rw, 0))},
		{"XN without Exec", k4, 3<<53 | 0x4c3, 0, page(0, 12, used(rw, 0))},
		{"bit 11, PBHA, 63 and bits of software are ignored", k4, 0xff80_0000_0000_0cc3, 0, page(0, 12, used(rw, 0))},
		{"contiguous", k4, 1<<52 | 0x50004c3, 0, page(0x5000000, 16, used(rw, 0))},
		{"64K with 52 bits", LPAES2{Granule: 16, LPA: true}, 0x7b4c3, 0, page(0xb_0000_0007_0000, 16, used(rw, 0))},
		{"16K with DS: no SH", LPAES2{Granule: 14, LPA: true}, 0x7c6c3, 0, page(0x8_0000_0007_c000, 14, used(rw, 0))},
		{"beyond the output size", LPAES2{OAS: 44}, 1<<44 | 0x4c3, 0, bad},
		{"link: all rights, whatever stage 1 has there", ex, 0xfff8_0000_03f6_0fff, 2, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: rwx}}},
		{"block at lookup level 0", k4, 0x4c1, 3, bad},
		{"reserved at lookup level 3", k4, 0x4c1, 0, bad},
	} {
		got := c.f.Decode(c.raw, c.level)
		if c.want.Kind == Malformed {
			got = Entry{Kind: got.Kind}
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// TestLPAES2_RawEntriesWritten checks what Map stores, bit by bit.
func TestLPAES2_RawEntriesWritten(t *testing.T) {
	for _, c := range []struct {
		name string
		f    LPAES2
		perm Perm
		attr Attr
		leaf uint64 // of a page at 0
	}{
		{"Linux", LPAES2{}, Read | Write, LPAES2WriteBack | 3<<4, 0x7ff},
		{"Linux, read-only", LPAES2{}, Read, LPAES2WriteBack | 3<<4, 0x77f},
		{"write only", LPAES2{}, Write, 0, 0x483},
		{"not cached", LPAES2{}, Read | Write, LPAES2NonCacheable, 0x4d7},
		{"FWB", LPAES2{FWB: true}, Read | Write, LPAES2ForceWriteBack, 0x4db},
		{"hardware sets AF", LPAES2{HA: true}, Read | Write, 0, 0xc3},
		{"hardware marks dirty", LPAES2{HA: true, HD: true}, Read | Write, 0, 1<<51 | 0x43},
		{"write only, clean", LPAES2{HA: true, HD: true}, Write, 0, 1<<51 | 0x03},
		{"dirty from the start", LPAES2{HA: true, HD: true, Preset: true}, Read | Write, 0, 1<<51 | 0x4c3},
		{"nothing to be marked", LPAES2{HA: true, HD: true}, Read, 0, 0x43},
		{"no execution", LPAES2{Exec: true}, Read | Write, 0, 1<<54 | 0x4c3},
		{"execution", LPAES2{Exec: true}, Read | Exec, 0, 0x443},
	} {
		a := newArena(1)
		tab, err := New(c.f, a, a, Config{Levels: 3, VABits: 40, Attr: c.attr})
		require.NoError(t, err)
		_, err = tab.Map(1<<39, 0, 0x1000, c.perm, nil)
		require.NoError(t, err)
		require.Equal(t, c.leaf, a.Load64(observedSlot(tab, 1<<39)), c.name)
		requireNoLeak(t, a, tab)
	}
}

// TestLPAES2_ConcatenatedRoots: up to 16 tables in a row, indexed by one wide index and aligned as a whole.
func TestLPAES2_ConcatenatedRoots(t *testing.T) {
	for _, c := range []struct {
		name    string
		f       LPAES2
		levels  uint8
		vaBits  uint8
		rootLg2 uint8
		top     uint // log2 of what a slot of the root spans
	}{
		{"4K, 40 bits: 2 tables", LPAES2{}, 3, 40, 13, 30},
		{"4K, 42 bits: 8 tables", LPAES2{}, 3, 42, 15, 30},
		{"4K, 43 bits: 16 tables", LPAES2{}, 3, 43, 16, 30},
		{"4K, 34 bits: 16 tables of lookup level 2", LPAES2{}, 2, 34, 16, 21},
		{"16K, 48 bits: 2 tables", LPAES2{Granule: 14}, 3, 48, 15, 36},
		{"16K, 40 bits: 16 tables", LPAES2{Granule: 14}, 2, 40, 18, 25},
		{"64K, 44 bits: 4 tables", LPAES2{Granule: 16}, 2, 44, 18, 29},
		{"4K, 52 bits, in 16 tables", LPAES2{LPA: true}, 4, 52, 16, 39},
		{"4K, 39 bits: one", LPAES2{}, 3, 39, 12, 30},
		{"4K, 33 bits: 8 entries", LPAES2{}, 3, 33, 12, 30},
	} {
		a := newArena(2)
		cfg := Config{Levels: c.levels, VABits: c.vaBits}
		tab, err := New(c.f, a, a, cfg)
		require.NoError(t, err, c.name)
		require.Equal(t, c.rootLg2, a.live[tab.root], c.name)
		require.Equal(t, emu.IOVA(1)<<c.vaBits-1, tab.Info().Last)
		gr := emu.IOVA(1) << max(c.f.Granule, 12)
		last := tab.Info().Last - gr + 1
		_, err = tab.Map(last, 0, uint64(gr), Read, nil)
		require.NoError(t, err)
		require.NotZero(t, a.Load64(tab.root+emu.PA(last>>c.top*8)), c.name)
		_, err = tab.Map(last+gr, 0, uint64(gr), Read, nil)
		require.ErrorIs(t, err, ErrRange)
		if align := emu.PA(8) << (uint(c.vaBits) - c.top); align > 64 {
			_, err = Open(c.f, a, nil, align/2, cfg)
			require.ErrorIs(t, err, ErrGeometry, c.name)
		}
		requireNoLeak(t, a, tab)
	}
}

// TestLPAES2_SignificantBits tells which bits of an entry count in an exact comparison.
func TestLPAES2_SignificantBits(t *testing.T) {
	differ := func(f LPAES2, raw uint64, level uint8) (bits []int) {
		for b := range 64 {
			if f.Significant(raw, level) != f.Significant(raw^uint64(1)<<b, level) {
				bits = append(bits, b)
			}
		}
		return bits
	}
	span := func(first, last int) (bits []int) {
		for b := first; b <= last; b++ {
			bits = append(bits, b)
		}
		return bits
	}
	join := func(lists ...[]int) (bits []int) {
		for _, l := range lists {
			bits = append(bits, l...)
		}
		return bits
	}
	for _, c := range []struct {
		name  string
		f     LPAES2
		raw   uint64
		level uint8
		want  []int
	}{
		{"page", LPAES2{}, 0x4c3, 0, join(span(0, 9), span(12, 47), span(52, 54))},
		{"FWB", LPAES2{FWB: true}, 0x4c3, 0, join(span(0, 4), span(6, 9), span(12, 47), span(52, 54))},
		{"with DBM S2AP[1] is dirt", LPAES2{HA: true, HD: true}, 1<<51 | 0x443, 0, join(span(0, 6), []int{8, 9}, span(12, 47), span(51, 54))},
		{"64K with 52 bits", LPAES2{Granule: 16, LPA: true}, 0x4c3, 0, join(span(0, 9), span(12, 47), span(52, 54))},
		{"4K with DS", LPAES2{LPA: true}, 0x4c3, 0, join(span(0, 9), span(12, 49), span(52, 54))},
		{"link", LPAES2{}, 3, 2, []int{0}},
	} {
		got := differ(c.f, c.raw, c.level)
		if c.name == "link" {
			got = got[:1] // without bit 1 it is a block
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// TestContiguous_EachSlotHasItsOwnAddress: a run whose addresses do not belong together is no leaf for
// whoever reads it as a whole, and translates slot by slot as the entries say.
func TestContiguous_EachSlotHasItsOwnAddress(t *testing.T) {
	build := func() (*arena, *Table, emu.PA) {
		a := newArena(1)
		tab, err := New(LPAES2{}, a, a, Config{Levels: 3})
		require.NoError(t, err)
		_, err = tab.Map(0x10000, 0x30000, 0x10000, Read, nil)
		require.NoError(t, err)
		slot := observedSlot(tab, 0x10000)
		for i := range emu.PA(16) {
			require.Equal(t, 1<<52|0x30443|uint64(i)<<12, a.Load64(slot+i*8))
		}
		return a, tab, slot
	}
	for name, spoil := range map[string]func(a *arena, slot emu.PA){
		"one slot leads elsewhere": func(a *arena, slot emu.PA) { a.Store64(slot+5*8, 1<<52|0x77443) },
		"all lead to the same":     func(a *arena, slot emu.PA) { a.Store64(slot+5*8, 1<<52|0x30443) },
		"without the hint":         func(a *arena, slot emu.PA) { a.Store64(slot+5*8, 0x35443) },
		"another permission":       func(a *arena, slot emu.PA) { a.Store64(slot+5*8, 1<<52|0x354c3) },
		"nothing":                  func(a *arena, slot emu.PA) { a.Store64(slot+5*8, 0) },
		"in order, but not aligned": func(a *arena, slot emu.PA) {
			for i := range emu.PA(16) {
				a.Store64(slot+i*8, 1<<52|0x31443|uint64(i)<<12)
			}
		},
	} {
		a, tab, slot := build()
		_, ref, _ := build()
		spoil(a, slot)
		require.ErrorIs(t, tab.Check(), ErrCorrupt, name)
		raw := a.Load64(slot + 5*8)
		tr, found := tab.Lookup(0x15123)
		require.Equal(t, raw&1 != 0, found, name)
		if found {
			require.Equal(t, emu.PA(raw&0xffff_ffff_f000+0x123), tr.PA, name)
		}
		for l := range tab.Leaves(0x15000, 0x15fff) {
			require.Equal(t, Translation{PA: l.PA + 0x123, Lg2: l.Lg2, Perm: l.Perm}, tr, name)
		}
		c, err := Compare(ref, tab, CompareOptions{})
		require.NoError(t, err)
		if name == "without the hint" {
			require.True(t, c.Equal, "%s: %v", name, c.Runs)
		} else {
			require.False(t, c.Equal, name)
			if name != "in order, but not aligned" {
				require.Equal(t, []Range{{0x15000, 0x15fff}}, []Range{{c.Runs[0].First, c.Runs[0].Last}}, name)
			}
		}
		_, err = tab.Unmap(0x10000, 0x10000, nil)
		require.ErrorIs(t, err, ErrCorrupt, name)
		require.ErrorIs(t, tab.Cut(0x14000, nil), ErrCorrupt, name)
	}

	// Cut in order, each piece keeps the addresses.
	a, tab, _ := build()
	_, ref, _ := build()
	require.NoError(t, tab.Cut(0x14000, nil))
	require.Len(t, observed(tab, 0, ^emu.IOVA(0)), 16)
	c, err := Compare(ref, tab, CompareOptions{})
	require.NoError(t, err)
	require.True(t, c.Equal, c.Runs)
	requireNoLeak(t, a, tab)
}
