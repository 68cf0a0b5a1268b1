package entry_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/entry"
)

const temp = 99

var secondStage = []uint64{spec.PasidSSPTPTR.Mask() | spec.PasidAW.Mask(), 0, 0, 0, 0, 0, 0, 0}

func TestPlan_IDsToGoBy(t *testing.T) {
	first := [2][]uint64{fs(0x1000, 5), fs(0x2000, 6)}
	guest := [2][]uint64{nested(0x1000, 0x7000, 5), nested(0x1000, 0x8000, 6)}
	both := [2][]uint64{nested(0x1000, 0x7000, 5), nested(0x2000, 0x8000, 6)}
	for _, c := range []struct {
		name  string
		pair  [2][]uint64
		means entry.Means
		steps string
		ids   []uint64 // of the contents, in order of stores
		turn  int
	}{
		{"FS, temporary id", first, entry.Means{Temp: temp}, "store8 entry store8 entry store8 all", []uint64{temp, temp, 6}, 2},
		{"FS, old id for itself", first, entry.Means{Temp: temp, OldAlone: true, NewAlone: true}, "store8 entry store8 all", []uint64{5, 6}, 0},
		{"FS, new id for itself", first, entry.Means{Temp: temp, NewAlone: true}, "store8 entry store8 all", []uint64{6, 6}, 2},
		{"nested, temporary id", guest, entry.Means{Temp: temp}, "store8 entry store8 entry store8 all", []uint64{temp, temp, 6}, 2},
		{"nested, old id for itself", guest, entry.Means{OldAlone: true}, "store8 entry store8 all", []uint64{5, 6}, 0},
		{"nested, parents alike, temporary id", both, entry.Means{Temp: temp, Alike: secondStage}, "store8 entry store8 entry store16 all", []uint64{temp, temp, 6}, 2},
		{"nested, parents alike, old id for itself", both, entry.Means{OldAlone: true, Alike: secondStage}, "store8 entry store16 all", []uint64{5, 6}, 0},
		{"nested, parents alike, new id for itself", both, entry.Means{NewAlone: true, Alike: secondStage}, "store16 entry store8 all", []uint64{6, 6}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := unit.PASID()
			p, err := f.Plan(c.pair[0], c.pair[1], c.means)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, p.Verdict, p.Reason)
			require.Equal(t, c.steps, shape(p))
			require.Equal(t, c.turn, p.Turn)
			var ids []uint64
			for i, s := range p.Steps {
				if s.Op == entry.OpStore {
					ids = append(ids, spec.PasidDID.Get(p.States[i]))
				}
			}
			require.Equal(t, c.ids, ids)
			require.Equal(t, slices.Contains(c.ids, temp), p.Temp == temp)
			require.Equal(t, c.pair[1], p.Final(c.pair[0]))
			requireIDs(t, f, c.pair[0], c.pair[1], p, c.means)
		})
	}
}

func TestPlan_WhatIDsCannotHelp(t *testing.T) {
	all := entry.Means{Temp: temp, OldAlone: true, NewAlone: true}
	for _, c := range []struct {
		name     string
		old, new []uint64
		reason   string
	}{
		{"FS to nested", fs(0x2000, 6), nested(0x1000, 0x7000, 7), "PGTT, DID in unit 0 and FSPTPTR in unit 1"},
		{"nested to FS", nested(0x1000, 0x7000, 7), fs(0x2000, 6), "PGTT, DID in unit 0 and FSPTPTR in unit 1"},
		{"nested, and another parent", nested(0x1000, 0x7000, 5), nested(0x2000, 0x8000, 6), "SSPTPTR, DID in unit 0 and FSPTPTR in unit 1"},
	} {
		p, err := unit.PASID().Plan(c.old, c.new, all)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictDisruptive, p.Verdict, c.name)
		require.ErrorContains(t, errText(p.Reason), c.reason)
		require.NotContains(t, p.Reason, "id to go by")
		require.Zero(t, p.Temp)
	}
}

type errText string

func (e errText) Error() string { return string(e) }

// A path is shorter than the shortest with ids if there is one without.
func TestPlan_IDsOnlyIfNeeded(t *testing.T) {
	for _, c := range [][2][]uint64{
		{ss(0x1000, 5), ss(0x2000, 6)}, {fs(0x1000, 5), fs(0x1000, 6)}, {fs(0x1000, 5), fs(0x2000, 5)}, {ss(0x1000, 5), fs(0x2000, 6)},
		{nested(0x1000, 0x7000, 5), nested(0x2000, 0x7000, 6)}, {nested(0x1000, 0x7000, 5), pt(1)},
	} {
		plain, err := unit.PASID().Plan(c[0], c[1], entry.Means{})
		require.NoError(t, err)
		p, err := unit.PASID().Plan(c[0], c[1], entry.Means{Temp: temp, OldAlone: true, NewAlone: true, Alike: secondStage})
		require.NoError(t, err)
		require.Equal(t, plain, p)
	}
}

// The temporary id is one that nobody else has: one of either entry is not.
func TestPlan_TempMustBeAThirdID(t *testing.T) {
	for _, id := range []uint32{5, 6} {
		p, err := unit.PASID().Plan(fs(0x1000, 5), fs(0x2000, 6), entry.Means{Temp: id})
		require.NoError(t, err)
		require.Equal(t, entry.VerdictDisruptive, p.Verdict)
	}
}

func genMeans(t *rapid.T, old, new []uint64) entry.Means {
	m := entry.Means{OldAlone: rapid.Bool().Draw(t, "old alone"), NewAlone: rapid.Bool().Draw(t, "new alone")}
	if rapid.Bool().Draw(t, "temp") {
		m.Temp = temp
	}
	pgtt := spec.PasidPGTT.Of(old[0])
	if pgtt == spec.PGTTNested && pgtt == spec.PasidPGTT.Of(new[0]) && rapid.Bool().Draw(t, "alike") {
		m.Alike = secondStage
	}
	return m
}

// Whatever ids a plan goes by: no translation is ever under an id that others use with other tables,
// and nothing that is not the new content's is left at the end.
func TestPlan_NothingIsLeftUnderAnyID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := unit.PASID()
		old, new := genPASID(t, "old "), genPASID(t, "new ")
		m := genMeans(t, old, new)
		p, err := f.Plan(old, new, m)
		require.NoError(t, err)
		requireIDs(t, f, old, new, p, m)
	})
}

// The oracle finds what is wrong with plans that have a step too few, or one name too few in a step.
func TestPlan_EachStepOfTheTemporaryIDIsNeeded(t *testing.T) {
	f := unit.PASID()
	old, new := fs(0x1000, 5), fs(0x2000, 6)
	m := entry.Means{Temp: temp}
	whole, err := f.Plan(old, new, m)
	require.NoError(t, err)
	for i, s := range whole.Steps {
		if s.Op == entry.OpStore {
			continue
		}
		require.NotEmpty(t, broken(func(tt require.TestingT) { requireIDs(tt, f, old, new, without(whole, i), m) }), "step %d left out", i)
		for k := range s.Made {
			p := clonePlan(whole)
			p.Steps[i].Made = slices.Delete(slices.Clone(s.Made), k, k+1)
			if spec.PasidDID.Get(s.Made[k]) == temp && k == 1 {
				continue // two contents were under the temporary id
			}
			if fewer := idsOf(f, p.Steps[i].Made); len(fewer) < len(idsOf(f, s.Made)) {
				require.NotEmpty(t, broken(func(tt require.TestingT) { requireIDs(tt, f, old, new, p, m) }), "without %#x", s.Made[k])
			}
		}
		p := clonePlan(whole)
		p.Steps[i].Entries = nil
		require.NotEmpty(t, broken(func(tt require.TestingT) { requireIDs(tt, f, old, new, p, m) }), "step %d drops no entry", i)
	}
}

func clonePlan(p entry.Plan) entry.Plan {
	p.Steps, p.States = slices.Clone(p.Steps), slices.Clone(p.States)
	return p
}

func without(p entry.Plan, i int) entry.Plan {
	p = clonePlan(p)
	p.Steps, p.States = slices.Delete(p.Steps, i, i+1), slices.Delete(p.States, i, i+1)
	return p
}

// broken returns what a requirement has to say.
func broken(f func(require.TestingT)) string {
	var r recorder
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(stopped) {
				panic(v)
			}
		}()
		f(&r)
	}()
	return r.text
}

const stopped = errText("stopped")

type recorder struct{ text string }

func (r *recorder) Errorf(format string, args ...any) { r.text += format }
func (r *recorder) FailNow()                          { panic(stopped) }
