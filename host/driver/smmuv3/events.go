package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// recordQueue is a queue that the unit writes: events or page requests (3.5).
type recordQueue struct {
	base       emu.PA
	lg2        uint8 // records
	size       int   // bytes of one
	cons       uint32
	ack        uint64 // OVACKFLG
	prod, read uint32 // register offsets of PROD and CONS
	taking     bool
	again      bool    // the interrupt came while it was being read
	left       bool    // it was not read empty; the next operation goes on
	message    command // that sends its interrupt
}

const recordQueueLg2 = 7

// queueRegs are the registers of a queue that the unit writes.
type queueRegs struct {
	base, prod, cons uint32
	line             uint32
	msi              uint32 // IRQ_CFG0
	enable           uint64 // of CR0
	irq              uint64 // of IRQ_CTRL
	size             int
	largest          uint8
}

// startRecords sets up the event queue, the page request queue, and the interrupts of both and of errors.
func (d *Driver) startRecords() error {
	if err := d.setIRQs(0); err != nil {
		return err
	}
	irqs := spec.IrqGERROR.Mask()
	if d.wires != nil {
		d.wires.OnWire(d.opt.Unit, spec.LineSYNC, d.syncInterrupt)
	}
	d.signal(spec.LineGERROR, spec.OffGERRORIRQCfg0, d.takeErrors)
	d.ackErrors(^uint64(0))
	var err error
	d.events, err = d.startRecord(queueRegs{
		spec.OffEVENTQBase, spec.OffEVENTQProd, spec.OffEVENTQCons, spec.LineEVENTQ, spec.OffEVENTQIRQCfg0,
		spec.Cr0EVENTQEN.Mask(), spec.IrqEVENTQ.Mask(), spec.EventSize, uint8(spec.Idr1EVENTQS.Of(d.caps.idr1)),
	}, d.eventInterrupt)
	if err != nil {
		return err
	}
	irqs |= spec.IrqEVENTQ.Mask()
	if d.caps.pri {
		d.pages, err = d.startRecord(queueRegs{
			spec.OffPRIQBase, spec.OffPRIQProd, spec.OffPRIQCons, spec.LinePRIQ, spec.OffPRIQIRQCfg0,
			spec.Cr0PRIQEN.Mask(), spec.IrqPRIQ.Mask(), spec.PRISize, uint8(spec.Idr1PRIQS.Of(d.caps.idr1)),
		}, d.pageInterrupt)
		if err != nil {
			return err
		}
		irqs |= spec.IrqPRIQ.Mask()
	}
	if d.caps.pri || d.caps.stalls {
		d.c.Groups = driver.NewGroups()
	}
	return d.setIRQs(irqs)
}

func (d *Driver) startRecord(r queueRegs, handler func()) (*recordQueue, error) {
	q := &recordQueue{lg2: min(r.largest, recordQueueLg2), size: r.size, prod: r.prod, read: r.cons}
	if err := d.disable(r.enable); err != nil {
		return nil, err
	}
	lg2 := q.lg2
	for n := r.size; n > 1; n >>= 1 {
		lg2++
	}
	var err error
	if q.base, err = d.c.Alloc(lg2); err != nil {
		return nil, err
	}
	d.c.Write(r.base, 8, uint64(q.base)|spec.QBaseHint.Mask()|uint64(q.lg2))
	d.c.Write(r.prod, 4, 0)
	d.c.Write(r.cons, 4, 0)
	q.message = d.signal(r.line, r.msi, handler)
	return q, d.enable(r.enable)
}

// signal makes a handler the one of an interrupt. It returns the command that causes the same interrupt: with
// lines, that of CMD_SYNC.
func (d *Driver) signal(line, cfg0 uint32, handler func()) command {
	if d.wires == nil {
		addr, data := d.c.CPU.OnIRQ(handler)
		d.c.Write(cfg0, 8, uint64(addr))
		d.c.Write(cfg0+8, 4, uint64(data))
		d.c.Write(cfg0+12, 4, msiDevice)
		return interrupt(addr, data)
	}
	if d.opt.Combined {
		handler = d.anyInterrupt
	}
	d.wires.OnWire(d.opt.Unit, line, handler)
	if d.caps.has0(spec.Idr0MSI) {
		d.c.Write(cfg0, 8, 0)
	}
	return interrupt(0, 0)
}

// anyInterrupt is the handler of a line that is all of the unit's.
func (d *Driver) anyInterrupt() {
	d.takeErrors()
	d.takeEvents()
	d.takePages()
	d.c.Serve()
}

// msiDevice is the memory type of messages to interrupt controllers: Device-nGnRE.
const msiDevice = 1

// take reads records up to what PROD says, and hands each to f. The unit interrupts again only once the
// queue was read empty, and devices may fault faster than a processor reads: as many records as fit are read,
// then the rest is left. lost is called if records were lost, before the unit is told that it is known.
func (d *Driver) take(q *recordQueue, f func(w []uint64), lost func()) {
	if q.taking {
		q.again = true
		return
	}
	q.taking, q.left = true, false
	defer func() { q.taking = false }()
	mask := uint32(2)<<q.lg2 - 1
	w := make([]uint64, q.size/8)
	for n := 0; ; {
		q.again = false
		prod := d.c.Read(q.prod, 4)
		over := prod & spec.QOverflow.Mask()
		if over != q.ack {
			lost()
		} else if q.cons == uint32(prod)&mask && !q.again {
			return
		}
		if n >= 1<<q.lg2 {
			q.left = true
			return
		}
		for ; q.cons != uint32(prod)&mask; q.cons, n = (q.cons+1)&mask, n+1 {
			at := q.base + emu.PA(int(q.cons&(1<<q.lg2-1))*q.size)
			for i := range w {
				w[i] = d.c.CPU.Load64(at + emu.PA(i*8))
			}
			f(w)
		}
		q.ack = over
		d.c.Write(q.read, 4, uint64(q.cons)|over)
	}
}

// eventInterrupt is the handler of the event queue.
func (d *Driver) eventInterrupt() {
	d.takeEvents()
	d.c.Serve()
}

// syncInterrupt is the handler of the line of CMD_SYNC, which this driver gives to be called back: it goes on with
// what was left, as the handler of either queue does.
func (d *Driver) syncInterrupt() {
	d.takeEvents()
	d.pageInterrupt()
}

// takeEvents reads the event queue empty.
func (d *Driver) takeEvents() {
	if d.events == nil {
		return
	}
	d.take(d.events, d.takeEvent, func() { d.c.Count.LostFaults++ })
}

// takeEvent takes one record (7.3).
func (d *Driver) takeEvent(w []uint64) {
	f := faultRecord(w)
	if stallable(f.Reason) && spec.EvtStall.Get(w) != 0 {
		d.more.Stalls++
		g := host.PageGroup{Source: f.Source, PASID: f.PASID, Index: uint16(spec.EvtSTAG.Get(w))}
		d.stalled[driver.KeyOf(&g)] = true
		d.c.Add(g, host.PageRequest{Addr: f.Addr, Access: f.Access}, true)
		return
	}
	if f.Reason == spec.EvPageRequest { // a hint, not a fault: nobody waits
		return
	}
	d.c.Count.Faults++
	if d.c.OnFault != nil {
		d.c.OnFault(f)
	}
}

// stallable reports whether an event is of a kind that a stalled transaction has.
func stallable(number uint16) bool {
	return number >= spec.EvTranslation && number <= spec.EvPermission
}

// faultRecord says what a record means. Fields that an event does not have are 0.
func faultRecord(w []uint64) host.FaultRecord {
	f := host.FaultRecord{
		Reason: uint16(spec.EvtNumber.Get(w)), Source: emu.SourceID(spec.EvtSID.Get(w)), PASID: emu.NoPASID,
	}
	fields := make(map[string]bool)
	if l := spec.EventLayouts[uint64(f.Reason)]; l != nil {
		for _, fd := range l.Fields {
			fields[fd.Name] = true
		}
	}
	if fields["SSV"] && spec.EvtSSV.Get(w) != 0 || !fields["SSV"] && fields["SubstreamID"] {
		f.PASID = emu.PASID(spec.EvtSSID.Get(w))
	}
	if fields["InputAddr"] {
		f.Addr = emu.IOVA(spec.EvtInputAddr.Get(w) &^ (emu.PageSize - 1))
	}
	if fields["RnW"] {
		f.Access = emu.Write
		if spec.EvtRnW.Get(w) != 0 {
			f.Access = emu.Read
		}
	}
	if fields["PnU"] && spec.EvtPnU.Get(w) != 0 {
		f.Access |= emu.Priv
	}
	if fields["InD"] && spec.EvtInD.Get(w) != 0 {
		f.Access |= emu.Exec
	}
	switch f.Reason {
	case spec.EvBadATSTreq:
		f.Type = emu.TranslationReq
		f.Access = emu.Read
		if spec.EvtATSW.Get(w) != 0 {
			f.Access |= emu.Write
		}
	case spec.EvTranslForbidden:
		f.Type = emu.Translated
	}
	return f
}

// activeErrors are the global errors that nobody has acknowledged (6.3.18).
func (d *Driver) activeErrors() uint64 {
	return d.c.Read(spec.OffGERROR, 4) ^ d.c.Read(spec.OffGERRORN, 4)
}

// ackErrors acknowledges those of mask that are active: the unit goes on with what they have stopped.
func (d *Driver) ackErrors(mask uint64) {
	n := d.c.Read(spec.OffGERRORN, 4)
	if active := (d.c.Read(spec.OffGERROR, 4) ^ n) & mask &^ spec.GerrSFM.Mask(); active != 0 {
		d.more.Gerrors++
		d.c.Write(spec.OffGERRORN, 4, n^active)
	}
}

// takeErrors is the handler of global errors. A stopped command queue is seen to by who waits for it, if
// anybody does.
func (d *Driver) takeErrors() {
	active := d.activeErrors()
	if active&spec.GerrCMDQ.Mask() != 0 && !d.queue.busy {
		s := submission{q: d.queue, first: d.queue.prod}
		_ = s.stopped() // of a command that nobody waits for, and that is replaced
	}
	d.ackErrors(^spec.GerrCMDQ.Mask())
}
