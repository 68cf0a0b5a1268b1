package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Faults: bits 3:0 are the code of the event that tells software (2.5), bits 15:4 number what this
// unit found. Code 0 is an abort that the specification gives no event.
const (
	FaultDTEReserved   = 0x011 // reserved bit or value
	FaultDTEValue      = 0x021 // illegal value
	FaultDeviceRange   = 0x102 // DeviceID beyond the device table
	FaultTV            = 0x112 // TV=0
	FaultMode          = 0x122 // reserved or unsupported Mode
	FaultAddress       = 0x132 // address beyond the host table
	FaultNotPresent    = 0x142
	FaultReserved      = 0x152
	FaultPermission    = 0x162
	FaultLevel         = 0x172 // NextLevel not below the level, or a page at the top level
	FaultSkip          = 0x182 // address bits of a skipped level
	FaultPageSize      = 0x192 // page size not of the level
	FaultPASIDDisabled = 0x1a2 // PASID with GV=0 or GTEn=0
	FaultPASIDRange    = 0x1b2

	FaultGCR3            = 0x202 // GCR3 table entry with V=0
	FaultGCR3Reserved    = 0x212
	FaultCanonical       = 0x222
	FaultGuestNotPresent = 0x232
	FaultGuestReserved   = 0x242
	FaultGuestPermission = 0x252
	FaultUser            = 0x262 // user request for a supervisor page
	FaultExec            = 0x272

	FaultInterruptAborted = 0x302 // IntCtl=0, or a type that the DTE does not let pass
	FaultInterruptPASID   = 0x312 // interrupt with PASID
	FaultIRTEIndex        = 0x322 // index beyond the interrupt table
	FaultRemapEn          = 0x332 // RemapEn=0
	FaultIRTEReserved     = 0x342 // reserved bit or value in the interrupt table entry

	FaultDTERead   = 0x403 // device table hardware errors
	FaultPTERead   = 0x504 // page table hardware errors
	FaultGCR3Read  = 0x514
	FaultGuestRead = 0x524
	FaultIRTERead  = 0x534
	FaultVAPIC     = 0x544 // virtual APIC page

	FaultReadInterrupt     = 0x608 // read or non-posted write of the interrupt range
	FaultTranslated        = 0x618 // translated request with I=0 or V=0
	FaultPortIO            = 0x628 // IoCtl=0
	FaultSysMgt            = 0x638 // SysMgt does not allow it
	FaultWriteInterrupt    = 0x648 // write of the interrupt range that is no interrupt
	FaultInterruptReserved = 0x658
	FaultSysMgtAddress     = 0x668
	FaultTRRange           = 0x678 // translation request for a special range
	FaultTRDisabled        = 0x688 // translation request with I=0 or V=0
	FaultTRDevice          = 0x698 // translation request beyond the device table

	FaultDisabled    = 0x700 // ATS or page request while IommuEn=0
	FaultPPRDisabled = 0x710 // page request with PPREn=0
	FaultPPRLost     = 0x720 // page request for which the PPR log had no room

	FaultPPR = 0x809 // page request that the DTE does not allow
)

// faultInfo says what the event of a fault has in its flags.
type faultInfo struct {
	name       string
	pr, rz, pe bool
	kind       uint8 // INVALID_DEVICE_REQUEST: Type
}

var faults = map[uint16]faultInfo{
	FaultDTEReserved:   {name: "reserved bits in the device table entry", rz: true},
	FaultDTEValue:      {name: "illegal value in the device table entry"},
	FaultDeviceRange:   {name: "DeviceID beyond the device table"},
	FaultTV:            {name: "TV=0 in the device table entry"},
	FaultMode:          {name: "reserved or unsupported Mode", pr: true},
	FaultAddress:       {name: "address beyond the host table"},
	FaultNotPresent:    {name: "host entry not present"},
	FaultReserved:      {name: "reserved bits in host entry", pr: true, rz: true},
	FaultPermission:    {name: "no permission", pr: true, pe: true},
	FaultLevel:         {name: "illegal level in host entry", pr: true},
	FaultSkip:          {name: "address bits of a skipped level", pr: true},
	FaultPageSize:      {name: "illegal page size in host entry", pr: true},
	FaultPASIDDisabled: {name: "PASID without guest translation"},
	FaultPASIDRange:    {name: "PASID out of range"},

	FaultGCR3:            {name: "GCR3 table entry not valid"},
	FaultGCR3Reserved:    {name: "reserved bits in GCR3 table entry", pr: true, rz: true},
	FaultCanonical:       {name: "address beyond the guest table"},
	FaultGuestNotPresent: {name: "guest entry not present"},
	FaultGuestReserved:   {name: "reserved bits in guest entry", pr: true, rz: true},
	FaultGuestPermission: {name: "no permission in guest table", pr: true, pe: true},
	FaultUser:            {name: "user request for a supervisor page", pr: true, pe: true},
	FaultExec:            {name: "execute without permission", pr: true, pe: true},

	FaultInterruptAborted: {name: "interrupt aborted by the device table entry"},
	FaultInterruptPASID:   {name: "interrupt with PASID"},
	FaultIRTEIndex:        {name: "index beyond the interrupt table"},
	FaultRemapEn:          {name: "RemapEn=0 in the interrupt table entry"},
	FaultIRTEReserved:     {name: "reserved bits in the interrupt table entry", pr: true, rz: true},

	FaultDTERead:   {name: "device table read error"},
	FaultPTERead:   {name: "host table access error"},
	FaultGCR3Read:  {name: "GCR3 table read error"},
	FaultGuestRead: {name: "guest table access error"},
	FaultIRTERead:  {name: "interrupt table read error"},
	FaultVAPIC:     {name: "virtual APIC page access error"},

	FaultReadInterrupt:     {name: "read of the interrupt range", kind: spec.InvalidReadInterrupt},
	FaultTranslated:        {name: "translated request not allowed", kind: spec.InvalidTranslated},
	FaultPortIO:            {name: "port I/O not allowed", kind: spec.InvalidPortIO},
	FaultSysMgt:            {name: "system management request not allowed", kind: spec.InvalidSysMgt},
	FaultWriteInterrupt:    {name: "write of the interrupt range that is no interrupt", kind: spec.InvalidWriteInterrupt},
	FaultInterruptReserved: {name: "reserved interrupt addresses", kind: spec.InvalidIntReserved},
	FaultSysMgtAddress:     {name: "reserved special addresses", kind: spec.InvalidSysMgtAddr},
	FaultTRRange:           {name: "translation request for a special range", kind: spec.InvalidTRRange},
	FaultTRDisabled:        {name: "translation request not allowed", kind: spec.InvalidTRDisabled},
	FaultTRDevice:          {name: "translation request beyond the device table", kind: spec.InvalidTRDevice},

	FaultDisabled:    {name: "blocked: translation is off"},
	FaultPPRDisabled: {name: "page requests are off"},
	FaultPPRLost:     {name: "page request lost"},

	FaultPPR: {name: "page request not allowed"},
}

// eventOf returns the event code of a fault, 0 for none.
func eventOf(code uint16) uint64 { return uint64(code & 0xf) }

// FaultName implements emu.Unit.
func (u *Unit) FaultName(code uint16) string {
	f, ok := faults[code]
	switch l := spec.EventLayouts[eventOf(code)]; {
	case !ok:
		return fmt.Sprintf("fault %#x", code)
	case l == nil:
		return f.name
	default:
		return l.Name + ": " + f.name
	}
}
