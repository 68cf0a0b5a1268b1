package vtd_test

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// guest is the memory of a virtual machine behind a second-stage table: pages with guest-physical
// addresses that lie anywhere. First-stage tables are in it.
type guest struct {
	*rig
	ss     emu.PA // second-stage table, four levels
	top    uint64 // first-stage table, guest-physical
	levels int    // of the first stage
	next   uint64
}

// nest gives (s, p) a PASID entry with nested translation: an empty first-stage table in a guest that
// has the second-stage table ss, a new one if it is 0.
func (r *rig) nest(s emu.SourceID, p emu.PASID, did uint64, ss emu.PA, set ...func(e []uint64)) *guest {
	g := &guest{rig: r, ss: ss, levels: 4, next: 0x7_0000_0000}
	if ss == 0 {
		g.ss = r.Page()
	}
	g.next += uint64(r.Free) // pages of guests with one second stage differ
	g.top = g.page()
	e := make([]uint64, 8)
	spec.PasidP.Set(e, 1)
	spec.PasidPGTT.Set(e, spec.PGTTNested)
	spec.PasidAW.Set(e, spec.AW48)
	spec.PasidDID.Set(e, did)
	spec.PasidPWSNP.Set(e, 1)
	e[0] |= uint64(g.ss)
	e[2] |= g.top
	for _, f := range set {
		f(e)
	}
	if spec.PasidFSPM.Of(e[2]) == spec.FSPM5 {
		g.levels = 5
	}
	r.Put(r.pasidEntry(s, p), e...)
	return g
}

// page returns the guest-physical address of a new page.
func (g *guest) page() uint64 {
	gpa := g.next
	g.next += emu.PageSize
	g.mapPage(g.ss, gpa, uint64(g.rig.Page()), ssRW|ssX)
	return gpa
}

// at returns where a guest-physical address is in memory.
func (g *guest) at(gpa uint64) emu.PA {
	e := g.Get(g.pte(g.ss, gpa, 0))
	require.NotZero(g.T, e&ssRW)
	return emu.PA(e&spec.SSADDR.Mask() | gpa&0xfff)
}

// entry returns the guest-physical address of the first-stage entry for va at a level, making tables.
func (g *guest) entry(va uint64, level int) uint64 {
	table := g.top
	for l := g.levels - 1; ; l-- {
		gpa := table + va>>(12+9*l)&511*8
		if l == level {
			return gpa
		}
		if g.Get(g.at(gpa)) == 0 {
			g.Put(g.at(gpa), g.page()|fsRWU)
		}
		table = g.Get(g.at(gpa)) & spec.FSADDR.Mask()
	}
}

// fsMap maps one page of the first stage and returns where its entry is.
func (g *guest) fsMap(va, gpa, bits uint64) emu.PA {
	at := g.at(g.entry(va, 0))
	g.Put(at, gpa|bits)
	return at
}

// mapTwo maps one page in both stages and returns where the leaves are.
func (g *guest) mapTwo(va, gpa, hpa uint64) (fs, ss emu.PA) {
	return g.fsMap(va, gpa, fsRWU), g.mapPage(g.ss, gpa, hpa, ssRW|ssX)
}
