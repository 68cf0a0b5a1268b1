package hitless

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/iotlb"
)

const (
	sid  = emu.SourceID(0x10)
	iova = emu.IOVA(0x4000)
)

// world is a unit brought up by its driver, with a device in an old domain and a new domain that
// maps the same address elsewhere.
type world struct {
	Scenario
	mode     vtddriver.Mode
	at       emu.PA
	old, new []uint64
	oldDID   uint32
}

func newWorld(t *testing.T, mode vtddriver.Mode, config vtd.Config) *world {
	u, err := vtd.New(config)
	require.NoError(t, err)
	m := mem.New()
	cpu := emu.NewFunctional(u, m)
	frames, err := host.NewFrames(cpu, 1<<32, 1<<28)
	require.NoError(t, err)
	d, err := vtddriver.New(cpu, frames, vtddriver.Options{Mode: mode, HAW: 48})
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	domain := func(pa emu.PA) host.Domain {
		dom, err := d.NewDomain(host.DomainSpec{})
		require.NoError(t, err)
		require.NoError(t, dom.Map(iova, pa, 4096, emu.RW))
		return dom
	}
	a, b := domain(0x10_0000), domain(0x20_0000)
	w := &world{mode: mode, oldDID: a.ID()}

	// What the new entry is, the driver says: it writes it once, and the old one again.
	require.NoError(t, d.Attach(sid, emu.NoPASID, b))
	_, w.new = d.EntryAt(sid, emu.NoPASID)
	require.NoError(t, d.Detach(sid, emu.NoPASID))
	require.NoError(t, d.Attach(sid, emu.NoPASID, a))
	w.at, w.old = d.EntryAt(sid, emu.NoPASID)
	require.Equal(t, w.old[2:], w.new[2:], "all that differs is in the first 16 bytes")
	for c := range emu.NumCaches {
		if cache := u.Cache(c); cache != nil {
			cache.Reset()
		}
	}
	w.Scenario = Scenario{
		Unit: u, Memory: m,
		Request: emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read},
	}
	return w
}

// flush is what has to follow the rewrite: the cached entry of the device, translations of the old
// domain.
func (w *world) flush() []Step {
	entry := Sync("context cache, device", emu.Selector{Caches: emu.CacheEntry.Set(), Match: emu.MatchSource, Source: sid})
	if w.mode == vtddriver.ModeScalable {
		entry = Sync("PASID cache, old domain", emu.Selector{
			Caches: emu.CachePASID.Set(), Match: emu.MatchDomain | emu.MatchPASID, Domain: w.oldDID, PASID: 0,
		})
	}
	return []Step{entry, Sync("IOTLB, old domain", emu.Selector{
		Caches: emu.CacheIOTLB.Set() | emu.CacheWalk.Set(), Match: emu.MatchDomain, Domain: w.oldDID,
	})}
}

func (w *world) twoStores() []Step {
	return append([]Step{
		Store64("low half", w.at, w.new[0]),
		Store64("high half", w.at+8, w.new[1]),
	}, w.flush()...)
}

func (w *world) oneStore() []Step {
	return append([]Step{Store128("whole entry", w.at, w.new[0], w.new[1])}, w.flush()...)
}

// worlds are the units and modes that the same two programs are explored in.
var worlds = []struct {
	name   string
	mode   vtddriver.Mode
	cached bool
}{
	{"legacy", vtddriver.ModeLegacy, true},
	{"legacy without caches", vtddriver.ModeLegacy, false},
	{"scalable", vtddriver.ModeScalable, true},
	{"scalable without caches", vtddriver.ModeScalable, false},
}

func eachWorld(t *testing.T, f func(t *testing.T, w *world, cached bool)) {
	for _, c := range worlds {
		t.Run(c.name, func(t *testing.T) {
			config := vtd.DefaultConfig()
			if !c.cached {
				config.ContextCache, config.PASIDCache, config.IOTLB, config.Walk = iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}, nil
			}
			f(t, newWorld(t, c.mode, config), c.cached)
		})
	}
}

// explore checks what holds of every report.
func (w *world) explore(t *testing.T, cached bool) *Report {
	rep, err := Explore(&w.Scenario)
	require.NoError(t, err)
	require.Len(t, rep.Old, 1)
	require.Len(t, rep.New, 1)
	require.Equal(t, emu.PA(0x10_0000), rep.Old[0].PA)
	require.Equal(t, emu.PA(0x20_0000), rep.New[0].PA)
	require.True(t, slices.IsSortedFunc(rep.All, func(a, b Seen) int {
		if n := len(a.Path) - len(b.Path); n != 0 {
			return n
		}
		return a.Hits - b.Hits
	}), "the simplest way comes first")
	for i := range rep.All {
		hits := 0
		for _, line := range rep.All[i].Path {
			if strings.Contains(line, " holds ") {
				hits++
			}
		}
		require.Equal(t, hits, rep.All[i].Hits)
		require.True(t, cached || hits == 0, "a hit in a cache that is not there")
	}
	require.Equal(t, cached, rep.Rounds > 1)
	return rep
}

func TestEntry_OneSixteenByteStoreIsHitless(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world, cached bool) {
		w.Program = w.oneStore()
		rep := w.explore(t, cached)
		require.GreaterOrEqual(t, len(rep.All), 2, "both ways are reachable")
		require.Empty(t, rep.Torn(w.at, w.old, w.new))
		require.NotEmpty(t, rep.Torn(w.at, w.old), "the new content, if it is not declared")
		require.Empty(t, rep.Stale())
		for _, s := range rep.Outside() {
			t.Errorf("neither old nor new: pa %#x\n%s", s.PA, Timeline(&w.Scenario, &s))
		}
	})
}

func TestEntry_TwoStoresAreTorn(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world, cached bool) {
		w.Program = w.twoStores()
		rep := w.explore(t, cached)
		torn := rep.Torn(w.at, w.old, w.new)
		require.NotEmpty(t, torn)
		between := append([]uint64{w.new[0]}, w.old[1:]...)
		require.Empty(t, rep.Torn(w.at, w.old, between, w.new), "a writer may declare what lies between")
		require.Contains(t, Timeline(&w.Scenario, &torn[0]), "low half")
		out := rep.Outside()
		require.NotEmpty(t, out, "the new table under the old domain id")
		require.True(t, slices.ContainsFunc(out, func(s Seen) bool {
			return s.Prov.Entry != rep.Old[0].Prov.Entry && s.Prov.Entry != rep.New[0].Prov.Entry
		}), "an entry version that is neither old nor new")
		require.Empty(t, rep.Stale())
	})
}

// The first torn way is a simplest one: root and context entry from memory, the rest from the IOTLB.
func TestTorn_SimplestWayFirst(t *testing.T) {
	w := newWorld(t, vtddriver.ModeLegacy, vtd.DefaultConfig())
	w.Program = w.twoStores()
	rep := w.explore(t, true)
	require.Len(t, rep.Torn(w.at, w.old, w.new)[0].Path, 3)
	require.Len(t, rep.Outside()[0].Path, 2, "context cache and IOTLB")
}

// Without one of the invalidations the old translation outlives the rewrite.
func TestLegacyContext_EachInvalidationIsNeeded(t *testing.T) {
	for drop := 1; drop <= 2; drop++ {
		w := newWorld(t, vtddriver.ModeLegacy, vtd.DefaultConfig())
		w.Program = w.oneStore()
		w.Program = append(w.Program[:drop:drop], w.Program[drop+1:]...)
		rep, err := Explore(&w.Scenario)
		require.NoError(t, err)
		// Without the second the old translations stay under the old id, which this device does not use
		// any more: their victim is the id's next owner.
		require.Equal(t, drop == 1, len(rep.Stale()) > 0, "without step %d", drop)
	}
}
