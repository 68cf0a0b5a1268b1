package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// The unit's interrupts, as bits of state.Messages.
const (
	msgEvent uint8 = 1 << iota
	msgComWait
	msgPPR
	msgGA
)

// message holds an interrupt pending and wakes the engine that sends it. Without MSI and without
// IntCapXTEn there is nowhere to send it.
func (u *Unit) message(m uint8) emu.Wake {
	if !u.control(spec.CtlIntCapXTEn) && !spec.MsiEn.On(u.reg.Get(rMSIHeader)) {
		return 0
	}
	u.s.Messages |= m
	return EngineMessage.Set()
}

// messageNext sends the pending interrupts one after the other.
func (u *Unit) messageNext(t *emu.Txn) {
	m := u.s.Messages & -u.s.Messages
	if m == 0 {
		t.Done(StepMessage)
		return
	}
	u.s.Messages &^= m
	a := &t.Act
	a.Op, a.Msg, a.Step = emu.OpSend, emu.MsgMSI, StepMessage
	a.Addr, a.Data = u.messageOf(m)
	t.State = stMessageNext
}

// xtRegister is the register of IntCapXTEn for an interrupt.
func xtRegister(m uint8) int {
	switch m {
	case msgPPR:
		return rXTPPRInt
	case msgGA:
		return rXTGAInt
	}
	return rXTInt
}

// messageOf returns address and data of an interrupt: from the XT registers with IntCapXTEn, else
// from the MSI capability. Interrupts of the unit are never remapped.
func (u *Unit) messageOf(m uint8) (emu.PA, [4]uint64) {
	if !u.control(spec.CtlIntCapXTEn) {
		addr := u.reg.Get(rMSIAddrHigh)<<32 | u.reg.Get(rMSIAddrLow)
		return emu.PA(addr), [4]uint64{u.reg.Get(rMSIData)}
	}
	x := u.reg.Get(xtRegister(m))
	dest := spec.XtDestLo.Of(x) | spec.XtDestHi.Of(x)<<24
	return messageAddress(dest, spec.XtDestMode.On(x)), [4]uint64{spec.XtVector.Of(x) | spec.MsiDataMT.Put(spec.XtDM.Of(x))}
}

// messageAddress returns the address of a message to a destination of 32 bits; the bits above 8 are
// where x2APIC messages have them, in the upper address word.
func messageAddress(dest uint64, logical bool) emu.PA {
	return emu.PA(interruptBase | spec.MsiAddrDest.Put(dest) | spec.MsiAddrDM.PutBool(logical) | dest>>8<<40)
}
