package hitless

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
)

const (
	sid  = emu.SourceID(0x10)
	iova = emu.IOVA(0x4000)
)

// world is a unit brought up by its driver, with a device in an old domain and a new domain that
// maps the same address elsewhere.
type world struct {
	Scenario
	at       emu.PA
	old, new [2]uint64
	oldDID   uint32
	newDID   uint32
}

func newWorld(t *testing.T) *world {
	u, err := vtd.New(vtd.DefaultConfig())
	require.NoError(t, err)
	m := mem.New()
	cpu := emu.NewFunctional(u, m)
	frames, err := host.NewFrames(cpu, 1<<32, 1<<28)
	require.NoError(t, err)
	d, err := vtddriver.New(cpu, frames, vtddriver.Options{Mode: vtddriver.ModeLegacy, HAW: 48})
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	domain := func(pa emu.PA) host.Domain {
		dom, err := d.NewDomain(host.DomainSpec{})
		require.NoError(t, err)
		require.NoError(t, dom.Map(iova, pa, 4096, emu.RW))
		return dom
	}
	a, b := domain(0x10_0000), domain(0x20_0000)
	w := &world{oldDID: a.ID(), newDID: b.ID()}

	// What the new entry is, the driver says: it writes it once, and the old one again.
	require.NoError(t, d.Attach(sid, emu.NoPASID, b))
	_, raw := d.EntryAt(sid, emu.NoPASID)
	w.new = [2]uint64(raw)
	require.NoError(t, d.Detach(sid, emu.NoPASID))
	require.NoError(t, d.Attach(sid, emu.NoPASID, a))
	w.at, raw = d.EntryAt(sid, emu.NoPASID)
	w.old = [2]uint64(raw)
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

// flush is what has to follow the rewrite: context cache of the device, IOTLB of the old domain.
func (w *world) flush() []Step {
	return []Step{
		Sync("context cache, device", emu.Selector{Caches: emu.CacheEntry.Set(), Match: emu.MatchSource, Source: sid}),
		Sync("IOTLB, old domain", emu.Selector{Caches: emu.CacheIOTLB.Set() | emu.CacheWalk.Set(), Match: emu.MatchDomain, Domain: w.oldDID}),
	}
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

func TestLegacyContext_OneSixteenByteStoreIsHitless(t *testing.T) {
	w := newWorld(t)
	w.Program = w.oneStore()
	rep, err := Explore(&w.Scenario)
	require.NoError(t, err)
	require.Len(t, rep.Old, 1)
	require.Len(t, rep.New, 1)
	require.Equal(t, emu.PA(0x10_0000), rep.Old[0].PA)
	require.Equal(t, emu.PA(0x20_0000), rep.New[0].PA)
	require.GreaterOrEqual(t, len(rep.All), 2, "both ways are reachable")
	require.Empty(t, rep.Torn(&w.Scenario, w.at, 2))
	require.Empty(t, rep.Stale())
	for _, s := range rep.Outside() {
		t.Errorf("neither old nor new: pa %#x\n%s", s.PA, Timeline(&w.Scenario, &s))
	}
}

func TestLegacyContext_TwoStoresAreTorn(t *testing.T) {
	w := newWorld(t)
	w.Program = w.twoStores()
	rep, err := Explore(&w.Scenario)
	require.NoError(t, err)
	torn := rep.Torn(&Scenario{Memory: w.Memory, Program: []Step{Store128("", w.at, w.new[0], w.new[1])}}, w.at, 2)
	require.NotEmpty(t, torn)
	out := rep.Outside()
	require.NotEmpty(t, out, "the new table under the old domain id")
	found := false
	for _, s := range out {
		found = found || s.Prov.Entry != rep.Old[0].Prov.Entry && s.Prov.Entry != rep.New[0].Prov.Entry
	}
	require.True(t, found, "an entry version that is neither old nor new")
	require.Contains(t, Timeline(&w.Scenario, &torn[0]), "low half")
}

// Without one of the invalidations the old translation outlives the rewrite.
func TestLegacyContext_EachInvalidationIsNeeded(t *testing.T) {
	for drop := 1; drop <= 2; drop++ {
		w := newWorld(t)
		w.Program = w.oneStore()
		w.Program = append(w.Program[:drop:drop], w.Program[drop+1:]...)
		rep, err := Explore(&w.Scenario)
		require.NoError(t, err)
		// Without the second the old translations stay under the old id, which this device does not use
		// any more: their victim is the id's next owner.
		require.Equal(t, drop == 1, len(rep.Stale()) > 0, "without step %d", drop)
	}
}
