package spec

import "github.com/iommulab/iommulab/emu/reg"

// Performance counters, 3.4: banks of counters, each with a page of the window of its own.

// Registers that all banks share.
const (
	OffCounterConfig     = 0x4000
	OffCounterPASIDLock  = 0x4008
	OffCounterDomainLock = 0x4010
	OffCounterDeviceLock = 0x4018
)

// Registers of counter c of bank b, from CounterOffset(b, c) on.
const (
	OffCounter       = 0x00
	OffCounterSource = 0x08
	OffPASIDMatch    = 0x10
	OffDomainMatch   = 0x18
	OffDeviceMatch   = 0x20
	OffCounterReport = 0x28
)

// CounterOffset returns where the registers of counter c of bank b are.
func CounterOffset(b, c int) uint32 { return 0x4_0000 | uint32(b)<<12 | uint32(c)<<8 }

// Counter Configuration, and what its fields can say.
const (
	PcNCounter      reg.Bits = 10_007 // counters of a bank
	PcNCounterBanks reg.Bits = 17_012

	MaxCounters = 15
	MaxBanks    = 63
)

// Registers of a counter.
const (
	PcCount  reg.Bits = 47_000
	PcSource reg.Bits = 7_000

	PcMatch reg.Bits = 19_000 // PASID Match; Domain and DeviceID Match have 16 bits
	PcEn    reg.Bits = 31_031 // match enable
	PcMask  reg.Bits = 51_032

	PcNote reg.Bits = 51_000 // Counter Report: what the event has in it
	PcCERE reg.Bits = 63_063 // an overflow is reported
)

// Sources of counters.
const (
	SrcPassUntranslated   = 0x01 // memory requests passed without translation
	SrcPassPretranslated  = 0x02 // translated requests passed
	SrcPassExcluded       = 0x03 // requests passed by the exclusion range
	SrcTargetAbort        = 0x04 // requests blocked
	SrcTranslated         = 0x05 // requests translated
	SrcTLBHit             = 0x06 // look-ups of translations
	SrcTLBMiss            = 0x07
	SrcPDEHit             = 0x08 // look-ups of table pointers
	SrcPDEMiss            = 0x09
	SrcDTEHit             = 0x0a // look-ups of DTEs for memory requests
	SrcDTEMiss            = 0x0b
	SrcTableReads         = 0x0c // of page tables
	SrcTableReadsNested   = 0x0d // of host tables on behalf of guest tables
	SrcTableReadsGuest    = 0x0e // of guest tables
	SrcIntDTEHit          = 0x0f // look-ups of DTEs for interrupts
	SrcIntDTEMiss         = 0x10
	SrcCommands           = 0x11 // commands processed
	SrcInvalidations      = 0x12 // those that invalidate
	SrcTLBInvalidations   = 0x13 // those that invalidate translations
	SrcScratchAccesses    = 0x14 // reads and writes of 1FF8h
	SrcInterruptsNonGuest = 0x15 // interrupts remapped by entries with GuestMode=0
	SrcInterruptsGuest    = 0x16 // and with GuestMode=1
	SrcSMI                = 0x17 // SMIs received
	SrcSMIBlocked         = 0x18 // SMIs blocked
	NumSources            = 0x19
)

// SourceNames names the sources of counters.
var SourceNames = [NumSources]string{
	SrcPassUntranslated: "untranslated requests passed", SrcPassPretranslated: "translated requests passed",
	SrcPassExcluded: "excluded requests passed", SrcTargetAbort: "requests aborted", SrcTranslated: "requests translated",
	SrcTLBHit: "IOTLB hits", SrcTLBMiss: "IOTLB misses", SrcPDEHit: "table pointer hits", SrcPDEMiss: "table pointer misses",
	SrcDTEHit: "DTE hits of memory requests", SrcDTEMiss: "DTE misses of memory requests",
	SrcTableReads: "page table reads", SrcTableReadsNested: "host table reads for guest tables", SrcTableReadsGuest: "guest table reads",
	SrcIntDTEHit: "DTE hits of interrupts", SrcIntDTEMiss: "DTE misses of interrupts",
	SrcCommands: "commands", SrcInvalidations: "invalidation commands", SrcTLBInvalidations: "IOTLB invalidations",
	SrcScratchAccesses: "accesses to 1FF8h", SrcInterruptsNonGuest: "interrupts remapped", SrcInterruptsGuest: "guest interrupts",
	SrcSMI: "SMIs received", SrcSMIBlocked: "SMIs blocked",
}

// CounterConfigLayout describes Counter Configuration.
var CounterConfigLayout = reg.Layout{Name: "Counter Configuration", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	PcNCounter.Field("NCounter", "counters of a bank"),
	PcNCounterBanks.Field("NCounterBanks", "banks"),
}}

// CounterLayout describes Counter.
var CounterLayout = reg.Layout{Name: "Counter", Bits: 64, Clause: "3.4", Fields: []reg.Field{PcCount.Field("ICounter", "count")}}

// CounterSourceLayout describes Counter Source.
var CounterSourceLayout = reg.Layout{Name: "Counter Source", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	PcSource.Field("CSource", "what is counted; 0: nothing"),
}}

// CounterMatchLayout describes the match registers.
var CounterMatchLayout = reg.Layout{Name: "Counter Match", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	PcMatch.Field("Match", "value"),
	PcEn.Field("En", "count only what matches"),
	PcMask.Field("Mask", "bits of the value that are compared"),
}}

// CounterReportLayout describes Counter Report.
var CounterReportLayout = reg.Layout{Name: "Counter Report", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	PcNote.Field("EventNote", "for the event"),
	PcCERE.Field("CERE", "log an event when the counter has become 0"),
}}
