package pagetable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// coreMemory is the read-only memory of an ELF core. Reads outside of it fail the test.
type coreMemory struct {
	t     *testing.T
	pages map[emu.PA][]byte
}

func (c *coreMemory) Load64(pa emu.PA) uint64 {
	p := c.pages[pa&^4095]
	require.NotNil(c.t, p, "read of %#x, which is not in the capture", uint64(pa))
	return binary.LittleEndian.Uint64(p[pa&4095:])
}
func (c *coreMemory) Store64(emu.PA, uint64) { c.t.Fatal("store to a capture") }
func (c *coreMemory) CAS64(emu.PA, uint64, uint64) bool {
	c.t.Fatal("store to a capture")
	return false
}
func (c *coreMemory) Flush(emu.PA, int) {}

func unzstd(t *testing.T, name string) []byte {
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	out, err := d.DecodeAll(raw, nil)
	require.NoError(t, err)
	return out
}

func loadCore(t *testing.T, name string) *coreMemory {
	f, err := elf.NewFile(bytes.NewReader(unzstd(t, name)))
	require.NoError(t, err)
	c := &coreMemory{t: t, pages: map[emu.PA][]byte{}}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		data := make([]byte, p.Filesz)
		_, err := p.ReadAt(data, 0)
		require.NoError(t, err)
		for off := 0; off+4096 <= len(data); off += 4096 {
			c.pages[emu.PA(p.Paddr)+emu.PA(off)] = data[off : off+4096]
		}
	}
	return c
}

// capture is tables that a real driver wrote.
type capture struct {
	name   string
	format Format
	attr   Attr // of all leaves
	// open finds the tables of each source-id as the unit does, from its registers.
	open func(t *testing.T, c *capture, mem *coreMemory) map[string]*Table
	// level turns the walker's numbering of levels into ours.
	level  func(n uint8) uint8
	taller uint8         // a number of levels that the same mappings may have as well
	leaves map[uint8]int // how many there are of each size
}

var captures = []capture{
	{
		name: "vtd-legacy", format: VTDSS{HAW: 39}, open: openVTD, level: fromOne, taller: 5,
		leaves: map[uint8]int{12: 2723, 21: 25},
	},
	{
		name: "amdvi-v1", format: AMDv1{}, attr: AMDv1ForceCoherent, open: openAMD, level: fromOne, taller: 5,
		leaves: map[uint8]int{12: 1888, 13: 172, 14: 1, 16: 1, 17: 5, 21: 1},
	},
}

func fromOne(n uint8) uint8 { return n - 1 }

func (c *capture) load(t *testing.T) map[string]*Table {
	return c.open(t, c, loadCore(t, "testdata/"+c.name+"-core.elf.zst"))
}

func (c *capture) table(t *testing.T, mem *coreMemory, root emu.PA, cfg Config) *Table {
	tab, err := Open(c.format, mem, nil, root, cfg)
	require.NoError(t, err)
	return tab
}

func sidName(sid int) string { return fmt.Sprintf("0x%04x", sid) }

// openVTD reads the legacy root and context tables.
func openVTD(t *testing.T, c *capture, mem *coreMemory) map[string]*Table {
	const rootTable = 0x3930000 // RTADDR
	out := map[string]*Table{}
	for bus := range 256 {
		lo := mem.Load64(rootTable + emu.PA(bus*16))
		if lo&1 == 0 {
			continue
		}
		for fn := range 256 {
			ctx := emu.PA(lo&^4095) + emu.PA(fn*16)
			lo, hi := mem.Load64(ctx), mem.Load64(ctx+8)
			if lo&1 == 0 {
				continue
			}
			require.Zero(t, lo>>2&3, "translation type")
			out[sidName(bus<<8|fn)] = c.table(t, mem, emu.PA(lo&^4095), Config{Levels: uint8(hi&7) + 2})
		}
	}
	return out
}

// openAMD reads the device table. Entries without V=1, TV=1 and a Mode have no host tables.
func openAMD(t *testing.T, c *capture, mem *coreMemory) map[string]*Table {
	const deviceTable, size = 0x26a0000, 0x10000 // register 0: 26a000fh
	out := map[string]*Table{}
	for sid := range size / 32 {
		lo := mem.Load64(deviceTable + emu.PA(sid*32))
		if lo&3 != 3 || lo>>9&7 == 0 {
			continue
		}
		require.EqualValues(t, 3, lo>>61&3, "IR, IW")
		require.Zero(t, lo>>7&3, "HAD")
		out[sidName(sid)] = c.table(t, mem, emu.PA(lo&0xf_ffff_ffff_f000), Config{Levels: uint8(lo >> 9 & 7)})
	}
	return out
}

// forCaptures runs a test for each capture.
func forCaptures(t *testing.T, test func(t *testing.T, c *capture)) {
	for i := range captures {
		t.Run(captures[i].name, func(t *testing.T) { test(t, &captures[i]) })
	}
}

func number(t *testing.T, s string) uint64 {
	v, err := strconv.ParseUint(s, 0, 64)
	require.NoError(t, err)
	return v
}

// expected reads the independent walker's list of leaves.
func (c *capture) expected(t *testing.T) map[string][]Mapping {
	rows, err := csv.NewReader(bytes.NewReader(unzstd(t, "testdata/"+c.name+"-mapped.csv.zst"))).ReadAll()
	require.NoError(t, err)
	out := map[string][]Mapping{}
	for _, r := range rows[1:] {
		perm := map[string]Perm{"R": Read, "W": Write, "RW": Read | Write}[r[5]]
		require.NotZero(t, perm)
		m := Mapping{
			IOVA: emu.IOVA(number(t, r[2])), PA: emu.PA(number(t, r[4])), Perm: perm, Attr: c.attr,
			Level: c.level(uint8(number(t, r[6]))), Raw: number(t, r[7]),
		}
		m.Lg2 = uint8(bits.TrailingZeros64(number(t, r[3])))
		out[r[0]] = append(out[r[0]], m)
	}
	for _, l := range out {
		slices.SortFunc(l, func(a, b Mapping) int { return int(int64(a.IOVA - b.IOVA)) })
	}
	return out
}

func TestCapture_LeavesAreThoseOfAnIndependentWalker(t *testing.T) {
	forCaptures(t, func(t *testing.T, c *capture) {
		tables, want := c.load(t), c.expected(t)
		require.GreaterOrEqual(t, len(tables), len(want))
		sizes := map[uint8]int{}
		for sid, tab := range tables {
			require.NoError(t, tab.Check())
			var got []Mapping
			for l := range tab.Leaves(0, ^emu.IOVA(0)) {
				tr, ok := tab.Lookup(l.Last() - 7)
				require.True(t, ok)
				require.Equal(t, Translation{l.PA + emu.PA(1)<<l.Lg2 - 8, l.Lg2, l.Perm, l.Attr}, tr)
				e := Entry{Kind: Leaf, OA: l.PA, Lg2: l.Lg2, State: State{Perm: l.Perm, Attr: l.Attr, Accessed: l.Accessed, Dirty: l.Dirty}}
				require.Equal(t, l.Raw, c.format.Encode(e, l.Level))
				sizes[l.Lg2]++
				l.Slot, l.Accessed, l.Dirty = 0, false, false
				got = append(got, l)
			}
			requireSame(t, want[sid], got, sid)
		}
		require.Equal(t, c.leaves, sizes)
	})
}

// TestCapture_RebuiltTreeIsEqual maps the captured translations with our own Map.
func TestCapture_RebuiltTreeIsEqual(t *testing.T) { forCaptures(t, rebuild) }

func rebuild(t *testing.T, c *capture) {
	tables, leaves := c.load(t), c.expected(t)
	strict, merged := 0, 0
	for _, sid := range slices.Sorted(maps.Keys(tables)) {
		old := tables[sid]
		a := newArena(4)
		_, levels := old.Root()
		ours, err := New(c.format, a, a, Config{Levels: levels, Attr: c.attr})
		require.NoError(t, err)
		for _, l := range leaves[sid] {
			done, err := ours.Map(l.IOVA, l.PA, 1<<l.Lg2, l.Perm, nil)
			require.NoError(t, err)
			require.Equal(t, uint64(1)<<l.Lg2, done)
		}
		for _, o := range []CompareOptions{{}, {Subset: true}, {Strict: true}, {Exact: true}} {
			k, err := Compare(old, ours, o)
			require.NoError(t, err)
			require.True(t, k.Equal, "%s: %v", sid, k.Runs)
			require.Equal(t, uint64(len(leaves[sid])), k.LeavesA)
			require.Equal(t, k.LeavesA, k.LeavesB)
		}
		strict++
		if len(leaves[sid]) == 0 {
			continue
		}
		merged++

		// One call per maximal run instead of one per leaf: the same translations, though
		// perhaps in larger pages.
		a = newArena(4)
		ours, err = New(c.format, a, a, Config{Levels: c.taller, Attr: c.attr})
		require.NoError(t, err)
		mapRuns(t, ours, leaves[sid])
		k, err := Compare(old, ours, CompareOptions{})
		require.NoError(t, err)
		require.True(t, k.Equal, "%s: %v", sid, k.Runs)
		k, err = Compare(old, ours, CompareOptions{Exact: true})
		require.NoError(t, err)
		require.False(t, k.Equal, "%d levels are not %d", c.taller, levels)

		first := leaves[sid][0]
		_, err = ours.Unmap(first.IOVA, 1, nil)
		require.NoError(t, err)
		k, err = Compare(old, ours, CompareOptions{})
		require.NoError(t, err)
		require.Equal(t, first.IOVA, k.Runs[0].First)
		require.Equal(t, OnlyA, k.Runs[0].Kind)
	}
	require.NotZero(t, strict)
	require.NotZero(t, merged)
}

func mapRuns(t *testing.T, tab *Table, leaves []Mapping) {
	for i := 0; i < len(leaves); {
		run, size := leaves[i], uint64(1)<<leaves[i].Lg2
		for i++; i < len(leaves); i++ {
			n := leaves[i]
			if n.IOVA != run.IOVA+emu.IOVA(size) || n.PA != run.PA+emu.PA(size) || n.Perm != run.Perm {
				break
			}
			size += 1 << n.Lg2
		}
		_, err := tab.Map(run.IOVA, run.PA, size, run.Perm, nil)
		require.NoError(t, err)
	}
}
