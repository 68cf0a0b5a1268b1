package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// write is a write to a register.
func (f *amdStory) write(off uint32, size uint8, v uint64) {
	whole := off &^ 7
	i := amdIndex(whole)
	if i < 0 || whole == spec.OffHWEventUpper || whole == spec.OffHWEventLower || whole == spec.OffHWEventStatus {
		f.dev(amdNoHardwareRegisters)
		return
	}
	if whole == spec.OffExclBase {
		f.dev(amdNoExclusion)
		return
	}
	shift := 8 * (off & 4)
	mask := ^uint64(0) >> (64 - 8*uint(size)) << shift
	v = v << shift & mask
	old := f.regs[i]
	if whole == spec.OffStatus {
		f.writeStatus(old, v, mask)
		return
	}
	f.regs[i] = old&^mask | v
	if v&^f.kept(whole) != 0 || whole == spec.OffExclLimit && f.regs[i] != f.ours(whole) {
		f.dev(amdRawRegisters)
		if whole == spec.OffXTIntControl {
			f.dev(amdXTRegister)
		}
	}
	f.after(whole, size == 8 || off&4 != 0)
}

// writeStatus writes Status: bits 7:0 are as they should be, those above keep what is written.
func (f *amdStory) writeStatus(old, v, mask uint64) {
	readOnly := (spec.StsEventLogRun.Mask() | spec.StsCmdBufRun.Mask() | spec.StsPPRLogRun.Mask()) & mask
	clears := (spec.StsEventOverflow.Mask() | spec.StsEventLogInt.Mask() | spec.StsComWaitInt.Mask() |
		spec.StsPprOverflow.Mask() | spec.StsPprInt.Mask()) & mask
	plain := mask &^ readOnly &^ clears
	if (v|old)&plain != 0 {
		f.dev(amdRawRegisters)
	}
	f.setReg(spec.OffStatus, old&^(v&clears)&^plain|v&plain)
}

// kept returns the bits of a register that our unit keeps as they are written.
func (f *amdStory) kept(off uint32) uint64 {
	u, err := f.c.model.bare("")
	if err != nil {
		return 0
	}
	u.WriteReg(off, 8, ^uint64(0))
	return u.ReadReg(off, 8)
}

// after is what follows a write. Bases are taken over with their upper half.
func (f *amdStory) after(off uint32, upper bool) {
	v := f.reg(off)
	switch off {
	case spec.OffDevTabBase:
		if upper {
			f.s.devTab = emu.PA(v & spec.DevTabBase.Mask())
		}
	case spec.OffCmdBufBase:
		if spec.StsCmdBufRun.On(f.c.was(ours, spec.OffStatus)) {
			f.dev(amdBaseInUse)
		}
		f.dev(amdPointersKept)
		if upper {
			f.s.cmdBase, f.s.cmdLen = emu.PA(v&spec.RingBase.Mask()), spec.CommandSize<<spec.RingLen.Of(v)
			f.s.head, f.s.tail = 0, 0
		}
	case spec.OffEventLogBase:
		f.eventBase(v)
	case spec.OffPPRLogBase:
		if spec.StsPPRLogRun.On(f.c.was(ours, spec.OffStatus)) {
			f.dev(amdBaseInUse)
		}
		f.dev(amdPointersKept)
	case spec.OffControl:
		f.writeControl()
	case spec.OffCmdHead:
		f.s.head = v & spec.RingPtr.Mask()
		f.run()
	case spec.OffCmdTail:
		f.s.tail = v & spec.RingPtr.Mask()
		f.run()
	}
}

// eventBase takes over the base of the event log, unless an interrupt of it is pending.
func (f *amdStory) eventBase(v uint64) {
	if spec.StsEventLogRun.On(f.c.was(ours, spec.OffStatus)) {
		f.dev(amdBaseInUse)
	}
	if f.status(spec.StsEventLogInt) {
		f.dev(amdEventBaseKept)
		return
	}
	f.s.evtBase, f.s.evtLen = emu.PA(v&spec.RingBase.Mask()), spec.EventSize<<spec.RingLen.Of(v)
	f.setReg(spec.OffEventHead, 0)
	f.setReg(spec.OffEventTail, 0)
}

// writeControl turns things on and off.
func (f *amdStory) writeControl() {
	on := f.control(spec.CtlIommuEn)
	f.setStatus(spec.StsCmdBufRun, on && f.control(spec.CtlCmdBufEn))
	f.setStatus(spec.StsEventLogRun, on && f.control(spec.CtlEventLogEn))
	if own := f.ours(spec.OffStatus); f.status(spec.StsCmdBufRun) != spec.StsCmdBufRun.On(own) || f.status(spec.StsEventLogRun) != spec.StsEventLogRun.On(own) {
		f.shortRings()
	}
	was, now := f.c.was(ours, spec.OffControl), f.ours(spec.OffControl)
	status := f.c.was(ours, spec.OffStatus)
	rising := now &^ was
	if spec.CtlPPRLogEn.On(was | now) {
		f.dev(amdPPRNotRun)
	}
	if spec.CtlEventIntEn.On(rising) && (spec.StsEventLogInt.On(status) || spec.StsEventOverflow.On(status)) ||
		spec.CtlComWaitIntEn.On(rising) && spec.StsComWaitInt.On(status) {
		f.dev(amdEnableSendsNothing)
	}
	if spec.StsEventOverflow.On(status | f.reg(spec.OffStatus)) {
		f.dev(amdOverflow) // EventLogEn does not clear it
	}
	f.run()
}

// shortRings notes that a ring runs although its length is reserved.
func (f *amdStory) shortRings() {
	if f.s.cmdLen < spec.CommandSize<<spec.MinRingLen || f.s.evtLen < spec.EventSize<<spec.MinRingLen {
		f.dev(amdShortRing)
	}
}
