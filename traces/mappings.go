package traces

import (
	"cmp"
	"math"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Space names an address space: a requester and a PASID (emu.NoPASID for requests without one).
type Space struct {
	SID   emu.SourceID
	PASID emu.PASID
}

// Mapping is a range of an address space that translates.
type Mapping struct {
	IOVA  emu.IOVA
	Len   uint64 // bytes
	PA    emu.PA
	HasPA bool
	Perm  Perm

	// For those who derive mappings:
	ref   int    // index of the Map event
	start emu.PA // without PA: start of the page that holds the translations
}

func (m *Mapping) last() uint64 { return lastOf(uint64(m.IOVA), m.Len) }

// At translates an address inside the mapping; it means nothing without HasPA.
func (m *Mapping) At(iova emu.IOVA) emu.PA { return m.PA + emu.PA(iova-m.IOVA) }

// cut returns the part of m from first to last, both inclusive and inside.
func (m *Mapping) cut(first, last uint64) Mapping {
	c := *m
	if m.HasPA {
		c.PA = m.At(emu.IOVA(first))
	}
	c.IOVA, c.Len = emu.IOVA(first), last-first+1
	return c
}

// lastOf returns the last address of n > 0 bytes, at most the end of the address space.
func lastOf(start, n uint64) uint64 {
	if end := start + n - 1; end >= start {
		return end
	}
	return math.MaxUint64
}

// Mappings is the state that the Map and Unmap events of a trace build up: for each space its mappings,
// which do not overlap. The zero value is empty.
type Mappings struct {
	spaces map[Space][]Mapping // sorted by IOVA
}

// Apply follows one event. Only Map and Unmap of at least one byte change something. It reports whether
// a Map covered what was mapped already; the new mapping then replaces the old.
func (m *Mappings) Apply(e *Event) (replaced bool) {
	if e.Len == 0 {
		return false
	}
	s := Space{e.SID, e.PASID}
	switch e.Kind {
	case Map:
		replaced = m.Remove(s, e.IOVA, e.Len) != nil
		m.insert(s, Mapping{IOVA: e.IOVA, Len: lastOf(uint64(e.IOVA), e.Len) - uint64(e.IOVA) + 1, PA: e.PA, HasPA: e.HasPA, Perm: e.Perm})
	case Unmap:
		m.Remove(s, e.IOVA, e.Len)
	}
	return replaced
}

// Lookup returns the mapping that holds iova.
func (m *Mappings) Lookup(s Space, iova emu.IOVA) (Mapping, bool) {
	list := m.spaces[s]
	i := after(list, uint64(iova))
	if i < len(list) && list[i].IOVA <= iova {
		return list[i], true
	}
	return Mapping{}, false
}

// Allows reports whether every byte of a DMA event (one byte if its length is not known) is mapped
// with the permission it needs. Other events are always allowed.
func (m *Mappings) Allows(e *Event) bool {
	if !e.Kind.IsDMA() {
		return true
	}
	last := lastOf(uint64(e.IOVA), max(e.Len, 1))
	for at := uint64(e.IOVA); ; {
		mp, ok := m.Lookup(Space{e.SID, e.PASID}, emu.IOVA(at))
		if !ok || mp.Perm&e.Need() != e.Need() || mp.Perm == 0 {
			return false
		}
		if mp.last() >= last {
			return true
		}
		at = mp.last() + 1
	}
}

// Remove takes out what n > 0 bytes at iova hold, splitting mappings that reach beyond, and returns what
// was there.
func (m *Mappings) Remove(s Space, iova emu.IOVA, n uint64) []Mapping {
	list := m.spaces[s]
	first, last := uint64(iova), lastOf(uint64(iova), n)
	lo := after(list, first)
	hi := lo
	for hi < len(list) && uint64(list[hi].IOVA) <= last {
		hi++
	}
	if lo == hi {
		return nil
	}
	gone := slices.Clone(list[lo:hi])
	var keep []Mapping
	if a := &gone[0]; uint64(a.IOVA) < first {
		keep = append(keep, a.cut(uint64(a.IOVA), first-1))
		*a = a.cut(first, a.last())
	}
	if z := &gone[len(gone)-1]; z.last() > last {
		keep = append(keep, z.cut(last+1, z.last()))
		*z = z.cut(uint64(z.IOVA), last)
	}
	m.spaces[s] = slices.Replace(list, lo, hi, keep...)
	return gone
}

// overlapping returns the mappings that n > 0 bytes at iova touch, whole.
func (m *Mappings) overlapping(s Space, iova emu.IOVA, n uint64) []Mapping {
	list := m.spaces[s]
	lo, last := after(list, uint64(iova)), lastOf(uint64(iova), n)
	hi := lo
	for hi < len(list) && uint64(list[hi].IOVA) <= last {
		hi++
	}
	return slices.Clone(list[lo:hi])
}

func (m *Mappings) insert(s Space, mp Mapping) {
	if m.spaces == nil {
		m.spaces = make(map[Space][]Mapping)
	}
	list := m.spaces[s]
	m.spaces[s] = slices.Insert(list, after(list, uint64(mp.IOVA)), mp)
}

// grow adds to the permission of the mapping that starts at iova.
func (m *Mappings) grow(s Space, iova emu.IOVA, p Perm) {
	list := m.spaces[s]
	list[after(list, uint64(iova))].Perm |= p
}

// after returns the index of the first mapping that ends at addr or later.
func after(list []Mapping, addr uint64) int {
	i, _ := slices.BinarySearchFunc(list, addr, func(m Mapping, a uint64) int { return cmp.Compare(m.last(), a) })
	return i
}

// Spaces returns the spaces that were ever mapped, ordered by requester and PASID.
func (m *Mappings) Spaces() []Space {
	out := make([]Space, 0, len(m.spaces))
	for s := range m.spaces {
		out = append(out, s)
	}
	slices.SortFunc(out, compareSpaces)
	return out
}

func compareSpaces(a, b Space) int {
	return cmp.Or(cmp.Compare(a.SID, b.SID), cmp.Compare(a.PASID, b.PASID))
}

// Of returns the mappings of a space, ordered by IOVA. The caller does not change them.
func (m *Mappings) Of(s Space) []Mapping { return m.spaces[s] }
