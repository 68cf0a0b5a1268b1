package vtd

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// pageQueue is the page-request queue (7.4).
type pageQueue struct {
	base   emu.PA
	taking bool // takePages is running
	again  bool // the interrupt came while it was
}

const (
	pageQueueLg2 = 16 // log2 bytes of the queue: as many as Linux 7.3 takes
	maxDrains    = 16 // tries to drain a queue that overflows
)

// startPages sets the page-request queue up if devices can be asked to use it: scalable mode, device-TLBs,
// page requests, and their drain.
func (d *Driver) startPages() error {
	if !d.scalable || d.queue == nil || !d.caps.has(spec.EcapDT) || !d.caps.has(spec.EcapPRS) || !d.caps.has(spec.EcapPDS) {
		return nil
	}
	base, err := d.k.Alloc(pageQueueLg2)
	if err != nil {
		return err
	}
	d.prq, d.k.Groups = &pageQueue{base: base}, driver.NewGroups()
	d.k.Write(spec.OffPECTL, 4, spec.EventIM.Mask())
	d.k.Write(spec.OffPQH, 8, 0)
	d.k.Write(spec.OffPQT, 8, 0)
	d.k.Write(spec.OffPQA, 8, uint64(base)|spec.PqaPQS.Put(pageQueueLg2-emu.PageShift))
	d.k.Write(spec.OffPRS, 4, spec.PrsPRO.Mask()|spec.PrsPPR.Mask())
	addr, data := d.k.CPU.OnIRQ(d.pageEvent)
	d.signal(spec.OffPECTL, addr, data)
	addr, data = d.k.CPU.OnIRQ(d.k.Serve)
	d.signal(spec.OffIECTL, addr, data)
	return nil
}

// signal gives an event, whose registers begin at ctl, its message, and unmasks it (11.4.7.2).
func (d *Driver) signal(ctl uint32, addr emu.PA, data uint32) {
	d.k.Write(ctl+4, 4, uint64(data))
	d.k.Write(ctl+8, 4, uint64(addr)&0xffff_ffff)
	d.k.Write(ctl+12, 4, uint64(addr)>>32)
	d.k.Write(ctl, 4, 0)
}

// stopPages masks the event and takes the queue away.
func (d *Driver) stopPages() {
	if d.prq == nil {
		return
	}
	d.k.Write(spec.OffPECTL, 4, spec.EventIM.Mask())
	d.k.Write(spec.OffIECTL, 4, spec.EventIM.Mask())
	d.k.Write(spec.OffPQH, 8, 0)
	d.k.Write(spec.OffPQT, 8, 0)
	d.k.Write(spec.OffPQA, 8, 0)
	d.prq, d.k.Groups = nil, nil
}

// pageEvent is the interrupt handler.
func (d *Driver) pageEvent() {
	d.takePages()
	d.k.Serve()
}

// Recall asks for an interrupt by a wait descriptor. It comes only if no earlier one stands.
func (d arch) Recall() {
	d.k.Write(spec.OffICS, 4, spec.IcsIWC.Mask())
	// A queue that has stopped says so to the next operation.
	_ = d.queue.once([]desc{{spec.PutDescType(spec.DescWait) | spec.IwIF.Mask()}}, false)
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
		d.k.Write(spec.OffPRS, 4, spec.PrsPPR.Mask())
		tail := d.pageOffset(spec.OffPQT, spec.PqtPQT)
		head := d.pageOffset(spec.OffPQH, spec.PqhPQH)
		for ; head != tail; head = (head + spec.PageReqSize) % (1 << pageQueueLg2) {
			at := p.base + emu.PA(head)
			d.takePage([4]uint64{d.k.CPU.Load64(at), d.k.CPU.Load64(at + 8)})
		}
		d.k.Write(spec.OffPQH, 8, tail)
		if spec.PrsPRO.On(d.k.Read(spec.OffPRS, 4)) &&
			d.pageOffset(spec.OffPQH, spec.PqhPQH) == d.pageOffset(spec.OffPQT, spec.PqtPQT) {
			// Groups that have begun may have lost their last request: hardware answers that one, and
			// the device asks for all of them anew.
			d.k.Groups.Lost()
			d.k.Count.PageOverflows++
			d.k.Write(spec.OffPRS, 4, spec.PrsPRO.Mask())
		}
	}
}

// pageOffset reads an offset into the queue.
func (d *Driver) pageOffset(off uint32, field reg.Bits) uint64 {
	return d.k.Read(off, 8) & field.Mask() & (1<<pageQueueLg2 - 1)
}

// takePage takes one entry of the queue (7.4.1.1).
func (d *Driver) takePage(w [4]uint64) {
	if spec.PrType.Get(w[:]) != spec.PrTypePage {
		return
	}
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
	d.k.Add(g, q, spec.PrLPIG.Get(w[:]) != 0)
}

// Answer gives the answer to hardware. A device takes it once: when a time-out ends the wait the answer
// has been sent, and only the wait is given again (6.5.2.10).
func (d arch) Answer(k driver.GroupKey, r host.PageResponse) error {
	err := d.queue.once([]desc{responseDesc(k, r)}, !d.omitWait())
	if errors.Is(err, errAgain) {
		err = d.queue.submit(nil, true)
	}
	return err
}

// Drain makes sure that no page request of (v, pasid), which has no entry any more, is left anywhere,
// and none is answered later (7.10). What is found is answered with Invalid Request.
func (d arch) Drain(v *driver.Device, pasid emu.PASID, old *driver.Domain) error {
	if err := d.refusePages(v, pasid); err != nil {
		return err
	}
	for range maxDrains {
		list := []desc{fenceDesc()}
		for _, o := range d.drainOps(v, pasid, old) {
			if d.k.Omit&o.omit() == 0 {
				list = append(list, o.encode(&d.caps))
			}
		}
		if err := d.queue.drain(list); err != nil {
			return err
		}
		overflow := spec.PrsPRO.On(d.k.Read(spec.OffPRS, 4))
		if err := d.refusePages(v, pasid); err != nil {
			return err
		}
		if !overflow {
			return nil
		}
	}
	return fmt.Errorf("page requests of %s do not end: %w", driver.Label(v.SID, pasid), host.ErrTimeout)
}

// drainOps are the invalidations of a drain: translations of (v, pasid), and its device-TLB.
func (d arch) drainOps(v *driver.Device, pasid emu.PASID, old *driver.Domain) []op {
	c := pasidCaches{caches{d: d.Driver, dev: of(v), pasid: pasid}}
	return c.deviceTLB([]op{c.translations(d.Words(v, pasid, old))})
}

// refusePages empties the queue and answers what there is of (v, pasid).
func (d *Driver) refusePages(v *driver.Device, pasid emu.PASID) error {
	d.takePages()
	return d.k.Refuse(v, pasid)
}
