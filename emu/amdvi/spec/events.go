package spec

import "github.com/iommulab/iommulab/emu/reg"

// Event codes, 2.5.
const (
	EventIllegalDTE       = 0x1
	EventPageFault        = 0x2
	EventDevTabHW         = 0x3
	EventPageTabHW        = 0x4
	EventIllegalCommand   = 0x5
	EventCommandHW        = 0x6
	EventIOTLBTimeout     = 0x7
	EventInvalidRequest   = 0x8
	EventInvalidPPR       = 0x9
	EventCounterZero      = 0xa
	EventGuestEvent       = 0xb
	EventVIOMMUHW         = 0xc
	EventRMPPageFault     = 0xd
	EventRMPHW            = 0xe
	NumEventCodes         = 16
	HWTypeMasterAbort     = 1 // values of EvtType of hardware errors
	HWTypeTargetAbort     = 2
	HWTypeData            = 3
	InvalidReadInterrupt  = 0 // values of EvtReqType, TR=0: read or non-posted write of the interrupt range
	InvalidTranslated     = 1 // pre-translated request not allowed
	InvalidPortIO         = 2 // IoCtl=0
	InvalidSysMgt         = 3 // SysMgt=0
	InvalidWriteInterrupt = 4 // posted write of the interrupt range that is no interrupt
	InvalidIntReserved    = 5 // reserved part of the interrupt range
	InvalidSysMgtAddr     = 6
	InvalidTRRange        = 0 // TR=1: translation request for a special range
	InvalidTRDisabled     = 1 // ATS not allowed
	InvalidTRDevice       = 2 // DeviceID beyond the device table
)

// Event log entry, 2.5. Which flags an event has is in its layout.
const (
	EvtDeviceID  reg.Bits = 15_000
	EvtPASIDHi   reg.Bits = 19_016
	EvtDomainID  reg.Bits = 47_032 // or PASID 15:0
	EvtGN        reg.Bits = 48_048
	EvtNX        reg.Bits = 49_049
	EvtUS        reg.Bits = 50_050
	EvtI         reg.Bits = 51_051
	EvtPR        reg.Bits = 52_052
	EvtRW        reg.Bits = 53_053
	EvtPE        reg.Bits = 54_054
	EvtRZ        reg.Bits = 55_055
	EvtTR        reg.Bits = 56_056
	EvtType      reg.Bits = 58_057
	EvtReqType   reg.Bits = 59_057 // INVALID_DEVICE_REQUEST
	EvtCode      reg.Bits = 63_060
	EvtAddr      reg.Bits = 127_064
	EvtAddr2     reg.Bits = 127_066 // ILLEGAL_DEV_TABLE_ENTRY
	EvtAddr3     reg.Bits = 127_067 // PAGE_TAB_HARDWARE_ERROR
	EvtAddr4     reg.Bits = 127_068 // DEV_TAB_HARDWARE_ERROR and commands
	EvtPPRPASID  reg.Bits = 31_016  // INVALID_PPR_REQUEST: PASID 15:0
	EvtPPRTag    reg.Bits = 41_032
	EvtPPRPASIDH reg.Bits = 45_042
	EvtPPRRX     reg.Bits = 48_048
	EvtPPRGN     reg.Bits = 57_057
	EvtNoteHi    reg.Bits = 83_064 // EVENT_COUNTER_ZERO
	EvtNoteLo    reg.Bits = 127_096
	EvtVMGTag    reg.Bits = 47_032 // RMP_PAGE_FAULT, RMP_HARDWARE_ERROR
	EvtRMPFlags  reg.Bits = 23_016
	EvtFlags     reg.Bits = 59_048
)

// PPR log entry, 2.6.
const (
	PprDeviceID reg.Bits = 15_000
	PprPASIDLo  reg.Bits = 31_016
	PprPRG      reg.Bits = 40_032
	PprLast     reg.Bits = 41_041
	PprPASIDHi  reg.Bits = 45_042
	PprX        reg.Bits = 49_049
	PprR        reg.Bits = 50_050
	PprW        reg.Bits = 53_053
	PprUS       reg.Bits = 54_054
	PprRZ       reg.Bits = 55_055
	PprGN       reg.Bits = 56_056
	PprCode     reg.Bits = 63_060
	PprAddr     reg.Bits = 127_076

	PPRCode = 1 // value of PprCode
)

// GA log entry, 2.7.
const (
	GaTag      reg.Bits = 31_000
	GaDeviceID reg.Bits = 47_032
	GaCode     reg.Bits = 63_060

	GANotRunning = 1 // value of GaCode
)

func eventLayout(name, clause string, f ...reg.Field) *reg.Layout {
	var low, high []reg.Field
	for _, x := range f {
		if x.Lo < 60 {
			low = append(low, x)
		} else {
			high = append(high, x)
		}
	}
	all := append(append(low, EvtCode.Field("Code", "event")), high...)
	return &reg.Layout{Name: name, Bits: 128, Clause: clause, Fields: all}
}

// evtPASID is the PASID of events that have it where others have the domain.
var evtPASID = reg.Joint{Name: "PASID", Help: "with GN", Pieces: []reg.Piece{EvtDomainID.At(0), EvtPASIDHi.At(16)}}

// EventLayouts describes the event log entries by code; nil for codes that are none. Of the events of
// virtual IOMMUs only the code is described, of those of SNP what drivers read.
var EventLayouts = [NumEventCodes]*reg.Layout{
	EventIllegalDTE: withJoint(eventLayout("ILLEGAL_DEV_TABLE_ENTRY", "2.5.2",
		EvtDeviceID.Field("DeviceID", "device"), EvtPASIDHi.Field("PASID[19:16]", "with GN"), EvtDomainID.Field("PASID[15:0]", "with GN"),
		EvtGN.Field("GN", "guest address"), EvtI.Field("I", "interrupt"), EvtRW.Field("RW", "write"),
		EvtRZ.Field("RZ", "1: reserved bit set, 0: illegal value"), EvtTR.Field("TR", "translation request"),
		EvtAddr2.Field("Address", "address >> 2")), evtPASID),
	EventPageFault: withJoint(eventLayout("IO_PAGE_FAULT", "2.5.3",
		EvtDeviceID.Field("DeviceID", "device"), EvtPASIDHi.Field("PASID[19:16]", "with GN"), EvtDomainID.Field("DomainID", "or PASID[15:0]"),
		EvtGN.Field("GN", "guest virtual address"), EvtNX.Field("NX", "execute"), EvtUS.Field("US", "user"), EvtI.Field("I", "interrupt"),
		EvtPR.Field("PR", "present"), EvtRW.Field("RW", "write"), EvtPE.Field("PE", "permission"),
		EvtRZ.Field("RZ", "1: reserved bit set, 0: illegal level"), EvtTR.Field("TR", "translation request"),
		EvtAddr.Field("Address", "address")), evtPASID),
	EventDevTabHW: eventLayout("DEV_TAB_HARDWARE_ERROR", "2.5.4",
		EvtDeviceID.Field("DeviceID", "device"), EvtI.Field("I", "interrupt"), EvtRW.Field("RW", "write"),
		EvtTR.Field("TR", "translation request"), EvtType.Field("Type", "1 master abort, 2 target abort, 3 data error"),
		EvtAddr4.Field("Address", "DTE >> 4")),
	EventPageTabHW: withJoint(eventLayout("PAGE_TAB_HARDWARE_ERROR", "2.5.5",
		EvtDeviceID.Field("DeviceID", "device"), EvtPASIDHi.Field("PASID[19:16]", "with GN"), EvtDomainID.Field("DomainID", "or PASID[15:0]"),
		EvtGN.Field("GN", "guest virtual address"), EvtI.Field("I", "interrupt"), EvtRW.Field("RW", "write"),
		EvtTR.Field("TR", "translation request"), EvtType.Field("Type", "1 master abort, 2 target abort, 3 data error"),
		EvtAddr3.Field("Address", "entry >> 3")), evtPASID),
	EventIllegalCommand: eventLayout("ILLEGAL_COMMAND_ERROR", "2.5.6", EvtAddr4.Field("Address", "command >> 4")),
	EventCommandHW: eventLayout("COMMAND_HARDWARE_ERROR", "2.5.7",
		EvtType.Field("Type", "1 master abort, 2 target abort, 3 data error"), EvtAddr4.Field("Address", "access >> 4")),
	EventIOTLBTimeout: eventLayout("IOTLB_INV_TIMEOUT", "2.5.8",
		EvtDeviceID.Field("DeviceID", "device"), EvtAddr4.Field("Address", "command >> 4")),
	EventInvalidRequest: withJoint(eventLayout("INVALID_DEVICE_REQUEST", "2.5.9",
		EvtDeviceID.Field("DeviceID", "device"), EvtPASIDHi.Field("PASID[19:16]", "with GN"), EvtDomainID.Field("PASID[15:0]", "with GN"),
		EvtGN.Field("GN", "with PASID"), EvtUS.Field("US", "user"), EvtTR.Field("TR", "translation request"),
		EvtReqType.Field("Type", "what was wrong"), EvtAddr.Field("Address", "address")), evtPASID),
	EventInvalidPPR: withJoint(eventLayout("INVALID_PPR_REQUEST", "2.5.10",
		EvtDeviceID.Field("DeviceID", "device"), EvtPPRPASID.Field("PASID[15:0]", "with GN"), EvtPPRTag.Field("PPRTag", "group and last"),
		EvtPPRPASIDH.Field("PASID[19:16]", "with GN"), EvtPPRRX.Field("RX", "answered by hardware"), EvtPPRGN.Field("GN", "with PASID"),
		EvtAddr.Field("Address", "address")),
		reg.Joint{Name: "PASID", Help: "with GN", Pieces: []reg.Piece{EvtPPRPASID.At(0), EvtPPRPASIDH.At(16)}}),
	EventCounterZero: withJoint(eventLayout("EVENT_COUNTER_ZERO", "2.5.11",
		EvtNoteHi.Field("CounterNoteHi", "counter note 51:32"), EvtNoteLo.Field("CounterNoteLo", "counter note 31:0")),
		reg.Joint{Name: "CounterNote", Help: "counter note", Pieces: []reg.Piece{EvtNoteLo.At(0), EvtNoteHi.At(32)}}),
	EventGuestEvent: eventLayout("GUEST_EVENT_FAULT", "2.5"),
	EventVIOMMUHW:   eventLayout("VIOMMU_HARDWARE_ERROR", "2.5"),
	EventRMPPageFault: eventLayout("RMP_PAGE_FAULT", "2.5",
		EvtDeviceID.Field("DeviceID", "device"), EvtRMPFlags.Field("RMPFlags", "of the RMP check"), EvtVMGTag.Field("VMGTag", "guest"),
		EvtFlags.Field("Flags", "of the request"), EvtAddr.Field("Address", "guest physical address")),
	EventRMPHW: eventLayout("RMP_HARDWARE_ERROR", "2.5",
		EvtDeviceID.Field("DeviceID", "device"), EvtVMGTag.Field("VMGTag", "guest"), EvtFlags.Field("Flags", "of the request"),
		EvtAddr3.Field("Address", "RMP entry >> 3")),
}

// PPRLayout describes a PPR log entry.
var PPRLayout = reg.Layout{Name: "PPR log entry", Bits: 128, Clause: "2.6", Joints: []reg.Joint{
	{Name: "PASID", Help: "with GN", Pieces: []reg.Piece{PprPASIDLo.At(0), PprPASIDHi.At(16)}},
}, Fields: []reg.Field{
	PprDeviceID.Field("DeviceID", "device"),
	PprPASIDLo.Field("PASID[15:0]", "with GN"),
	PprPRG.Field("PRG", "page request group"),
	PprLast.Field("Last", "last of its group"),
	PprPASIDHi.Field("PASID[19:16]", "with GN"),
	PprX.Field("X", "execute"),
	PprR.Field("R", "read"),
	PprW.Field("W", "write"),
	PprUS.Field("US", "user"),
	PprRZ.Field("RZ", "bad format"),
	PprGN.Field("GN", "PASID valid"),
	PprCode.Field("Code", "1"),
	PprAddr.Field("Address", "address >> 12"),
}}

// GALayout describes a GA log entry.
var GALayout = reg.Layout{Name: "GA log entry", Bits: 64, Clause: "2.7", Fields: []reg.Field{
	GaTag.Field("GATag", "of the IRTE"),
	GaDeviceID.Field("DeviceID", "device"),
	GaCode.Field("Code", "1: the guest did not run"),
}}
