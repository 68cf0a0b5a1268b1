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

// ATSResponder is a client that answers ATS invalidation requests.
type ATSResponder interface {
	// Requester is the source whose invalidation requests reach this client.
	Requester() emu.SourceID
	// InvalidateATS handles the request in t.Act and reports whether a completion is sent.
	InvalidateATS(t *emu.Txn) bool
}

// responder returns the client that answers ATS invalidation requests to source, or nil.
func (m *Machine) responder(source emu.SourceID) ATSResponder {
	for _, c := range m.client {
		if r, ok := c.(ATSResponder); ok && r.Requester() == source {
			return r
		}
	}
	return nil
}

// atsArrives brings the ATS invalidation request of flight i to its device, half a round trip after
// it was sent. The flight goes on when the completion is back, or at the time-out.
func (p *port) atsArrives(i int32) {
	m := p.m
	t := &p.flights[i].Txn
	t.Ans = emu.AnsTimeout
	round := m.Params.ATSTimeout
	if r := m.responder(emu.SourceID(t.Act.Key.Addr)); r != nil && r.InvalidateATS(t) {
		t.Ans = emu.AnsOK
		round = m.Params.ATSRound
	}
	sent := m.now - m.Params.ATSRound/2
	m.at(max(m.now, sent+round), prioHardware, evAnswer, p.id, uint32(i))
}

// send delivers the message of t, or only takes note that atsArrives did.
func (p *port) send(t *emu.Txn) {
	a := &t.Act
	if a.Msg == emu.MsgATSInv {
		return
	}
	if a.Msg == emu.MsgMSI {
		p.m.sendMSI(a.Addr, uint32(a.Data[0]))
	}
	t.Ans = emu.AnsOK
}
