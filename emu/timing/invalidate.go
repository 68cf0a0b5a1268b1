package timing

import "github.com/iommulab/iommulab/emu"

// invalidateNow drops the entries that match s, for flight asker, and marks the other transactions in
// flight that may have used one of them: their fills will be dropped, and a Drain waits for them. It
// does so also for caches that the unit does not have. A selector by type (MatchType) concerns no entries and no data;
// it marks what is on its way to the unit too.
func (p *port) invalidateNow(asker int32, s *emu.Selector) {
	p.epoch++
	byType := s.Match&emu.MatchType != 0
	if !byType {
		p.invalidations++
		for i, c := range p.cache {
			if c != nil && s.Caches.Has(emu.CacheID(i)) {
				c.Invalidate(s)
			}
		}
	}
	for i := range max(p.used, numEngines) { // engines translate too
		f := &p.flights[i]
		live := f.State == flightRunning || f.State == flightWaiting || byType && f.State == flightArriving
		if live && i != asker && !f.Txn.Marked && f.Txn.Matches(s) {
			f.Txn.Marked = true
			f.Epoch = p.epoch
			p.marked++
		}
	}
	if byType {
		return
	}
	p.drainData = max(p.drainData, p.dataEnd)
	if s.Caches == 0 || s.Caches.Has(emu.CacheInterrupt) {
		p.drainData = max(p.drainData, p.irqEnd)
	}
	p.tagBusy = p.m.now + p.m.Params.Invalidate
}

// drain is a Drain that waits. It concerns what was marked when it was asked, and no later
// invalidation prolongs it.
type drain struct {
	Epoch uint64 // the last invalidation before it
	Data  uint64 // cycle before which it may not end: DMA it concerns becomes globally visible
	Left  int32  // flights it waits for; 0: the engine does not drain
}

// drain answers a Drain of engine e. It returns the cycle of the answer, or wait if flights that are
// marked have to end before.
func (p *port) drain(e int32) (done uint64, wait bool) {
	if p.marked == 0 {
		return max(p.m.now, p.drainData), false
	}
	p.drains[e] = drain{Epoch: p.epoch, Data: p.drainData, Left: p.marked}
	p.flights[e].State = flightWaiting
	return 0, true
}

// finish ends flight i: its slots are given back, a marked one lets drains go on, a translation is
// answered.
func (p *port) finish(i int32) {
	f := &p.flights[i]
	p.giveBack(i)
	visible := p.m.now
	if !f.Engine {
		visible = p.respond(i)
	}
	if f.Txn.Marked {
		f.Txn.Marked = false
		p.marked--
		p.drained(f.Epoch, visible)
	}
}

// drained tells drains that a flight marked in epoch has ended and its data, which is part of what
// the invalidation waits for, is visible at a cycle. Drains that waited for it alone are answered.
func (p *port) drained(epoch, visible uint64) {
	p.drainData = max(p.drainData, visible)
	for e := range p.drains {
		d := &p.drains[e]
		if d.Left == 0 || d.Epoch < epoch {
			continue
		}
		d.Data = max(d.Data, visible)
		if d.Left--; d.Left == 0 {
			p.flights[e].State = flightRunning
			p.m.at(max(p.m.now, d.Data), prioHardware, evAnswer, p.id, uint32(e))
		}
	}
}
