package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Device IOTLBs, 2.1.3 and 2.4.4: what translation requests are answered, invalidation requests and
// what becomes of them.

// completion makes the result of a translation request what its completion says: rights as far as
// they concern the request, U, and that requests must snoop. It leaves other requests alone.
func completion(q *emu.Request, r *emu.Result, attr uint64) {
	if q.Type == emu.TranslationReq {
		translationCompletion(q, r, attr)
	}
}

// translationCompletion is completion of a translation request.
func translationCompletion(q *emu.Request, r *emu.Result, attr uint64) {
	if q.PASID == emu.NoPASID || q.Access&emu.Exec == 0 {
		r.Perm &^= emu.Exec
	}
	if r.Perm&emu.RW == 0 {
		withoutRights(q, r)
		return
	}
	if tlbU.On(attr) {
		r.Perm |= emu.UntranslatedOnly
	}
	r.Snoop = tlbFC.On(attr)
}

// withoutRights is the completion of a translation request with R=W=0.
func withoutRights(q *emu.Request, r *emu.Result) {
	r.Status, r.PA, r.Perm, r.Lg2, r.Snoop = emu.OK, emu.PA(q.Addr), 0, emu.PageShift, false
}

// passCompletion answers a translation request whose address is not changed: page by page, since what
// lets it pass need not reach further.
func passCompletion(q *emu.Request, r *emu.Result) {
	if q.Type != emu.TranslationReq {
		return
	}
	r.Lg2 = emu.PageShift
	completion(q, r, 0)
}

// itag is an ITag: an invalidation request that a device has not answered, while it is busy.
type itag struct {
	Busy    bool
	Expired bool // the time for it has run out, the event is still to be logged
	SID     uint16
	Queue   uint16 // QueueID
	At      uint64 // address of the command
}

// anyQueue selects the requests of all queues.
const anyQueue = -1

// outstanding returns how many invalidation requests of a queue are not answered.
func (u *Unit) outstanding(queue int) (n uint64) {
	for i := range u.s.ITags {
		if g := &u.s.ITags[i]; g.Busy && (queue == anyQueue || int(g.Queue) == queue) {
			n++
		}
	}
	return n
}

// atsS is the size flag of an ATS invalidation request (PCIe 10.3.1), which has the address in 63:12.
const atsS = 1 << 11

// cmdIOTLB executes INVALIDATE_IOTLB_PAGES, 2.4.4: it sends the request under a free ITag and goes on.
// It waits while there is none, or while as many as MaxPend says are pending in the queue; MaxPend 0
// sets no bound.
func (u *Unit) cmdIOTLB(t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	tag := -1
	for i := range u.s.ITags {
		if !u.s.ITags[i].Busy {
			tag = i
			break
		}
	}
	queue, most := spec.ItQueueID.Of(w0), spec.ItMaxPend.Of(w0)
	if tag < 0 || most != 0 && u.outstanding(int(queue)) >= most {
		u.cmdPark(t)
		return
	}
	u.s.ITags[tag] = itag{Busy: true, SID: uint16(spec.CmdDeviceID.Of(w0)), Queue: uint16(queue), At: uint64(t.At)}
	p, body := emu.NoPASID, w1&spec.CmdAddr.Mask()
	if spec.CmdGN.On(w1) {
		p = emu.PASID(spec.IotlbPASID(w0))
	}
	if spec.CmdS.On(w1) {
		body |= atsS
	}
	a := &t.Act
	a.Op, a.Msg, a.Step, a.N = emu.OpSend, emu.MsgATSInv, StepCommandIOTLB, uint32(tag)
	a.Key = emu.Key{Tag: emu.MakeTag(0, 0, p), Addr: spec.CmdDeviceID.Of(w0)}
	a.Data = [4]uint64{body}
	t.State = stCmdNext
}

// ATSEnded implements emu.ATSUnit. A request that a device has not answered in time is reported, and
// counts as done then; without a time-out (InvTimeOut=0) nothing is reported.
func (u *Unit) ATSEnded(source emu.SourceID, tag uint8, completed bool) emu.Wake {
	g := &u.s.ITags[tag%emu.MaxITags]
	if !g.Busy || g.Expired || emu.SourceID(g.SID) != source {
		return 0
	}
	if !completed && u.control(spec.CtlInvTimeOut) {
		g.Expired = true
		return EngineTimeout.Set()
	}
	g.Busy = false
	return u.atsWake()
}

// atsWake wakes a command engine that waits for devices.
func (u *Unit) atsWake() emu.Wake {
	if !u.s.CmdWaits {
		return 0
	}
	return EngineCommand.Set()
}

// UnexpectedATSCompletion implements emu.ATSUnit: nobody is told.
func (u *Unit) UnexpectedATSCompletion(emu.SourceID) emu.Wake { return 0 }

// timeoutNext logs IOTLB_INV_TIMEOUT for the requests whose time has run out, 2.5.8.
func (u *Unit) timeoutNext(t *emu.Txn) {
	for i := range u.s.ITags {
		g := &u.s.ITags[i]
		if !g.Expired {
			continue
		}
		t.Entry[4] = spec.EvtCode.Put(spec.EventIOTLBTimeout) | spec.EvtDeviceID.Put(uint64(g.SID))
		t.Entry[5] = g.At
		t.Aux[0] = uint64(i)
		u.writeLog(t, logEvents, stTimeoutLogged)
		return
	}
	t.Done(StepTimeout)
}

func (u *Unit) timeoutLogged(t *emu.Txn) {
	u.s.ITags[t.Aux[0]%emu.MaxITags] = itag{}
	t.Wake |= u.atsWake()
	u.timeoutNext(t)
}
