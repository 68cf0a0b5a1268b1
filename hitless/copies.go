package hitless

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// copyOf is a value that a cache may hold: from the point since on, until so many host steps are over.
type copyOf struct {
	cache emu.CacheID
	key   emu.Key
	lg2   uint8
	attr  uint32
	val   [4]uint64
	since point
	until int
}

// serves reports whether the copy answers a look-up of k.
func (c *copyOf) serves(k *emu.Key) bool {
	return c.key.Tag == k.Tag && c.key.Addr>>c.lg2 == k.Addr>>c.lg2
}

// hold notes that a cache may hold what w fills at since: until the first invalidation
// from there on that drops it. An invalidation drops what was filled before it; what w fills during
// the same step but behind it counts as filled after that step.
func (x *explorer) hold(w *walk, since point) {
	a := &w.t.Act
	c := copyOf{cache: a.Cache, key: a.Key, lg2: a.Lg2, attr: a.Attr, val: a.Data, since: since, until: len(x.sc.Program)}
	if c.cache == emu.CacheEntry || c.cache == emu.CachePASID || c.cache == emu.CacheInterrupt {
		c.lg2 = 0 // found by number, not by span
	}
	c.key.Addr = c.key.Addr >> c.lg2 << c.lg2
	for i := int(since.done); i < len(x.sc.Program); i++ {
		if slices.ContainsFunc(x.sc.Program[i].Invalidate, func(s emu.Selector) bool { return c.dropped(&s) }) {
			c.until = i
			break
		}
	}
	for i := range x.copies {
		o := &x.copies[i]
		if o.cache == c.cache && o.key == c.key && o.val == c.val && o.lg2 == c.lg2 && o.until == c.until {
			if !o.since.not(c.since) {
				return
			}
			if !c.since.not(o.since) {
				o.since = c.since
				x.grown = true
				return
			}
		}
	}
	x.copies = append(x.copies, c)
	x.grown = true
}

// dropped reports whether an invalidation by s drops the copy.
func (c *copyOf) dropped(s *emu.Selector) bool {
	if !s.Caches.Has(c.cache) {
		return false
	}
	domain := c.key.Tag.Domain()
	if c.cache == emu.CacheEntry || c.cache == emu.CachePASID {
		domain = c.attr
		if s.Match&emu.MatchSource != 0 && (emu.SourceID(c.key.Addr)^s.Source)&^s.SourceMask != 0 {
			return false
		}
	}
	switch {
	case s.Match&emu.MatchDomain != 0 && domain != s.Domain,
		s.Match&emu.MatchPASID != 0 && c.key.Tag.PASID() != s.PASID,
		s.Match&emu.MatchClass != 0 && s.Classes&(1<<c.key.Tag.Class()) == 0,
		s.Match&emu.MatchAddress != 0 && (c.key.Addr > s.Last || c.key.Addr|(1<<c.lg2-1) < s.First):
		return false
	}
	return true
}
