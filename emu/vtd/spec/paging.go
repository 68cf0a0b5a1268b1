package spec

import "github.com/iommulab/iommulab/emu/reg"

// Second-stage paging entries (9.8). Bits 2, 8 and 9 count only if the PASID entry enables them.
const (
	SSR    reg.Bits = 0_000
	SSW    reg.Bits = 1_001
	SSX    reg.Bits = 2_002
	SSEMT  reg.Bits = 5_003 // leaves
	SSIPAT reg.Bits = 6_006 // leaves
	SSPS   reg.Bits = 7_007 // levels with large pages
	SSA    reg.Bits = 8_008
	SSD    reg.Bits = 9_009  // leaves
	SSSNP  reg.Bits = 11_011 // leaves
	SSADDR reg.Bits = 51_012
	SSTM   reg.Bits = 62_062 // leaves; reserved since revision 3.2
)

// First-stage paging entries (9.7).
const (
	FSP    reg.Bits = 0_000
	FSRW   reg.Bits = 1_001
	FSUS   reg.Bits = 2_002
	FSPWT  reg.Bits = 3_003
	FSPCD  reg.Bits = 4_004
	FSA    reg.Bits = 5_005
	FSD    reg.Bits = 6_006 // leaves
	FSPS   reg.Bits = 7_007 // PAT in 4K leaves
	FSG    reg.Bits = 8_008 // leaves
	FSEA   reg.Bits = 10_010
	FSPAT  reg.Bits = 12_012 // large leaves
	FSADDR reg.Bits = 51_012
	FSPAGE reg.Bits = 51_021 // large leaves
	FSXD   reg.Bits = 63_063
)

// SSLayout describes a second-stage paging entry.
var SSLayout = reg.Layout{Name: "second-stage paging entry", Bits: 64, Clause: "9.8", Fields: []reg.Field{
	SSR.Field("R", "read"),
	SSW.Field("W", "write"),
	SSX.Field("X", "execute"),
	SSEMT.Field("EMT", "extended memory type (leaf)"),
	SSIPAT.Field("IPAT", "ignore PAT (leaf)"),
	SSPS.Field("PS", "large page"),
	SSA.Field("A", "accessed"),
	SSD.Field("D", "dirty (leaf)"),
	SSSNP.Field("SNP", "snoop (leaf)"),
	SSADDR.Field("ADDR", "table or page >> 12"),
	SSTM.Field("TM", "transient mapping (leaf, before revision 3.2)"),
}}

// FSLayout describes a first-stage paging entry.
var FSLayout = reg.Layout{Name: "first-stage paging entry", Bits: 64, Clause: "9.7", Fields: []reg.Field{
	FSP.Field("P", "present"),
	FSRW.Field("R/W", "write"),
	FSUS.Field("U/S", "user"),
	FSPWT.Field("PWT", "write-through"),
	FSPCD.Field("PCD", "cache disable"),
	FSA.Field("A", "accessed"),
	FSD.Field("D", "dirty (leaf)"),
	FSPS.Field("PS", "large page; PAT in 4K leaves"),
	FSG.Field("G", "global (leaf)"),
	FSEA.Field("EA", "extended accessed"),
	FSADDR.Field("ADDR", "table or page >> 12; bit 0 is PAT in large leaves"),
	FSXD.Field("XD", "execute disable"),
}}

// FSLargeLayout describes a first-stage leaf of 2 MiB or 1 GiB.
var FSLargeLayout = reg.Layout{Name: "first-stage large leaf", Bits: 64, Clause: "9.7", Fields: []reg.Field{
	FSP.Field("P", "present"),
	FSRW.Field("R/W", "write"),
	FSUS.Field("U/S", "user"),
	FSPWT.Field("PWT", "write-through"),
	FSPCD.Field("PCD", "cache disable"),
	FSA.Field("A", "accessed"),
	FSD.Field("D", "dirty"),
	FSPS.Field("PS", "1: a leaf"),
	FSG.Field("G", "global"),
	FSEA.Field("EA", "extended accessed"),
	FSPAT.Field("PAT", "page attribute"),
	FSPAGE.Field("ADDR", "page >> 21; the low 9 bits are reserved in 1 GiB leaves"),
	FSXD.Field("XD", "execute disable"),
}}
