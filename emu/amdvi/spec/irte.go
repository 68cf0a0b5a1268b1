package spec

import "github.com/iommulab/iommulab/emu/reg"

// Interrupt remapping table entry of 32 bits (GAEn=0), 2.2.5.
const (
	IrteRemapEn   reg.Bits = 0_000
	IrteSupIOPF   reg.Bits = 1_001
	IrteIntType   reg.Bits = 4_002
	IrteRqEoi     reg.Bits = 5_005
	IrteDM        reg.Bits = 6_006
	IrteGuestMode reg.Bits = 7_007
	IrteDest      reg.Bits = 15_008
	IrteVector    reg.Bits = 23_016

	IRTESize32  = 4 // bytes
	IRTESize128 = 16

	IntTypeFixed      = 0 // values of IrteIntType
	IntTypeArbitrated = 1
)

// Entry of 128 bits (GAEn=1) with GuestMode=0. The fields of bits 7:0 are those of 32 bits.
const (
	Irte128DestLo reg.Bits = 31_008
	Irte128Vector reg.Bits = 71_064
	Irte128DestHi reg.Bits = 127_120
)

// Entry of 128 bits with GuestMode=1.
const (
	IrteGALogIntr reg.Bits = 2_002
	IrteGAPPIDis  reg.Bits = 5_005
	IrteIsRun     reg.Bits = 6_006
	IrteGATag     reg.Bits = 63_032
	IrteVAPICRoot reg.Bits = 115_076
)

// Remappable interrupt messages, 2.2.5: fields of the address and the data.
const (
	MsiAddrDM     reg.Bits = 2_002
	MsiAddrDest   reg.Bits = 19_012
	MsiDataIndex  reg.Bits = 10_000
	MsiDataVector reg.Bits = 7_000
	MsiDataMT     reg.Bits = 10_008
)

// IRTE32Layout describes an entry of 32 bits.
var IRTE32Layout = reg.Layout{Name: "IRTE (32 bits)", Bits: 32, Clause: "2.2.5", Fields: []reg.Field{
	IrteRemapEn.Field("RemapEn", "remapped"),
	IrteSupIOPF.Field("SupIOPF", "suppress page fault events"),
	IrteIntType.Field("IntType", "0 fixed, 1 arbitrated"),
	IrteRqEoi.Field("RqEoi", "EOI requested"),
	IrteDM.Field("DM", "1: logical destination"),
	IrteDest.Field("Dest", "destination"),
	IrteVector.Field("Vector", "vector"),
}}

var irteDest = []reg.Joint{{Name: "Dest", Help: "destination", Pieces: []reg.Piece{Irte128DestLo.At(0), Irte128DestHi.At(24)}}}

// IRTE128Layout describes an entry of 128 bits with GuestMode=0.
var IRTE128Layout = reg.Layout{Name: "IRTE (128 bits)", Bits: 128, Clause: "2.2.5", Joints: irteDest, Fields: []reg.Field{
	IrteRemapEn.Field("RemapEn", "remapped"),
	IrteSupIOPF.Field("SupIOPF", "suppress page fault events"),
	IrteIntType.Field("IntType", "0 fixed, 1 arbitrated"),
	IrteRqEoi.Field("RqEoi", "EOI requested"),
	IrteDM.Field("DM", "1: logical destination"),
	IrteGuestMode.Field("GuestMode", "0"),
	Irte128DestLo.Field("DestLo", "destination 23:0"),
	Irte128Vector.Field("Vector", "vector"),
	Irte128DestHi.Field("DestHi", "destination 31:24"),
}}

// IRTEGuestLayout describes an entry of 128 bits with GuestMode=1.
var IRTEGuestLayout = reg.Layout{Name: "IRTE (guest mode)", Bits: 128, Clause: "2.2.5", Joints: irteDest, Fields: []reg.Field{
	IrteRemapEn.Field("RemapEn", "remapped"),
	IrteSupIOPF.Field("SupIOPF", "suppress page fault events"),
	IrteGALogIntr.Field("GALogIntr", "GA log entry if the guest does not run"),
	IrteGAPPIDis.Field("GAPPIDis", "no physical processor interrupt"),
	IrteIsRun.Field("IsRun", "the guest runs"),
	IrteGuestMode.Field("GuestMode", "1"),
	Irte128DestLo.Field("DestLo", "destination 23:0"),
	IrteGATag.Field("GATag", "tag of GA log entries"),
	Irte128Vector.Field("Vector", "vector"),
	IrteVAPICRoot.Field("vAPICRoot", "virtual APIC page >> 12"),
	Irte128DestHi.Field("DestHi", "destination 31:24"),
}}
