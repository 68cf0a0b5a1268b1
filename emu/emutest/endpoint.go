package emutest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
)

// Endpoint is a device with a device TLB below a rig's unit.
type Endpoint struct {
	*device.Endpoint
	Queue *device.Queue
	Ends  []Landed // how accesses ended, in order
	rig   *Rig
	run   func() bool // lets something happen; false: nothing is left
}

// Landed is how an access of an endpoint ended.
type Landed struct {
	Request emu.Request
	Result  emu.Result
	End     device.End
	Issued  uint64
	Done    uint64
}

// endpointConfig is the endpoint of a source.
func endpointConfig(s emu.SourceID) device.EndpointConfig {
	return device.EndpointConfig{
		Source: s, Outstanding: 8, TLB: iotlb.Geometry{Sets: 8, Ways: 8}, Pages: 16, NoWrite: true, TranslatedPASID: true,
	}
}

func (r *Rig) endpoint(bus device.ATSBus, s emu.SourceID, source device.Source) *Endpoint {
	e := &Endpoint{rig: r, Queue: device.NewQueue(4096)}
	if source == nil {
		source = e.Queue
	}
	var err error
	e.Endpoint, err = device.NewEndpoint(bus, endpointConfig(s), source, func(c *timing.Completion, end device.End) {
		e.Ends = append(e.Ends, Landed{*c.Request, *c.Result, end, c.Issued, c.Done})
	})
	require.NoError(r.T, err)
	return e
}

// Endpoint returns a device below the functional executor.
func (r *Rig) Endpoint(s emu.SourceID) *Endpoint {
	bus := device.NewDirect(r.F)
	e := r.endpoint(bus, s, nil)
	e.run = func() bool { return bus.Run(1) != 0 }
	return e
}

// Endpoint returns a device on the timed machine. source may be nil: what Access puts there.
func (d *Timed) Endpoint(s emu.SourceID, source device.Source) *Endpoint {
	e := d.rig.endpoint(d.Machine, s, source)
	e.run = func() bool { return d.Machine.Step() }
	return e
}

// Put gives the device an access to make.
func (e *Endpoint) Put(p emu.PASID, addr uint64, a emu.Access) {
	require.True(e.rig.T, e.Queue.Put(&emu.Request{Addr: emu.IOVA(addr), PASID: p, Len: 4, Access: a}, 0))
	e.Kick()
}

// Access lets the device make an access and returns how it ended.
func (e *Endpoint) Access(p emu.PASID, addr uint64, a emu.Access) Landed {
	n := len(e.Ends)
	e.Put(p, addr, a)
	for range 100_000 {
		if len(e.Ends) > n {
			return e.Ends[n]
		}
		require.True(e.rig.T, e.run(), "the access to %#x does not end", addr)
	}
	require.Fail(e.rig.T, "the access does not end")
	return Landed{}
}

// Run lets n things happen, or all there is.
func (e *Endpoint) Run(n int) {
	for range n {
		if !e.run() {
			return
		}
	}
}

// RequireReaches requires that the device reads at pa.
func (e *Endpoint) RequireReaches(p emu.PASID, addr, pa uint64) {
	e.rig.T.Helper()
	l := e.Access(p, addr, emu.Read)
	require.Equal(e.rig.T, device.EndOK, l.End, "fault %#x", l.Result.Fault.Code)
	require.EqualValues(e.rig.T, pa, l.Result.PA)
}
