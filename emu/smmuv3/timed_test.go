package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// On the timed machine many transactions fault at once: every event is whole, in the queue, and none is on
// top of another.
func TestTimedMachineWritesEveryEvent(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev)
	m := r.Timed(64)
	m.Issue(40, dma(emu.Write))
	m.Settle()
	require.Equal(t, map[emu.Status]int{emu.Blocked: 40}, m.Status)
	l := r.drain()
	require.Len(t, l, 40)
	for _, e := range l {
		require.Equal(t, l[0], e)
	}
}

// The interrupt of the event queue and that of SYNC reach a processor of the timed machine.
func TestTimedInterrupts(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev)
	m := r.Timed(64)
	events, syncs := 0, 0
	addr, data := m.CPU.OnIRQ(func() { events++ })
	r.W64(spec.OffEVENTQIRQCfg0, uint64(addr))
	r.W32(spec.OffEVENTQIRQCfg1, uint64(data))
	r.W32(spec.OffIRQCtrl, spec.IrqEVENTQ.Mask())
	addr, data = m.CPU.OnIRQ(func() { syncs++ })
	r.push(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}, field{spec.SyncMSIAddr, uint64(addr) >> 2}, field{spec.SyncMSIData, uint64(data)}))
	m.Issue(3, dma(emu.Read))
	m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	require.True(t, m.CPU.Poll(func() bool { return events == 1 && syncs == 1 }, 1_000_000))
}

// Functional: the same messages reach the processor that is the executor.
func TestFunctionalInterrupts(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev)
	events, syncs := 0, 0
	addr, data := r.F.OnIRQ(func() { events++ })
	r.W64(spec.OffEVENTQIRQCfg0, uint64(addr))
	r.W32(spec.OffEVENTQIRQCfg1, uint64(data))
	r.W32(spec.OffIRQCtrl, spec.IrqEVENTQ.Mask())
	r.Do(dma(emu.Read))
	addr, data = r.F.OnIRQ(func() { syncs++ })
	r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}, field{spec.SyncMSIAddr, uint64(addr) >> 2}, field{spec.SyncMSIData, uint64(data)}))
	require.Equal(t, 1, events)
	require.Equal(t, 1, syncs)
}

// A transaction that has read the old entry is over, its data visible, before SYNC signals, and who comes
// later sees the new one.
func TestTimedSyncIsBehindWhatUsedTheOldEntry(t *testing.T) {
	for _, caches := range []change{func(*smmuv3.Config) {}, noCaches} {
		r := newRig(t, caches).enable()
		_, root := r.attach(dev)
		at := r.mapPage(root, iova, 0x5000, s1RW)
		status := r.Page()
		m := r.Timed(64)
		var stored uint64
		r.Mem.Watch(status, status+7, func(emu.PA, uint8) { stored = m.Machine.Now() })
		r.push(tlbiVA(spec.CmdTlbiNHVA, iova))
		r.push(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}, field{spec.SyncMSIAddr, uint64(status) >> 2}, field{spec.SyncMSIData, 1}))
		m.Issue(20, dma(emu.Read))
		m.Machine.RunUntil(600) // in the middle of the walk
		m.CPU.Store64(at, 0x6000|s1RW)
		m.CPU.Fence()
		m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
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

// CR0ACK follows a while after CR0.
func TestTimedUpdatesTakeTime(t *testing.T) {
	r := newRig(t).queues()
	m := r.Timed(8)
	v := r.R32(spec.OffCR0) | 1
	m.CPU.WriteReg(0, spec.OffCR0, 4, v)
	m.Machine.RunUntil(m.CPU.Now() + m.Machine.Params.Host.WriteReg + 10)
	require.Equal(t, v, r.R32(spec.OffCR0))
	require.NotEqual(t, v, r.R32(spec.OffCR0ACK))
	require.True(t, m.CPU.Poll(func() bool { return m.CPU.ReadReg(0, spec.OffCR0ACK, 4) == v }, 1_000_000))
}
