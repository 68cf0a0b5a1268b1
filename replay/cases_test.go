package replay

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/traces"
)

func generated(t testing.TB, name string, change func(*traces.Spec)) Input {
	spec, err := traces.NamedSpec(name)
	require.NoError(t, err)
	if change != nil {
		change(&spec)
	}
	return GeneratedInput(name, func() (traces.Source, error) { return traces.Generate(spec) })
}

// One PASID's entry is rewritten while the others of its table run.
func TestManyPASIDs_HitlessWhileOthersRun(t *testing.T) {
	in := generated(t, "many-pasids", func(s *traces.Spec) { s.Devices, s.PASIDs, s.Accesses = 2, 64, 30_000 })
	for _, c := range [][2]string{{"vtd", vtdScalable}, {"amdvi", amdviTagged}, {"smmuv3", smmuv3Substreams}} {
		for _, name := range []string{"default", "nocache"} {
			doc := run(t, Options{
				Preset: preset(t, name), Input: in, IOMMU: c[:1], Modes: c[1:], To: []To{ToChanged},
				Writers: []entry.Writer{entry.Hitless, entry.Linux},
			})
			for _, r := range doc.Runs {
				require.GreaterOrEqual(t, r.Requests, uint64(20_000))
				require.GreaterOrEqual(t, r.Rewrites.Count, uint64(100))
				if r.Writer == "hitless" {
					require.Zero(t, r.Faulted+r.Wrong+r.TornReads+r.Stale, "%s %s", c, name)
				} else {
					require.NotZero(t, r.Faulted, "%s %s", c, name)
				}
				if name == "default" {
					require.NotZero(t, r.PASIDCache.Hits, c)
					require.NotZero(t, r.PASIDCache.Evictions, c)
				} else {
					require.Zero(t, r.PASIDCache, c)
				}
			}
		}
	}
}

// A mode without PASIDs says so instead of translating something else.
func TestModesWithoutPASIDs_CannotCarryThem(t *testing.T) {
	in := generated(t, "many-pasids", func(s *traces.Spec) { s.PASIDs, s.Accesses = 4, 500 })
	for _, c := range [][2]string{{"vtd", vtdLegacy}, {"amdvi", amdviV1}, {"amdvi", amdviV2}, {"amdvi", amdviNested},
		{"smmuv3", smmuv3Stage1}, {"smmuv3", smmuv3Stage2}, {"smmuv3", smmuv3Nested}} {
		doc := run(t, Options{
			Preset: preset(t, "default"), Input: in, IOMMU: c[:1], Modes: c[1:], Writers: []entry.Writer{entry.Hitless}, To: []To{ToEqual},
		})
		require.Zero(t, doc.Runs[0].Requests, c)
		require.EqualValues(t, 500, doc.Runs[0].NotApplicable, c)
	}
}

func zst(t testing.TB, path string) io.Reader {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	d, err := zstd.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

func traceInput(name string, tr *traces.Trace) Input {
	return GeneratedInput(name, func() (traces.Source, error) { return tr.Source(), nil })
}

// What the importers make of real logs replays, control plane included.
func TestImportedLogs_Replay(t *testing.T) {
	short := Options{
		Preset: preset(t, "default"), Modes: []string{vtdScalable}, Writers: []entry.Writer{entry.Hitless},
		To: []To{ToChanged}, Requests: 3000, Rewrites: 10,
	}
	for _, capture := range []string{"vtd-legacy", "vtd-sm-ss"} {
		dir := "../traces/testdata/" + capture
		qemu, _, err := traces.ImportQEMU(zst(t, dir+"/qemu-trace.log.zst"), traces.ImportOptions{Name: "qemu"})
		require.NoError(t, err)
		ftrace, _, err := traces.ImportFtrace(zst(t, dir+"/ftrace.txt.zst"), traces.ImportOptions{Name: "ftrace"})
		require.NoError(t, err)
		for _, tr := range []*traces.Trace{qemu, ftrace, traces.SynthAccesses(ftrace)} {
			o := short
			o.Input = traceInput(tr.Header.Source, tr)
			doc := run(t, o)
			r := doc.Runs[0]
			require.Zero(t, r.Faulted+r.Wrong+r.TornReads+r.Stale, "%s %s", capture, tr.Header.Source)
			if tr == ftrace {
				require.Zero(t, r.Requests, "no accesses: control plane only")
				require.Len(t, doc.Notes, 1, "and it says so")
				continue
			}
			require.GreaterOrEqual(t, r.Requests, uint64(3000))
			require.GreaterOrEqual(t, r.Rewrites.Count, uint64(10))
		}
	}
}

func TestPace_RecordedTimesAndRate(t *testing.T) {
	in := generated(t, "sequential", func(s *traces.Spec) { s.Accesses, s.Interval = 2000, 10_000 })
	base := Options{
		Preset: preset(t, "default"), Input: in, Modes: []string{vtdLegacy}, Writers: []entry.Writer{entry.Hitless},
		To: []To{ToEqual}, Requests: 1000, Rewrites: -1,
	}
	cycles := func(change func(*Options)) uint64 {
		o := base
		change(&o)
		r := run(t, o).Runs[0]
		require.Zero(t, r.Faulted+r.Wrong)
		return r.Cycles
	}
	one := cycles(func(o *Options) { o.TimeScale = 1 })
	ten := cycles(func(o *Options) { o.TimeScale = 10 })
	require.InEpsilon(t, 10, float64(ten)/float64(one), 0.5)
	slow := cycles(func(o *Options) { o.Rate = 100_000 })
	require.Greater(t, slow, uint64(1000*10_000/2), "10,000 cycles between two requests of a device")
}

// Memory does not grow with the length of the trace.
func TestMemory_DoesNotGrowWithTheTrace(t *testing.T) {
	alloc := func(n uint64) float64 {
		in := generated(t, "ring", func(s *traces.Spec) { s.Accesses = n })
		o := Options{
			Preset: preset(t, "default"), Input: in, Modes: []string{vtdLegacy}, Writers: []entry.Writer{entry.Hitless},
			To: []To{ToEqual}, Requests: n, Rewrites: -1,
		}
		return heapPeak(func() { run(t, o) })
	}
	small, large := alloc(20_000), alloc(400_000)
	require.Less(t, large, small+32<<20, "bytes")
}

func TestPresets_UnitsCanBeBuilt(t *testing.T) {
	for _, name := range timing.PresetNames() {
		for _, a := range architectures {
			for _, mode := range a.modes {
				_, err := mode.unit(preset(t, name).For(a.name), 1)
				require.NoError(t, err)
			}
		}
	}
}

// What a unit says of itself follows the configuration that a preset names.
func TestPresets_ConfigNamesAUnit(t *testing.T) {
	identity := func(u emu.Unit) (list []uint64) {
		for off := uint32(0); off < 0x40; off += 4 {
			list = append(list, u.ReadReg(off, 4))
		}
		return list
	}
	for _, a := range architectures {
		p := preset(t, "full").For(a.name)
		full, err := a.modes[0].unit(p, 1)
		require.NoError(t, err)
		plain, err := a.modes[0].unit(preset(t, "default").For(a.name), 1)
		require.NoError(t, err)
		require.NotEqual(t, identity(plain), identity(full), a.name)
		p.Config = "none such"
		_, err = a.modes[0].unit(p, 1)
		require.ErrorIs(t, err, ErrOptions)
		require.ErrorContains(t, err, "none such")
	}
}

// A thousand devices in one unit: many times what its entry caches hold, and its walkers serve.
func TestManyDevices_OneUnit(t *testing.T) {
	in := generated(t, "multi-device", func(s *traces.Spec) { s.Devices, s.Accesses = 1000, 2000 })
	doc := run(t, Options{
		Preset: preset(t, "default"), Input: in, Modes: []string{vtdScalable}, Writers: []entry.Writer{entry.Hitless},
		To: []To{ToChanged}, Requests: 2000, Rewrites: 20, Outstanding: 1,
	})
	r := doc.Runs[0]
	require.Equal(t, 1000, doc.Trace.Devices)
	require.Zero(t, r.Faulted+r.Wrong+r.TornReads+r.Stale)
	require.GreaterOrEqual(t, r.Rewrites.Count, uint64(20))
}
