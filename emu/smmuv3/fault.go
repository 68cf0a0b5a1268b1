package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// fault ends t with a fault found at step, at the structure at.
func (u *Unit) fault(t *emu.Txn, c uint16, step emu.Step, at emu.PA) {
	u.setFault(t, c, step, at)
	u.raise(t)
}

// fault2 is fault for faults of stage 2.
func (u *Unit) fault2(t *emu.Txn, c uint16, step emu.Step, at emu.PA) {
	setFlag(t, auxFault2, true)
	u.fault(t, c, step, at)
}

func (u *Unit) setFault(t *emu.Txn, c uint16, step emu.Step, at emu.PA) {
	q := &t.Req
	t.Res.Status = emu.Blocked
	t.Res.Fault = emu.Fault{Code: c, Step: step, Source: q.Source, PASID: q.PASID, Addr: q.Addr, At: at}
}

// raise goes on with the fault in t.Res: the transaction is answered, held or terminated, and an event
// recorded or not, as the configuration says.
func (u *Unit) raise(t *emu.Txn) {
	f := &t.Res.Fault
	if t.Req.Job != 0 {
		u.atosFault(t)
		return
	}
	if t.Req.Type > emu.Job || t.Req.Type == emu.TranslationReq && u.atsFault(t) {
		t.Done(f.Step)
		return
	}
	m := u.modelOf(t)
	if m.stall {
		u.stall(t)
		return
	}
	f.RAZ = m.zero
	if !m.record {
		f.Quiet = true
		u.faultEnds(t)
		return
	}
	e := u.eventRecord(t)
	copy(t.Entry[4:], e[:])
	u.writeRecord(t, ringEvents, stFaultRecorded)
}

// faultRecorded goes on when the event of a fault is in the queue, or lost.
func (u *Unit) faultRecorded(t *emu.Txn) {
	f := &t.Res.Fault
	f.Dropped, f.Quiet = recLost.On(t.Aux[3]), recOff.On(t.Aux[3])
	u.faultEnds(t)
}

// faultEnds ends a transaction that met a fault. A page request is answered by hardware then.
func (u *Unit) faultEnds(t *emu.Txn) {
	if t.Req.Type == emu.PageRequest {
		u.pageResponse(t, emu.PRGFailure, emu.NoPASID)
		return
	}
	t.Done(t.Res.Fault.Step)
}

// faultModel is what becomes of a transaction that met a fault, 5.5.
type faultModel struct {
	record bool
	stall  bool
	zero   bool // reads are zero, writes ignored
}

// isTranslationFault reports whether an event is one of those whose treatment software configures.
func isTranslationFault(event uint64) bool {
	return event >= spec.EvTranslation && event <= spec.EvPermission
}

// modelOf returns the treatment of the fault in t.Res. Only translation faults are configured: those of
// stage 1 by its CD, those of stage 2 by the STE.
func (u *Unit) modelOf(t *emu.Txn) faultModel {
	c := t.Res.Fault.Code
	event := eventOf(c)
	switch {
	case t.Req.Type != emu.Untranslated && isConfigFault(event):
		return faultModel{record: u.recordsATS(event, t.Req.Type)}
	case event == 0:
		return faultModel{}
	case event == spec.EvUUT:
		return faultModel{record: t.Req.Type == emu.Untranslated}
	case event == spec.EvBadStreamID:
		return faultModel{record: spec.Cr2RECINVSID.On(u.reg.Get(rCR2))}
	case !isTranslationFault(event) || c == FaultInput:
		return faultModel{record: true}
	case flag(t, auxFault2):
		w2 := t.Entry[2]
		return faultModel{record: spec.SteS2R.On(w2), stall: spec.SteS2S.On(w2)}
	}
	cd := t.Entry[4]
	return faultModel{record: spec.CdR.On(cd), stall: spec.CdS.On(cd), zero: !spec.CdA.On(cd)}
}

// eventRecord composes the event of the fault in t.Res, 7.3.
func (u *Unit) eventRecord(t *emu.Txn) spec.Event {
	q, f := &t.Req, &t.Res.Fault
	n := eventOf(f.Code)
	e := spec.Event{spec.EvtNumber.Put(n) | spec.EvtSID.Put(uint64(q.Source))}
	if q.PASID != emu.NoPASID && u.hasSubstream(n) {
		e[0] |= spec.EvtSSV.Mask() | spec.EvtSSID.Put(uint64(q.PASID))
	}
	fetched := uint64(f.At) & spec.EvtFetchAddr.Mask()
	attrs := spec.EvtPnU.Put(auxPriv.Of(t.Aux[0])) | spec.EvtInD.Put(auxInst.Of(t.Aux[0])) | spec.EvtRnW.PutBool(!writes(q))
	stage := stageOf(t)
	switch n {
	case spec.EvBadSubstreamID:
		e[0] &^= spec.EvtSSV.Mask()
	case spec.EvUUT:
		e[1], e[2] = uutRecord(q, f.Code), uint64(q.Addr)
	case spec.EvSTEFetch, spec.EvCDFetch:
		e[3] = fetched
	case spec.EvBadATSTreq:
		e[1] = atsRequest(q)
		e[2] = uint64(q.Addr) & spec.EvtPage.Mask()
	case spec.EvTranslForbidden:
		e[1] = spec.EvtRnW.PutBool(!writes(q))
		e[2] = uint64(q.Addr)
	case spec.EvWalkEABT:
		e[1], e[2], e[3] = attrs|stage, uint64(q.Addr), fetched
	case spec.EvTranslation, spec.EvAddrSize, spec.EvAccess, spec.EvPermission:
		e[1], e[2] = attrs|stage, uint64(q.Addr)
		if flag(t, auxFault2) {
			e[3] = s2Frame(t).In & spec.EvtIPA.Mask()
		}
		walks := spec.EvtClass.Of(stage) == spec.ClassTT
		if n == spec.EvPermission && walks && auxNeed.Of(t.Aux[0])&uint64(emu.Write<<priv) == 0 {
			e[1] |= spec.EvtTTRnW.Mask()
		}
	case spec.EvCFGConflict:
		e[1] = spec.EvtReason32.Put(t.Aux[1])
	case spec.EvTLBConflict:
		e[1], e[2] = attrs|stage&^spec.EvtClass.Mask(), uint64(q.Addr)
		if flag(t, auxFault2) {
			e[3] = s2Frame(t).In & spec.EvtIPA.Mask()
		}
	}
	return e
}

// hasSubstream reports whether the records of an event have a SubstreamID. Translated transactions have one
// with PASIDTT only.
func (u *Unit) hasSubstream(event uint64) bool {
	return event != spec.EvStreamDisabled && (event != spec.EvTranslForbidden || u.cfg.PASIDTT)
}

// stageOf returns S2 and CLASS of the event of t's fault. A descriptor of stage 1 that cannot be read is
// of CLASS TT, other faults of stage 1 are of CLASS IN.
func stageOf(t *emu.Txn) uint64 {
	switch {
	case flag(t, auxFault2):
		return spec.EvtS2.Mask() | spec.EvtClass.Put(auxClass.Of(t.Aux[0]))
	case eventOf(t.Res.Fault.Code) == spec.EvWalkEABT:
		return spec.EvtClass.Put(spec.ClassTT)
	}
	return spec.EvtClass.Put(spec.ClassIN)
}
