package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	amdvi "github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host/entry"
)

// pteKinds are the kinds that are entries of page tables.
func pteKinds() (list []*Kind) {
	for _, k := range Kinds() {
		if k.pte != nil {
			list = append(list, k)
		}
	}
	return list
}

// Hardware never sees anything but the old entry or the new one where software stores a word and drops what was
// made of the old one; each command that the plan has is needed.
func TestPTE_EachInvalidationIsNeeded(t *testing.T) {
	for _, k := range pteKinds() {
		for _, move := range [][2]string{{"block A", "block B"}, {"block A", "not present"}, {"block A", "table like A"}, {"table like A", "block A"}, {"block A, read-only", "block A"}, {"block A", "block A, clean"}} {
			if !slices.ContainsFunc(k.Forms, func(f Form) bool { return f.Name == move[1] }) {
				continue
			}
			from, to := k.formNamed(t, move[0]), k.formNamed(t, move[1])
			p, err := k.Plan(MatrixOptions(), entry.Hitless, from, to)
			require.NoError(t, err)
			if p.Verdict != entry.VerdictHitless {
				continue
			}
			for n := 1; n <= p.Invalidations; n++ {
				r, err := k.start(MatrixOptions(), entry.Hitless, from, to, n)
				require.NoError(t, err)
				res, err := r.explore()
				require.NoError(t, err)
				// What was made of a block with nT no cache keeps.
				last := n == p.Invalidations && k.pte.BBML == 1 && p.Syncs == 2
				require.Equal(t, last, res.Found == Hitless, "%s %s: %s to %s without command %d", k.IOMMU, k.Variant, move[0], move[1], n)
			}
		}
	}
}

// What was not present is in no cache: no command is needed. Units that cache it need one.
func TestPTE_NotPresentIsNotCached(t *testing.T) {
	for _, k := range pteKinds() {
		from, to := k.formNamed(t, "not present"), k.formNamed(t, "block A")
		p, err := k.Plan(MatrixOptions(), entry.Hitless, from, to)
		require.NoError(t, err)
		require.Zero(t, p.Invalidations, "%s %s", k.IOMMU, k.Variant)
		require.Len(t, p.Steps, 1)
	}
}

// A store over an entry that hardware marks must be a compare-and-swap. Who stores plainly loses the mark.
func TestPTE_PlainStoreLosesDirty(t *testing.T) {
	kinds := 0
	for _, k := range pteKinds() {
		if !k.table(MatrixOptions()).Dirty && (k.Stage == 2 || k.IOMMU == "smmuv3") {
			continue
		}
		kinds++
		from, to := k.formNamed(t, "block A, clean"), k.formNamed(t, "not present")
		p, err := k.Plan(MatrixOptions(), entry.Hitless, from, to)
		require.NoError(t, err)
		require.True(t, p.Steps[0].Swap, "%s %s", k.IOMMU, k.Variant)
		for _, w := range []entry.Writer{entry.Linux, entry.Naive} {
			r, err := k.Explore(MatrixOptions(), w, from, to)
			require.NoError(t, err)
			require.Equal(t, Unsafe, r.Found)
			require.Contains(t, r.Counterexample, "nobody learns that the page is dirty")
			require.Contains(t, r.Reason, "loses the dirty flag")
		}
	}
	require.Equal(t, 6, kinds)
}

// movePTE is what a plan is to be: its verdict, its stores, its synchronisations, and what each command of it
// contains.
type movePTE struct {
	iommu, variant, from, to string
	verdict                  entry.Verdict
	stores, syncs            int
	says                     string
}

// What the architectures ask for: VT-d 6.5.3.3 (IH only where no table was in use), AMD-Vi 2.4.3 (PDE likewise),
// SMMUv3 3.21.1 (break-before-make, nT) and 4.4.1 (Leaf).
var plannedPTEs = []movePTE{
	{"vtd", "second stage", "block A", "table like A", entry.VerdictHitless, 1, 1, "IH=1"},
	{"vtd", "second stage", "table like A", "block A", entry.VerdictHitless, 1, 1, "IH=0"},
	{"vtd", "second stage", "block A", "block B", entry.VerdictHitless, 1, 1, "AM=9"},
	{"vtd", "second stage", "table like A", "other table", entry.VerdictHitless, 1, 1, "IH=0"},
	{"vtd", "second stage", "block A", "block A, clean", entry.VerdictHitless, 1, 1, "IH=1"},
	{"vtd", "second stage", "not present", "not present, for software", entry.VerdictNop, 0, 0, ""},
	{"vtd", "first stage", "block A, read-only", "block A", entry.VerdictHitless, 1, 1, "PASID-based IOTLB, page-selective"},
	{"amdvi", "v1", "block A", "table like A", entry.VerdictHitless, 1, 1, "PDE=0, GN=0"},
	{"amdvi", "v1", "table like A", "block A", entry.VerdictHitless, 1, 1, "PDE=1, GN=0"},
	{"amdvi", "v1", "4M at A", "4M at B", entry.VerdictHitless, 2, 1, "0x400000 bytes at 0x0"},
	{"amdvi", "v1", "block A", "8M at A", entry.VerdictHitless, 4, 1, "0x800000 bytes at 0x0"},
	{"amdvi", "v1", "16M at B", "4M at A", entry.VerdictHitless, 8, 1, "0x1000000 bytes"},
	{"amdvi", "v2", "table like A", "not present", entry.VerdictHitless, 1, 1, "PDE=1, GN=1"},
	{"smmuv3", "stage 1, BBML 2", "block A", "table like A", entry.VerdictHitless, 1, 1, "Leaf=1, TG=1, SCALE=9"},
	{"smmuv3", "stage 1, BBML 2", "table like A", "block A", entry.VerdictHitless, 1, 1, "Leaf=0, TG=1, SCALE=9"},
	{"smmuv3", "stage 1, BBML 2", "block A", "block A, read-only", entry.VerdictHitless, 1, 1, "Leaf=1"},
	{"smmuv3", "stage 1, BBML 2", "block A", "block B", entry.VerdictDisruptive, 2, 1, "output address"},
	{"smmuv3", "stage 1, BBML 2", "block A", "block A, other memory type", entry.VerdictDisruptive, 2, 1, "memory type"},
	{"smmuv3", "stage 1, BBML 2", "block A", "block A, global", entry.VerdictDisruptive, 2, 1, "global"},
	{"smmuv3", "stage 1, BBML 2", "block A, global", "block A", entry.VerdictHitless, 1, 1, "Leaf=1"},
	{"smmuv3", "stage 1, BBML 2", "block A", "run of 16 at A", entry.VerdictHitless, 16, 1, "SCALE=13"},
	{"smmuv3", "stage 1, BBML 2", "block A", "block A, nT", entry.VerdictNop, 0, 0, ""},
	{"smmuv3", "stage 1, BBML 1", "block A", "table like A", entry.VerdictHitless, 2, 2, "CMD_TLBI_NH_VA"},
	{"smmuv3", "stage 1, BBML 1", "table like A", "block A", entry.VerdictHitless, 2, 2, "CMD_TLBI_NH_VA"},
	{"smmuv3", "stage 1, BBML 1", "block A, nT", "table like A", entry.VerdictHitless, 1, 1, "Leaf=1"},
	{"smmuv3", "stage 1, BBML 1", "run of 16 at A", "block A", entry.VerdictHitless, 16, 1, "SCALE=13"},
	{"smmuv3", "stage 1, BBML 1", "block A", "other table", entry.VerdictDisruptive, 2, 1, "below a table"},
	{"smmuv3", "stage 1, BBML 0", "block A", "table like A", entry.VerdictDisruptive, 2, 1, "BBML is 0"},
	{"smmuv3", "stage 1, BBML 0", "run of 16 at A", "block A", entry.VerdictDisruptive, 32, 1, "Contiguous"},
	{"smmuv3", "stage 1, BBML 0", "block A, not accessed", "block A", entry.VerdictHitless, 1, 0, ""},
	{"smmuv3", "stage 2, BBML 1", "block A", "table like A", entry.VerdictHitless, 2, 2, "CMD_TLBI_S2_IPA: VMID 0x11"},
}

func variant(t *testing.T, iommu, name string) *Kind {
	for _, k := range pteKinds() {
		if k.IOMMU == iommu && k.Variant == name {
			return k
		}
	}
	t.Fatalf("%s has no page table %q", iommu, name)
	return nil
}

func TestPTE_Plans(t *testing.T) {
	for _, c := range plannedPTEs {
		k := variant(t, c.iommu, c.variant)
		p, err := k.Plan(MatrixOptions(), entry.Hitless, k.formNamed(t, c.from), k.formNamed(t, c.to))
		require.NoError(t, err)
		stores, said := 0, p.Verdict == entry.VerdictNop || p.Invalidations == 0
		for _, s := range p.Steps {
			if s.Op == OpStore {
				stores++
			}
			said = said || strings.Contains(s.What, c.says)
		}
		if c.verdict == entry.VerdictDisruptive {
			require.Contains(t, p.Reason, "break-before-make: ")
			said = strings.Contains(p.Reason, c.says)
		}
		place := fmt.Sprintf("%s %s: %s to %s", c.iommu, c.variant, c.from, c.to)
		require.Equal(t, movePTE{c.iommu, c.variant, c.from, c.to, p.Verdict, stores, p.Syncs, c.says}, c, place)
		require.True(t, said, "%s: %s, %v", place, p.Reason, p.Steps)
	}
}

// A hint that no table was in use, given where one was, leaves its pointer in the paging-structure cache.
func TestPTE_WrongHintIsStale(t *testing.T) {
	for _, c := range []struct {
		iommu, variant string
		cmd            func(p *PTE, leaf bool) []Command
	}{
		{"vtd", "second stage", vtdDropSS}, {"vtd", "first stage", vtdDropFS}, {"amdvi", "v1", amdviDropPages(false)},
		{"amdvi", "v2", amdviDropPages(true)}, {"smmuv3", "stage 1, BBML 2", smmuDropRange(1)}, {"smmuv3", "stage 2, BBML 1", smmuDropRange(2)},
	} {
		k := *variant(t, c.iommu, c.variant)
		k.drops = func(o *Options) drops {
			return pteDrops(&k, o, func(p *PTE, _ bool) []Command { return c.cmd(p, true) }, func(*PTE) []Command { return nil })
		}
		r, err := k.Explore(MatrixOptions(), entry.Hitless, k.formNamed(t, "table like A"), k.formNamed(t, "not present"))
		require.NoError(t, err)
		require.Equal(t, Unsafe, r.Found, "%s %s", c.iommu, c.variant)
		require.Contains(t, r.Counterexample, "that began when the rewrite was complete reaches 0x1000")
	}
}

// Units that cache what is not present need to be told when something is (VT-d 6.1, AMD-Vi 2.4.3); not so for
// first stages of VT-d.
func TestPTE_CachingMode(t *testing.T) {
	for _, k := range pteKinds() {
		if k.IOMMU == "smmuv3" {
			continue
		}
		for _, form := range []string{"block A", "table like A"} {
			o, p := MatrixOptions(), *k.pte
			p.Caching = true
			o.PTE = &p
			from, to := k.formNamed(t, "not present"), k.formNamed(t, form)
			r, err := k.Explore(o, entry.Hitless, from, to)
			require.NoError(t, err)
			require.Equal(t, Hitless, r.Found, r.Counterexample)
			if k.Variant == "first stage" {
				require.Zero(t, r.Invalidations)
				continue
			}
			require.Equal(t, 1, r.Invalidations)
			without, err := k.start(o, entry.Hitless, from, to, 1)
			require.NoError(t, err)
			r, err = without.explore()
			require.NoError(t, err)
			require.NotEqual(t, Hitless, r.Found, "%s %s", k.IOMMU, k.Variant)
		}
	}
}

// What hardware without BBML raises where software changes a size in place.
func TestPTE_ChangeOfSizeConflicts(t *testing.T) {
	for _, c := range []struct {
		variant, from, to, want string
	}{
		{"stage 1, BBML 0", "block A", "table like A", Disruptive},
		{"stage 1, BBML 0", "table like A", "block A", Disruptive},
		{"stage 1, BBML 0", "run of 16 at A", "block A", Disruptive},
		{"stage 1, BBML 1", "block A", "table like A", Disruptive},
		{"stage 1, BBML 1", "block A, nT", "table like A", Hitless},
		{"stage 1, BBML 1", "run of 16 at A", "block A", Hitless},
		{"stage 1, BBML 2", "block A", "table like A", Hitless},
		{"stage 2, BBML 1", "table like A", "block A", Disruptive},
	} {
		k := variant(t, "smmuv3", c.variant)
		r, err := k.Explore(MatrixOptions(), entry.Naive, k.formNamed(t, c.from), k.formNamed(t, c.to))
		require.NoError(t, err)
		require.Equal(t, c.want, r.Found, "%s: %s to %s", c.variant, c.from, c.to)
		if c.want == Disruptive {
			require.Contains(t, r.Counterexample, ", too: ")
			require.Contains(t, r.Counterexample, "F_TLB_CONFLICT")
		}
	}
}

// Each mistake in a plan is found, but for what is nobody's concern: which of the entries of a row comes first, and
// what happens to translations of a block with nT, which no cache keeps.
func TestPTE_MutantsAreCaught(t *testing.T) {
	for _, c := range []struct {
		iommu, variant, from, to string
		harmless                 [][2]int // steps that are swapped, or one that is left out
	}{
		{"vtd", "second stage", "block A", "block B", nil},
		{"vtd", "first stage", "table like A", "block A, read-only", nil},
		{"amdvi", "v1", "4M at A", "block B", [][2]int{{0, 1}}},
		{"smmuv3", "stage 1, BBML 1", "block A", "table like A", [][2]int{{3, 4}, {3, 5}, {4, -1}, {4, 5}, {5, -1}}},
		{"smmuv3", "stage 1, BBML 1", "table like A", "block A", [][2]int{{3, 4}, {3, 5}, {4, -1}, {4, 5}, {5, -1}}},
		{"smmuv3", "stage 1, BBML 2", "block A", "run of 16 at A", [][2]int{{0, 1}}},
	} {
		k := variant(t, c.iommu, c.variant)
		whole, err := k.start(MatrixOptions(), entry.Hitless, k.formNamed(t, c.from), k.formNamed(t, c.to), 0)
		require.NoError(t, err)
		var harmless [][2]int
		for _, m := range mutants(whole.steps) {
			survives, err := whole.survives(&m)
			require.NoError(t, err)
			if survives {
				harmless = append(harmless, [2]int{m.i, m.j})
			}
		}
		require.Equal(t, c.harmless, harmless, "%s %s: %s to %s", c.iommu, c.variant, c.from, c.to)
	}
}

// Every level and granule has a bench.
func TestPTE_LevelsAndGranules(t *testing.T) {
	for _, k := range []*Kind{
		variant(t, "vtd", "second stage"), variant(t, "vtd", "first stage"), variant(t, "amdvi", "v1"), variant(t, "amdvi", "v2"),
		variant(t, "smmuv3", "stage 1, BBML 2"), variant(t, "smmuv3", "stage 2, BBML 1"),
	} {
		granules := []uint8{0}
		if k.IOMMU == "smmuv3" {
			granules = []uint8{12, 14, 16}
		}
		for _, g := range granules {
			for level := range int8(4) {
				o := &Options{PTE: &PTE{IOVA: 0x12_3456_7000, Level: level, Granule: g}}
				if k.CheckOptions(o) != nil {
					require.Equal(t, int8(3), level)
					require.True(t, g == 16 || g == 14 && k.Stage == 2)
					continue
				}
				table := slices.Clone(k.formNamed(t, "table like A"))
				switch {
				case level == 0:
					table = slices.Clone(k.formNamed(t, "block A"))
					if g != 0 {
						spec.TtdTable.Set(table, 1)
					}
				case k.Variant == "v1":
					amdvi.PteNextLevel.Set(table, uint64(level))
				}
				r, err := k.Explore(o, entry.Hitless, table, k.formNamed(t, "not present"))
				require.NoError(t, err)
				require.Equal(t, Hitless, r.Found, "%s %s, level %d, granule %d: %s", k.IOMMU, k.Variant, level, g, r.Counterexample)
				require.True(t, strings.HasPrefix(r.From, "reaches "), "%s %s, level %d, granule %d: %s", k.IOMMU, k.Variant, level, g, r.From)
			}
		}
	}
}

// Contents that nobody has thought of: forms with up to two bits changed. What a writer says is what is found,
// and the planner is not worse than Linux.
func TestPTE_RandomContents(t *testing.T) {
	pairs := 3
	if os.Getenv("IOMMULAB_LONG") != "" {
		pairs = 60
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, k := range pteKinds() {
		draw := func() []uint64 {
			for {
				raw := slices.Clone(k.Forms[rng.IntN(len(k.Forms))].Raw)
				for range rng.IntN(3) {
					raw[0] ^= 1 << rng.IntN(64)
				}
				if k.Check(MatrixOptions(), raw) == nil {
					return raw
				}
			}
		}
		for range pairs {
			from, to := draw(), draw()
			plans := map[string]*Result{}
			for _, w := range entry.Writers() {
				r, err := k.Explore(MatrixOptions(), w, from, to)
				place := fmt.Sprintf("%s %s, %#x to %#x by %s", k.IOMMU, k.Variant, from[0], to[0], w.Name())
				require.NoError(t, err, place)
				require.True(t, r.Agrees(), "%s: %v, found %s\n%s", place, r.Verdict, r.Found, r.Counterexample)
				plans[w.Name()] = r
			}
			ours, theirs := plans["hitless"], plans["linux"]
			require.LessOrEqual(t, rank[ours.Found], rank[theirs.Found], "%s %s, %#x to %#x: %s", k.IOMMU, k.Variant, from[0], to[0], ours.Reason)
		}
	}
}
