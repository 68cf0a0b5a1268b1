package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
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

	scalable bool
	queue    *queue     // nil: invalidation by registers
	irq      *irqTable  // nil: interrupt remapping is off
	prq      *pageQueue // nil: no page requests
	root     emu.PA
	context  map[uint16]emu.PA       // context tables by bus, and half of the bus in scalable mode
	dirs     map[emu.PA]emu.SourceID // PASID directories of an earlier system

	formatContext, formatPASID *entry.Format
	inFaults                   bool // takeFaults is running
	faultsLeft                 bool // it stopped before the registers were empty; the next operation goes on
}

var (
	_ host.Driver        = (*Driver)(nil)
	_ host.PageRequester = (*Driver)(nil)
)

// New brings a unit up: everything but translation itself, which Enable turns on once devices are
// attached. A unit that firmware or an earlier system left running is taken down first, unless
// Options.TakeOver says otherwise.
//
// Errors: ErrNoUnit, ErrTakeOver, host.ErrUnsupported, host.ErrNoFrames, host.ErrTimeout.
func New(cpu host.CPU, frames *host.Frames, opt Options) (*Driver, error) {
	opt.setDefaults()
	d := &Driver{opt: opt, context: make(map[uint16]emu.PA)}
	d.Driver, d.k = driver.New(arch{d}, cpu, frames, opt.settings())
	if err := d.readCaps(); err != nil {
		return nil, err
	}
	v := entry.VTD{CAP: d.caps.cap, ECAP: d.caps.ecap, HAW: opt.HAW}
	d.formatContext, d.formatPASID = v.Context(), v.PASID()
	if d.scalable {
		d.formatContext = v.SMContext()
	}
	d.k.IDs = driver.NewIDs("vtd", didFirst, v.Domains())
	if err := d.bringUp(); err != nil {
		return nil, err
	}
	d.k.Omit = opt.Omit
	return d, nil
}

// bringUp follows the order of an operating system's boot: queue, root table, interrupt remapping, fault
// events. (Linux 7.3 has interrupt remapping first. It can, because its queue has the descriptors that
// any mode takes; here they are those of the mode, which SRTP settles.)
func (d *Driver) bringUp() error {
	d.takeFaults()
	switch {
	case d.caps.has(spec.EcapQI) && !d.opt.NoQueue:
		if err := d.startQueue(); err != nil {
			return err
		}
	case d.caps.version >= 6:
		return fmt.Errorf("vtd: unit %d: version %d without a queue: %w", d.opt.Unit, d.caps.version, host.ErrUnsupported)
	case spec.GstsQIES.On(d.k.Read(spec.OffGSTS, 4)):
		if err := d.stopQueue(); err != nil {
			return err
		}
	}
	if d.k.Heritage == nil {
		// The mode cannot change while translation is on, and nobody needs interrupts to go by a table
		// of the past.
		if err := d.off("TE", spec.GcmdTE); err != nil {
			return err
		}
		if err := d.off("IRE", spec.GcmdIRE); err != nil {
			return err
		}
	}
	var err error
	if d.root, err = d.k.Alloc(emu.PageShift); err != nil {
		return err
	}
	if d.k.Heritage != nil {
		if err := d.copyTables(); err != nil {
			return err
		}
	}
	if err := d.makeIRQTable(); err != nil {
		return err
	}
	if err := d.installRoot(); err != nil {
		return err
	}
	if err := d.startIRQ(); err != nil {
		return err
	}
	if err := d.flushWriteBuffer(); err != nil {
		return err
	}
	d.startFaults()
	return d.startPages()
}

// installRoot makes the unit use the root table, and forget what it knew through another one.
func (d *Driver) installRoot() error {
	if err := d.flushWriteBuffer(); err != nil {
		return err
	}
	ttm := uint64(spec.TTMLegacy)
	if d.scalable {
		ttm = spec.TTMScalable
	}
	d.k.Write(spec.OffRTADDR, 8, uint64(d.root)|spec.RtaddrTTM.Put(ttm))
	if err := d.setRoot(); err != nil {
		return err
	}
	if d.caps.esrtps {
		return nil // SRTP did it
	}
	return d.invalidateAll()
}

// invalidateAll empties all translation caches.
func (d *Driver) invalidateAll() error {
	ops := []op{contextGlobal()}
	if d.scalable {
		ops = append(ops, pasidGlobal())
	}
	return d.invalidate(entry.WaitEach, append(ops, iotlbGlobal())...)
}

// Enable turns translation on, then gives up protected memory regions, which firmware may have set up
// for the time without translation.
func (d *Driver) Enable() error {
	defer d.k.Enter().Leave()
	if err := d.flushWriteBuffer(); err != nil {
		return err
	}
	if !spec.GstsTES.On(d.k.Read(spec.OffGSTS, 4)) {
		if err := d.level("TE", spec.GcmdTE, true); err != nil {
			return err
		}
	}
	return d.dropProtection()
}

func (d *Driver) dropProtection() error {
	if !spec.CapPLMR.On(d.caps.cap) && !spec.CapPHMR.On(d.caps.cap) {
		return nil
	}
	d.k.Write(spec.OffPMEN, 4, d.k.Read(spec.OffPMEN, 4)&^spec.PmenEPM.Mask())
	return d.k.Poll("PMEN.PRS", func() bool { return !spec.PmenPRS.On(d.k.Read(spec.OffPMEN, 4)) })
}

// Shutdown turns translation, interrupt remapping and queue off and masks fault events.
func (d *Driver) Shutdown() error {
	defer d.k.Enter().Leave()
	if err := d.FlushLazy(); err != nil {
		return err
	}
	if err := d.level("TE", spec.GcmdTE, false); err != nil {
		return err
	}
	d.k.Write(spec.OffFECTL, 4, spec.EventIM.Mask())
	d.stopPages()
	if err := d.stopIRQ(); err != nil {
		return err
	}
	if d.queue != nil {
		return d.stopQueue()
	}
	return nil
}

// Stats returns the counters.
func (d *Driver) Stats() Stats {
	s := d.count
	s.Stats = d.k.Count
	return s
}

// Scalable reports whether the unit runs in scalable mode.
func (d *Driver) Scalable() bool { return d.scalable }

// Root returns the root table.
func (d *Driver) Root() emu.PA { return d.root }

// Queue returns where the invalidation queue lies, how large its descriptors are and how many it holds;
// ok is false without a queue.
func (d *Driver) Queue() (base emu.PA, size, n int, ok bool) {
	if d.queue == nil {
		return 0, 0, 0, false
	}
	return d.queue.base, d.queue.size, d.queue.n, true
}
