package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Registers by index into the table. A register that the configuration does not have is in the table
// too, but reads 0 and takes nothing.
const (
	rIDR0 = iota
	rIDR1
	rIDR2
	rIDR3
	rIDR4
	rIDR5
	rIIDR
	rAIDR
	rCR0
	rCR0ACK
	rCR1
	rCR2
	rSTATUSR
	rGBPA
	rAGBPA
	rIrqCtrl
	rIrqCtrlAck
	rGERROR
	rGERRORN
	rGerrorIrq0
	rGerrorIrq1
	rGerrorIrq2
	rStrtabBase
	rStrtabCfg
	rCmdqBase
	rCmdqProd
	rCmdqCons
	rEventqBase
	rEventqIrq0
	rEventqIrq1
	rEventqIrq2
	rPriqBase
	rPriqIrq0
	rPriqIrq1
	rPriqIrq2
	rEventqProd
	rEventqCons
	rPriqProd
	rPriqCons
	rPIDR // the first of twelve
)

// What a write sets off.
const (
	effNone reg.Effect = iota
	effCR0
	effCR1
	effCR2
	effGBPA
	effIrqCtrl
	effGERRORN
	effIrqCfg
	effStrtab
	effCmdqCfg
	effCmdqProd
	effEventqCfg
	effEventqCons
	effPriqCfg
	effPriqCons
)

// cr0Mask returns the bits of CR0 that this unit has.
func (c *Config) cr0Mask() uint64 {
	m := spec.Cr0SMMUEN.Mask() | spec.Cr0EVENTQEN.Mask() | spec.Cr0CMDQEN.Mask()
	if c.PRI {
		m |= spec.Cr0PRIQEN.Mask()
	}
	if c.ATS {
		m |= spec.Cr0ATSCHK.Mask()
	}
	if c.VMW {
		m |= spec.Cr0VMW.Mask()
	}
	return m
}

func (c *Config) cr2Mask() uint64 {
	m := spec.Cr2RECINVSID.Mask() | spec.Cr2PTM.Mask()
	if c.HYP {
		m |= spec.Cr2E2H.Mask()
	}
	if c.ATSRECERR {
		m |= spec.Cr2RecCfgATS.Mask()
	}
	return m
}

const (
	cr1Mask  = 0xfff
	gbpaMask = 1<<31 | 1<<20 | 0xf<<16 | 3<<12 | 0xf<<8 | 0x1f
	irqMask  = 1<<0 | 1<<2
)

// strtabCfgMask returns the bits of STRTAB_BASE_CFG: FMT and SPLIT are those of two-level tables.
func (c *Config) strtabCfgMask() uint64 {
	m := spec.StrtabLog2.Mask()
	if c.STLevel == spec.STLevel2 {
		m |= spec.StrtabSplit.Mask() | spec.StrtabFmt.Mask()
	}
	return m
}

// pidr are the identification registers from PIDR4 on, 6.3: no JEP106 code of a vendor, CIDR0 to CIDR3 of a
// CoreLink component.
var pidr = [12]uint64{8: 0x0d, 9: 0xf0, 10: 0x05, 11: 0xb1}

// registers returns the table of both pages for the unit's configuration.
func (u *Unit) registers() []reg.Reg {
	c, id := &u.cfg, &u.id
	ro := func(name string, off uint32, v uint64, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: 4, Reset: v, Layout: l, Clause: "6.3"}
	}
	rw := func(name string, off uint32, size uint8, mask uint64, e reg.Effect, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: size, RW: mask, Effect: e, Layout: l, Clause: "6.3"}
	}
	base := func(name string, off uint32, e reg.Effect, l *reg.Layout) reg.Reg {
		return rw(name, off, 8, spec.QBaseLog2.Mask()|spec.QBaseAddr.Mask()|spec.QBaseHint.Mask(), e, l)
	}
	index := func(name string, off uint32, e reg.Effect, more reg.Bits, l *reg.Layout) reg.Reg {
		return rw(name, off, 4, spec.QIndex.Mask()|more.Mask(), e, l)
	}
	gbpa := rw("GBPA", spec.OffGBPA, 4, gbpaMask, effGBPA, &spec.GBPALayout)
	gbpa.Reset = spec.GbpaSHCFG.Put(spec.ShCfgIncoming)
	irq := uint64(irqMask)
	if c.PRI {
		irq |= spec.IrqPRIQ.Mask()
	}
	t := []reg.Reg{
		ro("IDR0", spec.OffIDR0, id.IDR0, &spec.IDR0Layout),
		ro("IDR1", spec.OffIDR1, id.IDR1, &spec.IDR1Layout),
		ro("IDR2", spec.OffIDR2, 0, &spec.IDR2Layout),
		ro("IDR3", spec.OffIDR3, id.IDR3, &spec.IDR3Layout),
		ro("IDR4", spec.OffIDR4, 0, nil),
		ro("IDR5", spec.OffIDR5, id.IDR5, &spec.IDR5Layout),
		ro("IIDR", spec.OffIIDR, id.IIDR, &spec.IIDRLayout),
		ro("AIDR", spec.OffAIDR, id.AIDR, &spec.AIDRLayout),
		rw("CR0", spec.OffCR0, 4, c.cr0Mask(), effCR0, &spec.CR0Layout),
		ro("CR0ACK", spec.OffCR0ACK, 0, &spec.CR0Layout),
		rw("CR1", spec.OffCR1, 4, cr1Mask, effCR1, &spec.CR1Layout),
		rw("CR2", spec.OffCR2, 4, c.cr2Mask(), effCR2, &spec.CR2Layout),
		ro("STATUSR", spec.OffSTATUSR, 0, nil),
		gbpa,
		ro("AGBPA", spec.OffAGBPA, 0, nil),
		rw("IRQ_CTRL", spec.OffIRQCtrl, 4, irq, effIrqCtrl, &spec.IRQCtrlLayout),
		ro("IRQ_CTRLACK", spec.OffIRQCtrlACK, 0, &spec.IRQCtrlLayout),
		ro("GERROR", spec.OffGERROR, 0, &spec.GERRORLayout),
		rw("GERRORN", spec.OffGERRORN, 4, spec.GERRORLayout.Covered()[0], effGERRORN, &spec.GERRORLayout),
		rw("GERROR_IRQ_CFG0", spec.OffGERRORIRQCfg0, 8, spec.IrqCfg0Addr.Mask(), effIrqCfg, &spec.IRQCfg0Layout),
		rw("GERROR_IRQ_CFG1", spec.OffGERRORIRQCfg1, 4, spec.IrqCfg1Data.Mask(), effIrqCfg, &spec.IRQCfg1Layout),
		rw("GERROR_IRQ_CFG2", spec.OffGERRORIRQCfg2, 4, spec.IrqCfg2Attr.Mask()|spec.IrqCfg2SH.Mask(), effIrqCfg, &spec.IRQCfg2Layout),
		rw("STRTAB_BASE", spec.OffSTRTABBase, 8, spec.StrtabAddr.Mask()|spec.StrtabRA.Mask(), effStrtab, &spec.STRTABBaseLayout),
		rw("STRTAB_BASE_CFG", spec.OffSTRTABBaseCfg, 4, c.strtabCfgMask(), effStrtab, &spec.STRTABBaseCfgLayout),
		base("CMDQ_BASE", spec.OffCMDQBase, effCmdqCfg, &spec.CMDQBaseLayout),
		index("CMDQ_PROD", spec.OffCMDQProd, effCmdqProd, spec.QIndex, &spec.CMDQProdLayout),
		index("CMDQ_CONS", spec.OffCMDQCons, effCmdqCfg, spec.CmdqErr, &spec.CMDQConsLayout),
		base("EVENTQ_BASE", spec.OffEVENTQBase, effEventqCfg, &spec.EVENTQBaseLayout),
		rw("EVENTQ_IRQ_CFG0", spec.OffEVENTQIRQCfg0, 8, spec.IrqCfg0Addr.Mask(), effIrqCfg, &spec.IRQCfg0Layout),
		rw("EVENTQ_IRQ_CFG1", spec.OffEVENTQIRQCfg1, 4, spec.IrqCfg1Data.Mask(), effIrqCfg, &spec.IRQCfg1Layout),
		rw("EVENTQ_IRQ_CFG2", spec.OffEVENTQIRQCfg2, 4, spec.IrqCfg2Attr.Mask()|spec.IrqCfg2SH.Mask(), effIrqCfg, &spec.IRQCfg2Layout),
		base("PRIQ_BASE", spec.OffPRIQBase, effPriqCfg, &spec.PRIQBaseLayout),
		rw("PRIQ_IRQ_CFG0", spec.OffPRIQIRQCfg0, 8, spec.IrqCfg0Addr.Mask(), effIrqCfg, &spec.IRQCfg0Layout),
		rw("PRIQ_IRQ_CFG1", spec.OffPRIQIRQCfg1, 4, spec.IrqCfg1Data.Mask(), effIrqCfg, &spec.IRQCfg1Layout),
		rw("PRIQ_IRQ_CFG2", spec.OffPRIQIRQCfg2, 4, spec.PRIQIRQCfg2Layout.Covered()[0], effIrqCfg, &spec.PRIQIRQCfg2Layout),
		index("EVENTQ_PROD", spec.OffEVENTQProd, effEventqCfg, spec.QOverflow, &spec.QProdLayout),
		index("EVENTQ_CONS", spec.OffEVENTQCons, effEventqCons, spec.QOverflow, &spec.QConsLayout),
		index("PRIQ_PROD", spec.OffPRIQProd, effPriqCfg, spec.QOverflow, &spec.QProdLayout),
		index("PRIQ_CONS", spec.OffPRIQCons, effPriqCons, spec.QOverflow, &spec.QConsLayout),
	}
	for i, v := range pidr {
		t = append(t, ro(fmt.Sprintf("PIDR/CIDR %d", i), spec.OffPIDR4+4*uint32(i), v, nil))
	}
	if !c.PRI {
		drop(t, rPriqBase, rPriqIrq0, rPriqIrq1, rPriqIrq2, rPriqProd, rPriqCons)
	}
	if !c.MSI {
		drop(t, rGerrorIrq0, rGerrorIrq1, rGerrorIrq2, rEventqIrq0, rEventqIrq1, rEventqIrq2, rPriqIrq0, rPriqIrq1)
		t[rPriqIrq2].RW &= spec.IrqCfg2LO.Mask()
	}
	return t
}

// drop makes registers ones that read 0 and take nothing. Hardware may keep something in them.
func drop(t []reg.Reg, index ...int) {
	for _, i := range index {
		t[i] = reg.Reg{Name: t[i].Name, Off: t[i].Off, Size: t[i].Size, WO: true}
	}
}
