package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

// geometries are those of facts about real and simulated IOTLBs.
var geometries = []struct {
	name string
	g    iotlb.Geometry
}{
	{"64", iotlb.Geometry{Sets: 16, Ways: 4}},
	{"4096", iotlb.Geometry{Sets: 512, Ways: 8}},
}

// A hit through the functional executor against a bare set-associative look-up of the same
// geometry. Bar: 4.
func BenchmarkFunctionalHit(b *testing.B) {
	for _, g := range geometries {
		b.Run(g.name, func(b *testing.B) {
			r := newRig(b, g.g)
			n := uint64(g.g.Entries())
			bare := iotlbtest.NewBare(g.g.Sets, g.g.Ways)
			stream := iotlbtest.Stream(stride, n, 1)
			q := r.request(0)
			var res emu.Result
			for p := range n {
				bare.Fill(p, p)
				r.translate(&q, p, &res)
			}
			before := r.unit.Cache(emu.CacheIOTLB).Stats()
			for p := range n {
				r.translate(&q, p, &res)
			}
			require.Equal(b, n, r.unit.Cache(emu.CacheIOTLB).Stats().Hits-before.Hits, "every page is in the IOTLB")
			compare(b, 1<<18,
				func(n int) {
					for i := range n {
						v, _ := bare.Lookup(stream[i&(stride-1)])
						sink += v
					}
				},
				func(n int) {
					for i := range n {
						r.translate(&q, stream[i&(stride-1)], &res)
						sink += uint64(res.PA)
					}
				})
		})
	}
}

// A four-level walk through the functional executor against a hand-written dependent walk through
// the same memory: alone, in a unit without an IOTLB (bar: 4), and as part of a miss that also looks
// the translation up and fills it.
func BenchmarkFunctionalWalk(b *testing.B) {
	for _, c := range []struct {
		name string
		tlb  iotlb.Geometry
	}{
		{"alone", iotlb.Geometry{}},
		{"miss", iotlb.Geometry{Sets: 1, Ways: 1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, c.tlb)
			root, levels := r.dom.Tables().Root()
			require.EqualValues(b, 4, levels)
			stream := iotlbtest.Stream(stride, pages, 2)
			q := r.request(0)
			var res emu.Result
			for p := range uint64(64) {
				r.translate(&q, p, &res)
				pa, ok := r.walk(root, uint64(q.Addr), emu.Read)
				require.True(b, ok)
				require.Equal(b, pa, res.PA)
			}
			compare(b, 1<<16,
				func(n int) {
					for i := range n {
						pa, _ := r.walk(root, stream[i&(stride-1)]<<12^sink&0xfff, emu.Read) // dependent on the last
						sink = uint64(pa)
					}
				},
				func(n int) {
					for i := range n {
						r.translate(&q, stream[i&(stride-1)], &res)
						sink += uint64(res.PA)
					}
				})
		})
	}
}
