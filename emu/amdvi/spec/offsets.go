package spec

// Register offsets in the unit's window, 3.4.
const (
	OffDevTabBase        = 0x0000
	OffCmdBufBase        = 0x0008
	OffEventLogBase      = 0x0010
	OffControl           = 0x0018
	OffExclBase          = 0x0020
	OffExclLimit         = 0x0028
	OffEFR               = 0x0030
	OffPPRLogBase        = 0x0038
	OffHWEventUpper      = 0x0040
	OffHWEventLower      = 0x0048
	OffHWEventStatus     = 0x0050
	OffSMIFilter         = 0x0060 // 16 of them, stride 8
	OffGALogBase         = 0x00e0
	OffGALogTailAddr     = 0x00e8
	OffPPRLogBBase       = 0x00f0
	OffEventLogBBase     = 0x00f8
	OffDevTabSeg1        = 0x0100 // segments 1 to 7, stride 8
	OffDSFX              = 0x0138
	OffDSCX              = 0x0140
	OffDSSX              = 0x0148
	OffMSIVector0        = 0x0150
	OffMSIVector1        = 0x0154
	OffMSICapHeader      = 0x0158
	OffMSIAddrLow        = 0x015c
	OffMSIAddrHigh       = 0x0160
	OffMSIData           = 0x0164
	OffMSIMapCap         = 0x0168
	OffPerfOpt           = 0x016c
	OffXTIntControl      = 0x0170 // events and COMPLETION_WAIT
	OffXTPPRIntControl   = 0x0178
	OffXTGAIntControl    = 0x0180
	OffVIOMMUStatus      = 0x0190
	OffEFR2              = 0x01a0
	OffMARC              = 0x0200 // base, relocation, length of each of 4 apertures
	OffReserved          = 0x1ff8 // reads back what is written
	OffCmdHead           = 0x2000
	OffCmdTail           = 0x2008
	OffEventHead         = 0x2010
	OffEventTail         = 0x2018
	OffStatus            = 0x2020
	OffPPRHead           = 0x2030
	OffPPRTail           = 0x2038
	OffGAHead            = 0x2040
	OffGATail            = 0x2048
	OffPPRBHead          = 0x2050
	OffPPRBTail          = 0x2058
	OffEventBHead        = 0x2070
	OffEventBTail        = 0x2078
	OffPPRAutoResponse   = 0x2080
	OffPPROverflowEarly  = 0x2088
	OffPPRBOverflowEarly = 0x2090
)

// Window is the size of the register window, and of the one of a unit with performance counters (PCSup).
const (
	Window   = 0x4000
	WindowPC = 0x8_0000
)

// MaxSegments is the number of device table segments that DevTblSegEn can select at most.
const MaxSegments = 8
