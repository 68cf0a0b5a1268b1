package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// canTrack reports whether hardware can keep dirty flags in the tables of m. It writes to them by
// atomic operations, which it cannot where it does not snoop (90h, 7Ch).
func (m *domain) canTrack() bool {
	c := &m.d.caps
	return m.d.scalable && c.tablesCoherent && (m.first || c.has(spec.EcapSSADS))
}

// SetDirty turns dirty tracking on or off while devices are attached. In the second stage that is
// SSADE of each entry, one store, and of those of the domains nested on it. In the first stage
// hardware always keeps the flags; what changes is that they are no longer set beforehand.
func (m *domain) SetDirty(on bool) error {
	defer m.d.enter().leave()
	if err := m.usable("dirty tracking"); err != nil {
		return err
	}
	if !m.canTrack() {
		return fmt.Errorf("vtd: dirty tracking in domain %d: %w", m.id, host.ErrUnsupported)
	}
	fresh := on && !m.dirty
	m.dirty = on
	if m.first {
		var err error
		root, _ := m.table.Root()
		if m.table, err = pagetable.Open(m.firstFormat(), m.d.tables, m.source(), root, m.config); err != nil {
			return err
		}
	}
	if fresh {
		if err := m.table.ReadAndClearDirty(0, m.table.Info().Last, 0, nil, func(emu.IOVA, emu.IOVA) {}); err != nil {
			return err
		}
	}
	if m.first {
		// Translations may be cached as written to already.
		return m.Flush()
	}
	for _, u := range m.users {
		if err := m.d.refresh(u, m); err != nil {
			return fmt.Errorf("vtd: dirty tracking of %s: %w", name(u.dev.sid, u.pasid), err)
		}
	}
	for _, c := range m.children {
		for _, u := range c.users {
			if err := m.d.refresh(u, c); err != nil {
				return fmt.Errorf("vtd: dirty tracking of %s: %w", name(u.dev.sid, u.pasid), err)
			}
		}
	}
	return nil
}

// refresh brings the entry of an attachment up to date with its domain.
func (d *Driver) refresh(u user, m *domain) error {
	t, err := d.target(u.dev, u.pasid, false)
	if err == nil {
		err = d.clear(u.dev, u.pasid, t)
	}
	if err != nil {
		return err
	}
	rep, err := entry.Hitless.Write(t, m.entryFor(u.dev))
	if err != nil && rep.Stores > 0 {
		d.suspect(u.dev, u.pasid, nil, &rep)
	}
	return err
}

// ReadDirty reports the dirty leaves of a range.
func (m *domain) ReadDirty(iova emu.IOVA, n uint64, clear bool, visit func(first, last emu.IOVA)) error {
	defer m.d.enter().leave()
	if err := m.usable("dirty flags"); err != nil {
		return err
	}
	if !m.dirty {
		return fmt.Errorf("vtd: domain %d: %w", m.id, host.ErrNotTracking)
	}
	if n == 0 || iova+emu.IOVA(n-1) < iova {
		return fmt.Errorf("vtd: dirty flags of %#x bytes at %#x: %w", n, uint64(iova), pagetable.ErrLength)
	}
	flags := pagetable.NoClear
	if clear {
		flags = 0
	}
	err := m.table.ReadAndClearDirty(iova, iova+emu.IOVA(n-1), flags, &m.gather, visit)
	return joinErr(err, m.flushGather())
}
