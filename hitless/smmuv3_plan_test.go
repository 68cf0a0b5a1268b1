package hitless

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	smmudriver "github.com/iommulab/iommulab/host/driver/smmuv3"
	"github.com/iommulab/iommulab/host/entry"
)

var smmuMoves = []struct {
	name string
	smmuSpec
	waits int
}{
	{"stage 1, fresh table", smmuSpec{from: smmuS1, to: smmuS1}, 1},
	{"stage 1, fresh table, shared", smmuSpec{from: smmuS1, to: smmuS1, shared: true}, 1},
	{"stage 1, temporary ASID", smmuSpec{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID, shared: true}, 3},
	{"stage 1, ASIDs alone", smmuSpec{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID}, 2},
	{"stage 1, 16 bytes", smmuSpec{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID, shared: true, wide: true}, 1},
	{"stage 2, temporary VMID", smmuSpec{from: smmuS2, to: smmuS2, shared: true}, 3},
	{"stage 2, VMIDs alone", smmuSpec{from: smmuS2, to: smmuS2}, 2},
	{"stage 2, 16 bytes", smmuSpec{from: smmuS2, to: smmuS2, shared: true, wide: true}, 1},
	{"stage 1 to 2", smmuSpec{from: smmuS1, to: smmuS2}, 2},
	{"stage 2 to 1", smmuSpec{from: smmuS2, to: smmuS1}, 3},
	{"stage 1 to 2, shared", smmuSpec{from: smmuS1, to: smmuS2, shared: true}, 3},
	{"bypass to stage 1", smmuSpec{from: smmuIdentity, to: smmuS1}, 2},
	{"bypass to stage 2", smmuSpec{from: smmuIdentity, to: smmuS2}, 2},
	{"stage 1 to bypass", smmuSpec{from: smmuS1, to: smmuIdentity}, 1},
	{"stage 2 to bypass", smmuSpec{from: smmuS2, to: smmuIdentity}, 1},
	{"nested, same parent", smmuSpec{from: smmuNested(false), to: smmuNested(false)}, 1},
	{"nested, parents alike", smmuSpec{from: smmuNested(true), to: smmuNested(true)}, 4},
	{"stage 2 to nested on it", smmuSpec{from: smmuParent, to: smmuNested(false)}, 2},
	{"nested to stage 2 below", smmuSpec{from: smmuNested(false), to: smmuParent}, 1},
	{"bypass to nested", smmuSpec{from: smmuIdentity, to: smmuNested(false)}, 2},
	{"nested to bypass", smmuSpec{from: smmuNested(false), to: smmuIdentity}, 1},
	{"a PASID, temporary ASID", smmuSpec{from: smmuS1, to: smmuS1, pasid: 5, shared: true}, 3},
	{"a PASID, ASIDs alone", smmuSpec{from: smmuS1, to: smmuS1, pasid: 5, beside: true}, 2},
	{"beside a PASID, stage 1", smmuSpec{from: smmuS1, to: smmuS1, beside: true, shared: true}, 3},
	{"beside a PASID, bypass to stage 1", smmuSpec{from: smmuIdentity, to: smmuS1, beside: true}, 1},
	{"beside a PASID, stage 1 to bypass", smmuSpec{from: smmuS1, to: smmuIdentity, beside: true}, 1},
}

// In every order of the stores, with every copy that a cache may hold: a request sees the old translation or
// the new one, an entry that was declared, and after the rewrite only the new.
func TestSMMUPlanned_IsHitless(t *testing.T) {
	for _, m := range smmuMoves {
		for _, cached := range []bool{true, false} {
			t.Run(m.name, func(t *testing.T) {
				m.by = entry.Hitless
				x := newSMMUMove(t, smmuConfig(cached), m.smmuSpec)
				require.Equal(t, entry.VerdictHitless, x.report.Verdict, x.report.Reason)
				require.Equal(t, m.waits, x.report.Waits)
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Len(t, rep.Old, 1)
				require.Len(t, rep.New, 1)
				require.NotEqual(t, rep.Old[0].PA, rep.New[0].PA)
				require.Empty(t, x.torn(rep))
				require.Empty(t, x.left(rep))
				require.Empty(t, rep.Stale())
				require.Empty(t, x.halfWritten(t))
				if cached {
					require.Empty(t, x.bystanders(t))
				}
				for _, s := range x.wrong(rep) {
					t.Errorf("status %d, pa %#x\n%s", s.Status, uint64(s.PA), Timeline(&x.Scenario, &s))
				}
			})
		}
	}
}

// Nor do the caches of stage 2 below a guest's stage 1 let anything else through.
func TestSMMUNested_WithCachesOfStage2(t *testing.T) {
	for _, m := range smmuMoves {
		if m.name != "nested, same parent" && m.name != "stage 2 to nested on it" && m.name != "nested to stage 2 below" {
			continue
		}
		c := smmuConfig(true)
		full := smmuv3.DefaultConfig()
		c.Walk2, c.Stage2 = full.Walk2, full.Stage2
		m.by = entry.Hitless
		x := newSMMUMove(t, c, m.smmuSpec)
		rep, err := Explore(&x.Scenario)
		require.NoError(t, err)
		require.Empty(t, x.torn(rep))
		require.Empty(t, rep.Stale())
		require.Empty(t, x.wrong(rep))
		require.Empty(t, x.left(rep))
	}
}

// From a stage 1 of the host to that of a guest there is no hitless way, though one word decides: with the
// VMID equal and all else filled in beforehand, a CD that is still cached is used as the new entry says.
func TestSMMUCDCache_MixesOldAndNew(t *testing.T) {
	x := newSMMUMove(t, smmuConfig(true), smmuSpec{from: smmuS1, to: smmuNested(false), by: entry.Hitless})
	require.Equal(t, entry.VerdictDisruptive, x.report.Verdict)
	var stores []Step
	old, new := x.report.States[0], x.report.States[len(x.report.States)-1]
	vmid := slices.Clone(old)
	spec.SteS2VMID.Set(vmid, spec.SteS2VMID.Get(new)) // nobody else is under it
	for i := range new {
		x.Memory.Store(x.at+emu.PA(i*8), 8, &[4]uint64{vmid[i]})
		if i > 0 {
			stores = append(stores, Store64("fill", x.at+emu.PA(i*8), new[i]))
		}
	}
	drop := x.Program[len(x.Program)-1]
	require.NotEmpty(t, drop.Invalidate)
	x.Program = append(stores, drop, Store64("decide", x.at, new[0]), drop)
	_, err := x.format.Plan(vmid, new, entry.Means{})
	require.NoError(t, err)
	x.Weak = false
	rep, err := Explore(&x.Scenario)
	require.NoError(t, err)
	require.Equal(t, []emu.PA{1 << 20, 2 << 20}, []emu.PA{rep.Old[0].PA, rep.New[0].PA})
	wrong := x.wrong(rep)
	require.NotEmpty(t, wrong, "a table of the host's, walked as one of the guest's")
	require.Contains(t, Timeline(&x.Scenario, &wrong[0]), "CD cache look-up")
}

// Each invalidation that is left out has a victim: a request that sees what it should not, or whoever finds
// what is left in a cache. So has each wait: without it, a unit that reads the words in the one order or
// in the other reads an entry that was never declared.
func TestSMMUPlanned_EachInvalidationIsNeeded(t *testing.T) {
	for _, m := range smmuMoves {
		m.by = entry.Hitless
		victims := map[int]int{}
		var lefts []*emu.Selector
		for _, reverse := range []bool{false, true} {
			for _, cached := range []bool{true, false} {
				m.reverse = reverse
				whole := newSMMUMove(t, smmuConfig(cached), m.smmuSpec)
				whole.Weak = false // of a fresh CD table there are many orders
				for n := 0; ; n++ {
					x := *whole
					var left *emu.Selector
					if x.Program, left = without(whole.Program, n); left == nil {
						break
					}
					if n == len(lefts) {
						lefts = append(lefts, left)
					}
					rep, err := Explore(&x.Scenario)
					require.NoError(t, err)
					victims[n] += len(x.torn(rep)) + len(x.wrong(rep)) + len(rep.Stale()) + len(x.left(rep)) + len(x.halfWritten(t))
				}
			}
		}
		for n, left := range lefts {
			require.NotZero(t, victims[n], "%s: number %d, %+v", m.name, n, *left)
		}
	}
}

// Who makes the entry invalid first lets requests fault, and does nothing else to them. Where one word
// decides, Linux does not fault either.
func TestSMMUBlockedFirst_OnlyFaults(t *testing.T) {
	for _, by := range []entry.Writer{entry.Linux, entry.BreakMake} {
		for _, m := range smmuMoves {
			for _, cached := range []bool{true, false} {
				m.by = by
				x := newSMMUMove(t, smmuConfig(cached), m.smmuSpec)
				x.Weak = len(x.Program) < 12 // a fresh CD table has many orders
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Empty(t, rep.Stale())
				require.Empty(t, x.torn(rep))
				require.Empty(t, x.left(rep))
				out := x.wrong(rep)
				require.Equal(t, x.report.Verdict == entry.VerdictDisruptive, len(out) > 0, "%s, %s", by.Name(), m.name)
				require.True(t, by != entry.BreakMake || len(out) > 0)
				for _, s := range out {
					require.Equal(t, emu.Blocked, s.Status, Timeline(&x.Scenario, &s))
					require.Contains(t, []uint16{smmuv3.FaultSTEInvalid, smmuv3.FaultCDInvalid}, s.Code)
				}
			}
		}
	}
}

// What Linux makes hitless, and what not: between two stage 1 domains it rewrites the CD, between two of
// stage 2 the STE, with V=0 in between.
func TestSMMULinux_Verdicts(t *testing.T) {
	want := map[string]entry.Verdict{
		"stage 1, fresh table": entry.VerdictHitless, "stage 1, fresh table, shared": entry.VerdictHitless,
		"bypass to stage 1": entry.VerdictHitless, "bypass to stage 2": entry.VerdictHitless,
		"stage 1 to bypass": entry.VerdictHitless, "stage 2 to bypass": entry.VerdictHitless,
		"stage 1, 16 bytes": entry.VerdictHitless, "stage 2, 16 bytes": entry.VerdictHitless,
		"nested, same parent": entry.VerdictHitless, "stage 2 to nested on it": entry.VerdictHitless, "nested to stage 2 below": entry.VerdictHitless,
		"bypass to nested": entry.VerdictHitless, "nested to bypass": entry.VerdictHitless,
		"beside a PASID, bypass to stage 1": entry.VerdictHitless, "beside a PASID, stage 1 to bypass": entry.VerdictHitless,
	}
	for _, m := range smmuMoves {
		m.by = entry.Linux
		x := newSMMUMove(t, smmuConfig(true), m.smmuSpec)
		v, ok := want[m.name]
		if !ok {
			v = entry.VerdictDisruptive
		}
		require.Equal(t, v, x.report.Verdict, m.name)
	}
}

// Plain stores, and one invalidation of what was there before, are torn: the new table under the old id, or
// the reverse, and what comes of it outlives the rewrite: others under the same id find it.
func TestSMMUNaive_IsTorn(t *testing.T) {
	for i, m := range []smmuSpec{
		{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID, shared: true}, {from: smmuS2, to: smmuS2, shared: true},
		{from: smmuS1, to: smmuS2, shared: true}, {from: smmuS2, to: smmuS1, shared: true},
	} {
		sameTags := i < 2 // before and after
		for _, cached := range []bool{true, false} {
			torn, hit := 0, 0
			for _, reverse := range []bool{false, true} {
				m.by, m.reverse = entry.Naive, reverse
				x := newSMMUMove(t, smmuConfig(cached), m)
				x.Weak = false // all eight words are stored
				require.Equal(t, entry.VerdictDisruptive, x.report.Verdict)
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				torn += len(x.torn(rep))
				hit += len(x.bystanders(t))
			}
			require.NotZero(t, torn)
			require.Equal(t, cached && sameTags, hit > 0, "others under the same id")
		}
	}
}

// The CD has to be there when the STE leads to it: on a weakly ordered processor that takes the fence.
func TestSMMUFreshTable_NeedsTheFence(t *testing.T) {
	x := newSMMUMove(t, smmuConfig(true), smmuSpec{from: smmuS1, to: smmuS1, by: entry.Hitless})
	fences := 0
	for i := range x.Program {
		if x.Program[i].Fence && x.Program[i].Addr == x.at {
			x.Program[i].Fence = false
			fences++
		}
	}
	require.Equal(t, 1, fences)
	for _, weak := range []bool{false, true} {
		x.Weak = weak
		rep, err := Explore(&x.Scenario)
		require.NoError(t, err)
		require.Equal(t, weak, len(x.wrong(rep)) > 0)
		require.Empty(t, rep.Stale())
	}
}
