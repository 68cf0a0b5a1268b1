package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
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
	r.W64(spec.OffECEO, 0)
	r.W64(spec.OffECMD, spec.EcmdCMD.Put(cmd)|spec.EcmdOA.Put(operand))
	v := r.R64(spec.OffECRSP)
	require.False(r.T, spec.EcrspIP.On(v))
	return spec.EcrspSC.Of(v)
}

func (r *rig) cfgAt(i int) uint32 {
	return uint32(r.R32(spec.OffPERFCFGOFF)) + uint32(i)*spec.PerfBlock
}

// counter reads counter i as a driver finds it.
func (r *rig) counter(i int) uint64 {
	stride := uint32(1024) << spec.PerfcapCS.Of(r.R64(spec.OffPERFCAP))
	return r.R64(uint32(r.R32(spec.OffPERFCNTROFF)) + uint32(i)*stride)
}

// use lets counter i count events of a group, with values for filters.
func (r *rig) use(i int, group, events uint64, filters map[uint32]uint64) {
	require.Zero(r.T, r.tryUse(i, group, events, filters))
	require.True(r.T, spec.CntrcfgEN.On(r.R64(r.cfgAt(i))))
}

// tryUse is use where the unit may refuse; it returns the status.
func (r *rig) tryUse(i int, group, events uint64, filters map[uint32]uint64) uint64 {
	at := r.cfgAt(i)
	r.W64(at, spec.CntrcfgIO.Put(1)|spec.CntrcfgEGI.Put(group)|spec.CntrcfgES.Put(events))
	for f := range uint32(spec.NumFilters) {
		v, on := filters[f]
		r.W32(at+spec.OffFilter0+4*f, spec.FilterEN.PutBool(on)|v)
	}
	return r.ecmd(spec.EcmdEnable, uint64(i))
}

// allEvents are those that this test compares, one counter for each; the last four need a clock.
var allEvents = [][2]uint64{
	{spec.GroupGeneral, spec.EventRequests}, {spec.GroupMemory, spec.EventReads}, {spec.GroupMemory, spec.EventADUpdate},
	{spec.GroupCaches, spec.EventContextLookup}, {spec.GroupCaches, spec.EventContextHit},
	{spec.GroupCaches, spec.EventPASIDLookup}, {spec.GroupCaches, spec.EventPASIDHit},
	{spec.GroupIOTLB, spec.EventIOTLBLookup}, {spec.GroupIOTLB, spec.EventIOTLBHit},
	{spec.GroupCaches, spec.EventSSLookup | spec.EventFSLookup}, {spec.GroupCaches, spec.EventSSHit | spec.EventFSHit},
	{spec.GroupGeneral, spec.EventClocks}, {spec.GroupGeneral, spec.EventTotalOccupancy},
	{spec.GroupGeneral, spec.EventWalkOccupancy}, {spec.GroupGeneral, spec.EventMemOccupancy},
}

const timedEvents = 4

// useAll uses a counter for each of the events that the unit has.
func (r *rig) useAll() {
	for i, e := range allEvents {
		if e[1]&^r.R64(spec.OffPERFEVNTCAP0+8*uint32(e[0])) == 0 {
			r.use(i, e[0], e[1], nil)
		}
	}
}

func (r *rig) counters() (v []uint64) {
	for i := range allEvents {
		v = append(v, r.counter(i))
	}
	return v
}

func (r *rig) frozen() uint64     { return r.R64(uint32(r.R32(spec.OffPERFFRZOFF))) }
func (r *rig) overflowed() uint64 { return r.R64(uint32(r.R32(spec.OffPERFOVFOFF))) }
func (r *rig) window() uint32     { c := r.u.Config(); return c.Window() }

// setCounter writes counter i.
func (r *rig) setCounter(i int, v uint64) {
	r.W64(uint32(r.R32(spec.OffPERFCNTROFF))+uint32(i)<<10, v)
}

// A driver takes the counters only with an interrupt and four commands.
func TestWhatDriversRequireIsAdvertised(t *testing.T) {
	r := newRig(t, pms(8))
	require.True(t, spec.EcapPMS.On(r.R64(spec.OffECAP)))
	require.True(t, spec.CapECMDS.On(r.R64(spec.OffCAP)))
	v := r.R64(spec.OffPERFCAP)
	require.EqualValues(t, 8|48<<16|5<<24|0x1f<<32|1<<49|1<<50, v, "%#x", v)
	plain := newRig(t, noInterrupts, pms(8))
	require.EqualValues(t, 4, plain.R64(spec.OffPERFCAP)>>24&0x1f, "no interrupt remapping")
	require.EqualValues(t, 0x3f<<48, r.R64(spec.OffECCAP0+24))
	for off := uint32(0x420); off < spec.OffECCAP0+24; off += 8 {
		require.Zero(t, r.R64(off), "ECSTS and the other ECCAP")
	}
	require.EqualValues(t, 0x8000_0000, r.R32(spec.OffPERFINTRCTL))
	require.Zero(t, r.R32(r.cfgAt(7)+spec.OffPERFCNTRCAP), "no capabilities per counter")
	require.EqualValues(t, 0x8000, r.window(), "counters end at 0x5c08")
}

func TestUnitWithoutPMSHasNoCounters(t *testing.T) {
	r := newRig(t)
	for off := uint32(spec.OffPERFCAP); off < 0x480; off += 8 {
		r.W64(off, ^uint64(0))
		require.Zero(t, r.R64(off), "%#x", off)
	}
	require.EqualValues(t, spec.Window, r.window())
}

func TestEnhancedCommands(t *testing.T) {
	r := newRig(t, pms(2))
	r.legacy()
	count := func() uint64 { r.Access(sid, iova, emu.Read); return r.counter(1) }
	r.W64(r.cfgAt(1), spec.CntrcfgES.Put(spec.EventRequests))
	require.Zero(t, count(), "not enabled")
	require.Zero(t, r.ecmd(spec.EcmdEnable, 1))
	require.EqualValues(t, 1, count())
	require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
	require.EqualValues(t, 3, r.frozen())
	require.EqualValues(t, 1, count())
	require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
	require.Zero(t, r.frozen())
	require.EqualValues(t, 2, count())
	require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
	require.Zero(t, r.ecmd(spec.EcmdDisable, 1))
	require.EqualValues(t, 1, r.frozen(), "disabling unfreezes")
	require.False(t, spec.CntrcfgEN.On(r.R64(r.cfgAt(1))))
	require.EqualValues(t, 2, count())
	require.Zero(t, r.ecmd(spec.EcmdEnable, 1))
	require.EqualValues(t, 3, count(), "enabling does not clear")
	require.Zero(t, r.ecmd(spec.EcmdResetValues, 0))
	require.EqualValues(t, 1, count())
	require.Zero(t, r.ecmd(spec.EcmdResetConfig, 0))
	require.Zero(t, r.R64(r.cfgAt(1)))
	require.EqualValues(t, 1, count())
	require.Zero(t, r.frozen())

	for _, c := range []struct{ cmd, operand, want uint64 }{
		{spec.EcmdEnable, 2, spec.ECFailed}, {spec.EcmdDisable, 2, spec.ECFailed}, {spec.EcmdDisable, 1 << 40, spec.ECFailed},
		{0, 0, spec.ECUndefined}, {246, 0, spec.ECUndefined}, {255, 0, spec.ECUndefined}, {spec.EcmdDisable, 1, spec.ECSuccess},
	} {
		require.Equal(t, c.want, r.ecmd(c.cmd, c.operand), "%+v", c)
	}
}

func TestEnhancedCommandTakesTimeAndDropsAnother(t *testing.T) {
	r := newRig(t, pms(2))
	w := r.u.WriteReg(spec.OffECMD, 8, spec.EcmdFreeze)
	require.Equal(t, vtd.EngineCommand.Set(), w)
	require.True(t, spec.EcrspIP.On(r.R64(spec.OffECRSP)))
	require.Zero(t, r.u.WriteReg(spec.OffECMD, 8, spec.EcmdEnable|spec.EcmdOA.Put(1)))
	require.Zero(t, r.u.WriteReg(spec.OffECEO, 8, 1))
	require.Zero(t, r.R64(spec.OffECMD), "write-only")
	r.F.Wake(w)
	require.Zero(t, r.R64(spec.OffECRSP))
	require.EqualValues(t, 3, r.frozen(), "the first one")
	// By halves: the low one starts it.
	require.Zero(t, r.u.WriteReg(spec.OffECMD+4, 4, 0))
	require.Equal(t, vtd.EngineCommand.Set(), r.u.WriteReg(spec.OffECMD, 4, spec.EcmdUnfreeze))
}

func TestEnhancedCommandIsAbortedByACommandInFlight(t *testing.T) {
	for _, begun := range []bool{false, true} {
		r := newRig(t, pms(1))
		r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
		s := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
		if begun {
			s.Until(func(a *emu.Act) bool { return a.Op == emu.OpDelay })
		}
		require.Zero(t, r.u.WriteReg(spec.OffECMD, 8, spec.EcmdFreeze))
		require.EqualValues(t, spec.EcrspSC.Put(spec.ECAborted), r.R64(spec.OffECRSP))
		for s.Next() {
		}
		require.Zero(t, r.frozen())
		require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
	}
}

func TestConfigurationIsReadOnlyWhileEnabled(t *testing.T) {
	for _, cwe := range []bool{false, true} {
		r := newRig(t, pms(2, func(p *vtd.PerfConfig) { p.CWE = cwe }))
		r.W64(r.cfgAt(0), ^uint64(0))
		require.EqualValues(t, spec.CntrcfgIO.Mask()|spec.CntrcfgGFO.Mask()|spec.CntrcfgEGI.Mask()|spec.CntrcfgES.Mask(), r.R64(r.cfgAt(0)))
		r.use(0, spec.GroupIOTLB, spec.EventIOTLBHit, map[uint32]uint64{spec.FilterDomain: 7})
		cfg, filter := r.R64(r.cfgAt(0)), r.R32(r.cfgAt(0)+0xc)
		r.W64(r.cfgAt(0), 0)
		r.W32(r.cfgAt(0)+4, 0)
		r.W32(r.cfgAt(0)+0xc, 0)
		require.Equal(t, cfg, r.R64(r.cfgAt(0)))
		require.Equal(t, filter, r.R32(r.cfgAt(0)+0xc))
		r.setCounter(0, 77)
		require.Equal(t, cwe, r.counter(0) == 77)
		r.setCounter(1, ^uint64(0))
		require.EqualValues(t, 1<<48-1, r.counter(1), "not enabled: writable, as wide as it is")
		require.Zero(t, r.ecmd(spec.EcmdDisable, 0))
		r.setCounter(0, 78)
		require.EqualValues(t, 78, r.counter(0))
		r.W64(r.cfgAt(0), 0)
		require.Zero(t, r.R64(r.cfgAt(0)))
	}
}

func TestEnableChecksTheConfiguration(t *testing.T) {
	r := newRig(t, pms(1))
	rid, did, pasid, at, level := uint32(spec.FilterRequester), uint32(spec.FilterDomain), uint32(spec.FilterPASID),
		uint32(spec.FilterAT), uint32(spec.FilterLevel)
	for _, c := range []struct {
		name          string
		group, events uint64
		filters       []uint32
		bad           bool
	}{
		{"no event", spec.GroupIOTLB, 0, nil, true},
		{"one event", spec.GroupIOTLB, spec.EventIOTLBHit, nil, false},
		{"two events", spec.GroupIOTLB, spec.EventIOTLBLookup | spec.EventIOTLBHit, nil, false},
		{"two events and a filter", spec.GroupIOTLB, spec.EventIOTLBLookup | spec.EventIOTLBHit, []uint32{rid}, true},
		{"event not offered", spec.GroupIOTLB, spec.EventIOTLBHit | spec.EventHPTLeafHit, nil, true},
		{"back pressure of responses", spec.GroupGeneral, spec.EventATSBlocked, nil, true},
		{"back pressure of memory", spec.GroupMemory, spec.EventMemBlocked, nil, true},
		{"unknown group", 5, 1, nil, true},
		{"requests, address type", spec.GroupGeneral, spec.EventRequests, []uint32{at}, false},
		{"requests, all that is known", spec.GroupGeneral, spec.EventRequests, []uint32{rid, pasid, at}, false},
		{"requests, domain", spec.GroupGeneral, spec.EventRequests, []uint32{did}, true},
		{"requests, level", spec.GroupGeneral, spec.EventRequests, []uint32{level}, true},
		{"hits, level", spec.GroupIOTLB, spec.EventIOTLBHit, []uint32{level}, false},
		{"hits, all that is known", spec.GroupIOTLB, spec.EventIOTLBHit, []uint32{rid, did, pasid, level}, false},
		{"hits, address type", spec.GroupIOTLB, spec.EventIOTLBHit, []uint32{at}, true},
		{"look-ups, level", spec.GroupIOTLB, spec.EventIOTLBLookup, []uint32{level}, true},
		{"look-ups, domain", spec.GroupIOTLB, spec.EventIOTLBLookup, []uint32{did}, false},
		{"non-leaf hits, level", spec.GroupCaches, spec.EventFSHit, []uint32{level}, false},
		{"context hits, level", spec.GroupCaches, spec.EventContextHit, []uint32{level}, true},
		{"context hits, domain", spec.GroupCaches, spec.EventContextHit, []uint32{did}, true},
		{"context hits, requester", spec.GroupCaches, spec.EventContextHit, []uint32{rid}, false},
		{"reads, requester", spec.GroupMemory, spec.EventReads, []uint32{rid}, true},
		{"interrupts, domain", spec.GroupInterrupt, spec.EventIntLookup, []uint32{did}, true},
	} {
		filters := map[uint32]uint64{}
		for _, f := range c.filters {
			filters[f] = 1
		}
		want := uint64(spec.ECSuccess)
		if c.bad {
			want = spec.ECFailed
		}
		require.Equal(t, want, r.tryUse(0, c.group, c.events, filters), c.name)
		require.Equal(t, !c.bad, spec.CntrcfgEN.On(r.R64(r.cfgAt(0))), c.name)
		require.Zero(t, r.ecmd(spec.EcmdDisable, 0))
	}
	reserved := map[uint32]uint64{pasid: spec.FilterPFM.Put(3)}
	require.EqualValues(t, spec.ECFailed, r.tryUse(0, spec.GroupIOTLB, spec.EventIOTLBHit, reserved))
}

func TestFiltersNarrowWhatIsCounted(t *testing.T) {
	// sid is in domain 7 with PASID 5 and a page of 4 KiB, hiSID in domain 8 without PASID and with 2 MiB.
	setUp := func() *rig {
		r := newRig(t, pms(1))
		r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
		top := r.bind(hiSID, 0, spec.PGTTSecond, 8)
		r.Put(r.pte(top, 0, 1), 0x20_0000|ssRW|1<<7)
		ctx := r.smContext(hiSID)
		r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
		r.scalable()
		return r
	}
	const hit, request = spec.EventIOTLBHit, spec.EventRequests
	for _, c := range []struct {
		name         string
		group, event uint64
		filters      map[uint32]uint64
		want         uint64
	}{
		{"all", spec.GroupIOTLB, hit, nil, 4},
		{"requester", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterRequester: uint64(sid)}, 1},
		{"requester", spec.GroupGeneral, request, map[uint32]uint64{spec.FilterRequester: uint64(hiSID)}, 5},
		{"domain", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterDomain: 8}, 3},
		{"another domain", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterDomain: 9}, 0},
		{"PASID", spec.GroupIOTLB, spec.EventIOTLBLookup, map[uint32]uint64{spec.FilterPASID: 5}, 2},
		{"PASID of the request", spec.GroupIOTLB, spec.EventIOTLBLookup, map[uint32]uint64{spec.FilterPASID: 0}, 0},
		{"any PASID", spec.GroupGeneral, request, map[uint32]uint64{spec.FilterPASID: 1<<20 | 9}, 2},
		{"no PASID", spec.GroupGeneral, request, map[uint32]uint64{spec.FilterPASID: 2 << 20}, 5},
		{"translation requests", spec.GroupGeneral, request, map[uint32]uint64{spec.FilterAT: 2}, 1},
		{"all others", spec.GroupGeneral, request, map[uint32]uint64{spec.FilterAT: 5}, 6},
		{"small pages", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterLevel: 1}, 1},
		{"large pages", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterLevel: 2}, 3},
		{"both", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterLevel: 3}, 4},
		{"two filters", spec.GroupIOTLB, hit, map[uint32]uint64{spec.FilterLevel: 2, spec.FilterDomain: 7}, 0},
		{"non-leaf", spec.GroupCaches, spec.EventSSHit, map[uint32]uint64{spec.FilterLevel: 4}, 1},
		{"other non-leaf", spec.GroupCaches, spec.EventSSHit, map[uint32]uint64{spec.FilterLevel: 2}, 0},
	} {
		for _, trace := range []bool{false, true} {
			r := setUp()
			if trace {
				r.F.Trace = func(*emu.Txn) {}
			}
			r.use(0, c.group, c.event, c.filters)
			for range 2 {
				r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
			}
			for range 4 {
				r.RequireOK(r.Access(hiSID, 0x3000, emu.Read), 0x20_3000)
			}
			q := emu.Request{Type: emu.TranslationReq, Source: hiSID, Addr: 0x20_0000, PASID: emu.NoPASID, Access: emu.Read}
			require.Equal(t, emu.OK, r.Do(q).Status)
			require.Equal(t, c.want, r.counter(0), c.name)
		}
	}
}

func TestFilterThatIsNotAdvertisedReadsZero(t *testing.T) {
	r := newRig(t, pms(1, func(p *vtd.PerfConfig) { p.Filters = 1 << spec.FilterPASID }))
	for f := range uint32(spec.NumFilters) {
		r.W32(r.cfgAt(0)+spec.OffFilter0+4*f, 0xffff_ffff)
		want := uint64(0)
		if f == spec.FilterPASID {
			want = 0x803f_ffff
		}
		require.Equal(t, want, r.R32(r.cfgAt(0)+spec.OffFilter0+4*f))
	}
}

func TestLimitedCounters(t *testing.T) {
	r := newRig(t, pms(2, func(p *vtd.PerfConfig) {
		p.Limited = [][spec.NumEventGroups]uint32{{}, {spec.GroupIOTLB: spec.EventIOTLBHit, spec.GroupGeneral: spec.EventRequests}}
	}))
	require.True(t, spec.PerfcapPCCS.On(r.R64(spec.OffPERFCAP)))
	require.EqualValues(t, 2<<28|1<<17|1<<16|48<<8|1, r.R32(r.cfgAt(1)+spec.OffPERFCNTRCAP))
	require.EqualValues(t, spec.EventRequests, r.R32(r.cfgAt(1)+spec.OffCNTREVCAP0))
	require.EqualValues(t, 3<<28|spec.EventIOTLBHit, r.R32(r.cfgAt(1)+spec.OffCNTREVCAP0+4))
	require.EqualValues(t, 1<<17|1<<16|48<<8, r.R32(r.cfgAt(0)+spec.OffPERFCNTRCAP))
	r.use(0, spec.GroupIOTLB, spec.EventIOTLBLookup|spec.EventIOTLBHit, nil)
	r.use(1, spec.GroupIOTLB, spec.EventIOTLBHit, nil)
	require.Zero(t, r.ecmd(spec.EcmdDisable, 1))
	require.EqualValues(t, spec.ECFailed, r.tryUse(1, spec.GroupIOTLB, spec.EventIOTLBLookup, nil))
	require.EqualValues(t, spec.ECFailed, r.tryUse(1, spec.GroupCaches, spec.EventContextHit, nil))
}

func TestEventsOfferedAreThoseOfTheConfiguration(t *testing.T) {
	offered := func(r *rig) (e [5]uint64) {
		for g := range uint32(5) {
			e[g] = r.R64(spec.OffPERFEVNTCAP0 + 8*g)
		}
		return e
	}
	one := pms(1)
	require.Equal(t, [5]uint64{2, 9, 0xff, 3, 7}, offered(newRig(t, one)))
	require.Equal(t, [5]uint64{2, 0xc9, 0xff, 3, 7}, offered(newRig(t, one, func(c *vtd.Config) { c.PRS = true })))
	require.Equal(t, [5]uint64{2, 1, 0x33, 3, 7}, offered(newRig(t, one, (*vtd.Config).NoScalable)))
	require.Equal(t, [5]uint64{2, 9, 0x3f, 3, 0}, offered(newRig(t, one, noInterrupts, (*vtd.Config).NoFirstStage)))
	require.Equal(t, [5]uint64{2, 9, 0xff, 3, 3}, offered(newRig(t, one, func(c *vtd.Config) { c.PI = false })))
	only := pms(1, func(p *vtd.PerfConfig) { p.Events[spec.GroupIOTLB] = 0xff })
	require.Equal(t, [5]uint64{0, 0, 0, 3, 0}, offered(newRig(t, only)))
}

func TestOverflowOfPageRequestsIsCounted(t *testing.T) {
	r := newPRQ(t, 0, pms(2))
	r.use(0, spec.GroupMemory, spec.EventPagePosted, nil)
	r.use(1, spec.GroupMemory, spec.EventPageOverflow, nil)
	for i := range uint16(130) {
		r.page(5, emu.Read, i, true)
	}
	require.EqualValues(t, 127, r.counter(0))
	require.EqualValues(t, 3, r.counter(1))
}

// narrow counters overflow soon.
func narrow(p *vtd.PerfConfig) { p.Width = 8 }

func TestOverflowSetsStatusAndInterrupts(t *testing.T) {
	for _, trace := range []bool{false, true} {
		r := newRig(t, pms(3, narrow))
		if trace {
			r.F.Trace = func(*emu.Txn) {}
		}
		r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
		r.legacy()
		r.W32(spec.OffPERFINTRDATA, 0x43)
		r.W32(spec.OffPERFINTRADDR, msiTo)
		r.W32(spec.OffPERFINTRCTL, 0)
		r.use(0, spec.GroupGeneral, spec.EventRequests, nil)
		r.use(2, spec.GroupIOTLB, spec.EventIOTLBHit|spec.EventIOTLBLookup, nil)
		run := func(n int) {
			for range n {
				r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
			}
		}
		run(128)
		require.EqualValues(t, 255, r.counter(2))
		require.Zero(t, r.overflowed())
		run(1)
		require.EqualValues(t, 1, r.counter(2))
		require.EqualValues(t, 4, r.overflowed())
		require.EqualValues(t, 1, r.R32(spec.OffPERFINTRSTS))
		require.Equal(t, []uint32{0x43}, r.MSI)
		run(127)
		require.EqualValues(t, 5, r.overflowed())
		require.Len(t, r.MSI, 1, "no second message while the first status stands")
		r.W64(uint32(r.R32(spec.OffPERFOVFOFF)), 4)
		require.EqualValues(t, 1, r.overflowed())
		r.W32(spec.OffPERFINTRSTS, 1)
		require.Zero(t, r.R32(spec.OffPERFINTRSTS))
		r.W32(spec.OffPERFINTRCTL, spec.EventIM.Mask())
		run(128)
		require.Len(t, r.MSI, 1, "masked")
		require.True(t, spec.EventIP.On(r.R32(spec.OffPERFINTRCTL)))
		r.W32(spec.OffPERFINTRCTL, 0)
		require.Len(t, r.MSI, 2)
		require.False(t, spec.EventIP.On(r.R32(spec.OffPERFINTRCTL)))
	}
}

// Software that wants to be told of the first event writes -1 (10.3.1).
func TestOverflowOfTheFirstEvent(t *testing.T) {
	for name, cfg := range map[string]uint64{"nothing": 0, "IO": spec.CntrcfgIO.Mask(), "GFO": spec.CntrcfgGFO.Mask()} {
		r := newRig(t, pms(2))
		r.legacy()
		r.setCounter(0, ^uint64(0))
		r.W64(r.cfgAt(0), cfg|spec.CntrcfgES.Put(spec.EventRequests))
		require.Zero(t, r.ecmd(spec.EcmdEnable, 0))
		r.use(1, spec.GroupGeneral, spec.EventRequests, nil)
		for range 3 {
			r.Access(sid, iova, emu.Read)
		}
		require.EqualValues(t, 1, r.overflowed(), name)
		require.Equal(t, cfg == spec.CntrcfgIO.Mask(), r.R32(spec.OffPERFINTRSTS) == 1, name)
		if cfg == spec.CntrcfgGFO.Mask() {
			require.EqualValues(t, 3, r.frozen())
			require.Equal(t, []uint64{0, 1}, []uint64{r.counter(0), r.counter(1)})
			require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
			r.Access(sid, iova, emu.Read)
			require.Equal(t, []uint64{1, 2}, []uint64{r.counter(0), r.counter(1)})
			continue
		}
		require.Zero(t, r.frozen(), name)
		require.Equal(t, []uint64{2, 3}, []uint64{r.counter(0), r.counter(1)}, name)
	}
}

func TestGlobalFreezeMayBeAbsent(t *testing.T) {
	r := newRig(t, pms(1, func(p *vtd.PerfConfig) { p.GFS = false }))
	require.False(t, spec.PerfcapGFS.On(r.R64(spec.OffPERFCAP)))
	r.W64(r.cfgAt(0), ^uint64(0))
	require.False(t, spec.CntrcfgGFO.On(r.R64(r.cfgAt(0))))
}

func TestOverflowOfTheClockInterruptsAtTheNextAccess(t *testing.T) {
	r := newRig(t, pms(1, narrow))
	m := timing.New(timing.Params{}, r.Mem)
	m.AddUnit(r.u, 1)
	r.W32(spec.OffPERFINTRADDR, msiTo)
	r.W32(spec.OffPERFINTRCTL, 0)
	r.use(0, spec.GroupGeneral, spec.EventClocks, nil)
	m.RunUntil(255)
	require.Zero(t, r.overflowed())
	m.RunUntil(256)
	require.EqualValues(t, 1, r.overflowed())
	require.Empty(t, r.MSI)
	r.W32(spec.OffPERFINTRDATA, 9)
	require.Equal(t, []uint32{9}, r.MSI)
}

func TestCountersAreSavedAndLoaded(t *testing.T) {
	limit := func(p *vtd.PerfConfig) {
		p.Limited = [][spec.NumEventGroups]uint32{{}, {spec.GroupIOTLB: spec.EventIOTLBHit}}
		p.Filters, p.Width, p.Stride, p.CntrOff, p.CWE, p.GFS = 3, 40, 1<<11, 0x3000, true, false
	}
	r := newRig(t, pms(3, limit))
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	r.use(2, spec.GroupGeneral, spec.EventRequests, nil)
	r.Access(sid, iova, emu.Read)
	b := emutest.Save(r.u)
	u, err := vtd.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	at := uint32(0x3000 + 2<<11)
	var res emu.Result
	q := dma(emu.Read)
	require.True(t, u.Lookup(&q, &res))
	require.EqualValues(t, 2, u.ReadReg(at, 8))

	for _, freeze := range []bool{true, false} {
		if freeze {
			require.Zero(t, r.ecmd(spec.EcmdFreeze, 0))
		} else {
			require.Zero(t, r.ecmd(spec.EcmdUnfreeze, 0))
		}
		var img emu.RegImage
		for off := uint32(0); off < r.window(); off += 8 {
			img = append(img, emu.RegValue{Off: off, Size: 8, Value: r.R64(off)})
		}
		other := newRig(t)
		require.NoError(t, other.u.Load(img))
		require.Empty(t, other.u.Unmodelled())
		for _, v := range img {
			require.Equal(t, v.Value, other.R64(v.Off), "%#x", v.Off)
		}
		require.Equal(t, r.u.Config().Perf.Limited, other.u.Config().Perf.Limited)
		b = emutest.Save(other.u)
		third := newRig(t)
		require.NoError(t, third.u.Restore(emu.NewDecoder(b)))
		require.Equal(t, b, emutest.Save(third.u))
		third.Access(sid, iova, emu.Read)
		require.Equal(t, freeze, third.counter(2) == 1, "it goes on as it was")

		img[spec.OffPERFCAP/8].Value &^= spec.PerfcapIOS.Mask()
		img = img[:spec.Window/8]
		require.NoError(t, other.u.Load(img))
		require.Contains(t, other.u.Unmodelled(), "ECAP.PMS")
	}
}

func TestPerfConfigErrorsNameTheField(t *testing.T) {
	for field, f := range map[string]func(*vtd.PerfConfig){
		"Perf.Counters": func(p *vtd.PerfConfig) { p.Counters = 65 },
		"Perf.Width":    func(p *vtd.PerfConfig) { p.Width = 7 },
		"Perf.Filters":  func(p *vtd.PerfConfig) { p.Filters = 0x20 },
		"Perf.Stride":   func(p *vtd.PerfConfig) { p.Stride = 3 << 10 },
		"Perf.CfgOff":   func(p *vtd.PerfConfig) { p.CfgOff = 0x1080 },
		"Perf.FrzOff":   func(p *vtd.PerfConfig) { p.FrzOff = 4 },
		"Perf.OvfOff":   func(p *vtd.PerfConfig) { p.OvfOff = spec.MaxWindow },
		"Perf.CntrOff":  func(p *vtd.PerfConfig) { p.CntrOff = 0x4008 },
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
