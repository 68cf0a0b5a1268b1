package hitless

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host/entry"
)

// wrong returns the ways that a hitless rewrite does not have: faults, pages of neither domain, and what
// comes from an entry that was never declared.
func (x *amdMove) wrong(rep *Report) []Seen {
	var versions []uint64
	for _, s := range x.report.States {
		versions = append(versions, amdvi.DTEVersion(s))
	}
	ends := append(slices.Clip(rep.Old), rep.New...)
	return rep.pick(func(s *Seen) bool {
		return !slices.ContainsFunc(ends, func(o Seen) bool {
			return s.Status == o.Status && s.PA == o.PA && s.Prov.Leaf == o.Prov.Leaf
		}) || !slices.Contains(versions, s.Prov.Entry) || s.Prov.Fill != 0 && !slices.Contains(versions, s.Prov.Fill)
	})
}

var (
	amdBothAlone = entry.Means{OldAlone: true, NewAlone: true}
	amdTempID    = entry.Means{Temp: tempID}
)

var amdMoves = []struct {
	name     string
	from, to amdEnd
	means    entry.Means
	stores   int
	syncs    int // of entry alone and of all
}{
	{"v1 to v1", amdV1, amdV1, entry.Means{}, 1, 1},
	{"v1 to identity", amdV1, amdIdentity, entry.Means{}, 1, 1},
	{"identity to v1", amdIdentity, amdV1, entry.Means{}, 1, 1},
	{"v1 to v2", amdV1, amdV2(4), entry.Means{}, 1, 1},
	{"v1 to v2 of five levels", amdV1, amdV2(5), entry.Means{}, 2, 1},
	{"v2 to v1", amdV2(4), amdV1, entry.Means{}, 1, 1},
	{"v2 of five levels to v1", amdV2(5), amdV1, entry.Means{}, 2, 1},
	{"v2 to identity", amdV2(4), amdIdentity, entry.Means{}, 1, 1},
	{"v2 to v2, ids alone", amdV2(4), amdV2(4), amdBothAlone, 1, 1},
	{"v2 to v2, old id alone", amdV2(4), amdV2(4), entry.Means{OldAlone: true}, 2, 2},
	{"v2 to v2, new id alone", amdV2(4), amdV2(4), entry.Means{NewAlone: true}, 2, 2},
	{"v2 to v2, temporary id", amdV2(4), amdV2(4), amdTempID, 3, 3},
}

// foreign returns what the IOTLB can hold, at any time, that other devices of an id must not find: pages of
// the other domain under an id that is not this device's alone.
func (x *amdMove) foreign(rep *Report, m entry.Means) (list []Copy) {
	for _, c := range rep.Held {
		page := emu.PA(c.Val[0] &^ 0xfff)
		if c.Cache == emu.CacheIOTLB && (c.Key.Tag.Domain() == amdOldID && page != rep.Old[0].PA && !m.OldAlone ||
			c.Key.Tag.Domain() == amdNewID && page != rep.New[0].PA && !m.NewAlone) {
			list = append(list, c)
		}
	}
	return list
}

// In every legal order, with every copy that a cache may hold: a request sees the old translation or the
// new one, an entry that was declared, and after the rewrite only the new.
func TestAMDPlanned_IsHitless(t *testing.T) {
	for _, m := range amdMoves {
		for _, cached := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, caches %t", m.name, cached), func(t *testing.T) {
				x := newAMDMove(t, cached, m.from, m.to, entry.Hitless, m.means)
				require.Equal(t, entry.VerdictHitless, x.report.Verdict, x.report.Reason)
				require.Equal(t, m.stores, x.report.Stores)
				require.Equal(t, m.syncs+1, x.report.Waits, "the last one is two: entry, translations")
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Len(t, rep.Old, 1)
				require.Len(t, rep.New, 1)
				require.NotEqual(t, rep.Old[0].PA, rep.New[0].PA)
				require.Empty(t, rep.Torn(x.w.dte, x.report.States...))
				require.Empty(t, rep.Stale())
				for _, s := range x.wrong(rep) {
					t.Errorf("status %d, pa %#x\n%s", s.Status, uint64(s.PA), Timeline(&x.Scenario, &s))
				}
				require.Empty(t, x.foreign(rep, m.means))
				for _, s := range x.report.States { // each is met by some request
					require.True(t, slices.ContainsFunc(rep.All, func(o Seen) bool {
						return o.Prov.Entry == amdvi.DTEVersion(s)
					}), "%#x", s)
				}
			})
		}
	}
}

// Each invalidation that is left out has a victim: this device, if the entry or the new id is concerned,
// other devices of the ids in the middle of the way, else the next owner of the old id.
func TestAMDPlanned_EachInvalidationIsNeeded(t *testing.T) {
	for _, m := range amdMoves {
		whole := newAMDMove(t, true, m.from, m.to, entry.Hitless, m.means)
		for n := 0; ; n++ {
			x := *whole
			var left *emu.Selector
			if x.Program, left = without(whole.Program, n); left == nil {
				break
			}
			if left.Classes == 1<<amdvi.ClassNested|1 || left.Classes == 1<<amdvi.ClassNested {
				continue // what guest tables over host tables have made: there are none
			}
			rep, err := Explore(&x.Scenario)
			require.NoError(t, err)
			if left.Match&emu.MatchSource != 0 {
				last := n >= len(selectors(whole.Program))-len(lastSync(whole.Program))-1
				if last {
					require.NotEmpty(t, rep.Stale(), "%s: the entry before is still cached", m.name)
				} else {
					victims := len(x.wrong(rep)) + len(rep.Stale()) + len(x.foreign(rep, m.means))
					require.NotZero(t, victims, "%s: wait %d is needed", m.name, n)
				}
				continue
			}
			mixed := left.Domain == amdNewID && left.Match&emu.MatchPASID != 0
			require.Equal(t, mixed, len(rep.Stale()) > 0, "%s: without %+v", m.name, *left)
		}
	}
}

func selectors(p []Step) (list []emu.Selector) {
	for _, s := range p {
		list = append(list, s.Invalidate...)
	}
	return list
}

func lastSync(p []Step) []emu.Selector {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].Invalidate != nil {
			return p[i].Invalidate
		}
	}
	return nil
}

// Who blocks first lets requests fault, and does nothing else to them.
func TestAMDBlockedFirst_OnlyFaults(t *testing.T) {
	for _, by := range []entry.Writer{entry.Linux, entry.BreakMake} {
		for _, m := range amdMoves {
			for _, cached := range []bool{true, false} {
				x := newAMDMove(t, cached, m.from, m.to, by, entry.Means{})
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Empty(t, rep.Stale())
				out := rep.Outside()
				require.NotEmpty(t, out)
				for _, s := range out {
					require.Equal(t, emu.Blocked, s.Status, Timeline(&x.Scenario, &s))
					require.EqualValues(t, amdvi.FaultTV, s.Code)
				}
				require.Empty(t, rep.Torn(x.w.dte, x.report.States...))
			}
		}
	}
}

// V=0 is no blocking form: while the entry is rewritten behind it, requests pass untranslated.
func TestAMDQuirk01_V0Leaks(t *testing.T) {
	for _, m := range amdMoves {
		for _, cached := range []bool{true, false} {
			x := newAMDMove(t, cached, m.from, m.to, entry.Leak, entry.Means{})
			rep, err := Explore(&x.Scenario)
			require.NoError(t, err)
			v0 := amdvi.DTEVersion(make([]uint64, 4))
			require.True(t, slices.ContainsFunc(rep.Outside(), func(s Seen) bool {
				return s.Status == emu.OK && s.PA == emu.PA(iova) && s.Prov.Entry == v0
			}), m.name)
			require.Empty(t, rep.Stale())
			require.Equal(t, entry.VerdictDisruptive, x.report.Verdict)
		}
	}
}

// Plain stores in ascending order show the new table under the old id. With a DTE cache that holds the old
// entry the same is seen by whoever misses it.
func TestAMDNaive_IsTorn(t *testing.T) {
	for _, cached := range []bool{true, false} {
		for _, to := range []amdEnd{amdV1, amdV2(4), amdV2(5)} {
			x := newAMDMove(t, cached, amdV1, to, entry.Naive, entry.Means{})
			rep, err := Explore(&x.Scenario)
			require.NoError(t, err)
			torn := rep.Torn(x.w.dte, x.report.States...)
			require.NotEmpty(t, torn)
			require.NotEmpty(t, x.wrong(rep))
			require.True(t, slices.ContainsFunc(torn, func(s Seen) bool {
				return slices.ContainsFunc(s.Entries, func(e Entry) bool {
					return e.At == x.w.dte && spec.DteDomainID.Get(e.Words[:]) == amdOldID && e.Words[0] == x.report.States[1][0]
				})
			}))
		}
	}
}

// A cache of GCR3 entries that knows device and PASID only finds the old guest table under the new entry.
// From guest tables of the host to guest tables on host tables that is a table at a wrong address; that
// is why the planner blocks first.
func TestAMDGCR3Cache_MixesOldAndNew(t *testing.T) {
	x := newAMDMove(t, true, amdV2(4), amdV2(4), entry.Hitless, amdBothAlone)
	rep, err := Explore(&x.Scenario)
	require.NoError(t, err)
	mixed := rep.pick(func(s *Seen) bool { return s.Prov.Entry == rep.New[0].Prov.Entry && s.PA == rep.Old[0].PA })
	require.NotEmpty(t, mixed, "the old page under the new entry")

	none := newAMDMove(t, true, amdV2(4), amdV2(4), entry.Hitless, entry.Means{})
	require.Equal(t, entry.VerdictDisruptive, none.report.Verdict)
}
