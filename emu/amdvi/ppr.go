package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Peripheral page requests, 2.6. A request is checked against its DTE and written to the PPR log, in
// the order in which it gets there.

// stopMarker reports whether a page request is a stop marker (PCIe 10.4.1.2.1), which nobody answers.
func stopMarker(q *emu.Request) bool {
	_, last := q.PRG()
	return last && q.Access&emu.RW == 0
}

// pageRequest goes on with a page request and the DTE in t.Entry.
func (u *Unit) pageRequest(t *emu.Txn) {
	q, w0, w1 := &t.Req, t.Entry[0], t.Entry[1]
	ok := spec.DteV.On(w0) && spec.DteI.On(w1)
	if u.control(spec.CtlEPHEn) {
		ok = ok && spec.DtePPR.On(w0)
	}
	if !ok || u.pasidFault(q, w0) != 0 {
		u.fault(t, FaultPPR, StepPPRCheck, 0)
		return
	}
	if u.control(spec.CtlPprAutoRspAon) {
		u.autoResponse(t)
		return
	}
	t.Entry[4], t.Entry[5] = pprEntry(q)
	u.writeLog(t, logPPR, stPPRLogged)
}

// pprEntry composes the entry, 2.6.
func pprEntry(q *emu.Request) (lo, hi uint64) {
	index, last := q.PRG()
	lo = spec.PprCode.Put(spec.PPRCode) | spec.PprDeviceID.Put(uint64(q.Source)) | spec.PprPRG.Put(uint64(index)) |
		spec.PprLast.PutBool(last) | spec.PprR.PutBool(q.Access&emu.Read != 0) | spec.PprW.PutBool(q.Access&emu.Write != 0) |
		spec.PprUS.PutBool(isUser(q))
	if q.PASID != emu.NoPASID {
		p := uint64(q.PASID)
		lo |= spec.PprGN.Mask() | spec.PprPASIDLo.Put(p) | spec.PprPASIDHi.Put(p>>16) | spec.PprX.PutBool(q.Access&emu.Exec != 0)
	}
	return lo, uint64(q.Addr) & spec.CmdAddr.Mask()
}

// pprLogged ends a page request whose entry is in the log. One for which there was no room is lost, or
// answered by hardware (PprAutoRspEn).
func (u *Unit) pprLogged(t *emu.Txn) {
	switch {
	case logLost.On(t.Aux[3]) && u.control(spec.CtlPprAutoRspEn):
		u.autoResponse(t)
	case t.Aux[3]&(logLost.Mask()|logOff.Mask()) != 0:
		t.Res.Status = emu.Blocked
		t.Res.Fault = emu.Fault{Code: FaultPPRLost, Step: StepPPRWrite, Dropped: logLost.On(t.Aux[3]), Quiet: logOff.On(t.Aux[3]),
			Source: t.Req.Source, PASID: t.Req.PASID, Addr: t.Req.Addr}
		t.Done(StepPPRWrite)
	default:
		t.Res.Status = emu.OK
		t.Done(StepPPRWrite)
	}
}

// autoResponse answers a page request with the code that software has set, if it is the last of its
// group.
func (u *Unit) autoResponse(t *emu.Txn) {
	r := u.reg.Get(rPPRAuto)
	t.Res.Status = emu.OK
	u.pprResponse(t, uint8(spec.ParCode.Of(r)), spec.ParMaskGN.On(r))
}

// pprResponse sends a response to the group of a page request if it is the last one. The response
// carries the PASID unless mask is set, or, with EPHEn, DTE.GPRP is clear.
func (u *Unit) pprResponse(t *emu.Txn, code uint8, mask bool) {
	q := &t.Req
	index, last := q.PRG()
	if !last || stopMarker(q) {
		t.Done(StepPPRResponse)
		return
	}
	p := q.PASID
	if mask || u.control(spec.CtlEPHEn) && !spec.DteGPRP.On(t.Entry[0]) {
		p = emu.NoPASID
	}
	t.Act.SetPRGResponse(q.Source, emu.PRGResponse{PASID: p, Index: index, Code: code})
	t.Act.Step = StepPPRResponse
	t.State = stPPRResponded
}

func (u *Unit) pprResponded(t *emu.Txn) { t.Done(StepPPRResponse) }

// earlyOverflow tells software that the log is nearly full.
func (u *Unit) earlyOverflow(l *ringLog, size uint64) emu.Wake {
	r := u.reg.Get(rPPREarly)
	if !spec.PoeEn.On(r) || u.used(l, size)/uint64(l.size) < spec.PoeThreshold.Of(r) || u.status(spec.StsPprEarly) {
		return 0
	}
	u.reg.SetBits(rStatus, spec.StsPprEarly.Mask())
	if !spec.PoeIntEn.On(r) {
		return 0
	}
	return u.message(msgPPR)
}

// cmdCompletePPR executes COMPLETE_PPR_REQUEST, 2.4.7: the answer of software to a group.
func (u *Unit) cmdCompletePPR(t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	r := emu.PRGResponse{PASID: emu.NoPASID, Index: uint16(spec.CpPRG.Get(t.Entry[:2])), Code: uint8(spec.CpStatus.Get(t.Entry[:2]))}
	if spec.CpGN.On(w1) {
		r.PASID = emu.PASID(spec.CpPASID.Of(w0))
	}
	t.Act.SetPRGResponse(emu.SourceID(spec.CmdDeviceID.Of(w0)), r)
	t.Act.Step = StepPPRResponse
	t.State = stCmdNext
}
