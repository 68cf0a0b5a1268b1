package vtd

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/iotlb"
)

// withPRI is a unit with all that page requests need.
func withPRI(c *hw.Config) { c.DT, c.PRS, c.PDS, c.NWFS = true, true, true, true }

// deviceTLBGeometry is that of the devices in these tests.
var deviceTLBGeometry = iotlb.Geometry{Sets: 8, Ways: 8}

// endpoint is a device with a device-TLB below a functional machine.
type endpoint struct {
	*hwdev.Endpoint
	r     *rig
	bus   *hwdev.Direct
	queue *hwdev.Queue
	res   emu.Result
	end   hwdev.End
	ended int
}

// bus returns the connection of the machine's devices.
func (r *rig) newBus() *hwdev.Direct { return hwdev.NewDirect(r.cpu.Functional) }

func (r *rig) endpoint(bus *hwdev.Direct, sid emu.SourceID, change ...func(*hwdev.EndpointConfig)) *endpoint {
	c := hwdev.EndpointConfig{Source: sid, Outstanding: 8, TLB: deviceTLBGeometry, Pages: 16, NoWrite: true}
	for _, f := range change {
		f(&c)
	}
	e := &endpoint{r: r, bus: bus, queue: hwdev.NewQueue(4096)}
	var err error
	e.Endpoint, err = hwdev.NewEndpoint(bus, c, e.queue, func(c *timing.Completion, end hwdev.End) {
		e.res, e.end = *c.Result, end
		e.ended++
	})
	require.NoError(r.t, err)
	return e
}

// put gives the device a request.
func (e *endpoint) put(pasid emu.PASID, iova emu.IOVA, a emu.Access) {
	require.True(e.r.t, e.queue.Put(&emu.Request{Addr: iova, PASID: pasid, Len: 4, Access: a}, 0))
	e.Kick()
}

// access lets the device make an access and returns how it went.
func (e *endpoint) access(pasid emu.PASID, iova emu.IOVA, a emu.Access) (emu.Result, hwdev.End) {
	n := e.ended
	e.put(pasid, iova, a)
	for range 1000 {
		if e.ended > n {
			return e.res, e.end
		}
		require.NotZero(e.r.t, e.bus.Run(1), "access to %#x does not end", uint64(iova))
	}
	require.Fail(e.r.t, "access does not end")
	return emu.Result{}, 0
}

func (e *endpoint) reaches(pasid emu.PASID, iova emu.IOVA, pa emu.PA) {
	e.r.t.Helper()
	res, end := e.access(pasid, iova, emu.Read)
	require.Equal(e.r.t, hwdev.EndOK, end, "fault %#x", res.Fault.Code)
	require.Equal(e.r.t, pa, res.PA)
}
