package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

func TestFaults_AreReported(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			r := machine(t, v.change...).up(v.opt)
			a := r.Domain(host.DomainSpec{Stage: host.StageSecond})
			require.NoError(t, a.Map(0x10000, target, 0x1000, emu.Read))
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
			r.Blocked(dev, emu.NoPASID, 0x11234)
			require.Equal(t, emu.Blocked, r.Access(dev, emu.NoPASID, 0x10008, emu.Write).Status)
			r.Blocked(0x99, emu.NoPASID, 0x4000)
			require.NoError(t, r.d.FlushLazy()) // who has no interrupt looks now
			const pr, rw, pe = 1 << 8, 1 << 9, 1 << 10
			require.Equal(t, []host.FaultRecord{
				{Reason: 2, Source: dev, PASID: emu.NoPASID, Addr: 0x11000, Access: emu.Read},
				{Reason: 2 | pr | rw | pe, Source: dev, PASID: emu.NoPASID, Addr: 0x10000, Access: emu.Write},
				{Reason: 2, Source: 0x99, PASID: emu.NoPASID, Addr: 0x4000, Access: emu.Read},
			}, r.Faults)
			require.EqualValues(t, 3, r.d.Stats().Faults)
		})
	}
}

func TestFaults_OfGuestTables(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 0x1000}))
	require.NoError(t, r.d.Attach(dev, 0xabc, r.In(host.StageFirst, 0x10000, target)))
	r.Blocked(dev, 0xabc, 0x20000)
	r.Blocked(dev, emu.NoPASID, 0x20000)
	require.Equal(t, emu.PASID(0xabc), r.Faults[0].PASID)
	require.Equal(t, emu.IOVA(0x20000), r.Faults[0].Addr)
	require.Equal(t, emu.Read, r.Faults[0].Access, "of a user")
	require.Equal(t, emu.NoPASID, r.Faults[1].PASID, "it goes by PASID 0 of the tables")
}

// Event log entries as they are in memory, by hand from 2.5.
func TestFaults_Records(t *testing.T) {
	for _, c := range []struct {
		name string
		e    [2]uint64
		want host.FaultRecord
	}{
		{"illegal DTE", [2]uint64{1<<60 | 0x123, 0x5004}, host.FaultRecord{Reason: 1, Source: 0x123, PASID: emu.NoPASID, Addr: 0x5000, Access: emu.Read}},
		{"20-bit PASID, execute", [2]uint64{2<<60 | 0x123 | 0xa<<16 | 0xbcde<<32 | 7<<48, 0x5004},
			host.FaultRecord{Reason: 2 | 7<<4, Source: 0x123, PASID: 0xabcde, Addr: 0x5000, Access: emu.Read | emu.Exec}},
		{"supervisor", [2]uint64{2<<60 | 0x123 | 5<<32 | 1<<48, 0x5004},
			host.FaultRecord{Reason: 2 | 1<<4, Source: 0x123, PASID: 5, Addr: 0x5000, Access: emu.Read | emu.Priv}},
		{"interrupt", [2]uint64{2<<60 | 0x123 | 9<<48, 0xfee0_0000}, host.FaultRecord{Reason: 2 | 9<<4, Source: 0x123, PASID: emu.NoPASID, Interrupt: true}},
		{"hardware error", [2]uint64{3<<60 | 0x123 | 1<<53, 0x8010},
			host.FaultRecord{Reason: 3 | 1<<9, Source: 0x123, PASID: emu.NoPASID, Addr: 0x8000, Access: emu.Write}},
		{"translated request", [2]uint64{8<<60 | 0x123 | 1<<57, 0x5000}, host.FaultRecord{Reason: 8 | 1<<13, Source: 0x123, PASID: emu.NoPASID, Addr: 0x5000, Access: emu.Read}},
		{"translation request", [2]uint64{8<<60 | 0x123 | 1<<57 | 1<<56, 0x5000},
			host.FaultRecord{Reason: 8 | 3<<12, Source: 0x123, PASID: emu.NoPASID, Addr: 0x5000, Access: emu.Read, Type: emu.TranslationReq}},
		{"page request", [2]uint64{9<<60 | 0x123 | 0xbcde<<16 | 0xa<<42 | 1<<57, 0x5000},
			host.FaultRecord{Reason: 9 | 1<<13, Source: 0x123, PASID: 0xabcde, Addr: 0x5000, Type: emu.PageRequest}},
	} {
		got := faultRecord(c.e)
		got.Reason, c.want.Reason = got.Reason&0xf, c.want.Reason&0xf
		require.Equal(t, c.want, got, c.name)
	}
}

// An event log that overflows goes on behind its last entry.
func TestFaults_Overflow(t *testing.T) {
	r := start(t)
	busy := r.d.k.Enter()
	for i := range 600 {
		r.Blocked(dev, emu.NoPASID, emu.IOVA(i)<<12)
	}
	require.Empty(t, r.Faults, "an operation is not interrupted")
	busy.Leave()
	require.Len(t, r.Faults, 511)
	require.EqualValues(t, 1, r.d.Stats().LostFaults)
	r.Blocked(dev, emu.NoPASID, 0x4000)
	require.Len(t, r.Faults, 512)
	require.Equal(t, emu.IOVA(0x4000), r.Faults[511].Addr)
}

// A command that hardware refuses is replaced and reported; what comes behind it is carried out.
func TestRing_IllegalCommand(t *testing.T) {
	for _, change := range []func(*hw.Config){func(*hw.Config) {}, func(c *hw.Config) { c.XTSup, c.MsiCapMmioSup = false, false }} {
		r := start(t, change)
		a := r.Mapped(0x10000, target)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		_, err := a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
		bad := command{0xf << 60, 7}
		err = r.d.ring.submit([]command{idleCommand(), bad, idleCommand()}, false)
		var refused *CommandError
		require.ErrorAs(t, err, &refused)
		require.ErrorIs(t, err, ErrCommand)
		require.Equal(t, 1, refused.Index)
		require.Equal(t, [2]uint64(bad), refused.Command)
		require.EqualValues(t, spec.EventIllegalCommand, refused.Event)
		require.EqualValues(t, 1, r.d.Stats().CommandErrors)
		require.NoError(t, a.Flush(), "the buffer runs")
		require.Empty(t, r.Faults)
	}
}

// A device that does not answer: the invalidation is given again, then the device is named.
func TestRing_DeviceTimeout(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true}))
	a := r.Mapped(0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	n := 0
	r.CPU.OnATSInvalidate = func(*emu.Txn) bool { n++; return n > 2 }
	require.NoError(t, a.Flush())
	require.EqualValues(t, 2, r.d.Stats().DeviceRetries)
	r.CPU.OnATSInvalidate = func(*emu.Txn) bool { return false }
	err := a.Flush()
	var late *driver.DeviceTimeout
	require.ErrorAs(t, err, &late)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.Equal(t, driver.DeviceTimeout{Driver: "amdvi", Source: dev, Tries: 4}, *late)
	r.CPU.OnATSInvalidate = func(*emu.Txn) bool { return true }
	require.NoError(t, a.Flush())
}

func TestRing_Timeout(t *testing.T) {
	r := start(t)
	a := r.Mapped(0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.CPU.Drop[spec.OffCmdTail] = true
	require.ErrorIs(t, a.Flush(), host.ErrTimeout)
	delete(r.CPU.Drop, spec.OffCmdTail)
	require.NoError(t, a.Flush())
	r.d.SetOmit(entry.OmitWait)
	for range 2000 {
		require.NoError(t, a.Flush())
	}
}
