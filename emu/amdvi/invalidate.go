package amdvi

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Caches by what INVALIDATE_IOMMU_PAGES reaches: translations, and with PDE=1 table pointers.
const (
	tlbCaches  = 1<<emu.CacheIOTLB | 1<<emu.CacheStage2
	walkCaches = 1<<emu.CacheWalk | 1<<emu.CacheWalk2
)

func reached(pde bool) emu.CacheSet {
	if pde {
		return tlbCaches | walkCaches
	}
	return tlbCaches
}

// selHost selects host translations of a domain; w1 has the range.
func selHost(s *emu.Selector, did uint32, w1 uint64, pde bool) {
	*s = emu.Selector{Caches: reached(pde), Match: emu.MatchDomain | emu.MatchClass, Domain: did, Classes: 1 << ClassHost}
	selRange(s, w1)
}

// selNested selects the translations of a domain that guest tables over a host table made: a guest
// physical address cannot be compared with theirs.
func selNested(s *emu.Selector, did uint32, pde bool) {
	*s = emu.Selector{Caches: reached(pde), Match: emu.MatchDomain | emu.MatchClass, Domain: did, Classes: 1 << ClassNested}
	if pde {
		s.Caches |= emu.CachePASID.Set()
		s.Classes |= 1 // entries of that cache have no class
	}
}

// selGuest selects the translations of a PASID of a domain. With PDE=1 the GCR3 table entry goes too.
func selGuest(s *emu.Selector, did uint32, p emu.PASID, w1 uint64, pde bool) {
	*s = emu.Selector{Caches: reached(pde), Domain: did, PASID: p, Classes: 1<<ClassGuest | 1<<ClassNested}
	s.Match = emu.MatchDomain | emu.MatchPASID | emu.MatchClass
	if pde {
		s.Caches |= emu.CachePASID.Set()
		s.Classes |= 1
	}
	selRange(s, w1)
}

// selRange restricts s to the range of the second word of a command: one page, or with S=1 a block
// of the size that the lowest 0 of the address tells. Bits 62:12 all set are everything.
func selRange(s *emu.Selector, w1 uint64) {
	addr, lg2 := w1&spec.CmdAddr.Mask(), uint8(emu.PageShift)
	if spec.CmdS.On(w1) {
		if addr&spec.AllPages == spec.AllPages {
			return
		}
		lg2 = uint8(bits.TrailingZeros64(^addr>>emu.PageShift)) + emu.PageShift + 1
	}
	s.Match |= emu.MatchAddress
	s.First, s.Last = addr&^reg.Ones(lg2), addr|reg.Ones(lg2)
}
