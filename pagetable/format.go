package pagetable

// Format is one architecture's entries. Implementations are plain comparable values: two tables of
// equal formats may share subtables.
type Format interface {
	// Geometry describes the shape. It must not change.
	Geometry() Geometry
	// Decode interprets any 64-bit value as an entry of a table at level. It never panics.
	Decode(raw uint64, level uint8) Entry
	// Encode is the inverse of Decode for Leaf and SubTable entries.
	//
	// Preconditions: e.OA fits Geometry.OABits; a leaf's Lg2 belongs to level; Perm and Attr
	// are within Geometry.Perms and Geometry.Attrs.
	Encode(e Entry, level uint8) uint64
	// SetDirty returns raw, a leaf, with its dirty state changed.
	SetDirty(raw uint64, level uint8, dirty bool) uint64
	// Significant returns raw without the bits that do not take part in a format-exact
	// comparison: accessed, dirty, ignored and software bits, and the address in a table entry.
	Significant(raw uint64, level uint8) uint64
}

// Geometry is the shape of a format's tables.
type Geometry struct {
	Name      string // for messages
	Granule   uint8  // log2 of the smallest leaf
	Bits      uint8  // index bits of a table below the root; a table has 2^(Bits+3) bytes
	MinLevels uint8  // fewest levels
	MaxLevels uint8  // most levels, at most 8
	VABits    uint8  // width of the largest input address, at most 64
	OABits    uint8  // width of an output address
	PageSizes uint64 // bit n set: a leaf of 2^n bytes may be written
	Perms     Perm   // permissions that a leaf can hold
	Implied   Perm   // those of them that every leaf grants, whether asked for or not
	Attrs     Attr   // attributes that a leaf can hold
	// Dynamic: the root may be replaced by a table one level higher whose slot 0 links the old
	// one, while walkers run.
	Dynamic bool
	// Replicated: a leaf of several slots holds the same entry in each.
	Replicated bool
	// Dirty: hardware sets dirty bits.
	Dirty bool
	// DirtyIsWrite: the dirty state is part of the write permission. A leaf that nobody may
	// write to is never dirty, and cannot be marked so.
	DirtyIsWrite bool
	// Preset: new entries have their accessed bit set and new leaves that grant Write their dirty
	// bit, so that the walker never has to write to them.
	Preset bool
	// Canonical: the walker takes only sign-extended addresses. A table whose Config does not ask
	// for both halves has the lower one.
	Canonical bool
	// Upper: there may be a table of its own for the upper end of the 64-bit space (Config.Upper).
	Upper bool
	// TBI: the walker may ignore address bits 63:56 (Config.TBI).
	TBI bool
	// RootLg2 is log2 of the least size in bytes that a root of few entries is given; 0 is that of
	// any other table. The walker then takes a root that is aligned to its entries, and to
	// 2^RootAlign bytes.
	RootLg2, RootAlign uint8
	// RootBits is how many index bits a root has at least: a walker that tells the level of the root
	// from the width of the address does not begin above a single entry.
	RootBits uint8
	// Concat is how many address bits a root of several concatenated tables may add.
	Concat uint8
	// Pending is an ignored bit of table entries, or 0: software sets it from the moment a
	// table is linked until the link has been cleaned from the caches. It makes concurrent maps
	// safe for walkers that do not snoop: who meets the bit does the cleaning itself.
	Pending uint64
}

// maxLevels bounds the depth of every format, and so the size of a walk's state.
const maxLevels = 8

// shift is log2 of what one slot at level spans.
func (g *Geometry) shift(level uint8) uint8 { return g.Granule + g.Bits*level }

// levelOf is the level at which a leaf of 2^lg2 bytes lives.
func (g *Geometry) levelOf(lg2 uint8) uint8 { return (lg2 - g.Granule) / g.Bits }

// below is the level of the table that e, a link at level, leads to.
func (g *Geometry) below(e *Entry, level uint8) uint8 {
	if e.Lg2 == 0 {
		return level - 1
	}
	return g.levelOf(e.Lg2) - 1
}

// skips tells whether a link at level may lead to a table that translates 2^lg2 bytes: to any below
// the next.
func (g *Geometry) skips(lg2, level uint8) bool {
	next := g.levelOf(lg2)
	return next > 0 && next < level && lg2 == g.shift(next)
}

// reach is log2 of what the table that e links can translate. It is less than what the slot spans if
// the link skips levels: the rest of the slot is a hole.
func (g *Geometry) reach(e *Entry, level uint8) uint8 {
	if e.Lg2 == 0 {
		return g.shift(level)
	}
	return e.Lg2
}

// tableLg2 is log2 of the size in bytes of a table below the root.
func (g *Geometry) tableLg2() uint8 { return g.Bits + 3 }
