package conform

import "github.com/iommulab/iommulab/emu/vtd"

// vtdDeviations is what is known of QEMU's VT-d unit, release 11.1. docs/conform.md prints it.
var vtdDeviations = []*Deviation{
	{
		ID: "reset-granularity", Right: Either, Clause: "11.4.6.1, 11.4.6.3",
		What:  "CCMD.CAIG and IOTLB.IAIG come up as 0; datasheets have 0, 1 and 3",
		match: vtdResetGranularity,
	},
	{
		ID: "ccmd-write-only", Right: Either, Clause: "11.4.6.1",
		What:  "CCMD.SID and CCMD.FM read as 0; the value is undefined",
		match: vtdCCMDWriteOnly,
	},
	{
		ID: "context-domain-global", Right: Either, Clause: "11.4.6.1", Modes: []string{vtdLegacy},
		What:  "a domain-selective context invalidation by register is performed as, and reported as, a global one",
		match: vtdContextDomainGlobal,
	},
	{
		ID: "iqa-latched", Right: Ours, Clause: "11.4.15.3",
		What:  "IQA reads as the address in use, not as what was written, until the queue is turned on",
		match: vtdIQALatched,
	},
	{
		ID: "tail-kept", Right: Unclear, Clause: "11.4.15.3", After: Rewrite,
		What:  "a write to IQA leaves IQT as it is; datasheets say that it sets head and tail to 0",
		match: vtdTailKept,
	},
	{
		ID: "event-pending-kept", Right: Ours, Clause: "11.4.9.1", After: ClearFaults,
		What:  "FECTL.IP stays set when the last fault record is cleared, until FSTS is written",
		match: vtdEventPendingKept,
	},
	{
		ID: "iedata-32", Right: Either, Clause: "11.4.15.6", After: Rewrite,
		What:  "IEDATA keeps 32 bits of message data; the upper 16 are reserved, or extended data in older revisions",
		match: vtdIEDataWide,
	},
	{
		ID: "two-registers-at-once", Right: Either, Clause: "11.2", After: Rewrite,
		What:  "of an 8-byte write to two registers of 4 bytes only the lower one takes its part with all that follows",
		match: vtdWideWrite,
	},
	{
		ID: "cfi-ignored", Right: Ours, Clause: "11.4.4.1, 5.1.4",
		What:  "GCMD.CFI is ignored: messages of the compatibility format always pass",
		match: vtdCFIIgnored,
	},
	{
		ID: "command-stuck", Right: Either, Clause: "6.5.1",
		What:  "an invalidation by register while the queue is on, which software must not do, stays pending for ever",
		match: vtdCommandStuck,
	},
	{
		ID: "no-error-record", Right: Ours, Clause: "11.4.15.9",
		What:  "there is no IQERCD: it reads 0",
		match: vtdNoErrorRecord,
	},
	{
		ID: "queue-waits-for-tail", Right: Ours, Clause: "6.5.2.10", After: KickQueue,
		What:  "when IQE is cleared the queue does not go on before IQT is written",
		match: vtdQueueWaits,
	},
	{
		ID: "queue-stays-on", Right: Ours, Clause: "6.5.2", After: End,
		What:  "QIE=0 is refused unless the queue is empty and its last descriptor was a wait",
		match: vtdQueueStaysOn,
	},
	{
		ID: "bare-wait", Right: Ours, Clause: "6.5.2.8", After: SkipDescriptor,
		What:  "a wait descriptor with neither SW nor IF is an error",
		match: vtdBareWait,
	},
	{
		ID: "wait-to-nowhere", Right: Unclear, Clause: "6.5.2.8", After: SkipDescriptor,
		What:  "a wait descriptor whose status cannot be written is an error",
		match: vtdWaitNowhere,
	},
	{
		ID: "process-mask", Right: Unclear, Clause: "6.5.2.4", Modes: vtdScalable, After: SkipDescriptor,
		What:  "MAMV limits the mask of PASID-based IOTLB invalidations too",
		match: vtdProcessMask,
	},
	{
		ID: "device-tlb-without-dt", Right: Ours, Clause: "6.5.2.5, 6.5.2.6", After: SkipDescriptor,
		What:  "device-TLB invalidations are accepted although ECAP.DT is 0",
		match: vtdNoDeviceTLB,
	},
	{
		ID: "descriptor-width", Right: Ours, Clause: "6.5.2, 11.4.15.3", After: End,
		What:  "IQA.DW is ignored without scalable mode, and 128-bit descriptors are accepted in scalable mode",
		match: vtdWidthIgnored,
	},
	{
		ID: "hit-not-reported", Right: Ours, Clause: "7.3.1", After: Settle,
		What:  "an access that the IOTLB refuses for lack of rights is aborted but not reported",
		match: vtdHitNotReported,
	},
	{
		ID: "structure-reasons", Right: Ours, Clause: "7.2.3", Modes: vtdScalable,
		What:  "in scalable mode, faults of root and context entries have the reasons of legacy mode: 1, 2, 8 to Bh for 38h to 42h",
		match: vtdStructureReasons,
	},
	{
		ID: "second-stage-reasons", Right: Ours, Clause: "7.2.3", Modes: []string{vtdSecond},
		What:  "in scalable mode, faults of the second stage have the reasons of legacy mode: 3 to 7, Ch for 78h to 7Bh, 84h to 86h",
		match: vtdSecondStageReasons,
	},
	{
		ID: "fpd-of-pasid", Right: Ours, Clause: "7.2.1, 9.5, 9.6", Modes: vtdScalable, After: ClearFaults,
		What:  "a PASID directory or table entry that is absent or wrong is reported although it has FPD=1",
		match: vtdFPDOfPASID,
	},
	{
		ID: "fpd-of-reserved-context", Right: Ours, Clause: "7.2.1, table 7.2", After: Settle,
		What:  "reserved bits in a context entry are reported although the entry has FPD=1",
		match: vtdReservedFPD,
	},
	{
		ID: "table-mode", Right: Ours, Clause: "11.4.5, 7.2.3", After: Settle,
		What:  "of RTADDR.TTM only bit 10 counts, and only in a unit with scalable mode; others should be 30h",
		match: vtdModeIgnored,
	},
	{
		ID: "all-ones", Right: Ours, Clause: "9.7, 9.8", After: Settle,
		What:  "a paging entry that is all ones is taken for a read that failed (3 or 7, 70h or 73h) instead of reserved bits (Ch, 72h)",
		match: vtdOnes,
	},
	{
		ID: "pass-through-aw", Right: Ours, Clause: "9.3", Modes: []string{vtdLegacy}, After: Settle,
		What:  "pass-through is accepted with any supported AW, not only the largest",
		match: vtdPassThroughAW,
	},
	{
		ID: "pass-through-pointer", Right: Ours, Clause: "9.3", Modes: []string{vtdLegacy}, After: Settle,
		What:  "a pass-through context entry with a pointer beyond the host address width is Bh; the pointer is ignored",
		match: vtdPassThroughPointer,
	},
	{
		ID: "pass-through-stays", Right: Ours, Clause: "6.5.2.2, 6.5.3.3", Modes: vtdScalable, After: Settle,
		What:  "a device stays passed through when its PASID entry changes, until the context-cache is invalidated",
		match: vtdPassThroughStays,
	},
	{
		ID: "absent-in-use", Right: Ours, Clause: "6.5.2.2, 7.2.3", Modes: vtdScalable, After: Settle,
		What:  "P=0 of a PASID entry is not seen before the context-cache is invalidated, whatever is done to the PASID-cache",
		match: vtdAbsentInUse,
	},
	{
		ID: "pass-through-width", Right: Ours, Clause: "3.9, 7.2.3", After: Settle,
		What:  "a pass-through address beyond the host address width is aborted without a report",
		match: vtdPassThroughWidth,
	},
	{
		ID: "root-halves", Right: Unclear, Clause: "9.2", Modes: vtdScalable, After: Settle,
		What:  "reserved bits in the half of a root entry that a request does not use are a fault",
		match: vtdOtherHalf,
	},
	{
		ID: "context-fields", Right: Ours, Clause: "9.4", Modes: vtdScalable, After: Settle,
		What:  "DTE, PASIDE, PRE, RID_PRIV and RID_PASID of a context entry are not checked against the capabilities",
		match: unchecked(4, cleanContextFields, vtd.FaultContextInvalidSM, vtd.FaultContextReservedSM),
	},
	{
		ID: "directory-reserved", Right: Ours, Clause: "9.5", Modes: vtdScalable, After: Settle,
		What:  "reserved bits of PASID directory entries are not checked",
		match: unchecked(1, cleanDirectory, vtd.FaultPASIDDirReserved),
	},
	{
		ID: "pasid-reserved", Right: Ours, Clause: "9.6", Modes: vtdScalable, After: Settle,
		What:  "reserved bits of PASID entries are not checked",
		match: unchecked(8, cleanPASID, vtd.FaultPASIDReserved),
	},
	{
		ID: "type-before-present", Right: Ours, Clause: "7.2.3", Modes: vtdScalable, After: Settle,
		What:  "a PASID entry with P=0 and a wrong type or width is 5Bh instead of 59h",
		match: vtdTypeBeforePresent,
	},
	{
		ID: "snoop-reserved", Right: Ours, Clause: "9.8", Modes: []string{vtdSecond}, After: Settle,
		What:  "in scalable mode, SNP of second-stage leaves is not reserved although ECAP.SC is 0",
		match: unchecked(1, cleanSnoop, vtd.FaultSSReservedSM),
	},
	{
		ID: "interrupt-range-page", Right: Ours, Clause: "3.14", After: Settle,
		What:  "an access is refused if its page reaches into the interrupt range, even where the access itself does not",
		match: vtdWholePage,
	},
	{
		ID: "first-stage-order", Right: Ours, Clause: "3.6.1, 7.2.3", Modes: []string{vtdFirst}, After: Settle,
		What:  "first-stage rights are checked entry by entry, before reserved bits and before the entries below, instead of at the end over all levels",
		match: vtdFirstOrder,
	},
	{
		ID: "flags-not-coherent", Right: Ours, Clause: "3.6.2, 11.4.3", Modes: []string{vtdFirst}, After: Settle,
		What:  "accessed and dirty flags are set although ECAP.SMPWCS is 0, instead of fault 90h",
		match: vtdFlags(false),
	},
	{
		ID: "dirty-not-set", Right: Ours, Clause: "3.6.2", Modes: []string{vtdFirst}, After: Settle,
		What:  "a write sets neither A nor D in a leaf that has one of them",
		match: vtdFlags(true),
	},
	{
		ID: "canonical-aw", Right: Ours, Clause: "3.6", Modes: []string{vtdFirst}, After: Settle,
		What:  "first-stage addresses must be canonical for the width in AW, which is that of the second stage, instead of 48 bits",
		match: vtdCanonicalAW,
	},
	{
		ID: "compatibility-passes", Right: Ours, Clause: "5.1.4", After: ClearFaults,
		What:  "messages of the compatibility format pass with interrupt remapping on and CFIS=0, instead of fault 25h",
		match: vtdCompatibility,
	},
	{
		ID: "irte-destination", Right: Ours, Clause: "9.9", After: ClearFaults,
		What:  "bits of DST that are reserved without EIME are not checked",
		match: vtdIRTEDestination,
	},
	{
		ID: "irte-posted", Right: Ours, Clause: "9.9", After: ClearFaults,
		What:  "IM of an interrupt entry is not checked, although posting is not supported",
		match: vtdIRTEPosted,
	},
	{
		ID: "irte-order", Right: Ours, Clause: "5.1.4", After: ClearFaults,
		What:  "reserved bits of an interrupt entry (24h) come before its source (26h)",
		match: vtdIRTEOrder,
	},
	{
		ID: "irte-bus-range", Right: Ours, Clause: "9.9", After: ClearFaults,
		What:  "with SVT=10 the ends of the bus range are exchanged",
		match: vtdBusRange,
	},
}

var vtdScalable = []string{vtdSecond, vtdFirst}
