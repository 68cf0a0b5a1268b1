package pagetable

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
)

// Map maps length bytes at iova to pa, with the attributes of Config.Attr; see MapAttr.
func (t *Table) Map(iova emu.IOVA, pa emu.PA, length uint64, perm Perm, g *Gather) (done uint64, err error) {
	return t.MapAttr(iova, pa, length, perm, t.cfg.Attr, g)
}

// MapAttr maps length bytes at iova to pa with the largest leaves that fit. It returns how many bytes
// from iova on it mapped, also with an error; it does not undo. Permissions that every leaf of the
// format grants (Geometry.Implied) are granted unasked.
//
// An empty table that stands where a large leaf belongs is replaced by the leaf and goes into g. With
// a nil g it stays, and smaller leaves are used. A dynamic table grows as needed; see IncreaseTop for
// the precondition of that.
//
// Errors, the first that applies: ErrPerm, ErrRange (pa), ErrLength, ErrOverflow, ErrAlign, ErrRange
// (iova), all with nothing done; then ErrExists, ErrNoMemory, ErrCorrupt, ErrUnsupported (a link that
// skips levels, written by others, leads past the address).
func (t *Table) MapAttr(iova emu.IOVA, pa emu.PA, length uint64, perm Perm, attr Attr, g *Gather) (done uint64, err error) {
	if err := t.checkMap(iova, pa, length, perm, attr); err != nil {
		return 0, &OpError{Op: "map", First: iova, At: iova, Err: err}
	}
	perm |= t.g.Implied
	m := mapper{t: t, gather: g, sizes: t.sizes, leaf: Entry{Kind: Leaf, State: State{
		Perm: perm, Attr: attr, Accessed: t.g.Preset, Dirty: t.g.Preset && perm&Write != 0,
	}}}
	if err := m.run(t.root, t.top, iova, iova+emu.IOVA(length-1), pa); err != nil {
		return uint64(m.at - iova), m.fail("map", iova, err)
	}
	return length, nil
}

func (t *Table) checkMap(iova emu.IOVA, pa emu.PA, length uint64, perm Perm, attr Attr) error {
	limit := emu.PA(1)<<t.g.OABits - 1
	switch {
	case perm&(Read|Write) == 0, perm&^t.g.Perms != 0, attr&^t.g.Attrs != 0:
		return ErrPerm
	case pa > limit:
		return ErrRange
	case length == 0:
		return ErrLength
	case uint64(limit-pa) < length-1:
		return ErrRange
	}
	last := iova + emu.IOVA(length-1)
	if last < iova {
		return ErrOverflow
	}
	if (uint64(iova)|uint64(pa)|length)&(t.sizes&-t.sizes-1) != 0 {
		return ErrAlign
	}
	if t.g.Dynamic {
		if err := t.grow(last); err != nil {
			return err
		}
	}
	if _, end, inside := t.region(iova); !inside || last > end {
		return ErrRange
	}
	return nil
}

// errNarrow says that a table stands where a leaf belongs, and stays: it is empty and may not be
// replaced, or the link above leads past the leaf's level. Smaller leaves fit.
var errNarrow = errors.New("table in the way")

// mapper is the state of one map. Its fields are plain so that it stays on the stack.
type mapper struct {
	t      *Table
	gather *Gather // Input: takes replaced tables, may be nil.
	leaf   Entry   // Input: what each leaf is, apart from its address and size.
	sizes  uint64  // Input: leaf sizes to use.

	at    emu.IOVA // Output: everything below is mapped.
	entry emu.PA   // Output: the entry on which it failed, with its value.
	raw   uint64

	// Up to narrowLast only the sizes in narrow are used.
	narrowing  bool
	narrowLast emu.IOVA
	narrow     uint64
}

func (m *mapper) fail(op string, first emu.IOVA, err error) error {
	return &OpError{Op: op, First: first, At: m.at, Entry: m.entry, Raw: m.raw, Err: err}
}

// narrowTo uses only leaves of less than 2^lg2 bytes up to last.
func (m *mapper) narrowTo(last emu.IOVA, lg2 uint8) {
	m.narrowing, m.narrowLast = true, last
	m.narrow = m.sizes & (uint64(1)<<lg2 - 1)
}

// run maps first..last under the table root at level top. It walks once per table that gets leaves
// and fills it without looking above.
func (m *mapper) run(root emu.PA, top uint8, first, last emu.IOVA, oa emu.PA) error {
	t := m.t
	m.at = first
	for {
		sizes, end := m.sizes, last
		if m.narrowing && m.at <= m.narrowLast {
			sizes, end = m.narrow, min(last, m.narrowLast)
		}
		lg2, count, ok := bestSize(sizes, uint64(m.at), uint64(oa), uint64(end-m.at))
		if !ok {
			return ErrAlign
		}
		level := t.g.levelOf(lg2)
		table, err := m.descend(root, top, level)
		if err == errNarrow {
			continue
		}
		if err != nil {
			return err
		}
		room := (t.entries(level) - t.index(m.at, level)) >> (lg2 - t.g.shift(level))
		n, err := m.fill(table, level, lg2, min(count, room), oa)
		bytes := n << lg2
		if err == errNarrow {
			m.narrowTo((m.at+emu.IOVA(bytes))|(emu.IOVA(1)<<lg2-1), t.g.shift(level))
			err = nil
		}
		if err == nil && bytes != 0 && m.at+emu.IOVA(bytes-1) == last {
			return nil
		}
		m.at += emu.IOVA(bytes)
		oa += emu.PA(bytes)
		if err != nil {
			return err
		}
	}
}

// descend returns the table at level that translates m.at, building what is missing.
func (m *mapper) descend(table emu.PA, from, level uint8) (emu.PA, error) {
	t := m.t
	for l := from; l > level; {
		slot := t.slot(table, l, m.at)
		raw := t.mem.Load64(slot)
		e := t.decode(raw, l)
		switch e.Kind {
		case SubTable:
			if m.leaf.Perm&^e.Perm != 0 {
				m.entry, m.raw = slot, raw
				return 0, ErrPerm
			}
			if raw&t.g.Pending != 0 && t.cfg.Incoherent {
				t.settle(slot, raw)
			}
			if !t.reaches(&e, l, m.at) {
				m.entry, m.raw = slot, raw
				return 0, ErrUnsupported
			}
			if l = t.g.below(&e, l); l < level {
				m.narrowTo(m.at|(emu.IOVA(1)<<e.Lg2-1), e.Lg2)
				return 0, errNarrow
			}
			table = e.OA
		case Empty:
			if next, ok, err := t.link(slot, raw, l); err != nil {
				return 0, err
			} else if ok {
				table = next
				l--
			}
		case Leaf:
			m.entry, m.raw = slot, raw
			return 0, ErrExists
		default:
			m.entry, m.raw = slot, raw
			return 0, ErrCorrupt
		}
	}
	return table, nil
}

// link puts a new table into an empty slot at level. ok is false if someone else was faster.
func (t *Table) link(slot emu.PA, old uint64, level uint8) (next emu.PA, ok bool, err error) {
	next, err = t.alloc(t.g.tableLg2())
	if err != nil {
		return 0, false, err
	}
	raw := t.linkTo(next, level)
	if t.cfg.Incoherent {
		raw |= t.g.Pending
	}
	if !t.mem.CAS64(slot, old, raw) {
		t.pages.Free(next, t.g.tableLg2())
		return 0, false, nil
	}
	if raw&t.g.Pending != 0 {
		t.settle(slot, raw)
	} else {
		t.mem.Flush(slot, 8)
	}
	return next, true, nil
}

// settle cleans a link from the caches and takes the mark away that it still had to be.
func (t *Table) settle(slot emu.PA, raw uint64) {
	t.mem.Flush(slot, 8)
	for raw&t.g.Pending != 0 && !t.mem.CAS64(slot, raw, raw&^t.g.Pending) {
		raw = t.mem.Load64(slot) // the walker set its accessed bit, or someone else settled it
	}
}
