package vtd

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// perf is what counting needs of the registers, worked out once.
type perf struct {
	base    int  // index of the first register
	on      bool // a counter counts
	ticking bool // one of them counts what happens in time
	event   event
	clock   emu.Clock
	wake    emu.Wake                    // for whom the unit had no way to wake when it noticed
	group   [spec.NumEventGroups]uint64 // counters that count, by event group
	counter []counter
}

// counter is the configuration of one counter.
type counter struct {
	events uint32
	filter uint8 // filters that are on
	value  [spec.NumFilters]uint32
}

// perfState is what a unit remembers of performance monitoring besides its registers: what is in it
// now, as far as it came while a counter counted.
type perfState struct {
	Last     uint64 // time up to which events in time have been counted
	Epoch    uint32 // changes whenever counting begins; 1 to 255
	Requests uint32
	Walks    uint32 // requests that need a page walk
	Accesses uint32 // to memory
}

// timeEvents are the events of group 0 that happen in time.
const timeEvents = spec.EventClocks | spec.EventWalkOccupancy | spec.EventTotalOccupancy | spec.EventMemOccupancy

// setPerf follows a change of what is counted.
func (u *Unit) setPerf() {
	p, c := &u.perf, &u.cfg
	was := p.on
	p.base = rFRCD + 2*c.FaultRecords
	p.on, p.ticking = false, false
	p.group = [spec.NumEventGroups]uint64{}
	defer u.setSlow()
	if !c.PMS {
		return
	}
	b := p.base
	p.event = event{b + pINTRCTL, b + pINTRDATA, b + pINTRADDR, b + pINTRUADDR, b + pINTRSTS, spec.PerfintrPIS, EnginePerfEvent}
	if len(p.counter) != c.Perf.Counters {
		p.counter = make([]counter, c.Perf.Counters)
	}
	frozen := u.reg.Get(b + pFRZSTS)
	for i := range p.counter {
		cfg := u.reg.Get(u.counterReg(i, cCFG))
		g := int(spec.CntrcfgEGI.Of(cfg))
		if !spec.CntrcfgEN.On(cfg) || frozen>>i&1 != 0 || g >= spec.NumEventGroups {
			continue
		}
		k := &p.counter[i]
		*k = counter{events: uint32(spec.CntrcfgES.Of(cfg)) & u.offers(i, g)}
		for f := range k.value {
			if v := u.reg.Get(u.counterReg(i, cFilter+f)); spec.FilterEN.On(v) {
				k.filter |= 1 << f
				k.value[f] = uint32(v)
			}
		}
		p.on = true
		p.group[g] |= 1 << i
		p.ticking = p.ticking || g == spec.GroupGeneral && k.events&timeEvents != 0
	}
	if s := &u.s.Perf; p.on && !was {
		*s = perfState{Last: s.Last, Epoch: s.Epoch%255 + 1}
		if p.clock != nil {
			s.Last = p.clock.Now()
		}
	}
}

// writeCounter follows a write to a counter or to its configuration. While the counter is enabled
// these are read-only, the counter itself unless PERFCAP.CWE (table 51).
func (u *Unit) writeCounter(c *reg.Change) {
	i := (c.Index - u.counterReg(0, 0)) / cLen
	if spec.CntrcfgEN.On(u.reg.Get(u.counterReg(i, cCFG))) && (c.Index != u.counterReg(i, cCNTR) || !u.cfg.Perf.CWE) {
		u.reg.Set(c.Index, c.Old)
	}
}

// cause is what filters look at: the request behind an event, as far as it is known then.
type cause struct {
	q      *emu.Request // nil: an engine's own work
	tag    emu.Tag
	domain bool  // the domain in tag is settled
	level  uint8 // paging-structure level, from 1; 0: none
}

// passes reports whether an event is counted: all filters that are on have to let it pass. What a
// filter cannot tell does not pass it.
func (k *counter) passes(c *cause) bool {
	if k.filter == 0 {
		return true
	}
	q := c.q
	if q == nil {
		return false
	}
	for m := k.filter; m != 0; m &= m - 1 {
		f := bits.TrailingZeros8(m)
		v, ok := uint64(k.value[f]), false
		switch f {
		case spec.FilterRequester:
			ok = uint64(q.Source) == spec.FilterRID.Of(v)
		case spec.FilterDomain:
			ok = c.domain && uint64(c.tag.Domain()) == spec.FilterDID.Of(v)
		case spec.FilterPASID:
			switch with := q.PASID != emu.NoPASID; spec.FilterPFM.Of(v) {
			case spec.PFMThis:
				ok = with && uint64(q.PASID) == spec.FilterPV.Of(v)
			case spec.PFMAny:
				ok = with
			case spec.PFMWithout:
				ok = !with
			}
		case spec.FilterAT:
			ok = q.Type <= emu.Translated && v>>q.Type&1 != 0
		case spec.FilterLevel:
			ok = c.level != 0 && spec.FilterBitmap.Of(v)>>(c.level-1)&1 != 0
		}
		if !ok {
			return false
		}
	}
	return true
}

// count counts n of an event.
func (u *Unit) count(group int, event uint32, n uint64, c *cause) {
	freeze := false
	for m := u.perf.group[group]; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if k := &u.perf.counter[i]; k.events&event != 0 && k.passes(c) {
			freeze = u.advance(i, n) || freeze
		}
	}
	if freeze {
		u.reg.Set(u.perfReg(pFRZSTS), u.allCounters())
		u.setPerf()
	}
}

// advance moves counter i on, and notes an overflow (10.3.1). It reports whether that freezes all
// counters.
func (u *Unit) advance(i int, n uint64) (freeze bool) {
	r := u.counterReg(i, cCNTR)
	v, carry := bits.Add64(u.reg.Get(r), n, 0)
	top := reg.Ones(u.cfg.Perf.Width)
	u.reg.Set(r, v&top)
	if carry == 0 && v <= top {
		return false
	}
	u.reg.SetBits(u.perfReg(pOVFSTS), 1<<i)
	cfg, sts := u.reg.Get(u.counterReg(i, cCFG)), u.perfReg(pINTRSTS)
	if spec.CntrcfgIO.On(cfg) && !spec.PerfintrPIS.On(u.reg.Get(sts)) {
		u.reg.SetBits(sts, spec.PerfintrPIS.Mask())
		u.perf.wake |= u.eventCondition(&u.perf.event)
	}
	return spec.CntrcfgGFO.On(cfg)
}

// perfWake returns the engines that overflows have given work.
func (u *Unit) perfWake() emu.Wake {
	w := u.perf.wake
	u.perf.wake = 0
	return w
}

// perfTick counts what has happened in time since the last time.
func (u *Unit) perfTick() {
	if !u.perf.ticking || u.perf.clock == nil {
		return
	}
	s := &u.s.Perf
	now := u.perf.clock.Now()
	d := now - s.Last
	if now <= s.Last {
		return
	}
	s.Last = now
	for _, x := range [...]struct {
		event uint32
		n     uint64
	}{
		{spec.EventClocks, d}, {spec.EventTotalOccupancy, d * uint64(s.Requests)},
		{spec.EventWalkOccupancy, d * uint64(s.Walks)}, {spec.EventMemOccupancy, d * uint64(s.Accesses)},
	} {
		if x.n != 0 {
			u.count(spec.GroupGeneral, x.event, x.n, &cause{})
		}
	}
}

// countAnswer counts what the answer that t is about to consume says.
func (u *Unit) countAnswer(t *emu.Txn, c *cause) {
	switch {
	case t.State == stFrontEnd:
		u.count(spec.GroupGeneral, spec.EventRequests, 1, c)
	case t.State == stPageWritten && t.Ans == emu.AnsOK:
		u.count(spec.GroupMemory, spec.EventPagePosted, 1, c)
	case t.Act.Op == emu.OpCAS && t.Ans == emu.AnsOK && t.State != stPIDNotified:
		u.count(spec.GroupMemory, spec.EventADUpdate, 1, c)
	case t.Act.Op == emu.OpProbe && t.Ans == emu.AnsOK:
		u.countHit(t, c)
	}
}

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
	a := &t.Act
	switch a.Op {
	case emu.OpProbe:
		if group, event := cacheEvents(a.Cache, a.Key.Tag); event != 0 {
			u.count(group, event, 1, c)
		}
	case emu.OpFetch:
		u.count(spec.GroupMemory, spec.EventReads, 1, c)
	case emu.OpSend:
		if a.Msg == emu.MsgPRGResponse && t.Res.Fault.Code == FaultPageOverflow {
			u.count(spec.GroupMemory, spec.EventPageOverflow, 1, c)
		}
	}
}
