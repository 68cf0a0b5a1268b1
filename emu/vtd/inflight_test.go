package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// stepper drives one transaction question by question, as an executor would, so that a test can do
// something between two questions.
type stepper struct {
	*rig
	txn  emu.Txn
	acts []emu.Act
}

func (r *rig) begin(q emu.Request) *stepper {
	s := &stepper{rig: r}
	r.u.Start(&s.txn, &q)
	return s
}

// next asks one question and answers it. It returns false at the end.
func (s *stepper) next() bool {
	t := &s.txn
	s.u.Step(t)
	s.acts = append(s.acts, t.Act)
	t.Ans = emu.AnsOK
	switch t.Act.Op {
	case emu.OpFetch, emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		t.Ans = emu.MemoryAnswer(s.m, t)
	case emu.OpProbe:
		if !s.u.Cache(t.Act.Cache).Probe(&t.Act.Key, &t.In) {
			t.Ans = emu.AnsMiss
		}
	case emu.OpFill:
		if !t.Marked {
			s.u.Cache(t.Act.Cache).Fill(&t.Act.Key, t.Act.Lg2, t.Act.Attr, &t.Act.Data)
		}
	}
	return t.Act.Op != emu.OpDone
}

// until goes on to the first question that f picks, without answering what comes after it.
func (s *stepper) until(f func(a *emu.Act) bool) {
	for s.next() {
		if f(&s.txn.Act) {
			return
		}
	}
	s.t.Fatal("the transaction ended first")
}

func (s *stepper) end() emu.Result {
	for s.next() {
	}
	return s.txn.Res
}

// fetches returns address and size of each memory read so far.
func (s *stepper) fetches() (sizes []uint8, follow []bool) {
	for _, a := range s.acts {
		if a.Op == emu.OpFetch {
			sizes, follow = append(sizes, a.Size), append(follow, a.Follow)
		}
	}
	return sizes, follow
}

func dma(a emu.Access) emu.Request {
	return emu.Request{Source: sid, Addr: iova, PASID: emu.NoPASID, Len: 64, Access: a}
}

func TestFetchesHaveTheSizeHardwareUses(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.begin(dma(emu.Read))
	s.end()
	sizes, follow := s.fetches()
	require.Equal(t, []uint8{16, 16, 8, 8, 8, 8}, sizes)
	require.NotContains(t, follow, true)

	r = newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	s = r.begin(dma(emu.Read))
	s.end()
	sizes, follow = s.fetches()
	require.Equal(t, []uint8{16, 16, 16, 8, 16, 16, 16, 16, 8, 8, 8, 8}, sizes)
	require.Equal(t, []bool{false, false, true, false, false, true, true, true, false, false, false, false}, follow)
}

func TestWalkerIsNeverHeldWhileWaitingForAMiss(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	s := r.begin(dma(emu.Read))
	s.end()
	walker := false
	var order []emu.SlotClass
	for _, a := range s.acts {
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
	r.u.Observe(observer(func(kind emu.StructKind, words []uint64) {
		if kind == emu.StructPASID {
			seen = append([]uint64(nil), words...)
		}
	}))
	at := r.pasidEntry(sid, 0)
	s := r.begin(dma(emu.Read))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.put(at, 0, 0, spec.PasidSRE.Put(1)) // software rewrites both chunks
	res := s.end()
	require.Equal(t, emu.OK, res.Status)
	require.Len(t, seen, 8)
	require.NotZero(t, seen[0], "old first chunk")
	require.EqualValues(t, 1, seen[2], "new second chunk")
}

func TestVTDQuirk43_LegacyContextIsReadInOnePiece(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	s := r.begin(dma(emu.Read))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == r.context(sid) })
	require.EqualValues(t, 16, s.txn.Act.Size)
}

type observer func(kind emu.StructKind, words []uint64)

func (o observer) Assembled(_ *emu.Txn, kind emu.StructKind, _ emu.PA, words []uint64) {
	o(kind, words)
}

func TestDomainIsKnownOnlyAfterTheEntryIsCached(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.begin(dma(emu.Read))
	s.next()
	other := emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: 99}
	require.True(t, s.txn.Matches(&other), "from the first question on")
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFill && a.Cache == emu.CacheEntry })
	require.True(t, s.txn.Matches(&other), "an invalidation of any domain stops the fill")
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	require.False(t, s.txn.Matches(&other))
	own := emu.Selector{Match: emu.MatchDomain, Domain: 7}
	require.True(t, s.txn.Matches(&own))
}

func TestVTDQuirk47_MarkedWalkFillsNothing(t *testing.T) {
	r := newRig(t)
	at := r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.begin(dma(emu.Read))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	s.txn.Marked = true // an invalidation came between
	r.ok(s.end(), 0x5000)
	r.put(at, 0x6000|ssRW)
	r.ok(r.access(sid, iova, emu.Read), 0x6000)
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
	r.ok(r.access(sid, iova, emu.Read), 0x5000)
	require.EqualValues(t, a, r.get(pte)&(a|d))
	require.EqualValues(t, a, r.get(r.pte(top, iova, 3))&(a|d))
	r.ok(r.access(sid, iova, emu.Write), 0x5000)
	require.EqualValues(t, a|d, r.get(pte)&(a|d))
	require.EqualValues(t, a, r.get(r.pte(top, iova, 1))&(a|d), "D is for leaves")
	// Cached as dirty now: software that clears D must invalidate.
	r.put(pte, 0x5000|ssRW|a)
	r.ok(r.access(sid, iova, emu.Write), 0x5000)
	require.Zero(t, r.get(pte)&d)
	r.submitGlobal()
	r.ok(r.access(sid, iova, emu.Write), 0x5000)
	require.NotZero(t, r.get(pte)&d)
}

func TestVTDQuirk49_FlagUpdateLosesNoConcurrentStore(t *testing.T) {
	r := newRig(t)
	pte, _ := ade(r)
	r.scalable()
	s := r.begin(dma(emu.Write))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == pte })
	r.put(pte, 0x6000|ssRW) // between the read and the compare-and-swap
	r.ok(s.end(), 0x6000)
	require.EqualValues(t, 0x6000|ssRW|3<<8, r.get(pte))

	r.submitGlobal()
	r.put(pte, 0x6000|ssRW)
	s = r.begin(dma(emu.Write))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == pte })
	r.put(pte, 0x6000|ssR)
	r.faults(s.end(), vtd.FaultWriteSM)
	require.EqualValues(t, 0x6000|ssR, r.get(pte))
}

func TestFlagsThatAreSetNeedNoCoherentWalk(t *testing.T) {
	r := newRig(t)
	top := r.bind(sid, 0, spec.PGTTSecond, 7, with(spec.PasidSSADE, 1), with(spec.PasidPWSNP, 0))
	r.mapPage(top, iova, 0x5000, ssRW|1<<8)
	for l := 1; l < 4; l++ {
		at := r.pte(top, iova, l)
		r.put(at, r.get(at)|1<<8)
	}
	r.scalable()
	r.ok(r.access(sid, iova, emu.Read), 0x5000)
	r.faults(r.access(sid, iova, emu.Write), vtd.FaultSSNoncoherent)
}

func TestMergedMissUsesWhatTheOwnerFilled(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	owner := r.begin(dma(emu.Read))
	owner.until(func(a *emu.Act) bool { return a.Op == emu.OpFill && a.Cache == emu.CacheIOTLB })
	second := r.begin(dma(emu.Read))
	// A look-up before the owner's fill misses; it then joins.
	second.until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	second.txn.Ans = emu.AnsMiss
	r.u.Step(&second.txn)
	require.Equal(t, emu.OpAcquire, second.txn.Act.Op)
	second.txn.Ans, second.txn.In = emu.AnsMerged, owner.txn.Act.Data
	r.u.Step(&second.txn)
	require.Equal(t, emu.OpDone, second.txn.Act.Op)
	r.ok(second.txn.Res, 0x5000)
}

func TestMissRetriesWhenTheOwnerEndedWithout(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	s := r.begin(dma(emu.Read))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpAcquire && a.Slot == emu.SlotMiss })
	s.txn.Ans = emu.AnsRetry
	r.u.Step(&s.txn)
	require.Equal(t, emu.OpProbe, s.txn.Act.Op)
	require.Equal(t, emu.CacheIOTLB, s.txn.Act.Cache)
}

func TestCommandsDrainWhatIsInFlight(t *testing.T) {
	r := newRig(t)
	r.setRoot(spec.TTMLegacy)
	w := r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdTE.Mask())
	require.Equal(t, vtd.EngineCommand.Set(), w)
	s := r.begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
	require.False(t, spec.GstsTES.On(r.r32(spec.OffGSTS)), "not before the drain")
	s.next()
	require.True(t, spec.GstsTES.On(r.r32(spec.OffGSTS)))
}

func TestQueueOffParksTheCommandUntilTheEngineStops(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.push(wait(1, r.status()))
	r.push(wait(2, r.status()))
	r.u.WriteReg(spec.OffIQT, 4, r.tail)
	q := r.begin(emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	q.until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
	r.u.WriteReg(spec.OffGCMD, 4, 0)
	c := r.begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
	c.until(func(a *emu.Act) bool { return a.Op == emu.OpPark })
	c.next()
	require.Equal(t, emu.OpPark, c.txn.Act.Op, "woken for nothing")
	q.end()
	require.True(t, q.txn.Wake&vtd.EngineCommand.Set() != 0)
	require.True(t, spec.GstsQIES.On(r.r32(spec.OffGSTS)))
	c.end()
	require.False(t, spec.GstsQIES.On(r.r32(spec.OffGSTS)))
	require.EqualValues(t, 1, r.get(r.status()), "the fetched descriptor is finished, the next is not begun")
}

func TestEntryMissesMergeAndRetry(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	owner := r.begin(dma(emu.Read))
	owner.end()
	fills := map[emu.SlotClass][4]uint64{}
	for _, a := range owner.acts {
		if a.Op == emu.OpFill && a.Cache == emu.CacheEntry {
			fills[emu.SlotEntry] = a.Data
		}
		if a.Op == emu.OpFill && a.Cache == emu.CachePASID {
			fills[emu.SlotPASID] = a.Data
		}
	}
	r.submitGlobal()
	for _, ans := range []emu.Answer{emu.AnsMerged, emu.AnsRetry} {
		s := r.begin(dma(emu.Read))
		for s.next() {
			v, mine := fills[s.txn.Act.Slot]
			if s.txn.Act.Op == emu.OpAcquire && mine {
				s.txn.Ans, s.txn.In = ans, v
				if ans == emu.AnsRetry { // once, then it becomes the owner
					delete(fills, s.txn.Act.Slot)
				}
			}
		}
		r.ok(s.txn.Res, 0x5000)
		r.submitGlobal()
	}
}
