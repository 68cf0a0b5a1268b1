// Package caches is the set of caches that a unit has: made from its configuration, found by
// emu.CacheID, saved and restored together.
package caches

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pasid"
)

// Set has a cache for each emu.CacheID. One that the unit lacks is nil.
type Set struct {
	Entry     *pasid.Cache
	PASID     *pasid.Cache
	IOTLB     *iotlb.Cache
	Stage2    *iotlb.Cache
	Interrupt *iotlb.Cache
	Walk      *iotlb.Walk
	Walk2     *iotlb.Walk
}

// Sized is the size of a cache and the name that the unit's configuration has for it.
type Sized struct {
	Name     string
	Geometry iotlb.Geometry
}

// Levels is the same for the caches of paging structures.
type Levels struct {
	Name   string
	Levels []iotlb.Level
}

// Config has the sizes of a Set's caches. The zero value of a field is a cache that is not there.
type Config struct {
	Entry, PASID, IOTLB, Stage2, Interrupt Sized
	Walk, Walk2                            Levels
}

// New returns empty caches. An error has the name of the cache in it and wraps iotlb.ErrGeometry.
func New(c Config) (Set, error) {
	var s Set
	for _, f := range []struct {
		name  string
		build func() error
	}{
		{c.Entry.Name, func() (err error) { s.Entry, err = pasid.New(c.Entry.Geometry); return err }},
		{c.PASID.Name, func() (err error) { s.PASID, err = pasid.New(c.PASID.Geometry); return err }},
		{c.IOTLB.Name, func() (err error) { s.IOTLB, err = iotlb.New(c.IOTLB.Geometry); return err }},
		{c.Stage2.Name, func() (err error) { s.Stage2, err = iotlb.New(c.Stage2.Geometry); return err }},
		{c.Interrupt.Name, func() (err error) { s.Interrupt, err = iotlb.New(c.Interrupt.Geometry); return err }},
		{c.Walk.Name, func() (err error) { s.Walk, err = iotlb.NewWalk(c.Walk.Levels); return err }},
		{c.Walk2.Name, func() (err error) { s.Walk2, err = iotlb.NewWalk(c.Walk2.Levels); return err }},
	} {
		if err := f.build(); err != nil {
			return Set{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return s, nil
}

// Get returns the cache behind an id, or nil if the set lacks it.
func (s *Set) Get(id emu.CacheID) emu.Cache {
	switch id {
	case emu.CacheEntry:
		return s.Entry.AsCache()
	case emu.CachePASID:
		return s.PASID.AsCache()
	case emu.CacheIOTLB:
		return s.IOTLB.AsCache()
	case emu.CacheWalk:
		return s.Walk.AsCache()
	case emu.CacheWalk2:
		return s.Walk2.AsCache()
	case emu.CacheStage2:
		return s.Stage2.AsCache()
	case emu.CacheInterrupt:
		return s.Interrupt.AsCache()
	}
	return nil
}

// Reset empties all caches.
func (s *Set) Reset() {
	for id := range emu.NumCaches {
		if c := s.Get(id); c != nil {
			c.Reset()
		}
	}
}

// Save appends the caches to e.
func (s *Set) Save(e *emu.Encoder) {
	s.Entry.Save(e)
	s.PASID.Save(e)
	s.IOTLB.Save(e)
	s.Walk.Save(e)
	s.Walk2.Save(e)
	s.Stage2.Save(e)
	s.Interrupt.Save(e)
}

// Restore reads back what Save wrote of caches of the same sizes.
func (s *Set) Restore(d *emu.Decoder) error {
	for _, restore := range []func(*emu.Decoder) error{
		s.Entry.Restore, s.PASID.Restore, s.IOTLB.Restore, s.Walk.Restore, s.Walk2.Restore, s.Stage2.Restore, s.Interrupt.Restore,
	} {
		if err := restore(d); err != nil {
			return err
		}
	}
	return nil
}
