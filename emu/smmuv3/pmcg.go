package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Performance monitors, 10: one counter group. Its page is behind the two of the unit.

// Registers of the counter group; those of the counters follow.
const (
	rPmEnable = rPIDR + len(pidr) + iota
	rPmDisable
	rPmIntEnable
	rPmIntDisable
	rPmOvsClear
	rPmOvsSet
	rPmCapture
	rPmCFGR
	rPmCR
	rPmCEID0
	rPmCEID1
	rPmIrqCtrl
	rPmIrqCtrlAck
	rPmIrq0
	rPmIrq1
	rPmIrq2
	rPmIrqStatus
	rPmCounter // the first of all counters
)

// Registers of one counter, relative to its first.
const (
	pmCount = iota
	pmType
	pmShadow
	pmStream
	pmLen
)

func pmReg(counter, r int) int { return rPmCounter + counter*pmLen + r }

// counterSize returns the bytes of a counter's register.
func (c *Config) counterSize() uint32 {
	if c.CounterBits > 32 {
		return 8
	}
	return 4
}

// cfgr composes CFGR.
func (c *Config) cfgr() uint64 {
	if c.Counters == 0 {
		return 0
	}
	return spec.CfgrNCTR.Put(uint64(c.Counters)-1) | spec.CfgrSIZE.Put(uint64(c.CounterBits)-1) | spec.CfgrMSI.PutBool(c.MSI) |
		spec.CfgrCAPTURE.Put(1) | spec.CfgrSIDFilter.PutBool(c.CounterFilter)
}

// adoptCounters sets the counters from CFGR, 0 for none.
func (c *Config) adoptCounters(cfgr uint64) {
	c.Counters = 0
	if cfgr != 0 {
		c.Counters, c.CounterBits = uint8(spec.CfgrNCTR.Of(cfgr)+1), uint8(spec.CfgrSIZE.Of(cfgr)+1)
		c.CounterFilter = spec.CfgrSIDFilter.On(cfgr)
	}
}

// pmRegisters returns the registers of the counter group.
func (c *Config) pmRegisters() []reg.Reg {
	if c.Counters == 0 {
		return nil
	}
	r := func(name string, off uint32, size uint8, mask uint64, e reg.Effect, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: "PMCG_" + name, Off: spec.OffPMCG + off, Size: size, RW: mask, Effect: e, Layout: l, Clause: "10.4"}
	}
	ro := func(name string, off uint32, size uint8, v uint64, l *reg.Layout) reg.Reg {
		x := r(name, off, size, 0, effNone, l)
		x.Reset = v
		return x
	}
	capture := r("CAPR", spec.PmcgOffCAPR, 4, 0, effPmCapture, nil)
	capture.WO = true
	irq := uint64(0)
	if c.MSI {
		irq = ^uint64(0)
	}
	t := []reg.Reg{
		r("CNTENSET0", spec.PmcgOffCNTENSET0, 8, 0, effPmBits, nil),
		r("CNTENCLR0", spec.PmcgOffCNTENCLR0, 8, 0, effPmBits, nil),
		r("INTENSET0", spec.PmcgOffINTENSET0, 8, 0, effPmBits, nil),
		r("INTENCLR0", spec.PmcgOffINTENCLR0, 8, 0, effPmBits, nil),
		r("OVSCLR0", spec.PmcgOffOVSCLR0, 8, 0, effPmBits, nil),
		r("OVSSET0", spec.PmcgOffOVSSET0, 8, 0, effPmBits, nil),
		capture,
		ro("CFGR", spec.PmcgOffCFGR, 4, c.cfgr(), &spec.CFGRLayout),
		r("CR", spec.PmcgOffCR, 4, spec.PmcgCrE.Mask(), effPm, nil),
		ro("CEID0", spec.PmcgOffCEID0, 8, 1<<spec.NumPmcgEvents-1, nil),
		ro("CEID1", spec.PmcgOffCEID1, 8, 0, nil),
		r("IRQ_CTRL", spec.PmcgOffIRQCtrl, 4, spec.PmcgIrqEn.Mask(), effPm, nil),
		ro("IRQ_CTRLACK", spec.PmcgOffIRQCtrlAc, 4, 0, nil),
		r("IRQ_CFG0", spec.PmcgOffIRQCfg0, 8, irq&spec.IrqCfg0Addr.Mask(), effPmIrq, &spec.IRQCfg0Layout),
		r("IRQ_CFG1", spec.PmcgOffIRQCfg1, 4, irq&spec.IrqCfg1Data.Mask(), effPmIrq, &spec.IRQCfg1Layout),
		r("IRQ_CFG2", spec.PmcgOffIRQCfg2, 4, irq&(spec.IrqCfg2Attr.Mask()|spec.IrqCfg2SH.Mask()), effPmIrq, &spec.IRQCfg2Layout),
		ro("IRQ_STATUS", spec.PmcgOffIRQStatus, 4, 0, nil),
	}
	size := c.counterSize()
	for i := range uint32(c.Counters) {
		types := spec.EvtyperEvent.Mask() | spec.EvtyperOVFCAP.Mask()
		stream := uint64(0)
		if i == 0 || !c.CounterFilter {
			types |= spec.EvtyperSIDSpan.Mask()
			stream = spec.SmrStreamID.Mask()
		}
		name := func(s string) string { return fmt.Sprintf("%s%d", s, i) }
		t = append(t,
			r(name("EVCNTR"), spec.PmcgOffEVCNTR0+i*size, uint8(size), reg.Ones(c.CounterBits), effPm, nil),
			r(name("EVTYPER"), spec.PmcgOffEVTYPER0+4*i, 4, types, effPm, &spec.EVTYPERLayout),
			ro(name("SVR"), spec.PmcgOffSVR0+i*size, uint8(size), 0, nil),
			r(name("SMR"), spec.PmcgOffSMR0+4*i, 4, stream, effPm, nil),
		)
	}
	return t
}

// writePmBits follows a write to one of the registers that set or clear bits: both of a pair show the same.
func (u *Unit) writePmBits(c *reg.Change) {
	u.tick()
	pair := rPmEnable + (c.Index-rPmEnable)&^1
	all := reg.Ones(u.cfg.Counters)
	set := c.Index == rPmEnable || c.Index == rPmIntEnable || c.Index == rPmOvsSet
	v := u.reg.Get(pair)
	if set {
		v |= c.Raw & all
	} else {
		v &^= c.Raw
	}
	u.reg.Set(pair, v)
	u.reg.Set(pair+1, v)
	u.setCounting()
}

// writePmIrq follows a write to the configuration of the message, which is guarded by its enable.
func (u *Unit) writePmIrq(c *reg.Change) {
	if spec.PmcgIrqEn.On(u.reg.Get(rPmIrqCtrl)) {
		u.reg.Set(c.Index, c.Old)
	}
}

// capture copies all counters to their shadows (10.4, CAPR).
func (u *Unit) capture() {
	u.tick()
	for i := range int(u.cfg.Counters) {
		u.reg.Set(pmReg(i, pmShadow), u.reg.Get(pmReg(i, pmCount)))
	}
}

// pmEffect follows the write of a register of the group.
func (u *Unit) pmEffect(c *reg.Change) emu.Wake {
	switch c.Effect {
	case effPmBits:
		u.writePmBits(c)
	case effPmIrq:
		u.writePmIrq(c)
	case effPmCapture:
		if spec.CaprCapture.On(c.Raw) {
			u.capture()
		}
	case effPm:
		if c.Index != rPmIrqCtrl {
			v := u.reg.Get(c.Index)
			u.reg.Set(c.Index, c.Old)
			u.tick() // under the old configuration
			u.reg.Set(c.Index, v)
		}
		u.setCounting()
	}
	return u.counterWake(0)
}
