package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// interrupts gives every interrupt of the unit a message of its own and enables it.
func (r *rig) interrupts(enable uint64) {
	for i, off := range []uint32{spec.OffGERRORIRQCfg0, spec.OffEVENTQIRQCfg0, spec.OffPRIQIRQCfg0} {
		r.W64(off, 0xfee0_1000)
		r.W32(off+8, uint64(0x40+i))
	}
	r.W32(spec.OffIRQCtrl, enable)
	require.Equal(r.T, enable, r.R32(spec.OffIRQCtrlACK))
}

const (
	gerrorData = 0x40
	eventData  = 0x41
	priData    = 0x42
)

// fill makes n events.
func (r *rig) fill(n int) {
	for range n {
		r.Do(dma(emu.Read))
	}
}

func TestSMMUQuirk28_FullQueueDropsAndSaysSo(t *testing.T) {
	r := newRig(t).enable()
	const n = 1 << eventBits
	r.fill(n)
	require.EqualValues(t, n, r.R32(spec.OffEVENTQProd), "all entries are used")
	res := r.Do(dma(emu.Read))
	require.True(t, res.Fault.Dropped)
	require.EqualValues(t, n|1<<31, r.R32(spec.OffEVENTQProd))
	r.fill(3)
	require.EqualValues(t, n|1<<31, r.R32(spec.OffEVENTQProd), "one overflow, until it is acknowledged")
	require.Zero(t, r.active(), "it is no global error")
	// Space is enough: events flow again.
	r.W32(spec.OffEVENTQCons, 1)
	require.False(t, r.Do(dma(emu.Read)).Fault.Dropped)
	require.EqualValues(t, n+1|1<<31, r.R32(spec.OffEVENTQProd))
	require.True(t, r.Do(dma(emu.Read)).Fault.Dropped)
	// Acknowledged, the next overflow toggles back.
	require.Len(t, r.drain(), n)
	r.fill(n + 1)
	require.Zero(t, r.R32(spec.OffEVENTQProd)>>31)
}

func TestSMMUQuirk29_AbortedWriteClosesTheQueue(t *testing.T) {
	r := newRig(t).enable()
	r.interrupts(spec.IrqGERROR.Mask())
	id := r.Mem.AddBusError(r.events, r.events+31, emu.RW)
	res := r.Do(dma(emu.Read))
	require.True(t, res.Fault.Quiet)
	require.Zero(t, r.R32(spec.OffEVENTQProd))
	require.Equal(t, spec.GerrEVENTQAbt.Mask(), r.active())
	require.Equal(t, []uint32{gerrorData}, r.MSI)
	require.True(t, r.Mem.RemoveBusError(id))
	r.fill(1)
	require.Zero(t, r.R32(spec.OffEVENTQProd))
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
	r.fill(1)
	require.Len(t, r.drain(), 1)
	// Off: dropped, and no overflow.
	r.update(false, spec.Cr0EVENTQEN)
	r.fill(1 << (eventBits + 1))
	require.Zero(t, r.R32(spec.OffEVENTQProd)>>31)
}

func TestSMMUQuirk30_InterruptsAreEdges(t *testing.T) {
	r := newRig(t).enable()
	r.interrupts(7)
	r.fill(3)
	require.Equal(t, []uint32{eventData}, r.MSI, "from empty to not empty")
	r.W32(spec.OffEVENTQCons, 2)
	r.fill(1)
	require.Len(t, r.MSI, 1)
	r.drain()
	r.fill(1)
	require.Len(t, r.MSI, 2)
	// Each global error that becomes active interrupts, but for that of its own message.
	r.MSI = nil
	r.requireError([2]uint64{0}, spec.CerrorILL)
	require.Equal(t, []uint32{gerrorData}, r.MSI)
	r.repair(sync())
	r.W32(spec.OffIRQCtrl, 0)
	bad := r.Page()
	r.BusError(bad, 8)
	r.W64(spec.OffGERRORIRQCfg0, uint64(bad))
	r.W32(spec.OffIRQCtrl, 7)
	r.MSI = nil
	r.push([2]uint64{0})
	r.ring()
	require.Equal(t, spec.GerrCMDQ.Mask()|spec.GerrMSIGERROR.Mask(), r.active())
	require.Empty(t, r.MSI)
}

func TestMessagesThatAbortAreGlobalErrors(t *testing.T) {
	r := newRig(t).enable()
	bad := r.Page()
	r.BusError(bad, 8)
	r.interrupts(spec.IrqGERROR.Mask())
	r.W64(spec.OffEVENTQIRQCfg0, uint64(bad))
	r.W32(spec.OffIRQCtrl, 5)
	r.fill(1)
	require.Equal(t, spec.GerrMSIEVENTQ.Mask(), r.active())
	require.Equal(t, []uint32{gerrorData}, r.MSI)
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
	r.W32(spec.OffIRQCtrl, 4)
	r.W64(spec.OffGERRORIRQCfg0, uint64(bad))
	r.W32(spec.OffIRQCtrl, 5)
	r.drain()
	r.MSI = nil
	r.fill(1)
	require.Equal(t, spec.GerrMSIEVENTQ.Mask()|spec.GerrMSIGERROR.Mask(), r.active())
	require.Empty(t, r.MSI)
}

func TestSMMUQuirk61_MessagesAndTheirRegisters(t *testing.T) {
	r := newRig(t).enable()
	r.interrupts(spec.IrqEVENTQ.Mask())
	// Guarded while enabled, each by its own enable.
	r.W64(spec.OffEVENTQIRQCfg0, 0)
	r.W32(spec.OffEVENTQIRQCfg1, 0x99)
	r.W32(spec.OffEVENTQIRQCfg2, 0x9)
	require.EqualValues(t, 0xfee0_1000, r.R64(spec.OffEVENTQIRQCfg0))
	require.EqualValues(t, eventData, r.R32(spec.OffEVENTQIRQCfg1))
	require.Zero(t, r.R32(spec.OffEVENTQIRQCfg2))
	r.W32(spec.OffGERRORIRQCfg1, 0x99)
	require.EqualValues(t, 0x99, r.R32(spec.OffGERRORIRQCfg1))
	// A message may go to memory: 4 bytes.
	r.W32(spec.OffIRQCtrl, 0)
	at := r.Page()
	r.Put(at, ^uint64(0))
	r.W64(spec.OffEVENTQIRQCfg0, uint64(at))
	r.W32(spec.OffIRQCtrl, spec.IrqEVENTQ.Mask())
	r.fill(1)
	require.Equal(t, uint64(0xffff_ffff_0000_0000|eventData), r.Get(at))
	// No address, no message.
	r.W32(spec.OffIRQCtrl, 0)
	r.W64(spec.OffEVENTQIRQCfg0, 0)
	r.W32(spec.OffIRQCtrl, spec.IrqEVENTQ.Mask())
	r.drain()
	r.fill(1)
	require.Empty(t, r.MSI)
	require.Zero(t, r.active())
	// Without MSI the registers are not there.
	r = newRig(t, func(c *smmuv3.Config) { c.MSI = false })
	r.W64(spec.OffGERRORIRQCfg0, ^uint64(0))
	r.W32(spec.OffPRIQIRQCfg2, ^uint64(0))
	require.Zero(t, r.R64(spec.OffGERRORIRQCfg0))
	require.EqualValues(t, 1<<31, r.R32(spec.OffPRIQIRQCfg2), "LO is about wires too")
}

func TestEventIsVisibleBeforePRODMoves(t *testing.T) {
	r := newRig(t).enable()
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpStore })
	require.NotZero(t, r.Get(r.events))
	require.Zero(t, r.R32(spec.OffEVENTQProd))
	s.End()
	require.EqualValues(t, 1, r.R32(spec.OffEVENTQProd))
	var slots []emu.Op
	for _, a := range s.Acts {
		if a.Slot == emu.SlotLog && (a.Op == emu.OpAcquire || a.Op == emu.OpRelease) || a.Op == emu.OpStore {
			slots = append(slots, a.Op)
		}
	}
	require.Equal(t, []emu.Op{emu.OpAcquire, emu.OpStore, emu.OpRelease}, slots)
}

func TestEventsOfPASIDs(t *testing.T) {
	r := newRig(t).enable()
	e := r.requireEvent(emutest.DMA(dev, 0x12345, iova, emu.Read), smmuv3.FaultSTEInvalid)
	require.Equal(t, spec.Event{uint64(dev)<<32 | 0x12345<<12 | 1<<11 | spec.EvBadSTE}, e)
}
