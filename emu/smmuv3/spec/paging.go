package spec

import "github.com/iommulab/iommulab/emu/reg"

// Translation table descriptors of VMSAv8-64, DDI 0487 D8.3: fields of both stages.
const (
	TtdValid  reg.Bits = 0_000
	TtdTable  reg.Bits = 1_001  // level 0: must be 1 in a page descriptor
	TtdOAHi64 reg.Bits = 15_012 // 64K granule, 52-bit addresses: address 51:48
	TtdOAHiDS reg.Bits = 9_008  // 4K and 16K granule with DS: address 51:50
	TtdAddr   reg.Bits = 47_012
	TtdAddrDS reg.Bits = 49_012
	TtdSH     reg.Bits = 9_008
	TtdAF     reg.Bits = 10_010
	TtdNT     reg.Bits = 16_016 // block: no translation, BBML 1
	TtdDBM    reg.Bits = 51_051
	TtdContig reg.Bits = 52_052
	TtdSW     reg.Bits = 58_055
	TtdPBHA   reg.Bits = 62_059
)

// Stage 1 blocks and pages.
const (
	S1AttrIndx reg.Bits = 4_002
	S1NS       reg.Bits = 5_005
	S1AP1      reg.Bits = 6_006 // unprivileged accesses
	S1AP2      reg.Bits = 7_007 // read-only
	S1NG       reg.Bits = 11_011
	S1PXN      reg.Bits = 53_053
	S1UXN      reg.Bits = 54_054 // XN in regimes without unprivileged accesses
)

// Stage 1 table descriptors: limits on what is below.
const (
	S1PXNTable reg.Bits = 59_059
	S1UXNTable reg.Bits = 60_060
	S1APTable1 reg.Bits = 61_061 // no unprivileged accesses
	S1APTable2 reg.Bits = 62_062 // read-only
	S1NSTable  reg.Bits = 63_063
)

// Stage 2 blocks and pages.
const (
	S2MemAttr reg.Bits = 5_002
	S2AP      reg.Bits = 7_006
	S2APR     reg.Bits = 6_006
	S2APW     reg.Bits = 7_007
	S2XN      reg.Bits = 54_053 // with IDR3.XNX, else bit 54 alone
	S2XN1     reg.Bits = 54_054

	S2XNAll  = 0 // values of S2XN: who may execute
	S2XNUser = 1
	S2XNNone = 2
	S2XNPriv = 3

	S2NoTagAccess = 4 // values of S2MemAttr without S2FWB: write-back with IDR3.MTEPERM, else reserved
	S2WriteBack   = 15
)

// Granule is the log2 of the size of a translation table and of the smallest page: 12, 14 or 16, or 0
// for a reserved code.
type Granule uint8

// The granules.
const (
	Granule4K  Granule = 12
	Granule16K Granule = 14
	Granule64K Granule = 16
)

// Codes of granules. Each place has its own.
var (
	tg0  = [4]Granule{Granule4K, Granule64K, Granule16K, 0}
	tg1  = [4]Granule{0, Granule16K, Granule4K, Granule64K}
	tlbi = [4]Granule{0, Granule4K, Granule16K, Granule64K}
)

// GranuleTG0 returns the granule of CD.TG0 or STE.S2TG, 0 for the reserved code.
func GranuleTG0(code uint64) Granule { return tg0[code&3] }

// GranuleTG1 returns the granule of CD.TG1, 0 for the reserved code.
func GranuleTG1(code uint64) Granule { return tg1[code&3] }

// GranuleTLBI returns the granule of TG of a TLB invalidation, 0 for none.
func GranuleTLBI(code uint64) Granule { return tlbi[code&3] }

func code(table *[4]Granule, g Granule) (uint64, bool) {
	for i, have := range table {
		if have == g && g != 0 {
			return uint64(i), true
		}
	}
	return 0, false
}

// TG0 returns the code of g in CD.TG0 and STE.S2TG.
func (g Granule) TG0() (uint64, bool) { return code(&tg0, g) }

// TG1 returns the code of g in CD.TG1.
func (g Granule) TG1() (uint64, bool) { return code(&tg1, g) }

// TLBI returns the code of g in TG of a TLB invalidation.
func (g Granule) TLBI() (uint64, bool) { return code(&tlbi, g) }

// Stride returns the address bits that a table of g translates.
func (g Granule) Stride() uint8 { return uint8(g) - 3 }

// Shift returns log2 of what an entry of a level covers.
func (g Granule) Shift(level int8) uint8 { return uint8(g) + uint8(level)*g.Stride() }

// Contig returns log2 of the number of entries that the Contiguous bit joins at a level, 0 where it means
// nothing.
func (g Granule) Contig(level int8) uint8 {
	switch {
	case g == Granule4K && level <= 2:
		return 4
	case g == Granule16K && level == 0:
		return 7
	case g == Granule16K && level == 1, g == Granule64K && level <= 1:
		return 5
	}
	return 0
}

// Levels of tables. Arm counts them from the top: its level 3 is level 0 here, its level -1 is level 4.
const (
	LevelPage int8 = 0
	LevelTop  int8 = 4
)

// Level converts between the two ways to count.
func Level(arm int8) int8 { return 3 - arm }

// S2StartLevel returns the level at which a stage 2 walk starts, and false for a reserved combination: by
// S2SL0 with S2SL0_2 as its bit 2. That of S2SL0=3 with 4K granules needs small tables (IDR3.STT).
func S2StartLevel(g Granule, sl0 uint64) (level int8, ok bool) {
	switch {
	case g == Granule4K && sl0 == 4:
		return LevelTop, true
	case g == Granule4K && sl0 == 3:
		return LevelPage, true
	case g == Granule4K && sl0 < 3:
		return int8(sl0) + 1, true
	case g == Granule16K && sl0 <= 3, g == Granule64K && sl0 <= 2:
		return int8(sl0), true
	}
	return 0, false
}

// S2SL0 returns the code of a start level, the inverse of S2StartLevel.
func S2SL0(g Granule, level int8) (sl0 uint64, ok bool) {
	for sl0 = range 5 {
		if l, ok := S2StartLevel(g, sl0); ok && l == level {
			return sl0, true
		}
	}
	return 0, false
}

// MaxConcatenated is log2 of the number of tables that may lie side by side at the start of a stage 2
// walk.
const MaxConcatenated = 4

// TTDTableLayout describes a table descriptor of stage 1. At stage 2 only type and address count.
var TTDTableLayout = reg.Layout{Name: "table descriptor", Bits: 64, Clause: "DDI 0487 D8.3", Fields: []reg.Field{
	TtdValid.Field("Valid", "valid"),
	TtdTable.Field("Table", "1"),
	TtdOAHiDS.Field("NextTable[51:50]", "with DS"),
	TtdAF.Field("AF", "accessed, with HAFT"),
	TtdAddrDS.Field("NextTable", "next table >> 12; 64K: bits 15:12 are address 51:48"),
	S1PXNTable.Field("PXNTable", "no privileged execution below"),
	S1UXNTable.Field("UXNTable", "no unprivileged execution below"),
	S1APTable1.Field("APTable[0]", "no unprivileged accesses below"),
	S1APTable2.Field("APTable[1]", "read-only below"),
	S1NSTable.Field("NSTable", "Non-secure"),
}}

// TTDS1Layout describes a block or page descriptor of stage 1.
var TTDS1Layout = reg.Layout{Name: "stage 1 descriptor", Bits: 64, Clause: "DDI 0487 D8.3", Fields: []reg.Field{
	TtdValid.Field("Valid", "valid"),
	TtdTable.Field("Page", "0 block, 1 page"),
	S1AttrIndx.Field("AttrIndx", "memory attributes in MAIR"),
	S1NS.Field("NS", "Non-secure"),
	S1AP1.Field("AP[1]", "unprivileged accesses allowed"),
	S1AP2.Field("AP[2]", "read-only"),
	TtdSH.Field("SH", "shareability; address 51:50 with DS"),
	TtdAF.Field("AF", "accessed"),
	S1NG.Field("nG", "not global"),
	TtdAddrDS.Field("OA", "output >> 12; 64K: bits 15:12 are address 51:48; block: bit 16 is nT"),
	TtdDBM.Field("DBM", "dirty bit modifier"),
	TtdContig.Field("Contiguous", "one of a run"),
	S1PXN.Field("PXN", "no privileged execution"),
	S1UXN.Field("UXN", "no unprivileged execution"),
	TtdSW.Field("SW", "for software"),
	TtdPBHA.Field("PBHA", "hardware attributes"),
}}

// TTDS2Layout describes a block or page descriptor of stage 2.
var TTDS2Layout = reg.Layout{Name: "stage 2 descriptor", Bits: 64, Clause: "DDI 0487 D8.3", Fields: []reg.Field{
	TtdValid.Field("Valid", "valid"),
	TtdTable.Field("Page", "0 block, 1 page"),
	S2MemAttr.Field("MemAttr", "memory attributes"),
	S2APR.Field("S2AP[0]", "read"),
	S2APW.Field("S2AP[1]", "write"),
	TtdSH.Field("SH", "shareability; address 51:50 with DS"),
	TtdAF.Field("AF", "accessed"),
	TtdAddrDS.Field("OA", "output >> 12; 64K: bits 15:12 are address 51:48; block: bit 16 is nT"),
	TtdDBM.Field("DBM", "dirty bit modifier"),
	TtdContig.Field("Contiguous", "one of a run"),
	S2XN.Field("XN", "0 all execute, 1 unprivileged, 2 none, 3 privileged"),
	TtdSW.Field("SW", "for software"),
	TtdPBHA.Field("PBHA", "hardware attributes"),
}}
