package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// event is one of the unit's interrupts, 7.3: control, data and address registers, and the status
// bits behind it.
type event struct {
	ctl, data, addr, uaddr int
	status                 int
	bits                   reg.Bits
	engine                 emu.Engine
}

var (
	faultEvent = event{rFECTL, rFEDATA, rFEADDR, rFEUADDR, rFSTS, fsEvents, EngineFaultEvent}
	iqEvent    = event{rIECTL, rIEDATA, rIEADDR, rIEUADDR, rICS, spec.IcsIWC, EngineIQEvent}
	pageEvent  = event{rPECTL, rPEDATA, rPEADDR, rPEUADDR, rPRS, prsEvents, EnginePageEvent}
)

// eventCondition holds the message pending; the engine sends it unless it is masked.
func (u *Unit) eventCondition(e *event) emu.Wake {
	u.reg.SetBits(e.ctl, spec.EventIP.Mask())
	return u.eventControl(e)
}

// eventControl wakes the engine if a pending message is not masked, which a write to the control
// register may have caused.
func (u *Unit) eventControl(e *event) emu.Wake {
	if !u.sendable(e) {
		return 0
	}
	return e.engine.Set()
}

func (u *Unit) sendable(e *event) bool {
	ctl := u.reg.Get(e.ctl)
	return spec.EventIP.On(ctl) && !spec.EventIM.On(ctl)
}

// eventServiced drops a pending message once software has cleared all status bits behind it.
func (u *Unit) eventServiced(e *event) {
	if !e.bits.On(u.reg.Get(e.status)) {
		u.reg.ClearBits(e.ctl, spec.EventIP.Mask())
	}
}

// eventNext sends the message of the engine's event while one is pending.
func (u *Unit) eventNext(t *emu.Txn) {
	e := &faultEvent
	switch t.Req.Job {
	case EngineIQEvent:
		e = &iqEvent
	case EnginePageEvent:
		e = &pageEvent
	case EnginePerfEvent:
		e = &u.perf.event
	}
	if !u.sendable(e) {
		t.Done(StepEventMessage)
		return
	}
	u.reg.ClearBits(e.ctl, spec.EventIP.Mask())
	a := &t.Act
	a.Op, a.Msg, a.Step = emu.OpSend, emu.MsgMSI, StepEventMessage
	a.Addr = emu.PA(u.reg.Get(e.uaddr)<<32 | u.reg.Get(e.addr))
	a.Data = [4]uint64{u.reg.Get(e.data)}
	t.State = stEventSent
}

func (u *Unit) eventSent(t *emu.Txn) { u.eventNext(t) }
