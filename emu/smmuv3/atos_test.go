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

func withATOS(c *smmuv3.Config) { c.ATOS, c.VATOS = true, true }

// atosRegs are the registers of an interface.
type atosRegs struct{ ctrl, sid, addr, par uint32 }

var (
	gatos = atosRegs{spec.OffGATOSCtrl, spec.OffGATOSSID, spec.OffGATOSAddr, spec.OffGATOSPAR}
	vatos = atosRegs{spec.OffVATOSCtrl, spec.OffVATOSSID, spec.OffVATOSAddr, spec.OffVATOSPAR}
)

// asks puts a request into the registers. The flags are those of ATOS_ADDR.
func (a atosRegs) asks(r *rig, s emu.SourceID, p emu.PASID, addr, kind uint64, flags uint64) {
	sid := uint64(s)
	if p != emu.NoPASID {
		sid |= spec.AtosSSIDValid.Mask() | spec.AtosSubstreamID.Put(uint64(p))
	}
	r.W64(a.sid, sid)
	r.W64(a.addr, addr&^0xfff|spec.AtosTYPE.Put(kind)|flags)
}

// run asks for a translation and returns what ATOS_PAR says. Nothing may have been recorded.
func (a atosRegs) run(r *rig, s emu.SourceID, p emu.PASID, addr, kind uint64, flags ...uint64) uint64 {
	r.T.Helper()
	var all uint64
	for _, f := range flags {
		all |= f
	}
	a.asks(r, s, p, addr, kind, all)
	r.W32(a.ctrl, 1)
	require.Zero(r.T, r.R32(a.ctrl), "RUN")
	require.Empty(r.T, r.drain(), "events")
	return r.R64(a.par)
}

const (
	atosRead  = 1 << 8
	atosWrite = 0
	atosPriv  = 1 << 9
	atosInst  = 1 << 7
	atosHTTUI = 1 << 6
)

// parOK is a result without a fault.
func parOK(page uint64, lg2 uint8, attr, sh uint64) uint64 {
	v := page | sh<<8 | attr<<56
	if lg2 > 12 {
		v |= 1<<11 | 1<<(lg2-1)
	}
	return v
}

func parFault(reason, code, faddr uint64) uint64 { return 1 | reason<<1 | code<<4 | faddr&^0xfff }

// The size of a translation is the lowest bit that is set in ADDR, 6.3.40.
func TestATOS_SizeOfBlocks(t *testing.T) {
	for _, g := range granuleCases {
		for level := int8(0); level < 3; level++ {
			for _, run := range []bool{false, true} {
				lg2, bits := g.g.Shift(level), s1RW
				if level > 0 {
					bits = block | user | ng
				}
				if level == 2 && g.g != spec.Granule4K { // no blocks of this size
					continue
				}
				if run {
					lg2 += g.g.Contig(level)
					bits |= spec.TtdContig.Mask()
				}
				r := newRig(t, withATOS).enable()
				_, root := r.attach(dev, field{spec.CdTG0, g.tg0})
				from := int8((47 - uint8(g.g)) / g.g.Stride())
				const addr = uint64(0x1234_5678_9000)
				out := uint64(0x4321_0000_0000) &^ (1<<lg2 - 1)
				at := addr & (1<<lg2 - 1) &^ (1<<g.g.Shift(level) - 1) // place in the run
				r.Put(r.descriptor(g.g, root, from, addr, level), out|at|bits)
				for range 2 { // walked and cached
					require.Equal(t, parOK(out, lg2, 0, spec.ShOuter), gatos.run(r, dev, emu.NoPASID, addr, spec.AtosS1, atosRead), "%dK level %d run %v", 1<<(g.g-10), level, run)
				}
			}
		}
	}
}

// Which stages are answered for which configuration, and what for what is not configured, 9.1.3.
func TestATOS_TypesOfRequests(t *testing.T) {
	n := newNested(t, withATOS)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	_, root := n.attach(other, field{spec.CdASID, asid + 1})
	n.mapPage(root, iova, 0x5000, s1RW)
	const third, off, pass = emu.SourceID(5), emu.SourceID(6), emu.SourceID(7)
	n.mapPage(n.attach2(third, field{spec.SteS2VMID, vmid + 2}), iova, 0x6000, s2RW)
	n.bind(off, field{spec.SteConfig, 1})
	n.bind(pass, field{spec.SteConfig, spec.ConfigBypass})
	n.set(n.ste(8), field{spec.SteV, 0})
	req, stage := parFault(0, spec.AtosInvReq, 0), parFault(0, spec.AtosInvStage, 0)
	dev0 := parOK(0x77_0000, 12, 0, spec.ShOuter)
	for _, c := range []struct {
		s    emu.SourceID
		addr uint64
		want [4]uint64 // by TYPE
	}{
		{dev, iova, [4]uint64{req, dev0, parFault(3, spec.EvTranslation, 0), parOK(0x99_0000, 12, 0, spec.ShOuter)}},
		{dev, 0x77_0000, [4]uint64{req, parFault(0, spec.EvTranslation, 0), parOK(0x99_0000, 12, 0xff, 0), parFault(0, spec.EvTranslation, 0)}},
		{other, iova, [4]uint64{req, parOK(0x5000, 12, 0, spec.ShOuter), stage, stage}},
		{third, iova, [4]uint64{req, stage, parOK(0x6000, 12, 0xff, 0), stage}},
		{off, iova, [4]uint64{req, stage, stage, stage}},
		{pass, iova, [4]uint64{req, stage, stage, stage}},
		{8, iova, [4]uint64{req, parFault(0, spec.EvBadSTE, 0), parFault(3, spec.EvBadSTE, 0), parFault(0, spec.EvBadSTE, 0)}},
		{1 << streamBits, iova, [4]uint64{req, parFault(0, spec.EvBadStreamID, 0), parFault(3, spec.EvBadStreamID, 0), parFault(0, spec.EvBadStreamID, 0)}},
	} {
		for range 2 {
			for kind, want := range c.want {
				require.Equal(t, want, gatos.run(n.rig, c.s, emu.NoPASID, c.addr, uint64(kind), atosRead), "stream %#x TYPE %d", c.s, kind)
			}
		}
	}
	// A SubstreamID with stage 2 alone is malformed, whatever the stream.
	require.Equal(t, req, gatos.run(n.rig, dev, 1, iova, spec.AtosS2, atosRead))
	// What the unit lacks is malformed.
	for _, c := range []struct {
		change change
		want   [4]uint64
	}{
		{func(c *smmuv3.Config) { c.S2P, c.HYP, c.XNX, c.FWB, c.VATOS = false, false, false, false, false }, [4]uint64{req, stage, req, req}},
		{func(c *smmuv3.Config) { c.S1P, c.HYP, c.SSIDSIZE, c.CD2L, c.VATOS = false, false, 0, false, false }, [4]uint64{req, req, stage, req}},
	} {
		r := newRig(t, withATOS, c.change).enable()
		r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
		for kind, want := range c.want {
			require.Equal(t, want, gatos.run(r, dev, emu.NoPASID, iova, uint64(kind)))
		}
	}
}

// REASON, FAULTCODE and FADDR of each class of fault, 9.1.4.
func TestATOS_Faults(t *testing.T) {
	f := spec.EvTranslation
	for _, c := range []struct {
		name   string
		change func(n *nested, leaf, leaf2 emu.PA)
		want   [4]uint64 // by TYPE; of TYPE 2 with the intermediate address
	}{
		{"stage 1 invalid", func(n *nested, l, _ emu.PA) { n.Put(l+distance, 0) }, [4]uint64{0, parFault(0, uint64(f), 0), 1, parFault(0, uint64(f), 0)}},
		{"stage 1 access flag", func(n *nested, l, _ emu.PA) { n.set(l+distance, field{spec.TtdAF, 0}) },
			[4]uint64{0, parFault(0, spec.EvAccess, 0), 1, parFault(0, spec.EvAccess, 0)}},
		{"stage 1 rights", func(n *nested, l, _ emu.PA) { n.set(l+distance, field{spec.S1AP2, 1}) },
			[4]uint64{0, parFault(0, spec.EvPermission, 0), 1, parFault(0, spec.EvPermission, 0)}},
		{"stage 1 output", func(n *nested, l, _ emu.PA) {
			n.set(n.cd+distance, field{spec.CdIPS, 0})
			n.Put(l+distance, 1<<33|s1RW)
		}, [4]uint64{0, parFault(0, spec.EvAddrSize, 0), 1, parFault(0, spec.EvAddrSize, 0)}},
		{"stage 1 descriptor aborts", func(n *nested, l, _ emu.PA) { n.BusError(l+distance, 8) },
			[4]uint64{0, parFault(0, spec.EvWalkEABT, 0), 1, parFault(0, spec.EvWalkEABT, 0)}},
		{"stage 2 of a descriptor", func(n *nested, l, _ emu.PA) { n.Put(n.descriptor(spec.Granule4K, n.s2, 3, uint64(l), 0), 0) },
			[4]uint64{0, parFault(0, spec.EvWalkEABT, 0), 1, parFault(2, uint64(f), 0xfff_ffff)}},
		{"stage 2 of a descriptor aborts", func(n *nested, l, _ emu.PA) { n.BusError(n.descriptor(spec.Granule4K, n.s2, 3, uint64(l), 0), 8) },
			[4]uint64{0, parFault(0, spec.EvWalkEABT, 0), 1, parFault(2, spec.EvWalkEABT, 0)}},
		{"stage 2 of the CD", func(n *nested, _, _ emu.PA) { n.Put(n.descriptor(spec.Granule4K, n.s2, 3, uint64(n.cd), 0), 0) },
			[4]uint64{0, parFault(0, spec.EvCDFetch, 0), 1, parFault(1, uint64(f), 0xffff_ffff)}},
		{"stage 2 of the CD aborts", func(n *nested, _, _ emu.PA) { n.BusError(n.descriptor(spec.Granule4K, n.s2, 3, uint64(n.cd), 0), 8) },
			[4]uint64{0, parFault(0, spec.EvCDFetch, 0), 1, parFault(1, spec.EvWalkEABT, 0)}},
		{"CD aborts", func(n *nested, _, _ emu.PA) { n.BusError(n.cd+distance, 8) },
			[4]uint64{0, parFault(0, spec.EvCDFetch, 0), 1, parFault(0, spec.EvCDFetch, 0)}},
		{"CD invalid", func(n *nested, _, _ emu.PA) { n.set(n.cd+distance, field{spec.CdV, 0}) },
			[4]uint64{0, parFault(0, spec.EvBadCD, 0), 1, parFault(0, spec.EvBadCD, 0)}},
		{"STE aborts", func(n *nested, _, _ emu.PA) { n.BusError(n.ste(dev), 8) },
			[4]uint64{0, parFault(0, spec.EvSTEFetch, 0), parFault(3, spec.EvSTEFetch, 0), parFault(0, spec.EvSTEFetch, 0)}},
		{"no SubstreamIDs", func(n *nested, _, _ emu.PA) { n.set(n.ste(dev), field{spec.SteS1CDMax, 1}) },
			[4]uint64{0, parFault(0, spec.EvStreamDisabled, 0), 1, parFault(0, spec.EvStreamDisabled, 0)}},
		{"stage 2 of the page", func(n *nested, _, l2 emu.PA) { n.Put(l2, 0) },
			[4]uint64{0, parOK(0x77_0000, 12, 0, spec.ShOuter), parFault(3, uint64(f), 0), parFault(3, uint64(f), 0x77_0000)}},
		{"stage 2 rights", func(n *nested, _, l2 emu.PA) { n.set(l2, field{spec.S2APW, 0}) },
			[4]uint64{0, parOK(0x77_0000, 12, 0, spec.ShOuter), parFault(3, spec.EvPermission, 0), parFault(3, spec.EvPermission, 0x77_0000)}},
		{"stage 2 access flag", func(n *nested, _, l2 emu.PA) { n.set(l2, field{spec.TtdAF, 0}) },
			[4]uint64{0, parOK(0x77_0000, 12, 0, spec.ShOuter), parFault(3, spec.EvAccess, 0), parFault(3, spec.EvAccess, 0x77_0000)}},
		{"stage 2 output", func(n *nested, _, l2 emu.PA) { n.Put(l2, 1<<44|s2RW); n.set(n.ste(dev), field{spec.SteS2PS, 2}) },
			[4]uint64{0, parOK(0x77_0000, 12, 0, spec.ShOuter), parFault(3, spec.EvAddrSize, 0), parFault(3, spec.EvAddrSize, 0x77_0000)}},
		{"stage 2 aborts", func(n *nested, _, l2 emu.PA) { n.BusError(l2, 8) },
			[4]uint64{0, parOK(0x77_0000, 12, 0, spec.ShOuter), parFault(3, spec.EvWalkEABT, 0), parFault(3, spec.EvWalkEABT, 0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind := uint64(spec.AtosS1); kind <= spec.AtosS12; kind++ {
				for _, cd := range []field{{spec.CdR, 0}, {spec.CdS, 1}, {spec.CdA, 0}} { // which do not count
					n := newNested(t, withATOS)
					n.set(n.cd+distance, cd)
					n.set(n.ste(dev), field{spec.SteS2S, cd.v})
					leaf := n.leaf(iova, 0x77_0000, s1RW)
					leaf2 := n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
					c.change(n, leaf, leaf2)
					want, addr := c.want[kind], iova
					if want&^1 != 0 && want>>12 == 0xffff {
						want = want&0xfff | uint64(leaf)&^0xfff
					} else if want&^1 != 0 && want>>12 == 0xfffff {
						want = want&0xfff | uint64(n.cd)
					}
					if kind == spec.AtosS2 {
						addr = 0x77_0000
						if want == 1 { // nothing to do with stage 1
							want = parOK(0x99_0000, 12, 0xff, 0)
						}
					}
					require.Equal(t, want, gatos.run(n.rig, dev, emu.NoPASID, addr, kind, atosWrite), "TYPE %d", kind)
				}
			}
		})
	}
}

// Addresses beyond what a stage takes, and stage 1 that S1DSS passes by, 9.1.3.
func TestATOS_Bypass(t *testing.T) {
	n := newNested(t, withATOS)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	n.set(n.ste(dev), field{spec.SteS1CDMax, 2}, field{spec.SteS1DSS, spec.DSSBypass})
	const far = uint64(1) << 50
	for kind, want := range map[uint64][2]uint64{
		spec.AtosS1:  {parOK(0x77_0000, 12, 0xff, 0), parFault(0, spec.EvAddrSize, 0)},
		spec.AtosS2:  {parOK(0x99_0000, 12, 0xff, 0), parFault(0, spec.EvAddrSize, 0)},
		spec.AtosS12: {parOK(0x99_0000, 12, 0xff, 0), parFault(0, spec.EvAddrSize, 0)},
	} {
		require.Equal(t, want[0], gatos.run(n.rig, dev, emu.NoPASID, 0x77_0000, kind, atosRead))
		require.Equal(t, want[1], gatos.run(n.rig, dev, emu.NoPASID, far, kind, atosRead))
	}
	require.Equal(t, parFault(3, spec.EvTranslation, 0x78_0000), gatos.run(n.rig, dev, emu.NoPASID, 0x78_0000, spec.AtosS12, atosRead))
	require.Equal(t, parFault(0, spec.EvBadSubstreamID, 0), gatos.run(n.rig, dev, 4, 0x77_0000, spec.AtosS1, atosRead))
	r := newRig(t, withATOS, func(c *smmuv3.Config) { c.GRAN4K = false }).enable()
	r.attach(dev, field{spec.CdTG0, 1})
	r.set(r.ste(dev), field{spec.SteS1CDMax, 2}, field{spec.SteS1DSS, spec.DSSBypass})
	require.Equal(t, parOK(0x77_4000, 14, 0xff, 0), gatos.run(r, dev, emu.NoPASID, 0x77_5000, spec.AtosS1, atosRead), "a page of the smallest granule")
}

// Privilege and instruction marking are those of ATOS_ADDR, whatever the STE overrides.
func TestATOS_AccessIsNotOverridden(t *testing.T) {
	r := newRig(t, withATOS).enable()
	_, root := r.attach(dev)
	r.set(r.ste(dev), field{spec.StePRIVCFG, spec.PrivPriv}, field{spec.SteINSTCFG, spec.InstInst})
	r.mapPage(root, iova, 0x5000, page|ng)                     // privileged only, with execution
	r.mapPage(root, iova+0x1000, 0x6000, page|user|ng|uxn|pxn) // no execution
	ok, no := parOK(0x5000, 12, 0, spec.ShOuter), parFault(0, spec.EvPermission, 0)
	require.Equal(t, no, gatos.run(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead))
	require.Equal(t, ok, gatos.run(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead, atosPriv))
	require.Equal(t, ok, gatos.run(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead, atosPriv, atosInst))
	ok = parOK(0x6000, 12, 0, spec.ShOuter)
	require.Equal(t, ok, gatos.run(r, dev, emu.NoPASID, iova+0x1000, spec.AtosS1, atosRead))
	require.Equal(t, no, gatos.run(r, dev, emu.NoPASID, iova+0x1000, spec.AtosS1, atosRead, atosInst))
	require.Equal(t, ok, gatos.run(r, dev, emu.NoPASID, iova+0x1000, spec.AtosS1, atosWrite, atosInst), "InD of a write is ignored")
}

// HTTUI leaves all flags as they are, and the answer is as if they had been set. Nothing is cached that would
// say they were.
func TestATOS_FlagUpdates(t *testing.T) {
	build := func(t *testing.T) (n *nested, leaf, leaf2 emu.PA) {
		n = newNested(t, withATOS)
		n.set(n.cd+distance, field{spec.CdHA, 1}, field{spec.CdHD, 1})
		n.set(n.ste(dev), field{spec.SteS2HA, 1}, field{spec.SteS2HD, 1})
		leaf = n.leaf(iova, 0x77_0000, s1RW&^af|ro|dbm)
		leaf2 = n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2Read&^af|dbm)
		return n, leaf + distance, leaf2
	}
	want := parOK(0x99_0000, 12, 0, spec.ShOuter)
	n, leaf, leaf2 := build(t)
	was, was2 := n.Get(leaf), n.Get(leaf2)
	for range 2 {
		require.Equal(t, want, gatos.run(n.rig, dev, emu.NoPASID, iova, spec.AtosS12, atosWrite, atosHTTUI))
		require.Equal(t, []uint64{was, was2}, []uint64{n.Get(leaf), n.Get(leaf2)})
	}
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	require.Equal(t, []uint64{was | af, was2 | af}, []uint64{n.Get(leaf), n.Get(leaf2)}, "the read has marked what it used")
	n, leaf, leaf2 = build(t)
	require.Equal(t, want, gatos.run(n.rig, dev, emu.NoPASID, iova, spec.AtosS12, atosWrite))
	require.Equal(t, []uint64{was&^ro | af, was2 | af | spec.S2APW.Mask()}, []uint64{n.Get(leaf), n.Get(leaf2)})
	// Stage 1 alone does not touch the page of stage 2.
	n, leaf, leaf2 = build(t)
	require.Equal(t, parOK(0x77_0000, 12, 0, spec.ShOuter), gatos.run(n.rig, dev, emu.NoPASID, iova, spec.AtosS1, atosWrite))
	require.Equal(t, []uint64{was&^ro | af, was2}, []uint64{n.Get(leaf), n.Get(leaf2)})
}

// Over tables of noise ATOS finds what a transaction meets: the address, the size, or the fault that its event
// tells of.
func TestATOS_AgreesWithTransactions(t *testing.T) {
	for _, cold := range []bool{false, true} {
		ends := map[uint64]int{}
		for seed := range uint64(6) {
			rng := rand.New(rand.NewPCG(seed, 11))
			more := []change{withATOS}
			if cold {
				more = append(more, noCaches)
			}
			r := newRig(t, more...).enable()
			noiseNested(r, rng)
			for range 400 {
				va := rng.Uint64() & (1<<48 - 1) &^ 0xfff
				for l := 12; l < 48; l += 3 {
					if rng.IntN(3) == 0 {
						va &^= 7 << l
					}
				}
				q, flags := emutest.DMA(dev, emu.NoPASID, va, emu.Read), uint64(atosRead)
				if rng.IntN(2) == 0 {
					q.Access, flags = emu.Write, atosWrite
				}
				var par uint64
				ask := func() { par = gatos.run(r, dev, emu.NoPASID, va, spec.AtosS12, flags|uint64(rng.IntN(2))*atosHTTUI) }
				if first := rng.IntN(2) == 0; first {
					ask()
				}
				res := r.Do(q)
				l := r.drain()
				if par == 0 {
					ask()
				}
				if res.Status == emu.OK {
					ends[0]++
					require.Equal(t, parOK(uint64(res.PA)&^(1<<res.Lg2-1), res.Lg2, uint64(spec.MemAttr(res.Attr).MAIR()), spec.MemAttr(res.Attr).SH()), par)
					continue
				}
				require.Len(t, l, 1)
				e := l[0]
				ends[uint64(e.Number())]++
				want := parFault(0, uint64(e.Number()), 0)
				if spec.EvtS2.On(e[1]) {
					want = parFault(spec.EvtClass.Of(e[1])+1, uint64(e.Number()), e[3])
				}
				require.Equal(t, want, par, "%x", e)
			}
		}
		require.Len(t, ends, 5, "%v", ends)
	}
}

// VATOS answers for the VMID of VATOS_SEL, stage 1 only, 9.1.6.
func TestVATOS_IsForOneVMID(t *testing.T) {
	n := newNested(t, withATOS)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	_, root := n.attach(other, field{spec.CdASID, asid + 1})
	n.mapPage(root, iova, 0x5000, s1RW)
	n.attach2(5)
	n.bind(6, field{spec.SteConfig, 0})
	n.bind(7, field{spec.SteConfig, spec.ConfigBypass})
	n.attach(8, field{spec.CdASID, 0})
	n.set(n.ste(8), field{spec.SteSTRW, spec.STRWEL2})
	bad := parFault(0, spec.EvBadSTE, 0)
	n.Faults.Saw(uint64(smmuv3.FaultSTEVMID))
	for _, sel := range []uint64{vmid, vmid + 1} {
		n.W32(spec.OffVATOSSel, sel)
		for s, want := range map[emu.SourceID]uint64{
			dev: parOK(0x77_0000, 12, 0, spec.ShOuter), other: parOK(0x5000, 12, 0, spec.ShOuter), 5: parFault(0, spec.AtosInvStage, 0), 6: bad, 7: bad, 8: bad,
		} {
			if sel != vmid {
				want = bad
			}
			require.Equal(t, want, vatos.run(n.rig, s, emu.NoPASID, iova, spec.AtosS1, atosRead), "stream %d VMID %d", s, sel)
		}
		for _, kind := range []uint64{0, spec.AtosS2, spec.AtosS12} {
			require.Equal(t, parFault(0, spec.AtosInvReq, 0), vatos.run(n.rig, dev, emu.NoPASID, iova, kind, atosRead))
		}
	}
	require.EqualValues(t, spec.BAVATOS, n.R32(spec.OffIDR2))
	r := newRig(t)
	r.W32(spec.OffVATOSSel, vmid)
	r.W64(spec.OffVATOSSID, 5)
	require.Zero(t, r.R32(spec.OffVATOSSel)|r.R64(spec.OffVATOSSID)|r.R32(spec.OffIDR2), "absent")
}

// RUN and what it guards, 6.3.37: SMMUv3.2 says what is ignored.
func TestATOS_Registers(t *testing.T) {
	r := newRig(t, withATOS).queues()
	require.Zero(t, r.u.WriteReg(gatos.ctrl, 4, 1), "translation is off")
	require.Zero(t, r.R32(gatos.ctrl))
	r.update(true, spec.Cr0SMMUEN)
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	for _, c := range []struct {
		off  uint32
		size uint8
		want uint64
	}{
		{gatos.sid, 8, 0x1f_ffff_ffff_ffff &^ (0xf << 48)}, // SubstreamIDs have 16 bits
		{gatos.addr, 8, ^uint64(0x3f)}, {gatos.par, 8, 0}, {spec.OffVATOSSel, 4, 0xffff}, {vatos.sid, 8, 0x1f_ffff_ffff_ffff &^ (0xf << 48)}, {vatos.par, 8, 0},
	} {
		r.F.WriteReg(0, c.off, c.size, ^uint64(0))
		require.Equal(t, c.want, r.u.ReadReg(c.off, c.size), "%#x", c.off)
	}
	gatos.asks(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead)
	sid, addr := r.R64(gatos.sid), r.R64(gatos.addr)
	c := r.Crew(1)
	job := c.StartEngine(r.u.WriteReg(gatos.ctrl, 4, 1))
	for ended := false; !ended; ended = c.Step(job) {
		require.EqualValues(t, 1, r.R32(gatos.ctrl))
		r.u.WriteReg(gatos.sid, 8, 5)
		r.u.WriteReg(gatos.addr, 8, 5<<12)
		require.Zero(t, r.u.WriteReg(gatos.ctrl, 4, 0))
		require.Equal(t, []uint64{sid, addr, 1}, []uint64{r.R64(gatos.sid), r.R64(gatos.addr), r.R32(gatos.ctrl)})
		r.W64(vatos.sid, 7) // the other group is free
		require.EqualValues(t, 7, r.R64(vatos.sid))
	}
	require.Zero(t, r.R32(gatos.ctrl))
	require.Equal(t, parOK(0x5000, 12, 0, spec.ShOuter), r.R64(gatos.par))
}

// SMMUEN becomes 0: what has begun ends first, what has not is INTERNAL_ERR. Later requests are not mixed up
// with it.
func TestATOS_EndsWithSMMUEN(t *testing.T) {
	for steps := 1; steps < 12; steps++ {
		r := newRig(t, withATOS).enable()
		_, root := r.attach(dev)
		r.mapPage(root, iova, 0x5000, s1RW)
		gatos.asks(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead)
		c := r.Crew(1)
		x := c.StartEngine(r.u.WriteReg(gatos.ctrl, 4, 1))
		c.Active = []*emu.Txn{x}
		ended := false
		for i := 0; i < steps && !ended; i++ {
			ended = c.Step(x)
		}
		if ended {
			require.Greater(t, steps, 6, "it has walked")
			break
		}
		c.StartEngine(r.u.WriteReg(spec.OffCR0, 4, r.R32(spec.OffCR0)&^1))
		require.Zero(t, r.u.WriteReg(vatos.ctrl, 4, 1), "translation goes off")
		c.RunEngine()
		if steps < 2 {
			require.Nil(t, c.Engine, "%d steps: nothing to wait for", steps)
			require.Equal(t, parFault(0, spec.AtosIntErr, 0), r.R64(gatos.par))
			require.Zero(t, r.R32(gatos.ctrl))
			r.update(true, spec.Cr0SMMUEN)
			gatos.asks(r, dev, emu.NoPASID, iova+0x1000, spec.AtosS1, atosRead)
			r.u.WriteReg(gatos.ctrl, 4, 1)
			for !c.Step(x) {
			}
			require.EqualValues(t, 1, r.R32(gatos.ctrl), "the first one says nothing any more")
			continue
		}
		require.True(t, c.Blocked(), "%d steps", steps)
		for !c.Step(x) {
		}
		require.Equal(t, parOK(0x5000, 12, 0, spec.ShOuter), r.R64(gatos.par))
		c.Active = nil
		c.RunEngine()
		require.Zero(t, r.R32(spec.OffCR0ACK)&1)
	}
}

// What ends after an invalidation has completed uses nothing that this has dropped: SYNC waits for ATOS on the
// timed machine too.
func TestATOS_WhileTheSTEChanges(t *testing.T) {
	waited := 0
	for at := uint64(0); at < 4000; at += 100 {
		n := newNested(t, withATOS, noCaches)
		n.leaf(iova, 0x77_0000, s1RW)
		n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
		gatos.asks(n.rig, dev, emu.NoPASID, iova, spec.AtosS12, atosRead)
		m := n.Timed(64)
		m.CPU.WriteReg(0, gatos.ctrl, 4, 1)
		m.CPU.Compute(at)
		m.CPU.Store64(n.ste(dev), 0)
		n.push(cfgiSTE(dev, 1))
		n.push(sync())
		runs := m.CPU.ReadReg(0, gatos.ctrl, 4) != 0
		m.CPU.WriteReg(0, spec.OffCMDQProd, 4, n.prod)
		require.True(t, m.CPU.Poll(func() bool { return m.CPU.ReadReg(0, spec.OffCMDQCons, 4) == n.prod }, 1_000_000))
		late := m.CPU.ReadReg(0, gatos.ctrl, 4) != 0
		require.True(t, m.CPU.Poll(func() bool { return m.CPU.ReadReg(0, gatos.ctrl, 4) == 0 }, 1_000_000))
		switch got := m.CPU.ReadReg(0, gatos.par, 8); {
		case late:
			require.Equal(t, parFault(0, spec.EvBadSTE, 0), got, "%d cycles", at)
		case runs && got == parOK(0x99_0000, 12, 0, spec.ShOuter):
			waited++
		}
	}
	require.Positive(t, waited)
}

// What ATOS finds is cached as what transactions find, and dropped as that.
func TestATOS_UsesTheCaches(t *testing.T) {
	r := newRig(t, withATOS).enable()
	_, root := r.attach(dev)
	leaf := r.mapPage(root, iova, 0x5000, s1RW)
	gatos.run(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead)
	r.Put(leaf, 0)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	require.Equal(t, parFault(0, spec.EvTranslation, 0), gatos.run(r, dev, emu.NoPASID, iova, spec.AtosS1, atosRead))
	require.Contains(t, fmt.Sprint(r.u.Describe(smmuv3.StepATOS)), "address translation")
}
