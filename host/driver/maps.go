package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// Map maps n bytes at iova to pa.
func (m *Domain) Map(iova emu.IOVA, pa emu.PA, n uint64, perm emu.Access) error {
	c := m.c
	defer c.Enter().Leave()
	if err := m.usable("map"); err != nil {
		return err
	}
	if err := c.flushAged(); err != nil {
		return err
	}
	if m.overlapsWaiting(iova, n) {
		// An old translation of the address could still be in use beside the new one.
		c.Count.ForcedFlushes++
		if err := m.flushWaiting(); err != nil {
			return err
		}
	}
	done, err := m.Table.Map(iova, pa, n, rights(perm), &m.gather)
	if gerr := m.grown(); err == nil && gerr != nil {
		err = gerr
	}
	if err != nil {
		if done > 0 {
			if _, uerr := m.Table.Unmap(iova, done, &m.gather); uerr != nil {
				return fmt.Errorf("%w; undoing it: %w", err, uerr)
			}
		}
		if ferr := m.flushGather(); ferr != nil {
			return fmt.Errorf("%w; undoing it: %w", err, ferr)
		}
		return err
	}
	if err := m.flushGather(); err != nil {
		return err
	}
	if !m.Cached() {
		return nil
	}
	return c.arch.Present(m, iova, iova+emu.IOVA(n-1))
}

// Unmap removes what is mapped from iova on.
func (m *Domain) Unmap(iova emu.IOVA, n uint64) (uint64, error) {
	defer m.c.Enter().Leave()
	if err := m.usable("unmap"); err != nil {
		return 0, err
	}
	g := &m.gather
	if m.Spec.Flush == host.FlushLazy {
		g = &m.waiting
	}
	done, err := m.Table.Unmap(iova, n, g)
	if g == &m.waiting {
		if done > 0 {
			err = joinErr(err, m.wait(iova, done))
		}
		return done, joinErr(err, m.c.flushAged())
	}
	if ferr := m.flushGather(); ferr != nil {
		return done, joinErr(err, ferr)
	}
	if done > 0 && m.Spec.Released != nil {
		m.Spec.Released(iova, done)
	}
	return done, err
}

func (m *Domain) usable(what string) error {
	switch {
	case m.freed:
		return fmt.Errorf("%s: %s in domain %d: %w", m.c.Name, what, m.id, host.ErrForeign)
	case m.Table == nil:
		return fmt.Errorf("%s: %s in a domain of kind %v: %w", m.c.Name, what, m.kind, host.ErrUnsupported)
	}
	return nil
}

// flushGather invalidates what the operation changed, waits, and frees the table pages that it took out.
func (m *Domain) flushGather() error {
	first, last, ok := m.gather.Range()
	if ok {
		if err := m.ForgetRange(first, last, m.gather.LeafOnly()); err != nil {
			return err // the pages stay: hardware may still walk them
		}
	}
	m.gather.Release()
	return nil
}

// ForgetRange invalidates the translations of first..last.
//
// Errors: host.ErrTimeout.
func (m *Domain) ForgetRange(first, last emu.IOVA, leaves bool) error {
	if !m.Cached() {
		return nil // the detach of the last one left nothing
	}
	return m.c.arch.Forget([]Change{{m, first, last, leaves}})
}

// rights are the permissions of a leaf; tables here have no execute permission.
func rights(a emu.Access) (p pagetable.Perm) {
	if a&emu.Read != 0 {
		p |= pagetable.Read
	}
	if a&emu.Write != 0 {
		p |= pagetable.Write
	}
	return p
}

func joinErr(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return fmt.Errorf("%w; %w", a, b)
}
