package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Pages are joined to a block without making the tables invalid in between. What the IOTLB has of the pages
// and of the block then are two answers.
func TestChangeOfBlockSizeByLevel(t *testing.T) {
	for level := range uint8(3) {
		r := newRig(t, func(c *smmuv3.Config) { c.BBML = level }).enable()
		_, root := r.attach(dev)
		for i := range uint64(512) {
			r.mapPage(root, 0x4000_0000+i<<12, 0x8000_0000+i<<12, s1RW)
		}
		q := emutest.DMA(dev, emu.NoPASID, 0x4000_1000, emu.Read)
		r.RequireOK(r.Do(q), 0x8000_1000)
		at := r.descriptor(spec.Granule4K, root, 3, 0x4000_0000, 1)
		r.Put(at, 0x8000_0000|block|user|ng)
		// The paging-structure cache is told, the IOTLB is not.
		r.submit(tlbiVA(spec.CmdTlbiNHVA, 0x401f_f000), sync())
		r.RequireOK(r.Access(dev, 0x4010_0000, emu.Read), 0x8010_0000)
		for range 2 {
			res := r.Do(q)
			if level == 2 {
				r.RequireOK(res, 0x8000_1000)
				continue
			}
			r.RequireFault(res, smmuv3.FaultTLBConflict)
			require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTLBConflict, spec.EvtRnW.Mask(), 0x4000_1000}, r.event())
		}
		r.submit(command(spec.CmdTlbiNHVA, field{spec.CmdVMID, vmid}, field{spec.CmdASID, asid}, field{spec.CmdAddr, 0x4000_1000 >> 12}), sync())
		r.RequireOK(r.Do(q), 0x8000_1000)
		r.RequireOK(r.Do(q), 0x8000_1000)
	}
}

// At level 1 a block with nT set is used and not kept: it does not conflict with anything.
func TestBlockWithNT(t *testing.T) {
	for level, fills := range map[uint8]bool{0: true, 1: false, 2: false} {
		r := newRig(t, func(c *smmuv3.Config) { c.BBML = level }).enable()
		_, root := r.attach(dev)
		r.Put(r.descriptor(spec.Granule4K, root, 3, iova, 1), 0x8000_0000|block|user|ng|spec.TtdNT.Mask())
		r.RequireOK(r.Do(dma(emu.Read)), 0x8000_0000|iova&(1<<21-1))
		require.Equal(t, fills, emutest.Stats(r.u)[emu.CacheIOTLB].Fills == 1)
	}
}

func TestConflictsOfStage2(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.BBML = 0 }).enable()
	root := r.attach2(dev)
	r.mapPage(root, 0x4000_1000, 0x8000_1000, s2RW)
	q := emutest.DMA(dev, emu.NoPASID, 0x4000_1000, emu.Write)
	r.RequireOK(r.Do(q), 0x8000_1000)
	r.Put(r.descriptor(spec.Granule4K, root, 3, 0x4000_0000, 1), 0x8000_0000|block|3<<6|0xf<<2)
	r.submit(command(spec.CmdTlbiS2IPA, field{spec.CmdVMID, vmid}, field{spec.CmdIPA, 0x4000_0000 >> 12}), sync())
	r.RequireOK(r.Access(dev, 0x4000_0000, emu.Write), 0x8000_0000)
	r.RequireFault(r.Do(q), smmuv3.FaultTLBConflict)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTLBConflict, spec.EvtS2.Mask(), 0x4000_1000, 0x4000_1000}, r.event())
}

// A change of the Contiguous bit alone conflicts at level 0 only (3.21.1.2): what the IOTLB has of the run and
// of a page of it are both answers. A block above is a conflict all the same.
func TestContiguousBitByLevel(t *testing.T) {
	for level := range uint8(3) {
		r := newRig(t, func(c *smmuv3.Config) { c.BBML = level }).enable()
		_, root := r.attach(dev)
		set := func(bits uint64) {
			for i := range uint64(16) {
				r.mapPage(root, 0x4000_0000+i<<12, 0x8000_0000+i<<12, s1RW|bits)
			}
		}
		q := emutest.DMA(dev, emu.NoPASID, 0x4000_1000, emu.Read)
		set(0)
		r.RequireOK(r.Do(q), 0x8000_1000)
		set(spec.TtdContig.Mask())
		r.RequireOK(r.Access(dev, 0x4000_2000, emu.Read), 0x8000_2000)
		res := r.Do(q)
		if level == 0 {
			r.RequireFault(res, smmuv3.FaultTLBConflict)
			r.event()
		} else {
			r.RequireOK(res, 0x8000_1000)
		}
		r.Put(r.descriptor(spec.Granule4K, root, 3, 0x4000_0000, 1), 0x8000_0000|block|user|ng)
		r.submit(tlbiVA(spec.CmdTlbiNHVA, 0x401f_f000), sync())
		r.RequireOK(r.Access(dev, 0x4010_0000, emu.Read), 0x8010_0000)
		if res = r.Do(q); level == 2 {
			r.RequireOK(res, 0x8000_1000)
			continue
		}
		r.RequireFault(res, smmuv3.FaultTLBConflict)
	}
}
