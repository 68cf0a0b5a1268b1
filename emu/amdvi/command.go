package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// The command buffer, 2.4. Commands are executed one after the other, in order; F of COMPLETION_WAIT
// therefore holds by itself. The head moves on when a command was fetched and found legal.
//
// Txn.Entry holds the command in words 0 and 1 and an event in words 4 and 5; Aux[1] is the offset
// that the command was fetched from, At its address, Aux[3] the state that follows an event.

// cmdDoorbell wakes the engine if the buffer is on and not empty.
func (u *Unit) cmdDoorbell() emu.Wake {
	if !u.cmdBufOn() || u.reg.Get(rCmdHead) == u.reg.Get(rCmdTail) {
		return 0
	}
	return EngineCommand.Set()
}

// cmdNext fetches the command at the head, or stops.
func (u *Unit) cmdNext(t *emu.Txn) {
	base := u.reg.Get(rCmdBase)
	size := ringBytes(base)
	if !u.cmdBufOn() || u.reg.Get(rCmdHead)%size == u.reg.Get(rCmdTail)%size {
		u.s.CmdBusy = false
		u.setRun(spec.StsCmdBufRun, u.cmdBufOn())
		t.Done(StepCommandStop)
		return
	}
	t.Aux[1] = u.reg.Get(rCmdHead) % size
	t.At = emu.PA(base&spec.RingBase.Mask() + t.Aux[1])
	t.Fetch(t.At, spec.CommandSize, StepCommandFetch, stCmdFetched)
}

// cmdFetched takes the command; decoding it takes time.
func (u *Unit) cmdFetched(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.cmdHardwareError(t, t.At)
		return
	}
	t.Entry = [8]uint64{t.In[0], t.In[1]}
	t.Delay(emu.DelayQueue, StepCommandDecode, stCmdDecoded)
}

// cmdDecoded checks the command, moves the head behind it and executes it.
func (u *Unit) cmdDecoded(t *emu.Txn) {
	if !u.legal(&t.Entry) {
		u.cmdHalt(t, spec.EventIllegalCommand, t.At, 0)
		return
	}
	u.cmdMoveHead(t.Aux[1], t.Aux[1]+spec.CommandSize)
	u.cmd[spec.CmdOpcode.Of(t.Entry[0])].begin(u, t)
}

// legal reports whether the unit has a command as it stands.
func (u *Unit) legal(w *[8]uint64) bool {
	c := &u.cmd[spec.CmdOpcode.Of(w[0])]
	return c.begin != nil && w[0]&c.rsvd[0]|w[1]&c.rsvd[1] == 0 && (c.legal == nil || c.legal(u, w))
}

// cmdMoveHead moves the head from one offset to another, unless software has moved it meanwhile.
func (u *Unit) cmdMoveHead(from, to uint64) {
	if size := ringBytes(u.reg.Get(rCmdBase)); size != 0 && u.reg.Get(rCmdHead)%size == from%size {
		u.reg.Set(rCmdHead, to%size)
	}
}

// cmdHalt stops the buffer with an event about the address at. Only CmdBufEn set anew restarts it.
func (u *Unit) cmdHalt(t *emu.Txn, event uint64, at emu.PA, kind uint64) {
	u.s.CmdHalted = true
	u.setRun(spec.StsCmdBufRun, false)
	e := [2]uint64{spec.EvtCode.Put(event) | spec.EvtType.Put(kind), uint64(at) &^ 15}
	u.hardwareError(&e)
	t.Entry[4], t.Entry[5] = e[0], e[1]
	u.writeLog(t, logEvents, stCmdNext)
}

// cmdHardwareError stops the buffer after an access that failed on the bus.
func (u *Unit) cmdHardwareError(t *emu.Txn, at emu.PA) {
	u.cmdHalt(t, spec.EventCommandHW, at, spec.HWTypeMasterAbort)
}

// cmdWait executes COMPLETION_WAIT, 2.4.1: everything before it is complete once the devices have
// answered and what was marked in flight has ended.
func (u *Unit) cmdWait(t *emu.Txn) {
	if u.outstanding(anyQueue) > 0 {
		u.cmdPark(t)
		return
	}
	t.Drain(StepWaitDrain, stWaitDrained)
}

// cmdPark holds the engine until a device has answered, and begins the command again.
func (u *Unit) cmdPark(t *emu.Txn) {
	u.s.CmdWaits = true
	t.Park(StepCommandIOTLB, stCmdAgain)
}

func (u *Unit) cmdAgain(t *emu.Txn) {
	u.s.CmdWaits = false
	u.cmd[spec.CmdOpcode.Of(t.Entry[0])].begin(u, t)
}

func (u *Unit) waitDrained(t *emu.Txn) {
	if !spec.CwS.On(t.Entry[0]) {
		u.waitDone(t)
		return
	}
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, 8, StepWaitStore
	a.Addr = emu.PA(t.Entry[0] & spec.CwAddr.Mask())
	a.Data = [4]uint64{t.Entry[1]}
	t.State = stWaitStored
}

// waitStored goes on after the store. If it failed, the head is left at the command.
func (u *Unit) waitStored(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.cmdMoveHead(t.Aux[1]+spec.CommandSize, t.Aux[1])
		u.cmdHardwareError(t, t.Act.Addr)
		return
	}
	u.waitDone(t)
}

func (u *Unit) waitDone(t *emu.Txn) {
	if spec.CwI.On(t.Entry[0]) {
		t.Wake |= u.raiseStatus(spec.StsComWaitInt, spec.CtlComWaitIntEn, msgComWait)
	}
	u.cmdNext(t)
}
