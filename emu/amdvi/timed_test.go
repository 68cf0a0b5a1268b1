package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/timing"
)

// many is a device on the timed machine that collects what its requests end with.
type many struct {
	status map[emu.Status]int
	seen   map[emu.PA]uint64
}

func (c *many) Complete(r *timing.Completion) {
	c.status[r.Result.Status]++
	c.seen[r.Result.PA&^0xfff] = r.Read
}
func (c *many) Timer(uint32)               {}
func (c *many) Save(*emu.Encoder)          {}
func (c *many) Restore(*emu.Decoder) error { return nil }

// machine puts the rig's unit on the timed machine.
func (r *rig) machine(flights int) (*timing.Machine, *timing.CPU, *many, int) {
	p, err := timing.LoadPreset("default")
	require.NoError(r.t, err)
	m := timing.New(p.Params, r.m)
	m.AddUnit(r.u, flights)
	c := &many{status: map[emu.Status]int{}, seen: map[emu.PA]uint64{}}
	return m, m.AddCPU(1), c, m.AddClient(c)
}

func (m *many) issue(t *testing.T, machine *timing.Machine, device, n int, q emu.Request) {
	for range n {
		require.True(t, machine.Issue(device, 0, 0, &q))
	}
}

// On the timed machine many requests fault at once, and the command engine does so as well: every event
// is whole, in the log, and none is on top of another.
func TestTimedMachineWritesEveryEvent(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	m, cpu, c, id := r.machine(64)
	c.issue(t, m, id, 40, dma(emu.Write))
	r.put(r.cmd, 0, 0) // illegal
	cpu.WriteReg(0, spec.OffCmdTail, 4, 16)
	for !m.Idle() {
		m.Step()
	}
	require.Equal(t, map[emu.Status]int{emu.Blocked: 40}, c.status)
	count := map[uint64]int{}
	for _, e := range r.events() {
		count[e[0]>>60]++
	}
	require.Equal(t, map[uint64]int{spec.EventPageFault: 40, spec.EventIllegalCommand: 1}, count)
}

// A request that has read the old entry is over, its data visible, before COMPLETION_WAIT stores, and
// who comes later sees the new one.
func TestTimedCompletionWaitIsBehindWhatUsedTheOldEntry(t *testing.T) {
	for _, caches := range []func(*amdvi.Config){func(*amdvi.Config) {}, noCaches} {
		r := newRig(t, caches).enable()
		at := r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
		status := r.page()
		m, cpu, c, id := r.machine(64)
		var stored uint64
		r.m.Watch(status, status+7, func(emu.PA, uint8) { stored = m.Now() })
		for i, w := range [][2]uint64{invPages(did, iova), wait(status, 1)} {
			r.put(r.cmd+emu.PA(16*i), w[0], w[1])
		}
		c.issue(t, m, id, 20, dma(emu.Read))
		m.RunUntil(300) // in the middle of the walk
		cpu.Store64(at, 0x6000|pRW)
		cpu.Fence()
		cpu.WriteReg(0, spec.OffCmdTail, 4, 32)
		require.True(t, cpu.Poll(func() bool { return cpu.Load64(status) == 1 }, 1_000_000))
		old := c.seen[0x5000]
		require.NotZero(t, stored)
		require.Less(t, old, stored)
		clear(c.seen)
		c.issue(t, m, id, 20, dma(emu.Read))
		for !m.Idle() {
			m.Step()
		}
		require.Contains(t, c.seen, emu.PA(0x6000))
		require.NotContains(t, c.seen, emu.PA(0x5000))
		require.Equal(t, map[emu.Status]int{emu.OK: 40}, c.status)
	}
}
