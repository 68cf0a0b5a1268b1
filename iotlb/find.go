package iotlb

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// A set has one control byte per way, eight to a word: 0 is empty, a byte with the top bit set is
// occupied and carries seven bits of the entry's hash, pad marks bytes beyond the last way. A
// look-up compares eight ways at once and reads only entries whose seven bits agree, which is one
// entry of a hit and almost none of a miss.
const (
	ones = 0x0101_0101_0101_0101
	tops = 0x8080_8080_8080_8080
	pad  = 0x7f

	mulTag  = 0x9e37_79b9_7f4a_7c15
	mulPage = 0xd6e8_feb8_6659_fd93
)

// hash mixes a tag and the bits of a page number above the set index.
func (c *Cache) hash(tag, page uint64) uint64 {
	return tag*mulTag + (page>>(c.shift&63))*mulPage
}

func (c *Cache) set(page, hash uint64) int {
	return int((page ^ hash>>32&c.mix) & c.mask)
}

func fingerprint(hash uint64) uint64 { return hash>>57 | 0x80 }

// match returns a word whose top bit is set in each byte of ctrl that equals the byte repeated in
// want. A byte above a true match may be reported falsely.
func match(ctrl, want uint64) uint64 {
	x := ctrl ^ want
	return (x - ones) &^ x & tops
}

// find returns the handle of the smallest live entry that covers key, or -1.
func (c *Cache) find(key *emu.Key) int32 {
	tag, addr := uint64(key.Tag), key.Addr
	spread := tag * mulTag
	for m := c.sizes[tag>>56&(numClasses-1)]; m != 0; m &= m - 1 {
		lg := uint(bits.TrailingZeros64(m)) & 63
		page := addr >> lg
		hash := spread + (page>>(c.shift&63))*mulPage
		set := c.set(page, hash)
		want := fingerprint(hash) * ones
		for k := 0; k < c.words; k++ {
			for hit := match(c.ctrl[set*c.words+k], want); hit != 0; hit &= hit - 1 {
				h := set*c.ways + k*8 + bits.TrailingZeros64(hit)>>3
				e := &c.entries[h]
				if e.page == page && e.key == makeWord(tag, lg) && (c.dead == 0 || c.alive(e.node)) {
					return int32(h)
				}
			}
		}
	}
	return -1
}

// locate returns the handle of the live entry with exactly this key, or -1.
func (c *Cache) locate(w word, page, hash uint64) int32 {
	set := c.set(page, hash)
	want := fingerprint(hash) * ones
	for k := 0; k < c.words; k++ {
		for hit := match(c.ctrl[set*c.words+k], want); hit != 0; hit &= hit - 1 {
			h := set*c.ways + k*8 + bits.TrailingZeros64(hit)>>3
			e := &c.entries[h]
			if e.page == page && e.key == w && (c.dead == 0 || c.alive(e.node)) {
				return int32(h)
			}
		}
	}
	return -1
}

// emptyWord returns control word k of an empty set.
func (c *Cache) emptyWord(k int) uint64 {
	var w uint64
	for b := range 8 {
		if k*8+b >= c.ways {
			w |= pad << (8 * b)
		}
	}
	return w
}
