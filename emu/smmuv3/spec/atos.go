package spec

import "github.com/iommulab/iommulab/emu/reg"

// Address translation operations, 9: GATOS_CTRL, _SID, _ADDR and _PAR, and the same of the VATOS page.
const (
	AtosRUN         reg.Bits = 0_000 // CTRL
	AtosStreamID    reg.Bits = 31_000
	AtosSubstreamID reg.Bits = 51_032
	AtosSSIDValid   reg.Bits = 52_052
	AtosHTTUI       reg.Bits = 6_006 // ADDR
	AtosInD         reg.Bits = 7_007
	AtosRnW         reg.Bits = 8_008
	AtosPnU         reg.Bits = 9_009
	AtosTYPE        reg.Bits = 11_010
	AtosAddr        reg.Bits = 63_012

	AtosS1  = 1 // values of AtosTYPE: the stages asked for, as in STE.Config
	AtosS2  = 2
	AtosS12 = 3
)

// ATOS_PAR, 9.1.4: a translation if FAULT is 0.
const (
	ParFAULT reg.Bits = 0_000
	ParSH    reg.Bits = 9_008
	ParSize  reg.Bits = 11_011 // the lowest bit set in ADDR says the size, else it is 4 KiB
	ParADDR  reg.Bits = 55_012
	ParATTR  reg.Bits = 63_056 // as in MAIR
)

// ATOS_PAR with FAULT 1. FAULTCODE is the number of an event or one of those below.
const (
	ParREASON    reg.Bits = 2_001
	ParFAULTCODE reg.Bits = 11_004
	ParFADDR     reg.Bits = 55_012

	ReasonS1     = 0 // values of ParREASON: stage 1, or no stage
	ReasonCD     = 1 // stage 2, for a CD
	ReasonTT     = 2 // stage 2, for a descriptor of stage 1
	ReasonIN     = 3 // stage 2, for the address
	AtosIntErr   = 0xfd
	AtosInvStage = 0xfe
	AtosInvReq   = 0xff
)

// VatosVMID is the VMID that VATOS is for: VATOS_SEL.
const VatosVMID reg.Bits = 15_000

// ATOSCtrlLayout describes GATOS_CTRL and VATOS_CTRL.
var ATOSCtrlLayout = reg.Layout{Name: "ATOS_CTRL", Bits: 32, Clause: "9.1.1", Fields: []reg.Field{
	AtosRUN.Field("RUN", "a translation is asked for"),
}}

// ATOSSIDLayout describes GATOS_SID and VATOS_SID.
var ATOSSIDLayout = reg.Layout{Name: "ATOS_SID", Bits: 64, Clause: "9.1.2", Fields: []reg.Field{
	AtosStreamID.Field("STREAMID", "StreamID"),
	AtosSubstreamID.Field("SUBSTREAMID", "SubstreamID"),
	AtosSSIDValid.Field("SSID_VALID", "there is a SubstreamID"),
}}

// ATOSAddrLayout describes GATOS_ADDR and VATOS_ADDR.
var ATOSAddrLayout = reg.Layout{Name: "ATOS_ADDR", Bits: 64, Clause: "9.1.3", Fields: []reg.Field{
	AtosHTTUI.Field("HTTUI", "no flag updates"),
	AtosInD.Field("InD", "instruction fetch"),
	AtosRnW.Field("RnW", "read"),
	AtosPnU.Field("PnU", "privileged"),
	AtosTYPE.Field("TYPE", "1 stage 1, 2 stage 2, 3 both"),
	AtosAddr.Field("ADDR", "address >> 12"),
}}

// ATOSPARLayout describes GATOS_PAR and VATOS_PAR where FAULT is 0.
var ATOSPARLayout = reg.Layout{Name: "ATOS_PAR", Bits: 64, Clause: "9.1.4", Fields: []reg.Field{
	ParFAULT.Field("FAULT", "0: translated"),
	ParSH.Field("SH", "0 non-, 2 outer, 3 inner shareable"),
	ParSize.Field("Size", "the lowest bit of ADDR says the size"),
	ParADDR.Field("ADDR", "output address >> 12"),
	ParATTR.Field("ATTR", "memory attributes, as in MAIR"),
}}

// ATOSPARFaultLayout describes GATOS_PAR and VATOS_PAR where FAULT is 1.
var ATOSPARFaultLayout = reg.Layout{Name: "ATOS_PAR", Bits: 64, Clause: "9.1.4", Fields: []reg.Field{
	ParFAULT.Field("FAULT", "1: not translated"),
	ParREASON.Field("REASON", "0 stage 1 or none, stage 2 for 1 a CD, 2 a descriptor, 3 the address"),
	ParFAULTCODE.Field("FAULTCODE", "event; 0xfd internal, 0xfe no such stage, 0xff malformed"),
	ParFADDR.Field("FADDR", "intermediate address >> 12"),
}}

// VATOSSelLayout describes VATOS_SEL.
var VATOSSelLayout = reg.Layout{Name: "VATOS_SEL", Bits: 32, Clause: "9.1.6", Fields: []reg.Field{
	VatosVMID.Field("VMID", "VMID that VATOS is for"),
}}
