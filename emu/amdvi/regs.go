package amdvi

import (
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
	rMSIMapping
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
	effCounter
	effMatch
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

// statusW1C are the bits of Status that software clears, as far as anything sets them.
var statusW1C = spec.StsEventOverflow.Mask() | spec.StsEventLogInt.Mask() | spec.StsComWaitInt.Mask() |
	spec.StsPprOverflow.Mask() | spec.StsPprInt.Mask() | spec.StsPprEarly.Mask() |
	spec.StsGALOverflow.Mask() | spec.StsGAInt.Mask()

// msiHeader is the MSI capability: 64-bit addresses, one message.
const msiHeader = spec.MSICapID | 1<<23

// registers returns the table of the window for the unit's configuration.
func (u *Unit) registers() []reg.Reg {
	c := &u.cfg
	ro := func(off uint32, v uint64) reg.Reg {
		r := spec.Registers.At(off)
		r.Reset = v
		return r
	}
	rw := func(off uint32, mask uint64, e reg.Effect) reg.Reg {
		r := spec.Registers.At(off)
		r.RW, r.Effect = mask, e
		return r
	}
	w1c := func(off uint32, mask uint64) reg.Reg {
		r := spec.Registers.At(off)
		r.W1C = mask
		return r
	}
	ring := func(off uint32, e reg.Effect) reg.Reg {
		r := rw(off, spec.RingBase.Mask()|spec.RingLen.Mask(), e)
		r.Reset = spec.RingLen.Put(spec.MinRingLen)
		return r
	}
	ptr := func(off uint32, e reg.Effect) reg.Reg { return rw(off, spec.RingPtr.Mask(), e) }
	table := func(off uint32, size uint64) reg.Reg { return rw(off, spec.DevTabBase.Mask()|size, effNone) }
	limit := rw(spec.OffExclLimit, spec.ExclAddr.Mask(), effNone)
	limit.Reset = 0xfff
	header := rw(spec.OffMSICapHeader, spec.MsiEn.Mask()|spec.MsiMME.Mask(), effNone)
	header.Reset = msiHeader
	misc := c.Capability()
	words := misc.Words()
	t := []reg.Reg{
		table(spec.OffDevTabBase, spec.DevTabSize.Mask()),
		ring(spec.OffCmdBufBase, effCmdBase),
		ring(spec.OffEventLogBase, effLogBase),
		rw(spec.OffControl, c.controlMask(), effControl),
		rw(spec.OffExclBase, spec.ExclEn.Mask()|spec.ExclAllow.Mask()|spec.ExclAddr.Mask(), effNone),
		limit,
		ro(spec.OffEFR, u.efr),
		ring(spec.OffPPRLogBase, effLogBase),
		ro(spec.OffHWEventUpper, 0),
		ro(spec.OffHWEventLower, 0),
		w1c(spec.OffHWEventStatus, spec.HweValid.Mask()|spec.HweOverflow.Mask()),
		ring(spec.OffGALogBase, effLogBase),
		rw(spec.OffGALogTailAddr, spec.GALogTailAddr.Mask(), effNone),
		ro(spec.OffMSIVector0, uint64(words[4])),
		ro(spec.OffMSIVector1, uint64(words[5])),
		header,
		rw(spec.OffMSIAddrLow, 0xffff_fffc, effNone),
		rw(spec.OffMSIAddrHigh, 0xffff_ffff, effNone),
		rw(spec.OffMSIData, 0xffff, effNone),
		ro(spec.OffMSIMapCap, spec.MSIMapping),
		rw(spec.OffXTIntControl, xtMask(), effNone),
		rw(spec.OffXTPPRIntControl, xtMask(), effNone),
		rw(spec.OffXTGAIntControl, xtMask(), effNone),
		ro(spec.OffEFR2, u.efr2),
		rw(spec.OffReserved, ^uint64(0), effNone),
		ptr(spec.OffCmdHead, effNone),
		ptr(spec.OffCmdTail, effCmdTail),
		ptr(spec.OffEventHead, effNone),
		ptr(spec.OffEventTail, effNone),
		w1c(spec.OffStatus, statusW1C),
		ptr(spec.OffPPRHead, effNone),
		ptr(spec.OffPPRTail, effNone),
		rw(spec.OffGAHead, spec.GARingPtr.Mask(), effNone),
		rw(spec.OffGATail, spec.GARingPtr.Mask(), effNone),
		rw(spec.OffPPRAutoResponse, spec.ParCode.Mask()|spec.ParMaskGN.Mask(), effNone),
		rw(spec.OffPPROverflowEarly, spec.PoeThreshold.Mask()|spec.PoeIntEn.Mask()|spec.PoeEn.Mask(), effNone),
	}
	for i := range spec.MaxSegments - 1 {
		r := table(spec.OffDevTabSeg1+uint32(8*i), segmentSize(i+1))
		if i+1 >= 1<<c.DevTblSegSup {
			r = absent(&r)
		}
		t = append(t, r)
	}
	if !c.HESup {
		drop(t, rHWUpper, rHWLower, rHWStatus)
	}
	if !c.MsiCapMmioSup {
		drop(t, rMSIVector0, rMSIVector1, rMSIHeader, rMSIAddrLow, rMSIAddrHigh, rMSIData, rMSIMapping)
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
	return append(t, c.perfRegisters()...)
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
