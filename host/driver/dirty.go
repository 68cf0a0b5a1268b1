package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// SetDirty turns dirty tracking on or off while devices are attached. Where hardware keeps the flags when it is
// told to, that is a bit of each entry, and of those of the domains nested on it. Where it always does,
// what changes is that they are no longer set beforehand.
func (m *Domain) SetDirty(on bool) error {
	defer m.c.Enter().Leave()
	if err := m.usable("dirty tracking"); err != nil {
		return err
	}
	if !m.c.arch.CanTrack(m) {
		return fmt.Errorf("%s: dirty tracking in domain %d: %w", m.c.Name, m.id, host.ErrUnsupported)
	}
	fresh, format := on && !m.Dirty, m.c.arch.Format(m)
	m.Dirty = on
	always := m.c.arch.Format(m) != format
	if always {
		if err := m.reopen(); err != nil {
			return err
		}
	}
	if fresh {
		if err := m.Table.ReadAndClearDirty(0, m.Table.Info().Last, 0, nil, func(emu.IOVA, emu.IOVA) {}); err != nil {
			return err
		}
	}
	if always {
		// Translations may be cached as written to already.
		return m.Flush()
	}
	_, err := m.c.refreshUsers(m)
	if err != nil {
		err = fmt.Errorf("%s: dirty tracking of %w", m.c.Name, err)
	}
	return err
}

// refreshUsers brings the entries of all that translates by the table of m up to date. stored says
// whether an entry may have changed.
func (c *Core) refreshUsers(m *Domain) (stored bool, err error) {
	for _, d := range append([]*Domain{m}, m.Children...) {
		for _, u := range d.Users {
			s, err := c.refresh(u, d)
			stored = stored || s
			if err != nil {
				return stored, fmt.Errorf("%s: %w", Label(u.Device.SID, u.PASID), err)
			}
		}
	}
	return stored, nil
}

// refresh brings the entry of an attachment up to date with its domain.
func (c *Core) refresh(u User, m *Domain) (stored bool, err error) {
	t, err := c.arch.Target(u.Device, u.PASID, m, false)
	if err == nil {
		err = c.clear(u.Device, u.PASID, t)
	}
	if err != nil {
		return false, err
	}
	rep, err := entry.Hitless.Write(t, c.arch.Words(u.Device, u.PASID, m))
	if err != nil && rep.Stores > 0 {
		c.suspect(u.Device, u.PASID, t, nil, &rep)
	}
	if err != nil {
		return rep.Stores > 0, err
	}
	return true, c.arch.Settle(u.Device, u.PASID, m)
}

// ReadDirty reports the dirty leaves of a range.
func (m *Domain) ReadDirty(iova emu.IOVA, n uint64, clear bool, visit func(first, last emu.IOVA)) error {
	defer m.c.Enter().Leave()
	if err := m.usable("dirty flags"); err != nil {
		return err
	}
	if !m.Dirty {
		return fmt.Errorf("%s: domain %d: %w", m.c.Name, m.id, host.ErrNotTracking)
	}
	if n == 0 || iova+emu.IOVA(n-1) < iova {
		return fmt.Errorf("%s: dirty flags of %#x bytes at %#x: %w", m.c.Name, n, uint64(iova), pagetable.ErrLength)
	}
	flags := pagetable.NoClear
	if clear {
		flags = 0
	}
	err := m.Table.ReadAndClearDirty(iova, iova+emu.IOVA(n-1), flags, &m.gather, visit)
	return joinErr(err, m.flushGather())
}
