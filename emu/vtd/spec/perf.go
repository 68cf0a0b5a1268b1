package spec

import "github.com/iommulab/iommulab/emu/reg"

// Performance monitoring registers at fixed places, 11.4. The configuration, freeze, overflow and
// counter blocks are where the four offset registers say.
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

// PERFCAP_REG.
const (
	PerfcapNC     reg.Bits = 15_000
	PerfcapCW     reg.Bits = 22_016
	PerfcapNEG    reg.Bits = 28_024
	PerfcapFM     reg.Bits = 36_032
	PerfcapINT    reg.Bits = 50_050
	PerfcapSTRIDE reg.Bits = 54_052 // 2^(STRIDE+10) bytes between counters
)

// PERFINTRSTS_REG, PERFEVNTCAP_REG and the counters.
const (
	PerfintrPIS   reg.Bits = 0_000
	PerfevntcapES reg.Bits = 27_000
	PerfcntrCNT   reg.Bits = 63_000
)

// The configuration block of a counter: PerfBlock bytes, with registers at these offsets.
const (
	PerfBlock     = 0x100
	OffCounterCfg = 0x00
	OffFilter0    = 0x08 // 4 bytes per filter
	OffCNTRCAP    = 0x80
	OffCNTREVCAP0 = 0x84 // 4 bytes per event group
)

// Counter configuration: what a counter counts and whether its overflow interrupts.
const (
	CntrcfgINT reg.Bits = 1_001
	CntrcfgEGI reg.Bits = 11_008
	CntrcfgES  reg.Bits = 59_032
)

// Filters by number, their bit in PERFCAP.FM, and the fields of their registers.
const (
	FilterRequester = 0 // source-id
	FilterDomain    = 1
	FilterPASID     = 2
	FilterAT        = 3 // bit n: address type n
	FilterLevel     = 4 // bit n: paging-structure level n+1
	NumFilters      = 5

	FilterEN    reg.Bits = 31_031
	FilterValue reg.Bits = 21_000 // the widest: PASID
	FilterSID   reg.Bits = 15_000
	FilterDID   reg.Bits = 15_000
	FilterPV    reg.Bits = 19_000
	FilterMask  reg.Bits = 4_000 // address types, levels
)

// CNTRCAP and CNTREVCAP: what one counter can do.
const (
	CntrcapPCC  reg.Bits = 0_000
	CntrcapCW   reg.Bits = 15_008
	CntrcapINT  reg.Bits = 16_016
	CntrcapNEG  reg.Bits = 31_028
	CntrevcapES reg.Bits = 27_000
	CntrevcapEG reg.Bits = 31_028
)

// Event groups, and the event-select bits in them.
const (
	GroupGeneral   = 0
	GroupMemory    = 1
	GroupCaches    = 2
	GroupIOTLB     = 3
	GroupInterrupt = 4
	NumEventGroups = 5

	EventClocks         = 0x1 // GroupGeneral
	EventRequests       = 0x2
	EventWalkOccupancy  = 0x4
	EventATSBlocked     = 0x8
	EventReads          = 0x01 // GroupMemory
	EventReadsBlocked   = 0x20
	EventPagePosted     = 0x40
	EventContextLookup  = 0x001 // GroupCaches
	EventContextHit     = 0x002
	EventPASIDLookup    = 0x004
	EventPASIDHit       = 0x008
	EventSSLookup       = 0x010
	EventSSHit          = 0x020
	EventFSLookup       = 0x040
	EventFSHit          = 0x080
	EventHPTLookup      = 0x100
	EventHPTHit         = 0x200
	EventIOTLBLookup    = 0x1 // GroupIOTLB
	EventIOTLBHit       = 0x2
	EventHPTLeafLookup  = 0x4
	EventHPTLeafHit     = 0x8
	EventIntLookup      = 0x1 // GroupInterrupt
	EventIntHit         = 0x2
	EventIntHitPosted   = 0x4
	MaxPerfCounters     = 64
	MinPerfStride       = 1 << 10
	MaxPerfStride       = 1 << 17
	MaxPerfCounterWidth = 64
)

// ECMD_REG, ECRSP_REG and ECCAP3_REG. ECEO_REG is operand B, whole.
const (
	EcmdCMD reg.Bits = 7_000
	EcmdOA  reg.Bits = 63_016

	EcrspIP reg.Bits = 0_000
	EcrspSC reg.Bits = 7_001

	EcmdEnable   = 0xf0 // values of EcmdCMD: operand A is the counter
	EcmdDisable  = 0xf1
	EcmdFreeze   = 0xf4 // all counters
	EcmdUnfreeze = 0xf5

	Eccap3ECNTS  reg.Bits = 48_048
	Eccap3DCNTS  reg.Bits = 49_049
	Eccap3FCNTS  reg.Bits = 52_052
	Eccap3UFCNTS reg.Bits = 53_053
)

// PERFCAPLayout describes PERFCAP_REG.
var PERFCAPLayout = reg.Layout{Name: "PERFCAP_REG", Bits: 64, Clause: "11.4", Fields: []reg.Field{
	PerfcapNC.Field("NC", "number of counters"),
	PerfcapCW.Field("CW", "counter width in bits"),
	PerfcapNEG.Field("NEG", "number of event groups"),
	PerfcapFM.Field("FM", "filters: 0 requester, 1 domain, 2 PASID, 3 address type, 4 level"),
	PerfcapINT.Field("INT", "interrupt on overflow"),
	PerfcapSTRIDE.Field("STRIDE", "counters are 2^(STRIDE+10) bytes apart"),
}}

// PERFINTRSTSLayout describes PERFINTRSTS_REG.
var PERFINTRSTSLayout = reg.Layout{Name: "PERFINTRSTS_REG", Bits: 32, Clause: "11.4", Fields: []reg.Field{
	PerfintrPIS.Field("PIS", "a counter that interrupts has overflowed"),
}}

// PERFEVNTCAPLayout describes PERFEVNTCAP_REG.
var PERFEVNTCAPLayout = reg.Layout{Name: "PERFEVNTCAP_REG", Bits: 64, Clause: "11.4", Fields: []reg.Field{
	PerfevntcapES.Field("ES", "events of the group that can be counted"),
}}

// PERFCNTRCFGLayout describes the configuration register of a counter.
var PERFCNTRCFGLayout = reg.Layout{Name: "PERFCNTRCFG_REG", Bits: 64, Clause: "11.4", Fields: []reg.Field{
	CntrcfgINT.Field("INT", "overflow interrupts"),
	CntrcfgEGI.Field("EGI", "event group"),
	CntrcfgES.Field("ES", "events of the group to count"),
}}

// PERFCNTRLayout describes a counter.
var PERFCNTRLayout = reg.Layout{Name: "PERFCNTR_REG", Bits: 64, Clause: "11.4", Fields: []reg.Field{
	PerfcntrCNT.Field("CNT", "count, in the low PERFCAP.CW bits"),
}}

// ECMDLayout describes ECMD_REG.
var ECMDLayout = reg.Layout{Name: "ECMD_REG", Bits: 64, Clause: "11.4", Fields: []reg.Field{
	EcmdCMD.Field("CMD", "command; writing it starts it"),
	EcmdOA.Field("OA", "operand A"),
}}

// ECRSPLayout describes ECRSP_REG.
var ECRSPLayout = reg.Layout{Name: "ECRSP_REG", Bits: 64, Clause: "11.4", Fields: []reg.Field{
	EcrspIP.Field("IP", "in progress"),
	EcrspSC.Field("SC", "status: 0 success"),
}}
