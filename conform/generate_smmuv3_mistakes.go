package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuMistakes is what programs do that are not legal throughout. Each is met by accesses and undone.
var smmuMistakes = []choice[*smmuGen]{
	{6, (*smmuGen).badSTE},
	{8, (*smmuGen).badCD},
	{10, (*smmuGen).badLeaf},
	{6, (*smmuGen).badTable},
	{6, (*smmuGen).badCommand},
	{3, (*smmuGen).shortStreams},
	{3, (*smmuGen).fullEvents},
	{2, (*smmuGen).lostCD},
	{4, (*smmuGen).badStage2},
	{4, (*smmuGen).badMemory},
	{3, (*smmuGen).badSpan},
	{2, (*smmuGen).unalignedStreams},
	{2, (*smmuGen).lostCommands},
	{2, (*smmuGen).lostEvents},
	{6, (*smmuGen).rawRegisters},
}

// mistake makes one of them.
func (g *smmuGen) mistake() { pick(g.r, smmuMistakes)(g) }

// probe lets a device read and write what it has mapped, and serves the events in between.
func (g *smmuGen) probe(d *smmuDevice) { g.accessWrong(d.index, g.pages(d), true, g.actEvents) }

// smmuFlips are the bits of an STE that mistakes change: of Config those that do not turn stage 2 on.
var smmuFlips = [2]uint64{
	spec.SteV.Mask() | 1<<3 | spec.SteS1CDMax.Mask(),
	3<<(spec.SteS1STALLD.Lo()&63) | 1<<(spec.SteMEV.Lo()&63) | 0xf<<(spec.SteSTRW.Lo()&63),
}

// badSTE has mistakes in the STE of a device that stage 1 translates for.
func (g *smmuGen) badSTE() {
	d := g.device()
	if !d.translates() {
		return
	}
	g.section("a wrong STE")
	at := g.ste(d.sid)
	w := g.flip(g.current(at, 2), smmuFlips[:])
	g.with(at, w, func() { g.flushSTE(d) }, func() { g.probe(d) }, "STE of device %d", d.index)
}

// badCD has mistakes in a CD.
func (g *smmuGen) badCD() {
	d := g.device()
	if !d.translates() || d.config&1 == 0 {
		return
	}
	g.section("a wrong CD")
	mask := []uint64{
		spec.CdV.Mask() | spec.CdAA64.Mask() | spec.CdA.Mask() | spec.CdS.Mask() | spec.CdR.Mask() | spec.CdHA.Mask() | spec.CdHD.Mask() |
			spec.CdENDI.Mask(),
		0xff << 44, 0xff << 44,
	}
	// Sizes are made such that there are none, for other sizes take tables for leaves.
	s := d.space
	if s.lower != nil {
		mask[0] |= spec.CdEPD0.Mask() | 1<<5
	}
	if s.upper != nil {
		mask[0] |= spec.CdEPD1.Mask() | 1<<21
	}
	w := g.flip(g.current(s.cd, 3), mask)
	g.with(s.cd, w, func() { g.flushCD(s) }, func() {
		at := one(&g.builder, emu.IOVA(0), 0x1000, ^emu.IOVA(0xfff), emu.IOVA(g.r.Uint64())&^7)
		g.dma(d.index, at, false, "with the wrong CD")
		g.dma(d.index, at, false, "again")
	}, "CD of space %d", s.asid)
}

// badLeaf has mistakes in a leaf.
func (g *smmuGen) badLeaf() {
	d := g.device()
	t, m := g.mapped(d)
	if m == nil {
		return
	}
	g.section("a wrong leaf")
	slots := g.path(t, m.iova)
	slot := slots[len(slots)-1]
	bits := []uint64{spec.TtdValid.Mask(), spec.TtdAF.Mask(), spec.S1AP2.Mask(), spec.S1AP1.Mask(), 1 << 44, spec.TtdContig.Mask()}
	if len(slots) == int(t.start)+1 {
		bits = append(bits, spec.TtdTable.Mask())
	}
	wrong := one(&g.builder, bits...)
	if g.chance(15) {
		wrong ^= one(&g.builder, bits[:4]...)
	}
	run := g.current(slot, t.leaves(m.lg2))
	for i := range run {
		run[i] ^= wrong
	}
	s, page := d.space, *m
	g.with(slot, run, func() { g.flushTables(s, t) }, func() {
		for range 1 + g.r.IntN(2) {
			g.access(d.index, g.inside(&page), "in the wrong page")
		}
	}, "leaf of %#x", uint64(page.iova))
}

// badTable has mistakes in a table descriptor.
func (g *smmuGen) badTable() {
	d := g.device()
	t, m := g.mapped(d)
	if m == nil {
		return
	}
	slots := g.path(t, m.iova)
	if len(slots) < 2 {
		return
	}
	g.section("a wrong table descriptor")
	slot := slots[g.r.IntN(len(slots)-1)]
	e := g.mem[slot] ^ one(&g.builder, spec.TtdValid.Mask(), 1<<46, uint64(g.hole))
	s := d.space
	g.with(slot, []uint64{e}, func() { g.flushTables(s, t) }, func() { g.access(d.index, g.inside(m), "below it") }, "table descriptor")
}

// badCommand gives a command that there is not, and goes on behind it.
func (g *smmuGen) badCommand() {
	g.section("a wrong command")
	q := &g.cmds
	op := one[uint64](&g.builder, 0, 0x08, 0x0f, 0x14, 0x1f, 0x2b, 0x31, 0x47, 0x80, 0xff)
	switch {
	case g.chance(10):
		g.put(one(&g.builder, smmuTaken...), g.r.Uint64()&^0xff, g.r.Uint64(), "of what there is not")
	case g.chance(5):
		g.put(spec.CmdSync, spec.SyncCS.Put(3), 0, "a reserved signal")
	case g.chance(30):
		g.put(one[uint64](&g.builder, spec.CmdCfgiSTE, spec.CmdCfgiSTERange, spec.CmdCfgiCD, spec.CmdCfgiCDAll), spec.CmdSSec.Mask(), 0, "of a Secure stream")
	default:
		g.put(op, g.r.Uint64()&^0xff, g.r.Uint64(), "unknown")
	}
	g.write(spec.OffCMDQProd, 4, q.index, "CMDQ_PROD")
	g.read(spec.OffCMDQCons, 4, "CMDQ_CONS")
	g.read(spec.OffGERROR, 4, "GERROR")
	at := q.base + emu.PA((q.index-1)&(1<<q.lg2-1)*spec.CommandSize)
	g.store(at, []uint64{spec.CmdSync, 0}, "a sync in its place")
	g.goOn(spec.GerrCMDQ.Mask())
}

// shortStreams makes the stream table too short for some devices.
func (g *smmuGen) shortStreams() {
	g.section("a stream table that is too short")
	s := g.streams
	g.set(spec.Cr0SMMUEN.Mask(), false)
	g.streams.log2 = one[uint64](&g.builder, 5, 8)
	if s.split != 0 {
		g.streams.log2 = 8
	}
	g.setStreams()
	g.flushAll()
	g.set(spec.Cr0SMMUEN.Mask(), true)
	g.access(2, g.direct(), "StreamID beyond the table")
	g.set(spec.Cr0SMMUEN.Mask(), false)
	g.streams = s
	g.setStreams()
	g.flushAll()
	g.set(spec.Cr0SMMUEN.Mask(), true)
}

// fullEvents makes more events than there is room for.
func (g *smmuGen) fullEvents() {
	g.section("an event queue without room")
	g.set(spec.Cr0EVENTQEN.Mask(), false)
	g.write(spec.OffEVENTQProd, 4, 0, "EVENTQ_PROD")
	g.write(spec.OffEVENTQCons, 4, 1<<g.events.lg2+1, "EVENTQ_CONS: one entry is free")
	g.set(spec.Cr0EVENTQEN.Mask(), true)
	for range 3 {
		if d := g.device(); d.translates() {
			t := one(&g.builder, d.halves()...)
			at := t.base ^ 1<<50
			if t.s2 {
				at = 1 << t.in
			}
			if g.safe(t.maps, at) {
				g.access(d.index, at, "beyond the tables")
			}
		}
	}
	g.restartEvents()
}

// lostCD has the CD where no memory is.
func (g *smmuGen) lostCD() {
	d := g.device()
	if !d.translates() || d.config&1 == 0 {
		return
	}
	g.section("a CD that is not there")
	at := g.ste(d.sid)
	w := g.current(at, 1)
	w[0] = w[0]&^spec.SteS1Context.Mask() | uint64(g.hole)
	g.with(at, w, func() { g.flushSTE(d) }, func() { g.probe(d) }, "STE of device %d", d.index)
}
