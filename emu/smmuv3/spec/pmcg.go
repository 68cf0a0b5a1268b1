package spec

import "github.com/iommulab/iommulab/emu/reg"

// Performance monitor counter group, 10.4: registers of its page.
const (
	PmcgOffEVCNTR0   = 0x000 // stride 8
	PmcgOffEVTYPER0  = 0x400 // stride 4
	PmcgOffSVR0      = 0x600 // stride 8
	PmcgOffSMR0      = 0xa00 // stride 4
	PmcgOffCNTENSET0 = 0xc00
	PmcgOffCNTENCLR0 = 0xc20
	PmcgOffINTENSET0 = 0xc40
	PmcgOffINTENCLR0 = 0xc60
	PmcgOffOVSCLR0   = 0xc80
	PmcgOffOVSSET0   = 0xcc0
	PmcgOffCAPR      = 0xd88
	PmcgOffSCR       = 0xdf8
	PmcgOffCFGR      = 0xe00
	PmcgOffCR        = 0xe04
	PmcgOffIIDR      = 0xe08
	PmcgOffCEID0     = 0xe20
	PmcgOffCEID1     = 0xe28
	PmcgOffIRQCtrl   = 0xe50
	PmcgOffIRQCtrlAc = 0xe54
	PmcgOffIRQCfg0   = 0xe58
	PmcgOffIRQCfg1   = 0xe60
	PmcgOffIRQCfg2   = 0xe64
	PmcgOffIRQStatus = 0xe68
	PmcgWindow       = 0x1000
)

// EVTYPER, SMR, CAPR, CFGR, CR and IRQ_CTRL.
const (
	EvtyperEvent   reg.Bits = 15_000
	EvtyperSIDSpan reg.Bits = 29_029
	EvtyperOVFCAP  reg.Bits = 31_031
	SmrStreamID    reg.Bits = 31_000
	CaprCapture    reg.Bits = 0_000
	CfgrNCTR       reg.Bits = 5_000  // counters - 1
	CfgrSIZE       reg.Bits = 13_008 // bits - 1
	CfgrRELOC      reg.Bits = 20_020
	CfgrMSI        reg.Bits = 21_021
	CfgrCAPTURE    reg.Bits = 22_022
	CfgrSIDFilter  reg.Bits = 23_023 // one filter for all counters
	PmcgCrE        reg.Bits = 0_000
	PmcgIrqEn      reg.Bits = 0_000
	PmcgIrqAbt     reg.Bits = 0_000 // IRQ_STATUS

	MaxCounters = 64
)

// Events that counters count, 10.3.
const (
	PmcgCycles          = 0
	PmcgTransaction     = 1
	PmcgTLBMiss         = 2
	PmcgConfigCacheMiss = 3
	PmcgTransTableWalk  = 4
	PmcgConfigStruct    = 5
	PmcgATSTransRequest = 6
	PmcgATSTransPassed  = 7
	NumPmcgEvents       = 8
	NumPmcgArchitected  = 128
)

// EVTYPERLayout describes an EVTYPER register.
var EVTYPERLayout = reg.Layout{Name: "EVTYPER", Bits: 32, Clause: "10.4", Fields: []reg.Field{
	EvtyperEvent.Field("EVENT", "event counted"),
	EvtyperSIDSpan.Field("FILTER_SID_SPAN", "SMR is a span of StreamIDs"),
	EvtyperOVFCAP.Field("OVFCAP", "capture on overflow"),
}}

// CFGRLayout describes CFGR.
var CFGRLayout = reg.Layout{Name: "CFGR", Bits: 32, Clause: "10.4", Fields: []reg.Field{
	CfgrNCTR.Field("NCTR", "counters - 1"),
	CfgrSIZE.Field("SIZE", "counter bits - 1"),
	CfgrRELOC.Field("RELOCATE", "counters are in a second page"),
	CfgrMSI.Field("MSI", "interrupts as messages"),
	CfgrCAPTURE.Field("CAPTURE", "counters can be captured"),
	CfgrSIDFilter.Field("SID_FILTER_TYPE", "one StreamID filter for all counters"),
}}
