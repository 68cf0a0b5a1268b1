package spec

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Root entry of legacy mode (9.1). The upper word is reserved.
const (
	RootP   reg.Bits = 0_000
	RootCTP reg.Bits = 63_012
)

// Root entry of scalable mode (9.2): one half for devfn 00h-7Fh, one for 80h-FFh.
const (
	SMRootLP   reg.Bits = 0_000
	SMRootLCTP reg.Bits = 63_012
	SMRootUP   reg.Bits = 64_064
	SMRootUCTP reg.Bits = 127_076
)

// Context entry of legacy mode (9.3).
const (
	CtxP       reg.Bits = 0_000
	CtxFPD     reg.Bits = 1_001
	CtxTT      reg.Bits = 3_002
	CtxSSPTPTR reg.Bits = 63_012
	CtxAW      reg.Bits = 66_064
	CtxAVAIL   reg.Bits = 70_067
	CtxDID     reg.Bits = 87_072

	TTUntranslated = 0 // values of CtxTT: second stage, untranslated requests only
	TTAll          = 1 // second stage, device-TLB requests too
	TTPassThrough  = 2
)

// AW codes, the same in context and PASID entries: levels - 2.
const (
	AW39 = 1 // 3 levels
	AW48 = 2 // 4 levels
	AW57 = 3 // 5 levels
)

// Context entry of scalable mode (9.4).
const (
	SMCtxP           reg.Bits = 0_000
	SMCtxFPD         reg.Bits = 1_001
	SMCtxDTE         reg.Bits = 2_002
	SMCtxPASIDE      reg.Bits = 3_003
	SMCtxPRE         reg.Bits = 4_004
	SMCtxEPTR        reg.Bits = 6_006
	SMCtxPDTS        reg.Bits = 11_009
	SMCtxPASIDDIRPTR reg.Bits = 63_012
	SMCtxRIDPASID    reg.Bits = 83_064
	SMCtxRIDPRIV     reg.Bits = 84_084
)

// PASID directory entry (9.5).
const (
	PDirP         reg.Bits = 0_000
	PDirFPD       reg.Bits = 1_001
	PDirSMPTBLPTR reg.Bits = 63_012
)

// PASID table entry (9.6).
const (
	PasidP       reg.Bits = 0_000
	PasidFPD     reg.Bits = 1_001
	PasidAW      reg.Bits = 4_002
	PasidSSEE    reg.Bits = 5_005
	PasidPGTT    reg.Bits = 8_006
	PasidSSADE   reg.Bits = 9_009
	PasidSSPTPTR reg.Bits = 63_012
	PasidDID     reg.Bits = 79_064
	PasidPWSNP   reg.Bits = 87_087
	PasidPGSNP   reg.Bits = 88_088
	PasidCD      reg.Bits = 89_089
	PasidEMTE    reg.Bits = 90_090
	PasidEMT     reg.Bits = 93_091
	PasidPWT     reg.Bits = 94_094
	PasidPCD     reg.Bits = 95_095
	PasidPAT     reg.Bits = 127_096
	PasidSRE     reg.Bits = 128_128
	PasidERE     reg.Bits = 129_129
	PasidFSPM    reg.Bits = 131_130
	PasidWPE     reg.Bits = 132_132
	PasidNXE     reg.Bits = 133_133
	PasidSMEP    reg.Bits = 134_134
	PasidEAFE    reg.Bits = 135_135
	PasidFSPTPTR reg.Bits = 191_140

	PGTTFirst       = 1 // values of PasidPGTT
	PGTTSecond      = 2
	PGTTNested      = 3
	PGTTPassThrough = 4

	FSPM4 = 0 // values of PasidFSPM: 4-level
	FSPM5 = 1 // 5-level
)

// RootEntry is a root entry of either mode.
type RootEntry [2]uint64

// P reports whether the legacy entry is present.
func (e *RootEntry) P() bool { return RootP.On(e[0]) }

// CTP returns the legacy context table.
func (e *RootEntry) CTP() emu.PA { return emu.PA(e[0] & RootCTP.Mask()) }

// Half returns the scalable-mode half for devfn: its present bit and its context table.
func (e *RootEntry) Half(devfn uint8) (p bool, table emu.PA) {
	w := e[devfn>>7]
	return SMRootLP.On(w), emu.PA(w & SMRootLCTP.Mask())
}

// ContextEntry is a legacy-mode context entry.
type ContextEntry [2]uint64

// P reports whether the entry is present.
func (e *ContextEntry) P() bool { return CtxP.On(e[0]) }

// FPD reports whether fault processing is disabled.
func (e *ContextEntry) FPD() bool { return CtxFPD.On(e[0]) }

// TT returns the translation type.
func (e *ContextEntry) TT() uint8 { return uint8(CtxTT.Of(e[0])) }

// SSPTPTR returns the second-stage top table.
func (e *ContextEntry) SSPTPTR() emu.PA { return emu.PA(e[0] & CtxSSPTPTR.Mask()) }

// AW returns the address-width code.
func (e *ContextEntry) AW() uint8 { return uint8(CtxAW.Of(e[1])) }

// DID returns the domain.
func (e *ContextEntry) DID() uint16 { return uint16(CtxDID.Of(e[1])) }

// SMContextEntry is a scalable-mode context entry.
type SMContextEntry [4]uint64

// P reports whether the entry is present.
func (e *SMContextEntry) P() bool { return SMCtxP.On(e[0]) }

// FPD reports whether fault processing is disabled.
func (e *SMContextEntry) FPD() bool { return SMCtxFPD.On(e[0]) }

// DTE reports whether device-TLB requests are allowed.
func (e *SMContextEntry) DTE() bool { return SMCtxDTE.On(e[0]) }

// PASIDE reports whether requests with PASID are allowed.
func (e *SMContextEntry) PASIDE() bool { return SMCtxPASIDE.On(e[0]) }

// PRE reports whether page requests are allowed.
func (e *SMContextEntry) PRE() bool { return SMCtxPRE.On(e[0]) }

// EPTR reports whether translated requests may carry a PASID.
func (e *SMContextEntry) EPTR() bool { return SMCtxEPTR.On(e[0]) }

// PDTS returns the directory size code: 2^(PDTS+7) directory entries, 2^(PDTS+13) PASIDs.
func (e *SMContextEntry) PDTS() uint8 { return uint8(SMCtxPDTS.Of(e[0])) }

// PASIDDIRPTR returns the PASID directory.
func (e *SMContextEntry) PASIDDIRPTR() emu.PA { return emu.PA(e[0] & SMCtxPASIDDIRPTR.Mask()) }

// RIDPASID returns the PASID of requests without one.
func (e *SMContextEntry) RIDPASID() emu.PASID { return emu.PASID(SMCtxRIDPASID.Of(e[1])) }

// RIDPRIV reports whether requests without PASID are privileged.
func (e *SMContextEntry) RIDPRIV() bool { return SMCtxRIDPRIV.On(e[1]) }

// PASIDDirEntry is an entry of a PASID directory.
type PASIDDirEntry uint64

// P reports whether the entry is present.
func (e PASIDDirEntry) P() bool { return PDirP.On(uint64(e)) }

// FPD reports whether fault processing is disabled.
func (e PASIDDirEntry) FPD() bool { return PDirFPD.On(uint64(e)) }

// SMPTBLPTR returns the PASID table.
func (e PASIDDirEntry) SMPTBLPTR() emu.PA { return emu.PA(uint64(e) & PDirSMPTBLPTR.Mask()) }

// PASIDEntry is an entry of a PASID table.
type PASIDEntry [8]uint64

// P reports whether the entry is present.
func (e *PASIDEntry) P() bool { return PasidP.On(e[0]) }

// FPD reports whether fault processing is disabled.
func (e *PASIDEntry) FPD() bool { return PasidFPD.On(e[0]) }

// AW returns the address-width code of the second stage.
func (e *PASIDEntry) AW() uint8 { return uint8(PasidAW.Of(e[0])) }

// SSEE reports whether second-stage execute rights count.
func (e *PASIDEntry) SSEE() bool { return PasidSSEE.On(e[0]) }

// PGTT returns the translation type.
func (e *PASIDEntry) PGTT() uint8 { return uint8(PasidPGTT.Of(e[0])) }

// SSADE reports whether second-stage accessed and dirty flags are kept.
func (e *PASIDEntry) SSADE() bool { return PasidSSADE.On(e[0]) }

// SSPTPTR returns the second-stage top table.
func (e *PASIDEntry) SSPTPTR() emu.PA { return emu.PA(e[0] & PasidSSPTPTR.Mask()) }

// DID returns the domain.
func (e *PASIDEntry) DID() uint16 { return uint16(PasidDID.Of(e[1])) }

// PWSNP reports whether page walks snoop.
func (e *PASIDEntry) PWSNP() bool { return PasidPWSNP.On(e[1]) }

// PGSNP reports whether data accesses are forced to snoop.
func (e *PASIDEntry) PGSNP() bool { return PasidPGSNP.On(e[1]) }

// SRE reports whether supervisor requests are allowed.
func (e *PASIDEntry) SRE() bool { return PasidSRE.On(e[2]) }

// ERE reports whether execute requests are allowed.
func (e *PASIDEntry) ERE() bool { return PasidERE.On(e[2]) }

// FSPM returns the first-stage paging mode.
func (e *PASIDEntry) FSPM() uint8 { return uint8(PasidFSPM.Of(e[2])) }

// FSPTPTR returns the first-stage top table: a GPA if nested, else an HPA.
func (e *PASIDEntry) FSPTPTR() uint64 { return e[2] & PasidFSPTPTR.Mask() }
