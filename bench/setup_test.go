package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/iotlb"
)

const (
	sid    = emu.SourceID(0x10)
	pages  = 1 << 14 // 64 MiB
	stride = 1 << 20 // length of the random streams: too long for a branch predictor to learn
)

// rig is a unit with 64 MiB of 4 KiB pages mapped for one device, in legacy mode.
type rig struct {
	mem  *mem.Memory
	bus  emu.Memory // the same as executors see it
	word [4]uint64  // what the hand-written walk loads
	unit *vtd.Unit
	f    *emu.Functional
	dom  host.Domain
}

// newRig programs a unit through its registers. Every page maps elsewhere than its neighbour, so
// that no leaf is larger than 4 KiB.
func newRig(tb testing.TB, tlb iotlb.Geometry) *rig {
	c := vtd.DefaultConfig()
	c.HAW = 52
	c.IOTLB = tlb
	c.Walk = nil
	u, err := vtd.New(c)
	require.NoError(tb, err)
	m := mem.New()
	r := &rig{mem: m, bus: m, unit: u, f: emu.NewFunctional(u, m)}
	frames, err := host.NewFrames(r.f, 1<<40, 1<<30)
	require.NoError(tb, err)
	d, err := vtddriver.New(r.f, frames, vtddriver.Options{Mode: vtddriver.ModeLegacy, HAW: 52})
	require.NoError(tb, err)
	require.NoError(tb, d.Enable())
	r.dom, err = d.NewDomain(host.DomainSpec{Width: 48})
	require.NoError(tb, err)
	require.NoError(tb, d.Attach(sid, emu.NoPASID, r.dom))
	for p := range uint64(pages) {
		require.NoError(tb, r.dom.Map(emu.IOVA(p<<12), emu.PA(1<<32|(p^1)<<12), 4096, emu.RW))
	}
	return r
}

// requests returns a request for each of the first n pages.
func (r *rig) requests(n uint64) []emu.Request {
	reqs := make([]emu.Request, n)
	for p := range n {
		reqs[p] = r.request(p)
	}
	return reqs
}

func (r *rig) request(page uint64) emu.Request {
	return emu.Request{Addr: emu.IOVA(page << 12), Source: sid, PASID: emu.NoPASID, Len: 64, Access: emu.Read}
}

// translate is what a device does: it puts the next address into its request and asks. A table of
// requests would measure the host's caches.
func (r *rig) translate(q *emu.Request, page uint64, res *emu.Result) {
	q.Addr = emu.IOVA(page << 12)
	r.f.Translate(q, res)
}

// walk is the walk as one would write it by hand, through the memory interface that executors have:
// four dependent loads, and of each entry the bus error, the rights so far, the reserved bit, whether it is
// a leaf, and the address.
func (r *rig) walk(root emu.PA, iova uint64, want emu.Access) (emu.PA, bool) {
	table, rights := root, emu.RW
	for shift := 39; ; shift -= 9 {
		if !r.bus.Load(table+emu.PA(iova>>shift&511*8), 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		if rights &= emu.Access(e); rights&want != want || e&reservedMask != 0 {
			return 0, false
		}
		if shift == 12 || e&pageSize != 0 {
			page := uint64(1)<<shift - 1
			return emu.PA(e&addressMask&^page | iova&page), shift <= 30
		}
		table = emu.PA(e & addressMask)
	}
}

// The bits of a second-stage entry that any walk has to look at.
const (
	addressMask  = 1<<52 - 1<<12
	reservedMask = 1 << 62
	pageSize     = 1 << 7
)

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
