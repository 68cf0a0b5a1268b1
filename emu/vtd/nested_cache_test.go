package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// What a nested translation leaves in each cache, by the change that only shows once the right
// invalidation has been made.
func TestVTDQuirk31_WhatChangesOfNestedTablesNeed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(g *guest)
		less   [][2]uint64 // descriptors that do not help
		enough [2]uint64
	}{
		{"output in the second stage", func(g *guest) { g.mapPage(g.ss, gpa, 0x6000, ssRW) },
			[][2]uint64{
				{pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, false)}, {pasidInv(spec.GranPASID, 7, 0), 0},
				{iotlbInv(spec.GranPage, 8), pageInv(gpa, 0, false)}, {iotlbInv(spec.GranPage, 7), pageInv(iova, 0, false)},
			},
			[2]uint64{iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, true)}},
		{"table of the second stage", func(g *guest) {
			g.Put(g.pte(g.ss, gpa, 1), 0)
			g.mapPage(g.ss, gpa, 0x6000, ssRW)
		},
			[][2]uint64{{pasidInv(spec.GranPASID, 7, 0), 0}, {iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, true)}},
			[2]uint64{iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, false)}},
		{"page of a first-stage table", func(g *guest) {
			table, at := g.rig.Page(), g.entry(iova, 0)
			g.mapPage(g.ss, gpa+4096, 0x6000, ssRW)
			g.Put(table+emu.PA(at&0xfff), gpa+4096|fsRWU)
			g.mapPage(g.ss, at&^0xfff, uint64(table), ssRW)
		},
			[][2]uint64{{pasidInv(spec.GranPASID, 7, 0), 0}, {iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, false)}},
			[2]uint64{iotlbInv(spec.GranPage, 7), pageInv(0x7_0000_0000, 20, true)}},
		{"leaf of the first stage", func(g *guest) { g.mapTwo(iova, gpa+4096, 0x6000) },
			[][2]uint64{
				{pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova+4096, 0, false)}, {pasidInv(spec.GranPASID, 7, 1), 0},
				{pasidInv(spec.GranPASID, 8, 0), 0},
			},
			[2]uint64{pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, true)}},
		{"table of the first stage", func(g *guest) {
			g.Put(g.at(g.entry(iova, 1)), 0)
			g.mapTwo(iova, gpa+4096, 0x6000)
		},
			[][2]uint64{{pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, true)}},
			[2]uint64{pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, false)}},
		{"first stage, by an address of the second", func(g *guest) { g.mapTwo(iova, gpa+4096, 0x6000) }, nil,
			[2]uint64{iotlbInv(spec.GranPage, 7), pageInv(0, 0, true)}},
		{"anything, by domain", func(g *guest) { g.mapPage(g.ss, gpa, 0x6000, ssRW) }, [][2]uint64{{iotlbInv(spec.GranDomain, 8), 0}},
			[2]uint64{iotlbInv(spec.GranDomain, 7), 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			g := r.nest(sid, 0, 7, 0)
			g.mapTwo(iova, gpa, 0x5000)
			r.scalable()
			r.queue(true)
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
			c.change(g)
			for _, d := range c.less {
				r.submit(d[0], d[1])
				r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
			}
			r.submit(c.enough[0], c.enough[1])
			require.False(t, r.iqe())
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
		})
	}
}

// Of the caches of the second stage, as TestInvalidationReachesWhatItNames.
func TestVTDQuirk31_SecondStageCachesAreReachedAsSecondStage(t *testing.T) {
	for _, c := range []struct {
		name   string
		lo, hi uint64
		gone   string // of "TW": translations, walk
	}{
		{"type 2 global", iotlbInv(spec.GranGlobal, 0), 0, "TW"},
		{"type 2 domain", iotlbInv(spec.GranDomain, 7), 0, "TW"},
		{"type 2 other domain", iotlbInv(spec.GranDomain, 8), 0, ""},
		{"type 2 page", iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, false), "TW"},
		{"type 2 page, leaves only", iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, true), "T"},
		{"type 2 page in the same table", iotlbInv(spec.GranPage, 7), pageInv(gpa+4096, 0, false), "W"},
		{"type 2 other page", iotlbInv(spec.GranPage, 7), pageInv(gpa+1<<21, 0, false), ""},
		{"type 6 PASID", pasidInv(spec.GranPASID, 7, 5), 0, ""},
		{"type 6 page", pasidInv(spec.GranPASIDPage, 7, 5), pageInv(gpa, 0, false), ""},
		{"type 6 all pages", pasidInv(spec.GranPASIDPage, 7, 5), pageInv(0, 63, false), ""},
		{"PASID cache", pcInv(spec.GranPCGlobal, 0, 0), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.setRoot(spec.TTMScalable)
			r.queue(true)
			key := emu.Key{Tag: emu.MakeTag(vtd.ClassSS, 7, emu.NoPASID), Addr: gpa}
			var v [4]uint64
			r.u.Cache(emu.CacheStage2).Fill(&key, 12, 0, &v)
			r.u.Cache(emu.CacheWalk2).Fill(&key, 21, 0, &v)
			r.submit(c.lo, c.hi)
			require.False(t, r.iqe())
			gone := ""
			for i, id := range []emu.CacheID{emu.CacheStage2, emu.CacheWalk2} {
				if !r.u.Cache(id).Probe(&key, &v) {
					gone += "TW"[i : i+1]
				}
			}
			require.Equal(t, c.gone, gone)
		})
	}
}

func TestVTDQuirk30_FirstStageAndNestedTagsHaveThePASID(t *testing.T) {
	// Two devices with one domain and PASID share what either found, with another PASID they do not.
	r := newRig(t)
	r.fsMap(r.first(sid, 5, 7), iova, 0x5000, fsRWU)
	r.fsMap(r.first(hiSID, 5, 7), iova, 0x6000, fsRWU)
	r.fsMap(r.first(hiSID, 6, 7), iova, 0x7000, fsRWU)
	r.scalable()
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
	q := emu.Request{Source: hiSID, Addr: iova, PASID: 5, Len: 64, Access: emu.Read}
	res := r.Do(q)
	r.RequireOK(res, 0x5000)
	require.NotEqual(t, res.Prov.Entry, res.Prov.Fill)
	q.PASID = 6
	r.RequireOK(r.Do(q), 0x7000)

	// Guests of one second stage share its part, not their own.
	r = newRig(t)
	a := r.nest(sid, 5, 7, 0)
	a.mapTwo(iova, gpa, 0x5000)
	b := r.nest(sid, 6, 7, a.ss)
	b.mapTwo(iova, gpa+4096, 0x6000)
	b.fsMap(iova+4096, gpa, fsRWU)
	r.scalable()
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
	r.RequireOK(r.pasidAccess(6, iova, emu.Read), 0x6000)
	hits := r.u.Cache(emu.CacheStage2).Stats().Hits
	r.RequireOK(r.pasidAccess(6, iova+4096, emu.Read), 0x5000)
	require.Greater(t, r.u.Cache(emu.CacheStage2).Stats().Hits, hits)
}

// Classes keep stages apart that share a domain; entries of one class that disagree about a root do
// share, which is why software must not do that.
func TestVTDQuirk48_StagesThatShareADomainDoNotHitEachOther(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 4, spec.PGTTSecond, 7), iova, 0x4000, ssRW)
	r.fsMap(r.first(sid, 5, 7), iova, 0x5000, fsRWU)
	g := r.nest(sid, 6, 7, 0)
	g.mapTwo(iova, gpa, 0x6000)
	r.scalable()
	r.queue(true)
	for range 2 {
		for p := range emu.PASID(3) {
			r.RequireOK(r.pasidAccess(4+p, iova, emu.Read), uint64(0x4000+p<<12))
		}
	}
	// A page of the second stage invalidated takes the others of that domain with it.
	before := r.u.Cache(emu.CacheIOTLB).Stats().Invalidated
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(0, 0, true))
	require.Equal(t, before+2, r.u.Cache(emu.CacheIOTLB).Stats().Invalidated)

	// Another guest with the same domain but a second stage of its own gets the first one's memory.
	h := r.nest(sid, 7, 7, 0, func(e []uint64) {})
	h.mapTwo(iova, gpa, 0x9000)
	r.Put(r.pasidEntry(sid, 7)+16, g.top)
	r.RequireOK(r.pasidAccess(6, iova, emu.Read), 0x6000)
	res := r.pasidAccess(7, iova, emu.Read)
	r.RequireOK(res, 0x6000)
	require.NotEqual(t, res.Prov.Entry, res.Prov.Fill)
}

func TestVTDQuirk35_CachingModeKeepsAbsentSecondStagePartsOfNested(t *testing.T) {
	for _, of := range []int{-1, 1} { // the output, a table
		r := newRig(t, func(c *vtd.Config) { c.CM = true })
		g := r.nest(sid, 0, 7, 0)
		g.mapTwo(iova, gpa, 0x5000)
		where := gpa
		if of >= 0 {
			where = g.entry(iova, of) &^ 0xfff
		}
		at := r.pte(g.ss, where, 0)
		good := r.Get(at)
		r.scalable()
		r.queue(true)
		for _, bad := range []struct {
			entry uint64
			code  uint16
		}{{0, vtd.FaultSSAbsent}, {good | 1<<62, vtd.FaultSSReservedSM}} {
			r.Put(at, bad.entry)
			r.submit(iotlbInv(spec.GranDomain, 7), 0)
			r.RequireFault(r.Access(sid, iova, emu.Read), bad.code)
			r.Put(at, good)
			r.RequireFault(r.Access(sid, iova, emu.Read), bad.code)
			r.submit(pasidInv(spec.GranPASID, 7, 0), 0)
			r.RequireFault(r.Access(sid, iova, emu.Read), bad.code)
			r.submit(iotlbInv(spec.GranPage, 7), pageInv(where, 0, true))
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		}
		// First-stage entries: never.
		fs := g.at(g.entry(iova, 0))
		good = r.Get(fs)
		r.Put(fs, 0)
		r.submit(iotlbInv(spec.GranDomain, 7), 0)
		r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultFSAbsent)
		r.Put(fs, good)
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	}
}

// A translation made of parts that were cached under another entry says exactly under which.
func TestNestedProvenanceNamesWhatIsStale(t *testing.T) {
	setup := func(change ...func(*vtd.Config)) (*rig, *guest, []uint64) {
		r := newRig(t, change...)
		g := r.nest(sid, 0, 7, 0)
		g.mapTwo(iova, gpa, 0x5000)
		g.mapTwo(iova+4096, gpa+4096, 0x5000)
		r.scalable()
		r.queue(true)
		res := r.Access(sid, iova, emu.Read)
		r.RequireOK(res, 0x5000)
		require.Equal(t, vtd.PASIDVersion(r.words(r.pasidEntry(sid, 0))), res.Prov.Entry)
		require.Equal(t, res.Prov.Entry, res.Prov.Fill)
		return r, g, r.words(r.pasidEntry(sid, 0))
	}
	flushEntry := func(r *rig) { r.submit(pcInv(spec.GranPCPASID, 7, 0), 0) }
	flushGuest := func(r *rig) { r.submit(pasidInv(spec.GranPASID, 7, 0), 0) }
	newSecond := func(r *rig, g *guest) { // the same first stage in another second stage
		h := &guest{rig: r, ss: g.rig.Page(), levels: 4, top: g.top}
		for level := range 4 {
			at := g.entry(iova, level)
			h.mapPage(h.ss, at&^0xfff, uint64(g.at(at)&^0xfff), ssRW)
		}
		h.mapPage(h.ss, gpa, 0x6000, ssRW)
		h.mapPage(h.ss, gpa+4096, 0x6000, ssRW)
		at := r.pasidEntry(sid, 0)
		r.Put(at, r.Get(at)&^spec.PasidSSPTPTR.Mask()|uint64(h.ss))
	}
	newFirst := func(r *rig, g *guest) { // another first stage in the same second stage
		h := &guest{rig: r, ss: g.ss, levels: 4, next: 0x9_0000_0000}
		h.top = h.page()
		h.fsMap(iova, gpa, fsRWU)
		h.fsMap(iova+4096, gpa, fsRWU)
		at := r.pasidEntry(sid, 0) + 16
		r.Put(at, r.Get(at)&^spec.PasidFSPTPTR.Mask()|h.top)
	}

	t.Run("translation", func(t *testing.T) {
		r, g, old := setup()
		newSecond(r, g)
		flushEntry(r)
		res := r.Access(sid, iova, emu.Read)
		require.Equal(t, vtd.PASIDVersion(r.words(r.pasidEntry(sid, 0))), res.Prov.Entry)
		require.Equal(t, vtd.PASIDVersion(old), res.Prov.Fill)
	})
	t.Run("second-stage parts", func(t *testing.T) {
		for name, change := range map[string]func(*vtd.Config){
			"translations": func(c *vtd.Config) { c.Walk2 = nil }, "tables": func(c *vtd.Config) { c.Stage2 = iotlb.Geometry{} },
		} {
			r, g, old := setup(change)
			newSecond(r, g)
			flushEntry(r)
			flushGuest(r)
			res := r.Access(sid, iova, emu.Read)
			r.RequireOK(res, 0x5000)
			require.Equal(t, vtd.PASIDVersion(old), res.Prov.Fill, name)
			// What is filled from stale parts stays stale.
			require.Equal(t, vtd.PASIDVersion(old), r.Access(sid, iova, emu.Read).Prov.Fill, name)
			r.submit(iotlbInv(spec.GranDomain, 7), 0)
			res = r.Access(sid, iova, emu.Read)
			r.RequireOK(res, 0x6000)
			require.Equal(t, res.Prov.Entry, res.Prov.Fill)
		}
	})
	t.Run("second-stage parts under another first stage", func(t *testing.T) {
		r, g, old := setup(func(c *vtd.Config) { c.Walk2 = nil })
		newSecond(r, g)
		newFirst(r, g)
		flushEntry(r)
		flushGuest(r)
		now := r.words(r.pasidEntry(sid, 0))
		h := &guest{rig: r, ss: emu.PA(now[0] & spec.PasidSSPTPTR.Mask()), levels: 4, top: now[2] & spec.PasidFSPTPTR.Mask()}
		for level := range 4 { // the new first stage is in the new second stage, too
			o := &guest{rig: r, ss: g.ss, levels: 4, top: h.top}
			at := o.entry(iova, level)
			h.mapPage(h.ss, at&^0xfff, uint64(o.at(at)&^0xfff), ssRW)
		}
		res := r.Access(sid, iova, emu.Read)
		r.RequireOK(res, 0x5000)
		require.Equal(t, vtd.PASIDVersion([]uint64{old[0], old[1], now[2]}), res.Prov.Fill)
	})
	t.Run("first-stage tables", func(t *testing.T) {
		r, g, old := setup()
		newFirst(r, g)
		flushEntry(r)
		r.submit(pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, true)) // table pointers stay
		for _, va := range []uint64{iova, iova + 4096} {
			res := r.Access(sid, va, emu.Read)
			r.RequireOK(res, 0x5000)
			require.Equal(t, vtd.PASIDVersion(old), res.Prov.Fill)
		}
		flushGuest(r)
		res := r.Access(sid, iova, emu.Read)
		require.Equal(t, res.Prov.Entry, res.Prov.Fill)
	})
}
