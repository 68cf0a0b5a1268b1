package amdvi_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
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

// A checkpoint taken at any cycle goes on as the original: walks, invalidations, events, page requests,
// interrupts and counters that are under way included.
func TestTimedCheckpointAtAnyCycle(t *testing.T) {
	build := func() (*rig, *emutest.Timed) {
		r := fullRig(t)
		r.messages()
		g := r.guests(4, 1, 3, atsOn, had(spec.HADAD))
		for i := range uint64(8) {
			g.gmap(5, iova+i<<12, 0x10_0000+i<<12, gAll)
		}
		r.pageRequests()
		r.mapPage(r.attach(other, 3), iova, 0x5000, pRW)
		for s, c := range []uint64{spec.SrcTLBHit, spec.SrcTableReads, spec.SrcTargetAbort} {
			at := spec.CounterOffset(0, s)
			r.W64(at, 1<<48-5)
			r.W64(at+spec.OffCounterReport, 1<<63|c)
			r.W64(at+spec.OffCounterSource, c)
		}
		return r, r.Timed(64)
	}
	load := func(r *rig, m *emutest.Timed) {
		for i := range uint64(10) { // the last two are not mapped
			m.Issue(2, emutest.DMA(dev, 5, iova+i<<12, emu.Write))
			m.Issue(1, emutest.DMA(other, emu.NoPASID, iova, emu.Access(1+i%2)))
		}
		q := emutest.DMA(dev, 5, iova, emu.Read)
		q.Type = emu.TranslationReq
		m.Issue(2, q)
		m.Issue(1, prq(5, emu.Read, 3, true))
		m.Issue(2, interrupt())
		status := r.Page()
		for _, w := range [][2]uint64{invPages(did, iova), invDevtab(dev), invGuest(did, 5, iova), wait(status, 1), {}} {
			r.push(w)
		}
		m.CPU.WriteReg(0, spec.OffCmdTail, 4, r.tail)
	}
	save := func(m *emutest.Timed) []byte {
		var e emu.Encoder
		m.Machine.Save(&e)
		return e.Bytes()
	}
	states := 0
	for at := uint64(20); ; at += 61 {
		r, m := build()
		load(r, m)
		m.Machine.RunUntil(at)
		idle := m.Machine.Idle()
		state := save(m)
		_, n := build()
		require.NoError(t, n.Machine.Restore(emu.NewDecoder(state)), "cycle %d", at)
		require.Equal(t, state, save(n), "cycle %d", at)
		m.Settle()
		n.Settle()
		require.True(t, bytes.Equal(save(m), save(n)), "cycle %d", at)
		states++
		if idle {
			codes := map[uint64]bool{}
			for _, e := range r.events() {
				codes[spec.EvtCode.Of(e[0])] = true
			}
			require.Equal(t, map[uint64]bool{
				spec.EventPageFault: true, spec.EventIllegalCommand: true, spec.EventCounterZero: true,
			}, codes)
			break
		}
	}
	require.Greater(t, states, 20)
}
