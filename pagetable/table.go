package pagetable

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// Table is one radix tree.
type Table struct {
	f     Format
	g     Geometry
	mem   Memory
	pages Pages
	cfg   Config

	root   emu.PA
	top    uint8  // level of the root
	vaBits uint8  // width of the present aperture
	sizes  uint64 // leaf sizes that fit the present aperture
}

// Config is what varies between tables of a format.
type Config struct {
	// Levels of the tree; 0 is the fewest that the format allows.
	Levels uint8
	// VABits narrows the aperture below what Levels give; or widens it, if the format allows a
	// root of several concatenated tables. 0 is the natural width: all that Levels give, or the
	// lower half of it if addresses have to be canonical and SignExtend is not set.
	VABits uint8
	// SignExtend makes the aperture two halves, at both ends of the 64-bit space.
	SignExtend bool
	// Upper makes the aperture the upper end of the 64-bit space: all bits above VABits are
	// ones. Only for formats with Geometry.Upper.
	Upper bool
	// TBI: the walker ignores address bits 63:56, so a page has 256 addresses. Lookup and SetDirty,
	// which do what a walker does, take any; everything else names a page by the one whose
	// bits 63:56 equal bit 55. Only for formats with Geometry.TBI.
	TBI bool
	// Incoherent: the walker does not snoop, so links are marked until they are cleaned from
	// the caches. See Geometry.Pending.
	Incoherent bool
	// Attr is what Map gives to new leaves.
	Attr Attr
	// OnTop makes the walker use a new root. It is called when a dynamic table grows, before the
	// table itself uses the root. No invalidation is needed: only holes were added.
	OnTop func(root emu.PA, levels uint8) error
}

// New returns an empty table.
//
// Errors: ErrGeometry, ErrNoMemory.
func New(f Format, mem Memory, pages Pages, cfg Config) (*Table, error) {
	t, err := prepare(f, mem, pages, cfg)
	if err != nil {
		return nil, err
	}
	if t.root, err = t.alloc(t.rootLg2()); err != nil {
		return nil, err
	}
	return t, nil
}

// Open takes over a tree that exists in memory: one of a capture, or one that another kernel has
// built. It reads nothing; call Check before trusting the tree. pages may be nil for a table that
// is only read.
//
// Errors: ErrGeometry.
func Open(f Format, mem Memory, pages Pages, root emu.PA, cfg Config) (*Table, error) {
	t, err := prepare(f, mem, pages, cfg)
	if err != nil {
		return nil, err
	}
	if uint64(root)&(uint64(1)<<t.rootAlign()-1) != 0 || uint64(root)>>t.g.OABits != 0 {
		return nil, fmt.Errorf("pagetable: %s: root %#x: %w", t.g.Name, uint64(root), ErrGeometry)
	}
	t.root = root
	return t, nil
}

func prepare(f Format, mem Memory, pages Pages, cfg Config) (*Table, error) {
	t := &Table{f: f, g: f.Geometry(), mem: mem, pages: pages, cfg: cfg}
	g := &t.g
	levels := cfg.Levels
	if levels == 0 {
		levels = g.MinLevels
	}
	if levels < max(g.MinLevels, 1) || levels > min(g.MaxLevels, maxLevels) {
		return nil, fmt.Errorf("pagetable: %s: %d levels, not %d..%d: %w",
			g.Name, levels, g.MinLevels, g.MaxLevels, ErrGeometry)
	}
	if g.Dynamic && (cfg.VABits != 0 || cfg.SignExtend) {
		return nil, fmt.Errorf("pagetable: %s: a root that grows has its natural width: %w", g.Name, ErrGeometry)
	}
	if cfg.Upper && (!g.Upper || cfg.SignExtend) {
		return nil, fmt.Errorf("pagetable: %s: no table of the upper addresses alone: %w", g.Name, ErrGeometry)
	}
	if cfg.TBI && !g.TBI {
		return nil, fmt.Errorf("pagetable: %s: the walker ignores no address bits: %w", g.Name, ErrGeometry)
	}
	if cfg.Attr&^g.Attrs != 0 {
		return nil, fmt.Errorf("pagetable: %s: attributes %#x: %w", g.Name, cfg.Attr, ErrGeometry)
	}
	t.setTop(levels - 1)
	// A root of one entry is in order for most: hardware may have no table with fewer levels.
	least, most := g.shift(t.top)+g.RootBits, min(t.vaBits+g.Concat, g.VABits, 64)
	if g.Canonical && cfg.SignExtend {
		least = t.vaBits // the walker takes the index of the upper half from all bits
	}
	if cfg.VABits != 0 {
		t.vaBits = cfg.VABits
		t.limitSizes()
	}
	if t.vaBits < least || t.vaBits > most {
		return nil, fmt.Errorf("pagetable: %s: %d address bits with %d levels, not %d..%d: %w",
			g.Name, t.vaBits, levels, least, most, ErrGeometry)
	}
	return t, nil
}

// setTop makes level the root's, with the natural width.
func (t *Table) setTop(level uint8) {
	t.top = level
	t.vaBits = min(t.g.shift(level+1), t.g.VABits, 64)
	if t.g.Canonical && !t.cfg.SignExtend {
		t.vaBits--
	}
	t.limitSizes()
}

// limitSizes keeps the leaf sizes below the whole aperture.
func (t *Table) limitSizes() {
	t.sizes = t.g.PageSizes & (uint64(1)<<min(t.vaBits, t.g.shift(t.top+1)) - 1)
}

// Root is what the walker has to be given: the address of the root and the number of levels.
func (t *Table) Root() (root emu.PA, levels uint8) { return t.root, t.top + 1 }

// Format returns the table's format.
func (t *Table) Format() Format { return t.f }

// entries is the number of slots of a table at level.
func (t *Table) entries(level uint8) uint64 {
	if level == t.top {
		return uint64(1) << (t.vaBits - t.g.shift(level))
	}
	return uint64(1) << t.g.Bits
}

// index is the slot of a table at level that translates iova.
func (t *Table) index(iova emu.IOVA, level uint8) uint64 {
	return uint64(iova) >> t.g.shift(level) & (t.entries(level) - 1)
}

// slot is the address of the entry that translates iova in table.
func (t *Table) slot(table emu.PA, level uint8, iova emu.IOVA) emu.PA {
	return table + emu.PA(t.index(iova, level)*8)
}

// reaches tells whether the table that e, a link at level, leads to translates iova.
func (t *Table) reaches(e *Entry, level uint8, iova emu.IOVA) bool {
	return e.Lg2 == 0 || uint64(iova)&(uint64(1)<<t.g.shift(level)-1)>>e.Lg2 == 0
}

// linkTo returns the entry at level that links the table next and grants everything.
func (t *Table) linkTo(next emu.PA, level uint8) uint64 {
	return t.f.Encode(Entry{Kind: SubTable, OA: next, State: State{Perm: t.g.Perms, Accessed: t.g.Preset}}, level)
}

// decode is Format.Decode, with leaves that do not fit the table refused.
func (t *Table) decode(raw uint64, level uint8) Entry {
	e := t.f.Decode(raw, level)
	switch e.Kind {
	case Leaf:
		above := t.g.shift(level + 1)
		if level == t.top {
			above = t.vaBits
			if !t.cfg.SignExtend {
				above++ // one leaf may be all there is
			}
		}
		if e.Lg2 < t.g.shift(level) || e.Lg2 >= above {
			e.Kind = Malformed
		}
	case SubTable:
		if level == 0 || e.Lg2 != 0 && !t.g.skips(e.Lg2, level) {
			e.Kind = Malformed
		}
	}
	return e
}

// rootLg2 is log2 of the size of the root in bytes.
func (t *Table) rootLg2() uint8 {
	least := t.g.tableLg2()
	if t.g.RootLg2 != 0 {
		least = min(least, t.g.RootLg2)
	}
	return max(least, t.vaBits-t.g.shift(t.top)+3)
}

// rootAlign is log2 of the alignment of a root that the walker takes.
func (t *Table) rootAlign() uint8 {
	if t.g.RootLg2 == 0 {
		return t.rootLg2()
	}
	return max(t.g.RootAlign, t.vaBits-t.g.shift(t.top)+3)
}

// alloc returns a zeroed page, cleaned from the caches.
func (t *Table) alloc(lg2 uint8) (emu.PA, error) {
	if t.pages == nil {
		return 0, fmt.Errorf("%w: the table was opened without pages", ErrNoMemory)
	}
	pa, err := t.pages.Alloc(lg2)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoMemory, err)
	}
	t.mem.Flush(pa, 1<<lg2)
	return pa, nil
}
