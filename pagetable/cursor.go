package pagetable

import "github.com/iommulab/iommulab/emu"

// frame is one table on the path of a cursor.
type frame struct {
	table       emu.PA
	first, last emu.IOVA // what the table translates
	perm        Perm     // what all links above grant
	sig         uint64   // significant bits of the link to it
}

// span is what a walker finds at an address: one leaf or one hole, with its whole extent.
type span struct {
	first, last emu.IOVA
	entry       Entry // Perm is the effective one
	raw         uint64
	slot        emu.PA // the leaf's first slot, or the slot of the hole
	slots       uint64
	level       uint8
}

// pa is the output address of iova, which lies in the span.
func (s *span) pa(iova emu.IOVA) emu.PA { return s.entry.OA + emu.PA(iova-s.first) }

// cursor walks a tree in ascending order and keeps the path, so that each table is entered once.
type cursor struct {
	t       *Table
	level   uint8 // of the lowest valid frame
	valid   bool
	moved   bool   // the path has changed since the flag was cleared
	reads   uint64 // entries read
	visited uint64 // tables entered
	path    [maxLevels]frame
}

// at returns what is at iova.
func (c *cursor) at(iova emu.IOVA) span {
	t := c.t
	if !c.reach(iova) {
		first, last, _ := t.region(iova)
		return span{first: first, last: last}
	}
	for {
		f := &c.path[c.level]
		shift := t.g.shift(c.level)
		slot := t.slot(f.table, c.level, iova)
		raw := t.mem.Load64(slot)
		c.reads++
		s := span{raw: raw, slot: slot, slots: 1, level: c.level}
		s.first = iova &^ (emu.IOVA(1)<<shift - 1)
		s.last = s.first | (emu.IOVA(1)<<shift - 1)
		if raw == 0 {
			return s // empty in every format
		}
		s.entry = t.decode(raw, c.level)
		switch s.entry.Kind {
		case SubTable:
			if s.entry.Lg2 != 0 && !c.skip(&s, iova) {
				return s
			}
			level := c.level
			c.level = t.g.below(&s.entry, level)
			c.path[c.level] = frame{
				table: s.entry.OA, first: s.first, last: s.last,
				perm: f.perm & s.entry.Perm, sig: t.f.Significant(raw, level),
			}
			c.moved = true
			c.visited++
			continue
		case Leaf:
			if s.entry.Lg2 > shift {
				c.widen(&s, shift)
			}
			s.entry.Perm &= f.perm
		}
		return s
	}
}

// skip cuts the span of a link that skips levels down to what the next table translates. It returns
// false, and makes s the hole behind that, if iova is not in it.
func (c *cursor) skip(s *span, iova emu.IOVA) bool {
	last := s.first | (emu.IOVA(1)<<s.entry.Lg2 - 1)
	if iova > last {
		s.first, s.entry = last+1, Entry{}
		return false
	}
	s.last = last
	for level := c.level - 1; level > c.t.g.below(&s.entry, c.level); level-- {
		c.path[level] = frame{first: 1} // holds no address
	}
	return true
}

// widen extends the span of a leaf's slot over all its slots, if they agree. If they do not, each is
// a span of its own, since a walker reads only the one it comes to.
func (c *cursor) widen(s *span, shift uint8) {
	t := c.t
	slots := uint64(1) << (s.entry.Lg2 - shift)
	mask := emu.IOVA(1)<<s.entry.Lg2 - 1
	base := s.slot - emu.PA(uint64(s.first&mask)>>shift*8)
	c.reads += slots - 1
	first := s.entry
	if !t.g.Replicated {
		first.OA -= emu.PA(s.first & mask)
	}
	e, whole := t.group(base, first, c.level, slots)
	if !whole {
		if t.g.Replicated {
			s.entry.OA += emu.PA(s.first & mask)
		}
		return
	}
	s.entry, s.slot, s.slots = e, base, slots
	s.first &^= mask
	s.last |= mask
	s.raw = t.mem.Load64(base)
}

// reach drops the part of the path that does not lead to iova. It returns false outside of the
// aperture.
func (c *cursor) reach(iova emu.IOVA) bool {
	for c.valid {
		if f := &c.path[c.level]; f.first <= iova && iova <= f.last {
			return true
		}
		if c.level == c.t.top {
			break
		}
		c.level++
	}
	first, last, inside := c.t.region(iova)
	if !inside {
		return false
	}
	c.level, c.valid, c.moved = c.t.top, true, true
	c.visited++
	c.path[c.level] = frame{table: c.t.root, first: first, last: last, perm: ^Perm(0)}
	return true
}

// slotStep is by how much the addresses in neighbouring slots of one leaf differ.
func (t *Table) slotStep(level uint8) emu.PA {
	if t.g.Replicated {
		return 0
	}
	return emu.PA(1) << t.g.shift(level)
}

// group reads the slots of a leaf that begins at slot with e. It returns the entry with the accessed and
// dirty bits of all slots, and whether all belong to this leaf.
func (t *Table) group(slot emu.PA, e Entry, level uint8, slots uint64) (Entry, bool) {
	if e.OA&(emu.PA(1)<<e.Lg2-1) != 0 {
		return e, false
	}
	step := t.slotStep(level)
	for i := range slots {
		o := t.decode(t.mem.Load64(slot+emu.PA(i*8)), level)
		if o.Kind != Leaf || o.OA != e.OA+step*emu.PA(i) || o.Lg2 != e.Lg2 || o.Perm != e.Perm || o.Attr != e.Attr {
			return e, false
		}
		e.Accessed = e.Accessed || o.Accessed
		e.Dirty = e.Dirty || o.Dirty
	}
	return e, true
}
