package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
)

// Events become fault records, with what each kind of event has.
func TestFaults_RecordsSayWhatWas(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 16}))
	dom := r.Domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, dom.Map(iova, target, 0x1000, emu.Read))
	require.NoError(t, r.d.Attach(dev, 3, dom))
	two := r.Domain(host.DomainSpec{Stage: host.StageSecond})
	require.NoError(t, r.d.Attach(0x320, emu.NoPASID, two))
	for _, c := range []struct {
		name  string
		sid   emu.SourceID
		pasid emu.PASID
		addr  emu.IOVA
		a     emu.Access
		want  host.FaultRecord
	}{
		{"nothing mapped", dev, 3, 0x5123, emu.Read, host.FaultRecord{Reason: spec.EvTranslation, Source: dev, PASID: 3, Addr: 0x5000, Access: emu.Read}},
		{"read-only", dev, 3, iova + 0x10, emu.Write, host.FaultRecord{Reason: spec.EvPermission, Source: dev, PASID: 3, Addr: iova, Access: emu.Write}},
		{"privileged", dev, 3, 0x5000, emu.Read | emu.Priv, host.FaultRecord{Reason: spec.EvTranslation, Source: dev, PASID: 3, Addr: 0x5000, Access: emu.Read | emu.Priv}},
		{"stage 2", 0x320, emu.NoPASID, 0x5000, emu.Write, host.FaultRecord{Reason: spec.EvTranslation, Source: 0x320, PASID: emu.NoPASID, Addr: 0x5000, Access: emu.Write}},
		{"no such substream", dev, 9, iova, emu.Read, host.FaultRecord{Reason: spec.EvBadCD, Source: dev, PASID: 9}},
		{"beyond the table", dev, 16, iova, emu.Read, host.FaultRecord{Reason: spec.EvBadSubstreamID, Source: dev, PASID: 16}},
		{"no substream", dev, emu.NoPASID, iova, emu.Read, host.FaultRecord{Reason: spec.EvStreamDisabled, Source: dev, PASID: emu.NoPASID}},
		{"no such stream", 0x4455, emu.NoPASID, iova, emu.Read, host.FaultRecord{Reason: spec.EvBadStreamID, Source: 0x4455, PASID: emu.NoPASID}},
	} {
		r.Faults = nil
		res := r.Access(c.sid, c.pasid, c.addr, c.a)
		require.Equal(t, emu.Blocked, res.Status, c.name)
		require.Equal(t, []host.FaultRecord{c.want}, r.Faults, c.name)
	}
	require.EqualValues(t, 8, r.d.Stats().Faults)
}

// A hint of a device is no fault; a transaction that the unit does not support is.
func TestFaults_HintsAndUnsupported(t *testing.T) {
	r := start(t, func(c *hw.Config) { c.PageHints, c.NoCrossing = true, true })
	var res emu.Result
	r.CPU.Translate(&emu.Request{Source: dev, Addr: iova, PASID: emu.NoPASID, Access: emu.Read, Type: emu.PageRequest, Data: emu.MakeHint(4)}, &res)
	require.Equal(t, emu.OK, res.Status)
	require.Empty(t, r.Faults)
	require.Zero(t, r.d.Stats().Faults)
	r.CPU.Translate(&emu.Request{Source: dev, Addr: iova, PASID: emu.NoPASID, Access: emu.Write, Len: 0x1001}, &res)
	require.Equal(t, []host.FaultRecord{{Reason: spec.EvUUT, Source: dev, PASID: emu.NoPASID, Addr: iova, Access: emu.Write}}, r.Faults)
}

// What is lost because the queue was full is counted, and what comes after is not.
func TestFaults_Overflow(t *testing.T) {
	for _, msi := range []bool{true, false} {
		r := machine(t, func(c *hw.Config) { c.EVENTQS, c.MSI = 3, msi }).up(Options{})
		dom := r.stage(host.StageFirst, 0)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		r.d.events.taking = true // as if the handler had no time
		for range 20 {
			r.Blocked(dev, emu.NoPASID, 0x5000)
		}
		r.d.events.taking = false
		require.Empty(t, r.Faults)
		r.d.takeEvents()
		require.Len(t, r.Faults, 8)
		require.EqualValues(t, 1, r.d.Stats().LostFaults)
		for i := range 30 {
			r.Blocked(dev, emu.NoPASID, 0x5000)
			if !msi {
				require.NoError(t, dom.Map(0x70_0000+emu.IOVA(i)<<12, target, 0x1000, emu.RW))
			}
			require.Len(t, r.Faults, 9+i)
		}
		require.EqualValues(t, 1, r.d.Stats().LostFaults)
	}
}

// An event queue that is out of reach is an error that is acknowledged, and events come again when it is back.
func TestGerror_EventQueueAborts(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.stage(host.StageFirst, 0)))
	broken := r.Mem.AddBusError(r.d.events.base, r.d.events.base+0xfff, emu.Write)
	r.Blocked(dev, emu.NoPASID, 0x5000)
	require.Empty(t, r.Faults)
	require.EqualValues(t, 1, r.d.Stats().Gerrors)
	require.True(t, r.Mem.RemoveBusError(broken))
	r.Blocked(dev, emu.NoPASID, 0x5000)
	require.Len(t, r.Faults, 1)
}

// A command queue that is out of reach for a while is fetched again; for good it is an error.
func TestGerror_CommandQueueAborts(t *testing.T) {
	r := start(t)
	base, _ := r.d.Queue()
	n, broken := 0, r.Mem.AddBusError(base, base+0xfff, 0)
	r.CPU.Hook = func(off uint32) {
		switch off {
		case spec.OffCMDQProd:
			broken = r.Mem.AddBusError(base, base+0xfff, emu.Read)
		case spec.OffGERRORN:
			if n++; n == 2 {
				require.True(t, r.Mem.RemoveBusError(broken))
			}
		}
	}
	require.NoError(t, r.d.invalidate(0, tlbiVMID(1)))
	require.Equal(t, 2, n)
	n = 10
	err := r.d.invalidate(0, tlbiVMID(1))
	require.ErrorIs(t, err, ErrCommand)
	require.ErrorContains(t, err, "stuck")
	require.ErrorContains(t, err, "CERROR 2")
}
