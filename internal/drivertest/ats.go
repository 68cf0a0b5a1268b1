package drivertest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// Landed is where an access of a device went.
type Landed struct {
	From         emu.IOVA
	To           emu.PA
	Issued, Done uint64
	End          device.End
}

// ATSDriver is a driver that can leave invalidations out.
type ATSDriver interface {
	PagerDriver
	SetOmit(entry.Omit)
}

// ATS is a timed machine with a device that has a device-TLB, and a driver once Use was called.
type ATS struct {
	T      Tester
	M      *timing.Machine
	CPU    *timing.CPU
	Frames *host.Frames
	D      ATSDriver
	Open   func() int // groups that nobody has answered
	Dev    *device.Endpoint
	Next   func(q *emu.Request) bool // an endless source, if set
	Log    []Landed

	preset *timing.Preset
	queue  *device.Queue
	sid    emu.SourceID
	spec   host.DomainSpec
}

// NewATS puts a unit on a timed machine with the times of a preset.
func NewATS(t Tester, p *timing.Preset, u emu.Unit) *ATS {
	m := &ATS{T: t, M: timing.New(p.Params, mem.New()), preset: p, queue: device.NewQueue(256)}
	m.M.AddUnit(u, 64)
	m.CPU = m.M.AddCPU(1)
	var err error
	m.Frames, err = host.NewFrames(m.CPU, RAMBase, RAMSize)
	require.NoError(t, err)
	return m
}

// Use turns translation on and adds the device. Domains that Attached makes are as spec says.
func (m *ATS) Use(d ATSDriver, sid emu.SourceID, spec host.DomainSpec, change ...func(*device.EndpointConfig)) {
	m.D, m.sid, m.spec = d, sid, spec
	require.NoError(m.T, d.Enable())
	c := device.EndpointConfig{Source: sid, Outstanding: 8, TLB: m.preset.Caches.Device, Pages: 16, NoWrite: true}
	for _, f := range change {
		f(&c)
	}
	var err error
	m.Dev, err = device.NewEndpoint(m.M, c, device.Func(m.draw), func(c *timing.Completion, end device.End) {
		m.Log = append(m.Log, Landed{c.Request.Addr, c.Result.PA, c.Issued, c.Done, end})
	})
	require.NoError(m.T, err)
}

// draw feeds the device from Next, or from what DMA and Put queued.
func (m *ATS) draw(q *emu.Request) (uint64, bool) {
	if m.Next != nil {
		return 0, m.Next(q)
	}
	return m.queue.Next(q)
}

// Domain makes a domain.
func (m *ATS) Domain() host.Domain {
	d, err := m.D.NewDomain(m.spec)
	require.NoError(m.T, err)
	return d
}

// Attached makes the device known and gives it a domain for the PASIDs.
func (m *ATS) Attached(pasids ...emu.PASID) host.Domain {
	dom := m.Domain()
	require.NoError(m.T, m.D.Probe(m.sid, host.DeviceSpec{ATS: true, PRI: true, PASIDs: 64}))
	for _, p := range pasids {
		require.NoError(m.T, m.D.Attach(m.sid, p, dom))
	}
	return dom
}

// DMA lets the device make one access and returns how it went.
func (m *ATS) DMA(addr emu.IOVA, a emu.Access) Landed {
	m.CPU.Compute(100_000) // the pipeline is empty
	n := len(m.Log)
	m.queue.Put(&emu.Request{Addr: addr, Source: m.sid, PASID: emu.NoPASID, Len: 64, Access: a}, 0)
	m.Dev.Kick()
	require.True(m.T, m.CPU.Poll(func() bool { return len(m.Log) > n }, 1_000_000))
	return m.Log[n]
}

// Streaming has the device read StreamPage for ever.
func (m *ATS) Streaming(pasids ...emu.PASID) {
	i := 0
	m.Next = func(q *emu.Request) bool {
		i++
		*q = emu.Request{Addr: StreamPage, PASID: pasids[i%len(pasids)], Len: 64, Access: emu.Read}
		return true
	}
	m.Dev.Kick()
}

// Late counts accesses that went to pa and ended after since.
func (m *ATS) Late(pa emu.PA, since uint64) (n int) {
	for _, l := range m.Log {
		if l.To == pa && l.End == device.EndOK && l.Done > since {
			n++
		}
	}
	return n
}
