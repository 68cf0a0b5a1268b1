package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func dma(a emu.Access) emu.Request {
	return emu.Request{Source: sid, Addr: iova, PASID: emu.NoPASID, Len: 64, Access: a}
}

// fetched returns the size of each memory read so far, and whether it went on with a structure.
func fetched(s *emutest.Stepper) (sizes []uint8, follow []bool) {
	for _, a := range s.Fetches() {
		sizes, follow = append(sizes, a.Size), append(follow, a.Follow)
	}
	return sizes, follow
}

func TestFetchesHaveTheSizeHardwareUses(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.Begin(dma(emu.Read))
	s.End()
	sizes, follow := fetched(s)
	require.Equal(t, []uint8{16, 16, 8, 8, 8, 8}, sizes)
	require.NotContains(t, follow, true)

	r = newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	s = r.Begin(dma(emu.Read))
	s.End()
	sizes, follow = fetched(s)
	require.Equal(t, []uint8{16, 16, 16, 8, 16, 16, 16, 16, 8, 8, 8, 8}, sizes)
	require.Equal(t, []bool{false, false, true, false, false, true, true, true, false, false, false, false}, follow)
}

func TestWalkerIsNeverHeldWhileWaitingForAMiss(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	s := r.Begin(dma(emu.Read))
	s.End()
	walker := false
	var order []emu.SlotClass
	for _, a := range s.Acts {
		switch a.Op {
		case emu.OpAcquire:
			order = append(order, a.Slot)
			require.False(t, walker, "%v", a.Slot)
			walker = a.Slot == emu.SlotWalker
		case emu.OpRelease:
			walker = walker && a.Slot != emu.SlotWalker
		}
	}
	require.Equal(t, []emu.SlotClass{emu.SlotEntry, emu.SlotWalker, emu.SlotPASID, emu.SlotWalker, emu.SlotMiss, emu.SlotWalker}, order)
}

func TestVTDQuirk43_PASIDEntryCanBeReadTorn(t *testing.T) {
	r := newRig(t)
	old := r.bind(sid, 0, spec.PGTTSecond, 7)
	r.mapPage(old, iova, 0x5000, ssRW)
	r.scalable()
	var seen []uint64
	r.u.Observe(emutest.Observer(func(kind emu.StructKind, _ emu.PA, words []uint64) {
		if kind == emu.StructPASID {
			seen = append([]uint64(nil), words...)
		}
	}))
	at := r.pasidEntry(sid, 0)
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.Put(at, 0, 0, spec.PasidSRE.Put(1)) // software rewrites both chunks
	res := s.End()
	require.Equal(t, emu.OK, res.Status)
	require.Len(t, seen, 8)
	require.NotZero(t, seen[0], "old first chunk")
	require.EqualValues(t, 1, seen[2], "new second chunk")
}

func TestVTDQuirk43_LegacyContextIsReadInOnePiece(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == r.context(sid) })
	require.EqualValues(t, 16, s.Txn.Act.Size)
}

func TestDomainIsKnownOnlyAfterTheEntryIsCached(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.Begin(dma(emu.Read))
	s.Next()
	other := emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: 99}
	require.True(t, s.Txn.Matches(&other), "from the first question on")
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFill && a.Cache == emu.CacheEntry })
	require.True(t, s.Txn.Matches(&other), "an invalidation of any domain stops the fill")
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	require.False(t, s.Txn.Matches(&other))
	own := emu.Selector{Match: emu.MatchDomain, Domain: 7}
	require.True(t, s.Txn.Matches(&own))
}

func TestVTDQuirk47_MarkedWalkFillsNothing(t *testing.T) {
	r := newRig(t)
	at := r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	s.Txn.Marked = true // an invalidation came between
	r.RequireOK(s.End(), 0x5000)
	r.Put(at, 0x6000|ssRW)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
}

func ade(r *rig) (pte emu.PA, top emu.PA) {
	top = r.bind(sid, 0, spec.PGTTSecond, 7, with(spec.PasidSSADE, 1))
	return r.mapPage(top, iova, 0x5000, ssRW), top
}

func TestVTDQuirk49_AccessedAndDirtyFlags(t *testing.T) {
	r := newRig(t)
	pte, top := ade(r)
	r.scalable()
	const a, d = 1 << 8, 1 << 9
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	require.EqualValues(t, a, r.Get(pte)&(a|d))
	require.EqualValues(t, a, r.Get(r.pte(top, iova, 3))&(a|d))
	r.RequireOK(r.Access(sid, iova, emu.Write), 0x5000)
	require.EqualValues(t, a|d, r.Get(pte)&(a|d))
	require.EqualValues(t, a, r.Get(r.pte(top, iova, 1))&(a|d), "D is for leaves")
	// Cached as dirty now: software that clears D must invalidate.
	r.Put(pte, 0x5000|ssRW|a)
	r.RequireOK(r.Access(sid, iova, emu.Write), 0x5000)
	require.Zero(t, r.Get(pte)&d)
	r.submitGlobal()
	r.RequireOK(r.Access(sid, iova, emu.Write), 0x5000)
	require.NotZero(t, r.Get(pte)&d)
}

func TestVTDQuirk49_FlagUpdateLosesNoConcurrentStore(t *testing.T) {
	r := newRig(t)
	pte, _ := ade(r)
	r.scalable()
	s := r.Begin(dma(emu.Write))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == pte })
	r.Put(pte, 0x6000|ssRW) // between the read and the compare-and-swap
	r.RequireOK(s.End(), 0x6000)
	require.EqualValues(t, 0x6000|ssRW|3<<8, r.Get(pte))

	r.submitGlobal()
	r.Put(pte, 0x6000|ssRW)
	s = r.Begin(dma(emu.Write))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == pte })
	r.Put(pte, 0x6000|ssR)
	r.RequireFault(s.End(), vtd.FaultWriteSM)
	require.EqualValues(t, 0x6000|ssR, r.Get(pte))
}

func TestFlagsThatAreSetNeedNoCoherentWalk(t *testing.T) {
	r := newRig(t)
	top := r.bind(sid, 0, spec.PGTTSecond, 7, with(spec.PasidSSADE, 1), with(spec.PasidPWSNP, 0))
	r.mapPage(top, iova, 0x5000, ssRW|1<<8)
	for l := 1; l < 4; l++ {
		at := r.pte(top, iova, l)
		r.Put(at, r.Get(at)|1<<8)
	}
	r.scalable()
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultSSNoncoherent)
}

func TestMergedMissUsesWhatTheOwnerFilled(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	owner := r.Begin(dma(emu.Read))
	owner.Until(func(a *emu.Act) bool { return a.Op == emu.OpFill && a.Cache == emu.CacheIOTLB })
	second := r.Begin(dma(emu.Read))
	// A look-up before the owner's fill misses; it then joins.
	second.Until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	second.Txn.Ans = emu.AnsMiss
	r.u.Step(&second.Txn)
	require.Equal(t, emu.OpAcquire, second.Txn.Act.Op)
	second.Txn.Ans, second.Txn.In = emu.AnsMerged, owner.Txn.Act.Data
	r.u.Step(&second.Txn)
	require.Equal(t, emu.OpDone, second.Txn.Act.Op)
	r.RequireOK(second.Txn.Res, 0x5000)
}

func TestMissRetriesWhenTheOwnerEndedWithout(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpAcquire && a.Slot == emu.SlotMiss })
	s.Txn.Ans = emu.AnsRetry
	r.u.Step(&s.Txn)
	require.Equal(t, emu.OpProbe, s.Txn.Act.Op)
	require.Equal(t, emu.CacheIOTLB, s.Txn.Act.Cache)
}

func TestCommandsDrainWhatIsInFlight(t *testing.T) {
	r := newRig(t)
	r.setRoot(spec.TTMLegacy)
	w := r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdTE.Mask())
	require.Equal(t, vtd.EngineCommand.Set(), w)
	s := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
	require.False(t, spec.GstsTES.On(r.R32(spec.OffGSTS)), "not before the drain")
	s.Next()
	require.True(t, spec.GstsTES.On(r.R32(spec.OffGSTS)))
}

func TestQueueOffParksTheCommandUntilTheEngineStops(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.push(wait(1, r.status()))
	r.push(wait(2, r.status()))
	r.u.WriteReg(spec.OffIQT, 4, r.tail)
	q := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	q.Until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
	r.u.WriteReg(spec.OffGCMD, 4, 0)
	c := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
	c.Until(func(a *emu.Act) bool { return a.Op == emu.OpPark })
	c.Next()
	require.Equal(t, emu.OpPark, c.Txn.Act.Op, "woken for nothing")
	q.End()
	require.True(t, q.Txn.Wake&vtd.EngineCommand.Set() != 0)
	require.True(t, spec.GstsQIES.On(r.R32(spec.OffGSTS)))
	c.End()
	require.False(t, spec.GstsQIES.On(r.R32(spec.OffGSTS)))
	require.EqualValues(t, 1, r.Get(r.status()), "the fetched descriptor is finished, the next is not begun")
}

func TestEntryMissesMergeAndRetry(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	owner := r.Begin(dma(emu.Read))
	owner.End()
	fills := map[emu.SlotClass][4]uint64{}
	for _, a := range owner.Acts {
		if a.Op == emu.OpFill && a.Cache == emu.CacheEntry {
			fills[emu.SlotEntry] = a.Data
		}
		if a.Op == emu.OpFill && a.Cache == emu.CachePASID {
			fills[emu.SlotPASID] = a.Data
		}
	}
	r.submitGlobal()
	for _, ans := range []emu.Answer{emu.AnsMerged, emu.AnsRetry} {
		s := r.Begin(dma(emu.Read))
		for s.Next() {
			v, mine := fills[s.Txn.Act.Slot]
			if s.Txn.Act.Op == emu.OpAcquire && mine {
				s.Txn.Ans, s.Txn.In = ans, v
				if ans == emu.AnsRetry { // once, then it becomes the owner
					delete(fills, s.Txn.Act.Slot)
				}
			}
		}
		r.RequireOK(s.Txn.Res, 0x5000)
		r.submitGlobal()
	}
}
