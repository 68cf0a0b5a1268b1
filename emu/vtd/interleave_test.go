package vtd_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// crew runs several transactions and the queue engine in a random order, with the rules that every
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
			o.Marked = o.Marked || o != t && o.Matches(&a.Sel)
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

// What starts after the wait descriptor of a complete invalidation has signalled must never see
// what was before, in whatever order everything ran.
func TestNothingOldIsSeenAfterTheWait(t *testing.T) {
	scenarios := map[string]struct {
		sm     bool
		change func(r *rig, pte emu.PA)
	}{
		"leaf": {change: func(r *rig, pte emu.PA) {
			r.put(pte, 0x6000|ssRW)
			r.push(iotlbInv(spec.GranPage, 7), pageInv(iova, 0, true))
		}},
		"context": {change: func(r *rig, _ emu.PA) {
			r.mapPage(r.attach(sid, 8), iova, 0x6000, ssRW)
			r.push(ccInv(spec.GranDevice, 7, uint64(sid), 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
		"tables of the same domain": {change: func(r *rig, _ emu.PA) {
			r.mapPage(r.attach(sid, 7), iova, 0x6000, ssRW)
			r.push(ccInv(spec.GranDevice, 7, uint64(sid), 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
		"PASID entry": {sm: true, change: func(r *rig, _ emu.PA) {
			top := r.page()
			r.mapPage(top, iova, 0x6000, ssRW)
			at := r.pasidEntry(sid, 0)
			w := r.get(at)
			v := [4]uint64{w&^spec.PasidSSPTPTR.Mask() | uint64(top), spec.PasidDID.Put(8) | spec.PasidPWSNP.Mask()}
			require.True(r.t, r.m.Store(at, 16, &v))
			r.push(pcInv(spec.GranPCPASID, 7, 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
		"tables of the same domain and PASID": {sm: true, change: func(r *rig, _ emu.PA) {
			top := r.page()
			r.mapPage(top, iova, 0x6000, ssRW)
			at := r.pasidEntry(sid, 0)
			r.put(at, r.get(at)&^spec.PasidSSPTPTR.Mask()|uint64(top))
			r.push(pcInv(spec.GranPCPASID, 7, 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
	}
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(150) {
				c := &crew{rig: newRig(t), rng: rand.New(rand.NewPCG(seed, 1))}
				top := emu.PA(0)
				if sc.sm {
					top = c.bind(sid, 0, spec.PGTTSecond, 7)
					c.scalable()
				} else {
					top = c.attach(sid, 7)
					c.legacy()
				}
				pte := c.mapPage(top, iova, 0x5000, ssRW)
				c.queue(sc.sm)
				c.nothingOld(80, func() { sc.change(c.rig, pte) })
			}
		})
	}
}

// nothingOld lets requests run, makes the change, which pushes its invalidations, up to turns turns
// later, and requires that what starts after the wait is translated to 0x6000 and all else to that or
// to 0x5000.
func (c *crew) nothingOld(turns int, change func()) {
	old := func(x *emu.Txn) {
		require.Equal(c.t, emu.OK, x.Res.Status, "%#x", x.Res.Fault.Code)
		require.Contains(c.t, []emu.PA{0x5000, 0x6000}, x.Res.PA)
	}
	for range 6 {
		c.start(dma(emu.Read))
	}
	for range c.rng.IntN(turns) {
		c.turn(old)
	}
	change()
	c.push(wait(1, c.status()))
	c.engine = new(emu.Txn)
	require.Equal(c.t, vtd.EngineQueue.Set(), c.u.WriteReg(spec.OffIQT, 4, c.tail))
	c.u.Start(c.engine, &emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	for c.get(c.status()) != 1 {
		if c.rng.IntN(20) == 0 && len(c.active) < 8 {
			c.start(dma(emu.Read))
		}
		c.turn(old)
	}
	for range 6 {
		c.start(dma(emu.Read))
		late := c.active[len(c.active)-1]
		for late.Act.Op != emu.OpDone {
			c.turn(func(x *emu.Txn) {
				if x == late {
					require.EqualValues(c.t, 0x6000, x.Res.PA)
				}
			})
		}
	}
}
