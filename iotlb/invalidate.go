package iotlb

import (
	"math"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// Invalidate implements emu.Cache; the package comment has the costs. MatchSource restricts
// nothing. An address range with First above Last is empty, the range of all addresses is no
// restriction.
func (c *Cache) Invalidate(s *emu.Selector) {
	m := s.Match
	classes := ^uint32(0)
	if m&emu.MatchClass != 0 {
		classes = s.Classes
	}
	if m&emu.MatchPASID != 0 && s.PASID > emu.MaxPASID && s.PASID != emu.NoPASID {
		return // no tag can carry it
	}
	pages := m&emu.MatchAddress != 0
	switch {
	case pages && s.First > s.Last:
		return
	case pages && s.First == 0 && s.Last == math.MaxUint64:
		pages = false
	}
	kinds := m&emu.MatchKind != 0
	switch {
	case pages && c.foreign:
		c.scan(s, classes) // a node does not tell the key of its entries
	case kinds && !pages:
		c.scan(s, classes) // nor the kinds
	case m&emu.MatchDomain != 0:
		c.dropDomain(s, classes, pages)
	case pages || m&emu.MatchPASID != 0:
		c.scan(s, classes)
	default:
		c.dropClasses(classes)
	}
}

// Drop drops the live entry behind a handle; a handle without one is ignored.
func (c *Cache) Drop(handle int32) {
	if _, _, _, ok := c.At(handle); ok {
		c.remove(handle)
	}
}

// remove empties the place of a live entry.
func (c *Cache) remove(h int32) {
	c.stats.Invalidated++
	c.vacate(h)
}

// vacate empties an occupied place.
func (c *Cache) vacate(h int32) {
	p, b := c.control(c.at(h))
	*p &^= 0xff << b
	c.release(c.entries[h].node)
	c.entries[h].key = vacant
}

// dropClasses drops whole classes by moving their generation on.
func (c *Cache) dropClasses(classes uint32) {
	for m := classes & c.classes; m != 0; m &= m - 1 {
		cl := uint8(bits.TrailingZeros32(m))
		if c.gens[cl] == math.MaxUint32 {
			c.wrap(emu.Class(cl))
			continue
		}
		c.gens[cl]++
		for s := c.sizes[cl]; s != 0; s &= s - 1 {
			lg2 := uint8(bits.TrailingZeros64(s))
			n := c.live[cl][lg2]
			c.dead += int(n)
			c.stats.Invalidated += uint64(n)
			c.count(cl, lg2, -n)
		}
	}
}

// wrap drops a class whose generations are used up: every place of the class is emptied, dropped
// entries included, so that no record is left to which an old generation could come back.
func (c *Cache) wrap(class emu.Class) {
	for set := 0; set <= int(c.mask); set++ {
		for k := 0; k < c.words; k++ {
			for occ := c.ctrl[set<<(c.lgWords&63)+k] & tops; occ != 0; occ &= occ - 1 {
				h := c.handle(set, k*8+lowestByte(occ))
				e := &c.entries[h]
				if e.key.class() != class {
					continue
				}
				if c.alive(e.node) {
					c.stats.Invalidated++
				}
				c.vacate(h)
			}
		}
	}
	c.gens[class] = 1
}

// dropDomain visits the groups of a domain.
func (c *Cache) dropDomain(s *emu.Selector, classes uint32, pages bool) {
	onePASID := s.Match&emu.MatchPASID != 0
	pasid := word(emu.MakeTag(0, 0, s.PASID))
	// Probing a page costs about as much as scanning four places.
	budget := uint64(len(c.entries)/4 + 16)
	for p := c.groupChain(s.Domain); *p != 0; {
		id := *p
		g := &c.groups[id]
		switch {
		case !c.groupAlive(g):
			*p, g.linked = g.next, false
			continue
		case g.key.domain() != s.Domain || !g.key.in(classes):
		case onePASID:
			if n := c.lookupNode(g.key | pasid); n == 0 {
			} else if !pages {
				c.dropNode(n)
			} else if !c.dropPages(n, s, &budget) {
				c.scan(s, classes)
				return
			}
		case pages:
			for n := g.first; n != 0; {
				next := c.nodes[n].gnext
				if !c.dropPages(n, s, &budget) {
					c.scan(s, classes)
					return
				}
				n = next
			}
		default:
			c.dropGroup(id)
		}
		if *p == id { // still linked
			p = &g.next
		}
	}
}

// dropPages drops the entries of a node that intersect the range, by probing for each page. It
// returns false if that would exceed the budget.
func (c *Cache) dropPages(id uint32, s *emu.Selector, budget *uint64) bool {
	w := c.nodes[id].key
	lg := w.lg2() & 63
	page, last := s.First>>lg, s.Last>>lg
	if last-page >= *budget {
		return false
	}
	*budget -= last - page + 1
	for left := c.nodes[id].refs; ; page++ {
		hash := c.hash(w.tag(), page)
		if h := c.locate(c.set(page, hash), w, page, hash); h >= 0 {
			if c.entries[h].isOf(s) {
				c.remove(h)
			}
			if left--; left == 0 {
				return true
			}
		}
		if page == last {
			return true
		}
	}
}

// scan drops the entries that match by looking at each.
func (c *Cache) scan(s *emu.Selector, classes uint32) {
	for set := 0; set <= int(c.mask); set++ {
		for k := 0; k < c.words; k++ {
			for occ := c.ctrl[set<<(c.lgWords&63)+k] & tops; occ != 0; occ &= occ - 1 {
				h := c.handle(set, k*8+lowestByte(occ))
				e := &c.entries[h]
				if c.alive(e.node) && c.matches(e, s, classes) {
					c.remove(h)
				}
			}
		}
	}
}

// isOf reports whether the kind of an entry is one that s selects.
func (e *entry) isOf(s *emu.Selector) bool {
	return s.Match&emu.MatchKind == 0 || s.Kinds>>e.kind&1 != 0
}

func (c *Cache) matches(e *entry, s *emu.Selector, classes uint32) bool {
	w := c.nodes[e.node].key
	if !w.in(classes) || !e.isOf(s) ||
		s.Match&emu.MatchDomain != 0 && w.domain() != s.Domain ||
		s.Match&emu.MatchPASID != 0 && w.pasid() != s.PASID {
		return false
	}
	if s.Match&emu.MatchAddress == 0 {
		return true
	}
	first, last := span(e.page, w.lg2())
	return first <= s.Last && last >= s.First
}
