package spec

import "github.com/iommulab/iommulab/emu/reg"

// Device Table Base and Segment Base: size in 4 KiB units less one, address.
const (
	DevTabSize reg.Bits = 8_000
	DevTabBase reg.Bits = 51_012
)

// Command Buffer, Event Log, PPR Log and GA Log Base: address, and log2 of the length.
const (
	RingBase reg.Bits = 51_012
	RingLen  reg.Bits = 59_056

	MinRingLen = 8 // smallest value of RingLen: 4 KiB
)

// Head and tail pointers: byte offsets in units of 16, of the GA log in units of 8.
const (
	RingPtr   reg.Bits = 18_004
	GARingPtr reg.Bits = 18_003
)

// Sizes of the entries of the rings.
const (
	CommandSize = 16
	EventSize   = 16
	PPRSize     = 16
	GAEntrySize = 8
)

// GALogTailAddr is where hardware stores the GA log's tail.
const GALogTailAddr reg.Bits = 51_003

// Exclusion Range Base and Limit.
const (
	ExclEn    reg.Bits = 0_000
	ExclAllow reg.Bits = 1_001
	ExclAddr  reg.Bits = 51_012
)

// Hardware Event Status.
const (
	HweValid    reg.Bits = 0_000
	HweOverflow reg.Bits = 1_001
)

// Control.
const (
	CtlIommuEn         reg.Bits = 0_000
	CtlHtTunEn         reg.Bits = 1_001
	CtlEventLogEn      reg.Bits = 2_002
	CtlEventIntEn      reg.Bits = 3_003
	CtlComWaitIntEn    reg.Bits = 4_004
	CtlInvTimeOut      reg.Bits = 7_005
	CtlPassPW          reg.Bits = 8_008
	CtlResPassPW       reg.Bits = 9_009
	CtlCoherent        reg.Bits = 10_010
	CtlIsoc            reg.Bits = 11_011
	CtlCmdBufEn        reg.Bits = 12_012
	CtlPPRLogEn        reg.Bits = 13_013
	CtlPprIntEn        reg.Bits = 14_014
	CtlPPREn           reg.Bits = 15_015
	CtlGTEn            reg.Bits = 16_016
	CtlGAEn            reg.Bits = 17_017
	CtlSmiFEn          reg.Bits = 22_022
	CtlSlfWBdis        reg.Bits = 23_023
	CtlSmiFLogEn       reg.Bits = 24_024
	CtlGAMEn           reg.Bits = 27_025
	CtlGALogEn         reg.Bits = 28_028
	CtlGAIntEn         reg.Bits = 29_029
	CtlDualPprLogEn    reg.Bits = 31_030
	CtlDualEventLogEn  reg.Bits = 33_032
	CtlDevTblSegEn     reg.Bits = 36_034
	CtlPrivAbrtEn      reg.Bits = 38_037
	CtlPprAutoRspEn    reg.Bits = 39_039
	CtlMarcEn          reg.Bits = 40_040
	CtlBlkStopMrkEn    reg.Bits = 41_041
	CtlPprAutoRspAon   reg.Bits = 42_042
	CtlNumIntRemapMode reg.Bits = 44_043
	CtlEPHEn           reg.Bits = 45_045
	CtlHADUpdate       reg.Bits = 47_046
	CtlGDUpdateDis     reg.Bits = 48_048
	CtlXTEn            reg.Bits = 50_050
	CtlIntCapXTEn      reg.Bits = 51_051
	CtlVCmdEn          reg.Bits = 52_052
	CtlVIommuEn        reg.Bits = 53_053
	CtlGAUpdateDis     reg.Bits = 54_054
	CtlGAPPIEn         reg.Bits = 55_055
	CtlTMPMEn          reg.Bits = 56_056
	CtlGCR3TRPMode     reg.Bits = 58_058
	CtlIRTCacheDis     reg.Bits = 59_059
	CtlGstBufferTRP    reg.Bits = 60_060
	CtlSNPAVICEn       reg.Bits = 63_061
)

// Status.
const (
	StsEventOverflow reg.Bits = 0_000
	StsEventLogInt   reg.Bits = 1_001
	StsComWaitInt    reg.Bits = 2_002
	StsEventLogRun   reg.Bits = 3_003
	StsCmdBufRun     reg.Bits = 4_004
	StsPprOverflow   reg.Bits = 5_005
	StsPprInt        reg.Bits = 6_006
	StsPPRLogRun     reg.Bits = 7_007
	StsGALogRun      reg.Bits = 8_008
	StsGALOverflow   reg.Bits = 9_009
	StsGAInt         reg.Bits = 10_010
	StsPprOvrflwB    reg.Bits = 11_011
	StsPprActive     reg.Bits = 12_012
	StsEventOvrflwB  reg.Bits = 15_015
	StsEventActive   reg.Bits = 16_016
	StsPprEarlyB     reg.Bits = 17_017
	StsPprEarly      reg.Bits = 18_018
)

// PPR Auto Response and PPR Log Overflow Early.
const (
	ParCode   reg.Bits = 3_000
	ParMaskGN reg.Bits = 4_004

	PoeThreshold reg.Bits = 14_000
	PoeIntEn     reg.Bits = 30_030
	PoeEn        reg.Bits = 31_031
)

// MSI capability as mirrored at 158h, and the interrupt control registers of IntCapXTEn.
const (
	MsiCapID   reg.Bits = 7_000
	MsiCapNext reg.Bits = 15_008
	MsiEn      reg.Bits = 16_016
	MsiMMC     reg.Bits = 19_017 // multiple messages: capable, log2
	MsiMME     reg.Bits = 22_020 // multiple messages: enabled, log2
	Msi64      reg.Bits = 23_023

	XtDestMode reg.Bits = 2_002
	XtDestLo   reg.Bits = 31_008
	XtVector   reg.Bits = 39_032
	XtDM       reg.Bits = 40_040
	XtDestHi   reg.Bits = 63_056
)
