package mem

import (
	"iter"

	"github.com/iommulab/iommulab/emu"
)

// Pages yields the allocated pages in ascending order of address. The memory must not gain pages
// meanwhile; writing to a page through the pointer goes past the watch hooks.
func (m *Memory) Pages() iter.Seq2[emu.PA, *Page] {
	return func(yield func(emu.PA, *Page) bool) {
		for i, r := range m.direct {
			if !r.each(uint64(i), yield) {
				return
			}
		}
		for _, i := range m.highRegions() {
			if !m.high[i].each(i, yield) {
				return
			}
		}
	}
}

func (r *region) each(n uint64, yield func(emu.PA, *Page) bool) bool {
	if r == nil {
		return true
	}
	for i, p := range r {
		if p != nil && !yield(emu.PA(n*regionPages+uint64(i))<<emu.PageShift, p) {
			return false
		}
	}
	return true
}

// Clone returns a copy with the same content, limit and bus error regions, and without watch hooks.
func (m *Memory) Clone() *Memory {
	c := New()
	c.limit, c.lastID = m.limit, m.lastID
	c.errors = append(c.errors, m.errors...)
	for pa, p := range m.Pages() {
		*c.ensure(pa) = *p
	}
	return c
}

// Equal reports whether all memory reads the same in m and o. Limits, bus error regions and watch
// hooks are not looked at.
func (m *Memory) Equal(o *Memory) bool { return m.within(o) && o.within(m) }

// within reports whether every page of m reads the same in o.
func (m *Memory) within(o *Memory) bool {
	for pa, p := range m.Pages() {
		q := o.find(pa)
		if q == nil {
			q = &zeroPage
		}
		if *p != *q {
			return false
		}
	}
	return true
}
