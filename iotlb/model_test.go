package iotlb

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// model is a cache by brute force: a slot per way, every look-up and every invalidation looks at
// all of them. Only the number of the set comes from the cache under test.
type model struct {
	g     Geometry
	setOf func(tag emu.Tag, page uint64) int
	sets  []modelSet
	rand  uint64
	stats emu.CacheStats
}

type modelSet struct {
	slots []*modelEntry
	order []int  // LRU, FIFO: ways, oldest first
	tree  []bool // TreePLRU: node i has children 2i+1 and 2i+2; true points right
}

type modelEntry struct {
	tag    emu.Tag
	page   uint64
	lg2    uint8
	domain uint32
	kind   uint8
	val    [4]uint64
}

func newModel(c *Cache) *model {
	m := &model{g: c.geom, rand: c.geom.Seed}
	m.setOf = func(tag emu.Tag, page uint64) int {
		return c.set(page, c.hash(uint64(tag), page))
	}
	m.reset()
	return m
}

func (m *model) reset() {
	m.sets = make([]modelSet, m.g.Sets)
	for i := range m.sets {
		m.sets[i] = modelSet{slots: make([]*modelEntry, m.g.Ways), tree: make([]bool, m.g.Ways)}
	}
	m.rand = m.g.Seed
}

func (e *modelEntry) span() (first, last uint64) {
	first = e.page << e.lg2
	return first, first + (1<<e.lg2 - 1)
}

func (m *model) each(f func(s *modelSet, way int, e *modelEntry)) {
	for i := range m.sets {
		for w, e := range m.sets[i].slots {
			if e != nil {
				f(&m.sets[i], w, e)
			}
		}
	}
}

func (m *model) probe(key emu.Key, val *[4]uint64) bool {
	m.stats.Lookups++
	var set *modelSet
	var way int
	var best *modelEntry
	m.each(func(s *modelSet, w int, e *modelEntry) {
		first, last := e.span()
		if e.tag == key.Tag && first <= key.Addr && key.Addr <= last && (best == nil || e.lg2 < best.lg2) {
			set, way, best = s, w, e
		}
	})
	if best == nil {
		return false
	}
	m.stats.Hits++
	*val = best.val
	m.use(set, way, false)
	return true
}

func (m *model) use(s *modelSet, way int, fill bool) {
	switch m.g.Policy {
	case LRU, FIFO:
		if m.g.Policy == FIFO && !fill {
			return
		}
		s.order = slices.DeleteFunc(s.order, func(w int) bool { return w == way })
		s.order = append(s.order, way)
	case TreePLRU:
		node, lo, hi := 0, 0, m.g.Ways
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			if left := way < mid; left {
				s.tree[node], node, hi = true, 2*node+1, mid
			} else {
				s.tree[node], node, lo = false, 2*node+2, mid
			}
		}
	}
}

func (m *model) victim(s *modelSet) int {
	switch m.g.Policy {
	case LRU, FIFO:
		return s.order[0]
	case TreePLRU:
		node, lo, hi := 0, 0, m.g.Ways
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			if s.tree[node] {
				node, lo = 2*node+2, mid
			} else {
				node, hi = 2*node+1, mid
			}
		}
		return lo
	}
	m.rand += 0x9e3779b97f4a7c15
	z := m.rand
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	hi, _ := bits.Mul64(z, uint64(m.g.Ways))
	return int(hi)
}

func (m *model) fill(key emu.Key, lg2 uint8, domain uint32, kind uint8, val [4]uint64) {
	m.stats.Fills++
	n := &modelEntry{key.Tag, key.Addr >> lg2, lg2, domain, kind, val}
	s := &m.sets[m.setOf(n.tag, n.page)]
	way := -1
	for w, e := range s.slots {
		if e != nil && e.tag == n.tag && e.page == n.page && e.lg2 == n.lg2 {
			s.slots[w] = n
			m.use(s, w, false)
			return
		}
		if e == nil && way < 0 {
			way = w
		}
	}
	if way < 0 {
		way = m.victim(s)
		m.stats.Evictions++
	}
	s.slots[way] = n
	m.use(s, way, true)
}

func (m *model) invalidate(s *emu.Selector) {
	m.each(func(set *modelSet, w int, e *modelEntry) {
		first, last := e.span()
		if s.Match&emu.MatchDomain != 0 && e.domain != s.Domain ||
			s.Match&emu.MatchPASID != 0 && e.tag.PASID() != s.PASID ||
			s.Match&emu.MatchKind != 0 && s.Kinds>>e.kind&1 == 0 ||
			s.Match&emu.MatchClass != 0 && s.Classes>>e.tag.Class()&1 == 0 ||
			s.Match&emu.MatchAddress != 0 && (s.First > s.Last || first > s.Last || last < s.First) {
			return
		}
		m.stats.Invalidated++
		set.slots[w] = nil
		set.order = slices.DeleteFunc(set.order, func(o int) bool { return o == w })
	})
}

// diff says where the cache and the model differ, or nothing.
func (m *model) diff(c *Cache) string {
	if m.stats != c.Stats() {
		return fmt.Sprintf("statistics %+v, want %+v", c.Stats(), m.stats)
	}
	n := 0
	for h := range c.Places() {
		set, way := c.at(int32(h))
		if way >= c.ways {
			continue
		}
		want := m.sets[set].slots[way]
		key, lg2, domain, ok := c.At(int32(h))
		if ok != (want != nil) {
			return fmt.Sprintf("place %d: present %v, want %v", h, ok, want != nil)
		}
		if !ok {
			continue
		}
		n++
		got := modelEntry{key.Tag, key.Addr >> lg2, lg2, domain, c.entries[h].kind, c.Value(int32(h))}
		if got != *want {
			return fmt.Sprintf("place %d: %+v, want %+v", h, got, *want)
		}
	}
	if n != c.Len() {
		return fmt.Sprintf("length %d, want %d", c.Len(), n)
	}
	return ""
}

// broken checks the bookkeeping of nodes and groups against the entries and says what is wrong.
func (c *Cache) broken() string {
	refs := map[uint32]uint32{}
	dead := 0
	var live [numClasses][64]uint32
	for h := range c.entries {
		if p, b := c.control(c.at(int32(h))); *p>>b&0x80 == 0 {
			continue
		}
		e := &c.entries[h]
		refs[e.node]++
		if !c.alive(e.node) {
			dead++
		} else {
			live[e.key.class()][e.key.lg2()]++
		}
	}
	if dead != c.dead || live != c.live {
		return fmt.Sprintf("%d dead, want %d; or counts differ", c.dead, dead)
	}
	for cl := range live {
		var sizes uint64
		for l, n := range live[cl] {
			if n != 0 {
				sizes |= 1 << l
			}
		}
		if sizes != c.sizes[cl] || (sizes != 0) != (c.classes>>cl&1 != 0) {
			return fmt.Sprintf("class %d has sizes %#x, want %#x", cl, c.sizes[cl], sizes)
		}
	}
	groups := map[uint32]uint32{}
	inUse := map[uint32]bool{}
	for id, n := range refs {
		if id == 0 || c.nodes[id].refs != n {
			return fmt.Sprintf("node %d has %d references, want %d", id, c.nodes[id].refs, n)
		}
		if c.alive(id) {
			groups[c.nodes[id].group] += n
			if c.lookupNode(c.nodes[id].key) != id {
				return fmt.Sprintf("node %d is not found", id)
			}
		}
		if g := c.nodes[id].group; g != 0 {
			inUse[g] = true
		}
	}
	for id, n := range groups {
		if c.groups[id].live != n {
			return fmt.Sprintf("group %d has %d live, want %d", id, c.groups[id].live, n)
		}
		if c.groupOf(c.groups[id].key) != id {
			return fmt.Sprintf("group %d is not found", id)
		}
	}
	freeN, freeG := 0, 0
	for id := c.freeNode; id != 0; id = c.nodes[id].next {
		freeN++
	}
	for id := c.freeGroup; id != 0; id = c.groups[id].next {
		freeG++
	}
	if freeN+len(refs)+1 != len(c.nodes) || freeG+len(inUse)+1 != len(c.groups) {
		return fmt.Sprintf("%d nodes and %d groups leaked",
			len(c.nodes)-1-len(refs)-freeN, len(c.groups)-1-len(inUse)-freeG)
	}
	return ""
}
