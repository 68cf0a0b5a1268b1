package spec

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Interrupt-remapping table entries, 9.9 (remapped, IM=0) and 9.10 (posted, IM=1).
const (
	IrteP     reg.Bits = 0_000
	IrteFPD   reg.Bits = 1_001
	IrteDM    reg.Bits = 2_002
	IrteRH    reg.Bits = 3_003
	IrteTM    reg.Bits = 4_004
	IrteDLM   reg.Bits = 7_005
	IrteAVAIL reg.Bits = 11_008
	IrteURG   reg.Bits = 14_014 // posted
	IrteIM    reg.Bits = 15_015
	IrteV     reg.Bits = 23_016
	IrteDST   reg.Bits = 63_032 // remapped, EIME=1
	IrteDST8  reg.Bits = 47_040 // remapped, EIME=0: the other bits of DST are reserved
	IrtePDAL  reg.Bits = 63_038 // posted: descriptor address 31:6
	IrteSID   reg.Bits = 79_064
	IrteSQ    reg.Bits = 81_080
	IrteSVT   reg.Bits = 83_082
	IrtePDAH  reg.Bits = 127_096 // posted: descriptor address 63:32

	IRTESize = 16    // bytes
	MaxIRTEs = 65536 // IRTA_REG.S = 15

	SVTNone = 0 // values of IrteSVT: any source
	SVTSID  = 1 // SID, but for the bits that SQ ignores
	SVTBus  = 2 // buses SID[15:8] to SID[7:0]
)

// Posted-interrupt descriptor, 9.11. Bits 255:0 are requested vectors.
const (
	PidON   reg.Bits = 256_256
	PidSN   reg.Bits = 257_257
	PidNV   reg.Bits = 279_272
	PidNDST reg.Bits = 319_288 // EIME=0: NDST8, the other bits are reserved

	PidNDST8 reg.Bits = 303_296

	PIDSize = 64 // bytes, and alignment
)

// Interrupt requests, 5.1.2: the address and the data of a DWORD write.
const (
	MsiFormat  reg.Bits = 4_004  // 1: remappable
	MsiHandleL reg.Bits = 19_005 // remappable: handle 14:0
	MsiSHV     reg.Bits = 3_003  // remappable: the subhandle counts
	MsiHandleH reg.Bits = 2_002  // remappable: handle 15
	MsiSub     reg.Bits = 15_000 // data, remappable
	MsiSubRsvd reg.Bits = 31_016 // data, remappable, SHV=1

	MsiDM     reg.Bits = 2_002  // compatibility: destination mode, 1 logical
	MsiRH     reg.Bits = 3_003  // compatibility: redirection hint
	MsiDest   reg.Bits = 19_012 // compatibility: destination 7:0
	MsiDestHi reg.Bits = 63_040 // destination 31:8 of a message that hardware makes in extended mode
	MsiV      reg.Bits = 7_000  // data, compatibility: vector
	MsiDLM    reg.Bits = 10_008 // delivery mode
	MsiAssert reg.Bits = 14_014 // level: assert
	MsiTM     reg.Bits = 15_015 // trigger mode: 1 level

	MsiBase = 0xfee0_0000
)

// IRTE is an interrupt-remapping table entry.
type IRTE [2]uint64

// P reports whether the entry is present.
func (e *IRTE) P() bool { return IrteP.On(e[0]) }

// FPD reports whether fault processing is disabled.
func (e *IRTE) FPD() bool { return IrteFPD.On(e[0]) }

// Posted reports whether the entry has the posted format (IM=1).
func (e *IRTE) Posted() bool { return IrteIM.On(e[0]) }

// V returns the vector.
func (e *IRTE) V() uint8 { return uint8(IrteV.Of(e[0])) }

// DST returns the destination, of 32 bits in extended mode and of 8 otherwise.
func (e *IRTE) DST(extended bool) uint32 {
	if extended {
		return uint32(IrteDST.Of(e[0]))
	}
	return uint32(IrteDST8.Of(e[0]))
}

// PDA returns the address of the posted-interrupt descriptor.
func (e *IRTE) PDA() emu.PA { return emu.PA(IrtePDAL.Of(e[0])<<6 | IrtePDAH.Of(e[1])<<32) }

// SID returns the source, or with SVTBus two bus numbers.
func (e *IRTE) SID() uint16 { return uint16(IrteSID.Of(e[1])) }

// SQ returns the source qualifier.
func (e *IRTE) SQ() uint8 { return uint8(IrteSQ.Of(e[1])) }

// SVT returns the source validation type.
func (e *IRTE) SVT() uint8 { return uint8(IrteSVT.Of(e[1])) }

// IRTELayout describes a remapped-format interrupt-remapping table entry.
var IRTELayout = reg.Layout{Name: "IRTE", Bits: 128, Clause: "9.9", Fields: []reg.Field{
	IrteP.Field("P", "present"),
	IrteFPD.Field("FPD", "fault processing disable"),
	IrteDM.Field("DM", "destination mode: 1 logical"),
	IrteRH.Field("RH", "redirection hint"),
	IrteTM.Field("TM", "trigger mode: 1 level"),
	IrteDLM.Field("DLM", "delivery mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT"),
	IrteAVAIL.Field("AVAIL", "ignored by hardware"),
	IrteIM.Field("IM", "0: remapped"),
	IrteV.Field("V", "vector"),
	IrteDST.Field("DST", "destination; without EIME in bits 47:40"),
	IrteSID.Field("SID", "source"),
	IrteSQ.Field("SQ", "source qualifier: lowest function bits ignored"),
	IrteSVT.Field("SVT", "source validation: 0 none, 1 SID with SQ, 2 bus range"),
}}

// PostedIRTELayout describes a posted-format interrupt-remapping table entry.
var PostedIRTELayout = reg.Layout{Name: "posted IRTE", Bits: 128, Clause: "9.10", Joints: []reg.Joint{
	{Name: "PDA", Help: "posted descriptor", Pieces: []reg.Piece{IrtePDAL.At(6), IrtePDAH.At(32)}},
}, Fields: []reg.Field{
	IrteP.Field("P", "present"),
	IrteFPD.Field("FPD", "fault processing disable"),
	IrteAVAIL.Field("AVAIL", "ignored by hardware"),
	IrteURG.Field("URG", "urgent"),
	IrteIM.Field("IM", "1: posted"),
	IrteV.Field("VV", "virtual vector"),
	IrtePDAL.Field("PDAL", "posted descriptor 31:6"),
	IrteSID.Field("SID", "source"),
	IrteSQ.Field("SQ", "source qualifier: lowest function bits ignored"),
	IrteSVT.Field("SVT", "source validation: 0 none, 1 SID with SQ, 2 bus range"),
	IrtePDAH.Field("PDAH", "posted descriptor 63:32"),
}}

// PIDLayout describes a posted-interrupt descriptor.
var PIDLayout = reg.Layout{Name: "posted-interrupt descriptor", Bits: 512, Clause: "9.11", Fields: []reg.Field{
	reg.Bits(63_000).Field("PIR0", "requested vectors 63:0"),
	reg.Bits(127_064).Field("PIR1", "requested vectors 127:64"),
	reg.Bits(191_128).Field("PIR2", "requested vectors 191:128"),
	reg.Bits(255_192).Field("PIR3", "requested vectors 255:192"),
	PidON.Field("ON", "outstanding notification"),
	PidSN.Field("SN", "suppress notification"),
	PidNV.Field("NV", "notification vector"),
	PidNDST.Field("NDST", "notification destination; without EIME in bits 303:296"),
}}
