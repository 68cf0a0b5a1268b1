package timing

import "github.com/iommulab/iommulab/emu"

// posted reports whether q is a posted write. A message is one.
func posted(q *emu.Request) bool {
	return q.Access&emu.Write != 0 && q.Access&emu.Atomic == 0 && (q.Type == emu.Untranslated || q.Type == emu.Translated)
}

// order answers an Order of flight i: posted writes of one device do not pass each other (PCIe 2.4).
// It returns the cycle of the answer, or wait if earlier ones are still in the unit.
func (p *port) order(i int32) (done uint64, wait bool) {
	f := &p.flights[i]
	f.Ahead, f.From = 0, p.m.now
	for j := int32(numEngines); j < p.used; j++ {
		o := &p.flights[j]
		if o.State == flightFree || o.Device != f.Device || o.Seq >= f.Seq || !posted(&o.Txn.Req) {
			continue
		}
		if o.State == flightReturn {
			f.From = max(f.From, o.From)
		} else {
			f.Ahead++
		}
	}
	if f.Ahead == 0 {
		return f.From, false
	}
	p.ordering++
	f.State = flightWaiting
	return 0, true
}

// ended notes that f is answered and its data visible at a cycle, and lets those behind it go on.
func (p *port) ended(f *Flight, visible uint64) {
	f.From = visible
	if p.ordering == 0 || !posted(&f.Txn.Req) {
		return
	}
	for j := int32(numEngines); j < p.used; j++ {
		o := &p.flights[j]
		if o.State != flightWaiting || o.Txn.Act.Op != emu.OpOrder || o.Device != f.Device || o.Seq <= f.Seq {
			continue
		}
		o.From = max(o.From, visible)
		if o.Ahead--; o.Ahead == 0 {
			p.ordering--
			o.State = flightRunning
			p.m.at(max(p.m.now, o.From), prioHardware, evAnswer, p.id, uint32(j))
		}
	}
}
