package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Interrupts, 3.18: an enabled one is a pulse of a line where the unit has lines, and a message where it has
// messages and software has given an address.

// The unit's interrupts, as bits of state.Messages.
const (
	msgGERROR uint8 = 1 << iota
	msgEVENTQ
	msgPRIQ
	msgPMCG // counters; has an enable of its own
)

// source is the configuration of one interrupt.
type source struct {
	msg        uint8
	enable     reg.Bits // of IRQ_CTRL
	line       uint32
	addr, data int      // registers
	abt        reg.Bits // of GERROR, if the write aborts
}

var sources = [...]source{
	{msgGERROR, spec.IrqGERROR, spec.LineGERROR, rGerrorIrq0, rGerrorIrq1, spec.GerrMSIGERROR},
	{msgEVENTQ, spec.IrqEVENTQ, spec.LineEVENTQ, rEventqIrq0, rEventqIrq1, spec.GerrMSIEVENTQ},
	{msgPRIQ, spec.IrqPRIQ, spec.LinePRIQ, rPriqIrq0, rPriqIrq1, spec.GerrMSIPRIQ},
	{msg: msgPMCG, line: spec.LinePMCG, addr: rPmIrq0, data: rPmIrq1},
}

// enabledMessages returns the interrupts that IRQ_CTRL enables.
func enabledMessages(irqCtrl uint64) (m uint8) {
	m = msgPMCG
	for i := range sources {
		if s := &sources[i]; s.msg != msgPMCG && s.enable.On(irqCtrl) {
			m |= s.msg
		}
	}
	return m
}

// message holds an interrupt pending if it is enabled, and wakes the engine that sends it.
func (u *Unit) message(m uint8) emu.Wake {
	if m &= enabledMessages(u.reg.Get(rIrqCtrl) & u.reg.Get(rIrqCtrlAck)); m == 0 {
		return 0
	}
	u.s.Messages |= m
	return EngineMessage.Set()
}

// messageNext signals the pending interrupts one after the other.
func (u *Unit) messageNext(t *emu.Txn) {
	for i := range sources {
		s := &sources[i]
		if u.s.Messages&s.msg == 0 {
			continue
		}
		u.s.Messages &^= s.msg
		t.Aux[0] = uint64(i)
		if u.cfg.Wires {
			pulse(t, s.line, StepMessage, stMessageWired)
			return
		}
		u.messageWired(t)
		return
	}
	t.Done(StepMessage)
}

// pulse asks for a pulse of an interrupt line.
func pulse(t *emu.Txn, line uint32, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Msg, a.N, a.Step = emu.OpSend, emu.MsgWire, line, step
	t.State = next
}

// messageWired sends the message of the interrupt in Aux[0], if there is one.
func (u *Unit) messageWired(t *emu.Txn) {
	s := sourceOf(t)
	addr := emu.PA(u.reg.Get(s.addr))
	if !u.cfg.MSI || addr == 0 {
		u.messageNext(t)
		return
	}
	u.send(t, addr, uint32(u.reg.Get(s.data)), StepMessage, stMessageSent)
}

func sourceOf(t *emu.Txn) *source { return &sources[t.Aux[0]%uint64(len(sources))] }

// send writes the 4 bytes of a message.
func (u *Unit) send(t *emu.Txn, addr emu.PA, data uint32, step emu.Step, next uint16) {
	a := &t.Act
	a.Addr, a.Size, a.Data, a.Step = addr&emu.PA(ones(u.lim.oas)), 4, [4]uint64{uint64(data)}, step
	a.Op = emu.OpStore
	if emu.IsMSI(a.Addr) {
		a.Op, a.Msg = emu.OpSend, emu.MsgMSI
	}
	t.State = next
}

// messageSent goes on after the write. One that was aborted is a global error.
func (u *Unit) messageSent(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		if s := sourceOf(t); s.msg == msgPMCG {
			u.reg.SetBits(rPmIrqStatus, spec.PmcgIrqAbt.Mask())
		} else {
			t.Wake |= u.globalError(s.abt)
		}
	}
	u.messageNext(t)
}
