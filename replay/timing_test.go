package replay

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
)

// lab is a machine with one device on one domain, for measurements of single requests.
type lab struct {
	p    timing.Params
	m    *timing.Machine
	cpu  *timing.CPU
	drv  host.Driver
	dom  host.Domain
	list []emu.Request
	done []timing.Completion
	play *device.Player
}

const labSID = emu.SourceID(0x28)

func newLab(t *testing.T, p *timing.Preset, name string, outstanding int) *lab {
	mode := vtdArch.modeByName(name)
	l := &lab{p: p.Params, m: timing.New(p.Params, mem.New())}
	u, err := mode.unit(p, 1)
	require.NoError(t, err)
	l.m.AddUnit(u, 64)
	l.cpu = l.m.AddCPU(1)
	frames, err := host.NewFrames(l.cpu, tableBase, tableSize)
	require.NoError(t, err)
	l.drv, err = mode.driver(l.cpu, 0, frames, 0)
	require.NoError(t, err)
	l.dom, err = l.drv.NewDomain(host.DomainSpec{Width: mode.limit, Stage: mode.stage})
	require.NoError(t, err)
	require.NoError(t, l.drv.Attach(labSID, emu.NoPASID, l.dom))
	source := device.Func(func(q *emu.Request) (uint64, bool) {
		if len(l.list) == 0 {
			return 0, false
		}
		*q = l.list[0]
		l.list = l.list[1:]
		return 0, true
	})
	l.play = device.NewPlayer(l.m, device.Config{Outstanding: outstanding}, source, func(c *timing.Completion) { l.done = append(l.done, *c) })
	return l
}

// mapPage maps one page so that no neighbour makes a larger leaf of it.
func (l *lab) mapPage(t *testing.T, page uint64) {
	require.NoError(t, l.dom.Map(emu.IOVA(page<<12), emu.PA(1<<32|(page^1)<<12), 4096, emu.RW))
}

func (l *lab) read(pages ...uint64) []timing.Completion {
	l.done = nil
	for _, p := range pages {
		l.list = append(l.list, emu.Request{Addr: emu.IOVA(p << 12), Source: labSID, PASID: emu.NoPASID, Len: 64, Access: emu.Read})
	}
	l.cpu.Compute(100_000) // the pipeline is empty
	l.play.Kick()
	l.cpu.Poll(func() bool { return l.play.Idle() && len(l.list) == 0 }, maxWait)
	return l.done
}

// fixed is what every request pays: the link both ways, the tag read, its own access.
func (l *lab) fixed() uint64 { return 2*l.p.Link + l.p.Lookup + l.p.Data }

// The closed formulas of docs/timing.md, to the cycle.
func TestFormula_ColdAndWarm(t *testing.T) {
	for _, c := range []struct {
		mode         string
		probes       uint64 // context, [PASID,] IOTLB, paging-structure
		reads        uint64 // full memory accesses: root, context, [directory, PASID entry,] four levels
		follows      uint64 // further parts of entries
		fills        uint64 // context, [PASID,] three levels, IOTLB
		warmWalk     uint64 // probes of a miss in the IOTLB alone
		preset       string
		walkCacheHit bool
	}{
		{mode: vtdLegacy, preset: "default", probes: 3, reads: 2 + 4, fills: 1 + 3 + 1, warmWalk: 3, walkCacheHit: true},
		{mode: vtdLegacy, preset: "nocache", probes: 1, reads: 2 + 4, fills: 1, warmWalk: 1},
		{mode: vtdScalable, preset: "default", probes: 4, reads: 4 + 4, follows: 1 + 3, fills: 2 + 3 + 1, warmWalk: 4, walkCacheHit: true},
		{mode: vtdScalable, preset: "nocache", probes: 1, reads: 4 + 4, follows: 1 + 3, fills: 1, warmWalk: 1},
	} {
		l := newLab(t, preset(t, c.preset), c.mode, 1)
		l.mapPage(t, 0x1000)
		l.mapPage(t, 0x1001)
		p := &l.p
		lat := func(page uint64) uint64 { d := l.read(page)[0]; return d.Done - d.Issued }
		id := c.mode + " " + c.preset
		require.Equal(t, l.fixed()+c.probes*p.Probe+c.reads*p.Mem+c.follows*p.Follow+c.fills*p.Fill, lat(0x1000), "%s cold", id)
		if !c.walkCacheHit {
			// Entries are fetched anew, the translation is cached.
			entries := c.reads - 4
			require.Equal(t, l.fixed()+entries*p.Mem+c.follows*p.Follow+p.Probe, lat(0x1000), "%s warm", id)
			continue
		}
		require.Equal(t, l.fixed(), lat(0x1000), "%s warm", id)
		require.Equal(t, l.fixed()+c.warmWalk*p.Probe+p.Mem+p.Fill, lat(0x1001), "%s neighbour: one read below a cached table", id)
	}
}

func TestFormula_MergedRequestsEndWithTheFirst(t *testing.T) {
	l := newLab(t, preset(t, "default"), vtdLegacy, 4)
	l.mapPage(t, 0x1000)
	l.mapPage(t, 0x1001)
	l.read(0x1000)
	d := l.read(0x1001, 0x1001, 0x1001, 0x1001)
	first := d[0].Done - d[0].Issued
	require.Equal(t, l.fixed()+3*l.p.Probe+l.p.Mem+l.p.Fill, first)
	for _, c := range d {
		require.Equal(t, d[0].Done, c.Done, "all are answered by the fill")
	}
	require.EqualValues(t, 3, l.m.UnitStats(0).Merged)
}

func TestFormula_WalkerLimited(t *testing.T) {
	pre := preset(t, "default")
	pre.Walkers = 2
	pre.Ingress = 1
	l := newLab(t, pre, vtdLegacy, 8)
	var pages []uint64
	for i := range uint64(9) {
		l.mapPage(t, 0x1000+i)
		pages = append(pages, 0x1000+i)
	}
	l.read(pages[0])
	d := l.read(pages[1:]...)
	hold := l.p.Probe + l.p.Mem + l.p.Fill // paging-structure probe, one read, one fill
	for i := 2; i < len(d); i++ {
		require.Equal(t, hold, d[i].Done-d[i-2].Done, "request %d takes the walker of request %d", i, i-2)
	}
}

// pcie-bench (SIGCOMM'18), uniform random reads in a window of P pages, one at a time: the IOMMU adds
// m (1 - N/P) on average, with N translations and a miss cost m.
func TestPCIeBench_AddedLatencyIsOneFormula(t *testing.T) {
	const n, m = 117, 288
	pre := preset(t, "pcie-bench")
	require.Equal(t, n, pre.Caches.IOTLB.Entries())
	for _, pages := range []uint64{128, 256, 512, 1024, 4096, 16384} {
		l := newLab(t, pre, vtdLegacy, 1)
		for p := range pages {
			l.mapPage(t, p)
		}
		rng := rand.New(rand.NewPCG(1, pages))
		const warm, count = 2000, 60_000
		sum, seen := uint64(0), 0
		source := device.Func(func(q *emu.Request) (uint64, bool) {
			if seen >= warm+count {
				return 0, false
			}
			*q = emu.Request{Addr: emu.IOVA(rng.Uint64N(pages) << 12), Source: labSID, PASID: emu.NoPASID, Len: 64, Access: emu.Read}
			return 0, true
		})
		play := device.NewPlayer(l.m, device.Config{Outstanding: 1}, source, func(c *timing.Completion) {
			if seen++; seen > warm {
				sum += c.Done - c.Issued - l.fixed()
			}
		})
		l.cpu.Compute(1)
		play.Kick()
		l.cpu.Poll(func() bool { return seen >= warm+count }, maxWait)
		want := m * (1 - float64(n)/float64(pages))
		got := l.p.SimNS(sum) / count
		require.InEpsilon(t, want, got, 0.02, "%d pages", pages)
		t.Logf("%5d pages: added %.1f ns, formula %.1f ns", pages, got, want)
	}
}
