package vtd

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// domain implements host.Domain.
type domain struct {
	d     *Driver
	kind  host.DomainKind
	id    uint32
	spec  host.DomainSpec
	table *pagetable.Table  // nil unless paging
	pages *host.OwnedFrames // of the table
	users []user
	freed bool
	// stale: caches may hold entries with the id.
	stale bool

	gather  pagetable.Gather // of the operation in progress
	waiting pagetable.Gather // lazy: what waits for a flush
	ranges  []span
	since   uint64 // when the first of ranges was unmapped
}

// user is what a domain is attached to.
type user struct {
	dev   *device
	pasid emu.PASID
}

// span is an unmapped range.
type span struct {
	iova emu.IOVA
	n    uint64
}

// NewDomain makes a domain. Identity needs ECAP.PT.
func (d *Driver) NewDomain(s host.DomainSpec) (host.Domain, error) {
	dom := &domain{d: d, kind: s.Kind, spec: s}
	switch s.Kind {
	case host.DomainBlocked:
		return dom, nil
	case host.DomainIdentity:
		if !d.caps.has(spec.EcapPT) {
			return nil, fmt.Errorf("vtd: pass-through: %w", host.ErrUnsupported)
		}
		dom.id = didIdentity
		return dom, nil
	case host.DomainPaging:
	default:
		return nil, fmt.Errorf("vtd: domain kind %d: %w", s.Kind, host.ErrUnsupported)
	}
	if s.Snoop && !d.caps.has(spec.EcapSC) {
		return nil, fmt.Errorf("vtd: forced snooping: %w", host.ErrUnsupported)
	}
	levels, bits, ok := d.caps.width(s.Width)
	if !ok {
		return nil, fmt.Errorf("vtd: %d address bits: %w", s.Width, host.ErrUnsupported)
	}
	var err error
	if dom.id, err = d.ids.take(s.ID); err != nil {
		return nil, err
	}
	if dom.table, err = d.newTable(dom, levels, bits); err != nil {
		d.ids.put(dom.id)
		return nil, err
	}
	return dom, nil
}

// newTable makes or adopts the second-stage table of dom.
func (d *Driver) newTable(dom *domain, levels, bits uint8) (*pagetable.Table, error) {
	sslps := spec.CapSSLPS.Of(d.caps.cap)
	f := pagetable.VTDSS{HAW: d.opt.HAW, Snoop: d.caps.has(spec.EcapSC)}
	if sslps&spec.SSLPS2M == 0 {
		f.Without |= 1 << 21
	}
	if sslps&spec.SSLPS1G == 0 {
		f.Without |= 1 << 30
	}
	cfg := pagetable.Config{Levels: levels, VABits: bits, Incoherent: !d.caps.tablesCoherent}
	if dom.spec.Snoop {
		cfg.Attr = pagetable.VTDSSSnoop
	}
	pages := d.frames.For(d.opt.Owner + dom.id)
	dom.pages = pages
	if dom.spec.Root == 0 {
		return pagetable.New(f, d.tables, pages, cfg)
	}
	if l := dom.spec.Levels; l != 0 && l != levels {
		cfg.Levels, cfg.VABits = l, min(12+9*l, uint8(spec.CapMGAW.Of(d.caps.cap))+1)
	}
	return pagetable.Open(f, d.tables, pages, dom.spec.Root, cfg)
}

// ID returns the domain id, 0 for a blocked domain.
func (m *domain) ID() uint32 { return m.id }

// Kind returns what the domain does.
func (m *domain) Kind() host.DomainKind { return m.kind }

// Tables returns the second-stage table, or nil.
func (m *domain) Tables() *pagetable.Table { return m.table }

// Lookup walks the table; an identity domain has every address.
func (m *domain) Lookup(iova emu.IOVA) (pagetable.Translation, bool) {
	switch {
	case m.table != nil:
		return m.table.Lookup(iova)
	case m.kind == host.DomainIdentity:
		return pagetable.Translation{PA: emu.PA(iova), Lg2: 64, Perm: pagetable.Read | pagetable.Write}, true
	}
	return pagetable.Translation{}, false
}

// Flush makes hardware forget all translations of the domain, and releases what waited for that.
func (m *domain) Flush() error {
	if m.stale {
		if err := m.d.invalidate(entry.OneWait, m.flushOps()...); err != nil {
			return err
		}
		m.stale = len(m.users) > 0
	}
	m.release()
	return nil
}

// Invalidate flushes the whole domain.
func (m *domain) Invalidate(emu.IOVA, uint64, bool) error { return m.Flush() }

// flushOps is the IOTLB by domain and all of each device-TLB.
func (m *domain) flushOps() []op {
	ops := []op{iotlbDomain(m.id)}
	if m.kind == host.DomainIdentity && m.d.scalable {
		ops = ops[:0] // pass-through entries are tagged with their PASID
		for _, u := range m.users {
			if o := iotlbPASID(m.id, ridPASID(u.pasid)); !slices.Contains(ops, o) {
				ops = append(ops, o)
			}
		}
	}
	return m.deviceOps(ops, 0, wholeSpace)
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

// Free gives back table and id, behind a flush if a cache can still hold the id.
func (m *domain) Free() error {
	switch {
	case m.freed:
		return fmt.Errorf("vtd: domain %d freed twice: %w", m.id, host.ErrForeign)
	case len(m.users) > 0:
		u := m.users[0]
		return fmt.Errorf("vtd: domain %d is attached to %#04x, PASID %#x: %w", m.id, uint32(u.dev.sid), uint32(u.pasid), host.ErrBusy)
	}
	if m.table == nil {
		m.freed = true
		return nil
	}
	if err := m.Flush(); err != nil {
		return err
	}
	m.freed = true
	if m.spec.Root != 0 {
		m.table.Destroy() // made by another system: only the table itself knows its pages
	} else {
		m.pages.FreeAll()
	}
	m.d.ids.put(m.id)
	return nil
}

func (m *domain) addUser(dev *device, pasid emu.PASID) {
	m.users = append(m.users, user{dev, pasid})
	m.stale = true
}

func (m *domain) removeUser(dev *device, pasid emu.PASID) {
	if i := slices.Index(m.users, user{dev, pasid}); i >= 0 {
		m.users = slices.Delete(m.users, i, i+1)
	}
}
