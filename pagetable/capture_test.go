package pagetable

import (
	"bytes"
	"encoding/csv"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// capture is tables that a real driver wrote.
type capture struct {
	name   string
	format Format
	// state is what a leaf has beyond the right to read and write.
	state func(raw uint64) (Attr, Perm)
	// open finds the tables of each source-id as the unit does, from its registers.
	open func(*recording) map[string]*Table
	// level turns the walker's numbering of levels into ours.
	level  func(n uint8) uint8
	other  uint8         // another number of levels that the same mappings may have
	more   uint64        // bits that this driver sets besides in leaves that are not to be executed
	leaves map[uint8]int // how many there are of each size
	dma    int           // accesses that QEMU made of requesters with tables
}

var captures = []capture{
	{
		name: "vtd-legacy", format: VTDSS{HAW: 39}, state: nothing, open: openVTD, level: fromOne, other: 5,
		leaves: map[uint8]int{12: 2723, 21: 25}, dma: 5479,
	},
	{
		name: "amdvi-v1", format: AMDv1{}, state: coherent, open: openAMD, level: fromOne, other: 5,
		leaves: map[uint8]int{12: 1888, 13: 172, 14: 1, 16: 1, 17: 5, 21: 1}, dma: 4572,
	},
	{
		name: "smmuv3-s1", format: LPAES1{OAS: 44, Exec: true}, state: armStage1, open: openSMMU, level: toThree, other: 3,
		leaves: map[uint8]int{12: 2197, 21: 1}, dma: 4415,
	},
	{
		name: "smmuv3-16k", format: LPAES1{Granule: 14, OAS: 44, Exec: true}, state: armStage1, open: openSMMU, level: toThree, other: 3,
		leaves: map[uint8]int{14: 1538, 25: 2}, dma: 2778,
	},
	{
		name: "smmuv3-s2", format: LPAES2{OAS: 44, Exec: true}, state: armStage2, open: openSMMU, level: toThree, other: 3, more: xn0,
		leaves: map[uint8]int{12: 2383, 21: 2}, dma: 4148,
	},
	{
		name: "smmuv3-16k-s2", format: LPAES2{Granule: 14, OAS: 44, Exec: true}, state: armStage2, open: openSMMU, level: toThree, other: 2, more: xn0,
		leaves: map[uint8]int{14: 1562, 25: 3}, dma: 3000,
	},
}

// xn0 is XN[0] of stage 2, which beside XN[1] lets privileged requests execute after all (Arm ARM D8.4.3): ours
// leaves it clear.
const xn0 = 1 << 53

func nothing(uint64) (Attr, Perm)  { return 0, 0 }
func coherent(uint64) (Attr, Perm) { return AMDv1ForceCoherent, 0 }

// armStage1: doorbells of interrupts are a device, and not to be executed.
func armStage1(raw uint64) (a Attr, p Perm) {
	a = Attr(field(raw, 4, 2) | field(raw, 9, 8)<<3 | field(raw, 11, 11)<<5)
	if field(raw, 54, 54) == 0 {
		p = Exec
	}
	return a, p
}

// armStage2: memory type and cacheability are one field; otherwise as in stage 1.
func armStage2(raw uint64) (a Attr, p Perm) {
	a = Attr(field(raw, 5, 2) | field(raw, 9, 8)<<4)
	if field(raw, 54, 53) == 0 {
		p = Exec
	}
	return a, p
}

func fromOne(n uint8) uint8 { return n - 1 }
func toThree(n uint8) uint8 { return 3 - n }

// path is that of a file of the capture: those that package traces has committed.
func (c *capture) path(file string) string { return "../traces/testdata/" + c.name + "/" + file }

func (c *capture) load(t *testing.T) map[string]*Table {
	return c.open(&recording{t: t, format: c.format, mem: loadCore(t, c.path("core.elf.zst")), regs: loadRegs(t, c.path("regs.json"))})
}

// rows reads a table, without the line that names the columns.
func (c *capture) rows(t *testing.T, file string) [][]string {
	rows, err := csv.NewReader(bytes.NewReader(unzstd(t, c.path(file)))).ReadAll()
	require.NoError(t, err)
	return rows[1:]
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

var permNames = map[string]Perm{"R": Read, "W": Write, "RW": Read | Write}

// expected reads the independent walker's list of leaves.
func (c *capture) expected(t *testing.T) map[string][]Mapping {
	out := map[string][]Mapping{}
	for _, r := range c.rows(t, "mapped.csv.zst") {
		perm := permNames[r[5]]
		require.NotZero(t, perm)
		m := Mapping{
			IOVA: emu.IOVA(number(t, r[2])), PA: emu.PA(number(t, r[4])),
			Level: c.level(uint8(number(t, r[6]))), Raw: number(t, r[7]),
		}
		attr, more := c.state(m.Raw)
		m.Attr, m.Perm = attr, perm|more
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
				require.Equal(t, l.Raw&^c.more, c.format.Encode(e, l.Level))
				sizes[l.Lg2]++
				l.Slot, l.Accessed, l.Dirty = 0, false, false
				got = append(got, l)
			}
			requireSame(t, want[sid], got, sid)
		}
		require.Equal(t, c.leaves, sizes)
	})
}

// TestCapture_EachDMAGoesWhereQEMUSentIt: QEMU was given the memory of the capture, and made one access per row.
func TestCapture_EachDMAGoesWhereQEMUSentIt(t *testing.T) {
	forCaptures(t, func(t *testing.T, c *capture) {
		tables, n := c.load(t), 0
		for _, r := range c.rows(t, "oracle.csv.zst") {
			sid, iova, access, expect, pa, perm, size := r[0], r[2], permNames[r[3]], r[4], r[5], r[6], r[7]
			tab := tables[sid]
			if tab == nil {
				continue // one that the unit refuses, or lets pass
			}
			n++
			tr, found := tab.Lookup(emu.IOVA(number(t, iova)))
			ok := found && tr.Perm&access != 0
			require.Equal(t, expect == "ok", ok, r)
			if ok {
				lg2 := uint8(bits.TrailingZeros64(number(t, size)))
				tr.Perm &^= Exec
				require.Equal(t, Translation{emu.PA(number(t, pa)), lg2, permNames[perm], tr.Attr}, tr, r)
			}
		}
		require.Equal(t, c.dma, n)
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
		ours, err := New(c.format, a, a, Config{Levels: levels})
		require.NoError(t, err)
		for _, l := range leaves[sid] {
			done, err := ours.MapAttr(l.IOVA, l.PA, 1<<l.Lg2, l.Perm, l.Attr, nil)
			require.NoError(t, err)
			require.Equal(t, uint64(1)<<l.Lg2, done)
		}
		for _, o := range []CompareOptions{{}, {Subset: true}, {Strict: true}, {Exact: true}} {
			k, err := Compare(old, ours, o)
			require.NoError(t, err)
			if c.more != 0 && o.Exact {
				for _, r := range k.Runs {
					require.Equal(t, DifferentRaw, r.Kind, "%s: %v", sid, r)
					require.Zero(t, r.A.Perm&Exec, "%s: %v", sid, r)
				}
			} else {
				require.True(t, k.Equal, "%s: %v", sid, k.Runs)
			}
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
		ours, err = New(c.format, a, a, Config{Levels: c.other})
		require.NoError(t, err)
		mapRuns(t, ours, leaves[sid])
		k, err := Compare(old, ours, CompareOptions{})
		require.NoError(t, err)
		require.True(t, k.Equal, "%s: %v", sid, k.Runs)
		k, err = Compare(old, ours, CompareOptions{Exact: true})
		require.NoError(t, err)
		require.False(t, k.Equal, "%d levels are not %d", c.other, levels)

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
			if n.IOVA != run.IOVA+emu.IOVA(size) || n.PA != run.PA+emu.PA(size) || n.Perm != run.Perm || n.Attr != run.Attr {
				break
			}
			size += 1 << n.Lg2
		}
		_, err := tab.MapAttr(run.IOVA, run.PA, size, run.Perm, run.Attr, nil)
		require.NoError(t, err)
	}
}
