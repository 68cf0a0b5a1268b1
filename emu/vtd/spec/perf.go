package spec

import "github.com/iommulab/iommulab/emu/reg"

// Performance monitoring, chapter 10 and 11.4.13 of revision 5.1. Registers at fixed places; the
// configuration blocks, the freeze and overflow status and the counters are where the four offset
// registers say.
const (
	OffPERFCFGOFF    = 0x310
	OffPERFFRZOFF    = 0x314
	OffPERFOVFOFF    = 0x318
	OffPERFCNTROFF   = 0x31c
	OffPERFINTRSTS   = 0x324
	OffPERFINTRCTL   = 0x328
	OffPERFINTRDATA  = 0x32c
	OffPERFINTRADDR  = 0x330
	OffPERFINTRUADDR = 0x334
	OffPERFEVNTCAP0  = 0x380 // 8 bytes per event group
)

// The configuration block of a counter: PerfBlock bytes, with registers at these offsets.
const (
	PerfBlock       = 0x100
	OffPERFCNTRCFG  = 0x00
	OffFilter0      = 0x08 // 4 bytes per filter
	OffPERFCNTRCAP  = 0x80
	OffCNTREVCAP0   = 0x84 // 4 bytes per event group
	MaxPerfCounters = 64   // that one freeze or overflow register holds
)

// PERFCAP_REG, 11.4.13.2.
const (
	PerfcapNCNTR reg.Bits = 15_000
	PerfcapCW    reg.Bits = 22_016
	PerfcapEGCNT reg.Bits = 28_024
	PerfcapFS    reg.Bits = 36_032 // bit n: filter n below
	PerfcapCWE   reg.Bits = 48_048
	PerfcapGFS   reg.Bits = 49_049
	PerfcapIOS   reg.Bits = 50_050
	PerfcapPCCS  reg.Bits = 51_051
	PerfcapCS    reg.Bits = 54_052 // counters are 2^(CS+10) bytes apart
)

// PERFINTRSTS_REG, PERFEVNTCAP_REG, 11.4.13.7 and 11.4.13.14.
const (
	PerfintrPIS   reg.Bits = 0_000
	PerfevntcapES reg.Bits = 27_000
)

// PERFCNTRCFG_REG, 11.4.13.15.
const (
	CntrcfgEN  reg.Bits = 0_000
	CntrcfgIO  reg.Bits = 1_001
	CntrcfgGFO reg.Bits = 2_002
	CntrcfgEGI reg.Bits = 11_008
	CntrcfgES  reg.Bits = 59_032
)

// Filters by number, 11.4.13.16 to 11.4.13.20, and the fields of their registers.
const (
	FilterRequester = 0
	FilterDomain    = 1
	FilterPASID     = 2
	FilterAT        = 3
	FilterLevel     = 4
	NumFilters      = 5

	FilterEN     reg.Bits = 31_031
	FilterRID    reg.Bits = 15_000
	FilterDID    reg.Bits = 15_000
	FilterPV     reg.Bits = 19_000
	FilterPFM    reg.Bits = 21_020
	FilterBitmap reg.Bits = 4_000 // bit n: address type n; paging-structure level n+1

	PFMThis    = 0 // values of FilterPFM: requests with the PASID of FilterPV
	PFMAny     = 1 // with any PASID
	PFMWithout = 2 // without PASID
)

// PERFCNTRCAP_REG and PERFCNTREVCAP_REG, 11.4.13.21 and 11.4.13.22.
const (
	CntrcapPCC   reg.Bits = 0_000
	CntrcapCW    reg.Bits = 15_008
	CntrcapIOS   reg.Bits = 16_016
	CntrcapGFS   reg.Bits = 17_017
	CntrcapEGCNT reg.Bits = 31_028
	CntrevcapES  reg.Bits = 27_000
	CntrevcapEGI reg.Bits = 31_028
)

// PERFCNTR_REG, 11.4.13.23.
const PerfcntrCNTR reg.Bits = 63_000

// Event groups, and the event bits in them, table 49.
const (
	GroupGeneral   = 0
	GroupMemory    = 1
	GroupCaches    = 2
	GroupIOTLB     = 3
	GroupInterrupt = 4
	NumEventGroups = 5

	EventClocks         = 0x01 // GroupGeneral
	EventRequests       = 0x02
	EventWalkOccupancy  = 0x04
	EventATSBlocked     = 0x08
	EventTotalOccupancy = 0x20
	EventMemOccupancy   = 0x40

	EventReads        = 0x01 // GroupMemory
	EventADUpdate     = 0x08
	EventMemBlocked   = 0x20
	EventPagePosted   = 0x40
	EventPageOverflow = 0x80

	EventContextLookup = 0x001 // GroupCaches
	EventContextHit    = 0x002
	EventPASIDLookup   = 0x004
	EventPASIDHit      = 0x008
	EventSSLookup      = 0x010
	EventSSHit         = 0x020
	EventFSLookup      = 0x040
	EventFSHit         = 0x080
	EventHPTLookup     = 0x100
	EventHPTHit        = 0x200

	EventIOTLBLookup   = 0x1 // GroupIOTLB
	EventIOTLBHit      = 0x2
	EventHPTLeafLookup = 0x4
	EventHPTLeafHit    = 0x8

	EventIntLookup    = 0x1 // GroupInterrupt
	EventIntHit       = 0x2
	EventIntHitPosted = 0x4
)

// ECMD_REG, ECEO_REG, ECRSP_REG and ECCAP_REG_3, 11.4.14.
const (
	EcmdCMD  reg.Bits = 7_000
	EcmdOA   reg.Bits = 63_016
	EceoOB   reg.Bits = 63_000
	EcrspIP  reg.Bits = 0_000
	EcrspSC  reg.Bits = 7_001
	EcrspRES reg.Bits = 63_016

	EcmdEnable      = 240 // values of EcmdCMD: operand A is the counter
	EcmdDisable     = 241
	EcmdResetConfig = 242 // all counters, from here on
	EcmdResetValues = 243
	EcmdFreeze      = 244
	EcmdUnfreeze    = 245

	ECSuccess   = 0 // values of EcrspSC
	ECUndefined = 1 // no such command
	ECAborted   = 2 // a command of GCMD or PMEN is in flight
	ECFailed    = 16

	Eccap3ECNTS  reg.Bits = 48_048
	Eccap3DCNTS  reg.Bits = 49_049
	Eccap3RCFGS  reg.Bits = 50_050
	Eccap3RCNTS  reg.Bits = 51_051
	Eccap3FCNTS  reg.Bits = 52_052
	Eccap3UFCNTS reg.Bits = 53_053
)
