package spec

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
)

// Registers names the registers of the window by offset, 3.4, those of features that a unit need not have
// included. Counters have a window of their own and are not among them.
var Registers = registers()

func register(name string, off uint32, size uint8, l *reg.Layout) reg.Reg {
	return reg.Reg{Name: name, Off: off, Size: size, Layout: l, Clause: "3.4"}
}

func registers() reg.Table {
	t := reg.Table{
		register("Device Table Base", OffDevTabBase, 8, &DevTabLayout),
		register("Command Buffer Base", OffCmdBufBase, 8, &RingLayout),
		register("Event Log Base", OffEventLogBase, 8, &RingLayout),
		register("Control", OffControl, 8, &ControlLayout),
		register("Exclusion Base", OffExclBase, 8, &ExclBaseLayout),
		register("Exclusion Limit", OffExclLimit, 8, &ExclLimitLayout),
		register("Extended Feature", OffEFR, 8, &EFRLayout),
		register("PPR Log Base", OffPPRLogBase, 8, &RingLayout),
		register("HW Event Upper", OffHWEventUpper, 8, nil),
		register("HW Event Lower", OffHWEventLower, 8, nil),
		register("HW Event Status", OffHWEventStatus, 8, &HWEventStatusLayout),
	}
	for i := range uint32(16) {
		t = append(t, register(fmt.Sprintf("SMI Filter %d", i), OffSMIFilter+8*i, 8, nil))
	}
	t = append(t,
		register("GA Log Base", OffGALogBase, 8, &RingLayout),
		register("GA Log Tail Address", OffGALogTailAddr, 8, &GALogTailAddrLayout),
		register("PPR Log B Base", OffPPRLogBBase, 8, &RingLayout),
		register("Event Log B Base", OffEventLogBBase, 8, &RingLayout),
	)
	for i := range uint32(MaxSegments - 1) {
		t = append(t, register(fmt.Sprintf("Device Table Segment %d Base", i+1), OffDevTabSeg1+8*i, 8, &DevTabLayout))
	}
	t = append(t,
		register("Device-Specific Feature", OffDSFX, 8, nil),
		register("Device-Specific Control", OffDSCX, 8, nil),
		register("Device-Specific Status", OffDSSX, 8, nil),
		register("MSI Vector 0", OffMSIVector0, 4, nil),
		register("MSI Vector 1", OffMSIVector1, 4, nil),
		register("MSI Capability Header", OffMSICapHeader, 4, &MSICapLayout),
		register("MSI Address Low", OffMSIAddrLow, 4, nil),
		register("MSI Address High", OffMSIAddrHigh, 4, nil),
		register("MSI Data", OffMSIData, 4, nil),
		register("MSI Mapping Capability", OffMSIMapCap, 4, nil),
		register("Performance Optimization Control", OffPerfOpt, 4, nil),
		register("XT Interrupt Control", OffXTIntControl, 8, &XTIntLayout),
		register("XT PPR Interrupt Control", OffXTPPRIntControl, 8, &XTIntLayout),
		register("XT GA Log Interrupt Control", OffXTGAIntControl, 8, &XTIntLayout),
		register("Virtual IOMMU Status", OffVIOMMUStatus, 8, nil),
		register("Extended Feature 2", OffEFR2, 8, &EFR2Layout),
	)
	for i := range uint32(4) {
		t = append(t,
			register(fmt.Sprintf("MARC %d Base", i), OffMARC+24*i, 8, nil),
			register(fmt.Sprintf("MARC %d Relocation", i), OffMARC+24*i+8, 8, nil),
			register(fmt.Sprintf("MARC %d Length", i), OffMARC+24*i+16, 8, nil))
	}
	return append(t,
		register("reserved", OffReserved, 8, nil),
		register("Command Head", OffCmdHead, 8, &PtrLayout),
		register("Command Tail", OffCmdTail, 8, &PtrLayout),
		register("Event Head", OffEventHead, 8, &PtrLayout),
		register("Event Tail", OffEventTail, 8, &PtrLayout),
		register("Status", OffStatus, 8, &StatusLayout),
		register("PPR Head", OffPPRHead, 8, &PtrLayout),
		register("PPR Tail", OffPPRTail, 8, &PtrLayout),
		register("GA Log Head", OffGAHead, 8, &GAPtrLayout),
		register("GA Log Tail", OffGATail, 8, &GAPtrLayout),
		register("PPR B Head", OffPPRBHead, 8, &PtrLayout),
		register("PPR B Tail", OffPPRBTail, 8, &PtrLayout),
		register("Event B Head", OffEventBHead, 8, &PtrLayout),
		register("Event B Tail", OffEventBTail, 8, &PtrLayout),
		register("PPR Auto Response", OffPPRAutoResponse, 8, &PPRAutoResponseLayout),
		register("PPR Overflow Early", OffPPROverflowEarly, 8, &PPROverflowEarlyLayout),
		register("PPR B Overflow Early", OffPPRBOverflowEarly, 8, &PPROverflowEarlyLayout),
	)
}
