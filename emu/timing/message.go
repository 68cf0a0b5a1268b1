package timing

import "github.com/iommulab/iommulab/emu"

// ATSAnswer is what a client does with an ATS invalidation request.
type ATSAnswer uint8

// The answers.
const (
	ATSIgnored   ATSAnswer = iota // there will be no completion, but a time-out
	ATSCompleted                  // the completion leaves at once
	ATSPending                    // Machine.CompleteATS follows
)

// ATSResponder is a client that takes ATS invalidation requests.
type ATSResponder interface {
	// Requester is the source whose messages reach this client.
	Requester() emu.SourceID
	// InvalidateATS takes a request of a unit. q is valid during the call only.
	InvalidateATS(unit int, q *emu.ATSInvalidation) ATSAnswer
}

// PageRequester is a client that takes page request group responses.
type PageRequester interface {
	// Requester is the source whose messages reach this client.
	Requester() emu.SourceID
	// PRGResponse takes a response. q is valid during the call only.
	PRGResponse(q *emu.PRGResponse)
}

// message is one on its way from a unit to a device. All take a link's time, so that those of a unit
// arrive in the order in which they were sent.
type message struct {
	Used   bool
	Class  emu.MsgClass
	Unit   uint32
	Source emu.SourceID
	PASID  emu.PASID
	Data   uint64 // body of an ATS invalidation; of a response index | code << 16
	ITag   uint32
}

// post sends the message in a from unit p to the device it names.
func (m *Machine) post(p *port, a *emu.Act) {
	msg := message{
		Used: true, Class: a.Msg, Unit: p.id, Source: emu.SourceID(a.Key.Addr),
		PASID: a.Key.Tag.PASID(), Data: a.Data[0], ITag: a.N,
	}
	slot := -1
	for i := range m.messages {
		if !m.messages[i].Used {
			slot = i
			break
		}
	}
	if slot < 0 {
		slot = len(m.messages)
		m.messages = append(m.messages, msg)
	} else {
		m.messages[slot] = msg
	}
	m.at(m.now+m.Params.Link, prioDevice, evMessage, uint32(slot), 0)
}

// arrived hands the message in a slot to the first client that answers to its source.
func (m *Machine) arrived(slot uint32) {
	msg := m.messages[slot]
	m.messages[slot].Used = false
	switch msg.Class {
	case emu.MsgATSInv:
		answer := ATSIgnored
		for _, c := range m.client {
			if r, ok := c.(ATSResponder); ok && r.Requester() == msg.Source {
				m.invalidation = emu.ATSInvalidation{PASID: msg.PASID, Body: msg.Data, ITag: uint8(msg.ITag)}
				answer = r.InvalidateATS(int(msg.Unit), &m.invalidation)
				break
			}
		}
		m.ports[msg.Unit].atsAnswered(uint8(msg.ITag), answer)
	case emu.MsgPRGResponse:
		for _, c := range m.client {
			if r, ok := c.(PageRequester); ok && r.Requester() == msg.Source {
				a := emu.Act{Key: emu.Key{Tag: emu.MakeTag(0, 0, msg.PASID)}, Data: [4]uint64{msg.Data}}
				m.response = a.PRGResponse()
				r.PRGResponse(&m.response)
				break
			}
		}
	}
}

// atsRequest is an ATS invalidation request that is outstanding.
type atsRequest struct {
	Sent   uint64
	Source emu.SourceID
	Count  uint32 // requests that had the tag so far: tells the events of one from those of another
	Busy   bool
}

// sendATS sends the ATS invalidation request in a.
func (p *port) sendATS(a *emu.Act) {
	r := &p.ats[a.N%emu.MaxITags]
	*r = atsRequest{Sent: p.m.now, Source: emu.SourceID(a.Key.Addr), Count: r.Count + 1, Busy: true}
	p.m.post(p, a)
}

// atsAnswered goes on after the request with a tag has reached its device at the present cycle.
func (p *port) atsAnswered(itag uint8, answer ATSAnswer) {
	r, par := &p.ats[itag], &p.m.Params
	if answer == ATSCompleted {
		p.atsEnds(itag, true, max(r.Sent+par.ATSRound, p.m.now+par.Link))
		return
	}
	p.atsEnds(itag, false, max(r.Sent+par.ATSTimeout, p.m.now)) // void if a completion comes before
}

// CompleteATS sends the completion of an ATS invalidation request that a client has kept pending.
func (m *Machine) CompleteATS(unit int, itag uint8) {
	p := m.ports[unit]
	p.atsEnds(itag, true, max(p.ats[itag%emu.MaxITags].Sent+m.Params.ATSRound, m.now+m.Params.Link))
}

const (
	atsCompleted  = 1 << 5 // in argument B of evATSEnd, above the tag
	atsCountShift = 6
)

func (p *port) atsEnds(itag uint8, completed bool, at uint64) {
	b := uint32(itag%emu.MaxITags) | p.ats[itag%emu.MaxITags].Count<<atsCountShift
	if completed {
		b |= atsCompleted
	}
	p.m.at(at, prioHardware, evATSEnd, p.id, b)
}

// atsEnded takes the completion or the time-out of the request with a tag, whichever is first. A
// completion that comes after the time-out is one that nobody waits for.
func (p *port) atsEnded(b uint32) {
	u, ok := p.unit.(emu.ATSUnit)
	if !ok {
		return
	}
	itag, completed := uint8(b%emu.MaxITags), b&atsCompleted != 0
	r := &p.ats[itag]
	switch {
	case r.Busy && r.Count<<atsCountShift == b&^(1<<atsCountShift-1):
		r.Busy = false
		p.wake(u.ATSEnded(r.Source, itag, completed))
	case completed:
		p.wake(u.UnexpectedATSCompletion(r.Source))
	}
}
