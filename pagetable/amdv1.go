package pagetable

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// AMDv1 is the host page table of AMD-Vi (AMD 48882 section 2.2.3): 1 to 6 levels under a root that grows,
// leaves of every power of two from 4 KiB, permissions accumulated over the levels. Level 0 here is
// level 1 there.
//
// A leaf of its level's own size has NextLevel 0. One of any larger size below the next level's has
// NextLevel 7 and its size coded in the address, and is repeated in all the slots that it takes.
//
// A link may skip levels, see Entry.Lg2: what the next table does not reach is a hole. Map writes no
// such link.
type AMDv1 struct {
	// MaxLevels is how many levels the unit walks at most (EFR.HATS), 1 to 6, and so how far the
	// root grows; 0 is 6.
	MaxLevels uint8
	// Use512G lets Map write leaves of 512 GiB. Existing units get them wrong, and no driver
	// writes them. They are decoded either way.
	Use512G bool
	// Dirty: hardware sets dirty bits (HAD=11b in the device table entry). Accessed and dirty
	// bits are decoded either way.
	Dirty bool
}

// The attributes of a host leaf.
const (
	AMDv1ForceCoherent Attr = 1 << 0 // FC, bit 60: NoSnoop of a request does not count
	AMDv1Untranslated  Attr = 1 << 1 // U, bit 59: devices must not use the address translated (ATS)
)

const (
	amdPR           = 1 << 0
	amdA, amdD      = 1 << 5, 1 << 6
	amdNextShift    = 9
	amdNext         = 7 << amdNextShift
	amdCoded        = 7 << amdNextShift // NextLevel of a leaf with its size in the address
	amdU, amdFC     = 1 << 59, 1 << 60
	amdPermShift    = 61
	amdPerms        = 3 << amdPermShift // IR, IW
	amdPending      = 1 << 63           // bits 63, 8:7 and 4:1 are ignored
	amdAddr         = (1<<52 - 1) &^ (1<<12 - 1)
	amdLeafReserved = (1<<59 - 1) &^ (1<<52 - 1)
	amdLinkReserved = (1<<61 - 1) &^ (1<<52 - 1)
	amdTop          = 5 // level that cannot hold leaves
)

// Geometry describes the format.
func (f AMDv1) Geometry() Geometry {
	g := Geometry{
		Name: "amdv1", Granule: 12, Bits: 9, MinLevels: 1, MaxLevels: f.maxLevels(), VABits: 64, OABits: 52,
		PageSizes: (1<<52 - 1) &^ (1<<12 - 1) &^ (1 << 39),
		Perms:     Read | Write, Attrs: AMDv1ForceCoherent | AMDv1Untranslated,
		Dynamic: true, Replicated: true, Dirty: f.Dirty, Pending: amdPending,
	}
	if f.Use512G {
		g.PageSizes |= 1 << 39
	}
	return g
}

func (f AMDv1) maxLevels() uint8 {
	if f.MaxLevels == 0 || f.MaxLevels > 6 {
		return 6
	}
	return f.MaxLevels
}

// amdIsLeaf tells a PTE from a PDE: by NextLevel 0 and 7.
func amdIsLeaf(raw uint64) bool {
	return raw&amdNext == 0 || raw&amdNext == amdCoded
}

// amdCodedLg2 is the log2 size of a leaf that has it coded: of 2^n bytes if bits n-2:12 are ones and
// bit n-1 is zero. It is 53 if there is no zero.
func amdCodedLg2(raw uint64) uint8 {
	return uint8(bits.TrailingZeros64(^(raw&amdAddr | (1<<12 - 1)))) + 1
}

// Decode interprets an entry; level 0 is the lowest table, 5 the highest.
func (f AMDv1) Decode(raw uint64, level uint8) Entry {
	if raw&amdPR == 0 {
		return Entry{}
	}
	e := Entry{State: State{Perm: Perm(raw >> amdPermShift & 3), Accessed: raw&amdA != 0}}
	least := 12 + 9*level
	if !amdIsLeaf(raw) {
		next := uint8(raw & amdNext >> amdNextShift) // levels below, the next one included
		if raw&amdLinkReserved != 0 || next > level {
			return Entry{Kind: Malformed}
		}
		e.Kind, e.OA = SubTable, emu.PA(raw&amdAddr)
		if next < level {
			e.Lg2 = 12 + 9*next
		}
		return e
	}
	e.Kind, e.Lg2 = Leaf, least
	if raw&amdNext == amdCoded {
		e.Lg2 = amdCodedLg2(raw)
		if e.Lg2 <= least || e.Lg2 >= least+9 || e.Lg2 > 52 {
			return Entry{Kind: Malformed}
		}
	}
	if raw&amdLeafReserved != 0 || level >= amdTop {
		return Entry{Kind: Malformed}
	}
	e.OA = emu.PA(raw & amdAddr &^ (uint64(1)<<e.Lg2 - 1))
	e.Dirty = raw&amdD != 0
	e.Attr = Attr(raw>>60&1) | Attr(raw>>58&2)
	return e
}

// Encode builds an entry.
func (f AMDv1) Encode(e Entry, level uint8) uint64 {
	raw := amdPR | uint64(e.OA)&amdAddr | uint64(e.Perm&(Read|Write))<<amdPermShift
	if e.Accessed {
		raw |= amdA
	}
	if e.Kind == SubTable {
		next := level
		if e.Lg2 != 0 {
			next = (e.Lg2 - 12) / 9
		}
		return raw | uint64(next)<<amdNextShift
	}
	if e.Dirty {
		raw |= amdD
	}
	raw |= uint64(e.Attr&AMDv1ForceCoherent)<<60 | uint64(e.Attr&AMDv1Untranslated)<<58
	if e.Lg2 > 12+9*level {
		raw |= amdCoded | (1<<(e.Lg2-1)-1)&^(1<<12-1)
	}
	return raw
}

// SetDirty changes bit 6.
func (f AMDv1) SetDirty(raw uint64, _ uint8, dirty bool) uint64 {
	if dirty {
		return raw | amdD
	}
	return raw &^ amdD
}

// Significant keeps address, size, permissions and attributes of a leaf, NextLevel and permissions of a
// link. Address bits below a leaf of its level's own size are ignored.
func (f AMDv1) Significant(raw uint64, level uint8) uint64 {
	switch {
	case raw&amdPR == 0:
		return 0
	case !amdIsLeaf(raw):
		return raw & (amdPR | amdNext | amdPerms)
	case raw&amdNext == 0:
		raw &^= (uint64(1)<<(12+9*level) - 1) & amdAddr
	}
	return raw & (amdPR | amdNext | amdPerms | amdAddr | amdU | amdFC)
}

// String names the variant.
func (f AMDv1) String() string {
	return fmt.Sprintf("amdv1(levels %d 512G %t dirty %t)", f.maxLevels(), f.Use512G, f.Dirty)
}
