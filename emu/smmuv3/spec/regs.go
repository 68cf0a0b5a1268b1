package spec

import "github.com/iommulab/iommulab/emu/reg"

// CR0 and CR0ACK, 6.3.9 and 6.3.10.
const (
	Cr0SMMUEN   reg.Bits = 0_000
	Cr0PRIQEN   reg.Bits = 1_001
	Cr0EVENTQEN reg.Bits = 2_002
	Cr0CMDQEN   reg.Bits = 3_003
	Cr0ATSCHK   reg.Bits = 4_004
	Cr0VMW      reg.Bits = 8_006
	Cr0DPTWalk  reg.Bits = 10_010

	MaxVMW = 4 // larger values of Cr0VMW count as 0
)

// CR1, 6.3.11. Shareability is that of the stage 1 descriptors, cacheability has an encoding of its
// own.
const (
	Cr1QueueIC reg.Bits = 1_000
	Cr1QueueOC reg.Bits = 3_002
	Cr1QueueSH reg.Bits = 5_004
	Cr1TableIC reg.Bits = 7_006
	Cr1TableOC reg.Bits = 9_008
	Cr1TableSH reg.Bits = 11_010

	Cr1NC = 0 // values of the IC and OC fields
	Cr1WB = 1
	Cr1WT = 2

	ShNone  = 0 // values of all shareability fields
	ShOuter = 2
	ShInner = 3
)

// CR2, 6.3.12.
const (
	Cr2E2H       reg.Bits = 0_000
	Cr2RECINVSID reg.Bits = 1_001
	Cr2PTM       reg.Bits = 2_002
	Cr2RecCfgATS reg.Bits = 3_003
)

// StatusrDormant is the only field of STATUSR, 6.3.13.
const StatusrDormant reg.Bits = 0_000

// GBPA, 6.3.14.
const (
	GbpaMemAttr  reg.Bits = 3_000
	GbpaMTCFG    reg.Bits = 4_004
	GbpaALLOCCFG reg.Bits = 11_008
	GbpaSHCFG    reg.Bits = 13_012
	GbpaPRIVCFG  reg.Bits = 17_016
	GbpaINSTCFG  reg.Bits = 19_018
	GbpaABORT    reg.Bits = 20_020
	GbpaUPDATE   reg.Bits = 31_031

	ShCfgIncoming = 1 // value of GbpaSHCFG and SteSHCFG: as the transaction says
	PrivIncoming  = 0 // values of GbpaPRIVCFG and StePRIVCFG, 1 as 0
	PrivUser      = 2
	PrivPriv      = 3
	InstIncoming  = 0 // values of GbpaINSTCFG and SteINSTCFG, 1 as 0
	InstData      = 2
	InstInst      = 3
)

// IRQ_CTRL and IRQ_CTRLACK, 6.3.16.
const (
	IrqGERROR reg.Bits = 0_000
	IrqPRIQ   reg.Bits = 1_001
	IrqEVENTQ reg.Bits = 2_002
)

// GERROR and GERRORN, 6.3.18. An error is active while its bit differs between the two.
const (
	GerrCMDQ      reg.Bits = 0_000
	GerrEVENTQAbt reg.Bits = 2_002
	GerrPRIQAbt   reg.Bits = 3_003
	GerrMSICMDQ   reg.Bits = 4_004
	GerrMSIEVENTQ reg.Bits = 5_005
	GerrMSIPRIQ   reg.Bits = 6_006
	GerrMSIGERROR reg.Bits = 7_007
	GerrSFM       reg.Bits = 8_008
	GerrCMDQP     reg.Bits = 9_009
	GerrDPT       reg.Bits = 10_010
	NumGerrorBits          = 11
)

// GERROR_IRQ_CFG, EVENTQ_IRQ_CFG and PRIQ_IRQ_CFG, 6.3.20 to 6.3.22.
const (
	IrqCfg0Addr reg.Bits = 51_002
	IrqCfg1Data reg.Bits = 31_000
	IrqCfg2Attr reg.Bits = 3_000
	IrqCfg2SH   reg.Bits = 5_004
	IrqCfg2LO   reg.Bits = 31_031 // PRIQ: interrupt on the last request of a group
)

// Interrupt lines, 3.18.2. Their numbers are not the specification's, which leaves them to the platform. LineEvent
// is the wake-up event of SYNC (4.7.3), which processors wait for with WFE.
const (
	LineGERROR uint32 = iota
	LineEVENTQ
	LinePRIQ
	LineSYNC
	LinePMCG
	LineEvent
)

// STRTAB_BASE and STRTAB_BASE_CFG, 6.3.23 and 6.3.24.
const (
	StrtabAddr    reg.Bits = 51_006
	StrtabRA      reg.Bits = 62_062
	StrtabLog2    reg.Bits = 5_000
	StrtabSplit   reg.Bits = 10_006
	StrtabFmt     reg.Bits = 17_016
	StrtabFmt2Lvl          = 1 // value of StrtabFmt; others count as linear
)

// StrtabSplits are the values that STRTAB_BASE_CFG.SPLIT may have; others count as the first.
var StrtabSplits = [3]uint64{6, 8, 10}

// CMDQ_BASE, EVENTQ_BASE and PRIQ_BASE, 6.3.25. Bit 62 is the read allocation hint of the command
// queue and the write allocation hint of the others.
const (
	QBaseLog2 reg.Bits = 4_000
	QBaseAddr reg.Bits = 51_005
	QBaseHint reg.Bits = 62_062
)

// Indexes of queues, 6.3.26 to 6.3.30. Of the 20 bits the queue's size says how many count; the one
// above those is the wrap flag.
const (
	QIndex     reg.Bits = 19_000
	CmdqErr    reg.Bits = 30_024 // CMDQ_CONS
	QOverflow  reg.Bits = 31_031 // EVENTQ_PROD, PRIQ_PROD: OVFLG; in CONS: OVACKFLG
	CerrorNone          = 0      // values of CmdqErr, 7.1
	CerrorILL           = 1
	CerrorABT           = 2
	CerrorATC           = 3
)

// Sizes of the entries of queues and tables in bytes.
const (
	CommandSize = 16
	EventSize   = 32
	PRISize     = 16
	STESize     = 64
	CDSize      = 64
	DescSize    = 8 // L1STD, L1CD, translation table descriptors
)
