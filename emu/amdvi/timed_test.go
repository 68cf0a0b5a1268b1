package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// On the timed machine many requests fault at once, and the command engine does so as well: every event
// is whole, in the log, and none is on top of another.
func TestTimedMachineWritesEveryEvent(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	m := r.Timed(64)
	m.Issue(40, dma(emu.Write))
	r.Put(r.cmd, 0, 0) // illegal
	m.CPU.WriteReg(0, spec.OffCmdTail, 4, 16)
	m.Settle()
	require.Equal(t, map[emu.Status]int{emu.Blocked: 40}, m.Status)
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
		status := r.Page()
		m := r.Timed(64)
		var stored uint64
		r.Mem.Watch(status, status+7, func(emu.PA, uint8) { stored = m.Machine.Now() })
		for i, w := range [][2]uint64{invPages(did, iova), wait(status, 1)} {
			r.Put(r.cmd+emu.PA(16*i), w[0], w[1])
		}
		m.Issue(20, dma(emu.Read))
		m.Machine.RunUntil(300) // in the middle of the walk
		m.CPU.Store64(at, 0x6000|pRW)
		m.CPU.Fence()
		m.CPU.WriteReg(0, spec.OffCmdTail, 4, 32)
		require.True(t, m.CPU.Poll(func() bool { return m.CPU.Load64(status) == 1 }, 1_000_000))
		old := m.At[0x5000]
		require.NotZero(t, stored)
		require.Less(t, old, stored)
		clear(m.At)
		m.Issue(20, dma(emu.Read))
		m.Settle()
		require.Contains(t, m.At, emu.PA(0x6000))
		require.NotContains(t, m.At, emu.PA(0x5000))
		require.Equal(t, map[emu.Status]int{emu.OK: 40}, m.Status)
	}
}
