package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// badStage2 has mistakes in the stage 2 of an STE. Other sizes would take tables for leaves: what is drawn
// is illegal, or changes nothing about tables.
func (g *smmuGen) badStage2() {
	d := g.device()
	if !d.translates() || d.config&2 == 0 {
		return
	}
	g.section("a wrong stage 2")
	at := g.ste(d.sid)
	w := g.current(at, 4)
	switch g.r.IntN(8) {
	case 0:
		w[2] ^= one(&g.builder, spec.SteS2S.Mask(), spec.SteS2ENDI.Mask(), spec.SteS2HA.Mask(), spec.SteS2HD.Mask(), spec.SteS2PTW.Mask())
	case 1:
		w[2] ^= spec.SteS2R.Mask()
	case 2:
		w[2] ^= spec.SteS2AFFD.Mask()
	case 3:
		w[2] |= spec.SteS2SL0.Mask()
	case 4:
		w[2] |= spec.SteS2TG.Mask()
	case 5:
		w[2] = w[2]&^spec.SteS2T0SZ.Mask() | spec.SteS2T0SZ.Put(one[uint64](&g.builder, 0, 11, 15, 40, 48, 63))
	case 6:
		w[2] = w[2]&^spec.SteS2PS.Mask() | spec.SteS2PS.Put(g.r.Uint64N(7))
	default:
		w[3] ^= 1 << (44 + g.r.IntN(8))
	}
	g.with(at, w, func() { g.flushSTE(d); g.flushSpace(d.space) }, func() { g.probe(d) }, "STE of device %d", d.index)
}

// badMemory lets stage 2 not have all memory as stage 1 needs it.
func (g *smmuGen) badMemory() {
	d := g.device()
	if g.mode != smmuNested || !d.translates() {
		return
	}
	g.section("memory that stage 2 does not have")
	s := d.space
	t := s.second
	m := one(&g.builder, t.maps[:s.flat]...)
	slots := g.path(t, m.iova)
	slot := slots[len(slots)-1]
	e := g.mem[slot] ^ one(&g.builder, spec.TtdValid.Mask(), spec.TtdAF.Mask(), spec.S2APR.Mask(), spec.S2APW.Mask(), spec.S2AP.Mask(), 1<<44, spec.S2MemAttr.Mask())
	g.with(slot, []uint64{e}, g.flushAll, func() { g.probe(d) },
		"leaf of %#x", uint64(m.iova))
}

// badSpan has mistakes in an L1STD.
func (g *smmuGen) badSpan() {
	t := &g.streams
	if t.split == 0 {
		return
	}
	g.section("a wrong L1STD")
	d := one(&g.builder, g.devs...)
	i := uint64(d.sid) >> t.split
	was := t.l1[i]
	e := was&^spec.L1stdSpan.Mask() | spec.L1stdSpan.Put(one(&g.builder, 0, 1, t.split, t.split+2, 11, 12, 31, g.r.Uint64N(32)))
	if g.chance(15) {
		e = was&spec.L1stdSpan.Mask() | uint64(g.hole)
	}
	g.with(t.base+emu.PA(i*spec.DescSize), []uint64{e}, g.flushAll, func() { g.probe(d) }, "L1STD %d", i)
}

// unalignedStreams has a stream table at an address that is not a multiple of its size.
func (g *smmuGen) unalignedStreams() {
	t := g.streams
	lg2 := t.log2 + 5
	if t.split != 0 {
		lg2 = max(6, t.log2-min(t.split, t.log2)+2)
	}
	g.section("a stream table that is not aligned")
	g.set(spec.Cr0SMMUEN.Mask(), false)
	g.streams.base |= 1 << lg2
	g.setStreams()
	g.flushAll()
	g.set(spec.Cr0SMMUEN.Mask(), true)
	g.probe(g.device())
	g.set(spec.Cr0SMMUEN.Mask(), false)
	g.streams = t
	g.setStreams()
	g.flushAll()
	g.set(spec.Cr0SMMUEN.Mask(), true)
}

// lostCommands has the command queue where no memory is.
func (g *smmuGen) lostCommands() {
	g.section("a command queue that is not there")
	q := &g.cmds
	g.set(spec.Cr0CMDQEN.Mask(), false)
	g.place(uint64(g.hole)|q.lg2, &smmuCommands)
	g.set(spec.Cr0CMDQEN.Mask(), true)
	g.write(spec.OffCMDQProd, 4, 1, "CMDQ_PROD")
	g.read(spec.OffCMDQCons, 4, "CMDQ_CONS")
	g.read(spec.OffGERROR, 4, "GERROR")
	g.set(spec.Cr0CMDQEN.Mask(), false)
	g.place(uint64(q.base)|q.lg2, &smmuCommands)
	q.index = 0
	g.goOn(spec.GerrCMDQ.Mask())
	g.set(spec.Cr0CMDQEN.Mask(), true)
}

// goOn acknowledges errors that are active.
func (g *smmuGen) goOn(errors uint64) {
	g.gerrorn ^= errors
	g.write(spec.OffGERRORN, 4, g.gerrorn, "GERRORN: go on")
}

// lostEvents has the event queue where no memory is.
func (g *smmuGen) lostEvents() {
	if g.cr0&spec.Cr0EVENTQEN.Mask() == 0 || g.cr0&spec.Cr0SMMUEN.Mask() == 0 {
		return
	}
	g.section("an event queue that is not there")
	q := &g.events
	g.set(spec.Cr0EVENTQEN.Mask(), false)
	g.place(uint64(g.hole)|q.lg2, &smmuEventQueue)
	g.set(spec.Cr0EVENTQEN.Mask(), true)
	// Without STE there is an event for sure.
	d := one(&g.builder, g.devs...)
	at := g.ste(d.sid)
	w := g.current(at, 1)
	w[0] &^= spec.SteV.Mask()
	g.with(at, w, func() { g.flushSTE(d) }, func() {
		for range 1 + g.r.IntN(2) {
			g.access(d.index, g.direct(), "without STE")
		}
		g.set(spec.Cr0EVENTQEN.Mask(), false)
		g.place(uint64(q.base)|q.lg2, &smmuEventQueue)
		g.set(spec.Cr0EVENTQEN.Mask(), true)
		if g.chance(50) {
			g.access(d.index, g.direct(), "before it is acknowledged")
		}
		g.goOn(spec.GerrEVENTQAbt.Mask())
		g.access(d.index, g.direct(), "without STE")
	}, "STE of device %d: V=0", d.index)
}
