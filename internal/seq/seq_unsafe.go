// Package seq has values that one goroutine publishes and others read without locks.
package seq

import (
	"unsafe"

	"gvisor.dev/gvisor/pkg/gohacks"
	"gvisor.dev/gvisor/pkg/sync"
)

// Value is a T behind a sequence counter: readers never block the writer and never see half of a
// value. T must not contain pointers: a torn copy exists for a moment before it is thrown away.
// The zero Value holds the zero T.
type Value[T any] struct {
	count sync.SeqCount
	v     T
}

// Store publishes v. There is one writer at a time.
func (s *Value[T]) Store(v T) {
	s.count.BeginWrite()
	move(&s.v, &v)
	s.count.EndWrite()
}

// Load returns the value last published.
func (s *Value[T]) Load() T {
	for {
		epoch := s.count.BeginRead()
		var v T
		move(&v, &s.v)
		if s.count.ReadOk(epoch) {
			return v
		}
	}
}

// move copies a T in a way that the race detector does not see: the counter is what makes the copy
// safe, and the detector does not know it.
func move[T any](dst, src *T) {
	if sync.RaceEnabled {
		gohacks.Memmove(unsafe.Pointer(dst), unsafe.Pointer(src), unsafe.Sizeof(*dst))
		return
	}
	*dst = *src
}
