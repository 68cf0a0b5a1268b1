package replay

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
)

// lab is a machine with one device on one domain, for measurements of single requests.
type lab struct {
	p    timing.Params
	with emu.PASID // of all requests
	m    *timing.Machine
	cpu  *timing.CPU
	drv  host.Driver
	dom  host.Domain
	list []emu.Request
	done []timing.Completion
	play *device.Player
}

const labSID = emu.SourceID(0x28)

func newLab(t *testing.T, p *timing.Preset, iommu, name string, outstanding int) *lab {
	mode := archByName(iommu).modeByName(name)
	with := emu.NoPASID
	if mode.deal > 0 {
		with = firstDealt
	}
	return newLabIn(t, p.For(iommu), archByName(iommu).lay, mode, with, outstanding)
}

func newLabIn(t *testing.T, p *timing.Preset, lay layout, mode *mode, with emu.PASID, outstanding int) *lab {
	l := &lab{p: p.Params, with: with, m: timing.New(p.Params, mem.New())}
	u, err := mode.unit(p, 1)
	require.NoError(t, err)
	l.m.AddUnit(u, 64)
	l.cpu = l.m.AddCPU(1)
	frames, err := host.NewFrames(l.cpu, lay.tables(), tableSize)
	require.NoError(t, err)
	l.drv, err = mode.driver(l.cpu, 0, frames, 0)
	require.NoError(t, err)
	l.dom, err = l.drv.NewDomain(host.DomainSpec{Width: mode.limit, Stage: mode.stage})
	require.NoError(t, err)
	require.NoError(t, l.drv.Probe(labSID, host.DeviceSpec{PASIDs: mode.pasids}))
	require.NoError(t, l.drv.Attach(labSID, l.with, l.dom))
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
		l.list = append(l.list, emu.Request{Addr: emu.IOVA(p << 12), Source: labSID, PASID: l.with, Len: 64, Access: emu.Read})
	}
	l.cpu.Compute(100_000) // the pipeline is empty
	l.play.Kick()
	l.cpu.Poll(func() bool { return l.play.Idle() && len(l.list) == 0 }, maxWait)
	return l.done
}

// latency reads one page.
func (l *lab) latency(page uint64) uint64 {
	d := l.read(page)[0]
	return d.Done - d.Issued
}

// fixed is what every request pays: the link both ways, the tag read, its own access.
func (l *lab) fixed() uint64 { return 2*l.p.Link + l.p.Lookup + l.p.Data }

// The closed formulas of docs/timing.md, to the cycle.
func TestFormula_ColdAndWarm(t *testing.T) {
	for _, c := range []struct {
		iommu, mode string
		probes      uint64 // VT-d: context, [PASID,] IOTLB, paging structures; AMD: DTE, IOTLB, paging structures[, GCR3]; Arm: STE, its table[, CD[, its table]], IOTLB, paging structures
		entries     uint64 // reads of entries that a request with a cached translation needs; VT-d: root, context, [directory, PASID entry]; AMD: DTE; Arm: L1STD, STE[[, L1CD], CD]
		reads       uint64 // the others: [GCR3 tables,] four levels
		follows     uint64 // further parts of entries
		fills       uint64 // of each that was probed, but one for each of the three upper levels
		warmWalk    uint64 // probes of a miss in the IOTLB alone; 0: the preset has no caches but that
		preset      string
	}{
		{"vtd", vtdLegacy, 3, 2, 4, 0, 1 + 3 + 1, 3, "default"},
		{"vtd", vtdLegacy, 1, 2, 4, 0, 1, 0, "nocache"},
		{"vtd", vtdScalable, 4, 4, 4, 1 + 3, 2 + 3 + 1, 4, "default"},
		{"vtd", vtdScalable, 1, 4, 4, 1 + 3, 1, 0, "nocache"},
		{"amdvi", amdviV1, 3, 1, 4, 0, 1 + 3 + 1, 3, "default"},
		{"amdvi", amdviV1, 1, 1, 4, 0, 1, 0, "nocache"},
		{"amdvi", amdviV2, 4, 1, 1 + 4, 0, 2 + 3 + 1, 3, "default"},
		{"amdvi", amdviV2, 1, 1, 1 + 4, 0, 1, 0, "nocache"},
		{"amdvi", amdviTagged, 4, 1, 2 + 4, 0, 2 + 3 + 1, 3, "default"},
		{"amdvi", amdviTagged, 1, 1, 2 + 4, 0, 1, 0, "nocache"},
		{"smmuv3", smmuv3Stage2, 4, 2, 4, 7, 2 + 3 + 1, 3, "default"},
		{"smmuv3", smmuv3Stage2, 1, 2, 4, 7, 1, 0, "nocache"},
		{"smmuv3", smmuv3Stage1, 5, 3, 4, 7 + 7, 3 + 3 + 1, 4, "default"},
		{"smmuv3", smmuv3Stage1, 1, 3, 4, 7 + 7, 1, 0, "nocache"},
		{"smmuv3", smmuv3Substreams, 6, 4, 4, 7 + 7, 4 + 3 + 1, 4, "default"},
		{"smmuv3", smmuv3Substreams, 1, 4, 4, 7 + 7, 1, 0, "nocache"},
	} {
		l := newLab(t, preset(t, c.preset), c.iommu, c.mode, 1)
		l.mapPage(t, 0x1000)
		l.mapPage(t, 0x1001)
		p := &l.p
		id := c.iommu + " " + c.mode + " " + c.preset
		entries := c.entries*p.Mem + c.follows*p.Follow
		require.Equal(t, l.fixed()+c.probes*p.Probe+entries+c.reads*p.Mem+c.fills*p.Fill, l.latency(0x1000), "%s cold", id)
		if c.warmWalk == 0 {
			require.Equal(t, l.fixed()+entries+p.Probe, l.latency(0x1000), "%s warm: entries are fetched anew, the translation is cached", id)
			continue
		}
		require.Equal(t, l.fixed(), l.latency(0x1000), "%s warm", id)
		require.Equal(t, l.fixed()+c.warmWalk*p.Probe+p.Mem+p.Fill, l.latency(0x1001), "%s neighbour: one read below a cached table", id)
	}
}

// The wider its PASIDs, the more levels the GCR3 table of a device has, and the more reads a cold request
// needs; a warm one and one of a neighbour need none.
func TestFormula_GCR3LevelsByWidthOfPASIDs(t *testing.T) {
	pre := preset(t, "default").For("amdvi")
	wide := *amdviArch.modeByName(amdviTagged)
	wide.unit = func(*timing.Preset, uint64) (emu.Unit, error) {
		c := amdvi.DefaultConfig()
		c.GLXSup, c.PASmax = 2, 19
		return amdvi.New(c)
	}
	for _, c := range []struct{ lg2, levels uint64 }{{9, 1}, {10, 2}, {16, 2}, {18, 2}, {19, 3}, {20, 3}} {
		wide.pasids = 1 << c.lg2
		l := newLabIn(t, pre, amdviArch.lay, &wide, emu.PASID(wide.pasids-1), 1)
		l.mapPage(t, 0x1000)
		l.mapPage(t, 0x1001)
		p := &l.p
		require.Equal(t, l.fixed()+4*p.Probe+(1+c.levels+4)*p.Mem+(2+3+1)*p.Fill, l.latency(0x1000), "%d bits", c.lg2)
		require.Equal(t, l.fixed(), l.latency(0x1000))
		require.Equal(t, l.fixed()+3*p.Probe+p.Mem+p.Fill, l.latency(0x1001))
	}
}

func TestFormula_MergedRequestsEndWithTheFirst(t *testing.T) {
	l := newLab(t, preset(t, "default"), "vtd", vtdLegacy, 4)
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
	for _, c := range [][2]string{{"vtd", vtdLegacy}, {"amdvi", amdviV1}, {"amdvi", amdviTagged}, {"smmuv3", smmuv3Stage2}, {"smmuv3", smmuv3Substreams}} {
		pre := preset(t, "default").For(c[0])
		pre.Walkers = 2
		pre.Ingress = 1
		l := newLab(t, pre, c[0], c[1], 8)
		var pages []uint64
		for i := range uint64(9) {
			l.mapPage(t, 0x1000+i)
			pages = append(pages, 0x1000+i)
		}
		l.read(pages[0])
		d := l.read(pages[1:]...)
		hold := l.p.Probe + l.p.Mem + l.p.Fill // paging-structure probe, one read, one fill
		for i := 2; i < len(d); i++ {
			require.Equal(t, hold, d[i].Done-d[i-2].Done, "%s: request %d takes the walker of request %d", c, i, i-2)
		}
	}
}

// pcie-bench (SIGCOMM'18), uniform random reads in a window of P pages, one at a time: the IOMMU adds
// m (1 - N/P) on average, with N translations and a miss cost m.
func TestPCIeBench_AddedLatencyIsOneFormula(t *testing.T) {
	const n, m = 117, 288
	pre := preset(t, "pcie-bench")
	require.Equal(t, n, pre.Caches.IOTLB.Entries())
	for _, pages := range []uint64{128, 256, 512, 1024, 4096, 16384} {
		l := newLab(t, pre, "vtd", vtdLegacy, 1)
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
