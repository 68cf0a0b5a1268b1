package iotlb

import (
	"fmt"
	"testing"
	"time"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

var benchGeometries = []Geometry{
	{Sets: 16, Ways: 4},   // 64
	{Sets: 512, Ways: 8},  // 4096
	{Sets: 2048, Ways: 8}, // 16384
}

// streamLen is more than a branch predictor learns.
const streamLen = 1 << 20

var sink uint64

// filled returns a cache that holds pages 0 to Entries()-1 of one domain. Under Mixed an aligned
// run of one page per set never collides, so all of them fit.
func filled(b testing.TB, g Geometry, domain uint32) *Cache {
	c := mustNew(b, g)
	for p := range uint64(g.Entries()) {
		key := emu.Key{Tag: emu.MakeTag(1, domain, emu.NoPASID), Addr: p << 12}
		c.Fill(&key, 12, 0, &[4]uint64{p})
	}
	return c
}

// present returns random pages of those that a cache really holds.
func present(c *Cache, n int) []uint64 {
	var pages []uint64
	c.Entries(func(k emu.Key, _ uint8, _ [4]uint64) bool {
		pages = append(pages, k.Addr>>12)
		return true
	})
	s := iotlbtest.Stream(n, uint64(len(pages)), 1)
	for i, r := range s {
		s[i] = pages[r]
	}
	return s
}

// BenchmarkBareSetAssoc is the yardstick for BenchmarkLookup.
func BenchmarkBareSetAssoc(b *testing.B) {
	for _, g := range benchGeometries {
		bare := iotlbtest.NewBare(g.Sets, g.Ways)
		for p := range uint64(g.Entries()) {
			bare.Fill(p, p&1)
		}
		pages := iotlbtest.Stream(streamLen, uint64(g.Entries()), 1)
		b.Run(fmt.Sprintf("%d/independent", g.Entries()), func(b *testing.B) {
			i := 0
			for b.Loop() {
				v, _ := bare.Lookup(pages[i&(streamLen-1)])
				sink += v
				i++
			}
		})
		b.Run(fmt.Sprintf("%d/dependent", g.Entries()), func(b *testing.B) {
			var i, v uint64
			for b.Loop() {
				v, _ = bare.Lookup(pages[(i+v>>1)&(streamLen-1)])
				i++
			}
			sink += v
		})
	}
}

// BenchmarkLookup is a hit: Peek and Touch, and Probe. Dependent look-ups wait for the value of the
// one before.
func BenchmarkLookup(b *testing.B) {
	for _, p := range []Policy{LRU, TreePLRU, Random} {
		for _, g := range benchGeometries {
			g.Policy = p
			c := filled(b, g, 1)
			pages := present(c, streamLen)
			key := emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID)}
			name := fmt.Sprintf("%v/%d/", p, g.Entries())
			b.Run(name+"peek/independent", func(b *testing.B) {
				var val [4]uint64
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					key.Addr = pages[i&(streamLen-1)] << 12
					if _, ok := c.Peek(&key, &val); !ok {
						b.Fatal("miss")
					}
					sink += val[0]
					i++
				}
			})
			b.Run(name+"peek+touch/independent", func(b *testing.B) {
				var val [4]uint64
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					key.Addr = pages[i&(streamLen-1)] << 12
					h, ok := c.Peek(&key, &val)
					if !ok {
						b.Fatal("miss")
					}
					c.Touch(h)
					sink += val[0]
					i++
				}
			})
			b.Run(name+"probe/dependent", func(b *testing.B) {
				var val [4]uint64
				var i uint64
				b.ReportAllocs()
				for b.Loop() {
					key.Addr = pages[(i+val[1])&(streamLen-1)] << 12
					if !c.Probe(&key, &val) {
						b.Fatal("miss")
					}
					i++
				}
			})
		}
	}
}

// BenchmarkLookupMiss probes for what is not there, one size and three sizes present.
func BenchmarkLookupMiss(b *testing.B) {
	for _, g := range append(benchGeometries, Geometry{Sets: 1, Ways: 117}) {
		c := filled(b, g, 1)
		key := emu.Key{Tag: emu.MakeTag(1, 2, emu.NoPASID)}
		run := func(b *testing.B) {
			var val [4]uint64
			for b.Loop() {
				key.Addr += 1 << 12
				c.Probe(&key, &val)
			}
		}
		b.Run(fmt.Sprintf("%v/1size", g), run)
		for _, lg2 := range []uint8{21, 30} {
			c.Fill(&emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID), Addr: 1 << 40}, lg2, 0, &[4]uint64{})
		}
		b.Run(fmt.Sprintf("%v/3sizes", g), run)
	}
}

// BenchmarkFullyAssociative is a hit in one set of 117 ways.
func BenchmarkFullyAssociative(b *testing.B) {
	c := filled(b, Geometry{Sets: 1, Ways: 117}, 1)
	pages := present(c, streamLen)
	key := emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID)}
	var val [4]uint64
	i := 0
	for b.Loop() {
		key.Addr = pages[i&(streamLen-1)] << 12
		c.Probe(&key, &val)
		i++
	}
}

// BenchmarkFill fills with an eviction each time: one domain, and a thousand in turn.
func BenchmarkFill(b *testing.B) {
	for _, p := range []Policy{LRU, TreePLRU, FIFO, Random} {
		for _, g := range append(benchGeometries, Geometry{Sets: 1, Ways: 64}) {
			g.Policy = p
			for _, domains := range []uint32{1, 1000} {
				b.Run(fmt.Sprintf("%v/%ddomains", g, domains), func(b *testing.B) {
					c := filled(b, g, 1)
					var val [4]uint64
					page, d := uint64(1<<20), uint32(0)
					b.ReportAllocs()
					for b.Loop() {
						key := emu.Key{Tag: emu.MakeTag(1, d, emu.NoPASID), Addr: page << 12}
						c.Fill(&key, 12, 0, &val)
						page++
						if d++; d >= domains {
							d = 0
						}
					}
				})
			}
		}
	}
}

// timed runs prepare and work in turn and reports the time of work alone, per unit.
func timed(b *testing.B, units int, prepare, work func()) {
	var d time.Duration
	n := 0
	for b.Loop() {
		b.StopTimer()
		prepare()
		b.StartTimer()
		start := time.Now()
		work()
		d += time.Since(start)
		n += units
	}
	b.ReportMetric(float64(d.Nanoseconds())/float64(n), "ns/inv")
}

// BenchmarkInvalidate measures only the invalidations; what they drop is filled in between.
func BenchmarkInvalidate(b *testing.B) {
	const batch = 64
	for _, g := range benchGeometries {
		c := filled(b, g, 1)
		pages := distinct(present(c, streamLen))
		fill := func(pages []uint64) {
			for _, p := range pages {
				key := emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID), Addr: p << 12}
				c.Fill(&key, 12, 0, &[4]uint64{p})
			}
		}
		inPage := func(p uint64) *emu.Selector {
			return &emu.Selector{Match: emu.MatchDomain | emu.MatchAddress, Domain: 1, First: p << 12, Last: p<<12 | 0xfff}
		}
		at := 0
		b.Run(fmt.Sprintf("page-present/%d", g.Entries()), func(b *testing.B) {
			timed(b, batch,
				func() { fill(pages[at : at+batch]) },
				func() {
					for _, p := range pages[at : at+batch] {
						c.Invalidate(inPage(p))
					}
				})
			fill(pages)
		})
		b.Run(fmt.Sprintf("page-absent/%d", g.Entries()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Invalidate(inPage(1<<30 + pages[at]))
				at = (at + 1) % len(pages)
			}
		})
		for _, s := range []struct {
			name string
			sel  emu.Selector
		}{
			{"domain", emu.Selector{Match: emu.MatchDomain, Domain: 1}},
			{"domain-class", emu.Selector{Match: emu.MatchDomain | emu.MatchClass, Domain: 1, Classes: 2}},
			{"pasid", emu.Selector{Match: emu.MatchDomain | emu.MatchPASID, Domain: 1, PASID: emu.NoPASID}},
			{"global", emu.Selector{}},
			{"2MiB", emu.Selector{Match: emu.MatchDomain | emu.MatchAddress, Domain: 1, Last: 1<<21 - 1}},
		} {
			b.Run(fmt.Sprintf("%s/%d", s.name, g.Entries()), func(b *testing.B) {
				timed(b, 1, func() { fill(pages) }, func() { c.Invalidate(&s.sel) })
			})
		}
	}
}

// distinct returns the first of each value.
func distinct(pages []uint64) []uint64 {
	seen := make(map[uint64]bool)
	var d []uint64
	for _, p := range pages {
		if !seen[p] {
			seen[p] = true
			d = append(d, p)
		}
	}
	return d
}
