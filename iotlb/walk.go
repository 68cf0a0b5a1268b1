package iotlb

import (
	"fmt"

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
type Walk struct {
	levels []*Cache // by ascending span
	lg2    []uint8
	index  []int // in the order that NewWalk was given; -1 for a level without entries
	stats  emu.CacheStats
	hits   []uint64
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
		if c == nil {
			continue
		}
		at := len(w.levels)
		for at > 0 && w.lg2[at-1] >= l.Lg2 {
			if at--; w.lg2[at] == l.Lg2 {
				return nil, fmt.Errorf("level %d: %w: lg2 %d: want a span of its own", i, ErrGeometry, l.Lg2)
			}
		}
		w.levels = append(w.levels, nil)
		w.lg2 = append(w.lg2, 0)
		copy(w.levels[at+1:], w.levels[at:])
		copy(w.lg2[at+1:], w.lg2[at:])
		w.levels[at], w.lg2[at] = c, l.Lg2
	}
	if len(w.levels) == 0 {
		return nil, nil
	}
	for i, l := range levels {
		for at, c := range w.levels {
			if w.lg2[at] == l.Lg2 && c.geom == l.Geometry && l.Entries() != 0 {
				w.index[i] = at
			}
		}
	}
	w.hits = make([]uint64, len(w.levels))
	return w, nil
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
	for i, c := range w.levels {
		h := c.find(key)
		if h < 0 {
			continue
		}
		w.stats.Hits++
		w.hits[i]++
		c.used(h)
		*val = c.entries[h].val
		return true
	}
	return false
}

// Fill implements emu.Cache. lg2 picks the level; a span that no level has is not cached.
func (w *Walk) Fill(key *emu.Key, lg2 uint8, attr uint32, val *[4]uint64) {
	for i, c := range w.levels {
		if w.lg2[i] == lg2 {
			c.Fill(key, lg2, attr, val)
			return
		}
	}
}

// Invalidate implements emu.Cache: with MatchAddress it drops every entry whose span, the whole
// region below its table, intersects the range.
func (w *Walk) Invalidate(s *emu.Selector) {
	for _, c := range w.levels {
		c.Invalidate(s)
	}
}

// Reset implements emu.Cache.
func (w *Walk) Reset() {
	for _, c := range w.levels {
		c.Reset()
	}
}

// Stats returns the counters of all levels together. A probe is one look-up and at most one hit.
func (w *Walk) Stats() emu.CacheStats {
	s := w.stats
	for _, c := range w.levels {
		s.Fills += c.stats.Fills
		s.Evictions += c.stats.Evictions
		s.Invalidated += c.stats.Invalidated
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
	s := w.levels[at].stats
	s.Lookups, s.Hits = w.stats.Lookups, w.hits[at]
	return s
}

// Entries calls f for each live entry, level by level from the smallest span, until f returns
// false. f must not change the caches.
func (w *Walk) Entries(f func(key emu.Key, lg2 uint8, val [4]uint64) bool) {
	more := true
	for _, c := range w.levels {
		c.Entries(func(key emu.Key, lg2 uint8, val [4]uint64) bool {
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
	for i, c := range w.levels {
		e.U64(uint64(w.lg2[i]))
		e.U64(w.hits[i])
		c.Save(e)
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
	for i, c := range w.levels {
		if lg2 := d.U64(); lg2 != uint64(w.lg2[i]) {
			d.Fail("level of span 2^%d, want 2^%d", lg2, w.lg2[i])
		}
		w.hits[i] = d.U64()
		c.Restore(d) // the error sticks to d
	}
	if d.Err() != nil {
		w.Reset()
	}
	return d.Err()
}
