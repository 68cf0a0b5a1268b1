package pagetable

import "github.com/iommulab/iommulab/emu"

// Cut makes a leaf boundary at the address at: the leaf that spans it, if there is one, is replaced by
// smaller leaves of the same translation, permissions, attributes, accessed and dirty state. Each half
// is built of the largest leaves that fit. A leaf of one slot is replaced by one atomic store that
// links a finished subtree. A leaf of several slots is replaced slot by slot, each by one atomic store,
// and translates the same at every moment. The range of the leaf goes into g: a walker may hold the
// large leaf together with the small ones until it has been invalidated.
//
// The caller makes sure that the walker tolerates a change of the page size in place.
//
// Errors: ErrAlign (at is no multiple of the granule), ErrCorrupt, ErrNoMemory, ErrBusy (the leaf was
// changed by other software), ErrUnsupported (the leaf holds something that the format does not decode
// and the pieces would lose). The tree then translates as before.
func (t *Table) Cut(at emu.IOVA, g *Gather) error {
	c := cursor{t: t}
	s := c.at(at)
	fail := func(err error) error {
		return &OpError{Op: "cut", First: at, At: at, Entry: s.slot, Raw: s.raw, Err: err}
	}
	switch {
	case at&(1<<t.g.Granule-1) != 0:
		return fail(ErrAlign)
	case s.entry.Kind == Malformed:
		return fail(ErrCorrupt)
	case s.entry.Kind != Leaf:
		return nil
	case s.last-s.first != 1<<s.entry.Lg2-1:
		return fail(ErrCorrupt) // the slots of the leaf do not agree
	case s.first == at:
		return nil
	}
	k := cutter{t: t, s: s, at: at, slots: make([]uint64, s.slots)}
	// The permissions above the leaf stay where they are: the pieces get those of the leaf alone.
	k.s.entry.Perm = t.decode(s.raw, s.level).Perm
	if t.f.Significant(t.f.Encode(k.s.entry, s.level), s.level) != t.f.Significant(s.raw, s.level) {
		return fail(ErrUnsupported)
	}
	if err := k.build(); err != nil {
		k.undo(0)
		return fail(err)
	}
	if err := k.install(); err != nil {
		return fail(err)
	}
	if g != nil {
		g.addLeaf(s.first, s.last, s.level)
		if k.links {
			g.addLink(s.first, s.last, s.level)
		}
	}
	return nil
}

// cutter is the state of one cut.
type cutter struct {
	t     *Table
	s     span     // the leaf
	at    emu.IOVA // where to cut it
	slots []uint64 // the new value of each of its slots, once built
	built int
	links bool // some slot links a table
}

// build makes the new values, with the subtrees that they link.
func (k *cutter) build() error {
	t, s := k.t, &k.s
	shift := t.g.shift(s.level)
	sizes := t.sizes & (uint64(1)<<s.entry.Lg2 - 1)
	for k.built < len(k.slots) {
		first := s.first + emu.IOVA(uint64(k.built)<<shift)
		end := s.last
		if first < k.at {
			end = k.at - 1
		}
		lg2, _, ok := bestSize(sizes, uint64(first), uint64(s.pa(first)), uint64(end-first))
		if !ok || lg2 < shift {
			raw, err := k.subTree(first)
			if err != nil {
				return err
			}
			k.slots[k.built], k.links = raw, true
			k.built++
			continue
		}
		leaf := s.entry
		leaf.OA, leaf.Lg2 = s.pa(first), lg2
		for range uint64(1) << (lg2 - shift) {
			k.slots[k.built] = t.f.Encode(leaf, s.level)
			leaf.OA += t.slotStep(s.level)
			k.built++
		}
	}
	return nil
}

// subTree builds what replaces the slot at first by leaves of lower levels.
func (k *cutter) subTree(first emu.IOVA) (uint64, error) {
	t, s := k.t, &k.s
	below := s.level - 1
	table, err := t.alloc(t.g.tableLg2())
	if err != nil {
		return 0, err
	}
	last := first | (emu.IOVA(1)<<t.g.shift(s.level) - 1)
	m := mapper{t: t, sizes: t.sizes & (uint64(1)<<t.g.shift(s.level) - 1), leaf: s.entry}
	if first < k.at && k.at <= last {
		if err = m.run(table, below, first, k.at-1, s.pa(first)); err == nil {
			err = m.run(table, below, k.at, last, s.pa(k.at))
		}
	} else {
		err = m.run(table, below, first, last, s.pa(first))
	}
	if err != nil {
		t.freeTree(table, below)
		return 0, err
	}
	return t.linkTo(table, s.level), nil
}

// install puts the new values in place. If hardware dirties the leaf meanwhile, all pieces become
// dirty.
func (k *cutter) install() error {
	t, s := k.t, &k.s
	late := false
	for i := 0; i < len(k.slots); {
		slot := s.slot + emu.PA(i*8)
		raw := t.mem.Load64(slot)
		old := t.decode(raw, s.level)
		if old.Kind != Leaf || old.OA != s.entry.OA+t.slotStep(s.level)*emu.PA(i) || old.Lg2 != s.entry.Lg2 {
			k.undo(i)
			return ErrBusy
		}
		if t.mem.CAS64(slot, raw, k.slots[i]) {
			late = late || old.Dirty && !s.entry.Dirty
			i++
		}
	}
	t.mem.Flush(s.slot, len(k.slots)*8)
	if late {
		c := cursor{t: t}
		for at := s.first; ; {
			p := c.at(at)
			_ = t.markDirty(p.slot, p.level, true) // the pieces are as writable as the leaf was
			if p.last >= s.last {
				break
			}
			at = p.last + 1
		}
	}
	return nil
}

// undo frees the subtrees from slot i on, which were not linked.
func (k *cutter) undo(i int) {
	for ; i < k.built; i++ {
		if e := k.t.decode(k.slots[i], k.s.level); e.Kind == SubTable {
			k.t.freeTree(e.OA, k.s.level-1)
		}
	}
}
