package iotlb

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

func TestGeometry_Validate(t *testing.T) {
	for _, g := range []Geometry{{}, {Sets: 0, Ways: 4}, {Sets: 3}, {Sets: 1, Ways: 117}, {Sets: 1 << 19, Ways: 1}, {Sets: 1, Ways: 1 << 22}} {
		require.NoError(t, g.Validate(), "%+v", g)
	}
	for _, g := range []Geometry{
		{Sets: 3, Ways: 4}, {Sets: -1, Ways: 4}, {Sets: 4, Ways: -4}, {Sets: 1 << 20, Ways: 1}, {Sets: 2, Ways: 1<<21 + 1},
		{Sets: 1 << 40, Ways: 1 << 40}, {Sets: 1, Ways: 3, Policy: TreePLRU},
		{Sets: 1, Ways: 128, Policy: TreePLRU}, {Sets: 1, Ways: 1, Policy: numPolicies},
		{Sets: 1, Ways: 1, Index: numIndexes},
	} {
		_, err := New(g)
		require.ErrorIs(t, err, ErrGeometry, "%+v", g)
	}
}

func TestNew_NoEntriesIsNilInterface(t *testing.T) {
	c, err := New(Geometry{Sets: 0, Ways: 4})
	require.NoError(t, err)
	require.Nil(t, c)
	require.True(t, c.AsCache() == nil)
	w, err := NewWalk([]Level{{Lg2: 21}})
	require.NoError(t, err)
	require.True(t, w.AsCache() == nil)

	var e emu.Encoder
	c.Save(&e)
	w.Save(&e)
	d := emu.NewDecoder(e.Bytes())
	require.NoError(t, c.Restore(d))
	require.NoError(t, w.Restore(d))
	require.ErrorIs(t, mustNew(t, Geometry{Sets: 1, Ways: 1}).Restore(emu.NewDecoder(e.Bytes())), emu.ErrState)
}

func TestGeometry_JSON(t *testing.T) {
	g := Geometry{Sets: 16, Ways: 4, Policy: TreePLRU, Index: Plain, Seed: 3}
	b, err := json.Marshal(g)
	require.NoError(t, err)
	require.JSONEq(t, `{"sets":16,"ways":4,"policy":"tree-plru","index":"plain","seed":3}`, string(b))
	var back Geometry
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, g, back)
	_, err = ParsePolicy("belady")
	require.ErrorIs(t, err, ErrGeometry)
	require.Equal(t, "16x4 tree-plru", g.String())
}

func fill(c emu.Cache, class emu.Class, domain uint32, p emu.PASID, addr uint64, lg2 uint8) {
	c.Fill(&emu.Key{Tag: emu.MakeTag(class, domain, p), Addr: addr}, lg2, 0, &[4]uint64{addr, uint64(lg2)})
}

func has(c emu.Cache, class emu.Class, domain uint32, p emu.PASID, addr uint64) bool {
	var val [4]uint64
	return c.Probe(&emu.Key{Tag: emu.MakeTag(class, domain, p), Addr: addr}, &val)
}

func TestProbe_SmallerPageHitsFirst(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 16, Ways: 4})
	fill(c, 0, 1, emu.NoPASID, 0x20_0000, 21)
	fill(c, 0, 1, emu.NoPASID, 0x20_3000, 12)
	fill(c, 0, 1, emu.NoPASID, 1<<63, 64) // cut to 2^63
	var val [4]uint64
	for addr, lg2 := range map[uint64]uint64{0x20_3fff: 12, 0x20_4000: 21, 0x3f_ffff: 21, math.MaxUint64: 64} {
		require.True(t, c.Probe(&emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID), Addr: addr}, &val))
		require.Equal(t, lg2, val[1], "%#x", addr)
	}
}

func TestOverlaps_LargerPagesOfTheKeyOnly(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 16, Ways: 4})
	key := &emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID), Addr: 0x20_3000}
	fill(c, 0, 1, emu.NoPASID, 0x20_3000, 12)
	require.False(t, c.Overlaps(key, 12), "the page itself")
	fill(c, 0, 2, emu.NoPASID, 0x20_0000, 21)
	fill(c, 1, 1, emu.NoPASID, 0x20_0000, 21)
	fill(c, 0, 1, emu.NoPASID, 0x40_0000, 21)
	require.False(t, c.Overlaps(key, 12), "of others, and another page")
	fill(c, 0, 1, emu.NoPASID, 0x20_0000, 21)
	require.True(t, c.Overlaps(key, 12))
	require.False(t, c.Overlaps(key, 21), "none is larger than that")
	c.Invalidate(&emu.Selector{Match: emu.MatchDomain, Domain: 1})
	require.False(t, c.Overlaps(key, 12))
}

func TestInvalidatePage_TakesLargerPagesThatOverlap(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 16, Ways: 4})
	for _, lg2 := range []uint8{12, 21, 30} {
		fill(c, 0, 1, emu.NoPASID, 0x4000_0000, lg2)
		fill(c, 0, 2, emu.NoPASID, 0x4000_0000, lg2)
	}
	c.Invalidate(&emu.Selector{Match: emu.MatchDomain | emu.MatchAddress, Domain: 1, First: 0x4000_0000, Last: 0x4000_0fff})
	require.False(t, has(c, 0, 1, emu.NoPASID, 0x4000_0000))
	require.Equal(t, 3, c.Len())
	require.Equal(t, uint64(3), c.Stats().Invalidated)
}

func TestInvalidateRange_TakesExactlyThePages(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 16, Ways: 4})
	for p := range uint64(16) {
		fill(c, 0, 1, 5, p<<12, 12)
		fill(c, 0, 1, emu.NoPASID, p<<12, 12)
		fill(c, 1, 1, emu.NoPASID, p<<12, 12)
	}
	c.Invalidate(&emu.Selector{Match: emu.MatchDomain | emu.MatchAddress | emu.MatchClass, Classes: 1, Domain: 1, First: 0x3fff, Last: 0x5000})
	for p := range uint64(16) {
		out := p >= 3 && p <= 5
		require.Equal(t, !out, has(c, 0, 1, 5, p<<12))
		require.Equal(t, !out, has(c, 0, 1, emu.NoPASID, p<<12))
		require.True(t, has(c, 1, 1, emu.NoPASID, p<<12))
	}
}

// Entries of one size and owner go by what they were made from.
func TestInvalidateKinds_LeavesOthers(t *testing.T) {
	for _, pages := range []emu.Match{0, emu.MatchAddress, emu.MatchDomain, emu.MatchDomain | emu.MatchAddress} {
		c := mustNew(t, Geometry{Sets: 16, Ways: 4})
		for k := range uint32(32) {
			c.Fill(&emu.Key{Tag: emu.MakeTag(0, 1, 5), Addr: uint64(k) << 12}, 12, k, &[4]uint64{})
		}
		c.Invalidate(&emu.Selector{Match: pages | emu.MatchKind, Domain: 1, Kinds: 1<<31 | 1<<3 | 1<<7, First: 0x3000, Last: 0x1_ffff})
		for k := range uint64(32) {
			require.Equal(t, k != 3 && k != 7 && k != 31, has(c, 0, 1, 5, k<<12), "%d %d", pages, k)
		}
		// A fill in place changes the kind.
		c.Fill(&emu.Key{Tag: emu.MakeTag(0, 1, 5), Addr: 0x1000}, 12, 9, &[4]uint64{})
		c.Invalidate(&emu.Selector{Match: pages | emu.MatchKind, Domain: 1, Kinds: 1 << 1, Last: ^uint64(0)})
		require.True(t, has(c, 0, 1, 5, 0x1000))
		c.Invalidate(&emu.Selector{Match: pages | emu.MatchKind, Domain: 1, Kinds: 1 << 9, Last: ^uint64(0)})
		require.False(t, has(c, 0, 1, 5, 0x1000))
		require.Empty(t, c.broken())
	}
}

// A source restricts nothing, the rest of the selector does.
func TestInvalidateSource_DropsWhatTheRestSelects(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 16, Ways: 4})
	fill(c, 0, 1, emu.NoPASID, 0, 12)
	fill(c, 0, 2, emu.NoPASID, 0, 12)
	c.Invalidate(&emu.Selector{Match: emu.MatchSource | emu.MatchDomain, Source: 9, Domain: 1})
	require.False(t, has(c, 0, 1, emu.NoPASID, 0))
	require.True(t, has(c, 0, 2, emu.NoPASID, 0))
}

// Every domain number is exact: 2^16 dense ones and some far above, one dropped at a time.
func TestInvalidateDomain_KeepsEveryOther(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 1 << 14, Ways: 8})
	domains := make([]uint32, 0, 66000)
	for d := range uint32(1 << 16) {
		domains = append(domains, d)
	}
	for i := range uint32(100) {
		domains = append(domains, 1<<16+i*0x1001_0001)
	}
	for _, d := range domains {
		fill(c, 0, d, emu.NoPASID, 0x1000, 12)
	}
	held := c.Len()
	require.Greater(t, held, 65000, "domains spread over the sets")
	for i := 0; i < len(domains); i += 3 {
		before := c.Stats().Invalidated
		c.Invalidate(&emu.Selector{Match: emu.MatchDomain, Domain: domains[i]})
		require.LessOrEqual(t, c.Stats().Invalidated-before, uint64(1))
	}
	for i, d := range domains {
		if i%3 == 0 {
			require.False(t, has(c, 0, d, emu.NoPASID, 0x1000))
		}
	}
	require.Equal(t, held, c.Len()+int(c.Stats().Invalidated))
	require.Empty(t, c.broken())
}

// A range of any size costs a scan at most: probing 2^51 pages would not end.
func TestInvalidateRange_HugeIsBounded(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 16, Ways: 4})
	for p := range uint64(4) {
		fill(c, 0, 1, emu.PASID(p), p<<30, 12)
		fill(c, 0, 1, emu.PASID(p), p<<30, 0)
	}
	c.Invalidate(&emu.Selector{Match: emu.MatchDomain | emu.MatchAddress, Domain: 1, First: 1 << 30, Last: math.MaxUint64})
	require.Equal(t, 2, c.Len())
	require.True(t, has(c, 0, 1, 0, 0))
}

// An entry whose owner is not the domain of its key is found by its owner, whatever else is asked,
// also after a checkpoint.
func TestInsert_OwnerDecides(t *testing.T) {
	g := Geometry{Sets: 16, Ways: 4}
	key := emu.Key{Tag: emu.MakeTag(0, 0, 5), Addr: 0x3000}
	sel := &emu.Selector{Match: emu.MatchDomain | emu.MatchPASID | emu.MatchAddress, PASID: 5, First: 0x3000, Last: 0x3000}
	for _, restored := range []bool{false, true} {
		c := mustNew(t, g)
		c.Insert(&key, 12, 8, &[4]uint64{})
		c.Insert(&key, 12, 9, &[4]uint64{}) // changes hands
		if restored {
			b := save(c)
			c = mustNew(t, g)
			require.NoError(t, c.Restore(emu.NewDecoder(b)))
		}
		for _, d := range []uint32{0, 8} {
			sel.Domain = d
			c.Invalidate(sel)
			require.Equal(t, 1, c.Len())
		}
		sel.Domain = 9
		c.Invalidate(sel)
		require.Zero(t, c.Len())
		require.Empty(t, c.broken())
	}
}

// Each way an entry of a checkpoint can be wrong has its error, and leaves the cache empty.
func TestRestore_RefusesWhatCannotBe(t *testing.T) {
	good := saved{Handle: 0, Tag: uint64(emu.MakeTag(0, 1, emu.NoPASID)), Domain: 1, Lg2: 12, Age: 1}
	g := Geometry{Sets: 4, Ways: 2, Index: Plain}
	for want, entries := range map[error][]saved{
		nil:      {good},
		errPlace: {{Handle: 3, Tag: good.Tag, Domain: 1, Lg2: 12}},
		errTag:   {{Tag: 1 << 53, Lg2: 12}},
		errPage:  {{Tag: good.Tag, Domain: 1, Lg2: 12, Page: 1 << 52}},
		errSet:   {{Handle: 8, Tag: good.Tag, Domain: 1, Lg2: 12}},
		errTwice: {good, {Handle: 1, Tag: good.Tag, Domain: 1, Lg2: 12}},
		errKind:  {{Tag: good.Tag, Domain: 1, Lg2: 12, Kind: 32}},
		errAge:   {{Tag: good.Tag, Domain: 1, Lg2: 12, Age: 2}},
	} {
		c := mustNew(t, g)
		h := c.header()
		h.Tick, h.Entries = 1, uint64(len(entries))
		var e emu.Encoder
		e.Section("iotlb", stateVersion)
		e.Struct(&h)
		e.Words(nil)
		for i := range entries {
			e.Struct(&entries[i])
		}
		err := c.Restore(emu.NewDecoder(e.Bytes()))
		if want == nil {
			require.NoError(t, err)
			require.Equal(t, 1, c.Len())
			continue
		}
		require.ErrorIs(t, err, emu.ErrState)
		require.ErrorContains(t, err, want.Error())
		require.Zero(t, c.Len())
	}
}

func TestGenerationWrap_RevivesNothing(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 1, Ways: 8})
	fill(c, 3, 1, emu.NoPASID, 0x1000, 12)
	c.gens[3] = 1 // as at the start
	c.Invalidate(&emu.Selector{Match: emu.MatchClass, Classes: 1 << 3})
	fill(c, 3, 1, emu.NoPASID, 0x2000, 12)
	c.ageForTest() // 2^32-3 invalidations later
	require.True(t, has(c, 3, 1, emu.NoPASID, 0x2000))
	c.Invalidate(&emu.Selector{})
	require.Equal(t, uint32(1), c.gens[3])
	require.False(t, has(c, 3, 1, emu.NoPASID, 0x1000))
	require.False(t, has(c, 3, 1, emu.NoPASID, 0x2000))
	require.Equal(t, uint64(2), c.Stats().Invalidated)
	require.Empty(t, c.broken())
}

// The textbook sequence for a tree of four ways: after 0, 1, 2, 3 the tree points to 0; a use of 0
// moves it to the other half, to 2.
func TestTreePLRU_Textbook(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 1, Ways: 4, Policy: TreePLRU})
	for p := range uint64(4) {
		fill(c, 0, 1, emu.NoPASID, p<<12, 12)
	}
	require.Equal(t, 0, c.pointed(0))
	require.True(t, has(c, 0, 1, emu.NoPASID, 0))
	require.Equal(t, 2, c.pointed(0))
	fill(c, 0, 1, emu.NoPASID, 4<<12, 12)
	require.False(t, has(c, 0, 1, emu.NoPASID, 2<<12))
	require.Equal(t, 1, c.pointed(0))
}

func TestRandom_SeedDecides(t *testing.T) {
	run := func(seed uint64) []byte {
		c := mustNew(t, Geometry{Sets: 4, Ways: 4, Policy: Random, Seed: seed})
		for _, p := range iotlbtest.Stream(1024, 64, 9) {
			fill(c, 0, 1, emu.NoPASID, p<<12, 12)
		}
		c.geom.Seed = 0
		return save(c)
	}
	require.Equal(t, run(1), run(1))
	require.NotEqual(t, run(1), run(2))
}

// Uniform random use of P pages through N fully associative entries hits with probability N/P: LRU
// and random replacement alike keep a uniformly random subset.
func TestHitRate_ClosedForm(t *testing.T) {
	const warm, n = 20_000, 400_000
	for _, p := range []Policy{LRU, Random, FIFO} {
		for _, pages := range []uint64{128, 256, 1024} {
			g := Geometry{Sets: 1, Ways: 117, Policy: p, Seed: 5}
			c := mustNew(t, g)
			hits := 0
			var val [4]uint64
			for i, page := range iotlbtest.Stream(warm+n, pages, 11) {
				key := emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID), Addr: page << 12}
				if !c.Probe(&key, &val) {
					c.Fill(&key, 12, 0, &val)
				} else if i >= warm {
					hits++
				}
			}
			want := float64(g.Ways) / float64(pages)
			sigma := math.Sqrt(want * (1 - want) / n)
			require.InDelta(t, want, float64(hits)/n, 6*sigma, "%v %d pages", p, pages)
		}
	}
}

// As many pages as entries, in an aligned run, never miss under either index; sixteen domains with
// the same few pages fit only if the index mixes the domain in.
func TestIndex_Spreads(t *testing.T) {
	for _, x := range []Index{Mixed, Plain} {
		c := mustNew(t, Geometry{Sets: 64, Ways: 1, Index: x})
		for p := range uint64(64) {
			fill(c, 0, 7, emu.NoPASID, p<<12, 12)
		}
		require.Equal(t, 64, c.Len())
	}
	held := func(x Index, f func(c *Cache)) int {
		c := mustNew(t, Geometry{Sets: 512, Ways: 8, Index: x})
		f(c)
		return c.Len()
	}
	manyPASIDs := func(c *Cache) {
		for p := range emu.PASID(1024) {
			fill(c, 0, 7, p, 0x1000, 12)
		}
	}
	manyStrides := func(c *Cache) {
		for p := range uint64(1024) {
			fill(c, 0, 7, emu.NoPASID, p<<21, 12)
		}
	}
	manyDomains := func(c *Cache) {
		for d := range uint32(1024) {
			fill(c, 0, d, emu.NoPASID, 0x1000, 12)
		}
	}
	require.Equal(t, 8, held(Plain, manyDomains))
	require.Equal(t, 8, held(Plain, manyStrides))
	require.Greater(t, held(Mixed, manyStrides), 1000)
	require.Greater(t, held(Mixed, manyDomains), 1000)
	require.Greater(t, held(Mixed, manyPASIDs), 1000)
}

func TestAllocations_None(t *testing.T) {
	for _, g := range testGeometries {
		c := mustNew(t, g)
		val := [4]uint64{1}
		i := uint64(0)
		ops := func() {
			i++
			key := emu.Key{Tag: emu.MakeTag(emu.Class(i%3), uint32(i%5), emu.PASID(i%4)), Addr: i % 50 << 12}
			c.Fill(&key, 12+uint8(i%2)*9, 0, &val)
			c.Probe(&key, &val)
			if h, ok := c.Peek(&key, &val); ok {
				c.Touch(h)
			}
			s := emu.Selector{Match: emu.Match(i / 7 % 32), Domain: uint32(i % 5), Classes: 2, First: key.Addr, Last: key.Addr + i<<10}
			if i%7 == 0 {
				c.Invalidate(&s)
			}
			if i%1000 == 0 {
				c.Reset()
			}
		}
		require.Zero(t, testing.AllocsPerRun(3000, ops), "%v", g)
	}
	w, err := NewWalk([]Level{{21, Geometry{Sets: 1, Ways: 4}}, {30, Geometry{Sets: 1, Ways: 4}}})
	require.NoError(t, err)
	var val [4]uint64
	key := emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID)}
	s := emu.Selector{Match: emu.MatchDomain | emu.MatchAddress, Domain: 1, Last: 0xfff}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		w.Fill(&key, 21, 0, &val)
		w.Probe(&key, &val)
		w.Invalidate(&s)
	}))
}

func TestEntries_StopsAndOrders(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 4, Ways: 2})
	for p := range uint64(8) {
		fill(c, 1, 2, 3, p<<12, 12)
	}
	n := 0
	c.Entries(func(k emu.Key, lg2 uint8, val [4]uint64) bool {
		require.Equal(t, emu.MakeTag(1, 2, 3), k.Tag)
		require.Equal(t, k.Addr, val[0])
		require.Equal(t, uint8(12), lg2)
		n++
		return n < 3
	})
	require.Equal(t, 3, n)
}

func TestFill_BrokenTagIsNotFilled(t *testing.T) {
	c := mustNew(t, Geometry{Sets: 1, Ways: 2})
	require.Equal(t, int32(-1), c.Insert(&emu.Key{Tag: 1 << 53}, 12, 0, &[4]uint64{}))
	fill(c, 32, 1, emu.NoPASID, 0, 12)
	require.Zero(t, c.Len())
	require.Zero(t, c.Stats().Fills)
}
