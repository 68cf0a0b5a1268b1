package pagetable

import (
	"iter"

	"github.com/iommulab/iommulab/emu"
)

// TablePage is one page of a tree.
type TablePage struct {
	PA    emu.PA
	Lg2   uint8 // log2 size in bytes
	Level uint8
}

// TablePages yields all table pages of the tree, each before those below it, the root first.
func (t *Table) TablePages() iter.Seq[TablePage] {
	return func(yield func(TablePage) bool) {
		t.eachPage(t.root, t.top, yield)
	}
}

func (t *Table) eachPage(table emu.PA, level uint8, yield func(TablePage) bool) bool {
	lg2 := t.g.tableLg2()
	if level == t.top {
		lg2 = t.rootLg2()
	}
	if !yield(TablePage{table, lg2, level}) {
		return false
	}
	if level == 0 {
		return true
	}
	for i := range t.entries(level) {
		raw := t.mem.Load64(table + emu.PA(i*8))
		if e := t.decode(raw, level); e.Kind == SubTable && !t.eachPage(e.OA, t.g.below(&e, level), yield) {
			return false
		}
	}
	return true
}

// Destroy frees all pages of the tree. The table must not be used any more.
//
// Preconditions: the table has Pages and shares no table with another; no walker can reach the root, and none holds anything that it read from the tree.
func (t *Table) Destroy() {
	if t.top > 0 {
		t.freeBelow(t.root, t.top)
	}
	t.pages.Free(t.root, t.rootLg2())
	t.root = 0
}

// freeTree frees a table below the root, and all tables below it.
func (t *Table) freeTree(table emu.PA, level uint8) {
	if level > 0 {
		t.freeBelow(table, level)
	}
	t.pages.Free(table, t.g.tableLg2())
}

func (t *Table) freeBelow(table emu.PA, level uint8) {
	for i := range t.entries(level) {
		raw := t.mem.Load64(table + emu.PA(i*8))
		if e := t.decode(raw, level); e.Kind == SubTable {
			t.freeTree(e.OA, t.g.below(&e, level))
		}
	}
}

// Check reads the whole tree and returns the first thing wrong with it: an entry that a walker would
// refuse, slots of one leaf that do not agree, a page that is linked twice. Its time is bounded by the
// number of distinct pages, whatever the tree holds.
//
// Errors: ErrCorrupt.
func (t *Table) Check() error {
	seen := map[emu.PA]bool{t.root: true}
	return t.check(t.root, t.top, t.start(), seen)
}

func (t *Table) check(table emu.PA, level uint8, first emu.IOVA, seen map[emu.PA]bool) error {
	shift := t.g.shift(level)
	for i := uint64(0); i < t.entries(level); i++ {
		slot, at := table+emu.PA(i*8), first+emu.IOVA(i<<shift)
		raw := t.mem.Load64(slot)
		if raw == 0 {
			continue
		}
		e := t.decode(raw, level)
		bad := e.Kind == Malformed
		switch e.Kind {
		case SubTable:
			if bad = seen[e.OA]; !bad {
				seen[e.OA] = true
				if err := t.check(e.OA, t.g.below(&e, level), at, seen); err != nil {
					return err
				}
			}
		case Leaf:
			if slots := uint64(1) << (e.Lg2 - shift); slots > 1 {
				_, whole := t.group(slot, e, level, slots-i&(slots-1))
				bad = !whole || i&(slots-1) != 0
				i |= slots - 1
			}
		}
		if bad {
			if t.cfg.SignExtend {
				unused := 64 - t.vaBits
				at = emu.IOVA(int64(at<<unused) >> unused)
			}
			return &OpError{Op: "check", First: at, At: at, Entry: slot, Raw: raw, Err: ErrCorrupt}
		}
	}
	return nil
}
