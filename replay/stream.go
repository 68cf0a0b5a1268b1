package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/traces"
)

// engine is the DMA engine of one requester.
type engine struct {
	sid     emu.SourceID
	feed    *feed
	player  *device.Player
	streams map[emu.PASID]*stream
	waiting waiting
}

// waiting counts the requests that an unmap has to wait for: those before it in the trace that are
// in the range and not completed.
type waiting struct {
	pasid       emu.PASID
	first, last emu.IOVA
	n           int
}

func (w *waiting) holds(q *emu.Request) bool {
	return q.PASID == w.pasid && q.Addr <= w.last && q.Addr+emu.IOVA(max(q.Len, 1)-1) >= w.first
}

// stream is one address space under test: a requester, or one PASID of it.
type stream struct {
	space traces.Space
	kind  *structure // of its entry
	eng   *engine

	cur, old *generation
	turn     int // nested: which stage comes next
	retired  retired
	next     *generation // built, not yet installed
	between  []uint64    // versions of the entry on its way during the last rewrite
	doneAt   uint64      // cycle at which the last rewrite was declared complete

	entryAt  emu.PA
	declared [][]uint64 // contents of the entry that were declared during the last rewrite, used bits only

	busy      bool       // a rewrite is under way
	outcomes  []outcome  // completions during the rewrite, judged after it
	assembled []assembly // entries assembled during the rewrite, judged after it
}

// outcome is what a completed request saw.
type outcome struct {
	read    uint64 // cycle of the tag read
	visible uint64 // cycle at which the access itself was globally visible
	status  emu.Status
	prov    emu.Provenance
	pa      emu.PA
	want    emu.PA // PA of the trace for the address; generations add their color
}

// assembly is an entry as the unit assembled it.
type assembly struct {
	n     int
	words [8]uint64
}

// newEngine attaches a DMA engine for sid and makes the device known to the driver.
func (c *cell) newEngine(sid emu.SourceID) (*engine, error) {
	if err := c.drv.Probe(sid, host.DeviceSpec{PASIDs: c.mode.pasids}); err != nil {
		return nil, err
	}
	e := &engine{sid: sid, streams: map[emu.PASID]*stream{}}
	e.feed = newFeed(c.opt.closedLoop(), &e.waiting)
	cfg := device.Config{Unit: c.unit, Outstanding: c.opt.Outstanding, Interval: c.interval}
	e.player = device.NewPlayer(c.m, cfg, e.feed, func(r *timing.Completion) { c.complete(e, r) })
	c.engines[sid] = e
	c.engineList = append(c.engineList, e)
	return e, nil
}

// streamOf returns the stream of a space; on first use its device is attached to a domain.
func (c *cell) streamOf(sp traces.Space) (*stream, error) {
	e := c.engines[sp.SID]
	if e == nil {
		var err error
		if e, err = c.newEngine(sp.SID); err != nil {
			return nil, err
		}
	}
	s := e.streams[sp.PASID]
	if s != nil {
		return s, nil
	}
	s = &stream{space: sp, kind: c.mode.structure(sp.PASID), eng: e, retired: retired{}}
	g, err := c.newGeneration(s)
	if err != nil {
		return nil, err
	}
	if err := c.drv.Attach(sp.SID, sp.PASID, g.hw); err != nil {
		return nil, err
	}
	s.cur = g
	c.declare(s)
	e.streams[sp.PASID] = s
	c.streams = append(c.streams, s)
	return s, nil
}

// flying returns how many requests of s are in flight.
func (s *stream) flying() int {
	if len(s.eng.streams) == 1 {
		return s.eng.player.InFlight()
	}
	n := 0
	s.eng.player.Each(func(q *emu.Request) {
		if q.PASID == s.space.PASID {
			n++
		}
	})
	return n
}
