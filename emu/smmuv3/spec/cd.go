package spec

import "github.com/iommulab/iommulab/emu/reg"

// Level 1 context descriptor, 5.3.
const (
	L1cdV     reg.Bits = 0_000
	L1cdL2Ptr reg.Bits = 51_012
)

// Context descriptor, 5.4, by bit of its 512.
const (
	CdT0SZ   reg.Bits = 5_000
	CdTG0    reg.Bits = 7_006
	CdIR0    reg.Bits = 9_008
	CdOR0    reg.Bits = 11_010
	CdSH0    reg.Bits = 13_012
	CdEPD0   reg.Bits = 14_014
	CdENDI   reg.Bits = 15_015
	CdT1SZ   reg.Bits = 21_016
	CdTG1    reg.Bits = 23_022
	CdIR1    reg.Bits = 25_024
	CdOR1    reg.Bits = 27_026
	CdSH1    reg.Bits = 29_028
	CdEPD1   reg.Bits = 30_030
	CdV      reg.Bits = 31_031
	CdIPS    reg.Bits = 34_032
	CdAFFD   reg.Bits = 35_035
	CdWXN    reg.Bits = 36_036
	CdUWXN   reg.Bits = 37_037
	CdTBI0   reg.Bits = 38_038
	CdTBI1   reg.Bits = 39_039
	CdPAN    reg.Bits = 40_040
	CdAA64   reg.Bits = 41_041
	CdHD     reg.Bits = 42_042
	CdHA     reg.Bits = 43_043
	CdS      reg.Bits = 44_044
	CdR      reg.Bits = 45_045
	CdA      reg.Bits = 46_046
	CdASET   reg.Bits = 47_047
	CdASID   reg.Bits = 63_048
	CdNSCFG0 reg.Bits = 64_064
	CdHAD0   reg.Bits = 65_065
	CdE0PD0  reg.Bits = 66_066
	CdHAFT   reg.Bits = 67_067
	CdTTB0   reg.Bits = 115_068
	CdPnCH   reg.Bits = 122_122
	CdEPAN   reg.Bits = 123_123
	CdHWU0   reg.Bits = 127_124
	CdNSCFG1 reg.Bits = 128_128
	CdHAD1   reg.Bits = 129_129
	CdE0PD1  reg.Bits = 130_130
	CdAIE    reg.Bits = 131_131
	CdTTB1   reg.Bits = 179_132
	CdDS     reg.Bits = 186_186
	CdPIE    reg.Bits = 187_187
	CdHWU1   reg.Bits = 191_188
	CdMAIR0  reg.Bits = 223_192
	CdMAIR1  reg.Bits = 255_224
	CdAMAIR0 reg.Bits = 287_256
	CdAMAIR1 reg.Bits = 319_288
	CdPARTID reg.Bits = 367_352
	CdPMG    reg.Bits = 375_368
	CdPIIU   reg.Bits = 447_384
	CdPIIP   reg.Bits = 511_448
)

// CD is a context descriptor.
type CD [8]uint64

// V reports whether the entry is valid.
func (c *CD) V() bool { return CdV.On(c[0]) }

// ASID returns the ASID.
func (c *CD) ASID() uint16 { return uint16(CdASID.Of(c[0])) }

// TTB0 returns the table of the lower half.
func (c *CD) TTB0() uint64 { return c[1] & CdTTB0.Mask() }

// TTB1 returns the table of the upper half.
func (c *CD) TTB1() uint64 { return c[2] & CdTTB1.Mask() }

// MAIR returns the memory attributes of an AttrIndx.
func (c *CD) MAIR(attrIndx uint64) uint8 { return uint8(c[3] >> (8 * (attrIndx & 7))) }

// L1CDLayout describes a level 1 context descriptor.
var L1CDLayout = reg.Layout{Name: "L1CD", Bits: 64, Clause: "5.3", Fields: []reg.Field{
	L1cdV.Field("V", "valid"),
	L1cdL2Ptr.Field("L2Ptr", "level 2 table >> 12"),
}}

// CDLayout describes a context descriptor.
var CDLayout = reg.Layout{Name: "CD", Bits: 512, Clause: "5.4", Fields: []reg.Field{
	CdT0SZ.Field("T0SZ", "lower half: 2^(64-T0SZ) bytes"),
	CdTG0.Field("TG0", "granule: 0 4K, 1 64K, 2 16K"),
	CdIR0.Field("IR0", "walk: inner cacheability"),
	CdOR0.Field("OR0", "walk: outer cacheability"),
	CdSH0.Field("SH0", "walk: shareability"),
	CdEPD0.Field("EPD0", "no walks of the lower half"),
	CdENDI.Field("ENDI", "tables are big-endian"),
	CdT1SZ.Field("T1SZ", "upper half: 2^(64-T1SZ) bytes"),
	CdTG1.Field("TG1", "granule: 1 16K, 2 4K, 3 64K"),
	CdIR1.Field("IR1", "walk: inner cacheability"),
	CdOR1.Field("OR1", "walk: outer cacheability"),
	CdSH1.Field("SH1", "walk: shareability"),
	CdEPD1.Field("EPD1", "no walks of the upper half"),
	CdV.Field("V", "valid"),
	CdIPS.Field("IPS", "output size, as IDR5.OAS"),
	CdAFFD.Field("AFFD", "access flag faults off"),
	CdWXN.Field("WXN", "what can be written cannot be executed"),
	CdUWXN.Field("UWXN", "what unprivileged accesses can write privileged ones cannot execute"),
	CdTBI0.Field("TBI0", "top byte ignored, lower half"),
	CdTBI1.Field("TBI1", "top byte ignored, upper half"),
	CdPAN.Field("PAN", "privileged accesses never reach unprivileged pages"),
	CdAA64.Field("AA64", "format: 1 VMSAv8-64"),
	CdHD.Field("HD", "dirty state by hardware"),
	CdHA.Field("HA", "access flag by hardware"),
	CdS.Field("S", "faults stall"),
	CdR.Field("R", "faults are recorded"),
	CdA.Field("A", "terminated transactions abort; 0: read zero, write ignored"),
	CdASET.Field("ASET", "ASID is not shared with processors"),
	CdASID.Field("ASID", "ASID"),
	CdNSCFG0.Field("NSCFG0", "Secure streams: NS of walks"),
	CdHAD0.Field("HAD0", "hierarchical attributes off, lower half"),
	CdE0PD0.Field("E0PD0", "unprivileged accesses fault, lower half"),
	CdHAFT.Field("HAFT", "access flag of table descriptors by hardware"),
	CdTTB0.Field("TTB0", "table of the lower half >> 4"),
	CdPnCH.Field("PnCH", "protected tables"),
	CdEPAN.Field("EPAN", "PAN counts executable pages"),
	CdHWU0.Field("HWU0", "hardware use of descriptor bits, lower half"),
	CdNSCFG1.Field("NSCFG1", "Secure streams: NS of walks"),
	CdHAD1.Field("HAD1", "hierarchical attributes off, upper half"),
	CdE0PD1.Field("E0PD1", "unprivileged accesses fault, upper half"),
	CdAIE.Field("AIE", "attribute indexes of 4 bits"),
	CdTTB1.Field("TTB1", "table of the upper half >> 4"),
	CdDS.Field("DS", "descriptors with 52-bit addresses"),
	CdPIE.Field("PIE", "permission indirection"),
	CdHWU1.Field("HWU1", "hardware use of descriptor bits, upper half"),
	CdMAIR0.Field("MAIR0", "memory attributes 0 to 3"),
	CdMAIR1.Field("MAIR1", "memory attributes 4 to 7"),
	CdAMAIR0.Field("AMAIR0", "auxiliary memory attributes"),
	CdAMAIR1.Field("AMAIR1", "auxiliary memory attributes"),
	CdPARTID.Field("PARTID", "memory partition"),
	CdPMG.Field("PMG", "performance monitoring group"),
	CdPIIU.Field("PIIU", "permission indirection, unprivileged"),
	CdPIIP.Field("PIIP", "permission indirection, privileged"),
}}
