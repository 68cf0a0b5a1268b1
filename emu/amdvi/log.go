package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// The event log, 2.5. An entry is written by whoever met the fault, one at a time: it has to be
// visible before the tail moves.

// logEvent writes the event in t.Entry[4] and [5] and goes on with next.
func (u *Unit) logEvent(t *emu.Txn, next uint16) {
	t.Aux[3] = uint64(next)
	acquire(t, emu.SlotLog, emu.Key{}, StepEventLog, stLogSlot)
}

// logSlot looks for room in the log. A full log loses the new event and stops (2.5.1).
func (u *Unit) logSlot(t *emu.Txn) {
	size := ringBytes(u.reg.Get(rEventBase))
	switch {
	case u.s.LogHalted && u.control(spec.CtlEventLogEn):
		u.logLost(t)
		return
	case !u.status(spec.StsEventLogRun):
		t.Res.Fault.Quiet = true // logging is off
		u.logRelease(t)
		return
	}
	tail, head := u.reg.Get(rEventTail)%size, u.reg.Get(rEventHead)%size
	if (tail+spec.EventSize)%size == head {
		u.s.LogHalted = true
		u.setRun(spec.StsEventLogRun, false)
		t.Wake |= u.raiseStatus(spec.StsEventOverflow, spec.CtlEventIntEn, msgEvent)
		u.logLost(t)
		return
	}
	delay(t, emu.DelayFault, StepEventLog, stLogReady)
}

// logReady stores the entry at the tail.
func (u *Unit) logReady(t *emu.Txn) {
	base := u.reg.Get(rEventBase)
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, spec.EventSize, StepEventWrite
	a.Addr = emu.PA(base&spec.RingBase.Mask() + u.reg.Get(rEventTail)%max(ringBytes(base), spec.EventSize))
	a.Data = [4]uint64{t.Entry[4], t.Entry[5]}
	t.State = stLogWritten
}

// logWritten moves the tail behind the entry. One that failed on the bus is lost.
func (u *Unit) logWritten(t *emu.Txn) {
	base := u.reg.Get(rEventBase)
	if t.Ans == emu.AnsError {
		u.logLost(t)
		return
	}
	// Software may have turned the log off and moved the pointers meanwhile: then they stay.
	at := uint64(t.Act.Addr) - base&spec.RingBase.Mask()
	if u.status(spec.StsEventLogRun) && at == u.reg.Get(rEventTail) {
		u.reg.Set(rEventTail, (at+spec.EventSize)%ringBytes(base))
		t.Wake |= u.raiseStatus(spec.StsEventLogInt, spec.CtlEventIntEn, msgEvent)
	}
	u.logRelease(t)
}

func (u *Unit) logLost(t *emu.Txn) {
	t.Res.Fault.Dropped = true
	u.logRelease(t)
}

func (u *Unit) logRelease(t *emu.Txn) { release(t, emu.SlotLog, StepEventLog, stLogReleased) }

// logReleased goes on with who wanted the event logged.
func (u *Unit) logReleased(t *emu.Txn) {
	switch uint16(t.Aux[3]) {
	case stFaultLogged:
		u.faultLogged(t)
	case stTimeoutLogged:
		u.timeoutLogged(t)
	default:
		u.cmdNext(t)
	}
}
