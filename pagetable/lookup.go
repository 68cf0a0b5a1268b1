package pagetable

import (
	"iter"

	"github.com/iommulab/iommulab/emu"
)

// Translation is what a walker finds for one address.
type Translation struct {
	PA   emu.PA // where the address goes
	Lg2  uint8  // log2 size of the leaf
	Perm Perm   // effective permissions, and-ed over the levels
	Attr Attr   // attributes of the leaf
}

// Lookup translates one address. It reads the slots that a walker would read and no other.
func (t *Table) Lookup(iova emu.IOVA) (tr Translation, found bool) {
	iova = t.untagged(iova)
	if _, _, inside := t.region(iova); !inside {
		return tr, false
	}
	table, perm := t.root, ^Perm(0)
	for level := t.top; ; {
		e := t.decode(t.mem.Load64(t.slot(table, level, iova)), level)
		switch e.Kind {
		case SubTable:
			if !t.reaches(&e, level, iova) {
				return tr, false
			}
			table = e.OA
			perm &= e.Perm
			level = t.g.below(&e, level)
		case Leaf:
			lg2 := e.Lg2
			if !t.g.Replicated {
				lg2 = t.g.shift(level) // each slot has its own address
			}
			off := emu.PA(iova) & (emu.PA(1)<<lg2 - 1)
			return Translation{PA: e.OA + off, Lg2: e.Lg2, Perm: perm & e.Perm, Attr: e.Attr}, true
		default:
			return tr, false
		}
	}
}

// untagged is the address that names the page that the walker finds at iova.
func (t *Table) untagged(iova emu.IOVA) emu.IOVA {
	if t.cfg.TBI {
		return emu.IOVA(int64(iova<<8) >> 8)
	}
	return iova
}

// Mapping is one leaf of a tree.
type Mapping struct {
	IOVA            emu.IOVA // first address
	PA              emu.PA   // where it goes
	Lg2             uint8    // log2 size
	Level           uint8    // of its table
	Perm            Perm     // effective permissions, and-ed over the levels
	Attr            Attr
	Accessed, Dirty bool   // of any of its slots
	Slot            emu.PA // address of its first entry
	Raw             uint64 // value of that entry
}

// Last is the last address of the mapping.
func (m *Mapping) Last() emu.IOVA { return m.IOVA | (emu.IOVA(1)<<m.Lg2 - 1) }

// Leaves yields the leaves that touch first..last in ascending order, each as a whole. It passes over
// malformed entries, which Check reports. The tree may be changed behind the last leaf yielded.
func (t *Table) Leaves(first, last emu.IOVA) iter.Seq[Mapping] {
	return func(yield func(Mapping) bool) {
		c := cursor{t: t}
		for at := first; at <= last; {
			s := c.at(at)
			if s.entry.Kind == Leaf && !yield(s.mapping()) {
				return
			}
			if s.last >= last {
				return
			}
			at = s.last + 1
		}
	}
}

func (s *span) mapping() Mapping {
	e := &s.entry
	return Mapping{
		IOVA: s.first, PA: e.OA, Lg2: e.Lg2, Level: s.level, Perm: e.Perm, Attr: e.Attr,
		Accessed: e.Accessed, Dirty: e.Dirty, Slot: s.slot, Raw: s.raw,
	}
}
