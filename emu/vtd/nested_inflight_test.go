package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

func pasidInv(g, did, p uint64) uint64 {
	return spec.PutDescType(spec.DescPASIDIOTLB) | spec.PiG.Put(g) | spec.PiDID.Put(did) | spec.PiPASID.Put(p)
}

// As TestNothingOldIsSeenAfterTheWait, for what a change of either stage has to invalidate.
func TestNothingOldIsSeenAfterTheWait_FirstStageAndNested(t *testing.T) {
	// first and nest map iova to 0x5000 and return the change to 0x6000.
	first := func(change func(r *rig, top emu.PA)) func(*rig) func() {
		return func(r *rig) func() {
			top := r.first(sid, 0, 7)
			r.fsMap(top, iova, 0x5000, fsRWU)
			return func() { change(r, top) }
		}
	}
	nest := func(change func(g *guest)) func(*rig) func() {
		return func(r *rig) func() {
			g := r.nest(sid, 0, 7, 0)
			g.mapTwo(iova, gpa, 0x5000)
			return func() { change(g) }
		}
	}
	scenarios := map[string]func(*rig) func(){
		"first-stage leaf": first(func(r *rig, top emu.PA) {
			r.fsMap(top, iova, 0x6000, fsRWU)
			r.push(pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, true))
		}),
		"first-stage table": first(func(r *rig, top emu.PA) {
			table := r.Page()
			r.Put(table+emu.PA(iova>>12&511*8), 0x6000|fsRWU)
			r.Put(r.fsEntry(top, 4, iova, 1), uint64(table)|fsRWU)
			r.push(pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, false))
		}),
		"PASID entry, first stage": first(func(r *rig, _ emu.PA) {
			top := r.Page()
			r.fsMap(top, iova, 0x6000, fsRWU)
			at := r.pasidEntry(sid, 0) + 16
			r.Put(at, r.Get(at)&^spec.PasidFSPTPTR.Mask()|uint64(top))
			r.push(pcInv(spec.GranPCPASID, 7, 0), 0)
			r.push(pasidInv(spec.GranPASID, 7, 0), 0)
		}),
		"nested, first-stage leaf": nest(func(g *guest) {
			g.mapTwo(iova, gpa+4096, 0x6000)
			g.push(pasidInv(spec.GranPASIDPage, 7, 0), pageInv(iova, 0, true))
		}),
		"nested, second-stage leaf": nest(func(g *guest) {
			g.mapPage(g.ss, gpa, 0x6000, ssRW)
			g.push(iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, true))
		}),
		"nested, second-stage table": nest(func(g *guest) {
			g.Put(g.pte(g.ss, gpa, 2), 0) // other tables from here on
			g.mapPage(g.ss, gpa, 0x6000, ssRW)
			g.push(iotlbInv(spec.GranPage, 7), pageInv(gpa, 0, false))
		}),
		"nested, page of a first-stage table": nest(func(g *guest) {
			table := g.rig.Page()
			at := g.entry(iova, 0)
			g.mapTwo(iova+1<<40, gpa+4096, 0x6000)
			g.Put(table+emu.PA(at&0xfff), gpa+4096|fsRWU)
			g.mapPage(g.ss, at&^0xfff, uint64(table), ssRW)
			g.push(iotlbInv(spec.GranPage, 7), pageInv(at&^0xfff, 0, true))
		}),
		"nested, PASID entry, second stage": nest(func(g *guest) {
			// Another second stage with the same tables of the first one in it.
			h := &guest{rig: g.rig, ss: g.rig.Page(), levels: 4, top: g.top}
			for level := range 4 {
				at := g.entry(iova, level)
				h.mapPage(h.ss, at&^0xfff, uint64(g.at(at)&^0xfff), ssRW)
			}
			h.mapPage(h.ss, gpa, 0x6000, ssRW)
			at := g.pasidEntry(sid, 0)
			g.Put(at, g.Get(at)&^spec.PasidSSPTPTR.Mask()|uint64(h.ss))
			g.push(pcInv(spec.GranPCPASID, 7, 0), 0)
			g.push(iotlbInv(spec.GranDomain, 7), 0)
		}),
	}
	for name, setup := range scenarios {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(120) {
				r := newRig(t, func(c *vtd.Config) {
					// Few entries, so that something is walked again at any time.
					if seed&1 != 0 {
						c.IOTLB = iotlb.Geometry{}
					}
					if seed&2 != 0 {
						c.Stage2 = iotlb.Geometry{}
					}
					if seed&4 != 0 {
						c.Walk = nil
					}
				})
				change := setup(r)
				r.scalable()
				r.queue(true)
				r.nothingOld(seed, 500, change)
			}
		})
	}
}

// A nested walk in flight has used second-stage entries: an invalidation of those concerns it at once,
// not only the one of nested translations that follows.
func TestVTDQuirk47_NestedWalkIsMarkedBySecondStageInvalidations(t *testing.T) {
	r := newRig(t)
	g := r.nest(sid, 0, 7, 0)
	g.mapTwo(iova, gpa, 0x5000)
	r.scalable()
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheStage2 })
	second := emu.Selector{Match: emu.MatchDomain | emu.MatchClass | emu.MatchAddress, Domain: 7, Classes: 1 << vtd.ClassSS}
	require.True(t, s.Txn.Matches(&second))
	second.Domain = 8
	require.False(t, s.Txn.Matches(&second))
	process := emu.Selector{Match: emu.MatchDomain | emu.MatchPASID | emu.MatchClass, Domain: 7, Classes: 1 << vtd.ClassNested}
	require.True(t, s.Txn.Matches(&process))
	process.PASID = 1
	require.False(t, s.Txn.Matches(&process))

	r = newRig(t)
	r.fsMap(r.first(sid, 0, 7), iova, 0x5000, fsRWU)
	r.scalable()
	s = r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	second.Domain = 7
	require.False(t, s.Txn.Matches(&second), "a first stage alone has used none")
}
