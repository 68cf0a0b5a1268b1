package spec

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Level 1 stream table descriptor, 5.1.
const (
	L1stdSpan  reg.Bits = 4_000
	L1stdL2Ptr reg.Bits = 51_006

	MaxSpan = 11 // larger values of L1stdSpan count as 0
)

// L1STD is a level 1 stream table descriptor.
type L1STD uint64

// STEs returns how many STEs the level 2 table has: 2^(Span-1), 0 for none.
func (d L1STD) STEs() uint64 {
	span := L1stdSpan.Of(uint64(d))
	if span == 0 || span > MaxSpan {
		return 0
	}
	return 1 << (span - 1)
}

// L2Ptr returns the level 2 table, which is aligned to its size.
func (d L1STD) L2Ptr() emu.PA {
	return emu.PA(uint64(d) & L1stdL2Ptr.Mask() &^ (max(d.STEs(), 1)*STESize - 1))
}

// Stream table entry, 5.2, by bit of its 512. Fields of Secure streams are left out.
const (
	SteV           reg.Bits = 0_000
	SteConfig      reg.Bits = 3_001
	SteS1Fmt       reg.Bits = 5_004
	SteS1Context   reg.Bits = 51_006
	SteS1CDMax     reg.Bits = 63_059
	SteS1DSS       reg.Bits = 65_064
	SteS1CIR       reg.Bits = 67_066
	SteS1COR       reg.Bits = 69_068
	SteS1CSH       reg.Bits = 71_070
	SteS2HWU       reg.Bits = 75_072
	SteDRE         reg.Bits = 76_076
	SteCONT        reg.Bits = 80_077
	SteDCP         reg.Bits = 81_081
	StePPAR        reg.Bits = 82_082
	SteMEV         reg.Bits = 83_083
	SteSWReserved  reg.Bits = 87_084
	SteS1PIE       reg.Bits = 88_088
	SteS2FWB       reg.Bits = 89_089
	SteS1MPAM      reg.Bits = 90_090
	SteS1STALLD    reg.Bits = 91_091
	SteEATS        reg.Bits = 93_092
	SteSTRW        reg.Bits = 95_094
	SteMemAttr     reg.Bits = 99_096
	SteMTCFG       reg.Bits = 100_100
	SteALLOCCFG    reg.Bits = 104_101
	SteSHCFG       reg.Bits = 109_108
	SteNSCFG       reg.Bits = 111_110
	StePRIVCFG     reg.Bits = 113_112
	SteINSTCFG     reg.Bits = 115_114
	SteS2VMID      reg.Bits = 143_128
	SteS2T0SZ      reg.Bits = 165_160
	SteS2SL0       reg.Bits = 167_166
	SteS2IR0       reg.Bits = 169_168
	SteS2OR0       reg.Bits = 171_170
	SteS2SH0       reg.Bits = 173_172
	SteS2TG        reg.Bits = 175_174
	SteS2PS        reg.Bits = 178_176
	SteS2AA64      reg.Bits = 179_179
	SteS2ENDI      reg.Bits = 180_180
	SteS2AFFD      reg.Bits = 181_181
	SteS2PTW       reg.Bits = 182_182
	SteS2HD        reg.Bits = 183_183
	SteS2HA        reg.Bits = 184_184
	SteS2S         reg.Bits = 185_185
	SteS2R         reg.Bits = 186_186
	SteS2HAFT      reg.Bits = 187_187
	SteS2PIE       reg.Bits = 188_188
	SteS2POE       reg.Bits = 189_189
	SteDPTVMatch   reg.Bits = 191_190
	SteS2SL02      reg.Bits = 194_194
	SteS2DS        reg.Bits = 195_195
	SteS2TTB       reg.Bits = 243_196
	SteS2SKL       reg.Bits = 254_253
	StePARTID      reg.Bits = 287_272
	SteMECID       reg.Bits = 319_304
	StePMG         reg.Bits = 327_320
	SteMPAMNS      reg.Bits = 328_328
	SteAssuredOnly reg.Bits = 329_329
	SteTL0         reg.Bits = 330_330
	SteTL1         reg.Bits = 331_331
	SteVMSPtr      reg.Bits = 375_332
	SteS2POI       reg.Bits = 511_448

	ConfigAbort  = 0 // values of SteConfig; 1 to 3 are reserved and count as 0
	ConfigBypass = 4
	ConfigS1     = 5
	ConfigS2     = 6
	ConfigNested = 7

	S1FmtLinear = 0 // values of SteS1Fmt, 3 as 0
	S1Fmt4K     = 1 // two levels, 64 CDs in a leaf
	S1Fmt64K    = 2 // two levels, 1024 CDs in a leaf

	DSSTerminate = 0 // values of SteS1DSS, 3 as 0
	DSSBypass    = 1
	DSSSSID0     = 2

	EATSOff   = 0 // values of SteEATS
	EATSFull  = 1
	EATSSplit = 2
	EATSDPT   = 3

	STRWEL1 = 0 // values of SteSTRW, Non-secure
	STRWEL2 = 2
)

// STE is a stream table entry.
type STE [8]uint64

// V reports whether the entry is valid.
func (e *STE) V() bool { return SteV.On(e[0]) }

// Config returns the 3 bits of Config: bit 2 traffic passes, bit 1 stage 2, bit 0 stage 1.
func (e *STE) Config() uint64 { return SteConfig.Of(e[0]) }

// S1 reports whether stage 1 translates.
func (e *STE) S1() bool { return e.Config()&5 == 5 }

// S2 reports whether stage 2 translates.
func (e *STE) S2() bool { return e.Config()&6 == 6 }

// S1ContextPtr returns the CD or the table of CDs; an intermediate physical address if stage 2
// translates.
func (e *STE) S1ContextPtr() uint64 { return e[0] & SteS1Context.Mask() }

// S1CDMax returns log2 of the number of CDs.
func (e *STE) S1CDMax() uint64 { return SteS1CDMax.Of(e[0]) }

// S2VMID returns the VMID.
func (e *STE) S2VMID() uint16 { return uint16(SteS2VMID.Of(e[2])) }

// S2TTB returns the stage 2 table.
func (e *STE) S2TTB() uint64 { return e[3] & SteS2TTB.Mask() }

// CDSplit returns how many bits of a SubstreamID index a leaf of a two-level CD table, 0 for a linear
// one.
func CDSplit(s1Fmt uint64) uint {
	switch s1Fmt {
	case S1Fmt4K:
		return 6
	case S1Fmt64K:
		return 10
	}
	return 0
}

// L1STDLayout describes a level 1 stream table descriptor.
var L1STDLayout = reg.Layout{Name: "L1STD", Bits: 64, Clause: "5.1", Fields: []reg.Field{
	L1stdSpan.Field("Span", "2^(Span-1) STEs; 0: none"),
	L1stdL2Ptr.Field("L2Ptr", "level 2 table >> 6"),
}}

// STELayout describes a stream table entry.
var STELayout = reg.Layout{Name: "STE", Bits: 512, Clause: "5.2", Fields: []reg.Field{
	SteV.Field("V", "valid"),
	SteConfig.Field("Config", "0 abort, 4 bypass, 5 stage 1, 6 stage 2, 7 both"),
	SteS1Fmt.Field("S1Fmt", "CD table: 0 linear, 1 4K leaves, 2 64K leaves"),
	SteS1Context.Field("S1ContextPtr", "CD or CD table >> 6"),
	SteS1CDMax.Field("S1CDMax", "CDs, log2; 0: no substreams"),
	SteS1DSS.Field("S1DSS", "without SubstreamID: 0 terminate, 1 bypass stage 1, 2 CD 0"),
	SteS1CIR.Field("S1CIR", "CD fetch: inner cacheability"),
	SteS1COR.Field("S1COR", "CD fetch: outer cacheability"),
	SteS1CSH.Field("S1CSH", "CD fetch: shareability"),
	SteS2HWU.Field("S2HWU", "stage 2 hardware use of descriptor bits"),
	SteDRE.Field("DRE", "destructive reads allowed"),
	SteCONT.Field("CONT", "identical STEs, log2"),
	SteDCP.Field("DCP", "directed cache prefetch allowed"),
	StePPAR.Field("PPAR", "automatic PRI responses carry the PASID"),
	SteMEV.Field("MEV", "events may be merged"),
	SteSWReserved.Field("SW_RESERVED", "for software"),
	SteS1PIE.Field("S1PIE", "stage 1 permission indirection"),
	SteS2FWB.Field("S2FWB", "stage 2 forces write-back"),
	SteS1MPAM.Field("S1MPAM", "PARTIDs are virtual"),
	SteS1STALLD.Field("S1STALLD", "stage 1 must not stall"),
	SteEATS.Field("EATS", "ATS: 0 off, 1 full, 2 split-stage, 3 with DPT"),
	SteSTRW.Field("STRW", "StreamWorld of stage 1: 0 EL1, 2 EL2"),
	SteMemAttr.Field("MemAttr", "memory type, with MTCFG"),
	SteMTCFG.Field("MTCFG", "replace the memory type"),
	SteALLOCCFG.Field("ALLOCCFG", "allocation hints"),
	SteSHCFG.Field("SHCFG", "0 non-shareable, 1 incoming, 2 outer, 3 inner"),
	SteNSCFG.Field("NSCFG", "Secure streams: NS attribute"),
	StePRIVCFG.Field("PRIVCFG", "2 unprivileged, 3 privileged"),
	SteINSTCFG.Field("INSTCFG", "2 data, 3 instruction"),
	SteS2VMID.Field("S2VMID", "VMID"),
	SteS2T0SZ.Field("S2T0SZ", "stage 2 input: 2^(64-S2T0SZ) bytes"),
	SteS2SL0.Field("S2SL0", "stage 2 start level"),
	SteS2IR0.Field("S2IR0", "stage 2 walk: inner cacheability"),
	SteS2OR0.Field("S2OR0", "stage 2 walk: outer cacheability"),
	SteS2SH0.Field("S2SH0", "stage 2 walk: shareability"),
	SteS2TG.Field("S2TG", "stage 2 granule: 0 4K, 1 64K, 2 16K"),
	SteS2PS.Field("S2PS", "stage 2 output size, as IDR5.OAS"),
	SteS2AA64.Field("S2AA64", "stage 2 format: 1 VMSAv8-64"),
	SteS2ENDI.Field("S2ENDI", "stage 2 tables are big-endian"),
	SteS2AFFD.Field("S2AFFD", "stage 2 access flag faults off"),
	SteS2PTW.Field("S2PTW", "stage 1 walks and CD fetches from device memory fault"),
	SteS2HD.Field("S2HD", "stage 2 dirty state by hardware"),
	SteS2HA.Field("S2HA", "stage 2 access flag by hardware"),
	SteS2S.Field("S2S", "stage 2 faults stall"),
	SteS2R.Field("S2R", "stage 2 faults are recorded"),
	SteS2HAFT.Field("S2HAFT", "access flag of stage 2 table descriptors by hardware"),
	SteS2PIE.Field("S2PIE", "stage 2 permission indirection"),
	SteS2POE.Field("S2POE", "stage 2 permission overlays"),
	SteDPTVMatch.Field("DPT_VMATCH", "device permission table: VMID match"),
	SteS2SL02.Field("S2SL0_2", "stage 2 start level, bit 2"),
	SteS2DS.Field("S2DS", "stage 2 descriptors with 52-bit addresses"),
	SteS2TTB.Field("S2TTB", "stage 2 table >> 4"),
	SteS2SKL.Field("S2SKL", "stage 2 levels skipped"),
	StePARTID.Field("PARTID", "memory partition"),
	SteMECID.Field("MECID", "memory encryption context"),
	StePMG.Field("PMG", "performance monitoring group"),
	SteMPAMNS.Field("MPAM_NS", "memory partition space"),
	SteAssuredOnly.Field("AssuredOnly", "assured translations only"),
	SteTL0.Field("TL0", "translation hardening, TTB0"),
	SteTL1.Field("TL1", "translation hardening, TTB1"),
	SteVMSPtr.Field("VMSPtr", "virtual machine structure >> 12"),
	SteS2POI.Field("S2POI", "stage 2 permission overlays"),
}}
