package spec

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu/reg"
)

// Entries of host tables, 2.2.3. NextLevel 1 to 6 points to a table; 0 and 7 map a page, of the size
// of the level or of one that the address field tells.
const (
	PtePR        reg.Bits = 0_000
	PteA         reg.Bits = 5_005
	PteD         reg.Bits = 6_006 // pages
	PteNextLevel reg.Bits = 11_009
	PteAddr      reg.Bits = 51_012
	PteU         reg.Bits = 59_059 // pages: use untranslated requests only
	PteFC        reg.Bits = 60_060 // pages: force coherent
	PteIR        reg.Bits = 61_061
	PteIW        reg.Bits = 62_062

	PteReserved reg.Bits = 58_052 // of pages
	PdeReserved reg.Bits = 60_052 // of tables

	NextLevelPage = 0 // values of PteNextLevel that map a page
	NextLevelSize = 7
)

// PageSizeLg2 returns log2 of the page that an entry with NextLevel=7 maps, and ok false if its
// address field encodes none: the lowest bit that is 0, from bit 12 on, is the highest bit of the
// offset.
func PageSizeLg2(entry uint64) (lg2 uint8, ok bool) {
	n := uint8(bits.TrailingZeros64(^entry>>PteAddr.Lo())) + uint8(PteAddr.Lo())
	return n + 1, uint(n) <= PteAddr.Hi()
}

// PageSizeAddr returns the address field of an entry with NextLevel=7 that maps 2^lg2 bytes at pa.
func PageSizeAddr(pa uint64, lg2 uint8) uint64 {
	m := uint64(1)<<lg2 - 1
	return (pa&^m | m>>1) & PteAddr.Mask()
}

// Entries of guest tables, 2.2.6: those of AMD64 processors.
const (
	GptP    reg.Bits = 0_000
	GptRW   reg.Bits = 1_001
	GptUS   reg.Bits = 2_002
	GptPWT  reg.Bits = 3_003
	GptPCD  reg.Bits = 4_004
	GptA    reg.Bits = 5_005
	GptD    reg.Bits = 6_006 // pages
	GptPS   reg.Bits = 7_007 // levels with large pages
	GptG    reg.Bits = 8_008 // pages
	GptPAT  reg.Bits = 12_012
	GptAddr reg.Bits = 51_012
	GptNX   reg.Bits = 63_063
)

// Entries of GCR3 tables, 2.2.6.
const (
	Gcr3V    reg.Bits = 0_000
	Gcr3Addr reg.Bits = 51_012

	MaxGLX = 2
)

// PDELayout describes an entry of a host table that points to a table.
var PDELayout = reg.Layout{Name: "host PDE", Bits: 64, Clause: "2.2.3", Fields: []reg.Field{
	PtePR.Field("PR", "present"),
	PteA.Field("A", "accessed"),
	PteNextLevel.Field("NextLevel", "level of the table, 1 to 6"),
	PteAddr.Field("Addr", "table >> 12"),
	PteIR.Field("IR", "read permission"),
	PteIW.Field("IW", "write permission"),
}}

// PTELayout describes an entry of a host table that maps a page.
var PTELayout = reg.Layout{Name: "host PTE", Bits: 64, Clause: "2.2.3", Fields: []reg.Field{
	PtePR.Field("PR", "present"),
	PteA.Field("A", "accessed"),
	PteD.Field("D", "dirty"),
	PteNextLevel.Field("NextLevel", "0: page of the level's size, 7: size in Addr"),
	PteAddr.Field("Addr", "page >> 12, with the size where NextLevel is 7"),
	PteU.Field("U", "ATS: use untranslated requests"),
	PteFC.Field("FC", "force coherent"),
	PteIR.Field("IR", "read permission"),
	PteIW.Field("IW", "write permission"),
}}

// GuestLayout describes an entry of a guest table.
var GuestLayout = reg.Layout{Name: "guest paging entry", Bits: 64, Clause: "2.2.6", Fields: []reg.Field{
	GptP.Field("P", "present"),
	GptRW.Field("R/W", "write"),
	GptUS.Field("U/S", "user"),
	GptPWT.Field("PWT", "write-through"),
	GptPCD.Field("PCD", "cache disable"),
	GptA.Field("A", "accessed"),
	GptD.Field("D", "dirty (page)"),
	GptPS.Field("PS", "large page; PAT in 4K pages"),
	GptG.Field("G", "global (page)"),
	GptAddr.Field("Addr", "table or page >> 12; bit 0 is PAT in large pages"),
	GptNX.Field("NX", "no execute"),
}}

// GCR3Layout describes an entry of a GCR3 table.
var GCR3Layout = reg.Layout{Name: "GCR3 table entry", Bits: 64, Clause: "2.2.6", Fields: []reg.Field{
	Gcr3V.Field("V", "valid"),
	Gcr3Addr.Field("Addr", "next table or guest CR3 >> 12"),
}}
