package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Commands of the command engine, in the order in which it takes them. Software changes one bit per
// write of GCMD (11.4.4.1); if it changes several, this is the order.
const (
	cmdSRTP = iota + 1
	cmdSIRTP
	cmdWBF
	cmdQIE
	cmdIRE
	cmdCFI
	cmdTE
	cmdPMEN
	cmdICC
	cmdIVT
	cmdEnhanced
)

// Txn.Aux[0] of the command engine is the command, Aux[1] the granularity that it performs.

// writeGCMD accepts what software writes: levels are taken as they are, one-shots are noted and
// their status changes at once. The command engine does the work.
func (u *Unit) writeGCMD(v uint32) emu.Wake {
	w := uint64(v)
	levels := spec.GcmdTE.Mask()
	if u.cfg.QI {
		levels |= spec.GcmdQIE.Mask()
	}
	// Without interrupt remapping, what a snapshot left on can only be turned off.
	levels |= u.reg.Get(rGSTS) & (spec.GstsIRES.Mask() | spec.GstsCFIS.Mask())
	if u.cfg.IR {
		levels |= spec.GcmdIRE.Mask() | spec.GcmdCFI.Mask()
	}
	u.s.Levels = uint32(w & levels)
	if spec.GcmdSRTP.On(w) {
		u.reg.ClearBits(rGSTS, spec.GstsRTPS.Mask())
		u.s.Shots |= uint32(spec.GcmdSRTP.Mask())
	}
	if spec.GcmdSIRTP.On(w) && u.cfg.IR {
		u.reg.ClearBits(rGSTS, spec.GstsIRTPS.Mask())
		u.s.Shots |= uint32(spec.GcmdSIRTP.Mask())
	}
	if spec.GcmdWBF.On(w) && u.cfg.RWBF {
		u.reg.SetBits(rGSTS, spec.GstsWBFS.Mask())
		u.s.Shots |= uint32(spec.GcmdWBF.Mask())
	}
	return EngineCommand.Set()
}

// pendingCommand returns the next thing to do, or 0.
func (u *Unit) pendingCommand() uint64 {
	shots, changed := uint64(u.s.Shots), uint64(u.s.Levels)^u.reg.Get(rGSTS)
	pmen := u.reg.Get(rPMEN)
	switch {
	case spec.GcmdSRTP.On(shots):
		return cmdSRTP
	case spec.GcmdSIRTP.On(shots):
		return cmdSIRTP
	case spec.GcmdWBF.On(shots):
		return cmdWBF
	case spec.GcmdQIE.On(changed):
		return cmdQIE
	case spec.GcmdIRE.On(changed):
		return cmdIRE
	case spec.GcmdCFI.On(changed):
		return cmdCFI
	case spec.GcmdTE.On(changed):
		return cmdTE
	case spec.PmenEPM.On(pmen) != spec.PmenPRS.On(pmen):
		return cmdPMEN
	case spec.CcmdICC.On(u.reg.Get(rCCMD)):
		return cmdICC
	case spec.IotlbIVT.On(u.reg.Get(rIOTLB)):
		return cmdIVT
	case u.enhancedBusy():
		return cmdEnhanced
	}
	return 0
}

// commandNext begins the next command; it takes its time before it has an effect.
func (u *Unit) commandNext(t *emu.Txn) {
	t.Aux[0] = u.pendingCommand()
	u.s.Command = uint8(t.Aux[0])
	if t.Aux[0] == 0 {
		t.Done(StepCommand)
		return
	}
	t.Delay(emu.DelayCommand, StepCommand, stCommandBegun)
}

// commandBegun does the command, or what must come before it takes effect.
func (u *Unit) commandBegun(t *emu.Txn) {
	switch t.Aux[0] {
	case cmdSRTP:
		u.s.Shots &^= uint32(spec.GcmdSRTP.Mask())
		u.s.Root = u.reg.Get(rRTADDR)
		u.setMode()
		if u.cfg.ESRTPS {
			t.Act.Sel = emu.Selector{Caches: allCaches}
			t.Invalidate(StepCommandFlush, stCommandMarked)
			return
		}
	case cmdSIRTP:
		u.s.Shots &^= uint32(spec.GcmdSIRTP.Mask())
		u.s.IRTA = u.reg.Get(rIRTA)
		if u.cfg.ESIRTPS {
			t.Act.Sel = emu.Selector{Caches: emu.CacheInterrupt.Set()}
			t.Invalidate(StepCommandFlush, stCommandMarked)
			return
		}
	case cmdIRE: // interrupts in flight end before the switch
		t.Act.Sel = inFlightInterrupts
		if u.cfg.ESIRTPS && u.status(spec.GstsIRES) {
			u.s.InterruptsOff = true
			t.Act.Sel = emu.Selector{Caches: emu.CacheInterrupt.Set()}
		}
		t.Invalidate(StepCommandDrain, stCommandMarked)
		return
	case cmdQIE:
		if u.status(spec.GstsQIES) && u.s.QueueBusy {
			u.s.QueueStop = true
			t.Park(StepCommandWait, stCommandStopped)
			return
		}
	case cmdTE, cmdPMEN:
		if t.Aux[0] == cmdTE && u.cfg.SMTS && u.status(spec.GstsTES) {
			u.s.TranslationOff = true
			u.setMode()
			t.Act.Sel = emu.Selector{Caches: allCaches}
			t.Invalidate(StepCommandFlush, stCommandMarked)
			return
		}
		if u.cfg.DWD || u.cfg.DRD { // everything in flight ends before the switch
			t.Act.Sel = emu.Selector{}
			t.Invalidate(StepCommandDrain, stCommandMarked)
			return
		}
	case cmdICC:
		if u.invalidateContext(t) {
			return
		}
	case cmdIVT:
		if u.invalidateIOTLB(t) {
			return
		}
	}
	u.commandDone(t)
}

func (u *Unit) commandMarked(t *emu.Txn)  { t.Drain(StepCommandDrain, stCommandDrained) }
func (u *Unit) commandDrained(t *emu.Txn) { u.commandDone(t) }

// commandStopped goes on when the queue engine has stopped.
func (u *Unit) commandStopped(t *emu.Txn) {
	if u.s.QueueBusy {
		t.Park(StepCommandWait, stCommandStopped)
		return
	}
	u.commandDone(t)
}

// commandDone lets the command take effect and shows it in the status registers.
func (u *Unit) commandDone(t *emu.Txn) {
	switch t.Aux[0] {
	case cmdSRTP:
		if !spec.GcmdSRTP.On(uint64(u.s.Shots)) { // not asked for again meanwhile
			u.reg.SetBits(rGSTS, spec.GstsRTPS.Mask())
		}
	case cmdSIRTP:
		if !spec.GcmdSIRTP.On(uint64(u.s.Shots)) {
			u.reg.SetBits(rGSTS, spec.GstsIRTPS.Mask())
		}
	case cmdWBF:
		u.s.Shots &^= uint32(spec.GcmdWBF.Mask())
		u.reg.ClearBits(rGSTS, spec.GstsWBFS.Mask())
	case cmdQIE:
		u.s.QueueStop = false
		if on := !u.status(spec.GstsQIES); u.level(spec.GstsQIES, on) {
			t.Wake |= u.queueDoorbell()
		} else {
			u.s.TimedOut = false
			u.reg.Set(rIQH, 0)
		}
	case cmdIRE:
		u.s.InterruptsOff = false
		u.level(spec.GstsIRES, !u.status(spec.GstsIRES))
		u.restartRecords()
	case cmdCFI:
		u.level(spec.GstsCFIS, !u.status(spec.GstsCFIS))
	case cmdTE:
		u.s.TranslationOff = false
		u.level(spec.GstsTES, !u.status(spec.GstsTES))
		u.setMode()
		u.restartRecords()
	case cmdPMEN:
		u.setPMEN()
	case cmdICC:
		v := u.reg.Get(rCCMD) &^ (spec.CcmdICC.Mask() | spec.CcmdCAIG.Mask())
		u.reg.Set(rCCMD, v|spec.CcmdCAIG.Put(t.Aux[1]))
	case cmdIVT:
		v := u.reg.Get(rIOTLB) &^ (spec.IotlbIVT.Mask() | spec.IotlbIAIG.Mask())
		u.reg.Set(rIOTLB, v|spec.IotlbIAIG.Put(t.Aux[1]))
	case cmdEnhanced:
		u.enhancedDone()
		t.Wake |= u.perfWake()
	}
	u.commandNext(t)
}

// level sets or clears a bit of GSTS and returns its new value.
func (u *Unit) level(b reg.Bits, on bool) bool {
	if on {
		u.reg.SetBits(rGSTS, b.Mask())
	} else {
		u.reg.ClearBits(rGSTS, b.Mask())
	}
	return on
}
