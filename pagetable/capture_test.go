package pagetable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"maps"
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

// captured opens the second-stage table of each source-id, from the legacy root table.
func captured(t *testing.T, mem *coreMemory) map[string]*Table {
	const rootTable = 0x3930000
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
			tab, err := Open(VTDSS{HAW: 39}, mem, nil, emu.PA(lo&^4095), Config{Levels: uint8(hi&7) + 2})
			require.NoError(t, err)
			out[fmt.Sprintf("0x%04x", bus<<8|fn)] = tab
		}
	}
	return out
}

func number(t *testing.T, s string) uint64 {
	v, err := strconv.ParseUint(s, 0, 64)
	require.NoError(t, err)
	return v
}

// expected reads the independent walker's list of leaves.
func expected(t *testing.T) map[string][]Mapping {
	rows, err := csv.NewReader(bytes.NewReader(unzstd(t, "testdata/vtd-legacy-mapped.csv.zst"))).ReadAll()
	require.NoError(t, err)
	out := map[string][]Mapping{}
	for _, r := range rows[1:] {
		perm := map[string]Perm{"R": Read, "W": Write, "RW": Read | Write}[r[5]]
		require.NotZero(t, perm)
		size := number(t, r[3])
		m := Mapping{
			IOVA: emu.IOVA(number(t, r[2])), PA: emu.PA(number(t, r[4])), Perm: perm,
			Level: uint8(number(t, r[6])) - 1, Raw: number(t, r[7]),
		}
		for m.Lg2 = 0; size>>m.Lg2 != 1; m.Lg2++ {
		}
		out[r[0]] = append(out[r[0]], m)
	}
	for _, l := range out {
		slices.SortFunc(l, func(a, b Mapping) int { return int(int64(a.IOVA - b.IOVA)) })
	}
	return out
}

func TestCapture_LeavesAreThoseOfAnIndependentWalker(t *testing.T) {
	tables := captured(t, loadCore(t, "testdata/vtd-legacy-core.elf.zst"))
	want := expected(t)
	require.GreaterOrEqual(t, len(tables), len(want))
	total, large := 0, 0
	for sid, tab := range tables {
		require.NoError(t, tab.Check())
		var got []Mapping
		for l := range tab.Leaves(0, ^emu.IOVA(0)) {
			tr, ok := tab.Lookup(l.IOVA + 0x7f8)
			require.True(t, ok)
			require.Equal(t, Translation{l.PA + 0x7f8, l.Lg2, l.Perm, l.Attr}, tr)
			require.Equal(t, l.Raw, VTDSS{}.Encode(Entry{Kind: Leaf, OA: l.PA, Lg2: l.Lg2, State: State{Perm: l.Perm}}, l.Level))
			if l.Lg2 == 21 {
				large++
			}
			l.Slot = 0
			got = append(got, l)
		}
		requireSame(t, want[sid], got, sid)
		total += len(got)
	}
	require.Equal(t, 2748, total)
	require.NotZero(t, large)
}

// TestCapture_RebuiltTreeIsEqual maps the captured translations with our own Map.
func TestCapture_RebuiltTreeIsEqual(t *testing.T) {
	tables := captured(t, loadCore(t, "testdata/vtd-legacy-core.elf.zst"))
	leaves := expected(t)
	strict, merged := 0, 0
	for _, sid := range slices.Sorted(maps.Keys(tables)) {
		old := tables[sid]
		a := newArena(4)
		_, levels := old.Root()
		ours, err := New(VTDSS{HAW: 39}, a, a, Config{Levels: levels})
		require.NoError(t, err)
		for _, l := range leaves[sid] {
			done, err := ours.Map(l.IOVA, l.PA, 1<<l.Lg2, l.Perm, nil)
			require.NoError(t, err)
			require.Equal(t, uint64(1)<<l.Lg2, done)
		}
		for _, o := range []CompareOptions{{}, {Subset: true}, {Strict: true}, {Exact: true}} {
			c, err := Compare(old, ours, o)
			require.NoError(t, err)
			require.True(t, c.Equal, "%s: %v", sid, c.Runs)
			require.Equal(t, uint64(len(leaves[sid])), c.LeavesA)
			require.Equal(t, c.LeavesA, c.LeavesB)
		}
		strict++

		// One call per maximal run instead of one per leaf: the same translations, though
		// perhaps in larger pages.
		a = newArena(4)
		ours, err = New(VTDSS{HAW: 39}, a, a, Config{Levels: 5})
		require.NoError(t, err)
		mapRuns(t, ours, leaves[sid])
		c, err := Compare(old, ours, CompareOptions{})
		require.NoError(t, err)
		require.True(t, c.Equal, "%s: %v", sid, c.Runs)
		if len(leaves[sid]) > 0 {
			c, err = Compare(old, ours, CompareOptions{Exact: true})
			require.NoError(t, err)
			require.False(t, c.Equal, "five levels are not four")
		}

		if len(leaves[sid]) == 0 {
			continue
		}
		merged++
		first := leaves[sid][0]
		_, err = ours.Unmap(first.IOVA, 1, nil)
		require.NoError(t, err)
		c, err = Compare(old, ours, CompareOptions{})
		require.NoError(t, err)
		require.Equal(t, first.IOVA, c.Runs[0].First)
		require.Equal(t, OnlyA, c.Runs[0].Kind)
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
