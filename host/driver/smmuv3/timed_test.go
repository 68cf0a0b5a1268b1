package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// timed is a machine with a weakly ordered processor, a driver, and a device that streams.
func timed(t *testing.T, o Options, change ...func(*hw.Config)) (*Driver, *timing.Machine, *timing.CPU, *drivertest.Stream) {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	p.Host.Order = timing.WeakOrder
	c := hw.DefaultConfig()
	c.SIDSIZE = 16
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
	d, err := New(cpu, f, o)
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	return d, m, cpu, drivertest.NewStream(m, dev, emu.NoPASID)
}

// moves are the ways in which a device changes between two domains.
var moves = []struct {
	name     string
	from, to host.Stage
	opt      Options
	change   func(*hw.Config)
	shared   bool // both domains have other devices, so that no id is alone
	temp     bool // a temporary id has to be gone by
	whole    bool // one word decides
	mixed    bool // who writes naively leaves mixtures
}{
	{"stage 1, fresh table", host.StageFirst, host.StageFirst, Options{}, nil, true, false, true, false},
	{"stage 1, temporary ASID", host.StageFirst, host.StageFirst, Options{Move: MoveASID}, nil, true, true, false, true},
	{"stage 1, ASID alone", host.StageFirst, host.StageFirst, Options{Move: MoveASID}, nil, false, false, false, true},
	{"stage 2, temporary VMID", host.StageSecond, host.StageSecond, Options{}, nil, true, true, false, true},
	{"stage 2, VMID alone", host.StageSecond, host.StageSecond, Options{}, nil, false, false, false, true},
	{"stage 2, 16 bytes", host.StageSecond, host.StageSecond, Options{Wide: true}, wide, true, false, true, true},
	{"stage 1 to 2 and back", host.StageFirst, host.StageSecond, Options{}, nil, true, true, false, true},
}

func wide(c *hw.Config) { c.FetchSize = 16 }

// What running DMA sees while its device moves to and fro between two domains, on a processor whose stores
// become visible in any order: with the hitless writer nothing but the old page and the new one, and never
// the old one once the rewrite is declared complete; with those that break first, faults.
func TestTimed_ReplaceUnderDMA(t *testing.T) {
	for _, mv := range moves {
		for _, w := range entry.Writers() {
			var change []func(*hw.Config)
			if mv.change != nil {
				change = append(change, mv.change)
			}
			d, _, cpu, s := timed(t, mv.opt, change...)
			var doms [2]host.Domain
			for i, stage := range []host.Stage{mv.from, mv.to} {
				dom, err := d.NewDomain(host.DomainSpec{Stage: stage})
				require.NoError(t, err)
				require.NoError(t, dom.Map(drivertest.StreamPage, target+emu.PA(i)<<12, 0x1000, emu.RW))
				if doms[i] = dom; mv.shared {
					require.NoError(t, d.Attach(0x800+emu.SourceID(i), emu.NoPASID, dom))
				}
			}
			require.NoError(t, d.Attach(dev, emu.NoPASID, doms[0]))
			for tag := range uint32(8) {
				s.Timer(tag)
			}
			cpu.Compute(5000)
			window := uint64(0)
			for i := range 100 {
				next := (i + 1) % 2
				s.Since, s.After = 0, map[emu.PA]int{}
				rep, err := d.Replace(dev, emu.NoPASID, doms[next], w)
				require.NoError(t, err)
				require.Less(t, rep.First, rep.Done)
				s.Since = rep.Done
				window = max(window, rep.Done-rep.First)
				cpu.Compute(uint64(2000 + i*7))
				require.NotZero(t, s.After[target+emu.PA(next)<<12], "%s, %s: DMA goes on", mv.name, w.Name())
				if w == entry.Naive && mv.mixed {
					continue // mixtures of two words under the new id: no invalidation names them
				}
				require.Zero(t, s.After[target+emu.PA(1-next)<<12], "%s, %s: stale", mv.name, w.Name())
				require.Equal(t, mv.temp && w == entry.Hitless, rep.Temp != 0)
			}
			switch {
			case w == entry.Hitless, w == entry.Linux && mv.whole:
				require.Len(t, s.Pages, 2)
				require.Zero(t, s.Blocked, "%s, %s", mv.name, w.Name())
			case w != entry.Naive:
				require.Len(t, s.Pages, 2)
				require.NotZero(t, s.Blocked, "%s, %s", mv.name, w.Name())
			}
			t.Logf("%-24s, %-9s: %d reads, %d blocked, window at most %d cycles", mv.name, w.Name(),
				s.Pages[target]+s.Pages[target+0x1000], s.Blocked, window)
		}
	}
}

// Strict unmap under DMA: when it returns, no read reaches the page any more. What is mapped is reached once
// Map has returned.
func TestTimed_StrictUnmapUnderDMA(t *testing.T) {
	for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
		for _, ranges := range []bool{true, false} {
			d, _, cpu, s := timed(t, Options{NoRange: !ranges})
			a, err := d.NewDomain(host.DomainSpec{Stage: stage})
			require.NoError(t, err)
			require.NoError(t, d.Attach(dev, emu.NoPASID, a))
			for tag := range uint32(8) {
				s.Timer(tag)
			}
			for i := range 60 {
				s.Since = 0
				require.NoError(t, a.Map(drivertest.StreamPage, target+emu.PA(i)<<12, 0x1000, emu.RW))
				blocked := s.Blocked
				cpu.Compute(3000)
				require.Less(t, s.Blocked-blocked, 16, "requests under way")
				_, err := a.Unmap(drivertest.StreamPage, 0x1000)
				require.NoError(t, err)
				s.Since, s.After = cpu.Now(), map[emu.PA]int{}
				cpu.Compute(3000)
				require.Empty(t, s.After)
			}
			require.Len(t, s.Pages, 60)
			require.NotZero(t, s.Blocked)
		}
	}
}

// Commands that take time are polled, and a limit that is too short is an error.
func TestTimed_Timeout(t *testing.T) {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	u, err := hw.New(hw.DefaultConfig())
	require.NoError(t, err)
	m := timing.New(p.Params, mem.New())
	m.AddUnit(u, 64)
	cpu := m.AddCPU(1)
	f, err := host.NewFrames(cpu, drivertest.RAMBase, drivertest.RAMSize)
	require.NoError(t, err)
	_, err = New(cpu, f, Options{Timeout: 1})
	require.ErrorIs(t, err, host.ErrTimeout)
}
