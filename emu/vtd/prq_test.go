package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

const peData = 0x43

// prq is a rig with a page-request queue and a device that may make requests.
type prq struct {
	*rig
	at   emu.PA
	sent []emu.PRGResponse // page group responses
	to   []emu.SourceID
}

func newPRQ(t testing.TB, pages uint64, change ...func(*vtd.Config)) *prq {
	r := &prq{rig: newRig(t, append([]func(*vtd.Config){pri}, change...)...)}
	r.F.OnPRGResponse = func(x *emu.Txn) {
		r.sent = append(r.sent, x.Act.PRGResponse())
		r.to = append(r.to, emu.SourceID(x.Act.Key.Addr))
	}
	r.at = r.Free
	r.Free += emu.PageSize << pages
	r.W64(spec.OffPQH, 0)
	r.W64(spec.OffPQT, 0)
	r.W64(spec.OffPQA, uint64(r.at)|pages)
	r.W32(spec.OffPEDATA, peData)
	r.W32(spec.OffPEADDR, msiTo)
	r.W32(spec.OffPECTL, 0)
	requests(r.rig)
	r.bind(sid, 0, spec.PGTTSecond, 7)
	r.bind(sid, 5, spec.PGTTSecond, 7)
	r.scalable()
	return r
}

func (r *prq) page(p emu.PASID, a emu.Access, index uint16, last bool) emu.Result {
	return r.Do(emu.Request{Source: sid, Addr: iova, PASID: p, Access: a, Type: emu.PageRequest, Data: emu.MakePRG(index, last)})
}

// entry returns the words of entry i of the queue.
func (r *prq) entry(i int) []uint64 {
	var w []uint64
	for k := range emu.PA(4) {
		w = append(w, r.Get(r.at+emu.PA(32*i)+8*k))
	}
	return w
}

func (r *prq) prs() uint64 { return r.R32(spec.OffPRS) }

func TestPageRequestIsWrittenAsTheDescriptorSays(t *testing.T) {
	r := newPRQ(t, 0)
	res := r.page(5, emu.RW|emu.Exec|emu.Priv, 0x1a5, true)
	require.Equal(t, emu.OK, res.Status)
	// 7.4.1.1: type 7:0, PP 8, RID 31:16, PASID 51:32, EXE 52, PRIV 53; R 64, W 65, LPIG 66, PRGI 75:67.
	require.Equal(t, []uint64{
		1 | 1<<8 | uint64(sid)<<16 | 5<<32 | 1<<52 | 1<<53,
		iova | 7 | 0x1a5<<3, 0, 0,
	}, r.entry(0))
	r.page(emu.NoPASID, emu.Read|emu.Exec|emu.Priv, 3, false)
	require.Equal(t, []uint64{1 | uint64(sid)<<16, iova | 1 | 3<<3, 0, 0}, r.entry(1))
	require.EqualValues(t, 64, r.R64(spec.OffPQT))
	require.Zero(t, r.R64(spec.OffPQH))
	require.Equal(t, spec.PrsPPR.Mask(), r.prs())
	require.Equal(t, []uint32{peData}, r.MSI, "one event: PPR was set already")
	require.Empty(t, r.sent, "software answers")
	require.Zero(t, r.R32(spec.OffFSTS))
}

func TestPageRequestRegistersAreNotThereWithoutPRS(t *testing.T) {
	r := newRig(t, dt)
	for off := uint32(spec.OffPQH); off <= spec.OffPEUADDR; off += 4 {
		r.W32(off, ^uint64(0)>>32)
		require.Zero(t, r.R32(off), "%#x", off)
	}
}

func TestVTDQuirk09_PageRequestQueueHas128EntriesPerPage(t *testing.T) {
	for pages := range uint64(2) {
		r := newPRQ(t, pages)
		n := 128 << pages
		for i := range 2*n + 3 {
			require.Equal(t, emu.OK, r.page(5, emu.Read, uint16(i), true).Status)
			require.EqualValues(t, i&0x1ff, spec.PrPRGI.Get(r.entry(i%n)), "entry %d", i)
			r.W64(spec.OffPQH, uint64((i+1)%n*32))
			require.Equal(t, r.R64(spec.OffPQH), r.R64(spec.OffPQT), "wraps behind entry %d", n-1)
		}
	}
}

func TestVTDQuirk14_PageRequestEventOnlyWhenNoStatusBitWasSet(t *testing.T) {
	r := newPRQ(t, 0)
	r.page(5, emu.Read, 1, true)
	r.page(5, emu.Read, 2, true)
	require.Len(t, r.MSI, 1)
	r.W32(spec.OffPRS, spec.PrsPPR.Mask())
	require.Zero(t, r.prs())
	r.page(5, emu.Read, 3, true)
	require.Len(t, r.MSI, 2)
	// An overflow while PPR stands raises no event of its own, nor does a request while PRO stands.
	r.W64(spec.OffPQH, r.R64(spec.OffPQT)+32)
	r.page(5, emu.Read, 4, true)
	require.Equal(t, spec.PrsPPR.Mask()|spec.PrsPRO.Mask(), r.prs())
	r.W32(spec.OffPRS, spec.PrsPPR.Mask())
	r.page(5, emu.Read, 5, true)
	require.Equal(t, spec.PrsPRO.Mask(), r.prs())
	require.Len(t, r.MSI, 2)
	// With both clear an overflow does.
	r.W32(spec.OffPRS, spec.PrsPRO.Mask())
	r.page(5, emu.Read, 6, true)
	require.Equal(t, spec.PrsPRO.Mask(), r.prs())
	require.Len(t, r.MSI, 3)
}

func TestPageRequestEventIsHeldWhileMaskedAndDroppedWhenServiced(t *testing.T) {
	r := newPRQ(t, 0)
	r.W32(spec.OffPECTL, spec.EventIM.Mask())
	r.page(5, emu.Read, 1, true)
	require.Equal(t, spec.EventIM.Mask()|spec.EventIP.Mask(), r.R32(spec.OffPECTL))
	r.W32(spec.OffPECTL, 0)
	require.Equal(t, []uint32{peData}, r.MSI)
	require.Zero(t, r.R32(spec.OffPECTL))
	r.W32(spec.OffPRS, spec.PrsPPR.Mask())
	r.W32(spec.OffPECTL, spec.EventIM.Mask())
	r.page(5, emu.Read, 2, true)
	r.W32(spec.OffPRS, spec.PrsPPR.Mask())
	require.Equal(t, spec.EventIM.Mask(), r.R32(spec.OffPECTL), "IP clears with the last status bit")
	r.W32(spec.OffPECTL, 0)
	require.Len(t, r.MSI, 1)
}

func TestVTDQuirk56_DroppedLastOfGroupIsAnsweredByHardware(t *testing.T) {
	r := newPRQ(t, 0)
	for i := range 127 {
		require.Equal(t, emu.OK, r.page(5, emu.Read, uint16(i), true).Status)
	}
	// One entry stays free: full.
	res := r.page(5, emu.Read, 0x1fe, false)
	r.RequireFault(res, vtd.FaultPageOverflow)
	require.Empty(t, r.sent, "not the last of its group")
	require.True(t, spec.PrsPRO.On(r.prs()))
	r.page(5, emu.Read, 0x1ff, true)
	r.page(emu.NoPASID, emu.Read, 3, true)
	require.Equal(t, []emu.PRGResponse{{PASID: 5, Index: 0x1ff}, {PASID: emu.NoPASID, Index: 3}}, r.sent, "with Success")
	require.Equal(t, []emu.SourceID{sid, sid}, r.to)
	require.Zero(t, r.R32(spec.OffFSTS), "not a fault")
	// Room alone does not help: PRO stands.
	r.W64(spec.OffPQH, r.R64(spec.OffPQT))
	require.Equal(t, emu.Blocked, r.page(5, emu.Read, 1, true).Status)
	require.Len(t, r.sent, 3)
	r.W32(spec.OffPRS, spec.PrsPRO.Mask())
	require.Equal(t, emu.OK, r.page(5, emu.Read, 1, true).Status)
	require.Len(t, r.sent, 3)
}

func TestPageRequestAfterAFaultIsAnsweredInvalid(t *testing.T) {
	for name, c := range map[string]struct {
		code uint16
		ruin func(r *prq)
		p    emu.PASID
	}{
		"PASID entry not present": {vtd.FaultPASIDAbsent, func(*prq) {}, 6},
		"PASID entry unreadable":  {vtd.FaultPASIDRead, func(r *prq) { r.rig.BusError(r.pasidEntry(sid, 6), 64) }, 6},
		"PASID out of range":      {vtd.FaultPASIDRange, func(*prq) {}, 1 << 13},
		"context entry unreadable": {vtd.FaultContextReadSM, func(r *prq) {
			r.rig.BusError(r.smContext(sid), 16)
		}, 5},
		"PRE=0":       {vtd.FaultBlockedPRS, func(r *prq) { r.Put(r.smContext(sid), r.Get(r.smContext(sid))&^spec.SMCtxPRE.Mask()) }, 5},
		"not present": {vtd.FaultContextAbsentSM, func(r *prq) { r.Put(r.smContext(sid), 0) }, 5},
		"abort-DMA":   {vtd.FaultAbortMode, func(r *prq) { r.command(spec.GcmdTE, false); r.setRoot(spec.TTMAbort); r.command(spec.GcmdTE, true) }, 5},
		"legacy mode": {vtd.FaultLegacyPageRequest, func(r *prq) { r.command(spec.GcmdTE, false); r.legacy() }, 5},
		"table mode":  {vtd.FaultTTM, func(r *prq) { r.command(spec.GcmdTE, false); r.setRoot(spec.TTMReserved); r.command(spec.GcmdTE, true) }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			r := newPRQ(t, 0)
			c.ruin(r)
			r.RequireFault(r.page(c.p, emu.Read, 8, false), c.code)
			require.Empty(t, r.sent)
			r.RequireFault(r.page(c.p, emu.Read, 9, true), c.code)
			require.Equal(t, []emu.PRGResponse{{PASID: c.p, Index: 9, Code: emu.PRGInvalid}}, r.sent)
			rec := r.record(0)
			require.EqualValues(t, c.code, rec.FR())
			require.EqualValues(t, 1, spec.FrT2.Get(rec[:]), "reported as a page request")
			require.Zero(t, r.R64(spec.OffPQT))
			require.Zero(t, r.prs())
			// A stop marker is dropped without a trace.
			r.clearFaults()
			r.page(c.p, 0, 0, true)
			require.Len(t, r.sent, 1)
			require.Zero(t, r.R32(spec.OffFSTS))
		})
	}
}

func TestPageRequestWhileOffIsNotAnswered(t *testing.T) {
	r := newPRQ(t, 0)
	r.command(spec.GcmdTE, false)
	r.RequireFault(r.page(5, emu.Read, 9, true), vtd.FaultDisabled)
	require.Empty(t, r.sent)
}

func TestPageRequestIsNotHeldAgainstItsRights(t *testing.T) {
	// SRE and ERE are for translations (table 30, SPT.5 and SPT.6).
	r := newPRQ(t, 0)
	require.Equal(t, emu.OK, r.page(5, emu.Read|emu.Exec|emu.Priv, 1, true).Status)
}

func TestStopMarkerIsWrittenAndNeverAnswered(t *testing.T) {
	r := newPRQ(t, 0)
	require.Equal(t, emu.OK, r.page(5, 0, 0, true).Status)
	require.Equal(t, uint64(4), r.entry(0)[1]&7, "LPIG, no rights")
	// Without room it is dropped, and PRO stays.
	r.W64(spec.OffPQH, r.R64(spec.OffPQT)+32)
	r.W32(spec.OffPRS, spec.PrsPPR.Mask())
	require.Equal(t, emu.Blocked, r.page(5, 0, 0, true).Status)
	require.Zero(t, r.prs())
	require.Empty(t, r.sent)
}

func TestPageRequestQueueThatCannotBeWritten(t *testing.T) {
	r := newPRQ(t, 0)
	r.rig.BusError(r.at, 32)
	res := r.page(5, emu.Write, 7, true)
	r.RequireFault(res, vtd.FaultPageWrite)
	require.Equal(t, r.at, res.Fault.At)
	require.Zero(t, r.R64(spec.OffPQT), "PQT stays where it is")
	require.Zero(t, r.prs())
	require.Equal(t, []emu.PRGResponse{{PASID: 5, Index: 7, Code: emu.PRGInvalid}}, r.sent)
	require.Empty(t, r.MSI)
}

// Software that adds rights need not invalidate: the page request made hardware forget what it had
// cached (6.5.3.1), for its own page and by the type of the entry.
func TestPageRequestInvalidatesWhatIsCachedForItsAddress(t *testing.T) {
	for _, c := range []struct {
		pgtt uint64
		p    emu.PASID
		gone string // of "sSFN": second stage elsewhere, second stage, first stage, nested
	}{
		{spec.PGTTSecond, emu.NoPASID, "SFN"},
		{spec.PGTTSecond, 5, "SFN"},
		{spec.PGTTPassThrough, 5, "SFN"},
	} {
		r := newPRQ(t, 0)
		p := c.p
		if p == emu.NoPASID {
			p = 0
		}
		r.bind(sid, p, c.pgtt, 7)
		tlb := r.u.Cache(emu.CacheIOTLB)
		keys := []emu.Key{
			{Tag: emu.MakeTag(vtd.ClassSS, 7, emu.NoPASID), Addr: iova + 0x1000},
			{Tag: emu.MakeTag(vtd.ClassSS, 7, emu.NoPASID), Addr: iova},
			{Tag: emu.MakeTag(vtd.ClassFS, 7, 5), Addr: iova},
			{Tag: emu.MakeTag(vtd.ClassNested, 7, 5), Addr: iova},
			{Tag: emu.MakeTag(vtd.ClassSS, 8, emu.NoPASID), Addr: iova},
		}
		var v [4]uint64
		for i := range keys {
			tlb.Fill(&keys[i], 12, 0, &v)
		}
		require.Equal(t, emu.OK, r.page(c.p, emu.Write, 1, true).Status)
		gone := ""
		for i := range keys {
			if !tlb.Probe(&keys[i], &v) {
				gone += "sSFNo"[i : i+1]
			}
		}
		require.Equal(t, c.gone, gone)
	}
}

func TestPageRequestAfterAnUpgradeWithoutInvalidation(t *testing.T) {
	r := newPRQ(t, 0)
	pte := r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssR)
	q := emu.Request{Source: sid, Addr: iova, PASID: 5, Access: emu.RW, Type: emu.TranslationReq}
	require.Equal(t, emu.Read, r.Do(q).Perm)
	r.page(5, emu.Write, 1, true)
	r.Put(pte, 0x5000|ssRW)
	require.Equal(t, emu.RW, r.Do(q).Perm)
}

func TestPageGroupResponseIsSentInQueueOrder(t *testing.T) {
	r := newPRQ(t, 0)
	order := ""
	r.F.OnATSInvalidate = func(*emu.Txn) bool { order += "i"; return true }
	tell := r.F.OnPRGResponse
	r.F.OnPRGResponse = func(x *emu.Txn) { order += "r"; tell(x) }
	r.queue(true)
	resp := spec.PutDescType(spec.DescPageGroup)
	r.push(resp|spec.PgPP.Put(1)|spec.PgPASID.Put(5)|spec.PgRID.Put(uint64(sid))|spec.PgRC.Put(0xf), spec.PgPRGI.Put(0x1a5)|spec.PgLPIG.Mask())
	r.push(spec.PutDescType(spec.DescPASIDDevTLB)|spec.PdSID.Put(uint64(sid)), iova)
	r.push(resp|spec.PgPASID.Put(5)|spec.PgRID.Put(uint64(hiSID)), spec.PgPRGI.Put(3))
	r.push(wait(1, r.status()))
	r.ring()
	require.False(t, r.iqe())
	require.EqualValues(t, 1, r.Get(r.status()))
	require.Equal(t, "rir", order)
	require.Equal(t, []emu.PRGResponse{{PASID: 5, Index: 0x1a5, Code: emu.PRGFailure}, {PASID: emu.NoPASID, Index: 3}}, r.sent)
	require.Equal(t, []emu.SourceID{sid, hiSID}, r.to)
}

func TestWaitWithPageRequestDrainIsAcceptedWithPDS(t *testing.T) {
	r := newPRQ(t, 0)
	r.queue(true)
	lo, hi := wait(1, r.status())
	r.submit(lo|spec.IwPD.Mask(), hi)
	require.False(t, r.iqe())
	require.EqualValues(t, 1, r.Get(r.status()))
}

// A page request on its way, wherever it stands, is in the queue before a wait with PD is done.
func TestPageRequestDrainWaitsForWhatWasReceived(t *testing.T) {
	for steps := range 40 {
		for _, pd := range []bool{true, false} {
			r := newPRQ(t, 0).rig
			r.queue(true)
			c := r.Crew(0)
			x := c.Start(emu.Request{Source: sid, Addr: iova, PASID: 5, Access: emu.Read, Type: emu.PageRequest, Data: emu.MakePRG(1, true)})
			ended := false
			step := func() {
				if !ended && c.Step(x) {
					ended, c.Active = true, nil
				}
			}
			for range steps {
				step()
			}
			lo, hi := wait(1, r.status())
			if pd {
				lo |= spec.IwPD.Mask()
			}
			r.push(lo, hi)
			c.StartEngine(r.u.WriteReg(spec.OffIQT, 4, r.tail))
			c.RunEngine()
			if pd {
				require.Equal(t, ended, r.Get(r.status()) == 1, "after %d steps", steps)
			} else {
				require.EqualValues(t, 1, r.Get(r.status()))
			}
			for range 60 {
				step()
			}
			require.True(t, ended)
			c.RunEngine()
			require.EqualValues(t, 1, r.Get(r.status()))
			require.EqualValues(t, 32, r.R64(spec.OffPQT))
		}
	}
}

// Two page requests never write one entry, whatever their order.
func TestPageRequestsTakeTheLogOneAtATime(t *testing.T) {
	r := newPRQ(t, 0)
	s := r.Begin(emu.Request{Source: sid, Addr: iova, PASID: 5, Access: emu.Read, Type: emu.PageRequest, Data: emu.MakePRG(1, true)})
	held := false
	for s.Next() {
		switch a := &s.Txn.Act; {
		case a.Op == emu.OpAcquire && a.Slot == emu.SlotLog:
			held = true
		case a.Op == emu.OpRelease && a.Slot == emu.SlotLog:
			require.EqualValues(t, 32, r.R64(spec.OffPQT), "PQT moves on before the log is given up")
			held = false
		case a.Op == emu.OpStore:
			require.True(t, held)
			require.EqualValues(t, 32, a.Size)
		case a.Op == emu.OpAcquire:
			require.False(t, held, "nothing is waited for with the log held")
		}
	}
	require.False(t, held)
}

func TestPageRequestsSurviveSaveRestoreAndLoad(t *testing.T) {
	r := newPRQ(t, 0, ptrs)
	r.page(5, emu.Read, 1, true)
	u, err := vtd.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(emutest.Save(r.u))))
	require.Equal(t, emutest.Image(r.u, 0, spec.Window), emutest.Image(u, 0, spec.Window))
	u, err = vtd.New(vtd.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Load(emutest.Image(r.u, 0, spec.Window)))
	require.Empty(t, u.Unmodelled())
	c := u.Config()
	require.True(t, c.PRS && c.PDS && c.SMS && c.PTRS)
	r.become(u)
	require.Equal(t, emu.OK, r.page(5, emu.Read, 2, true).Status)
	require.EqualValues(t, 64, r.R64(spec.OffPQT))
}

func TestPageRequestsWrittenAreCounted(t *testing.T) {
	r := newPRQ(t, 0, pms(1))
	r.use(0, spec.GroupMemory, spec.EventPagePosted, nil)
	r.page(5, emu.Read, 1, true)
	r.page(6, emu.Read, 2, true) // a fault
	r.page(5, emu.Read, 3, false)
	require.EqualValues(t, 2, r.counter(0))
}
