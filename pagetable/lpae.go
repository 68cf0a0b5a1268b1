package pagetable

import "github.com/iommulab/iommulab/emu"

// What the two stages of VMSAv8-64 share (Arm ARM D8.3; SMMUv3 walks the same tables): types of entries,
// where the address is, which sizes of leaves there are. Level 0 here is lookup level 3 there, level 4
// is lookup level -1.

const (
	lpaeValid   = 1 << 0
	lpaeTable   = 1 << 1 // of a link; of a page at level 0
	lpaeAF      = 1 << 10
	lpaeDBM     = 1 << 51
	lpaeCont    = 1 << 52
	lpaePending = 1 << 55 // 58:55 are left to software
	lpaeSH      = 3 << lpaeSHShift
	lpaeSHShift = 8
	lpaeLevels  = 5
)

// lpaeLeaf is a leaf at one level.
type lpaeLeaf struct {
	lg2 uint8 // log2 size; 0: there is none
	run uint8 // log2 of the slots that the contiguous hint joins; 0: it is ignored
	lpa bool  // only with addresses of 52 bits
}

// lpaeLeaves has the leaves by granule (4, 16, 64 KiB) and level.
var lpaeLeaves = [3][lpaeLevels]lpaeLeaf{
	{{lg2: 12, run: 4}, {lg2: 21, run: 4}, {lg2: 30, run: 4}, {lg2: 39, lpa: true}},
	{{lg2: 14, run: 7}, {lg2: 25, run: 5}, {lg2: 36, lpa: true}},
	{{lg2: 16, run: 5}, {lg2: 29, run: 5}, {lg2: 42, lpa: true}},
}

// lpae is the layout of a format: what is normalized of its options.
type lpae struct {
	granule uint8 // 12, 14 or 16
	oas     uint8 // log2 of the output addresses
	lpa     bool
}

// makeLPAE normalizes what a format was given.
func makeLPAE(granule, oas uint8, lpa bool) lpae {
	l := lpae{granule: 12, oas: 48, lpa: lpa}
	if granule == 14 || granule == 16 {
		l.granule = granule
	}
	if lpa {
		l.oas = 52
	}
	if oas != 0 {
		l.oas = min(l.oas, oas)
	}
	return l
}

// geometry is what both stages have in common.
func (l lpae) geometry(name string) Geometry {
	g := Geometry{
		Name: name, Granule: l.granule, Bits: l.granule - 3, MinLevels: 1, MaxLevels: 4, VABits: 48, OABits: l.oas,
		RootLg2: 12, RootAlign: 4, RootBits: 1, Pending: lpaePending,
	}
	if l.lpa {
		g.VABits = 52
	}
	if l.oas > 48 {
		g.RootAlign = 6
	}
	// As many levels as the input address needs.
	g.MaxLevels = (g.VABits - l.granule + g.Bits - 1) / g.Bits
	for level := range uint8(lpaeLevels) {
		if leaf := l.leaf(level); leaf.lg2 != 0 {
			g.PageSizes |= 1<<leaf.lg2 | 1<<(leaf.lg2+leaf.run)
		}
	}
	g.PageSizes &= uint64(1)<<l.oas - 1
	return g
}

// leaf returns the leaf at level.
func (l lpae) leaf(level uint8) lpaeLeaf {
	if level >= lpaeLevels {
		return lpaeLeaf{}
	}
	leaf := lpaeLeaves[(l.granule-12)/2][level]
	if leaf.lpa && !l.lpa {
		return lpaeLeaf{}
	}
	return leaf
}

// shared tells whether entries have room for the shareability. With addresses of 52 bits it is in the
// way, but for the largest granule.
func (l lpae) shared() bool { return !l.lpa || l.granule == 16 }

// addrMask is which bits of an entry hold address bits of the same number.
func (l lpae) addrMask() uint64 {
	top := uint8(48)
	if l.lpa && l.granule != 16 {
		top = 50
	}
	return uint64(1)<<top - uint64(1)<<l.granule
}

// addr returns the address in an entry, as far as it is beyond the granule.
func (l lpae) addr(raw uint64) uint64 {
	a := raw & l.addrMask()
	if l.lpa {
		if l.granule == 16 {
			a |= raw >> 12 & 15 << 48
		} else {
			a |= raw >> 8 & 3 << 50
		}
	}
	return a
}

// putAddr is the inverse of addr.
func (l lpae) putAddr(a uint64) uint64 {
	raw := a & l.addrMask()
	if l.lpa {
		if l.granule == 16 {
			raw |= a >> 48 & 15 << 12
		} else {
			raw |= a >> 50 & 3 << 8
		}
	}
	return raw
}

// decode finds kind, address and size of an entry. Bits below a leaf's size, nT among them, are ignored.
func (l lpae) decode(raw uint64, level uint8) (e Entry) {
	if raw&lpaeValid == 0 {
		return Entry{}
	}
	addr := l.addr(raw)
	if addr>>l.oas != 0 {
		return Entry{Kind: Malformed}
	}
	if level > 0 && raw&lpaeTable != 0 {
		return Entry{Kind: SubTable, OA: emu.PA(addr)}
	}
	leaf := l.leaf(level)
	if leaf.lg2 == 0 || level == 0 && raw&lpaeTable == 0 {
		return Entry{Kind: Malformed}
	}
	e.Kind, e.OA, e.Lg2 = Leaf, emu.PA(addr&^(uint64(1)<<leaf.lg2-1)), leaf.lg2
	if raw&lpaeCont != 0 {
		e.Lg2 += leaf.run
	}
	return e
}

// encode is the inverse of decode.
func (l lpae) encode(e *Entry, level uint8) uint64 {
	raw := lpaeValid | l.putAddr(uint64(e.OA))
	if e.Kind == SubTable || level == 0 {
		raw |= lpaeTable
	}
	if e.Kind == Leaf && e.Lg2 > l.granule+(l.granule-3)*level {
		raw |= lpaeCont
	}
	return raw
}

// significant keeps type, address and contiguous hint of a leaf, and of its other bits those in keep.
// Of a link it keeps the type.
func (l lpae) significant(raw uint64, level uint8, keep uint64) uint64 {
	const kind = lpaeValid | lpaeTable
	if level > 0 && raw&lpaeTable != 0 {
		return raw & kind
	}
	leaf := l.leaf(level)
	if leaf.lg2 == 0 {
		return raw
	}
	if leaf.run != 0 {
		keep |= lpaeCont
	}
	if l.shared() {
		keep |= lpaeSH
	}
	return raw&(kind|keep) | l.putAddr(l.addr(raw)&^(uint64(1)<<leaf.lg2-1))
}
