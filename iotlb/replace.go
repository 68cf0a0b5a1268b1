package iotlb

import "math/bits"

// used tells the policy that an entry was hit or replaced in place.
func (c *Cache) used(h int32) {
	switch c.policy {
	case LRU:
		c.tick++
		c.age[h] = c.tick
	case TreePLRU:
		c.pointAway(h)
	}
}

// filled tells the policy that an entry is new.
func (c *Cache) filled(h int32) {
	if c.policy == FIFO {
		c.tick++
		c.age[h] = c.tick
		return
	}
	c.used(h)
}

// victim returns the way of a set that a new entry takes, and whether an entry, live or dropped,
// is there now.
func (c *Cache) victim(set int) (way int, occupied bool) {
	if c.dead != 0 {
		if w, occ, ok := c.invalidWay(set); ok {
			return w, occ
		}
	} else {
		for k := 0; k < c.words; k++ {
			// The lowest zero byte is always reported truly.
			if free := match(c.ctrl[set*c.words+k], 0); free != 0 {
				return k*8 + bits.TrailingZeros64(free)>>3, false
			}
		}
	}
	switch c.policy {
	case TreePLRU:
		return c.pointed(set), true
	case Random:
		return c.draw(), true
	}
	ages := c.age[set*c.ways : (set+1)*c.ways]
	oldest := ages[0]
	for w, a := range ages {
		if a < oldest {
			way, oldest = w, a
		}
	}
	return way, true
}

// invalidWay returns the lowest way that is empty or holds a dropped entry.
func (c *Cache) invalidWay(set int) (way int, occupied, ok bool) {
	for w := 0; w < c.ways; w++ {
		if c.ctrl[set*c.words+w>>3]>>(uint(w&7)*8)&0x80 == 0 {
			return w, false, true
		}
		if !c.alive(c.entries[set*c.ways+w].node) {
			return w, true, true
		}
	}
	return 0, false, false
}

// The tree of a set with W ways has W-1 inner nodes, numbered from 1 as in a heap: the children of
// n are 2n and 2n+1, the leaves W to 2W-1 are the ways. Bit n-1 is the side that node n points to.

// pointAway makes every node on the path to an entry point to its other side.
func (c *Cache) pointAway(h int32) {
	// Ways is a power of two under this policy.
	lgWays := uint(bits.TrailingZeros(uint(c.ways)))
	t := &c.tree[h>>lgWays]
	for n := uint(c.ways) + uint(h)&uint(c.ways-1); n > 1; n >>= 1 {
		bit := uint64(1) << (n>>1 - 1)
		if n&1 == 0 {
			*t |= bit
		} else {
			*t &^= bit
		}
	}
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
