package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// fault ends t with a fault found at step, at the structure at.
func (u *Unit) fault(t *emu.Txn, c uint16, step emu.Step, at emu.PA) {
	q, r := &t.Req, &t.Res
	t.Aux[0] |= auxHostFault.Put(auxOnBehalf.Of(t.Aux[0]))
	if q.Type == emu.TranslationReq && eventOf(c) == spec.EventPageFault { // 2.1.3.2: success without rights
		withoutRights(q, r)
		t.Done(step)
		return
	}
	r.Status = emu.Blocked
	u.s.PCI.Status |= spec.PCIStatusSignaledAbrt
	r.Fault = emu.Fault{Code: c, Step: step, Abort: aborted(q, c), Source: q.Source, PASID: q.PASID, Addr: q.Addr, At: at}
	if u.suppressed(t) {
		r.Fault.Quiet = true
		t.Done(step)
		return
	}
	e := eventEntry(t)
	u.hardwareError(&e)
	t.Entry[4], t.Entry[5] = e[0], e[1]
	u.writeLog(t, logEvents, stFaultLogged)
}

// aborted reports whether q, blocked by fault c, is completed as Completer Abort: a translation request
// that met an error, not one that is not allowed.
func aborted(q *emu.Request, c uint16) bool {
	e := eventOf(c)
	return q.Type == emu.TranslationReq && (e == spec.EventIllegalDTE || e == spec.EventDevTabHW || e == spec.EventPageTabHW)
}

// suppressed reports whether the fault of t is not to be logged, by rule: only page faults can be
// suppressed (2.2.2).
func (u *Unit) suppressed(t *emu.Txn) bool {
	w1, w2 := t.Entry[1], t.Entry[2]
	known := t.Known&emu.KnownDomain != 0 // there is a DTE
	switch eventOf(t.Res.Fault.Code) {
	case 0:
		return true
	case spec.EventPageFault:
	default:
		return false
	}
	if auxInterrupt.On(t.Aux[0]) {
		return auxSupIOPF.On(t.Aux[0]) || known && spec.DteIG.On(w2)
	}
	return known && (spec.DteSA.On(w1) || spec.DteSE.On(w1) && valSEDone.On(t.Entry[3]))
}

// faultLogged goes on when the event of a fault is in the log, or lost. With SE=1 the device's DTE
// remembers that a page fault was logged (2.2.2).
func (u *Unit) faultLogged(t *emu.Txn) {
	f := &t.Res.Fault
	f.Dropped, f.Quiet = logLost.On(t.Aux[3]), logOff.On(t.Aux[3])
	if t.Req.Type == emu.PageRequest { // answered by hardware
		u.pprResponse(t, emu.PRGInvalid, false)
		return
	}
	remember := !f.Dropped && !f.Quiet && eventOf(f.Code) == spec.EventPageFault && t.Known&emu.KnownDomain != 0 &&
		!auxInterrupt.On(t.Aux[0]) && spec.DteSE.On(t.Entry[1]) && u.cache.Entry != nil
	if !remember {
		t.Done(StepEventWrite)
		return
	}
	t.Entry[3] |= valSEDone.Mask()
	u.fillDevice(t, stSERemembered)
}

func (u *Unit) seRemembered(t *emu.Txn) { t.Done(StepEventWrite) }

// eventEntry composes the event of the fault in t.Res, 2.5.
func eventEntry(t *emu.Txn) [2]uint64 {
	q, f := &t.Req, &t.Res.Fault
	info, code := faults[f.Code], eventOf(f.Code)
	e := [2]uint64{spec.EvtCode.Put(code) | spec.EvtDeviceID.Put(uint64(q.Source))}
	gn := guest(t) && !auxHostFault.On(t.Aux[0])
	pasid := pasidOf(t)
	if !guest(t) && q.PASID != emu.NoPASID { // before the tables were chosen
		gn, pasid = true, uint64(q.PASID)
	}
	rw, tr := spec.EvtRW.PutBool(writes(t)), spec.EvtTR.PutBool(q.Type == emu.TranslationReq)
	i := spec.EvtI.PutBool(auxInterrupt.On(t.Aux[0]))
	process := spec.EvtGN.PutBool(gn)
	if gn {
		process |= spec.EvtDomainID.Put(pasid) | spec.EvtPASIDHi.Put(pasid>>16)
	}
	domain := process
	if !gn {
		domain |= spec.EvtDomainID.Put(spec.DteDomainID.Of(t.Entry[1]))
	}
	user := gn && isUser(q)
	addr := uint64(q.Addr)
	if auxHostFault.On(t.Aux[0]) {
		addr = t.Frame[1].In
	}
	switch code {
	case spec.EventIllegalDTE:
		e[0] |= process | i | rw | tr | spec.EvtRZ.PutBool(info.rz)
		e[1] = addr &^ 3
	case spec.EventPageFault:
		e[0] |= domain | i | tr | spec.EvtPR.PutBool(info.pr) | spec.EvtPE.PutBool(info.pe) | spec.EvtRZ.PutBool(info.rz)
		if i == 0 {
			e[0] |= rw | spec.EvtUS.PutBool(user) | spec.EvtNX.PutBool(gn && q.Access&emu.Exec != 0)
		}
		e[1] = addr
	case spec.EventDevTabHW:
		e[0] |= i | rw | tr | spec.EvtType.Put(spec.HWTypeMasterAbort)
		e[1] = uint64(f.At) &^ 15
	case spec.EventPageTabHW:
		e[0] |= domain | i | rw | tr | spec.EvtType.Put(spec.HWTypeMasterAbort)
		e[1] = uint64(f.At) &^ 7
	case spec.EventInvalidPPR:
		index, last := q.PRG()
		e[0] |= spec.EvtPPRTag.Put(uint64(index)) | spec.EvtPPRRX.PutBool(last && !stopMarker(q))
		if last {
			e[0] |= 1 << (spec.EvtPPRTag.Lo() + 9)
		}
		if gn {
			e[0] |= spec.EvtPPRGN.Mask() | spec.EvtPPRPASID.Put(pasid) | spec.EvtPPRPASIDH.Put(pasid>>16)
		}
		e[1] = addr
	case spec.EventInvalidRequest:
		e[0] |= process | tr | spec.EvtUS.PutBool(user) | spec.EvtReqType.Put(uint64(info.kind))
		e[1] = addr
	}
	return e
}

// writes reports whether the access that met a fault is a write: that of the request, or that of the
// walker to a guest table.
func writes(t *emu.Txn) bool {
	if auxHostFault.On(t.Aux[0]) && t.Frame[1].Ret != retData {
		return auxNeed.Of(t.Aux[0])&uint64(emu.Write) != 0
	}
	return need(&t.Req)&emu.Write != 0
}

// hardwareError shows an event of a hardware error in the registers, too: the first until software
// clears it (2.5).
func (u *Unit) hardwareError(e *[2]uint64) {
	switch spec.EvtCode.Of(e[0]) {
	case spec.EventDevTabHW, spec.EventPageTabHW, spec.EventCommandHW:
	default:
		return
	}
	if !u.cfg.HESup {
		return
	}
	if spec.HweValid.On(u.reg.Get(rHWStatus)) {
		u.reg.SetBits(rHWStatus, spec.HweOverflow.Mask())
		return
	}
	u.reg.Set(rHWUpper, e[0])
	u.reg.Set(rHWLower, e[1])
	u.reg.SetBits(rHWStatus, spec.HweValid.Mask())
}
