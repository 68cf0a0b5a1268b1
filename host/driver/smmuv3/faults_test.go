package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
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
	for _, how := range []struct {
		msi, deaf bool
		opt       Options
	}{{true, false, Options{}}, {false, false, Options{}}, {false, false, Options{Combined: true}}, {true, false, Options{Wires: true}}, {false, true, Options{}}} {
		r := machine(t, func(c *hw.Config) { c.EVENTQS, c.MSI = 3, how.msi })
		r.deaf = how.deaf
		r.up(how.opt)
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
			if how.deaf {
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

// Errors, events, page requests and stalls come by interrupt lines as by messages: each line for itself, all as
// one, and not at all, where the unit is asked.
func TestInterruptLines(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hw.Config)
		opt    Options
		deaf   bool
	}{
		"lines": {noMessages, Options{}, false}, "one line": {noMessages, Options{Combined: true}, false},
		"lines by choice": {nil, Options{Wires: true}, false}, "nothing": {noMessages, Options{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := machine(t, func(h *hw.Config) {
				stalls(h)
				if c.change != nil {
					c.change(h)
				}
			})
			r.deaf = c.deaf
			r.up(c.opt)
			p := &drivertest.Pager{Rig: r.Rig, Back: map[emu.IOVA]emu.PA{iova: target}, Dom: r.Domain(host.DomainSpec{Stage: host.StageFirst})}
			require.NoError(t, r.d.Probe(dev, host.DeviceSpec{Stall: true}))
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, p.Dom))
			r.d.OnPageRequest(p.Serve)
			if c.deaf {
				require.Equal(t, emu.Pending, r.Access(dev, emu.NoPASID, iova, emu.Read).Status)
				require.Empty(t, p.Got)
				require.NoError(t, p.Dom.Map(0x100_0000, page(3), 0x1000, emu.RW)) // any operation looks
				require.Len(t, p.Got, 1)
			} else {
				r.Reaches(dev, emu.NoPASID, iova+8, target+8)
				require.Len(t, p.Got, 1)
				broken := r.Mem.AddBusError(r.d.events.base, r.d.events.base+0xfff, emu.Write)
				r.Blocked(0x999, emu.NoPASID, iova)
				require.EqualValues(t, 1, r.d.Stats().Gerrors)
				require.True(t, r.Mem.RemoveBusError(broken))
				r.Blocked(0x999, emu.NoPASID, iova)
				require.Len(t, r.Faults, 1)
			}
			require.Zero(t, r.CPU.Functional.ReadReg(0, spec.OffEVENTQIRQCfg0, 8), "no message")
			require.NoError(t, r.d.Shutdown())
		})
	}
}

// On the timed machine faults of many transactions come by a line.
func TestTimed_InterruptLines(t *testing.T) {
	for _, o := range []Options{{}, {Combined: true}} {
		d, _, cpu, stream := timed(t, o, noMessages)
		n := 0
		d.OnFault(func(host.FaultRecord) { n++ })
		require.NoError(t, d.Probe(dev, host.DeviceSpec{}))
		dom, err := d.NewDomain(host.DomainSpec{Stage: host.StageFirst})
		require.NoError(t, err)
		require.NoError(t, d.Attach(dev, emu.NoPASID, dom))
		for tag := range uint32(3) {
			stream.Timer(tag)
		}
		require.True(t, cpu.Poll(func() bool { return n > 20 }, 1_000_000))
		stream.On = false
	}
}
