package iotlb

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Level is the paging-structure cache of one level.
type Level struct {
	Lg2 uint8 `json:"lg2"` // log2 bytes of the region below the cached table: the span of an entry
	Geometry
}

// Walk is the paging-structure caches of all levels of a walk as one emu.Cache. A probe looks at
// all levels, as hardware does at once, and returns the entry with the longest match: the one with
// the smallest span, whose table is nearest to the leaves.
//
// Methods do not work on a nil *Walk, except AsCache, Save and Restore.
type Walk struct {
	levels []walkLevel // those with entries, by ascending span
	index  []int       // into levels, in the order that NewWalk was given; -1: without entries
	stats  emu.CacheStats
}

type walkLevel struct {
	*Cache
	lg2   uint8
	given int // position in NewWalk's argument
	hits  uint64
}

// NewWalk returns empty caches, or nil without an error if no level has entries. Spans must
// differ. The error wraps ErrGeometry and names the level.
func NewWalk(levels []Level) (*Walk, error) {
	w := &Walk{index: make([]int, len(levels))}
	for i, l := range levels {
		c, err := New(l.Geometry)
		if err != nil {
			return nil, fmt.Errorf("level %d: %w", i, err)
		}
		if l.Lg2 > maxLg2 {
			return nil, fmt.Errorf("level %d: %w: lg2 %d: want 0 to %d", i, ErrGeometry, l.Lg2, maxLg2)
		}
		w.index[i] = -1
		if c != nil {
			w.levels = append(w.levels, walkLevel{Cache: c, lg2: l.Lg2, given: i})
		}
	}
	if len(w.levels) == 0 {
		return nil, nil
	}
	slices.SortStableFunc(w.levels, func(a, b walkLevel) int { return int(a.lg2) - int(b.lg2) })
	for at, l := range w.levels {
		if at > 0 && l.lg2 == w.levels[at-1].lg2 {
			return nil, fmt.Errorf("level %d: %w: lg2 %d: want a span of its own", l.given, ErrGeometry, l.lg2)
		}
		w.index[l.given] = at
	}
	return w, nil
}

// Regions returns the spans of the levels that have entries, as a set: bit lg2.
func Regions(levels []Level) (set uint64) {
	for _, l := range levels {
		if l.Entries() != 0 {
			set |= 1 << l.Lg2
		}
	}
	return set
}

// AsCache returns w as emu.Cache: a nil interface, not a nil in an interface, for a nil w.
func (w *Walk) AsCache() emu.Cache {
	if w == nil {
		return nil
	}
	return w
}

// Probe implements emu.Cache. It counts one look-up, and touches only the entry returned.
func (w *Walk) Probe(key *emu.Key, val *[4]uint64) bool {
	w.stats.Lookups++
	for i := range w.levels {
		l := &w.levels[i]
		if e, h := l.find(key); e != nil {
			w.stats.Hits++
			l.hits++
			l.used(h)
			*val = e.val
			return true
		}
	}
	return false
}

// Overlaps implements emu.Overlapping: whether a table is cached that divides what 2^lg2 bytes at key are.
func (w *Walk) Overlaps(key *emu.Key, lg2 uint8) bool {
	for i := range w.levels {
		l := &w.levels[i]
		if l.lg2 > lg2 {
			break
		}
		if e, _ := l.find(key); e != nil {
			return true
		}
	}
	return false
}

// Fill implements emu.Cache. lg2 picks the level; a span that no level has is not cached.
func (w *Walk) Fill(key *emu.Key, lg2 uint8, attr uint32, val *[4]uint64) {
	for i := range w.levels {
		if l := &w.levels[i]; l.lg2 == lg2 {
			l.Fill(key, lg2, attr, val)
			return
		}
	}
}

// Invalidate implements emu.Cache: with MatchAddress it drops every entry whose span, the whole
// region below its table, intersects the range.
func (w *Walk) Invalidate(s *emu.Selector) {
	for i := range w.levels {
		w.levels[i].Invalidate(s)
	}
}

// Reset implements emu.Cache.
func (w *Walk) Reset() {
	for i := range w.levels {
		w.levels[i].Cache.Reset()
	}
}

// Stats returns the counters of all levels together. A probe is one look-up and at most one hit.
func (w *Walk) Stats() emu.CacheStats {
	s := w.stats
	for i := range w.levels {
		l := w.levels[i].Stats()
		s.Fills += l.Fills
		s.Evictions += l.Evictions
		s.Invalidated += l.Invalidated
	}
	return s
}

// LevelStats returns the counters of level i, in the order that NewWalk was given. Every probe
// looks at every level; the hit is counted where the entry returned came from. A level without
// entries has zero counters.
func (w *Walk) LevelStats(i int) emu.CacheStats {
	at := w.index[i]
	if at < 0 {
		return emu.CacheStats{}
	}
	s := w.levels[at].Stats()
	s.Lookups, s.Hits = w.stats.Lookups, w.levels[at].hits
	return s
}

// Entries calls f for each live entry, level by level from the smallest span, until f returns
// false. f must not change the caches.
func (w *Walk) Entries(f func(key emu.Key, lg2 uint8, val [4]uint64) bool) {
	more := true
	for _, l := range w.levels {
		l.Entries(func(key emu.Key, lg2 uint8, val [4]uint64) bool {
			more = f(key, lg2, val)
			return more
		})
		if !more {
			return
		}
	}
}

// Save appends the state of all levels. A nil Walk saves that there is none.
func (w *Walk) Save(e *emu.Encoder) {
	e.Section("walk", stateVersion)
	if w == nil {
		e.U64(0)
		return
	}
	e.U64(uint64(len(w.levels)))
	e.U64(w.stats.Lookups)
	e.U64(w.stats.Hits)
	for _, l := range w.levels {
		e.U64(uint64(l.lg2))
		e.U64(l.hits)
		l.Save(e)
	}
}

// Restore reads what Save wrote into caches of the same levels. On an error, which wraps
// emu.ErrState, they are empty.
func (w *Walk) Restore(d *emu.Decoder) error {
	d.Section("walk", stateVersion)
	n := d.U64()
	if w == nil {
		if n != 0 {
			d.Fail("%d levels, want none", n)
		}
		return d.Err()
	}
	if n != uint64(len(w.levels)) {
		d.Fail("%d levels, want %d", n, len(w.levels))
	}
	w.stats = emu.CacheStats{Lookups: d.U64(), Hits: d.U64()}
	for i := range w.levels {
		l := &w.levels[i]
		if lg2 := d.U64(); d.Err() == nil && lg2 != uint64(l.lg2) {
			d.Fail("level of span 2^%d, want 2^%d", lg2, l.lg2)
		}
		l.hits = d.U64()
		l.Restore(d) // the error sticks to d
	}
	if d.Err() != nil {
		w.Reset()
	}
	return d.Err()
}
