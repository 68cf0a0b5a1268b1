package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/traces"
)

// cell is one run: a machine of its own, and where it is in the trace.
type cell struct {
	opt  *Options
	spec cellSpec
	mode *mode
	lay  layout
	pre  *timing.Preset // of a machine with this unit
	ctx  context.Context

	m      *timing.Machine
	cpu    *timing.CPU
	unit   int
	drv    host.Driver
	frames *host.Frames

	maps       traces.Mappings
	engines    map[emu.SourceID]*engine
	engineList []*engine // in order of first use
	streams    []*stream // in order of first use
	entries    map[emu.PA]*stream
	poisonAt   emu.PA // pages that poisoned tables lead to

	gframes *host.Frames // nested: table pages of guests

	interval uint64 // cycles between two issues of a device, 0 = closed loop
	every    uint64 // accesses of the trace between two rewrites
	last     uint64 // accesses when the last rewrite began
	lastReq  uint64 // requests completed by then
	cursor   int    // stream whose turn to be rewritten it is
	building *stream
	builtAt  uint64 // accesses when building ended
	start    uint64 // cycle at which the present pass over the trace began
	accesses uint64 // accesses of all passes

	count   Counts
	hist    *hdrhistogram.Histogram
	latMax  uint64
	latSum  uint64
	publish func(moving)
}

// repeats bounds how often devices repeat themselves between two rewrites while the processor is
// slow to follow the trace: so many requests for each access.
const repeats = 16

// quarantine is after how many freed pages a page may be a table again: 64 MiB, more than hundreds of
// rewrites free, so that within that time no entry version comes twice.
const quarantine = 1 << 14

// maxFlights bounds the requests in one unit.
const maxFlights = 1 << 14

func newCell(ctx context.Context, opt *Options, spec cellSpec) (*cell, error) {
	c := &cell{
		opt: opt, spec: spec, mode: spec.mode, lay: spec.arch.lay, pre: opt.Preset.For(spec.arch.name), ctx: ctx,
		engines: map[emu.SourceID]*engine{}, entries: map[emu.PA]*stream{},
		// Latencies up to 2^36 cycles in three significant digits.
		hist: hdrhistogram.New(1, 1<<36, 3),
	}
	p := c.pre
	c.m = timing.New(p.Params, mem.New())
	u, err := c.mode.unit(p, opt.Seed)
	if err != nil {
		return nil, err
	}
	u.Observe(c)
	c.unit = c.m.AddUnit(u, maxFlights)
	c.cpu = c.m.AddCPU(opt.Seed)
	if c.frames, err = host.NewFrames(c.cpu, c.lay.tables(), tableSize); err != nil {
		return nil, err
	}
	c.frames.Quarantine(quarantine)
	if c.drv, err = c.mode.driver(c.cpu, c.unit, c.frames, opt.Omit); err != nil {
		return nil, err
	}
	if err = c.layPoison(); err != nil {
		return nil, err
	}
	c.every = 1
	if opt.Rewrites > 0 {
		// Spread over one pass of the trace, or less if fewer requests are wanted.
		c.every = max(min(opt.accesses, opt.Requests)/uint64(opt.Rewrites), 1)
	}
	if opt.Rate > 0 {
		c.interval = max(p.ClockMHz*1_000_000/opt.Rate, 1)
	}
	return c, nil
}

// run replays the trace, as often as it takes to have enough requests and rewrites.
func (c *cell) run() error {
	for {
		before := c.accesses
		if err := c.pass(); err != nil {
			return err
		}
		if err := c.settle(); err != nil {
			return err
		}
		if c.enough() {
			return nil
		}
		if c.accesses == before || c.count.Requests == 0 {
			return nil // nothing that this mode can carry: it would never be enough
		}
	}
}

func (c *cell) enough() bool {
	return c.count.Requests >= c.opt.Requests && (c.opt.Rewrites < 0 || c.count.Rewrites.Count >= uint64(c.opt.Rewrites))
}

// pass goes through the trace once.
func (c *cell) pass() error {
	src, closer, err := c.opt.Input.Open()
	if err != nil {
		return err
	}
	defer closer.Close()
	c.start = c.cpu.Now()
	var buf [256]traces.Event
	for {
		n, err := src.Read(buf[:])
		for i := range n {
			if err := c.event(&buf[i]); err != nil {
				return err
			}
		}
		c.tell(false)
		if cause := context.Cause(c.ctx); cause != nil {
			return cause
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c.enough() {
			return nil
		}
	}
}

// event follows one event of the trace.
func (c *cell) event(e *traces.Event) error {
	if e.PASID != emu.NoPASID && uint32(e.PASID) >= c.mode.pasids {
		if e.Kind.IsDMA() {
			c.count.NotApplicable++
			c.accesses++
		}
		return nil
	}
	c.pace(e.Time)
	if e.PASID == emu.NoPASID && c.mode.deal > 0 {
		return c.deal(e)
	}
	return c.follow(e)
}

// Requests without PASID are dealt out by address: region after region belongs to the next PASID in
// turn. So a device has as many address spaces, each maps a part of what the trace maps for it, and an
// access goes where its buffer is.
const (
	dealRegion = 4 * emu.PageSize
	firstDealt = emu.PASID(0x1000) // beyond the PASIDs of small traces, and in another PASID table than 0
)

// deal follows an event of a requester without PASIDs in a mode that gives it some.
func (c *cell) deal(e *traces.Event) error {
	ev := *e
	for left := e.Len; ; {
		region := uint64(ev.IOVA) / dealRegion
		ev.PASID = firstDealt + emu.PASID(region%uint64(c.mode.deal))
		ev.Len = min(left, (region+1)*dealRegion-uint64(ev.IOVA))
		if err := c.follow(&ev); err != nil {
			return err
		}
		if left -= ev.Len; left == 0 {
			return nil
		}
		ev.IOVA += emu.IOVA(ev.Len)
		ev.PA += emu.PA(ev.Len)
	}
}

// follow does what the event says.
func (c *cell) follow(e *traces.Event) error {
	switch {
	case e.Kind.IsDMA():
		return c.access(e)
	case e.Kind == traces.Map:
		return c.mapRange(e)
	case e.Kind == traces.Unmap:
		return c.unmapRange(traces.Space{SID: e.SID, PASID: e.PASID}, e.IOVA, e.Len)
	}
	return nil
}

// at is the cycle of a trace time at recorded pace.
func (c *cell) at(ns uint64) uint64 {
	return c.start + uint64(float64(ns)*c.opt.TimeScale*float64(c.pre.ClockMHz)/1000)
}

// pace waits for the time of an event at recorded pace.
func (c *cell) pace(ns uint64) {
	if c.opt.TimeScale > 0 {
		// The engines hold requests back themselves; the processor only has to keep their queues short.
		if at := c.at(ns); at > c.cpu.Now() {
			c.cpu.Compute(at - c.cpu.Now())
		}
	}
}

// access hands the requests of a DMA to its engine.
func (c *cell) access(e *traces.Event) error {
	c.accesses++
	m, ok := c.maps.Lookup(traces.Space{SID: e.SID, PASID: e.PASID}, e.IOVA)
	if !ok {
		c.count.NotApplicable++
		return nil
	}
	want := direction(e.Kind, m.Perm)
	if want == 0 || access(m.Perm)&want != want {
		c.count.NotApplicable++
		return nil
	}
	s, err := c.streamOf(traces.Space{SID: e.SID, PASID: e.PASID})
	if err != nil {
		return err
	}
	at := uint64(0)
	if c.opt.TimeScale > 0 {
		at = c.at(e.Time)
	}
	split(&c.pre.Params, e.IOVA, e.Len, want, func(a emu.IOVA, n uint32) bool {
		if s.eng.feed.queue.Free() == 0 {
			if err = c.wait(s.eng, func() bool { return s.eng.feed.queue.Free() > 0 }); err != nil {
				return false
			}
		}
		q := emu.Request{Addr: a, Source: e.SID, PASID: e.PASID, Len: n, Access: want}
		s.eng.feed.put(&q, at)
		s.eng.player.Kick()
		return true
	})
	if err != nil {
		return err
	}
	return c.maybeRewrite()
}

// maxWait is how many cycles the lab waits for a device: ten simulated seconds and more.
const maxWait = 1 << 34

// wait lets the machine run until cond is true. It ends early when the run is cancelled.
func (c *cell) wait(e *engine, cond func() bool) error {
	n, cancelled := 0, false
	ok := c.cpu.Poll(func() bool {
		n++
		cancelled = n%1024 == 0 && c.ctx.Err() != nil
		return cancelled || cond()
	}, maxWait)
	switch {
	case cancelled:
		return context.Cause(c.ctx)
	case !ok:
		return fmt.Errorf("device %#04x: %d requests not answered within %d cycles: %w", uint32(e.sid), e.player.InFlight(), uint64(maxWait), host.ErrTimeout)
	}
	return nil
}

// direction is what a request for an event asks for: an access of unknown direction reads if it may.
func direction(k traces.Kind, p traces.Perm) emu.Access {
	switch k {
	case traces.Write:
		return emu.Write
	case traces.Read:
		return emu.Read
	case traces.Exec:
		return emu.Read | emu.Exec
	}
	if a := access(p); a&emu.Read != 0 {
		return emu.Read
	} else {
		return a & emu.Write
	}
}

// maxPABits is how many bits a physical address of a trace may have, whatever the machine of a run.
const maxPABits = 52

// mapRange follows a Map event. What it covers is mapped anew.
func (c *cell) mapRange(e *traces.Event) error {
	sp := traces.Space{SID: e.SID, PASID: e.PASID}
	if e.Len == 0 || access(e.Perm) == 0 {
		return nil
	}
	first, last := e.IOVA&^(emu.PageSize-1), (e.IOVA+emu.IOVA(e.Len)-1)|(emu.PageSize-1)
	n := uint64(last-first) + 1
	if uint64(last)>>c.mode.limit != 0 || last < first {
		c.count.NotApplicable++
		return nil
	}
	pa := e.PA &^ (emu.PageSize - 1)
	if !e.HasPA {
		pa = emu.PA(first) & (1<<c.paBits() - 1)
	}
	if end := pa + emu.PA(n) - 1; end>>maxPABits != 0 || end < pa {
		return fmt.Errorf("trace: map %v iova %#x: pa %#x: want below 2^%d", sp, first, pa, maxPABits)
	} else if end>>c.paBits() != 0 {
		c.count.NotApplicable++ // the machine, or the guest, has no such memory
		return nil
	}
	s, err := c.streamOf(sp)
	if err != nil {
		return err
	}
	if err := c.unmapRange(sp, first, n); err != nil {
		return err
	}
	for _, g := range []*generation{s.cur, s.next} {
		if g == nil {
			continue
		}
		if err := g.mapPages(first, pa, n, access(e.Perm)); err != nil {
			return fmt.Errorf("trace: map %v iova %#x: %w", sp, first, err)
		}
	}
	ev := *e
	ev.IOVA, ev.PA, ev.Len, ev.HasPA = first, pa, n, true
	c.maps.Apply(&ev)
	return nil
}

// unmapRange takes n bytes at iova out of a space, after the requests before it have completed.
func (c *cell) unmapRange(sp traces.Space, iova emu.IOVA, n uint64) error {
	if n == 0 {
		return nil
	}
	e := c.engines[sp.SID]
	if e == nil || e.streams[sp.PASID] == nil {
		return nil
	}
	s := e.streams[sp.PASID]
	first, last := iova&^(emu.PageSize-1), (iova+emu.IOVA(n)-1)|(emu.PageSize-1)
	if !overlaps(c.maps.Of(sp), first, last) {
		return nil
	}
	e.waiting = waiting{sp.PASID, first, last, e.pending(sp, first, last)}
	e.feed.forget()
	if err := c.wait(e, func() bool { return e.waiting.n == 0 }); err != nil {
		return err
	}
	for _, m := range c.maps.Remove(sp, first, uint64(last-first)+1) {
		for _, g := range []*generation{s.cur, s.next} {
			if g == nil {
				continue
			}
			if err := g.unmapPages(m.IOVA, m.Len); err != nil {
				return fmt.Errorf("trace: unmap %v iova %#x: %w", sp, m.IOVA, err)
			}
		}
	}
	return nil
}

// paBits is the width of the trace's physical addresses.
func (c *cell) paBits() int {
	if c.mode.nested {
		return c.lay.guest()
	}
	return c.lay.trace()
}

// overlaps reports whether one of ms, which are in ascending order, has a byte in first..last.
func overlaps(ms []traces.Mapping, first, last emu.IOVA) bool {
	i, _ := slices.BinarySearchFunc(ms, first, func(m traces.Mapping, a emu.IOVA) int {
		if m.IOVA+emu.IOVA(m.Len)-1 < a {
			return -1
		}
		return 1
	})
	return i < len(ms) && ms[i].IOVA <= last
}

// settle lets everything in flight end and takes all mappings out, so that the trace can begin
// anew.
func (c *cell) settle() error {
	for _, e := range c.engineList {
		e.feed.stop()
	}
	for _, e := range c.engineList {
		if err := c.wait(e, func() bool { return e.feed.queue.Len() == 0 && e.player.Idle() }); err != nil {
			return err
		}
	}
	for _, e := range c.engineList {
		e.feed.repeat = c.opt.closedLoop()
	}
	for _, s := range c.streams {
		for ms := c.maps.Of(s.space); len(ms) > 0; ms = c.maps.Of(s.space) {
			if err := c.unmapRange(s.space, ms[0].IOVA, ms[0].Len); err != nil {
				return err
			}
		}
	}
	return nil
}

// maybeRewrite rewrites the next stream if it is time to and it has requests in flight.
func (c *cell) maybeRewrite() error {
	if c.opt.Rewrites < 0 || c.accesses-c.last < c.every && c.count.Requests-c.lastReq < repeats*c.every {
		return nil
	}
	s := c.building
	if s == nil {
		if s = c.pick(); s == nil {
			return nil
		}
		if err := c.prepare(s); err != nil {
			return err
		}
	}
	// Building took time in which the stream may have run dry: then the trace goes on first, until its
	// device is busy, or at least the stream not idle, or others get their turn.
	waited := c.accesses - c.builtAt
	switch flying := s.flying(); {
	case flying > 0 && (s.eng.player.InFlight() >= c.opt.Outstanding/2 || waited >= c.every):
		c.last, c.lastReq = c.accesses, c.count.Requests
		return c.rewrite(s)
	case waited > 4*c.every:
		return c.abandon(s)
	}
	return nil
}

// pick returns the next stream that has requests in flight.
func (c *cell) pick() *stream {
	for i := range c.streams {
		j := (c.cursor + i) % len(c.streams)
		if s := c.streams[j]; s.flying() > 0 && len(c.maps.Of(s.space)) > 0 {
			c.cursor = j + 1
			return s
		}
	}
	return nil
}
