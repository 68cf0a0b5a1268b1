package timing

import "github.com/iommulab/iommulab/emu"

// wake schedules a turn for each engine in w at the present cycle. Every turn is an event of its
// own: an engine may run ahead inline, which the next one must not notice.
func (p *port) wake(w emu.Wake) {
	for e := range uint32(numEngines) {
		if w&(1<<e) != 0 {
			p.m.at(p.m.now, prioHardware, evWake, p.id, e)
		}
	}
}

// turn starts or resumes engine e.
func (p *port) turn(e int32) {
	f := &p.flights[e]
	switch f.State {
	case flightFree:
		p.start(e)
		p.advance(e)
	case flightParked:
		f.State = flightRunning
		f.Txn.Ans = emu.AnsOK
		p.advance(e)
	default:
		f.Again = true
	}
}

func (p *port) start(e int32) {
	f := &p.flights[e]
	f.Txn.Req = emu.Request{Type: emu.Job, Job: emu.Engine(e), PASID: emu.NoPASID}
	p.unit.Start(&f.Txn, &f.Txn.Req)
	f.Txn.Marked = false
	f.State = flightRunning
}

// park stops engine i until it is woken, or not at all if it was woken meanwhile.
func (p *port) park(i int32) bool {
	f := &p.flights[i]
	f.Txn.Ans = emu.AnsOK
	if f.Again {
		f.Again = false
		return true
	}
	f.State = flightParked
	return false
}

// rerun starts engine i anew if it was woken while it was ending.
func (p *port) rerun(i int32) bool {
	f := &p.flights[i]
	f.State = flightFree
	if !f.Again {
		return false
	}
	f.Again = false
	p.start(i)
	return true
}
