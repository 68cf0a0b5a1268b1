package spec

// Register offsets, 6.2. Page 1 begins at Page1.
const (
	OffIDR0            = 0x000
	OffIDR1            = 0x004
	OffIDR2            = 0x008
	OffIDR3            = 0x00c
	OffIDR4            = 0x010
	OffIDR5            = 0x014
	OffIIDR            = 0x018
	OffAIDR            = 0x01c
	OffCR0             = 0x020
	OffCR0ACK          = 0x024
	OffCR1             = 0x028
	OffCR2             = 0x02c
	OffSTATUSR         = 0x040
	OffGBPA            = 0x044
	OffAGBPA           = 0x048
	OffIRQCtrl         = 0x050
	OffIRQCtrlACK      = 0x054
	OffGERROR          = 0x060
	OffGERRORN         = 0x064
	OffGERRORIRQCfg0   = 0x068
	OffGERRORIRQCfg1   = 0x070
	OffGERRORIRQCfg2   = 0x074
	OffSTRTABBase      = 0x080
	OffSTRTABBaseCfg   = 0x088
	OffCMDQBase        = 0x090
	OffCMDQProd        = 0x098
	OffCMDQCons        = 0x09c
	OffEVENTQBase      = 0x0a0
	OffEVENTQProdAlias = 0x0a8 // reads as zero, or as in Page 1
	OffEVENTQIRQCfg0   = 0x0b0
	OffEVENTQIRQCfg1   = 0x0b8
	OffEVENTQIRQCfg2   = 0x0bc
	OffPRIQBase        = 0x0c0
	OffPRIQProdAlias   = 0x0c8
	OffPRIQIRQCfg0     = 0x0d0
	OffPRIQIRQCfg1     = 0x0d8
	OffPRIQIRQCfg2     = 0x0dc
	OffGATOSCtrl       = 0x100
	OffGATOSSID        = 0x108
	OffGATOSAddr       = 0x110
	OffGATOSPAR        = 0x118
	OffVATOSSel        = 0x180
	OffPIDR4           = 0xfd0 // PIDR4 to 7, PIDR0 to 3, CIDR0 to 3

	Page1         = 0x1_0000
	OffEVENTQProd = Page1 + 0x0a8
	OffEVENTQCons = Page1 + 0x0ac
	OffPRIQProd   = Page1 + 0x0c8
	OffPRIQCons   = Page1 + 0x0cc
)

// Window is the size of both register pages. A unit with counters has its counter group behind them, at
// OffPMCG; where such a group is the specification leaves to the implementation. Then comes the VATOS page, as
// IDR2.BA_VATOS says: BAVATOS. WindowAll is the size with all of them.
const (
	Window    = 0x2_0000
	OffPMCG   = Window
	WindowPM  = OffPMCG + PmcgWindow
	BAVATOS   = 1
	OffVATOS  = Window + BAVATOS*0x1_0000
	WindowAll = OffVATOS + 0x1_0000

	OffVATOSCtrl = OffVATOS + 0xa00
	OffVATOSSID  = OffVATOS + 0xa08
	OffVATOSAddr = OffVATOS + 0xa10
	OffVATOSPAR  = OffVATOS + 0xa18
)
