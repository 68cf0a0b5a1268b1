package qemu_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/internal/qemutest"
)

// rig is a peer with helpers that fail the test.
type rig struct {
	*testing.T
	conform.Peer
	m conform.Machine
}

func start(t *testing.T, o qemu.Options) *rig {
	v := qemutest.Peer(t, o)
	return &rig{t, v, v.Machine()}
}

func (r *rig) store(pa emu.PA, words ...uint64) {
	r.Helper()
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	require.NoError(r, r.Write(pa, b))
}

func (r *rig) load(pa emu.PA) uint64 {
	r.Helper()
	var b [8]byte
	require.NoError(r, r.Read(pa, b[:]))
	return binary.LittleEndian.Uint64(b[:])
}

func (r *rig) reg(off uint32, size uint8) uint64 {
	r.Helper()
	v, err := r.ReadReg(off, size)
	require.NoError(r, err)
	return v
}

func (r *rig) set(off uint32, size uint8, v uint64) {
	r.Helper()
	require.NoError(r, r.WriteReg(off, size, v))
}

// dmaRead returns what a device reads, and whether it may.
func (r *rig) dmaRead(dev int, at emu.IOVA) (uint64, bool) {
	r.Helper()
	var b [8]byte
	out, err := r.DMA(&conform.DMA{Device: dev, Addr: at, PASID: emu.NoPASID, Data: b[:]})
	require.NoError(r, err)
	return binary.LittleEndian.Uint64(b[:]), out.OK
}

func (r *rig) dmaWrite(dev int, at emu.IOVA, tag int) bool {
	r.Helper()
	b := conform.Tag(tag)
	out, err := r.DMA(&conform.DMA{Device: dev, Addr: at, PASID: emu.NoPASID, Write: true, Data: b[:]})
	require.NoError(r, err)
	return out.OK
}

func tag(i int) uint64 {
	b := conform.Tag(i)
	return binary.LittleEndian.Uint64(b[:])
}

// Addresses of the legacy-mode set-up.
const (
	root    = 0x20_0000
	context = 0x20_1000 // of bus 0, then of bus 1
	tables  = 0x20_3000 // four levels
	pages   = 0x30_0000
)

// translate turns on legacy mode, all devices in domain 1, with leaf entries as given from IOVA 0 on.
func (r *rig) translate(leaves ...uint64) {
	r.Helper()
	for i, d := range r.m.Devices {
		bus := emu.PA(d.Source >> 8)
		r.store(root+16*bus, context+uint64(bus)<<12|1)
		r.store(context+bus<<12+emu.PA(d.Source&0xff)*16, tables|1, 2|uint64(1)<<8)
		_ = i
	}
	r.store(tables, tables+0x1000|3)
	r.store(tables+0x1000, tables+0x2000|3)
	r.store(tables+0x2000, tables+0x3000|3)
	r.store(tables+0x3000, leaves...)
	r.set(spec.OffRTADDR, 8, root)
	r.set(spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
	r.set(spec.OffGCMD, 4, spec.GcmdTE.Mask())
	require.True(r, spec.GstsTES.On(r.reg(spec.OffGSTS, 4)))
}

func TestVTD_DMAIsTranslated(t *testing.T) {
	r := start(t, qemu.Options{})
	r.translate(pages|3, pages+0x1000|1, pages+0x2000|2, 0)
	r.store(pages, 0x1111)
	r.store(pages+0x1008, 0)
	r.store(pages+0x2000, 0x2222)
	for dev := range r.m.Devices {
		v, ok := r.dmaRead(dev, 0)
		require.True(t, ok)
		require.EqualValues(t, 0x1111, v)
		v, ok = r.dmaRead(dev, 0x1008)
		require.True(t, ok, "a zero is data like any other")
		require.Zero(t, v)
		_, ok = r.dmaRead(dev, 0x2000)
		require.False(t, ok, "write-only")
		_, ok = r.dmaRead(dev, 0x3000)
		require.False(t, ok, "not present")

		require.True(t, r.dmaWrite(dev, 0x2008, dev))
		require.Equal(t, tag(dev), r.load(pages+0x2008))
		require.False(t, r.dmaWrite(dev, 0x1010, dev))
		require.Zero(t, r.load(pages+0x1010))
		require.False(t, r.dmaWrite(dev, 0x1010, dev), "also when the IOTLB knows, which reports nothing")
	}
}

func TestVTD_FaultNamesTheRequester(t *testing.T) {
	r := start(t, qemu.Options{})
	for dev, d := range r.m.Devices {
		require.NoError(t, r.Reset())
		r.translate(0)
		r.dmaRead(dev, 0x5000)
		fro := uint32(spec.CapFRO.Of(r.reg(spec.OffCAP, 8))) * 16
		require.Equal(t, d.Source, emu.SourceID(r.reg(fro+8, 8)&0xffff))
		require.EqualValues(t, 0x5000, r.reg(fro, 8))
	}
}

func TestVTD_ResetLeavesNothing(t *testing.T) {
	r := start(t, qemu.Options{})
	registers := func() (list []uint64) {
		for off := uint32(0); off < 0x230; off += 8 {
			list = append(list, r.reg(off, 8))
		}
		return list
	}
	fresh := registers()
	r.translate(pages | 3)
	r.store(pages, 7)
	v, ok := r.dmaRead(0, 0)
	require.True(t, ok)
	require.EqualValues(t, 7, v)
	r.dmaRead(0, 0x8000) // a fault
	require.NotEqual(t, fresh, registers())

	require.NoError(t, r.Reset())
	require.Equal(t, fresh, registers())
	require.Zero(t, r.load(pages))
	require.Zero(t, r.load(root))
	r.store(0x30_0000, 8)
	v, ok = r.dmaRead(0, 0x30_0000)
	require.True(t, ok)
	require.EqualValues(t, 8, v, "untranslated again")
	r.translate(pages + 0x5000 | 3) // where the IOTLB would know another page
	r.store(pages+0x5000, 9)
	v, _ = r.dmaRead(0, 0)
	require.EqualValues(t, 9, v)
}

// firstStage turns on scalable mode, with first-stage tables for the requests of all devices.
func (r *rig) firstStage(leaves ...uint64) {
	r.Helper()
	const directory, table = 0x20_8000, 0x20_9000
	for _, d := range r.m.Devices {
		bus, half := emu.PA(d.Source>>8), emu.PA(d.Source>>7&1)
		ctx := context + bus<<12 + half<<14
		r.store(root+16*bus+8*half, uint64(ctx)|1)
		r.store(ctx+emu.PA(d.Source&0x7f)*32, directory|1, 0, 0, 0)
	}
	r.store(directory, table|1)
	r.store(table, spec.PasidP.Mask()|spec.PasidPGTT.Put(spec.PGTTFirst)|spec.PasidAW.Put(2), 5, tables)
	for i := range emu.PA(3) {
		r.store(tables+i<<12, uint64(tables+(i+1)<<12)|7)
	}
	r.store(tables+0x3000, leaves...)
	r.set(spec.OffRTADDR, 8, root|spec.RtaddrTTM.Put(spec.TTMScalable))
	r.set(spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
	r.set(spec.OffGCMD, 4, spec.GcmdTE.Mask())
}

func TestVTD_FirstStageSetsAccessedAndDirty(t *testing.T) {
	r := start(t, qemu.Options{Mode: qemu.FirstStage})
	const user, a, d = 4, 1 << 5, 1 << 6
	for dev := range r.m.Devices {
		r.firstStage(pages|3|user, pages+0x1000|1|user, pages+0x2000|3|user, pages+0x3000|3)
		r.store(pages+0x1008, 0x1111)
		v, ok := r.dmaRead(dev, 0x1008)
		require.True(t, ok)
		require.EqualValues(t, 0x1111, v)
		require.EqualValues(t, pages+0x1000|1|user|a, r.load(tables+0x3008))
		require.True(t, r.dmaWrite(dev, 0x2000, 9))
		require.Equal(t, tag(9), r.load(pages+0x2000))
		require.EqualValues(t, pages+0x2000|3|user|a|d, r.load(tables+0x3010))
		require.EqualValues(t, pages|3|user, r.load(tables+0x3000), "nobody was here")
		for _, at := range []emu.IOVA{0x3000, 0x4000, 1 << 46, 1 << 48} {
			_, ok = r.dmaRead(dev, at)
			require.False(t, ok, "%#x", uint64(at))
		}
		require.NoError(t, r.Reset())
	}
}
