package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Device-TLBs, chapter 4: translation and translated requests, invalidation requests and what becomes
// of them.

// noWrite reports whether q is a translation request that will not write (4.1.1).
func (u *Unit) noWrite(q *emu.Request) bool {
	return q.Type == emu.TranslationReq && q.Access&emu.NoWrite != 0 && u.cfg.NWFS
}

// completion makes the result of a translation request what its completion says (4.2.3): rights as
// far as they concern the request, and with snoop that requests which use it must snoop. It leaves
// other requests alone.
func (u *Unit) completion(t *emu.Txn, snoop bool) {
	if t.Req.Type == emu.TranslationReq {
		u.translationCompletion(t, snoop)
	}
}

// translationCompletion is completion of a translation request.
func (u *Unit) translationCompletion(t *emu.Txn, snoop bool) {
	q, r := &t.Req, &t.Res
	perm := r.Perm & emu.RW
	if u.noWrite(q) {
		perm &^= emu.Write
	}
	x := r.Perm&emu.Exec != 0 || t.Tag.Class() == ClassSS && !ssee(t) || t.Tag.Class() == ClassPT
	if x && q.PASID != emu.NoPASID && q.Access&emu.Exec != 0 && perm&emu.Read != 0 {
		perm |= emu.Exec
	}
	if perm == 0 {
		withoutRights(q, r)
		return
	}
	if privileged(q) {
		perm |= emu.Priv
	}
	r.Perm = perm
	r.Snoop = snoop || scalable(t) && spec.PasidPGSNP.On(t.Entry[1])
}

// privileged reports whether the rights of privileged mode are asked for.
func privileged(q *emu.Request) bool { return q.PASID != emu.NoPASID && q.Access&emu.Priv != 0 }

// withoutRights is the completion of a translation request with R=W=U=S=0.
func withoutRights(q *emu.Request, r *emu.Result) {
	r.Status, r.PA, r.Perm, r.Lg2, r.Snoop = emu.OK, emu.PA(q.Addr), 0, emu.PageShift, false
	if privileged(q) {
		r.Perm = emu.Priv
	}
}

// unsupported are the reasons for which a translation request is completed as Unsupported Request; for
// all others that block it, it is completed as Completer Abort (table 30).
var unsupported = [256]bool{
	FaultRootAbsent: true, FaultContextAbsent: true, FaultBlockedATS: true, FaultLegacyPASID: true, FaultAbortMode: true, FaultExecute: true,
	FaultRootAbsentSM: true, FaultContextAbsentSM: true, FaultBlockedATSSM: true, FaultBlockedPASID: true,
	FaultPASIDRange: true, FaultRIDPASID: true, FaultPASIDSize: true,
}

// aborted reports whether q, blocked for reason c, is completed as Completer Abort.
func aborted(q *emu.Request, c uint16) bool {
	return q.Type == emu.TranslationReq && (c > 0xff || !unsupported[c]) && c != FaultDisabled
}

// outputInterrupt reports whether an output address is in the interrupt range; the translation of a
// translation request must not overlap it anywhere (table 30, SGN.8.2).
func outputInterrupt(q *emu.Request, pa uint64, lg2 uint8) bool {
	if q.Type != emu.TranslationReq {
		return interruptRange(pa)
	}
	m := reg.Ones(lg2)
	return pa&^m <= 0xfeef_ffff && pa|m >= 0xfee0_0000
}

// atsInterruptRange answers a translation request without PASID for the interrupt range (table 30, S.1
// and S.2): success, write only, to be used untranslated, or without rights for one that will not
// write.
func (u *Unit) atsInterruptRange(t *emu.Txn) bool {
	return t.Req.Type == emu.TranslationReq && u.toInterruptRange(t)
}

// toInterruptRange is atsInterruptRange of a translation request.
func (u *Unit) toInterruptRange(t *emu.Txn) bool {
	q, r := &t.Req, &t.Res
	if q.PASID != emu.NoPASID || !interruptRange(uint64(q.Addr)) {
		return false
	}
	withoutRights(q, r)
	if !u.noWrite(q) {
		r.Perm = emu.Write | emu.UntranslatedOnly
	}
	t.Done(StepInterruptRange)
	return true
}

// passCompletion answers a translation request for an entry that passes addresses through: with as
// large a page as the unit has that is clear of the interrupt range (4.2.3).
func (u *Unit) passCompletion(t *emu.Txn) {
	q, r := &t.Req, &t.Res
	if q.Type != emu.TranslationReq {
		return
	}
	r.Lg2 = emu.PageShift
	switch {
	case u.cfg.SSLPS&uint8(spec.SSLPS1G) != 0 || u.cfg.FS1GP:
		r.Lg2 = 30
	case u.cfg.SSLPS&uint8(spec.SSLPS2M) != 0 || u.cfg.FSTS:
		r.Lg2 = 21
	}
	for r.Lg2 > emu.PageShift && outputInterrupt(q, uint64(q.Addr), r.Lg2) {
		r.Lg2 -= 9
	}
	u.completion(t, false)
}

// translated lets a request pass whose address came from a translation completion, 4.2.5.
func (u *Unit) translated(t *emu.Txn) {
	addr := uint64(t.Req.Addr)
	switch {
	case addr&u.lim.hawMask != 0:
		u.fault(t, code(t, FaultWidth, FaultHAW), StepTranslated, 0)
	case interruptRange(addr):
		u.fault(t, code(t, FaultOutputRange, FaultOutputRangeSM), StepOutputRange, 0)
	case u.protected(&t.Req):
		u.fault(t, FaultProtected, StepProtected, 0)
	default:
		pass(&t.Req, &t.Res)
		t.Done(StepTranslated)
	}
}

// itag is an ITag: an invalidation request that a device has not answered, while it is busy.
type itag struct {
	Busy bool
	SID  uint16 // device asked
	PF   uint16 // physical function that it shares its queue with
}

// anyDevice selects the requests to all devices.
const anyDevice = -1

// outstanding returns how many invalidation requests to a physical function are not answered.
func (u *Unit) outstanding(pf int) (n uint64) {
	for i := range u.s.ITags {
		if g := &u.s.ITags[i]; g.Busy && (pf == anyDevice || int(g.PF) == pf) {
			n++
		}
	}
	return n
}

// The message of an ATS invalidation request (PCIe 10.3.1), as OpSend carries it in Data[0]:
// address in 63:12, S in bit 11, G in bit 0. The PASID is in the tag of Act.Key.
const (
	atsS = 1 << 11
	atsG = 1 << 0
)

// devTLB is an invalidation of a device-TLB, whichever descriptor asks for it.
type devTLB struct {
	sid, pf, mip uint64
	pasid        emu.PASID
	body         uint64
}

func (u *Unit) descDevTLB(t *emu.Txn) {
	w, a := t.Entry[0], t.Entry[1]
	q := devTLB{
		sid: spec.DtSID.Of(w), mip: spec.DtMIP.Of(w), pasid: emu.NoPASID, body: a & addrMask,
		pf: spec.DtPFSIDHi.Of(w)<<4 | spec.DtPFSIDLo.Of(w),
	}
	if spec.DtS.On(a) {
		q.body |= atsS
	}
	u.sendInvalidation(t, &q)
}

func (u *Unit) descPASIDDevTLB(t *emu.Txn) {
	w, a := t.Entry[0], t.Entry[1]
	q := devTLB{
		sid: spec.PdSID.Of(w), mip: spec.PdMIP.Of(w), pasid: emu.PASID(spec.PdPASID.Of(w)), body: a & addrMask,
		pf: spec.PdPFSIDHi.Of(w)<<4 | spec.PdPFSIDLo.Of(w),
	}
	if spec.PdS.On(a) {
		q.body |= atsS
	}
	if spec.PdG.On(a) {
		q.body |= atsG
	}
	u.sendInvalidation(t, &q)
}

// sendInvalidation sends the request under a free ITag and goes on, 4.3. It waits while there is
// none, or while as many as MIP says are pending at the physical function: with DIT that throttles,
// without it MIP is a hint that is not taken.
func (u *Unit) sendInvalidation(t *emu.Txn, q *devTLB) {
	if !u.cfg.DIT {
		q.pf, q.mip = q.sid, 0
	}
	tag := -1
	for i := range u.s.ITags {
		if !u.s.ITags[i].Busy {
			tag = i
			break
		}
	}
	if tag < 0 || q.mip != 0 && u.outstanding(int(q.pf)) >= q.mip {
		u.queueWait(t)
		return
	}
	u.s.ITags[tag] = itag{Busy: true, SID: uint16(q.sid), PF: uint16(q.pf)}
	a := &t.Act
	a.Op, a.Msg, a.Step = emu.OpSend, emu.MsgATSInv, StepQueueDevTLB
	a.Key = emu.Key{Tag: emu.MakeTag(0, 0, q.pasid), Addr: q.sid}
	a.N = uint32(tag)
	a.Data = [4]uint64{q.body}
	t.State = stQueueNext
}

// ATSEnded implements emu.ATSUnit. While hardware waits for devices it goes on fetching, so by the
// time that one has run out the descriptors up to the tail, or up to a fence, have been fetched: they
// are executed, but waits among them never complete (6.5.2.11). A queue that stands still has
// fetched none.
func (u *Unit) ATSEnded(source emu.SourceID, tag uint8, completed bool) emu.Wake {
	g := &u.s.ITags[tag%emu.MaxITags]
	if !g.Busy || emu.SourceID(g.SID) != source {
		if completed {
			return u.UnexpectedATSCompletion(source)
		}
		return 0
	}
	g.Busy = false
	var w emu.Wake
	if !completed {
		w = u.deviceTimeout(g.SID)
	}
	if u.s.QueueWaits {
		w |= EngineQueue.Set()
	}
	return w
}

func (u *Unit) deviceTimeout(sid uint16) emu.Wake {
	if u.s.TimedOut {
		return 0
	}
	u.s.TimeoutSID = sid
	if !u.s.QueueBusy {
		return u.timeoutStatus()
	}
	u.s.TimedOut = true
	u.s.TimeoutEnd = u.reg.Get(rIQT)
	return 0
}
