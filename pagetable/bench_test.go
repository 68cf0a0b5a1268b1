package pagetable

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
)

// flat is memory without the arena's checks, so that the benchmarks measure the tables.
type flat struct {
	words []uint64
	next  emu.PA
	free  []emu.PA
}

func (m *flat) Load64(pa emu.PA) uint64     { return m.words[pa>>3] }
func (m *flat) Store64(pa emu.PA, v uint64) { m.words[pa>>3] = v }
func (m *flat) CAS64(pa emu.PA, old, new uint64) bool {
	if m.words[pa>>3] != old {
		return false
	}
	m.words[pa>>3] = new
	return true
}
func (m *flat) Flush(emu.PA, int) {}
func (m *flat) Alloc(lg2 uint8) (emu.PA, error) {
	var pa emu.PA
	if n := len(m.free); n > 0 {
		pa = m.free[n-1]
		m.free = m.free[:n-1]
	} else {
		pa = (m.next + 1<<lg2 - 1) &^ (1<<lg2 - 1)
		m.next = pa + 1<<lg2
	}
	clear(m.words[pa>>3:][:1<<(lg2-3)])
	return pa, nil
}
func (m *flat) Free(pa emu.PA, _ uint8) { m.free = append(m.free, pa) }

func newFlat() *flat { return &flat{words: make([]uint64, 8<<20>>3), next: 1 << 16} }

const benchPages = 1 << 16 // 4 KiB leaves per iteration: 256 MiB in 129 tables

var benchFormats = []struct {
	name string
	f    Format
	cfg  Config
	lg2  uint8
}{
	{"vtdss", VTDSS{Dirty: true}, Config{Levels: 4}, 12},
	{"x86", X86{Dirty: true}, Config{Levels: 4}, 12},
	{"amdv1", AMDv1{Dirty: true}, Config{Levels: 4}, 12},
	{"lpaes1", LPAES1{HA: true, HD: true}, Config{Levels: 4}, 12},
	{"lpaes1-64k", LPAES1{Granule: 16, LPA: true}, Config{Levels: 3}, 16},
	{"lpaes2", LPAES2{HA: true, HD: true}, Config{Levels: 3, VABits: 40}, 12},
	{"mock", Mock{Fixed: 4}, Config{}, 11},
}

func perLeaf(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/leaf")
}

// BenchmarkRawFill is the baseline: check and store the same number of entries, through the same
// interface, encoded by the same format.
func BenchmarkRawFill(b *testing.B) {
	for _, f := range benchFormats {
		b.Run(f.name, func(b *testing.B) {
			var mem Memory = newFlat()
			e := Entry{Kind: Leaf, Lg2: f.lg2, State: State{Perm: Read | Write}}
			for b.Loop() {
				for i := range emu.PA(benchPages) {
					e.OA = (i + 1) << f.lg2
					if mem.Load64(1<<20+i*8) != ^uint64(0) {
						mem.Store64(1<<20+i*8, f.f.Encode(e, 0))
					}
				}
			}
			perLeaf(b, benchPages)
		})
	}
}

// BenchmarkRawStores is the floor: the stores alone, of entries computed by an addition.
func BenchmarkRawStores(b *testing.B) {
	var mem Memory = newFlat()
	for b.Loop() {
		raw := uint64(1<<12 | 3)
		for i := range emu.PA(benchPages) {
			mem.Store64(1<<20+i*8, raw)
			raw += 1 << 12
		}
	}
	perLeaf(b, benchPages)
}

// BenchmarkMapRange maps one range whose addresses are not congruent, so that all leaves are small.
func BenchmarkMapRange(b *testing.B) {
	benchMap(b, func(t *Table, lg2 uint8, g *Gather) {
		if _, err := t.Map(0, 1<<lg2, benchPages<<lg2, Read|Write, g); err != nil {
			panic(err)
		}
	}, false)
}

// BenchmarkMapPerPage makes one call per leaf.
func BenchmarkMapPerPage(b *testing.B) {
	benchMap(b, func(t *Table, lg2 uint8, g *Gather) {
		for i := range uint64(benchPages) {
			if _, err := t.Map(emu.IOVA(i<<lg2), emu.PA((i+1)<<lg2), 1<<lg2, Read|Write, g); err != nil {
				panic(err)
			}
		}
	}, false)
}

// BenchmarkUnmap removes one range.
func BenchmarkUnmap(b *testing.B) {
	benchMap(b, func(t *Table, lg2 uint8, g *Gather) {
		if _, err := t.Map(0, 1<<lg2, benchPages<<lg2, Read|Write, g); err != nil {
			panic(err)
		}
	}, true)
}

// benchMap times mapping or, with unmap, the removal.
func benchMap(b *testing.B, run func(*Table, uint8, *Gather), unmap bool) {
	for _, f := range benchFormats {
		b.Run(f.name, func(b *testing.B) {
			m := newFlat()
			t, err := New(f.f, m, m, f.cfg)
			if err != nil {
				b.Fatal(err)
			}
			var g Gather
			clean := func() {
				if n, err := t.Unmap(0, benchPages<<f.lg2, &g); n != benchPages<<f.lg2 {
					b.Fatal(n, err)
				}
				g.Release()
			}
			run(t, f.lg2, &g)
			clean()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if !unmap {
					run(t, f.lg2, &g)
				}
				b.StopTimer()
				if unmap {
					run(t, f.lg2, &g)
					b.StartTimer()
				}
				clean()
				b.StartTimer()
			}
			b.StopTimer()
			perLeaf(b, benchPages)
		})
	}
}

func benchTable(b *testing.B, i int) *Table {
	f := benchFormats[i]
	m := newFlat()
	t, err := New(f.f, m, m, f.cfg)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := t.Map(0, 1<<f.lg2, benchPages<<f.lg2, Read|Write, nil); err != nil {
		b.Fatal(err)
	}
	return t
}

// BenchmarkLookup translates addresses all over the range.
func BenchmarkLookup(b *testing.B) {
	for i, f := range benchFormats {
		b.Run(f.name, func(b *testing.B) {
			t := benchTable(b, i)
			at := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				at = at*6364136223846793005 + 1442695040888963407
				if _, ok := t.Lookup(emu.IOVA(at >> 40 % (benchPages << f.lg2))); !ok {
					b.Fatal("hole")
				}
			}
		})
	}
}

// BenchmarkCompareEqual compares two equal trees that share nothing.
func BenchmarkCompareEqual(b *testing.B) {
	for i, f := range benchFormats {
		b.Run(f.name, func(b *testing.B) {
			x, y := benchTable(b, i), benchTable(b, i)
			b.ReportAllocs()
			var entries uint64
			for b.Loop() {
				c, err := Compare(x, y, CompareOptions{Strict: true})
				if err != nil || !c.Equal || c.LeavesA != benchPages {
					b.Fatal(c, err)
				}
				entries += c.Entries
			}
			b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
			perLeaf(b, benchPages)
		})
	}
}

// BenchmarkCompareShared compares a tree with itself.
func BenchmarkCompareShared(b *testing.B) {
	t := benchTable(b, 0)
	for b.Loop() {
		if c, err := Compare(t, t, CompareOptions{}); err != nil || !c.Equal {
			b.Fatal(c, err)
		}
	}
}

// BenchmarkReadDirty reads a clean tree.
func BenchmarkReadDirty(b *testing.B) {
	t := benchTable(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		if err := t.ReadAndClearDirty(0, benchPages<<12-1, 0, nil, func(_, _ emu.IOVA) {}); err != nil {
			b.Fatal(err)
		}
	}
	perLeaf(b, benchPages)
}
