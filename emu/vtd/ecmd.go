package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Enhanced commands, 11.4: software writes operand B to ECEO_REG, then operand A and the command to
// ECMD_REG, and polls ECRSP_REG. The command engine does the work.

// Status codes of ECRSP_REG that this unit answers with besides 0.
const (
	ecmdUnsupported = 1 // the command is not in ECCAP
	ecmdOperand     = 2 // operand A names nothing
)

// writeECMD begins a command. One that is written while another is in progress is dropped, registers
// included.
func (u *Unit) writeECMD(c *reg.Change) emu.Wake {
	if u.enhancedBusy() {
		u.reg.Set(c.Index, c.Old)
		return 0
	}
	if !spec.EcmdCMD.On(c.Written) { // only the half with operand A
		return 0
	}
	u.reg.Set(u.perf.base+pECRSP, spec.EcrspIP.Put(1))
	return EngineCommand.Set()
}

// enhancedBusy reports whether a command is in progress.
func (u *Unit) enhancedBusy() bool {
	return u.cfg.PMS && spec.EcrspIP.On(u.reg.Get(u.perf.base+pECRSP))
}

// enhancedDone lets the command in progress take effect.
func (u *Unit) enhancedDone() {
	u.perfTick()
	w, s := u.reg.Get(u.perf.base+pECMD), &u.s.Perf
	i, status := spec.EcmdOA.Of(w), uint64(0)
	switch cmd := spec.EcmdCMD.Of(w); {
	case cmd == spec.EcmdFreeze, cmd == spec.EcmdUnfreeze:
		s.Frozen = cmd == spec.EcmdFreeze
	case cmd != spec.EcmdEnable && cmd != spec.EcmdDisable:
		status = ecmdUnsupported
	case i >= uint64(u.cfg.Perf.Counters):
		status = ecmdOperand
	case cmd == spec.EcmdEnable:
		s.Enabled |= 1 << i
	default:
		s.Enabled &^= 1 << i
	}
	u.setPerf()
	u.reg.Set(u.perf.base+pECRSP, spec.EcrspSC.Put(status))
}
