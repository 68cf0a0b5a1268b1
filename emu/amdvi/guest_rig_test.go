package amdvi_test

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

const (
	gP   = uint64(1) << 0
	gRW  = uint64(1) << 1
	gUS  = uint64(1) << 2
	gA   = uint64(1) << 5
	gD   = uint64(1) << 6
	gPS  = uint64(1) << 7
	gNX  = uint64(1) << 63
	gAll = gP | gRW | gUS
)

// guestTables are guest tables of a device, in a space of guest physical addresses: with host tables,
// spa maps a guest physical address to where it is, else they are the same.
type guestTables struct {
	*rig
	levels int
	gcr3   uint64            // root of the GCR3 table, as the DTE has it
	glx    uint64            // its levels less one
	roots  map[uint64]emu.PA // by PASID
	next   uint64            // guest physical allocator; nested only
	host   emu.PA            // host table of three levels; 0: none
}

// gpage makes a page for the guest.
func (g *guestTables) gpage() uint64 {
	p := g.Page()
	if g.host == 0 {
		return uint64(p)
	}
	g.next += emu.PageSize
	g.mapPage(g.host, g.next, uint64(p), pRW)
	return g.next
}

// spa is where a guest physical address is.
func (g *guestTables) spa(gpa uint64) emu.PA {
	if g.host == 0 {
		return emu.PA(gpa)
	}
	e := g.Get(g.pte(g.host, 3, gpa, 1))
	return emu.PA(e&spec.PteAddr.Mask() | gpa&0xfff)
}

// guests gives dev guest tables. With mode 3 there is a host table below them.
func (r *rig) guests(levels int, glx, mode uint64, fields ...field) *guestTables {
	g := &guestTables{rig: r, levels: levels, glx: glx, roots: map[uint64]emu.PA{}, next: 0x4000_0000}
	if mode != 0 {
		g.host = r.Page()
	}
	g.gcr3 = uint64(r.Page())
	var e spec.DTE
	for _, f := range append([]field{
		{spec.DteV, 1}, {spec.DteTV, 1}, {spec.DteIR, 1}, {spec.DteIW, 1}, {spec.DteDomainID, did}, {spec.DteMode, mode},
		{spec.DteHostRoot, uint64(g.host) >> 12}, {spec.DteGV, 1}, {spec.DteGLX, glx}, {spec.DteGuestPagingMode, uint64(levels - 4)},
	}, fields...) {
		f.b.Set(e[:], f.v)
	}
	e.SetGCR3Root(g.gcr3)
	r.Put(r.dte(dev), e[:]...)
	return g
}

// slot returns where the GCR3 table entry of a PASID is, making tables down to it.
func (g *guestTables) slot(p uint64) emu.PA {
	table := emu.PA(g.gcr3)
	for l := g.glx; l > 0; l-- {
		at := table + emu.PA(p>>(9*l)&511*8)
		if g.Get(at) == 0 {
			g.Put(at, uint64(g.Page())|1)
		}
		table = emu.PA(g.Get(at) &^ 0xfff)
	}
	return table + emu.PA(p&511*8)
}

// gpte returns where the entry for addr at a level (from 1) of a PASID's table is, making tables.
func (g *guestTables) gpte(p, addr uint64, level int) emu.PA {
	slot := g.slot(p)
	if g.Get(slot) == 0 {
		g.Put(slot, g.gpage()|1)
	}
	table := g.Get(slot) &^ 0xfff
	for l := g.levels; ; l-- {
		at := g.spa(table + addr>>(3+9*l)&511*8)
		if l == level {
			return at
		}
		if g.Get(at) == 0 {
			g.Put(at, g.gpage()|gAll)
		}
		table = g.Get(at) & spec.GptAddr.Mask()
	}
}

// gmap maps one page of a PASID to a system physical address and returns where its entry is.
func (g *guestTables) gmap(p, addr, pa, bits uint64) emu.PA {
	at := g.gpte(p, addr, 1)
	if g.host == 0 {
		g.Put(at, pa|bits)
		return at
	}
	g.next += emu.PageSize
	g.mapPage(g.host, g.next, pa, pRW)
	g.Put(at, g.next|bits)
	return at
}
