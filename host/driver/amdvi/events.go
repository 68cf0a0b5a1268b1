package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/host"
)

// eventLog is the event log (2.5).
type eventLog struct {
	base   emu.PA
	head   uint64
	taking bool // attend is running
	left   bool // there may be something: the end of an operation takes it
}

// The logs have 512 entries, as those of Linux 7.3.
const (
	logLen   = 9 // spec.RingLen
	logBytes = spec.EventSize << logLen
	logLg2   = 13
)

// makeEventLog allocates the log.
func (d *Driver) makeEventLog() (err error) {
	d.events = &eventLog{}
	d.events.base, err = d.k.Alloc(logLg2)
	return err
}

// startEvents gives the log to the unit and lets it interrupt.
func (d *Driver) startEvents() {
	d.k.Write(spec.OffEventLogBase, 8, uint64(d.events.base)|spec.RingLen.Put(logLen))
	d.k.Write(spec.OffEventHead, 4, 0)
	d.k.Write(spec.OffEventTail, 4, 0)
	d.control(spec.CtlEventLogEn, 1)
	addr, data := d.k.CPU.OnIRQ(d.interrupt)
	d.startInterrupts(addr, data)
	d.control(spec.CtlEventIntEn, 1)
}

// startInterrupts gives the unit a message: by the registers of IntCapXTEn where it has 32-bit destinations,
// else by its MSI capability, as far as the window mirrors that. Without either the log is looked at by
// operations.
func (d *Driver) startInterrupts(addr emu.PA, data uint32) {
	switch {
	case d.caps.wide:
		dest := spec.MsiAddrDest.Of(uint64(addr)) | uint64(addr)>>40<<8
		v := spec.XtDestMode.Put(spec.MsiAddrDM.Of(uint64(addr))) | spec.XtDestLo.Put(dest) | spec.XtDestHi.Put(dest>>24) |
			spec.XtVector.Put(spec.MsiDataVector.Of(uint64(data))) | spec.XtDM.Put(spec.MsiDataMT.Of(uint64(data)))
		for _, off := range []uint32{spec.OffXTIntControl, spec.OffXTPPRIntControl, spec.OffXTGAIntControl} {
			d.k.Write(off, 8, v)
		}
		d.control(spec.CtlIntCapXTEn, 1)
	case d.caps.has(spec.EfrMsiCapMmioSup):
		d.k.Write(spec.OffMSIAddrLow, 4, uint64(addr)&0xffff_ffff)
		d.k.Write(spec.OffMSIAddrHigh, 4, uint64(addr)>>32)
		d.k.Write(spec.OffMSIData, 4, uint64(data))
		d.k.Write(spec.OffMSICapHeader, 4, d.k.Read(spec.OffMSICapHeader, 4)|spec.MsiEn.Mask())
	}
}

// interrupt is the handler of all the unit's interrupts. Who is in the middle of an operation is not held
// up: the conditions stand until it has ended, and as long the unit does not interrupt again.
func (d *Driver) interrupt() {
	if !d.k.Idle() {
		d.events.left = true
		return
	}
	d.attend()
	d.k.Serve()
}

// Rest attends to what an interrupt has left, and looks after a unit that cannot interrupt.
func (d arch) Rest() {
	if d.events.left || d.running && !d.caps.wide && !d.caps.has(spec.EfrMsiCapMmioSup) {
		d.attend()
	}
}

// attend sees to the conditions that the unit has reported. They are taken back first, so that what comes
// after the tail of a log was read is reported again; the interrupt may come while it runs. Devices may
// fault faster than a processor reads: each log is gone through once.
func (d *Driver) attend() {
	l := d.events
	if l.taking {
		l.left = true
		return
	}
	l.taking, l.left = true, false
	defer func() { l.taking = false }()
	status := d.k.Read(spec.OffStatus, 8)
	events := status & (spec.StsEventLogInt.Mask() | spec.StsEventOverflow.Mask())
	pages := status & (spec.StsPprInt.Mask() | spec.StsPprOverflow.Mask())
	guests := status & (spec.StsGAInt.Mask() | spec.StsGALOverflow.Mask())
	if events|pages|guests == 0 {
		return
	}
	d.k.Write(spec.OffStatus, 8, events|pages|guests)
	if events != 0 {
		d.takeEvents()
	}
	if spec.StsEventOverflow.On(events) {
		d.k.Count.LostFaults++
		d.restartLog(spec.StsEventLogRun, spec.StsEventOverflow, spec.CtlEventLogEn, spec.CtlEventIntEn)
	}
	if pages != 0 {
		d.takePages()
	}
	if spec.StsPprOverflow.On(pages) {
		// Groups that have begun may have lost their last request, which hardware has answered: the device
		// asks for all of them anew.
		d.k.Count.PageOverflows++
		d.k.Groups.Lost()
		d.restartLog(spec.StsPPRLogRun, spec.StsPprOverflow, spec.CtlPPRLogEn, spec.CtlPprIntEn)
	}
	if guests != 0 {
		d.takeGuestIRQs()
	}
	if spec.StsGALOverflow.On(guests) {
		d.count.LostGuestIRQs++
		d.restartLog(spec.StsGALogRun, spec.StsGALOverflow, spec.CtlGALogEn, spec.CtlGAIntEn)
	}
}

// takeEvents reads the event log up to its tail.
func (d *Driver) takeEvents() {
	l := d.events
	tail := d.k.Read(spec.OffEventTail, 4) & spec.RingPtr.Mask() % logBytes
	for ; l.head != tail; l.head = (l.head + spec.EventSize) % logBytes {
		d.takeEvent(d.takeEntry(l.base + emu.PA(l.head)))
	}
	d.k.Write(spec.OffEventHead, 4, l.head)
}

// takeEntry reads an entry of a log and clears it.
func (d *Driver) takeEntry(at emu.PA) [2]uint64 {
	e := [2]uint64{d.k.CPU.Load64(at), d.k.CPU.Load64(at + 8)}
	d.k.CPU.Store128(at, 0, 0)
	return e
}

// restartLog lets a log that has overflowed go on behind its last entry, in the order of Linux 7.3.
func (d *Driver) restartLog(run, overflow, on, intOn reg.Bits) {
	if run.On(d.k.Read(spec.OffStatus, 8)) {
		return
	}
	d.control(on, 0)
	d.control(intOn, 0)
	d.k.Write(spec.OffStatus, 8, overflow.Mask())
	d.control(intOn, 1)
	d.control(on, 1)
}

// takeEvent gives an event to whom it concerns.
func (d *Driver) takeEvent(e [2]uint64) {
	d.count.Events++
	switch spec.EvtCode.Of(e[0]) {
	case spec.EventIllegalCommand, spec.EventCommandHW:
		d.ring.halted, d.ring.halt = true, e
	case spec.EventIOTLBTimeout:
		d.ring.expired = append(d.ring.expired, emu.SourceID(spec.EvtDeviceID.Of(e[0])))
	default:
		d.k.Count.Faults++
		if d.k.OnFault != nil {
			d.k.OnFault(faultRecord(e))
		}
	}
}

// faultRecord says what an event means (2.5). Reason is the event code in bits 3:0 and the flags of the
// event, its bits 59:48, above.
func faultRecord(e [2]uint64) host.FaultRecord {
	w := e[0]
	code := spec.EvtCode.Of(w)
	f := host.FaultRecord{
		Reason: uint16(code | w>>48<<4), Source: emu.SourceID(spec.EvtDeviceID.Of(w)), PASID: emu.NoPASID,
		Addr: emu.IOVA(e[1] &^ (emu.PageSize - 1)), Access: emu.Read,
	}
	if code == spec.EventInvalidPPR {
		f.Type, f.Access = emu.PageRequest, 0
		if spec.EvtPPRGN.On(w) {
			f.PASID = emu.PASID(spec.EvtPPRPASID.Of(w) | spec.EvtPPRPASIDH.Of(w)<<16)
		}
		return f
	}
	if spec.EvtI.On(w) && code != spec.EventInvalidRequest {
		return host.FaultRecord{Reason: f.Reason, Source: f.Source, PASID: emu.NoPASID, Interrupt: true}
	}
	if p := emu.PASID(spec.EvtDomainID.Of(w) | spec.EvtPASIDHi.Of(w)<<16); p != 0 && spec.EvtGN.On(w) && code != spec.EventDevTabHW {
		f.PASID = p // requests without use PASID 0 of the tables
	}
	if spec.EvtTR.On(w) {
		f.Type = emu.TranslationReq
	}
	if code == spec.EventInvalidRequest { // it does not tell the access
		return f
	}
	if spec.EvtRW.On(w) {
		f.Access = emu.Write
	}
	if code == spec.EventPageFault && spec.EvtGN.On(w) {
		if spec.EvtNX.On(w) {
			f.Access |= emu.Exec
		}
		if !spec.EvtUS.On(w) {
			f.Access |= emu.Priv
		}
	}
	return f
}
