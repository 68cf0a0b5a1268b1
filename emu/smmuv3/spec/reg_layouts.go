package spec

import "github.com/iommulab/iommulab/emu/reg"

// CR0Layout describes CR0 and CR0ACK.
var CR0Layout = reg.Layout{Name: "CR0", Bits: 32, Clause: "6.3.9", Fields: []reg.Field{
	Cr0SMMUEN.Field("SMMUEN", "translation on"),
	Cr0PRIQEN.Field("PRIQEN", "PRI queue on"),
	Cr0EVENTQEN.Field("EVENTQEN", "event queue on"),
	Cr0CMDQEN.Field("CMDQEN", "command queue on"),
	Cr0ATSCHK.Field("ATSCHK", "translated transactions are checked"),
	Cr0VMW.Field("VMW", "VMID bits that invalidations ignore"),
	Cr0DPTWalk.Field("DPT_WALK_EN", "device permission table walks"),
}}

// CR1Layout describes CR1.
var CR1Layout = reg.Layout{Name: "CR1", Bits: 32, Clause: "6.3.11", Fields: []reg.Field{
	Cr1QueueIC.Field("QUEUE_IC", "inner cacheability: 0 NC, 1 WB, 2 WT"),
	Cr1QueueOC.Field("QUEUE_OC", "outer cacheability"),
	Cr1QueueSH.Field("QUEUE_SH", "0 non-, 2 outer, 3 inner shareable"),
	Cr1TableIC.Field("TABLE_IC", "inner cacheability"),
	Cr1TableOC.Field("TABLE_OC", "outer cacheability"),
	Cr1TableSH.Field("TABLE_SH", "shareability"),
}}

// CR2Layout describes CR2.
var CR2Layout = reg.Layout{Name: "CR2", Bits: 32, Clause: "6.3.12", Fields: []reg.Field{
	Cr2E2H.Field("E2H", "EL2 contexts are EL2-E2H"),
	Cr2RECINVSID.Field("RECINVSID", "record C_BAD_STREAMID"),
	Cr2PTM.Field("PTM", "no part in broadcast TLB maintenance"),
	Cr2RecCfgATS.Field("REC_CFG_ATS", "record configuration errors of ATS"),
}}

// GBPALayout describes GBPA.
var GBPALayout = reg.Layout{Name: "GBPA", Bits: 32, Clause: "6.3.14", Fields: []reg.Field{
	GbpaMemAttr.Field("MemAttr", "memory type, with MTCFG"),
	GbpaMTCFG.Field("MTCFG", "replace the memory type"),
	GbpaALLOCCFG.Field("ALLOCCFG", "allocation hints"),
	GbpaSHCFG.Field("SHCFG", "0 non-shareable, 1 incoming, 2 outer, 3 inner"),
	GbpaPRIVCFG.Field("PRIVCFG", "2 unprivileged, 3 privileged"),
	GbpaINSTCFG.Field("INSTCFG", "2 data, 3 instruction"),
	GbpaABORT.Field("ABORT", "abort instead of bypass"),
	GbpaUPDATE.Field("UPDATE", "an update is under way"),
}}

// IRQCtrlLayout describes IRQ_CTRL and IRQ_CTRLACK.
var IRQCtrlLayout = reg.Layout{Name: "IRQ_CTRL", Bits: 32, Clause: "6.3.16", Fields: []reg.Field{
	IrqGERROR.Field("GERROR_IRQEN", "interrupt of global errors"),
	IrqPRIQ.Field("PRIQ_IRQEN", "interrupt of the PRI queue"),
	IrqEVENTQ.Field("EVENTQ_IRQEN", "interrupt of the event queue"),
}}

// GERRORLayout describes GERROR and GERRORN.
var GERRORLayout = reg.Layout{Name: "GERROR", Bits: 32, Clause: "6.3.18", Fields: []reg.Field{
	GerrCMDQ.Field("CMDQ_ERR", "command queue stopped: CMDQ_CONS.ERR"),
	GerrEVENTQAbt.Field("EVENTQ_ABT_ERR", "write to the event queue aborted"),
	GerrPRIQAbt.Field("PRIQ_ABT_ERR", "write to the PRI queue aborted"),
	GerrMSICMDQ.Field("MSI_CMDQ_ABT_ERR", "message of CMD_SYNC aborted"),
	GerrMSIEVENTQ.Field("MSI_EVENTQ_ABT_ERR", "message of the event queue aborted"),
	GerrMSIPRIQ.Field("MSI_PRIQ_ABT_ERR", "message of the PRI queue aborted"),
	GerrMSIGERROR.Field("MSI_GERROR_ABT_ERR", "message of a global error aborted"),
	GerrSFM.Field("SFM_ERR", "service failure mode"),
	GerrCMDQP.Field("CMDQP_ERR", "an enhanced command queue stopped"),
	GerrDPT.Field("DPT_ERR", "device permission table"),
}}

// IRQCfg0Layout describes the address registers of messages.
var IRQCfg0Layout = reg.Layout{Name: "IRQ_CFG0", Bits: 64, Clause: "6.3.20", Fields: []reg.Field{
	IrqCfg0Addr.Field("ADDR", "message address >> 2; 0: no message"),
}}

// IRQCfg1Layout describes the data registers of messages.
var IRQCfg1Layout = reg.Layout{Name: "IRQ_CFG1", Bits: 32, Clause: "6.3.21", Fields: []reg.Field{
	IrqCfg1Data.Field("DATA", "message data"),
}}

// IRQCfg2Layout describes the attribute registers of messages.
var IRQCfg2Layout = reg.Layout{Name: "IRQ_CFG2", Bits: 32, Clause: "6.3.22", Fields: []reg.Field{
	IrqCfg2Attr.Field("MEMATTR", "memory type"),
	IrqCfg2SH.Field("SH", "shareability"),
}}

// PRIQIRQCfg2Layout describes PRIQ_IRQ_CFG2.
var PRIQIRQCfg2Layout = reg.Layout{Name: "PRIQ_IRQ_CFG2", Bits: 32, Clause: "6.3.39", Fields: []reg.Field{
	IrqCfg2Attr.Field("MEMATTR", "memory type"),
	IrqCfg2SH.Field("SH", "shareability"),
	IrqCfg2LO.Field("LO", "interrupt on the last request of a group only"),
}}

// STRTABBaseLayout describes STRTAB_BASE.
var STRTABBaseLayout = reg.Layout{Name: "STRTAB_BASE", Bits: 64, Clause: "6.3.23", Fields: []reg.Field{
	StrtabAddr.Field("ADDR", "table >> 6"),
	StrtabRA.Field("RA", "read allocation hint"),
}}

// STRTABBaseCfgLayout describes STRTAB_BASE_CFG.
var STRTABBaseCfgLayout = reg.Layout{Name: "STRTAB_BASE_CFG", Bits: 32, Clause: "6.3.24", Fields: []reg.Field{
	StrtabLog2.Field("LOG2SIZE", "StreamIDs, log2"),
	StrtabSplit.Field("SPLIT", "StreamID bits of the second level: 6, 8, 10"),
	StrtabFmt.Field("FMT", "0 linear, 1 two-level"),
}}

// CMDQBaseLayout describes CMDQ_BASE.
var CMDQBaseLayout = qBase("CMDQ_BASE", "6.3.25", "RA", "read allocation hint")

// EVENTQBaseLayout describes EVENTQ_BASE.
var EVENTQBaseLayout = qBase("EVENTQ_BASE", "6.3.28", "WA", "write allocation hint")

// PRIQBaseLayout describes PRIQ_BASE.
var PRIQBaseLayout = qBase("PRIQ_BASE", "6.3.34", "WA", "write allocation hint")

func qBase(name, clause, hint, help string) reg.Layout {
	return reg.Layout{Name: name, Bits: 64, Clause: clause, Fields: []reg.Field{
		QBaseLog2.Field("LOG2SIZE", "entries, log2"),
		QBaseAddr.Field("ADDR", "queue >> 5"),
		QBaseHint.Field(hint, help),
	}}
}

// CMDQProdLayout describes CMDQ_PROD.
var CMDQProdLayout = reg.Layout{Name: "CMDQ_PROD", Bits: 32, Clause: "6.3.26", Fields: []reg.Field{
	QIndex.Field("WR", "write index and wrap flag"),
}}

// CMDQConsLayout describes CMDQ_CONS.
var CMDQConsLayout = reg.Layout{Name: "CMDQ_CONS", Bits: 32, Clause: "6.3.27", Fields: []reg.Field{
	QIndex.Field("RD", "read index and wrap flag"),
	CmdqErr.Field("ERR", "1 illegal, 2 fetch aborted, 3 ATC_INV timed out; while GERROR.CMDQ_ERR is active"),
}}

// QProdLayout describes EVENTQ_PROD and PRIQ_PROD.
var QProdLayout = reg.Layout{Name: "PROD", Bits: 32, Clause: "6.3.29", Fields: []reg.Field{
	QIndex.Field("WR", "write index and wrap flag"),
	QOverflow.Field("OVFLG", "overflow: differs from OVACKFLG"),
}}

// QConsLayout describes EVENTQ_CONS and PRIQ_CONS.
var QConsLayout = reg.Layout{Name: "CONS", Bits: 32, Clause: "6.3.30", Fields: []reg.Field{
	QIndex.Field("RD", "read index and wrap flag"),
	QOverflow.Field("OVACKFLG", "acknowledges OVFLG"),
}}
