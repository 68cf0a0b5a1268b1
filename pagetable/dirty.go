package pagetable

import "github.com/iommulab/iommulab/emu"

// DirtyFlags change what ReadAndClearDirty does.
type DirtyFlags uint8

// NoClear leaves the dirty bits as they are.
const NoClear DirtyFlags = 1

// ReadAndClearDirty calls visit for each dirty leaf that touches first..last, in ascending order, and
// clears its dirty state. The whole leaf is reported and cleared, also where it reaches beyond the
// range: who splits a leaf over several calls has to record all of it at the first. A walker may
// hold a leaf that it remembers as dirty; the cleared ranges go into g, and dirtying is seen again for
// certain after their invalidation.
//
// Errors: ErrUnsupported, ErrLength (last before first), ErrCorrupt at the first malformed entry.
func (t *Table) ReadAndClearDirty(first, last emu.IOVA, flags DirtyFlags, g *Gather, visit func(first, last emu.IOVA)) error {
	if !t.g.Dirty {
		return &OpError{Op: "read dirty", First: first, At: first, Err: ErrUnsupported}
	}
	if last < first {
		return &OpError{Op: "read dirty", First: first, At: first, Err: ErrLength}
	}
	c := cursor{t: t}
	for at := first; ; {
		s := c.at(at)
		switch {
		case s.entry.Kind == Malformed:
			return &OpError{Op: "read dirty", First: first, At: at, Entry: s.slot, Raw: s.raw, Err: ErrCorrupt}
		case s.entry.Kind == Leaf && s.entry.Dirty:
			if flags&NoClear == 0 {
				t.clean(&s)
				if g != nil {
					g.addLeaf(s.first, s.last, s.level)
				}
			}
			visit(s.first, s.last)
		}
		if s.last >= last {
			return nil
		}
		at = s.last + 1
	}
}

// clean clears the dirty state of all slots of a leaf.
func (t *Table) clean(s *span) {
	for i := range s.slots {
		_ = t.markDirty(s.slot+emu.PA(i*8), s.level, false) // what is gone is clean
	}
	t.mem.Flush(s.slot, int(s.slots*8))
}

// markDirty changes the dirty state of one slot. It fails with ErrNotMapped if that is no leaf any more,
// with ErrPerm if the leaf cannot be dirty (Geometry.DirtyIsWrite).
func (t *Table) markDirty(slot emu.PA, level uint8, dirty bool) error {
	for {
		raw := t.mem.Load64(slot)
		e := t.decode(raw, level)
		if e.Kind != Leaf {
			return ErrNotMapped
		}
		if e.Dirty == dirty {
			return nil
		}
		marked := t.f.SetDirty(raw, level, dirty)
		if marked == raw {
			return ErrPerm
		}
		if t.mem.CAS64(slot, raw, marked) {
			return nil
		}
	}
}

// SetDirty marks the leaf at iova dirty as a walker does: in the one slot that translates iova.
//
// Errors: ErrUnsupported, ErrNotMapped, ErrPerm (Geometry.DirtyIsWrite, and nobody may write).
func (t *Table) SetDirty(iova emu.IOVA) error {
	if !t.g.Dirty {
		return &OpError{Op: "set dirty", First: iova, At: iova, Err: ErrUnsupported}
	}
	iova = t.untagged(iova)
	c := cursor{t: t}
	var err error = ErrNotMapped
	if s := c.at(iova); s.entry.Kind == Leaf {
		err = t.markDirty(t.slot(c.path[c.level].table, s.level, iova), s.level, true)
	}
	if err != nil {
		return &OpError{Op: "set dirty", First: iova, At: iova, Err: err}
	}
	return nil
}

// MergeDirty marks each leaf of t dirty that touches a dirty leaf of old, so that a table that takes
// the place of old loses no dirty page. It returns the number of dirty leaves of old. A dirty leaf of
// old whose counterpart is not there or cannot be dirty is an error, after all others have been merged.
//
// Precondition: old is no longer written by hardware.
//
// Errors: ErrUnsupported, ErrNotMapped, ErrPerm, ErrCorrupt.
func (t *Table) MergeDirty(old *Table) (leaves uint64, err error) {
	if !t.g.Dirty {
		return 0, &OpError{Op: "merge dirty", Err: ErrUnsupported}
	}
	c := cursor{t: t}
	var lost error
	err = old.ReadAndClearDirty(0, ^emu.IOVA(0), NoClear, nil, func(first, last emu.IOVA) {
		leaves++
		for at := first; ; {
			s := c.at(at)
			var err error = ErrNotMapped
			if s.entry.Kind == Leaf {
				err = t.markDirty(s.slot, s.level, true)
			}
			if err != nil && lost == nil {
				lost = &OpError{Op: "merge dirty", First: first, At: at, Err: err}
			}
			if s.last >= last {
				return
			}
			at = s.last + 1
		}
	})
	if err == nil {
		err = lost
	}
	return leaves, err
}
