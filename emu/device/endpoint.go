package device

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
)

// ATSBus is a Bus that carries ATS invalidations. *timing.Machine and *Direct are.
type ATSBus interface {
	Bus
	CompleteATS(unit int, itag uint8)
}

// EndpointConfig configures an Endpoint.
type EndpointConfig struct {
	Unit        int          // number of the unit the device is behind
	Source      emu.SourceID // of all its requests
	Outstanding int          // requests of the source in progress, 1 to 4096
	Interval    uint64       // least cycles between taking two of them; 0 for none
	// TLB is the device TLB. Without entries each translation is used for one request.
	TLB iotlb.Geometry
	// NoWrite sets NW in translation requests for accesses that only read.
	NoWrite bool
	// Global: the device keeps global mappings, and obeys global invalidation.
	Global bool
	// TranslatedPASID: translated requests carry the PASID of their translation.
	TranslatedPASID bool
	// Pages is the number of page requests that may be outstanding (Outstanding Page Request
	// Allocation, PCIe 10.5.2.4), at most 512. 0: the device has no page request interface.
	Pages int
	// Gather is how long a page request waits for others to form a group with, cycles.
	Gather uint64
}

// End is how a request of an Endpoint ended.
type End uint8

// The ends.
const (
	EndOK          End = iota // the unit let it pass
	EndBlocked                // the unit blocked it, or its translation request
	EndNoRights               // its translation lacks rights, and there is no page request interface
	EndInvalid                // software answered Invalid Request to its page request
	EndPageFailure            // the page request interface has been stopped by Response Failure
)

// String names the end.
func (e End) String() string {
	return [8]string{"ok", "blocked", "no rights", "page request invalid", "page request failure"}[e&7]
}

// EndpointStats counts what an Endpoint did.
type EndpointStats struct {
	Translations  uint64 // translation requests sent
	Discarded     uint64 // of these, dropped because an invalidation arrived meanwhile
	PageRequests  uint64 // sent
	Groups        uint64 // of page requests
	Responses     uint64 // page request group responses taken
	Unexpected    uint64 // responses that answer no group
	Invalidations uint64 // ATS invalidation requests taken
	Held          uint64 // of these, completed only when requests in flight were
}

// Endpoint is a device with a device TLB (PCIe 10): it asks the unit for translations ahead of its
// DMA, keeps them, gives them up on invalidation, and, with a page request interface, asks software
// for pages that are not there. It is a timing.Client that answers to its source.
//
// Requests of the source are independent of each other: one that needs no translation overtakes those
// that wait for theirs. A request that is not of type Untranslated is sent as it is.
type Endpoint struct {
	cfg    EndpointConfig
	bus    ATSBus
	dev    int
	source Source
	done   func(c *timing.Completion, end End)
	tlb    *iotlb.Cache

	lanes []lane
	free  []uint32
	ready ring // lanes with something to send, oldest first

	held   emu.Request // taken from the source, its time not yet come
	heldAt uint64
	holds  bool
	armed  bool   // a timer is set
	timer  uint64 // when the earliest comes
	next   uint64 // earliest cycle of the next take
	flying uint64 // requests of all kinds in the unit
	count  uint64 // requests of the source completed

	pri     pri
	pending [emu.MaxITags]invalidation
	mute    bool
	busy    int // calls of Complete and PRGResponse that are running
	stats   EndpointStats

	// In the endpoint, so that they are not allocated for each request.
	req     emu.Request
	last    timing.Completion
	result  emu.Result
	blocked emu.Result
}

const (
	maxOutstanding = 4096
	maxPages       = 512

	pageTag = 1 << 31 // in the tag of a page request; lanes are below
)

// NewEndpoint attaches a device to bus. done, if not nil, sees how every request of the source ended;
// its completion has the request as the source gave it, the result of the last request that the unit
// answered for it, and the time since it was taken. It is valid until done returns or lets the unit do
// something. The device starts with the first Kick.
//
// Errors: iotlb.ErrGeometry; numbers out of range.
func NewEndpoint(bus ATSBus, cfg EndpointConfig, source Source, done func(c *timing.Completion, end End)) (*Endpoint, error) {
	if cfg.Outstanding < 1 || cfg.Outstanding > maxOutstanding {
		return nil, fmt.Errorf("device: %d requests outstanding: want 1 to %d", cfg.Outstanding, maxOutstanding)
	}
	if cfg.Pages < 0 || cfg.Pages > maxPages {
		return nil, fmt.Errorf("device: %d page requests outstanding: want 0 to %d", cfg.Pages, maxPages)
	}
	tlb, err := iotlb.New(cfg.TLB)
	if err != nil {
		return nil, fmt.Errorf("device: TLB: %w", err)
	}
	n := cfg.Outstanding
	p := &Endpoint{cfg: cfg, bus: bus, source: source, done: done, tlb: tlb, lanes: make([]lane, n), ready: newRing(n)}
	for i := n - 1; i >= 0; i-- {
		p.lanes[i].clear()
		p.free = append(p.free, uint32(i))
	}
	p.pri.init(n, cfg.Pages)
	p.dev = bus.AddClient(p)
	return p, nil
}

// Requester implements timing.ATSResponder and timing.PageRequester.
func (p *Endpoint) Requester() emu.SourceID { return p.cfg.Source }

// TLB returns the device TLB, for tools; nil if it has none.
func (p *Endpoint) TLB() *iotlb.Cache { return p.tlb }

// Stats returns the counters.
func (p *Endpoint) Stats() EndpointStats { return p.stats }

// InFlight is the number of requests taken from the source and not completed.
func (p *Endpoint) InFlight() int { return len(p.lanes) - len(p.free) }

// Completed is the number of requests completed.
func (p *Endpoint) Completed() uint64 { return p.count }

// Idle reports that nothing is in progress and nothing is held back.
func (p *Endpoint) Idle() bool { return p.InFlight() == 0 && !p.holds }

// Mute makes the device ignore ATS invalidation requests, or end that. Fault injection.
func (p *Endpoint) Mute(on bool) { p.mute = on }

// Each calls f for every request that has left the source and is not completed.
func (p *Endpoint) Each(f func(q *emu.Request)) {
	for i := range p.lanes {
		if p.lanes[i].State != laneFree {
			f(&p.lanes[i].Req)
		}
	}
	if p.holds {
		f(&p.held)
	}
}

// Kick sends what may be sent at the present cycle. Call it when the source has got something.
func (p *Endpoint) Kick() {
	if p.busy > 0 {
		return // it comes at the end
	}
	now := p.bus.Now()
	for p.sendPages(now) && p.sendReady(now) && p.take(now) {
	}
}

// take starts a request of the source. It returns false if there is none to start.
func (p *Endpoint) take(now uint64) bool {
	if len(p.free) == 0 {
		return false
	}
	if !p.holds {
		if p.heldAt, p.holds = p.source.Next(&p.held); !p.holds {
			return false
		}
	}
	if at := max(p.heldAt, p.next); at > now {
		p.arm(at)
		return false
	}
	p.holds = false
	p.next = now + p.cfg.Interval
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	l := &p.lanes[i]
	l.Req, l.Taken = p.held, now
	p.lookup(i)
	return true
}

// sendReady sends what lanes have to send. It returns false if the unit is full.
func (p *Endpoint) sendReady(now uint64) bool {
	for p.ready.n > 0 {
		i := p.ready.first()
		l := &p.lanes[i]
		next := laneMoving
		if l.State == laneWant {
			next = laneTranslating
			p.translation(l)
		} else {
			p.access(l)
		}
		if !p.issue(now, i) {
			return false
		}
		if next == laneTranslating {
			p.stats.Translations++
		}
		l.State = next
		p.ready.pop()
	}
	return true
}

// issue gives p.req to the unit.
func (p *Endpoint) issue(now uint64, tag uint32) bool {
	if p.bus.Issue(p.dev, p.cfg.Unit, tag, &p.req) {
		p.flying++
		return true
	}
	// The unit is full. Own completions kick; without any, look again later.
	if p.flying == 0 {
		p.arm(now + retry)
	}
	return false
}

func (p *Endpoint) arm(at uint64) {
	if !p.armed || at < p.timer {
		p.armed, p.timer = true, at
		p.bus.Timer(p.dev, at, 0)
	}
}

// Timer implements timing.Client.
func (p *Endpoint) Timer(uint32) {
	p.armed = false
	p.Kick()
}

// Complete implements timing.Client.
func (p *Endpoint) Complete(c *timing.Completion) {
	p.flying--
	p.busy++
	switch {
	case c.Tag&pageTag != 0: // a message: nothing comes back
	case p.lanes[c.Tag].State == laneTranslating:
		p.translated(c.Tag, c)
	default:
		p.unhold(&p.lanes[c.Tag])
		end := EndOK
		if c.Result.Status == emu.Blocked {
			end = EndBlocked
		}
		p.finish(c.Tag, c, end)
	}
	p.busy--
	p.Kick()
}

// finish ends lane i. c is the last completion for it.
func (p *Endpoint) finish(i uint32, c *timing.Completion, end End) {
	p.last, p.result, p.req = *c, *c.Result, p.lanes[i].Req
	f := &p.last
	f.Tag, f.Request, f.Result, f.Issued, f.Done = i, &p.req, &p.result, p.lanes[i].Taken, p.bus.Now()
	p.wakeFollowers(i)
	p.lanes[i].clear()
	p.free = append(p.free, i)
	p.count++
	if p.done != nil {
		p.done(f, end)
	}
}

// fail ends lane i for a reason that the unit has not given.
func (p *Endpoint) fail(i uint32, end End) {
	q := &p.lanes[i].Req
	p.blocked = emu.Result{Status: emu.Blocked, Fault: emu.Fault{Quiet: true, Source: p.cfg.Source, PASID: q.PASID, Addr: q.Addr}}
	p.finish(i, &timing.Completion{Result: &p.blocked}, end)
}
