package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Interrupts of devices, 2.2.5.

// interruptRequest goes on with an interrupt message and the DTE in t.Entry: IV alone says whether it
// counts.
func (u *Unit) interruptRequest(t *emu.Txn) {
	t.Tag = emu.MakeTag(ClassInterrupt, uint32(t.Req.Source), emu.NoPASID)
	w2 := t.Entry[2]
	cause := uint16(valInt.Of(t.Entry[3]))
	switch {
	case !spec.DteIV.On(w2):
		u.passInterrupt(t)
	case cause != 0:
		u.fault(t, cause<<4|spec.EventIllegalDTE, StepDevice, t.At)
	default:
		u.deliver(t, spec.DteIntCtl.Of(w2))
	}
}

// deliver applies IntCtl.
func (u *Unit) deliver(t *emu.Txn, ctl uint64) {
	switch ctl {
	case spec.IntCtlPass:
		u.passInterrupt(t)
	case spec.IntCtlRemap:
		u.fault(t, FaultNoRemapping, StepInterrupt, 0)
	default:
		u.fault(t, FaultInterruptAborted, StepInterrupt, 0)
	}
}

// passInterrupt lets a message through as it is.
func (u *Unit) passInterrupt(t *emu.Txn) {
	u.sendInterrupt(t, emu.PA(t.Req.Addr), t.Req.Data)
}

// sendInterrupt ends t with a message, which stays behind the requester's earlier writes.
func (u *Unit) sendInterrupt(t *emu.Txn, addr emu.PA, data uint32) {
	t.Res.PA, t.Res.Data = addr, data
	order(t, StepInterruptOrder, stIRQOrdered)
}

func (u *Unit) interruptOrdered(t *emu.Txn) {
	r := &t.Res
	r.Status, r.Perm, r.Lg2 = emu.Interrupt, emu.Write, 64
	done(t, StepInterrupt)
}
