package smmuv3

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Kinds of cached translations and paging structures: the granule and the level of the descriptor that they
// were made from. An invalidation by address may name both (4.4.1: TG, TTL); it has to drop no others. What both
// stages made together is of stage 1's kind.
//
//	kindsOfGranule*(TG-1) + level              a block or page, levels 0 to 3
//	kindsOfGranule*(TG-1) + kindTable + level  a descriptor of a table, levels 1 to 4
const (
	kindsOfGranule = 8
	kindTable      = 3
)

// kindOf returns the kind of a descriptor, of a table or not, of a level under a regime.
func kindOf(r regime, level int8, table bool) uint32 {
	k := uint32(r&3-1)*kindsOfGranule + uint32(level)
	if table {
		k += kindTable
	}
	return k
}

// leafKind returns the kind of the translation that t has found in its tables.
func leafKind(t *emu.Txn) uint32 {
	r := reg1(t)
	if !flag(t, auxS1) {
		r = reg2(t)
	}
	return kindOf(r, t.Frame[0].Level, false)
}

// leafSizes are the sizes, log2 of bytes, of the leaves of each kind; 0 for tables.
var leafSizes = func() (list [32]uint8) {
	for tg := uint64(1); tg <= 3; tg++ {
		for level := int8(0); level < kindTable; level++ {
			list[kindsOfGranule*(tg-1)+uint64(level)] = spec.GranuleTLBI(tg).Shift(level)
		}
	}
	return list
}()

// pieces adds to the selectors of an invalidation by virtual address. Where stage 2 has a block of stage 1 in smaller
// parts these are cached by themselves, and an invalidation of any address of the block drops all of them
// (DDI 0487 D8.17). So behind each selector comes one for each kind of which there are parts, of whole blocks.
func pieces(sel func(*Unit, *emu.Selector, *[8]uint64, int) bool) func(*Unit, *emu.Selector, *[8]uint64, int) bool {
	return func(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
		kinds := u.s.Pieces
		each := 1 + bits.OnesCount32(kinds)
		if !sel(u, s, w, i/each) {
			return false
		}
		if i %= each; i == 0 {
			return true
		}
		for ; i > 1; i-- {
			kinds &= kinds - 1
		}
		kind := uint32(bits.TrailingZeros32(kinds))
		if s.First > s.Last || s.Match&emu.MatchKind != 0 && s.Kinds>>kind&1 == 0 {
			s.First, s.Last = ^uint64(0), 0
			return true
		}
		s.Caches, s.Match, s.Kinds = emu.CacheIOTLB.Set(), s.Match|emu.MatchKind, 1<<kind
		s.First, s.Last = s.First&^ones(leafSizes[kind]), s.Last|ones(leafSizes[kind])
		return true
	}
}

// selKinds restricts s to what a command with TG must drop: translations of the granule, of the level that TTL
// names if it does, and descriptors of tables above that level.
func (u *Unit) selKinds(s *emu.Selector, w *[8]uint64) {
	tg := spec.TlbiTG.Of(w[1])
	if !u.cfg.RIL || tg == 0 {
		return
	}
	kinds := uint32(1<<kindsOfGranule - 1)
	if ttl := u.ttl(w); ttl != 0 {
		level := uint64(spec.Level(int8(ttl)))
		kinds = 1<<level | kinds>>(kindTable+1+level)<<(kindTable+1+level)
	}
	s.Match |= emu.MatchKind
	s.Kinds = kinds << (kindsOfGranule * (tg - 1))
}

// ttl returns TTL of a command with TG, as far as it counts: there are no blocks at level 1 of the 16K granule
// without 52-bit descriptors.
func (u *Unit) ttl(w *[8]uint64) uint64 {
	ttl := spec.TlbiTTL.Of(w[1])
	if ttl == 1 && spec.TlbiTG.Of(w[1]) == spec.TlbiTG16K && !u.cfg.DS {
		return 0
	}
	return ttl
}

// aligned reports whether the address of a command with TG is one that its level, or its granule, can have. The
// range of others is unpredictable (4.4.1).
func (u *Unit) aligned(w *[8]uint64) bool {
	g := spec.GranuleTLBI(spec.TlbiTG.Of(w[1]))
	lg2 := uint8(g)
	if ttl := u.ttl(w); ttl != 0 {
		lg2 = g.Shift(spec.Level(int8(ttl)))
	}
	return w[1]&spec.CmdAddr.Mask()&ones(lg2) == 0
}
