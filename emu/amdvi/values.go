package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Classes of cached translations: entries of different classes never hit each other. No tag has a
// DeviceID: devices of one domain share translations.
const (
	ClassHost      emu.Class = 1 // host table: domain
	ClassGuest     emu.Class = 2 // guest table alone: domain, PASID
	ClassNested    emu.Class = 3 // guest table over a host table: domain, PASID
	ClassInterrupt emu.Class = 4 // interrupt remapping: DeviceID
)

// Flags, W3 of DTE cache values. They take the place of bits that are reserved in a DTE.
const (
	valSEDone reg.Bits = 0_000  // DTE.SE: a page fault of the device has been logged
	valMem    reg.Bits = 7_001  // what is wrong with the memory half: a cause, or 0
	valInt    reg.Bits = 14_008 // what is wrong with the interrupt half
	valFlags  reg.Bits = 14_000
)

// IOTLB values. W1 holds attributes.
const (
	tlbPerm  reg.Bits = 5_000
	tlbLg2   reg.Bits = 11_006
	tlbPage  reg.Bits = 63_012
	tlbClean reg.Bits = 0_000  // W1: a dirty flag is still clear and must be set before a write
	tlbU     reg.Bits = 1_001  // W1: ATS: use untranslated requests
	tlbFC    reg.Bits = 2_002  // W1: force coherent
	tlbNone  reg.Bits = 3_003  // W1: not present (NpCache); the page is not the output
	tlbHost  reg.Bits = 4_004  // W1: with tlbNone: in the host table below, for the page as a guest physical one
	tlbLeaf2 reg.Bits = 63_008 // W1: nested: address of the host leaf of the output >> 3
)

// Values of the paging-structure caches.
const (
	walkPerm  reg.Bits = 5_000
	walkLevel reg.Bits = 11_008
	walkTable reg.Bits = 63_012
)

// permUser is set in the rights of a guest translation that user requests may use.
const permUser = emu.Priv

// deviceKey is the key of a device's DTE.
func deviceKey(s emu.SourceID) emu.Key { return emu.Key{Addr: uint64(s)} }

// gcr3Key is the key of a GCR3 table entry.
func gcr3Key(s emu.SourceID, p emu.PASID) emu.Key {
	return emu.Key{Tag: emu.MakeTag(0, 0, p), Addr: uint64(s)}
}
