package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

func TestFaults_AreHandedOn(t *testing.T) {
	r := start(t)
	a := r.Mapped(0x10000, target)
	require.NoError(t, a.Map(0x11000, target, 0x1000, emu.Read))
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, r.d.Attach(dev, 5, a))
	r.Access(dev, emu.NoPASID, 0x12345, emu.Read)
	r.Access(dev, 5, 0x11fff&^7, emu.Write)
	r.Access(0x700, emu.NoPASID, 0x1000, emu.Write)
	require.Equal(t, []host.FaultRecord{
		{Reason: 0x79, Source: dev, PASID: emu.NoPASID, Addr: 0x12000, Access: emu.Read},
		{Reason: 0x85, Source: dev, PASID: 5, Addr: 0x11000, Access: emu.Write},
		{Reason: 0x39, Source: 0x700, PASID: emu.NoPASID, Addr: 0x1000, Access: emu.Write},
	}, r.Faults)
	require.Equal(t, uint64(3), r.d.Stats().Faults)
	require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffFSTS, 4)&3)
}

// The ring of records wraps, and each is taken back by its F bit.
func TestFaults_ManyMoreThanRecords(t *testing.T) {
	r := start(t)
	for i := range 100 {
		r.Access(emu.SourceID(i), emu.NoPASID, 0x1000, emu.Read)
	}
	require.Len(t, r.Faults, 100)
	for i, f := range r.Faults {
		require.Equal(t, emu.SourceID(i), f.Source)
	}
}

// Before the driver listens, records fill up and the rest is lost; bring-up clears that.
func TestFaults_OverflowIsTakenBackAtBringUp(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Shutdown())
	// A unit left on, with no one to listen.
	r.cpu.Functional.WriteReg(0, spec.OffGCMD, 4, 1<<31)
	for i := range 20 {
		r.Access(emu.SourceID(i), emu.NoPASID, 0x1000, emu.Read)
	}
	require.NotZero(t, r.cpu.Functional.ReadReg(0, spec.OffFSTS, 4)&1, "PFO")
	r.up(Options{})
	require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffFSTS, 4)&3)
	require.Equal(t, uint64(1), r.d.Stats().LostFaults)
	r.Access(0x33, emu.NoPASID, 0x1000, emu.Read)
	require.Equal(t, emu.SourceID(0x33), r.Faults[len(r.Faults)-1].Source)
}

func TestQueue_RefusedDescriptorIsReplacedByTheWait(t *testing.T) {
	for _, at := range []int{0, 1} {
		r := start(t)
		a := r.Mapped(0x10000, target)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		list := []desc{(&op{typ: spec.DescIOTLB, gran: spec.GranDomain, did: 2}).encode(&r.d.caps)}
		bad := desc{0xb} // no such type
		if at == 0 {
			list = append([]desc{bad}, list...)
		} else {
			list = append(list, bad)
		}
		err := r.d.queue.submit(list, true)
		require.ErrorIs(t, err, ErrDescriptor)
		var q *QueueError
		require.ErrorAs(t, err, &q)
		require.Equal(t, at, q.Index)
		require.Equal(t, bad, desc(q.Desc))
		require.EqualValues(t, spec.IQEIType, q.IQEI)
		require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffFSTS, 4)&(1<<4), "IQE is taken back")
		// The queue goes on.
		_, err = a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
		r.Blocked(dev, emu.NoPASID, 0x10000)
	}
}

func TestQueue_DeviceTLBTimeout(t *testing.T) {
	r := start(t, withATS)
	a := r.Mapped(0x10000, target)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	asked := 0
	r.cpu.OnATSInvalidate = func(*emu.Txn) bool { asked++; return asked > 2 }
	_, err := a.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	require.Equal(t, 3, asked)
	require.Equal(t, uint64(2), r.d.Stats().DeviceRetries)

	require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW))
	r.cpu.OnATSInvalidate = func(*emu.Txn) bool { return false }
	_, err = a.Unmap(0x10000, 0x1000)
	require.ErrorIs(t, err, host.ErrDeviceTLB)
	require.ErrorIs(t, err, host.ErrTimeout)
	var dt *driver.DeviceTimeout
	require.ErrorAs(t, err, &dt)
	require.Equal(t, dev, dt.Source)
	require.Equal(t, 4, dt.Tries)
}

func TestQueue_ATSDeviceIsToldOfTheRange(t *testing.T) {
	r := start(t, withATS)
	a := r.Domain(host.DomainSpec{})
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true, PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, r.d.Attach(dev, 5, a))
	require.NoError(t, a.Map(0x10000, target, 0x4000, emu.RW))
	got := r.during(func() { _, _ = a.Unmap(0x10000, 0x4000) })
	require.Equal(t, []string{"iotlb did 2 0x10000 am 2 ih 1", "devtlb sid 108 0x11001", "pdevtlb sid 108 pasid 5 0x11800", "wait"}, got)
}

func TestRegisterInvalidation_RejectedAndTimeout(t *testing.T) {
	r := start(t, legacy, noQueue)
	a := r.Mapped(0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	iotlb := r.d.caps.iro + spec.OffIOTLB
	r.cpu.Fake = func(off uint32, v uint64) uint64 {
		if off == iotlb {
			return v | 1<<63
		}
		return v
	}
	_, err := a.Unmap(0x10000, 0x1000)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.ErrorContains(t, err, "IOTLB.IVT")
	r.cpu.Fake = func(off uint32, v uint64) uint64 {
		if off == iotlb {
			return v &^ (3 << 57)
		}
		return v
	}
	require.ErrorIs(t, a.Flush(), ErrRejected)
	r.cpu.Fake = nil
	require.NoError(t, a.Flush())
	r.Blocked(dev, emu.NoPASID, 0x10000)
}

func TestMap_FailureUndoesWhatWasMapped(t *testing.T) {
	r := start(t)
	a := r.Mapped(0x12000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.Error(t, a.Map(0x10000, target+0x10000, 0x4000, emu.RW))
	for _, iova := range []emu.IOVA{0x10000, 0x11000, 0x13000} {
		_, ok := a.Lookup(iova)
		require.False(t, ok)
		r.Blocked(dev, emu.NoPASID, iova)
	}
	r.Reaches(dev, emu.NoPASID, 0x12000, target)
}

func TestFaultRecord_Fields(t *testing.T) {
	for _, c := range []struct {
		rec  [2]uint64
		want host.FaultRecord
	}{
		{[2]uint64{0x12345000, 0x0108 | 5<<32 | 1<<63}, host.FaultRecord{Reason: 5, Source: dev, PASID: emu.NoPASID, Addr: 0x12345000, Access: emu.Write}},
		{[2]uint64{0, 0x0108 | 6<<32 | 1<<62}, host.FaultRecord{Reason: 6, Source: dev, PASID: emu.NoPASID, Access: emu.Read}},
		{[2]uint64{0, 1<<31 | 0xabcde<<40 | 1<<30 | 1<<29 | 1<<62}, host.FaultRecord{PASID: 0xabcde, Access: emu.Read | emu.Exec | emu.Priv}},
		{[2]uint64{0, 1<<28 | 1<<62}, host.FaultRecord{PASID: emu.NoPASID, Access: emu.RW | emu.Atomic}},
		{[2]uint64{0x1234 << 48, 0x0108 | 0x22<<32 | 1<<63}, host.FaultRecord{Reason: 0x22, Source: dev, PASID: emu.NoPASID, Interrupt: true, Index: 0x1234}},
		{[2]uint64{0, 0x0108 | 0x25<<32 | 1<<63}, host.FaultRecord{Reason: 0x25, Source: dev, PASID: emu.NoPASID, Interrupt: true}},
		{[2]uint64{0xfee00000, 0x0108 | 0x29<<32 | 3<<62}, host.FaultRecord{Reason: 0x29, Source: dev, PASID: emu.NoPASID, Addr: 0xfee00000, Access: emu.Read}},
		{[2]uint64{0, 1 << 28}, host.FaultRecord{PASID: emu.NoPASID, Type: emu.PageRequest}},
		{[2]uint64{0, 1 << 60}, host.FaultRecord{PASID: emu.NoPASID, Access: emu.Write, Type: emu.TranslationReq}},
	} {
		require.Equal(t, c.want, faultRecord(c.rec), "%#x", c.rec)
	}
}
