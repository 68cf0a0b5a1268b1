package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Caches by what an invalidation reaches, 6.5.1.
const (
	tlbCaches  = 1<<emu.CacheIOTLB | 1<<emu.CacheStage2
	walkCaches = 1<<emu.CacheWalk | 1<<emu.CacheWalk2
	allCaches  = 1<<emu.CacheEntry | 1<<emu.CachePASID | tlbCaches | walkCaches
)

// inFlightInterrupts marks the interrupt requests in flight and drops nothing: no entry has the class.
var inFlightInterrupts = emu.Selector{
	Caches: emu.CacheInterrupt.Set(), Match: emu.MatchClass, Classes: 1 << ClassInterrupt,
}

// selInterrupts selects interrupt entries: all, or an aligned block of 2^im from an index on.
func selInterrupts(s *emu.Selector, selective bool, index, im uint64) {
	*s = emu.Selector{Caches: emu.CacheInterrupt.Set()}
	if selective {
		m := reg.Ones(uint8(im))
		s.Match, s.First, s.Last = emu.MatchAddress, index&^m, index|m
	}
}

// fmMask returns the function bits that do not matter: from bit 2 downwards.
func fmMask(fm uint64) emu.SourceID { return emu.SourceID(7 &^ (7 >> fm)) }

// selContext selects entries of the context-cache. In scalable mode they carry no domain:
// domain-selective becomes global, and device-selective ignores the domain.
func (u *Unit) selContext(s *emu.Selector, g, did, sid, fm uint64) {
	*s = emu.Selector{Caches: emu.CacheEntry.Set()}
	if g != spec.GranGlobal && u.ttm() == spec.TTMLegacy {
		s.Match |= emu.MatchDomain
		s.Domain = uint32(did)
	}
	if g == spec.GranDevice {
		s.Match |= emu.MatchSource
		s.Source, s.SourceMask = emu.SourceID(sid), fmMask(fm)
	}
}

// selPASID selects entries of the PASID-cache.
func selPASID(s *emu.Selector, g, did, pasid uint64) {
	*s = emu.Selector{Caches: emu.CachePASID.Set()}
	if g == spec.GranPCGlobal {
		return
	}
	s.Match, s.Domain = emu.MatchDomain, uint32(did)
	if g == spec.GranPCPASID {
		s.Match |= emu.MatchPASID
		s.PASID = emu.PASID(pasid)
	}
}

// selDomain selects all translations, or those of a domain.
func selDomain(s *emu.Selector, g, did uint64) {
	*s = emu.Selector{Caches: tlbCaches | walkCaches}
	if g != spec.GranGlobal {
		s.Match, s.Domain = emu.MatchDomain, uint32(did)
	}
}

// selPages selects second-stage translations of a domain by address. With the hint set, table
// pointers above the leaves may stay.
func selPages(s *emu.Selector, did, addr, am uint64, hint bool) {
	*s = emu.Selector{Caches: tlbCaches | walkCaches, Domain: uint32(did), Classes: 1 << ClassSS}
	s.Match = emu.MatchDomain | emu.MatchClass | emu.MatchAddress
	if hint {
		s.Caches = tlbCaches
	}
	s.First, s.Last = pages(addr, am)
}

// selGuest selects the first-stage and nested translations of a domain: an address of the second
// stage cannot be compared with theirs. The hint does not save their table pointers: it is about the
// tables of the second stage, and a nested table pointer has a leaf of the second stage in it.
func selGuest(s *emu.Selector, did uint64) {
	*s = emu.Selector{Caches: tlbCaches | walkCaches, Domain: uint32(did), Classes: 1<<ClassFS | 1<<ClassNested}
	s.Match = emu.MatchDomain | emu.MatchClass
}

// selProcess selects the translations of a PASID of a domain, or some pages of them. Second-stage
// translations carry no PASID and are not reached.
func selProcess(s *emu.Selector, g, did, pasid, addr, am uint64, hint bool) {
	*s = emu.Selector{Caches: tlbCaches | walkCaches, Domain: uint32(did), PASID: emu.PASID(pasid)}
	s.Match = emu.MatchDomain | emu.MatchPASID | emu.MatchClass
	s.Classes = 1<<ClassFS | 1<<ClassNested | 1<<ClassPT
	if g == spec.GranPASIDPage {
		s.Match |= emu.MatchAddress
		s.Classes = 1<<ClassFS | 1<<ClassNested
		s.First, s.Last = pages(addr, am)
		if hint {
			s.Caches = tlbCaches
		}
	}
}

// pages returns the aligned block of 2^am pages around addr.
func pages(addr, am uint64) (first, last uint64) {
	m := reg.Ones(uint8(min(am, 52)) + emu.PageShift)
	return addr &^ m, addr | m
}
