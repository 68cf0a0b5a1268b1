package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// hinted is a format whose leaves of 16 slots hold an address of their own in each slot, with a hint
// that the neighbours belong together.
type hinted struct{ VTDSS }

const hintBit = 1 << 55

func (f hinted) Geometry() Geometry {
	g := f.VTDSS.Geometry()
	g.Name, g.PageSizes = "hinted", g.PageSizes|1<<16|1<<25
	return g
}

func (f hinted) Decode(raw uint64, level uint8) Entry {
	e := f.VTDSS.Decode(raw, level)
	if e.Kind == Leaf && raw&hintBit != 0 {
		if level > 1 {
			return Entry{Kind: Malformed}
		}
		e.Lg2 += 4
	}
	return e
}

func (f hinted) Encode(e Entry, level uint8) uint64 {
	raw := f.VTDSS.Encode(e, level)
	if e.Kind == Leaf && e.Lg2 != 12+9*level {
		raw |= hintBit
	}
	return raw
}

func (f hinted) Significant(raw uint64, level uint8) uint64 {
	return f.VTDSS.Significant(raw, level) | raw&hintBit
}

// concatenated is a format whose root may be up to 16 tables in a row.
type concatenated struct{ VTDSS }

func (f concatenated) Geometry() Geometry {
	g := f.VTDSS.Geometry()
	g.Name, g.Concat = "concatenated", 4
	return g
}

// variant is one format in one configuration. The suite runs for all of them.
type variant struct {
	name   string
	format Format
	cfg    Config
	// windows are where the random tests map: each 8 MiB from here on, edges included.
	windows []emu.IOVA
}

const windowSize = 8 << 20

var variants = []variant{
	{"vtdss-3", VTDSS{Dirty: true}, Config{Levels: 3}, []emu.IOVA{0, 1<<30 - 4<<20, 1<<39 - windowSize}},
	{"vtdss-4-full", VTDSS{Dirty: true, Exec: true, Snoop: true}, Config{Levels: 4, Attr: VTDSSSnoop},
		[]emu.IOVA{0, 1<<39 - 4<<20, 1<<48 - windowSize}},
	{"vtdss-5-incoherent", VTDSS{Dirty: true}, Config{Levels: 5, Incoherent: true},
		[]emu.IOVA{1<<48 - 4<<20, 1<<57 - windowSize}},
	{"vtdss-4k", VTDSS{Dirty: true, HAW: 46, Without: 1<<21 | 1<<30}, Config{Levels: 4}, []emu.IOVA{1<<47 - 4<<20}},
	{"concatenated", concatenated{VTDSS{Dirty: true}}, Config{Levels: 3, VABits: 42}, []emu.IOVA{0, 1<<39 - 4<<20, 1<<42 - windowSize}},
	{"narrow", VTDSS{Dirty: true}, Config{Levels: 4, VABits: 45}, []emu.IOVA{0, 1<<45 - windowSize}},
	{"one root entry", VTDSS{Dirty: true}, Config{Levels: 4, VABits: 39}, []emu.IOVA{0, 1<<39 - windowSize}},
	{"signed", VTDSS{Dirty: true}, Config{Levels: 4, SignExtend: true},
		[]emu.IOVA{0, 1<<47 - windowSize, 0xffff_8000_0000_0000, ^emu.IOVA(windowSize) + 1}},
	{"hinted", hinted{VTDSS{Dirty: true}}, Config{Levels: 4}, []emu.IOVA{0, 1<<30 - 4<<20}},
	{"x86-4", X86{Dirty: true}, Config{Levels: 4}, []emu.IOVA{0, 1<<39 - 4<<20, 1<<47 - windowSize}},
	{"x86-4-signed", X86{Dirty: true, NXE: true}, Config{Levels: 4, SignExtend: true, Attr: X86CacheDisable},
		[]emu.IOVA{0, 1<<47 - windowSize, 0xffff_8000_0000_0000, ^emu.IOVA(windowSize) + 1}},
	{"x86-4-4k", X86{Dirty: true, HAW: 46, Without: 1<<21 | 1<<30, Supervisor: true},
		Config{Levels: 4, VABits: 46, Attr: X86Supervisor | X86PAT}, []emu.IOVA{1<<46 - windowSize}},
	{"x86-4-unsigned", X86{Dirty: true, NXE: true, Supervisor: true, Unsigned: true},
		Config{Levels: 4, Attr: X86WriteThrough | X86PAT}, []emu.IOVA{1<<30 - 4<<20, 1<<47 - 4<<20, 1<<48 - windowSize}},
	{"x86-5-preset", X86{Dirty: true, Preset: true}, Config{Levels: 5, Incoherent: true},
		[]emu.IOVA{0, 1<<48 - 4<<20, 1<<56 - windowSize}},
	{"x86-5-signed", X86{Dirty: true, Preset: true, NXE: true, Without: 1 << 30}, Config{Levels: 5, SignExtend: true},
		[]emu.IOVA{1<<56 - windowSize, 0xff00_0000_0000_0000, ^emu.IOVA(windowSize) + 1}},
	{"amdv1", AMDv1{Dirty: true}, Config{Levels: 2},
		[]emu.IOVA{0, 1<<30 - 4<<20, 1<<48 - 4<<20, ^emu.IOVA(windowSize) + 1}},
	{"amdv1-4-incoherent", AMDv1{Dirty: true, Use512G: true, MaxLevels: 4},
		Config{Levels: 3, Incoherent: true, Attr: AMDv1ForceCoherent}, []emu.IOVA{0, 1<<39 - 4<<20, 1<<48 - windowSize}},
	{"amdv1-6", AMDv1{Dirty: true}, Config{Levels: 6, Attr: AMDv1Untranslated}, []emu.IOVA{1<<57 - 4<<20}},
	{"lpaes1-4k", LPAES1{HA: true, HD: true}, Config{Levels: 4, Attr: LPAES1NonGlobal | 1<<0 | 3<<3},
		[]emu.IOVA{0, 1<<39 - 4<<20, 1<<48 - windowSize}},
	{"lpaes1-4k-upper", LPAES1{HA: true, HD: true, Preset: true, Exec: true},
		Config{Levels: 3, VABits: 36, Upper: true, TBI: true, Incoherent: true}, []emu.IOVA{0xffff_fff0_0000_0000, ^emu.IOVA(windowSize) + 1}},
	{"lpaes1-4k-52", LPAES1{HA: true, HD: true, LPA: true, Privileged: true},
		Config{Levels: 5, Attr: LPAES1Privileged | 7<<0}, []emu.IOVA{1<<48 - 4<<20, 1<<52 - windowSize}},
	{"lpaes1-16k", LPAES1{Granule: 14, HA: true, HD: true, OAS: 40}, Config{Levels: 4}, []emu.IOVA{0, 1<<47 - 4<<20, 1<<48 - windowSize}},
	{"lpaes1-64k-upper-52", LPAES1{Granule: 16, LPA: true, HA: true, HD: true, HAD: true}, Config{Levels: 3, Upper: true},
		[]emu.IOVA{0xfff0_0000_0000_0000, 0xffff_0000_0000_0000 - 4<<20, ^emu.IOVA(windowSize) + 1}},
	{"lpaes2-4k-concat", LPAES2{HA: true, HD: true}, Config{Levels: 3, VABits: 43, Attr: LPAES2WriteBack},
		[]emu.IOVA{0, 1<<39 - 4<<20, 1<<43 - windowSize}},
	{"lpaes2-4k-52", LPAES2{HA: true, HD: true, LPA: true, Exec: true, Preset: true}, Config{Levels: 4, VABits: 50, Incoherent: true},
		[]emu.IOVA{1<<48 - 4<<20}},
	{"lpaes2-16k-concat", LPAES2{Granule: 14, HA: true, HD: true, FWB: true},
		Config{Levels: 3, VABits: 48, Attr: LPAES2ForceWriteBack | 3<<4}, []emu.IOVA{0, 1<<47 - 4<<20}},
	{"lpaes2-64k", LPAES2{Granule: 16, HA: true, HD: true}, Config{Levels: 2, VABits: 43}, []emu.IOVA{1<<42 - 4<<20, 1<<43 - windowSize}},
	{"mock", Mock{}, Config{}, []emu.IOVA{0, 1<<27 - 4<<20, 1<<35 - 4<<20, 1<<59 - 4<<20, ^emu.IOVA(windowSize) + 1}},
	{"mock-incoherent", Mock{}, Config{Incoherent: true, Attr: 5}, []emu.IOVA{0, 1<<27 - 4<<20}},
	{"mock-fixed-7", Mock{Fixed: 7}, Config{}, []emu.IOVA{0, 1<<63 - 4<<20, ^emu.IOVA(windowSize) + 1}},
}

// forAll runs a test for each variant.
func forAll(t *testing.T, test func(t *testing.T, v variant)) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) { test(t, v) })
	}
}

func (v variant) table(t require.TestingT, a *arena) *Table {
	tab, err := New(v.format, a, a, v.cfg)
	require.NoError(t, err)
	return tab
}

// base is the lowest address of the variant's tables.
func (v variant) base() emu.IOVA {
	if v.cfg.Upper {
		return v.windows[0]
	}
	return 0
}

// granule is the smallest page of the variant.
func (v variant) granule() uint64 { return 1 << v.format.Geometry().Granule }

// half is the size of the lower half of a sign-extended table.
func half(tab *Table) emu.IOVA { return 1 << (tab.vaBits - 1) }

// requireNoLeak checks that the live pages are those of the tree, and none are left after Destroy.
func requireNoLeak(t require.TestingT, a *arena, tab *Table) {
	want := map[emu.PA]uint8{}
	for p := range tab.TablePages() {
		_, twice := want[p.PA]
		require.False(t, twice, "page %#x linked twice", p.PA)
		want[p.PA] = p.Lg2
	}
	require.Equal(t, want, a.livePages())
	require.NoError(t, tab.Check())
	tab.Destroy()
	require.Empty(t, a.live)
}
