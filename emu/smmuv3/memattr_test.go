package smmuv3_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// cacheable is half an attribute of normal memory as 13.1.1 has it.
type cacheable struct {
	kind       int // 0 WB, 1 WT, 2 NC: the larger is the stronger
	ra, wa, tr bool
}

// memory is an attribute as 13.1.1 has it, and not as any table packs it.
type memory struct {
	device       int // 0 none, 1 GRE, 2 nGRE, 3 nGnRE, 4 nGnRnE: the larger is the stronger
	inner, outer cacheable
	sh           int // 0 NSH, 1 ISH, 2 OSH: the larger is the stronger
}

var usual = memory{inner: cacheable{ra: true, wa: true}, outer: cacheable{ra: true, wa: true}} // 13.1.3

func shOf(v uint64) int { return [4]int{0, 0, 2, 1}[v] }

// ofMAIR decodes an attribute by the table of MAIR_EL1 (DDI 0487 D23.2) and that of reserved ones in 5.4.
func ofMAIR(m uint8, sh uint64) memory {
	if m < 16 {
		return memory{device: 4 - int(m>>2), sh: shOf(sh)}
	}
	half := func(n uint8) (c cacheable) {
		switch {
		case n == 0: // reserved
			return cacheable{kind: 1, ra: true, wa: true, tr: true}
		case n == 4:
			return cacheable{kind: 2}
		case n < 4, n >= 8 && n < 12:
			c.kind = 1
		}
		c.tr, c.ra, c.wa = n < 8, n&2 != 0, n&1 != 0
		return c
	}
	return memory{inner: half(m & 15), outer: half(m >> 4), sh: shOf(sh)}
}

// ofMemAttr decodes MemAttr of stage 2 without S2FWB.
func ofMemAttr(v, sh uint64) memory {
	half := func(n uint64) cacheable { return cacheable{kind: [4]int{0, 2, 1, 0}[n], ra: true, wa: true} }
	switch {
	case v < 4:
		return memory{device: 4 - int(v), sh: shOf(sh)}
	case v&3 == 0:
		return memory{device: 4, sh: shOf(sh)}
	}
	return memory{inner: half(v & 3), outer: half(v >> 2), sh: shOf(sh)}
}

// combine is combine_attrs of 13.4.4: the stronger of each.
func combine(a, b memory) memory {
	out := memory{device: max(a.device, b.device), sh: max(a.sh, b.sh)}
	half := func(x, y cacheable) cacheable {
		return cacheable{max(x.kind, y.kind), x.ra && y.ra, x.wa && y.wa, x.tr || y.tr}
	}
	out.inner, out.outer = half(a.inner, b.inner), half(a.outer, b.outer)
	return out
}

// combineFWB is combine_attrs_fwb: DDI 0487 on HCR_EL2.FWB.
func combineFWB(a memory, v, sh uint64) memory {
	out := a
	out.sh = max(a.sh, shOf(sh))
	force := func(c cacheable) cacheable {
		if a.device != 0 || c.kind == 2 {
			return cacheable{ra: true, wa: true}
		}
		c.kind = 0
		return c
	}
	switch {
	case v&4 == 0:
		out.device = max(a.device, 4-int(v&3))
	case v&3 == 2:
		out.device, out.inner, out.outer = 0, force(a.inner), force(a.outer)
	case v&3 == 3:
	case a.device == 0:
		out.inner.kind, out.outer.kind = 2, 2
	}
	return out
}

// override is replace_attrs.
func override(a memory, mtcfg bool, memAttr, alloc, sh uint64) memory {
	if mtcfg {
		m := ofMemAttr(memAttr, 0)
		m.sh = a.sh
		a = m
	}
	if alloc&8 != 0 {
		for _, c := range []*cacheable{&a.inner, &a.outer} {
			c.ra, c.wa, c.tr = alloc&4 != 0, alloc&2 != 0, alloc&1 != 0
		}
	}
	if sh != spec.ShCfgIncoming {
		a.sh = shOf(sh)
	}
	return a
}

// stage1 is what 13.4.2 says of what comes in and of the descriptor: hints of cacheable memory are combined.
func (in memory) stage1(d memory) memory {
	half := func(x, y cacheable) cacheable {
		if in.device != 0 || x.kind == 2 {
			return y
		}
		return cacheable{y.kind, x.ra && y.ra, x.wa && y.wa, x.tr || y.tr}
	}
	if d.device == 0 {
		d.inner, d.outer = half(in.inner, d.inner), half(in.outer, d.outer)
	}
	return d
}

// text writes consistent attributes, 13.1.7.
func (a memory) text() string {
	if a.device != 0 {
		return "Device-" + []string{"", "GRE", "nGRE", "nGnRE", "nGnRnE"}[a.device]
	}
	if a.inner.kind == 2 && a.outer.kind == 2 {
		return "Normal-iNC-oNC"
	}
	half := func(c cacheable) string {
		if c.kind == 2 {
			return "NC"
		}
		n := func(on bool, s string) string {
			if on {
				return s
			}
			return "n" + s
		}
		return []string{"WB", "WT"}[c.kind] + "/" + n(c.ra, "RA") + n(c.wa, "WA") + n(c.tr && (c.ra || c.wa), "TR")
	}
	return fmt.Sprintf("Normal-i%s-o%s-%s", half(a.inner), half(a.outer), []string{"NSH", "ISH", "OSH"}[a.sh])
}

// attr makes an access and returns its attributes in words. Where it is hit, Lookup says the same.
func (r *rig) attr(q emu.Request) string {
	r.T.Helper()
	res := r.Do(q)
	require.Equal(r.T, emu.OK, res.Status, "fault %#x", res.Fault.Code)
	a := spec.MemAttr(res.Attr)
	if a.Device() || a.MAIR() == spec.NormalNC {
		require.EqualValues(r.T, spec.ShOuter, a.SH(), "device and non-cacheable memory is outer shareable")
	}
	require.Equal(r.T, a.String(), r.u.AttrName(res.Attr))
	var hit emu.Result
	if r.u.Lookup(&q, &hit) {
		require.Equal(r.T, res.Attr, hit.Attr, "Lookup")
	}
	return a.String()
}

// Table 13.5 and the pseudocode of 13.4.4, over all configurations at random: bypass, each stage, both, with and
// without S2FWB, with overrides; walked and cached.
func TestMemoryAttributes(t *testing.T) {
	const ipa = uint64(0x77_0000)
	for _, caches := range []change{func(*smmuv3.Config) {}, noCaches} {
		seen := map[string]bool{}
		for seed := range uint64(700) {
			rng := rand.New(rand.NewPCG(seed, 3))
			ovr := rng.IntN(2) == 0
			n := newNested(t, withATOS, caches, func(c *smmuv3.Config) { c.AttrTypesOvr = ovr })
			config := []uint64{spec.ConfigBypass, spec.ConfigS1, spec.ConfigS2, spec.ConfigNested, spec.ConfigNested}[rng.IntN(5)]
			mair, index := rng.Uint64(), rng.Uint64N(8)
			if rng.IntN(2) == 0 { // what real software uses
				mair = mair&^(0xff<<(8*index)) | []uint64{0xff, 0x44, 0x04, 0xf4, 0xbb, 0}[rng.IntN(6)]<<(8*index)
			}
			sh1, sh2 := []uint64{0, 2, 3}[rng.IntN(3)], []uint64{0, 2, 3}[rng.IntN(3)]
			m2, fwb := rng.Uint64N(16), rng.Uint64N(2)
			if fwb == 1 {
				m2 &= 7
			}
			mtcfg, memAttr, alloc, shcfg := rng.Uint64N(2), rng.Uint64N(16), rng.Uint64N(16), rng.Uint64N(4)
			n.set(n.ste(dev), field{spec.SteConfig, config}, field{spec.SteS2FWB, fwb}, field{spec.SteMTCFG, mtcfg}, field{spec.SteMemAttr, memAttr},
				field{spec.SteALLOCCFG, alloc}, field{spec.SteSHCFG, shcfg})
			leaf1, cd, at := s1RW&^(7<<2)|index<<2|sh1<<8, n.cd+distance, iova
			if config == spec.ConfigS1 {
				cd = n.Page()
				root := n.Page()
				w := words(append(cdFields(root), field{spec.CdASID, asid + 1})...)
				n.Put(cd, w[:]...)
				n.set(n.ste(dev), field{spec.SteS1Context, uint64(cd) >> 6})
				n.mapPage(root, iova, 0x5000, leaf1)
			} else {
				n.leaf(iova, ipa, leaf1)
			}
			n.set(cd, field{spec.CdMAIR0, mair & 0xffff_ffff}, field{spec.CdMAIR1, mair >> 32})
			n.mapPage(n.s2, ipa, 0x99_0000, s2RW&^(15<<2)|m2<<2|sh2<<8)
			want := usual
			if ovr {
				want = override(want, mtcfg == 1, memAttr, alloc, shcfg)
			}
			par := usual // which no override changes
			if config&1 != 0 && config != spec.ConfigBypass {
				d := ofMAIR(uint8(mair>>(8*index)), sh1)
				want, par = want.stage1(d), par.stage1(d)
			}
			if config == spec.ConfigS2 {
				at = ipa
			}
			if config&2 != 0 {
				if fwb == 1 {
					want, par = combineFWB(want, m2, sh2), combineFWB(par, m2, sh2)
				} else {
					d := ofMemAttr(m2, sh2)
					want, par = combine(want, d), combine(par, d)
				}
			}
			name := fmt.Sprintf("seed %d: config %d, MAIR %#x SH %d, MemAttr %#x SH %d FWB %d, overrides %v %d %#x %#x %d", seed, config, uint8(mair>>(8*index)), sh1, m2, sh2, fwb,
				ovr, mtcfg, memAttr, alloc, shcfg)
			q := emutest.DMA(dev, emu.NoPASID, at, emu.Read)
			for range 2 {
				require.Equal(t, want.text(), n.attr(q), name)
			}
			seen[want.text()] = true
			if config != spec.ConfigBypass {
				got := gatos.run(n.rig, dev, emu.NoPASID, at, config&3, atosRead)
				require.Equal(t, par.text(), spec.MakeMemAttr(uint8(got>>56), got>>8&3).String(), "ATOS, %s", name)
			}
		}
		require.Greater(t, len(seen), 60)
	}
}

// 13.1.5.1: the examples of the specification.
func TestMemoryAttributes_ExamplesOfCombining(t *testing.T) {
	for _, c := range []struct {
		mair uint8
		sh   uint64
		s2   uint64
		sh2  uint64
		want string
	}{
		{0x4f, spec.ShInner, 1, 0, "Device-nGnRE"}, // Normal-iWB-oNC-ISH with Device-nGnRE
		{0x04, 0, 0, 0, "Device-nGnRnE"},
		{0x4f, spec.ShInner, 0xa, spec.ShOuter, "Normal-iWT/RAWAnTR-oNC-OSH"},
		{0xff, spec.ShInner, 0xf, 0, "Normal-iWB/RAWAnTR-oWB/RAWAnTR-ISH"},
		{0xff, spec.ShInner, 0x5, spec.ShInner, "Normal-iNC-oNC"},
		{0x7f, 0, 0xf, 0, "Normal-iWB/RAWAnTR-oWB/RAWATR-NSH"},
	} {
		n := newNested(t)
		n.leaf(iova, 0x77_0000, s1RW|c.sh<<8)
		n.set(n.cd+distance, field{spec.CdMAIR0, uint64(c.mair)})
		n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW&^(15<<2)|c.s2<<2|c.sh2<<8)
		require.Equal(t, c.want, n.attr(dma(emu.Write)))
	}
}

// GBPA gives the attributes of what passes while translation is off, 13.2. Without IDR1.ATTR_TYPES_OVR they are
// those of the transaction.
func TestMemoryAttributes_GBPA(t *testing.T) {
	for _, ovr := range []bool{true, false} {
		r := newRig(t, func(c *smmuv3.Config) { c.AttrTypesOvr = ovr }).queues()
		require.Equal(t, usual.text(), r.attr(dma(emu.Read)), "after reset")
		for range 200 {
			mtcfg, memAttr, alloc, sh := rand.Uint64N(2), rand.Uint64N(16), rand.Uint64N(16), rand.Uint64N(4)
			r.W32(spec.OffGBPA, spec.GbpaUPDATE.Mask()|spec.GbpaMTCFG.Put(mtcfg)|spec.GbpaMemAttr.Put(memAttr)|spec.GbpaALLOCCFG.Put(alloc)|spec.GbpaSHCFG.Put(sh))
			want := usual
			if ovr {
				want = override(want, mtcfg == 1, memAttr, alloc, sh)
			}
			require.Equal(t, want.text(), r.attr(dma(emu.Read)))
		}
	}
}

// With 52-bit descriptors of 4K and 16K granules shareability is that of the tables: CD.SH0, CD.SH1, S2SH0.
func TestMemoryAttributes_ShareabilityWithDS(t *testing.T) {
	wide := func(c *smmuv3.Config) { c.OAS, c.VAX, c.DS = spec.OAS52, spec.VAX52, true }
	for _, sh := range []uint64{0, 2, 3} {
		want := usual
		want.sh = shOf(sh)
		r := newRig(t, wide).enable()
		root := r.Page()
		r.attach(dev, field{spec.CdDS, 1}, field{spec.CdSH0, sh}, field{spec.CdSH1, sh ^ 1}, field{spec.CdMAIR0, 0xff}, field{spec.CdTTB0, uint64(root) >> 4})
		r.mapPage(root, iova, 0x5000, s1RW)
		require.Equal(t, want.text(), r.attr(dma(emu.Read)))
		root = r.attach2(other, field{spec.SteS2DS, 1}, field{spec.SteS2SH0, sh})
		r.mapPage(root, iova, 0x5000, s2RW)
		require.Equal(t, want.text(), r.attr(emutest.DMA(other, emu.NoPASID, iova, emu.Read)))
	}
}

// More values of MAIR than a unit keeps for cached CDs: the attributes stay right, those CDs are read each time.
func TestMemoryAttributes_ManyMAIRs(t *testing.T) {
	r := newRig(t).enable()
	const streams = 80
	for round := range 3 {
		for s := range emu.SourceID(streams) {
			mair := uint64(s + 16)
			if round == 0 {
				_, root := r.attach(s, field{spec.CdMAIR0, mair}, field{spec.CdASID, uint64(s) + 1})
				r.mapPage(root, iova, 0x5000, s1RW)
			}
			require.Equal(t, ofMAIR(uint8(mair), 0).text(), r.attr(emutest.DMA(s, emu.NoPASID, iova, emu.Read)), "stream %d", s)
			r.submit(tlbiVA(spec.CmdTlbiNHVA, iova, field{spec.CmdASID, uint64(s) + 1}))
		}
	}
	before := r.u.Cache(emu.CachePASID).Stats()
	r.attr(emutest.DMA(streams-1, emu.NoPASID, iova, emu.Read))
	after := r.u.Cache(emu.CachePASID).Stats()
	require.Equal(t, before.Hits, after.Hits, "not cached")
}

// The text is in the notation of 13.1.1.
func TestMemAttr_String(t *testing.T) {
	require.Equal(t, "-", spec.MemAttr(0).String())
	require.Equal(t, "Device-nGRE", spec.MakeMemAttr(8, spec.ShOuter).String())
	require.Equal(t, "Normal-iWB/RAnWATR-oNC-ISH", spec.MakeMemAttr(0x46, spec.ShInner).String())
}
