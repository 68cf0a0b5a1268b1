package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
	"github.com/iommulab/iommulab/iotlb"
)

// landed is where an access went.
type landed struct {
	from         emu.IOVA
	to           emu.PA
	issued, done uint64
	end          hwdev.End
}

// atsMachine is a timed machine with a device that has a device-TLB, and a driver.
type atsMachine struct {
	t     *testing.T
	p     *timing.Preset
	m     *timing.Machine
	cpu   *timing.CPU
	d     *Driver
	dev   *hwdev.Endpoint
	queue *hwdev.Queue
	next  func(q *emu.Request) bool // an endless source, if set
	log   []landed
}

func newATSMachine(t *testing.T, unit func(*hw.Config), change ...func(*hwdev.EndpointConfig)) *atsMachine {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	m := &atsMachine{t: t, p: p, m: timing.New(p.Params, mem.New()), queue: hwdev.NewQueue(256)}
	c := hw.DefaultConfig()
	withPRI(&c)
	c.ContextCache, c.PASIDCache, c.IOTLB = p.Caches.Entry, p.Caches.PASID, p.Caches.IOTLB
	c.Walk = nil
	for i, g := range p.Caches.Walk {
		c.Walk = append(c.Walk, iotlb.Level{Lg2: uint8(emu.PageShift + 9*(i+1)), Geometry: g})
	}
	unit(&c)
	u, err := hw.New(c)
	require.NoError(t, err)
	m.m.AddUnit(u, 64)
	m.cpu = m.m.AddCPU(1)
	f, err := host.NewFrames(m.cpu, drivertest.RAMBase, drivertest.RAMSize)
	require.NoError(t, err)
	m.d, err = New(m.cpu, f, Options{HAW: c.HAW})
	require.NoError(t, err)
	require.NoError(t, m.d.Enable())
	cfg := hwdev.EndpointConfig{Source: dev, Outstanding: 8, TLB: p.Caches.Device, Pages: 16, NoWrite: true}
	for _, f := range change {
		f(&cfg)
	}
	m.dev = m.Endpoint(cfg)
	return m
}

// endpoint attaches a device. It is fed from the queue, or from next.
func (m *atsMachine) Endpoint(cfg hwdev.EndpointConfig) *hwdev.Endpoint {
	var source hwdev.Source = m.queue
	if m.dev == nil {
		source = hwdev.Func(func(q *emu.Request) (uint64, bool) {
			if m.next != nil {
				return 0, m.next(q)
			}
			return m.queue.Next(q)
		})
	}
	e, err := hwdev.NewEndpoint(m.m, cfg, source, func(c *timing.Completion, end hwdev.End) {
		m.log = append(m.log, landed{c.Request.Addr, c.Result.PA, c.Issued, c.Done, end})
	})
	require.NoError(m.t, err)
	return e
}

func (m *atsMachine) Domain() host.Domain {
	d, err := m.d.NewDomain(host.DomainSpec{Width: 48})
	require.NoError(m.t, err)
	return d
}

// attached makes the device known and gives it a domain for the PASIDs.
func (m *atsMachine) attached(pasids ...emu.PASID) host.Domain {
	dom := m.Domain()
	require.NoError(m.t, m.d.Probe(dev, host.DeviceSpec{ATS: true, PRI: true, PASIDs: 64}))
	for _, p := range pasids {
		require.NoError(m.t, m.d.Attach(dev, p, dom))
	}
	return dom
}

// dma lets the device make one access and returns how it went.
func (m *atsMachine) dma(addr emu.IOVA, a emu.Access) landed {
	m.cpu.Compute(100_000) // the pipeline is empty
	n := len(m.log)
	m.queue.Put(&emu.Request{Addr: addr, Source: dev, PASID: emu.NoPASID, Len: 64, Access: a}, 0)
	m.dev.Kick()
	require.True(m.t, m.cpu.Poll(func() bool { return len(m.log) > n }, 1_000_000))
	return m.log[n]
}

func bare(*hw.Config) {}

// The closed formulas of docs/timing.md, to the cycle: with ATS a cold access is a translation request,
// which pays all but the data, and a translated one.
func TestFormula_ColdTranslatedAccess(t *testing.T) {
	for _, c := range []struct {
		name    string
		unit    func(*hw.Config)
		probes  uint64 // of the translation request: context, [PASID,] IOTLB, paging structures
		reads   uint64
		follows uint64
		fills   uint64
		hit     bool // the IOTLB has a translation for the fused look-up
	}{
		{"legacy", func(c *hw.Config) { legacy(c); c.PRS, c.PDS = false, false }, 3, 2 + 4, 0, 1 + 3 + 1, false},
		{"scalable", bare, 4, 4 + 4, 1 + 3, 2 + 3 + 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newATSMachine(t, c.unit)
			dom := m.Domain()
			require.NoError(t, m.d.Probe(dev, host.DeviceSpec{ATS: true}))
			require.NoError(t, m.d.Attach(dev, emu.NoPASID, dom))
			for i, pa := range []emu.PA{1, 0, 3, 2} { // none makes a larger page with another
				require.NoError(t, dom.Map(0x100_0000+emu.IOVA(i)<<12, target+pa<<12, 0x1000, emu.RW))
			}
			p := &m.p.Params
			lat := func(page emu.IOVA, a emu.Access) uint64 {
				d := m.dma(0x100_0000+page<<12, a)
				require.Equal(t, hwdev.EndOK, d.end)
				return d.done - d.issued
			}
			ask := 2*p.Link + p.Lookup                     // a translation request has no data
			move := 2*p.Link + p.Lookup + p.Probe + p.Data // the entry of the device is looked up
			cold := ask + c.probes*p.Probe + c.reads*p.Mem + c.follows*p.Follow + c.fills*p.Fill
			require.Equal(t, cold+move, lat(0, emu.Read), "cold")
			require.Equal(t, move, lat(0, emu.Read), "the device has it")
			require.Equal(t, ask+c.probes*p.Probe+p.Mem+p.Fill+move, lat(1, emu.Read), "neighbour: one read below a cached table")
			t.Logf("%s: cold %d, device-TLB hit %d, neighbour %d", c.name, cold+move, move, ask+c.probes*p.Probe+p.Mem+p.Fill+move)
		})
	}
}

// A page that software maps when it is asked for, while other accesses go on.
func TestTimed_DeviceFaultsItsPagesIn(t *testing.T) {
	for _, gather := range []uint64{0, 2000} {
		m := newATSMachine(t, bare, func(c *hwdev.EndpointConfig) { c.Gather = gather })
		dom := m.attached(emu.NoPASID, 5)
		groups := 0
		m.d.OnPageRequest(func(g host.PageGroup) {
			groups++
			for _, q := range g.Requests {
				if _, ok := dom.Lookup(q.Addr); !ok {
					require.NoError(t, dom.Map(q.Addr, target+emu.PA(q.Addr)*2, 0x1000, emu.RW))
				}
			}
			require.NoError(t, m.d.Respond(g, host.PageSuccess))
		})
		const n = 200
		for i := range n {
			q := emu.Request{Addr: emu.IOVA(0x10_0000 + i*13%40<<12), PASID: emu.NoPASID, Len: 64, Access: emu.RW & emu.Access(1+i%2)}
			if i%3 == 0 {
				q.PASID = 5
			}
			require.True(t, m.queue.Put(&q, 0))
		}
		m.dev.Kick()
		require.True(t, m.cpu.Poll(func() bool { return m.dev.Idle() && m.queue.Len() == 0 }, 100_000_000))
		require.Len(t, m.log, n)
		for _, l := range m.log {
			require.Equal(t, hwdev.EndOK, l.end)
			require.Equal(t, target+emu.PA(l.from)*2, l.to)
		}
		s := m.d.Stats()
		require.EqualValues(t, groups, s.PageGroups)
		require.Zero(t, m.dev.Stats().Unexpected)
		require.EqualValues(t, m.dev.Stats().Groups, s.PageGroups)
		t.Logf("gather %d: %d page requests in %d groups, %d cycles", gather, s.PageRequests, s.PageGroups, m.cpu.Now())
	}
}

// streaming has the device read one page for ever.
func (m *atsMachine) streaming(pasids ...emu.PASID) {
	i := 0
	m.next = func(q *emu.Request) bool {
		i++
		*q = emu.Request{Addr: 0x10000, PASID: pasids[i%len(pasids)], Len: 64, Access: emu.Read}
		return true
	}
	m.dev.Kick()
}

// late counts accesses that went to pa and ended after since.
func (m *atsMachine) late(pa emu.PA, since uint64) (n int) {
	for _, l := range m.log {
		if l.to == pa && l.end == hwdev.EndOK && l.done > since {
			n++
		}
	}
	return n
}

// Strict unmap under translated DMA: when it returns no access reaches the page any more, and none is on
// its way. Without the device-TLB invalidation the device goes on.
func TestTimed_StrictUnmapUnderTranslatedDMA(t *testing.T) {
	for _, omit := range []bool{false, true} {
		m := newATSMachine(t, bare, func(c *hwdev.EndpointConfig) { c.Interval = 20 })
		dom := m.attached(emu.NoPASID, 5)
		if omit {
			m.d.SetOmit(entry.OmitDeviceTLB)
		}
		m.d.OnPageRequest(func(g host.PageGroup) { _ = m.d.Respond(g, host.PageInvalid) })
		require.NoError(t, dom.Map(0x10000, target, 0x1000, emu.RW))
		m.streaming(emu.NoPASID, 5)
		stale, seen := 0, 0
		for i := range 60 {
			page := target + emu.PA(i)<<12
			m.cpu.Compute(3000 + uint64(i)*13)
			_, err := dom.Unmap(0x10000, 0x1000)
			require.NoError(t, err)
			since := m.cpu.Now()
			m.cpu.Compute(2000)
			stale += m.late(page, since)
			seen += m.late(page, 0)
			m.log = m.log[:0]
			require.NoError(t, dom.Map(0x10000, page+0x1000, 0x1000, emu.RW))
		}
		if omit {
			require.NotZero(t, stale)
			continue
		}
		require.Zero(t, stale)
		require.NotZero(t, seen)
		require.NotZero(t, m.dev.Stats().Held)
		require.NotZero(t, m.dev.Stats().Discarded)
	}
}

// Why the device-TLB comes last: where it is first, the device asks anew before the unit has forgotten,
// and keeps what it gets.
func TestVTDQuirk34_DeviceTLBFirstLeavesItStale(t *testing.T) {
	for _, right := range []bool{true, false} {
		m := newATSMachine(t, bare, func(c *hwdev.EndpointConfig) { c.Interval = 20; c.Pages = 0 })
		dom := m.attached(emu.NoPASID)
		require.NoError(t, dom.Map(0x10000, target, 0x1000, emu.RW))
		m.streaming(emu.NoPASID)
		stale := 0
		for i := range 40 {
			page := target + emu.PA(i)<<12
			m.cpu.Compute(3000 + uint64(i)*13)
			m.d.SetOmit(entry.OmitIOTLB | entry.OmitDeviceTLB)
			_, err := dom.Unmap(0x10000, 0x1000)
			require.NoError(t, err)
			m.d.SetOmit(0)
			ops := []op{iotlbPages(dom.ID(), 0x10000, 0, true), deviceTLB(dev, emu.NoPASID, 0x10000, 0)}
			if !right {
				ops[0], ops[1] = ops[1], ops[0]
			}
			require.NoError(t, m.d.invalidate(entry.WaitEach, ops...))
			since := m.cpu.Now()
			m.cpu.Compute(2000)
			stale += m.late(page, since)
			m.log = m.log[:0]
			require.NoError(t, dom.Flush())
			require.NoError(t, dom.Map(0x10000, page+0x1000, 0x1000, emu.RW))
		}
		require.Equal(t, right, stale == 0, "%d accesses", stale)
	}
}

// Device-TLB invalidations are outstanding together: their round trips overlap, whatever their number up
// to 32. With MIP a physical function takes no more than that.
func TestFormula_DeviceTLBInvalidationsOverlap(t *testing.T) {
	// cost is the time from the fetch of the first descriptor to the status of the wait.
	cost := func(n int, mip uint64) uint64 {
		m := newATSMachine(t, func(c *hw.Config) { c.DIT = true })
		m.attached(emu.NoPASID)
		list := make([]desc, n)
		for i := range list {
			o := deviceTLB(dev, emu.PASID(i+1), 0x10000, 0)
			list[i] = o.encode(&m.d.caps)
			list[i][0] |= spec.PdMIP.Put(mip) | spec.PdPFSIDLo.Put(uint64(dev)&0xf) | spec.PdPFSIDHi.Put(uint64(dev)>>4)
		}
		m.cpu.Compute(10_000)
		var first, last uint64
		m.m.Trace = func(now uint64, _ int, t *emu.Txn) {
			if first == 0 && t.Act.Op == emu.OpFetch {
				first = now
			}
			if t.Act.Op == emu.OpStore && t.Act.Size == 4 {
				last = now
			}
		}
		require.NoError(t, m.d.queue.submit(list, true))
		return last - first
	}
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	for _, n := range []uint64{1, 2, 8, 32} {
		together, single := cost(int(n), 0), cost(int(n), 1)
		t.Logf("%d invalidations: %d cycles together, %d one at a time", n, together, single)
		require.Equal(t, p.Queue+(n-1)*(p.Mem+p.Queue)+p.ATSRound+p.Mem, together)
		require.Equal(t, p.Queue+n*p.ATSRound+p.Mem, single)
	}
}

func TestTimed_MutedDeviceTimesOut(t *testing.T) {
	m := newATSMachine(t, bare)
	dom := m.attached(emu.NoPASID)
	require.NoError(t, dom.Map(0x10000, target, 0x1000, emu.RW))
	m.dma(0x10000, emu.Read)
	m.dev.Mute(true)
	from := m.cpu.Now()
	_, err := dom.Unmap(0x10000, 0x1000)
	require.ErrorIs(t, err, ErrDeviceTLB)
	require.Greater(t, m.cpu.Now()-from, 4*m.p.ATSTimeout)
	require.Equal(t, target, m.dma(0x10000, emu.Read).to, "the device has it still")
	// One that answers the second time.
	asked := m.d.Stats().DeviceRetries
	m.dev.Mute(false)
	require.NoError(t, dom.Flush())
	require.Equal(t, asked, m.d.Stats().DeviceRetries)
	require.Equal(t, hwdev.EndInvalid, m.dma(0x10000, emu.Read).end)
}

// The wait of an answer dies by another device's time-out after the answer was sent.
func TestTimed_AnswersAreNotRepeated(t *testing.T) {
	m := newATSMachine(t, bare)
	dom := m.attached(emu.NoPASID)
	require.NoError(t, dom.Map(0x20000, target, 0x1000, emu.RW))
	other := m.Domain()
	require.NoError(t, other.Map(0x10000, target, 0x1000, emu.RW))
	require.NoError(t, m.d.Probe(0x300, host.DeviceSpec{ATS: true})) // there is no such device
	require.NoError(t, m.d.Attach(0x300, emu.NoPASID, other))
	m.d.OnPageRequest(func(g host.PageGroup) {
		require.NoError(t, dom.Map(g.Requests[0].Addr, target, 0x1000, emu.RW))
		require.NoError(t, m.d.Respond(g, host.PageSuccess))
	})
	m.d.SetOmit(entry.OmitWait)
	_, err := other.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	m.d.SetOmit(0)
	require.Equal(t, hwdev.EndOK, m.dma(0x10000, emu.Read).end)
	m.cpu.Compute(1_000_000)
	require.EqualValues(t, 1, m.dev.Stats().Responses)
	require.Zero(t, m.dev.Stats().Unexpected)
	require.NotZero(t, m.d.Stats().PageGroups)
}

// Detach while the device faults: what it still waits for is answered, nothing reaches it later.
func TestTimed_DetachWhileTheDeviceFaults(t *testing.T) {
	m := newATSMachine(t, bare, func(c *hwdev.EndpointConfig) { c.Interval = 50 })
	dom := m.attached(emu.NoPASID, 5)
	var open []host.PageGroup
	m.d.OnPageRequest(func(g host.PageGroup) { open = append(open, g) })
	i := 0
	m.next = func(q *emu.Request) bool {
		i++
		*q = emu.Request{Addr: emu.IOVA(i) << 12, PASID: 5, Len: 64, Access: emu.Read}
		return true
	}
	m.dev.Kick()
	for range 20 {
		m.cpu.Compute(5000)
		require.NoError(t, m.d.Detach(dev, 5))
		m.cpu.Compute(3000)
		for _, l := range m.log {
			require.Equal(t, hwdev.EndInvalid, l.end)
		}
		for _, g := range open {
			require.ErrorIs(t, m.d.Respond(g, host.PageSuccess), host.ErrPageGroup)
		}
		open = open[:0]
		require.NoError(t, m.d.Attach(dev, 5, dom))
	}
	m.next = func(*emu.Request) bool { return false }
	m.cpu.Compute(5000)
	require.NoError(t, m.d.Detach(dev, 5))
	require.True(t, m.cpu.Poll(m.dev.Idle, 1_000_000))
	require.NotZero(t, m.d.Stats().PageGroups)
	require.Zero(t, m.dev.Stats().Unexpected)
	require.Zero(t, m.d.k.Groups.Pending().Open)
}

// A checkpoint in the middle of it all: a machine restored from it goes on as the first does.
func TestTimed_CheckpointWhileTheDeviceWorks(t *testing.T) {
	// from yields the requests after the first n.
	from := func(n uint64) func(*emu.Request) bool {
		return func(q *emu.Request) bool {
			n++
			*q = emu.Request{Addr: 0x10_0000 + emu.IOVA(n*7%12)<<12, PASID: 5, Len: 64, Access: emu.Read}
			return true
		}
	}
	build := func() *atsMachine {
		m := newATSMachine(t, bare, func(c *hwdev.EndpointConfig) { c.Gather = 300 })
		dom := m.attached(emu.NoPASID, 5)
		require.NoError(t, dom.Map(0x10_0000, target, 0x8000, emu.RW))
		m.next = from(0)
		m.dev.Kick()
		return m
	}
	for cut := range uint64(12) {
		a, b := build(), build()
		at := a.m.Now() + 211*cut
		a.m.RunUntil(at)
		var e emu.Encoder
		a.m.Save(&e)
		before := len(a.log)
		// b goes a different way first.
		b.m.RunUntil(at + 5000)
		taken := a.dev.Completed() + uint64(a.dev.InFlight())
		require.NoError(t, b.m.Restore(emu.NewDecoder(e.Bytes())))
		b.log = nil
		b.next = from(taken)
		a.m.RunUntil(at + 20_000)
		b.m.RunUntil(at + 20_000)
		require.Equal(t, a.log[before:], b.log, "cut at %d", at)
		require.Equal(t, a.dev.Stats(), b.dev.Stats())
		require.NotEmpty(t, b.log)
	}
}
