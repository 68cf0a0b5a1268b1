package iotlb

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

var testGeometries = []Geometry{
	{Sets: 1, Ways: 1},
	{Sets: 1, Ways: 117},
	{Sets: 2, Ways: 4},
	{Sets: 4, Ways: 8, Index: Plain},
	{Sets: 8, Ways: 9},
	{Sets: 2, Ways: 4, Policy: TreePLRU},
	{Sets: 1, Ways: 64, Policy: TreePLRU},
	{Sets: 4, Ways: 1, Policy: TreePLRU},
	{Sets: 2, Ways: 3, Policy: FIFO},
	{Sets: 1, Ways: 20, Policy: FIFO, Index: Plain},
	{Sets: 2, Ways: 5, Policy: Random, Seed: 7},
	{Sets: 1, Ways: 16, Policy: Random},
}

func mustNew(t testing.TB, g Geometry) *Cache {
	c, err := New(g)
	require.NoError(t, err)
	require.NotNil(t, c)
	return c
}

// Values that collide often, with the ends of every range among them.
var (
	someDomains = []uint32{0, 1, 2, 0xffff, 0x1_0001, math.MaxUint32}
	somePASIDs  = []emu.PASID{emu.NoPASID, 0, 1, emu.MaxPASID}
	someClasses = []emu.Class{0, 1, 31}
	someSizes   = []uint8{12, 13, 21, 30, 63, 0}
)

func drawAddr(t *rapid.T, name string) uint64 {
	a := rapid.SampledFrom([]uint64{0, 0, 0, 0x20_0000, 0x4000_0000, 1 << 63, math.MaxUint64 - 0x7fff}).Draw(t, name)
	return a + rapid.Uint64Range(0, 7).Draw(t, name+" page")<<12
}

// drawKey often returns the same tag, so that entries are neighbours.
func drawKey(t *rapid.T) emu.Key {
	if rapid.Bool().Draw(t, "usual tag") {
		return emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID), Addr: drawAddr(t, "addr")}
	}
	return emu.Key{
		Tag: emu.MakeTag(rapid.SampledFrom(someClasses).Draw(t, "class"),
			rapid.SampledFrom(someDomains[:4]).Draw(t, "domain"),
			rapid.SampledFrom(somePASIDs).Draw(t, "pasid")),
		Addr: drawAddr(t, "addr") + rapid.SampledFrom([]uint64{0, 1, 0xfff}).Draw(t, "offset"),
	}
}

func drawSelector(t *rapid.T) *emu.Selector {
	s := &emu.Selector{
		Match:   emu.Match(rapid.IntRange(0, 63).Draw(t, "match")),
		Classes: rapid.SampledFrom([]uint32{0, 1, 2, 3, 1 << 31, math.MaxUint32}).Draw(t, "classes"),
		Domain:  rapid.SampledFrom(append(someDomains, 1, 1, 1)).Draw(t, "domain"),
		PASID:   rapid.SampledFrom(append(somePASIDs, emu.MaxPASID+1)).Draw(t, "pasid"),
		Source:  1,
		Kinds:   rapid.Uint32Range(0, 7).Draw(t, "kinds"),
	}
	s.First = drawAddr(t, "first")
	s.Last = s.First
	switch rapid.IntRange(0, 6).Draw(t, "range") {
	case 0, 1:
		s.Last += 0xfff
	case 2:
		s.Last += 0x3fff
	case 3:
		s.Last |= 1<<21 - 1
	case 4:
		s.Last = drawAddr(t, "last") // may lie below first
	case 5:
		s.First, s.Last = 0, math.MaxUint64
	}
	return s
}

// drawPages selects some pages near those of drawKey's usual tag.
func drawPages(t *rapid.T) *emu.Selector {
	first := rapid.Uint64Range(0, 7).Draw(t, "first page") << 12
	return &emu.Selector{
		Match:   emu.MatchDomain | emu.MatchAddress | rapid.SampledFrom([]emu.Match{0, emu.MatchPASID, emu.MatchClass, emu.MatchKind}).Draw(t, "also"),
		Classes: 1, Domain: 1, PASID: emu.NoPASID, Kinds: 3,
		First: first,
		Last:  first + rapid.SampledFrom([]uint64{0, 0x1fff, 0x3fff, 0x7fff}).Draw(t, "length"),
	}
}

// ageForTest moves the generation of every class to its end, with the entries of that generation.
func (c *Cache) ageForTest() {
	for i := 1; i < len(c.groups); i++ {
		if g := &c.groups[i]; g.gen != 0 && c.groupAlive(g) {
			g.gen = math.MaxUint32
		} else {
			g.gen = 0
		}
	}
	for i := range c.gens {
		c.gens[i] = math.MaxUint32
	}
}

func save(c *Cache) []byte {
	var e emu.Encoder
	c.Save(&e)
	return e.Bytes()
}

func TestCache_AgreesWithBruteForce(t *testing.T) {
	for i, g := range testGeometries {
		t.Run(fmt.Sprint(i, " ", g), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { againstModel(t, g) })
		})
	}
}

func againstModel(t *rapid.T, g Geometry) {
	c, err := New(g)
	require.NoError(t, err)
	m := newModel(c)
	serial := uint64(0)
	fill := func(t *rapid.T) {
		key, lg2 := drawKey(t), rapid.SampledFrom(someSizes).Draw(t, "lg2")
		serial++
		val := [4]uint64{serial, key.Addr, uint64(key.Tag), ^serial}
		kind := uint8(rapid.IntRange(0, 2).Draw(t, "kind"))
		c.Fill(&key, lg2, 1<<20|uint32(kind), &val)
		m.fill(key, lg2, key.Tag.Domain(), kind, val)
	}
	probe := func(t *rapid.T) {
		key := drawKey(t)
		var got, want [4]uint64
		if rapid.Bool().Draw(t, "fused") {
			before := string(save(c))
			h, ok := c.Peek(&key, &got)
			require.Equal(t, before, string(save(c)), "Peek changes nothing")
			require.Equal(t, m.probe(key, &want), ok)
			if !ok {
				m.stats.Lookups-- // Peek does not count a miss
			} else {
				c.Touch(h)
			}
		} else {
			require.Equal(t, m.probe(key, &want), c.Probe(&key, &got))
		}
		require.Equal(t, want, got)
	}
	t.Repeat(map[string]func(*rapid.T){
		"fill": fill, "fill again": fill, "probe": probe,
		"fill many": func(t *rapid.T) {
			for range rapid.IntRange(1, 40).Draw(t, "n") {
				fill(t)
			}
		},
		"invalidate": func(t *rapid.T) {
			s := drawSelector(t)
			c.Invalidate(s)
			m.invalidate(s)
		},
		"invalidate pages": func(t *rapid.T) {
			s := drawPages(t)
			c.Invalidate(s)
			m.invalidate(s)
		},
		"checkpoint": func(t *rapid.T) {
			b := save(c)
			r, err := New(g)
			require.NoError(t, err)
			require.NoError(t, r.Restore(emu.NewDecoder(b)))
			require.Equal(t, b, save(r))
			c = r
		},
		"near wrap": func(t *rapid.T) { c.ageForTest() },
		"drop": func(t *rapid.T) {
			h := int32(rapid.IntRange(0, c.Places()-1).Draw(t, "place"))
			if _, _, _, ok := c.At(h); ok {
				m.stats.Invalidated++
			}
			c.Drop(h)
			if set, way := c.at(h); way < g.Ways {
				m.sets[set].drop(way)
			}
		},
		"reset": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
				c.Reset()
				m.reset()
			}
		},
		"": func(t *rapid.T) {
			require.Empty(t, m.diff(c))
			require.Empty(t, c.broken())
		},
	})
}

func (s *modelSet) drop(way int) {
	s.slots[way] = nil
	for i, w := range s.order {
		if w == way {
			s.order = append(s.order[:i:i], s.order[i+1:]...)
			return
		}
	}
}
