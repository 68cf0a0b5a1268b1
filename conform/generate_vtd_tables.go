package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// newDomain makes an address space with a few pages.
func (g *vtdGen) newDomain() *vtdDomain {
	d := &vtdDomain{did: g.freshDID(), aw: spec.AW48, first: g.first, top: g.page()}
	if !g.first {
		d.aw = one(&g.builder, uint64(spec.AW39), spec.AW48)
	}
	g.doms = append(g.doms, d)
	for range 1 + g.r.IntN(4) {
		g.mapSome(d)
	}
	return d
}

// freshDID returns a domain-id that no domain has.
func (g *vtdGen) freshDID() uint64 {
	for {
		did := uint64(1 + g.r.IntN(8))
		if g.chance(20) {
			did = uint64(g.r.IntN(1 << 16))
		}
		used := slices.ContainsFunc(g.doms, func(d *vtdDomain) bool { return d.did == did }) ||
			slices.ContainsFunc(g.devs, func(d *vtdDevice) bool { return d.pass && d.did == did })
		if !used {
			return did
		}
	}
}

// width is how many bits addresses of a domain have.
func (d *vtdDomain) width() uint { return uint(30 + 9*d.aw) }

// levels is how many levels of tables a domain has; level 0 has the smallest leaves.
func (d *vtdDomain) levels() int { return int(d.aw) + 2 }

// fold returns the address that a domain has for any: within its width, and in a first stage with the
// bits above like the topmost one.
func (d *vtdDomain) fold(at emu.IOVA) emu.IOVA {
	s := 64 - d.width()
	if d.first {
		return emu.IOVA(int64(at<<s) >> s)
	}
	return at << s >> s
}

// shift is log2 of what an entry of a level maps.
func shift(level int) uint8 { return uint8(12 + 9*level) }

// mapSome maps pages somewhere in a domain.
func (g *vtdGen) mapSome(d *vtdDomain) {
	level := one(&g.builder, 0, 0, 0, 0, 0, 1, 1, 2)
	perm := one[uint64](&g.builder, 3, 3, 3, 3, 1, 2)
	at := g.someIOVA(d)
	if level > 0 || g.chance(60) {
		g.mapAt(d, at, level, g.somePA(shift(level)), perm)
		return
	}
	for range 1 + g.r.IntN(3) { // neighbours
		g.mapAt(d, at, 0, g.somePA(12), perm)
		at += emu.PageSize
	}
}

// someIOVA draws the address of a page of a domain.
func (g *vtdGen) someIOVA(d *vtdDomain) emu.IOVA {
	return d.fold(g.someAddress(d.maps, uint8(d.width()))) &^ (emu.PageSize - 1)
}

// mapAt maps one leaf, unless something is there already.
func (g *vtdGen) mapAt(d *vtdDomain, at emu.IOVA, level int, pa emu.PA, perm uint64) {
	at = d.fold(at) &^ (1<<shift(level) - 1)
	slot, ok := g.slot(d, at, level)
	if !ok || g.mem[slot] != 0 {
		return
	}
	g.store(slot, []uint64{g.leaf(pa, level, perm)}, "level %d leaf of domain %d: %#x", level, d.did, uint64(at))
	d.maps = append(d.maps, mapping{at, shift(level), pa, perm})
}

// slot returns the place of the entry of a level for an address, and makes the tables above. It
// fails where a large page is in the way.
func (g *vtdGen) slot(d *vtdDomain, at emu.IOVA, level int) (emu.PA, bool) {
	table := d.top
	for l := d.levels() - 1; ; l-- {
		slot := table + emu.PA(uint64(at)>>shift(l)&511*8)
		if l == level {
			return slot, true
		}
		e := g.mem[slot]
		switch {
		case !g.present(e):
			table = g.page()
			e = g.tableEntry(table)
			g.store(slot, []uint64{e}, "level %d table entry of domain %d: %#x", l, d.did, uint64(at)>>shift(l)<<shift(l))
		case l > 0 && l <= 2 && spec.SSPS.On(e):
			return 0, false
		default:
			table = emu.PA(e & spec.SSADDR.Mask())
		}
	}
}

// find returns the place of the leaf that maps an address, without making anything.
func (g *vtdGen) find(d *vtdDomain, m *mapping) emu.PA {
	table := d.top
	for l := d.levels() - 1; ; l-- {
		slot := table + emu.PA(uint64(m.iova)>>shift(l)&511*8)
		if shift(l) == m.lg2 {
			return slot
		}
		table = emu.PA(g.mem[slot] & spec.SSADDR.Mask())
	}
}

// change rewrites or removes a leaf, and tells the unit.
func (g *vtdGen) change(d *vtdDomain) {
	if len(d.maps) == 0 {
		return
	}
	i := g.r.IntN(len(d.maps))
	m := d.maps[i]
	slot := g.find(d, &m)
	level := int(m.lg2-12) / 9
	if g.chance(50) {
		g.section("unmap %#x of domain %d", uint64(m.iova), d.did)
		g.store(slot, []uint64{0}, "level %d leaf of domain %d: none", level, d.did)
		d.maps = slices.Delete(d.maps, i, i+1)
	} else {
		g.section("change %#x of domain %d", uint64(m.iova), d.did)
		m.pa, m.perm = g.somePA(shift(level)), one[uint64](&g.builder, 3, 1, 2)
		d.maps[i] = m
		g.store(slot, []uint64{g.leaf(m.pa, level, m.perm)}, "level %d leaf of domain %d: %#x", level, d.did, uint64(m.iova))
	}
	g.flushPages(d, m.iova, m.lg2, true)
}

// drop takes a table out of a domain, with all below it.
func (g *vtdGen) drop(d *vtdDomain) {
	if len(d.maps) == 0 {
		return
	}
	m := one(&g.builder, d.maps...)
	level := 1 + g.r.IntN(d.levels()-1)
	lg2 := shift(level)
	if lg2 <= m.lg2 {
		return
	}
	region := m.iova &^ (1<<lg2 - 1)
	slot, ok := g.slot(d, region, level)
	if !ok {
		return
	}
	g.section("take the level %d table at %#x out of domain %d", level, uint64(region), d.did)
	g.store(slot, []uint64{0}, "level %d table entry of domain %d: none", level, d.did)
	d.maps = slices.DeleteFunc(d.maps, func(m mapping) bool { return m.iova&^(1<<lg2-1) == region })
	g.flushPages(d, region, lg2, false)
}
