// Package iotlbtest has the yardstick that benchmarks of caches, and of everything that begins
// with a look-up, compare themselves with: the least that a set-associative look-up can be in Go.
package iotlbtest

import "math/bits"

// Bare is a set-associative array of page numbers and one word each: no tags, no sizes, no
// replacement policy, no statistics. It is what a look-up costs before it does anything useful.
type Bare struct {
	keys []uint64 // page + 1; 0 is empty
	vals []uint64
	mask uint64
	ways int
	next int // way that the next Fill of a full set takes
}

// NewBare returns an empty array. sets must be a power of two.
func NewBare(sets, ways int) *Bare {
	if bits.OnesCount(uint(sets)) != 1 || ways <= 0 {
		panic("iotlbtest: sets must be a power of two and ways positive")
	}
	n := sets * ways
	return &Bare{keys: make([]uint64, n), vals: make([]uint64, n), mask: uint64(sets - 1), ways: ways}
}

// Lookup returns the word of a page.
func (b *Bare) Lookup(page uint64) (uint64, bool) {
	i := int(page&b.mask) * b.ways
	keys := b.keys[i : i+b.ways]
	for w, k := range keys {
		if k == page+1 {
			return b.vals[i+w], true
		}
	}
	return 0, false
}

// Fill puts a page into the first empty way of its set, else round robin.
func (b *Bare) Fill(page, val uint64) {
	i := int(page&b.mask) * b.ways
	for w := range b.ways {
		if k := b.keys[i+w]; k == 0 || k == page+1 {
			b.keys[i+w], b.vals[i+w] = page+1, val
			return
		}
	}
	b.next = (b.next + 1) % b.ways
	b.keys[i+b.next], b.vals[i+b.next] = page+1, val
}

// Stream returns n page numbers below pages in an order that no prefetcher or branch predictor
// learns, the same for the same seed. n should be a power of two of 1024 or more; benchmarks cycle
// through it with a mask.
func Stream(n int, pages, seed uint64) []uint64 {
	s := make([]uint64, n)
	for i := range s {
		seed += 0x9e37_79b9_7f4a_7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58_476d_1ce4_e5b9
		z = (z ^ z>>27) * 0x94d0_49bb_1331_11eb
		s[i], _ = bits.Mul64(z^z>>31, pages)
	}
	return s
}
