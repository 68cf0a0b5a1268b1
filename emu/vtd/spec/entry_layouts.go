package spec

import "github.com/iommulab/iommulab/emu/reg"

// RootLayout describes a legacy-mode root entry.
var RootLayout = reg.Layout{Name: "root entry", Bits: 128, Clause: "9.1", Fields: []reg.Field{
	RootP.Field("P", "present"),
	RootCTP.Field("CTP", "context table address >> 12"),
}}

// SMRootLayout describes a scalable-mode root entry.
var SMRootLayout = reg.Layout{Name: "scalable-mode root entry", Bits: 128, Clause: "9.2", Fields: []reg.Field{
	SMRootLP.Field("LP", "lower half present"),
	SMRootLCTP.Field("LCTP", "context table of devfn 00h-7Fh >> 12"),
	SMRootUP.Field("UP", "upper half present"),
	SMRootUCTP.Field("UCTP", "context table of devfn 80h-FFh >> 12"),
}}

// ContextLayout describes a legacy-mode context entry.
var ContextLayout = reg.Layout{Name: "context entry", Bits: 128, Clause: "9.3", Fields: []reg.Field{
	CtxP.Field("P", "present"),
	CtxFPD.Field("FPD", "fault processing disable"),
	CtxTT.Field("TT", "0 untranslated only, 1 all, 2 pass-through"),
	CtxSSPTPTR.Field("SSPTPTR", "second-stage table >> 12"),
	CtxAW.Field("AW", "1 39-bit, 2 48-bit, 3 57-bit"),
	CtxAVAIL.Field("AVAIL", "ignored by hardware"),
	CtxDID.Field("DID", "domain"),
}}

// SMContextLayout describes a scalable-mode context entry.
var SMContextLayout = reg.Layout{Name: "scalable-mode context entry", Bits: 256, Clause: "9.4", Fields: []reg.Field{
	SMCtxP.Field("P", "present"),
	SMCtxFPD.Field("FPD", "fault processing disable"),
	SMCtxDTE.Field("DTE", "device-TLB enable"),
	SMCtxPASIDE.Field("PASIDE", "PASID enable"),
	SMCtxPRE.Field("PRE", "page request enable"),
	SMCtxEPTR.Field("EPTR", "enable PASID in translated requests"),
	SMCtxPDTS.Field("PDTS", "2^(PDTS+7) directory entries"),
	SMCtxPASIDDIRPTR.Field("PASIDDIRPTR", "PASID directory >> 12"),
	SMCtxRIDPASID.Field("RID_PASID", "PASID of requests without PASID"),
	SMCtxRIDPRIV.Field("RID_PRIV", "requests without PASID are privileged"),
}}

// PASIDDirLayout describes a PASID directory entry.
var PASIDDirLayout = reg.Layout{Name: "PASID directory entry", Bits: 64, Clause: "9.5", Fields: []reg.Field{
	PDirP.Field("P", "present"),
	PDirFPD.Field("FPD", "fault processing disable"),
	PDirSMPTBLPTR.Field("SMPTBLPTR", "PASID table >> 12"),
}}

// PASIDLayout describes a PASID table entry.
var PASIDLayout = reg.Layout{Name: "PASID table entry", Bits: 512, Clause: "9.6", Fields: []reg.Field{
	PasidP.Field("P", "present"),
	PasidFPD.Field("FPD", "fault processing disable"),
	PasidAW.Field("AW", "second-stage width: 1 39-bit, 2 48-bit, 3 57-bit"),
	PasidSSEE.Field("SSEE", "second-stage execute enable"),
	PasidPGTT.Field("PGTT", "1 first stage, 2 second stage, 3 nested, 4 pass-through"),
	PasidSSADE.Field("SSADE", "second-stage accessed/dirty enable"),
	PasidSSPTPTR.Field("SSPTPTR", "second-stage table >> 12"),
	PasidDID.Field("DID", "domain"),
	PasidPWSNP.Field("PWSNP", "page-walk snoop"),
	PasidPGSNP.Field("PGSNP", "page snoop"),
	PasidCD.Field("CD", "cache disable"),
	PasidEMTE.Field("EMTE", "extended memory type enable"),
	PasidEMT.Field("EMT", "extended memory type"),
	PasidPWT.Field("PWT", "page-level write-through"),
	PasidPCD.Field("PCD", "page-level cache disable"),
	PasidPAT.Field("PAT", "page attribute table"),
	PasidSRE.Field("SRE", "supervisor request enable"),
	PasidERE.Field("ERE", "execute request enable"),
	PasidFSPM.Field("FSPM", "first-stage mode: 0 4-level, 1 5-level"),
	PasidWPE.Field("WPE", "write protect enable"),
	PasidNXE.Field("NXE", "no-execute enable"),
	PasidSMEP.Field("SMEP", "supervisor execute prevention"),
	PasidEAFE.Field("EAFE", "extended accessed flag enable"),
	PasidFSPTPTR.Field("FSPTPTR", "first-stage table >> 12"),
}}
