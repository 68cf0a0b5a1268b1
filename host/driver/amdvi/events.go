package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
)

// eventLog is the event log (2.5).
type eventLog struct {
	base   emu.PA
	head   uint64
	taking bool // takeEvents is running
	left   bool // there may be something: the end of an operation takes it
}

// The event log has 512 entries, as that of Linux 7.3.
const (
	eventLen     = 9 // spec.RingLen
	eventEntries = 1 << eventLen
	eventBytes   = spec.EventSize * eventEntries
	eventLg2     = 13
)

// makeEventLog allocates the log.
func (d *Driver) makeEventLog() (err error) {
	d.events = &eventLog{}
	d.events.base, err = d.k.Alloc(eventLg2)
	return err
}

// startEvents gives the log to the unit and lets it interrupt.
func (d *Driver) startEvents() {
	d.k.Write(spec.OffEventLogBase, 8, uint64(d.events.base)|spec.RingLen.Put(eventLen))
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
	d.takeEvents()
}

// Rest takes what an interrupt has left, and looks at the log of a unit that cannot interrupt.
func (d arch) Rest() {
	if d.events.left || d.running && !d.caps.wide && !d.caps.has(spec.EfrMsiCapMmioSup) {
		d.takeEvents()
	}
}

// takeEvents reads the log up to its tail. The conditions are taken back first, so that an event that comes
// after the tail was read interrupts again; the interrupt may come while it runs. Devices may fault faster
// than a processor reads: it goes through the log once, and what is left waits for the next operation. As long
// as its condition stands the unit does not interrupt again. A log that has overflowed is restarted behind
// its last entry.
func (d *Driver) takeEvents() {
	l := d.events
	if l.taking {
		l.left = true
		return
	}
	l.taking, l.left = true, false
	defer func() { l.taking = false }()
	status := d.k.Read(spec.OffStatus, 8)
	d.k.Write(spec.OffStatus, 8, status&(spec.StsEventLogInt.Mask()|spec.StsEventOverflow.Mask()))
	tail := d.k.Read(spec.OffEventTail, 4) & spec.RingPtr.Mask() % eventBytes
	for ; l.head != tail; l.head = (l.head + spec.EventSize) % eventBytes {
		at := l.base + emu.PA(l.head)
		e := [2]uint64{d.k.CPU.Load64(at), d.k.CPU.Load64(at + 8)}
		d.k.CPU.Store128(at, 0, 0)
		d.takeEvent(e)
	}
	d.k.Write(spec.OffEventHead, 4, l.head)
	if spec.StsEventOverflow.On(status) {
		d.k.Count.LostFaults++
		d.restartEvents()
	}
}

// restartEvents lets a log that has overflowed go on, in the order of Linux 7.3.
func (d *Driver) restartEvents() {
	if spec.StsEventLogRun.On(d.k.Read(spec.OffStatus, 8)) {
		return
	}
	d.control(spec.CtlEventLogEn, 0)
	d.control(spec.CtlEventIntEn, 0)
	d.k.Write(spec.OffStatus, 8, spec.StsEventOverflow.Mask())
	d.control(spec.CtlEventIntEn, 1)
	d.control(spec.CtlEventLogEn, 1)
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
	if spec.EvtGN.On(w) && code != spec.EventDevTabHW {
		f.PASID = emu.PASID(spec.EvtDomainID.Of(w) | spec.EvtPASIDHi.Of(w)<<16)
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
