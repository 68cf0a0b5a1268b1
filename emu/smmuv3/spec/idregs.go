package spec

import "github.com/iommulab/iommulab/emu/reg"

// IDR0, 6.3.1.
const (
	Idr0S2P        reg.Bits = 0_000
	Idr0S1P        reg.Bits = 1_001
	Idr0TTF        reg.Bits = 3_002
	Idr0COHACC     reg.Bits = 4_004
	Idr0BTM        reg.Bits = 5_005
	Idr0HTTU       reg.Bits = 7_006
	Idr0DORMHINT   reg.Bits = 8_008
	Idr0HYP        reg.Bits = 9_009
	Idr0ATS        reg.Bits = 10_010
	Idr0NS1ATS     reg.Bits = 11_011
	Idr0ASID16     reg.Bits = 12_012
	Idr0MSI        reg.Bits = 13_013
	Idr0SEV        reg.Bits = 14_014
	Idr0ATOS       reg.Bits = 15_015
	Idr0PRI        reg.Bits = 16_016
	Idr0VMW        reg.Bits = 17_017
	Idr0VMID16     reg.Bits = 18_018
	Idr0CD2L       reg.Bits = 19_019
	Idr0VATOS      reg.Bits = 20_020
	Idr0TTENDIAN   reg.Bits = 22_021
	Idr0ATSRECERR  reg.Bits = 23_023
	Idr0StallModel reg.Bits = 25_024
	Idr0TermModel  reg.Bits = 26_026
	Idr0STLevel    reg.Bits = 28_027
	Idr0RMEImpl    reg.Bits = 30_030

	TTFAArch32    = 1 // values of Idr0TTF: a set
	TTFAArch64    = 2
	HTTUNone      = 0 // values of Idr0HTTU
	HTTUAccess    = 1 // access flag
	HTTUDirty     = 2 // access flag and dirty state
	HTTUTable     = 3 // and the access flag of table descriptors
	TTEndianMixed = 0 // values of Idr0TTENDIAN
	TTEndianLE    = 2
	TTEndianBE    = 3
	StallBoth     = 0 // values of Idr0StallModel: stall and terminate
	StallNever    = 1
	StallAlways   = 2
	STLevelLinear = 0 // values of Idr0STLevel
	STLevel2      = 1
)

// IDR1, 6.3.2.
const (
	Idr1SIDSIZE      reg.Bits = 5_000
	Idr1SSIDSIZE     reg.Bits = 10_006
	Idr1PRIQS        reg.Bits = 15_011
	Idr1EVENTQS      reg.Bits = 20_016
	Idr1CMDQS        reg.Bits = 25_021
	Idr1AttrPermsOvr reg.Bits = 26_026
	Idr1AttrTypesOvr reg.Bits = 27_027
	Idr1REL          reg.Bits = 28_028
	Idr1QueuesPreset reg.Bits = 29_029
	Idr1TablesPreset reg.Bits = 30_030
	Idr1ECMDQ        reg.Bits = 31_031

	MaxQueueSize   = 19 // largest value of Idr1CMDQS, EVENTQS and PRIQS
	MaxSIDSIZE     = 32
	MaxSSIDSIZE    = 20
	STLevel2MinSID = 7 // from this SIDSIZE on, two-level stream tables are mandatory
)

// Idr2BAVATOS is the place of the VATOS page, 6.3.3.
const Idr2BAVATOS reg.Bits = 9_000

// IDR3, 6.3.4.
const (
	Idr3HAD     reg.Bits = 2_002
	Idr3PBHA    reg.Bits = 3_003
	Idr3XNX     reg.Bits = 4_004
	Idr3PPS     reg.Bits = 5_005
	Idr3MPAM    reg.Bits = 7_007
	Idr3FWB     reg.Bits = 8_008
	Idr3STT     reg.Bits = 9_009
	Idr3RIL     reg.Bits = 10_010
	Idr3BBML    reg.Bits = 12_011
	Idr3E0PD    reg.Bits = 13_013
	Idr3PTWNNC  reg.Bits = 14_014
	Idr3DPT     reg.Bits = 15_015
	Idr3PASIDTT reg.Bits = 16_016
	Idr3EPAN    reg.Bits = 17_017
	Idr3S1PI    reg.Bits = 18_018
	Idr3S2PI    reg.Bits = 19_019
	Idr3S2PO    reg.Bits = 20_020
	Idr3THE     reg.Bits = 21_021
	Idr3MTEPERM reg.Bits = 22_022
	Idr3AIE     reg.Bits = 23_023

	MaxBBML = 2
)

// IDR5, 6.3.6.
const (
	Idr5OAS      reg.Bits = 2_000
	Idr5GRAN4K   reg.Bits = 4_004
	Idr5GRAN16K  reg.Bits = 5_005
	Idr5GRAN64K  reg.Bits = 6_006
	Idr5DS       reg.Bits = 7_007
	Idr5D128     reg.Bits = 8_008
	Idr5VAX      reg.Bits = 11_010
	Idr5StallMax reg.Bits = 31_016

	OAS52 = 6 // value of Idr5OAS, CdIPS, SteS2PS: 52 bits
	VAX48 = 0 // values of Idr5VAX
	VAX52 = 1
)

// oasBits are the address sizes by their code: IDR5.OAS, CD.IPS, STE.S2PS.
var oasBits = [8]uint8{32, 36, 40, 42, 44, 48, 52, 56}

// OASBits returns the address bits that a code of IDR5.OAS, CD.IPS or STE.S2PS stands for.
func OASBits(code uint64) uint8 { return oasBits[code&7] }

// OASCode returns the code of an address size, and false if there is none.
func OASCode(bits uint8) (code uint64, ok bool) {
	for i, b := range oasBits {
		if b == bits {
			return uint64(i), true
		}
	}
	return 0, false
}

// IIDR and AIDR, 6.3.7 and 6.3.8.
const (
	IidrImplementer reg.Bits = 11_000
	IidrRevision    reg.Bits = 15_012
	IidrVariant     reg.Bits = 19_016
	IidrProductID   reg.Bits = 31_020
	AidrMinor       reg.Bits = 3_000
	AidrMajor       reg.Bits = 7_004

	MaxMinor = 4 // SMMUv3.4
)
