package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// The logs: events (2.5), page requests (2.6), guest interrupts (2.7). An entry is written by whoever
// met what it tells of, one at a time: it has to be visible before the tail moves.

// ringLog says where the registers of a log are.
type ringLog struct {
	base, head, tail      int
	on, intOn             reg.Bits // of Control
	run, overflow, logged reg.Bits // of Status
	msg                   uint8
	size                  uint8 // bytes of an entry
	step                  emu.Step
}

// The logs.
const (
	logEvents = iota
	logPPR
	logGA
	numLogs
)

var logs = [numLogs]ringLog{
	logEvents: {
		rEventBase, rEventHead, rEventTail, spec.CtlEventLogEn, spec.CtlEventIntEn,
		spec.StsEventLogRun, spec.StsEventOverflow, spec.StsEventLogInt, msgEvent, spec.EventSize, StepEventWrite,
	},
	logPPR: {
		rPPRBase, rPPRHead, rPPRTail, spec.CtlPPRLogEn, spec.CtlPprIntEn,
		spec.StsPPRLogRun, spec.StsPprOverflow, spec.StsPprInt, msgPPR, spec.PPRSize, StepPPRWrite,
	},
	logGA: {
		rGABase, rGAHead, rGATail, spec.CtlGALogEn, spec.CtlGAIntEn,
		spec.StsGALogRun, spec.StsGALOverflow, spec.StsGAInt, msgGA, spec.GAEntrySize, StepGAWrite,
	},
}

// Txn.Aux[3] while an entry is written: the state that follows, the log, and what became of the entry.
const (
	logNext reg.Bits = 15_000
	logKind reg.Bits = 17_016
	logLost reg.Bits = 18_018 // no room, or it could not be stored
	logOff  reg.Bits = 19_019 // the log is off
)

// writeLog writes the entry in t.Entry[4] and [5] to a log and goes on with next.
func (u *Unit) writeLog(t *emu.Txn, kind uint64, next uint16) {
	t.Aux[3] = logNext.Put(uint64(next)) | logKind.Put(kind)
	t.Acquire(emu.SlotLog, emu.Key{}, StepLog, stLogSlot)
}

func logOf(t *emu.Txn) *ringLog { return &logs[logKind.Of(t.Aux[3])%numLogs] }

// logOn says whether a log is to run, whichever enable came last.
func (u *Unit) logOn(kind int) bool {
	l := &logs[kind]
	return u.control(spec.CtlIommuEn) && u.control(l.on) && !u.s.LogHalted[kind] && ringBytes(u.reg.Get(l.base)) != 0
}

// used returns how many bytes of a log software has not taken yet.
func (u *Unit) used(l *ringLog, size uint64) uint64 {
	return (u.reg.Get(l.tail) - u.reg.Get(l.head)) % size
}

// logSlot looks for room in the log. A full log loses the new entry and stops (2.5.1).
func (u *Unit) logSlot(t *emu.Txn) {
	l, kind := logOf(t), logKind.Of(t.Aux[3])
	size := ringBytes(u.reg.Get(l.base))
	switch {
	case u.s.LogHalted[kind] && u.control(l.on):
		t.Aux[3] |= logLost.Mask()
		u.logRelease(t)
		return
	case !u.status(l.run) || size == 0:
		t.Aux[3] |= logOff.Mask()
		u.logRelease(t)
		return
	case u.used(l, size) >= size-uint64(l.size): // one slot is never used
		u.s.LogHalted[kind] = true
		u.setRun(l.run, false)
		t.Wake |= u.raiseStatus(l.overflow, l.intOn, l.msg)
		t.Aux[3] |= logLost.Mask()
		u.logRelease(t)
		return
	}
	t.Delay(emu.DelayFault, StepLog, stLogReady)
}

// logReady stores the entry at the tail.
func (u *Unit) logReady(t *emu.Txn) {
	l := logOf(t)
	base := u.reg.Get(l.base)
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, l.size, l.step
	a.Addr = emu.PA(base&spec.RingBase.Mask() + u.reg.Get(l.tail)%max(ringBytes(base), emu.PageSize))
	a.Data = [4]uint64{t.Entry[4], t.Entry[5]}
	t.State = stLogWritten
}

// logWritten moves the tail behind the entry. One that failed on the bus is lost.
func (u *Unit) logWritten(t *emu.Txn) {
	l := logOf(t)
	base := u.reg.Get(l.base)
	if t.Ans == emu.AnsError {
		t.Aux[3] |= logLost.Mask()
		u.logRelease(t)
		return
	}
	// Software may have turned the log off and moved the pointers meanwhile: then they stay.
	size := ringBytes(base)
	at := uint64(t.Act.Addr) - base&spec.RingBase.Mask()
	if !u.status(l.run) || size == 0 || at != u.reg.Get(l.tail)%size {
		u.logRelease(t)
		return
	}
	u.reg.Set(l.tail, (at+uint64(l.size))%size)
	t.Wake |= u.raiseStatus(l.logged, l.intOn, l.msg)
	switch logKind.Of(t.Aux[3]) {
	case logPPR:
		t.Wake |= u.earlyOverflow(l, size)
	case logGA:
		u.storeGATail(t)
		return
	}
	u.logRelease(t)
}

func (u *Unit) logRelease(t *emu.Txn) { t.Release(emu.SlotLog, StepLog, stLogReleased) }

// logReleased goes on with who wanted the entry written.
func (u *Unit) logReleased(t *emu.Txn) {
	switch uint16(logNext.Of(t.Aux[3])) {
	case stFaultLogged:
		u.faultLogged(t)
	case stTimeoutLogged:
		u.timeoutLogged(t)
	case stPPRLogged:
		u.pprLogged(t)
	case stPosted:
		u.posted(t)
	case stCounterLogged:
		u.counterNext(t)
	default:
		u.cmdNext(t)
	}
}
