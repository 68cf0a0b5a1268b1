package traces

import (
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// brief shortens a spec to what a test can check by brute force.
func brief(s Spec) Spec {
	s.Accesses = 20_000
	return s
}

func TestGenerate_EveryPatternReplaysAndIsDeterministic(t *testing.T) {
	for _, name := range SpecNames() {
		t.Run(name, func(t *testing.T) {
			spec, err := NamedSpec(name)
			require.NoError(t, err)
			spec = brief(spec)
			run := func(spec Spec) *Trace {
				g, err := Generate(spec)
				require.NoError(t, err)
				tr, err := ReadAll(g)
				require.NoError(t, err)
				return tr
			}
			a := run(spec)
			require.Equal(t, a, run(spec))
			checkTrace(t, a)
			require.True(t, a.Header.Synthetic)
			require.Len(t, a.Header.Devices, spec.Devices)

			var dma, writes uint64
			spaces := make(map[Space]int)
			frames := make(map[emu.PA]bool)
			for i := range a.Events {
				e := &a.Events[i]
				switch {
				case e.Kind.IsDMA():
					dma++
					spaces[Space{e.SID, e.PASID}]++
					require.NotZero(t, e.Len)
					if e.Kind == Write {
						writes++
					}
				case e.Kind == Map && spec.Pattern != Churn:
					require.False(t, frames[e.PA], "memory is not shared")
					frames[e.PA] = true
				}
			}
			require.Equal(t, spec.Accesses, dma)
			require.Len(t, spaces, spec.Devices*max(spec.PASIDs, 1))
			require.InDelta(t, 0.5, float64(writes)/float64(dma), 0.05)

			spec.Seed++
			require.NotEqual(t, a.Events, run(spec).Events)
		})
	}
}

func TestGenerate_ChurnUnmapsEverything(t *testing.T) {
	g, err := Generate(brief(DefaultSpec(Churn)))
	require.NoError(t, err)
	var state Mappings
	live := 0
	for e, err := range All(g) {
		require.NoError(t, err)
		state.Apply(&e)
	}
	for _, s := range state.Spaces() {
		live += len(state.Of(s))
	}
	require.Zero(t, live)
}

func TestGenerate_ZipfPrefersFewPages(t *testing.T) {
	spec := brief(DefaultSpec(Zipf))
	spec.Devices = 1
	g, err := Generate(spec)
	require.NoError(t, err)
	pages := make(map[emu.IOVA]int)
	for e, err := range All(g) {
		require.NoError(t, err)
		if e.Kind.IsDMA() {
			pages[e.IOVA/emu.PageSize]++
		}
	}
	top := 0
	for _, n := range pages {
		top = max(top, n)
	}
	require.Greater(t, top, 20_000/10, "the first of 1024 pages takes far more than its share")
}

func TestGenerate_BadParametersAreNamed(t *testing.T) {
	for field, change := range map[string]func(*Spec){
		"Pattern":                  func(s *Spec) { s.Pattern = numPatterns },
		"Devices":                  func(s *Spec) { s.Devices = 0 },
		"FirstSID":                 func(s *Spec) { s.FirstSID = 0xffff },
		"PASIDs":                   func(s *Spec) { s.PASIDs = -1 },
		"Devices*PASIDs":           func(s *Spec) { s.Devices, s.PASIDs = 60000, 1<<19 },
		"MapBytes":                 func(s *Spec) { s.MapBytes = 4097 },
		"Footprint":                func(s *Spec) { s.Footprint = 4097 },
		"Footprint*Devices*PASIDs": func(s *Spec) { s.Footprint, s.Devices = 1<<40, 1000 },
		"Base":                     func(s *Spec) { s.Base = 1 },
		"PABase":                   func(s *Spec) { s.PABase = 1 << 50 },
		"AccessBytes":              func(s *Spec) { s.AccessBytes = 8192 },
		"WriteFraction":            func(s *Spec) { s.WriteFraction = 1.5 },
		"Interval":                 func(s *Spec) { s.Interval = 1 << 60 },
		"ZipfS":                    func(s *Spec) { s.ZipfS = 1 },
		"Burst":                    func(s *Spec) { s.Pattern, s.Burst = Bursts, 0 },
		"BurstGap":                 func(s *Spec) { s.Pattern, s.BurstGap = Bursts, 1<<60 },
		"Outstanding":              func(s *Spec) { s.Pattern, s.Outstanding = Churn, 0 },
		"Accesses":                 func(s *Spec) { s.Accesses = 1 << 63 },
	} {
		spec := DefaultSpec(Zipf)
		change(&spec)
		_, err := Generate(spec)
		var bad *SpecError
		require.ErrorAs(t, err, &bad, field)
		require.Equal(t, field, bad.Field)
	}
	_, err := Generate(Spec{})
	require.Error(t, err)
	_, err = NamedSpec("none")
	require.ErrorContains(t, err, "sequential, ring, random")
}

// discard counts and forgets.
type discard struct{ n int }

func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }

// A stream of any length is written and read back in the memory of one block.
func TestStream_MemoryDoesNotGrowWithTheTrace(t *testing.T) {
	held := func(accesses uint64) uint64 {
		spec := DefaultSpec(Random)
		spec.Accesses = accesses
		g, err := Generate(spec)
		require.NoError(t, err)
		pr, pw := io.Pipe()
		go func() {
			w, err := NewWriter(pw, g.Header())
			if err == nil {
				if _, err = Copy(w, g); err == nil {
					err = w.Close()
				}
			}
			pw.CloseWithError(err)
		}()
		r, err := NewReader(pr)
		require.NoError(t, err)
		buf := make([]Event, batch)
		var peak, n uint64
		for i := 0; ; i++ {
			k, err := r.Read(buf)
			n += uint64(k)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if i%512 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
		require.Greater(t, n, accesses)
		return peak
	}
	long := uint64(1_000_000)
	if testing.Short() {
		long = 300_000
	}
	first := held(100_000)
	require.Less(t, held(long), first+4<<20)
}

func TestReader_DecodesWithoutAllocating(t *testing.T) {
	spec := DefaultSpec(Random)
	spec.Accesses = blockRecords * 2
	g, err := Generate(spec)
	require.NoError(t, err)
	pr, pw := io.Pipe()
	defer pr.Close()
	go func() {
		w, err := NewWriter(pw, g.Header())
		if err == nil {
			_, err = Copy(w, g)
		}
		pw.CloseWithError(err)
	}()
	r, err := NewReader(pr)
	require.NoError(t, err)
	buf := make([]Event, 256)
	_, err = r.Read(buf)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(50, func() {
		if _, err := r.Read(buf); err != nil {
			t.Error(err)
		}
	}))
}
