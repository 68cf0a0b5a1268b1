package qemu_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// send lets a device send a message, and returns whether it got through, and what left the unit.
func (r *rig) send(dev int, addr emu.IOVA, data uint16) (bool, []conform.Message) {
	r.Helper()
	b := binary.LittleEndian.AppendUint32(nil, uint32(data))
	out, err := r.DMA(&conform.DMA{Device: dev, Addr: addr, PASID: emu.NoPASID, Write: true, Data: b})
	require.NoError(r, err)
	list, err := r.Messages()
	require.NoError(r, err)
	return out.OK, list
}

func TestVTD_MessagesOfTheUnit(t *testing.T) {
	r := start(t, qemu.Options{})
	r.set(spec.OffFEDATA, 4, 0x55)
	r.set(spec.OffFEADDR, 4, 0xfee0_1000)
	r.set(spec.OffFECTL, 4, 0)
	r.set(spec.OffIEDATA, 4, 0x66)
	r.set(spec.OffIEADDR, 4, 0xfee0_2000)
	r.set(spec.OffIECTL, 4, 0)
	const queue = 0x28_0000
	r.set(spec.OffIQT, 8, 0)
	r.set(spec.OffIQA, 8, queue)
	r.set(spec.OffGCMD, 4, spec.GcmdQIE.Mask())
	r.translate(pages | 3)
	r.set(spec.OffGCMD, 4, spec.GcmdTE.Mask()|spec.GcmdQIE.Mask())
	list, err := r.Messages()
	require.NoError(t, err)
	require.Empty(t, list)

	r.store(queue, spec.PutDescType(spec.DescWait)|1<<4, 0) // with an interrupt
	r.set(spec.OffIQT, 8, 16)
	_, ok := r.dmaRead(0, 0x5000)
	require.False(t, ok)
	r.dmaRead(0, 0) // what is read is no message
	list, err = r.Messages()
	require.NoError(t, err)
	require.Equal(t, []conform.Message{{Addr: 0xfee0_2000, Data: 0x66}, {Addr: 0xfee0_1000, Data: 0x55}}, list)
	list, err = r.Messages()
	require.NoError(t, err)
	require.Empty(t, list, "each is told once")
}

func TestVTD_MessagesOfDevices(t *testing.T) {
	r := start(t, qemu.Options{})
	ok, list := r.send(2, 0xfee1_2004, 0xbeef)
	require.True(t, ok)
	require.Equal(t, []conform.Message{{Addr: 0xfee1_2004, Data: 0xbeef}}, list, "unchanged without remapping")

	const irt = 0x29_0000
	r.store(irt+16*1, 1|0x21<<16|0x7f<<40, 0)                                        // for anybody
	r.store(irt+16*2, 1|0x22<<16|0x7f<<40, uint64(r.m.Devices[2].Source)|1<<(82-64)) // for device 2
	r.set(spec.OffIRTA, 8, irt|3)
	r.set(spec.OffGCMD, 4, 1<<24) // SIRTP
	r.set(spec.OffGCMD, 4, 1<<25) // IRE
	for _, c := range []struct {
		index, dev int
		ok         bool
		vector     uint32
		reason     uint64
	}{
		{1, 0, true, 0x21, 0},
		{1, 2, true, 0x21, 0},
		{2, 2, true, 0x22, 0},
		{2, 0, false, 0, 0x26}, // another source
		{3, 0, false, 0, 0x22}, // not present
		{99, 0, false, 0, 0x21},
		{1, 1, true, 0x21, 0}, // blocked messages leave nothing behind
	} {
		ok, list := r.send(c.dev, 0xfee0_0010|emu.IOVA(c.index)<<5, 0)
		require.Equal(t, c.ok, ok, "entry %d device %d", c.index, c.dev)
		frcd := uint32(spec.CapFRO.Of(r.reg(spec.OffCAP, 8))) * 16
		if c.ok {
			require.Len(t, list, 1)
			require.EqualValues(t, 0xfee7_f000, list[0].Addr)
			require.Equal(t, c.vector, list[0].Data&0xff)
			continue
		}
		require.Empty(t, list)
		if v := r.Peer.(*qemu.Peer).Version(); v.Less(qtest.Version{Major: 8}) {
			continue // it blocks messages without a word
		}
		rec := r.reg(frcd+8, 8)
		require.Equal(t, c.reason, rec>>32&0xff)
		require.EqualValues(t, r.m.Devices[c.dev].Source, rec&0xffff)
		r.set(frcd+12, 4, 1<<31)
		r.set(spec.OffFSTS, 4, 0x7f)
	}

	// What is read comes out although messages are remapped.
	r.store(pages, 0x1234_5678_9abc_def0)
	v, ok := r.dmaRead(1, pages)
	require.True(t, ok)
	require.EqualValues(t, 0x1234_5678_9abc_def0, v)
	list, err := r.Messages()
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestVTD_DMAChecksWhatItIsAsked(t *testing.T) {
	r := start(t, qemu.Options{})
	tagged := conform.Tag(0)
	for name, d := range map[string]conform.DMA{
		"device":      {Device: 3, PASID: emu.NoPASID, Data: tagged[:]},
		"negative":    {Device: -1, PASID: emu.NoPASID, Data: tagged[:]},
		"PASID":       {PASID: 5, Data: tagged[:]},
		"length":      {PASID: emu.NoPASID, Data: tagged[:7]},
		"aligned":     {PASID: emu.NoPASID, Addr: 4, Data: tagged[:]},
		"conform.Tag": {PASID: emu.NoPASID, Write: true, Data: make([]byte, 8)},
		"a message":   {PASID: emu.NoPASID, Write: true, Addr: 0xfee0_0000, Data: tagged[:]},
		"16 bits":     {PASID: emu.NoPASID, Write: true, Addr: 0xfee0_0000, Data: []byte{0, 0, 1, 0}},
	} {
		_, err := r.DMA(&d)
		require.Error(t, err, name)
	}
	_, err := r.ReadReg(0, 2)
	require.Error(t, err)
	require.Error(t, r.WriteReg(0, 16, 0))
	require.Error(t, r.Write(emu.PA(r.m.RAM)+emu.PA(r.m.Size)-4, tagged[:]))
	require.Error(t, r.Read(r.m.Hole, tagged[:]))

	_, err = r.ReadReg(spec.OffVER, 4)
	require.NoError(t, err, "the peer lives on")
	require.NoError(t, r.Close())
	_, err = r.ReadReg(spec.OffVER, 4)
	require.Error(t, err)
	require.Error(t, r.Read(r.m.RAM, tagged[:]))
}

// Every tag arrives, from every device, also after a reset.
func TestVTD_Tags(t *testing.T) {
	r := start(t, qemu.Options{})
	for range 2 {
		r.translate(pages | 3)
		for dev := range r.m.Devices {
			for i := dev; i < conform.Tags; i += 17 {
				require.True(t, r.dmaWrite(dev, emu.IOVA(i)*8, i))
				require.Equal(t, tag(i), r.load(pages+emu.PA(i)*8))
			}
		}
		require.NoError(t, r.Reset())
	}
}

func TestVTD_NothingAnswersInTheHole(t *testing.T) {
	r := start(t, qemu.Options{})
	for _, at := range []emu.PA{r.m.Hole, r.m.Hole + 4<<30 - 8} {
		_, ok := r.dmaRead(0, emu.IOVA(at))
		require.False(t, ok)
		require.False(t, r.dmaWrite(0, emu.IOVA(at), 0))
	}
}
