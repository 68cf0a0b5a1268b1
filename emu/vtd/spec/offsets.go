package spec

// Register offsets in the unit's window. IVA, IOTLB and the fault records are where ECAP.IRO and
// CAP.FRO say.
const (
	OffVER      = 0x000
	OffCAP      = 0x008
	OffECAP     = 0x010
	OffGCMD     = 0x018
	OffGSTS     = 0x01c
	OffRTADDR   = 0x020
	OffCCMD     = 0x028
	OffFSTS     = 0x034
	OffFECTL    = 0x038
	OffFEDATA   = 0x03c
	OffFEADDR   = 0x040
	OffFEUADDR  = 0x044
	OffAFLOG    = 0x058
	OffPMEN     = 0x064
	OffPLMBASE  = 0x068
	OffPLMLIMIT = 0x06c
	OffPHMBASE  = 0x070
	OffPHMLIMIT = 0x078
	OffIQH      = 0x080
	OffIQT      = 0x088
	OffIQA      = 0x090
	OffICS      = 0x09c
	OffIECTL    = 0x0a0
	OffIEDATA   = 0x0a4
	OffIEADDR   = 0x0a8
	OffIEUADDR  = 0x0ac
	OffIQERCD   = 0x0b0
	OffIRTA     = 0x0b8
	OffPQH      = 0x0c0
	OffPQT      = 0x0c8
	OffPQA      = 0x0d0
	OffPRS      = 0x0dc
	OffPECTL    = 0x0e0
	OffPEDATA   = 0x0e4
	OffPEADDR   = 0x0e8
	OffPEUADDR  = 0x0ec
	OffMTRRCAP  = 0x100
	OffMTRRDEF  = 0x108
	OffPERFCAP  = 0x300
	OffECMD     = 0x400
	OffECEO     = 0x408
	OffECRSP    = 0x410
	OffECCAP0   = 0x430
)

// Window is the size of the register window that a unit here occupies at least, MaxWindow at most.
const (
	Window    = 0x1000
	MaxWindow = 0x10_0000
)

// Offsets inside the block at ECAP.IRO*16, and the size of one fault record.
const (
	OffIVA     = 0
	OffIOTLB   = 8
	FRCDSize   = 16
	FRCDStatus = 12 // offset of the 4 bytes that hold F
)
