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

// Every legal combination of granule, input size and start level walks the tables it says.
func TestSMMUQuirk60_Stage2StartTables(t *testing.T) {
	n := 0
	for _, c := range granuleCases {
		for tsz := uint64(16); tsz <= 46; tsz++ {
			for sl0 := range uint64(4) {
				level, ok := spec.S2StartLevel(c.g, sl0)
				bits := int(64-tsz) - int(c.g.Shift(max(level, 0)))
				if !ok || bits < 1 || bits > int(c.g.Stride())+4 || c.g == spec.Granule16K && sl0 == 3 {
					continue
				}
				n++
				t.Run(fmt.Sprintf("%dK T0SZ %d SL0 %d", 1<<(c.g-10), tsz, sl0), func(t *testing.T) {
					r := newRig(t).enable()
					root := r.aligned(8 << bits)
					r.attach2(dev, field{spec.SteS2TG, c.tg0}, field{spec.SteS2T0SZ, tsz}, field{spec.SteS2SL0, sl0}, field{spec.SteS2TTB, uint64(root) >> 4})
					last := uint64(1)<<(64-tsz) - 1
					for _, addr := range []uint64{0, last &^ 0xfff} {
						r.Put(r.descriptor(c.g, root, level, addr, 0), 0x770_0000|s2RW)
						r.RequireOK(r.Access(dev, addr, emu.Write), 0x770_0000|addr&(1<<c.g-1))
					}
					if tsz == 16 { // that is the input size
						return
					}
					e := r.requireEvent(emutest.DMA(dev, emu.NoPASID, last+1, emu.Read), smmuv3.FaultS2Range)
					require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTranslation, spec.EvtRnW.Mask() | spec.EvtS2.Mask() | spec.EvtClass.Put(spec.ClassIN), last + 1, last + 1}, e)
				})
			}
		}
	}
	require.Greater(t, n, 60)
}

func TestStage2Faults(t *testing.T) {
	r := newRig(t).enable()
	root := r.attach2(dev, field{spec.SteS2PS, 0})
	e := r.requireEvent(dma(emu.Read), smmuv3.FaultS2Translation)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTranslation, spec.EvtRnW.Mask() | spec.EvtS2.Mask() | spec.EvtClass.Put(spec.ClassIN), iova, iova}, e)
	at := r.mapPage(root, iova, 1<<32, s2RW)
	r.requireEvent(dma(emu.Read), smmuv3.FaultS2AddrSize)
	up := r.descriptor(spec.Granule4K, root, 3, iova, 1)
	was := r.Get(up)
	r.Put(up, 1<<32|table)
	r.requireEvent(dma(emu.Read), smmuv3.FaultS2AddrSize)
	r.Put(up, was)
	r.Put(at, 0x5000|3)
	r.requireEvent(dma(emu.Read), smmuv3.FaultS2Access)
	r.set(r.ste(dev), field{spec.SteS2AFFD, 1})
	r.submit(cfgiSTE(dev, 1), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultS2Permission)
	r.BusError(at, 8)
	e = r.requireEvent(dma(emu.Write), smmuv3.FaultS2Fetch)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvWalkEABT, spec.EvtS2.Mask() | spec.EvtClass.Put(spec.ClassIN), iova, uint64(at)}, e)
}

// nested gives dev both stages. What stage 1 needs is mapped by stage 2 to where it is, plus the distance.
type nested struct {
	*rig
	cd, root emu.PA // intermediate addresses
	s2       emu.PA
}

const distance = 0x1000_0000

func newNested(t testing.TB, change ...change) *nested {
	n := &nested{rig: newRig(t, change...).enable()}
	n.s2 = n.Page()
	n.cd, n.root = n.stage1Page(), n.stage1Page()
	w := words(cdFields(n.root)...)
	n.Put(n.cd+distance, w[:]...)
	n.bind(dev, append([]field{{spec.SteConfig, spec.ConfigNested}, {spec.SteS1Context, uint64(n.cd) >> 6}}, s2Fields(n.s2)...)...)
	return n
}

// stage1Page returns the intermediate address of a new page, which stage 2 maps.
func (n *nested) stage1Page() emu.PA {
	p := n.Page()
	n.mapPage(n.s2, uint64(p), uint64(p)+distance, s2RW)
	n.Put(p+distance, 0)
	return p
}

// leaf maps addr by stage 1 to an intermediate address and returns where the descriptor is.
func (n *nested) leaf(addr, ipa, bits uint64) (at emu.PA) {
	top := n.root
	for l := int8(3); ; l-- {
		at = top + emu.PA(addr>>spec.Granule4K.Shift(l)&511*8)
		if l == 0 {
			n.Put(at+distance, ipa|bits)
			return at
		}
		if n.Get(at+distance) == 0 {
			n.Put(at+distance, uint64(n.stage1Page())|table)
		}
		top = emu.PA(n.Get(at+distance) & spec.TtdAddr.Mask())
	}
}

func TestNestedTranslation(t *testing.T) {
	for _, caches := range []change{func(*smmuv3.Config) {}, noCaches, func(c *smmuv3.Config) { c.Stage2.Sets = 0 }, func(c *smmuv3.Config) { c.Walk2 = nil }} {
		n := newNested(t, caches)
		at := n.leaf(iova, 0x77_0000, s1RW)
		leaf2 := n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
		for range 2 {
			res := n.Do(dma(emu.Write))
			n.RequireOK(res, 0x99_0000)
			require.EqualValues(t, 12, res.Lg2)
			require.Equal(t, at+distance, res.Prov.Leaf)
			require.Equal(t, leaf2, res.Prov.Leaf2)
			require.Equal(t, res.Prov.Entry, res.Prov.Fill)
			ste, cd := n.wordsAt(n.ste(dev)), n.wordsAt(n.cd+distance)
			require.Equal(t, smmuv3.Version(ste, cd), res.Prov.Entry)
		}
	}
}

func (r *rig) wordsAt(pa emu.PA) (w []uint64) {
	for i := range emu.PA(8) {
		w = append(w, r.Get(pa+8*i))
	}
	return w
}

// A page is as large as both stages have in common.
func TestNestedPageIsTheSmaller(t *testing.T) {
	n := newNested(t)
	at := n.leaf(iova, 0, 0)
	n.Put(at+distance, 0)
	up := n.root
	for l := int8(3); l > 1; l-- {
		up = emu.PA(n.Get(up+distance+emu.PA(iova>>spec.Granule4K.Shift(l)&511*8)) & spec.TtdAddr.Mask())
	}
	n.Put(up+distance+emu.PA(iova>>21&511*8), 0x4000_0000|block|user|ng) // 2 MiB
	n.mapPage(n.s2, 0x4000_0000|iova&(1<<21-1), 0x99_0000, s2RW)
	res := n.Do(dma(emu.Write))
	n.RequireOK(res, 0x99_0000)
	require.EqualValues(t, 12, res.Lg2)
	n.Put(n.descriptor(spec.Granule4K, n.s2, 3, 0x4000_0000, 2), 0x8000_0000|block|0xff<<2)
	n.submit(command(spec.CmdTlbiS12VMAll, field{spec.CmdVMID, vmid}), sync())
	res = n.Access(dev, iova+0x1000, emu.Write)
	n.RequireOK(res, 0x8000_0000|(iova+0x1000)&(1<<21-1))
	require.EqualValues(t, 21, res.Lg2)
}

// Faults of stage 2 while stage 1 is read: their class, their address, and whose bits govern them.
func TestSMMUQuirk23_Stage2FaultsOnBehalfOfStage1(t *testing.T) {
	event := func(ev, class uint64, more uint64) spec.Event {
		return spec.Event{uint64(dev)<<32 | ev, spec.EvtS2.Mask() | spec.EvtClass.Put(class) | more, iova}
	}
	t.Run("CD", func(t *testing.T) {
		n := newNested(t)
		n.mapPage(n.s2, uint64(n.cd), 0, 0)
		want := event(spec.EvTranslation, spec.ClassCD, 0)
		want[3] = uint64(n.cd)
		require.Equal(t, want, n.requireEvent(dma(emu.Write), smmuv3.FaultS2Translation))
		n.mapPage(n.s2, uint64(n.cd), uint64(n.cd)+distance, page|2<<6|0xf<<2) // cannot be read
		want = event(spec.EvPermission, spec.ClassCD, 0)
		want[3] = uint64(n.cd)
		require.Equal(t, want, n.requireEvent(dma(emu.Write), smmuv3.FaultS2Permission))
		n.set(n.ste(dev), field{spec.SteS2R, 0})
		n.submit(cfgiSTE(dev, 1), sync())
		n.requireSilent(dma(emu.Write), smmuv3.FaultS2Permission)
	})
	t.Run("TT", func(t *testing.T) {
		n := newNested(t)
		at := n.leaf(iova, 0x77_0000, s1RW)
		n.mapPage(n.s2, uint64(at)&^0xfff, 0, 0)
		want := event(spec.EvTranslation, spec.ClassTT, 0)
		want[3] = uint64(at) &^ 0xfff
		require.Equal(t, want, n.requireEvent(dma(emu.Write), smmuv3.FaultS2Translation))
		n.mapPage(n.s2, uint64(at)&^0xfff, uint64(at)&^0xfff+distance, page|2<<6|0xf<<2)
		want = event(spec.EvPermission, spec.ClassTT, spec.EvtTTRnW.Mask())
		want[3] = uint64(at) &^ 0xfff
		require.Equal(t, want, n.requireEvent(dma(emu.Write), smmuv3.FaultS2Permission))
		n.set(n.cd+distance, field{spec.CdR, 0}) // CD bits do not govern it
		n.submit(cfgiSTE(dev, 1), sync())
		n.requireEvent(dma(emu.Write), smmuv3.FaultS2Permission)
		n.BusError(n.descriptor(spec.Granule4K, n.s2, 3, uint64(at), 0), 8)
		e := n.requireEvent(dma(emu.Read), smmuv3.FaultS2Fetch)
		require.Equal(t, spec.EvtRnW.Mask()|spec.EvtS2.Mask()|spec.EvtClass.Put(spec.ClassTT), e[1])
	})
	t.Run("IN", func(t *testing.T) {
		n := newNested(t)
		n.leaf(iova, 0x77_0000, s1RW)
		want := event(spec.EvTranslation, spec.ClassIN, 0)
		want[3] = 0x77_0000
		require.Equal(t, want, n.requireEvent(dma(emu.Write), smmuv3.FaultS2Translation))
		n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2Read)
		e := n.requireEvent(dma(emu.Write), smmuv3.FaultS2Permission)
		require.EqualValues(t, 0x77_0000, e[3])
		n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
		n.requireEvent(dma(emu.Write), smmuv3.FaultS2Permission) // the IOTLB does not tell which stage denies
		n.leaf(iova, 1<<48-0x1000, s1RW)
		n.submit(command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid}), sync())
		n.set(n.ste(dev), field{spec.SteS2T0SZ, 20})
		n.submit(cfgiSTE(dev, 1), sync())
		e = n.requireEvent(dma(emu.Write), smmuv3.FaultS2Range)
		require.EqualValues(t, 1<<48-0x1000, e[3])
	})
	t.Run("stage 1 denies first", func(t *testing.T) {
		n := newNested(t)
		n.leaf(iova, 0x77_0000, s1RW|ro) // stage 2 does not map it
		e := n.requireEvent(dma(emu.Write), smmuv3.FaultS1Permission)
		require.False(t, spec.EvtS2.On(e[1]))
		at := n.leaf(iova, 0x77_0000, s1RW)
		n.BusError(at+distance, 8)
		e = n.requireEvent(dma(emu.Write), smmuv3.FaultS1Fetch)
		require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvWalkEABT, spec.EvtClass.Put(spec.ClassTT), iova, uint64(at) + distance}, e)
	})
}

func TestS2PTWKeepsStructuresOutOfDeviceMemory(t *testing.T) {
	for _, cached := range []bool{true, false} {
		n := newNested(t, func(c *smmuv3.Config) {
			if !cached {
				noCaches(c)
			}
		})
		n.set(n.ste(dev), field{spec.SteS2PTW, 1})
		at := n.leaf(iova, 0x77_0000, s1RW)
		n.mapPage(n.s2, 0x77_0000, 0x99_0000, page|3<<6) // the data may be in device memory
		n.RequireOK(n.Do(dma(emu.Write)), 0x99_0000)
		n.mapPage(n.s2, uint64(at)&^0xfff, uint64(at)&^0xfff+distance, page|3<<6)
		n.submit(command(spec.CmdTlbiS12VMAll, field{spec.CmdVMID, vmid}), sync())
		for range 2 {
			e := n.requireEvent(dma(emu.Write), smmuv3.FaultS2Device)
			require.Equal(t, spec.EvtS2.Mask()|spec.EvtClass.Put(spec.ClassTT)|spec.EvtTTRnW.Mask(), e[1])
		}
	}
}

// Two levels of CDs behind stage 2.
func TestNestedTwoLevelCDs(t *testing.T) {
	n := newNested(t)
	l1, leaf := n.stage1Page(), n.stage1Page()
	const index = 0x83
	n.set(n.ste(dev), field{spec.SteS1Context, uint64(l1) >> 6}, field{spec.SteS1CDMax, 12}, field{spec.SteS1Fmt, spec.S1Fmt4K})
	n.Put(l1+distance+index>>6*8, uint64(leaf)|1)
	w := words(cdFields(n.root)...)
	n.Put(leaf+distance+index&63*spec.CDSize, w[:]...)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	n.RequireOK(n.Do(emutest.DMA(dev, index, iova, emu.Read)), 0x99_0000)
}

func TestSMMUQuirk18_AddressBeyondTheInputSize(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.OAS = 4 }).enable() // 44 bits
	r.attach2(dev, field{spec.SteS2T0SZ, 20}, field{spec.SteS2R, 0})
	e := r.requireEvent(emutest.DMA(dev, emu.NoPASID, 1<<44, emu.Write), smmuv3.FaultInput)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvAddrSize, spec.EvtClass.Put(spec.ClassIN), 1 << 44}, e)
	r.requireSilent(emutest.DMA(dev, emu.NoPASID, 1<<44-0x1000, emu.Write), smmuv3.FaultS2Translation)
}

func TestSMMUQuirk19_AddressBeyondTheOutputSizeWhileOffIsSilent(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.OAS = 4 }).queues()
	r.requireSilent(emutest.DMA(dev, 7, 1<<44, emu.Write), smmuv3.FaultBypassSize)
	r.RequireOK(r.Do(emutest.DMA(dev, 7, 1<<44-64, emu.Write)), 1<<44-64)
}
