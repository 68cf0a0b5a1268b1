package vtd

import (
	"errors"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// pageQueue is the page-request queue (7.4) and what has been read from it.
type pageQueue struct {
	base    emu.PA
	partial map[groupKey]*host.PageGroup // groups whose last request has not come
	ready   []host.PageGroup             // complete, nobody told yet; the oldest first
	open    map[groupKey]bool            // handed on, not answered
	taking  bool                         // takePages is running
	again   bool                         // the interrupt came while it was
	serving bool                         // servePages is running
}

// groupKey is what tells groups that wait for an answer from each other.
type groupKey struct {
	sid   emu.SourceID
	pasid emu.PASID
	index uint16
}

func keyOf(g *host.PageGroup) groupKey { return groupKey{g.Source, g.PASID, g.Index} }

const (
	pageQueueLg2 = 16   // log2 bytes of the queue: as many as Linux 7.3 takes
	maxPartial   = 4096 // requests of groups that have not ended: more than the queue holds
	maxDrains    = 16   // tries to drain a queue that overflows
)

// startPages sets the page-request queue up if devices can be asked to use it: scalable mode, device-TLBs,
// page requests, and their drain.
func (d *Driver) startPages() error {
	if !d.scalable || d.queue == nil || !d.caps.has(spec.EcapDT) || !d.caps.has(spec.EcapPRS) || !d.caps.has(spec.EcapPDS) {
		return nil
	}
	base, err := d.alloc(pageQueueLg2)
	if err != nil {
		return err
	}
	d.prq = &pageQueue{base: base, partial: make(map[groupKey]*host.PageGroup), open: make(map[groupKey]bool)}
	d.write(spec.OffPECTL, 4, spec.EventIM.Mask())
	d.write(spec.OffPQH, 8, 0)
	d.write(spec.OffPQT, 8, 0)
	d.write(spec.OffPQA, 8, uint64(base)|spec.PqaPQS.Put(pageQueueLg2-emu.PageShift))
	d.write(spec.OffPRS, 4, spec.PrsPRO.Mask()|spec.PrsPPR.Mask())
	addr, data := d.cpu.OnIRQ(d.pageEvent)
	d.write(spec.OffPEDATA, 4, uint64(data))
	d.write(spec.OffPEADDR, 4, uint64(addr)&0xffff_ffff)
	d.write(spec.OffPEUADDR, 4, uint64(addr)>>32)
	d.write(spec.OffPECTL, 4, 0)
	return nil
}

// stopPages masks the event and takes the queue away.
func (d *Driver) stopPages() {
	if d.prq == nil {
		return
	}
	d.write(spec.OffPECTL, 4, spec.EventIM.Mask())
	d.write(spec.OffPQH, 8, 0)
	d.write(spec.OffPQT, 8, 0)
	d.write(spec.OffPQA, 8, 0)
	d.prq = nil
}

// OnPageRequest implements host.PageRequester.
func (d *Driver) OnPageRequest(fn func(host.PageGroup)) { d.onPages = fn }

// enter begins a method that changes something. Interrupts come in the middle of it; whoever they tell
// must not call the driver before it has ended.
func (d *Driver) enter() *Driver {
	d.busy++
	return d
}

// leave ends the method.
func (d *Driver) leave() {
	if d.busy--; d.busy == 0 {
		d.servePages()
	}
}

// pageEvent is the interrupt handler.
func (d *Driver) pageEvent() {
	d.takePages()
	if d.busy == 0 {
		d.servePages()
	}
}

// takePages reads the queue empty. PPR is taken back first, so that a request that comes after the tail
// was read raises the event again; PRO when the queue is empty, for what comes before is dropped anyway
// (7.5, 7.8).
func (d *Driver) takePages() {
	p := d.prq
	if p == nil {
		return
	}
	if p.taking {
		p.again = true
		return
	}
	p.taking = true
	defer func() { p.taking = false }()
	for p.again = true; p.again; {
		p.again = false
		d.write(spec.OffPRS, 4, spec.PrsPPR.Mask())
		tail := d.pageOffset(spec.OffPQT, spec.PqtPQT)
		head := d.pageOffset(spec.OffPQH, spec.PqhPQH)
		for ; head != tail; head = (head + spec.PageReqSize) % (1 << pageQueueLg2) {
			at := p.base + emu.PA(head)
			d.takePage([4]uint64{d.cpu.Load64(at), d.cpu.Load64(at + 8)})
		}
		d.write(spec.OffPQH, 8, tail)
		if spec.PrsPRO.On(d.read(spec.OffPRS, 4)) &&
			d.pageOffset(spec.OffPQH, spec.PqhPQH) == d.pageOffset(spec.OffPQT, spec.PqtPQT) {
			// Groups that have begun may have lost their last request: hardware answers that one, and
			// the device asks for all of them anew.
			clear(p.partial)
			d.stats.PageOverflows++
			d.write(spec.OffPRS, 4, spec.PrsPRO.Mask())
		}
	}
}

// pageOffset reads an offset into the queue.
func (d *Driver) pageOffset(off uint32, field reg.Bits) uint64 {
	return d.read(off, 8) & field.Mask() & (1<<pageQueueLg2 - 1)
}

// takePage takes one entry of the queue (7.4.1.1).
func (d *Driver) takePage(w [4]uint64) {
	p := d.prq
	if spec.PrType.Get(w[:]) != spec.PrTypePage {
		return
	}
	d.stats.PageRequests++
	g := host.PageGroup{
		Source: emu.SourceID(spec.PrRID.Get(w[:])), PASID: emu.NoPASID, Index: uint16(spec.PrPRGI.Get(w[:])),
	}
	q := host.PageRequest{Addr: emu.IOVA(w[1] &^ (emu.PageSize - 1))}
	for _, f := range []struct {
		bit reg.Bits
		a   emu.Access
	}{{spec.PrR, emu.Read}, {spec.PrW, emu.Write}, {spec.PrEXE, emu.Exec}, {spec.PrPRIV, emu.Priv}} {
		if f.bit.Get(w[:]) != 0 {
			q.Access |= f.a
		}
	}
	if spec.PrPP.Get(w[:]) != 0 {
		g.PASID = emu.PASID(spec.PrPASID.Get(w[:]))
	}
	last := spec.PrLPIG.Get(w[:]) != 0
	if last && q.Access&emu.RW == 0 {
		return // a stop marker: there is no answer
	}
	k := keyOf(&g)
	if begun := p.partial[k]; begun != nil {
		g = *begun
	}
	g.Requests = append(g.Requests, q)
	switch {
	case last:
		delete(p.partial, k)
		p.ready = append(p.ready, g)
	case len(g.Requests) < maxPartial && len(p.partial) < maxPartial:
		p.partial[k] = &g
	}
}

// servePages hands groups on.
func (d *Driver) servePages() {
	p := d.prq
	if p == nil || p.serving {
		return
	}
	p.serving = true
	defer func() { p.serving = false }()
	for len(p.ready) > 0 {
		g := p.ready[0]
		p.ready = p.ready[1:]
		d.stats.PageGroups++
		v := d.devices[g.Source]
		p.open[keyOf(&g)] = true
		if d.onPages == nil || v == nil || v.domains[g.PASID] == nil {
			// An error here shows at the next operation: hardware answers no more.
			_ = d.Respond(g, host.PageInvalid)
			continue
		}
		d.onPages(g)
	}
}

// Respond implements host.PageRequester.
func (d *Driver) Respond(g host.PageGroup, r host.PageResponse) error {
	defer d.enter().leave()
	k := keyOf(&g)
	if d.prq == nil || !d.prq.open[k] {
		return fmt.Errorf("vtd: group %d of %s: %w", g.Index, name(g.Source, g.PASID), host.ErrPageGroup)
	}
	delete(d.prq.open, k)
	return d.respond(k, r)
}

// respond gives the answer to hardware. A device takes it once: when a time-out ends the wait the answer
// has been sent, and only the wait is given again (6.5.2.10).
func (d *Driver) respond(k groupKey, r host.PageResponse) error {
	err := d.queue.once([]desc{responseDesc(k, r)}, !d.omitWait())
	if errors.Is(err, errAgain) {
		err = d.queue.submit(nil, true)
	}
	if err != nil {
		err = fmt.Errorf("vtd: answer to group %d of %s: %w", k.index, name(k.sid, k.pasid), err)
	}
	return err
}

// drainPages makes sure that no page request of (v, pasid), which has no entry any more, is left anywhere,
// and none is answered later (7.10). What is found is answered with Invalid Request.
func (d *Driver) drainPages(v *device, pasid emu.PASID, old *domain) error {
	p := d.prq
	if p == nil || !v.pri || old == nil {
		return nil
	}
	if err := d.refusePages(v, pasid); err != nil {
		return err
	}
	for range maxDrains {
		list := []desc{fenceDesc()}
		for _, o := range old.drainOps(v, pasid) {
			if d.omit&o.omit() == 0 {
				list = append(list, o.encode(&d.caps))
			}
		}
		if err := d.queue.drain(list); err != nil {
			return err
		}
		overflow := spec.PrsPRO.On(d.read(spec.OffPRS, 4))
		if err := d.refusePages(v, pasid); err != nil {
			return err
		}
		if !overflow {
			return nil
		}
	}
	return fmt.Errorf("page requests of %s do not end: %w", name(v.sid, pasid), host.ErrTimeout)
}

// drainOps are the invalidations of a drain: translations of (v, pasid), and its device-TLB.
func (m *domain) drainOps(v *device, pasid emu.PASID) []op {
	c := pasidCaches{caches{d: m.d, dev: v, pasid: pasid}}
	return c.deviceTLB([]op{c.translations(m.entryFor(v))})
}

// refusePages empties the queue and answers what there is of (v, pasid).
func (d *Driver) refusePages(v *device, pasid emu.PASID) error {
	d.takePages()
	p := d.prq
	var refused []groupKey
	kept := p.ready[:0]
	for _, g := range p.ready {
		if g.Source == v.sid && g.PASID == pasid {
			refused = append(refused, keyOf(&g))
		} else {
			kept = append(kept, g)
		}
	}
	p.ready = kept
	for k := range p.open {
		if k.sid == v.sid && k.pasid == pasid {
			refused = append(refused, k)
			delete(p.open, k)
		}
	}
	for k := range p.partial {
		if k.sid == v.sid && k.pasid == pasid {
			delete(p.partial, k)
		}
	}
	slices.SortFunc(refused, func(a, b groupKey) int { return int(a.index) - int(b.index) })
	for _, k := range refused {
		if err := d.respond(k, host.PageInvalid); err != nil {
			return err
		}
	}
	return nil
}
