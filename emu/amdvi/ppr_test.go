package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// pageRequests turns page requests on and returns the PPR log, and the responses that devices get.
func (r *rig) pageRequests() (log emu.PA, responses *[]emu.Act) {
	log = r.Page()
	r.base(spec.OffPPRLogBase, log, 8)
	r.control(true, spec.CtlPPREn, spec.CtlPPRLogEn, spec.CtlPprIntEn)
	responses = new([]emu.Act)
	r.F.OnPRGResponse = func(t *emu.Txn) { *responses = append(*responses, t.Act) }
	return log, responses
}

func prq(p emu.PASID, a emu.Access, index uint16, last bool) emu.Request {
	return emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: p, Access: a, Type: emu.PageRequest, Data: emu.MakePRG(index, last)}
}

func TestPageRequestsAreLogged(t *testing.T) {
	r := fullRig(t)
	r.messages()
	log, responses := r.pageRequests()
	r.guests(4, 2, 0, field{spec.DteI, 1})
	for i, c := range []struct {
		q  emu.Request
		lo uint64
	}{
		{prq(0xab4cd, emu.RW, 0x1f7, true), 1<<60 | 1<<56 | 1<<54 | 1<<53 | 1<<50 | 0xa<<42 | 1<<41 | 0x1f7<<32 | 0xb4cd<<16},
		{prq(5, emu.Read|emu.Exec|emu.Priv, 1, false), 1<<60 | 1<<56 | 1<<50 | 1<<49 | 1<<32 | 5<<16},
		{prq(emu.NoPASID, emu.Write, 0, true), 1<<60 | 1<<54 | 1<<53 | 1<<41},
		{prq(5, 0, 0, true), 1<<60 | 1<<56 | 1<<54 | 1<<41 | 5<<16}, // stop marker
	} {
		require.Equal(t, emu.OK, r.Do(c.q).Status)
		at := log + emu.PA(16*i)
		require.Equal(t, c.lo|uint64(dev), r.Get(at), "%#x", r.Get(at)^(c.lo|uint64(dev)))
		require.Equal(t, iova, r.Get(at+8))
		require.EqualValues(t, 16*(i+1), r.R64(spec.OffPPRTail))
	}
	require.True(t, r.status(spec.StsPprInt))
	require.Equal(t, []uint32{msiData}, r.MSI)
	require.Empty(t, *responses)
	require.Empty(t, r.events())
}

func TestCompletePPR(t *testing.T) {
	r := fullRig(t)
	_, responses := r.pageRequests()
	w := [2]uint64{op(spec.CmdCompletePPR) | uint64(dev) | 0xab4cd<<32, 0x1f7<<32 | 1<<44 | invGN}
	plain := [2]uint64{op(spec.CmdCompletePPR) | uint64(dev), 3 << 32}
	r.submit(w, plain)
	require.Len(t, *responses, 2)
	require.EqualValues(t, dev, (*responses)[0].Key.Addr)
	require.Equal(t, emu.PRGResponse{PASID: 0xab4cd, Index: 0x1f7, Code: 1}, (*responses)[0].PRGResponse())
	require.Equal(t, emu.PRGResponse{PASID: emu.NoPASID, Index: 3}, (*responses)[1].PRGResponse())
}

// A driver sends 2 for a failure. It goes to the device as it is, where any code but 0 and 1 is one.
func TestAMDQuirk47_AnyOtherStatusIsAFailure(t *testing.T) {
	r := fullRig(t)
	_, responses := r.pageRequests()
	r.submit([2]uint64{op(spec.CmdCompletePPR) | uint64(dev), 2 << 44})
	require.EqualValues(t, 2, (*responses)[0].PRGResponse().Code)
	require.Empty(t, r.events())
}

func TestPageRequestsThatAreNotAllowed(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(r *rig)
		q     emu.Request
		lo    uint64
		resp  int
	}{
		{"I=0", func(r *rig) { r.guests(4, 0, 0) }, prq(5, emu.Read, 7, true), 1<<57 | 1<<48 | 1<<41 | 7<<32 | 5<<16, 1},
		{"V=0", func(r *rig) {}, prq(emu.NoPASID, emu.Read, 7, true), 1<<48 | 1<<41 | 7<<32, 1},
		{"not the last", func(r *rig) {}, prq(emu.NoPASID, emu.Read, 7, false), 7 << 32, 0},
		{"stop marker", func(r *rig) {}, prq(5, 0, 0, true), 1<<57 | 1<<41 | 5<<16, 0},
		{"GV=0", func(r *rig) { r.attach(dev, 3, field{spec.DteI, 1}) }, prq(0xab4cd, emu.Read, 0, true), 1<<57 | 1<<48 | 0xa<<42 | 1<<41 | 0xb4cd<<16, 1},
		{"PPR=0", func(r *rig) { r.guests(4, 0, 0, field{spec.DteI, 1}); r.control(true, spec.CtlEPHEn) }, prq(5, emu.Read, 0, true), 1<<57 | 1<<48 | 1<<41 | 5<<16, 1},
	} {
		r := fullRig(t)
		_, responses := r.pageRequests()
		c.setup(r)
		r.RequireFault(r.Do(c.q), amdvi.FaultPPR)
		require.Equal(t, [2]uint64{9<<60 | c.lo | uint64(dev), iova}, r.event(), c.name)
		require.Len(t, *responses, c.resp, c.name)
		if c.resp > 0 {
			require.EqualValues(t, emu.PRGInvalid, (*responses)[0].PRGResponse().Code)
		}
		require.Zero(t, r.R64(spec.OffPPRTail))
	}
	// DTE.PPR counts with EPHEn, and is reserved without EPHSup.
	r := fullRig(t)
	r.pageRequests()
	r.control(true, spec.CtlEPHEn)
	r.guests(4, 0, 0, field{spec.DteI, 1}, field{spec.DtePPR, 1})
	require.Equal(t, emu.OK, r.Do(prq(5, emu.Read, 0, true)).Status)
	r = newRig(t, noPPR).enable()
	r.attach(dev, 3, field{spec.DtePPR, 1})
	r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultDTEReserved)
}

func TestPPRLogOverflow(t *testing.T) {
	fill := func(r *rig) {
		r.guests(4, 0, 0, field{spec.DteI, 1})
		for range 255 {
			require.Equal(t, emu.OK, r.Do(prq(5, emu.Read, 0, true)).Status)
		}
	}
	r := fullRig(t)
	_, responses := r.pageRequests()
	fill(r)
	require.False(t, r.status(spec.StsPprOverflow))
	res := r.Do(prq(5, emu.Read, 0, true))
	r.RequireFault(res, amdvi.FaultPPRLost)
	require.True(t, res.Fault.Dropped)
	require.True(t, r.status(spec.StsPprOverflow))
	require.False(t, r.status(spec.StsPPRLogRun))
	require.Empty(t, *responses)
	// Restart as of the event log.
	r.W32(spec.OffPPRHead, 255*16)
	r.control(false, spec.CtlPPRLogEn)
	res = r.Do(prq(5, emu.Read, 0, true))
	r.RequireFault(res, amdvi.FaultPPRLost)
	require.True(t, res.Fault.Quiet, "off is not full")
	r.control(true, spec.CtlPPRLogEn)
	require.False(t, r.status(spec.StsPprOverflow))
	require.Equal(t, emu.OK, r.Do(prq(5, emu.Read, 0, true)).Status)
	require.Zero(t, r.R64(spec.OffPPRTail))

	// Hardware may answer instead.
	for _, c := range []struct {
		setup func(r *rig)
		pasid emu.PASID
	}{
		{func(*rig) {}, 5},
		{func(r *rig) { r.W64(spec.OffPPRAutoResponse, 0xf|1<<4) }, emu.NoPASID},
		{func(r *rig) {
			r.control(true, spec.CtlEPHEn)
			r.guests(4, 0, 0, field{spec.DteI, 1}, field{spec.DtePPR, 1})
		}, emu.NoPASID},
		{func(r *rig) {
			r.control(true, spec.CtlEPHEn)
			r.guests(4, 0, 0, field{spec.DteI, 1}, field{spec.DtePPR, 1}, field{spec.DteGPRP, 1})
		}, 5},
	} {
		r = fullRig(t)
		_, responses = r.pageRequests()
		fill(r)
		r.control(true, spec.CtlPprAutoRspEn)
		r.W64(spec.OffPPRAutoResponse, 0xf)
		c.setup(r)
		r.submit(invDevtab(dev))
		require.Equal(t, emu.OK, r.Do(prq(5, emu.Read, 3, true)).Status)
		require.Equal(t, emu.OK, r.Do(prq(5, emu.Read, 3, false)).Status)
		require.Len(t, *responses, 1)
		require.Equal(t, emu.PRGResponse{PASID: c.pasid, Index: 3, Code: 0xf}, (*responses)[0].PRGResponse())
	}
}

func TestAutoResponseAlwaysOn(t *testing.T) {
	r := fullRig(t)
	_, responses := r.pageRequests()
	r.guests(4, 0, 0, field{spec.DteI, 1})
	r.control(true, spec.CtlPprAutoRspAon)
	require.Equal(t, emu.OK, r.Do(prq(5, emu.Read, 3, true)).Status)
	require.Len(t, *responses, 1)
	require.Zero(t, r.R64(spec.OffPPRTail))
}

func TestEarlyOverflow(t *testing.T) {
	r := fullRig(t)
	r.messages()
	r.pageRequests()
	r.control(false, spec.CtlPprIntEn)
	r.guests(4, 0, 0, field{spec.DteI, 1})
	r.W64(spec.OffPPROverflowEarly, 3|1<<30|1<<31)
	for i := range 4 {
		require.Equal(t, i > 2, r.status(spec.StsPprEarly), "%d", i)
		r.Do(prq(5, emu.Read, 0, true))
	}
	require.Len(t, r.MSI, 1)
	r.W32(spec.OffPPRHead, 32)
	r.W64(spec.OffStatus, spec.StsPprEarly.Mask())
	require.False(t, r.status(spec.StsPprEarly))
}
