package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuActions is what a driver and its devices do. All of it is legal; accesses that are refused are so
// for what is mapped.
var smmuActions = []choice[*smmuGen]{
	{30, (*smmuGen).actAccess},
	{8, (*smmuGen).actNear},
	{4, (*smmuGen).actBeyond},
	{10, (*smmuGen).actEvents},
	{8, func(g *smmuGen) { withOne(&g.builder, g.spaces, g.mapSome) }},
	{10, func(g *smmuGen) { withOne(&g.builder, g.spaces, g.change) }},
	{4, func(g *smmuGen) { withOne(&g.builder, g.spaces, g.drop) }},
	{8, (*smmuGen).actMove},
	{4, (*smmuGen).actFlush},
	{4, func(g *smmuGen) { g.readSome(smmuRegisters) }},
	{3, (*smmuGen).actCD},
	{3, (*smmuGen).actToggle},
	{2, (*smmuGen).actStreams},
	{2, (*smmuGen).actQueues},
	{2, (*smmuGen).actInterrupts},
	{1, func(g *smmuGen) { g.pass() }},
}

func (g *smmuGen) someSpace() *smmuSpace {
	if len(g.spaces) == 0 {
		return nil
	}
	return one(&g.builder, g.spaces...)
}

// someConfig draws a configuration of streams: mostly that of the mode.
func (g *smmuGen) someConfig() uint64 {
	c := map[string]uint64{smmuS1: spec.ConfigS1, smmuS2: spec.ConfigS2, smmuNested: spec.ConfigNested}[g.mode]
	if g.mode == smmuNested && g.chance(15) {
		return spec.ConfigS2
	}
	return one(&g.builder, c, c, c, c, c, c, c, spec.ConfigBypass, spec.ConfigAbort, g.r.Uint64N(4))
}

// writeSTE gives a device a configuration.
func (g *smmuGen) writeSTE(d *smmuDevice, config uint64, s *smmuSpace) {
	if s == nil && config > spec.ConfigBypass {
		config = spec.ConfigAbort
	}
	w := make([]uint64, 8)
	w[0] = spec.SteV.Mask() | spec.SteConfig.Put(config)
	w[1] = spec.SteSHCFG.Put(spec.ShCfgIncoming) | spec.SteMEV.PutBool(g.chance(20))
	if g.chance(20) { // overrides that the unit does not have
		w[1] |= g.r.Uint64() & (spec.StePRIVCFG.Mask() | spec.SteINSTCFG.Mask() | spec.SteMTCFG.Mask() | spec.SteMemAttr.Mask() | spec.SteALLOCCFG.Mask())
	}
	if config > spec.ConfigBypass && config&1 != 0 {
		w[0] |= uint64(s.cd) | spec.SteS1Fmt.Put(g.r.Uint64N(3))
		w[1] |= spec.SteS1CIR.Put(1) | spec.SteS1COR.Put(1) | spec.SteS1CSH.Put(3)
	}
	if config > spec.ConfigBypass && config&2 != 0 {
		g.secondSTE(w, s)
	}
	d.config, d.space = config, s
	g.store(g.ste(d.sid), w, "STE of device %d: Config=%d", d.index, config)
}

// secondSTE writes the fields of stage 2.
func (g *smmuGen) secondSTE(w []uint64, s *smmuSpace) {
	t := s.second
	tg, _ := t.gran.TG0()
	sl0, _ := spec.S2SL0(t.gran, t.start)
	w[2] = s.vmid | spec.SteS2T0SZ.Put(uint64(64-t.in)) | spec.SteS2SL0.Put(sl0) | spec.SteS2TG.Put(tg) |
		spec.SteS2PS.Put(one[uint64](&g.builder, 4, 5)) | spec.SteS2AA64.Mask() | spec.SteS2R.PutBool(g.chance(85)) | spec.SteS2AFFD.PutBool(s.affd)
	w[3] = uint64(t.top)
}

// device draws a device; most of the time one that is translated.
func (g *smmuGen) device() *smmuDevice { return likely(&g.builder, g.devs, (*smmuDevice).translates) }

// tables draws tables that a device goes through; nil: none.
func (g *smmuGen) tables(d *smmuDevice) *smmuTables {
	if !d.translates() || g.cr0&spec.Cr0SMMUEN.Mask() == 0 {
		return nil
	}
	return one(&g.builder, d.halves()...)
}

// pages draws from what a device has mapped.
func (g *smmuGen) pages(d *smmuDevice) []mapping {
	if t := g.tables(d); t != nil {
		return g.harmless(t)
	}
	return nil
}

// harmless are the pages of tables that devices may write to: where stage 2 has memory as it is, those with
// data.
func (g *smmuGen) harmless(t *smmuTables) []mapping {
	if !t.s2 || g.mode != smmuNested {
		return t.maps
	}
	var list []mapping
	for _, m := range t.maps {
		if slices.ContainsFunc(g.data, func(pa emu.PA) bool { return (pa^m.pa)>>m.lg2 == 0 }) {
			list = append(list, m)
		}
	}
	return list
}

// mapped draws a page of a device.
func (g *smmuGen) mapped(d *smmuDevice) (*smmuTables, *mapping) {
	t := g.tables(d)
	if t == nil {
		return nil, nil
	}
	list := g.harmless(t)
	if len(list) == 0 {
		return nil, nil
	}
	return t, &list[g.r.IntN(len(list))]
}

func (g *smmuGen) actAccess() {
	d := g.device()
	_, m := g.mapped(d)
	if m == nil {
		g.accessSome(d.index, nil)
		return
	}
	at := g.inside(m)
	if d.space.tbi && g.chance(50) {
		at ^= emu.IOVA(g.r.Uint64()) << 56
	}
	g.accessPage(d.index, m, at)
}

func (g *smmuGen) actNear() {
	d := g.device()
	if t := g.tables(d); t != nil && len(g.harmless(t)) < len(t.maps) {
		g.accessSome(d.index, g.harmless(t))
		return
	}
	g.accessNear(d.index, g.pages(d))
}

// actBeyond accesses addresses at the limits of the tables.
func (g *smmuGen) actBeyond() {
	d := g.device()
	t := g.tables(d)
	if t == nil {
		return
	}
	top := emu.IOVA(1) << t.in
	at := one(&g.builder, top, top-8, -top, -top-8, ^emu.IOVA(7), 1<<55, 1<<56, 1<<63)
	var all []mapping
	for _, h := range d.halves() {
		all = append(all, h.maps...)
	}
	g.accessLimit(d.index, at, all)
}

// actEvents reads events as a driver does.
func (g *smmuGen) actEvents() {
	g.read(spec.OffEVENTQProd, 4, "EVENTQ_PROD")
	if g.chance(30) {
		g.read(spec.OffGERROR, 4, "GERROR")
	}
	if g.chance(70) {
		g.restartEvents()
	}
}

// restartEvents turns the event queue off and on again, empty.
func (g *smmuGen) restartEvents() {
	on := g.cr0&spec.Cr0EVENTQEN.Mask() != 0
	g.set(spec.Cr0EVENTQEN.Mask(), false)
	g.write(spec.OffEVENTQProd, 4, 0, "EVENTQ_PROD")
	g.write(spec.OffEVENTQCons, 4, 0, "EVENTQ_CONS")
	g.set(spec.Cr0EVENTQEN.Mask(), on || g.chance(50))
}

// actMove gives a device another configuration, by way of V=0.
func (g *smmuGen) actMove() {
	d := one(&g.builder, g.devs...)
	s := g.someSpace()
	if g.chance(30) {
		if n := g.newSpace(); n != nil {
			s = n
		}
	}
	g.section("move device %d", d.index)
	g.store(g.ste(d.sid), []uint64{0}, "STE of device %d: V=0", d.index)
	g.flushSTE(d)
	if g.chance(20) {
		d.config = spec.ConfigAbort
		g.access(d.index, g.direct(), "without STE")
		return
	}
	g.writeSTE(d, g.someConfig(), s)
	g.flushSTE(d)
}

// actFlush invalidates what need not be, and gives commands that do nothing here.
func (g *smmuGen) actFlush() {
	g.section("commands that nothing asks for")
	d := one(&g.builder, g.devs...)
	sid := spec.CmdSID.Put(uint64(d.sid))
	switch g.r.IntN(6) {
	case 0:
		g.flushAll()
		return
	case 1:
		g.flushSTE(d)
		return
	case 2:
		g.put(spec.CmdPrefetchConfig, sid, 0, "prefetch")
	case 3:
		g.put(spec.CmdPrefetchAddr, sid, uint64(g.r.IntN(512))<<12, "prefetch")
	case 4:
		g.put(spec.CmdCfgiCDAll, sid, 0, "forget the CDs of device %d", d.index)
	default:
		g.put(spec.CmdTlbiNHAll, spec.CmdVMID.Put(g.r.Uint64N(4)), 0, "forget a VMID")
	}
	g.ring()
}

// actCD changes the CD of a space.
func (g *smmuGen) actCD() {
	s := g.someSpace()
	if s == nil || s.cd == 0 {
		return
	}
	g.section("another CD for space %d", s.asid)
	if s.affd { // leaves may be without AF
		return
	}
	g.store(s.cd, []uint64{0}, "CD of space %d: V=0", s.asid)
	g.flushCD(s)
	g.writeCD(s)
	g.flushCD(s)
}

// actToggle turns translation off and on again.
func (g *smmuGen) actToggle() {
	g.section("translation off and on")
	g.set(spec.Cr0SMMUEN.Mask(), false)
	if g.chance(40) {
		g.gbpa(g.chance(50))
	}
	g.access(one(&g.builder, g.devs...).index, g.direct(), "untranslated")
	g.set(spec.Cr0SMMUEN.Mask(), true)
}

// actStreams moves the stream table.
func (g *smmuGen) actStreams() {
	if g.next+0x4_0000 > g.p.RAM+dataArea {
		return
	}
	g.section("another stream table")
	old := make([][]uint64, len(g.devs))
	for i, d := range g.devs {
		old[i] = g.current(g.ste(d.sid), 8)
	}
	g.newStreams()
	for i, d := range g.devs {
		g.store(g.ste(d.sid), old[i], "STE of device %d", d.index)
	}
	g.set(spec.Cr0SMMUEN.Mask(), false)
	g.setStreams()
	g.flushAll()
	g.set(spec.Cr0SMMUEN.Mask(), true)
}

// actQueues moves the queues.
func (g *smmuGen) actQueues() {
	g.section("another command queue")
	g.set(spec.Cr0CMDQEN.Mask(), false)
	g.newQueue(&g.cmds, 5+uint64(g.r.IntN(4)), 4, &smmuCommands)
	g.set(spec.Cr0CMDQEN.Mask(), true)
}

func (g *smmuGen) actInterrupts() {
	g.write(spec.OffIRQCtrl, 4, one[uint64](&g.builder, 0, 1, 4, 5), "IRQ_CTRL")
}
