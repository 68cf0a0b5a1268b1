package pagetable

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// model is the brute-force oracle: one map element per granule.
type model struct {
	info    Info
	preset  bool
	granule uint64
	pages   map[emu.IOVA]modelPage
}

type modelPage struct {
	pa    emu.PA
	base  emu.IOVA // of the leaf
	lg2   uint8
	perm  Perm
	attr  Attr
	dirty bool
}

func newModel(v variant, tab *Table) *model {
	return &model{info: tab.Info(), preset: tab.g.Preset, granule: v.granule(), pages: map[emu.IOVA]modelPage{}}
}

// biggest is the naive choice of a page size: try all from the largest down.
func biggest(sizes uint64, iova emu.IOVA, pa emu.PA, left uint64) uint8 {
	for lg2 := uint8(63); ; lg2-- {
		size := uint64(1) << lg2
		if sizes&size != 0 && uint64(iova)%size == 0 && uint64(pa)%size == 0 && size <= left {
			return lg2
		}
	}
}

func (m *model) mapRange(iova emu.IOVA, pa emu.PA, length uint64, perm Perm, attr Attr) (done uint64, exists bool) {
	for done < length {
		lg2 := biggest(m.info.PageSizes, iova, pa, length-done)
		size := uint64(1) << lg2
		for o := uint64(0); o < size; o += m.granule {
			if _, ok := m.pages[iova+emu.IOVA(o)]; ok {
				return done, true
			}
		}
		perm |= m.info.Implied
		m.leaf(iova, pa, lg2, perm, attr, m.preset && perm&Write != 0)
		iova, pa, done = iova+emu.IOVA(size), pa+emu.PA(size), done+size
	}
	return done, false
}

func (m *model) leaf(iova emu.IOVA, pa emu.PA, lg2 uint8, perm Perm, attr Attr, dirty bool) {
	for o := uint64(0); o < 1<<lg2; o += m.granule {
		m.pages[iova+emu.IOVA(o)] = modelPage{pa + emu.PA(o), iova, lg2, perm, attr, dirty}
	}
}

func (m *model) unmap(iova emu.IOVA, length uint64) (done uint64) {
	for done < length {
		p, ok := m.pages[iova]
		if !ok || p.base != iova {
			return done
		}
		for o := uint64(0); o < 1<<p.lg2; o += m.granule {
			delete(m.pages, iova+emu.IOVA(o))
		}
		done += 1 << p.lg2
		iova += 1 << p.lg2
	}
	return done
}

func (m *model) setDirty(at emu.IOVA, dirty bool) {
	p := m.pages[at]
	for o := uint64(0); o < 1<<p.lg2; o += m.granule {
		q := m.pages[p.base+emu.IOVA(o)]
		q.dirty = dirty
		m.pages[p.base+emu.IOVA(o)] = q
	}
}

func (m *model) cut(at emu.IOVA) {
	p, ok := m.pages[at]
	if !ok || p.base == at {
		return
	}
	oa := p.pa - emu.PA(at-p.base)
	pieces := []struct {
		first emu.IOVA
		n     uint64
	}{{p.base, uint64(at - p.base)}, {at, 1<<p.lg2 - uint64(at-p.base)}}
	for _, half := range pieces {
		for n := uint64(0); n < half.n; {
			va := half.first + emu.IOVA(n)
			pa := oa + emu.PA(va-p.base)
			lg2 := biggest(m.info.PageSizes&(1<<p.lg2-1), va, pa, half.n-n)
			m.leaf(va, pa, lg2, p.perm, p.attr, p.dirty)
			n += 1 << lg2
		}
	}
}

// requireSame compares two lists of leaves, with a readable message only if they differ.
func requireSame(t require.TestingT, want, got []Mapping, msg ...any) {
	if !slices.Equal(want, got) {
		require.Equal(t, want, got, msg...)
	}
}

// leaves lists the leaves that touch first..last.
func (m *model) leaves(first, last emu.IOVA) []Mapping {
	var bases []emu.IOVA
	for at, p := range m.pages {
		if p.base == at && at <= last && at+emu.IOVA(1<<p.lg2-1) >= first {
			bases = append(bases, at)
		}
	}
	slices.Sort(bases)
	var out []Mapping
	for _, at := range bases {
		p := m.pages[at]
		out = append(out, Mapping{IOVA: at, PA: p.pa, Lg2: p.lg2, Perm: p.perm, Attr: p.attr, Dirty: p.dirty})
	}
	return out
}

// observed lists the leaves of a table without what the model does not know.
func observed(tab *Table, first, last emu.IOVA) []Mapping {
	var out []Mapping
	for l := range tab.Leaves(first, last) {
		l.Level, l.Slot, l.Raw, l.Accessed = 0, 0, 0, false
		out = append(out, l)
	}
	return out
}
