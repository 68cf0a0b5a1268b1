package drivertest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
)

// DeviceTLB is the geometry of the device-TLBs.
var DeviceTLB = iotlb.Geometry{Sets: 8, Ways: 8}

// Endpoint is a device with a device-TLB below a functional machine.
type Endpoint struct {
	*device.Endpoint
	Bus   *device.Direct
	Queue *device.Queue
	Res   emu.Result
	End   device.End
	Ended int
	t     Tester
}

// NewBus returns the connection of the machine's devices.
func (r *Rig) NewBus() *device.Direct { return device.NewDirect(r.CPU.Functional) }

// Endpoint puts a device on a bus.
func (r *Rig) Endpoint(bus *device.Direct, sid emu.SourceID, change ...func(*device.EndpointConfig)) *Endpoint {
	c := device.EndpointConfig{Source: sid, Outstanding: 8, TLB: DeviceTLB, Pages: 16, NoWrite: true}
	for _, f := range change {
		f(&c)
	}
	e := &Endpoint{t: r.T, Bus: bus, Queue: device.NewQueue(4096)}
	var err error
	e.Endpoint, err = device.NewEndpoint(bus, c, e.Queue, func(c *timing.Completion, end device.End) {
		e.Res, e.End = *c.Result, end
		e.Ended++
	})
	require.NoError(r.T, err)
	return e
}

// Put gives the device a request.
func (e *Endpoint) Put(pasid emu.PASID, iova emu.IOVA, a emu.Access) {
	require.True(e.t, e.Queue.Put(&emu.Request{Addr: iova, PASID: pasid, Len: 4, Access: a}, 0))
	e.Kick()
}

// Access lets the device make an access and returns how it went.
func (e *Endpoint) Access(pasid emu.PASID, iova emu.IOVA, a emu.Access) (emu.Result, device.End) {
	n := e.Ended
	e.Put(pasid, iova, a)
	for range 1000 {
		if e.Ended > n {
			return e.Res, e.End
		}
		require.NotZero(e.t, e.Bus.Run(1), "access to %#x does not end", uint64(iova))
	}
	require.Fail(e.t, "access does not end")
	return emu.Result{}, 0
}

// Reaches requires that a read goes to pa.
func (e *Endpoint) Reaches(pasid emu.PASID, iova emu.IOVA, pa emu.PA) {
	e.t.Helper()
	res, end := e.Access(pasid, iova, emu.Read)
	require.Equal(e.t, device.EndOK, end, "fault %#x", res.Fault.Code)
	require.Equal(e.t, pa, res.PA)
}
