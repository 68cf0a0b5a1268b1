package search

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pasid"
)

// Sets of lines answer as the caches of the units do, as long as those have room.
func TestCaches_AnswerAsTheRealOnes(t *testing.T) {
	g := iotlb.Geometry{Sets: 16, Ways: 32}
	tlb, err := iotlb.New(g)
	require.NoError(t, err)
	walk, err := iotlb.NewWalk([]iotlb.Level{{Lg2: 21, Geometry: g}, {Lg2: 30, Geometry: g}})
	require.NoError(t, err)
	entries, err := pasid.New(g)
	require.NoError(t, err)
	real := map[emu.CacheID]emu.Cache{emu.CacheIOTLB: tlb, emu.CacheWalk: walk, emu.CachePASID: entries}
	ids := []emu.CacheID{emu.CacheIOTLB, emu.CacheWalk, emu.CachePASID}
	spans := map[emu.CacheID][]uint8{emu.CacheIOTLB: {12, 21}, emu.CacheWalk: {21, 30}, emu.CachePASID: {0}}

	r := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) int { return r.IntN(n) }
	tag := func(c emu.CacheID) emu.Tag {
		domain := uint32(1 + pick(2))
		if c == emu.CachePASID {
			domain = 0
		}
		return emu.MakeTag(emu.Class(1+pick(2)), domain, []emu.PASID{emu.NoPASID, 1}[pick(2)])
	}
	addr := func(c emu.CacheID) uint64 {
		if c == emu.CachePASID {
			return uint64(pick(4))
		}
		return uint64(pick(4))<<12 | uint64(pick(2))<<21 | uint64(pick(2))<<30
	}
	c := caches{lineID: map[line]int32{}, sets: [][]int32{nil}, setID: map[string]int32{"": 0}, afterFill: map[[2]int32]int32{}, afterDrop: map[drop]int32{}}
	for _, id := range ids {
		c.has[id] = true
	}
	set, hits, dropped := int32(0), 0, 0
	for i := range 20_000 {
		id := ids[pick(len(ids))]
		a := &emu.Act{Cache: id, Key: emu.Key{Tag: tag(id), Addr: addr(id)}}
		switch pick(8) {
		case 0:
			s := &emu.Selector{
				Caches: emu.CacheSet(pick(256)), Match: emu.Match(pick(64)), Classes: uint32(pick(8)), Kinds: 1 | uint32(pick(8)), Domain: uint32(1 + pick(2)),
				PASID: []emu.PASID{emu.NoPASID, 1}[pick(2)], Source: emu.SourceID(pick(4)), SourceMask: emu.SourceID(pick(2)),
				First: addr(emu.CacheIOTLB), Last: addr(emu.CacheIOTLB) | 0xfff,
			}
			before := len(c.sets[set])
			set = c.dropped(set, s)
			dropped += before - len(c.sets[set])
			for id, cache := range real {
				if s.Caches.Has(id) {
					cache.Invalidate(s)
				}
			}
		case 1, 2, 3:
			a.Lg2, a.Attr, a.Data = spans[id][pick(len(spans[id]))], uint32(1+pick(2)), [4]uint64{uint64(i)}
			set = c.filled(set, a)
			real[id].Fill(&a.Key, a.Lg2, a.Attr, &a.Data)
		default:
			var v [4]uint64
			ok := real[id].Probe(&a.Key, &v)
			found := c.found(set, a)
			require.Equal(t, ok, len(found) > 0, "%d: %+v", i, a)
			if ok {
				require.Equal(t, v, c.lines[found[0]].val, "%d: %+v", i, a)
				hits++
			}
		}
	}
	require.Greater(t, hits, 1000)
	require.Greater(t, dropped, 1000)
}
