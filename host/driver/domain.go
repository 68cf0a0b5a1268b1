package driver

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// Domain implements host.Domain.
type Domain struct {
	Spec  host.DomainSpec
	First bool // the tables are those of host.StageFirst; of a nested domain those of the guest
	Dirty bool // hardware keeps dirty flags
	Users []User
	// Stale: caches may hold entries with the id.
	Stale bool
	// Of a paging domain:
	Table  *pagetable.Table
	Config pagetable.Config
	// A nested domain has a parent, whose children it is one of, and a table of somebody else.
	Parent   *Domain
	Children []*Domain
	Root     emu.PA // input address of the parent
	Levels   uint8
	Arch     any // what the architecture keeps of it

	c      *Core
	kind   host.DomainKind
	id     uint32
	ids    *IDs // that id is one of
	shared bool // id is that of the parent
	pages  *host.OwnedFrames
	freed  bool
	top    top

	gather  pagetable.Gather // of the operation in progress
	waiting pagetable.Gather // lazy: what waits for a flush
	ranges  []span
	since   uint64 // when the first of ranges was unmapped
}

// User is what a domain is attached to.
type User struct {
	Device *Device
	PASID  emu.PASID
}

// span is an unmapped range.
type span struct {
	iova emu.IOVA
	n    uint64
}

// NewDomain makes a domain. What can be had is the architecture's.
func (d *Driver) NewDomain(s host.DomainSpec) (host.Domain, error) {
	c := d.c
	defer c.Enter().Leave()
	m := &Domain{c: c, kind: s.Kind, Spec: s, ids: &c.IDs}
	switch s.Kind {
	case host.DomainBlocked:
		return m, nil
	case host.DomainIdentity:
		if _, err := c.arch.Domain(m); err != nil {
			return nil, err
		}
		return m, nil
	case host.DomainPaging, host.DomainNested:
	default:
		return nil, fmt.Errorf("%s: domain kind %d: %w", c.Name, s.Kind, host.ErrUnsupported)
	}
	if (s.Parent != nil) != (s.Kind == host.DomainNested) {
		return nil, fmt.Errorf("%s: %v domain, parent %v: %w", c.Name, s.Kind, s.Parent != nil, host.ErrUnsupported)
	}
	build, err := c.arch.Domain(m)
	if err != nil {
		return nil, err
	}
	if s.Kind == host.DomainPaging && s.Dirty {
		if m.Dirty = true; !c.arch.CanTrack(m) {
			return nil, fmt.Errorf("%s: dirty tracking in these tables: %w", c.Name, host.ErrUnsupported)
		}
	}
	left := c.leftID(&s)
	switch {
	case m.shared:
	case left:
		m.id = s.ID
	default:
		if m.id, err = m.ids.Take(s.ID); err != nil {
			return nil, err
		}
	}
	m.pages = c.Frames.For(c.Owner + m.id)
	if err = build(); err == nil && left {
		err = c.claim(m)
	}
	if err != nil {
		m.unmake()
		if !left && !m.shared {
			m.ids.Put(m.id)
		}
		return nil, err
	}
	if !m.shared {
		c.Domains[m.id] = m
	}
	return m, nil
}

// From makes the id of m one of ids instead of Core.IDs. Those are in Core.MoreIDs, and do not overlap.
func (m *Domain) From(ids *IDs) { m.ids = ids }

// Share gives the nested domain m the id of its parent: where caches tell the translations of a guest
// from those of its memory by other means.
func (m *Domain) Share(parent *Domain) { m.id, m.shared = parent.id, true }

// idsOf returns the ids that one is of.
func (c *Core) idsOf(id uint32) *IDs {
	for _, s := range c.MoreIDs {
		if s.Has(id) {
			return s
		}
	}
	return &c.IDs
}

// none reports whether an id is none that is handed out.
func (c *Core) none(id uint32) bool {
	s := c.idsOf(id)
	return !s.Has(id) || id-s.base < s.first
}

// Nest completes a nested domain: what it is nested on, and where the guest's table is.
func (m *Domain) Nest(parent *Domain, levels uint8) {
	m.Parent, m.First, m.Root, m.Levels = parent, true, m.Spec.Root, levels
	parent.Children = append(parent.Children, m)
}

// ParentOf returns what the nested domain m is to be nested on.
//
// Errors: host.ErrForeign; host.ErrUnsupported (no domain of the second stage); pagetable.ErrGeometry
// (the table is beyond its addresses).
func (c *Core) ParentOf(m *Domain) (*Domain, error) {
	if m.Spec.Dirty {
		return nil, fmt.Errorf("%s: dirty tracking in a guest's tables: %w", c.Name, host.ErrUnsupported)
	}
	p, err := c.Own(m.Spec.Parent)
	if err != nil {
		return nil, fmt.Errorf("%s: parent of a nested domain: %w", c.Name, err)
	}
	if p.kind != host.DomainPaging || p.First {
		return nil, fmt.Errorf("%s: nested on domain %d, which has no second stage: %w", c.Name, p.id, host.ErrUnsupported)
	}
	if m.Spec.Root%emu.PageSize != 0 || emu.IOVA(m.Spec.Root) > p.Table.Info().Last {
		return nil, fmt.Errorf("%s: first-stage table at %#x of domain %d: %w", c.Name, uint64(m.Spec.Root), p.id, pagetable.ErrGeometry)
	}
	return p, nil
}

// Own returns the domain of this driver that the interface stands for.
//
// Errors: host.ErrForeign.
func (c *Core) Own(dom host.Domain) (*Domain, error) {
	m, ok := host.Underlying(dom).(*Domain)
	if !ok || m.c != c || m.freed {
		return nil, fmt.Errorf("%s: unit %d: %w", c.Name, c.Unit, host.ErrForeign)
	}
	return m, nil
}

// ID returns the domain id, 0 for a blocked domain.
func (m *Domain) ID() uint32 { return m.id }

// SetID gives an identity domain the id that its architecture has for it.
func (m *Domain) SetID(id uint32) { m.id = id }

// Kind returns what the domain does.
func (m *Domain) Kind() host.DomainKind { return m.kind }

// Tables returns the table of a paging domain, or nil.
func (m *Domain) Tables() *pagetable.Table { return m.Table }

// Lookup walks the table; an identity domain has every address. The tables of a nested domain are
// not the driver's to read: it has none.
func (m *Domain) Lookup(iova emu.IOVA) (pagetable.Translation, bool) {
	switch {
	case m.Table != nil:
		return m.Table.Lookup(iova)
	case m.kind == host.DomainIdentity:
		return pagetable.Translation{PA: emu.PA(iova), Lg2: 64, Perm: pagetable.Read | pagetable.Write}, true
	}
	return pagetable.Translation{}, false
}

// Cached reports whether caches may hold translations made from the tables of m.
func (m *Domain) Cached() bool {
	return m.Stale && m.kind != host.DomainBlocked || slices.ContainsFunc(m.Children, func(n *Domain) bool { return n.Stale })
}

// Flush makes hardware forget all translations of the domain, and of those nested on it, and releases
// what waited for that.
func (m *Domain) Flush() error {
	defer m.c.Enter().Leave()
	if m.Cached() {
		if err := m.c.arch.Forget([]Change{Everything(m)}); err != nil {
			return err
		}
		m.Stale = m.inUse()
	}
	m.release()
	return nil
}

// Invalidate makes hardware forget the translations of a range.
func (m *Domain) Invalidate(iova emu.IOVA, n uint64, tables bool) error {
	defer m.c.Enter().Leave()
	if n == 0 || !m.Cached() {
		return nil
	}
	last := iova + emu.IOVA(n-1)
	if last < iova {
		last = ^emu.IOVA(0)
	}
	return m.c.arch.Forget([]Change{{Domain: m, First: iova, Last: last, Leaves: !tables}})
}

// Free gives back table and id, behind a flush if a cache can still hold the id.
func (m *Domain) Free() error {
	c := m.c
	defer c.Enter().Leave()
	switch {
	case m.freed:
		return fmt.Errorf("%s: domain %d freed twice: %w", c.Name, m.id, host.ErrForeign)
	case len(m.Users) > 0:
		u := m.Users[0]
		return fmt.Errorf("%s: domain %d is attached to %#04x, PASID %#x: %w", c.Name, m.id, uint32(u.Device.SID), uint32(u.PASID), host.ErrBusy)
	case len(m.Children) > 0:
		return fmt.Errorf("%s: domain %d is the parent of domain %d: %w", c.Name, m.id, m.Children[0].id, host.ErrBusy)
	case c.Heritage != nil && !m.shared && !c.none(m.id) && c.Heritage.ids[m.id] > 0:
		return fmt.Errorf("%s: domain %d: devices that an earlier system has left use it: %w", c.Name, m.id, host.ErrBusy)
	}
	if m.pages == nil { // identity and blocked domains
		m.freed = true
		return nil
	}
	if err := m.Flush(); err != nil {
		return err
	}
	m.freed = true
	if m.Parent == nil && m.Spec.Root != 0 {
		m.Table.Destroy() // made by another system: only the table itself knows its pages
	}
	m.unmake()
	if !m.shared {
		delete(c.Domains, m.id)
		m.ids.Put(m.id)
	}
	return nil
}

// unmake undoes what makes a domain, but for the id.
func (m *Domain) unmake() {
	if m.Parent != nil {
		m.Parent.Children = slices.DeleteFunc(m.Parent.Children, func(n *Domain) bool { return n == m })
	}
	m.pages.FreeAll()
}

// Pages are what the tables of m are made of; they are freed with it.
func (m *Domain) Pages() *host.OwnedFrames { return m.pages }

func (m *Domain) addUser(v *Device, pasid emu.PASID) {
	m.Users = append(m.Users, User{v, pasid})
	m.Stale = true
	if m.shared {
		m.Parent.Stale = true // what is made of its tables has its id too
	}
}

// inUse reports whether entries have the id of m.
func (m *Domain) inUse() bool {
	return len(m.Users) > 0 || slices.ContainsFunc(m.Children, func(n *Domain) bool { return n.shared && len(n.Users) > 0 })
}

func (m *Domain) removeUser(v *Device, pasid emu.PASID) {
	if i := slices.Index(m.Users, User{v, pasid}); i >= 0 {
		m.Users = slices.Delete(m.Users, i, i+1)
	}
}
