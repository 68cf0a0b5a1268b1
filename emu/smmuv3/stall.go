package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// The stall model, 3.12.2: a transaction that met a translation fault is held until software says RESUME or
// STALL_TERM. Its event is never lost: while the queue cannot take it, or no STAG is free, the transaction
// waits and is translated anew then, so that it obeys invalidations that came meanwhile.

// Classes of held transactions: those whose event software has, and those that wait for room.
const (
	heldStalled emu.Class = 1
	heldWaiting emu.Class = 2
)

// What becomes of a held transaction: Act.Data[0] of OpResume.
const (
	verdictNone uint64 = iota
	verdictRetry
	verdictAbort
	verdictZero // reads are zero, writes ignored
)

// stalled is a STAG in use.
type stalled struct {
	Used    bool
	SID     uint32
	Verdict uint8 // of software that was quicker than the transaction
}

// auxSTAG is the STAG of a stalled transaction, in Aux[0]; its CD is not needed any more.
const auxSTAG reg.Bits = 59_040

// stall holds t, whose fault is in t.Res.
func (u *Unit) stall(t *emu.Txn) {
	tag := u.unusedSTAG()
	if tag < 0 {
		u.waitForRoom(t)
		return
	}
	u.stalls[tag] = stalled{Used: true, SID: uint32(t.Req.Source)}
	e := u.eventRecord(t)
	e[1] |= spec.EvtStall.Mask() | spec.EvtSTAG.Put(uint64(tag))
	copy(t.Entry[4:], e[:])
	setAux(t, auxSTAG, uint64(tag))
	u.writeRecord(t, ringEvents, stStallRecorded)
}

// unusedSTAG returns a STAG that is free, or -1.
func (u *Unit) unusedSTAG() int {
	for i := range u.stalls {
		if !u.stalls[i].Used {
			return i
		}
	}
	return -1
}

// stallRecorded holds a transaction whose event is in the queue.
func (u *Unit) stallRecorded(t *emu.Txn) {
	tag := auxSTAG.Of(t.Aux[0])
	if t.Aux[3]&(recLost.Mask()|recOff.Mask()) != 0 {
		t.Wake |= u.freeSTAG(tag)
		u.waitForRoom(t)
		return
	}
	if v := u.stalls[tag].Verdict; v != 0 {
		t.In[0] = uint64(v)
		u.stallEnds(t)
		return
	}
	hold(t, emu.Key{Tag: emu.MakeTag(heldStalled, uint32(tag), emu.NoPASID), Addr: uint64(t.Req.Source)}, stStallEnds)
}

// hold keeps t until an OpResume for its key. Invalidations do not concern it: it has nothing that it will
// use again.
func hold(t *emu.Txn, k emu.Key, next uint16) {
	t.Known = 0
	a := &t.Act
	a.Op, a.Key, a.Step = emu.OpHold, k, StepStall
	t.State = next
}

// stallEnds goes on as software has decided.
func (u *Unit) stallEnds(t *emu.Txn) {
	t.Wake |= u.freeSTAG(auxSTAG.Of(t.Aux[0]))
	u.letGo(t)
}

// letGo ends t, or translates it anew.
func (u *Unit) letGo(t *emu.Txn) {
	if t.In[0] == verdictRetry {
		marked, wake := t.Marked, t.Wake
		t.Begin(&t.Req, stFrontEnd)
		t.Marked, t.Wake = marked, wake
		u.frontEnd(t)
		return
	}
	t.Res.Fault.RAZ = t.In[0] == verdictZero
	t.Done(StepStall)
}

// waitForRoom holds t until the event queue can take a record, or a STAG is free.
func (u *Unit) waitForRoom(t *emu.Txn) {
	if u.eventsFit() && u.unusedSTAG() >= 0 { // by now
		t.In[0] = verdictRetry
		u.letGo(t)
		return
	}
	u.s.Waiting = true
	hold(t, emu.Key{Tag: emu.MakeTag(heldWaiting, 0, emu.NoPASID), Addr: uint64(t.Req.Source)}, stLetGo)
}

// freeSTAG makes a STAG free for the next one, who needs room in the queue as well.
func (u *Unit) freeSTAG(tag uint64) emu.Wake {
	u.stalls[tag%uint64(len(u.stalls))] = stalled{}
	return u.eventsWritable()
}

// room wakes the engine that lets waiting transactions try again.
func (u *Unit) room() emu.Wake {
	if !u.s.Waiting {
		return 0
	}
	return EngineStall.Set()
}

// eventsFit reports whether the event queue can take a record.
func (u *Unit) eventsFit() bool { return u.ringOn(&rings[ringEvents]) && !u.full(&eventq) }

// eventsWritable is room when the event queue may have become writable.
func (u *Unit) eventsWritable() emu.Wake {
	if !u.eventsFit() {
		return 0
	}
	return u.room()
}

// stallNext lets waiting transactions try again.
func (u *Unit) stallNext(t *emu.Txn) {
	u.s.Waiting = false
	t.Act.Sel = emu.Selector{Match: emu.MatchClass, Classes: 1 << heldWaiting}
	resume(t, verdictRetry, stStallDone)
}

func (u *Unit) stallDone(t *emu.Txn) { t.Done(StepStall) }

// resume asks for what t.Act.Sel selects to go on with a verdict.
func resume(t *emu.Txn, verdict uint64, next uint16) {
	a := &t.Act
	a.Op, a.Step, a.Data = emu.OpResume, StepStall, [4]uint64{verdict}
	t.State = next
}

// cmdResume executes RESUME, 4.6.1. A STAG that is not in use, or not by that stream, is no error.
func cmdResume(u *Unit, t *emu.Txn) {
	w0 := t.Entry[0]
	u.cmdConsumed()
	tag, sid := spec.ResumeSTAG.Of(t.Entry[1]), cmdSource(&t.Entry)
	if tag >= uint64(len(u.stalls)) || !u.stalls[tag].Used || emu.SourceID(u.stalls[tag].SID) != sid {
		u.cmdNext(t)
		return
	}
	verdict := verdictAbort
	switch {
	case spec.ResumeAc.On(w0):
		verdict = verdictRetry
	case !spec.ResumeAb.On(w0) && !u.cfg.TermModel:
		verdict = verdictZero
	}
	u.stalls[tag].Verdict = uint8(verdict)
	t.Act.Sel = emu.Selector{
		Match: emu.MatchClass | emu.MatchSource | emu.MatchDomain, Classes: 1 << heldStalled, Source: sid, Domain: uint32(tag),
	}
	resume(t, verdict, stCmdNext)
}

// cmdStallTerm executes STALL_TERM, 4.6.2.
func cmdStallTerm(u *Unit, t *emu.Txn) {
	u.cmdConsumed()
	sid := cmdSource(&t.Entry)
	for i := range u.stalls {
		if s := &u.stalls[i]; s.Used && emu.SourceID(s.SID) == sid {
			s.Verdict = uint8(verdictAbort)
		}
	}
	t.Act.Sel = emu.Selector{Match: emu.MatchSource, Source: sid}
	resume(t, verdictAbort, stCmdNext)
}

// endStalls terminates all that is held, when SMMUEN becomes 0 (6.3.9).
func (u *Unit) endStalls(t *emu.Txn, next uint16) {
	for i := range u.stalls {
		u.stalls[i].Verdict = uint8(verdictAbort)
	}
	u.s.Waiting = false
	t.Act.Sel = emu.Selector{}
	resume(t, verdictAbort, next)
}
