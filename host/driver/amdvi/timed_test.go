package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/internal/drivertest"
)

func timed(t *testing.T, opt Options, change ...func(*hw.Config)) (*Driver, *timing.Machine, *timing.CPU) {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	c := hw.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	m := timing.New(p.Params, mem.New())
	m.AddUnit(u, 64)
	cpu := m.AddCPU(1)
	f, err := host.NewFrames(cpu, drivertest.RAMBase, drivertest.RAMSize)
	require.NoError(t, err)
	if opt.LastDevice == 0 {
		opt.LastDevice = 0xfff
	}
	d, err := New(cpu, f, opt)
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	return d, m, cpu
}

// moves are the ways in which a device changes between two domains.
var moves = []struct {
	name   string
	make   func(t *testing.T, d *Driver, cpu host.CPU, i int) host.Domain
	shared bool // both domains have other devices, so that guest tables have to go by a temporary id
	guest  bool // guest tables differ
	pasid  emu.PASID
	settle int // cycles until a read has gone through cold caches
}{
	{"v1", paging(host.StageSecond, host.StageSecond), false, false, emu.NoPASID, 1000},
	{"v2", paging(host.StageFirst, host.StageFirst), false, true, emu.NoPASID, 1000},
	{"v2, shared", paging(host.StageFirst, host.StageFirst), true, true, emu.NoPASID, 1000},
	{"v1 to v2", paging(host.StageSecond, host.StageFirst), false, false, emu.NoPASID, 1000},
	{"v2 of a PASID", paging(host.StageFirst, host.StageFirst), false, true, 5, 1000},
	{"nested, same parent", onParents(false), false, true, emu.NoPASID, 4000},
	{"nested, same parent, shared", onParents(false), true, true, emu.NoPASID, 4000},
	{"nested, parents alike", onParents(true), false, true, emu.NoPASID, 4000},
	{"nested of a PASID", onParents(false), false, true, 5, 4000},
}

// paging makes one domain of each stage, with a page of its own.
func paging(stage ...host.Stage) func(*testing.T, *Driver, host.CPU, int) host.Domain {
	return func(t *testing.T, d *Driver, _ host.CPU, i int) host.Domain {
		dom, err := d.NewDomain(host.DomainSpec{Stage: stage[i]})
		require.NoError(t, err)
		require.NoError(t, dom.Map(drivertest.StreamPage, target+emu.PA(i)<<12, 0x1000, emu.RW))
		return dom
	}
}

// onParents makes nested domains of one guest, over one parent or over two that map the same.
func onParents(two bool) func(*testing.T, *Driver, host.CPU, int) host.Domain {
	var parent host.Domain
	var frames *host.Frames
	return func(t *testing.T, d *Driver, cpu host.CPU, i int) host.Domain {
		var err error
		if i == 0 || two {
			parent, err = d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
			require.NoError(t, err)
			require.NoError(t, parent.Map(0, drivertest.GuestBase, 16<<20, emu.RW))
			require.NoError(t, parent.Map(0x4000_0000, target, 0x2000, emu.RW))
		}
		ram := guest.NewCPU(cpu, parent)
		if i == 0 {
			frames, err = host.NewFrames(ram, 0x10_0000, 8<<20)
			require.NoError(t, err)
		}
		dom, err := guest.New(d, ram, frames, guest.Spec{})
		require.NoError(t, err)
		require.NoError(t, dom.Map(drivertest.StreamPage, 0x4000_0000+emu.PA(i)<<12, 0x1000, emu.RW))
		return dom
	}
}

// What running DMA sees while its device moves to and fro between two domains: with the hitless
// writer nothing but the old page and the new one, and never the old one once the rewrite is declared
// complete; with those that break first, faults. None lets a request pass untranslated.
func TestTimed_ReplaceUnderDMA(t *testing.T) {
	for _, mv := range moves {
		for _, w := range entry.Writers() {
			d, m, cpu := timed(t, Options{})
			doms := make([]host.Domain, 2)
			for i := range doms {
				doms[i] = mv.make(t, d, cpu, i)
				if mv.shared {
					require.NoError(t, d.Attach(0x800+emu.SourceID(i), emu.NoPASID, doms[i]))
				}
			}
			if mv.pasid != emu.NoPASID {
				require.NoError(t, d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
			}
			require.NoError(t, d.Attach(dev, mv.pasid, doms[0]))
			s := drivertest.NewStream(m, dev, mv.pasid)
			for tag := range uint32(8) {
				s.Timer(tag)
			}
			cpu.Compute(5000)
			window := uint64(0)
			for i := range 200 {
				next := (i + 1) % 2
				s.Since, s.After = 0, map[emu.PA]int{}
				rep, err := d.Replace(dev, mv.pasid, doms[next], w)
				require.NoError(t, err)
				require.Less(t, rep.First, rep.Done)
				s.Since = rep.Done
				window = max(window, rep.Done-rep.First)
				cpu.Compute(uint64(mv.settle + i*7))
				require.NotZero(t, s.After[target+emu.PA(next)<<12], "%s, %s: DMA goes on", mv.name, w.Name())
				if w == entry.Naive && mv.guest {
					continue // what a GCR3 entry cached from before has made, no invalidation names
				}
				require.Zero(t, s.After[target+emu.PA(1-next)<<12], "%s, %s: stale", mv.name, w.Name())
				require.Equal(t, mv.shared && w == entry.Hitless, rep.Temp != 0)
			}
			require.Zero(t, s.Pages[emu.PA(drivertest.StreamPage)], "untranslated")
			switch w {
			case entry.Hitless:
				require.Len(t, s.Pages, 2)
				require.Zero(t, s.Blocked, mv.name)
			case entry.Linux, entry.BreakMake:
				require.Len(t, s.Pages, 2)
				require.NotZero(t, s.Blocked, "%s, %s", mv.name, w.Name())
			}
			t.Logf("%-27s, %-9s: %d reads, %d blocked, window at most %d cycles", mv.name, w.Name(), s.Pages[target]+s.Pages[target+0x1000], s.Blocked, window)
		}
	}
}

// The writer that goes by V=0 lets requests of the device through as they are.
func TestTimed_V0Leaks(t *testing.T) {
	d, m, cpu := timed(t, Options{})
	doms := make([]host.Domain, 2)
	for i := range doms {
		doms[i] = paging(host.StageSecond, host.StageSecond)(t, d, cpu, i)
	}
	require.NoError(t, d.Attach(dev, emu.NoPASID, doms[0]))
	s := drivertest.NewStream(m, dev, emu.NoPASID)
	for tag := range uint32(8) {
		s.Timer(tag)
	}
	cpu.Compute(5000)
	for i := range 20 {
		_, err := d.Replace(dev, emu.NoPASID, doms[(i+1)%2], entry.Leak)
		require.NoError(t, err)
		cpu.Compute(2000)
	}
	require.NotZero(t, s.Pages[emu.PA(drivertest.StreamPage)])
}

// Dirty flags are read and cleared while devices write, and no write is lost. Without the invalidation some
// are.
func TestTimed_NoWriteIsLostToDirtyTracking(t *testing.T) {
	preset, err := timing.LoadPreset("default")
	require.NoError(t, err)
	for i, c := range drivertest.Tracked {
		for _, omit := range []entry.Omit{0, entry.OmitIOTLB} {
			d, m, cpu := timed(t, Options{})
			lost := drivertest.LostWrites(t, i, d, m, cpu, dev, preset.Link, func() { d.SetOmit(omit) })
			require.Equal(t, omit != 0, lost > 0, "%s: %d of %d pages lost", c.Name, lost, drivertest.DirtyPages)
		}
	}
}
