package pagetable

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// Mock is the format of no hardware. It is odd in each respect in which real formats differ, so that
// code written for it fits them all: a granule of 2 KiB, 256 slots per table, a root that grows up to
// the full 64-bit space (whose root has only 32 slots), leaves of any power of two but one, replicated
// over their slots, execute permission.
//
//	0      present (0: the walker ignores all other bits)
//	4:1    level of the next table plus one; 0 is a leaf of one slot, 15 one with its size coded
//	5, 6   accessed, dirty (leaf)
//	10:7   attributes (leaf), reserved in a link
//	50:11  address; in a coded leaf of 2^n bytes the bits below n-1 are ones and bit n-1 is zero
//	57:51  reserved
//	58     ignored, used as mark of a link not yet cleaned
//	59     ignored
//	60..62 execute, read, write
//	63     ignored
type Mock struct {
	// Fixed is a number of levels that never grows; 0 is a root that grows from 2 levels.
	Fixed uint8
}

const (
	mockPresent   = 1 << 0
	mockNextShift = 1
	mockCoded     = 15
	mockA, mockD  = 1 << 5, 1 << 6
	mockAttrShift = 7
	mockAttrs     = 15 << mockAttrShift
	mockAddr      = (1<<51 - 1) &^ (1<<11 - 1)
	mockReserved  = (1<<58 - 1) &^ (1<<51 - 1)
	mockPending   = 1 << 58
	mockX         = 1 << 60
	mockR         = 1 << 61
	mockW         = 1 << 62
	mockPerms     = mockX | mockR | mockW
)

// Geometry describes the format.
func (f Mock) Geometry() Geometry {
	g := Geometry{
		Name: "mock", Granule: 11, Bits: 8, MinLevels: 2, MaxLevels: 7, VABits: 64, OABits: 51,
		PageSizes: (1<<51 - 1) &^ (1<<11 - 1) &^ (1 << 27),
		Perms:     Read | Write | Exec, Attrs: 15,
		Dynamic: true, Replicated: true, Dirty: true, Pending: mockPending,
	}
	if f.Fixed != 0 {
		g.Dynamic, g.MinLevels, g.MaxLevels = false, f.Fixed, f.Fixed
	}
	return g
}

// Decode interprets an entry.
func (f Mock) Decode(raw uint64, level uint8) Entry {
	if raw&mockPresent == 0 {
		return Entry{}
	}
	bad := Entry{Kind: Malformed}
	if raw&mockReserved != 0 {
		return bad
	}
	e := Entry{OA: emu.PA(raw & mockAddr), State: State{Perm: mockPerm(raw), Accessed: raw&mockA != 0}}
	next := raw >> mockNextShift & 15
	if next != 0 && next != mockCoded {
		if next != uint64(level) || raw&mockAttrs != 0 {
			return bad
		}
		e.Kind = SubTable
		return e
	}
	least := 11 + 8*level
	e.Kind, e.Lg2 = Leaf, least
	if next == mockCoded {
		e.Lg2 = uint8(bits.TrailingZeros64(^(uint64(e.OA) | (1<<11 - 1)))) + 1
		if e.Lg2 <= least || e.Lg2 >= least+8 {
			return bad
		}
		e.OA &^= 1<<(e.Lg2-1) - 1
	}
	if uint64(e.OA)&(uint64(1)<<e.Lg2-1) != 0 || level > 4 {
		return bad
	}
	e.Attr = Attr(raw >> mockAttrShift & 15)
	e.Dirty = raw&mockD != 0
	return e
}

func mockPerm(raw uint64) (p Perm) {
	return Perm(raw>>61&3) | Perm(raw>>60&1)<<2
}

// Encode builds an entry.
func (f Mock) Encode(e Entry, level uint8) uint64 {
	raw := mockPresent | uint64(e.OA) | uint64(e.Perm&(Read|Write))<<61 | uint64(e.Perm>>2&1)<<60
	if e.Accessed {
		raw |= mockA
	}
	if e.Kind == SubTable {
		return raw | uint64(level)<<mockNextShift
	}
	if e.Dirty {
		raw |= mockD
	}
	raw |= uint64(e.Attr) << mockAttrShift
	if e.Lg2 > 11+8*level {
		raw |= mockCoded<<mockNextShift | (1<<(e.Lg2-1)-1)&^(1<<11-1)
	}
	return raw
}

// SetDirty changes bit 6.
func (f Mock) SetDirty(raw uint64, _ uint8, dirty bool) uint64 {
	if dirty {
		return raw | mockD
	}
	return raw &^ mockD
}

// Significant keeps all that a walker looks at, but for the address of a link.
func (f Mock) Significant(raw uint64, _ uint8) uint64 {
	raw &= mockPresent | 15<<mockNextShift | mockAttrs | mockAddr | mockPerms
	if next := raw >> mockNextShift & 15; next != 0 && next != mockCoded {
		raw &^= mockAddr
	}
	return raw
}
