package vtd_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// What the counters say against what the caches and the executors count by themselves.

// busCounter counts what goes over the memory bus.
type busCounter struct {
	emu.Memory
	reads, swaps uint64
}

func (c *busCounter) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	c.reads++
	return c.Memory.Load(pa, size, v)
}

func (c *busCounter) CAS(pa emu.PA, size uint8, old, new, found *[4]uint64) (swapped, ok bool) {
	swapped, ok = c.Memory.CAS(pa, size, old, new, found)
	if swapped && ok {
		c.swaps++
	}
	return swapped, ok
}

// cacheCounts are the counters of allEvents from the context-cache on, as the caches have them.
func cacheCounts(before, after [emu.NumCaches]emu.CacheStats) (v []uint64) {
	for _, ids := range [][]emu.CacheID{{emu.CacheEntry}, {emu.CachePASID}, {emu.CacheIOTLB}, {emu.CacheWalk, emu.CacheWalk2}} {
		var lookups, hits uint64
		for _, id := range ids {
			lookups += after[id].Lookups - before[id].Lookups
			hits += after[id].Hits - before[id].Hits
		}
		v = append(v, lookups, hits)
	}
	return v
}

// crowdRig is a unit with the tables of crowd, translating.
func crowdRig(t testing.TB, seed uint64, change ...func(*vtd.Config)) (*rig, *rand.Rand) {
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, change...)
	crowd(r, rng, seed&1 != 0)
	if seed&1 != 0 {
		r.scalable()
	} else {
		r.legacy()
	}
	return r, rng
}

func TestCountersAgreeWithCachesAndExecutor_Functional(t *testing.T) {
	for seed := range uint64(4) {
		r, rng := crowdRig(t, seed, pms(len(allEvents)), func(c *vtd.Config) { c.CM = seed&2 != 0 })
		m := &busCounter{Memory: r.Mem}
		r.F = emu.NewFunctional(r.u, m)
		r.useAll()
		before, requests := emutest.Stats(r.u), uint64(0)
		m.reads = 0
		for i := range 20000 {
			var q emu.Request
			randomRequest(rng, &q)
			r.Do(q)
			requests++
			if i%97 == 0 {
				r.clearFaults()
				r.submitGlobal()
			}
		}
		want := append([]uint64{requests, m.reads, m.swaps}, cacheCounts(before, emutest.Stats(r.u))...)
		want = append(want, make([]uint64, timedEvents)...) // nothing here has a clock
		require.Equal(t, want, r.counters(), "seed %d", seed)
		require.Equal(t, seed&1 != 0, m.swaps > 0)
	}
}

func TestFusedLookupCountsAsStepDoes(t *testing.T) {
	filters := []map[uint32]uint64{
		{}, {spec.FilterRequester: 0x101}, {spec.FilterDomain: 2}, {spec.FilterPASID: 1},
		{spec.FilterPASID: spec.FilterPFM.Put(spec.PFMWithout)}, {spec.FilterAT: 1}, {spec.FilterLevel: 5},
	}
	for seed := range uint64(4) {
		var got [2][]uint64
		for i := range got {
			r, rng := crowdRig(t, seed, pms(60, func(p *vtd.PerfConfig) { p.CntrOff = 0x8000 }))
			if i == 1 {
				r.F.Trace = func(*emu.Txn) {} // no fused look-ups
			}
			n := 0
			for _, e := range allEvents[:len(allEvents)-timedEvents] {
				for _, f := range filters {
					if n < 60 && r.tryUse(n, e[0], e[1], f) == 0 {
						n++
					}
				}
			}
			require.Greater(t, n, 30)
			for range 10000 {
				var q emu.Request
				randomRequest(rng, &q)
				r.Do(q)
			}
			for c := range n {
				got[i] = append(got[i], r.counter(c))
			}
		}
		require.Equal(t, got[0], got[1], "seed %d", seed)
	}
}

// issuer issues random requests, as many as fit, until it has issued all. From the trace it takes how
// long each was in the unit, needed a page walk, and had a memory access outstanding.
type issuer struct {
	m     *timing.Machine
	dev   int
	rng   *rand.Rand
	left  int
	ended uint64
	swaps uint64

	last  map[*emu.Txn]uint64     // when its last question was answered
	walk  map[*emu.Txn]uint64     // when its first look-up in the IOTLB was
	done  map[*emu.Request]uint64 // when it ended
	total uint64
	walks uint64
	mem   uint64
}

func (c *issuer) issue() {
	for c.left > 0 {
		var q emu.Request
		randomRequest(c.rng, &q)
		if !c.m.Issue(c.dev, 0, 0, &q) {
			return
		}
		c.left--
	}
}

func (c *issuer) trace(now uint64, _ int, x *emu.Txn) {
	switch x.Act.Op {
	case emu.OpFetch, emu.OpStore, emu.OpCAS:
		c.mem += now - c.last[x]
		if x.Act.Op == emu.OpCAS && x.Ans == emu.AnsOK {
			c.swaps++
		}
	case emu.OpProbe:
		if x.Act.Cache == emu.CacheIOTLB && c.walk[x] == 0 {
			c.walk[x] = now
		}
	case emu.OpAcquire:
		if x.Act.Slot == emu.SlotMiss {
			c.walk[x] |= 1 << 63 // it needs a walk
		}
	case emu.OpDone:
		if w := c.walk[x]; w>>63 != 0 {
			c.walks += now - w&^(1<<63)
		}
		delete(c.walk, x)
		c.done[&x.Req] = now
	}
	c.last[x] = now
}

func (c *issuer) Complete(r *timing.Completion) {
	c.ended++
	if end, ok := c.done[r.Request]; ok {
		c.total += end - r.Read
		delete(c.done, r.Request)
	}
	c.m.Timer(c.dev, c.m.Now()+1, 0)
}
func (c *issuer) Timer(uint32)                 { c.issue() }
func (c *issuer) Save(*emu.Encoder)            {}
func (c *issuer) Restore(d *emu.Decoder) error { return d.Err() }

// timed puts the unit of r on a machine with a client that has n random requests to issue.
func timed(t *testing.T, r *rig, rng *rand.Rand, n int) (*timing.Machine, *issuer) {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	m := timing.New(p.Params, r.Mem)
	m.AddUnit(r.u, 32)
	c := &issuer{m: m, rng: rng, left: n, last: map[*emu.Txn]uint64{}, walk: map[*emu.Txn]uint64{}, done: map[*emu.Request]uint64{}}
	c.dev = m.AddClient(c)
	return m, c
}

func (c *issuer) run() {
	c.issue()
	for c.m.Step() {
	}
}

func TestCountersAgreeWithCachesAndExecutor_Timed(t *testing.T) {
	for seed := range uint64(4) {
		r, rng := crowdRig(t, seed, pms(len(allEvents)))
		m, c := timed(t, r, rng, 5000)
		m.Trace = c.trace
		m.RunUntil(1000)
		r.useAll()
		before := emutest.Stats(r.u)
		c.run()
		s := m.UnitStats(0)
		want := append([]uint64{c.ended, s.MemoryReads, c.swaps}, cacheCounts(before, s.Cache)...)
		want = append(want, m.Now()-1000, c.total, c.walks, c.mem)
		require.EqualValues(t, 5000, c.ended)
		require.Equal(t, want, r.counters(), "seed %d", seed)
		require.Greater(t, c.total, c.walks)
		require.Greater(t, c.walks, uint64(0))
		require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
		at := r.counters()
		m.RunUntil(m.Now() + 500)
		require.Equal(t, at, r.counters())
	}
}

// Counters that are enabled or unfrozen in the middle count from then on, and what was under way
// before does not disturb them.
func TestOccupancyBeginsWithTheCounter(t *testing.T) {
	r, rng := crowdRig(t, 1, pms(3))
	m, c := timed(t, r, rng, 4000)
	c.issue()
	bits := []uint64{spec.EventTotalOccupancy, spec.EventWalkOccupancy, spec.EventMemOccupancy}
	for i, e := range bits {
		r.use(i, spec.GroupGeneral, e, nil)
	}
	next := m.Now()
	for cmd := uint64(spec.EcmdFreeze); m.Step(); {
		if m.Now() >= next {
			require.Zero(t, r.ecmd(cmd, 0))
			cmd ^= spec.EcmdFreeze ^ spec.EcmdUnfreeze
			next = m.Now() + rng.Uint64N(2000)
		}
	}
	require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
	at := []uint64{r.counter(0), r.counter(1), r.counter(2)}
	require.Greater(t, at[0], uint64(0))
	require.Less(t, at[0], 32*m.Now(), "as many as 32 requests at one time")
	m.RunUntil(m.Now() + 10000)
	require.Equal(t, at, []uint64{r.counter(0), r.counter(1), r.counter(2)}, "the unit is empty")
}

func TestCountingChangesNoTime(t *testing.T) {
	end := func(count bool) uint64 {
		r, rng := crowdRig(t, 1, pms(len(allEvents)))
		m, c := timed(t, r, rng, 3000)
		if count {
			r.useAll()
		}
		c.run()
		return m.Now()
	}
	require.Equal(t, end(false), end(true))
}

// Walks that nothing delays are as long as the closed formula says, so the occupancy is.
func TestOccupancyOfLoneWalksIsTheClosedFormula(t *testing.T) {
	r := newRig(t, pms(3))
	top := r.attach(sid, 7)
	for i := range uint64(8) {
		r.mapPage(top, iova+i<<12, 0x5000, ssRW)
	}
	r.legacy()
	m, c := timed(t, r, nil, 0)
	r.Access(sid, iova, emu.Read) // table and entry are cached
	r.use(0, spec.GroupGeneral, spec.EventTotalOccupancy, nil)
	r.use(1, spec.GroupGeneral, spec.EventWalkOccupancy, nil)
	r.use(2, spec.GroupGeneral, spec.EventMemOccupancy, nil)
	for i := range uint64(7) {
		q := emu.Request{Source: sid, Addr: emu.IOVA(iova + (i+1)<<12), PASID: emu.NoPASID, Len: 64, Access: emu.Read}
		require.True(t, m.Issue(c.dev, 0, 0, &q))
		for m.Step() {
		}
	}
	p := &m.Params
	require.Equal(t, 7*(3*p.Probe+p.Mem+p.Fill), r.counter(0))
	require.Equal(t, 7*(p.Probe+p.Mem+p.Fill), r.counter(1))
	require.Equal(t, 7*p.Mem, r.counter(2))
}

func TestEntryFetchesAreNoPageWalks(t *testing.T) {
	r := newRig(t, pms(1))
	r.bind(sid, 0, spec.PGTTSecond, 7, func(e []uint64) { e[7] = 1 << 60 })
	r.scalable()
	m, c := timed(t, r, nil, 0)
	r.use(0, spec.GroupGeneral, spec.EventWalkOccupancy, nil)
	q := dma(emu.Read)
	require.True(t, m.Issue(c.dev, 0, 0, &q))
	for m.Step() {
	}
	require.EqualValues(t, 1, c.ended)
	require.True(t, spec.FstsPPF.On(r.R32(spec.OffFSTS)), "reserved bits")
	require.Zero(t, r.counter(0))
}

func TestEventsInTimeNeedAClock(t *testing.T) {
	r := newRig(t, pms(1))
	const want = spec.EventClocks | spec.EventWalkOccupancy | spec.EventTotalOccupancy | spec.EventMemOccupancy
	require.Zero(t, r.R64(spec.OffPERFEVNTCAP0)&want)
	require.EqualValues(t, spec.ECFailed, r.tryUse(0, spec.GroupGeneral, spec.EventClocks, nil))
	m := timing.New(timing.Params{}, mem.New())
	m.AddUnit(r.u, 1)
	require.EqualValues(t, want, r.R64(spec.OffPERFEVNTCAP0)&want)
	r.u.Reset(emu.ResetCold)
	require.EqualValues(t, want, r.R64(spec.OffPERFEVNTCAP0)&want)
	m.RunUntil(7)
	r.use(0, spec.GroupGeneral, spec.EventClocks, nil)
	m.RunUntil(107)
	require.EqualValues(t, 100, r.counter(0))
	m.RunUntil(108)
	require.Zero(t, r.ecmd(spec.EcmdDisable, 0))
	m.RunUntil(200)
	require.EqualValues(t, 101, r.counter(0))
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := newRig(t, pms(len(allEvents)))
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	r.useAll()
	q, res := dma(emu.Read), emu.Result{}
	require.Zero(t, testing.AllocsPerRun(50, func() {
		for _, addr := range []emu.IOVA{iova, iova, iova + 4096} { // a hit by Lookup, and a fault
			q.Addr = addr
			r.F.Translate(&q, &res)
		}
	}))
	require.NotZero(t, r.counter(0))
}
