package timing

import "github.com/iommulab/iommulab/emu"

// UnitStats counts what happened around a unit.
type UnitStats struct {
	Cache         [emu.NumCaches]emu.CacheStats
	Walks         uint64 // page walks begun
	Merged        uint64 // requests that waited for the fetch of another
	MemoryReads   uint64 // reads by the unit, each atomic part counted
	Invalidations uint64 // invalidations executed
	MaxStall      uint64 // cycles: longest wait of a request for an invalidation
}

// UnitStats returns the counters of unit i.
func (m *Machine) UnitStats(i int) UnitStats {
	p := m.ports[i]
	s := UnitStats{
		Walks: p.walks, Merged: p.merged, MemoryReads: p.memReads,
		Invalidations: p.invalidations, MaxStall: p.maxStall,
	}
	for c := range p.cache {
		if p.cache[c] != nil {
			s.Cache[c] = p.cache[c].Stats()
		}
	}
	return s
}
