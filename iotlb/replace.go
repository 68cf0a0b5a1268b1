package iotlb

import "math/bits"

// path is what a use of a way does to the tree of its set: the nodes on the way to it point to
// their other side. The tree of a set with W ways has W-1 inner nodes, numbered from 1 as in a
// heap: the children of n are 2n and 2n+1, the leaves W to 2W-1 are the ways. Bit n-1 of the word
// of a set is the side that node n points to, 1 the right.
type path struct{ nodes, right uint64 }

func makePaths(ways int) []path {
	paths := make([]path, ways)
	for way := range paths {
		for n := ways + way; n > 1; n >>= 1 {
			bit := uint64(1) << (n>>1 - 1)
			paths[way].nodes |= bit
			if n&1 == 0 {
				paths[way].right |= bit
			}
		}
	}
	return paths
}

// used tells the policy that an entry was hit or replaced in place. LRU and TreePLRU care.
func (c *Cache) used(h int32) {
	if c.policy <= TreePLRU {
		c.newest(h)
	}
}

// newest makes an entry the last of its set to go.
func (c *Cache) newest(h int32) {
	if c.policy != TreePLRU {
		c.tick++
		c.entries[h].age = c.tick
		return
	}
	set, way := c.at(h)
	p := &c.paths[way]
	c.tree[set] = c.tree[set]&^p.nodes | p.right
}

// victim returns the way of a set that a new entry takes, and whether an entry, live or dropped,
// is there now.
func (c *Cache) victim(set int) (way int, occupied bool) {
	if c.dead != 0 {
		if w, occ, ok := c.invalidWay(set); ok {
			return w, occ
		}
	} else if c.words == 1 {
		// The lowest zero byte is always reported truly.
		if free := match(c.ctrl[set], 0); free != 0 {
			return lowestByte(free), false
		}
	} else if w := c.emptyWay(set); w >= 0 {
		return w, false
	}
	switch c.policy {
	case Random:
		return c.draw(), true
	case TreePLRU:
		return c.pointed(set), true
	}
	h := set << (c.lgWays & 63)
	places := c.entries[h : h+c.ways]
	for w := 1; w < len(places); w++ {
		if places[w].age < places[way].age {
			way = w
		}
	}
	return way, true
}

// emptyWay returns the lowest empty way of a set, or -1.
func (c *Cache) emptyWay(set int) int {
	for k, ctrl := range c.ctrl[set<<(c.lgWords&63):][:c.words] {
		if free := match(ctrl, 0); free != 0 {
			return k*8 + lowestByte(free)
		}
	}
	return -1
}

// invalidWay returns the lowest way that is empty or holds a dropped entry.
func (c *Cache) invalidWay(set int) (way int, occupied, ok bool) {
	for w := 0; w < c.ways; w++ {
		if p, b := c.control(set, w); *p>>b&0x80 == 0 {
			return w, false, true
		}
		if !c.alive(c.entries[c.handle(set, w)].node) {
			return w, true, true
		}
	}
	return 0, false, false
}

// pointed follows the tree of a set to a way.
func (c *Cache) pointed(set int) int {
	n := uint(1)
	for n < uint(c.ways) {
		n = n<<1 | uint(c.tree[set]>>(n-1)&1)
	}
	return int(n) - c.ways
}

// draw takes a way from the random stream (splitmix64).
func (c *Cache) draw() int {
	c.rand += 0x9e37_79b9_7f4a_7c15
	z := c.rand
	z = (z ^ z>>30) * 0xbf58_476d_1ce4_e5b9
	z = (z ^ z>>27) * 0x94d0_49bb_1331_11eb
	hi, _ := bits.Mul64(z^z>>31, uint64(c.ways))
	return int(hi)
}
