package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// priRig notes the responses that devices get.
type priRig struct {
	*rig
	sent []emu.PRGResponse
}

func newPRI(t *testing.T, change ...change) *priRig {
	r := &priRig{rig: newRig(t, change...).enable()}
	r.F.OnPRGResponse = func(x *emu.Txn) {
		require.EqualValues(t, dev, x.Act.Key.Addr)
		r.sent = append(r.sent, x.Act.PRGResponse())
	}
	return r
}

func ppr(p emu.PASID, a emu.Access, index uint16, last bool) emu.Request {
	return emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: p, Access: a, Type: emu.PageRequest, Data: emu.MakePRG(index, last)}
}

// records reads the PRI queue.
func (r *priRig) records() (list [][2]uint64) {
	for i := uint64(0); i != r.R32(spec.OffPRIQProd)&(2<<priBits-1); i++ {
		at := r.pri + emu.PA(i%(1<<priBits)*spec.PRISize)
		list = append(list, [2]uint64{r.Get(at), r.Get(at + 8)})
	}
	return list
}

func TestPageRequests(t *testing.T) {
	r := newPRI(t)
	for _, q := range []emu.Request{ppr(emu.NoPASID, emu.Read|emu.Exec|emu.Priv, 3, false), ppr(0xabcde, emu.RW|emu.Exec|emu.Priv, 0x1ff, true), ppr(4, 0, 0, true)} {
		require.Equal(t, emu.OK, r.Do(q).Status)
	}
	require.Equal(t, [][2]uint64{
		{uint64(dev) | 1<<60, iova | 3}, // without PASID there is neither X nor Priv
		{uint64(dev) | 0xabcde<<32 | 0x3f<<58, iova | 0x1ff},
		{uint64(dev) | 4<<32 | 3<<62, iova}, // stop marker
	}, r.records())
	require.Empty(t, r.sent)
	require.Empty(t, r.drain())
}

func TestPageRequestResponses(t *testing.T) {
	r := newPRI(t)
	resp := func(code uint64, more ...field) [2]uint64 {
		return command(spec.CmdPriResp, append([]field{{spec.CmdSID, uint64(dev)}, {spec.PriPRGIndex, 0x155}, {spec.PriResp, code}}, more...)...)
	}
	r.submit(resp(spec.PriSuccess), resp(spec.PriInvalid, field{spec.CmdSSV, 1}, field{spec.CmdSSID, 9}), resp(spec.PriFailure))
	require.Equal(t, []emu.PRGResponse{
		{PASID: emu.NoPASID, Index: 0x155, Code: emu.PRGSuccess}, {PASID: 9, Index: 0x155, Code: emu.PRGInvalid}, {PASID: emu.NoPASID, Index: 0x155, Code: emu.PRGFailure},
	}, r.sent)
	r.update(false, spec.Cr0SMMUEN)
	r.submit(resp(spec.PriSuccess))
	require.Len(t, r.sent, 3, "ignored while SMMUEN=0")
}

func TestSMMUQuirk64_PageRequestsWhileTheQueueIsOff(t *testing.T) {
	off := func(r *priRig) { r.update(false, spec.Cr0PRIQEN) }
	smmuOff := func(r *priRig) { r.update(false, spec.Cr0SMMUEN) }
	aborted := func(r *priRig) {
		id := r.Mem.AddBusError(r.pri, r.pri+15, emu.RW)
		r.RequireFault(r.Do(ppr(3, emu.Read, 1, false)), smmuv3.FaultPRILost)
		require.Equal(r.T, spec.GerrPRIQAbt.Mask(), r.active())
		r.Mem.RemoveBusError(id)
	}
	for _, f := range []func(*priRig){off, smmuOff, aborted} {
		r := newPRI(t)
		r.bind(dev, field{spec.SteConfig, spec.ConfigAbort}) // what the STE says does not matter
		f(r)
		res := r.Do(ppr(3, emu.Read, 7, true))
		r.RequireFault(res, smmuv3.FaultPRIOff)
		require.Equal(t, []emu.PRGResponse{{PASID: emu.NoPASID, Index: 7, Code: emu.PRGFailure}}, r.sent)
		r.RequireFault(r.Do(ppr(3, emu.Read, 7, false)), smmuv3.FaultPRIOff)
		r.RequireFault(r.Do(ppr(3, 0, 7, true)), smmuv3.FaultPRIOff) // stop marker
		require.Len(t, r.sent, 1)
		require.Empty(t, r.records())
		require.Empty(t, r.drain())
	}
}

func TestPRIQueueOverflow(t *testing.T) {
	r := newPRI(t)
	const n = 1 << priBits
	for range n {
		require.Equal(t, emu.OK, r.Do(ppr(emu.NoPASID, emu.Read, 1, false)).Status)
	}
	res := r.Do(ppr(emu.NoPASID, emu.Read, 1, true))
	r.RequireFault(res, smmuv3.FaultPRILost)
	require.True(t, res.Fault.Dropped)
	require.EqualValues(t, n|1<<31, r.R32(spec.OffPRIQProd))
	require.Equal(t, []emu.PRGResponse{{PASID: emu.NoPASID, Index: 1, Code: emu.PRGSuccess}}, r.sent)
	// Space alone is not enough.
	r.W32(spec.OffPRIQCons, 5)
	r.RequireFault(r.Do(ppr(emu.NoPASID, emu.Read, 2, false)), smmuv3.FaultPRILost)
	require.EqualValues(t, n|1<<31, r.R32(spec.OffPRIQProd))
	require.Len(t, r.sent, 1)
	r.W32(spec.OffPRIQCons, 5|1<<31)
	require.Equal(t, emu.OK, r.Do(ppr(emu.NoPASID, emu.Read, 2, false)).Status)
	require.EqualValues(t, n+1|1<<31, r.R32(spec.OffPRIQProd))
}

// Whether an automatic response carries the PASID: by IDR3.PPS, or by the STE (8.1).
func TestAutomaticResponsesAndPASIDs(t *testing.T) {
	full := func(r *priRig) {
		r.update(false, spec.Cr0PRIQEN)
		r.W32(spec.OffPRIQProd, 1<<priBits)
		r.update(true, spec.Cr0PRIQEN)
	}
	ask := func(r *priRig) emu.PRGResponse {
		r.sent = nil
		r.RequireFault(r.Do(ppr(9, emu.Read, 1, true)), smmuv3.FaultPRILost)
		require.Len(t, r.sent, 1)
		return r.sent[0]
	}
	r := newPRI(t)
	full(r)
	require.Equal(t, emu.PRGResponse{PASID: 9, Index: 1, Code: emu.PRGSuccess}, ask(r))
	noPPS := func(c *smmuv3.Config) { c.PPS = false }
	for ppar, p := range map[uint64]emu.PASID{0: emu.NoPASID, 1: 9} {
		r := newPRI(t, noPPS)
		r.attach(dev)
		r.set(r.ste(dev), field{spec.StePPAR, ppar}, field{spec.SteConfig, spec.ConfigAbort * ppar})
		full(r)
		require.Equal(t, emu.PRGResponse{PASID: p, Index: 1, Code: emu.PRGSuccess}, ask(r))
	}
	for _, cr2 := range []uint64{0, spec.Cr2RecCfgATS.Mask()} {
		r := newPRI(t, noPPS, recordsATS)
		r.recording(cr2)
		full(r)
		r.RequireFault(r.Do(ppr(9, emu.Read, 1, true)), smmuv3.FaultSTEInvalid)
		require.Equal(t, []emu.PRGResponse{{PASID: emu.NoPASID, Index: 1, Code: emu.PRGFailure}}, r.sent)
		require.Equal(t, cr2 != 0, len(r.drain()) == 1)
	}
}

func TestInterruptOfThePRIQueue(t *testing.T) {
	r := newPRI(t)
	r.interrupts(spec.IrqPRIQ.Mask())
	for range 3 {
		r.Do(ppr(emu.NoPASID, emu.Read, 1, true))
	}
	require.Equal(t, []uint32{priData}, r.MSI, "from empty to not empty")
	r.W32(spec.OffIRQCtrl, 0)
	r.W32(spec.OffPRIQIRQCfg2, spec.IrqCfg2LO.Mask())
	r.W32(spec.OffIRQCtrl, spec.IrqPRIQ.Mask())
	r.MSI = nil
	r.Do(ppr(emu.NoPASID, emu.Read, 1, false))
	require.Empty(t, r.MSI)
	r.Do(ppr(emu.NoPASID, emu.Read, 1, true))
	r.Do(ppr(emu.NoPASID, emu.Read, 1, true))
	require.Equal(t, []uint32{priData, priData}, r.MSI, "on each last one")
	// A message that aborts.
	r.W32(spec.OffIRQCtrl, 0)
	bad := r.Page()
	r.BusError(bad, 8)
	r.W64(spec.OffPRIQIRQCfg0, uint64(bad))
	r.W32(spec.OffIRQCtrl, spec.IrqPRIQ.Mask())
	r.Do(ppr(emu.NoPASID, emu.Read, 1, true))
	require.Equal(t, spec.GerrMSIPRIQ.Mask(), r.active())
}
