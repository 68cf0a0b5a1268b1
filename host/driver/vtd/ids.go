package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/host"
)

// The ids that are not handed out: 0, and the one of all pass-through entries.
const (
	didNone     = 0
	didIdentity = 1
	didFirst    = 2
)

// ids hands out domain ids, the lowest free one first.
type ids struct {
	used []bool
	low  uint32 // none below is free
}

func (s *ids) init(n uint32) {
	s.used = make([]bool, n)
	s.low = didFirst
	for i := range min(n, didFirst) {
		s.used[i] = true
	}
}

// take returns a free id, or want if that is free.
func (s *ids) take(want uint32) (uint32, error) {
	if want != 0 {
		if want >= uint32(len(s.used)) || s.used[want] {
			return 0, fmt.Errorf("vtd: domain id %d of %d: %w", want, len(s.used), host.ErrBusy)
		}
		s.used[want] = true
		return want, nil
	}
	for ; s.low < uint32(len(s.used)); s.low++ {
		if !s.used[s.low] {
			s.used[s.low] = true
			s.low++
			return s.low - 1, nil
		}
	}
	return 0, fmt.Errorf("vtd: all %d domain ids: %w", len(s.used), host.ErrNoID)
}

// reserve takes an id that an earlier system uses, whatever it is.
func (s *ids) reserve(id uint32) {
	if id < uint32(len(s.used)) {
		s.used[id] = true
	}
}

// peek returns an id that take would give out, without taking it; 0 if there is none.
func (s *ids) peek() uint32 {
	for id := s.low; id < uint32(len(s.used)); id++ {
		if !s.used[id] {
			return id
		}
	}
	return 0
}

// put takes an id back that no cache holds any more.
func (s *ids) put(id uint32) {
	if id < didFirst || id >= uint32(len(s.used)) {
		return // of an earlier system
	}
	s.used[id] = false
	s.low = min(s.low, id)
}
