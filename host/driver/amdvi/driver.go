package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Driver drives one unit. It implements host.Driver.
type Driver struct {
	driver.Driver
	k     *driver.Core
	opt   Options
	caps  caps
	count Stats // of its own; the rest is in k

	ctl      uint64 // Control
	running  bool   // IommuEn
	ring     *ring
	events   *eventLog
	pages    *pageLog                 // nil: no page requests
	irqs     *irqs                    // nil: interrupts pass
	ga       *gaLog                   // nil: no interrupts are posted
	table    []emu.PA                 // device table, by segment
	lent     []host.Block             // of an earlier system: the device table
	identity uint32                   // id of all identity domains
	names    map[emu.SourceID]*device // by requester id, aliases too

	fixed map[emu.SourceID]*spec.DTE // what no domain changes of device table entries

	onGuestIRQ func(tag uint32, source emu.SourceID)

	formatDTE, formatGCR3 *entry.Format
}

var (
	_ host.Driver        = (*Driver)(nil)
	_ host.PageRequester = (*Driver)(nil)
)

// New brings a unit up: everything but IommuEn, which Enable sets once devices are attached. A unit that
// firmware or an earlier system left running is taken down first.
//
// Errors: ErrNoUnit, host.ErrUnsupported, host.ErrNoFrames, host.ErrTimeout.
func New(cpu host.CPU, frames *host.Frames, opt Options) (*Driver, error) {
	opt.setDefaults()
	d := &Driver{opt: opt, identity: identityID, names: make(map[emu.SourceID]*device), fixed: make(map[emu.SourceID]*spec.DTE)}
	d.Driver, d.k = driver.New(arch{d}, cpu, frames, opt.settings())
	if err := d.readCaps(); err != nil {
		return nil, err
	}
	v := entry.AMDVi{EFR: d.caps.efr, HAW: opt.HAW}
	d.formatDTE, d.formatGCR3 = v.DTE(), v.GCR3()
	d.k.IDs = driver.NewIDs("amdvi", firstID, d.ids())
	if err := d.bringUp(); err != nil {
		return nil, err
	}
	d.k.Omit = opt.Omit
	return d, nil
}

// bringUp follows the order of Linux 7.3: a unit that runs is turned off; device table, command buffer,
// features, event log, interrupts.
func (d *Driver) bringUp() error {
	d.ctl = d.k.Read(spec.OffControl, 8)
	d.running = d.opt.TakeOver && spec.CtlIommuEn.On(d.ctl)
	if err := d.turnOff(); err != nil {
		return err
	}
	table := d.makeTable
	if d.running {
		d.k.Heritage = driver.NewHeritage()
		table = d.takeTable
	}
	for _, make := range []func() error{d.makeIRQs, table, d.makeRing, d.makeEventLog} {
		if err := make(); err != nil {
			return err
		}
	}
	d.control(spec.CtlCoherent, 1)
	d.control(spec.CtlInvTimeOut, invTimeOut)
	d.control(spec.CtlEPHEn, spec.EfrEPHSup.Of(d.caps.efr))
	if d.running {
		if err := d.takeIRQs(); err != nil {
			return err
		}
		d.control(spec.CtlGCR3TRPMode, 0) // nobody's tables need it, or takeTable has said so
	} else {
		d.installTable()
	}
	d.startRing()
	d.control(spec.CtlGTEn, spec.EfrGTSup.Of(d.caps.efr))
	if !d.running {
		d.startIRQs()
	}
	d.startEvents()
	if err := d.startPages(); err != nil {
		return err
	}
	if err := d.startGuestIRQs(); err != nil || !d.running {
		return err
	}
	return d.invalidateAll()
}

// invTimeOut is how long a device has for an invalidation: 1 s (3.4).
const invTimeOut = 4

// control sets a field of Control.
func (d *Driver) control(b reg.Bits, v uint64) {
	d.ctl = d.ctl&^b.Mask() | b.Put(v)
	d.k.Write(spec.OffControl, 8, d.ctl)
}

// startRing gives the buffer to the unit. It runs once IommuEn is set as well.
func (d *Driver) startRing() {
	d.k.Write(spec.OffCmdBufBase, 8, uint64(d.ring.base)|spec.RingLen.Put(ringLen))
	d.k.Write(spec.OffCmdHead, 4, 0)
	d.k.Write(spec.OffCmdTail, 4, 0)
	d.ring.tail = 0
	d.control(spec.CtlCmdBufEn, 1)
}

// turnOff takes down what runs, in the order of Linux 7.3, and waits for the rings to stop. Translation goes
// on if an earlier system is taken over.
func (d *Driver) turnOff() error {
	for _, b := range []reg.Bits{
		spec.CtlCmdBufEn, spec.CtlEventIntEn, spec.CtlEventLogEn, spec.CtlGALogEn, spec.CtlGAIntEn, spec.CtlPPRLogEn, spec.CtlPprIntEn,
		spec.CtlPPREn, spec.CtlComWaitIntEn, spec.CtlIommuEn, spec.CtlIRTCacheDis,
	} {
		if b.On(d.ctl) && (b != spec.CtlIommuEn || !d.running) {
			d.control(b, 0)
		}
	}
	run := spec.StsCmdBufRun.Mask() | spec.StsEventLogRun.Mask() | spec.StsPPRLogRun.Mask() | spec.StsGALogRun.Mask()
	return d.k.Poll("rings to stop", func() bool { return d.k.Read(spec.OffStatus, 8)&run == 0 })
}

// Enable sets IommuEn and makes the unit forget everything: turning it off has not done that.
func (d *Driver) Enable() error {
	defer d.k.Enter().Leave()
	if d.running {
		return nil
	}
	d.k.CPU.Fence()
	d.control(spec.CtlIommuEn, 1)
	d.running = true
	if d.ga != nil {
		run := func() bool { return spec.StsGALogRun.On(d.k.Read(spec.OffStatus, 8)) }
		if err := d.k.Poll("guest APIC log to run", run); err != nil {
			return err
		}
	}
	return d.invalidateAll()
}

// invalidateAll empties all caches: at once, or, without INVALIDATE_IOMMU_ALL, device by device and
// domain by domain.
func (d *Driver) invalidateAll() error {
	if d.caps.invalidateIA {
		return d.invalidate(entry.OneWait, everything())
	}
	var ops []op
	for sid := range d.opt.LastDevice + 1 {
		ops = append(ops, devtab(sid), interruptTable(sid))
	}
	for id := range d.ids() {
		ops = append(ops, allPages(id, emu.NoPASID))
	}
	return d.invalidate(entry.OneWait, ops...)
}

// ids is the number of domain ids in use. Without INVALIDATE_IOMMU_ALL all of them are flushed one by one, and
// there are as many as devices.
func (d *Driver) ids() uint32 {
	if d.caps.invalidateIA {
		return maxDevice + 1
	}
	return max(uint32(d.opt.LastDevice)+1, firstID+1)
}

// Shutdown turns the unit off.
func (d *Driver) Shutdown() error {
	defer d.k.Enter().Leave()
	if err := d.FlushLazy(); err != nil {
		return err
	}
	d.running = false
	return d.turnOff()
}

// Stats returns the counters.
func (d *Driver) Stats() Stats {
	s := d.count
	s.Stats = d.k.Count
	return s
}

// EntryFormat describes device table entries, and of a device with PASIDs the entries of its GCR3 table.
func (d *Driver) EntryFormat(gcr3 bool) *entry.Format {
	if gcr3 {
		return d.formatGCR3
	}
	return d.formatDTE
}

// DeviceTable returns where the segments of the device table lie.
func (d *Driver) DeviceTable() []emu.PA { return d.table }

// CommandBuffer returns where the command buffer lies and how many commands it holds.
func (d *Driver) CommandBuffer() (base emu.PA, n int) { return d.ring.base, ringEntries }
