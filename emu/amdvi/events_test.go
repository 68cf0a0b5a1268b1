package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

func TestAMDQuirk27_FullLogDropsTheNewEventAndStops(t *testing.T) {
	r := newRig(t).enable()
	r.messages()
	r.attach(dev, 3)
	for i := range uint64(255) { // one slot is never used
		require.False(t, r.Access(dev, i<<12, emu.Read).Fault.Dropped)
	}
	require.EqualValues(t, 255*16, r.R64(spec.OffEventTail))
	require.False(t, r.status(spec.StsEventOverflow))
	require.Len(t, r.MSI, 1)
	res := r.Access(dev, 0x7777_7000, emu.Read)
	require.True(t, res.Fault.Dropped)
	require.True(t, r.status(spec.StsEventOverflow))
	require.False(t, r.status(spec.StsEventLogRun))
	require.EqualValues(t, 255*16, r.R64(spec.OffEventTail))
	require.Len(t, r.MSI, 2, "EventOverflow is a condition of its own")
	require.Zero(t, r.Get(r.log+255*16))

	// Room and a cleared status do not restart it.
	require.Len(t, r.events(), 255)
	r.W64(spec.OffStatus, spec.StsEventOverflow.Mask()|spec.StsEventLogInt.Mask())
	require.True(t, r.Access(dev, 0, emu.Read).Fault.Dropped)
	require.False(t, r.status(spec.StsEventLogRun))
	// A driver's restart.
	r.control(false, spec.CtlEventLogEn, spec.CtlEventIntEn)
	r.W64(spec.OffStatus, spec.StsEventOverflow.Mask())
	r.control(true, spec.CtlEventIntEn)
	r.control(true, spec.CtlEventLogEn)
	require.True(t, r.status(spec.StsEventLogRun))
	require.False(t, r.Access(dev, 0x5000, emu.Read).Fault.Dropped)
	require.EqualValues(t, 0x5000, r.event()[1])
	require.Zero(t, r.R64(spec.OffEventTail), "wrapped")
	require.Len(t, r.MSI, 3)
}

func TestRestartOfTheLogClearsTheOverflow(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	for i := range uint64(256) {
		r.Access(dev, i<<12, emu.Read)
	}
	require.True(t, r.status(spec.StsEventOverflow))
	r.W32(spec.OffEventHead, 16)
	r.control(false, spec.CtlEventLogEn)
	require.True(t, r.status(spec.StsEventOverflow))
	r.control(true, spec.CtlEventLogEn)
	require.False(t, r.status(spec.StsEventOverflow))
	require.True(t, r.status(spec.StsEventLogRun))
}

func TestNothingIsLoggedWhileTheLogIsOff(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	r.control(false, spec.CtlEventLogEn)
	res := r.Access(dev, iova, emu.Read)
	require.True(t, res.Fault.Quiet)
	require.False(t, res.Fault.Dropped)
	require.Zero(t, r.R64(spec.OffStatus)&^spec.StsCmdBufRun.Mask())
	require.Empty(t, r.events())
}

func TestEventIsVisibleBeforeTheTailMoves(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpStore })
	require.NotZero(t, r.Get(r.log))
	require.Zero(t, r.R64(spec.OffEventTail))
	s.End()
	require.EqualValues(t, 16, r.R64(spec.OffEventTail))
	// The writer is one, and holds it until the tail has moved.
	var slots []emu.Op
	for _, a := range s.Acts {
		if a.Slot == emu.SlotLog && (a.Op == emu.OpAcquire || a.Op == emu.OpRelease) || a.Op == emu.OpStore {
			slots = append(slots, a.Op)
		}
	}
	require.Equal(t, []emu.Op{emu.OpAcquire, emu.OpStore, emu.OpRelease}, slots)
}

func TestEventThatCannotBeStoredIsLost(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	r.BusError(r.log, 16)
	require.True(t, r.Access(dev, iova, emu.Read).Fault.Dropped)
	require.Zero(t, r.R64(spec.OffEventTail))
}

func TestLogTurnedOffWhileAnEventIsWritten(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpStore })
	r.control(false, spec.CtlEventLogEn)
	r.W32(spec.OffEventTail, 0x40)
	s.End()
	require.EqualValues(t, 0x40, r.R64(spec.OffEventTail))
	require.False(t, r.status(spec.StsEventLogInt))

	// The same if it is on again by then.
	r.control(true, spec.CtlEventLogEn)
	s = r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpStore })
	r.control(false, spec.CtlEventLogEn)
	r.W32(spec.OffEventTail, 0)
	r.control(true, spec.CtlEventLogEn)
	s.End()
	require.Zero(t, r.R64(spec.OffEventTail))
}

func TestAMDQuirk28_LengthCodes(t *testing.T) {
	for code := uint64(8); code <= 15; code++ {
		r := newRig(t)
		bytes := emu.PA(16) << code
		r.cmd = r.Pages(int(bytes / emu.PageSize))
		r.base(spec.OffCmdBufBase, r.cmd, code)
		r.control(true, spec.CtlCmdBufEn, spec.CtlIommuEn)
		status := r.Page()
		r.W32(spec.OffCmdHead, uint64(bytes)-16)
		w := wait(status, code)
		r.Put(r.cmd+bytes-16, w[0], w[1])
		r.W32(spec.OffCmdTail, 0)
		require.Equal(t, code, r.Get(status), "the last entry of %d bytes", bytes)
		require.Zero(t, r.head(), "wraps behind it")
	}
}
