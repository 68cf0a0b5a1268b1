package lab

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host/entry"
)

// shared is a rewrite whose ids others have, with one that is free.
func shared() *Options { return MatrixOptions() }

func (k *Kind) formNamed(t *testing.T, name string) []uint64 {
	for _, f := range k.Forms {
		if f.Name == name {
			return f.Raw
		}
	}
	t.Fatalf("%s %s has no form %q", k.IOMMU, k.Name, name)
	return nil
}

func find(t *testing.T, iommu, name string) *Kind {
	k, ok := Find(iommu, name, 0)
	require.True(t, ok)
	return k
}

func TestForms_AreLegalAndDistinct(t *testing.T) {
	forms := map[string]int{}
	for _, k := range Kinds() {
		names, raws := map[string]bool{}, map[string]bool{}
		for _, f := range k.Forms {
			require.NoError(t, k.Check(shared(), f.Raw), "%s %s: %s", k.IOMMU, k.Name, f.Name)
			require.False(t, names[f.Name] || raws[Hex(f.Raw)], f.Name)
			names[f.Name], raws[Hex(f.Raw)] = true, true
		}
		require.LessOrEqual(t, len(k.Forms), 24)
		require.LessOrEqual(t, k.Core, len(k.Forms))
		forms[k.IOMMU] += k.Core
	}
	for iommu, n := range forms {
		require.GreaterOrEqual(t, n, 12, iommu)
	}
}

// What a writer says of its rewrite is what the exploration of it on the unit finds: between the core forms of
// each kind - a quarter of them, of page tables an eighth, without IOMMULAB_LONG -, for each writer.
func TestWriters_SayWhatIsFound(t *testing.T) {
	for _, k := range Kinds() {
		part := 4
		if k.pte != nil {
			part = 8
		}
		for i, from := range k.Forms[:k.Core] {
			for j, to := range k.Forms[:k.Core] {
				if os.Getenv("IOMMULAB_LONG") == "" && k.Core > 4 && (i+j)%part != 0 {
					continue
				}
				for _, w := range entry.Writers() {
					r, err := k.Explore(shared(), w, from.Raw, to.Raw)
					require.NoError(t, err)
					require.True(t, r.Agrees(), "%s %s, %s to %s by %s: %s, found %s\n%s", k.IOMMU, k.Name, from.Name, to.Name, w.Name(), r.Verdict, r.Found, r.Counterexample)
					require.Equal(t, from.Name == to.Name, r.Found == Nop)
					require.Equal(t, r.Found == Nop || r.Found == Hitless, r.Counterexample == "")
				}
			}
		}
	}
}

// moves that have to be hitless, by the planner.
var hitlessMoves = []struct{ iommu, kind, from, to string }{
	{"vtd", "pasid", "second 1, id 1", "second 2, id 2"},
	{"vtd", "pasid", "pass-through", "second 1, id 1"},
	{"vtd", "pasid", "second 1, id 1", "pass-through"},
	{"vtd", "pasid", "pass-through", "first 1, id 3"},
	{"vtd", "pasid", "first 1, id 3", "pass-through"},
	{"vtd", "pasid", "first 1, id 3", "first 2, id 4"},
	{"amdvi", "dte", "v1 table 1, id 1", "v1 table 2, id 2"},
	{"amdvi", "dte", "v1 table 1, id 1", "v2 table 1, id 3"},
	{"amdvi", "dte", "v1 table 1, id 1", "v2 of 5 levels, id 4"},
	{"smmuv3", "ste", "stage 1, CDs 1", "stage 1, CDs 2"},
	{"smmuv3", "cd", "table 1, ASID 1", "table 2, ASID 2"},
	{"smmuv3", "ste", "stage 2 table 1, VMID 1", "stage 2 table 2, VMID 2"},
}

func TestPlanner_IsHitlessWhereItMustBe(t *testing.T) {
	check := func(k *Kind, from, to []uint64) {
		r, err := k.Explore(shared(), entry.Hitless, from, to)
		require.NoError(t, err)
		require.Equal(t, Hitless, r.Found, r.Counterexample)
		require.Equal(t, entry.VerdictHitless, r.Verdict)
	}
	for _, m := range hitlessMoves {
		k := find(t, m.iommu, m.kind)
		check(k, k.formNamed(t, m.from), k.formNamed(t, m.to))
	}
	k := find(t, "vtd", "context")
	for _, from := range k.Forms {
		for _, to := range k.Forms {
			if f := k.Format(shared()); !f.Same(from.Raw, to.Raw) {
				check(k, from.Raw, to.Raw)
			}
		}
	}
}

// Where what Linux does is hitless, so is the plan, with no more synchronisations: between all forms of each kind,
// by what the writers claim, and with IOMMULAB_LONG by what is found.
func TestPlanner_IsNeverWorseThanLinux(t *testing.T) {
	for _, k := range Kinds() {
		for _, from := range k.Forms {
			for _, to := range k.Forms {
				name := fmt.Sprintf("%s %s: %s to %s", k.IOMMU, k.Name, from.Name, to.Name)
				o := shared()
				ours, err := k.Plan(o, entry.Hitless, from.Raw, to.Raw)
				require.NoError(t, err, name)
				theirs, err := k.Plan(o, entry.Linux, from.Raw, to.Raw)
				require.NoError(t, err, name)
				hitless := theirs.Verdict == entry.VerdictHitless
				if os.Getenv("IOMMULAB_LONG") != "" {
					r, err := k.Explore(o, entry.Linux, from.Raw, to.Raw)
					require.NoError(t, err, name)
					hitless = r.Found == Hitless
					r, err = k.Explore(o, entry.Hitless, from.Raw, to.Raw)
					require.NoError(t, err, name)
					require.True(t, r.Agrees(), "%s: %s, found %s", name, r.Verdict, r.Found)
				}
				// On the bench stage 2 maps CDs to where they are, so that a cached one serves stage 1 alone as well. A plan
				// cannot know that.
				if k.Name == "ste" && from.Raw[0]^to.Raw[0] == spec.SteConfig.Put(spec.ConfigS1^spec.ConfigNested) {
					hitless = theirs.Verdict == entry.VerdictHitless
				}
				if hitless {
					require.Equal(t, entry.VerdictHitless, ours.Verdict, "%s: %s", name, ours.Reason)
					require.LessOrEqual(t, ours.Syncs, theirs.Syncs, name)
				}
			}
		}
	}
}

// Plain stores tear what does not lie in one word, and what comes of it gets under an id that others have.
func TestNaive_IsTornAndPollutes(t *testing.T) {
	for _, c := range []struct{ iommu, kind, from, to, want string }{
		{"vtd", "context", "table 1, id 1", "table 2, id 2", "others who share the id find it"},
		{"vtd", "pasid", "first 1, id 3", "first 2, id 4", "others who share the id find it"},
		{"amdvi", "dte", "v1 table 1, id 1", "v1 table 2, id 2", "others who share the id find it"},
		{"smmuv3", "ste", "stage 2 table 1, VMID 1", "stage 2 table 2, VMID 2", ""},
	} {
		k := find(t, c.iommu, c.kind)
		r, err := k.Explore(shared(), entry.Naive, k.formNamed(t, c.from), k.formNamed(t, c.to))
		require.NoError(t, err)
		require.Equal(t, Unsafe, r.Found)
		require.Contains(t, r.Counterexample, c.want)
		require.Contains(t, r.Counterexample, "host 1 ")
	}
}

// Rights of a DTE are not in what caches hold: with an id that both contents have, requests with the rights of the
// one find translations of the other.
func TestDTE_RightsAndTablesDoNotMoveTogether(t *testing.T) {
	k := find(t, "amdvi", "dte")
	both, ro := k.formNamed(t, "v1 table 2, id 1"), k.formNamed(t, "v1 table 1, id 1, read-only")
	for _, c := range []struct {
		from, to []uint64
		want     entry.Verdict
	}{
		{both, ro, entry.VerdictDisruptive},
		{ro, both, entry.VerdictDisruptive},
		{k.formNamed(t, "v1 table 2, id 2"), ro, entry.VerdictHitless},
		{k.formNamed(t, "v1 table 1, id 1"), ro, entry.VerdictHitless},
	} {
		r, err := k.Explore(MatrixOptions(), entry.Hitless, c.from, c.to)
		require.NoError(t, err)
		require.Equal(t, c.want, r.Verdict)
		require.Equal(t, c.want.String(), r.Found, r.Counterexample)
	}
}
