package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// treq is a translation request.
func treq(p emu.PASID, a emu.Access) emu.Request {
	return emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: p, Len: 8, Access: a, Type: emu.TranslationReq}
}

// translated is a translated transaction to an address.
func translated(addr uint64, a emu.Access) emu.Request {
	return emu.Request{Source: dev, Addr: emu.IOVA(addr), PASID: emu.NoPASID, Len: 64, Access: a, Type: emu.Translated}
}

// recording sets CR2.
func (r *rig) recording(cr2 uint64) {
	r.update(false, spec.Cr0SMMUEN)
	r.W32(spec.OffCR2, cr2)
	r.update(true, spec.Cr0SMMUEN)
}

// ats turns ATS on for dev in a mode, with a CD for SubstreamID 5 as well.
func (r *rig) ats(mode uint64) {
	r.set(r.ste(dev), field{spec.SteEATS, mode})
	r.submit(cfgiAll(), sync())
}

// requireTR requires what a translation request is answered: success with rights, or blocked.
func (r *rig) requireTR(q emu.Request, pa uint64, rights string) emu.Result {
	r.T.Helper()
	res := r.Do(q)
	r.RequireOK(res, pa)
	require.Equal(r.T, rights, res.Perm.String())
	require.Empty(r.T, r.drain())
	return res
}

func TestTranslationRequests(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	r.ats(spec.EATSFull)
	for _, c := range []struct {
		leaf   uint64
		a      emu.Access
		rights string
	}{
		{s1RW, emu.Read, "RW"}, {s1RW | ro, emu.Read | emu.Write, "R"}, {s1RW | ro, emu.Read | emu.Exec, "R"}, // no PASID: data
		{page | ng, emu.Read, "-"}, // privileged pages
	} {
		r.mapPage(root, iova, 0x5000, c.leaf)
		r.submit(command(spec.CmdTlbiNSNHAll), sync())
		pa := uint64(0x5000)
		if c.rights == "-" {
			pa = iova
		}
		for range 2 {
			res := r.requireTR(treq(emu.NoPASID, c.a), pa, c.rights)
			require.EqualValues(t, 12, res.Lg2)
			require.False(t, res.Snoop)
		}
	}
	// With PASID.
	r.set(r.ste(dev), field{spec.SteS1CDMax, 3})
	cds := r.Page()
	w := words(cdFields(root)...)
	r.Put(cds+5*spec.CDSize, w[:]...)
	r.set(r.ste(dev), field{spec.SteS1Context, uint64(cds) >> 6})
	for _, c := range []struct {
		leaf   uint64
		a      emu.Access
		rights string
	}{
		{s1RW | ro, emu.Read | emu.Exec, "RX"}, {s1RW | ro, emu.Read, "R"}, {s1RW | ro | uxn, emu.Read | emu.Exec, "R"},
		{page | ng, emu.Read | emu.Priv, "RWP"}, {page | ng, emu.Read | emu.Exec, "-"}, // execute-only for it
		{page | ng | ro, emu.Read | emu.Exec | emu.Priv, "RXP"},
	} {
		r.mapPage(root, iova, 0x5000, c.leaf)
		r.submit(cfgiAll(), command(spec.CmdTlbiNSNHAll), sync())
		pa := uint64(0x5000)
		if c.rights == "-" {
			pa = iova
		}
		r.requireTR(treq(5, c.a), pa, c.rights)
		r.requireTR(treq(5, c.a), pa, c.rights)
	}
}

func TestNoWriteAndDirtyPages(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev, field{spec.CdHA, 1}, field{spec.CdHD, 1})
	r.ats(spec.EATSFull)
	at := r.mapPage(root, iova, 0x5000, 3|user|ng|ro|dbm)
	for range 2 {
		r.requireTR(treq(emu.NoPASID, emu.Read|emu.NoWrite), 0x5000, "R")
		require.NotZero(t, r.Get(at)&af, "accessed")
		require.NotZero(t, r.Get(at)&ro, "and clean")
	}
	r.requireTR(treq(emu.NoPASID, emu.Read), 0x5000, "RW")
	require.Zero(t, r.Get(at)&ro, "dirty, since it may be written to")
	r.submit(command(spec.CmdTlbiNSNHAll), sync())
	r.requireTR(treq(emu.NoPASID, emu.Read|emu.NoWrite), 0x5000, "RW")
}

func recordsATS(c *smmuv3.Config) { c.ATSRECERR = true }

// 3.9.1: how faults are completed, and whether they are recorded.
func TestSMMUQuirk54_CompletionsOfFaults(t *testing.T) {
	type outcome struct {
		abort  bool
		record bool
	}
	ur, urEvent, ca := outcome{false, false}, outcome{false, true}, outcome{true, false}
	for _, c := range []struct {
		name    string
		prepare func(r *rig)
		q       emu.Request
		code    uint16
		want    outcome
	}{
		{"V=0", func(r *rig) { r.Put(r.ste(dev), 0) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultSTEInvalid, ca},
		{"illegal", func(r *rig) { r.set(r.ste(dev), field{spec.SteSTRW, 1}) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultSTEIllegal, ca},
		{"abort", func(r *rig) { r.set(r.ste(dev), field{spec.SteConfig, 0}) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultConfig, ur},
		{"bypass", func(r *rig) { r.set(r.ste(dev), field{spec.SteConfig, 4}) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultATSDisabled, urEvent},
		{"off", func(r *rig) { r.set(r.ste(dev), field{spec.SteEATS, 0}) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultATSDisabled, urEvent},
		{"substream", func(r *rig) {}, treq(7, emu.Read), smmuv3.FaultSubstreamNone, ca},
		{"no CD", func(r *rig) { r.set(r.ste(dev), field{spec.SteS1CDMax, 1}) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultNoSubstream, ca},
		{"CD", func(r *rig) { r.set(r.ste(dev), field{spec.SteS1Context, 0x70_0000 >> 6}) }, treq(emu.NoPASID, emu.Read), smmuv3.FaultCDInvalid, ca},
		{"descriptor", func(r *rig) {
			at := r.R64(spec.OffSTRTABBase)
			_ = at
			r.BusError(emu.PA(r.Get(emu.PA(r.Get(r.ste(dev))&spec.SteS1Context.Mask())+8)), 8)
		}, treq(emu.NoPASID, emu.Read), smmuv3.FaultS1Fetch, outcome{true, true}},
	} {
		for _, rec := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, recordsATS).enable()
				r.attach(dev)
				r.set(r.ste(dev), field{spec.SteEATS, 1})
				c.prepare(r)
				if rec {
					r.recording(spec.Cr2RecCfgATS.Mask())
				} else {
					r.recording(0)
				}
				res := r.Do(c.q)
				r.RequireFault(res, c.code)
				require.Equal(t, c.want.abort, res.Fault.Abort)
				want := c.want.record || rec && c.want.abort
				require.Equal(t, !want, res.Fault.Quiet)
				require.Equal(t, want, len(r.drain()) == 1)
			})
		}
	}
	// Faults of translation are successes without rights, wherever they are, and nobody is told.
	r := newRig(t, recordsATS).enable()
	r.attach(dev, field{spec.CdA, 0})
	r.ats(spec.EATSFull)
	r.requireTR(treq(emu.NoPASID, emu.Read), iova, "-")
	q := treq(emu.NoPASID, emu.Read)
	q.Addr = 1 << 50
	r.requireTR(q, 1<<50, "-")
	n := newNested(t, recordsATS)
	n.ats(spec.EATSFull)
	n.mapPage(n.s2, uint64(n.cd), 0, 0)
	n.submit(command(spec.CmdTlbiS12VMAll, field{spec.CmdVMID, vmid}), cfgiAll(), sync())
	n.requireTR(treq(emu.NoPASID, emu.Read), iova, "-")
	n.mapPage(n.s2, uint64(n.cd), uint64(n.cd)+distance, page|2<<6)
	n.requireTR(treq(emu.NoPASID, emu.Read), iova, "-")
}

func TestStreamIDsOfTranslationRequests(t *testing.T) {
	q := treq(emu.NoPASID, emu.Read)
	q.Source = 1 << streamBits
	for cr2, record := range map[uint64]bool{0: false, spec.Cr2RecCfgATS.Mask(): false, spec.Cr2RECINVSID.Mask(): false, spec.Cr2RecCfgATS.Mask() | spec.Cr2RECINVSID.Mask(): true} {
		r := newRig(t, recordsATS).enable()
		r.recording(cr2)
		res := r.Do(q)
		r.RequireFault(res, smmuv3.FaultStreamRange)
		require.True(t, res.Fault.Abort)
		require.Equal(t, record, len(r.drain()) == 1)
	}
}

func TestRefusedTranslationRequestIsRecordedAsAsked(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev)
	e := r.requireEvent(treq(emu.NoPASID, emu.Read|emu.Write), smmuv3.FaultATSDisabled)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvBadATSTreq, 1 | 3<<30, iova}, e)
	e = r.requireEvent(treq(9, emu.Read|emu.NoWrite|emu.Exec|emu.Priv), smmuv3.FaultATSDisabled)
	require.Equal(t, spec.Event{uint64(dev)<<32 | 9<<12 | 1<<11 | spec.EvBadATSTreq, 1 | 1<<31 | 3<<28, iova}, e)
	r.update(false, spec.Cr0SMMUEN)
	r.requireEvent(treq(emu.NoPASID, emu.Read), smmuv3.FaultATSOff)
}

func TestSplitStageATS(t *testing.T) {
	n := newNested(t)
	n.update(true, spec.Cr0ATSCHK)
	n.ats(spec.EATSSplit)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2Read)
	for range 2 {
		res := n.requireTR(treq(emu.NoPASID, emu.Read), 0x77_0000, "R") // the intermediate address, the rights of both
		require.EqualValues(t, 12, res.Lg2)
	}
	// The translated transaction goes through stage 2, with its events.
	n.RequireOK(n.Do(translated(0x77_0000, emu.Read)), 0x99_0000)
	e := n.requireEvent(translated(0x77_0000, emu.Write), smmuv3.FaultS2Permission)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvPermission, spec.EvtS2.Mask() | spec.EvtClass.Put(spec.ClassIN), 0x77_0000, 0x77_0000}, e)
	n.requireEvent(translated(1<<48, emu.Write), smmuv3.FaultInput)
	// Without ATSCHK the mode is off.
	n.update(false, spec.Cr0ATSCHK)
	n.requireEvent(treq(emu.NoPASID, emu.Read), smmuv3.FaultATSDisabled)
	// Stage 1 bypassed: the address itself.
	n.update(true, spec.Cr0ATSCHK)
	n.set(n.ste(dev), field{spec.SteS1CDMax, 1}, field{spec.SteS1DSS, spec.DSSBypass})
	n.submit(cfgiAll(), sync())
	n.mapPage(n.s2, iova, 0x88_0000, s2Read)
	n.requireTR(treq(emu.NoPASID, emu.Read), iova, "R")
	n.set(n.ste(dev), field{spec.SteEATS, spec.EATSFull})
	n.submit(cfgiAll(), sync())
	n.requireTR(treq(emu.NoPASID, emu.Read), 0x88_0000, "R")
}

func TestBypassOfStage1IsIdentityForATS(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev)
	r.set(r.ste(dev), field{spec.SteS1CDMax, 1}, field{spec.SteS1DSS, spec.DSSBypass}, field{spec.SteEATS, 1})
	r.requireTR(treq(emu.NoPASID, emu.Read|emu.Exec|emu.Priv), iova, "RW")
}

func TestSMMUQuirk55_TranslatedTransactions(t *testing.T) {
	r := newRig(t, recordsATS).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigAbort})
	r.RequireOK(r.Do(translated(0x5000, emu.Write)), 0x5000) // ATSCHK=0: nobody looks
	r.requireSilent(translated(1<<50, emu.Write), smmuv3.FaultTranslated)
	r.update(true, spec.Cr0ATSCHK)
	r.requireSilent(translated(0x5000, emu.Write), smmuv3.FaultConfig)
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass}, field{spec.SteEATS, 1})
	r.submit(cfgiAll(), sync())
	e := r.requireEvent(translated(0x5000, emu.Read), smmuv3.FaultForbidden)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTranslForbidden, spec.EvtRnW.Mask(), 0x5000}, e)
	r.attach(dev)
	r.ats(spec.EATSOff)
	r.requireEvent(translated(0x5000, emu.Write), smmuv3.FaultForbidden)
	r.ats(spec.EATSFull)
	r.RequireOK(r.Do(translated(0x5000, emu.Write)), 0x5000)
	// SubstreamIDs do not count without PASIDTT.
	q := translated(0x5000, emu.Write)
	q.PASID = 9
	r.RequireOK(r.Do(q), 0x5000)
	r.update(false, spec.Cr0SMMUEN)
	r.requireEvent(translated(0x5000, emu.Write), smmuv3.FaultForbiddenOff)
	// A configuration error is recorded if REC_CFG_ATS says so, whatever RECINVSID says.
	q = translated(0x5000, emu.Write)
	q.Source = 1 << streamBits
	for cr2, record := range map[uint64]bool{0: false, spec.Cr2RecCfgATS.Mask(): true, spec.Cr2RECINVSID.Mask(): false} {
		r := newRig(t, recordsATS).enable()
		r.recording(cr2)
		r.update(true, spec.Cr0ATSCHK)
		r.RequireFault(r.Do(q), smmuv3.FaultStreamRange)
		require.Equal(t, record, len(r.drain()) == 1)
	}
	r = newRig(t, recordsATS, func(c *smmuv3.Config) { c.PASIDTT = true }).enable()
	r.attach(dev)
	r.update(true, spec.Cr0ATSCHK)
	r.ats(spec.EATSFull)
	q = translated(0x5000, emu.Write)
	q.PASID = 9
	r.RequireFault(r.Do(q), smmuv3.FaultSubstreamNone)
	r.ats(spec.EATSOff)
	e = r.requireEvent(q, smmuv3.FaultForbidden)
	require.Equal(t, spec.Event{uint64(dev)<<32 | 9<<12 | 1<<11 | spec.EvTranslForbidden, 0, 0x5000}, e)
}

func TestSMMUQuirk47_ATCInvalidations(t *testing.T) {
	r := newRig(t).enable()
	var got []emu.ATSInvalidation
	answer := true
	r.F.OnATSInvalidate = func(x *emu.Txn) bool {
		require.EqualValues(t, dev, x.Act.Key.Addr)
		got = append(got, x.Act.ATSInvalidation())
		return answer
	}
	inv := func(size, addr uint64, more ...field) [2]uint64 {
		return command(spec.CmdAtcInv, append([]field{{spec.CmdSID, uint64(dev)}, {spec.AtcSize, size}, {spec.CmdAddr, addr >> 12}}, more...)...)
	}
	for _, c := range []struct {
		w           [2]uint64
		first, last uint64
		pasid       emu.PASID
		global      bool
	}{
		{inv(0, 0x1234_5000), 0x1234_5000, 0x1234_5fff, emu.NoPASID, false},
		{inv(1, 0x1234_5000), 0x1234_4000, 0x1234_5fff, emu.NoPASID, false},
		{inv(9, 0x1234_5000), 0x1220_0000, 0x123f_ffff, emu.NoPASID, false},
		{inv(51, 0xffff<<48), 1 << 63, ^uint64(0), emu.NoPASID, false},
		{inv(52, 0), 0, ^uint64(0), emu.NoPASID, false},
		{inv(0, 0, field{spec.CmdSSID, 7}, field{spec.AtcG, 1}), 0, 0xfff, emu.NoPASID, false}, // SSV=0: no PASID, no G
		{inv(0, 0, field{spec.CmdSSV, 1}, field{spec.CmdSSID, 7}), 0, 0xfff, 7, false},
		{inv(0, 0, field{spec.CmdSSV, 1}, field{spec.CmdSSID, 7}, field{spec.AtcG, 1}), 0, 0xfff, 7, true},
	} {
		got = nil
		r.submit(c.w, sync())
		require.Len(t, got, 1)
		first, last := got[0].Range()
		require.Equal(t, c.first, uint64(first), "%x", c.w)
		require.Equal(t, c.last, uint64(last))
		require.Equal(t, c.pasid, got[0].PASID)
		require.Equal(t, c.global, got[0].Global())
	}
	// One that is not answered stops the queue at the next SYNC, once.
	answer = false
	at := r.prod
	r.push(inv(0, 0))
	r.push(sync())
	r.ring()
	require.Equal(t, at+1|spec.CerrorATC<<24, r.R32(spec.OffCMDQCons))
	require.Equal(t, spec.GerrCMDQ.Mask(), r.active())
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
	require.Equal(t, r.prod, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask())
	// TLB invalidations send none, and while SMMUEN=0 nothing is sent.
	got = nil
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	r.update(false, spec.Cr0SMMUEN)
	r.submit(inv(0, 0), sync())
	require.Empty(t, got)
}

// SYNC waits for devices, and more invalidations than ITags wait for free ones.
func TestSyncWaitsForDevices(t *testing.T) {
	r := newRig(t).enable()
	c := r.Crew(1)
	for range emu.MaxITags + 1 {
		r.push(command(spec.CmdAtcInv, field{spec.CmdSID, uint64(dev)}))
	}
	r.push(sync())
	c.StartEngine(r.u.WriteReg(spec.OffCMDQProd, 4, r.prod))
	for c.Engine.Act.Op != emu.OpPark {
		c.Step(c.Engine)
	}
	require.EqualValues(t, emu.MaxITags, r.R32(spec.OffCMDQCons))
	require.Zero(t, r.u.ATSEnded(other, 3, true), "not of that device")
	require.Equal(t, smmuv3.EngineCommand.Set(), r.u.ATSEnded(dev, 3, true))
	for c.Step(c.Engine); c.Engine.Act.Op != emu.OpPark; {
		c.Step(c.Engine)
	}
	require.EqualValues(t, emu.MaxITags+1, r.R32(spec.OffCMDQCons), "the SYNC waits")
	for tag := range uint8(emu.MaxITags) {
		r.u.ATSEnded(dev, tag, true)
	}
	c.RunEngine()
	require.Equal(t, r.prod, r.R32(spec.OffCMDQCons))
	require.Zero(t, r.u.UnexpectedATSCompletion(dev))
}
