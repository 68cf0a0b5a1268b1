package timing

import "github.com/iommulab/iommulab/emu"

// invalidateNow drops the entries that match s and marks the transactions in flight that may have
// used one of them: their fills will be dropped, and a Drain waits for them. It does so also for
// caches that the unit does not have.
func (p *port) invalidateNow(s *emu.Selector) {
	for i, c := range p.cache {
		if c != nil && s.Caches.Has(emu.CacheID(i)) {
			c.Invalidate(s)
		}
	}
	for i := int32(numEngines); i < p.used; i++ {
		f := &p.flights[i]
		if (f.State == flightRunning || f.State == flightWaiting) && !f.Txn.Marked && f.Txn.Matches(s) {
			f.Txn.Marked = true
			p.marked++
		}
	}
	p.drainData = max(p.drainData, p.dataEnd)
	p.tagBusy = p.m.now + p.m.Params.Invalidate
	p.invalidate++
}

// finish ends flight i: its slots are given back, a marked one lets drains go on, a translation is
// answered.
func (p *port) finish(i int32) {
	f := &p.flights[i]
	for c := range f.Reg {
		p.release(i, emu.SlotClass(c), nil)
	}
	for c := range p.slots {
		p.kick(emu.SlotClass(c))
	}
	if !f.Engine {
		p.respond(i)
	}
	if f.Txn.Marked {
		f.Txn.Marked = false
		p.marked--
		// The data access of the marked request is part of what the invalidation waits for.
		p.drainData = max(p.drainData, p.dataEnd)
		if p.marked == 0 {
			p.drained()
		}
	}
}

// drained resumes every drain.
func (p *port) drained() {
	for w := p.pop(&p.drainHead, &p.drainTail); w != none; w = p.pop(&p.drainHead, &p.drainTail) {
		p.flights[w].State = flightRunning
		p.m.at(max(p.m.now, p.drainData), prioHardware, evAnswer, p.id, uint32(w))
	}
}
