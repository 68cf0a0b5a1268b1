package iotlb

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

const (
	numClasses = 32 // emu.Class runs from 0 to 31
	maxLg2     = 63
	maxKind    = 31
)

// entry fills one line of the host's cache, so that a hit touches the control bytes of its set and
// one line more.
type entry struct {
	key  word   // compared: tag and size
	page uint64 // compared: address >> lg2
	val  [4]uint64
	age  uint64 // LRU, FIFO: when it was used or filled
	node uint32 // the record that keeps it alive
	kind uint8
	_    [3]uint8
}

// Cache is a set-associative cache of translations. Use New.
//
// Methods do not work on a nil *Cache, except AsCache, Save and Restore.
type Cache struct {
	// What a look-up reads.
	mask     uint64 // sets - 1
	mix      uint64 // mask, or 0 for Plain
	words    int    // control words per set in use
	dead     int    // entries whose place is occupied though an invalidation has dropped them
	ctrl     []uint64
	entries  []entry
	smallest [numClasses]size   // of the sizes of a class; any if there are none
	sizes    [numClasses]uint64 // bit l of element c: live entries of class c and size 2^l exist
	policy   Policy
	tick     uint64         // last age given out
	stats    emu.CacheStats // without Lookups, which are its Hits and misses
	misses   uint64

	// What else a fill needs.
	ways    int
	lgWays  uint8    // log2 of the places of a set: at least eight, a power of two
	lgWords uint8    // log2 of the control words of a set
	tree    []uint64 // TreePLRU: a word per set
	paths   []path   // TreePLRU: what a use of each way does to the word of its set
	rand    uint64   // Random: state of the stream

	// What keeps entries alive.
	records
	gens    [numClasses]uint32     // generation of each class, never 0
	live    [numClasses][64]uint32 // live entries by class and size
	classes uint32                 // bit c: class c has live entries
	foreign bool                   // an entry's owning domain differs from its tag's

	geom Geometry
}

// New returns an empty cache, or nil without an error if g has no entries: a unit without that
// cache. Keep it as emu.Cache through AsCache, so that a missing cache is a nil interface. The
// error wraps ErrGeometry.
func New(g Geometry) (*Cache, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if g.Entries() == 0 {
		return nil, nil
	}
	lgWays := g.lgPlaces()
	c := &Cache{
		geom:    g,
		policy:  g.Policy,
		ways:    g.Ways,
		lgWays:  lgWays,
		lgWords: lgWays - 3,
		words:   (g.Ways + 7) / 8,
		mask:    uint64(g.Sets - 1),
		ctrl:    make([]uint64, g.Sets<<(lgWays-3)),
		entries: make([]entry, g.Sets<<lgWays),
	}
	if g.Index == Mixed {
		c.mix = c.mask
	}
	if g.Policy == TreePLRU {
		c.tree = make([]uint64, g.Sets)
		c.paths = makePaths(g.Ways)
	}
	c.records.init(g.Entries())
	c.Reset()
	return c, nil
}

// AsCache returns c as emu.Cache: a nil interface, not a nil in an interface, for a nil c.
func (c *Cache) AsCache() emu.Cache {
	if c == nil {
		return nil
	}
	return c
}

// Geometry returns the shape that New was given.
func (c *Cache) Geometry() Geometry { return c.geom }

// Stats returns the counters since creation. They are exact at any moment.
func (c *Cache) Stats() emu.CacheStats {
	s := c.stats
	s.Lookups = s.Hits + c.misses
	return s
}

// Len returns the number of live entries.
func (c *Cache) Len() int {
	n := 0
	for m := c.classes; m != 0; m &= m - 1 {
		cl := bits.TrailingZeros32(m)
		for s := c.sizes[cl]; s != 0; s &= s - 1 {
			n += int(c.live[cl][bits.TrailingZeros64(s)])
		}
	}
	return n
}

// Reset empties the cache and puts replacement and random stream into their first state. The
// statistics stay, and the entries lost are not counted as invalidated.
func (c *Cache) Reset() {
	for i := range c.ctrl {
		c.ctrl[i] = c.emptyWord(i & (1<<c.lgWords - 1))
	}
	for i := range c.entries {
		c.entries[i].key = vacant
	}
	clear(c.sizes[:])
	clear(c.live[:])
	clear(c.tree)
	c.classes, c.dead, c.foreign = 0, 0, false
	c.tick, c.rand = 0, c.geom.Seed
	for i := range c.gens {
		c.gens[i] = 1
	}
	c.resetRecords()
}

// Find looks key up. It counts nothing and changes nothing. The value, nil if there is none, is the
// cache's own: it is not to be written to. It and the handle, for Touch, are good until the next Fill,
// Invalidate or Reset.
func (c *Cache) Find(key *emu.Key) (val *[4]uint64, handle int32) {
	e, handle := c.find(key)
	if e == nil {
		return nil, handle
	}
	return &e.val, handle
}

// Peek is Find with a copy of the value.
func (c *Cache) Peek(key *emu.Key, val *[4]uint64) (handle int32, ok bool) {
	e, handle := c.find(key)
	if e != nil {
		*val = e.val
	}
	return handle, e != nil
}

// Touch turns the hit of a Peek into a look-up: it counts one look-up and one hit and tells the
// replacement policy.
func (c *Cache) Touch(handle int32) {
	c.stats.Hits++
	if c.policy == LRU { // newest, inlined
		c.tick++
		c.entries[handle].age = c.tick
		return
	}
	c.used(handle)
}

// Miss turns the miss of a Peek into a look-up: it counts one.
func (c *Cache) Miss() { c.misses++ }

// Probe implements emu.Cache.
func (c *Cache) Probe(key *emu.Key, val *[4]uint64) bool {
	e, h := c.find(key)
	if e == nil {
		c.misses++
		return false
	}
	c.stats.Hits++
	c.used(h)
	*val = e.val
	return true
}

// Fill implements emu.Cache: an entry of the same tag, size and page is replaced in place. A size
// above 2^63 is cut to 2^63. attr is the kind: the domain is in the tag.
func (c *Cache) Fill(key *emu.Key, lg2 uint8, attr uint32, val *[4]uint64) {
	if h := c.Insert(key, lg2, key.Tag.Domain(), val); h >= 0 {
		c.entries[h].kind = uint8(attr & maxKind)
	}
}

// Insert is Fill for a cache whose entries belong to a domain that is not part of the key, such
// as those keyed by source: domain is what MatchDomain compares. It returns the handle of the
// entry, or -1 if the tag breaks the layout of emu.Tag, in which case nothing is filled.
func (c *Cache) Insert(key *emu.Key, lg2 uint8, domain uint32, val *[4]uint64) (handle int32) {
	if !validTag(key.Tag) {
		return -1
	}
	c.stats.Fills++
	lg := uint(min(lg2, maxLg2))
	w := makeWord(uint64(key.Tag), lg)
	owner := w.of(domain)
	c.foreign = c.foreign || owner != w
	page := key.Addr >> (lg & 63)
	hash := c.hash(uint64(key.Tag), page)
	set := c.set(page, hash)
	if h := c.locate(set, w, page, hash); h >= 0 {
		e := &c.entries[h]
		e.val = *val
		if c.nodes[e.node].key != owner {
			old := e.node
			e.node = c.attach(owner)
			c.release(old)
		}
		c.used(h)
		return h
	}
	return c.place(set, w, page, hash, owner, val)
}

// place puts a new entry into its set.
func (c *Cache) place(set int, w word, page, hash uint64, owner word, val *[4]uint64) int32 {
	way, occupied := c.victim(set)
	h := c.handle(set, way)
	e := &c.entries[h]
	switch {
	case !occupied:
		e.node = c.attach(owner)
	case c.nodes[e.node].key == owner && c.alive(e.node):
		c.stats.Evictions++ // the record passes from one entry to the other
	default:
		old := e.node
		e.node = c.attach(owner)
		if c.release(old) {
			c.stats.Evictions++
		}
	}
	e.key, e.page = w, page // the age is set below
	// Word by word, as units write it: a wider load would have to wait for their stores.
	e.val[0], e.val[1], e.val[2], e.val[3] = val[0], val[1], val[2], val[3]
	p, b := c.control(set, way)
	*p = *p&^(0xff<<b) | fingerprint(hash)<<b
	if c.policy == LRU { // newest, inlined
		c.tick++
		e.age = c.tick
	} else if c.policy != Random {
		c.newest(h)
	}
	return h
}

// At returns the entry behind a handle: its key, with Addr the first address it covers, its size,
// and the domain that owns it. ok is false if no live entry is there. Handles run from 0 to
// Places()-1.
func (c *Cache) At(handle int32) (key emu.Key, lg2 uint8, domain uint32, ok bool) {
	if p, b := c.control(c.at(handle)); *p>>b&0x80 == 0 {
		return key, 0, 0, false
	}
	e := &c.entries[handle]
	if !c.alive(e.node) {
		return key, 0, 0, false
	}
	first, _ := span(e.page, e.key.lg2())
	key = emu.Key{Tag: emu.Tag(e.key.tag()), Addr: first}
	return key, uint8(e.key.lg2()), c.nodes[e.node].key.domain(), true
}

// Places returns the number of handles. It is above the number of entries if the ways are not a
// power of two of eight or more.
func (c *Cache) Places() int { return len(c.entries) }

// Value returns the value of the live entry behind a handle.
func (c *Cache) Value(handle int32) [4]uint64 { return c.entries[handle].val }

// Entries calls f for each live entry in the order of sets and ways, until f returns false. The
// key's Addr is the first address covered. f must not change the cache.
func (c *Cache) Entries(f func(key emu.Key, lg2 uint8, val [4]uint64) bool) {
	for h := range int32(len(c.entries)) {
		if key, lg2, _, ok := c.At(h); ok && !f(key, lg2, c.entries[h].val) {
			return
		}
	}
}
