package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Classes of cached translations (6.2): entries of different classes never hit each other.
const (
	ClassSS     emu.Class = 1 // second stage: domain
	ClassFS     emu.Class = 2 // first stage: domain, PASID
	ClassNested emu.Class = 3 // nested: domain, PASID
	ClassPT     emu.Class = 4 // pass-through: domain, PASID; never in the IOTLB here
	// ClassInterrupt is of interrupt requests. No cached entry has it.
	ClassInterrupt emu.Class = 5
)

// Flags, W3 of context-cache values and the upper half of W1 of PASID-cache values.
const (
	valValid  reg.Bits = 0_000 // the entry passed all checks
	valDirFPD reg.Bits = 1_001 // FPD of the PASID directory entry
	valCode   reg.Bits = 15_008
)

// IOTLB values. W1 holds attributes.
const (
	tlbPerm  reg.Bits = 5_000 // W0: rights; with a first stage the six bits of firststage.go
	tlbLg2   reg.Bits = 11_006
	tlbPage  reg.Bits = 63_012
	tlbClean reg.Bits = 0_000  // W1: D is still clear and must be set before a write
	tlbSNP   reg.Bits = 1_001  // W1: snooped
	tlbNone  reg.Bits = 2_002  // W1: caching mode: a not-present entry
	tlbRsvd  reg.Bits = 3_003  // W1: caching mode: an entry with reserved bits set
	tlbLeaf2 reg.Bits = 63_008 // W1: nested: address of the second-stage leaf of the output >> 3
)

// Values of the paging-structure caches.
const (
	walkPerm  reg.Bits = 5_000
	walkLevel reg.Bits = 11_008
	walkTable reg.Bits = 63_012
)

// entryKey is the key of a source's context entry.
func entryKey(s emu.SourceID) emu.Key { return emu.Key{Addr: uint64(s)} }

// pasidKey is the key of a PASID entry.
func pasidKey(s emu.SourceID, p emu.PASID) emu.Key {
	return emu.Key{Tag: emu.MakeTag(0, 0, p), Addr: uint64(s)}
}
