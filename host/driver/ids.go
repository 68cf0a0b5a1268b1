package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/host"
)

// IDs hands out the ids by which caches tell domains apart, the lowest free one first.
type IDs struct {
	name  string // of the driver, for errors
	used  []bool
	first uint32 // lower ones are never handed out
	low   uint32 // none below is free
	base  uint32 // what ids are counted from
}

// NewIDs returns the ids from first to n-1.
func NewIDs(name string, first, n uint32) IDs {
	s := IDs{name: name, used: make([]bool, n), first: first, low: first}
	for i := range min(n, first) {
		s.used[i] = true
	}
	return s
}

// From returns the ids with base added to each: where an architecture has ids of two kinds, they are told
// apart by that.
func (s IDs) From(base uint32) IDs {
	s.base = base
	return s
}

// Has reports whether an id is one of these, free or not.
func (s *IDs) Has(id uint32) bool { return id >= s.base && id-s.base < uint32(len(s.used)) }

// Take returns a free id, or want if that is free; want 0 is any.
//
// Errors: host.ErrBusy, host.ErrNoID.
func (s *IDs) Take(want uint32) (uint32, error) {
	if want != 0 {
		if !s.Has(want) || s.used[want-s.base] {
			return 0, fmt.Errorf("%s: domain id %d of %d: %w", s.name, want, len(s.used), host.ErrBusy)
		}
		s.used[want-s.base] = true
		return want, nil
	}
	for ; s.low < uint32(len(s.used)); s.low++ {
		if !s.used[s.low] {
			s.used[s.low] = true
			s.low++
			return s.base + s.low - 1, nil
		}
	}
	return 0, fmt.Errorf("%s: all %d domain ids: %w", s.name, len(s.used), host.ErrNoID)
}

// Reserve takes an id that an earlier system uses, whatever it is.
func (s *IDs) Reserve(id uint32) {
	if s.Has(id) {
		s.used[id-s.base] = true
	}
}

// Peek returns an id that Take would give out, without taking it; 0 if there is none.
func (s *IDs) Peek() uint32 {
	for id := s.low; id < uint32(len(s.used)); id++ {
		if !s.used[id] {
			return s.base + id
		}
	}
	return 0
}

// Put takes an id back that no cache holds any more.
func (s *IDs) Put(id uint32) {
	if !s.Has(id) || id-s.base < s.first {
		return // of an earlier system
	}
	s.used[id-s.base] = false
	s.low = min(s.low, id-s.base)
}
