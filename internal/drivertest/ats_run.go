package drivertest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// RunATS has a device with a device-TLB at work while its driver changes things. start makes a machine with a
// driver.
func RunATS(t *testing.T, start func(t *testing.T, change ...func(*device.EndpointConfig)) *ATS) {
	every := func(cycles uint64) func(*device.EndpointConfig) {
		return func(c *device.EndpointConfig) { c.Interval = cycles }
	}
	// A page that software maps when it is asked for, while other accesses go on.
	t.Run("pages are faulted in", func(t *testing.T) {
		for _, gather := range []uint64{0, 2000} {
			m := start(t, func(c *device.EndpointConfig) { c.Gather = gather })
			groups := m.faultIn()
			t.Logf("gather %d: %d groups, %d cycles", gather, groups, m.CPU.Now())
		}
	})
	// When a strict unmap returns no access reaches the page any more, and none is on its way. Without the
	// invalidation of the device's TLB the device goes on.
	t.Run("strict unmap", func(t *testing.T) {
		for _, omit := range []entry.Omit{0, entry.OmitDeviceTLB} {
			m := start(t, every(20))
			m.D.SetOmit(omit)
			require.Equal(t, omit != 0, m.unmapUnderDMA() != 0)
		}
	})
	t.Run("detach under page requests", func(t *testing.T) { start(t, every(200)).detachUnderFaults() })
	t.Run("asks for ever", func(t *testing.T) {
		longest := start(t, every(20)).askForEver()
		require.Less(t, longest, uint64(100_000))
		t.Logf("at most %d cycles", longest)
	})
	// A device that does not answer the invalidation of its TLB keeps what it has, and software is told.
	t.Run("muted device", func(t *testing.T) {
		m := start(t)
		dom := m.Attached(emu.NoPASID)
		require.NoError(t, dom.Map(0x10000, Target, 0x1000, emu.RW))
		m.DMA(0x10000, emu.Read)
		m.Dev.Mute(true)
		from := m.CPU.Now()
		_, err := dom.Unmap(0x10000, 0x1000)
		require.ErrorIs(t, err, host.ErrDeviceTLB)
		require.Greater(t, m.CPU.Now()-from, 4*m.preset.ATSTimeout)
		require.Equal(t, Target, m.DMA(0x10000, emu.Read).To, "the device has it still")
		m.Dev.Mute(false)
		require.NoError(t, dom.Flush())
		require.Equal(t, device.EndInvalid, m.DMA(0x10000, emu.Read).End)
	})
}

// faultIn has pages mapped as the device asks for them, while its other accesses go on. It returns the number of
// groups.
func (m *ATS) faultIn() (groups int) {
	dom := m.Attached(emu.NoPASID, 5)
	m.D.OnPageRequest(func(g host.PageGroup) {
		groups++
		for _, q := range g.Requests {
			if _, ok := dom.Lookup(q.Addr); !ok {
				require.NoError(m.T, dom.Map(q.Addr, Target+emu.PA(q.Addr)*2, 0x1000, emu.RW))
			}
		}
		require.NoError(m.T, m.D.Respond(g, host.PageSuccess))
	})
	const n = 200
	for i := range n {
		q := emu.Request{Addr: emu.IOVA(0x10_0000 + i*13%40<<12), PASID: emu.NoPASID, Len: 64, Access: emu.RW & emu.Access(1+i%2)}
		if i%3 == 0 {
			q.PASID = 5
		}
		require.True(m.T, m.queue.Put(&q, 0))
	}
	m.Dev.Kick()
	require.True(m.T, m.CPU.Poll(func() bool { return m.Dev.Idle() && m.queue.Len() == 0 }, 100_000_000))
	require.Len(m.T, m.Log, n)
	for _, l := range m.Log {
		require.Equal(m.T, device.EndOK, l.End)
		require.Equal(m.T, Target+emu.PA(l.From)*2, l.To)
	}
	require.Zero(m.T, m.Dev.Stats().Unexpected)
	require.EqualValues(m.T, groups, m.Dev.Stats().Groups)
	return groups
}

// unmapUnderDMA unmaps a page again and again while the device reads it with translated requests. It returns how many
// accesses reached a page that was unmapped.
func (m *ATS) unmapUnderDMA() (stale int) {
	dom := m.Attached(emu.NoPASID, 5)
	m.D.OnPageRequest(func(g host.PageGroup) { _ = m.D.Respond(g, host.PageInvalid) })
	require.NoError(m.T, dom.Map(StreamPage, Target, 0x1000, emu.RW))
	m.Streaming(emu.NoPASID, 5)
	seen := 0
	for i := range 60 {
		page := Target + emu.PA(i)<<12
		m.CPU.Compute(3000 + uint64(i)*13)
		_, err := dom.Unmap(StreamPage, 0x1000)
		require.NoError(m.T, err)
		since := m.CPU.Now()
		m.CPU.Compute(2000)
		stale += m.Late(page, since)
		seen += m.Late(page, 0)
		m.Log = m.Log[:0]
		require.NoError(m.T, dom.Map(StreamPage, page+0x1000, 0x1000, emu.RW))
	}
	require.NotZero(m.T, seen)
	if stale == 0 {
		require.NotZero(m.T, m.Dev.Stats().Held)
		require.NotZero(m.T, m.Dev.Stats().Discarded)
	}
	return stale
}

// detachUnderFaults detaches while the device faults: what it still waits for is answered, nothing reaches it
// later.
func (m *ATS) detachUnderFaults() {
	dom := m.Attached(emu.NoPASID, 5)
	var open []host.PageGroup
	m.D.OnPageRequest(func(g host.PageGroup) { open = append(open, g) })
	i := 0
	m.Next = func(q *emu.Request) bool {
		i++
		*q = emu.Request{Addr: emu.IOVA(i) << 12, PASID: 5, Len: 64, Access: emu.Read}
		return true
	}
	m.Dev.Kick()
	for range 20 {
		m.CPU.Compute(5000)
		require.NoError(m.T, m.D.Detach(m.sid, 5))
		m.CPU.Compute(3000)
		for _, l := range m.Log {
			require.Contains(m.T, []device.End{device.EndInvalid, device.EndBlocked}, l.End)
		}
		for _, g := range open {
			require.ErrorIs(m.T, m.D.Respond(g, host.PageSuccess), host.ErrPageGroup)
		}
		open = open[:0]
		require.NoError(m.T, m.D.Attach(m.sid, 5, dom))
	}
	m.Next = func(*emu.Request) bool { return false }
	m.CPU.Compute(5000)
	require.NoError(m.T, m.D.Detach(m.sid, 5))
	require.True(m.T, m.CPU.Poll(m.Dev.Idle, 1_000_000))
	require.NotZero(m.T, m.Dev.Stats().Groups)
	require.Zero(m.T, m.Dev.Stats().Unexpected)
	require.Zero(m.T, m.Open())
}

// askForEver has a device ask for pages that it never gets. Operations are not held up by it, and what it asked
// for in the middle of one is answered after it. It returns the longest operation in cycles.
func (m *ATS) askForEver() (longest uint64) {
	dom := m.Attached(emu.NoPASID, 5)
	m.D.OnPageRequest(func(g host.PageGroup) {
		m.CPU.Compute(2000)
		require.NoError(m.T, m.D.Respond(g, host.PageInvalid))
	})
	i := 0
	m.Next = func(q *emu.Request) bool {
		i++
		*q = emu.Request{Addr: emu.IOVA(i%1000) << 12, PASID: 5, Len: 64, Access: emu.Read}
		return true
	}
	m.Dev.Kick()
	for range 20 {
		m.CPU.Compute(5000)
		at := m.CPU.Now()
		require.NoError(m.T, dom.Map(0x4000_0000, Target, 0x1000, emu.RW))
		_, err := dom.Unmap(0x4000_0000, 0x1000)
		require.NoError(m.T, err)
		longest = max(longest, m.CPU.Now()-at)
		m.CPU.Compute(20_000) // more than all that waits takes
		n := len(m.Log)
		m.CPU.Compute(20_000)
		require.Greater(m.T, len(m.Log), n, "it is answered still")
	}
	m.Next = func(*emu.Request) bool { return false }
	require.True(m.T, m.CPU.Poll(m.Dev.Idle, 1_000_000), "nothing is left unanswered")
	for _, l := range m.Log {
		require.Equal(m.T, device.EndInvalid, l.End)
	}
	require.Zero(m.T, m.Dev.Stats().Unexpected)
	return longest
}
