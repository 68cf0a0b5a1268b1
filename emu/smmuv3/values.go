package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// Classes of cached translations, by StreamWorld (3.17): entries of different classes never hit each
// other. Global translations (nG=0) have classes of their own, without an ASID. A tag's domain is the
// VMID, its PASID the ASID. Stage 1 alone and both stages share tags, as the architecture lets them.
const (
	ClassEL1       emu.Class = 1 // VMID, ASID
	ClassEL1Global emu.Class = 2 // VMID
	ClassE2H       emu.Class = 3 // ASID
	ClassE2HGlobal emu.Class = 4
	ClassEL2       emu.Class = 5
	ClassS2        emu.Class = 6 // stage 2 alone, by intermediate physical address: VMID
)

// Classes of cached structures. A CD's PASID is its index in the table, an L1CD's that of the first CD
// below it; an L1STD's source is the first StreamID below it.
const (
	ClassSTE   emu.Class = 8
	ClassL1STD emu.Class = 9
	ClassCD    emu.Class = 10
	ClassL1CD  emu.Class = 11
)

// ClassNeighbour is a class of transactions, not of entries: of those that used the STE of another stream.
const ClassNeighbour emu.Class = 12

// structClasses are the structures that any translation may have used.
const structClasses = 1<<ClassSTE | 1<<ClassL1STD | 1<<ClassCD | 1<<ClassL1CD

// Flags of a cached STE or L1STD, and what is worked out of an STE once, in W1: bits that are implementation
// defined in an STE.
const (
	steIllegal reg.Bits = 116_116 // C_BAD_STE
	steIsL1    reg.Bits = 117_117 // this is an L1STD
	steLevel   reg.Bits = 120_118 // stage 2: level at which walks start
	steReg2    reg.Bits = 127_121 // stage 2: its regime
	steFlags   reg.Bits = 127_116
)

// Flags of a cached CD or L1CD, W1: bits that are reserved in a CD. W3 of a CD is its part of the version.
const (
	cdIllegal reg.Bits = 116_116 // C_BAD_CD
	cdIsL1    reg.Bits = 117_117 // this is an L1CD
	cdFlags   reg.Bits = 121_116
)

// IOTLB values. W1 holds attributes.
const (
	tlbPerm   reg.Bits = 5_000
	tlbLg2    reg.Bits = 11_006
	tlbPage   reg.Bits = 63_012
	tlbClean  reg.Bits = 0_000  // W1: a descriptor must be marked dirty before a write
	tlbDevice reg.Bits = 1_001  // W1: stage 2: device memory
	tlbLeaf2  reg.Bits = 63_015 // W1: both stages: address of the stage 2 leaf of the output >> 3
)

// Values of the paging-structure caches.
const (
	walkLevel reg.Bits = 2_000
	walkLimit reg.Bits = 11_008 // what table descriptors have taken away, see limitsOf
	walkTable reg.Bits = 63_012
)

func steKey(s emu.SourceID) emu.Key {
	return emu.Key{Tag: emu.MakeTag(ClassSTE, 0, emu.NoPASID), Addr: uint64(s)}
}

func cdKey(s emu.SourceID, index uint64) emu.Key {
	return emu.Key{Tag: emu.MakeTag(ClassCD, 0, emu.PASID(index)), Addr: uint64(s)}
}
