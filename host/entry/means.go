package entry

import "slices"

// Means are what a plan may use besides the two contents. The zero value is nothing.
//
// An id that tags what hardware caches (Format.ID) stands in the way where it lies in one unit and
// the table pointer in another: old id with new pointer, or the reverse, would leave translations under
// an id whose other users have other tables. A way round is an id under which both may be found for
// a while. All such ids are flushed before the rewrite is complete.
type Means struct {
	// Temp is an id that no entry and no cache holds; 0 is none.
	Temp uint32
	// OldAlone: no other entry shares the cached translations of the old id, so that the new content
	// may be under it for a while.
	OldAlone bool
	// NewAlone: the same of the new id, for the old content.
	NewAlone bool
	// Alike marks bits that lead to the same translation whether they have their old or their new
	// value: pointers to tables that translate alike. All of them lie in one unit and change together.
	Alike []uint64
	// SameBelow: what caches can hold of what lies below the two contents (Format.Below) is the same.
	SameBelow bool
}

// side is a content that a rewrite may pass through.
type side struct {
	raw []uint64
	new bool // it translates as the new content does
}

// sides returns the contents that may be seen between old and new, the old one first, the new one
// last. Those in between are in the order of preference: the fewer ids to be flushed, the better.
//
// The bits of m.Alike go with the id: entries that share an id share tables. Each side but the ends may
// have the bits of Format.Apart as old has them, or as new has.
func (f *Format) sides(old, new []uint64, m Means) []side {
	list := f.ways(old, new, m)
	ends := [][]uint64{old, new}
	for _, s := range list {
		for _, e := range ends {
			raw := f.alike(s.raw, e, f.Apart)
			if !slices.ContainsFunc(list, func(o side) bool { return slices.Equal(o.raw, raw) }) {
				list = slices.Insert(list, len(list)-1, side{raw, s.new})
			}
		}
	}
	return list
}

// ways are the sides by ids and tables.
func (f *Format) ways(old, new []uint64, m Means) []side {
	list := []side{{old, false}}
	if !f.tagged(old) || !f.tagged(new) {
		return append(append(list, f.quiet(old, new)...), side{new, true})
	}
	a, b, t := f.ID.Get(old), f.ID.Get(new), uint64(m.Temp)
	move := f.alike(old, new, m.Alike) // old with the tables of new, where these are alike
	keep := f.alike(new, old, m.Alike)
	add := func(allowed bool, raw []uint64, id uint64, new bool) {
		raw = f.withID(raw, id)
		if allowed && !slices.ContainsFunc(list, func(s side) bool { return slices.Equal(s.raw, raw) }) {
			list = append(list, side{raw, new})
		}
	}
	add(m.OldAlone, keep, a, true)
	add(m.NewAlone, move, b, false)
	free := t != 0 && t != a && t != b
	add(free, old, t, false)
	add(free, new, t, true)
	add(free, move, t, false)
	add(free, keep, t, true)
	add(a == b, move, a, false)
	add(a == b, keep, a, true)
	add(m.OldAlone, move, a, false)
	add(m.NewAlone, keep, b, true)
	return append(list, side{new, true})
}

// tagged reports whether what caches make of raw has an id.
func (f *Format) tagged(raw []uint64) bool {
	return f.ID != 0 && f.Present(raw) && f.ID.Get(f.used(raw)) != 0
}

// withID returns raw with another id.
func (f *Format) withID(raw []uint64, id uint64) []uint64 {
	raw = slices.Clone(raw)
	f.ID.Set(raw, id)
	return raw
}

// alike returns raw with the bits of mask as other has them.
func (f *Format) alike(raw, other, mask []uint64) []uint64 {
	raw = slices.Clone(raw)
	for i := range min(len(mask), len(raw)) {
		raw[i] = raw[i]&^mask[i] | other[i]&mask[i]
	}
	return raw
}

// below is Below, or nil.
func (f *Format) below(raw, other []uint64) []uint64 {
	if f.Below == nil {
		return nil
	}
	return f.Below(raw, other)
}

// passes reports whether hardware that finds one of two contents, and in a cache what lies below the
// other, acts by something allowed.
func (f *Format) passes(sides []side, a, b []uint64) bool {
	for _, m := range [][]uint64{f.below(a, b), f.below(b, a)} {
		if m != nil && !allowed(f, sides, m) {
			return false
		}
	}
	return f.crosses(sides, a, b)
}

// crosses reports the same of translations that the other has made.
func (f *Format) crosses(sides []side, a, b []uint64) bool {
	if f.Across == nil {
		return true
	}
	for _, m := range [][]uint64{f.Across(a, b), f.Across(b, a)} {
		if m != nil && !allowed(f, sides, m) {
			return false
		}
	}
	return true
}

// filled is what the entry holds before the store that turns old into new, or behind it: all other units have
// been filled.
func (f *Format) filled(old, new []uint64, stored bool) []uint64 {
	raw := f.fill(old, new)
	for _, u := range f.critical(old, new) {
		copy(f.unit(raw, u), f.unit(old, u))
		if stored {
			copy(f.unit(raw, u), f.unit(new, u))
		}
	}
	return raw
}

// path returns the shortest way from the first side to the last in which each hop changes, of the bits
// in use, one unit only, and passes. Nil: there is none.
func (f *Format) path(sides []side) []side {
	from := make([]int, len(sides))
	for i := range from {
		from[i] = -1
	}
	last := len(sides) - 1
	from[0] = 0
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for to := range sides {
			if from[to] >= 0 || f.clash(sides[at].raw, sides[to].raw) != "" || len(f.critical(sides[at].raw, sides[to].raw)) > 1 ||
				!f.passes(sides, f.filled(sides[at].raw, sides[to].raw, false), f.filled(sides[at].raw, sides[to].raw, true)) {
				continue
			}
			from[to] = at
			if to == last {
				var way []side
				for ; to != 0; to = from[to] {
					way = append(way, sides[to])
				}
				slices.Reverse(way)
				return way
			}
			queue = append(queue, to)
		}
	}
	return nil
}
