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
	return tag*mulTag + page&^c.mask*mulPage
}

// set returns the set of a page. The sum of two parts of the hash spreads dense and strided domains,
// PASIDs and pages alike at every number of sets; either part alone has a stride that it folds.
func (c *Cache) set(page, hash uint64) int {
	return int((page ^ (hash>>32+hash>>49)&c.mix) & c.mask)
}

// handle numbers the places: sets and ways, each set padded to a power of two of ways.
func (c *Cache) handle(set, way int) int32 { return int32(set<<(c.lgWays&63) | way) }

// at is the inverse of handle.
func (c *Cache) at(h int32) (set, way int) {
	return int(h) >> (c.lgWays & 63), int(h) & (1<<(c.lgWays&63) - 1)
}

// control returns the control word of a way and the shift of its byte.
func (c *Cache) control(set, way int) (*uint64, uint) {
	return &c.ctrl[set<<(c.lgWords&63)+way>>3], uint(way&7) * 8
}

func fingerprint(hash uint64) uint64 { return hash>>57 | 0x80 }

// match returns a word whose top bit is set in each byte of ctrl that equals the byte repeated in
// want. A byte above a true match may be reported falsely.
func match(ctrl, want uint64) uint64 {
	x := ctrl ^ want
	return (x - ones) &^ x & tops
}

// lowestByte returns the number of the lowest byte that match reported. It is what counting trailing
// zeros and dividing by 8 would be, in less time on hosts that count slowly.
func lowestByte(m uint64) int { return int((m & -m >> 7) * 0x0001_0203_0405_0607 >> 56) }

// find returns the smallest live entry that covers key and its handle, or nil. It is straight code
// for sets of at most eight ways in which the first entry of the smallest size settles it; search
// does the rest.
func (c *Cache) find(key *emu.Key) (*entry, int32) {
	tag := uint64(key.Tag)
	class := tag >> 56 & (numClasses - 1)
	sizes := c.sizes[class]
	if c.words == 1 {
		small := &c.smallest[class]
		page := key.Addr >> (small.lg2 & 63)
		hash := c.hash(tag, page)
		set := c.set(page, hash)
		if hit := match(c.ctrl[set], fingerprint(hash)*ones); hit != 0 {
			h := set<<3 + lowestByte(hit)
			e := &c.entries[h]
			if e.page == page && e.key == word(tag)|small.bits && (c.dead == 0 || c.alive(e.node)) {
				return e, int32(h)
			}
		} else if sizes &= sizes - 1; sizes == 0 {
			return nil, -1
		}
	}
	return c.search(key, sizes)
}

// FindAt is Find of a key of size 0 at the handle of an earlier one, for those who ask for the same
// key again and again. Any handle may be tried, however old.
func (c *Cache) FindAt(handle int32, key *emu.Key) *[4]uint64 {
	e := &c.entries[handle]
	if e.page != key.Addr || e.key != word(key.Tag) || c.dead != 0 && !c.alive(e.node) {
		return nil
	}
	return &e.val
}

// Overlaps implements emu.Overlapping.
func (c *Cache) Overlaps(key *emu.Key, lg2 uint8) bool {
	larger := c.sizes[uint64(key.Tag)>>56&(numClasses-1)] &^ (2<<(lg2&63) - 1)
	e, _ := c.search(key, larger)
	return e != nil
}

// search is find among the sizes of a bit map.
func (c *Cache) search(key *emu.Key, sizes uint64) (*entry, int32) {
	tag := uint64(key.Tag)
	for m := sizes; m != 0; m &= m - 1 {
		lg := uint(bits.TrailingZeros64(m))
		page := key.Addr >> (lg & 63)
		hash := c.hash(tag, page)
		if h := c.locate(c.set(page, hash), makeWord(tag, lg), page, hash); h >= 0 {
			return &c.entries[h], h
		}
	}
	return nil, -1
}

// locate returns the handle of the live entry of a set with exactly this key, or -1.
func (c *Cache) locate(set int, w word, page, hash uint64) int32 {
	want := fingerprint(hash) * ones
	if c.words == 1 && match(c.ctrl[set], want) == 0 { // as after almost every miss
		return -1
	}
	return c.locateAmong(set, w, page, want)
}

func (c *Cache) locateAmong(set int, w word, page, want uint64) int32 {
	for k, ctrl := range c.ctrl[set<<(c.lgWords&63):][:c.words] {
		for hit := match(ctrl, want); hit != 0; hit &= hit - 1 {
			h := c.handle(set, k*8+lowestByte(hit))
			e := &c.entries[h]
			if e.page == page && e.key == w && (c.dead == 0 || c.alive(e.node)) {
				return h
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
