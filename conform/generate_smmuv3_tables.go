package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuTables are the tables of one half of stage 1, or of stage 2. Levels are counted from the leaves.
type smmuTables struct {
	gran  spec.Granule
	in    uint8 // bits that they translate
	start int8  // level of the top
	top   emu.PA
	base  emu.IOVA // of the half
	s2    bool
	maps  []mapping
}

// smmuSpace is an address space: up to two halves of stage 1, and stage 2.
type smmuSpace struct {
	asid, vmid uint64
	cd         emu.PA
	words      []uint64 // of the CD
	lower      *smmuTables
	upper      *smmuTables
	second     *smmuTables
	flat       int // how many pages of second have memory as it is
	tbi        bool
	affd       bool
}

// halves returns the tables that addresses of the device select from.
func (d *smmuDevice) halves() []*smmuTables {
	if d.config == spec.ConfigS2 {
		return []*smmuTables{d.space.second}
	}
	return d.space.halves()
}

// halves returns the tables of stage 1 of a space, or of stage 2 if it has no other.
func (s *smmuSpace) halves() []*smmuTables {
	var list []*smmuTables
	for _, t := range []*smmuTables{s.lower, s.upper} {
		if t != nil {
			list = append(list, t)
		}
	}
	if len(list) == 0 && s.second != nil {
		list = append(list, s.second)
	}
	return list
}

// newTables makes an empty set of tables. It fails where there is no room.
func (g *smmuGen) newTables(s2 bool, base emu.IOVA) (*smmuTables, bool) {
	t := &smmuTables{gran: one(&g.builder, spec.Granule4K, spec.Granule4K, spec.Granule16K, spec.Granule64K), s2: s2, base: base}
	most := uint8(48)
	if s2 {
		most = 44
	}
	t.in = one[uint8](&g.builder, 25, 30, 32, 36, 39, 40, 42, 44, most, most)
	if s2 && g.mode == smmuNested && g.chance(95) {
		t.in = max(t.in, 36) // memory is below
	}
	t.in = min(t.in, most)
	t.start = int8((t.in - 1 - uint8(t.gran)) / t.gran.Stride())
	if s2 {
		t.in = max(t.in, uint8(t.gran)+t.gran.Stride()+1)
		t.start = int8((t.in - 1 - uint8(t.gran)) / t.gran.Stride())
		if over := t.in - t.gran.Shift(t.start); t.start > 1 && over <= 4 && (over == 1 && g.chance(50) || g.tooHigh(t)) {
			t.start-- // tables side by side
		}
	}
	top, ok := g.room(t.in - t.gran.Shift(t.start) + 3)
	t.top = top
	return t, ok
}

// tooHigh reports whether a start level cannot be written in STE.S2SL0 without small tables and wide
// addresses.
func (g *smmuGen) tooHigh(t *smmuTables) bool {
	sl0, ok := spec.S2SL0(t.gran, t.start)
	return !ok || sl0 > 2
}

// newSpace makes an address space with a few pages.
func (g *smmuGen) newSpace() *smmuSpace {
	g.asid++
	g.vmid++
	s := &smmuSpace{asid: g.asid, vmid: g.vmid}
	ok := true
	if g.mode != smmuS1 {
		s.second, ok = g.newTables(true, 0)
		if !ok || g.tooHigh(s.second) {
			return nil
		}
	}
	if g.mode != smmuS2 {
		if g.chance(90) {
			s.lower, ok = g.newTables(false, 0)
		}
		if !ok {
			return nil
		}
		if s.lower == nil || g.chance(30) {
			if s.upper, ok = g.newTables(false, 0); ok {
				s.upper.base = ^emu.IOVA(0) << s.upper.in
			} else if s.upper = nil; s.lower == nil {
				return nil
			}
		}
		s.cd = g.page()
		g.writeCD(s)
	}
	if g.mode == smmuNested {
		g.flat(s)
	}
	g.spaces = append(g.spaces, s)
	for range 1 + g.r.IntN(4) {
		g.mapSome(s)
	}
	return s
}

// flat lets stage 2 map all memory as it is, and now and then what is not there, with blocks.
func (g *smmuGen) flat(s *smmuSpace) {
	t := s.second
	lg2 := t.gran.Shift(1)
	for at := g.p.RAM &^ (1<<lg2 - 1); at < g.p.RAM+emu.PA(g.p.Size); at += 1 << lg2 {
		g.mapAt(s, t, emu.IOVA(at), lg2, at, 3)
	}
	if g.hole>>t.in == 0 && g.chance(50) {
		g.mapAt(s, t, emu.IOVA(g.hole), lg2, g.hole, 3)
	}
	s.flat = len(t.maps)
}

// writeCD writes the CD of a space.
func (g *smmuGen) writeCD(s *smmuSpace) {
	w := make([]uint64, 8)
	w[0] = spec.CdV.Mask() | spec.CdAA64.Mask() | spec.CdA.Mask() | spec.CdR.PutBool(g.chance(85)) | spec.CdASID.Put(s.asid) |
		spec.CdIPS.Put(one[uint64](&g.builder, 2, 4, 5, 5, 5, 3))
	s.affd = g.chance(15)
	w[0] |= spec.CdAFFD.PutBool(s.affd) | spec.CdASET.PutBool(g.chance(50))
	s.tbi = g.chance(10)
	w[0] |= spec.CdTBI0.PutBool(s.tbi) | spec.CdTBI1.PutBool(s.tbi)
	if s.lower != nil {
		tg, _ := s.lower.gran.TG0()
		w[0] |= spec.CdT0SZ.Put(uint64(64-s.lower.in)) | spec.CdTG0.Put(tg)
		w[1] = uint64(s.lower.top)
	} else {
		w[0] |= spec.CdEPD0.Mask() | spec.CdT0SZ.Put(g.r.Uint64N(64))
	}
	if s.upper != nil {
		tg, _ := s.upper.gran.TG1()
		w[0] |= spec.CdT1SZ.Put(uint64(64-s.upper.in)) | spec.CdTG1.Put(tg)
		w[2] = uint64(s.upper.top)
	} else {
		w[0] |= spec.CdEPD1.Mask() | spec.CdT1SZ.Put(g.r.Uint64N(64))
	}
	w[1] |= spec.CdHAD0.PutBool(g.chance(20))
	w[2] |= spec.CdHAD1.PutBool(g.chance(20))
	w[3] = 0xff44_0c04
	s.words = w
	g.store(s.cd, w, "CD of space %d", s.asid)
}

// mapSome maps pages somewhere in a space.
func (g *smmuGen) mapSome(s *smmuSpace) {
	t := one(&g.builder, s.halves()...)
	level := int8(0)
	if g.chance(30) && g.blocks(t, 1) {
		level = 1
	}
	if t.gran == spec.Granule4K && g.chance(8) && g.blocks(t, 2) {
		level = 2
	}
	lg2 := t.gran.Shift(level)
	if run := t.gran.Contig(level); run > 0 && g.chance(12) && lg2+run < t.in {
		lg2 += run
	}
	at := g.someIOVA(t)
	for range 1 + g.r.IntN(3) {
		perm := one[uint64](&g.builder, 3, 3, 3, 3, 1)
		if t.s2 && g.chance(20) {
			perm = uint64(g.r.IntN(3))
		}
		g.mapAt(s, t, at, lg2, g.somePA(lg2), perm)
		at += 1 << lg2
	}
}

// blocks reports whether leaves may be at a level.
func (g *smmuGen) blocks(t *smmuTables, level int8) bool { return level <= t.start }

// someIOVA draws the address of a page of tables, from the beginning of their half.
func (g *smmuGen) someIOVA(t *smmuTables) emu.IOVA {
	return g.someAddress(t.maps, t.in) & (1<<t.in - 1) &^ (1<<t.gran - 1)
}

// level is that of the leaves that map 2^lg2 bytes: one of them, or as many as the Contiguous bit joins.
func (t *smmuTables) level(lg2 uint8) int8 {
	return int8((lg2 - uint8(t.gran)) / t.gran.Stride())
}

// leaves returns how many leaves map 2^lg2 bytes.
func (t *smmuTables) leaves(lg2 uint8) int { return 1 << (lg2 - t.gran.Shift(t.level(lg2))) }

// mapAt maps one page, or several that the Contiguous bit joins, unless something is there already.
func (g *smmuGen) mapAt(s *smmuSpace, t *smmuTables, at emu.IOVA, lg2 uint8, pa emu.PA, perm uint64) {
	at = at & (1<<t.in - 1) &^ (1<<lg2 - 1)
	slot, ok := g.slot(t, at, t.level(lg2))
	if !ok || slices.ContainsFunc(g.current(slot, t.leaves(lg2)), func(e uint64) bool { return e != 0 }) {
		return
	}
	m := mapping{t.base + at, lg2, pa, perm}
	g.store(slot, g.leafRun(s, t, &m), "%d KiB leaf of space %d: %#x", 1<<(lg2-10), s.asid, uint64(m.iova))
	t.maps = append(t.maps, m)
}

// leafRun returns the descriptors of a page.
func (g *smmuGen) leafRun(s *smmuSpace, t *smmuTables, m *mapping) []uint64 {
	level, n := t.level(m.lg2), t.leaves(m.lg2)
	e := g.leaf(s, t, m, level) | spec.TtdContig.PutBool(n > 1)
	w := make([]uint64, n)
	for i := range w {
		w[i] = e + uint64(i)<<t.gran.Shift(level)
	}
	return w
}

// leaf returns the descriptor of a page. Bits that mean nothing here are set now and then.
func (g *smmuGen) leaf(s *smmuSpace, t *smmuTables, m *mapping, level int8) uint64 {
	e := uint64(m.pa) | spec.TtdValid.Mask() | spec.TtdTable.PutBool(level == 0) | spec.TtdSH.Put(g.r.Uint64N(4)&^1)
	e |= spec.TtdAF.PutBool(!s.affd || g.chance(50)) | spec.TtdSW.Put(g.r.Uint64())&-truth(g.chance(20))
	if t.s2 {
		return e | spec.S2AP.Put(m.perm) | spec.S2MemAttr.Put(0xf) | spec.S2XN.Put(g.r.Uint64N(4))
	}
	return e | spec.S1AP1.Mask() | spec.S1AP2.PutBool(m.perm&2 == 0) | spec.S1NG.PutBool(g.mode == smmuS1 || g.chance(70)) |
		spec.S1AttrIndx.Put(g.r.Uint64N(4)) | spec.S1PXN.PutBool(g.chance(30)) | spec.S1UXN.PutBool(g.chance(30))
}

// slot returns the place of the descriptor of a level for an address, and makes the tables above.
func (g *smmuGen) slot(t *smmuTables, at emu.IOVA, level int8) (emu.PA, bool) {
	table := t.top
	for l := t.start; ; l-- {
		slot := g.slotIn(t, table, at, l)
		if l == level {
			return slot, true
		}
		e := g.mem[slot]
		if e == 0 {
			next, ok := g.room(uint8(t.gran))
			if !ok {
				return 0, false
			}
			e = uint64(next) | spec.TtdTable.Mask() | spec.TtdValid.Mask() | g.limits(t)
			g.store(slot, []uint64{e}, "table descriptor, level %d", l)
		}
		if e&3 != 3 {
			return 0, false
		}
		table = emu.PA(e & spec.TtdAddr.Mask())
	}
}

// limits are what a table descriptor takes away from all below it; nothing, mostly, and in stage 2.
func (g *smmuGen) limits(t *smmuTables) uint64 {
	switch {
	case g.chance(85):
		return 0
	case t.s2:
		return g.r.Uint64N(32) << spec.S1PXNTable.Lo() // ignored
	}
	return spec.S1APTable1.PutBool(g.chance(15)) | spec.S1APTable2.PutBool(g.chance(50)) | spec.S1PXNTable.PutBool(g.chance(30)) | spec.S1UXNTable.PutBool(g.chance(30))
}

// slotIn returns the place of the descriptor for an address in a table of a level.
func (g *smmuGen) slotIn(t *smmuTables, table emu.PA, at emu.IOVA, l int8) emu.PA {
	bits := t.gran.Stride()
	if l == t.start {
		bits = t.in - t.gran.Shift(l)
	}
	return table + emu.PA(uint64(at)>>t.gran.Shift(l)&(1<<bits-1)*spec.DescSize)
}

// path returns the descriptors on the way to a page, from the top.
func (g *smmuGen) path(t *smmuTables, at emu.IOVA) (slots []emu.PA) {
	at &= 1<<t.in - 1
	table := t.top
	for l := t.start; l >= 0; l-- {
		slot := g.slotIn(t, table, at, l)
		slots = append(slots, slot)
		e := g.mem[slot]
		if e&3 != 3 {
			break
		}
		table = emu.PA(e & spec.TtdAddr.Mask())
	}
	return slots
}

// change rewrites or removes a page, and tells the unit.
func (g *smmuGen) change(s *smmuSpace) {
	t := one(&g.builder, s.halves()...)
	if len(t.maps) == 0 {
		return
	}
	i := g.r.IntN(len(t.maps))
	m := t.maps[i]
	slots := g.path(t, m.iova)
	slot := slots[len(slots)-1]
	meet := g.user(s, t, &m)
	g.section("change %#x of space %d", uint64(m.iova), s.asid)
	meet("before it is changed")
	g.store(slot, make([]uint64, t.leaves(m.lg2)), "leaf of space %d: none", s.asid)
	t.maps = slices.Delete(t.maps, i, i+1)
	g.flushPages(s, t, m.iova, m.lg2, true)
	meet("when it is gone")
	if g.chance(50) {
		return
	}
	m.pa, m.perm = g.somePA(m.lg2), one[uint64](&g.builder, 3, 1)
	t.maps = append(t.maps, m)
	g.store(slot, g.leafRun(s, t, &m), "leaf of space %d: another one", s.asid)
}

// user returns what accesses an address of a page: a device that has it, now and then.
func (g *smmuGen) user(s *smmuSpace, t *smmuTables, m *mapping) func(what string) {
	at := g.inside(m)
	for _, d := range g.devs {
		if g.tables(d) != nil && d.space == s && slices.Contains(d.halves(), t) && g.chance(70) {
			return func(what string) { g.access(d.index, at, what) }
		}
	}
	return func(string) {}
}

// drop takes a table out of a space, with all below it.
func (g *smmuGen) drop(s *smmuSpace) {
	t := one(&g.builder, s.halves()...)
	if len(t.maps) == 0 {
		return
	}
	m := one(&g.builder, t.maps...)
	slots := g.path(t, m.iova)
	if len(slots) < 2 {
		return
	}
	i := g.r.IntN(len(slots) - 1)
	lg2 := t.gran.Shift(t.start - int8(i))
	region := m.iova &^ (1<<lg2 - 1)
	g.section("take the table of %#x out of space %d", uint64(region), s.asid)
	g.store(slots[i], []uint64{0}, "table descriptor of space %d: none", s.asid)
	t.maps = slices.DeleteFunc(t.maps, func(m mapping) bool { return m.iova&^(1<<lg2-1) == region })
	g.flushSpace(s)
}
