package replay

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/report"
)

func preset(t testing.TB, name string) *timing.Preset {
	p, err := timing.LoadPreset(name)
	require.NoError(t, err)
	return p
}

func run(t testing.TB, o Options) *report.Replay {
	if o.Input.Open == nil {
		o.Input = DefaultInput()
	}
	doc, err := Run(context.Background(), o)
	require.NoError(t, err)
	return doc
}

// interrupted returns p with interrupts in front of every other store of a rewrite.
func interrupted(p *timing.Preset) *timing.Preset {
	p.Host.SplitPerMil = 500
	for _, s := range p.Units {
		s.Host.SplitPerMil = 500
	}
	return p
}

// The verdicts of the table in docs/replay.md, on the embedded trace of a real system.
func TestDefaultTrace_Verdicts(t *testing.T) {
	both := []To{ToEqual, ToChanged}
	for _, c := range []struct {
		preset  string
		writers []entry.Writer
		to      []To
	}{
		{"default", []entry.Writer{entry.Hitless}, both},
		{"nocache", []entry.Writer{entry.Hitless}, both},
		// With caches an entry is hardly ever fetched in the window.
		{"nocache", []entry.Writer{entry.Naive}, both},
		// These fault in any case, wherever they go.
		{"default", []entry.Writer{entry.Linux, entry.BreakMake}, []To{ToChanged}},
	} {
		// Few rewrites, close to one another, of which every other one is interrupted between its stores.
		o := Options{Preset: interrupted(preset(t, c.preset)), Writers: c.writers, To: c.to, Outstanding: 8, Rewrites: 25, Requests: 2000}
		doc := run(t, o)
		require.Len(t, doc.Runs, len(vtdArch.modes)*len(c.writers)*len(c.to))
		for _, r := range doc.Runs {
			id := c.preset + " " + r.Mode + " " + r.Writer + " " + r.To
			require.GreaterOrEqual(t, r.Requests, uint64(20_000), id)
			require.GreaterOrEqual(t, r.Rewrites.Count, uint64(25), id)
			require.Equal(t, r.Requests, r.Translated+r.Faulted+r.NotApplicable, id)
			switch r.Writer {
			case "hitless":
				require.Zero(t, r.Faulted+r.Wrong+r.TornReads+r.Stale+r.Late, id)
				require.Equal(t, r.Rewrites.Count, r.Rewrites.Hitless, id)
				// One store and one wait where one store holds all that changes; else one more of each.
				most := uint64(1)
				if r.Mode != vtdLegacy && r.Mode != vtdScalable {
					most = 3
				}
				require.LessOrEqual(t, r.Rewrites.Stores, most*r.Rewrites.Count, id)
				require.LessOrEqual(t, r.Rewrites.Waits, most*r.Rewrites.Count, id)
			case "linux", "breakmake":
				require.NotZero(t, r.Faulted, id)
				require.Zero(t, r.Wrong+r.TornReads+r.Stale+r.Late, id)
				require.Equal(t, r.Rewrites.Count, r.Rewrites.Disruptive, id)
			case "naive":
				require.NotZero(t, r.TornReads, id)
			}
		}
	}
}

// A driver that leaves one invalidation out has a visible victim, and no writer and no omission makes
// a run hang.
func TestOmittedInvalidation_IsStale(t *testing.T) {
	stale := func(r report.Run) bool { return r.Stale > 0 && r.Wrong == 0 }
	for _, c := range []struct {
		mode   string
		omit   entry.Omit
		victim func(report.Run) bool
	}{
		{vtdLegacy, entry.OmitContext, stale},
		{vtdScalable, entry.OmitPASID, stale},
		// Translations under the old id wait for the id's next owner.
		{vtdLegacy, entry.OmitIOTLB, func(r report.Run) bool { return r.Wrong > 0 }},
		{vtdScalable, entry.OmitIOTLB, func(r report.Run) bool { return r.Wrong > 0 }},
		{vtdFirst, entry.OmitPASID, stale},
		{vtdFirst, entry.OmitIOTLB, func(r report.Run) bool { return r.Wrong > 0 }},
		// The stale entry goes on filling the IOTLB under an id that the same PASID of another device gets.
		{vtdTagged, entry.OmitPASID, func(r report.Run) bool { return r.Stale > 0 && r.Wrong > 0 }},
		{vtdNested, entry.OmitPASID, stale},
		{vtdNested, entry.OmitIOTLB, func(r report.Run) bool { return r.Wrong > 0 }},
		// Without the wait nobody knows when the rest is done.
		{vtdLegacy, entry.OmitWait, func(r report.Run) bool { return r.Stale > 0 && r.Late > 0 }},
	} {
		o := Options{
			Preset: preset(t, "default"), Modes: []string{c.mode}, To: []To{ToChanged}, Omit: c.omit,
			Writers: []entry.Writer{entry.Hitless}, Requests: 4000, Rewrites: 40,
		}
		r := run(t, o).Runs[0]
		require.True(t, c.victim(r), "%s omit %#x: faulted %d wrong %d stale %d late %d", r.Mode, c.omit, r.Faulted, r.Wrong, r.Stale, r.Late)
		require.NotEmpty(t, r.Broken())
		o.Writers, o.Requests, o.Rewrites = []entry.Writer{entry.Linux, entry.Naive, entry.BreakMake}, 500, 5
		run(t, o) // ends
	}
}

func TestDeterminism_AnyNumberOfProcessors(t *testing.T) {
	var first []byte
	for _, n := range []int{1, 3} {
		old := runtime.GOMAXPROCS(n)
		doc := run(t, Options{Preset: preset(t, "default"), To: []To{ToChanged}, Requests: 400, Rewrites: 4, Seed: 7, Outstanding: 4})
		runtime.GOMAXPROCS(old)
		doc.Wall = report.Wall{}
		b, err := json.Marshal(doc)
		require.NoError(t, err)
		if first == nil {
			first = b
		}
		require.Equal(t, string(first), string(b))
	}
}

func TestSeed_ChangesTheRun(t *testing.T) {
	cycles := map[uint64]bool{}
	for seed := range uint64(3) {
		doc := run(t, Options{
			Preset: preset(t, "default"), Requests: 2000, Rewrites: 10, Seed: seed + 1,
			Modes: []string{vtdLegacy}, Writers: []entry.Writer{entry.Naive}, To: []To{ToEqual},
		})
		cycles[doc.Runs[0].Cycles] = true
	}
	require.Greater(t, len(cycles), 1)
}

func TestCancel_ReturnsWhatWasDone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	doc, err := Run(ctx, Options{Preset: preset(t, "default"), Input: DefaultInput()})
	require.ErrorIs(t, err, context.Canceled)
	require.NotNil(t, doc)
	require.True(t, doc.Incomplete)
	require.NotNil(t, doc.Runs)

	// In the middle: the run that was under way tells how far it came.
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	o := Options{
		Preset: preset(t, "default"), Input: DefaultInput(), Modes: []string{vtdLegacy}, Writers: []entry.Writer{entry.Hitless},
		To: []To{ToEqual}, Requests: 1 << 40,
		Progress: func(p []Progress) {
			if p[0].Requests > 0 {
				cancel()
			}
		},
	}
	doc, err = Run(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, doc.Incomplete)
	require.Len(t, doc.Runs, 1)
	require.True(t, doc.Runs[0].Incomplete)
	require.NotZero(t, doc.Runs[0].Requests)
}

func TestOptions_Errors(t *testing.T) {
	for _, o := range []Options{
		{},
		{Preset: preset(t, "default")},
		{Preset: preset(t, "default"), Input: DefaultInput(), IOMMU: []string{"none"}},
		{Preset: preset(t, "default"), Input: DefaultInput(), Modes: []string{"none"}},
		{Preset: preset(t, "default"), Input: DefaultInput(), To: []To{"none"}},
		{Preset: preset(t, "default"), Input: DefaultInput(), Outstanding: -1},
		{Preset: preset(t, "default"), Input: DefaultInput(), TimeScale: 1, Rate: 1},
	} {
		_, err := Run(context.Background(), o)
		require.ErrorIs(t, err, ErrOptions)
	}
	p := preset(t, "default")
	p.Units = map[string]*timing.Section{"no-such-unit": &p.Section}
	_, err := Run(context.Background(), Options{Preset: p, Input: DefaultInput()})
	require.ErrorIs(t, err, ErrOptions)
	require.ErrorContains(t, err, "units.no-such-unit: want one of "+strings.Join(Units(), ", "))
}

// Every cell shows up in the progress, and the last report says that all are done.
func TestProgress_EndsDone(t *testing.T) {
	var last []Progress
	doc := run(t, Options{
		Preset: preset(t, "default"), Requests: 1000, Rewrites: 5, Modes: []string{vtdLegacy},
		Progress: func(p []Progress) { last = p },
	})
	require.Len(t, last, len(doc.Runs))
	for i, p := range last {
		require.True(t, p.Done)
		require.Equal(t, doc.Runs[i].Requests, p.Requests)
		require.Equal(t, doc.Runs[i].Writer, p.Writer)
	}
}
