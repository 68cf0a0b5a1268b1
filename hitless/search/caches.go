package search

import (
	"encoding/binary"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// line is a line of a cache. Its address is that of the first byte that it covers.
type line struct {
	cache emu.CacheID
	lg2   uint8
	key   emu.Key
	owner uint32 // domain
	kind  uint32 // of a translation or a paging structure
	val   [4]uint64
}

// caches are what the caches can hold: sets of lines, by number.
type caches struct {
	has    [emu.NumCaches]bool // the unit has this one
	crowd  bool                // a line does not give way to another one for the same place
	lines  []line
	lineID map[line]int32
	sets   [][]int32 // each in ascending order
	setID  map[string]int32

	afterFill map[[2]int32]int32
	afterDrop map[drop]int32
}

// drop is an invalidation of a set.
type drop struct {
	set int32
	sel *emu.Selector
}

func newCaches(u emu.Unit, crowd bool) caches {
	c := caches{
		crowd:  crowd,
		lineID: map[line]int32{}, sets: [][]int32{nil}, setID: map[string]int32{"": 0},
		afterFill: map[[2]int32]int32{}, afterDrop: map[drop]int32{},
	}
	for id := range emu.NumCaches {
		c.has[id] = u.Cache(id) != nil
	}
	return c
}

// numbered reports whether a cache finds its lines by a number, not by an address that lies in a span.
func numbered(c emu.CacheID) bool {
	return c == emu.CacheEntry || c == emu.CachePASID || c == emu.CacheInterrupt
}

// set is the number of a set of lines in ascending order, which it takes over.
func (c *caches) set(list []int32) int32 {
	key := make([]byte, 0, 4*len(list))
	for _, l := range list {
		key = binary.LittleEndian.AppendUint32(key, uint32(l))
	}
	n, ok := c.setID[string(key)]
	if !ok {
		n = int32(len(c.sets))
		c.sets = append(c.sets, list)
		c.setID[string(key)] = n
	}
	return n
}

// kept are the lines of a set that f keeps.
func (c *caches) kept(set int32, f func(*line) bool) []int32 {
	var list []int32
	for _, l := range c.sets[set] {
		if f(&c.lines[l]) {
			list = append(list, l)
		}
	}
	return list
}

// filled is a set with what a question fills: a line for the same place gives way.
func (c *caches) filled(set int32, a *emu.Act) int32 {
	if !c.has[a.Cache] {
		return set
	}
	n := line{cache: a.Cache, lg2: a.Lg2, key: a.Key, owner: a.Key.Tag.Domain(), kind: a.Attr, val: a.Data}
	if numbered(a.Cache) {
		n.lg2, n.owner, n.kind = 0, a.Attr, 0
	}
	n.key.Addr &^= 1<<n.lg2 - 1
	id, ok := c.lineID[n]
	if !ok {
		id = int32(len(c.lines))
		c.lines = append(c.lines, n)
		c.lineID[n] = id
	}
	to, ok := c.afterFill[[2]int32{set, id}]
	if !ok {
		list := c.kept(set, func(o *line) bool {
			return *o != n && (c.crowd || o.cache != n.cache || o.key != n.key || o.lg2 != n.lg2)
		})
		list = append(list, id)
		slices.Sort(list)
		to = c.set(list)
		c.afterFill[[2]int32{set, id}] = to
	}
	return to
}

// without is a set that has lost a line.
func (c *caches) without(set, gone int32) int32 {
	return c.set(c.kept(set, func(o *line) bool { return o != &c.lines[gone] }))
}

// found are the lines of a set that a look-up could find, the one that it finds first: of several spans the
// smallest.
func (c *caches) found(set int32, a *emu.Act) (list []int32) {
	for _, id := range c.sets[set] {
		l := &c.lines[id]
		if l.cache == a.Cache && l.key.Tag == a.Key.Tag && l.key.Addr == a.Key.Addr&^(1<<l.lg2-1) {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b int32) int { return int(c.lines[a].lg2) - int(c.lines[b].lg2) })
	return list
}

// dropped is what an invalidation leaves of a set.
func (c *caches) dropped(set int32, sel *emu.Selector) int32 {
	to, ok := c.afterDrop[drop{set, sel}]
	if !ok {
		to = c.set(c.kept(set, func(l *line) bool { return !l.named(sel) }))
		c.afterDrop[drop{set, sel}] = to
	}
	return to
}

// named reports whether an invalidation names the line.
func (l *line) named(sel *emu.Selector) bool {
	on := func(m emu.Match) bool { return sel.Match&m != 0 }
	bySource := l.cache == emu.CacheEntry || l.cache == emu.CachePASID
	inSpan := !bySource
	last := l.key.Addr + (1<<l.lg2 - 1)
	return !on(emu.MatchType) && sel.Caches.Has(l.cache) &&
		(!on(emu.MatchDomain) || l.owner == sel.Domain) &&
		(!on(emu.MatchPASID) || l.key.Tag.PASID() == sel.PASID) &&
		(!on(emu.MatchClass) || sel.Classes>>l.key.Tag.Class()&1 != 0) &&
		(!on(emu.MatchKind) || numbered(l.cache) || sel.Kinds>>l.kind&1 != 0) &&
		(!on(emu.MatchSource) || !bySource || emu.SourceID(l.key.Addr)|sel.SourceMask == sel.Source|sel.SourceMask) &&
		(!on(emu.MatchAddress) || !inSpan || sel.First <= sel.Last && last >= sel.First && l.key.Addr <= sel.Last)
}
