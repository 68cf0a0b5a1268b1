package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Driver drives one unit. It implements host.Driver.
type Driver struct {
	driver.Driver
	c     *driver.Core
	opt   Options
	caps  caps
	more  Stats // what is not in Core.Count
	asids driver.IDs

	cr0     uint64
	queue   *queue
	streams streamTable
	events  *recordQueue
	pages   *recordQueue // nil: no page requests
	wires   host.Wired   // nil: interrupts are messages, or there are none
	stalled map[driver.GroupKey]bool

	formatSTE *entry.Format
}

var (
	_ host.Driver        = (*Driver)(nil)
	_ host.PageRequester = (*Driver)(nil)
	_ driver.Arch        = arch{}
)

// arch is the driver as its common part sees it.
type arch struct{ *Driver }

// asidBase is what is added to the ASID of a stage 1 domain to make its id; the id of a stage 2 domain is
// its VMID.
const asidBase = 1 << 16

// New brings a unit up: everything but translation itself, which Enable turns on once devices are
// attached. A unit that firmware or an earlier system left on is turned off first, and aborts what comes
// meanwhile, unless Options.TakeOver says otherwise.
//
// Errors: driver.ErrNoUnit, driver.ErrTakeOver, host.ErrUnsupported, host.ErrNoFrames, host.ErrTimeout.
func New(cpu host.CPU, frames *host.Frames, opt Options) (*Driver, error) {
	driver.SetDefault(&opt.Retries, 3)
	d := &Driver{opt: opt, stalled: make(map[driver.GroupKey]bool)}
	d.Driver, d.c = driver.New(arch{d}, cpu, frames, opt.settings())
	if err := d.readCaps(); err != nil {
		return nil, err
	}
	d.c.IDs = driver.NewIDs("smmuv3", 1, d.caps.vmids)
	d.asids = driver.NewIDs("smmuv3", 1, d.caps.asids).From(asidBase)
	d.c.MoreIDs = append(d.c.MoreIDs, &d.asids)
	d.formatSTE = d.caps.formats.STE()
	if w, ok := cpu.(host.Wired); ok && (opt.Wires || !d.caps.has0(spec.Idr0MSI)) {
		d.wires = w
	}
	if err := d.bringUp(); err != nil {
		return nil, err
	}
	d.c.Omit = opt.Omit
	return d, nil
}

// bringUp follows the order of an operating system's boot (3.11): stream table, command queue and an
// invalidation of everything, the other queues, interrupts.
func (d *Driver) bringUp() error {
	d.cr0 = d.c.Read(spec.OffCR0, 4)
	on := spec.Cr0SMMUEN.On(d.cr0)
	if on && d.opt.TakeOver {
		if err := d.inherit(); err != nil {
			return err
		}
	} else {
		if on {
			if err := d.abortBypass(); err != nil {
				return err
			}
		}
		if err := d.setCR0(0); err != nil {
			return err
		}
		d.c.Write(spec.OffCR1, 4, attributes(d.c.Coherent))
		d.c.Write(spec.OffCR2, 4, spec.Cr2RECINVSID.Mask()|spec.Cr2PTM.PutBool(d.caps.has0(spec.Idr0BTM))|
			spec.Cr2RecCfgATS.PutBool(d.caps.has0(spec.Idr0ATSRECERR)))
		if err := d.makeStreamTable(); err != nil {
			return err
		}
	}
	if err := d.startQueue(); err != nil {
		return err
	}
	if err := d.invalidateAll(); err != nil {
		return err
	}
	if err := d.startRecords(); err != nil {
		return err
	}
	if d.caps.ats {
		return d.enable(spec.Cr0ATSCHK.Mask())
	}
	return nil
}

// attributes are the memory type and shareability of tables and queues (6.3.11): as processors have them, or
// as memory has them that processors do not cache.
func attributes(coherent bool) uint64 {
	var v uint64
	for _, b := range []struct{ ic, oc, sh uint64 }{
		{spec.Cr1QueueIC.Put(spec.Cr1WB), spec.Cr1QueueOC.Put(spec.Cr1WB), spec.Cr1QueueSH.Put(spec.ShInner)},
		{spec.Cr1TableIC.Put(spec.Cr1WB), spec.Cr1TableOC.Put(spec.Cr1WB), spec.Cr1TableSH.Put(spec.ShInner)},
	} {
		if coherent {
			v |= b.ic | b.oc | b.sh
		}
	}
	if !coherent {
		v |= spec.Cr1QueueSH.Put(spec.ShOuter) | spec.Cr1TableSH.Put(spec.ShOuter)
	}
	return v
}

// invalidateAll empties all caches.
func (d *Driver) invalidateAll() error {
	list := []command{cfgiAll(), newCommand(spec.CmdTlbiNSNHAll)}
	if d.caps.has0(spec.Idr0HYP) {
		list = append(list, newCommand(spec.CmdTlbiEL2All))
	}
	return d.invalidate(entry.OneWait, list...)
}

// Enable turns translation on.
func (d *Driver) Enable() error {
	defer d.c.Enter().Leave()
	return d.enable(spec.Cr0SMMUEN.Mask())
}

// Shutdown turns translation, queues and interrupts off.
func (d *Driver) Shutdown() error {
	defer d.c.Enter().Leave()
	if err := d.FlushLazy(); err != nil {
		return err
	}
	if err := d.setIRQs(0); err != nil {
		return err
	}
	d.c.Groups, d.pages, d.events = nil, nil, nil
	return d.setCR0(0)
}

// Stats returns the counters.
func (d *Driver) Stats() Stats {
	s := d.more
	s.Stats = d.c.Count
	return s
}

// interrupts reports whether the unit can interrupt the processor, by messages or by lines.
func (d *Driver) interrupts() bool { return d.wires != nil || d.caps.has0(spec.Idr0MSI) }

// Rest implements driver.Arch. A unit that sends no interrupts is asked.
func (d arch) Rest() {
	quiet := !d.interrupts()
	if d.events != nil && (d.events.left || quiet) {
		d.takeEvents()
	}
	if d.pages != nil && (d.pages.left || quiet) {
		d.takePages()
	}
}

// Queue returns where the command queue lies, and how many commands it holds.
func (d *Driver) Queue() (base emu.PA, n int) { return d.queue.base, 1 << d.queue.lg2 }
