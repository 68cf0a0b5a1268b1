package pasid

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb"
)

// Cache is a set-associative cache of entries keyed by source and PASID. Use New.
//
// Methods do not work on a nil *Cache, except AsCache, Save and Restore.
type Cache struct {
	arr   *iotlb.Cache
	lists lists
	last  int32 // where the last look-up hit: a device in the middle of its work hits there again
}

// New returns an empty cache, or nil without an error if g has no entries: a unit without that
// cache. Keep it as emu.Cache through AsCache, so that a missing cache is a nil interface. The
// error wraps iotlb.ErrGeometry.
func New(g iotlb.Geometry) (*Cache, error) {
	arr, err := iotlb.New(g)
	if arr == nil {
		return nil, err
	}
	c := &Cache{arr: arr}
	c.lists.init(arr.Places())
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
func (c *Cache) Geometry() iotlb.Geometry { return c.arr.Geometry() }

// Stats returns the counters since creation. They are exact at any moment.
func (c *Cache) Stats() emu.CacheStats { return c.arr.Stats() }

// Len returns the number of live entries.
func (c *Cache) Len() int { return c.arr.Len() }

// Find looks key up. It counts nothing and changes nothing. The value, nil if there is none, is the
// cache's own: it is not to be written to. It and the handle, for Touch, are good until the next Fill,
// Invalidate or Reset.
func (c *Cache) Find(key *emu.Key) (val *[4]uint64, handle int32) {
	if val = c.arr.FindAt(c.last, key); val != nil {
		return val, c.last
	}
	if val, handle = c.arr.Find(key); val != nil {
		c.last = handle
	}
	return val, handle
}

// Peek is Find with a copy of the value.
func (c *Cache) Peek(key *emu.Key, val *[4]uint64) (handle int32, ok bool) {
	v, handle := c.Find(key)
	if v != nil {
		*val = *v
	}
	return handle, v != nil
}

// Touch turns the hit of a Peek into a look-up: it counts one look-up and one hit and tells the
// replacement policy.
func (c *Cache) Touch(handle int32) { c.arr.Touch(handle) }

// Probe implements emu.Cache.
func (c *Cache) Probe(key *emu.Key, val *[4]uint64) bool {
	v, h := c.Find(key)
	if v == nil {
		c.arr.Miss()
		return false
	}
	c.arr.Touch(h)
	*val = *v
	return true
}

// Fill implements emu.Cache: an entry of the same source, PASID and class is replaced in place,
// its owning domain included. attr is the owning domain. lg2 is not looked at.
func (c *Cache) Fill(key *emu.Key, _ uint8, attr uint32, val *[4]uint64) {
	if h := c.arr.Insert(key, 0, attr, val); h >= 0 {
		c.lists.move(h, key.Addr)
	}
}

// Invalidate implements emu.Cache. MatchAddress and MatchKind restrict nothing.
func (c *Cache) Invalidate(s *emu.Selector) {
	if s.Match&emu.MatchSource == 0 {
		sel := *s
		sel.Match &^= emu.MatchAddress | emu.MatchKind
		c.arr.Invalidate(&sel)
		return
	}
	// A source of the block costs a look at its list, an entry of a scan about as much.
	n := bits.OnesCount32(uint32(s.SourceMask))
	if n >= 31 || 1<<n > c.Geometry().Entries() {
		for h := range int32(c.arr.Places()) {
			c.dropIf(h, s)
		}
		return
	}
	for sub := emu.SourceID(0); ; {
		c.dropSource(s.Source&^s.SourceMask|sub, s)
		if sub = (sub - s.SourceMask) & s.SourceMask; sub == 0 { // the next subset of the mask
			return
		}
	}
}

// dropSource drops what s matches of one source.
func (c *Cache) dropSource(source emu.SourceID, s *emu.Selector) {
	for h := c.lists.first(uint64(source)); h >= 0; {
		next := c.lists.at[h].next
		if c.lists.at[h].source == uint64(source) {
			c.dropIf(h, s)
		}
		h = next
	}
}

// dropIf drops the live entry behind a handle if s matches it.
func (c *Cache) dropIf(h int32, s *emu.Selector) {
	key, _, domain, ok := c.arr.At(h)
	if !ok ||
		(uint64(s.Source)^key.Addr)&^uint64(s.SourceMask) != 0 ||
		s.Match&emu.MatchDomain != 0 && domain != s.Domain ||
		s.Match&emu.MatchPASID != 0 && key.Tag.PASID() != s.PASID ||
		s.Match&emu.MatchClass != 0 && s.Classes&(1<<key.Tag.Class()) == 0 {
		return
	}
	c.arr.Drop(h)
}

// Reset implements emu.Cache.
func (c *Cache) Reset() {
	c.arr.Reset()
	c.lists.reset()
}

// Save appends everything that later behaviour depends on. A nil cache saves that there is none.
func (c *Cache) Save(e *emu.Encoder) {
	if c == nil {
		(*iotlb.Cache)(nil).Save(e)
		return
	}
	c.arr.Save(e)
}

// Restore reads what Save wrote into a cache of the same geometry; a nil cache restores from a nil
// one. On an error, which wraps emu.ErrState, the cache is empty.
func (c *Cache) Restore(d *emu.Decoder) error {
	if c == nil {
		return (*iotlb.Cache)(nil).Restore(d)
	}
	c.lists.reset()
	if err := c.arr.Restore(d); err != nil {
		return err
	}
	for h := range int32(c.arr.Places()) {
		key, _, _, ok := c.arr.At(h)
		if !ok {
			continue
		}
		if key.Addr>>32 != 0 {
			c.Reset()
			d.Fail("entry %d: source %#x has more than 32 bits", h, key.Addr)
			return d.Err()
		}
		c.lists.move(h, key.Addr)
	}
	return nil
}
