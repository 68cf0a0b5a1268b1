package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Registers by index into the table. A register that the configuration does not have is in the
// table too, but reads 0 and takes nothing.
const (
	rDevTab = iota
	rCmdBase
	rEventBase
	rControl
	rExclBase
	rExclLimit
	rEFR
	rPPRBase
	rHWUpper
	rHWLower
	rHWStatus
	rGABase
	rGATailAddr
	rMSIVector0
	rMSIVector1
	rMSIHeader
	rMSIAddrLow
	rMSIAddrHigh
	rMSIData
	rXTInt
	rXTPPRInt
	rXTGAInt
	rEFR2
	rScratch
	rCmdHead
	rCmdTail
	rEventHead
	rEventTail
	rStatus
	rPPRHead
	rPPRTail
	rGAHead
	rGATail
	rPPRAuto
	rPPREarly
	rSegment1 // the first of seven
)

// What a write sets off.
const (
	effNone reg.Effect = iota
	effCmdBase
	effLogBase
	effControl
	effCmdTail
)

// The only bits of GAMEn and NumIntRemapMode that have a meaning.
const (
	gamEn      reg.Bits = 25_025
	intRemap2K reg.Bits = 43_043
)

// controlMask returns the bits of Control that this unit has.
func (c *Config) controlMask() uint64 {
	m := spec.CtlIommuEn.Mask() | spec.CtlHtTunEn.Mask() | spec.CtlEventLogEn.Mask() | spec.CtlEventIntEn.Mask() |
		spec.CtlComWaitIntEn.Mask() | spec.CtlInvTimeOut.Mask() | spec.CtlPassPW.Mask() | spec.CtlResPassPW.Mask() |
		spec.CtlCoherent.Mask() | spec.CtlIsoc.Mask() | spec.CtlCmdBufEn.Mask()
	for _, f := range []struct {
		have bool
		bits reg.Bits
	}{
		{c.PPRSup, spec.CtlPPRLogEn},
		{c.PPRSup, spec.CtlPprIntEn},
		{c.PPRSup, spec.CtlPPREn},
		{c.PPRAutoRspSup, spec.CtlPprAutoRspEn},
		{c.PPRAutoRspSup, spec.CtlPprAutoRspAon},
		{c.EPHSup, spec.CtlEPHEn},
		{c.GASup, spec.CtlGAEn},
		{c.GAMSup, gamEn},
		{c.GAMSup, spec.CtlGALogEn},
		{c.GAMSup, spec.CtlGAIntEn},
		{c.GASup && c.XTSup, spec.CtlXTEn},
		{c.NumIntRemap2K, intRemap2K},
		{c.IRTCacheDis, spec.CtlIRTCacheDis},
		{c.GTSup, spec.CtlGTEn},
		{c.GTSup, spec.CtlGDUpdateDis},
		{c.GTSup && c.GAUpdateDisSup, spec.CtlGAUpdateDis},
		{c.DevTblSegSup != 0, spec.CtlDevTblSegEn},
		{c.HASup, spec.CtlHADUpdate},
		{c.XTSup, spec.CtlIntCapXTEn},
		{c.GCR3TRPModeSup, spec.CtlGCR3TRPMode},
	} {
		if f.have {
			m |= f.bits.Mask()
		}
	}
	return m
}

// w1c are the bits of Status that software clears, as far as anything sets them.
var w1c = spec.StsEventOverflow.Mask() | spec.StsEventLogInt.Mask() | spec.StsComWaitInt.Mask() |
	spec.StsPprOverflow.Mask() | spec.StsPprInt.Mask() | spec.StsPprEarly.Mask() |
	spec.StsGALOverflow.Mask() | spec.StsGAInt.Mask()

// msiHeader is the MSI capability: 64-bit addresses, one message.
const msiHeader = spec.MSICapID | 1<<23

// registers returns the table of the window for the unit's configuration.
func (u *Unit) registers() []reg.Reg {
	c := &u.cfg
	ro := func(name string, off uint32, size uint8, v uint64, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: size, Reset: v, Layout: l, Clause: "3.4"}
	}
	rw := func(name string, off uint32, size uint8, mask uint64, e reg.Effect, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: size, RW: mask, Effect: e, Layout: l, Clause: "3.4"}
	}
	ring := func(name string, off uint32, e reg.Effect) reg.Reg {
		r := rw(name, off, 8, spec.RingBase.Mask()|spec.RingLen.Mask(), e, &spec.RingLayout)
		r.Reset = spec.RingLen.Put(spec.MinRingLen)
		return r
	}
	ptr := func(name string, off uint32, e reg.Effect) reg.Reg {
		return rw(name, off, 8, spec.RingPtr.Mask(), e, &spec.PtrLayout)
	}
	table := func(name string, off uint32, size uint64) reg.Reg {
		return rw(name, off, 8, spec.DevTabBase.Mask()|size, effNone, &spec.DevTabLayout)
	}
	limit := rw("Exclusion Limit", spec.OffExclLimit, 8, spec.ExclAddr.Mask(), effNone, &spec.ExclLimitLayout)
	limit.Reset = 0xfff
	header := rw("MSI Capability Header", spec.OffMSICapHeader, 4, spec.MsiEn.Mask()|spec.MsiMME.Mask(), effNone, &spec.MSICapLayout)
	header.Reset = msiHeader
	misc := c.Capability()
	words := misc.Words()
	t := []reg.Reg{
		table("Device Table Base", spec.OffDevTabBase, spec.DevTabSize.Mask()),
		ring("Command Buffer Base", spec.OffCmdBufBase, effCmdBase),
		ring("Event Log Base", spec.OffEventLogBase, effLogBase),
		rw("Control", spec.OffControl, 8, c.controlMask(), effControl, &spec.ControlLayout),
		rw("Exclusion Base", spec.OffExclBase, 8, spec.ExclEn.Mask()|spec.ExclAllow.Mask()|spec.ExclAddr.Mask(), effNone, &spec.ExclBaseLayout),
		limit,
		ro("Extended Feature", spec.OffEFR, 8, u.efr, &spec.EFRLayout),
		ring("PPR Log Base", spec.OffPPRLogBase, effLogBase),
		ro("HW Event Upper", spec.OffHWEventUpper, 8, 0, nil),
		ro("HW Event Lower", spec.OffHWEventLower, 8, 0, nil),
		{Name: "HW Event Status", Off: spec.OffHWEventStatus, Size: 8, W1C: spec.HweValid.Mask() | spec.HweOverflow.Mask(),
			Layout: &spec.HWEventStatusLayout, Clause: "3.4"},
		ring("GA Log Base", spec.OffGALogBase, effLogBase),
		rw("GA Log Tail Address", spec.OffGALogTailAddr, 8, spec.GALogTailAddr.Mask(), effNone, &spec.GALogTailAddrLayout),
		ro("MSI Vector 0", spec.OffMSIVector0, 4, uint64(words[4]), nil),
		ro("MSI Vector 1", spec.OffMSIVector1, 4, uint64(words[5]), nil),
		header,
		rw("MSI Address Low", spec.OffMSIAddrLow, 4, 0xffff_fffc, effNone, nil),
		rw("MSI Address High", spec.OffMSIAddrHigh, 4, 0xffff_ffff, effNone, nil),
		rw("MSI Data", spec.OffMSIData, 4, 0xffff, effNone, nil),
		rw("XT Interrupt Control", spec.OffXTIntControl, 8, xtMask(), effNone, &spec.XTIntLayout),
		rw("XT PPR Interrupt Control", spec.OffXTPPRIntControl, 8, xtMask(), effNone, &spec.XTIntLayout),
		rw("XT GA Log Interrupt Control", spec.OffXTGAIntControl, 8, xtMask(), effNone, &spec.XTIntLayout),
		ro("Extended Feature 2", spec.OffEFR2, 8, u.efr2, &spec.EFR2Layout),
		rw("reserved", 0x1ff8, 8, ^uint64(0), effNone, nil),
		ptr("Command Head", spec.OffCmdHead, effNone),
		ptr("Command Tail", spec.OffCmdTail, effCmdTail),
		ptr("Event Head", spec.OffEventHead, effNone),
		ptr("Event Tail", spec.OffEventTail, effNone),
		{Name: "Status", Off: spec.OffStatus, Size: 8, W1C: w1c, Layout: &spec.StatusLayout, Clause: "3.4"},
		ptr("PPR Head", spec.OffPPRHead, effNone),
		ptr("PPR Tail", spec.OffPPRTail, effNone),
		rw("GA Log Head", spec.OffGAHead, 8, spec.GARingPtr.Mask(), effNone, &spec.GAPtrLayout),
		rw("GA Log Tail", spec.OffGATail, 8, spec.GARingPtr.Mask(), effNone, &spec.GAPtrLayout),
		rw("PPR Auto Response", spec.OffPPRAutoResponse, 8, spec.ParCode.Mask()|spec.ParMaskGN.Mask(), effNone, &spec.PPRAutoResponseLayout),
		rw("PPR Overflow Early", spec.OffPPROverflowEarly, 8, spec.PoeThreshold.Mask()|spec.PoeIntEn.Mask()|spec.PoeEn.Mask(), effNone, &spec.PPROverflowEarlyLayout),
	}
	for i := range spec.MaxSegments - 1 {
		r := table(fmt.Sprintf("Device Table Segment %d Base", i+1), spec.OffDevTabSeg1+uint32(8*i), segmentSize(i+1))
		if i+1 >= 1<<c.DevTblSegSup {
			r = absent(&r)
		}
		t = append(t, r)
	}
	if !c.HESup {
		drop(t, rHWUpper, rHWLower, rHWStatus)
	}
	if !c.MsiCapMmioSup {
		drop(t, rMSIVector0, rMSIVector1, rMSIHeader, rMSIAddrLow, rMSIAddrHigh, rMSIData)
	}
	if !c.XTSup {
		drop(t, rXTInt, rXTPPRInt, rXTGAInt)
	}
	if !c.PPRSup {
		drop(t, rPPRBase, rPPRHead, rPPRTail)
	}
	if !c.PPRAutoRspSup {
		drop(t, rPPRAuto)
	}
	if !c.PprEarlySup {
		drop(t, rPPREarly)
	}
	if !c.GAMSup {
		drop(t, rGABase, rGATailAddr, rGAHead, rGATail)
	}
	return t
}

// segmentSize is the Size field of segment i: a segment has as many entries as are left to it when
// the DeviceIDs are divided by the largest number of segments that i is one of.
func segmentSize(i int) uint64 {
	switch {
	case i == 1:
		return 0xff
	case i < 4:
		return 0x7f
	}
	return 0x3f
}

func xtMask() uint64 {
	return spec.XtDestMode.Mask() | spec.XtDestLo.Mask() | spec.XtVector.Mask() | spec.XtDM.Mask() | spec.XtDestHi.Mask()
}

// absent is a register that reads 0 and takes nothing. Hardware may keep something in it.
func absent(r *reg.Reg) reg.Reg {
	return reg.Reg{Name: r.Name, Off: r.Off, Size: r.Size, WO: true}
}

func drop(t []reg.Reg, index ...int) {
	for _, i := range index {
		t[i] = absent(&t[i])
	}
}
