package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

const (
	sid    = emu.SourceID(0x10)
	pages  = 1 << 14 // mapped, of any size
	stride = 1 << 20 // length of the random streams: too long for a branch predictor to learn
)

// rig is a unit that translates pages of a device.
type rig struct {
	mem  *mem.Memory
	bus  emu.Memory // the same as executors see it
	word [4]uint64  // what a hand-written walk loads
	unit emu.Unit
	f    *emu.Functional
	next emu.PA // allocator
	lg2  uint8  // log2 bytes of a page
	base uint64 // address of the first
	// byHand is the walk as one would write it, through the memory interface that executors have.
	byHand func(addr uint64) (emu.PA, bool)
}

func newRig(u emu.Unit, lg2 uint8) rig {
	m := mem.New()
	return rig{mem: m, bus: m, unit: u, f: emu.NewFunctional(u, m), next: 1 << 40, lg2: lg2}
}

// frame returns a new page of memory.
func (r *rig) frame() emu.PA {
	r.next += emu.PageSize
	return r.next
}

// target returns where a page is mapped to: every page elsewhere than its neighbour, so that no two
// look like a larger one.
func (r *rig) target(page uint64) uint64 { return 1<<46 | (page^1)<<r.lg2 }

// addr returns the address of a page.
func (r *rig) addr(page uint64) uint64 { return r.base | page<<r.lg2 }

func (r *rig) request(page uint64) emu.Request {
	return emu.Request{Addr: emu.IOVA(r.addr(page)), Source: sid, PASID: emu.NoPASID, Len: 64, Access: emu.Read}
}

// requests returns a request for each of the first n pages.
func (r *rig) requests(n uint64) []emu.Request {
	reqs := make([]emu.Request, n)
	for p := range n {
		reqs[p] = r.request(p)
	}
	return reqs
}

// translate is what a device does: it puts the next address into its request and asks. A table of
// requests would measure the host's caches.
func (r *rig) translate(q *emu.Request, addr uint64, res *emu.Result) {
	q.Addr = emu.IOVA(addr)
	r.f.Translate(q, res)
}

// addrs returns the addresses of pages.
func (r *rig) addrs(pages []uint64) []uint64 {
	list := make([]uint64, len(pages))
	for i, p := range pages {
		list[i] = r.addr(p)
	}
	return list
}

// benchmarkHit is a hit through the functional executor against a bare set-associative look-up of the
// geometry that the unit's IOTLB has.
func (r *rig) benchmarkHit(b *testing.B, g iotlb.Geometry) {
	n, lg2 := uint64(g.Entries()), r.lg2&63
	bare := iotlbtest.NewBare(g.Sets, g.Ways)
	addrs := r.addrs(iotlbtest.Stream(stride, n, 1))
	q := r.request(0)
	var res emu.Result
	for p := range n {
		bare.Fill(r.addr(p)>>r.lg2, p)
		r.translate(&q, r.addr(p), &res)
	}
	before := r.unit.Cache(emu.CacheIOTLB).Stats()
	for p := range n {
		r.translate(&q, r.addr(p), &res)
	}
	require.Equal(b, n, r.unit.Cache(emu.CacheIOTLB).Stats().Hits-before.Hits, "every page is in the IOTLB")
	compare(b, 1<<18,
		func(n int) {
			for i := range n {
				v, _ := bare.Lookup(addrs[i&(stride-1)] >> lg2)
				sink += v
			}
		},
		func(n int) {
			for i := range n {
				r.translate(&q, addrs[i&(stride-1)], &res)
				sink += uint64(res.PA)
			}
		})
}

// benchmarkWalk is a walk through the functional executor, in a unit without an IOTLB or with one that
// always misses, against the same by hand, each dependent on the last.
func (r *rig) benchmarkWalk(b *testing.B, n int) {
	addrs := r.addrs(iotlbtest.Stream(stride, pages, 2))
	q := r.request(0)
	var res emu.Result
	for p := range uint64(64) {
		r.translate(&q, r.addr(p), &res)
		pa, ok := r.byHand(uint64(q.Addr))
		require.True(b, ok)
		require.Equal(b, emu.OK, res.Status)
		require.Equal(b, pa, res.PA)
		require.EqualValues(b, r.target(p), res.PA)
	}
	compare(b, n,
		func(n int) {
			for i := range n {
				pa, _ := r.byHand(addrs[i&(stride-1)] ^ sink&0xfff)
				sink = uint64(pa)
			}
		},
		func(n int) {
			for i := range n {
				r.translate(&q, addrs[i&(stride-1)], &res)
				sink += uint64(res.PA)
			}
		})
}

// rounds is how often base and work are measured in turn.
const rounds = 15

// compare measures base and work in turn, n operations each, and reports the median ratio of work to
// base and the median times. The benchmark's own loop runs work, for the allocation count.
func compare(b *testing.B, n int, base, work func(n int)) {
	base(n)
	work(n)
	var ratio, baseNS, workNS [rounds]float64
	for i := range rounds {
		t0 := time.Now()
		base(n)
		t1 := time.Now()
		work(n)
		t2 := time.Now()
		baseNS[i] = float64(t1.Sub(t0).Nanoseconds()) / float64(n)
		workNS[i] = float64(t2.Sub(t1).Nanoseconds()) / float64(n)
		ratio[i] = workNS[i] / baseNS[i]
	}
	b.ResetTimer()
	work(b.N)
	b.StopTimer()
	b.ReportAllocs()
	b.ReportMetric(median(ratio), "x-base")
	b.ReportMetric(median(baseNS), "base-ns")
	b.ReportMetric(median(workNS), "work-ns")
}

func median(v [rounds]float64) float64 {
	s := v[:]
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s[rounds/2]
}

var sink uint64

// geometries are those of facts about real and simulated IOTLBs.
var geometries = []struct {
	name string
	g    iotlb.Geometry
}{
	{"64", iotlb.Geometry{Sets: 16, Ways: 4}},
	{"4096", iotlb.Geometry{Sets: 512, Ways: 8}},
}

// Geometries of walks: alone, and as part of a miss that also looks the translation up and fills it.
var walks = []struct {
	name string
	g    iotlb.Geometry
}{
	{"alone", iotlb.Geometry{}},
	{"miss", iotlb.Geometry{Sets: 1, Ways: 1}},
}
