package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// ATS, 3.9: translation requests, translated transactions, invalidation requests and what becomes of them.

// effectiveEATS returns what a valid STE allows, 5.2: modes that need ATSCHK are off without it.
func (u *Unit) effectiveEATS(w0, w1 uint64) uint64 {
	eats := spec.SteEATS.Of(w1)
	switch {
	case !u.cfg.ATS, spec.SteConfig.Of(w0) == spec.ConfigBypass, eats == spec.EATSDPT:
		return spec.EATSOff
	case eats == spec.EATSSplit && !spec.Cr0ATSCHK.On(u.ack):
		return spec.EATSOff
	}
	return eats
}

// atsAllowed goes on with a translation request or a translated transaction under the STE in t.Entry. It
// returns false if that is not to be translated further.
func (u *Unit) atsAllowed(t *emu.Txn) bool {
	eats := u.effectiveEATS(t.Entry[0], t.Entry[1])
	switch request := t.Req.Type == emu.TranslationReq; {
	case request && eats == spec.EATSOff:
		u.fault(t, FaultATSDisabled, StepATS, t.At)
		return false
	case request:
		return true
	case eats == spec.EATSOff:
		u.fault(t, FaultForbidden, StepATS, t.At)
		return false
	}
	if u.cfg.PASIDTT && t.Req.PASID != emu.NoPASID {
		if _, _, c := u.substream(&t.Req, t.Entry[0], t.Entry[1]); c != 0 {
			u.fault(t, c, StepSubstream, t.At)
			return false
		}
	}
	if eats == spec.EATSFull {
		u.passTranslated(t)
		return false
	}
	// Split-stage: the address is an intermediate one.
	isPriv, inst := u.attributes(&t.Req, t.Entry[1])
	t.Aux[0] = auxS2.Mask() | access(&t.Req, isPriv, inst) | auxReg2.Put(steReg2.Of(t.Entry[1]))
	t.Aux[2] = s2Version(t.Entry[:4])
	u.stage1Bypassed(t)
	return false
}

// passTranslated lets a transaction pass whose address came from a translation completion.
func (u *Unit) passTranslated(t *emu.Txn) {
	if uint64(t.Req.Addr)>>u.lim.oas != 0 {
		u.fault(t, FaultTranslated, StepATS, 0)
		return
	}
	u.counts(spec.PmcgATSTransPassed, t)
	pass(&t.Req, &t.Res)
	t.Done(StepATS)
}

// split reports whether t is a translation request that is answered with an intermediate address.
func (u *Unit) split(t *emu.Txn) bool {
	return t.Req.Type == emu.TranslationReq && u.effectiveEATS(t.Entry[0], t.Entry[1]) == spec.EATSSplit
}

// answerSplit replaces the output of the translation by what stage 1 made of the address.
func (u *Unit) answerSplit(t *emu.Txn) {
	t.Res.PA = emu.PA(t.Frame[0].In)
	if flag(t, auxS1) {
		t.Res.PA = emu.PA(t.Frame[1].In)
	}
}

// completion makes the result of a translation request what its completion says (3.9.1): rights as far as
// they concern the request. clean pages are not writable for a request that will not write. It leaves other
// requests alone.
func (u *Unit) completion(t *emu.Txn, perm emu.Access, clean bool) {
	if t.Req.Type == emu.TranslationReq {
		complete(t, perm, clean)
	}
}

func complete(t *emu.Txn, perm emu.Access, clean bool) {
	q, r := &t.Req, &t.Res
	perm = mine(perm, flag(t, auxPriv))
	if flag(t, auxInst) { // INSTCFG: reads are instruction fetches
		perm = perm&^emu.Read | perm&emu.Exec/emu.Exec
	}
	p := perm & emu.RW
	if clean && q.Access&emu.NoWrite != 0 {
		p &^= emu.Write
	}
	if p&emu.Read != 0 && q.PASID != emu.NoPASID && q.Access&emu.Exec != 0 {
		p |= perm & emu.Exec
	}
	if p == 0 {
		withoutRights(q, r)
		return
	}
	r.Perm = p | privOf(q)
}

// privOf returns Priv of the completion of q: that of the request.
func privOf(q *emu.Request) emu.Access {
	if q.PASID == emu.NoPASID {
		return 0
	}
	return q.Access & emu.Priv
}

// withoutRights is the completion of a translation request with R=W=0.
func withoutRights(q *emu.Request, r *emu.Result) {
	r.Status, r.PA, r.Perm, r.Lg2, r.Fault = emu.OK, emu.PA(q.Addr), privOf(q), emu.PageShift, emu.Fault{}
}

// passCompletion answers a translation request that stage 1 would have translated and S1DSS lets pass: page by
// page, since other SubstreamIDs are translated.
func (u *Unit) passCompletion(t *emu.Txn) {
	if t.Req.Type == emu.TranslationReq {
		t.Res.Lg2, t.Res.Perm = emu.PageShift, emu.RW
	}
}

// isConfigFault reports whether an event is one of those that a translation request answers with Completer
// Abort, and that are recorded for ATS only if software asks for it.
func isConfigFault(event uint64) bool {
	switch event {
	case spec.EvBadStreamID, spec.EvSTEFetch, spec.EvBadSTE, spec.EvBadSubstreamID, spec.EvStreamDisabled, spec.EvCDFetch,
		spec.EvBadCD, spec.EvTLBConflict, spec.EvCFGConflict:
		return true
	}
	return false
}

// recordsATS reports whether such an event is recorded for a kind of request (6.3.12, REC_CFG_ATS).
func (u *Unit) recordsATS(event uint64, typ emu.ReqType) bool {
	cr2 := u.reg.Get(rCR2)
	if event == spec.EvBadStreamID && typ == emu.TranslationReq && !spec.Cr2RECINVSID.On(cr2) {
		return false
	}
	return spec.Cr2RecCfgATS.On(cr2)
}

// atsFault answers a translation request that met a fault. It returns true if no event is recorded whatever
// the configuration: translation faults are completions without rights (3.9.1).
func (u *Unit) atsFault(t *emu.Txn) bool {
	f := &t.Res.Fault
	event := eventOf(f.Code)
	if isTranslationFault(event) {
		withoutRights(&t.Req, &t.Res)
		return true
	}
	f.Abort = isConfigFault(event) || event == spec.EvWalkEABT
	return false
}

// atsRequest are the fields of F_BAD_ATS_TREQ that say what was asked for.
func atsRequest(q *emu.Request) uint64 {
	return spec.EvtATSSpan.Put(1) | spec.EvtATSR.Mask() | spec.EvtATSW.PutBool(q.Access&emu.NoWrite == 0) |
		spec.EvtATSExec.PutBool(q.PASID != emu.NoPASID && q.Access&emu.Exec != 0) | spec.EvtATSPriv.PutBool(privOf(q) != 0)
}

// itag is an ITag: an invalidation request that a device has not answered, while it is busy.
type itag struct {
	Busy bool
	SID  uint32
}

// outstanding returns how many invalidation requests are not answered.
func (u *Unit) outstanding() (n int) {
	for i := range u.s.ITags {
		if u.s.ITags[i].Busy {
			n++
		}
	}
	return n
}

// atsS is the size flag of an ATS invalidation request (PCIe 10.3.1), which has the address in 63:12.
const atsS = 1 << 11

// cmdATCInv executes ATC_INV, 4.5.1: it sends the request under a free ITag and goes on. It waits while
// there is none.
func cmdATCInv(u *Unit, t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	if !u.on {
		cmdSkip(u, t)
		return
	}
	tag := -1
	for i := range u.s.ITags {
		if !u.s.ITags[i].Busy {
			tag = i
			break
		}
	}
	if tag < 0 {
		u.s.CmdWaits = true
		t.Park(StepCommandATS, stCmdAgain)
		return
	}
	u.cmdConsumed()
	sid := spec.CmdSID.Of(w0)
	u.s.ITags[tag] = itag{Busy: true, SID: uint32(sid)}
	p := emu.NoPASID
	lg2 := emu.PageShift + uint8(spec.AtcSize.Of(w1))
	body := w1 & spec.CmdAddr.Mask() &^ ones(lg2)
	if lg2 > emu.PageShift {
		body |= ones(lg2-1)&^(emu.PageSize-1) | atsS
	}
	if spec.CmdSSV.On(w0) {
		p = emu.PASID(spec.CmdSSID.Of(w0))
		body |= spec.AtcG.Of(w0)
	}
	a := &t.Act
	a.Op, a.Msg, a.Step, a.N = emu.OpSend, emu.MsgATSInv, StepCommandATS, uint32(tag)
	a.Key = emu.Key{Tag: emu.MakeTag(0, 0, p), Addr: sid}
	a.Data = [4]uint64{body}
	t.State = stCmdNext
}

// ATSEnded implements emu.ATSUnit. One that a device has not answered in time stops the queue at the next
// SYNC (7.1).
func (u *Unit) ATSEnded(source emu.SourceID, tag uint8, completed bool) emu.Wake {
	g := &u.s.ITags[tag%emu.MaxITags]
	if !g.Busy || emu.SourceID(g.SID) != source {
		return 0
	}
	*g = itag{}
	u.s.TimedOut = u.s.TimedOut || !completed
	if !u.s.CmdWaits {
		return 0
	}
	return EngineCommand.Set()
}

// UnexpectedATSCompletion implements emu.ATSUnit: nobody is told.
func (u *Unit) UnexpectedATSCompletion(emu.SourceID) emu.Wake { return 0 }
