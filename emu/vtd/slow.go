package vtd

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// While counters count or a protected region is in effect, every step and every look-up goes a longer
// way. When neither is so, that costs one test.

// setSlow follows a change of what the longer way is for.
func (u *Unit) setSlow() {
	u.slow = u.perf.on || u.shields()
	u.states = numStates
	if u.slow {
		u.states = 0
	}
}

// stepSlow is Step the longer way, and for states that are none.
func (u *Unit) stepSlow(t *emu.Txn) {
	if t.State >= numStates {
		u.ended(t)
		return
	}
	c := cause{tag: t.Tag, domain: t.Known&emu.KnownDomain != 0}
	if t.Req.Type != emu.Job {
		c.q = &t.Req
	}
	counting, begins := u.perf.on, t.State == stFrontEnd
	if counting {
		u.perfTick()
		u.occupyBefore(t)
		u.countAnswer(t, &c)
	}
	onAnswer[t.State%maxStates](u, t)
	u.shield(t)
	if counting {
		c.tag, c.domain, c.level = t.Tag, t.Known&emu.KnownDomain != 0, 0
		u.countQuestion(t, &c)
		u.occupyAfter(t, begins)
		t.Wake |= u.perfWake()
	}
}

// auxEpoch in Aux[0] is the epoch in which a request was counted as being in the unit; auxWalk says
// that it was counted among those that need a page walk.
const (
	auxEpoch reg.Bits = 63_056
	auxWalk  reg.Bits = 55_055
)

// counted in Act.N of a memory access says in which epoch it was counted.
func (u *Unit) counted() uint32 { return 1<<31 | u.s.Perf.Epoch }

// occupyBefore takes note that t has its answer.
func (u *Unit) occupyBefore(t *emu.Txn) {
	if s := &u.s.Perf; memoryAccess(t.Act.Op) && t.Act.N == u.counted() {
		t.Act.N = 0
		s.Accesses--
	}
}

// occupyAfter takes note of the question that t asks.
func (u *Unit) occupyAfter(t *emu.Txn, begins bool) {
	s, request := &u.s.Perf, t.Req.Type != emu.Job
	if memoryAccess(t.Act.Op) {
		t.Act.N = u.counted()
		s.Accesses++
	}
	if begins {
		t.Aux[0] |= auxEpoch.Put(uint64(s.Epoch))
		s.Requests++
	}
	if !request || auxEpoch.Of(t.Aux[0]) != uint64(s.Epoch) {
		return
	}
	walks := auxWalk.On(t.Aux[0])
	if !walks && (t.State == stMissSlot || t.State == stMissWalker) {
		t.Aux[0] |= auxWalk.Mask()
		s.Walks++
	}
	if t.Act.Op == emu.OpDone {
		s.Requests--
		if walks {
			s.Walks--
		}
		t.Aux[0] &^= auxEpoch.Mask()
	}
}

func memoryAccess(op emu.Op) bool {
	return op == emu.OpFetch || op == emu.OpStore || op == emu.OpCAS || op == emu.OpAtomicOr
}

// lookupSlow is Lookup the longer way. It counts what Step would. Where a counter is about to
// overflow it leaves the request to Step, which can wake an engine, and so it does while a region is
// protected.
func (u *Unit) lookupSlow(q *emu.Request, r *emu.Result) bool {
	if u.shields() || u.aboutToOverflow() {
		return false
	}
	u.slow = false
	ok := u.Lookup(q, r)
	u.slow = true
	if !ok {
		return false
	}
	u.perfTick()
	c := cause{q: q}
	u.count(spec.GroupGeneral, spec.EventRequests, 1, &c)
	for _, id := range [...]emu.CacheID{emu.CacheEntry, emu.CachePASID} {
		if r.Touched.Has(id) {
			group, event := cacheEvents(id, 0)
			u.count(group, event, 1, &c)
			u.count(group, event<<1, 1, &c)
		}
	}
	if r.Touched.Has(emu.CacheIOTLB) {
		c.tag, c.domain = emu.Tag(u.hitDomain(q, r)), true
		u.count(spec.GroupIOTLB, spec.EventIOTLBLookup, 1, &c)
		c.level = levelOf(r.Lg2)
		u.count(spec.GroupIOTLB, spec.EventIOTLBHit, 1, &c)
	}
	return true
}

// hitDomain returns the domain of a request that Lookup has answered. The version of an entry has it,
// but for nested translation.
func (u *Unit) hitDomain(q *emu.Request, r *emu.Result) uint64 {
	v := r.Prov.Entry
	if !verScalable.On(v) || verType.Of(v) != spec.PGTTNested {
		return verDID.Of(v)
	}
	key := entryKey(q.Source)
	e, _ := u.cache.Entry.Find(&key)
	p, _, _ := u.smPASID(q, (*spec.SMContextEntry)(e))
	key = pasidKey(q.Source, p)
	e, _ = u.cache.PASID.Find(&key)
	return spec.PasidDID.Of(e[1])
}

// aboutToOverflow reports whether one request that hits everywhere could make a counter overflow.
func (u *Unit) aboutToOverflow() bool {
	const most = 8 // more than the events of any group in such a request
	top := reg.Ones(u.cfg.Perf.Width)
	for _, m := range u.perf.group {
		for ; m != 0; m &= m - 1 {
			if u.reg.Get(u.counterReg(bits.TrailingZeros64(m), cCNTR)) > top-most {
				return true
			}
		}
	}
	return false
}
