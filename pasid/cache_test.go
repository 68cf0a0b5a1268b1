package pasid_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pasid"
)

func mustNew(t require.TestingT, g iotlb.Geometry) *pasid.Cache {
	c, err := pasid.New(g)
	require.NoError(t, err)
	require.NotNil(t, c)
	return c
}

func keyOf(class emu.Class, source emu.SourceID, p emu.PASID) emu.Key {
	return emu.Key{Tag: emu.MakeTag(class, 0, p), Addr: uint64(source)}
}

func save(c *pasid.Cache) []byte {
	var e emu.Encoder
	c.Save(&e)
	return e.Bytes()
}

// Few enough that everything meets everything, with sources that differ in masked bits only.
var (
	sources = []emu.SourceID{0, 0x100, 0x101, 0x107, 0x108, 0xffff, 0xffff_ffff}
	pasids  = []emu.PASID{emu.NoPASID, 0, 1, emu.MaxPASID}
	domains = []uint32{0, 1, 0xffff, 0x1_0001, math.MaxUint32}
	classes = []emu.Class{0, 1, 31}
)

// ref is the brute-force cache for a geometry that never evicts.
type ref map[emu.Key]pasid.Entry

func (r ref) invalidate(s *emu.Selector) (dropped uint64) {
	for k, e := range r {
		if s.Match&emu.MatchDomain != 0 && e.Domain != s.Domain ||
			s.Match&emu.MatchPASID != 0 && e.PASID != s.PASID ||
			s.Match&emu.MatchSource != 0 && (e.Source^s.Source)&^s.SourceMask != 0 ||
			s.Match&emu.MatchClass != 0 && s.Classes>>e.Class&1 == 0 {
			continue
		}
		delete(r, k)
		dropped++
	}
	return dropped
}

func drawKey(t *rapid.T) emu.Key {
	return keyOf(rapid.SampledFrom(classes).Draw(t, "class"),
		rapid.SampledFrom(sources).Draw(t, "source"), rapid.SampledFrom(pasids).Draw(t, "pasid"))
}

func drawSelector(t *rapid.T) *emu.Selector {
	return &emu.Selector{
		Match:      emu.Match(rapid.IntRange(0, 31).Draw(t, "match")),
		Classes:    rapid.SampledFrom([]uint32{0, 1, 3, 1 << 31, math.MaxUint32}).Draw(t, "classes"),
		Domain:     rapid.SampledFrom(domains).Draw(t, "domain"),
		PASID:      rapid.SampledFrom(append(pasids, emu.MaxPASID+1)).Draw(t, "pasid"),
		Source:     rapid.SampledFrom(sources).Draw(t, "source"),
		SourceMask: rapid.SampledFrom([]emu.SourceID{0, 4, 7, 0x107, 0xffff, math.MaxUint32}).Draw(t, "mask"),
		First:      1, // an address restricts nothing here
	}
}

func TestCache_AgreesWithMap(t *testing.T) {
	g := iotlb.Geometry{Sets: 1, Ways: len(sources) * len(pasids) * len(classes)}
	rapid.Check(t, func(t *rapid.T) {
		c, want := mustNew(t, g), ref{}
		var stats emu.CacheStats
		t.Repeat(map[string]func(*rapid.T){
			"fill": func(t *rapid.T) {
				for range rapid.IntRange(1, 30).Draw(t, "n") {
					k, d := drawKey(t), rapid.SampledFrom(domains).Draw(t, "domain")
					stats.Fills++
					e := pasid.Entry{Source: emu.SourceID(k.Addr), PASID: k.Tag.PASID(), Class: k.Tag.Class(), Domain: d, Value: [4]uint64{stats.Fills}}
					c.Fill(&k, 99, d, &e.Value)
					want[k] = e
				}
			},
			"probe": func(t *rapid.T) {
				k := drawKey(t)
				var val [4]uint64
				e, ok := want[k]
				stats.Lookups++
				if ok {
					stats.Hits++
				}
				require.Equal(t, ok, c.Probe(&k, &val))
				require.Equal(t, e.Value, val)
				got, found := c.View(emu.SourceID(k.Addr)).Lookup(k.Tag.Class(), k.Tag.PASID())
				require.Equal(t, ok, found)
				require.Equal(t, e, got)
			},
			"invalidate": func(t *rapid.T) {
				s := drawSelector(t)
				c.Invalidate(s)
				stats.Invalidated += want.invalidate(s)
			},
			"checkpoint": func(t *rapid.T) {
				r := mustNew(t, g)
				require.NoError(t, r.Restore(emu.NewDecoder(save(c))))
				require.Equal(t, save(c), save(r))
				c = r
			},
			"reset": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
					c.Reset()
					clear(want)
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, stats, c.Stats())
				require.ElementsMatch(t, slices.Collect(maps.Values(want)), slices.Collect(c.All()))
				for _, s := range sources {
					n := 0
					for _, e := range want {
						if e.Source == s {
							n++
						}
					}
					require.Equal(t, n, c.View(s).Len())
					require.Equal(t, n, c.Devices()[s])
				}
			},
		})
	})
}

// With evictions, what is held is a subset of what was filled and not dropped, always the newest,
// and views and probes agree on it.
func TestCache_EvictsOnly(t *testing.T) {
	for _, p := range []iotlb.Policy{iotlb.LRU, iotlb.TreePLRU, iotlb.FIFO, iotlb.Random} {
		t.Run(p.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				c, want := mustNew(t, iotlb.Geometry{Sets: 4, Ways: 4, Policy: p}), ref{}
				for i := range uint64(rapid.IntRange(1, 150).Draw(t, "ops")) {
					if rapid.IntRange(0, 5).Draw(t, "op") == 0 {
						s := drawSelector(t)
						c.Invalidate(s)
						want.invalidate(s)
						continue
					}
					k, d := drawKey(t), rapid.SampledFrom(domains).Draw(t, "domain")
					e := pasid.Entry{Source: emu.SourceID(k.Addr), PASID: k.Tag.PASID(), Class: k.Tag.Class(), Domain: d, Value: [4]uint64{i}}
					c.Fill(&k, 0, d, &e.Value)
					want[k] = e
				}
				n := 0
				for _, s := range sources {
					for e := range c.View(s).All() {
						require.Equal(t, want[keyOf(e.Class, e.Source, e.PASID)], e)
						n++
					}
				}
				require.Equal(t, c.Len(), n)
				st := c.Stats()
				require.LessOrEqual(t, uint64(n), st.Fills-st.Evictions-st.Invalidated)
			})
		})
	}
}

func TestNew_NoEntriesIsNilInterface(t *testing.T) {
	c, err := pasid.New(iotlb.Geometry{})
	require.NoError(t, err)
	require.True(t, c.AsCache() == nil)
	require.NoError(t, c.Restore(emu.NewDecoder(save(c))))
	_, err = pasid.New(iotlb.Geometry{Sets: 3, Ways: 1})
	require.ErrorIs(t, err, iotlb.ErrGeometry)
}

func TestRestore_ErrorLeavesItEmpty(t *testing.T) {
	c := mustNew(t, iotlb.Geometry{Sets: 4, Ways: 2})
	for s := range emu.SourceID(8) {
		k := keyOf(0, s, 1)
		c.Fill(&k, 0, 5, &[4]uint64{1})
	}
	b := save(c)
	require.ErrorIs(t, c.Restore(emu.NewDecoder(b[:len(b)-1])), emu.ErrState)
	require.Zero(t, c.Len())
	require.Empty(t, c.Devices())
	require.NoError(t, c.Restore(emu.NewDecoder(b)))
	require.NotZero(t, c.Len())
}

// Thousands of devices, each with PASIDs from the whole 20-bit space: invalidating one device drops
// its entries and nothing else.
func TestInvalidateSource_ManyDevices(t *testing.T) {
	c := mustNew(t, iotlb.Geometry{Sets: 4096, Ways: 8})
	const devices, each = 4096, 4
	pasidOf := func(s emu.SourceID, i int) emu.PASID {
		return emu.PASID(uint32(s)*2654435761>>12+uint32(i)*0x4_0001) & emu.MaxPASID
	}
	for s := range emu.SourceID(devices) {
		for i := range each {
			k := keyOf(0, s, pasidOf(s, i))
			c.Fill(&k, 0, uint32(s), &[4]uint64{uint64(s)})
		}
	}
	held := c.Len()
	require.Greater(t, held, devices*each*98/100, "keys spread over the sets")
	for s := emu.SourceID(0); s < devices; s += 5 {
		n := c.View(s).Len()
		before := c.Stats().Invalidated
		c.Invalidate(&emu.Selector{Match: emu.MatchSource, Source: s})
		require.Equal(t, uint64(n), c.Stats().Invalidated-before)
		require.Zero(t, c.View(s).Len())
	}
	require.Equal(t, held, c.Len()+int(c.Stats().Invalidated))
}

func TestView_Order(t *testing.T) {
	c := mustNew(t, iotlb.Geometry{Sets: 4, Ways: 4})
	for _, p := range []emu.PASID{7, emu.NoPASID, emu.MaxPASID, 0} {
		k := keyOf(0, 0x10, p)
		c.Fill(&k, 0, 3, &[4]uint64{})
	}
	var got []emu.PASID
	for e := range c.View(0x10).All() {
		got = append(got, e.PASID)
	}
	require.Equal(t, []emu.PASID{0, 7, emu.MaxPASID, emu.NoPASID}, got)
	require.Equal(t, emu.SourceID(0x10), c.View(0x10).Source())
}

func TestAllocations_None(t *testing.T) {
	c := mustNew(t, iotlb.Geometry{Sets: 16, Ways: 4})
	i := uint32(0)
	val := [4]uint64{1}
	require.Zero(t, testing.AllocsPerRun(5000, func() {
		i++
		k := keyOf(emu.Class(i%2), emu.SourceID(i%50), emu.PASID(i%7))
		c.Fill(&k, 0, i%5, &val)
		c.Probe(&k, &val)
		if h, ok := c.Peek(&k, &val); ok {
			c.Touch(h)
		}
		if i%5 == 0 {
			c.Invalidate(&emu.Selector{Match: emu.Match(i / 5 % 32), Source: emu.SourceID(i % 50), SourceMask: emu.SourceID(i % 8), Domain: i % 5, PASID: emu.PASID(i % 7), Classes: 1})
		}
		if i%1000 == 0 {
			c.Reset()
		}
	}))
}

func FuzzRestore(f *testing.F) {
	g := iotlb.Geometry{Sets: 2, Ways: 4}
	c := mustNew(f, g)
	for i, s := range sources {
		k := keyOf(0, s, pasids[i%len(pasids)])
		c.Fill(&k, 0, uint32(i), &[4]uint64{uint64(i)})
	}
	f.Add(save(c))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := mustNew(t, g)
		if err := c.Restore(emu.NewDecoder(b)); err != nil {
			require.ErrorIs(t, err, emu.ErrState)
		}
		for s, n := range c.Devices() {
			require.Equal(t, n, c.View(s).Len())
		}
	})
}

var sink uint64

// BenchmarkLookup is a hit in a cache of PASID entries.
func BenchmarkLookup(b *testing.B) {
	for _, g := range []iotlb.Geometry{{Sets: 16, Ways: 4}, {Sets: 512, Ways: 8}} {
		c := mustNew(b, g)
		for i := range g.Entries() {
			k := keyOf(0, emu.SourceID(i/4), emu.PASID(i%4))
			c.Fill(&k, 0, 1, &[4]uint64{})
		}
		var keys []emu.Key
		c.Entries(func(k emu.Key, _ uint8, _ [4]uint64) bool { keys = append(keys, k); return true })
		b.Run(fmt.Sprint(g.Entries()), func(b *testing.B) {
			var val [4]uint64
			x := uint32(1)
			b.ReportAllocs()
			for b.Loop() {
				x = x*1664525 + 1013904223
				h, ok := c.Peek(&keys[uint64(x)*uint64(len(keys))>>32], &val)
				if !ok {
					b.Fatal("miss")
				}
				c.Touch(h)
				sink += val[0]
			}
		})
	}
}

// BenchmarkInvalidateSource refills one device's four entries and drops them.
func BenchmarkInvalidateSource(b *testing.B) {
	for _, g := range []iotlb.Geometry{{Sets: 16, Ways: 4}, {Sets: 512, Ways: 8}, {Sets: 2048, Ways: 8}} {
		c := mustNew(b, g)
		b.Run(fmt.Sprint(g.Entries()), func(b *testing.B) {
			s := emu.SourceID(0)
			for b.Loop() {
				s = (s + 1) & 0xfff
				for p := range emu.PASID(4) {
					k := keyOf(0, s, p)
					c.Fill(&k, 0, 1, &[4]uint64{})
				}
				c.Invalidate(&emu.Selector{Match: emu.MatchSource, Source: s})
			}
		})
	}
}
