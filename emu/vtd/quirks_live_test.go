package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Rules for drivers that rewrite live entries, seen from the hardware: each test breaks one and shows
// the victim.

// moveUnder lets a request read the first 16 bytes of the PASID entry at at, rewrites the entry, and
// lets the request go on.
func moveUnder(r *rig, at emu.PA, new []uint64) emu.Result {
	q := dma(emu.Read)
	q.PASID = 5
	s := r.Begin(q)
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.Put(at, new...)
	return s.End()
}

// words returns the entry at at.
func (r *rig) words(at emu.PA) (w []uint64) {
	for i := range emu.PA(8) {
		w = append(w, r.Get(at+8*i))
	}
	return w
}

func TestVTDQuirk45_DomainAndTableOfAFirstStageEntryCannotMoveAtOnce(t *testing.T) {
	r := newRig(t)
	// Both devices are in domain 7 with PASID 5; sid moves to domain 8.
	for _, s := range []emu.SourceID{sid, hiSID} {
		r.fsMap(r.first(s, 5, 7), iova, 0x5000, fsRWU)
	}
	at := r.pasidEntry(sid, 5)
	old := r.words(at)
	r.fsMap(r.first(sid, 5, 8), iova, 0x6000, fsRWU)
	new := r.words(at)
	r.Put(at, old...)
	r.scalable()
	r.RequireOK(moveUnder(r, at, new), 0x6000)
	q := dma(emu.Read)
	q.Source, q.PASID = hiSID, 5
	res := r.Do(q)
	r.RequireOK(res, 0x6000) // the device that was left alone
	require.NotEqual(t, res.Prov.Entry, res.Prov.Fill)

	// Table and domain of a second-stage entry are in the same 16 bytes.
	r = newRig(t)
	for _, s := range []emu.SourceID{sid, hiSID} {
		r.mapPage(r.bind(s, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	}
	at = r.pasidEntry(sid, 5)
	old = r.words(at)
	r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 8), iova, 0x6000, ssRW)
	new = r.words(at)
	r.Put(at, old...)
	r.scalable()
	r.RequireOK(moveUnder(r, at, new), 0x5000)
	q.Source = hiSID
	r.RequireOK(r.Do(q), 0x5000)
}

func TestVTDQuirk46_StepsOfARewriteNeedAnInvalidationBetween(t *testing.T) {
	// From first to second stage: the type in the first 16 bytes, then the table that is not used any
	// more in the second.
	setUp := func() (r *rig, s *emutest.Stepper, at emu.PA, new []uint64) {
		r = newRig(t)
		r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 8), iova, 0x6000, ssRW)
		at = r.pasidEntry(sid, 5)
		new = r.words(at)
		r.fsMap(r.first(sid, 5, 7), iova, 0x5000, fsRWU)
		r.scalable()
		q := dma(emu.Read)
		q.PASID = 5
		s = r.Begin(q)
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
		r.Put(at, new[0], new[1])
		return r, s, at, new
	}
	// Without it, a request may have read the first part before the first step, and read the second
	// after the second step.
	r, s, at, new := setUp()
	r.Put(at+16, new[2], new[3])
	require.Equal(t, emu.Blocked, s.End().Status)
	// With it, the second step waits for such a request.
	r, s, at, new = setUp()
	require.True(t, s.Txn.Matches(&emu.Selector{
		Caches: emu.CachePASID.Set(), Match: emu.MatchDomain | emu.MatchPASID, Domain: 7, PASID: 5,
	}))
	r.RequireOK(s.End(), 0x5000)
	r.queue(true)
	r.submit(pcInv(spec.GranPCPASID, 7, 5), 0)
	r.Put(at+16, new[2], new[3])
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x6000)
}

func TestVTDQuirk44_ZeroedEntryIsNotSeenUntilItsCacheIsFlushed(t *testing.T) {
	r := newRig(t)
	top := r.bind(sid, 5, spec.PGTTSecond, 7)
	r.mapPage(top, iova, 0x5000, ssRW)
	r.scalable()
	r.queue(true)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
	at := r.pasidEntry(sid, 5)
	r.Put(at, r.words(at)[0]&^spec.PasidP.Mask())
	r.RequireOK(r.pasidAccess(5, iova+4096-64, emu.Read), 0x5fc0)
	r.submit(pcInv(spec.GranPCPASID, 7, 5), 0)
	r.RequireFault(r.pasidAccess(5, iova, emu.Read), vtd.FaultPASIDAbsent)
	// Its translations are still there, for whoever uses the domain.
	r.bind(hiSID, 5, spec.PGTTSecond, 7)
	q := dma(emu.Read)
	q.Source, q.PASID = hiSID, 5
	r.RequireOK(r.Do(q), 0x5000)
	r.submit(iotlbInv(spec.GranDomain, 7), 0)
	r.RequireFault(r.Do(q), vtd.FaultSSAbsent)
}

func TestVTDQuirk48_EntriesOfADomainMustAgree(t *testing.T) {
	// Another root or another width under the same domain: whoever comes first decides for both.
	for name, second := range map[string]func(e []uint64){
		"root":  func([]uint64) {},
		"width": with(spec.PasidAW, spec.AW57),
	} {
		r := newRig(t)
		r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
		r.bind(sid, 6, spec.PGTTSecond, 7, second) // maps nothing
		r.scalable()
		r.RequireFault(r.pasidAccess(6, iova, emu.Read), vtd.FaultSSAbsent)
		r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
		res := r.pasidAccess(6, iova, emu.Read)
		r.RequireOK(res, 0x5000)
		require.NotEqual(t, res.Prov.Entry, res.Prov.Fill, name)
	}
	// First and second stage under the same domain: an invalidation of pages of the second takes the
	// whole of the first, and one of the first's PASID leaves the second alone.
	r := newRig(t)
	fs := r.fsMap(r.first(sid, 5, 7), iova, 0x5000, fsRWU|fsA|fsD)
	ss := r.mapPage(r.bind(sid, 6, spec.PGTTSecond, 7), iova, 0x6000, ssRW)
	r.scalable()
	r.queue(true)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
	r.RequireOK(r.pasidAccess(6, iova, emu.Read), 0x6000)
	r.Put(fs, 0x7000|fsRWU|fsA|fsD)
	r.Put(ss, 0x8000|ssRW)
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(0, 0, true)) // another page
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
	r.RequireOK(r.pasidAccess(6, iova, emu.Read), 0x6000)
	r.submit(spec.PutDescType(spec.DescPASIDIOTLB)|spec.PiG.Put(spec.GranPASID)|spec.PiDID.Put(7)|spec.PiPASID.Put(6), 0)
	r.RequireOK(r.pasidAccess(6, iova, emu.Read), 0x6000)
}

// The device-TLB comes last: only the invalidation of the IOTLB waits for translation requests that
// read the old tables and are not answered yet.
func TestVTDQuirk34_IOTLBInvalidationWaitsForTranslationRequests(t *testing.T) {
	r := newRig(t, dt)
	at := r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	ctx := r.smContext(sid)
	r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
	r.scalable()
	q := dma(emu.Read)
	q.PASID, q.Type = 5, emu.TranslationReq
	s := r.Begin(q)
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.Put(at, 0)
	r.queue(true)
	r.push(iotlbInv(spec.GranDomain, 7), 0)
	r.push(wait(1, r.status()))
	r.u.WriteReg(spec.OffIQT, 4, r.tail)
	e := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	e.Until(func(a *emu.Act) bool { return a.Op == emu.OpInvalidate })
	require.True(t, s.Txn.Matches(&e.Txn.Act.Sel))
	e.Until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
	require.Zero(t, r.Get(r.status()), "not before the request has ended")
	r.RequireOK(s.End(), 0x5000)
}
