package smmuv3_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// granuleCase is a granule and the codes for it.
type granuleCase struct {
	g        spec.Granule
	tg0, tg1 uint64
}

var granuleCases = []granuleCase{{spec.Granule4K, 0, 2}, {spec.Granule16K, 2, 1}, {spec.Granule64K, 1, 3}}

// Pages and blocks of each granule, in both halves.
func TestStage1Granules(t *testing.T) {
	for _, c := range granuleCases {
		for level := range int8(3) {
			for _, upper := range []bool{false, true} {
				t.Run(fmt.Sprintf("%dK level %d upper %v", 1<<(c.g-10), level, upper), func(t *testing.T) {
					r := newRig(t).enable()
					_, _ = r.attach(dev)
					root := r.aligned(1 << c.g)
					cd, _ := r.attach(dev, field{spec.CdTTB0, uint64(root) >> 4}, field{spec.CdTG0, c.tg0}, field{spec.CdTTB1, uint64(root) >> 4},
						field{spec.CdTG1, c.tg1}, field{spec.CdT1SZ, 16}, field{spec.CdEPD1, 0})
					require.NotZero(t, cd)
					from := int8((47 - uint8(c.g)) / c.g.Stride())
					addr := uint64(0x1234_5678_9000)
					at := r.descriptor(c.g, root, from, addr, level)
					lg2 := c.g.Shift(level)
					out := uint64(0x55) << lg2 & (1<<48 - 1)
					legal := level == 0 || level == 1 || c.g == spec.Granule4K
					if level == 0 {
						r.Put(at, out|s1RW)
					} else {
						r.Put(at, out|block|user|ng)
					}
					if upper {
						addr |= 0xffff << 48
					}
					res := r.Access(dev, addr, emu.Write)
					if !legal {
						r.RequireFault(res, smmuv3.FaultS1Translation)
						return
					}
					r.RequireOK(res, out|addr&(1<<lg2-1))
					require.Equal(t, lg2, res.Lg2)
					require.Equal(t, at, res.Prov.Leaf)
					r.RequireOK(r.Access(dev, addr, emu.Write), out|addr&(1<<lg2-1)) // from the IOTLB
				})
			}
		}
	}
}

func TestSMMUQuirk59_BlocksAndContiguousRuns(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	const contig = 1 << 52
	for i := range uint64(16) {
		r.mapPage(root, 0x40_0000+i<<12, 0x90_0000+i<<12, s1RW|contig)
	}
	res := r.Access(dev, 0x40_3000, emu.Read)
	r.RequireOK(res, 0x90_3000)
	require.EqualValues(t, 16, res.Lg2)
	require.EqualValues(t, 1, emutest.Stats(r.u)[emu.CacheIOTLB].Fills)
	r.RequireOK(r.Access(dev, 0x40_f000, emu.Read), 0x90_f000)
	require.EqualValues(t, 1, emutest.Stats(r.u)[emu.CacheIOTLB].Fills, "one entry for the run")
	// A run out of line is not joined.
	r.mapPage(root, 0x50_3000, 0xa0_1000, s1RW|contig)
	res = r.Access(dev, 0x50_3000, emu.Read)
	r.RequireOK(res, 0xa0_1000)
	require.EqualValues(t, 12, res.Lg2)
	// A block where there are none: at the top of four levels.
	r.Put(root+8, block|user|ng)
	r.requireEvent(emutest.DMA(dev, emu.NoPASID, 1<<39, emu.Read), smmuv3.FaultS1Translation)
}

func TestSMMUQuirk20_InputRangeIsATranslationFault(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev, field{spec.CdT0SZ, 25}, field{spec.CdT1SZ, 25}, field{spec.CdTG1, 2}, field{spec.CdEPD1, 0})
	r.Put(cd+8, uint64(root)) // 39 bits: three levels
	at := r.descriptor(spec.Granule4K, root, 2, 0x7f_ffff_f000, 0)
	r.Put(at, 0x5000|s1RW)
	r.set(cd, field{spec.CdTTB1, uint64(root) >> 4})
	r.RequireOK(r.Access(dev, 0x7f_ffff_f000, emu.Read), 0x5000)
	r.RequireOK(r.Access(dev, 0xffff_ffff_ffff_f000, emu.Read), 0x5000)
	for _, addr := range []uint64{1 << 39, 1 << 54, 0x7f<<56 | 1<<39, 0xffff_ff7f_ffff_f000, 1 << 63, 0xff7f_ffff_ffff_f000} {
		e := r.requireEvent(emutest.DMA(dev, emu.NoPASID, addr, emu.Read), smmuv3.FaultS1Range)
		require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTranslation, spec.EvtRnW.Mask() | spec.EvtClass.Put(spec.ClassIN), addr}, e)
	}
	// TBI relaxes the top byte only, and the event keeps it.
	r.set(cd, field{spec.CdTBI0, 1}, field{spec.CdTBI1, 1})
	r.submit(cfgiCD(dev, 0, 1), sync())
	r.RequireOK(r.Access(dev, 0xab<<56|0x7f_ffff_f000, emu.Read), 0x5000)
	r.RequireOK(r.Access(dev, 0x12ff_ffff_ffff_f000, emu.Read), 0x5000)
	e := r.requireEvent(emutest.DMA(dev, emu.NoPASID, 0xab<<56|1<<40, emu.Read), smmuv3.FaultS1Range)
	require.EqualValues(t, uint64(0xab<<56|1<<40), e[2])
}

func TestEPDStopsWalksOnly(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.set(cd, field{spec.CdEPD0, 1})
	r.submit(cfgiCD(dev, 0, 1), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.requireEvent(emutest.DMA(dev, emu.NoPASID, iova+0x1000, emu.Read), smmuv3.FaultEPD)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultEPD)
}

func TestStage1AddressSize(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev, field{spec.CdIPS, 0})
	r.mapPage(root, iova, 1<<32, s1RW)
	r.requireEvent(dma(emu.Read), smmuv3.FaultS1AddrSize)
	at := r.descriptor(spec.Granule4K, root, 3, iova, 1)
	r.Put(at, 1<<40|table)
	r.requireEvent(dma(emu.Read), smmuv3.FaultS1AddrSize)
}

// 52-bit output addresses: where the descriptors have their upper bits.
func TestSMMUQuirk58_WideAddresses(t *testing.T) {
	wide := func(c *smmuv3.Config) { c.OAS, c.VAX, c.DS = spec.OAS52, spec.VAX52, true }
	for _, c := range granuleCases {
		r := newRig(t, wide).enable()
		root := r.aligned(1 << c.g)
		r.attach(dev, field{spec.CdTTB0, uint64(root) >> 4}, field{spec.CdTG0, c.tg0}, field{spec.CdIPS, 6}, field{spec.CdDS, 1}, field{spec.CdT0SZ, 16})
		from := int8((47 - uint8(c.g)) / c.g.Stride())
		at := r.descriptor(c.g, root, from, iova, 0)
		out := uint64(0xa_5000_1234_0000)
		d := out &^ (0xf << 48) // the address has 48 bits in their usual place
		if c.g == spec.Granule64K {
			d |= 0xa << 12
		} else {
			d |= out&(3<<48) | 2<<8
		}
		r.Put(at, d|(s1RW&^(3<<8)))
		r.RequireOK(r.Access(dev, iova, emu.Read), out|iova&(1<<c.g-1))
	}
	// An input of 52 bits takes one level more with 4K granules.
	r := newRig(t, wide).enable()
	_, root := r.attach(dev, field{spec.CdT0SZ, 12}, field{spec.CdIPS, 6}, field{spec.CdDS, 1})
	addr := uint64(0x7_1234_5678_9000)
	r.Put(r.descriptor(spec.Granule4K, root, 4, addr, 0), 0x5000|s1RW)
	r.RequireOK(r.Access(dev, addr, emu.Read), 0x5000)
}

func TestSMMUQuirk21_AccessFlagBeforePermission(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	at := r.mapPage(root, iova, 0x5000, s1RW|ro&^(1<<10))
	r.Put(at, 0x5000|ro|ng|3)
	e := r.requireEvent(dma(emu.Write), smmuv3.FaultS1Access)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvAccess, spec.EvtClass.Put(spec.ClassIN), iova}, e)
	r.set(cd, field{spec.CdAFFD, 1})
	r.submit(cfgiCD(dev, 0, 1), sync())
	r.requireEvent(dma(emu.Write), smmuv3.FaultS1Permission)
}

func TestSMMUQuirk22_DescriptorThatCannotBeRead(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	at := r.mapPage(root, iova, 0x5000, s1RW)
	r.BusError(at, 8)
	e := r.requireEvent(dma(emu.Write), smmuv3.FaultS1Fetch)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvWalkEABT, spec.EvtClass.Put(spec.ClassTT), iova, uint64(at)}, e)
}

func TestBigEndianTables(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	for l := int8(3); l >= 0; l-- {
		at := r.descriptor(spec.Granule4K, root, 3, iova, l)
		defer func() { r.Put(at, swapped(r.Get(at))) }()
	}
	for l := int8(0); l <= 3; l++ {
		at := r.descriptor(spec.Granule4K, root, 3, iova, l)
		r.Put(at, swapped(r.Get(at)))
	}
	r.requireEvent(dma(emu.Read), smmuv3.FaultS1Translation)
	r.set(cd, field{spec.CdENDI, 1})
	r.submit(cfgiCD(dev, 0, 1), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
}

func swapped(v uint64) (w uint64) {
	for i := range 8 {
		w |= v >> (8 * i) & 0xff << (56 - 8*i)
	}
	return w
}

func TestEL2Worlds(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev, field{spec.CdEPD0, 1}) // EPD means nothing without an upper half
	r.set(r.ste(dev), field{spec.SteSTRW, spec.STRWEL2})
	r.mapPage(root, iova, 0x5000, page|ro)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000) // unprivileged, but AP[1] does not count
	r.requireEvent(emutest.DMA(dev, emu.NoPASID, 0xffff_ffff_ffff_f000, emu.Read), smmuv3.FaultS1Range)
	r.set(cd, field{spec.CdASID, 0x99})
	r.submit(cfgiCD(dev, 0, 1), command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid}), sync())
	fills := emutest.Stats(r.u)[emu.CacheIOTLB].Fills
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	require.Equal(t, fills, emutest.Stats(r.u)[emu.CacheIOTLB].Fills, "EL2 has neither ASID nor VMID")

	r.update(false, spec.Cr0SMMUEN)
	r.W32(spec.OffCR2, spec.Cr2E2H.Mask()|spec.Cr2RECINVSID.Mask())
	r.update(true, spec.Cr0SMMUEN)
	r.set(cd, field{spec.CdEPD0, 0})
	r.submit(cfgiAll(), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultS1Permission)
	r.RequireOK(r.Do(dma(emu.Read|emu.Priv)), 0x5000)
}

// A walk of no more levels than it takes, from what the paging-structure caches know.
func TestWalksStartAtCachedTables(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.mapPage(root, iova+0x1000, 0x6000, s1RW)
	r.mapPage(root, iova+1<<21, 0x7000, s1RW)
	for _, c := range []struct {
		addr, pa uint64
		fetches  int
	}{{iova, 0x5000, 16 + 4}, {iova + 0x1000, 0x6000, 1}, {iova + 1<<21, 0x7000, 2}} {
		s := r.Begin(emutest.DMA(dev, emu.NoPASID, c.addr, emu.Read))
		r.RequireOK(s.End(), c.pa)
		require.Len(t, s.Fetches(), c.fetches)
	}
}
