package spec

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Device table entry, 2.2.2.1. The root of the GCR3 table is in three pieces.
const (
	DteV               reg.Bits = 0_000
	DteTV              reg.Bits = 1_001
	DteHAD             reg.Bits = 8_007
	DteMode            reg.Bits = 11_009
	DteHostRoot        reg.Bits = 51_012
	DtePPR             reg.Bits = 52_052
	DteGPRP            reg.Bits = 53_053
	DteGIoV            reg.Bits = 54_054
	DteGV              reg.Bits = 55_055
	DteGLX             reg.Bits = 57_056
	DteGCR3Lo          reg.Bits = 60_058 // 14:12
	DteIR              reg.Bits = 61_061
	DteIW              reg.Bits = 62_062
	DteDomainID        reg.Bits = 79_064
	DteGCR3Mid         reg.Bits = 95_080 // 30:15
	DteI               reg.Bits = 96_096
	DteSE              reg.Bits = 97_097
	DteSA              reg.Bits = 98_098
	DteIoCtl           reg.Bits = 100_099
	DteCache           reg.Bits = 101_101
	DteSD              reg.Bits = 102_102
	DteEX              reg.Bits = 103_103
	DteSysMgt          reg.Bits = 105_104
	DteSATS            reg.Bits = 106_106
	DteGCR3Hi          reg.Bits = 127_107 // 51:31
	DteIV              reg.Bits = 128_128
	DteIntTabLen       reg.Bits = 132_129
	DteIG              reg.Bits = 133_133
	DteIRTRoot         reg.Bits = 179_134
	DteGuestPagingMode reg.Bits = 183_182
	DteInitPass        reg.Bits = 184_184
	DteEIntPass        reg.Bits = 185_185
	DteNMIPass         reg.Bits = 186_186
	DteHPTMode         reg.Bits = 187_187
	DteIntCtl          reg.Bits = 189_188
	DteLint0Pass       reg.Bits = 190_190
	DteLint1Pass       reg.Bits = 191_191
	DteVImuEn          reg.Bits = 207_207
	DteGDeviceID       reg.Bits = 223_208
	DteGuestID         reg.Bits = 239_224
	DteAttrV           reg.Bits = 246_246
	DteMode0FC         reg.Bits = 247_247
	DteSnoopAttribute  reg.Bits = 255_248

	DTESize = 32 // bytes

	HADNone = 0 // values of DteHAD
	HADA    = 1
	HADAD   = 3

	ModeIdentity = 0 // values of DteMode
	MaxMode      = 6

	IoCtlAbort     = 0 // values of DteIoCtl
	IoCtlPass      = 1
	IoCtlTranslate = 2

	SysMgtAbort     = 0 // values of DteSysMgt
	SysMgtPass      = 1
	SysMgtINTx      = 2
	SysMgtTranslate = 3

	IntCtlAbort = 0 // values of DteIntCtl
	IntCtlPass  = 1
	IntCtlRemap = 2

	MaxIntTabLen = 11 // 2048 entries
)

// DTE is a device table entry.
type DTE [4]uint64

// V reports whether the memory half counts; without it memory requests pass untranslated.
func (e *DTE) V() bool { return DteV.On(e[0]) }

// TV reports whether the paging fields count; without it memory requests are aborted.
func (e *DTE) TV() bool { return DteTV.On(e[0]) }

// Mode returns the levels of the host table, 0 for none.
func (e *DTE) Mode() uint8 { return uint8(DteMode.Of(e[0])) }

// HostRoot returns the root of the host table.
func (e *DTE) HostRoot() emu.PA { return emu.PA(e[0] & DteHostRoot.Mask()) }

// GV reports whether guest translation is on.
func (e *DTE) GV() bool { return DteGV.On(e[0]) }

// GIoV reports whether requests without PASID use the guest table of PASID 0.
func (e *DTE) GIoV() bool { return DteGIoV.On(e[0]) }

// GLX returns the levels of the GCR3 table less one.
func (e *DTE) GLX() uint8 { return uint8(DteGLX.Of(e[0])) }

// GCR3Root returns the root of the GCR3 table.
func (e *DTE) GCR3Root() uint64 {
	return DteGCR3Lo.Of(e[0])<<12 | DteGCR3Mid.Of(e[1])<<15 | DteGCR3Hi.Of(e[1])<<31
}

var dteJoints = []reg.Joint{{
	Name: "GCR3Root", Help: "GCR3 table", Pieces: []reg.Piece{DteGCR3Lo.At(12), DteGCR3Mid.At(15), DteGCR3Hi.At(31)},
}}

// SetGCR3Root stores the root of the GCR3 table in its three pieces.
func (e *DTE) SetGCR3Root(root uint64) {
	DteGCR3Lo.Set(e[:], root>>12)
	DteGCR3Mid.Set(e[:], root>>15)
	DteGCR3Hi.Set(e[:], root>>31)
}

// IR and IW are the permissions at the top of the chain.
func (e *DTE) IR() bool { return DteIR.On(e[0]) }

// IW reports the permission to write.
func (e *DTE) IW() bool { return DteIW.On(e[0]) }

// DomainID returns the domain.
func (e *DTE) DomainID() uint16 { return uint16(DteDomainID.Of(e[1])) }

// I reports whether ATS requests are allowed.
func (e *DTE) I() bool { return DteI.On(e[1]) }

// GuestPagingMode returns 0 for four guest levels, 1 for five.
func (e *DTE) GuestPagingMode() uint8 { return uint8(DteGuestPagingMode.Of(e[2])) }

// IV reports whether the interrupt half counts; without it interrupts pass unmapped.
func (e *DTE) IV() bool { return DteIV.On(e[2]) }

// IRTRoot returns the interrupt remapping table.
func (e *DTE) IRTRoot() emu.PA { return emu.PA(DteIRTRoot.Of(e[2]) << 6) }

// DTELayout describes a device table entry.
var DTELayout = reg.Layout{Name: "DTE", Bits: 256, Clause: "2.2.2.1", Joints: dteJoints, Fields: []reg.Field{
	DteV.Field("V", "bits 127:1 count; 0: memory requests pass untranslated"),
	DteTV.Field("TV", "paging fields count; 0: memory requests are aborted"),
	DteHAD.Field("HAD", "host flags: 1 accessed, 3 accessed and dirty"),
	DteMode.Field("Mode", "levels of the host table; 0: none"),
	DteHostRoot.Field("HostRoot", "host table >> 12"),
	DtePPR.Field("PPR", "page requests allowed"),
	DteGPRP.Field("GPRP", "answers to page requests carry the PASID"),
	DteGIoV.Field("GIoV", "requests without PASID use the guest table of PASID 0"),
	DteGV.Field("GV", "guest translation"),
	DteGLX.Field("GLX", "levels of the GCR3 table - 1"),
	DteGCR3Lo.Field("GCR3Lo", "GCR3 table 14:12"),
	DteIR.Field("IR", "read permission"),
	DteIW.Field("IW", "write permission"),
	DteDomainID.Field("DomainID", "domain"),
	DteGCR3Mid.Field("GCR3Mid", "GCR3 table 30:15"),
	DteI.Field("I", "ATS allowed"),
	DteSE.Field("SE", "suppress repeated page fault events"),
	DteSA.Field("SA", "suppress all page fault events"),
	DteIoCtl.Field("IoCtl", "port I/O: 0 abort, 1 pass, 2 translate"),
	DteCache.Field("Cache", "IOTLB cache hint"),
	DteSD.Field("SD", "table reads are not snooped"),
	DteEX.Field("EX", "may use the exclusion range"),
	DteSysMgt.Field("SysMgt", "system management: 0 abort, 1 pass, 2 INTx only, 3 translate"),
	DteSATS.Field("SATS", "secure ATS"),
	DteGCR3Hi.Field("GCR3Hi", "GCR3 table 51:31"),
	DteIV.Field("IV", "bits 255:129 count; 0: interrupts pass unmapped"),
	DteIntTabLen.Field("IntTabLen", "interrupt table entries, log2"),
	DteIG.Field("IG", "no events for interrupts that are not mapped"),
	DteIRTRoot.Field("IRTRoot", "interrupt table >> 6"),
	DteGuestPagingMode.Field("GuestPagingMode", "guest levels: 0 four, 1 five"),
	DteInitPass.Field("InitPass", "INIT passes"),
	DteEIntPass.Field("EIntPass", "ExtInt passes"),
	DteNMIPass.Field("NMIPass", "NMI passes"),
	DteHPTMode.Field("HPTMode", "host page table mode hint"),
	DteIntCtl.Field("IntCtl", "fixed and lowest priority: 0 abort, 1 pass, 2 remap"),
	DteLint0Pass.Field("Lint0Pass", "LINT0 passes"),
	DteLint1Pass.Field("Lint1Pass", "LINT1 passes"),
	DteVImuEn.Field("vImuEn", "virtual IOMMU"),
	DteGDeviceID.Field("GDeviceID", "guest DeviceID"),
	DteGuestID.Field("GuestID", "guest"),
	DteAttrV.Field("AttrV", "attribute fields count"),
	DteMode0FC.Field("Mode0FC", "FC where Mode=0"),
	DteSnoopAttribute.Field("SnoopAttribute", "snoop attributes"),
}}
