package spec

import "github.com/iommulab/iommulab/emu/reg"

// Descriptor types: 7 bits, {bits 11:9, bits 3:0} of the first word (6.5.2).
const (
	DescContext      = 0x1
	DescIOTLB        = 0x2
	DescDevTLB       = 0x3
	DescIEC          = 0x4
	DescWait         = 0x5
	DescPASIDIOTLB   = 0x6
	DescPASIDCache   = 0x7
	DescPASIDDevTLB  = 0x8
	DescPageGroup    = 0x9
	DescPageStream   = 0xa
	NumDescTypes     = 128
	DescSize128      = 16
	DescSize256      = 32
	AllAddressS      = 0x7fff_ffff_ffff_f000 // with S=1: everything
	GranGlobal       = 1                     // contexts and IOTLB
	GranDomain       = 2
	GranDevice       = 3 // context cache
	GranPage         = 3 // IOTLB
	GranPASID        = 2 // PASID-based IOTLB: all of a PASID
	GranPASIDPage    = 3
	GranPCDomain     = 0 // PASID cache
	GranPCPASID      = 1
	GranPCGlobal     = 3
	GranIECGlobal    = 0
	GranIECIndex     = 1
	MaxAddressMask   = 63
	MaxPendingDevTLB = 32
)

// Fields that all descriptors share.
const (
	DescTypeLo reg.Bits = 3_000
	DescTypeHi reg.Bits = 11_009
)

// DescType returns the 7-bit type of a descriptor from its first word.
func DescType(qw0 uint64) uint8 { return uint8(DescTypeHi.Of(qw0)<<4 | DescTypeLo.Of(qw0)) }

// PutDescType returns the type at its two places in the first word.
func PutDescType(t uint8) uint64 { return DescTypeLo.Put(uint64(t)) | DescTypeHi.Put(uint64(t>>4)) }

// Context-cache invalidate, 6.5.2.1.
const (
	CcG   reg.Bits = 5_004
	CcDID reg.Bits = 31_016
	CcSID reg.Bits = 47_032
	CcFM  reg.Bits = 49_048
)

// PASID-cache invalidate, 6.5.2.2.
const (
	PcG     reg.Bits = 5_004
	PcDID   reg.Bits = 31_016
	PcPASID reg.Bits = 51_032
)

// IOTLB invalidate, 6.5.2.3.
const (
	IiG    reg.Bits = 5_004
	IiDW   reg.Bits = 6_006
	IiDR   reg.Bits = 7_007
	IiDID  reg.Bits = 31_016
	IiAM   reg.Bits = 69_064
	IiIH   reg.Bits = 70_070
	IiADDR reg.Bits = 127_076
)

// PASID-based IOTLB invalidate, 6.5.2.4.
const (
	PiG     reg.Bits = 5_004
	PiDID   reg.Bits = 31_016
	PiPASID reg.Bits = 51_032
	PiAM    reg.Bits = 69_064
	PiIH    reg.Bits = 70_070
	PiADDR  reg.Bits = 127_076
)

// Device-TLB invalidate, 6.5.2.5. PFSID is split.
const (
	DtPFSIDLo reg.Bits = 15_012
	DtMIP     reg.Bits = 20_016
	DtSID     reg.Bits = 47_032
	DtPFSIDHi reg.Bits = 63_052
	DtS       reg.Bits = 64_064
	DtADDR    reg.Bits = 127_076
)

// PASID-based device-TLB invalidate, 6.5.2.6. PFSID is split.
const (
	PdMIP     reg.Bits = 8_004
	PdPFSIDLo reg.Bits = 15_012
	PdSID     reg.Bits = 31_016
	PdPASID   reg.Bits = 51_032
	PdPFSIDHi reg.Bits = 63_052
	PdG       reg.Bits = 64_064
	PdS       reg.Bits = 75_075
	PdADDR    reg.Bits = 127_076
)

// Interrupt-entry cache invalidate, 6.5.2.8.
const (
	IeG    reg.Bits = 4_004
	IeIM   reg.Bits = 31_027
	IeIIDX reg.Bits = 47_032
)

// Invalidation wait, 6.5.2.9.
const (
	IwIF    reg.Bits = 4_004
	IwSW    reg.Bits = 5_005
	IwFN    reg.Bits = 6_006
	IwPD    reg.Bits = 7_007
	IwDATA  reg.Bits = 63_032
	IwSADDR reg.Bits = 127_066
)

// Page group response, 7.6.1.
const (
	PgPP    reg.Bits = 4_004
	PgRC    reg.Bits = 15_012
	PgRID   reg.Bits = 31_016
	PgPASID reg.Bits = 51_032
	PgLPIG  reg.Bits = 66_066
	PgPRGI  reg.Bits = 75_067
)

// Page request descriptor, 7.4.1.1.
const (
	PrType  reg.Bits = 7_000
	PrPP    reg.Bits = 8_008
	PrRID   reg.Bits = 31_016
	PrPASID reg.Bits = 51_032
	PrEXE   reg.Bits = 52_052
	PrPRIV  reg.Bits = 53_053
	PrR     reg.Bits = 64_064
	PrW     reg.Bits = 65_065
	PrLPIG  reg.Bits = 66_066
	PrPRGI  reg.Bits = 75_067
	PrADDR  reg.Bits = 127_076
)

// Values of PrType and PgRC, and the size of an entry of the page-request queue.
const (
	PrTypePage   = 1
	PageReqSize  = 32
	RespSuccess  = 0x0
	RespInvalid  = 0x1
	RespFailure  = 0xf
	NumPRGIndex  = 1 << 9
	PRQEntryLog2 = 7 // 2^(PQS+7) entries
)

// Fault recording register, 11.4.7.6.
const (
	FrFI    reg.Bits = 63_012
	FrIndex reg.Bits = 63_048 // part of FI: interrupt index
	FrSID   reg.Bits = 79_064
	FrT2    reg.Bits = 92_092
	FrPRIV  reg.Bits = 93_093
	FrEXE   reg.Bits = 94_094
	FrPP    reg.Bits = 95_095
	FrFR    reg.Bits = 103_096
	FrPV    reg.Bits = 123_104
	FrAT    reg.Bits = 125_124
	FrT1    reg.Bits = 126_126
	FrF     reg.Bits = 127_127
)

// FaultRecord is the contents of a fault recording register.
type FaultRecord [2]uint64

// F reports whether the record holds a fault.
func (r *FaultRecord) F() bool { return FrF.On(r[1]) }

// FR returns the fault reason.
func (r *FaultRecord) FR() uint8 { return uint8(FrFR.Of(r[1])) }

// SID returns the source.
func (r *FaultRecord) SID() uint16 { return uint16(FrSID.Of(r[1])) }
