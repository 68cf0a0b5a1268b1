package amdvi

import "github.com/iommulab/iommulab/emu"

// The states of a transaction: which step consumes the next answer.
const (
	stEnded = emu.StateEnded + iota
	stFrontEnd
	stDeviceProbed
	stDeviceSlot
	stDeviceWalker
	stDevice
	stDeviceFilled
	stDeviceReady
	stTLBProbed
	stMissSlot
	stMissWalker
	stHostWalkProbed
	stHostEntry
	stHostUpdated
	stHostDescend
	stStage2Probed
	stStage2Filled
	stGuestWalkProbed
	stGCR3Probed
	stGCR3
	stGCR3Filled
	stGuestEntry
	stGuestUpdated
	stGuestDescend
	stTLBFilled
	stAbsentFilled
	stLogSlot
	stLogReady
	stLogWritten
	stLogReleased
	stFaultLogged
	stSERemembered
	stCmdNext
	stCmdFetched
	stCmdDecoded
	stCmdSecond
	stWaitDrained
	stWaitStored
	stCmdAgain
	stTimeoutNext
	stTimeoutLogged
	stIRQOrdered
	stIRTEProbed
	stIRTEWalker
	stIRTE
	stIRTEFilled
	stIRTEReady
	stIRTERefresh
	stPost
	stVAPICWritten
	stPosted
	stGATailStored
	stPPRLogged
	stPPRResponded
	stMessageNext
	stCounterNext
	stCounterLogged
	numStates
)

// maxStates is the size of the table of states: a power of two, so that a masked state needs no
// bounds check.
const maxStates = 128

// jobStart is the first state of each engine.
var jobStart = [8]uint16{
	EngineCommand: stCmdNext,
	EngineMessage: stMessageNext,
	EngineTimeout: stTimeoutNext,
	EngineCounter: stCounterNext,
}

// Start implements emu.Unit. q may lie in t.
func (u *Unit) Start(t *emu.Txn, q *emu.Request) {
	if q.Type == emu.Job {
		t.BeginJob(q, jobStart[q.Job&7])
		u.s.CmdBusy = u.s.CmdBusy || q.Job == EngineCommand
		return
	}
	t.Begin(q, stFrontEnd)
}

// onAnswer is the method that consumes the answer in each state.
var onAnswer = [maxStates]func(*Unit, *emu.Txn){
	stEnded:           (*Unit).ended,
	stFrontEnd:        (*Unit).frontEnd,
	stDeviceProbed:    (*Unit).deviceProbed,
	stDeviceSlot:      (*Unit).deviceSlot,
	stDeviceWalker:    (*Unit).fetchDevice,
	stDevice:          (*Unit).deviceEntry,
	stDeviceFilled:    (*Unit).deviceFilled,
	stDeviceReady:     (*Unit).deviceReady,
	stTLBProbed:       (*Unit).tlbProbed,
	stMissSlot:        (*Unit).missSlot,
	stMissWalker:      (*Unit).walkBegin,
	stHostWalkProbed:  (*Unit).hostWalkProbed,
	stHostEntry:       (*Unit).hostEntryRead,
	stHostUpdated:     (*Unit).hostUpdated,
	stHostDescend:     (*Unit).hostDescend,
	stStage2Probed:    (*Unit).stage2Probed,
	stStage2Filled:    (*Unit).resolved,
	stGuestWalkProbed: (*Unit).guestWalkProbed,
	stGCR3Probed:      (*Unit).gcr3Probed,
	stGCR3:            (*Unit).gcr3Entry,
	stGCR3Filled:      (*Unit).gcr3Filled,
	stGuestEntry:      (*Unit).guestEntryRead,
	stGuestUpdated:    (*Unit).guestUpdated,
	stGuestDescend:    (*Unit).guestDescend,
	stTLBFilled:       (*Unit).tlbFilled,
	stAbsentFilled:    (*Unit).absentFilled,
	stLogSlot:         (*Unit).logSlot,
	stLogReady:        (*Unit).logReady,
	stLogWritten:      (*Unit).logWritten,
	stLogReleased:     (*Unit).logReleased,
	stFaultLogged:     (*Unit).faultLogged,
	stSERemembered:    (*Unit).seRemembered,
	stCmdNext:         (*Unit).cmdNext,
	stCmdFetched:      (*Unit).cmdFetched,
	stCmdDecoded:      (*Unit).cmdDecoded,
	stCmdSecond:       (*Unit).cmdSecond,
	stWaitDrained:     (*Unit).waitDrained,
	stWaitStored:      (*Unit).waitStored,
	stCmdAgain:        (*Unit).cmdAgain,
	stTimeoutNext:     (*Unit).timeoutNext,
	stTimeoutLogged:   (*Unit).timeoutLogged,
	stIRQOrdered:      (*Unit).interruptOrdered,
	stIRTEProbed:      (*Unit).irteProbed,
	stIRTEWalker:      (*Unit).fetchIRTE,
	stIRTE:            (*Unit).irteFetched,
	stIRTEFilled:      (*Unit).irteFilled,
	stIRTEReady:       (*Unit).irteReady,
	stIRTERefresh:     (*Unit).irteRefresh,
	stPost:            (*Unit).post,
	stVAPICWritten:    (*Unit).vapicWritten,
	stPosted:          (*Unit).posted,
	stGATailStored:    (*Unit).gaTailStored,
	stPPRLogged:       (*Unit).pprLogged,
	stPPRResponded:    (*Unit).pprResponded,
	stMessageNext:     (*Unit).messageNext,
	stCounterNext:     (*Unit).counterNext,
	stCounterLogged:   (*Unit).counterNext,
}

// Step implements emu.Unit.
func (u *Unit) Step(t *emu.Txn) {
	if t.State >= u.states {
		u.stepCounting(t)
		return
	}
	onAnswer[t.State%maxStates](u, t)
}

// ended keeps a restored or foreign transaction from hanging its executor.
func (u *Unit) ended(t *emu.Txn) { t.Done(StepNone) }
