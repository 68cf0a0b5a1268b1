package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
	"github.com/iommulab/iommulab/iotlb"
)

// atsMachine is a timed machine with a device that has a device-TLB, and a driver.
type atsMachine struct {
	*drivertest.ATS
	d *Driver
	p *timing.Preset
}

func newATSMachine(t *testing.T, unit func(*hw.Config), change ...func(*hwdev.EndpointConfig)) *atsMachine {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
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
	m := &atsMachine{ATS: drivertest.NewATS(t, p, u), p: p}
	m.d, err = New(m.CPU, m.Frames, Options{HAW: c.HAW})
	require.NoError(t, err)
	m.Open = func() int { return m.d.k.Groups.Pending().Open }
	m.Use(m.d, dev, host.DomainSpec{Width: 48}, change...)
	return m
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
				d := m.DMA(0x100_0000+page<<12, a)
				require.Equal(t, hwdev.EndOK, d.End)
				return d.Done - d.Issued
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

func TestTimed_DeviceTLBs(t *testing.T) {
	drivertest.RunATS(t, func(t *testing.T, change ...func(*hwdev.EndpointConfig)) *drivertest.ATS {
		return newATSMachine(t, bare, change...).ATS
	})
}

// Why the device-TLB comes last: where it is first, the device asks anew before the unit has forgotten,
// and keeps what it gets.
func TestVTDQuirk34_DeviceTLBFirstLeavesItStale(t *testing.T) {
	for _, right := range []bool{true, false} {
		m := newATSMachine(t, bare, func(c *hwdev.EndpointConfig) { c.Interval = 20; c.Pages = 0 })
		dom := m.Attached(emu.NoPASID)
		require.NoError(t, dom.Map(0x10000, target, 0x1000, emu.RW))
		m.Streaming(emu.NoPASID)
		stale := 0
		for i := range 40 {
			page := target + emu.PA(i)<<12
			m.CPU.Compute(3000 + uint64(i)*13)
			m.d.SetOmit(entry.OmitIOTLB | entry.OmitDeviceTLB)
			_, err := dom.Unmap(0x10000, 0x1000)
			require.NoError(t, err)
			m.d.SetOmit(0)
			ops := []op{iotlbPages(dom.ID(), 0x10000, 0, true), deviceTLB(dev, emu.NoPASID, 0x10000, 0)}
			if !right {
				ops[0], ops[1] = ops[1], ops[0]
			}
			require.NoError(t, m.d.invalidate(entry.WaitEach, ops...))
			since := m.CPU.Now()
			m.CPU.Compute(2000)
			stale += m.Late(page, since)
			m.Log = m.Log[:0]
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
		m.Attached(emu.NoPASID)
		list := make([]desc, n)
		for i := range list {
			o := deviceTLB(dev, emu.PASID(i+1), 0x10000, 0)
			list[i] = o.encode(&m.d.caps)
			list[i][0] |= spec.PdMIP.Put(mip) | spec.PdPFSIDLo.Put(uint64(dev)&0xf) | spec.PdPFSIDHi.Put(uint64(dev)>>4)
		}
		m.CPU.Compute(10_000)
		var first, last uint64
		m.M.Trace = func(now uint64, _ int, t *emu.Txn) {
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

// The wait of an answer dies by another device's time-out after the answer was sent.
func TestTimed_AnswersAreNotRepeated(t *testing.T) {
	m := newATSMachine(t, bare)
	dom := m.Attached(emu.NoPASID)
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
	require.Equal(t, hwdev.EndOK, m.DMA(0x10000, emu.Read).End)
	m.CPU.Compute(1_000_000)
	require.EqualValues(t, 1, m.Dev.Stats().Responses)
	require.Zero(t, m.Dev.Stats().Unexpected)
	require.NotZero(t, m.d.Stats().PageGroups)
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
		dom := m.Attached(emu.NoPASID, 5)
		require.NoError(t, dom.Map(0x10_0000, target, 0x8000, emu.RW))
		m.Next = from(0)
		m.Dev.Kick()
		return m
	}
	for cut := range uint64(12) {
		a, b := build(), build()
		at := a.M.Now() + 211*cut
		a.M.RunUntil(at)
		var e emu.Encoder
		a.M.Save(&e)
		before := len(a.Log)
		// b goes a different way first.
		b.M.RunUntil(at + 5000)
		taken := a.Dev.Completed() + uint64(a.Dev.InFlight())
		require.NoError(t, b.M.Restore(emu.NewDecoder(e.Bytes())))
		b.Log = nil
		b.Next = from(taken)
		a.M.RunUntil(at + 20_000)
		b.M.RunUntil(at + 20_000)
		require.Equal(t, a.Log[before:], b.Log, "cut at %d", at)
		require.Equal(t, a.Dev.Stats(), b.Dev.Stats())
		require.NotEmpty(t, b.Log)
	}
}
