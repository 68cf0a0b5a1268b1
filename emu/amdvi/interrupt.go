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
		u.passInterrupt(t, StepInterrupt)
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
		u.passInterrupt(t, StepInterrupt)
	case spec.IntCtlRemap:
		u.fault(t, FaultNoRemapping, StepInterrupt, 0)
	default:
		u.fault(t, FaultInterruptAborted, StepInterrupt, 0)
	}
}

// passInterrupt lets a message through as it is.
func (u *Unit) passInterrupt(t *emu.Txn, step emu.Step) {
	r := &t.Res
	r.Status, r.PA, r.Data, r.Perm, r.Lg2 = emu.Interrupt, emu.PA(t.Req.Addr), t.Req.Data, emu.Write, 64
	done(t, step)
}
