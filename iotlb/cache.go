package iotlb

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

const (
	numClasses = 32 // emu.Class runs from 0 to 31
	maxLg2     = 63
)

// entry fills one line of the host's cache, so that a hit touches the control bytes of its set and
// one line more.
type entry struct {
	key  word   // compared: tag and size
	page uint64 // compared: address >> lg2
	val  [4]uint64
	node uint32 // the record that keeps it alive
	_    [3]uint32
}

// Cache is a set-associative cache of translations. Use New.
//
// Methods do not work on a nil *Cache, except AsCache, Save and Restore.
type Cache struct {
	// Read by every look-up.
	sizes   [numClasses]uint64 // bit l of element c: live entries of class c and size 2^l exist
	ctrl    []uint64           // a byte per way: 0 empty, 0x80|fingerprint occupied, pad no such way
	entries []entry
	nodes   []node
	groups  []group
	mask    uint64 // sets - 1
	mix     uint64 // mask, or 0 for Plain
	shift   uint8  // log2 sets
	words   int    // control words per set
	ways    int
	policy  Policy
	dead    int // entries whose place is occupied though an invalidation has dropped them

	stats emu.CacheStats
	tick  uint64   // last age given out
	age   []uint64 // LRU, FIFO: when an entry was used or filled
	tree  []uint64 // TreePLRU: bit n-1 is node n of the tree of a set, 1 the root
	rand  uint64   // Random: state of the stream

	gens    [numClasses]uint32     // generation of each class, never 0
	live    [numClasses][64]uint32 // live entries by class and size
	classes uint32                 // bit c: class c has live entries
	records                        // bookkeeping of nodes and groups
	foreign bool                   // an entry's owning domain differs from its tag's
	geom    Geometry
}

// New returns an empty cache, or nil without an error if g has no entries: a unit without that
// cache. Keep it as emu.Cache through AsCache, so that a missing cache is a nil interface. The
// error wraps ErrGeometry.
func New(g Geometry) (*Cache, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	n := g.Entries()
	if n == 0 {
		return nil, nil
	}
	c := &Cache{
		geom:    g,
		entries: make([]entry, n),
		mask:    uint64(g.Sets - 1),
		shift:   uint8(bits.TrailingZeros(uint(g.Sets))),
		words:   (g.Ways + 7) / 8,
		ways:    g.Ways,
		policy:  g.Policy,
	}
	c.ctrl = make([]uint64, g.Sets*c.words)
	if g.Index == Mixed {
		c.mix = c.mask
	}
	switch g.Policy {
	case LRU, FIFO:
		c.age = make([]uint64, n)
	case TreePLRU:
		c.tree = make([]uint64, g.Sets)
	}
	c.records.init(n)
	c.nodes = make([]node, n+2)
	c.groups = make([]group, n+2)
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
func (c *Cache) Stats() emu.CacheStats { return c.stats }

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
		c.ctrl[i] = c.emptyWord(i % c.words)
	}
	clear(c.sizes[:])
	clear(c.age)
	clear(c.tree)
	clear(c.live[:])
	c.classes, c.dead, c.tick, c.foreign = 0, 0, 0, false
	c.rand = c.geom.Seed
	for i := range c.gens {
		c.gens[i] = 1
	}
	c.resetRecords()
}

// Peek looks key up and copies the value found. It counts nothing and changes nothing. The handle
// is good for Touch until the next Fill, Invalidate or Reset.
func (c *Cache) Peek(key *emu.Key, val *[4]uint64) (handle int32, ok bool) {
	h := c.find(key)
	if h < 0 {
		return h, false
	}
	*val = c.entries[h].val
	return h, true
}

// Touch turns the hit of a Peek into a look-up: it counts one look-up and one hit and tells the
// replacement policy.
func (c *Cache) Touch(handle int32) {
	c.stats.Lookups++
	c.stats.Hits++
	c.used(handle)
}

// Probe implements emu.Cache.
func (c *Cache) Probe(key *emu.Key, val *[4]uint64) bool {
	c.stats.Lookups++
	h := c.find(key)
	if h < 0 {
		return false
	}
	c.stats.Hits++
	c.used(h)
	*val = c.entries[h].val
	return true
}

// Fill implements emu.Cache: an entry of the same tag, size and page is replaced in place. A size
// above 2^63 is cut to 2^63. attr is not looked at: the domain is in the tag.
func (c *Cache) Fill(key *emu.Key, lg2 uint8, _ uint32, val *[4]uint64) {
	c.Insert(key, lg2, key.Tag.Domain(), val)
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
	if h := c.locate(w, page, hash); h >= 0 {
		e := &c.entries[h]
		e.val = *val
		if c.nodes[e.node].key != owner {
			old := e.node
			e.node = c.attach(owner)
			c.release(old)
		}
		if c.policy != FIFO {
			c.used(h)
		}
		return h
	}
	return c.place(w, page, hash, owner, val)
}

// place puts a new entry into its set.
func (c *Cache) place(w word, page, hash uint64, owner word, val *[4]uint64) int32 {
	set := c.set(page, hash)
	way, occupied := c.victim(set)
	h := set*c.ways + way
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
	e.key, e.page, e.val = w, page, *val
	b := uint(way&7) * 8
	p := &c.ctrl[set*c.words+way>>3]
	*p = *p&^(0xff<<b) | fingerprint(hash)<<b
	c.filled(int32(h))
	return int32(h)
}

// At returns the entry behind a handle: its key, with Addr the first address it covers, its size,
// and the domain that owns it. ok is false if no live entry is there. Handles run from 0 to
// Geometry().Entries()-1.
func (c *Cache) At(handle int32) (key emu.Key, lg2 uint8, domain uint32, ok bool) {
	set := int(handle) / c.ways
	way := int(handle) % c.ways
	if c.ctrl[set*c.words+way>>3]>>(uint(way&7)*8)&0x80 == 0 {
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
