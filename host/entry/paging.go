package entry

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// Paging is what an entry of a page table has besides what all entries have: its content is a single word,
// what caches make of it are translations, several entries in a row may be one leaf, and hardware may mark it.
type Paging struct {
	// Span is log2 of the bytes of input addresses that one entry covers.
	Span uint8
	// Shape takes a content apart.
	Shape func(raw uint64) Shape
	// Clean returns the bits that hardware changes when it marks a leaf as dirty: 0 if it does not, or
	// need not any more.
	Clean func(raw uint64) uint64
	// Clash says why hardware must not find b while caches hold what was made of a; "" if it may.
	// alike: the two contents translate to the same pages. Nil: any two may meet.
	Clash func(a, b *Shape, alike bool) string
	// Quiet returns a block as one that caches keep in no way that conflicts with other sizes, and false if
	// there is no such form. Nil: there is none.
	Quiet func(raw uint64) (uint64, bool)
	// Tracked: Linux 7.3 reads and clears dirty flags of these tables in place.
	Tracked bool
	// Entry returns the content of entry i of a row of which raw is the first.
	Entry func(raw uint64, i int) uint64

	alike bool
}

// ShapeKind is what an entry of a page table is.
type ShapeKind uint8

// The kinds.
const (
	Absent ShapeKind = iota // requests fault
	Table                   // it points to a table
	Leaf                    // it maps a page or a block
)

// Shape is what hardware makes of an entry of a page table.
type Shape struct {
	Kind   ShapeKind
	Addr   uint64 // of the table, or of the page
	Lg2    uint8  // log2 of the bytes that a leaf maps, with the entries that belong to it
	Run    int    // entries that belong to a leaf; 1 or a power of two
	Type   uint64 // bits for the memory type, as they lie in the entry
	Write  bool   // a leaf may be written to
	Dirty  bool   // a leaf is marked as dirty
	Global bool   // a leaf is not private to an address space
	Quiet  bool   // a block is kept in no way that conflicts (Paging.Quiet)
}

// ErrRun: a row of entries is not one that can be rewritten in one go.
var ErrRun = errors.New("row of entries")

// Entries is how many entries a rewrite from old to new concerns.
func (p *Paging) Entries(old, new uint64) int {
	a, b := p.Shape(old), p.Shape(new)
	return max(a.Run, b.Run, 1)
}

// Lg2 is log2 of the bytes that a rewrite from old to new concerns.
func (p *Paging) Lg2(old, new uint64) uint8 {
	lg2 := p.Span
	for n := p.Entries(old, new); n > 1; n /= 2 {
		lg2++
	}
	return lg2
}

// Loses reports whether a plain store of new over old can lose a mark that hardware makes between the moment
// when software read the entry and the store: the page of old may then be dirty, and nothing says so.
func (p *Paging) Loses(old, new uint64) bool {
	if p == nil || p.Clean(old) == 0 {
		return false
	}
	a, b := p.Shape(old), p.Shape(new)
	return b.Kind != Leaf || !b.Dirty || a.Addr != b.Addr || a.Lg2 != b.Lg2
}

// clash is Clash of two contents of an entry.
func (f *Format) clash(a, b []uint64) string {
	p := f.Paging
	if p == nil || p.Clash == nil {
		return ""
	}
	x, y := p.Shape(a[0]), p.Shape(b[0])
	if x.Kind == Absent || y.Kind == Absent {
		return ""
	}
	return p.Clash(&x, &y, p.alike)
}

// with returns the format as it is for contents that differ in nothing but what m calls alike.
func (f *Format) with(old, new []uint64, m Means) *Format {
	if f.Paging == nil || len(m.Alike) == 0 || (old[0]^new[0])&^m.Alike[0] != 0 {
		return f
	}
	p, g := *f.Paging, *f
	p.alike = true
	g.Paging = &p
	return &g
}

// quiet returns the forms that a change of size may pass through: those of the block that caches do not
// keep.
func (f *Format) quiet(old, new []uint64) (list []side) {
	if f.Paging == nil || f.Paging.Quiet == nil {
		return nil
	}
	for i, raw := range [][]uint64{old, new} {
		if q, ok := f.Paging.Quiet(raw[0]); ok && q != raw[0] {
			list = append(list, side{[]uint64{q}, i == 1})
		}
	}
	return list
}

// loses reports whether a plain store of the word v loses a mark.
func (b *builder) loses(v uint64) bool { return b.f.Paging.Loses(b.cur[0], v) }

// lossy reports whether some plain store of the steps can lose a mark.
func (b *builder) lossy() bool {
	cur := b.sides[0].raw[0]
	for i, s := range b.steps {
		if s.Op != OpStore {
			continue
		}
		if !s.Swap && b.f.Paging.Loses(cur, s.Value[0]) {
			return true
		}
		cur = b.states[i][0]
	}
	return false
}

const (
	lossy     = "a plain store loses the dirty flag that hardware may set meanwhile"
	breakMake = "break-before-make: "
)

// linuxPTE clears an entry, waits until nothing is left of it, and sets it up: unmap and map. Only dirty flags
// are cleared in place, where Linux tracks them.
func linuxPTE(b *builder) {
	p, new := b.f.Paging, b.new()
	x, y := p.Shape(b.cur[0]), p.Shape(new[0])
	if p.Tracked && x.Dirty && !y.Dirty {
		y.Dirty = true
		if x == y {
			b.word(0, new[0], false)
			b.sync(OpSyncAll)
			return
		}
	}
	if x.Kind != Absent {
		b.word(0, 0, false)
		b.sync(OpSyncAll)
	}
	b.word(0, new[0], false)
}

// swap stores a word where hardware may mark the entry at the same time: by compare-and-swap, as often as it
// takes. What hardware has set is noted.
func (r *run) swap(pa emu.PA, was, v uint64) error {
	p := r.t.Format.Paging
	for !r.t.CPU.CAS64(pa, was, v) {
		now := r.t.CPU.Load64(pa)
		a, b := p.Shape(was), p.Shape(now)
		b.Dirty = a.Dirty
		if a != b {
			return fmt.Errorf("entry: %s at %#x: %w", r.t.Format.Name, uint64(pa), ErrChanged)
		}
		r.rep.Marked |= now ^ was
		was = now
	}
	return nil
}

// pagingFormat makes the format of an entry of a page table. Not present: none of the bits in present.
func pagingFormat(name string, p *Paging, present uint64, used func(raw uint64) uint64, legal func(raw uint64) error,
	fields func(mask []uint64) []string,
) *Format {
	if p.Entry == nil {
		p.Entry = p.entry
	}
	return &Format{
		Name: name, Words: 1, Unit: 8, Handshake: true, Paging: p, linux: linuxPTE, Fields: fields,
		Present: func(raw []uint64) bool { return p.Shape(raw[0]).Kind != Absent },
		Block:   func(raw []uint64) { raw[0] = 0 },
		Used: func(raw, mask []uint64) {
			mask[0] = present
			if raw[0]&present != 0 {
				mask[0] = used(raw[0])
			}
		},
		Legal: func(raw []uint64) error {
			if raw[0]&present == 0 {
				return nil
			}
			return legal(raw[0])
		},
	}
}

// entry is the content of entry i where a leaf that takes one entry goes on, in the next one, with the next
// page; a table with the table behind it.
func (p *Paging) entry(raw uint64, i int) uint64 {
	switch s := p.Shape(raw); s.Kind {
	case Table:
		return raw + uint64(i)<<emu.PageShift
	case Leaf:
		return raw + uint64(i/s.Run*s.Run)<<p.Span
	}
	return raw
}
