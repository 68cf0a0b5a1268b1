package smmuv3

import (
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
	rGatosCtrl
	rGatosSID
	rGatosAddr
	rGatosPAR
	rVatosSel
	rVatosCtrl
	rVatosSID
	rVatosAddr
	rVatosPAR
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
	effAtosCtrl
	effAtos      // what an address translation operation is given
	effPm        // counter group: what is counted
	effPmBits    // its registers that set or clear bits
	effPmCapture // CAPR
	effPmIrq     // its message
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
	ro := func(off uint32, v uint64) reg.Reg {
		r := spec.Registers.At(off)
		r.Reset = v
		return r
	}
	rw := func(off uint32, mask uint64, e reg.Effect) reg.Reg {
		r := spec.Registers.At(off)
		r.RW, r.Effect = mask, e
		return r
	}
	base := func(off uint32, e reg.Effect) reg.Reg {
		return rw(off, spec.QBaseLog2.Mask()|spec.QBaseAddr.Mask()|spec.QBaseHint.Mask(), e)
	}
	index := func(off uint32, e reg.Effect, more reg.Bits) reg.Reg {
		return rw(off, spec.QIndex.Mask()|more.Mask(), e)
	}
	gbpa := rw(spec.OffGBPA, gbpaMask, effGBPA)
	gbpa.Reset = spec.GbpaSHCFG.Put(spec.ShCfgIncoming)
	irq := uint64(irqMask)
	if c.PRI {
		irq |= spec.IrqPRIQ.Mask()
	}
	t := []reg.Reg{
		ro(spec.OffIDR0, id.IDR0),
		ro(spec.OffIDR1, id.IDR1),
		ro(spec.OffIDR2, id.IDR2),
		ro(spec.OffIDR3, id.IDR3),
		ro(spec.OffIDR4, 0),
		ro(spec.OffIDR5, id.IDR5),
		ro(spec.OffIIDR, id.IIDR),
		ro(spec.OffAIDR, id.AIDR),
		rw(spec.OffCR0, c.cr0Mask(), effCR0),
		ro(spec.OffCR0ACK, 0),
		rw(spec.OffCR1, cr1Mask, effCR1),
		rw(spec.OffCR2, c.cr2Mask(), effCR2),
		ro(spec.OffSTATUSR, 0),
		gbpa,
		ro(spec.OffAGBPA, 0),
		rw(spec.OffIRQCtrl, irq, effIrqCtrl),
		ro(spec.OffIRQCtrlACK, 0),
		ro(spec.OffGERROR, 0),
		rw(spec.OffGERRORN, spec.GERRORLayout.Covered()[0], effGERRORN),
		rw(spec.OffGERRORIRQCfg0, spec.IrqCfg0Addr.Mask(), effIrqCfg),
		rw(spec.OffGERRORIRQCfg1, spec.IrqCfg1Data.Mask(), effIrqCfg),
		rw(spec.OffGERRORIRQCfg2, spec.IrqCfg2Attr.Mask()|spec.IrqCfg2SH.Mask(), effIrqCfg),
		rw(spec.OffSTRTABBase, spec.StrtabAddr.Mask()|spec.StrtabRA.Mask(), effStrtab),
		rw(spec.OffSTRTABBaseCfg, c.strtabCfgMask(), effStrtab),
		base(spec.OffCMDQBase, effCmdqCfg),
		index(spec.OffCMDQProd, effCmdqProd, spec.QIndex),
		index(spec.OffCMDQCons, effCmdqCfg, spec.CmdqErr),
		base(spec.OffEVENTQBase, effEventqCfg),
		rw(spec.OffEVENTQIRQCfg0, spec.IrqCfg0Addr.Mask(), effIrqCfg),
		rw(spec.OffEVENTQIRQCfg1, spec.IrqCfg1Data.Mask(), effIrqCfg),
		rw(spec.OffEVENTQIRQCfg2, spec.IrqCfg2Attr.Mask()|spec.IrqCfg2SH.Mask(), effIrqCfg),
		base(spec.OffPRIQBase, effPriqCfg),
		rw(spec.OffPRIQIRQCfg0, spec.IrqCfg0Addr.Mask(), effIrqCfg),
		rw(spec.OffPRIQIRQCfg1, spec.IrqCfg1Data.Mask(), effIrqCfg),
		rw(spec.OffPRIQIRQCfg2, spec.PRIQIRQCfg2Layout.Covered()[0], effIrqCfg),
		index(spec.OffEVENTQProd, effEventqCfg, spec.QOverflow),
		index(spec.OffEVENTQCons, effEventqCons, spec.QOverflow),
		index(spec.OffPRIQProd, effPriqCfg, spec.QOverflow),
		index(spec.OffPRIQCons, effPriqCons, spec.QOverflow),
		rw(spec.OffGATOSCtrl, spec.AtosRUN.Mask(), effAtosCtrl),
		rw(spec.OffGATOSSID, c.atosSIDMask(), effAtos),
		rw(spec.OffGATOSAddr, spec.ATOSAddrLayout.Covered()[0], effAtos),
		ro(spec.OffGATOSPAR, 0),
		rw(spec.OffVATOSSel, c.vmidMask(), effAtos),
		rw(spec.OffVATOSCtrl, spec.AtosRUN.Mask(), effAtosCtrl),
		rw(spec.OffVATOSSID, c.atosSIDMask(), effAtos),
		rw(spec.OffVATOSAddr, spec.ATOSAddrLayout.Covered()[0], effAtos),
		ro(spec.OffVATOSPAR, 0),
	}
	for i, v := range pidr {
		t = append(t, ro(spec.OffPIDR4+4*uint32(i), v))
	}
	if !c.PRI {
		drop(t, rPriqBase, rPriqIrq0, rPriqIrq1, rPriqIrq2, rPriqProd, rPriqCons)
	}
	if !c.ATOS {
		drop(t, rGatosCtrl, rGatosSID, rGatosAddr, rGatosPAR)
	}
	if !c.VATOS {
		drop(t, rVatosSel, rVatosCtrl, rVatosSID, rVatosAddr, rVatosPAR)
	}
	if !c.MSI {
		drop(t, rGerrorIrq0, rGerrorIrq1, rGerrorIrq2, rEventqIrq0, rEventqIrq1, rEventqIrq2, rPriqIrq0, rPriqIrq1)
		t[rPriqIrq2].RW &= spec.IrqCfg2LO.Mask()
	}
	return append(t, c.pmRegisters()...)
}

// drop makes registers ones that read 0 and take nothing. Hardware may keep something in them.
func drop(t []reg.Reg, index ...int) {
	for _, i := range index {
		t[i] = reg.Reg{Name: t[i].Name, Off: t[i].Off, Size: t[i].Size, WO: true}
	}
}
