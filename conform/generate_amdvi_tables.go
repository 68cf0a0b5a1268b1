package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdDomain is an address space. Levels are counted as in the specification: 1 has the smallest pages.
type amdDomain struct {
	did  uint64
	mode uint64 // levels
	top  emu.PA
	maps []mapping
}

// newDomain makes an address space with a few pages.
func (g *amdGen) newDomain() *amdDomain {
	d := &amdDomain{did: g.freshDID(), mode: one[uint64](&g.builder, 3, 3, 3, 4, 4, 4, 5, 6, 2, 1), top: g.page()}
	g.doms = append(g.doms, d)
	for range 1 + g.r.IntN(4) {
		g.mapSome(d)
	}
	return d
}

// width is how many bits addresses of a domain have.
func (d *amdDomain) width() uint64 { return min(12+9*d.mode, 64) }

// fold returns the address that a domain has for any.
func (d *amdDomain) fold(at emu.IOVA) emu.IOVA { return at & (1<<d.width() - 1) }

// levelOf returns the level of the entries that map 2^lg2 bytes.
func levelOf(lg2 uint8) uint64 { return uint64(lg2-12)/9 + 1 }

// below is log2 of what an entry of a level covers.
func below(level uint64) uint64 { return 3 + 9*level }

// mapSome maps pages somewhere in a domain.
func (g *amdGen) mapSome(d *amdDomain) {
	lg2 := one[uint8](&g.builder, 12, 12, 12, 12, 12, 12, 12, 13, 14, 16, 20, 21, 21, 22, 30)
	for levelOf(lg2) > d.mode {
		lg2 = 12
	}
	perm := one[uint64](&g.builder, 3, 3, 3, 3, 1, 2)
	at := g.someIOVA(d)
	if lg2 > 12 || g.chance(60) {
		g.mapAt(d, at, lg2, perm)
		return
	}
	for range 1 + g.r.IntN(3) { // neighbours
		g.mapAt(d, at, 12, perm)
		at += emu.PageSize
	}
}

// someIOVA draws the address of a page of a domain.
func (g *amdGen) someIOVA(d *amdDomain) emu.IOVA {
	return d.fold(g.someAddress(d.maps, uint8(d.width()))) &^ (emu.PageSize - 1)
}

// mapAt maps one page, unless something is there already.
func (g *amdGen) mapAt(d *amdDomain, at emu.IOVA, lg2 uint8, perm uint64) {
	at = d.fold(at) &^ (1<<lg2 - 1)
	slot, ok := g.slot(d, at, levelOf(lg2))
	if !ok {
		return
	}
	for i := range replicas(lg2) {
		if g.mem[slot+emu.PA(8*i)] != 0 {
			return
		}
	}
	m := mapping{at, lg2, g.somePA(lg2), perm}
	g.leaf(d, slot, &m)
	d.maps = append(d.maps, m)
}

// replicas is how many entries have the same page.
func replicas(lg2 uint8) int { return 1 << ((lg2 - 12) % 9) }

// leaf writes the entries of a page. Bits that hardware ignores are set now and then (2.2.3).
func (g *amdGen) leaf(d *amdDomain, slot emu.PA, m *mapping) {
	e := uint64(m.pa)
	if n := replicas(m.lg2); n > 1 {
		e = spec.PageSizeAddr(uint64(m.pa), m.lg2) | spec.PteNextLevel.Put(spec.NextLevelSize)
	}
	e |= spec.PtePR.Mask() | m.perm<<61 | spec.PteFC.PutBool(g.chance(30)) | spec.PteU.PutBool(g.chance(10))
	if g.chance(20) {
		e |= g.r.Uint64() & amdIgnored
	}
	g.replicate(slot, m.lg2, e, "%d KiB leaf of domain %d: %#x", 1<<(m.lg2-10), d.did, uint64(m.iova))
}

// replicate writes an entry as often as the size of its page wants it.
func (g *amdGen) replicate(slot emu.PA, lg2 uint8, e uint64, format string, a ...any) {
	words := make([]uint64, replicas(lg2))
	for i := range words {
		words[i] = e
	}
	g.store(slot, words, format, a...)
}

// amdIgnored are bits that hardware ignores in leaves: 4:1, A, D, 8:7, 63.
const amdIgnored = 1<<63 | 0x1fe

// slot returns the place of the entry of a level for an address, and makes the tables above. It fails
// where something else is in the way.
func (g *amdGen) slot(d *amdDomain, at emu.IOVA, level uint64) (emu.PA, bool) {
	table := d.top
	for l := d.mode; ; {
		slot := table + emu.PA(uint64(at)>>below(l)&511*8)
		if l == level {
			return slot, true
		}
		e := g.mem[slot]
		next := spec.PteNextLevel.Of(e)
		switch {
		case e == 0:
			next = l - 1
			for next > level && g.chance(12) && uint64(at)>>below(next)&511 == 0 {
				next-- // a level is skipped
			}
			table = g.page()
			perm := one(&g.builder, amdRW, amdRW, amdRW, amdRW, amdRW, amdRW, amdRW, amdRW, amdRW, amdR, amdW)
			g.store(slot, []uint64{uint64(table) | spec.PteNextLevel.Put(next) | perm | 1}, "level %d entry of domain %d: %#x",
				l, d.did, uint64(at)>>below(l)<<below(l))
		case next == spec.NextLevelPage || next == spec.NextLevelSize || next < level:
			return 0, false
		case uint64(at)>>below(next+1)&(1<<(9*(l-1-next))-1) != 0: // of skipped levels
			return 0, false
		default:
			table = emu.PA(e & spec.PteAddr.Mask())
		}
		l = next
	}
}

// path returns the entries on the way to a page, from the top, with their levels.
func (g *amdGen) path(d *amdDomain, at emu.IOVA) (slots []emu.PA, levels []uint64) {
	table := d.top
	for l := d.mode; ; {
		slot := table + emu.PA(uint64(at)>>below(l)&511*8)
		slots, levels = append(slots, slot), append(levels, l)
		e := g.mem[slot]
		next := spec.PteNextLevel.Of(e)
		if next == spec.NextLevelPage || next == spec.NextLevelSize {
			return slots, levels
		}
		table, l = emu.PA(e&spec.PteAddr.Mask()), next
	}
}

// find returns the place of the first entry of a page.
func (g *amdGen) find(d *amdDomain, m *mapping) emu.PA {
	slots, _ := g.path(d, m.iova)
	return slots[len(slots)-1]
}

// change rewrites or removes a page, and tells the unit.
func (g *amdGen) change(d *amdDomain) {
	if len(d.maps) == 0 {
		return
	}
	i := g.r.IntN(len(d.maps))
	m := d.maps[i]
	slot := g.find(d, &m)
	if g.chance(50) {
		g.section("unmap %#x of domain %d", uint64(m.iova), d.did)
		g.replicate(slot, m.lg2, 0, "leaf of domain %d: none", d.did)
		d.maps = slices.Delete(d.maps, i, i+1)
	} else {
		g.section("change %#x of domain %d", uint64(m.iova), d.did)
		m.pa, m.perm = g.somePA(m.lg2), one[uint64](&g.builder, 3, 1, 2)
		d.maps[i] = m
		g.leaf(d, slot, &m)
	}
	g.flushPages(d, m.iova, m.lg2, false)
}

// drop takes a table out of a domain, with all below it.
func (g *amdGen) drop(d *amdDomain) {
	if len(d.maps) == 0 {
		return
	}
	m := one(&g.builder, d.maps...)
	slots, levels := g.path(d, m.iova)
	if len(slots) < 2 {
		return
	}
	i := g.r.IntN(len(slots) - 1)
	lg2 := below(levels[i])
	region := m.iova &^ (1<<lg2 - 1)
	g.section("take the table of %#x out of domain %d", uint64(region), d.did)
	g.store(slots[i], []uint64{0}, "level %d entry of domain %d: none", levels[i], d.did)
	d.maps = slices.DeleteFunc(d.maps, func(m mapping) bool { return m.iova&^(1<<lg2-1) == region })
	g.flushPages(d, region, uint8(min(lg2, 64)), true)
}
