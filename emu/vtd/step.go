package vtd

import "github.com/iommulab/iommulab/emu"

// The states of a transaction: which step consumes the next answer.
const (
	stEnded uint16 = iota
	stFrontEnd
	stContextProbed
	stContextSlot
	stContextWalker
	stRoot
	stContext
	stSMContext0
	stSMContext1
	stContextFilled
	stContextReady
	stPASIDProbed
	stPASIDSlot
	stPASIDWalker
	stPASIDDir
	stPASID0
	stPASID1
	stPASID2
	stPASID3
	stPASIDFilled
	stPASIDReady
	stTLBProbed
	stMissSlot
	stMissWalker
	stWalkProbed
	stSSEntry
	stSSUpdated
	stSSDescend
	stTLBFilled
	stFaultFilled
	stFaultRecord
	stCommandNext
	stCommandBegun
	stCommandMarked
	stCommandDrained
	stCommandStopped
	stQueueNext
	stQueueFetched
	stQueueDecoded
	stQueueSecond
	stQueueDevTLB
	stWaitDrained
	stWaitWritten
	stEventNext
	stEventSent
)

// jobStart is the first state of each engine.
var jobStart = [8]uint16{
	EngineCommand:    stCommandNext,
	EngineQueue:      stQueueNext,
	EngineFaultEvent: stEventNext,
	EngineIQEvent:    stEventNext,
}

// Start implements emu.Unit.
func (u *Unit) Start(t *emu.Txn, q *emu.Request) {
	req := *q // q may lie in t
	*t = emu.Txn{}
	t.Req, t.State = req, stFrontEnd
	if q.Type == emu.Job {
		t.State = jobStart[q.Job&7]
		if q.Job == EngineQueue {
			u.s.QueueBusy = true
		}
	}
}

// Step implements emu.Unit.
func (u *Unit) Step(t *emu.Txn) {
	switch t.State {
	case stFrontEnd:
		u.frontEnd(t)
	case stContextProbed:
		u.contextProbed(t)
	case stContextSlot:
		u.contextSlot(t)
	case stContextWalker:
		u.fetchRoot(t)
	case stRoot:
		u.rootEntry(t)
	case stContext:
		u.contextEntry(t)
	case stSMContext0:
		u.smContextChunk0(t)
	case stSMContext1:
		u.smContextChunk1(t)
	case stContextFilled:
		u.contextFilled(t)
	case stContextReady:
		u.contextReady(t)
	case stPASIDProbed:
		u.pasidProbed(t)
	case stPASIDSlot:
		u.pasidSlot(t)
	case stPASIDWalker:
		u.fetchPASIDDir(t)
	case stPASIDDir:
		u.pasidDirEntry(t)
	case stPASID0, stPASID1, stPASID2, stPASID3:
		u.pasidChunk(t)
	case stPASIDFilled:
		u.pasidFilled(t)
	case stPASIDReady:
		u.pasidReady(t)
	case stTLBProbed:
		u.tlbProbed(t)
	case stMissSlot:
		u.missSlot(t)
	case stMissWalker:
		u.walkBegin(t)
	case stWalkProbed:
		u.walkProbed(t)
	case stSSEntry:
		u.ssEntryRead(t)
	case stSSUpdated:
		u.ssUpdated(t)
	case stSSDescend:
		u.ssFetch(t)
	case stTLBFilled:
		u.tlbFilled(t)
	case stFaultFilled:
		u.faultFilled(t)
	case stFaultRecord:
		u.faultRecord(t)
	case stCommandNext:
		u.commandNext(t)
	case stCommandBegun:
		u.commandBegun(t)
	case stCommandMarked:
		u.commandMarked(t)
	case stCommandDrained:
		u.commandDrained(t)
	case stCommandStopped:
		u.commandStopped(t)
	case stQueueNext:
		u.queueNext(t)
	case stQueueFetched:
		u.queueFetched(t)
	case stQueueDecoded:
		u.queueDecoded(t)
	case stQueueSecond:
		u.queueSecond(t)
	case stQueueDevTLB:
		u.queueDevTLB(t)
	case stWaitDrained:
		u.waitDrained(t)
	case stWaitWritten:
		u.waitWritten(t)
	case stEventNext:
		u.eventNext(t)
	case stEventSent:
		u.eventSent(t)
	default:
		done(t, StepNone) // a restored or foreign transaction must not hang its executor
	}
}
