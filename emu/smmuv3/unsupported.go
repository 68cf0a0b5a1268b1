package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Transactions that a unit refuses as they arrive, 16.7.1, and hints, which it only passes on, 7.3.19.

// Reasons of F_UUT.
const (
	ReasonCrossing = 1 // beyond the end of a 4 KB block
	ReasonAtomic   = 2 // an AtomicOp
)

// unsupported returns the fault of a transaction that the unit does not support, or 0.
func (u *Unit) unsupported(q *emu.Request) uint16 {
	switch {
	case u.cfg.NoCrossing && uint64(q.Addr)%emu.PageSize+uint64(q.Len) > emu.PageSize:
		return FaultCrossing
	case u.cfg.NoAtomics && q.Access&emu.Atomic != 0:
		return FaultAtomic
	}
	return 0
}

// refused ends a transaction that the unit does not support. Whether translation is on does not matter.
func (u *Unit) refused(t *emu.Txn) bool {
	if t.Req.Type != emu.Untranslated && t.Req.Type != emu.Translated {
		return false
	}
	c := u.unsupported(&t.Req)
	if c != 0 {
		u.fault(t, c, StepFrontEnd, 0)
	}
	return c != 0
}

// uutRecord are the fields of F_UUT that say what came: as it came, before an STE could override it.
func uutRecord(q *emu.Request, code uint16) uint64 {
	reason := uint64(ReasonCrossing)
	if code == FaultAtomic {
		reason = ReasonAtomic
	}
	return spec.EvtReason.Put(reason) | spec.EvtPnU.PutBool(q.Access&emu.Priv != 0) |
		spec.EvtInD.PutBool(q.Access&emu.Exec != 0 && !writes(q)) | spec.EvtRnW.PutBool(!writes(q))
}

// pageHint records the hint of a device that it will access pages soon. Nobody answers.
func (u *Unit) pageHint(t *emu.Txn, pages uint8) {
	q := &t.Req
	if !u.cfg.PageHints || !u.on {
		u.setFault(t, FaultHintOff, StepPRI, 0)
		t.Res.Fault.Quiet = true
		t.Done(StepPRI)
		return
	}
	e := spec.Event{spec.EvtNumber.Put(spec.EvPageRequest) | spec.EvtSID.Put(uint64(q.Source)), 0, uint64(q.Addr) & spec.EvtPage.Mask()}
	if q.PASID != emu.NoPASID {
		e[0] |= spec.EvtSSV.Mask() | spec.EvtSSID.Put(uint64(q.PASID))
	}
	r, w, x := q.Access&emu.Read != 0, q.Access&emu.Write != 0, q.Access&emu.Exec != 0
	if q.Access&emu.Priv != 0 {
		e[1] = spec.EvtPagePR.PutBool(r) | spec.EvtPagePW.PutBool(w) | spec.EvtPagePX.PutBool(x)
	} else {
		e[1] = spec.EvtPageUR.PutBool(r) | spec.EvtPageUW.PutBool(w) | spec.EvtPageUX.PutBool(x)
	}
	e[1] |= spec.EvtPageSpan.Put(uint64(max(pages, 1)))
	copy(t.Entry[4:], e[:])
	u.writeRecord(t, ringEvents, stHinted)
}

// hinted ends a hint that is in the queue, or lost.
func (u *Unit) hinted(t *emu.Txn) {
	off, lost := recOff.On(t.Aux[3]), recLost.On(t.Aux[3])
	t.Res.Status = emu.OK
	if off || lost {
		u.setFault(t, FaultHintLost, StepEventWrite, 0)
		t.Res.Fault.Dropped, t.Res.Fault.Quiet = lost, off
	}
	t.Done(StepEventWrite)
}
