package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

var vtdArch = arch{
	name: "vtd", title: "VT-d",
	kinds: []structKind{
		fixed("root", &spec.RootLayout),
		fixed("root-scalable", &spec.SMRootLayout),
		fixed("context", &spec.ContextLayout),
		fixed("context-scalable", &spec.SMContextLayout),
		fixed("pasid-dir", &spec.PASIDDirLayout),
		fixed("pasid", &spec.PASIDLayout),
		fixed("ss-pte", &spec.SSLayout),
		fixed("fs-pte", &spec.FSLayout),
		fixed("fs-large", &spec.FSLargeLayout),
		{name: "irte", bytes: []int{16}, layout: vtdIRTE},
		fixed("posted-descriptor", &spec.PIDLayout),
		{name: "descriptor", bytes: []int{16, 32}, layout: vtdDescriptor},
		fixed("fault-record", &spec.FRCDLayout),
		fixed("page-request", &spec.PageRequestLayout),
	},
	registers:  vtdRegisters,
	newUnit:    newVTD,
	layoutOf:   vtdLayoutOf,
	devices:    vtdDevices,
	interrupts: vtdInterrupts,
	queues:     vtdQueues,
}

// newVTD makes the unit that a snapshot is loaded into. Nothing in a snapshot is in a processor's
// cache, so that its walks are coherent even if the unit it was taken of does not promise that.
func newVTD() (emu.Unit, error) {
	c := vtd.DefaultConfig()
	c.SnoopedWalks = true
	return vtd.New(c)
}

func vtdIRTE(w []uint64) *reg.Layout {
	if spec.IrteIM.On(w[0]) {
		return &spec.PostedIRTELayout
	}
	return &spec.IRTELayout
}

func vtdDescriptor(w []uint64) *reg.Layout {
	typ := spec.DescType(w[0])
	l, ok := spec.DescLayouts[typ]
	if !ok {
		l = &reg.Layout{Name: fmt.Sprintf("descriptor of unknown type %#x", typ), Bits: 128, Clause: "6.5.2", Fields: []reg.Field{
			spec.DescTypeLo.Field("TYPE", "descriptor type, low part"),
			spec.DescTypeHi.Field("TYPEH", "descriptor type, high part"),
		}}
	}
	if len(w) == 4 { // the upper half is reserved in all of them
		wide := *l
		wide.Bits = 256
		l = &wide
	}
	return l
}

// vtdLayoutOf knows the structures by the step that fetches them.
func vtdLayoutOf(u emu.Unit, t *emu.Txn, _ []uint64) *reg.Layout {
	scalable := spec.RtaddrTTM.Of(u.ReadReg(spec.OffRTADDR, 8)) == spec.TTMScalable
	switch t.Act.Step {
	case vtd.StepRoot:
		if scalable {
			return &spec.SMRootLayout
		}
		return &spec.RootLayout
	case vtd.StepContext:
		if scalable {
			return &spec.SMContextLayout
		}
		return &spec.ContextLayout
	case vtd.StepPASIDDir:
		return &spec.PASIDDirLayout
	case vtd.StepPASIDEntry:
		return &spec.PASIDLayout
	case vtd.StepSSTable, vtd.StepSSLeaf, vtd.StepSSUpdate:
		return &spec.SSLayout
	case vtd.StepIRTE:
		return vtdIRTE(t.In[:2])
	case vtd.StepPID:
		return &spec.PIDLayout
	}
	return nil
}

// vtdRegisters lists the window. Three blocks are where the capabilities say.
func vtdRegisters(img emu.RegImage) []register {
	list := []register{
		{"VER_REG", spec.OffVER, 4, &spec.VERLayout},
		{"CAP_REG", spec.OffCAP, 8, &spec.CAPLayout},
		{"ECAP_REG", spec.OffECAP, 8, &spec.ECAPLayout},
		{"GCMD_REG", spec.OffGCMD, 4, &spec.GCMDLayout},
		{"GSTS_REG", spec.OffGSTS, 4, &spec.GSTSLayout},
		{"RTADDR_REG", spec.OffRTADDR, 8, &spec.RTADDRLayout},
		{"CCMD_REG", spec.OffCCMD, 8, &spec.CCMDLayout},
		{"FSTS_REG", spec.OffFSTS, 4, &spec.FSTSLayout},
		{"FECTL_REG", spec.OffFECTL, 4, &spec.FECTLLayout},
		{"FEDATA_REG", spec.OffFEDATA, 4, nil},
		{"FEADDR_REG", spec.OffFEADDR, 4, nil},
		{"FEUADDR_REG", spec.OffFEUADDR, 4, nil},
		{"AFLOG_REG", spec.OffAFLOG, 8, nil},
		{"PMEN_REG", spec.OffPMEN, 4, &spec.PMENLayout},
		{"PLMBASE_REG", spec.OffPLMBASE, 4, nil},
		{"PLMLIMIT_REG", spec.OffPLMLIMIT, 4, nil},
		{"PHMBASE_REG", spec.OffPHMBASE, 8, nil},
		{"PHMLIMIT_REG", spec.OffPHMLIMIT, 8, nil},
		{"IQH_REG", spec.OffIQH, 8, &spec.IQHLayout},
		{"IQT_REG", spec.OffIQT, 8, &spec.IQTLayout},
		{"IQA_REG", spec.OffIQA, 8, &spec.IQALayout},
		{"ICS_REG", spec.OffICS, 4, &spec.ICSLayout},
		{"IECTL_REG", spec.OffIECTL, 4, &spec.FECTLLayout},
		{"IEDATA_REG", spec.OffIEDATA, 4, nil},
		{"IEADDR_REG", spec.OffIEADDR, 4, nil},
		{"IEUADDR_REG", spec.OffIEUADDR, 4, nil},
		{"IQERCD_REG", spec.OffIQERCD, 8, &spec.IQERCDLayout},
		{"IRTA_REG", spec.OffIRTA, 8, &spec.IRTALayout},
		{"PQH_REG", spec.OffPQH, 8, &spec.PQHLayout},
		{"PQT_REG", spec.OffPQT, 8, &spec.PQTLayout},
		{"PQA_REG", spec.OffPQA, 8, &spec.PQALayout},
		{"PRS_REG", spec.OffPRS, 4, nil},
		{"PECTL_REG", spec.OffPECTL, 4, &spec.FECTLLayout},
		{"PEDATA_REG", spec.OffPEDATA, 4, nil},
		{"PEADDR_REG", spec.OffPEADDR, 4, nil},
		{"PEUADDR_REG", spec.OffPEUADDR, 4, nil},
		{"MTRRCAP_REG", spec.OffMTRRCAP, 8, nil},
		{"MTRRDEF_REG", spec.OffMTRRDEF, 8, nil},
		{"PERFCAP_REG", spec.OffPERFCAP, 8, &spec.PERFCAPLayout},
		{"PERFCFGOFF_REG", spec.OffPERFCFGOFF, 4, nil},
		{"PERFFRZOFF_REG", spec.OffPERFFRZOFF, 4, nil},
		{"PERFOVFOFF_REG", spec.OffPERFOVFOFF, 4, nil},
		{"PERFCNTROFF_REG", spec.OffPERFCNTROFF, 4, nil},
		{"PERFINTRSTS_REG", spec.OffPERFINTRSTS, 4, &spec.PERFINTRSTSLayout},
		{"PERFINTRCTL_REG", spec.OffPERFINTRCTL, 4, &spec.FECTLLayout},
		{"ECMD_REG", spec.OffECMD, 8, &spec.ECMDLayout},
		{"ECEO_REG", spec.OffECEO, 8, &spec.ECEOLayout},
		{"ECRSP_REG", spec.OffECRSP, 8, &spec.ECRSPLayout},
	}
	c, _ := registerAt(img, spec.OffCAP, 8)
	ec, _ := registerAt(img, spec.OffECAP, 8)
	if off := uint32(spec.EcapIRO.Of(ec)) * 16; off != 0 {
		list = append(list,
			register{"IVA_REG", off + spec.OffIVA, 8, &spec.IVALayout},
			register{"IOTLB_REG", off + spec.OffIOTLB, 8, &spec.IOTLBLayout})
	}
	if off := uint32(spec.CapFRO.Of(c)) * 16; off != 0 {
		for i := range uint32(spec.CapNFR.Of(c)) + 1 {
			list = append(list, register{fmt.Sprintf("FRCD_REG[%d]", i), off + i*spec.FRCDSize, spec.FRCDSize, &spec.FRCDLayout})
		}
	}
	return list
}
