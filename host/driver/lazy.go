package driver

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Lazy invalidation: unmapped ranges of a domain collect until there are many or the first is old, and
// one invalidation by domain covers all of them. Until then a device can still reach the pages, and
// neither the addresses nor the table pages are used again.

// wait puts an unmapped range in line.
func (m *Domain) wait(iova emu.IOVA, n uint64) error {
	if len(m.ranges) == 0 {
		m.since = m.c.CPU.Now()
		m.c.lazy = append(m.c.lazy, m)
	}
	m.ranges = append(m.ranges, span{iova, n})
	if len(m.ranges) >= m.c.LazyEntries {
		return m.flushWaiting()
	}
	return nil
}

// flushWaiting flushes the domain and releases what waits.
func (m *Domain) flushWaiting() error {
	if len(m.ranges) == 0 {
		return nil
	}
	m.c.Count.LazyFlushes++
	return m.Flush()
}

// release frees the table pages and gives out the addresses that waited. Everything in a cache that
// came from them is gone.
func (m *Domain) release() {
	m.waiting.Release()
	if len(m.ranges) == 0 {
		return
	}
	m.c.lazy = slices.DeleteFunc(m.c.lazy, func(x *Domain) bool { return x == m })
	ranges := m.ranges
	m.ranges = nil
	if m.Spec.Released != nil {
		for _, r := range ranges {
			m.Spec.Released(r.iova, r.n)
		}
	}
	if m.ranges == nil {
		m.ranges = ranges[:0]
	}
}

// overlapsWaiting reports whether a range that waits touches iova, n.
func (m *Domain) overlapsWaiting(iova emu.IOVA, n uint64) bool {
	if n == 0 {
		return false
	}
	last := iova + emu.IOVA(n-1)
	return slices.ContainsFunc(m.ranges, func(r span) bool {
		return r.iova <= last && iova <= r.iova+emu.IOVA(r.n-1)
	})
}

// flushAged flushes the domains whose time is up.
func (c *Core) flushAged() error {
	for len(c.lazy) > 0 {
		m := c.lazy[0]
		if c.CPU.Now()-m.since < c.LazyCycles {
			return nil
		}
		if err := m.flushWaiting(); err != nil {
			return err
		}
	}
	return nil
}

// FlushLazy flushes what lazy domains have unmapped so far: all of each domain, with one wait for all.
func (d *Driver) FlushLazy() error {
	c := d.c
	defer c.Enter().Leave()
	if len(c.lazy) == 0 {
		return nil
	}
	c.Count.LazyFlushes++
	changes := make([]Change, 0, len(c.lazy))
	for _, m := range c.lazy {
		changes = append(changes, Everything(m))
	}
	if err := c.arch.Forget(changes); err != nil {
		return err
	}
	for _, m := range slices.Clone(c.lazy) {
		m.Stale = m.inUse()
		m.release()
	}
	return nil
}

// LazyDue returns when the oldest range that waits is due.
func (d *Driver) LazyDue() (at uint64, waiting bool) {
	if len(d.c.lazy) == 0 {
		return 0, false
	}
	return d.c.lazy[0].since + d.c.LazyCycles, true
}
