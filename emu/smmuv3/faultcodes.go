package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Faults: bits 7:0 are the number of the event that tells software (7.3), bits 15:8 number what this unit
// found. Event 0 is an abort that the specification gives no event.
const (
	FaultGBPA       = 0x0100 // GBPA.ABORT
	FaultBypassSize = 0x0200 // address beyond the output size, SMMUEN=0
	FaultConfig     = 0x0300 // STE.Config=0b0xx
	FaultPRIOff     = 0x0400 // page request while the PRI queue is off
	FaultPRILost    = 0x0500 // page request for which the PRI queue had no room
	FaultTranslated = 0x0600 // translated transaction beyond the output size, ATSCHK=0

	FaultHintOff = 0x0700 // hint of a page request, which the unit drops

	FaultCrossing       = 0x0101
	FaultAtomic         = 0x0201
	FaultStreamRange    = 0x0102 // StreamID beyond the stream table
	FaultSpan           = 0x0202 // StreamID beyond the level 2 table
	FaultL1STDFetch     = 0x0103
	FaultSTEFetch       = 0x0203
	FaultSTEInvalid     = 0x0104 // V=0
	FaultSTEIllegal     = 0x0204
	FaultSTEVMID        = 0x0304 // VATOS: not of the virtual machine
	FaultATSOff         = 0x0105 // translation request while SMMUEN=0
	FaultATSDisabled    = 0x0205 // translation request that EATS does not allow
	FaultNoSubstream    = 0x0106 // S1DSS: none given
	FaultSubstream0     = 0x0206 // S1DSS: 0 given
	FaultForbidden      = 0x0107 // translated transaction that EATS does not allow
	FaultForbiddenOff   = 0x0207 // translated transaction while SMMUEN=0
	FaultSubstreamNone  = 0x0108 // SubstreamID where there are none
	FaultSubstreamRange = 0x0208
	FaultL1CDInvalid    = 0x0308 // V=0
	FaultL1CDPointer    = 0x0408 // L2Ptr out of range
	FaultL1CDFetch      = 0x0109
	FaultCDFetch        = 0x0209
	FaultCDInvalid      = 0x010a // V=0
	FaultCDIllegal      = 0x020a
	FaultS1Fetch        = 0x010b // descriptor of stage 1
	FaultS2Fetch        = 0x020b
	FaultS1Translation  = 0x0110 // invalid descriptor
	FaultS1Range        = 0x0210 // address beyond TxSZ
	FaultEPD            = 0x0310
	FaultE0PD           = 0x0410
	FaultS2Translation  = 0x0510
	FaultS2Range        = 0x0610 // address beyond S2T0SZ
	FaultS1AddrSize     = 0x0111 // output beyond IPS
	FaultInput          = 0x0211 // stage 1 is bypassed: address beyond the input size
	FaultS2AddrSize     = 0x0311 // output beyond S2PS
	FaultS1Access       = 0x0112
	FaultS2Access       = 0x0212
	FaultS1Permission   = 0x0113
	FaultS2Permission   = 0x0213
	FaultS2Device       = 0x0313 // S2PTW: structure in device memory
	FaultTLBConflict    = 0x0120 // two cached translations of different size
	FaultTableConflict  = 0x0220 // a cached translation and a cached table that divides it
	FaultCFGConflict    = 0x0121 // two cached STEs that differ
	FaultHintLost       = 0x0124 // hint for which the event queue had no room
)

// faultNames says what was found.
var faultNames = map[uint16]string{
	FaultGBPA: "aborted by GBPA", FaultBypassSize: "address beyond the output size", FaultConfig: "aborted by STE.Config",
	FaultPRIOff: "page requests are off", FaultPRILost: "page request lost",
	FaultHintOff:  "hints are off",
	FaultCrossing: "crosses a 4 KB boundary", FaultAtomic: "AtomicOp", FaultHintLost: "hint lost",
	FaultTranslated:  "translated address beyond the output size",
	FaultStreamRange: "StreamID beyond the stream table", FaultSpan: "StreamID beyond the level 2 table",
	FaultL1STDFetch: "L1STD", FaultSTEFetch: "STE",
	FaultSTEInvalid: "V=0", FaultSTEIllegal: "illegal field", FaultSTEVMID: "not of VATOS_SEL.VMID",
	FaultATSOff: "translation is off", FaultATSDisabled: "EATS does not allow it",
	FaultNoSubstream: "no SubstreamID", FaultSubstream0: "SubstreamID 0 is reserved",
	FaultForbidden: "EATS does not allow it", FaultForbiddenOff: "translation is off",
	FaultSubstreamNone: "SubstreamIDs are off", FaultSubstreamRange: "beyond S1CDMax", FaultL1CDInvalid: "L1CD with V=0",
	FaultL1CDPointer: "L1CD.L2Ptr out of range",
	FaultL1CDFetch:   "L1CD", FaultCDFetch: "CD",
	FaultCDInvalid: "V=0", FaultCDIllegal: "illegal field",
	FaultS1Fetch: "stage 1 descriptor", FaultS2Fetch: "stage 2 descriptor",
	FaultS1Translation: "stage 1 descriptor invalid", FaultS1Range: "address beyond TxSZ", FaultEPD: "walks are off", FaultE0PD: "unprivileged access to a half that E0PD keeps",
	FaultS2Translation: "stage 2 descriptor invalid", FaultS2Range: "address beyond S2T0SZ",
	FaultS1AddrSize: "stage 1 output beyond IPS", FaultInput: "input beyond the address size", FaultS2AddrSize: "stage 2 output beyond S2PS",
	FaultS1Access: "stage 1 access flag", FaultS2Access: "stage 2 access flag",
	FaultTLBConflict: "translations of different size", FaultTableConflict: "a translation and a table of the same region", FaultCFGConflict: "cached STEs of a span differ",
	FaultS1Permission: "stage 1", FaultS2Permission: "stage 2", FaultS2Device: "structure in device memory (S2PTW)",
}

// eventOf returns the event of a fault, 0 for none.
func eventOf(code uint16) uint64 { return uint64(code & 0xff) }

// FaultName implements emu.Unit.
func (u *Unit) FaultName(code uint16) string {
	name, ok := faultNames[code]
	switch l := spec.EventLayouts[eventOf(code)]; {
	case !ok:
		return fmt.Sprintf("fault %#x", code)
	case l == nil:
		return name
	default:
		return l.Name + ": " + name
	}
}
