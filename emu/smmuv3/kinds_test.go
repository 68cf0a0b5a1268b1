package smmuv3_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// kindCase is a leaf of stage 1: its granule, its level as Arm counts, and whether it is one of a run.
type kindCase struct {
	g      spec.Granule
	arm    int8
	contig bool
	ds     bool // a block of 52-bit descriptors only
}

var kindCases = []kindCase{
	{spec.Granule4K, 3, false, false}, {spec.Granule4K, 3, true, false}, {spec.Granule4K, 2, false, false}, {spec.Granule4K, 2, true, false},
	{spec.Granule4K, 1, false, false}, {spec.Granule16K, 3, false, false}, {spec.Granule16K, 3, true, false}, {spec.Granule16K, 2, false, false},
	{spec.Granule16K, 2, true, false}, {spec.Granule64K, 3, false, false}, {spec.Granule64K, 3, true, false}, {spec.Granule64K, 2, false, false},
	{spec.Granule4K, 0, false, true}, {spec.Granule16K, 1, false, true}, {spec.Granule64K, 1, false, true},
}

// build maps where by a leaf of the case for dev and returns where the descriptor is.
func (c *kindCase) build(t *testing.T) (r *rig, at emu.PA) {
	r = newRig(t, func(x *smmuv3.Config) {
		if c.ds {
			x.OAS, x.VAX, x.DS, x.Minor = spec.OAS52, spec.VAX52, true, 4
		}
	}).enable()
	root := r.aligned(1 << c.g)
	code, _ := c.g.TG0()
	ds := uint64(0)
	if c.ds {
		ds = 1
	}
	w := words(append(cdFields(root), field{spec.CdTG0, code}, field{spec.CdDS, ds}, field{spec.CdIPS, 5 + ds})...)
	cd := r.Page()
	r.Put(cd, w[:]...)
	r.bind(dev, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(cd) >> 6})
	top := map[spec.Granule]int8{spec.Granule4K: 3, spec.Granule16K: 3, spec.Granule64K: 2}[c.g]
	return r, r.descriptor(c.g, root, top, where, spec.Level(c.arm))
}

// where is aligned to all that a leaf may cover but for the largest.
const where = uint64(1) << 42

// set points the leaf to the n-th output.
func (c *kindCase) set(r *rig, at emu.PA, n uint64) (pa uint64) {
	pa = n << c.g.Shift(spec.Level(c.arm)) << c.g.Contig(spec.Level(c.arm))
	if c.ds {
		pa = n << 42
	}
	e := pa | block | user | ng
	if c.arm == 3 {
		e |= page
	}
	if c.contig {
		e |= spec.TtdContig.Mask()
	}
	r.Put(at, e)
	return pa
}

func tg(c, ttl, num uint64) []field {
	return []field{{spec.TlbiTG, c}, {spec.TlbiTTL, ttl}, {spec.TlbiNum, num}}
}

// What an invalidation names by granule and level goes, what it does not name stays (4.4.1).
func TestSMMUQuirk46_OnlyTheLevelAndGranuleNamed(t *testing.T) {
	for _, c := range kindCases {
		code, _ := c.g.TLBI()
		for g := range uint64(4) {
			for ttl := range uint64(4) {
				name := fmt.Sprintf("%+v TG %d TTL %d", c, g, ttl)
				r, at := c.build(t)
				before := c.set(r, at, 1)
				q := emutest.DMA(dev, emu.NoPASID, where, emu.Read)
				r.RequireOK(r.Do(q), before)
				after := c.set(r, at, 2)
				r.submit(tlbiVA(spec.CmdTlbiNHVA, where, append(tg(g, ttl, 1), field{spec.CmdLeaf, 1})...), sync())
				level := ttl
				if g == spec.TlbiTG16K && ttl == 1 && !c.ds {
					level = 0
				}
				want := before
				if g == 0 || g == code && (level == 0 || level == uint64(c.arm)) {
					want = after
				}
				require.EqualValues(t, want, r.Do(q).PA, name)
			}
		}
	}
}

// cachedTables returns the sizes of the regions below cached table descriptors, by which cache has them.
func (r *rig) cachedTables(id emu.CacheID) (list []uint8) {
	r.u.Cache(id).(*iotlb.Walk).Entries(func(_ emu.Key, lg2 uint8, _ [4]uint64) bool {
		list = append(list, lg2)
		return true
	})
	return list
}

// With Leaf=0 table descriptors go too: those above the level that TTL names.
func TestTablesAboveTheLevelNamed(t *testing.T) {
	for _, c := range []struct {
		fields []field
		want   []uint8
	}{
		{nil, nil}, {tg(1, 3, 0), nil}, {tg(1, 2, 0), []uint8{21}}, {tg(1, 1, 0), []uint8{21, 30}}, {tg(1, 0, 1), nil},
		{tg(2, 3, 0), []uint8{21, 30, 39}}, {tg(3, 0, 1), []uint8{21, 30, 39}},
		{append(tg(1, 3, 0), field{spec.CmdLeaf, 1}), []uint8{21, 30, 39}},
	} {
		r := newRig(t).enable()
		_, root := r.attach(dev)
		r.mapPage(root, where, 0x5000, s1RW)
		r.RequireOK(r.Access(dev, where, emu.Read), 0x5000)
		require.Equal(t, []uint8{21, 30, 39}, r.cachedTables(emu.CacheWalk))
		r.submit(tlbiVA(spec.CmdTlbiNHVA, where, c.fields...), sync())
		require.Equal(t, c.want, r.cachedTables(emu.CacheWalk), "%v", c.fields)
	}
}

// What both stages made together goes by granule and level of stage 1, whatever its size; what stage 2 made by
// itself by those of stage 2.
func TestKindsOfNestedTranslations(t *testing.T) {
	const va, ipa = uint64(0x4000_0000), uint64(0x8000_0000)
	for ttl, gone := range map[uint64]bool{1: false, 2: true, 3: false} {
		n := newNested(t)
		leaf := n.leaf(va, 0, 0) // makes the tables
		n.Put(leaf+distance, 0)
		at := emu.PA(n.Get(n.root+distance+emu.PA(va>>39&511*8))&spec.TtdAddr.Mask()) + distance
		at = emu.PA(n.Get(at+emu.PA(va>>30&511*8))&spec.TtdAddr.Mask()) + distance + emu.PA(va>>21&511*8)
		n.Put(at, ipa|block|user|ng)
		s2 := n.mapPage(n.s2, ipa, 0x5000, s2RW)
		q := emutest.DMA(dev, emu.NoPASID, va, emu.Read)
		res := n.Do(q)
		n.RequireOK(res, 0x5000)
		require.EqualValues(t, 12, res.Lg2, "a part of the block")
		n.Put(s2, 0x6000|s2RW)
		// Level 3 is that of stage 2's page.
		n.submit(command(spec.CmdTlbiS2IPA, append(tg(1, 3, 0), field{spec.CmdVMID, vmid}, field{spec.CmdIPA, ipa >> 12}, field{spec.CmdLeaf, 1})...), sync())
		n.RequireOK(n.Do(q), 0x5000)
		n.submit(tlbiVA(spec.CmdTlbiNHVA, va, append(tg(1, ttl, 0), field{spec.CmdLeaf, 1})...), sync())
		want := uint64(0x5000)
		if gone {
			want = 0x6000
		}
		n.RequireOK(n.Do(q), want)
	}
}

// Stage 2 alone, in the IOTLB and in the cache of intermediate addresses.
func TestKindsOfStage2(t *testing.T) {
	for ttl, gone := range map[uint64]bool{1: false, 2: false, 3: true} {
		r := newRig(t).enable()
		root := r.attach2(dev)
		at := r.mapPage(root, iova, 0x5000, s2RW)
		r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
		r.Put(at, 0x6000|s2RW)
		w := iova &^ (1<<spec.Granule4K.Shift(spec.Level(int8(ttl))) - 1)
		cmd := command(spec.CmdTlbiS2IPA, append(tg(1, ttl, 31), field{spec.TlbiScale, 15}, field{spec.CmdVMID, vmid}, field{spec.CmdIPA, w >> 12})...)
		r.submit(cmd, sync())
		want := uint64(0x5000)
		if gone {
			want = 0x6000
		}
		r.RequireOK(r.Do(dma(emu.Read)), want)

		n := newNested(t)
		n.leaf(iova, 0x77_0000, s1RW)
		n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
		n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
		entries := func() int { return n.u.Cache(emu.CacheStage2).(*iotlb.Cache).Len() }
		had := entries()
		require.NotZero(t, had)
		all := command(spec.CmdTlbiS2IPA, append(tg(1, ttl, 31), field{spec.TlbiScale, 31}, field{spec.CmdVMID, vmid})...)
		n.submit(all, sync())
		require.Equal(t, gone, entries() == 0)
		require.True(t, gone || entries() == had)
	}
}

// A range whose address does not fit its level or granule is unpredictable: here nothing goes.
func TestMisalignedRanges(t *testing.T) {
	for _, c := range []struct {
		tg, ttl, addr uint64
		goes          bool
	}{
		{1, 3, 0x1000, true}, {1, 2, 0x1000, false}, {1, 1, 0x20_0000, false}, {1, 0, 0x1000, true},
	} {
		r := newRig(t).enable()
		_, root := r.attach(dev)
		at := r.mapPage(root, where|c.addr, 0x5000, s1RW)
		q := emutest.DMA(dev, emu.NoPASID, where|c.addr, emu.Read)
		r.RequireOK(r.Do(q), 0x5000)
		r.Put(at, 0x6000|s1RW)
		r.submit(tlbiVA(spec.CmdTlbiNHVA, where|c.addr, append(tg(c.tg, c.ttl, 1), field{spec.TlbiScale, 20})...), sync())
		require.Equal(t, c.goes, r.Do(q).PA == 0x6000, "%+v", c)
	}
	for g, lg2 := range map[spec.Granule]uint8{spec.Granule16K: 14, spec.Granule64K: 16} {
		for _, off := range []uint64{0, 0x1000} {
			c := kindCase{g: g, arm: 3}
			r, at := c.build(t)
			q := emutest.DMA(dev, emu.NoPASID, where, emu.Read)
			before := c.set(r, at, 1)
			r.RequireOK(r.Do(q), before)
			after := c.set(r, at, 2)
			code, _ := g.TLBI()
			r.submit(tlbiVA(spec.CmdTlbiNHVA, where-1<<lg2+off, tg(code, 3, 3)...), sync())
			require.Equal(t, off == 0, uint64(r.Do(q).PA) == after)
		}
	}
}

// Without range invalidation the fields are not looked at.
func TestTTLWithoutRIL(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.RIL = false }).enable()
	_, root := r.attach(dev)
	at := r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.Put(at, 0x6000|s1RW)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova, tg(3, 1, 0)...), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x6000)
}

// A block of stage 1 that stage 2 has in pages is cached page by page, and goes as a whole.
func TestNestedBlock_AllPiecesGo(t *testing.T) {
	const ipa = 0x20_0000
	for _, c := range []struct {
		name string
		cmd  [2]uint64
		gone bool
	}{
		{"one address", tlbiVA(spec.CmdTlbiNHVA, iova), true},
		{"one address, all ASIDs", tlbiVA(spec.CmdTlbiNHVAA, iova), true},
		{"range of one page, any level", tlbiVA(spec.CmdTlbiNHVA, iova, field{spec.TlbiTG, 1}, field{spec.TlbiNum, 1}), true},
		{"pages only", tlbiVA(spec.CmdTlbiNHVA, iova, field{spec.TlbiTG, 1}, field{spec.TlbiTTL, 3}), false},
		{"another granule", tlbiVA(spec.CmdTlbiNHVA, iova&^0x3fff, field{spec.TlbiTG, 2}, field{spec.TlbiNum, 1}), false},
		{"the block beside it", tlbiVA(spec.CmdTlbiNHVA, iova^0x20_0000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNested(t)
			n.leaf(iova, ipa, s1RW)
			// One level further up: a block of 2 MiB, with the rights of the page.
			top := n.root
			for l := int8(3); l > 1; l-- {
				top = emu.PA(n.Get(top+emu.PA(iova>>spec.Granule4K.Shift(l)&511*8)+distance) & spec.TtdAddr.Mask())
			}
			at := top + emu.PA(iova>>21&511*8)
			n.Put(at+distance, ipa|s1RW&^2)
			n.submit(command(spec.CmdTlbiNSNHAll), sync())
			off := uint64(iova) & 0x1f_f000
			mine, other := dma(emu.Read), dma(emu.Read)
			mine.Addr = emu.IOVA(iova) &^ 0xfff
			other.Addr = mine.Addr ^ 0x5000
			for i, q := range []emu.Request{mine, other} {
				o := off ^ uint64(i)*0x5000
				n.mapPage(n.s2, ipa+o, 0x99_0000+uint64(i)<<12, s2RW)
				n.RequireOK(n.Do(q), 0x99_0000+uint64(i)<<12)
			}
			n.Put(at+distance, 0) // the block goes
			n.submit(c.cmd, sync())
			for _, q := range []emu.Request{mine, other} {
				res := n.Do(q)
				if c.gone {
					n.RequireFault(res, smmuv3.FaultS1Translation)
				}
			}
			if !c.gone {
				n.RequireOK(n.Do(other), 0x99_1000)
			}
		})
	}
}
