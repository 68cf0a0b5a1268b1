package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// writeRingBase follows a write to a ring's base register: head and tail become 0 (2.4, 2.5). While
// the ring runs the write is dropped. A base comes as two 32-bit writes: nothing here looks at it.
func (u *Unit) writeRingBase(c *reg.Change, run reg.Bits, head, tail int) {
	if u.status(run) {
		u.reg.Set(c.Index, c.Old)
		return
	}
	u.reg.Set(head, 0)
	u.reg.Set(tail, 0)
}

// ringBytes returns the length of a ring from its base register, and 0 for a reserved one.
func ringBytes(base uint64) uint64 {
	n := spec.RingLen.Of(base)
	if n < spec.MinRingLen {
		return 0
	}
	return spec.CommandSize << n
}

// writeControl follows a write to Control: rings start and stop, and an interrupt that is enabled
// while its condition stands is sent.
func (u *Unit) writeControl(c *reg.Change) emu.Wake {
	u.ctl = c.New
	rising := c.New &^ c.Old
	if spec.CtlCmdBufEn.On(rising) {
		u.s.CmdHalted = false
	}
	var w emu.Wake
	for i := range logs {
		l := &logs[i]
		if l.on.On(rising) {
			u.s.LogHalted[i] = false
			u.reg.ClearBits(rStatus, l.overflow.Mask())
		}
		u.setRun(l.run, u.logOn(i))
		if l.intOn.On(rising) && (u.status(l.logged) || u.status(l.overflow)) {
			w |= u.message(l.msg)
		}
	}
	if on := u.cmdBufOn(); on || !u.s.CmdBusy { // else the engine says when it has stopped
		u.setRun(spec.StsCmdBufRun, on)
	}
	if spec.CtlComWaitIntEn.On(rising) && u.status(spec.StsComWaitInt) {
		w |= u.message(msgComWait)
	}
	return w | u.cmdDoorbell()
}

// cmdBufOn says whether the command buffer is to run, whichever enable came last.
func (u *Unit) cmdBufOn() bool {
	return u.control(spec.CtlIommuEn) && u.control(spec.CtlCmdBufEn) && !u.s.CmdHalted && ringBytes(u.reg.Get(rCmdBase)) != 0
}

func (u *Unit) setRun(b reg.Bits, on bool) {
	u.reg.ClearBits(rStatus, b.Mask())
	u.reg.SetBits(rStatus, b.PutBool(on))
}

// raiseStatus sets a condition of Status. If it was clear, and enable of Control is on, the unit's
// interrupt m is sent: while a condition stands, it sends no further one.
func (u *Unit) raiseStatus(condition, enable reg.Bits, m uint8) emu.Wake {
	if u.status(condition) {
		return 0
	}
	u.reg.SetBits(rStatus, condition.Mask())
	if !u.control(enable) {
		return 0
	}
	return u.message(m)
}
