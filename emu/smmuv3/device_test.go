package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
)

// Devices with translations of their own and page requests, below this unit.

// atsDevice is dev with ATS on, and how its requests ended.
type atsDevice struct {
	*rig
	end   *device.Endpoint
	queue *device.Queue
	root  emu.PA
	ends  []device.End
	at    []emu.PA
}

func newATSDevice(r *rig, bus device.ATSBus) *atsDevice {
	d := &atsDevice{rig: r, queue: device.NewQueue(64)}
	_, d.root = r.attach(dev)
	r.set(r.ste(dev), field{spec.SteEATS, spec.EATSFull})
	r.update(true, spec.Cr0ATSCHK)
	var err error
	d.end, err = device.NewEndpoint(bus, device.EndpointConfig{
		Source: dev, Outstanding: 8, TLB: iotlb.Geometry{Sets: 4, Ways: 4}, Pages: 8,
	}, d.queue, func(c *timing.Completion, end device.End) {
		d.ends, d.at = append(d.ends, end), append(d.at, c.Result.PA)
	})
	require.NoError(r.T, err)
	return d
}

func (d *atsDevice) access(addr uint64, a emu.Access) {
	require.True(d.T, d.queue.Put(&emu.Request{Addr: emu.IOVA(addr), PASID: emu.NoPASID, Len: 64, Access: a}, 0))
	d.end.Kick()
}

// serve maps the pages that are in the PRI queue and answers their groups.
func (d *atsDevice) serve(load func(emu.PA) uint64, pa uint64) (cons uint64) {
	cons = d.R32(spec.OffPRIQCons)
	for prod := d.R32(spec.OffPRIQProd); cons != prod; cons = (cons + 1) & (2<<priBits - 1) {
		at := d.pri + emu.PA(cons&(1<<priBits-1)*spec.PRISize)
		w := [2]uint64{load(at), load(at + 8)}
		d.mapPage(d.root, w[1]&spec.PriRecAddr.Mask(), pa, s1RW)
		if spec.PriLast.On(w[0]) {
			d.push(command(spec.CmdPriResp, field{spec.CmdSID, spec.PriSID.Of(w[0])}, field{spec.PriPRGIndex, w[1] & 0x1ff}, field{spec.PriResp, spec.PriSuccess}))
		}
	}
	return cons
}

func atcInv(addr uint64) [2]uint64 {
	return command(spec.CmdAtcInv, field{spec.CmdSID, uint64(dev)}, field{spec.CmdAddr, addr >> 12})
}

func TestDeviceWithATSAndPageRequests(t *testing.T) {
	r := newRig(t).enable()
	bus := device.NewDirect(r.F)
	d := newATSDevice(r, bus)
	d.access(iova, emu.Write)
	bus.Run(1000)
	require.Empty(t, d.ends, "the page is not there")
	r.W32(spec.OffPRIQCons, d.serve(r.Get, 0x5000))
	r.ring()
	bus.Run(1000)
	require.Equal(t, []device.End{device.EndOK}, d.ends)
	require.Equal(t, emu.PA(0x5000), d.at[0])
	require.EqualValues(t, 1, d.end.Stats().PageRequests)

	// The device keeps its translation until it is told.
	d.mapPage(d.root, iova, 0x6000, s1RW)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	d.access(iova, emu.Write)
	bus.Run(1000)
	require.Equal(t, emu.PA(0x5000), d.at[1])
	r.submit(atcInv(iova), sync())
	d.access(iova, emu.Write)
	bus.Run(1000)
	require.Equal(t, emu.PA(0x6000), d.at[2])
	require.Empty(t, r.drain())
	// A device that is mute makes the SYNC fail.
	d.end.Mute(true)
	r.push(atcInv(iova))
	r.push(sync())
	r.ring()
	require.EqualValues(t, spec.CerrorATC, spec.CmdqErr.Of(r.R32(spec.OffCMDQCons)))
}

// The same on the timed machine, where SYNC takes as long as the device does.
func TestTimedDeviceWithATSAndPageRequests(t *testing.T) {
	r := newRig(t).enable()
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	m := timing.New(p.Params, r.Mem)
	m.AddUnit(r.u, 64)
	cpu := m.AddCPU(1)
	d := newATSDevice(r, m)
	addr, data := cpu.OnIRQ(func() {
		cpu.WriteReg(0, spec.OffPRIQCons, 4, d.serve(cpu.Load64, 0x5000))
		cpu.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	})
	r.W64(spec.OffPRIQIRQCfg0, uint64(addr))
	r.W32(spec.OffPRIQIRQCfg1, uint64(data))
	r.W32(spec.OffIRQCtrl, spec.IrqPRIQ.Mask())
	for i := range uint64(4) {
		d.access(iova+i<<12, emu.Write)
	}
	require.True(t, cpu.Poll(func() bool { return len(d.ends) == 4 }, 10_000_000))
	require.NotContains(t, d.ends, device.EndBlocked)
	start := m.Now()
	d.mapPage(d.root, iova, 0x6000, s1RW)
	for _, w := range [][2]uint64{tlbiVA(spec.CmdTlbiNHVA, iova), sync(), atcInv(iova), sync()} {
		r.push(w)
	}
	cpu.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	require.True(t, cpu.Poll(func() bool { return r.R32(spec.OffCMDQCons) == r.prod }, 10_000_000))
	require.GreaterOrEqual(t, m.Now()-start, p.ATSRound)
	d.access(iova, emu.Read)
	require.True(t, cpu.Poll(func() bool { return len(d.ends) == 5 }, 10_000_000))
	require.Equal(t, emu.PA(0x6000), d.at[4])
}

// A device without ATS whose faults stall: it notices nothing but the time.
func TestDeviceWhoseFaultsStall(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev, field{spec.CdS, 1})
	bus := device.NewDirect(r.F)
	queue := device.NewQueue(4)
	var got []emu.Result
	p := device.NewPlayer(bus, device.Config{Outstanding: 4}, queue, func(c *timing.Completion) { got = append(got, *c.Result) })
	for i := range emu.IOVA(2) {
		require.True(t, queue.Put(&emu.Request{Source: dev, Addr: emu.IOVA(iova) + i<<12, PASID: emu.NoPASID, Len: 64, Access: emu.Write}, 0))
	}
	p.Kick()
	bus.Run(100)
	require.Empty(t, got)
	l := r.drain()
	require.Len(t, l, 2)
	for _, e := range []int{1, 0} { // the second one first
		r.mapPage(root, l[e][2], 0x5000+uint64(e)<<12, s1RW)
		r.submit(resume(dev, spec.EvtSTAG.Of(l[e][1]), 1, 0))
		bus.Run(100)
	}
	require.Len(t, got, 2)
	r.RequireOK(got[0], 0x6000)
	r.RequireOK(got[1], 0x5000)
	require.True(t, p.Idle())
}
