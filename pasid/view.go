package pasid

import (
	"iter"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Entry is one entry of a cache, for people and tools.
type Entry struct {
	Source emu.SourceID
	PASID  emu.PASID // or emu.NoPASID
	Class  emu.Class
	Domain uint32 // that owns it
	Value  [4]uint64
}

// Entries calls f for each live entry in the order of sets and ways, until f returns false. lg2 is
// 0. f must not change the cache.
func (c *Cache) Entries(f func(key emu.Key, lg2 uint8, val [4]uint64) bool) { c.arr.Entries(f) }

// All returns every live entry in the order of sets and ways.
func (c *Cache) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for h := range int32(c.arr.Places()) {
			if e, ok := c.entry(h); ok && !yield(e) {
				return
			}
		}
	}
}

// Devices returns how many live entries each source has.
func (c *Cache) Devices() map[emu.SourceID]int {
	m := make(map[emu.SourceID]int)
	for e := range c.All() {
		m[e.Source]++
	}
	return m
}

// View is what a cache holds for one device. It looks at the cache when asked, and allocates: it is
// for inspection, not for the hot path.
type View struct {
	c      *Cache
	source emu.SourceID
}

// View returns the view of one device.
func (c *Cache) View(source emu.SourceID) View { return View{c, source} }

// Source returns the device.
func (v View) Source() emu.SourceID { return v.source }

// Len returns the number of live entries.
func (v View) Len() int {
	n := 0
	for range v.All() {
		n++
	}
	return n
}

// All returns the live entries, ordered by class and PASID, no PASID last.
func (v View) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		var es []Entry
		l := &v.c.lists
		for h := l.first(uint64(v.source)); h >= 0; h = l.at[h].next {
			if l.at[h].source != uint64(v.source) {
				continue
			}
			if e, ok := v.c.entry(h); ok {
				es = append(es, e)
			}
		}
		slices.SortFunc(es, func(a, b Entry) int {
			if a.Class != b.Class {
				return int(a.Class) - int(b.Class)
			}
			return int(int64(a.PASID) - int64(b.PASID))
		})
		for _, e := range es {
			if !yield(e) {
				return
			}
		}
	}
}

// Lookup returns the entry of a PASID (or emu.NoPASID) and class, without counting a look-up.
func (v View) Lookup(class emu.Class, p emu.PASID) (Entry, bool) {
	key := emu.Key{Tag: emu.MakeTag(class, 0, p), Addr: uint64(v.source)}
	val, h := v.c.Find(&key)
	if val == nil {
		return Entry{}, false
	}
	return v.c.entry(h)
}

func (c *Cache) entry(h int32) (Entry, bool) {
	key, _, domain, ok := c.arr.At(h)
	if !ok {
		return Entry{}, false
	}
	return Entry{
		Source: emu.SourceID(key.Addr), PASID: key.Tag.PASID(), Class: key.Tag.Class(),
		Domain: domain, Value: c.arr.Value(h),
	}, true
}
