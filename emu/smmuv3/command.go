package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// The command queue, 4.1. Commands are executed one after the other, in order. The index of the reader
// moves on when a command was fetched and found legal; that of SYNC when it is complete.
//
// Txn.Entry holds the command in words 0 and 1; Aux[0] counts the selectors of an invalidation.

// cmdOn reports whether commands are to be fetched: the queue is enabled and has not stopped at an error.
func (u *Unit) cmdOn() bool {
	return spec.Cr0CMDQEN.On(u.ack) && spec.Cr0CMDQEN.On(u.reg.Get(rCR0)) && !u.errorActive(spec.GerrCMDQ)
}

// cmdDoorbell wakes the engine if there is something to fetch.
func (u *Unit) cmdDoorbell() emu.Wake {
	if !u.cmdOn() || u.empty(&cmdq) {
		return 0
	}
	return EngineCommand.Set()
}

// cmdNext fetches the command at the reader's index, or stops.
func (u *Unit) cmdNext(t *emu.Txn) {
	if u.prefetchNext(t) {
		return
	}
	if !u.cmdOn() || u.empty(&cmdq) {
		u.cmdStop(t)
		return
	}
	_, cons := u.indexes(&cmdq)
	t.At = u.entry(&cmdq, cons)
	t.Fetch(t.At, spec.CommandSize, StepCommandFetch, stCmdFetched)
}

// cmdStop ends the engine, and lets an update go on that waits for that.
func (u *Unit) cmdStop(t *emu.Txn) {
	u.s.CmdBusy = false
	if u.s.ControlWaits {
		t.Wake |= EngineControl.Set()
	}
	t.Done(StepCommandStop)
}

// cmdFetched takes the command; decoding it takes time.
func (u *Unit) cmdFetched(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.cmdError(t, spec.CerrorABT)
		return
	}
	t.Entry = [8]uint64{t.In[0], t.In[1]}
	t.Delay(emu.DelayQueue, StepCommandDecode, stCmdDecoded)
}

// cmdDecoded checks the command and executes it. All but SYNC count as consumed then.
func (u *Unit) cmdDecoded(t *emu.Txn) {
	c := u.commandOf(t)
	if c.begin == nil && c.sel == nil || c.ssec && spec.CmdSSec.On(t.Entry[0]) || c.legal != nil && !c.legal(u, &t.Entry) {
		u.cmdError(t, spec.CerrorILL)
		return
	}
	if c.begin != nil {
		c.begin(u, t)
		return
	}
	t.Aux[0] = 0
	u.cmdConsumed()
	u.cmdSelect(t)
}

func (u *Unit) commandOf(t *emu.Txn) *command { return &u.cmd[spec.CmdOpcode.Of(t.Entry[0])] }

// cmdConsumed moves the reader's index on.
func (u *Unit) cmdConsumed() { u.advance(&cmdq, rCmdqCons) }

// cmdSelect executes the next part of an invalidation.
func (u *Unit) cmdSelect(t *emu.Txn) {
	i := int(t.Aux[0])
	t.Aux[0]++
	s := &t.Act.Sel
	*s = emu.Selector{}
	if !u.commandOf(t).sel(u, s, &t.Entry, i) {
		u.cmdNext(t)
		return
	}
	t.Invalidate(StepInvalidate, stCmdSelect)
}

// cmdError stops the queue at the command: the reason is in CMDQ_CONS before the error is active (7.1).
func (u *Unit) cmdError(t *emu.Txn, reason uint64) {
	v := u.reg.Get(rCmdqCons) &^ spec.CmdqErr.Mask()
	u.reg.Set(rCmdqCons, v|spec.CmdqErr.Put(reason))
	t.Wake |= u.globalError(spec.GerrCMDQ)
	u.cmdNext(t)
}

// cmdSkip consumes a command that has no effect.
func cmdSkip(u *Unit, t *emu.Txn) {
	u.cmdConsumed()
	u.cmdNext(t)
}

// cmdSync executes SYNC, 4.6.3: everything before it is complete once the devices have answered and what
// was marked in flight has ended. Then the reader's index moves, then the signal is sent.
func cmdSync(u *Unit, t *emu.Txn) {
	switch {
	case u.outstanding() > 0:
		u.s.CmdWaits = true
		t.Park(StepCommandATS, stCmdAgain)
	case u.s.TimedOut:
		u.s.TimedOut = false
		u.cmdError(t, spec.CerrorATC)
	default:
		t.Drain(StepSyncDrain, stSyncDrained)
	}
}

// cmdAgain begins a command anew that waited for devices.
func (u *Unit) cmdAgain(t *emu.Txn) {
	u.s.CmdWaits = false
	u.commandOf(t).begin(u, t)
}

func (u *Unit) syncDrained(t *emu.Txn) {
	u.cmdConsumed()
	switch cs := spec.SyncCS.Of(t.Entry[0]); {
	case cs == spec.SyncSEV && u.cfg.SEV:
		pulse(t, spec.LineEvent, StepSyncSignal, stCmdNext)
	case cs == spec.SyncIRQ && u.cfg.Wires:
		pulse(t, spec.LineSYNC, StepSyncSignal, stSyncWired)
	case cs == spec.SyncIRQ:
		u.syncMessage(t)
	default:
		u.cmdNext(t)
	}
}

// syncMessage sends the message of a SYNC, if it has one.
func (u *Unit) syncMessage(t *emu.Txn) {
	addr := emu.PA(spec.SyncMSIAddr.Of(t.Entry[1]) << 2)
	if !u.cfg.MSI || addr == 0 {
		u.cmdNext(t)
		return
	}
	u.send(t, addr, uint32(spec.SyncMSIData.Of(t.Entry[0])), StepSyncSignal, stSyncSignalled)
}

func (u *Unit) syncSignalled(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		t.Wake |= u.globalError(spec.GerrMSICMDQ)
	}
	u.cmdNext(t)
}
