package qemu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Addresses of the set-up of AMD-Vi, besides tables and pages.
const (
	devtab   = 0x20_0000
	commands = 0x28_0000
	events   = 0x28_1000
	irt      = 0x28_2000
)

// amdRig is a rig with a unit of AMD-Vi.
type amdRig struct {
	*rig
	tail uint64 // of the command buffer
}

// translateAMD turns the unit on, all devices in domain 1 with the tables of hostTables.
func translateAMD(t *testing.T, m qemu.Mode, control uint64, leaves ...uint64) *amdRig {
	r := &amdRig{rig: start(t, qemu.Options{Mode: m})}
	r.up(control, leaves...)
	return r
}

func (r *amdRig) up(control uint64, leaves ...uint64) {
	r.Helper()
	const rights = 3 << 61
	r.store(tables, tables+0x1000|2<<9|rights|1)
	r.store(tables+0x1000, tables+0x2000|1<<9|rights|1)
	r.store(tables+0x2000, leaves...)
	r.set(spec.OffDevTabBase, 8, devtab|2)
	r.set(spec.OffCmdBufBase, 8, commands|spec.RingLen.Put(8))
	r.set(spec.OffEventLogBase, 8, events|spec.RingLen.Put(8))
	r.set(spec.OffControl, 8, control|spec.CtlIommuEn.Mask()|spec.CtlCmdBufEn.Mask()|spec.CtlEventLogEn.Mask())
	r.tail = 0
	for _, d := range r.m.Devices {
		r.entry(d.Source, 3|3<<9|tables|rights, 1, 0, 0)
	}
}

// entry changes a device table entry.
func (r *amdRig) entry(s emu.SourceID, words ...uint64) {
	r.Helper()
	r.store(devtab+emu.PA(s)*spec.DTESize, words...)
	r.command(spec.CmdOpcode.Put(spec.CmdInvalidateDevtab)|uint64(s), 0)
	r.command(spec.CmdOpcode.Put(spec.CmdInvalidatePages)|1<<32, spec.AllPages|3)
}

func (r *amdRig) command(lo, hi uint64) {
	r.Helper()
	r.store(commands+emu.PA(r.tail), lo, hi)
	r.tail += 16
	r.set(spec.OffCmdTail, 4, r.tail)
	require.Equal(r, r.tail, r.reg(spec.OffCmdHead, 8))
}

const leaf = 1 | 3<<61

func TestAMDVi_DMAIsTranslated(t *testing.T) {
	r := translateAMD(t, qemu.HostTables, 0, pages|leaf, pages+0x1000|1|1<<61, pages+0x2000|1|1<<62, 0)
	r.store(pages, 0x1111)
	for dev, d := range r.m.Devices {
		v, ok := r.dmaRead(dev, 0)
		require.True(t, ok)
		require.EqualValues(t, 0x1111, v)
		_, ok = r.dmaRead(dev, 0x2000)
		require.False(t, ok, "write-only")
		_, ok = r.dmaRead(dev, 0x3000)
		require.False(t, ok, "not present")
		require.True(t, r.dmaWrite(dev, 0x2008, dev))
		require.Equal(t, tag(dev), r.load(pages+0x2008))
		require.False(t, r.dmaWrite(dev, 0x1010, dev))
		require.Zero(t, r.load(pages+0x1010))

		// Each refused access is one event, though QEMU would try again in halves.
		require.EqualValues(t, 16*3*(dev+1), r.reg(spec.OffEventTail, 8))
		e := []uint64{r.load(events + emu.PA(dev)*48)}
		require.EqualValues(t, spec.EventPageFault, spec.EvtCode.Get(e))
		require.EqualValues(t, d.Source&0xff, spec.EvtDeviceID.Get(e), "QEMU leaves out the bus")
	}
}

func TestAMDVi_MessagesOfTheUnit(t *testing.T) {
	r := translateAMD(t, qemu.HostTables, spec.CtlEventIntEn.Mask(), pages|leaf)
	_, ok := r.dmaRead(0, 0x5000)
	require.False(t, ok)
	r.dmaRead(0, 0) // what is read is no message
	list, err := r.Messages()
	require.NoError(t, err)
	require.Equal(t, []conform.Message{*r.m.MSI}, list)
	list, err = r.Messages()
	require.NoError(t, err)
	require.Empty(t, list, "each is told once")

	// By registers instead of configuration space.
	r.rig = start(t, qemu.Options{Mode: qemu.X2APIC})
	r.up(spec.CtlEventIntEn.Mask()|spec.CtlXTEn.Mask()|spec.CtlIntCapXTEn.Mask(), pages|leaf)
	r.set(spec.OffXTIntControl, 8, spec.XtVector.Put(0x55)|spec.XtDestLo.Put(0x7f))
	r.dmaRead(2, 0x5000)
	list, err = r.Messages()
	require.NoError(t, err)
	require.Equal(t, []conform.Message{{Addr: 0xfee7_f000, Data: 0x55}}, list)
}

func TestAMDVi_MessagesOfDevices(t *testing.T) {
	for _, c := range []struct {
		mode    qemu.Mode
		control uint64
		lo, hi  uint64
		want    conform.Message
	}{
		{qemu.HostTables, 0, 1 | 0x7f<<8 | 0x21<<16, 0, conform.Message{Addr: 0xfee7_f000, Data: 0x4021}},
		{qemu.HostTables, spec.CtlGAEn.Mask(), 1 | 0x7f<<8, 0x22, conform.Message{Addr: 0xfee7_f000, Data: 0x4022}},
		{
			qemu.X2APIC, spec.CtlGAEn.Mask() | spec.CtlXTEn.Mask(), 1 | 0x12_347f<<8, 0x23 | 0x56<<56,
			conform.Message{Addr: 0x5612_3400_fee7_f000, Data: 0x4023},
		},
	} {
		r := translateAMD(t, c.mode, c.control, pages|leaf)
		r.store(pages, 0x1234_5678_9abc_def0)
		ok, list := r.send(1, 0xfee7_f004, 0x41)
		require.True(t, ok)
		require.Equal(t, []conform.Message{{Addr: 0xfee7_f004, Data: 0x41}}, list, "unchanged without IV")

		r.store(irt, c.lo, c.hi)
		r.entry(r.m.Devices[1].Source, 3|3<<9|tables|3<<61, 1, irt|1|8<<1|spec.IntCtlRemap<<60, 0)
		ok, list = r.send(1, 0xfee0_0000, 0)
		require.True(t, ok)
		require.Equal(t, []conform.Message{c.want}, list)
		ok, list = r.send(1, 0xfee0_0000, 0x17)
		require.False(t, ok, "no entry")
		require.Empty(t, list)

		// What is read comes out although messages of the device are remapped, or aborted.
		v, ok := r.dmaRead(1, 0)
		require.True(t, ok)
		require.EqualValues(t, 0x1234_5678_9abc_def0, v)
		r.entry(r.m.Devices[1].Source, 3|3<<9|tables|3<<61, 1, 1, 0)
		v, ok = r.dmaRead(1, 0)
		require.True(t, ok)
		require.EqualValues(t, 0x1234_5678_9abc_def0, v)
		list, err := r.Messages()
		require.NoError(t, err)
		require.Empty(t, list)
	}
}

func TestAMDVi_ResetLeavesNothing(t *testing.T) {
	r := &amdRig{rig: start(t, qemu.Options{Mode: qemu.HostTables})}
	registers := func() (list []uint64) {
		for _, first := range []uint32{0, 0x2000} {
			for off := first; off < first+0x200; off += 8 {
				list = append(list, r.reg(off, 8))
			}
		}
		return list
	}
	fresh := registers()
	r.up(spec.CtlEventIntEn.Mask(), pages|leaf)
	r.store(pages, 7)
	v, ok := r.dmaRead(0, 0)
	require.True(t, ok)
	require.EqualValues(t, 7, v)
	r.dmaRead(0, 0x8000) // a fault
	require.NotEqual(t, fresh, registers())

	require.NoError(t, r.Reset())
	require.Equal(t, fresh, registers())
	list, err := r.Messages()
	require.NoError(t, err)
	require.Empty(t, list)
	r.store(pages, 8)
	v, ok = r.dmaRead(0, pages)
	require.True(t, ok)
	require.EqualValues(t, 8, v, "untranslated again")
	r.up(spec.CtlEventIntEn.Mask(), pages+0x5000|leaf) // where the IOTLB would know another page
	r.store(pages+0x5000, 9)
	v, _ = r.dmaRead(0, 0)
	require.EqualValues(t, 9, v)
	r.dmaRead(0, 0x8000)
	list, err = r.Messages()
	require.NoError(t, err)
	require.Equal(t, []conform.Message{*r.m.MSI}, list, "messages are configured again")
}
