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

// At level 1 a block with nT set is used and not kept: it does not conflict with anything. At level 2 the bit is
// ignored (3.21.1.3), before there are levels it is reserved.
func TestBlockWithNT(t *testing.T) {
	for level, fills := range map[uint8]bool{0: true, 1: false, 2: true} {
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

// A block is split into pages while it is cached: once a walk has met the new table, the block's translation and
// the table are both there.
func TestBlockAndTable(t *testing.T) {
	for level := range uint8(3) {
		r := newRig(t, func(c *smmuv3.Config) { c.BBML = level }).enable()
		_, root := r.attach(dev)
		at := r.descriptor(spec.Granule4K, root, 3, 0x4000_0000, 1)
		r.Put(at, 0x8000_0000|block|user|ng)
		q := emutest.DMA(dev, emu.NoPASID, 0x4000_1000, emu.Read)
		r.RequireOK(r.Do(q), 0x8000_1000)
		require.True(t, r.LookupAgrees(&q))
		leaves := r.Page()
		for i := range uint64(512) {
			r.Put(leaves+emu.PA(8*i), 0x8000_0000+i<<12|s1RW)
		}
		r.Put(at, uint64(leaves)|table)
		// What the walk for another ASID's page would do: the table is cached, the block's translation stays.
		key := emu.Key{Tag: emu.MakeTag(smmuv3.ClassEL1, vmid, asid), Addr: 0x4000_0000}
		r.RequireOK(r.Do(q), 0x8000_1000)
		r.u.Cache(emu.CacheWalk).Fill(&key, 21, 0, &[4]uint64{uint64(leaves)})
		require.Equal(t, level == 2, r.LookupAgrees(&q))
		r.drain()
		res := r.Do(q)
		if level == 2 {
			r.RequireOK(res, 0x8000_1000)
			continue
		}
		r.RequireFault(res, smmuv3.FaultTableConflict)
		require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTLBConflict, spec.EvtRnW.Mask(), 0x4000_1000}, r.event())
		r.submit(tlbiVA(spec.CmdTlbiNHVA, 0x4000_1000), sync())
		r.RequireOK(r.Do(q), 0x8000_1000)
		r.RequireOK(r.Do(q), 0x8000_1000)
	}
}

// The same among intermediate addresses: of the tables of stage 1, which lie in one block or page of stage 2.
func TestConflictsOfIntermediateAddresses(t *testing.T) {
	const va = uint64(0x4000_0000)
	for level := range uint8(3) {
		for _, tables := range []bool{false, true} {
			n := newNested(t, func(c *smmuv3.Config) { c.BBML = level })
			n.leaf(va, 0x77_0000, s1RW)
			n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
			n.RequireOK(n.Access(dev, va, emu.Read), 0x99_0000) // pages of stage 2 are cached
			ipa := uint64(n.root)
			key := emu.Key{Tag: emu.MakeTag(smmuv3.ClassS2, vmid, emu.NoPASID), Addr: ipa}
			var v [4]uint64
			require.True(t, n.u.Cache(emu.CacheStage2).Probe(&key, &v))
			region := ipa &^ (1<<21 - 1)
			at := n.descriptor(spec.Granule4K, n.s2, 3, ipa, 1)
			old := n.Get(at)
			n.Put(at, region+uint64(distance)&^(1<<21-1)|block|3<<6|0xf<<2)
			if !tables { // a block joins the pages: fetched for another address of it
				n.submit(command(spec.CmdTlbiS2IPA, field{spec.CmdVMID, vmid}, field{spec.CmdIPA, (region + 1<<20) >> 12}), sync())
				n.leaf(va+0x1000, region+1<<20, s1RW)
				n.Access(dev, va+0x1000, emu.Read)
			} else { // a block is split: the table behind it is met by another walk
				n.submit(command(spec.CmdTlbiS12VMAll, field{spec.CmdVMID, vmid}), sync())
				n.RequireOK(n.Access(dev, va, emu.Read), 0x99_0000)
				n.Put(at, old)
				n.u.Cache(emu.CacheWalk2).Fill(&key, 21, 0, &[4]uint64{old & spec.TtdAddr.Mask()})
			}
			n.drain()
			n.submit(tlbiVA(spec.CmdTlbiNHVA, va), sync())
			res := n.Access(dev, va, emu.Read)
			if level == 2 {
				n.RequireOK(res, 0x99_0000)
				continue
			}
			code := uint16(smmuv3.FaultTLBConflict)
			if tables {
				code = smmuv3.FaultTableConflict
			}
			n.RequireFault(res, code)
			e := n.event()
			require.Equal(t, uint64(dev)<<32|spec.EvTLBConflict, e[0])
			require.Equal(t, spec.EvtRnW.Mask()|spec.EvtS2.Mask(), e[1])
			require.EqualValues(t, va, e[2])
			require.Equal(t, region, e[3]&^(1<<21-1), "an address of the tables of stage 1")
		}
	}
}

// Blocks of stage 2 with nT are used and not kept either, at level 1, by themselves and in what both stages make.
func TestStage2BlockWithNT(t *testing.T) {
	for level, kept := range map[uint8]bool{0: true, 1: false, 2: true} {
		n := newNested(t, func(c *smmuv3.Config) { c.BBML = level })
		n.leaf(iova, 0x4000_0000, s1RW)
		n.Put(n.descriptor(spec.Granule4K, n.s2, 3, 0x4000_0000, 1), 0x8000_0000|block|3<<6|0xf<<2|spec.TtdNT.Mask())
		n.RequireOK(n.Do(dma(emu.Read)), 0x8000_0000)
		key := emu.Key{Tag: emu.MakeTag(smmuv3.ClassS2, vmid, emu.NoPASID), Addr: 0x4000_0000}
		require.Equal(t, kept, n.u.Cache(emu.CacheStage2).Probe(&key, new([4]uint64)))
		require.Equal(t, kept, emutest.Stats(n.u)[emu.CacheIOTLB].Fills == 1)
		n.RequireOK(n.Do(dma(emu.Read)), 0x8000_0000)
	}
}
