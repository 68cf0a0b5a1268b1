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
	first bool // the tables are first-stage ones; of a nested domain those of the guest
	id    uint32
	spec  host.DomainSpec
	dirty bool // hardware keeps dirty flags
	// Of a paging domain:
	table  *pagetable.Table
	config pagetable.Config
	pages  *host.OwnedFrames
	users  []user
	freed  bool
	// stale: caches may hold entries with the id.
	stale bool
	// A nested domain has a parent, whose children it is one of, and a table of somebody else.
	parent   *domain
	children []*domain
	root     emu.PA // input address of the parent
	levels   uint8

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

// NewDomain makes a domain. Identity needs ECAP.PT, a stage its ECAP.SSTS or FSTS in scalable mode,
// a nested domain ECAP.NEST.
func (d *Driver) NewDomain(s host.DomainSpec) (host.Domain, error) {
	defer d.enter().leave()
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
	case host.DomainPaging, host.DomainNested:
	default:
		return nil, fmt.Errorf("vtd: domain kind %d: %w", s.Kind, host.ErrUnsupported)
	}
	if (s.Parent != nil) != (s.Kind == host.DomainNested) {
		return nil, fmt.Errorf("vtd: %v domain, parent %v: %w", s.Kind, s.Parent != nil, host.ErrUnsupported)
	}
	if s.Snoop && !d.caps.has(spec.EcapSC) {
		return nil, fmt.Errorf("vtd: forced snooping: %w", host.ErrUnsupported)
	}
	check := dom.checkPaging
	if s.Kind == host.DomainNested {
		check = dom.checkNested
	}
	build, err := check()
	if err != nil {
		return nil, err
	}
	left := d.leftID(&s)
	if !left {
		if dom.id, err = d.ids.take(s.ID); err != nil {
			return nil, err
		}
	} else {
		dom.id = s.ID
	}
	if err = build(); err == nil && left {
		err = d.claim(dom)
	}
	if err != nil {
		dom.unmake()
		if !left {
			d.ids.put(dom.id)
		}
		return nil, err
	}
	d.domains[dom.id] = dom
	return dom, nil
}

// ID returns the domain id, 0 for a blocked domain.
func (m *domain) ID() uint32 { return m.id }

// Kind returns what the domain does.
func (m *domain) Kind() host.DomainKind { return m.kind }

// Tables returns the table of a paging domain, or nil.
func (m *domain) Tables() *pagetable.Table { return m.table }

// Lookup walks the table; an identity domain has every address. The tables of a nested domain are
// not the driver's to read: it has none.
func (m *domain) Lookup(iova emu.IOVA) (pagetable.Translation, bool) {
	switch {
	case m.table != nil:
		return m.table.Lookup(iova)
	case m.kind == host.DomainIdentity:
		return pagetable.Translation{PA: emu.PA(iova), Lg2: 64, Perm: pagetable.Read | pagetable.Write}, true
	}
	return pagetable.Translation{}, false
}

// Flush makes hardware forget all translations of the domain, and of those nested on it, and releases
// what waited for that.
func (m *domain) Flush() error {
	defer m.d.enter().leave()
	if m.cached() {
		if err := m.d.invalidate(entry.OneWait, m.drop(0, wholeSpace, false)...); err != nil {
			return err
		}
		m.stale = len(m.users) > 0
	}
	m.release()
	return nil
}

// Invalidate makes hardware forget the translations of a range.
func (m *domain) Invalidate(iova emu.IOVA, n uint64, tables bool) error {
	defer m.d.enter().leave()
	if n == 0 || !m.cached() {
		return nil
	}
	last := iova + emu.IOVA(n-1)
	if last < iova {
		last = ^emu.IOVA(0)
	}
	addr, am := block(iova, last)
	return m.d.invalidate(entry.OneWait, m.drop(addr, am, !tables)...)
}

// Free gives back table and id, behind a flush if a cache can still hold the id.
func (m *domain) Free() error {
	defer m.d.enter().leave()
	switch {
	case m.freed:
		return fmt.Errorf("vtd: domain %d freed twice: %w", m.id, host.ErrForeign)
	case len(m.users) > 0:
		u := m.users[0]
		return fmt.Errorf("vtd: domain %d is attached to %#04x, PASID %#x: %w", m.id, uint32(u.dev.sid), uint32(u.pasid), host.ErrBusy)
	case len(m.children) > 0:
		return fmt.Errorf("vtd: domain %d is the parent of domain %d: %w", m.id, m.children[0].id, host.ErrBusy)
	case m.d.heritage != nil && m.id >= didFirst && m.d.heritage.entries[m.id] > 0:
		return fmt.Errorf("vtd: domain %d: devices that an earlier system has left use it: %w", m.id, host.ErrBusy)
	}
	if m.id < didFirst {
		m.freed = true
		return nil
	}
	if err := m.Flush(); err != nil {
		return err
	}
	m.freed = true
	if m.parent == nil && m.spec.Root != 0 {
		m.table.Destroy() // made by another system: only the table itself knows its pages
	} else {
		m.unmake()
	}
	delete(m.d.domains, m.id)
	m.d.ids.put(m.id)
	return nil
}

// unmake undoes what makes a domain, but for the id.
func (m *domain) unmake() {
	switch {
	case m.parent != nil:
		m.parent.children = slices.DeleteFunc(m.parent.children, func(c *domain) bool { return c == m })
	case m.pages != nil:
		m.pages.FreeAll()
	}
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
