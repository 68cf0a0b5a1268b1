package timing

import "github.com/iommulab/iommulab/emu"

// numEngines is the number of flights reserved for a unit's engines.
const numEngines = 8

// port is one unit with the machinery around it: ingress, flights, slots, caches, drains.
type port struct {
	m       *Machine
	id      uint32
	unit    emu.Unit
	cache   [emu.NumCaches]emu.Cache
	flights []Flight
	free    int32
	used    int32 // flights from here on were never in use
	slots   [emu.NumSlotClasses]slotPool

	ingress   uint64 // cycle at which the pipeline takes the next request
	tagBusy   uint64 // cycle until which an invalidation occupies the tag port
	mem       uint64 // cycle at which the memory port takes the next access
	dataEnd   uint64 // cycle at which every DMA translated so far is globally visible
	irqEnd    uint64 // cycle at which every interrupt of a device so far has arrived
	issued    uint64 // requests taken in
	drainData uint64 // cycle at which DMA that invalidations so far wait for is visible
	marked    int32  // marked transactions in flight
	ordering  int32  // flights that wait for an Order
	drains    [numEngines]drain
	ats       [emu.MaxITags]atsRequest

	merged        uint64
	memReads      uint64
	walks         uint64
	maxStall      uint64
	invalidations uint64 // executed
	epoch         uint64 // of marks: number of the last invalidation, or marking by type
}

func newPort(m *Machine, id uint32, u emu.Unit, n int) *port {
	p := &port{m: m, id: id, unit: u, flights: make([]Flight, n+numEngines)}
	if c, ok := u.(emu.Clocked); ok {
		c.UseClock(m)
	}
	for i := range p.cache {
		p.cache[i] = u.Cache(emu.CacheID(i))
	}
	for c := range p.slots {
		switch emu.SlotClass(c) {
		case emu.SlotWalker:
			p.slots[c].reset(m.Params.Walkers, false)
		case emu.SlotLog:
			p.slots[c].reset(1, false)
		default:
			p.slots[c].reset(m.Params.MissRegisters, true)
		}
	}
	p.free = none
	for i := len(p.flights) - 1; i >= 0; i-- {
		f := &p.flights[i]
		for c := range f.Reg {
			f.Reg[c] = none
		}
		f.Next = none
		if i < numEngines {
			f.Engine = true
			f.Txn.Req = emu.Request{Type: emu.Job, Job: emu.Engine(i), PASID: emu.NoPASID}
			continue
		}
		f.Next = p.free
		p.free = int32(i)
	}
	return p
}

// issue takes a request in at the present cycle.
func (p *port) issue(dev, tag uint32, q *emu.Request) bool {
	i := p.free
	if i == none {
		return false
	}
	m := p.m
	f := &p.flights[i]
	p.free = f.Next
	p.used = max(p.used, i+1)
	f.Device, f.Tag, f.Issued, f.Stall = dev, tag, m.now, 0
	f.Seq = p.issued
	p.issued++
	f.Txn.Req = *q
	f.Txn.Marked = false
	f.State = flightArriving
	in := max(m.now+m.Params.Link, p.ingress)
	p.ingress = in + m.Params.Ingress
	m.at(in+m.Params.Lookup, prioHardware, evRead, p.id, uint32(i))
	return true
}

// read is the tag read of flight i: the fused look-up, and on its failure the first step.
func (p *port) read(i int32) {
	m := p.m
	f := &p.flights[i]
	if p.tagBusy > m.now {
		f.Stall += p.tagBusy - m.now
		if !m.inline(p.tagBusy) {
			m.at(p.tagBusy, prioHardware, evRead, p.id, uint32(i))
			return
		}
	}
	f.Read = m.now
	marked := f.Txn.Marked // on its way here, see invalidateNow
	if !marked && p.unit.Lookup(&f.Txn.Req, &f.Txn.Res) {
		p.respond(i)
		return
	}
	p.unit.Start(&f.Txn, &f.Txn.Req)
	f.Txn.Marked = marked
	f.State = flightRunning
	p.advance(i)
}

// advance lets flight i ask and be answered until it has to wait for an event.
func (p *port) advance(i int32) {
	f := &p.flights[i]
	for {
		p.unit.Step(&f.Txn)
		if f.Txn.Wake != 0 {
			w := f.Txn.Wake
			f.Txn.Wake = 0
			p.wake(w)
		}
		var done uint64
		if a := &f.Txn.Act; a.Op == emu.OpFetch { // of all questions the most
			done = p.fetch(a.Follow)
		} else {
			var wait bool
			if done, wait = p.begin(i); wait {
				return
			}
		}
		if done > p.m.now && !p.m.inline(done) {
			p.m.at(done, prioHardware, evAnswer, p.id, uint32(i))
			return
		}
		if !p.answer(i) {
			return
		}
	}
}

func (p *port) answerAndAdvance(i int32) {
	if p.answer(i) {
		p.advance(i)
	}
}

// fetch returns the cycle at which a fetch is answered. follow says that the structure is on its way already.
func (p *port) fetch(follow bool) uint64 {
	p.memReads++
	if follow {
		return p.m.now + p.m.Params.Follow
	}
	return p.memory()
}

// begin returns the cycle at which another question of flight i is answered. wait is true if another
// transaction or event will resume it.
func (p *port) begin(i int32) (done uint64, wait bool) {
	m := p.m
	t := &p.flights[i].Txn
	a := &t.Act
	switch a.Op {
	case emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		return p.memory(), false
	case emu.OpProbe:
		if p.cache[a.Cache] == nil {
			return m.now, false
		}
		return m.now + m.Params.Probe, false
	case emu.OpFill:
		if p.cache[a.Cache] == nil {
			return m.now, false
		}
		return m.now + m.Params.Fill, false
	case emu.OpInvalidate:
		if a.Sel.Match&emu.MatchType != 0 {
			return m.now, false // no cache is concerned
		}
		return m.now + m.Params.Invalidate, false
	case emu.OpDelay:
		return m.now + uint64(max(a.N, 1))*m.Params.delay(a.Delay), false
	case emu.OpAcquire:
		if !p.acquire(i) {
			return 0, true
		}
	case emu.OpDrain:
		t.Ans = emu.AnsOK
		return p.drain(i)
	case emu.OpOrder:
		t.Ans = emu.AnsOK
		return p.order(i)
	case emu.OpHold:
		p.hold(i)
		return 0, true
	}
	return m.now, false
}

// memory books one access at the unit's memory port and returns when its data is there.
func (p *port) memory() uint64 {
	start := max(p.m.now, p.mem)
	p.mem = start + p.m.Params.MemInterval
	return start + p.m.Params.Mem
}

// answer performs what flight i asked for, at the present cycle. It returns false when the flight
// has ended or is parked.
func (p *port) answer(i int32) bool {
	m := p.m
	f := &p.flights[i]
	t := &f.Txn
	a := &t.Act
	switch a.Op {
	case emu.OpFetch: // as emu.MemoryAnswer has it
		t.Ans = emu.AnsOK
		if !m.mem.Load(a.Addr, a.Size, &t.In) {
			t.Ans = emu.AnsError
		}
	case emu.OpAcquire, emu.OpDrain, emu.OpOrder, emu.OpHold:
		// answered by begin, or by who resumed it
	case emu.OpResume:
		p.letGo(a)
		t.Ans = emu.AnsOK
	case emu.OpOverlap:
		t.Ans = emu.OverlapAnswer(p.cache[a.Cache], a)
	case emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		t.Ans = emu.MemoryAnswer(m.mem, t)
	case emu.OpProbe:
		t.Ans = emu.AnsMiss
		if c := p.cache[a.Cache]; c != nil && c.Probe(&a.Key, &t.In) {
			t.Ans = emu.AnsOK
		}
	case emu.OpFill:
		if c := p.cache[a.Cache]; c != nil && !t.Marked {
			c.Fill(&a.Key, a.Lg2, a.Attr, &a.Data)
		}
		if s := slotOf[a.Cache]; s.ok {
			p.release(i, s.class, &a.Data)
		}
		t.Ans = emu.AnsOK
	case emu.OpRelease:
		p.release(i, a.Slot, nil)
		t.Ans = emu.AnsOK
	case emu.OpInvalidate:
		p.invalidateNow(i, &a.Sel)
		t.Ans = emu.AnsOK
	case emu.OpSend:
		p.send(&t.Act)
		t.Ans = emu.AnsOK
	case emu.OpPark:
		return p.park(i)
	case emu.OpDone:
		p.finish(i)
		if m.Trace != nil {
			m.Trace(m.now, int(p.id), t)
		}
		return f.Engine && p.rerun(i)
	default:
		t.Ans = emu.AnsOK
	}
	if m.Trace != nil {
		m.Trace(m.now, int(p.id), t)
	}
	return true
}

// send gives the message in a its start.
func (p *port) send(a *emu.Act) {
	switch a.Msg {
	case emu.MsgMSI:
		p.m.sendMSI(a.Addr, uint32(a.Data[0]))
	case emu.MsgWire:
		p.m.pulse(p.id, a.N)
	case emu.MsgATSInv:
		p.sendATS(a)
	case emu.MsgPRGResponse:
		p.m.post(p, a)
	}
}

// respond sends the outcome of flight i, known at the present cycle, back to the requester, and an
// interrupt on to the processor. It returns the cycle at which the data of the request, if it has
// any, is globally visible, or the interrupt has arrived.
func (p *port) respond(i int32) uint64 {
	m := p.m
	f := &p.flights[i]
	r := &f.Txn.Res
	f.State = flightReturn
	done := m.now
	if t := f.Txn.Req.Type; r.Status == emu.OK && t != emu.TranslationReq && t != emu.PageRequest {
		done += m.Params.Data
		p.dataEnd = max(p.dataEnd, done)
	}
	m.at(done+m.Params.Link, prioDevice, evReturn, p.id, uint32(i))
	p.ended(f, done)
	if r.Status == emu.Interrupt {
		m.sendMSI(r.PA, r.Data)
		done += m.Params.MSI
		p.irqEnd = max(p.irqEnd, done)
	}
	return done
}

// deliver ends flight i at its requester.
func (p *port) deliver(i int32) {
	f := &p.flights[i]
	p.maxStall = max(p.maxStall, f.Stall)
	c := &p.m.completion
	*c = Completion{
		Tag: f.Tag, Request: &f.Txn.Req, Result: &f.Txn.Res,
		Issued: f.Issued, Read: f.Read, Done: p.m.now, Stall: f.Stall,
	}
	// The client may issue at once: the flight becomes free only after it has read the result.
	p.m.client[f.Device].Complete(c)
	f.State = flightFree
	f.Txn.Known = 0
	f.Next = p.free
	p.free = i
}
