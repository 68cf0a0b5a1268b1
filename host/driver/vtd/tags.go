package vtd

import (
	"slices"

	"github.com/iommulab/iommulab/host"
)

// Caches tag second-stage translations with the domain; first-stage, nested and pass-through ones with
// domain and PASID (6.2.1). What an invalidation has to name follows from that.

// cached reports whether caches may hold translations made from the tables of m.
func (m *domain) cached() bool {
	return m.stale && m.kind != host.DomainBlocked || slices.ContainsFunc(m.children, func(c *domain) bool { return c.stale })
}

// drop makes the invalidations of 2^am pages at addr, or of everything: translations, then device-TLBs.
// With leaf, only leaves have changed.
func (m *domain) drop(addr uint64, am uint8, leaf bool) []op {
	var ops []op
	if m.stale {
		ops = m.translations(ops, addr, am, leaf)
	}
	// What is nested on m was made from its tables too, under ids of its own. An address of m says
	// nothing about the guest's: of those, all goes (6.5.2.3).
	for _, c := range m.children {
		if c.stale {
			ops = append(ops, m.d.domainPages(c.id, addr, am, leaf))
		}
	}
	ops = m.deviceOps(ops, addr, am)
	for _, c := range m.children {
		ops = c.deviceOps(ops, 0, wholeSpace)
	}
	return ops
}

// translations adds the invalidations of the translations tagged with m.
func (m *domain) translations(ops []op, addr uint64, am uint8, leaf bool) []op {
	if !m.d.scalable || m.kind == host.DomainPaging && !m.first {
		return append(ops, m.d.domainPages(m.id, addr, am, leaf))
	}
	for _, u := range m.users {
		o := iotlbPASID(m.id, ridPASID(u.pasid))
		if am < wholeSpace && m.first {
			o = iotlbPASIDPages(m.id, ridPASID(u.pasid), addr, am, leaf)
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
func (m *domain) deviceOps(ops []op, addr uint64, am uint8) []op {
	for _, u := range m.users {
		if u.dev.ats {
			ops = append(ops, deviceTLB(u.dev.sid, u.pasid, addr, am))
		}
	}
	return ops
}
