package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Page requests, 3.9.2 and 8. A request is written to the PRI queue, whatever its STE says, in the order in
// which it gets there. One that cannot be written is answered by hardware if it is the last of its group.

// stopMarker reports whether a page request is a stop marker (PCIe 10.4.1.2.1), which nobody answers.
func stopMarker(q *emu.Request) bool {
	_, last := q.PRG()
	return last && q.Access&emu.RW == 0 && q.PASID != emu.NoPASID
}

// pageRequest writes a page request to the queue.
func (u *Unit) pageRequest(t *emu.Txn) {
	if pages, hint := t.Req.Hint(); hint {
		u.pageHint(t, pages)
		return
	}
	if !u.cfg.PRI || !u.ringOn(&rings[ringPRI]) {
		u.setFault(t, FaultPRIOff, StepPRI, 0)
		t.Res.Fault.Quiet = true
		u.pageResponse(t, emu.PRGFailure, emu.NoPASID)
		return
	}
	t.Entry[4], t.Entry[5] = priRecord(&t.Req)
	u.writeRecord(t, ringPRI, stPRIRecorded)
}

// priRecord composes the record, 8.
func priRecord(q *emu.Request) (lo, hi uint64) {
	index, last := q.PRG()
	lo = spec.PriSID.Put(uint64(q.Source)) | spec.PriR.PutBool(q.Access&emu.Read != 0) | spec.PriW.PutBool(q.Access&emu.Write != 0) |
		spec.PriLast.PutBool(last)
	if q.PASID != emu.NoPASID {
		lo |= spec.PriSSV.Mask() | spec.PriSSID.Put(uint64(q.PASID)) |
			spec.PriPriv.PutBool(q.Access&emu.Priv != 0) | spec.PriX.PutBool(q.Access&emu.Exec != 0)
	}
	return lo, spec.PriRecPRG.Put(uint64(index)) | uint64(q.Addr)&spec.PriRecAddr.Mask()
}

// priRecorded ends a page request whose record is in the queue. One for which there was no room is
// answered so that the device tries again; whether with its PASID, the STE may have to say (8.1).
func (u *Unit) priRecorded(t *emu.Txn) {
	off, lost := recOff.On(t.Aux[3]), recLost.On(t.Aux[3])
	if !off && !lost {
		t.Res.Status = emu.OK
		t.Done(StepPRIWrite)
		return
	}
	q := &t.Req
	u.setFault(t, FaultPRILost, StepPRIWrite, 0)
	t.Res.Fault.Dropped, t.Res.Fault.Quiet = lost, off
	_, last := q.PRG()
	switch {
	case off:
		u.pageResponse(t, emu.PRGFailure, emu.NoPASID)
	case q.PASID == emu.NoPASID || u.cfg.PPS || !last || stopMarker(q):
		u.pageResponse(t, emu.PRGSuccess, q.PASID)
	default:
		u.stream(t)
	}
}

// respondUnderSTE answers a page request as its valid STE says.
func (u *Unit) respondUnderSTE(t *emu.Txn) {
	p := emu.NoPASID
	if spec.StePPAR.On(t.Entry[1]) {
		p = t.Req.PASID
	}
	u.pageResponse(t, emu.PRGSuccess, p)
}

// pageResponse sends a response to the group of a page request if it is the last one.
func (u *Unit) pageResponse(t *emu.Txn, code uint8, p emu.PASID) {
	q := &t.Req
	index, last := q.PRG()
	if !last || stopMarker(q) {
		t.Done(StepPRIResponse)
		return
	}
	t.Act.SetPRGResponse(q.Source, emu.PRGResponse{PASID: p, Index: index, Code: code})
	t.Act.Step = StepPRIResponse
	t.State = stPRIResponded
}

func (u *Unit) priResponded(t *emu.Txn) { t.Done(StepPRIResponse) }

// prgCode are the codes of responses by CMD_PRI_RESP.Resp.
var prgCode = [4]uint8{spec.PriFailure: emu.PRGFailure, spec.PriInvalid: emu.PRGInvalid, spec.PriSuccess: emu.PRGSuccess}

// cmdPRIResp executes PRI_RESP, 4.5.2: the answer of software to a group.
func cmdPRIResp(u *Unit, t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	u.cmdConsumed()
	if !u.on {
		u.cmdNext(t)
		return
	}
	r := emu.PRGResponse{PASID: emu.NoPASID, Index: uint16(spec.PriPRGIndex.Of(w1)), Code: prgCode[spec.PriResp.Of(w1)]}
	if spec.CmdSSV.On(w0) {
		r.PASID = emu.PASID(spec.CmdSSID.Of(w0))
	}
	t.Act.SetPRGResponse(emu.SourceID(spec.CmdSID.Of(w0)), r)
	t.Act.Step = StepPRIResponse
	t.State = stCmdNext
}
