package pagetable

import "github.com/iommulab/iommulab/emu"

// fill writes count leaves of 2^lg2 bytes from m.at on into one table and returns how many it wrote.
func (m *mapper) fill(table emu.PA, level, lg2 uint8, count uint64, oa emu.PA) (n uint64, err error) {
	t, mem := m.t, m.t.mem
	slotLg2 := t.g.shift(level)
	slots := uint64(1) << (lg2 - slotLg2)
	start := t.slot(table, level, m.at)
	slot := start
	leaf := m.leaf
	leaf.OA, leaf.Lg2 = oa, lg2
	for ; n < count; n++ {
		tables := false
		for s := range slots {
			if raw := mem.Load64(slot + emu.PA(s*8)); raw != 0 {
				isTable, bad := m.vacant(slot+emu.PA(s*8), raw, level)
				if bad != nil {
					mem.Flush(start, int(slot-start))
					return n, bad
				}
				tables = tables || isTable
			}
		}
		first := m.at + emu.IOVA(n<<lg2)
		raw := t.f.Encode(leaf, level)
		for s := range slots {
			here := slot + emu.PA(s*8)
			if s != 0 && !t.g.Replicated {
				next := leaf
				next.OA += emu.PA(s << slotLg2)
				raw = t.f.Encode(next, level)
			}
			if tables {
				m.replace(here, level, first+emu.IOVA(s<<slotLg2), raw)
			} else {
				mem.Store64(here, raw)
			}
		}
		leaf.OA += emu.PA(1) << lg2
		slot += emu.PA(slots * 8)
	}
	mem.Flush(start, int(slot-start))
	return n, nil
}

// vacant decides whether a leaf may take the place of raw. isTable tells that an empty table hangs
// there.
func (m *mapper) vacant(slot emu.PA, raw uint64, level uint8) (isTable bool, err error) {
	t := m.t
	e := t.decode(raw, level)
	switch e.Kind {
	case Empty:
		return false, nil
	case Leaf:
		err = ErrExists
	case SubTable:
		if m.gather == nil {
			return true, errNarrow
		}
		if err = t.vacantTree(e.OA, t.g.below(&e, level)); err == nil {
			return true, nil
		}
	default:
		err = ErrCorrupt
	}
	m.entry, m.raw = slot, raw
	return false, err
}

// vacantTree returns nil if no leaf is below table.
func (t *Table) vacantTree(table emu.PA, level uint8) error {
	for i := range t.entries(level) {
		raw := t.mem.Load64(table + emu.PA(i*8))
		if raw == 0 {
			continue
		}
		switch e := t.decode(raw, level); e.Kind {
		case Leaf:
			return ErrExists
		case Malformed:
			return ErrCorrupt
		case SubTable:
			if err := t.vacantTree(e.OA, t.g.below(&e, level)); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace stores a leaf where an empty table may hang, and gathers the table.
func (m *mapper) replace(slot emu.PA, level uint8, first emu.IOVA, leaf uint64) {
	t := m.t
	e := t.decode(t.mem.Load64(slot), level)
	t.mem.Store64(slot, leaf)
	if e.Kind == SubTable {
		m.gather.addLink(first, first|(emu.IOVA(1)<<t.g.shift(level)-1), level)
		t.gatherTree(e.OA, t.g.below(&e, level), m.gather)
	}
}

// gatherTree puts table and all tables below it into g.
func (t *Table) gatherTree(table emu.PA, level uint8, g *Gather) {
	if level > 0 {
		for i := range t.entries(level) {
			if raw := t.mem.Load64(table + emu.PA(i*8)); raw != 0 {
				if e := t.decode(raw, level); e.Kind == SubTable {
					t.gatherTree(e.OA, t.g.below(&e, level), g)
				}
			}
		}
	}
	g.addPage(t.pages, table, t.g.tableLg2())
}
