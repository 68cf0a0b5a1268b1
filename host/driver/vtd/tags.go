package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Caches tag second-stage translations with the domain; first-stage, nested and pass-through ones with
// domain and PASID (6.2.1). What an invalidation has to name follows from that.

// The ids that are not handed out: 0, and the one of all pass-through entries.
const (
	didNone     = 0
	didIdentity = 1
	didFirst    = 2
)

// Forget gives one invalidation for each domain to hardware, or a global one for many, and waits once.
func (d arch) Forget(changes []driver.Change) error {
	var ops []op
	many := len(changes) > maxBatch
	if many {
		ops = append(ops, iotlbGlobal())
	}
	for i := range changes {
		for _, o := range d.drop(&changes[i]) {
			if !many || o.stage() > 2 {
				ops = append(ops, o)
			}
		}
	}
	return d.invalidate(entry.OneWait, ops...)
}

// Present does what is due when entries became present: in caching mode their absence may be cached,
// though not that of first-stage entries (6.1), and a write buffer may hold them back.
func (d arch) Present(m *driver.Domain, first, last emu.IOVA) error {
	if d.caps.cm && !m.First {
		return m.ForgetRange(first, last, false)
	}
	return d.flushWriteBuffer()
}

// drop makes the invalidations of a change: translations, then device-TLBs.
func (d *Driver) drop(c *driver.Change) []op {
	m, leaf := c.Domain, c.Leaves
	addr, lg2 := driver.Block(c.First, c.Last)
	am := lg2 - emu.PageShift
	var ops []op
	if m.Stale {
		ops = d.translations(ops, m, addr, am, leaf)
	}
	// What is nested on m was made from its tables too, under ids of its own. An address of m says
	// nothing about the guest's: of those, all goes (6.5.2.3).
	for _, n := range m.Children {
		if n.Stale {
			ops = append(ops, d.domainPages(n.ID(), addr, am, leaf))
		}
	}
	ops = deviceOps(ops, m, addr, am)
	for _, n := range m.Children {
		ops = deviceOps(ops, n, 0, wholeSpace)
	}
	return ops
}

// translations adds the invalidations of the translations tagged with m.
func (d *Driver) translations(ops []op, m *driver.Domain, addr uint64, am uint8, leaf bool) []op {
	if !d.scalable || m.Kind() == host.DomainPaging && !m.First {
		return append(ops, d.domainPages(m.ID(), addr, am, leaf))
	}
	for _, u := range m.Users {
		o := iotlbPASID(m.ID(), driver.Slot(u.PASID))
		if am < wholeSpace && m.First {
			o = iotlbPASIDPages(m.ID(), driver.Slot(u.PASID), addr, am, leaf)
		}
		ops = add(ops, o)
	}
	return ops
}

// domainPages is the invalidation of pages of a domain, or of all of it where they cannot be named: no
// page-selective invalidation, or a mask beyond CAP.MAMV. (The PASID-based one has no such limit.)
func (d *Driver) domainPages(id uint32, addr uint64, am uint8, leaf bool) op {
	if c := &d.caps; !c.psi || am > c.mamv || am == wholeSpace {
		return iotlbDomain(id)
	}
	return iotlbPages(id, addr, am, leaf)
}

// deviceOps adds the device-TLBs that may hold the range.
func deviceOps(ops []op, m *driver.Domain, addr uint64, am uint8) []op {
	for _, u := range m.Users {
		if u.Device.ATS {
			ops = append(ops, deviceTLB(u.Device.SID, u.PASID, addr, am))
		}
	}
	return ops
}
