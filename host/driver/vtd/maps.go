package vtd

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// Map maps n bytes at iova to pa.
func (m *domain) Map(iova emu.IOVA, pa emu.PA, n uint64, perm emu.Access) error {
	defer m.d.enter().leave()
	m.d.restOfFaults()
	if err := m.usable("map"); err != nil {
		return err
	}
	if err := m.d.flushAged(); err != nil {
		return err
	}
	if m.overlapsWaiting(iova, n) {
		// An old translation of the address could still be in use beside the new one.
		m.d.stats.ForcedFlushes++
		if err := m.flushWaiting(); err != nil {
			return err
		}
	}
	done, err := m.table.Map(iova, pa, n, rights(perm), &m.gather)
	if err != nil {
		if done > 0 {
			if _, uerr := m.table.Unmap(iova, done, &m.gather); uerr != nil {
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
	return m.nowPresent(iova, iova+emu.IOVA(n-1))
}

// nowPresent does what is due when entries became present: in caching mode their absence may be
// cached, though not that of first-stage entries (6.1), and a write buffer may hold them back.
func (m *domain) nowPresent(first, last emu.IOVA) error {
	if !m.cached() {
		return nil
	}
	if m.d.caps.cm && !m.first {
		return m.flushRange(first, last, false)
	}
	return m.d.flushWriteBuffer()
}

// Unmap removes what is mapped from iova on.
func (m *domain) Unmap(iova emu.IOVA, n uint64) (uint64, error) {
	defer m.d.enter().leave()
	m.d.restOfFaults()
	if err := m.usable("unmap"); err != nil {
		return 0, err
	}
	g := &m.gather
	if m.spec.Flush == host.FlushLazy {
		g = &m.waiting
	}
	done, err := m.table.Unmap(iova, n, g)
	if g == &m.waiting {
		if done > 0 {
			err = joinErr(err, m.wait(iova, done))
		}
		return done, joinErr(err, m.d.flushAged())
	}
	if ferr := m.flushGather(); ferr != nil {
		return done, joinErr(err, ferr)
	}
	if done > 0 && m.spec.Released != nil {
		m.spec.Released(iova, done)
	}
	return done, err
}

func (m *domain) usable(what string) error {
	switch {
	case m.freed:
		return fmt.Errorf("vtd: %s in domain %d: %w", what, m.id, host.ErrForeign)
	case m.table == nil:
		return fmt.Errorf("vtd: %s in a domain of kind %v: %w", what, m.kind, host.ErrUnsupported)
	}
	return nil
}

// flushGather invalidates what the operation changed, waits, and frees the table pages that it took out.
func (m *domain) flushGather() error {
	first, last, ok := m.gather.Range()
	if ok {
		if err := m.flushRange(first, last, m.gather.LeafOnly()); err != nil {
			return err // the pages stay: hardware may still walk them
		}
	}
	m.gather.Release()
	return nil
}

// flushRange invalidates the translations of first..last.
func (m *domain) flushRange(first, last emu.IOVA, leafOnly bool) error {
	if !m.cached() {
		return nil // the detach of the last one left nothing
	}
	addr, am := block(first, last)
	return m.d.invalidate(entry.OneWait, m.drop(addr, am, leafOnly)...)
}

// block widens a range to the aligned power of two of pages that an invalidation can name.
func block(first, last emu.IOVA) (addr uint64, am uint8) {
	lg2 := max(bits.Len64(uint64(first^last)), emu.PageShift)
	if lg2 >= wholeSpace+emu.PageShift {
		return 0, wholeSpace
	}
	return uint64(first) &^ (1<<lg2 - 1), uint8(lg2 - emu.PageShift)
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
