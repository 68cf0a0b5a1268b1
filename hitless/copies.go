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
	// marked: who filled it had to mark an entry, so that there is a mark as long as nobody takes it away.
	marked bool
	since  point
	until  int
	path   *path // of who filled it
}

// Copy is a value that a cache may hold while a program runs.
type Copy struct {
	Cache emu.CacheID
	Key   emu.Key
	Val   [4]uint64
	// Marked: the request that filled it has marked an entry as accessed or dirty. Who finds the copy relies on
	// the mark, and makes none.
	Marked bool
	AtEnd  bool     // it may be held still after the last step
	Path   []string // what the request did that filled it, one line each

	as copyOf
}

// DroppedBy reports whether an invalidation by s drops the copy.
func (c *Copy) DroppedBy(s *emu.Selector) bool { return c.as.dropped(s) }

// held returns the copies that were found.
func (x *explorer) held() []Copy {
	list := make([]Copy, len(x.copies))
	for i, c := range x.copies {
		list[i] = Copy{Cache: c.cache, Key: c.key, Val: c.val, Marked: c.marked, AtEnd: c.until == len(x.sc.Program), Path: x.tell(c.path), as: c}
	}
	return list
}

// in reports whether list has the copy; same says whether two values of a cache mean the same, nil:
// equal ones do.
func (c *Copy) in(list []Copy, same func(cache emu.CacheID, a, b [4]uint64) bool) bool {
	return slices.ContainsFunc(list, func(o Copy) bool { return c.like(&o, same) })
}

func (c *Copy) like(o *Copy, same func(cache emu.CacheID, a, b [4]uint64) bool) bool {
	return c.Cache == o.Cache && c.Key == o.Key && (c.Val == o.Val || same != nil && same(c.Cache, c.Val, o.Val))
}

// Left returns what caches may still hold after the program and would not if there had never been anything
// but the new content. same says whether two values of a cache mean the same; nil: equal ones do. What was
// filled without a mark is no such copy where it could not be filled now without one.
func (r *Report) Left(same func(cache emu.CacheID, a, b [4]uint64) bool) (list []Copy) {
	for _, c := range r.Held {
		known := func(o Copy) bool { return (c.Marked || !o.Marked) && c.like(&o, same) }
		if c.AtEnd && !slices.ContainsFunc(r.HeldNew, known) {
			list = append(list, c)
		}
	}
	return list
}

// Foreign returns the translations that caches may hold at any time and would hold neither under the old
// content nor under the new one: others who share the tag find them. Those under a tag that is private,
// which nobody shares, are left out.
func (r *Report) Foreign(private func(emu.Tag) bool) (list []Copy) {
	for _, c := range r.Held {
		byDevice := c.Cache == emu.CacheEntry || c.Cache == emu.CachePASID || c.Cache == emu.CacheInterrupt
		if !byDevice && !private(c.Key.Tag) && !c.in(r.HeldOld, nil) && !c.in(r.HeldNew, nil) {
			list = append(list, c)
		}
	}
	return list
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
	c := copyOf{cache: a.Cache, key: a.Key, lg2: a.Lg2, attr: a.Attr, val: a.Data, marked: w.marked, since: since, until: len(x.sc.Program), path: w.path}
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
		if o.cache == c.cache && o.key == c.key && o.val == c.val && o.lg2 == c.lg2 && o.marked == c.marked && o.until == c.until {
			if !o.since.not(c.since) {
				return
			}
			if !c.since.not(o.since) {
				o.since, o.path = c.since, c.path
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
	case s.Match&emu.MatchKind != 0 && s.Kinds>>c.attr&1 == 0,
		s.Match&emu.MatchDomain != 0 && domain != s.Domain,
		s.Match&emu.MatchPASID != 0 && c.key.Tag.PASID() != s.PASID,
		s.Match&emu.MatchClass != 0 && s.Classes&(1<<c.key.Tag.Class()) == 0,
		s.Match&emu.MatchAddress != 0 && (c.key.Addr > s.Last || c.key.Addr|(1<<c.lg2-1) < s.First):
		return false
	}
	return true
}
