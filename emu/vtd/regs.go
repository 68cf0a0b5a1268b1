package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Registers by index into the table. A register that the configuration does not have is in the
// table too, but reads 0 and takes nothing.
const (
	rVER = iota
	rCAP
	rECAP
	rGCMD
	rGSTS
	rRTADDR
	rCCMD
	rFSTS
	rFECTL
	rFEDATA
	rFEADDR
	rFEUADDR
	rPMEN
	rPLMBASE
	rPLMLIMIT
	rPHMBASE
	rPHMLIMIT
	rIQH
	rIQT
	rIQA
	rICS
	rIECTL
	rIEDATA
	rIEADDR
	rIEUADDR
	rIQERCD
	rIRTA
	rPQH
	rPQT
	rPQA
	rPRS
	rPECTL
	rPEDATA
	rPEADDR
	rPEUADDR
	rIVA
	rIOTLB
	rFRCD // the first of two per fault record
)

// What a write sets off.
const (
	effNone reg.Effect = iota
	effGCMD
	effCCMD
	effIOTLB
	effFSTS
	effFECTL
	effPMEN
	effIQT
	effIQA
	effICS
	effIECTL
	effFRCD
	effPerfEvent
	effPerfStatus
	effCounter
	effECMD
	effECEO
	effPRS
	effPECTL
)

// pmrMask is the granularity of protected regions: 2 MiB.
const pmrMask = 1<<21 - 1

// registers returns the table of the window for configuration c.
func (u *Unit) registers() []reg.Reg {
	c := &u.cfg
	ro := func(name string, off uint32, size uint8, v uint64, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: size, Reset: v, Layout: l}
	}
	rw := func(name string, off uint32, size uint8, mask uint64, e reg.Effect, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: size, RW: mask, Effect: e, Layout: l}
	}
	upper := uint64(0) // reserved without EIM
	if c.EIM {
		upper = 0xffff_ffff
	}
	event := func(name string, off uint32, e reg.Effect) []reg.Reg {
		ctl := rw(name+"CTL_REG", off, 4, spec.EventIM.Mask(), e, &spec.FECTLLayout)
		ctl.Reset = spec.EventIM.Put(1)
		return []reg.Reg{
			ctl,
			rw(name+"DATA_REG", off+4, 4, spec.EventData.Mask(), effNone, nil),
			rw(name+"ADDR_REG", off+8, 4, spec.EventAddr.Mask(), effNone, nil),
			rw(name+"UADDR_REG", off+12, 4, upper, effNone, nil),
		}
	}
	const ivaMask = 1<<12 - 1 - 0xf80 // AM and IH
	phm := reg.Ones(c.HAW) &^ pmrMask
	t := []reg.Reg{
		ro("VER_REG", spec.OffVER, 4, spec.VerMax.Put(uint64(c.VersionMajor))|spec.VerMin.Put(uint64(c.VersionMinor)), &spec.VERLayout),
		ro("CAP_REG", spec.OffCAP, 8, u.cap, &spec.CAPLayout),
		ro("ECAP_REG", spec.OffECAP, 8, u.ecap, &spec.ECAPLayout),
		{Name: "GCMD_REG", Off: spec.OffGCMD, Size: 4, WO: true, Effect: effGCMD, Layout: &spec.GCMDLayout},
		ro("GSTS_REG", spec.OffGSTS, 4, 0, &spec.GSTSLayout),
		rw("RTADDR_REG", spec.OffRTADDR, 8, spec.RtaddrRTA.Mask()|spec.RtaddrTTM.Mask(), effNone, &spec.RTADDRLayout),
		{Name: "CCMD_REG", Off: spec.OffCCMD, Size: 8, Reset: spec.CcmdCAIG.Put(spec.GranGlobal),
			RW:     spec.CcmdDID.Mask() | spec.CcmdSID.Mask() | spec.CcmdFM.Mask() | spec.CcmdCIRG.Mask() | spec.CcmdICC.Mask(),
			Effect: effCCMD, Layout: &spec.CCMDLayout},
		{Name: "FSTS_REG", Off: spec.OffFSTS, Size: 4, Sticky: 0xffff_ffff,
			W1C:    spec.FstsPFO.Mask() | spec.FstsIQE.Mask() | spec.FstsICE.Mask() | spec.FstsITE.Mask(),
			Effect: effFSTS, Layout: &spec.FSTSLayout},
	}
	t = append(t, event("FE", spec.OffFECTL, effFECTL)...)
	t = append(t,
		rw("PMEN_REG", spec.OffPMEN, 4, spec.PmenEPM.Mask(), effPMEN, &spec.PMENLayout),
		rw("PLMBASE_REG", spec.OffPLMBASE, 4, 0xffff_ffff&^pmrMask, effNone, nil),
		rw("PLMLIMIT_REG", spec.OffPLMLIMIT, 4, 0xffff_ffff&^pmrMask, effNone, nil),
		rw("PHMBASE_REG", spec.OffPHMBASE, 8, phm, effNone, nil),
		rw("PHMLIMIT_REG", spec.OffPHMLIMIT, 8, phm, effNone, nil),
		ro("IQH_REG", spec.OffIQH, 8, 0, &spec.IQHLayout),
		rw("IQT_REG", spec.OffIQT, 8, spec.IqtQT.Mask(), effIQT, &spec.IQTLayout),
		rw("IQA_REG", spec.OffIQA, 8, spec.IqaIQA.Mask()|spec.IqaDW.Mask()|spec.IqaQS.Mask(), effIQA, &spec.IQALayout),
		reg.Reg{Name: "ICS_REG", Off: spec.OffICS, Size: 4, W1C: spec.IcsIWC.Mask(), Effect: effICS},
	)
	t = append(t, event("IE", spec.OffIECTL, effIECTL)...)
	t = append(t,
		reg.Reg{Name: "IQERCD_REG", Off: spec.OffIQERCD, Size: 8, Sticky: ^uint64(0), Layout: &spec.IQERCDLayout},
		rw("IRTA_REG", spec.OffIRTA, 8, spec.IrtaIRTA.Mask()|spec.IrtaEIME.PutBool(c.EIM)|spec.IrtaS.Mask(), effNone, &spec.IRTALayout),
		rw("PQH_REG", spec.OffPQH, 8, spec.PqhPQH.Mask(), effNone, &spec.PQHLayout),
		rw("PQT_REG", spec.OffPQT, 8, spec.PqtPQT.Mask(), effNone, &spec.PQTLayout),
		rw("PQA_REG", spec.OffPQA, 8, spec.PqaPQA.Mask()|spec.PqaPQS.Mask(), effNone, &spec.PQALayout),
		reg.Reg{Name: "PRS_REG", Off: spec.OffPRS, Size: 4, Sticky: 0xffff_ffff, W1C: prsEvents.Mask(),
			Effect: effPRS, Layout: &spec.PRSLayout},
	)
	t = append(t, event("PE", spec.OffPECTL, effPECTL)...)
	t = append(t,
		reg.Reg{Name: "IVA_REG", Off: c.IOTLBOffset + spec.OffIVA, Size: 8, WO: true,
			RW: spec.IvaADDR.Mask() | ivaMask, Layout: &spec.IVALayout},
		reg.Reg{Name: "IOTLB_REG", Off: c.IOTLBOffset + spec.OffIOTLB, Size: 8, Reset: spec.IotlbIAIG.Put(spec.GranGlobal),
			RW:     spec.IotlbDID.Mask() | spec.IotlbDW.Mask() | spec.IotlbDR.Mask() | spec.IotlbIIRG.Mask() | spec.IotlbIVT.Mask(),
			Effect: effIOTLB, Layout: &spec.IOTLBLayout},
	)
	for i := range c.FaultRecords {
		off := c.FaultOffset + uint32(i*spec.FRCDSize)
		t = append(t,
			reg.Reg{Name: fmt.Sprintf("FRCD_REG[%d] low", i), Off: off, Size: 8, Sticky: ^uint64(0)},
			reg.Reg{Name: fmt.Sprintf("FRCD_REG[%d] high", i), Off: off + 8, Size: 8, Sticky: ^uint64(0),
				W1C: spec.FrF.Mask(), Effect: effFRCD, Layout: &spec.FRCDLayout})
	}
	t = append(t, u.perfRegisters()...)
	if !c.PLMR && !c.PHMR {
		drop(t, rPMEN)
	}
	if !c.PLMR {
		drop(t, rPLMBASE, rPLMLIMIT)
	}
	if !c.PHMR {
		drop(t, rPHMBASE, rPHMLIMIT)
	}
	if !c.QI {
		drop(t, rIQH, rIQT, rIQA, rICS, rIECTL, rIEDATA, rIEADDR, rIQERCD)
	}
	if !c.IR {
		drop(t, rIRTA)
	}
	if !c.PRS {
		drop(t, rPQH, rPQT, rPQA, rPRS, rPECTL, rPEDATA, rPEADDR, rPEUADDR)
	}
	return t
}

// drop makes registers read 0 and take nothing.
func drop(t []reg.Reg, index ...int) {
	for _, i := range index {
		t[i] = reg.Reg{Name: t[i].Name, Off: t[i].Off, Size: t[i].Size}
	}
}
