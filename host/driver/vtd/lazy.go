package vtd

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/entry"
)

// Lazy invalidation: unmapped ranges of a domain collect until there are many or the first is old, and
// one invalidation by domain covers all of them. Until then a device can still reach the pages, and
// neither the addresses nor the table pages are used again.

// wait puts an unmapped range in line.
func (m *domain) wait(iova emu.IOVA, n uint64) error {
	if len(m.ranges) == 0 {
		m.since = m.d.cpu.Now()
		m.d.lazy = append(m.d.lazy, m)
	}
	m.ranges = append(m.ranges, span{iova, n})
	if len(m.ranges) >= m.d.opt.LazyEntries {
		return m.flushWaiting()
	}
	return nil
}

// flushWaiting flushes the domain and releases what waits.
func (m *domain) flushWaiting() error {
	if len(m.ranges) == 0 {
		return nil
	}
	m.d.stats.LazyFlushes++
	return m.Flush()
}

// release frees the table pages and gives out the addresses that waited. Everything in a cache that
// came from them is gone.
func (m *domain) release() {
	m.waiting.Release()
	if len(m.ranges) == 0 {
		return
	}
	m.d.lazy = slices.DeleteFunc(m.d.lazy, func(x *domain) bool { return x == m })
	ranges := m.ranges
	m.ranges = nil
	if m.spec.Released != nil {
		for _, r := range ranges {
			m.spec.Released(r.iova, r.n)
		}
	}
	if m.ranges == nil {
		m.ranges = ranges[:0]
	}
}

// overlapsWaiting reports whether a range that waits touches iova, n.
func (m *domain) overlapsWaiting(iova emu.IOVA, n uint64) bool {
	if n == 0 {
		return false
	}
	last := iova + emu.IOVA(n-1)
	return slices.ContainsFunc(m.ranges, func(r span) bool {
		return r.iova <= last && iova <= r.iova+emu.IOVA(r.n-1)
	})
}

// flushAged flushes the domains whose time is up.
func (d *Driver) flushAged() error {
	for len(d.lazy) > 0 {
		m := d.lazy[0]
		if d.cpu.Now()-m.since < d.opt.LazyCycles {
			return nil
		}
		if err := m.flushWaiting(); err != nil {
			return err
		}
	}
	return nil
}

// FlushLazy flushes what lazy domains have unmapped so far: one invalidation for each domain, or a
// global one for many, and one wait for all.
func (d *Driver) FlushLazy() error {
	defer d.enter().leave()
	if len(d.lazy) == 0 {
		return nil
	}
	d.stats.LazyFlushes++
	var ops []op
	many := len(d.lazy) > maxBatch
	if many {
		ops = append(ops, op{typ: spec.DescIOTLB, gran: spec.GranGlobal})
	}
	for _, m := range d.lazy {
		for _, o := range m.drop(0, wholeSpace, false) {
			if !many || o.stage() > 2 {
				ops = append(ops, o)
			}
		}
	}
	if err := d.invalidate(entry.OneWait, ops...); err != nil {
		return err
	}
	for _, m := range slices.Clone(d.lazy) {
		m.stale = len(m.users) > 0
		m.release()
	}
	return nil
}

// LazyDue returns when the oldest range that waits is due.
func (d *Driver) LazyDue() (at uint64, waiting bool) {
	if len(d.lazy) == 0 {
		return 0, false
	}
	return d.lazy[0].since + d.opt.LazyCycles, true
}
