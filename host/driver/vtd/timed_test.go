package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// stream is a device that reads one page for ever, several requests at a time.
type stream struct {
	m       *timing.Machine
	id      int
	pages   map[emu.PA]int // where reads went
	after   map[emu.PA]int // those whose caches were read after since
	since   uint64
	blocked int
	on      bool
}

func (s *stream) Complete(c *timing.Completion) {
	if c.Result.Status == emu.OK {
		s.pages[c.Result.PA]++
		if s.since != 0 && c.Read > s.since {
			s.after[c.Result.PA]++
		}
	} else {
		s.blocked++
	}
	if s.on {
		s.m.Timer(s.id, s.m.Now()+3, c.Tag)
	}
}

func (s *stream) Timer(tag uint32) {
	q := emu.Request{Addr: 0x10000, Source: dev, PASID: emu.NoPASID, Len: 64, Access: emu.Read}
	if !s.m.Issue(s.id, 0, tag, &q) {
		s.m.Timer(s.id, s.m.Now()+10, tag)
	}
}

func (s *stream) Save(*emu.Encoder)          {}
func (s *stream) Restore(*emu.Decoder) error { return nil }

func timed(t *testing.T, preset string, mode func(*hw.Config)) (*Driver, *timing.Machine, *timing.CPU, *stream) {
	p, err := timing.LoadPreset(preset)
	require.NoError(t, err)
	c := hw.DefaultConfig()
	mode(&c)
	u, err := hw.New(c)
	require.NoError(t, err)
	m := timing.New(p.Params, mem.New())
	m.AddUnit(u, 64)
	cpu := m.AddCPU(1)
	f, err := host.NewFrames(cpu, ramBase, ramSize)
	require.NoError(t, err)
	d, err := New(cpu, f, Options{HAW: c.HAW})
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	s := &stream{m: m, pages: map[emu.PA]int{}, after: map[emu.PA]int{}, on: true}
	s.id = m.AddClient(s)
	return d, m, cpu, s
}

// What running DMA sees while its device moves to and fro between two domains: with the hitless
// writer nothing but the old page and the new one, and never the old one once the rewrite is declared
// complete; with those that break first, faults.
func TestTimed_ReplaceUnderDMA(t *testing.T) {
	for _, mode := range []func(*hw.Config){scalable, legacy} {
		for _, w := range entry.Writers() {
			d, _, cpu, s := timed(t, "default", mode)
			doms := make([]host.Domain, 2)
			for i := range doms {
				var err error
				doms[i], err = d.NewDomain(host.DomainSpec{})
				require.NoError(t, err)
				require.NoError(t, doms[i].Map(0x10000, target+emu.PA(i)<<12, 0x1000, emu.RW))
			}
			require.NoError(t, d.Attach(dev, emu.NoPASID, doms[0]))
			for tag := range uint32(8) {
				s.Timer(tag)
			}
			cpu.Compute(5000)
			window := uint64(0)
			for i := range 200 {
				next := (i + 1) % 2
				s.since, s.after = 0, map[emu.PA]int{}
				rep, err := d.Replace(dev, emu.NoPASID, doms[next], w)
				require.NoError(t, err)
				require.Less(t, rep.First, rep.Done)
				s.since = rep.Done
				window = max(window, rep.Done-rep.First)
				cpu.Compute(uint64(1000 + i*7))
				require.Zero(t, s.after[target+emu.PA(1-next)<<12], "%s: stale", w.Name())
				require.NotZero(t, s.after[target+emu.PA(next)<<12], "%s: DMA goes on", w.Name())
			}
			require.Len(t, s.pages, 2)
			switch w {
			case entry.Hitless:
				require.Zero(t, s.blocked, w.Name())
			case entry.Linux, entry.BreakMake:
				require.NotZero(t, s.blocked, w.Name())
			}
			t.Logf("scalable %v, %-9s: %d reads, %d blocked, window at most %d cycles", d.Scalable(), w.Name(), s.pages[target]+s.pages[target+0x1000], s.blocked, window)
		}
	}
}

// Strict unmap under DMA: when it returns, no read reaches the page any more.
func TestTimed_StrictUnmapUnderDMA(t *testing.T) {
	d, _, cpu, s := timed(t, "default", scalable)
	a, err := d.NewDomain(host.DomainSpec{})
	require.NoError(t, err)
	require.NoError(t, d.Attach(dev, emu.NoPASID, a))
	for tag := range uint32(8) {
		s.Timer(tag)
	}
	for i := range 100 {
		s.since = 0
		require.NoError(t, a.Map(0x10000, target+emu.PA(i)<<12, 0x1000, emu.RW))
		cpu.Compute(3000)
		_, err := a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
		s.since, s.after = cpu.Now(), map[emu.PA]int{}
		cpu.Compute(3000)
		require.Empty(t, s.after)
	}
	require.Len(t, s.pages, 100)
	require.NotZero(t, s.blocked)
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
	f, err := host.NewFrames(cpu, ramBase, ramSize)
	require.NoError(t, err)
	_, err = New(cpu, f, Options{Timeout: 1})
	require.ErrorIs(t, err, host.ErrTimeout)
}
