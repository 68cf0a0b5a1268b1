package vtd

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Enhanced commands, 11.4.14: software writes operand B to ECEO_REG, then operand A and the command to
// ECMD_REG, and polls ECRSP_REG. The command engine does the work.

// writeECMD begins a command. What is written while one is in progress is dropped. A command that
// finds one of GCMD or PMEN in flight is aborted.
func (u *Unit) writeECMD(c *reg.Change) emu.Wake {
	if u.enhancedBusy() {
		u.reg.Set(c.Index, c.Old)
		return 0
	}
	if !spec.EcmdCMD.On(c.Written) { // only the half with operand A
		return 0
	}
	if globalCommand(uint64(u.s.Command)) || globalCommand(u.pendingCommand()) {
		u.reg.Set(u.perfReg(pECRSP), spec.EcrspSC.Put(spec.ECAborted))
		return 0
	}
	u.reg.Set(u.perfReg(pECRSP), spec.EcrspIP.Put(1))
	return EngineCommand.Set()
}

// globalCommand reports whether c is a command of GCMD or PMEN.
func globalCommand(c uint64) bool { return c != 0 && c != cmdICC && c != cmdIVT && c != cmdEnhanced }

// writeECEO takes operand B unless a command is in progress.
func (u *Unit) writeECEO(c *reg.Change) {
	if u.enhancedBusy() {
		u.reg.Set(c.Index, c.Old)
	}
}

// enhancedBusy reports whether a command is in progress.
func (u *Unit) enhancedBusy() bool {
	return u.cfg.PMS && spec.EcrspIP.On(u.reg.Get(u.perfReg(pECRSP)))
}

// enhancedDone lets the command in progress take effect, table 52.
func (u *Unit) enhancedDone() {
	u.perfTick()
	w := u.reg.Get(u.perfReg(pECMD))
	i, frz, status := spec.EcmdOA.Of(w), u.perfReg(pFRZSTS), uint64(spec.ECSuccess)
	switch spec.EcmdCMD.Of(w) {
	case spec.EcmdEnable:
		if i >= uint64(u.cfg.Perf.Counters) || !u.countable(int(i)) {
			status = spec.ECFailed
			break
		}
		u.reg.SetBits(u.counterReg(int(i), cCFG), spec.CntrcfgEN.Mask())
	case spec.EcmdDisable:
		if i >= uint64(u.cfg.Perf.Counters) {
			status = spec.ECFailed
			break
		}
		u.reg.ClearBits(u.counterReg(int(i), cCFG), spec.CntrcfgEN.Mask())
		u.reg.ClearBits(frz, 1<<i)
	case spec.EcmdResetConfig:
		for i := range u.cfg.Perf.Counters {
			u.reg.Set(u.counterReg(i, cCFG), 0)
			for f := range spec.NumFilters {
				u.reg.Set(u.counterReg(i, cFilter+f), 0)
			}
		}
		u.reg.Set(frz, 0)
		u.reg.Set(u.perfReg(pOVFSTS), 0)
	case spec.EcmdResetValues:
		for i := range u.cfg.Perf.Counters {
			u.reg.Set(u.counterReg(i, cCNTR), 0)
		}
	case spec.EcmdFreeze:
		u.reg.Set(frz, u.allCounters())
	case spec.EcmdUnfreeze:
		u.reg.Set(frz, 0)
	default:
		status = spec.ECUndefined
	}
	u.setPerf()
	u.reg.Set(u.perfReg(pECRSP), spec.EcrspSC.Put(status))
}

// countable makes the checks of a counter's configuration, 10.5.
func (u *Unit) countable(i int) bool {
	cfg := u.reg.Get(u.counterReg(i, cCFG))
	g, events := int(spec.CntrcfgEGI.Of(cfg)), uint32(spec.CntrcfgES.Of(cfg))
	if g >= spec.NumEventGroups || events == 0 || events&^u.offers(i, g) != 0 {
		return false
	}
	filters := uint8(0)
	for f := range spec.NumFilters {
		v := u.reg.Get(u.counterReg(i, cFilter+f))
		if spec.FilterEN.On(v) {
			filters |= 1 << f
		}
		if f == spec.FilterPASID && spec.FilterPFM.Of(v) > spec.PFMWithout {
			return false
		}
	}
	return filters == 0 || bits.OnesCount32(events) == 1 && filters&^filtersOf(g, events) == 0
}

// offers returns the events of a group that counter i can count.
func (u *Unit) offers(i, g int) uint32 {
	e := uint32(spec.PerfevntcapES.Of(u.reg.Get(u.perfReg(pEVNTCAP + g))))
	if u.cfg.Perf.limits(i) {
		e &= u.cfg.Perf.Limited[i][g]
	}
	return e
}

// filtersOf returns the filters that an event may have. Those by address type and level are in table
// 49; it has no event for the other three, so a unit that has these pairs them with the events for
// which it knows the answer.
func filtersOf(g int, event uint32) (filters uint8) {
	const request, domain = 1<<spec.FilterRequester | 1<<spec.FilterPASID, 1 << spec.FilterDomain
	switch {
	case g == spec.GroupGeneral && event == spec.EventRequests:
		return request | 1<<spec.FilterAT
	case g == spec.GroupCaches && event&(spec.EventSSHit|spec.EventFSHit) != 0,
		g == spec.GroupIOTLB && event == spec.EventIOTLBHit:
		return request | domain | 1<<spec.FilterLevel
	case g == spec.GroupCaches && event&(spec.EventSSLookup|spec.EventFSLookup) != 0,
		g == spec.GroupIOTLB && event == spec.EventIOTLBLookup:
		return request | domain
	case g == spec.GroupCaches:
		return request
	}
	return 0
}
