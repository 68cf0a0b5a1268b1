package device

import "github.com/iommulab/iommulab/emu"

// endpointWords are the single words of an Endpoint that a checkpoint keeps.
func (p *Endpoint) endpointWords() []*uint64 {
	return []*uint64{&p.heldAt, &p.timer, &p.next, &p.flying, &p.count, &p.pri.due}
}

func (p *Endpoint) endpointFlags() []*bool {
	return []*bool{&p.holds, &p.armed, &p.mute, &p.pri.stopped}
}

// Save implements timing.Client. A source that is a Queue is saved too; any other has to be put back by
// who restores.
func (p *Endpoint) Save(e *emu.Encoder) {
	e.Section("device.Endpoint", 1)
	e.Struct(p.lanes)
	e.Words(words(p.free))
	for _, r := range []*ring{&p.ready, &p.pri.wait, &p.pri.send} {
		e.Words(words(r.list()))
	}
	e.Struct(p.pri.groups)
	e.Struct(&p.pending)
	e.Struct(&p.held)
	e.Struct(&p.stats)
	for _, v := range p.endpointWords() {
		e.U64(*v)
	}
	for _, v := range p.endpointFlags() {
		e.Bool(*v)
	}
	p.tlb.Save(e)
	if q, ok := p.source.(*Queue); ok {
		q.Save(e)
	}
}

// Restore implements timing.Client. The endpoint must have been made with the same configuration.
func (p *Endpoint) Restore(d *emu.Decoder) error {
	d.Section("device.Endpoint", 1)
	d.Struct(p.lanes)
	free := d.Words()
	lists := [3][]uint64{}
	for i := range lists {
		lists[i] = d.Words()
	}
	d.Struct(p.pri.groups)
	d.Struct(&p.pending)
	d.Struct(&p.held)
	d.Struct(&p.stats)
	for _, v := range p.endpointWords() {
		*v = d.U64()
	}
	for _, v := range p.endpointFlags() {
		*v = d.Bool()
	}
	if d.Err() == nil {
		p.restoreLists(d, free, &lists)
	}
	if d.Err() == nil {
		p.checkLanes(d)
	}
	if err := p.tlb.Restore(d); err != nil {
		return err
	}
	if q, ok := p.source.(*Queue); ok {
		return q.Restore(d)
	}
	return d.Err()
}

// restoreLists takes over which lane is where. Each is in the one list that its state belongs to, or in
// none.
func (p *Endpoint) restoreLists(d *emu.Decoder, free []uint64, lists *[3][]uint64) {
	seen := make([]bool, len(p.lanes))
	take := func(list []uint64, want ...laneState) {
		for _, i := range list {
			if i >= uint64(len(seen)) || seen[i] {
				d.Fail("lane %d of %d, or twice", i, len(seen))
				return
			}
			seen[i] = true
			if s := p.lanes[i].State; s != want[0] && s != want[len(want)-1] {
				d.Fail("lane %d in state %d, want %v", i, s, want)
			}
		}
	}
	take(free, laneFree)
	take(lists[0], laneWant, laneHave)
	take(lists[1], lanePage)
	take(lists[2], lanePage)
	for i := range p.lanes {
		switch s := p.lanes[i].State; s {
		case laneFree, laneWant, laneHave, lanePage:
			if !seen[i] {
				d.Fail("lane %d in state %d is in no list", i, s)
			}
		}
	}
	if d.Err() != nil {
		return
	}
	p.free = p.free[:0]
	for _, i := range free {
		p.free = append(p.free, uint32(i))
	}
	for k, r := range []*ring{&p.ready, &p.pri.wait, &p.pri.send} {
		r.head, r.n = 0, 0
		for _, i := range lists[k] {
			r.push(uint32(i))
		}
	}
}

// checkLanes checks what lanes say of one another, of groups and of invalidations.
func (p *Endpoint) checkLanes(d *emu.Decoder) {
	followers := make([]int32, len(p.lanes))
	paged := make([]uint32, len(p.pri.groups))
	var held [emu.MaxITags]uint32
	for k := range p.pri.send.n {
		if p.lanes[p.pri.send.get(k)].Group != p.lanes[p.pri.send.first()].Group {
			d.Fail("two groups are being sent")
		}
	}
	for k := range p.pri.wait.n {
		if i := p.pri.wait.get(k); p.lanes[i].Group != none {
			d.Fail("lane %d waits and is in a group", i)
		}
	}
	for i := range p.lanes {
		l := &p.lanes[i]
		grouped := l.State == lanePaged || l.Group != none
		switch {
		case l.State >= numLaneStates || l.Use.Lg2 > 63:
			d.Fail("lane %d in state %d with a page of 2^%d", i, l.State, l.Use.Lg2)
		case l.State == laneFollow && (l.Leader < 0 || int(l.Leader) >= len(p.lanes) || int(l.Leader) == i):
			d.Fail("lane %d follows lane %d", i, l.Leader)
		case grouped && (l.Group < 0 || int(l.Group) >= len(paged) || !p.pri.groups[l.Group].Used):
			d.Fail("lane %d in group %d", i, l.Group)
		}
		if d.Err() != nil {
			return
		}
		if l.State == laneFollow {
			followers[l.Leader]++
		}
		if grouped {
			paged[l.Group]++
		}
		for t := range held {
			held[t] += l.Held >> t & 1
		}
	}
	for i := range p.lanes {
		if p.lanes[i].Followers != followers[i] {
			d.Fail("lane %d has %d followers, says %d", i, followers[i], p.lanes[i].Followers)
		}
	}
	p.pri.credits = p.cfg.Pages
	for i := range p.pri.groups {
		g := &p.pri.groups[i]
		p.pri.credits -= int(g.Count)
		if g.Count != paged[i] || g.Used != (g.Count > 0) {
			d.Fail("group %d has %d page requests, says %d", i, paged[i], g.Count)
		}
	}
	for t := range held {
		if p.pending[t].Count != held[t] {
			d.Fail("invalidation %d waits for %d requests, says %d", t, held[t], p.pending[t].Count)
		}
	}
}

func words(list []uint32) []uint64 {
	w := make([]uint64, len(list))
	for i, v := range list {
		w[i] = uint64(v)
	}
	return w
}

// list returns what is in the ring, oldest first.
func (r *ring) list() []uint32 {
	l := make([]uint32, r.n)
	for k := range l {
		l[k] = r.get(k)
	}
	return l
}
