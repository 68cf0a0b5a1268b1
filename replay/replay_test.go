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
	"github.com/iommulab/iommulab/traces"
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

// expected is what rewrites in a mode are like.
var expected = map[string]struct {
	most  uint64 // stores and waits of a hitless one
	word  bool   // one word changes: nobody can tear that
	linux linux
}{
	"vtd legacy":                {most: 1},
	"vtd scalable-second-stage": {most: 1},
	// Pointer and id are in two parts.
	"vtd scalable-first-stage": {most: 2},
	"vtd pasid-tagged":         {most: 2},
	"vtd nested":               {most: 2},
	"amdvi v1":                 {most: 1},
	"amdvi v2":                 {most: 1},
	"amdvi nested":             {most: 1},
	"amdvi pasid-tagged":       {most: 1, word: true},
	"smmuv3 stage1":            {most: 2},
	"smmuv3 stage1-new-table":  {most: 1, word: true, linux: linuxHitless},
	"smmuv3 stage2":            {most: 2},
	"smmuv3 nested":            {most: 3, linux: linuxHalf}, // a parent that maps the same goes by a third id
	"smmuv3 substreams":        {most: 2},
}

// linux is what the writer of that name does: on SMMUv3 it looks for the one word that decides.
type linux int

const (
	linuxFaults linux = iota
	linuxHitless
	linuxHalf // every other rewrite, that of the first stage, changes one word alone
)

// The verdicts of the table in docs/replay.md, on the embedded trace of a real system.
func TestDefaultTrace_Verdicts(t *testing.T) {
	both := []To{ToEqual, ToChanged}
	for _, c := range []struct {
		preset   string
		writers  []entry.Writer
		to       []To
		rewrites int
	}{
		{"default", []entry.Writer{entry.Hitless}, both, 12},
		{"nocache", []entry.Writer{entry.Hitless}, []To{ToChanged}, 12},
		{"full", []entry.Writer{entry.Hitless}, []To{ToChanged}, 5},
		// With caches an entry is hardly ever fetched in the window.
		{"nocache", []entry.Writer{entry.Naive}, []To{ToChanged}, 12},
		// These fault in any case, wherever they go.
		{"default", []entry.Writer{entry.Linux, entry.BreakMake}, []To{ToChanged}, 5},
	} {
		// Few rewrites, close to one another, of which every other one is interrupted between its stores.
		o := Options{
			Preset: interrupted(preset(t, c.preset)), Writers: c.writers, To: c.to,
			Outstanding: 8, Rewrites: c.rewrites, Requests: uint64(80 * c.rewrites),
		}
		doc := run(t, o)
		require.Len(t, doc.Runs, len(expected)*len(c.writers)*len(c.to))
		for _, r := range doc.Runs {
			id := c.preset + " " + r.IOMMU + " " + r.Mode + " " + r.Writer + " " + r.To
			want, ok := expected[r.IOMMU+" "+r.Mode]
			require.True(t, ok, id)
			require.GreaterOrEqual(t, r.Requests, uint64(1000*c.rewrites), id)
			require.GreaterOrEqual(t, r.Rewrites.Count, uint64(c.rewrites), id)
			require.Equal(t, r.Requests, r.Translated+r.Faulted+r.NotApplicable, id)
			switch {
			case r.Writer == "hitless":
				require.LessOrEqual(t, r.Rewrites.Stores, want.most*r.Rewrites.Count, id)
				require.LessOrEqual(t, r.Rewrites.Waits, want.most*r.Rewrites.Count, id)
				fallthrough
			case want.word && r.Writer == "naive", want.linux == linuxHitless && r.Writer == "linux":
				require.Zero(t, r.Faulted+r.Wrong+r.TornReads+r.Stale+r.Late, id)
				require.Equal(t, r.Rewrites.Count, r.Rewrites.Hitless, id)
			case r.Writer == "naive":
				require.NotZero(t, r.TornReads, id)
			default:
				require.NotZero(t, r.Faulted, id)
				require.Zero(t, r.Wrong+r.TornReads+r.Stale+r.Late, id)
				if want.linux == linuxHalf && r.Writer == "linux" {
					require.InDelta(t, r.Rewrites.Count/2, r.Rewrites.Disruptive, float64(doc.Trace.Devices), id)
					require.NotZero(t, r.Rewrites.Hitless, id)
					continue
				}
				require.Equal(t, r.Rewrites.Count, r.Rewrites.Disruptive, id)
			}
		}
	}
}

// A device table entry that is not valid lets requests pass untranslated: who blocks a device by V=0 while
// its DMA runs leaks it. It is declared content, so that nothing is torn.
func TestLeak_RequestsPassUntranslated(t *testing.T) {
	o := Options{
		Preset: interrupted(preset(t, "default")), IOMMU: []string{"amdvi"}, Modes: []string{amdviV1, amdviV2, amdviNested},
		Writers: []entry.Writer{entry.Leak}, Rewrites: 10, Requests: 1000,
	}
	for _, r := range run(t, o).Runs {
		require.NotZero(t, r.Wrong, r.Mode)
		require.Zero(t, r.TornReads+r.Faulted, r.Mode)
		require.Equal(t, r.Rewrites.Count, r.Rewrites.Disruptive, r.Mode)
	}
	// Entries of other kinds have no form that lets requests pass.
	for _, c := range [][2]string{{"amdvi", amdviTagged}, {"vtd", vtdLegacy}, {"smmuv3", smmuv3Stage2}} {
		o.Input, o.IOMMU, o.Modes = DefaultInput(), c[:1], c[1:]
		_, err := Run(context.Background(), o)
		require.ErrorIs(t, err, entry.ErrNoForm)
	}
}

// A driver that leaves one invalidation out has a visible victim, and no writer and no omission makes
// a run hang.
func TestOmittedInvalidation_IsStale(t *testing.T) {
	stale := func(r report.Run) bool { return r.Stale > 0 && r.Wrong == 0 }
	staleAtLeast := func(r report.Run) bool { return r.Stale > 0 }
	// What lives on under an id waits for the next owner of the id.
	wrong := func(r report.Run) bool { return r.Wrong > 0 }
	late := func(r report.Run) bool { return r.Stale > 0 && r.Late > 0 }
	for _, c := range []struct {
		iommu, mode string
		omit        entry.Omit
		victim      func(report.Run) bool
	}{
		{"vtd", vtdLegacy, entry.OmitContext, stale},
		{"vtd", vtdScalable, entry.OmitPASID, stale},
		{"vtd", vtdLegacy, entry.OmitIOTLB, wrong},
		{"vtd", vtdScalable, entry.OmitIOTLB, wrong},
		{"vtd", vtdFirst, entry.OmitPASID, stale},
		{"vtd", vtdFirst, entry.OmitIOTLB, wrong},
		// Here the stale entry may go on filling the IOTLB under an id that another device gets.
		{"vtd", vtdTagged, entry.OmitPASID, staleAtLeast},
		{"vtd", vtdNested, entry.OmitPASID, stale},
		{"vtd", vtdNested, entry.OmitIOTLB, wrong},
		// Without the wait nobody knows when the rest is done.
		{"vtd", vtdLegacy, entry.OmitWait, late},
		{"amdvi", amdviV1, entry.OmitContext, stale},
		{"amdvi", amdviV2, entry.OmitContext, stale},
		{"amdvi", amdviNested, entry.OmitContext, stale},
		{"amdvi", amdviTagged, entry.OmitPASID, stale},
		{"amdvi", amdviV1, entry.OmitIOTLB, wrong},
		{"amdvi", amdviV2, entry.OmitIOTLB, wrong},
		{"amdvi", amdviNested, entry.OmitIOTLB, wrong},
		{"amdvi", amdviTagged, entry.OmitIOTLB, staleAtLeast},
		{"amdvi", amdviV1, entry.OmitWait, late},
		{"smmuv3", smmuv3Stage1, entry.OmitPASID, stale},
		{"smmuv3", smmuv3NewTable, entry.OmitContext, stale},
		{"smmuv3", smmuv3Stage2, entry.OmitContext, stale},
		{"smmuv3", smmuv3Nested, entry.OmitContext, stale},
		{"smmuv3", smmuv3Substreams, entry.OmitPASID, staleAtLeast},
		{"smmuv3", smmuv3Stage1, entry.OmitIOTLB, wrong},
		{"smmuv3", smmuv3Substreams, entry.OmitIOTLB, wrong},
		{"smmuv3", smmuv3Nested, entry.OmitWait, late},
	} {
		o := Options{
			Preset: preset(t, "default"), IOMMU: []string{c.iommu}, Modes: []string{c.mode}, To: []To{ToChanged}, Omit: c.omit,
			Writers: []entry.Writer{entry.Hitless}, Requests: 2000, Rewrites: 20,
		}
		r := run(t, o).Runs[0]
		require.True(t, c.victim(r), "%s %s omit %#x: faulted %d wrong %d stale %d late %d", r.IOMMU, r.Mode, c.omit, r.Faulted, r.Wrong, r.Stale, r.Late)
		require.NotEmpty(t, r.Broken())
		// Devices that stay blocked keep the processor busy with their faults: a small trace.
		o.Input = generated(t, "multi-device", func(s *traces.Spec) { s.Devices, s.Accesses = 4, 500 })
		o.Writers, o.Requests, o.Rewrites = []entry.Writer{entry.Linux, entry.Naive, entry.BreakMake}, 500, 5
		run(t, o) // ends
	}
}

func TestDeterminism_AnyNumberOfProcessors(t *testing.T) {
	var first []byte
	for _, n := range []int{1, 3} {
		old := runtime.GOMAXPROCS(n)
		doc := run(t, Options{Preset: preset(t, "default"), To: []To{ToChanged}, Requests: 100, Rewrites: 1, Seed: 7, Outstanding: 4})
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
