package amdvi_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

func TestWalkerIsNeverHeldWhileWaitingForAMiss(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 1, mode)
		g.gmap(5, iova, 0x7000, gAll)
		q := dma(emu.Read)
		q.PASID = 5
		s := r.begin(q)
		r.ok(s.end(), 0x7000)
		walker := false
		var order []emu.SlotClass
		for _, a := range s.acts {
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
	s := r.begin(dma(emu.Read))
	s.next()
	far := emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: 99}
	require.True(t, s.txn.Matches(&far), "from the first question on")
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFill && a.Cache == emu.CacheEntry })
	require.True(t, s.txn.Matches(&far))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	require.False(t, s.txn.Matches(&far))
	require.True(t, s.txn.Matches(&emu.Selector{Match: emu.MatchDomain, Domain: did}))
	require.True(t, s.txn.Matches(&emu.Selector{Match: emu.MatchSource, Source: dev}))
	require.False(t, s.txn.Matches(&emu.Selector{Match: emu.MatchSource, Source: other}))
}

func TestMarkedWalkFillsNothing(t *testing.T) {
	r := newRig(t).enable()
	at := r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	s := r.begin(dma(emu.Read))
	s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	s.txn.Marked = true // an invalidation came between
	r.ok(s.end(), 0x5000)
	r.put(at, 0x6000|pRW)
	r.ok(r.access(dev, iova, emu.Read), 0x6000)
}

func TestMissesMergeAndRetry(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	owner := r.begin(dma(emu.Read))
	owner.end()
	fills := map[emu.SlotClass][4]uint64{}
	for _, a := range owner.acts {
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
		s := r.begin(dma(emu.Read))
		for s.next() {
			v, mine := fills[s.txn.Act.Slot]
			if s.txn.Act.Op == emu.OpAcquire && mine {
				s.txn.Ans, s.txn.In = ans, v
				if ans == emu.AnsRetry { // once, then it becomes the owner
					delete(fills, s.txn.Act.Slot)
				}
			}
		}
		r.ok(s.txn.Res, 0x5000)
	}
}

// crew runs several transactions and the command engine in a random order, with the rules that every
// executor follows: an invalidation marks what it concerns, a marked transaction fills nothing, a
// drain waits for the marked ones.
type crew struct {
	*rig
	rng    *rand.Rand
	active []*emu.Txn
	engine *emu.Txn
}

func (c *crew) answer(t *emu.Txn) (done bool) {
	c.u.Step(t)
	a := &t.Act
	t.Ans = emu.AnsOK
	switch a.Op {
	case emu.OpFetch, emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		t.Ans = emu.MemoryAnswer(c.m, t)
	case emu.OpProbe:
		if !c.u.Cache(a.Cache).Probe(&a.Key, &t.In) {
			t.Ans = emu.AnsMiss
		}
	case emu.OpFill:
		if !t.Marked {
			c.u.Cache(a.Cache).Fill(&a.Key, a.Lg2, a.Attr, &a.Data)
		}
	case emu.OpInvalidate:
		for id := range emu.NumCaches {
			if k := c.u.Cache(id); k != nil && a.Sel.Caches.Has(id) {
				k.Invalidate(&a.Sel)
			}
		}
		for _, o := range c.active {
			o.Marked = o.Marked || o.Matches(&a.Sel)
		}
	}
	return a.Op == emu.OpDone
}

func (c *crew) blocked() bool {
	if c.engine.Act.Op != emu.OpDrain {
		return false
	}
	for _, o := range c.active {
		if o.Marked {
			return true
		}
	}
	return false
}

func (c *crew) start(q emu.Request) {
	t := new(emu.Txn)
	c.u.Start(t, &q)
	c.active = append(c.active, t)
}

// turn lets one randomly chosen transaction take one step; ended is told of those that end.
func (c *crew) turn(ended func(*emu.Txn)) {
	if i := c.rng.IntN(len(c.active) + 1); i < len(c.active) {
		if t := c.active[i]; c.answer(t) {
			c.active = append(c.active[:i], c.active[i+1:]...)
			ended(t)
		}
		return
	}
	if c.engine != nil && !c.blocked() && c.answer(c.engine) {
		c.engine = nil
	}
}

// What starts after the COMPLETION_WAIT behind a complete invalidation has stored must never see what
// was before, in whatever order everything ran.
func TestNothingOldIsSeenAfterTheWait(t *testing.T) {
	type scenario struct {
		q     emu.Request
		setup func(c *crew) (change func())
	}
	plain, process := dma(emu.Read), dma(emu.Read)
	process.PASID = 5
	guest := func(mode uint64, change func(c *crew, g *guestTables, at emu.PA)) func(*crew) func() {
		return func(c *crew) func() {
			g := c.guests(4, 1, mode)
			at := g.gmap(5, iova, 0x5000, gAll)
			return func() { change(c, g, at) }
		}
	}
	scenarios := map[string]scenario{
		"leaf": {q: plain, setup: func(c *crew) func() {
			at := c.mapPage(c.attach(dev, 3), iova, 0x5000, pRW)
			return func() { c.put(at, 0x6000|pRW); c.push(invPages(did, iova)) }
		}},
		"another table": {q: plain, setup: func(c *crew) func() {
			c.mapPage(c.attach(dev, 3), iova, 0x5000, pRW)
			return func() {
				c.mapPage(c.attach(dev, 3), iova, 0x6000, pRW)
				c.push(invDevtab(dev))
				c.push(invPages(did, spec.AllPages|invS|invPDE))
			}
		}},
		"another domain": {q: plain, setup: func(c *crew) func() {
			c.mapPage(c.attach(dev, 3), iova, 0x5000, pRW)
			return func() {
				top := c.page()
				c.mapPage(top, iova, 0x6000, pRW)
				v := [4]uint64{3 | irw | 3<<9 | uint64(top), 8} // one store of the lower half
				require.True(c.t, c.m.Store(c.dte(dev), 16, &v))
				c.push(invDevtab(dev))
			}
		}},
		"guest leaf": {q: process, setup: guest(0, func(c *crew, _ *guestTables, at emu.PA) {
			c.put(at, 0x6000|gAll)
			c.push(invGuest(did, 5, iova))
		})},
		"GCR3 entry": {q: process, setup: guest(0, func(c *crew, g *guestTables, _ emu.PA) {
			g.gmap(6, iova, 0x6000, gAll)
			c.put(g.slot(5), c.get(g.slot(6)))
			c.push(invGuest(did, 5, spec.AllPages|invS|invPDE))
		})},
		"nested: host leaf": {q: process, setup: guest(3, func(c *crew, g *guestTables, at emu.PA) {
			c.put(c.pte(g.host, 3, c.get(at)&spec.GptAddr.Mask(), 1), 0x6000|pRW)
			c.push(invPages(did, c.get(at)&spec.GptAddr.Mask()))
		})},
		"nested: guest leaf": {q: process, setup: guest(3, func(c *crew, g *guestTables, at emu.PA) {
			v := c.get(at)
			g.gmap(5, iova, 0x6000, gAll)
			require.NotEqual(c.t, v, c.get(at))
			c.push(invGuest(did, 5, iova))
		})},
	}
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(80) {
				c := &crew{rig: fullRig(t), rng: rand.New(rand.NewPCG(seed, 1))}
				change := sc.setup(c)
				status := c.page()
				old := func(x *emu.Txn) {
					require.Equal(t, emu.OK, x.Res.Status, "%#x", x.Res.Fault.Code)
					require.Contains(t, []emu.PA{0x5000, 0x6000}, x.Res.PA)
				}
				for range 6 {
					c.start(sc.q)
				}
				for range c.rng.IntN(120) {
					c.turn(old)
				}
				change()
				c.push(wait(status, 1))
				c.engine = new(emu.Txn)
				require.Equal(t, amdvi.EngineCommand.Set(), c.u.WriteReg(spec.OffCmdTail, 4, c.tail))
				c.u.Start(c.engine, &emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
				for c.get(status) != 1 {
					if c.rng.IntN(20) == 0 && len(c.active) < 8 {
						c.start(sc.q)
					}
					c.turn(old)
				}
				for range 6 {
					c.start(sc.q)
					late := c.active[len(c.active)-1]
					for late.Act.Op != emu.OpDone {
						c.turn(func(x *emu.Txn) {
							if x == late {
								require.EqualValues(t, 0x6000, x.Res.PA, "seed %d", seed)
							}
						})
					}
				}
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
	gpa := r.get(at) & spec.GptAddr.Mask()
	host := r.pte(g.host, 3, gpa, 1)
	q := dma(emu.Read)
	q.PASID = 5
	c := &crew{rig: r}
	c.start(q)
	walk := c.active[0]
	for walk.Act.Op != emu.OpFetch || walk.Act.Addr != host {
		c.answer(walk)
	}
	r.put(host, 0x6000|pRW)
	r.push(invPages(did, gpa))
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	engine := new(emu.Txn)
	r.u.Start(engine, &emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	for engine.Act.Op != emu.OpInvalidate {
		c.answer(engine)
	}
	for !c.answer(walk) {
	}
	require.EqualValues(t, 0x5000, walk.Res.PA, "it began before")
	for !c.answer(engine) {
	}
	r.ok(r.pasidAccess(5, iova, emu.Read), 0x6000)
}
