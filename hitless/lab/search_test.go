package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/hitless/search"
	"github.com/iommulab/iommulab/host/entry"
)

// long reports whether there is time.
func long() bool { return os.Getenv("IOMMULAB_LONG") != "" }

// tally is what comparisons came to.
type tally struct {
	cells, searches, states, most int
	beyond                        map[string]int // ends and copies that only the explorer finds, by why
}

func (n *tally) String() string {
	return fmt.Sprintf("%d cells, %d searches, %d states, %d at most; only the explorer finds: %v", n.cells, n.searches, n.states, n.most, n.beyond)
}

// Why only the explorer finds something.
const (
	further   = "it takes one or two requests more than the search has"
	displaced = "one of two copies has displaced the other"
	unknown   = "not asked"
	toomany   = "too many states to ask"
)

// compare searches what is explored of a rewrite: nothing may be found that the explorer misses, and the verdict
// has to be the same.
func (n *tally) compare(t *testing.T, r *run, b search.Bounds) {
	t.Helper()
	n.cells++
	claim, err := r.find(hitless.Explore)
	require.NoError(t, err)
	found, err := r.find(func(sc *hitless.Scenario) (*hitless.Report, error) { return n.search(t, sc, b), nil })
	require.NoError(t, err)
	require.Equal(t, claim.Found, found.Found, "%s\n%s\n%s", program(r.steps), claim.Counterexample, found.Counterexample)
}

// search searches a scenario, and compares with what is explored of it.
func (n *tally) search(t *testing.T, sc *hitless.Scenario, b search.Bounds) *hitless.Report {
	t.Helper()
	explored, err := hitless.Explore(sc)
	require.NoError(t, err)
	searched, err := search.Explore(sc, b)
	require.NoError(t, err)
	for _, d := range search.Missing(searched, explored) {
		require.Fail(t, "the explorer misses "+d.What, "%s\n%s", program(sc.Program), strings.Join(d.Path, "\n"))
	}
	n.searches++
	n.states += searched.States
	n.most = max(n.most, searched.States)
	n.explain(t, sc, b, explored, searched)
	return searched
}

// explain says why the explorer finds more.
func (n *tally) explain(t *testing.T, sc *hitless.Scenario, b search.Bounds, explored, searched *hitless.Report) {
	t.Helper()
	if n.beyond == nil {
		n.beyond = map[string]int{}
	}
	left := len(search.Missing(explored, searched))
	widen := func(why string) {
		if left == 0 {
			return
		}
		wider, err := search.Explore(sc, b)
		if errors.Is(err, search.ErrStates) {
			n.beyond[toomany] += left
			left = 0
			return
		}
		require.NoError(t, err)
		now := len(search.Missing(explored, wider))
		if left != now {
			n.beyond[why] += left - now
		}
		left = now
	}
	if b.States = 2_000_000; long() {
		for i := 0; i < 2 && b.Requests > 0; i++ {
			b.Requests++
			widen(further)
		}
		b.Crowded = true
		widen(displaced)
		require.Zero(t, left, "only the explorer finds something, and nothing says why\n%s", program(sc.Program))
	}
	if left > 0 {
		n.beyond[unknown] += left
	}
}

func program(steps []hitless.Step) string {
	var lines []string
	for i := range steps {
		lines = append(lines, steps[i].String())
	}
	return strings.Join(lines, "\n")
}

// core are the rewrites between the forms of a kind that stand for all, by every writer.
func core(k *Kind) []*Cell { return Cells([]*Kind{k}, entry.Writers(), false) }

func (n *tally) cell(t *testing.T, c *Cell, b search.Bounds) {
	t.Helper()
	r, err := c.Kind.start(MatrixOptions(), c.Writer, c.From.Raw, c.To.Raw, 0)
	require.NoError(t, err)
	ok := t.Run(fmt.Sprintf("%s %s, %s to %s by %s", c.Kind.IOMMU, c.Kind.Name, c.From.Name, c.To.Name, c.Writer.Name()), func(t *testing.T) { n.compare(t, r, b) })
	require.True(t, ok)
}

// requests is n if there is time, else at most 2.
func requests(n int) int {
	if long() {
		return n
	}
	return 2
}

// Every rewrite of a VT-d legacy context entry: two requests at once, any number one after the other - two in all
// if time is short.
func TestSearch_AgreesOnEveryLegacyContext(t *testing.T) {
	b := search.Bounds{InFlight: 2, Requests: requests(0), States: 5_000_000}
	var n tally
	for _, c := range core(find(t, "vtd", "context")) {
		n.cell(t, c, b)
	}
	require.Equal(t, 6*6*4, n.cells)
	require.Empty(t, n.beyond, "here the explorer finds no more than there is")
	t.Log(&n)
}

// samples are kinds of which some cells are searched, every so-manyth, from which on, with so many requests: those
// of short if time is short. A request that reads an entry in parts, by two stages, has more states than one of VT-d's
// legacy mode.
var samples = []struct {
	iommu, kind     string
	every, requests int // 0 requests: any number
	short           []string
}{
	{"vtd", "root", 1, 0, []string{"table 1 to table 2 by naive"}},
	{"vtd", "context-scalable", 5, 0, nil},
	{"vtd", "pasid", 29, 2, []string{"second 1, id 1 to second 2, id 2 by hitless", "first 1, id 3 to first 2, id 4 by naive"}},
	{"amdvi", "dte", 61, 2, []string{"v1 table 1, id 1 to v1 table 2, id 2 by naive"}},
	{"smmuv3", "ste", 97, 2, nil},
	{"smmuv3", "cd", 5, 2, []string{"table 1, ASID 1 to table 2, ASID 2 by naive"}},
	{"smmuv3", "ste-l1", 1, 2, nil},
	{"smmuv3", "cd-l1", 1, 2, nil},
}

func TestSearch_AgreesOnSamples(t *testing.T) {
	for _, s := range samples {
		t.Run(s.iommu+" "+s.kind, func(t *testing.T) {
			var n tally
			b := search.Bounds{InFlight: 2, Requests: requests(s.requests), States: 20_000_000}
			for i, c := range core(find(t, s.iommu, s.kind)) {
				name := fmt.Sprintf("%s to %s by %s", c.From.Name, c.To.Name, c.Writer.Name())
				if long() && i%s.every == 0 || slices.Contains(s.short, name) {
					n.cell(t, c, b)
				}
			}
			require.GreaterOrEqual(t, n.cells, len(s.short))
			t.Log(&n)
		})
	}
}

// Programs with a mistake show what rewrites that are right keep from sight: what is left in caches, for one.
func TestSearch_AgreesOnMistakes(t *testing.T) {
	k := find(t, "vtd", "context")
	var n tally
	for _, w := range []entry.Writer{entry.Hitless, entry.Naive} {
		whole, err := k.start(MatrixOptions(), w, k.formNamed(t, "table 1, id 1"), k.formNamed(t, "table 2, id 2"), 0)
		require.NoError(t, err)
		for _, m := range mutants(whole.steps) {
			for _, steps := range m.ways {
				r := *whole
				r.steps = steps
				ok := t.Run(fmt.Sprintf("%s, %s", w.Name(), m.name), func(t *testing.T) {
					n.compare(t, &r, search.Bounds{InFlight: 2, Requests: 2, States: 5_000_000})
				})
				require.True(t, ok)
			}
		}
	}
	t.Log(&n)
}

// With every action a step of its own there are more states, and nothing else.
func TestSearch_PlainlyFindsTheSame(t *testing.T) {
	k := find(t, "vtd", "context")
	bounds := []search.Bounds{{InFlight: 1, Requests: 2}}
	if long() {
		bounds = append(bounds, search.Bounds{InFlight: 1, Requests: 3}, search.Bounds{InFlight: 2, Requests: 2})
	}
	for _, w := range []entry.Writer{entry.Hitless, entry.Naive} {
		r, err := k.start(MatrixOptions(), w, k.formNamed(t, "table 1, id 1"), k.formNamed(t, "table 2, id 2"), 0)
		require.NoError(t, err)
		for _, b := range bounds {
			b.States = 5_000_000
			found, err := search.Explore(r.scenarios()[0], b)
			require.NoError(t, err)
			b.Plain = true
			plain, err := search.Explore(r.scenarios()[0], b)
			require.NoError(t, err)
			require.Greater(t, plain.States, found.States)
			require.Empty(t, search.Missing(plain, found))
			require.Empty(t, search.Missing(found, plain))
			t.Log(w.Name(), b.InFlight, b.Requests, found.States, plain.States)
		}
	}
}

// Another device that stays in a domain of the rewrite finds and fills what it shares.
func TestSearch_AgreesOnOthersWhoShareTheID(t *testing.T) {
	k := find(t, "vtd", "context")
	var n tally
	for _, w := range entry.Writers() {
		from, to := k.formNamed(t, "table 1, id 1"), k.formNamed(t, "table 2, id 2")
		for _, other := range [][]uint64{from, to} {
			r, err := k.start(MatrixOptions(), w, from, to, 0)
			require.NoError(t, err)
			r.b.put(r.b.at+contextSize, other...)
			for _, sc := range r.scenarios() {
				q := sc.Request
				q.Source++
				sc.Others = []emu.Request{q}
				n.search(t, sc, search.Bounds{InFlight: 2, Requests: requests(4), States: 5_000_000})
			}
		}
	}
	t.Log(&n)
}
