package device

import "github.com/iommulab/iommulab/emu"

// pri is the page request interface of an Endpoint (PCIe 10.4).
type pri struct {
	credits int    // page requests that may still be sent
	wait    ring   // lanes that need a page, oldest first
	due     uint64 // cycle from which they may be sent
	send    ring   // lanes of the group that is being sent
	groups  []group
	stopped bool
}

// group is a page request group that has no response yet.
type group struct {
	Used  bool
	Count uint32 // page requests
	PASID emu.PASID
}

func (s *pri) init(lanes, pages int) {
	s.credits = pages
	s.wait, s.send = newRing(lanes), newRing(lanes)
	s.groups = make([]group, pages)
}

// StartPages turns the page request interface on again after a Response Failure.
func (p *Endpoint) StartPages() { p.pri.stopped = false }

// PagesStopped reports whether a Response Failure has stopped the page request interface.
func (p *Endpoint) PagesStopped() bool { return p.pri.stopped }

// wantPage has lane i ask for its page.
func (p *Endpoint) wantPage(i uint32) {
	s := &p.pri
	if s.wait.n == 0 {
		s.due = p.bus.Now() + p.cfg.Gather
	}
	s.wait.push(i)
}

// sendPages sends page requests as far as credits go. It returns false if the unit is full.
func (p *Endpoint) sendPages(now uint64) bool {
	s := &p.pri
	for s.send.n > 0 || p.makeGroup(now) {
		i := s.send.first()
		p.pageRequest(i, s.send.n == 1)
		if !p.issue(now, i|pageTag) {
			return false
		}
		p.stats.PageRequests++
		p.lanes[i].State = lanePaged
		s.send.pop()
	}
	return true
}

// makeGroup makes those that wait, and have the PASID of the first, the next group to be sent.
func (p *Endpoint) makeGroup(now uint64) bool {
	s := &p.pri
	switch {
	case s.wait.n == 0 || s.credits == 0:
		return false
	case s.due > now:
		p.arm(s.due)
		return false
	}
	index := 0
	for s.groups[index].Used { // there are as many as credits
		index++
	}
	g := &s.groups[index]
	*g = group{Used: true, PASID: p.lanes[s.wait.first()].Req.PASID}
	for range s.wait.n {
		i := s.wait.pop()
		l := &p.lanes[i]
		if l.Req.PASID != g.PASID || s.credits == 0 {
			s.wait.push(i)
			continue
		}
		l.Group = int32(index)
		s.send.push(i)
		s.credits--
		g.Count++
	}
	p.stats.Groups++
	return true
}

// pageRequest makes p.req the page request of lane i.
func (p *Endpoint) pageRequest(i uint32, last bool) {
	l := &p.lanes[i]
	access := rights(&l.Req)
	if l.Req.PASID == emu.NoPASID {
		access &= emu.RW
	} else {
		access |= l.Req.Access & emu.Priv
	}
	p.req = emu.Request{
		Addr: l.Req.Addr &^ (emu.PageSize - 1), Source: p.cfg.Source, PASID: l.Req.PASID, Type: emu.PageRequest,
		Access: access, Data: emu.MakePRG(uint16(l.Group), last),
	}
}

// PRGResponse implements timing.PageRequester. One that is not for a group that was sent, or has another
// PASID, counts as unexpected.
func (p *Endpoint) PRGResponse(q *emu.PRGResponse) {
	s := &p.pri
	index := int32(q.Index)
	if int(index) >= len(s.groups) || !s.groups[index].Used || s.groups[index].PASID != q.PASID ||
		s.send.n > 0 && p.lanes[s.send.first()].Group == index {
		p.stats.Unexpected++
		return
	}
	p.stats.Responses++
	s.credits += int(s.groups[index].Count)
	s.groups[index] = group{}
	p.busy++
	stop := q.Code != emu.PRGSuccess && q.Code != emu.PRGInvalid
	if stop {
		p.stopPages()
	}
	for i := range p.lanes {
		if l := &p.lanes[i]; l.State != lanePaged || l.Group != index {
			continue
		} else if l.Group = none; q.Code == emu.PRGSuccess {
			p.lookup(uint32(i)) // those that follow it still do
		} else if stop {
			p.fail(uint32(i), EndPageFailure)
		} else {
			p.fail(uint32(i), EndInvalid)
		}
	}
	p.busy--
	p.Kick()
}

// stopPages ends all that has not asked for its page yet.
func (p *Endpoint) stopPages() {
	s := &p.pri
	s.stopped = true
	if s.send.n > 0 {
		// The last of the group will not be sent, so no response comes.
		index := p.lanes[s.send.first()].Group
		s.credits += int(s.groups[index].Count)
		s.groups[index] = group{}
		for i := range p.lanes {
			if p.lanes[i].State == lanePaged && p.lanes[i].Group == index {
				p.fail(uint32(i), EndPageFailure)
			}
		}
	}
	for s.send.n > 0 {
		p.fail(s.send.pop(), EndPageFailure)
	}
	for s.wait.n > 0 {
		p.fail(s.wait.pop(), EndPageFailure)
	}
}
