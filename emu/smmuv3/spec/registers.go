package spec

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
)

// Registers names the registers of the pages by offset, 6.2: those of the Non-secure programming
// interface without the queues of ECMDQ, memory partitioning and device permission tables.
var Registers = registers()

func register(name string, off uint32, size uint8, l *reg.Layout) reg.Reg {
	return reg.Reg{Name: name, Off: off, Size: size, Layout: l, Clause: "6.3"}
}

func registers() reg.Table {
	t := reg.Table{
		register("IDR0", OffIDR0, 4, &IDR0Layout),
		register("IDR1", OffIDR1, 4, &IDR1Layout),
		register("IDR2", OffIDR2, 4, &IDR2Layout),
		register("IDR3", OffIDR3, 4, &IDR3Layout),
		register("IDR4", OffIDR4, 4, nil),
		register("IDR5", OffIDR5, 4, &IDR5Layout),
		register("IIDR", OffIIDR, 4, &IIDRLayout),
		register("AIDR", OffAIDR, 4, &AIDRLayout),
		register("CR0", OffCR0, 4, &CR0Layout),
		register("CR0ACK", OffCR0ACK, 4, &CR0Layout),
		register("CR1", OffCR1, 4, &CR1Layout),
		register("CR2", OffCR2, 4, &CR2Layout),
		register("STATUSR", OffSTATUSR, 4, nil),
		register("GBPA", OffGBPA, 4, &GBPALayout),
		register("AGBPA", OffAGBPA, 4, nil),
		register("IRQ_CTRL", OffIRQCtrl, 4, &IRQCtrlLayout),
		register("IRQ_CTRLACK", OffIRQCtrlACK, 4, &IRQCtrlLayout),
		register("GERROR", OffGERROR, 4, &GERRORLayout),
		register("GERRORN", OffGERRORN, 4, &GERRORLayout),
		register("GERROR_IRQ_CFG0", OffGERRORIRQCfg0, 8, &IRQCfg0Layout),
		register("GERROR_IRQ_CFG1", OffGERRORIRQCfg1, 4, &IRQCfg1Layout),
		register("GERROR_IRQ_CFG2", OffGERRORIRQCfg2, 4, &IRQCfg2Layout),
		register("STRTAB_BASE", OffSTRTABBase, 8, &STRTABBaseLayout),
		register("STRTAB_BASE_CFG", OffSTRTABBaseCfg, 4, &STRTABBaseCfgLayout),
		register("CMDQ_BASE", OffCMDQBase, 8, &CMDQBaseLayout),
		register("CMDQ_PROD", OffCMDQProd, 4, &CMDQProdLayout),
		register("CMDQ_CONS", OffCMDQCons, 4, &CMDQConsLayout),
		register("EVENTQ_BASE", OffEVENTQBase, 8, &EVENTQBaseLayout),
		register("EVENTQ_IRQ_CFG0", OffEVENTQIRQCfg0, 8, &IRQCfg0Layout),
		register("EVENTQ_IRQ_CFG1", OffEVENTQIRQCfg1, 4, &IRQCfg1Layout),
		register("EVENTQ_IRQ_CFG2", OffEVENTQIRQCfg2, 4, &IRQCfg2Layout),
		register("PRIQ_BASE", OffPRIQBase, 8, &PRIQBaseLayout),
		register("PRIQ_IRQ_CFG0", OffPRIQIRQCfg0, 8, &IRQCfg0Layout),
		register("PRIQ_IRQ_CFG1", OffPRIQIRQCfg1, 4, &IRQCfg1Layout),
		register("PRIQ_IRQ_CFG2", OffPRIQIRQCfg2, 4, &PRIQIRQCfg2Layout),
		register("GATOS_CTRL", OffGATOSCtrl, 4, &ATOSCtrlLayout),
		register("GATOS_SID", OffGATOSSID, 8, &ATOSSIDLayout),
		register("GATOS_ADDR", OffGATOSAddr, 8, &ATOSAddrLayout),
		register("GATOS_PAR", OffGATOSPAR, 8, &ATOSPARLayout),
		register("VATOS_SEL", OffVATOSSel, 4, &VATOSSelLayout),
	}
	for i := range uint32(12) {
		t = append(t, register(fmt.Sprintf("PIDR/CIDR %d", i), OffPIDR4+4*i, 4, nil))
	}
	return append(t,
		register("EVENTQ_PROD", OffEVENTQProd, 4, &QProdLayout),
		register("EVENTQ_CONS", OffEVENTQCons, 4, &QConsLayout),
		register("PRIQ_PROD", OffPRIQProd, 4, &QProdLayout),
		register("PRIQ_CONS", OffPRIQCons, 4, &QConsLayout),
		register("VATOS_CTRL", OffVATOSCtrl, 4, &ATOSCtrlLayout),
		register("VATOS_SID", OffVATOSSID, 8, &ATOSSIDLayout),
		register("VATOS_ADDR", OffVATOSAddr, 8, &ATOSAddrLayout),
		register("VATOS_PAR", OffVATOSPAR, 8, &ATOSPARLayout),
	)
}
