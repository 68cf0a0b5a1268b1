package vtd

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// perf is what counting needs of the registers, worked out once.
type perf struct {
	base    int    // index of the first register
	states  uint16 // states below this are stepped without a look at counters
	on      bool   // a counter counts
	ticking bool   // one of them counts clocks
	event   event
	clock   emu.Clock
	wake    emu.Wake                    // for whom the unit had no way to wake when it noticed
	group   [spec.NumEventGroups]uint64 // counters that count, by event group
	counter []counter
}

// counter is the configuration of one counter.
type counter struct {
	events uint32
	enable uint8 // filters that are on
	filter [spec.NumFilters]uint32
}

// perfState is what a unit remembers of performance monitoring besides its registers.
type perfState struct {
	Enabled uint64 // counters by command
	Frozen  bool   // all of them, by command
	Last    uint64 // time up to which clocks have been counted
}

// setPerf follows a change of what is counted.
func (u *Unit) setPerf() {
	p, c := &u.perf, &u.cfg
	p.base = rFRCD + 2*c.FaultRecords
	p.on, p.ticking, p.states = false, false, numStates
	p.group = [spec.NumEventGroups]uint64{}
	if !c.PMS {
		return
	}
	b := p.base
	p.event = event{b + pINTRCTL, b + pINTRDATA, b + pINTRADDR, b + pINTRUADDR, b + pINTRSTS, spec.PerfintrPIS, EnginePerfEvent}
	if len(p.counter) != c.Perf.Counters {
		p.counter = make([]counter, c.Perf.Counters)
	}
	frozen := uint64(0)
	if u.s.Perf.Frozen {
		frozen = ones(uint8(c.Perf.Counters))
	}
	u.reg.Set(b+pFRZ, frozen)
	offered := u.perfEvents()
	for m := u.s.Perf.Enabled &^ frozen; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		cfg := u.reg.Get(u.counterReg(i, cConfig))
		g := int(spec.CntrcfgEGI.Of(cfg))
		if g >= spec.NumEventGroups {
			continue
		}
		k := &p.counter[i]
		*k = counter{events: uint32(spec.CntrcfgES.Of(cfg)) & u.counts(i, g, offered[g])}
		for f := range k.filter {
			if v := u.reg.Get(u.counterReg(i, cFilter+f)); spec.FilterEN.On(v) {
				k.enable |= 1 << f
				k.filter[f] = uint32(filterField[f].Of(v))
			}
		}
		if k.events != 0 {
			p.on, p.states = true, 0
			p.group[g] |= 1 << i
			p.ticking = p.ticking || g == spec.GroupGeneral && k.events&spec.EventClocks != 0
		}
	}
}

// counts returns which of the events of a group counter i can count.
func (u *Unit) counts(i, g int, offered uint32) uint32 {
	if l := u.cfg.Perf.Limited; i < len(l) && l[i] != [spec.NumEventGroups]uint32{} {
		return offered & l[i][g]
	}
	return offered
}

// cause is what filters look at: the request behind an event, as far as it is known then.
type cause struct {
	q      *emu.Request // nil: an engine's own work
	tag    emu.Tag
	domain bool  // the domain in tag is settled
	level  uint8 // paging-structure level, from 1; 0: none
}

// passes reports whether an event is counted. What a filter cannot tell does not pass it.
func (k *counter) passes(c *cause) bool {
	if k.enable == 0 {
		return true
	}
	q := c.q
	if q == nil {
		return false
	}
	for m := k.enable; m != 0; m &= m - 1 {
		f := bits.TrailingZeros8(m)
		want, ok := k.filter[f], false
		switch f {
		case spec.FilterRequester:
			ok = uint32(q.Source) == want
		case spec.FilterDomain:
			ok = c.domain && c.tag.Domain() == want
		case spec.FilterPASID:
			ok = uint32(q.PASID) == want
		case spec.FilterAT:
			ok = q.Type <= emu.Translated && want>>q.Type&1 != 0
		case spec.FilterLevel:
			ok = c.level != 0 && want>>(c.level-1)&1 != 0
		}
		if !ok {
			return false
		}
	}
	return true
}

// count counts n of an event.
func (u *Unit) count(group int, event uint32, n uint64, c *cause) {
	for m := u.perf.group[group]; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if k := &u.perf.counter[i]; k.events&event != 0 && k.passes(c) {
			u.advance(i, n)
		}
	}
}

// advance moves counter i on, and notes an overflow.
func (u *Unit) advance(i int, n uint64) {
	r := u.counterReg(i, cCount)
	v, carry := bits.Add64(u.reg.Get(r), n, 0)
	top := ones(u.cfg.Perf.Width)
	u.reg.Set(r, v&top)
	if carry == 0 && v <= top {
		return
	}
	b := u.perf.base
	u.reg.SetBits(b+pOVF, 1<<i)
	if spec.CntrcfgINT.On(u.reg.Get(u.counterReg(i, cConfig))) && !spec.PerfintrPIS.On(u.reg.Get(b+pINTRSTS)) {
		u.reg.SetBits(b+pINTRSTS, spec.PerfintrPIS.Mask())
		u.perf.wake |= u.eventCondition(&u.perf.event)
	}
}

// perfWake returns the engines that overflows have given work.
func (u *Unit) perfWake() emu.Wake {
	w := u.perf.wake
	u.perf.wake = 0
	return w
}

// perfTick counts the clocks since the last time.
func (u *Unit) perfTick() {
	if u.perf.clock == nil {
		return
	}
	now := u.perf.clock.Now()
	if u.perf.ticking && now > u.s.Perf.Last {
		u.count(spec.GroupGeneral, spec.EventClocks, now-u.s.Perf.Last, &cause{})
	}
	u.s.Perf.Last = now
}

// stepCounted is Step while a counter counts, and for states that are none.
func (u *Unit) stepCounted(t *emu.Txn) {
	if t.State >= numStates {
		u.ended(t)
		return
	}
	c := cause{tag: t.Tag, domain: t.Known&emu.KnownDomain != 0}
	if t.Req.Type != emu.Job {
		c.q = &t.Req
	}
	u.countAnswer(t, &c)
	onAnswer[t.State%maxStates](u, t)
	c.tag, c.domain, c.level = t.Tag, t.Known&emu.KnownDomain != 0, 0
	u.countQuestion(t, &c)
	if u.perf.ticking {
		u.perfTick()
	}
	t.Wake |= u.perfWake()
}

// countAnswer counts what the answer that t is about to consume says.
func (u *Unit) countAnswer(t *emu.Txn, c *cause) {
	switch {
	case t.State == stFrontEnd:
		u.count(spec.GroupGeneral, spec.EventRequests, 1, c)
	case t.State == stMissWalker && u.perf.clock != nil: // a page walk has its walker
		t.Aux[0] |= auxWalk.Mask()
		t.Entry[entryWalk] = u.perf.clock.Now()
	case t.Act.Op != emu.OpProbe || t.Ans != emu.AnsOK:
	default:
		u.countHit(t, c)
	}
}

// auxWalk in Aux[0]: Entry[entryWalk], which no walk needs, holds since when it has its walker.
const auxWalk reg.Bits = 63_063

const entryWalk = 7

// countHit counts the hit of the cache that was asked.
func (u *Unit) countHit(t *emu.Txn, c *cause) {
	group, event := cacheEvents(t.Act.Cache, t.Act.Key.Tag)
	switch t.Act.Cache {
	case emu.CacheIOTLB:
		c.level = levelOf(uint8(tlbLg2.Of(t.In[0])))
	case emu.CacheWalk, emu.CacheWalk2:
		c.level = uint8(walkLevel.Of(t.In[0])) + 2 // of the entry that points to the table cached
	case emu.CacheInterrupt:
		if spec.IrteIM.On(t.In[0]) {
			event <<= 1
		}
	}
	if event != 0 {
		u.count(group, event<<1, 1, c)
	}
}

// levelOf returns the paging-structure level of a page of 2^lg2 bytes.
func levelOf(lg2 uint8) uint8 { return (lg2-emu.PageShift)/9 + 1 }

// cacheEvents returns the look-up event of a cache; the event of a hit is the next bit.
func cacheEvents(id emu.CacheID, tag emu.Tag) (group int, event uint32) {
	switch id {
	case emu.CacheEntry:
		return spec.GroupCaches, spec.EventContextLookup
	case emu.CachePASID:
		return spec.GroupCaches, spec.EventPASIDLookup
	case emu.CacheIOTLB:
		return spec.GroupIOTLB, spec.EventIOTLBLookup
	case emu.CacheWalk:
		if tag.Class() != ClassSS {
			return spec.GroupCaches, spec.EventFSLookup
		}
		return spec.GroupCaches, spec.EventSSLookup
	case emu.CacheWalk2:
		return spec.GroupCaches, spec.EventSSLookup
	case emu.CacheInterrupt:
		return spec.GroupInterrupt, spec.EventIntLookup
	}
	return 0, 0
}

// countQuestion counts what the question that t now asks says.
func (u *Unit) countQuestion(t *emu.Txn, c *cause) {
	switch t.Act.Op {
	case emu.OpProbe:
		if group, event := cacheEvents(t.Act.Cache, t.Act.Key.Tag); event != 0 {
			u.count(group, event, 1, c)
		}
	case emu.OpFetch:
		u.count(spec.GroupMemory, spec.EventReads, 1, c)
	case emu.OpDone:
		q := &t.Req
		if (q.Type == emu.TranslationReq || q.Type == emu.Translated) && t.Res.Status == emu.Blocked {
			u.count(spec.GroupGeneral, spec.EventATSBlocked, 1, c)
		}
		if q.Type != emu.Job && auxWalk.On(t.Aux[0]) && u.perf.clock != nil {
			u.count(spec.GroupGeneral, spec.EventWalkOccupancy, u.perf.clock.Now()-t.Entry[entryWalk], c)
		}
	}
}

// lookupCounted is Lookup while a counter counts. It counts what Step would; where a counter is
// about to overflow it leaves the request to Step, which can wake an engine.
func (u *Unit) lookupCounted(q *emu.Request, r *emu.Result) bool {
	if u.aboutToOverflow() {
		return false
	}
	u.perf.on = false
	ok := u.Lookup(q, r)
	u.perf.on = true
	if !ok {
		return false
	}
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
	var e [4]uint64
	key := entryKey(q.Source)
	u.ctx.Peek(&key, &e)
	p, _, _ := u.smPASID(q, (*spec.SMContextEntry)(&e))
	key = pasidKey(q.Source, p)
	u.pasid.Peek(&key, &e)
	return spec.PasidDID.Of(e[1])
}

// aboutToOverflow reports whether one request that hits everywhere could make a counter overflow.
func (u *Unit) aboutToOverflow() bool {
	const most = 8 // more than the events of any group in such a request
	top := ones(u.cfg.Perf.Width)
	for _, m := range u.perf.group {
		for ; m != 0; m &= m - 1 {
			if u.reg.Get(u.counterReg(bits.TrailingZeros64(m), cCount)) > top-most {
				return true
			}
		}
	}
	return false
}
