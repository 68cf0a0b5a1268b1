package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Updates, 6.3.9: what software writes to CR0, IRQ_CTRL or GBPA takes effect later, and an acknowledge
// register or flag says when. One update is carried out at a time, by EngineControl.

// writeCR0 starts an update. A field that is being updated does not take another value.
func (u *Unit) writeCR0(c *reg.Change) emu.Wake {
	if !u.guarded(c, c.Old^u.reg.Get(rCR0ACK)) {
		return 0
	}
	return EngineControl.Set()
}

func (u *Unit) writeIrqCtrl(c *reg.Change) emu.Wake {
	if !u.guarded(c, c.Old^u.reg.Get(rIrqCtrlAck)) {
		return 0
	}
	return EngineControl.Set()
}

// writeGBPA starts an update if the write says so and none is under way (6.3.14).
func (u *Unit) writeGBPA(c *reg.Change) emu.Wake {
	if spec.GbpaUPDATE.On(c.Old) || !spec.GbpaUPDATE.On(c.New) {
		u.reg.Set(rGBPA, c.Old)
		return 0
	}
	return EngineControl.Set()
}

// latch works out what translation asks of registers that have taken effect, with a value of CR0.
func (u *Unit) latch(cr0 uint64) {
	u.ack = cr0
	u.on = spec.Cr0SMMUEN.On(u.ack)
	u.e2h = spec.Cr2E2H.On(u.reg.Get(rCR2))
}

// controlNext begins the next update. Aux[0] holds the CR0 that it leads to.
func (u *Unit) controlNext(t *emu.Txn) {
	gbpa := spec.GbpaUPDATE.On(u.reg.Get(rGBPA))
	if u.reg.Get(rCR0) == u.ack && u.reg.Get(rIrqCtrl) == u.reg.Get(rIrqCtrlAck) && !gbpa {
		t.Done(StepUpdate)
		return
	}
	t.Aux[0], t.Aux[1], t.Aux[2] = u.reg.Get(rCR0), u.reg.Get(rIrqCtrl), 0
	if gbpa {
		t.Aux[2] = u.reg.Get(rGBPA)
	}
	t.Delay(emu.DelayCommand, StepUpdate, stUpdateDelayed)
}

// updateDelayed waits for the command queue to stop, where that is to be off, and for all transactions
// that began under the old state, prefetches included.
func (u *Unit) updateDelayed(t *emu.Txn) {
	if spec.Cr0CMDQEN.On(u.ack&^t.Aux[0]) && u.s.CmdBusy || u.s.Prefetch.Busy {
		u.s.ControlWaits = true
		t.Park(StepUpdate, stUpdateDelayed)
		return
	}
	u.s.ControlWaits = false
	const others = 1<<0 | 1<<1 | 1<<2 | 1<<4 // CR0 fields that transactions look at
	if (u.ack^t.Aux[0])&others == 0 && t.Aux[2] == 0 {
		u.updated(t)
		return
	}
	t.Act.Sel = emu.Selector{}
	t.Invalidate(StepUpdate, stUpdateMarked)
}

func (u *Unit) updateMarked(t *emu.Txn) { t.Drain(StepUpdate, stUpdated) }

// updated makes the update take effect.
func (u *Unit) updated(t *emu.Txn) {
	falling := u.ack &^ t.Aux[0]
	u.latch(t.Aux[0])
	if spec.Cr0SMMUEN.On(falling) {
		u.endATOS()
	}
	if spec.Cr0SMMUEN.On(falling) && len(u.stalls) != 0 {
		u.endStalls(t, stUpdateDone)
		return
	}
	u.updateDone(t)
}

// updateDone acknowledges the update.
func (u *Unit) updateDone(t *emu.Txn) {
	rising := t.Aux[0] &^ u.reg.Get(rCR0ACK)
	u.reg.Set(rCR0ACK, t.Aux[0])
	u.reg.Set(rIrqCtrlAck, t.Aux[1])
	u.s.Messages &= enabledMessages(t.Aux[1])
	if g := t.Aux[2]; g != 0 {
		g &^= spec.GbpaUPDATE.Mask()
		u.s.GBPA = g
		u.reg.Set(rGBPA, g)
	}
	if spec.Cr0CMDQEN.On(rising) {
		t.Wake |= u.cmdDoorbell()
	}
	if spec.Cr0EVENTQEN.On(rising) {
		t.Wake |= u.eventsWritable()
	}
	u.controlNext(t)
}
