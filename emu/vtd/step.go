package vtd

import "github.com/iommulab/iommulab/emu"

// The states of a transaction: which step consumes the next answer.
const (
	stEnded = emu.StateEnded + iota
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
	stFSWalkProbed
	stFSEntry
	stFSUpdated
	stFSDescend
	stStage2Probed
	stWalk2Probed
	stStage2Entry
	stStage2Updated
	stStage2Descend
	stStage2Filled
	stTLBFilled
	stIRTEProbed
	stIRTEWalker
	stIRTE
	stIRTEFilled
	stIRTEReady
	stIRQOrdered
	stPostOrdered
	stPID
	stPIRSet
	stPIDControl
	stPIDNotified
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
	stQueueAgain
	stWaitMarked
	stWaitDrained
	stWaitWritten
	stEventNext
	stEventSent
	stPageLog
	stPageInvalidated
	stPageSecond
	stPageWritten
	stPageReleased
	stPageResponded
	numStates
)

// maxStates is the size of the table of states: a power of two, so that a masked state needs no
// bounds check.
const maxStates = 128

// jobStart is the first state of each engine.
var jobStart = [8]uint16{
	EngineCommand:    stCommandNext,
	EngineQueue:      stQueueNext,
	EngineFaultEvent: stEventNext,
	EngineIQEvent:    stEventNext,
	EnginePageEvent:  stEventNext,
	EnginePerfEvent:  stEventNext,
}

// Start implements emu.Unit. q may lie in t.
func (u *Unit) Start(t *emu.Txn, q *emu.Request) {
	if q.Type == emu.Job {
		u.startJob(t, q)
		return
	}
	t.Begin(q, stFrontEnd)
}

func (u *Unit) startJob(t *emu.Txn, q *emu.Request) {
	t.BeginJob(q, jobStart[q.Job&7])
	if q.Job == EngineQueue {
		u.s.QueueBusy = true
	}
}

// onAnswer is the method that consumes the answer in each state.
var onAnswer = [maxStates]func(*Unit, *emu.Txn){
	stEnded:          (*Unit).ended,
	stFrontEnd:       (*Unit).frontEnd,
	stContextProbed:  (*Unit).contextProbed,
	stContextSlot:    (*Unit).contextSlot,
	stContextWalker:  (*Unit).fetchRoot,
	stRoot:           (*Unit).rootEntry,
	stContext:        (*Unit).contextEntry,
	stSMContext0:     (*Unit).smContextChunk0,
	stSMContext1:     (*Unit).smContextChunk1,
	stContextFilled:  (*Unit).contextFilled,
	stContextReady:   (*Unit).contextReady,
	stPASIDProbed:    (*Unit).pasidProbed,
	stPASIDSlot:      (*Unit).pasidSlot,
	stPASIDWalker:    (*Unit).fetchPASIDDir,
	stPASIDDir:       (*Unit).pasidDirEntry,
	stPASID0:         (*Unit).pasidChunk,
	stPASID1:         (*Unit).pasidChunk,
	stPASID2:         (*Unit).pasidChunk,
	stPASID3:         (*Unit).pasidChunk,
	stPASIDFilled:    (*Unit).pasidFilled,
	stPASIDReady:     (*Unit).pasidReady,
	stTLBProbed:      (*Unit).tlbProbed,
	stMissSlot:       (*Unit).missSlot,
	stMissWalker:     (*Unit).walkBegin,
	stWalkProbed:     (*Unit).walkProbed,
	stSSEntry:        (*Unit).ssEntryRead,
	stSSUpdated:      (*Unit).ssUpdated,
	stSSDescend:      (*Unit).ssDescend,
	stFSWalkProbed:   (*Unit).fsWalkProbed,
	stFSEntry:        (*Unit).fsEntryRead,
	stFSUpdated:      (*Unit).fsUpdated,
	stFSDescend:      (*Unit).fsDescend,
	stStage2Probed:   (*Unit).stage2Probed,
	stWalk2Probed:    (*Unit).walk2Probed,
	stStage2Entry:    (*Unit).stage2EntryRead,
	stStage2Updated:  (*Unit).stage2Updated,
	stStage2Descend:  (*Unit).stage2Descend,
	stStage2Filled:   (*Unit).stage2Filled,
	stTLBFilled:      (*Unit).tlbFilled,
	stIRTEProbed:     (*Unit).irteProbed,
	stIRTEWalker:     (*Unit).fetchIRTE,
	stIRTE:           (*Unit).irteFetched,
	stIRTEFilled:     (*Unit).irteFilled,
	stIRTEReady:      (*Unit).irteReady,
	stIRQOrdered:     (*Unit).interruptOrdered,
	stPostOrdered:    (*Unit).postOrdered,
	stPID:            (*Unit).pidFetched,
	stPIRSet:         (*Unit).pirSet,
	stPIDControl:     (*Unit).pidNotify,
	stPIDNotified:    (*Unit).pidNotified,
	stFaultFilled:    (*Unit).faultFilled,
	stFaultRecord:    (*Unit).faultRecord,
	stCommandNext:    (*Unit).commandNext,
	stCommandBegun:   (*Unit).commandBegun,
	stCommandMarked:  (*Unit).commandMarked,
	stCommandDrained: (*Unit).commandDrained,
	stCommandStopped: (*Unit).commandStopped,
	stQueueNext:      (*Unit).queueNext,
	stQueueFetched:   (*Unit).queueFetched,
	stQueueDecoded:   (*Unit).queueDecoded,
	stQueueSecond:    (*Unit).queueSecond,
	stQueueAgain:     (*Unit).queueAgain,
	stWaitMarked:     (*Unit).waitMarked,
	stWaitDrained:    (*Unit).waitDrained,
	stWaitWritten:    (*Unit).waitWritten,
	stEventNext:      (*Unit).eventNext,
	stEventSent:      (*Unit).eventSent,

	stPageLog:         (*Unit).pageLog,
	stPageInvalidated: (*Unit).pageWrite,
	stPageSecond:      (*Unit).pageSecond,
	stPageWritten:     (*Unit).pageWritten,
	stPageReleased:    (*Unit).pageReleased,
	stPageResponded:   (*Unit).pageResponded,
}

// Step implements emu.Unit.
func (u *Unit) Step(t *emu.Txn) {
	if t.State >= u.states {
		u.stepSlow(t)
		return
	}
	onAnswer[t.State%maxStates](u, t)
}

// ended keeps a restored or foreign transaction from hanging its executor.
func (u *Unit) ended(t *emu.Txn) { t.Done(StepNone) }
