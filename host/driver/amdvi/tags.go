package amdvi

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Caches tag translations by host tables with the domain, those by guest tables with domain and PASID
// (2.4.3). What an invalidation has to name follows from that.

// tag is what translations by guest tables are found under.
type tag struct {
	id    uint32
	pasid emu.PASID
}

// tags returns the tags of a domain with guest tables: on devices with a GCR3 table of their own the
// device's id counts.
func tags(m *driver.Domain) (list []tag) {
	see := func(t tag) {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	for _, u := range m.Users {
		v := of(u.Device)
		if v.own || v.mixed || u.PASID != emu.NoPASID {
			see(tag{v.id, driver.Slot(u.PASID)})
		}
		if u.PASID == emu.NoPASID && (!v.own || v.mixed) {
			see(tag{m.ID(), 0})
		}
	}
	return list
}

// Forget gives the invalidations of all changes to hardware and waits for them.
func (d arch) Forget(changes []driver.Change) error {
	var ops []op
	for i := range changes {
		for _, o := range d.drop(&changes[i]) {
			ops = add(ops, o)
		}
	}
	return d.invalidate(entry.OneWait, ops...)
}

// Present does what is due when entries became present: their absence may be cached with NpCache only.
func (d arch) Present(m *driver.Domain, first, last emu.IOVA) error {
	if !d.opt.NpCache {
		return nil
	}
	return m.ForgetRange(first, last, false)
}

// drop makes the invalidations of a change: translations, then device IOTLBs.
func (d *Driver) drop(c *driver.Change) (ops []op) {
	m := c.Domain
	addr, lg2 := driver.Block(c.First, c.Last)
	switch {
	case !m.Stale:
	case m.First:
		for _, t := range tags(m) {
			ops = append(ops, pages(t.id, t.pasid, addr, lg2, c.Leaves))
		}
	default:
		ops = append(ops, pages(m.ID(), emu.NoPASID, addr, lg2, c.Leaves))
	}
	// What is nested on m was made from its tables too, under ids of its own. An address of m says nothing
	// about the guest's: hardware drops all of those (2.4.3).
	for _, n := range m.Children {
		if n.Stale {
			for _, t := range tags(n) {
				ops = add(ops, pages(t.id, emu.NoPASID, addr, lg2, c.Leaves))
			}
		}
	}
	ops = deviceOps(ops, m, addr, lg2)
	for _, n := range m.Children {
		ops = deviceOps(ops, n, 0, 64)
	}
	return ops
}

// deviceOps adds the device IOTLBs that may hold the range.
func deviceOps(ops []op, m *driver.Domain, addr uint64, lg2 uint8) []op {
	for _, u := range m.Users {
		if u.Device.ATS {
			ops = add(ops, deviceIOTLB(u.Device.SID, u.PASID, addr, lg2))
		}
	}
	return ops
}
