package iotlb

import (
	"errors"
	"math"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

const stateVersion = 2

// header is the fixed part of a checkpoint.
type header struct {
	Sets, Ways    uint64
	Policy, Index uint64
	Seed          uint64
	Stats         emu.CacheStats
	Tick          uint64
	Rand          uint64
	Entries       uint64
}

// saved is a live entry of a checkpoint.
type saved struct {
	Handle uint64
	Tag    uint64
	Domain uint64
	Lg2    uint64
	Page   uint64
	Age    uint64
	Kind   uint64
	Val    [4]uint64
}

func (c *Cache) header() header {
	if c == nil {
		return header{}
	}
	g := c.geom
	return header{
		Sets: uint64(g.Sets), Ways: uint64(g.Ways), Policy: uint64(g.Policy), Index: uint64(g.Index),
		Seed: g.Seed, Stats: c.Stats(), Tick: c.tick, Rand: c.rand, Entries: uint64(c.Len()),
	}
}

// Save appends everything that later behaviour depends on: live entries in their places,
// replacement state, random stream, statistics. A nil cache saves that there is none.
func (c *Cache) Save(e *emu.Encoder) {
	e.Section("iotlb", stateVersion)
	h := c.header()
	e.Struct(&h)
	if c == nil {
		return
	}
	e.Words(c.tree)
	for i := range int32(len(c.entries)) {
		key, lg2, domain, ok := c.At(i)
		if !ok {
			continue
		}
		s := saved{
			Handle: uint64(i), Tag: uint64(key.Tag), Domain: uint64(domain), Lg2: uint64(lg2),
			Page: c.entries[i].page, Age: c.entries[i].age, Kind: uint64(c.entries[i].kind), Val: c.entries[i].val,
		}
		e.Struct(&s)
	}
}

// Restore reads what Save wrote into a cache of the same geometry; a nil cache restores from a nil
// one. On an error, which wraps emu.ErrState, the cache is empty.
func (c *Cache) Restore(d *emu.Decoder) error {
	err := c.restore(d)
	if err != nil && c != nil {
		c.Reset()
	}
	return err
}

func (c *Cache) restore(d *emu.Decoder) error {
	d.Section("iotlb", stateVersion)
	var got header
	d.Struct(&got)
	if d.Err() != nil {
		return d.Err()
	}
	want := c.header()
	if got.Sets != want.Sets || got.Ways != want.Ways || got.Policy != want.Policy ||
		got.Index != want.Index || got.Seed != want.Seed {
		d.Fail("cache of %dx%d policy %d index %d seed %d, want %dx%d policy %d index %d seed %d",
			got.Sets, got.Ways, got.Policy, got.Index, got.Seed,
			want.Sets, want.Ways, want.Policy, want.Index, want.Seed)
		return d.Err()
	}
	if c == nil {
		return nil
	}
	c.Reset()
	c.misses = got.Stats.Lookups - got.Stats.Hits
	c.stats, c.tick, c.rand = got.Stats, got.Tick, got.Rand
	if c.tick > math.MaxInt64 {
		d.Fail("age %#x is out of range", c.tick)
	}
	if tree := d.Words(); d.Err() == nil && !c.setTree(tree) {
		d.Fail("the replacement state does not fit %v", c.geom)
	}
	for next := uint64(0); got.Entries > 0 && d.Err() == nil; got.Entries-- {
		var s saved
		d.Struct(&s)
		if d.Err() != nil {
			break
		}
		if s.Handle < next {
			d.Fail("entry at place %d after place %d", s.Handle, next-1)
			break
		}
		if err := c.restoreEntry(&s); err != nil {
			d.Fail("entry at place %d: %v", s.Handle, err)
		}
		next = s.Handle + 1
	}
	return d.Err()
}

func (c *Cache) setTree(tree []uint64) bool {
	if len(tree) != len(c.tree) {
		return false
	}
	for _, t := range tree {
		if bits.Len64(t) >= c.ways {
			return false
		}
	}
	copy(c.tree, tree)
	return true
}

// The ways an entry of a checkpoint can be wrong.
var (
	errPlace = errors.New("no such place")
	errTag   = errors.New("tag breaks its layout")
	errPage  = errors.New("page does not fit its size")
	errSet   = errors.New("not the set of its address")
	errTwice = errors.New("its key is there already")
	errKind  = errors.New("no such kind")
	errAge   = errors.New("used in the future")
)

func (c *Cache) restoreEntry(s *saved) error {
	switch {
	case s.Handle >= uint64(len(c.entries)):
		return errPlace
	case !validTag(emu.Tag(s.Tag)) || s.Domain > math.MaxUint32:
		return errTag
	case s.Lg2 > maxLg2 || s.Page<<s.Lg2>>s.Lg2 != s.Page:
		return errPage
	case s.Kind > maxKind:
		return errKind
	case s.Age > c.tick || s.Age != 0 && c.policy != LRU && c.policy != FIFO:
		return errAge
	}
	w := makeWord(s.Tag, uint(s.Lg2))
	hash := c.hash(s.Tag, s.Page)
	set, way := c.at(int32(s.Handle))
	switch {
	case way >= c.ways:
		return errPlace
	case set != c.set(s.Page, hash):
		return errSet
	}
	if c.locate(set, w, s.Page, hash) >= 0 {
		return errTwice
	}
	owner := w.of(uint32(s.Domain))
	c.foreign = c.foreign || owner != w
	c.entries[s.Handle] = entry{key: w, page: s.Page, val: s.Val, age: s.Age, kind: uint8(s.Kind), node: c.attach(owner)}
	p, b := c.control(set, way)
	*p = *p&^(0xff<<b) | fingerprint(hash)<<b
	return nil
}
