package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

func TestWalkerIsNeverHeldWhileWaitingForAMiss(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 1, mode)
		g.gmap(5, iova, 0x7000, gAll)
		q := dma(emu.Read)
		q.PASID = 5
		s := r.Begin(q)
		r.RequireOK(s.End(), 0x7000)
		walker := false
		var order []emu.SlotClass
		for _, a := range s.Acts {
			switch a.Op {
			case emu.OpAcquire:
				order = append(order, a.Slot)
				require.False(t, walker, "%v", a.Slot)
				walker = a.Slot == emu.SlotWalker
			case emu.OpRelease:
				walker = walker && a.Slot != emu.SlotWalker
			}
		}
		require.Equal(t, []emu.SlotClass{emu.SlotEntry, emu.SlotWalker, emu.SlotMiss, emu.SlotWalker}, order)
	}
}

func TestDomainIsKnownOnlyAfterTheEntryIsCached(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	s := r.Begin(dma(emu.Read))
	s.Next()
	far := emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: 99}
	require.True(t, s.Txn.Matches(&far), "from the first question on")
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFill && a.Cache == emu.CacheEntry })
	require.True(t, s.Txn.Matches(&far))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	require.False(t, s.Txn.Matches(&far))
	require.True(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchDomain, Domain: did}))
	require.True(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchSource, Source: dev}))
	require.False(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchSource, Source: other}))
}

func TestMarkedWalkFillsNothing(t *testing.T) {
	r := newRig(t).enable()
	at := r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	s.Txn.Marked = true // an invalidation came between
	r.RequireOK(s.End(), 0x5000)
	r.Put(at, 0x6000|pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x6000)
}

func TestMissesMergeAndRetry(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	owner := r.Begin(dma(emu.Read))
	owner.End()
	fills := map[emu.SlotClass][4]uint64{}
	for _, a := range owner.Acts {
		switch {
		case a.Op == emu.OpFill && a.Cache == emu.CacheEntry:
			fills[emu.SlotEntry] = a.Data
		case a.Op == emu.OpFill && a.Cache == emu.CacheIOTLB:
			fills[emu.SlotMiss] = a.Data
		}
	}
	require.Len(t, fills, 2)
	for _, ans := range []emu.Answer{emu.AnsMerged, emu.AnsRetry} {
		r.submit(invAll())
		s := r.Begin(dma(emu.Read))
		for s.Next() {
			v, mine := fills[s.Txn.Act.Slot]
			if s.Txn.Act.Op == emu.OpAcquire && mine {
				s.Txn.Ans, s.Txn.In = ans, v
				if ans == emu.AnsRetry { // once, then it becomes the owner
					delete(fills, s.Txn.Act.Slot)
				}
			}
		}
		r.RequireOK(s.Txn.Res, 0x5000)
	}
}

// What starts after the COMPLETION_WAIT behind a complete invalidation has stored must never see what
// was before, in whatever order everything ran.
func TestNothingOldIsSeenAfterTheWait(t *testing.T) {
	type scenario struct {
		q     emu.Request
		setup func(r *rig) (change func())
	}
	plain, process := dma(emu.Read), dma(emu.Read)
	process.PASID = 5
	guest := func(mode uint64, change func(r *rig, g *guestTables, at emu.PA)) func(*rig) func() {
		return func(r *rig) func() {
			g := r.guests(4, 1, mode)
			at := g.gmap(5, iova, 0x5000, gAll)
			return func() { change(r, g, at) }
		}
	}
	scenarios := map[string]scenario{
		"leaf": {q: plain, setup: func(r *rig) func() {
			at := r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
			return func() { r.Put(at, 0x6000|pRW); r.push(invPages(did, iova)) }
		}},
		"another table": {q: plain, setup: func(r *rig) func() {
			r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
			return func() {
				r.mapPage(r.attach(dev, 3), iova, 0x6000, pRW)
				r.push(invDevtab(dev))
				r.push(invPages(did, spec.AllPages|invS|invPDE))
			}
		}},
		"another domain": {q: plain, setup: func(r *rig) func() {
			r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
			return func() {
				top := r.Page()
				r.mapPage(top, iova, 0x6000, pRW)
				v := [4]uint64{3 | irw | 3<<9 | uint64(top), 8} // one store of the lower half
				require.True(r.T, r.Mem.Store(r.dte(dev), 16, &v))
				r.push(invDevtab(dev))
			}
		}},
		"guest leaf": {q: process, setup: guest(0, func(r *rig, _ *guestTables, at emu.PA) {
			r.Put(at, 0x6000|gAll)
			r.push(invGuest(did, 5, iova))
		})},
		"GCR3 entry": {q: process, setup: guest(0, func(r *rig, g *guestTables, _ emu.PA) {
			g.gmap(6, iova, 0x6000, gAll)
			r.Put(g.slot(5), r.Get(g.slot(6)))
			r.push(invGuest(did, 5, spec.AllPages|invS|invPDE))
		})},
		"nested: host leaf": {q: process, setup: guest(3, func(r *rig, g *guestTables, at emu.PA) {
			r.Put(r.pte(g.host, 3, r.Get(at)&spec.GptAddr.Mask(), 1), 0x6000|pRW)
			r.push(invPages(did, r.Get(at)&spec.GptAddr.Mask()))
		})},
		"nested: guest leaf": {q: process, setup: guest(3, func(r *rig, g *guestTables, at emu.PA) {
			v := r.Get(at)
			g.gmap(5, iova, 0x6000, gAll)
			require.NotEqual(r.T, v, r.Get(at))
			r.push(invGuest(did, 5, iova))
		})},
	}
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(80) {
				r := fullRig(t)
				change := sc.setup(r)
				status := r.Page()
				r.Crew(seed).NothingOld(emutest.Rewrite{
					Request: sc.q, Old: 0x5000, New: 0x6000, Turns: 120,
					Change:   func() { change(); r.push(wait(status, 1)) },
					Bell:     func() emu.Wake { return r.u.WriteReg(spec.OffCmdTail, 4, r.tail) },
					Complete: func() bool { return r.Get(status) == 1 },
				})
			}
		})
	}
}

// INVALIDATE_IOMMU_PAGES of a host page is two selectors here. A nested walk that ends between them has
// read the old host entry and must not leave it anywhere.
func TestNestedWalkThatEndsBetweenTwoSelectors(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 3)
	at := g.gmap(5, iova, 0x5000, gAll|gA)
	gpa := r.Get(at) & spec.GptAddr.Mask()
	host := r.pte(g.host, 3, gpa, 1)
	q := dma(emu.Read)
	q.PASID = 5
	c := r.Crew(0)
	walk := c.Start(q)
	for walk.Act.Op != emu.OpFetch || walk.Act.Addr != host {
		c.Step(walk)
	}
	r.Put(host, 0x6000|pRW)
	r.push(invPages(did, gpa))
	engine := c.StartEngine(r.u.WriteReg(spec.OffCmdTail, 4, r.tail))
	for engine.Act.Op != emu.OpInvalidate {
		c.Step(engine)
	}
	for !c.Step(walk) {
	}
	require.EqualValues(t, 0x5000, walk.Res.PA, "it began before")
	for !c.Step(engine) {
	}
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x6000)
}

// fetched returns size and address of each memory read so far.
func fetched(s *emutest.Stepper) (sizes []uint8, at []emu.PA) {
	for _, a := range s.Fetches() {
		sizes, at = append(sizes, a.Size), append(at, a.Addr)
	}
	return sizes, at
}
