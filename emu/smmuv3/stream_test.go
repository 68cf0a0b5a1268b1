package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func TestSMMUQuirk02_BadStreamIDAborts_RecordedIfAskedFor(t *testing.T) {
	r := newRig(t).enable()
	q := emutest.DMA(1<<streamBits, emu.NoPASID, iova, emu.Read)
	e := r.requireEvent(q, smmuv3.FaultStreamRange)
	require.Equal(t, spec.Event{uint64(1<<streamBits)<<32 | spec.EvBadStreamID}, e)
	r.update(false, spec.Cr0SMMUEN)
	r.W32(spec.OffCR2, 0)
	r.update(true, spec.Cr0SMMUEN)
	r.requireSilent(q, smmuv3.FaultStreamRange)
}

func TestSMMUQuirk05_ConfigAbortIsSilent(t *testing.T) {
	for c := range uint64(4) {
		r := newRig(t).enable()
		r.bind(dev, field{spec.SteConfig, c}, field{spec.SteEATS, 1})
		r.requireSilent(dma(emu.Read), smmuv3.FaultConfig)
		r.requireSilent(emutest.DMA(dev, 3, iova, emu.Read), smmuv3.FaultConfig)
	}
	r := newRig(t).enable()
	e := r.requireEvent(dma(emu.Write), smmuv3.FaultSTEInvalid)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvBadSTE}, e)
}

func TestBypass(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
	res := r.Do(dma(emu.Write))
	r.RequireOK(res, iova)
	require.EqualValues(t, 64, res.Lg2)
	e := r.requireEvent(emutest.DMA(dev, emu.NoPASID, 1<<48, emu.Read), smmuv3.FaultInput)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvAddrSize, spec.EvtRnW.Mask() | spec.EvtClass.Put(spec.ClassIN), 1 << 48}, e)
}

// twoLevel turns the stream table into one of two levels and returns where the descriptor of s is.
func (r *rig) twoLevel(s emu.SourceID, log2, split, span uint64) (l1, l2 emu.PA) {
	top := r.aligned(1 << (log2 - split + 3))
	l2 = r.aligned(spec.STESize << 10)
	r.W64(spec.OffSTRTABBase, uint64(top))
	r.W32(spec.OffSTRTABBaseCfg, log2|split<<6|spec.StrtabFmt2Lvl<<16)
	l1 = top + emu.PA(s>>split)*8
	r.Put(l1, uint64(l2)|span)
	return l1, l2
}

func TestSMMUQuirk01_StreamIDBeyondTheSpanIsABadStreamID(t *testing.T) {
	for _, c := range []struct {
		split, span uint64
		index       uint64
		ok          bool
	}{
		{8, 9, 255, true}, {8, 8, 127, true}, {8, 8, 128, false}, {8, 0, 0, false}, {8, 10, 0, false}, {8, 12, 0, false}, {8, 31, 0, false},
		{6, 7, 63, true}, {6, 8, 0, false}, {10, 11, 1023, true}, {10, 1, 0, true}, {10, 1, 1, false},
	} {
		r := newRig(t)
		sid := emu.SourceID(5<<c.split | c.index)
		_, l2 := r.twoLevel(sid, 16, c.split, c.span)
		r.enable()
		w := words(field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigBypass})
		r.Put(l2+emu.PA(c.index)*spec.STESize, w[:]...)
		q := emutest.DMA(sid, emu.NoPASID, iova, emu.Read)
		if c.ok {
			r.RequireOK(r.Do(q), iova)
			continue
		}
		require.Equal(t, spec.Event{uint64(sid)<<32 | spec.EvBadStreamID}, r.requireEvent(q, smmuv3.FaultSpan), "%+v", c)
	}
}

func TestSMMUQuirk03_OtherSplitsCountAsTheLeast(t *testing.T) {
	for _, split := range []uint64{0, 1, 6, 7, 9, 11, 31} {
		r := newRig(t)
		sid := emu.SourceID(3<<6 | 9)
		_, l2 := r.twoLevel(sid, 16, 6, 7)
		r.W32(spec.OffSTRTABBaseCfg, 16|split<<6|spec.StrtabFmt2Lvl<<16)
		r.enable()
		w := words(field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigBypass})
		r.Put(l2+9*spec.STESize, w[:]...)
		r.RequireOK(r.Access(sid, iova, emu.Read), iova)
	}
}

func TestSMMUQuirk04_BasesAreAligned(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffSTRTABBase, uint64(r.streams)|0xffc0)
	r.enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
	r.RequireOK(r.Do(dma(emu.Read)), iova)

	r = newRig(t)
	sid := emu.SourceID(0x1234)
	_, l2 := r.twoLevel(sid, 16, 8, 9)
	w := words(field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigBypass})
	r.Put(l2+0x34*spec.STESize, w[:]...)
	r.W64(spec.OffSTRTABBase, r.R64(spec.OffSTRTABBase)|0x7c0) // 256 descriptors are 2 KiB
	r.enable()
	r.RequireOK(r.Access(sid, iova, emu.Read), iova)
	// A queue of one entry is aligned to 32 bytes, which its base cannot but be.
	r.update(false, spec.Cr0CMDQEN)
	r.W64(spec.OffCMDQBase, uint64(r.cmd)|0xfe0|cmdBits)
	r.W32(spec.OffCMDQProd, 0)
	r.W32(spec.OffCMDQCons, 0)
	r.prod = 0
	r.update(true, spec.Cr0CMDQEN)
	r.submit(cfgiAll(), sync())
}

func TestSMMUQuirk62_RangeIsTheLesserSizeAndAlignmentTheRegister(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.SIDSIZE = 8 })
	r.W64(spec.OffSTRTABBase, uint64(r.streams)|0xffc0) // 2^10 entries are aligned away
	r.enable()
	r.bind(0xff, field{spec.SteConfig, spec.ConfigBypass})
	r.RequireOK(r.Access(0xff, iova, emu.Read), iova)
	r.requireEvent(emutest.DMA(0x100, emu.NoPASID, iova, emu.Read), smmuv3.FaultStreamRange)
}

func TestFetchErrorsOfTheStreamTable(t *testing.T) {
	r := newRig(t).enable()
	r.BusError(r.ste(dev)+16, 8)
	e := r.requireEvent(dma(emu.Read), smmuv3.FaultSTEFetch)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvSTEFetch, 0, 0, uint64(r.ste(dev)) + 16}, e)

	r = newRig(t)
	l1, _ := r.twoLevel(dev, 16, 8, 9)
	r.enable()
	r.BusError(l1, 8)
	e = r.requireEvent(dma(emu.Read), smmuv3.FaultL1STDFetch)
	require.Equal(t, uint64(l1), e[3])

	r = newRig(t, func(c *smmuv3.Config) { c.OAS = 3 }) // 42 bits
	l1, _ = r.twoLevel(dev, 16, 8, 9)
	r.enable()
	r.Put(l1, 1<<42|9)
	r.requireEvent(dma(emu.Read), smmuv3.FaultSTEFetch)
	r.update(false, spec.Cr0SMMUEN)
	r.W64(spec.OffSTRTABBase, 1<<42)
	r.update(true, spec.Cr0SMMUEN)
	r.submit(cfgiAll(), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultL1STDFetch)
}

// A fetch that failed is not cached, whatever was read is.
func TestSMMUQuirk52_InvalidEntriesAreCachedAndFailedFetchesAreNot(t *testing.T) {
	r := newRig(t)
	l1, l2 := r.twoLevel(dev, 16, 8, 0)
	r.enable()
	r.requireEvent(dma(emu.Read), smmuv3.FaultSpan)
	r.Put(l1, uint64(l2)|9)
	r.requireEvent(dma(emu.Read), smmuv3.FaultSpan)
	r.submit(cfgiSTE(dev, 1), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultSpan)
	r.submit(cfgiSTE(dev, 0), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultSTEInvalid)
	w := words(field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigBypass})
	r.Put(l2+0x10*spec.STESize, w[:]...)
	r.requireEvent(dma(emu.Read), smmuv3.FaultSTEInvalid)
	r.submit(cfgiSTE(dev, 1), sync())
	r.RequireOK(r.Do(dma(emu.Read)), iova)

	r = newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
	at := r.ste(dev) + 56
	id := r.Mem.AddBusError(at, at+7, emu.RW)
	r.requireEvent(dma(emu.Read), smmuv3.FaultSTEFetch)
	require.True(t, r.Mem.RemoveBusError(id))
	r.RequireOK(r.Do(dma(emu.Read)), iova)
}

func TestSMMUQuirk53_EntriesAreReadInParts(t *testing.T) {
	for size, n := range map[uint8]int{8: 8, 16: 4} {
		r := newRig(t, func(c *smmuv3.Config) { c.FetchSize = size }).enable()
		cd, root := r.attach(dev)
		r.mapPage(root, iova, 0x5000, s1RW)
		s := r.Begin(dma(emu.Read))
		r.RequireOK(s.End(), 0x5000)
		f := s.Fetches()
		require.Len(t, f, 2*n+4)
		for i, a := range f[:2*n] {
			at := r.ste(dev)
			if i >= n {
				at = cd
			}
			require.Equal(t, size, a.Size)
			require.Equal(t, at+emu.PA(i%n)*emu.PA(size), a.Addr)
			require.Equal(t, i%n != 0, a.Follow)
		}
	}
}

// An STE that changes while it is read is a mix of both contents, and is seen as one.
func TestTornSTE(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass}, field{spec.SteS2VMID, 0x11})
	var seen []uint64
	r.u.Observe(emutest.Observer(func(kind emu.StructKind, at emu.PA, w []uint64) {
		require.Equal(t, emu.StructDevice, kind)
		require.Equal(t, r.ste(dev), at)
		seen = append([]uint64(nil), w...)
	}))
	s := r.Begin(dma(emu.Read))
	s.UntilFetch(r.ste(dev) + 8)
	r.set(r.ste(dev), field{spec.SteConfig, spec.ConfigAbort}, field{spec.SteS2VMID, 0x22})
	res := s.End()
	require.Equal(t, []uint64{1 | spec.ConfigBypass<<1, 0, 0x22, 0, 0, 0, 0, 0}, seen)
	r.RequireOK(res, iova)
	require.Equal(t, smmuv3.Version(seen, nil), res.Prov.Entry)
}
