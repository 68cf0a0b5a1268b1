package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Each test here is a point that implementers of VT-d get wrong; docs/vtd.md lists them all. This file
// has those of registers, queue and fault records, the next one those of entries and caches.

func TestVTDQuirk01_RootTakesEffectAtSRTP(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x5000, ssRW)
	r.legacy()
	r.W64(spec.OffRTADDR, uint64(r.Page())|spec.RtaddrTTM.Put(spec.TTMReserved))
	require.EqualValues(t, spec.TTMReserved, spec.RtaddrTTM.Of(r.R64(spec.OffRTADDR)), "reads give what was written")
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.command(spec.GcmdSRTP, true)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultTTM)
}

func TestVTDQuirk02_LevelsAreRestatedOneShotsAreNot(t *testing.T) {
	r := newRig(t)
	r.legacy()
	r.queue(false)
	require.Equal(t, spec.GstsTES.Mask()|spec.GstsQIES.Mask()|spec.GstsRTPS.Mask(), r.R32(spec.OffGSTS))
	r.W32(spec.OffGCMD, spec.GcmdTE.Mask()) // QIE is not restated: off
	require.Equal(t, spec.GstsTES.Mask()|spec.GstsRTPS.Mask(), r.R32(spec.OffGSTS))
}

func TestVTDQuirk03_RTPSDropsWhileTheCommandRuns(t *testing.T) {
	r := newRig(t)
	r.legacy()
	w := r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdTE.Mask()|spec.GcmdSRTP.Mask())
	require.False(t, spec.GstsRTPS.On(r.R32(spec.OffGSTS)))
	r.F.Wake(w)
	require.True(t, spec.GstsRTPS.On(r.R32(spec.OffGSTS)))
}

func TestVTDQuirk04_GCMDReadsZero(t *testing.T) {
	r := newRig(t)
	r.legacy()
	require.Zero(t, r.R32(spec.OffGCMD))
	require.Equal(t, r.R32(spec.OffGSTS)<<32, r.R64(spec.OffGCMD))
}

func TestVTDQuirk05_StaleEntriesSurviveSRTPWithoutESRTPS(t *testing.T) {
	TestSRTPWithESRTPSInvalidatesAllCaches(t)
}

func TestVTDQuirk06_IQHMovesAtFetchNotAtCompletion(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.push(wait(1, r.status()))
	r.u.WriteReg(spec.OffIQT, 4, r.tail)
	// Step the engine by hand up to the drain of the wait.
	var e emu.Txn
	r.u.Start(&e, &emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	for e.Act.Op != emu.OpDrain {
		r.u.Step(&e)
		if e.Act.Op == emu.OpFetch {
			e.Ans = emu.MemoryAnswer(r.Mem, &e)
		}
	}
	require.Equal(t, r.tail, r.head())
	require.Zero(t, r.Get(r.status()))
}

func TestVTDQuirk07_ClearingIQERestartsAtIQH(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.push(0, 0)
	r.push(wait(2, r.status()))
	r.ring()
	require.True(t, r.iqe())
	require.Zero(t, r.head(), "IQH is at the bad descriptor")
	lo, hi := wait(1, r.status()+8)
	r.Put(r.iq, lo, hi)
	r.clearIQE()
	require.False(t, r.iqe())
	require.Zero(t, r.iqei())
	require.EqualValues(t, 1, r.Get(r.status()+8))
	require.EqualValues(t, 2, r.Get(r.status()))
	require.Equal(t, r.tail, r.head())
}

func TestVTDQuirk08_TimeoutAbortsPendingWaitsForGood(t *testing.T) {
	r := newRig(t, dt)
	r.unmask()
	r.F.OnATSInvalidate = func(*emu.Txn) bool { return false }
	r.queue(true)
	r.push(spec.PutDescType(spec.DescDevTLB)|spec.DtSID.Put(uint64(sid)), 0)
	r.push(wait(1, r.status()))
	r.push(iotlbInv(1, 0), 0)
	lo, hi := wait(2, r.status()+8)
	r.push(lo|spec.IwFN.Mask(), hi)
	r.push(wait(3, r.status()+16)) // behind the fence: not begun when the time-out strikes
	r.ring()
	require.True(t, spec.FstsITE.On(r.R32(spec.OffFSTS)))
	require.EqualValues(t, sid, spec.IqercdITESID.Of(r.R64(spec.OffIQERCD)))
	require.Equal(t, []uint32{feData}, r.MSI)
	r.W32(spec.OffFSTS, spec.FstsITE.Mask())
	require.Zero(t, r.Get(r.status()))
	require.Zero(t, r.Get(r.status()+8))
	require.EqualValues(t, 3, r.Get(r.status()+16))
	require.Equal(t, r.tail, r.head())
}

func TestVTDQuirk09_QueueHas256Or128EntriesPerPage(t *testing.T) {
	for _, wide := range []bool{false, true} {
		r := newRig(t)
		r.queue(wide)
		size := uint64(16)
		if wide {
			size = 32
		}
		for off := emu.PA(0); off < 4096; off += emu.PA(size) {
			lo, hi := wait(uint64(off)+1, r.status())
			r.Put(r.iq+off, lo, hi)
		}
		r.W32(spec.OffIQT, 4096-size)
		require.EqualValues(t, 4096-2*size+1, r.Get(r.status()))
		require.EqualValues(t, 4096-size, r.head())
		r.W32(spec.OffIQT, 0)
		require.Zero(t, r.head(), "wraps behind the last entry")
	}
}

func TestVTDQuirk10_BadTailIsAnError(t *testing.T) {
	r := newRig(t)
	r.queue(true)
	r.W32(spec.OffIQT, 16)
	require.EqualValues(t, spec.IQEITailAlign, r.iqei())
	r = newRig(t)
	r.queue(true)
	r.W32(spec.OffIQT, 4096)
	require.EqualValues(t, spec.IQEITail, r.iqei())
}

func TestVTDQuirk11_DescriptorTypeHasSevenBits(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	lo, hi := wait(1, r.status())
	r.submit(lo|1<<11, hi)
	require.EqualValues(t, spec.IQEIType, r.iqei())
}

func TestVTDQuirk12_WaitWithNeitherStatusNorInterruptIsValid(t *testing.T) {
	r := newRig(t)
	r.queue(true)
	r.push(spec.PutDescType(spec.DescWait)|spec.IwFN.Mask()|spec.IwDATA.Put(2), 0)
	r.push(wait(1, r.status()))
	r.ring()
	require.False(t, r.iqe())
	require.EqualValues(t, 1, r.Get(r.status()))
}

func TestVTDQuirk13_StatusIsWrittenBeforeTheInterrupt(t *testing.T) {
	r := newRig(t)
	r.unmask()
	r.queue(false)
	var seen uint64
	r.F.OnMSI = func(emu.PA, uint32) { seen = r.Get(r.status()) }
	lo, hi := wait(5, r.status())
	r.submit(lo|spec.IwIF.Mask(), hi)
	require.EqualValues(t, 5, seen)
}

func TestVTDQuirk14_NoSecondInterruptWhileTheFirstStatusStands(t *testing.T) {
	r := newRig(t)
	r.unmask()
	r.queue(false)
	lo, hi := wait(5, r.status())
	for range 3 {
		r.submit(lo|spec.IwIF.Mask(), hi)
	}
	require.Len(t, r.MSI, 1)
	r.W32(spec.OffICS, 1)
	require.Zero(t, r.R32(spec.OffICS))
	r.submit(lo|spec.IwIF.Mask(), hi)
	require.Len(t, r.MSI, 2)
	// A message held back by the mask is dropped when software clears the status.
	r.W32(spec.OffICS, 1)
	r.W32(spec.OffIECTL, spec.EventIM.Mask())
	r.submit(lo|spec.IwIF.Mask(), hi)
	require.Equal(t, spec.EventIM.Mask()|spec.EventIP.Mask(), r.R32(spec.OffIECTL))
	r.W32(spec.OffICS, 1)
	require.Equal(t, spec.EventIM.Mask(), r.R32(spec.OffIECTL))
	r.W32(spec.OffIECTL, 0)
	require.Len(t, r.MSI, 2)
}

func TestVTDQuirk15_UnmaskingSendsAPendingMessage(t *testing.T) {
	r := newRig(t)
	r.unmask()
	r.W32(spec.OffFECTL, spec.EventIM.Mask())
	r.legacy()
	r.Access(sid, iova, emu.Read)
	require.Empty(t, r.MSI)
	require.True(t, spec.EventIP.On(r.R32(spec.OffFECTL)))
	r.W32(spec.OffFECTL, 0)
	require.Equal(t, []uint32{feData}, r.MSI)
	require.Zero(t, r.R32(spec.OffFECTL))
}

func TestVTDQuirk16_PPFFollowsTheRecords(t *testing.T) {
	r := newRig(t)
	r.legacy()
	fri := func() uint64 { return spec.FstsFRI.Of(r.R32(spec.OffFSTS)) }
	for range 3 {
		r.Access(sid, iova, emu.Read)
	}
	require.True(t, spec.FstsPPF.On(r.R32(spec.OffFSTS)))
	require.Zero(t, fri(), "FRI stays at the first")
	r.W32(spec.OffFSTS, spec.FstsPPF.Mask())
	require.True(t, spec.FstsPPF.On(r.R32(spec.OffFSTS)), "PPF is not write-1-to-clear")
	r.clearFaults()
	require.False(t, spec.FstsPPF.On(r.R32(spec.OffFSTS)))
	r.Access(sid, iova, emu.Read)
	require.EqualValues(t, 3, fri())
}

func TestVTDQuirk17_OverflowBlocksAllRecording(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.FaultRecords = 2 })
	r.legacy()
	for i := range 3 {
		res := r.Access(sid+emu.SourceID(i), iova, emu.Read)
		require.Equal(t, i == 2, res.Fault.Dropped)
	}
	require.True(t, spec.FstsPFO.On(r.R32(spec.OffFSTS)))
	// Free records do not help until PFO is cleared.
	r.W32(r.u.Config().FaultOffset+spec.FRCDStatus, 1<<31)
	require.True(t, r.Access(sid, iova, emu.Read).Fault.Dropped)
	r.W32(spec.OffFSTS, spec.FstsPFO.Mask())
	require.False(t, r.Access(sid, iova, emu.Read).Fault.Dropped)
}

func TestVTDQuirk18_FIsClearedByA32BitWriteAtPlus12(t *testing.T) {
	r := newRig(t)
	r.legacy()
	r.Access(sid, iova, emu.Read)
	before := r.record(0)
	off := r.u.Config().FaultOffset + spec.FRCDStatus
	require.NotZero(t, r.R32(off)&(1<<31))
	r.W32(off, 1<<31)
	after := r.record(0)
	require.False(t, after.F())
	require.Equal(t, before[0], after[0])
	require.Equal(t, before[1]&^spec.FrF.Mask(), after[1])
}

func TestVTDQuirk19_RecordTellsReadWriteAtomicAndPageRequest(t *testing.T) {
	r := newRig(t)
	r.legacy()
	q := emu.Request{Source: sid, Addr: iova, PASID: emu.NoPASID, Len: 8}
	for i, c := range []struct {
		access emu.Access
		kind   emu.ReqType
		t1, t2 uint64
	}{
		{emu.Write, emu.Untranslated, 0, 0},
		{emu.Read, emu.Untranslated, 1, 0},
		{emu.Read, emu.PageRequest, 0, 1},
		{emu.RW | emu.Atomic, emu.Untranslated, 1, 1},
	} {
		q.Access, q.Type = c.access, c.kind
		r.Do(q)
		rec := r.record(i)
		require.Equal(t, c.t1, spec.FrT1.Get(rec[:]))
		require.Equal(t, c.t2, spec.FrT2.Get(rec[:]))
	}
}

func TestVTDQuirk20_RecordShowsThePASIDOfTheRequest(t *testing.T) {
	r := newRig(t)
	r.pasidEntry(sid, 0x45)
	at := r.smContext(sid)
	r.Put(at, r.Get(at), 0x46) // RID_PASID
	r.scalable()
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultPASIDAbsent)
	r.RequireFault(r.pasidAccess(0x45, iova, emu.Read|emu.Exec|emu.Priv), vtd.FaultPASIDAbsent)
	rec := r.record(0)
	require.Zero(t, spec.FrPP.Get(rec[:]))
	require.Zero(t, spec.FrPV.Get(rec[:]))
	rec = r.record(1)
	require.EqualValues(t, 1, spec.FrPP.Get(rec[:]))
	require.EqualValues(t, 0x45, spec.FrPV.Get(rec[:]))
	require.EqualValues(t, 1, spec.FrEXE.Get(rec[:]))
	require.EqualValues(t, 1, spec.FrPRIV.Get(rec[:]))
}

func TestCompressionDropsFaultsOfASourceWithARecord(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.CompressFaults = true })
	r.legacy()
	require.False(t, r.Access(sid, iova, emu.Read).Fault.Dropped)
	require.True(t, r.Access(sid, iova, emu.Write).Fault.Dropped)
	require.False(t, r.Access(hiSID, iova, emu.Read).Fault.Dropped)
	require.False(t, spec.FstsPFO.On(r.R32(spec.OffFSTS)))
}
