package device

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// Direct connects devices to a unit that is driven by emu.Functional. What they issue is answered in
// order when Run gets to it; its clock stands still but for timers. A device can be moved from it to a
// timing.Machine and back without noticing more than the times.
type Direct struct {
	f       *emu.Functional
	now     uint64
	clients []timing.Client
	events  []directEvent // oldest at head
	head    int
	timers  []directTimer
	done    uint32 // ITags of ATS invalidations completed since asked
	inv     emu.ATSInvalidation
	frames  []*directFrame
	depth   int
	waiting map[uint32]directEvent // requests that the unit holds
}

// directEvent is a request on its way to the unit, or a page request group response to a device.
type directEvent struct {
	dev      int // -1: a response
	tag      uint32
	req      emu.Request
	source   emu.SourceID
	response emu.PRGResponse
	issued   uint64
	ended    *emu.Result // of a request that the unit had held
}

type directTimer struct {
	dev int
	at  uint64
	arg uint32
}

// directFrame is what one event needs while it is handled. An invalidation can make others be handled
// meanwhile.
type directFrame struct {
	event directEvent
	res   emu.Result
	c     timing.Completion
}

// NewDirect returns a connection to the unit that f drives. It takes over OnATSInvalidate, OnPRGResponse
// and OnEnd of f.
func NewDirect(f *emu.Functional) *Direct {
	d := &Direct{f: f, waiting: map[uint32]directEvent{}}
	f.OnATSInvalidate = d.invalidate
	f.OnPRGResponse = d.respond
	f.OnEnd = d.letGo
	return d
}

// Now implements Bus.
func (d *Direct) Now() uint64 { return d.now }

// AddClient implements Bus.
func (d *Direct) AddClient(c timing.Client) int {
	d.clients = append(d.clients, c)
	return len(d.clients) - 1
}

// Issue implements Bus. There is one unit, and it always has room.
func (d *Direct) Issue(dev, _ int, tag uint32, q *emu.Request) bool {
	d.push(directEvent{dev: dev, tag: tag, req: *q, issued: d.now})
	return true
}

// Timer implements Bus.
func (d *Direct) Timer(dev int, at uint64, arg uint32) {
	d.timers = append(d.timers, directTimer{dev, max(at, d.now), arg})
}

// CompleteATS implements ATSBus.
func (d *Direct) CompleteATS(_ int, itag uint8) { d.done |= 1 << (itag % emu.MaxITags) }

// InFlight is the number of requests and responses on their way, without those that the unit holds.
func (d *Direct) InFlight() int { return len(d.events) - d.head }

// Run handles what devices have issued, and what comes of it, in order; a timer when there is nothing
// else. It stops after n of these and returns how many there were.
func (d *Direct) Run(n int) int {
	for k := range n {
		if d.InFlight() > 0 {
			d.handle()
		} else if !d.ring() {
			return k
		}
	}
	return n
}

func (d *Direct) push(e directEvent) {
	if d.head > len(d.events)/2 { // most of it is used up
		d.events = d.events[:copy(d.events, d.events[d.head:])]
		d.head = 0
	}
	d.events = append(d.events, e)
}

// handle handles the oldest event.
func (d *Direct) handle() {
	if d.depth == len(d.frames) {
		d.frames = append(d.frames, new(directFrame))
	}
	f := d.frames[d.depth]
	d.depth++
	f.event = d.events[d.head]
	d.head++
	e := &f.event
	if e.dev < 0 {
		for _, c := range d.clients {
			if r, ok := c.(timing.PageRequester); ok && r.Requester() == e.source {
				r.PRGResponse(&e.response)
				break
			}
		}
	} else if d.translate(f) {
		f.c = timing.Completion{Tag: e.tag, Request: &e.req, Result: &f.res, Issued: e.issued, Read: d.now, Done: d.now}
		d.clients[e.dev].Complete(&f.c)
	}
	d.depth--
}

// translate has the request of f translated. It returns false if the unit holds it.
func (d *Direct) translate(f *directFrame) bool {
	e := &f.event
	if e.ended != nil {
		f.res = *e.ended
		return true
	}
	d.f.Translate(&e.req, &f.res)
	if f.res.Status != emu.Pending {
		return true
	}
	d.waiting[f.res.Data] = *e
	return false
}

// letGo takes the end of a request that the unit had held; the device gets it in its turn.
func (d *Direct) letGo(id uint32, r *emu.Result) {
	e, ok := d.waiting[id]
	if !ok {
		return
	}
	delete(d.waiting, id)
	res := *r
	e.ended = &res
	d.push(e)
}

// ring lets the timer that is due first come.
func (d *Direct) ring() bool {
	if len(d.timers) == 0 {
		return false
	}
	first := 0
	for i := range d.timers {
		if d.timers[i].at < d.timers[first].at {
			first = i
		}
	}
	t := d.timers[first]
	d.timers = append(d.timers[:first], d.timers[first+1:]...)
	d.now = max(d.now, t.at)
	d.clients[t.dev].Timer(t.arg)
	return true
}

// respond takes a page request group response; the device gets it in its turn.
func (d *Direct) respond(t *emu.Txn) {
	d.push(directEvent{dev: -1, source: emu.SourceID(t.Act.Key.Addr), response: t.Act.PRGResponse()})
}

// invalidate asks a device. What is in flight goes ahead of its completion if it waits for that.
func (d *Direct) invalidate(t *emu.Txn) bool {
	source := emu.SourceID(t.Act.Key.Addr)
	d.inv = t.Act.ATSInvalidation()
	tag := d.inv.ITag % emu.MaxITags
	for _, c := range d.clients {
		r, ok := c.(timing.ATSResponder)
		if !ok || r.Requester() != source {
			continue
		}
		bit := uint32(1) << tag
		d.done &^= bit
		switch r.InvalidateATS(0, &d.inv) {
		case timing.ATSIgnored:
			return false
		case timing.ATSCompleted:
			return true
		}
		for n := d.InFlight(); n > 0 && d.done&bit == 0; n-- {
			d.handle()
		}
		return d.done&bit != 0
	}
	return false
}
