package spec

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
)

// Register is one register of the window.
type Register struct {
	Name   string
	Off    uint32
	Size   uint8       // bytes
	Layout *reg.Layout // nil: one number
}

// Registers are the registers of the window by offset, 3.4, those of features that a unit need not have
// included. Counters have a window of their own and are not among them.
var Registers = registers()

func registers() []Register {
	t := []Register{
		{"Device Table Base", OffDevTabBase, 8, &DevTabLayout},
		{"Command Buffer Base", OffCmdBufBase, 8, &RingLayout},
		{"Event Log Base", OffEventLogBase, 8, &RingLayout},
		{"Control", OffControl, 8, &ControlLayout},
		{"Exclusion Base", OffExclBase, 8, &ExclBaseLayout},
		{"Exclusion Limit", OffExclLimit, 8, &ExclLimitLayout},
		{"Extended Feature", OffEFR, 8, &EFRLayout},
		{"PPR Log Base", OffPPRLogBase, 8, &RingLayout},
		{"HW Event Upper", OffHWEventUpper, 8, nil},
		{"HW Event Lower", OffHWEventLower, 8, nil},
		{"HW Event Status", OffHWEventStatus, 8, &HWEventStatusLayout},
	}
	for i := range uint32(16) {
		t = append(t, Register{fmt.Sprintf("SMI Filter %d", i), OffSMIFilter + 8*i, 8, nil})
	}
	t = append(t,
		Register{"GA Log Base", OffGALogBase, 8, &RingLayout},
		Register{"GA Log Tail Address", OffGALogTailAddr, 8, &GALogTailAddrLayout},
		Register{"PPR Log B Base", OffPPRLogBBase, 8, &RingLayout},
		Register{"Event Log B Base", OffEventLogBBase, 8, &RingLayout},
	)
	for i := range uint32(MaxSegments - 1) {
		t = append(t, Register{fmt.Sprintf("Device Table Segment %d Base", i+1), OffDevTabSeg1 + 8*i, 8, &DevTabLayout})
	}
	t = append(t,
		Register{"Device-Specific Feature", OffDSFX, 8, nil},
		Register{"Device-Specific Control", OffDSCX, 8, nil},
		Register{"Device-Specific Status", OffDSSX, 8, nil},
		Register{"MSI Vector 0", OffMSIVector0, 4, nil},
		Register{"MSI Vector 1", OffMSIVector1, 4, nil},
		Register{"MSI Capability Header", OffMSICapHeader, 4, &MSICapLayout},
		Register{"MSI Address Low", OffMSIAddrLow, 4, nil},
		Register{"MSI Address High", OffMSIAddrHigh, 4, nil},
		Register{"MSI Data", OffMSIData, 4, nil},
		Register{"MSI Mapping Capability", OffMSIMapCap, 4, nil},
		Register{"Performance Optimization Control", OffPerfOpt, 4, nil},
		Register{"XT Interrupt Control", OffXTIntControl, 8, &XTIntLayout},
		Register{"XT PPR Interrupt Control", OffXTPPRIntControl, 8, &XTIntLayout},
		Register{"XT GA Log Interrupt Control", OffXTGAIntControl, 8, &XTIntLayout},
		Register{"Virtual IOMMU Status", OffVIOMMUStatus, 8, nil},
		Register{"Extended Feature 2", OffEFR2, 8, &EFR2Layout},
	)
	for i := range uint32(4) {
		t = append(t,
			Register{fmt.Sprintf("MARC %d Base", i), OffMARC + 24*i, 8, nil},
			Register{fmt.Sprintf("MARC %d Relocation", i), OffMARC + 24*i + 8, 8, nil},
			Register{fmt.Sprintf("MARC %d Length", i), OffMARC + 24*i + 16, 8, nil})
	}
	return append(t,
		Register{"reserved", OffReserved, 8, nil},
		Register{"Command Head", OffCmdHead, 8, &PtrLayout},
		Register{"Command Tail", OffCmdTail, 8, &PtrLayout},
		Register{"Event Head", OffEventHead, 8, &PtrLayout},
		Register{"Event Tail", OffEventTail, 8, &PtrLayout},
		Register{"Status", OffStatus, 8, &StatusLayout},
		Register{"PPR Head", OffPPRHead, 8, &PtrLayout},
		Register{"PPR Tail", OffPPRTail, 8, &PtrLayout},
		Register{"GA Log Head", OffGAHead, 8, &GAPtrLayout},
		Register{"GA Log Tail", OffGATail, 8, &GAPtrLayout},
		Register{"PPR B Head", OffPPRBHead, 8, &PtrLayout},
		Register{"PPR B Tail", OffPPRBTail, 8, &PtrLayout},
		Register{"Event B Head", OffEventBHead, 8, &PtrLayout},
		Register{"Event B Tail", OffEventBTail, 8, &PtrLayout},
		Register{"PPR Auto Response", OffPPRAutoResponse, 8, &PPRAutoResponseLayout},
		Register{"PPR Overflow Early", OffPPROverflowEarly, 8, &PPROverflowEarlyLayout},
		Register{"PPR B Overflow Early", OffPPRBOverflowEarly, 8, &PPROverflowEarlyLayout},
	)
}
