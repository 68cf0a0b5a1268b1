package pagetable

import "github.com/iommulab/iommulab/emu"

// Gather collects what an invalidation has to cover, over any number of operations, and holds the
// table pages that left the tree. The order is: operations, invalidation of Range (a hint that only
// leaves changed is allowed if LeafOnly), wait for its completion, Release. The zero value is empty.
// A nil *Gather may be passed to every operation: then no table page leaves the tree, and the caller
// knows the range itself.
type Gather struct {
	first, last emu.IOVA
	dirty       bool
	nonLeaf     bool
	leafLevels  uint16
	tableLevels uint16
	pages       []gathered
}

type gathered struct {
	owner Pages
	pa    emu.PA
	lg2   uint8
}

// Range is the smallest range around everything to be invalidated; ok is false if nothing is.
func (g *Gather) Range() (first, last emu.IOVA, ok bool) { return g.first, g.last, g.dirty }

// LeafOnly tells that no entry that links a table was removed, replaced or put in a leaf's place, so
// that caches of such entries may be kept.
func (g *Gather) LeafOnly() bool { return !g.nonLeaf }

// Levels returns, as bitmaps of levels, where leaves and where links to tables changed.
func (g *Gather) Levels() (leaf, table uint16) { return g.leafLevels, g.tableLevels }

// Disjoint tells whether adding first..last would put addresses between it and Range into the
// range, that no operation touched. Who has to invalidate without gaps does so before adding.
func (g *Gather) Disjoint(first, last emu.IOVA) bool {
	if !g.dirty {
		return false
	}
	return first > g.last && first-1 > g.last || last < g.first && last+1 < g.first
}

// Pending is the number of table pages that wait for Release.
func (g *Gather) Pending() int { return len(g.pages) }

// Release frees the collected pages and empties the gather. Its memory is kept for the next use.
//
// Precondition: the invalidation of Range has completed.
func (g *Gather) Release() {
	for _, p := range g.pages {
		if p.owner != nil {
			p.owner.Free(p.pa, p.lg2)
		}
	}
	*g = Gather{pages: g.pages[:0]}
}

func (g *Gather) addRange(first, last emu.IOVA) {
	if !g.dirty {
		g.first, g.last, g.dirty = first, last, true
		return
	}
	g.first, g.last = min(g.first, first), max(g.last, last)
}

func (g *Gather) addLeaf(first, last emu.IOVA, level uint8) {
	g.addRange(first, last)
	g.leafLevels |= 1 << level
}

// addLink notes that a link at level changed.
func (g *Gather) addLink(first, last emu.IOVA, level uint8) {
	g.addRange(first, last)
	g.tableLevels |= 1 << level
	g.nonLeaf = true
}

func (g *Gather) addPage(owner Pages, pa emu.PA, lg2 uint8) {
	g.pages = append(g.pages, gathered{owner, pa, lg2})
}
