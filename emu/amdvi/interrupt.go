package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Interrupts of devices, 2.2.5: DWORD writes to FEEx_xxxxh.

// Message types, data 10:8 of an interrupt, and the DTE bit that lets those pass which are not
// remapped. An SMI passes: there is no filter.
const (
	typeSMI    = 2
	typeNMI    = 4
	typeINIT   = 5
	typeExtInt = 7
)

var passBit = [8]reg.Bits{typeNMI: spec.DteNMIPass, typeINIT: spec.DteInitPass, typeExtInt: spec.DteEIntPass}

// interruptRequest goes on with an interrupt message and the DTE in t.Entry: IV alone says whether it
// counts.
func (u *Unit) interruptRequest(t *emu.Txn) {
	t.Tag = emu.MakeTag(ClassInterrupt, uint32(t.Req.Source), emu.NoPASID)
	w2 := t.Entry[2]
	cause := uint16(valInt.Of(t.Entry[3]))
	kind := spec.MsiDataMT.Of(uint64(t.Req.Data))
	logical := spec.MsiAddrDM.On(uint64(t.Req.Addr))
	switch {
	case !spec.DteIV.On(w2):
		u.passInterrupt(t)
	case cause != 0:
		u.fault(t, cause<<4|spec.EventIllegalDTE, StepDevice, t.At)
	case kind <= spec.IntTypeArbitrated || logical && spec.CtlNumIntRemapMode.Of(u.ctl) == spec.NumIntRemap2048:
		u.deliver(t, spec.DteIntCtl.Of(w2))
	case !logical && (kind == typeSMI || passBit[kind] != 0 && passBit[kind].On(w2)):
		u.passInterrupt(t)
	default:
		u.fault(t, FaultInterruptAborted, StepInterrupt, 0)
	}
}

// deliver applies IntCtl.
func (u *Unit) deliver(t *emu.Txn, ctl uint64) {
	switch ctl {
	case spec.IntCtlPass:
		u.passInterrupt(t)
	case spec.IntCtlRemap:
		u.remap(t)
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
	t.Order(StepInterruptOrder, stIRQOrdered)
}

func (u *Unit) interruptOrdered(t *emu.Txn) {
	r := &t.Res
	r.Status, r.Perm, r.Lg2 = emu.Interrupt, emu.Write, 64
	t.Done(StepInterrupt)
}
