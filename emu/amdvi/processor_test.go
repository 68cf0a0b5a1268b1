package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
)

// Interrupts on their way to processors: those of the unit, and those of devices.

// irteTo is an interrupt table entry of 128 bits for the message that a handler has.
func irteTo(addr emu.PA, data uint32) (lo, hi uint64) {
	dest := uint64(addr)>>12&0xff | uint64(addr)>>40<<8
	return irteEn | spec.Irte128DestLo.Put(dest), uint64(data&0xff) | spec.Irte128DestHi.Put(dest>>24)
}

// The unit's interrupts reach their handlers, which see what they are about.
func TestUnitInterruptsReachTheProcessor(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	events, waits := 0, 0
	addr, data := r.F.OnIRQ(func() {
		switch {
		case r.status(spec.StsEventLogInt):
			r.W64(spec.OffStatus, spec.StsEventLogInt.Mask())
			require.Equal(t, iova, r.event()[1])
			events++
		case r.status(spec.StsComWaitInt):
			r.W64(spec.OffStatus, spec.StsComWaitInt.Mask())
			waits++
		}
	})
	r.configureMSI(addr, uint16(data), true)
	r.control(true, spec.CtlEventIntEn, spec.CtlComWaitIntEn)
	r.Access(dev, iova, emu.Read)
	r.Access(dev, iova, emu.Write)
	r.submit(comWaitInt())
	require.Equal(t, 2, events)
	require.Equal(t, 1, waits)
	require.Empty(t, r.MSI, "all were handled")
}

func TestDeviceInterruptsReachTheProcessor(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn, spec.CtlXTEn)
	table := r.remapped(9)
	count := [2]int{}
	for i := range count {
		addr, data := r.F.OnIRQ(func() { count[i]++ })
		lo, hi := irteTo(addr, data)
		r.Put(table+emu.PA(5+i)*16, lo, hi)
	}
	require.Equal(t, emu.Interrupt, r.irq(5).Status)
	require.Equal(t, emu.Interrupt, r.irq(6).Status)
	require.Equal(t, emu.Interrupt, r.irq(6).Status)
	require.Equal(t, emu.Blocked, r.irq(7).Status)
	require.Equal(t, [2]int{1, 2}, count)
}

// On the timed machine a device writes and interrupts: the handler, on the processor that the entry names,
// runs when the data is there. The unit's own interrupt goes to the other one, by its own register.
func TestTimedInterruptsReachTheirProcessors(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn, spec.CtlXTEn, spec.CtlIntCapXTEn)
	top := r.Page()
	table := r.remapped(9, field{spec.DteMode, 3}, field{spec.DteHostRoot, uint64(top) >> 12})
	for i := range uint64(16) {
		r.mapPage(top, iova+i<<12, 0x10_0000_0000+i<<12, pRW)
	}
	m := r.Timed(64)
	var handled []uint64
	addr, data := m.Other.OnIRQ(func() { handled = append(handled, m.Other.Now()) })
	require.Equal(t, emu.MSITo(1), addr)
	lo, hi := irteTo(addr, data)
	r.Put(table+5*16, lo, hi)
	faults := 0
	_, vector := m.CPU.OnIRQ(func() { faults++ })
	m.CPU.WriteReg(0, spec.OffXTIntControl, 8, spec.XtVector.Put(uint64(vector)))
	m.CPU.WriteReg(0, spec.OffControl, 8, r.R64(spec.OffControl)|spec.CtlEventIntEn.Mask())

	visible := uint64(0)
	work := device.NewQueue(8)
	player := device.NewPlayer(m.Machine, device.Config{Outstanding: 8}, work, func(c *timing.Completion) {
		if c.Result.Status == emu.OK {
			visible = max(visible, c.Done-m.Machine.Params.Link)
		}
	})
	message := device.Message{Source: dev, Addr: 0xfee0_0000, Data: 5}
	for i := range uint64(8) {
		handled, visible = nil, 0
		for n := range uint64(3) {
			require.True(t, work.Put(&emu.Request{Addr: emu.IOVA(iova + (i+n)<<12), Source: dev, PASID: emu.NoPASID, Len: 64, Access: emu.Write}, 0))
		}
		player.Kick()
		player.Interrupt(message)
		require.True(t, m.Other.Poll(func() bool { return len(handled) == 1 && player.Idle() }, 100_000))
		require.GreaterOrEqual(t, handled[0], visible+m.Machine.Params.MSI, "behind the data")
	}
	require.Zero(t, faults)
	player.Interrupt(device.Message{Source: dev, Addr: 0xfee0_0000, Data: 9}) // RemapEn=0
	require.True(t, m.CPU.Poll(func() bool { return faults == 1 }, 100_000))
	require.Equal(t, fI, flags(r.event()))
	require.Len(t, handled, 1)
}

// An interrupt posted to a virtual processor that runs is told by the doorbell; to one that does not, by the
// GA log and its interrupt.
func TestTimedGuestInterrupts(t *testing.T) {
	r := fullRig(t)
	at, page := r.guestIRQ(spec.IrteGALogIntr.Mask(), 0, 0x41, 0x1234)
	log, _ := r.galog()
	r.control(true, spec.CtlGAIntEn)
	m := r.Timed(64)
	told := 0
	addr, data := m.CPU.OnIRQ(func() {
		m.CPU.WriteReg(0, spec.OffStatus, 8, spec.StsGAInt.Mask())
		told++
	})
	r.configureMSI(addr, uint16(data), true)
	q := interrupt()
	q.Data = 5
	m.Issue(1, q)
	require.True(t, m.CPU.Poll(func() bool { return told == 1 }, 100_000))
	require.EqualValues(t, 1<<1, r.Get(page+0x200+0x20)&0xffff_ffff, "vector 41h is requested")
	require.EqualValues(t, spec.GaCode.Put(1)|spec.GaDeviceID.Put(uint64(dev))|0x1234, r.Get(log))
	require.Equal(t, map[emu.Status]int{emu.Posted: 1}, m.Status)
	r.Put(at, r.Get(at)|spec.IrteIsRun.Mask()) // never cached
	m.Issue(3, q)
	m.Settle()
	require.Equal(t, 1, told)
	require.Equal(t, map[emu.Status]int{emu.Posted: 4}, m.Status)
}
