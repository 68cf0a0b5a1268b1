package pagetable

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// TestVTDSS_Decode checks entries against the layout of the specification.
func TestVTDSS_Decode(t *testing.T) {
	all := VTDSS{Exec: true, Snoop: true, Dirty: true}
	for _, c := range []struct {
		name  string
		f     VTDSS
		raw   uint64
		level uint8
		want  Entry
	}{
		{"no permission is empty, whatever else is set", VTDSS{}, ^uint64(3), 1, Entry{}},
		{"execute alone counts with SSEE", all, 4, 0, Entry{Kind: Leaf, Lg2: 12, State: State{Perm: Exec}}},
		{"execute alone is empty without", VTDSS{}, 4, 0, Entry{}},
		{"page", VTDSS{}, 0x4c87001, 0, Entry{Kind: Leaf, OA: 0x4c87000, Lg2: 12, State: State{Perm: Read}}},
		{"PS is ignored in a PTE", VTDSS{}, 0x4c87082, 0, Entry{Kind: Leaf, OA: 0x4c87000, Lg2: 12, State: State{Perm: Write}}},
		{"2 MiB", VTDSS{}, 0xbc00081, 1, Entry{Kind: Leaf, OA: 0xbc00000, Lg2: 21, State: State{Perm: Read}}},
		{"1 GiB", VTDSS{}, 0x40000083, 2, Entry{Kind: Leaf, OA: 0x40000000, Lg2: 30, State: State{Perm: Read | Write}}},
		{"link", VTDSS{}, 0x3f60003, 3, Entry{Kind: SubTable, OA: 0x3f60000, State: State{Perm: Read | Write}}},
		{"PS is reserved in a PML4E", VTDSS{}, 0x40000083, 3, Entry{Kind: Malformed}},
		{"low bits of a 2 MiB page", VTDSS{}, 0xbc01081, 1, Entry{Kind: Malformed}},
		{"2 MiB not supported", VTDSS{Without: 1 << 21}, 0xbc00081, 1, Entry{Kind: Malformed}},
		{"above the host address width", VTDSS{HAW: 39}, 1<<39 | 3, 0, Entry{Kind: Malformed}},
		{"bit 62", VTDSS{}, 1<<62 | 3, 0, Entry{Kind: Malformed}},
		{"ignored bits", VTDSS{}, 1<<63 | 0x3ff<<52 | 1<<10 | 3, 0, Entry{Kind: Leaf, Lg2: 12, State: State{Perm: Read | Write}}},
		{"SNP without snoop control", VTDSS{}, 1<<11 | 3, 0, Entry{Kind: Malformed}},
		{"SNP in a link", all, 1<<11 | 3, 1, Entry{Kind: Malformed}},
		{"SNP", all, 1<<11 | 1, 0, Entry{Kind: Leaf, Lg2: 12, State: State{Perm: Read, Attr: VTDSSSnoop}}},
		{"accessed and dirty", all, 3<<8 | 1, 0, Entry{Kind: Leaf, Lg2: 12, State: State{Perm: Read, Accessed: true, Dirty: true}}},
		{"accessed and dirty are ignored without SSADE", VTDSS{}, 3<<8 | 1, 0, Entry{Kind: Leaf, Lg2: 12, State: State{Perm: Read}}},
		{"a link has no dirty bit", all, 3<<8 | 1, 2, Entry{Kind: SubTable, State: State{Perm: Read, Accessed: true}}},
		{"memory type", VTDSS{}, 0x7b, 0, Entry{Kind: Leaf, Lg2: 12, State: State{Perm: Read | Write, Attr: VTDSSMemType | VTDSSIgnPAT}}},
	} {
		got := c.f.Decode(c.raw, c.level)
		if c.want.Kind == Malformed || c.want.Kind == Empty {
			got = Entry{Kind: got.Kind}
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// TestEncode_RoundTrip encodes every size at every level, with random addresses.
func TestEncode_RoundTrip(t *testing.T) {
	forAll(t, func(t *testing.T, v variant) {
		g := v.format.Geometry()
		r := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			e := Entry{Kind: Leaf, State: State{Perm: g.Perms, Attr: Attr(r.Uint32()) & g.Attrs, Accessed: r.IntN(2) == 0, Dirty: r.IntN(2) == 0}}
			for sizes := g.PageSizes; sizes != 0; sizes &= sizes - 1 {
				e.Lg2 = uint8(bits.TrailingZeros64(sizes))
				e.OA = emu.PA(r.Uint64()>>(64-g.OABits)) &^ (1<<e.Lg2 - 1)
				level := g.levelOf(e.Lg2)
				raw := v.format.Encode(e, level)
				require.Equal(t, e, v.format.Decode(raw, level))
				require.Equal(t, !e.Dirty, v.format.Decode(v.format.SetDirty(raw, level, !e.Dirty), level).Dirty)
				clean := e
				clean.Accessed, clean.Dirty = false, false
				require.Equal(t, v.format.Significant(v.format.Encode(clean, level), level), v.format.Significant(raw, level))
			}
			for level := uint8(1); level < g.MaxLevels; level++ {
				link := Entry{Kind: SubTable, OA: emu.PA(r.Uint64()>>(64-g.OABits)) &^ (1<<g.tableLg2() - 1), State: State{Perm: g.Perms}}
				link.OA &^= 1<<g.Granule - 1
				raw := v.format.Encode(link, level)
				require.Equal(t, link, v.format.Decode(raw, level))
				require.Equal(t, link, v.format.Decode(raw|g.Pending, level))
				require.Equal(t, v.format.Significant(raw, level), v.format.Significant(raw|g.Pending, level))
			}
		}
		require.Equal(t, Empty, v.format.Decode(0, 0).Kind, "zeroed pages are empty")
	})
}

// FuzzDecode puts garbage into one table and runs every reader over it: no panic, no endless loop.
func FuzzDecode(f *testing.F) {
	f.Add(uint64(0x4c87001), uint64(0), uint64(3), uint8(0), uint64(0x1000))
	f.Add(^uint64(0), uint64(1<<62|3), uint64(0x83), uint8(1), uint64(0))
	f.Add(uint64(0x60000000000001df), uint64(0x600000000000781f), uint64(5), uint8(2), uint64(1<<27))
	f.Add(uint64(0x4c87067), uint64(0xbc010e7), uint64(0x7ff0000040001f9f), uint8(1), uint64(0xffff_8000_0000_0000))
	f.Add(uint64(0x8000000000000025), uint64(0x3f60003), uint64(0x1001), uint8(4), uint64(1<<47-0x3000))
	f.Add(uint64(0x70000000_0009_7e01), uint64(0x6000000003f60201), uint64(0x600bffff_ffff_fe01), uint8(2), uint64(1<<39))
	a := newArena(1) // one for all inputs: a new one for each would keep the garbage collector busy
	f.Fuzz(func(t *testing.T, x, y, z uint64, level uint8, iova uint64) {
		for _, v := range variants {
			g := v.format.Geometry()
			for _, raw := range []uint64{x, y, z} {
				for l := range uint8(16) {
					e := v.format.Decode(raw, l)
					v.format.Significant(raw, l)
					v.format.SetDirty(raw, l, true)
					aligned := e.Lg2
					if !g.Replicated {
						aligned = g.shift(l)
					}
					if e.Kind == Leaf && (e.Lg2 < g.shift(l) || e.Lg2 >= g.shift(l+1) || uint64(e.OA)>>g.OABits != 0 ||
						uint64(e.OA)&(1<<aligned-1) != 0) {
						t.Fatalf("%s: %#x at level %d: impossible leaf %+v", v.name, raw, l, e)
					}
				}
			}
			a.reset()
			garbage(t, v, a, []uint64{x, y, z}, level, emu.IOVA(iova))
		}
	})
}

// garbage overwrites entries of a small tree and reads it. Links are kept within the memory.
func garbage(t *testing.T, v variant, a *arena, raws []uint64, level uint8, iova emu.IOVA) {
	tab := v.table(t, a)
	if _, err := tab.Map(v.windows[0], 0, 3*v.granule(), Read, nil); err != nil {
		t.Fatal(err)
	}
	ref := v.table(t, a)
	for p := range tab.TablePages() {
		if p.Level != level%(tab.top+1) {
			continue
		}
		for i, raw := range raws {
			if v.format.Decode(raw, p.Level).Kind != SubTable {
				slot := p.PA + emu.PA((uint64(iova)>>12+uint64(i)*3)%tab.entries(p.Level)*8)
				a.Store64(slot, raw)
			}
		}
		break
	}
	check := tab.Check()
	tab.Lookup(iova)
	for range tab.Leaves(0, ^emu.IOVA(0)) {
	}
	if _, err := Compare(tab, ref, CompareOptions{Strict: true}); err != nil {
		t.Fatal(err)
	}
	_ = tab.SetDirty(iova)
	_ = tab.ReadAndClearDirty(0, ^emu.IOVA(0), 0, nil, func(_, _ emu.IOVA) {})
	_ = tab.Cut(iova&^(1<<v.format.Geometry().Granule-1), nil)
	_, _ = tab.Map(iova&^0xfff, 0, 1<<22, Read, nil)
	_, _ = tab.Unmap(iova&^0xfff, 1<<22, nil)
	if check == nil {
		if err := tab.Check(); err != nil {
			t.Fatalf("%s: a sound tree was spoilt: %v", v.name, err)
		}
	}
}
