package vtd_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// pms gives a unit n counters.
func pms(n int, change ...func(*vtd.PerfConfig)) func(*vtd.Config) {
	return func(c *vtd.Config) {
		c.PMS, c.DT, c.NWFS = true, true, true
		c.Perf = vtd.DefaultPerf()
		c.Perf.Counters = n
		c.Perf.CntrOff = 0x4000
		for _, f := range change {
			f(&c.Perf)
		}
	}
}

// ecmd gives an enhanced command and returns its status.
func (r *rig) ecmd(cmd, operand uint64) uint64 {
	r.w64(spec.OffECEO, 0)
	r.w64(spec.OffECMD, spec.EcmdCMD.Put(cmd)|spec.EcmdOA.Put(operand))
	v := r.r64(spec.OffECRSP)
	require.False(r.t, spec.EcrspIP.On(v))
	return spec.EcrspSC.Of(v)
}

func (r *rig) cfgAt(i int) uint32 {
	return uint32(r.r32(spec.OffPERFCFGOFF)) + uint32(i)*spec.PerfBlock
}

// counter reads counter i as a driver finds it.
func (r *rig) counter(i int) uint64 {
	stride := uint32(spec.MinPerfStride) << spec.PerfcapSTRIDE.Of(r.r64(spec.OffPERFCAP))
	return r.r64(uint32(r.r32(spec.OffPERFCNTROFF)) + uint32(i)*stride)
}

// use lets counter i count events of a group, with values for filters.
func (r *rig) use(i int, group, events uint64, filters map[uint32]uint64) {
	at := r.cfgAt(i)
	r.w64(at, spec.CntrcfgINT.Put(1)|spec.CntrcfgEGI.Put(group)|spec.CntrcfgES.Put(events))
	for f := range uint32(spec.NumFilters) {
		v, on := filters[f]
		r.w32(at+spec.OffFilter0+4*f, spec.FilterEN.PutBool(on)|v)
	}
	require.Zero(r.t, r.ecmd(spec.EcmdEnable, uint64(i)))
}

// allEvents are those that this test compares, one counter for each.
var allEvents = [][2]uint64{
	{spec.GroupGeneral, spec.EventRequests}, {spec.GroupGeneral, spec.EventATSBlocked}, {spec.GroupMemory, spec.EventReads},
	{spec.GroupCaches, spec.EventContextLookup}, {spec.GroupCaches, spec.EventContextHit},
	{spec.GroupCaches, spec.EventPASIDLookup}, {spec.GroupCaches, spec.EventPASIDHit},
	{spec.GroupCaches, spec.EventSSLookup}, {spec.GroupCaches, spec.EventSSHit},
	{spec.GroupIOTLB, spec.EventIOTLBLookup}, {spec.GroupIOTLB, spec.EventIOTLBHit},
	{spec.GroupGeneral, spec.EventClocks}, {spec.GroupGeneral, spec.EventWalkOccupancy},
	{spec.GroupCaches, spec.EventFSLookup}, {spec.GroupCaches, spec.EventFSHit}, // last: see counters
}

func (r *rig) useAll() {
	for i, e := range allEvents {
		r.use(i, e[0], e[1], nil)
	}
}

// counters are the counters of allEvents, those of both stages in one as they share a cache.
func (r *rig) counters() (v []uint64) {
	for i := range allEvents {
		v = append(v, r.counter(i))
	}
	n := len(v) - 2
	v[7] += v[n]
	v[8] += v[n+1]
	return v[:n]
}

// readCounter counts what is read from memory.
type readCounter struct {
	emu.Memory
	n uint64
}

func (c *readCounter) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	c.n++
	return c.Memory.Load(pa, size, v)
}

// cacheCounts are the counters of allEvents from the context-cache on, as the caches have them.
func cacheCounts(before, after [emu.NumCaches]emu.CacheStats) (v []uint64) {
	for _, ids := range [][]emu.CacheID{{emu.CacheEntry}, {emu.CachePASID}, {emu.CacheWalk, emu.CacheWalk2}, {emu.CacheIOTLB}} {
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
		m := &readCounter{Memory: r.m}
		r.f = emu.NewFunctional(r.u, m)
		r.useAll()
		before, faults, requests := stats(r.u), uint64(0), uint64(0)
		m.n = 0
		for i := range 20000 {
			var q emu.Request
			randomRequest(rng, &q)
			res := r.do(q)
			requests++
			if res.Status == emu.Blocked && (q.Type == emu.TranslationReq || q.Type == emu.Translated) {
				faults++
			}
			if i%97 == 0 {
				r.clearFaults()
				r.submitGlobal()
			}
		}
		want := append([]uint64{requests, faults, m.n}, cacheCounts(before, stats(r.u))...)
		require.Equal(t, append(want, 0, 0), r.counters(), "seed %d: nothing here has a clock", seed)
		require.NotContains(t, want[:3], uint64(0))
	}
}

func TestFusedLookupCountsAsStepDoes(t *testing.T) {
	for seed := range uint64(4) {
		var got [2][]uint64
		for i := range got {
			r, rng := crowdRig(t, seed, pms(len(allEvents)))
			if i == 1 {
				r.f.Trace = func(*emu.Txn) {} // no fused look-ups
			}
			for i, e := range allEvents {
				filter := map[uint32]uint64{}
				switch i % 3 {
				case 0:
					filter[spec.FilterDomain] = 2
				case 1:
					filter[spec.FilterLevel] = 5
				}
				r.use(i, e[0], e[1], filter)
			}
			for range 10000 {
				var q emu.Request
				randomRequest(rng, &q)
				r.do(q)
			}
			got[i] = r.counters()
		}
		require.Equal(t, got[0], got[1], "seed %d", seed)
	}
}

// issuer issues random requests, as many as fit, until it has issued all.
type issuer struct {
	m       *timing.Machine
	dev     int
	rng     *rand.Rand
	left    int
	ended   uint64
	blocked uint64
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

func (c *issuer) Complete(r *timing.Completion) {
	c.ended++
	q := r.Request
	if r.Result.Status == emu.Blocked && (q.Type == emu.TranslationReq || q.Type == emu.Translated) {
		c.blocked++
	}
	c.m.Timer(c.dev, c.m.Now()+1, 0)
}
func (c *issuer) Timer(uint32)                 { c.issue() }
func (c *issuer) Save(*emu.Encoder)            {}
func (c *issuer) Restore(d *emu.Decoder) error { return d.Err() }

// timed puts the unit of r on a machine and runs n random requests.
func timed(t *testing.T, r *rig, rng *rand.Rand, n int) (*timing.Machine, *issuer) {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	m := timing.New(p.Params, r.m)
	m.AddUnit(r.u, 32)
	c := &issuer{m: m, rng: rng, left: n}
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
		occupancy := uint64(0)
		begun := map[*emu.Txn]uint64{}
		m.Trace = func(now uint64, _ int, x *emu.Txn) {
			switch {
			case x.Act.Op == emu.OpAcquire && x.Act.Slot == emu.SlotWalker && x.Tag != 0:
				begun[x] = now
			case x.Act.Op == emu.OpDone && begun[x] != 0:
				occupancy += now - begun[x]
				delete(begun, x)
			}
		}
		c.m.RunUntil(1000)
		r.useAll()
		before := stats(r.u)
		c.run()
		s := m.UnitStats(0)
		want := append([]uint64{c.ended, c.blocked, s.MemoryReads}, cacheCounts(before, s.Cache)...)
		require.EqualValues(t, 5000, c.ended)
		require.Equal(t, append(want, m.Now()-1000, occupancy), r.counters(), "seed %d", seed)
		require.NotZero(t, occupancy)
		require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
		at := r.counters()
		m.RunUntil(m.Now() + 500)
		require.Equal(t, at, r.counters())
	}
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

// Walks through a walker of their own are as long as the closed formula says, so the occupancy is.
func TestWalkOccupancyIsTheTimeThatWalkersAreHeld(t *testing.T) {
	r := newRig(t, pms(2))
	top := r.attach(sid, 7)
	for i := range uint64(8) {
		r.mapPage(top, iova+i<<12, 0x5000, ssRW)
	}
	r.legacy()
	m, c := timed(t, r, nil, 0)
	r.access(sid, iova, emu.Read) // table and entry are cached
	r.use(0, spec.GroupGeneral, spec.EventWalkOccupancy, nil)
	r.use(1, spec.GroupGeneral, spec.EventWalkOccupancy, map[uint32]uint64{spec.FilterRequester: uint64(hiSID)})
	for i := range uint64(7) {
		q := emu.Request{Source: sid, Addr: emu.IOVA(iova + (i+1)<<12), PASID: emu.NoPASID, Len: 64, Access: emu.Read}
		require.True(t, m.Issue(c.dev, 0, 0, &q))
		for m.Step() {
		}
	}
	p := &m.Params
	require.Equal(t, 7*(p.Probe+p.Mem+p.Fill), r.counter(0))
	require.Zero(t, r.counter(1))
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
	require.True(t, spec.FstsPPF.On(r.r32(spec.OffFSTS)), "reserved bits")
	require.Zero(t, r.counter(0))
}

func TestClockEventsNeedAClock(t *testing.T) {
	r := newRig(t, pms(1))
	const want = spec.EventClocks | spec.EventWalkOccupancy
	require.Zero(t, r.r64(spec.OffPERFEVNTCAP0)&want)
	m := timing.New(timing.Params{}, mem.New())
	m.AddUnit(r.u, 1)
	require.EqualValues(t, want, r.r64(spec.OffPERFEVNTCAP0)&want)
	r.u.Reset(emu.ResetCold)
	require.EqualValues(t, want, r.r64(spec.OffPERFEVNTCAP0)&want)
	r.use(0, spec.GroupGeneral, spec.EventClocks, nil)
	m.RunUntil(100)
	require.EqualValues(t, 100, r.counter(0))
	m.RunUntil(101)
	require.Zero(t, r.ecmd(spec.EcmdDisable, 0))
	m.RunUntil(200)
	require.EqualValues(t, 101, r.counter(0))
}

// A driver takes the counters only with an interrupt and all four commands.
func TestWhatDriversRequireIsAdvertised(t *testing.T) {
	r := newRig(t, pms(8))
	require.True(t, spec.EcapPMS.On(r.r64(spec.OffECAP)))
	require.True(t, spec.CapECMDS.On(r.r64(spec.OffCAP)))
	v := r.r64(spec.OffPERFCAP)
	require.EqualValues(t, 8, spec.PerfcapNC.Of(v))
	require.EqualValues(t, 48, spec.PerfcapCW.Of(v))
	require.EqualValues(t, 5, spec.PerfcapNEG.Of(v))
	plain := newRig(t, noInterrupts, pms(8))
	require.EqualValues(t, 4, spec.PerfcapNEG.Of(plain.r64(spec.OffPERFCAP)), "no interrupt remapping")
	require.EqualValues(t, 0x1f, spec.PerfcapFM.Of(v))
	require.True(t, spec.PerfcapINT.On(v))
	require.EqualValues(t, 0x33<<48, r.r64(spec.OffECCAP0+24))
	for i := range uint32(3) {
		require.Zero(t, r.r64(spec.OffECCAP0+8*i))
	}
	require.EqualValues(t, 0x8000_0000, r.r32(spec.OffPERFINTRCTL))
	can := r.r32(r.cfgAt(7) + spec.OffCNTRCAP)
	require.EqualValues(t, 48, spec.CntrcapCW.Of(can))
	require.True(t, spec.CntrcapINT.On(can))
	require.False(t, spec.CntrcapPCC.On(can))
	require.EqualValues(t, 0x8000, r.window(), "counters end at 0x5c08")
}

func TestUnitWithoutPMSHasNoCounters(t *testing.T) {
	r := newRig(t)
	for off := uint32(spec.OffPERFCAP); off < 0x480; off += 8 {
		r.w64(off, ^uint64(0))
		require.Zero(t, r.r64(off), "%#x", off)
	}
	require.EqualValues(t, spec.Window, r.window())
}

func TestEnhancedCommands(t *testing.T) {
	r := newRig(t, pms(2))
	r.legacy()
	count := func() uint64 { r.access(sid, iova, emu.Read); return r.counter(1) }
	r.w64(r.cfgAt(1), spec.CntrcfgES.Put(spec.EventRequests))
	require.Zero(t, count(), "not enabled")
	require.Zero(t, r.ecmd(spec.EcmdEnable, 1))
	require.EqualValues(t, 1, count())
	require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
	require.EqualValues(t, 3, r.r64(uint32(r.r32(spec.OffPERFFRZOFF))))
	require.EqualValues(t, 1, count())
	require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
	require.Zero(t, r.r64(uint32(r.r32(spec.OffPERFFRZOFF))))
	require.EqualValues(t, 2, count())
	require.Zero(t, r.ecmd(spec.EcmdDisable, 1))
	require.EqualValues(t, 2, count())
	require.Zero(t, r.ecmd(spec.EcmdEnable, 1))
	require.EqualValues(t, 3, count(), "enabling does not clear")
	r.w64(uint32(r.r32(spec.OffPERFCNTROFF)), 77)
	require.Zero(t, r.counter(0), "software does not write counters")

	require.NotZero(t, r.ecmd(spec.EcmdEnable, 2), "no such counter")
	require.NotZero(t, r.ecmd(spec.EcmdDisable, 1<<40), "no such counter")
	require.NotZero(t, r.ecmd(0xf2, 0), "no such command")
	require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
}

func TestEnhancedCommandTakesTimeAndDropsAnother(t *testing.T) {
	r := newRig(t, pms(2))
	w := r.u.WriteReg(spec.OffECMD, 8, spec.EcmdFreeze)
	require.Equal(t, vtd.EngineCommand.Set(), w)
	require.True(t, spec.EcrspIP.On(r.r64(spec.OffECRSP)))
	require.Zero(t, r.u.WriteReg(spec.OffECMD, 8, spec.EcmdEnable|spec.EcmdOA.Put(1)))
	require.EqualValues(t, spec.EcmdFreeze, r.r64(spec.OffECMD))
	r.f.Wake(w)
	require.Zero(t, r.r64(spec.OffECRSP))
	require.NotZero(t, r.r64(uint32(r.r32(spec.OffPERFFRZOFF))))
	// By halves: the low one starts it.
	require.Zero(t, r.u.WriteReg(spec.OffECMD+4, 4, 0))
	require.Equal(t, vtd.EngineCommand.Set(), r.u.WriteReg(spec.OffECMD, 4, spec.EcmdUnfreeze))
}

func TestFiltersNarrowWhatIsCounted(t *testing.T) {
	// 0: sid in domain 7 by PASID 0, 4K page. 1: hiSID in domain 8, 2M page.
	setUp := func() *rig {
		r := newRig(t, pms(1))
		r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
		top := r.bind(hiSID, 0, spec.PGTTSecond, 8)
		r.put(r.pte(top, 0, 1), 0x20_0000|ssRW|1<<7)
		ctx := r.smContext(hiSID)
		r.put(ctx, r.get(ctx)|spec.SMCtxDTE.Mask())
		r.scalable()
		return r
	}
	for _, c := range []struct {
		name          string
		group, events uint64
		filter        uint32
		value         uint64
		want          uint64
	}{
		{"all", spec.GroupIOTLB, spec.EventIOTLBHit, 9, 0, 4},
		{"requester", spec.GroupIOTLB, spec.EventIOTLBHit, spec.FilterRequester, uint64(sid), 1},
		{"requester", spec.GroupGeneral, spec.EventRequests, spec.FilterRequester, uint64(hiSID), 5},
		{"domain", spec.GroupIOTLB, spec.EventIOTLBHit, spec.FilterDomain, 8, 3},
		{"domain not known yet", spec.GroupCaches, spec.EventContextHit, spec.FilterDomain, 8, 0},
		{"PASID", spec.GroupIOTLB, spec.EventIOTLBLookup, spec.FilterPASID, 5, 2},
		{"PASID of the request", spec.GroupIOTLB, spec.EventIOTLBLookup, spec.FilterPASID, 0, 0},
		{"translation requests", spec.GroupGeneral, spec.EventRequests, spec.FilterAT, 1 << emu.TranslationReq, 1},
		{"others", spec.GroupGeneral, spec.EventRequests, spec.FilterAT, 1<<emu.Untranslated | 1<<emu.Translated, 6},
		{"small pages", spec.GroupIOTLB, spec.EventIOTLBHit, spec.FilterLevel, 1, 1},
		{"large pages", spec.GroupIOTLB, spec.EventIOTLBHit, spec.FilterLevel, 2, 3},
		{"both", spec.GroupIOTLB, spec.EventIOTLBHit, spec.FilterLevel, 3, 4},
		{"no level", spec.GroupIOTLB, spec.EventIOTLBLookup, spec.FilterLevel, 0x1f, 0},
		{"two events", spec.GroupIOTLB, spec.EventIOTLBHit | spec.EventIOTLBLookup, spec.FilterRequester, uint64(sid), 3},
		{"unknown event", spec.GroupIOTLB, 0xff00, 9, 0, 0},
		{"unknown group", 9, 1, 9, 0, 0},
	} {
		for _, trace := range []bool{false, true} {
			r := setUp()
			if trace {
				r.f.Trace = func(*emu.Txn) {}
			}
			r.use(0, c.group, c.events, map[uint32]uint64{c.filter: c.value})
			for range 2 {
				r.ok(r.pasidAccess(5, iova, emu.Read), 0x5000)
			}
			for range 4 {
				r.ok(r.access(hiSID, 0x3000, emu.Read), 0x20_3000)
			}
			q := emu.Request{Type: emu.TranslationReq, Source: hiSID, Addr: 0x1_0000_0000, PASID: emu.NoPASID, Access: emu.Read}
			require.Equal(t, emu.OK, r.do(q).Status)
			require.Equal(t, c.want, r.counter(0), c.name)
		}
	}
}

func TestFilterThatIsNotAdvertisedReadsZero(t *testing.T) {
	r := newRig(t, pms(1, func(p *vtd.PerfConfig) { p.Filters = 1 << spec.FilterPASID }))
	for f := range uint32(spec.NumFilters) {
		r.w32(r.cfgAt(0)+spec.OffFilter0+4*f, 0xffff_ffff)
		want := uint64(0)
		if f == spec.FilterPASID {
			want = 0x800f_ffff
		}
		require.Equal(t, want, r.r32(r.cfgAt(0)+spec.OffFilter0+4*f))
	}
}

func TestLimitedCounters(t *testing.T) {
	r := newRig(t, pms(2, func(p *vtd.PerfConfig) {
		p.Limited = [][spec.NumEventGroups]uint32{{}, {spec.GroupIOTLB: spec.EventIOTLBHit, spec.GroupGeneral: spec.EventRequests}}
	}))
	can := r.r32(r.cfgAt(1) + spec.OffCNTRCAP)
	require.True(t, spec.CntrcapPCC.On(can))
	require.EqualValues(t, 2, spec.CntrcapNEG.Of(can))
	require.EqualValues(t, spec.EventRequests, r.r32(r.cfgAt(1)+spec.OffCNTREVCAP0))
	require.EqualValues(t, 3<<28|spec.EventIOTLBHit, r.r32(r.cfgAt(1)+spec.OffCNTREVCAP0+4))
	require.False(t, spec.CntrcapPCC.On(r.r32(r.cfgAt(0)+spec.OffCNTRCAP)))
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	r.use(0, spec.GroupIOTLB, spec.EventIOTLBLookup|spec.EventIOTLBHit, nil)
	r.use(1, spec.GroupIOTLB, spec.EventIOTLBLookup|spec.EventIOTLBHit, nil)
	r.access(sid, iova, emu.Read)
	r.access(sid, iova, emu.Read)
	require.EqualValues(t, 3, r.counter(0))
	require.EqualValues(t, 1, r.counter(1))
}

func TestEventsOfferedAreThoseOfTheConfiguration(t *testing.T) {
	r := newRig(t, pms(1, func(p *vtd.PerfConfig) { p.Events[spec.GroupIOTLB] = 0xff }))
	require.Zero(t, r.r64(spec.OffPERFEVNTCAP0))
	require.EqualValues(t, spec.EventIOTLBLookup|spec.EventIOTLBHit, r.r64(spec.OffPERFEVNTCAP0+8*spec.GroupIOTLB))
	r = newRig(t, pms(1), (*vtd.Config).NoScalable)
	require.EqualValues(t, 0x33, r.r64(spec.OffPERFEVNTCAP0+8*spec.GroupCaches), "no PASIDs, no first stage")
}

// narrow counters overflow soon.
func narrow(p *vtd.PerfConfig) { p.Width = 8 }

func TestOverflowSetsStatusAndInterrupts(t *testing.T) {
	for _, trace := range []bool{false, true} {
		r := newRig(t, pms(3, narrow))
		if trace {
			r.f.Trace = func(*emu.Txn) {}
		}
		r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
		r.legacy()
		r.w32(spec.OffPERFINTRDATA, 0x43)
		r.w32(spec.OffPERFINTRADDR, msiTo)
		r.w32(spec.OffPERFINTRCTL, 0)
		ovf := uint32(r.r32(spec.OffPERFOVFOFF))
		r.use(0, spec.GroupGeneral, spec.EventRequests, nil)
		r.use(2, spec.GroupIOTLB, spec.EventIOTLBHit|spec.EventIOTLBLookup, nil)
		run := func(n int) {
			for range n {
				r.ok(r.access(sid, iova, emu.Read), 0x5000)
			}
		}
		run(128)
		require.EqualValues(t, 255, r.counter(2))
		require.Zero(t, r.r64(ovf))
		run(1)
		require.EqualValues(t, 1, r.counter(2))
		require.EqualValues(t, 4, r.r64(ovf))
		require.EqualValues(t, 1, r.r32(spec.OffPERFINTRSTS))
		require.Equal(t, []uint32{0x43}, r.msi)
		run(127)
		require.EqualValues(t, 5, r.r64(ovf))
		require.Len(t, r.msi, 1, "no second message while the first status stands")
		r.w64(ovf, 4)
		require.EqualValues(t, 1, r.r64(ovf))
		r.w32(spec.OffPERFINTRSTS, 1)
		require.Zero(t, r.r32(spec.OffPERFINTRSTS))
		r.w32(spec.OffPERFINTRCTL, spec.EventIM.Mask())
		run(128)
		require.Len(t, r.msi, 1, "masked")
		require.True(t, spec.EventIP.On(r.r32(spec.OffPERFINTRCTL)))
		r.w32(spec.OffPERFINTRCTL, 0)
		require.Len(t, r.msi, 2)
		require.False(t, spec.EventIP.On(r.r32(spec.OffPERFINTRCTL)))
	}
}

func TestOverflowWithoutINTOnlySetsStatus(t *testing.T) {
	r := newRig(t, pms(1, narrow))
	r.legacy()
	r.use(0, spec.GroupGeneral, spec.EventRequests, nil)
	r.w64(r.cfgAt(0), spec.CntrcfgES.Put(spec.EventRequests))
	for range 256 {
		r.access(sid, iova, emu.Read)
	}
	require.EqualValues(t, 1, r.r64(uint32(r.r32(spec.OffPERFOVFOFF))))
	require.Zero(t, r.r32(spec.OffPERFINTRSTS))
}

func TestOverflowOfTheClockInterruptsAtTheNextAccess(t *testing.T) {
	r := newRig(t, pms(1, narrow))
	m := timing.New(timing.Params{}, r.m)
	m.AddUnit(r.u, 1)
	r.w32(spec.OffPERFINTRADDR, msiTo)
	r.w32(spec.OffPERFINTRCTL, 0)
	r.use(0, spec.GroupGeneral, spec.EventClocks, nil)
	m.RunUntil(255)
	require.Zero(t, r.r64(uint32(r.r32(spec.OffPERFOVFOFF))))
	m.RunUntil(256)
	require.EqualValues(t, 1, r.r64(uint32(r.r32(spec.OffPERFOVFOFF))))
	require.Empty(t, r.msi)
	r.w32(spec.OffPERFINTRDATA, 9)
	require.Equal(t, []uint32{9}, r.msi)
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := newRig(t, pms(len(allEvents)))
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x5000, ssRW)
	r.legacy()
	r.useAll()
	q, res := dma(emu.Read), emu.Result{}
	require.Zero(t, testing.AllocsPerRun(50, func() {
		for _, addr := range []emu.IOVA{iova, iova, iova + 4096} { // a hit by Lookup, and a fault
			q.Addr = addr
			r.f.Translate(&q, &res)
		}
	}))
	require.NotZero(t, r.counter(0))
}

func TestCountersAreSavedAndLoaded(t *testing.T) {
	limit := func(p *vtd.PerfConfig) {
		p.Limited = [][spec.NumEventGroups]uint32{{}, {spec.GroupIOTLB: spec.EventIOTLBHit}}
		p.Filters, p.Width, p.Stride, p.CntrOff = 3, 40, 1<<11, 0x3000
	}
	r := newRig(t, pms(3, limit))
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	r.use(2, spec.GroupGeneral, spec.EventRequests, nil)
	r.access(sid, iova, emu.Read)
	require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
	r.access(sid, iova, emu.Read)
	require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
	b := save(r.u)
	u, err := vtd.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, save(u))
	at := uint32(0x3000 + 2<<11)
	var res emu.Result
	q := dma(emu.Read)
	require.True(t, u.Lookup(&q, &res))
	require.EqualValues(t, 2, u.ReadReg(at, 8))

	require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
	var img emu.RegImage
	for off := uint32(0); off < r.window(); off += 8 {
		img = append(img, emu.RegValue{Off: off, Size: 8, Value: r.r64(off)})
	}
	other := newRig(t)
	require.NoError(t, other.u.Load(img))
	require.Empty(t, other.u.Unmodelled())
	for _, v := range img {
		require.Equal(t, v.Value, other.r64(v.Off), "%#x", v.Off)
	}
	require.Equal(t, r.u.Config().Perf.Limited, other.u.Config().Perf.Limited)
	b = save(other.u)
	third := newRig(t)
	require.NoError(t, third.u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, save(third.u))
	require.EqualValues(t, 1, third.counter(2))
	third.use(2, spec.GroupGeneral, spec.EventRequests, nil)
	third.access(sid, iova, emu.Read)
	require.EqualValues(t, 1, third.counter(2), "still frozen")

	img[spec.OffPERFCAP/8].Value &^= spec.PerfcapINT.Mask()
	img = img[:spec.Window/8]
	require.NoError(t, other.u.Load(img))
	require.Contains(t, other.u.Unmodelled(), "ECAP.PMS")
}

func TestPerfConfigErrorsNameTheField(t *testing.T) {
	for field, f := range map[string]func(*vtd.PerfConfig){
		"Perf.Counters": func(p *vtd.PerfConfig) { p.Counters = 65 },
		"Perf.Width":    func(p *vtd.PerfConfig) { p.Width = 7 },
		"Perf.Filters":  func(p *vtd.PerfConfig) { p.Filters = 0x20 },
		"Perf.Stride":   func(p *vtd.PerfConfig) { p.Stride = 3 << 10 },
		"Perf.CfgOff":   func(p *vtd.PerfConfig) { p.CfgOff = 0xffff_ff00 },
		"Perf.FrzOff":   func(p *vtd.PerfConfig) { p.FrzOff = 4 },
		"Perf.OvfOff":   func(p *vtd.PerfConfig) { p.OvfOff = spec.MaxWindow },
		"Perf.CntrOff":  func(p *vtd.PerfConfig) { p.CntrOff = spec.MaxWindow },
		"Perf.Limited":  func(p *vtd.PerfConfig) { p.Limited = make([][spec.NumEventGroups]uint32, 2) },
		"overlaps":      func(p *vtd.PerfConfig) { p.OvfOff = p.FrzOff },
	} {
		c := vtd.DefaultConfig()
		pms(1, f)(&c)
		_, err := vtd.New(c)
		require.ErrorIs(t, err, vtd.ErrConfig, field)
		require.ErrorContains(t, err, field)
	}
}

func (r *rig) window() uint32 { c := r.u.Config(); return c.Window() }
