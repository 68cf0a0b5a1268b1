package smmuv3

import "github.com/iommulab/iommulab/emu"

// The states of a transaction: which step consumes the next answer.
const (
	stEnded = emu.StateEnded + iota
	stFrontEnd
	stSTEProbed
	stSTESlot
	stNeighbour
	stSTEWalker
	stL1STDProbed
	stL1STD
	stSTEWord
	stSTEFilled
	stL1STDFilled
	stSTEReady
	stCDProbed
	stCDSlot
	stCDWalker
	stL1CDProbed
	stL1CD
	stCDWord
	stCDFilled
	stL1CDFilled
	stCDReady
	stTLBProbed
	stTLBOverlap
	stTLBTables
	stStage2Overlap
	stStage2Tables
	stMissSlot
	stMissWalker
	stS1WalkProbed
	stS1Entry
	stS1Marked
	stS1Descend
	stS2WalkProbed
	stS2Entry
	stS2Marked
	stS2Descend
	stStage2Probed
	stStage2Filled
	stTLBFilled
	stFaultFilled
	stFaultRecorded
	stRecordSlot
	stRecordReady
	stRecordWritten
	stRecordReleased
	stStallRecorded
	stStallEnds
	stLetGo
	stStallNext
	stStallDone
	stPRIRecorded
	stPRIResponded
	stHinted
	stCmdNext
	stCmdFetched
	stCmdDecoded
	stCmdSelect
	stCmdAgain
	stSyncDrained
	stSyncWired
	stSyncSignalled
	stMessageNext
	stMessageWired
	stMessageSent
	stControlNext
	stUpdateDelayed
	stUpdateMarked
	stUpdated
	stUpdateDone
	stATOSNext
	stATOSBegin
	numStates
)

// maxStates is the size of the table of states: a power of two, so that a masked state needs no bounds
// check.
const maxStates = 128

// jobStart is the first state of each engine.
var jobStart = [8]uint16{
	EngineCommand: stCmdNext,
	EngineMessage: stMessageNext,
	EngineControl: stControlNext,
	EngineStall:   stStallNext,
	EngineGATOS:   stATOSNext,
	EngineVATOS:   stATOSNext,
}

// Start implements emu.Unit. q may lie in t.
func (u *Unit) Start(t *emu.Txn, q *emu.Request) {
	if q.Type == emu.Job {
		t.BeginJob(q, jobStart[q.Job&7])
		u.s.CmdBusy = u.s.CmdBusy || q.Job == EngineCommand
		return
	}
	t.Begin(q, stFrontEnd)
	t.Req.Job = 0 // which a translation of ATOS has
}

// onAnswer is the method that consumes the answer in each state.
var onAnswer [maxStates]func(*Unit, *emu.Txn)

func init() { // in a function: the methods that go on by themselves use the table
	onAnswer = [maxStates]func(*Unit, *emu.Txn){
		stEnded:          (*Unit).ended,
		stFrontEnd:       (*Unit).frontEnd,
		stSTEProbed:      (*Unit).steProbed,
		stSTESlot:        (*Unit).steSlot,
		stNeighbour:      (*Unit).neighbourProbed,
		stSTEWalker:      (*Unit).fetchStream,
		stL1STDProbed:    (*Unit).l1stdProbed,
		stL1STD:          (*Unit).l1std,
		stSTEWord:        (*Unit).steWord,
		stSTEFilled:      (*Unit).steFilled,
		stL1STDFilled:    (*Unit).l1stdFilled,
		stSTEReady:       (*Unit).steReady,
		stCDProbed:       (*Unit).cdProbed,
		stCDSlot:         (*Unit).cdSlot,
		stCDWalker:       (*Unit).fetchContext,
		stL1CDProbed:     (*Unit).l1cdProbed,
		stL1CD:           (*Unit).l1cd,
		stCDWord:         (*Unit).cdWord,
		stCDFilled:       (*Unit).cdFilled,
		stL1CDFilled:     (*Unit).l1cdFilled,
		stCDReady:        (*Unit).cdReady,
		stTLBProbed:      (*Unit).tlbProbed,
		stTLBOverlap:     (*Unit).tlbOverlap,
		stTLBTables:      (*Unit).tlbTables,
		stStage2Overlap:  (*Unit).stage2Overlap,
		stStage2Tables:   (*Unit).stage2Tables,
		stMissSlot:       (*Unit).missSlot,
		stMissWalker:     (*Unit).walkBegin,
		stS1WalkProbed:   (*Unit).s1WalkProbed,
		stS1Entry:        (*Unit).s1Read,
		stS1Marked:       (*Unit).s1MarkedEntry,
		stS1Descend:      (*Unit).s1Descend,
		stS2WalkProbed:   (*Unit).s2WalkProbed,
		stS2Entry:        (*Unit).s2Read,
		stS2Marked:       (*Unit).s2MarkedEntry,
		stS2Descend:      (*Unit).s2Descend,
		stStage2Probed:   (*Unit).stage2Probed,
		stStage2Filled:   (*Unit).resolved,
		stTLBFilled:      (*Unit).tlbFilled,
		stFaultFilled:    (*Unit).raise,
		stFaultRecorded:  (*Unit).faultRecorded,
		stRecordSlot:     (*Unit).recordSlot,
		stRecordReady:    (*Unit).recordReady,
		stRecordWritten:  (*Unit).recordWritten,
		stRecordReleased: (*Unit).recordReleased,
		stStallRecorded:  (*Unit).stallRecorded,
		stStallEnds:      (*Unit).stallEnds,
		stLetGo:          (*Unit).letGo,
		stStallNext:      (*Unit).stallNext,
		stStallDone:      (*Unit).stallDone,
		stPRIRecorded:    (*Unit).priRecorded,
		stPRIResponded:   (*Unit).priResponded,
		stHinted:         (*Unit).hinted,
		stCmdNext:        (*Unit).cmdNext,
		stCmdFetched:     (*Unit).cmdFetched,
		stCmdDecoded:     (*Unit).cmdDecoded,
		stCmdSelect:      (*Unit).cmdSelect,
		stCmdAgain:       (*Unit).cmdAgain,
		stSyncDrained:    (*Unit).syncDrained,
		stSyncWired:      (*Unit).syncMessage,
		stSyncSignalled:  (*Unit).syncSignalled,
		stMessageNext:    (*Unit).messageNext,
		stMessageWired:   (*Unit).messageWired,
		stMessageSent:    (*Unit).messageSent,
		stControlNext:    (*Unit).controlNext,
		stUpdateDelayed:  (*Unit).updateDelayed,
		stUpdateMarked:   (*Unit).updateMarked,
		stUpdated:        (*Unit).updated,
		stUpdateDone:     (*Unit).updateDone,
		stATOSNext:       (*Unit).atosNext,
		stATOSBegin:      (*Unit).atosBegin,
		numStates:        (*Unit).ended,
		maxStates - 1:    (*Unit).ended,
	}
}

// Step implements emu.Unit.
func (u *Unit) Step(t *emu.Txn) {
	f := onAnswer[t.State%maxStates]
	if f == nil {
		f = (*Unit).ended
	}
	f(u, t)
	if u.pm.on {
		u.countsWalk(t)
	}
}

// goOn is the step of a state without a question before it.
func (u *Unit) goOn(t *emu.Txn, state uint16) {
	t.Ans, t.State = emu.AnsOK, state
	onAnswer[state%maxStates](u, t)
}

// ended keeps a restored or foreign transaction from hanging its executor.
func (u *Unit) ended(t *emu.Txn) { t.Done(StepNone) }
