package pagetable

import (
	"math"

	"github.com/iommulab/iommulab/emu"
)

// Unmap removes the leaves from iova on and returns how many bytes it removed. It stops, without an
// error, at the first hole and at a leaf that begins before iova; a leaf that reaches beyond the end
// is removed as a whole, so the result may exceed length. Tables that it empties from their first to
// their last slot leave the tree through g. The result saturates.
//
// Errors: ErrLength, ErrOverflow; ErrCorrupt with what was removed before.
func (t *Table) Unmap(iova emu.IOVA, length uint64, g *Gather) (unmapped uint64, err error) {
	if length == 0 {
		return 0, &OpError{Op: "unmap", First: iova, At: iova, Err: ErrLength}
	}
	last := iova + emu.IOVA(length-1)
	if last < iova {
		return 0, &OpError{Op: "unmap", First: iova, At: iova, Err: ErrOverflow}
	}
	_, end, inside := t.region(iova)
	if !inside {
		return 0, nil
	}
	u := unmapper{t: t, gather: g, at: iova, last: min(last, end)}
	u.table(t.root, t.top)
	if u.any {
		unmapped = uint64(u.end - iova)
		if unmapped != math.MaxUint64 {
			unmapped++
		}
	}
	if u.err != nil {
		err = &OpError{Op: "unmap", First: iova, At: u.at, Entry: u.entry, Raw: u.raw, Err: u.err}
	}
	return unmapped, err
}

// unmapper is the state of one unmap.
type unmapper struct {
	t      *Table
	gather *Gather
	at     emu.IOVA // next address to be removed
	last   emu.IOVA // where to stop

	any   bool     // Output: something was removed,
	end   emu.IOVA // up to here.
	err   error    // Output: why it stopped early, if at an entry that makes no sense.
	entry emu.PA
	raw   uint64
}

// table removes what lies below one table. It returns false if the whole operation is to stop.
func (u *unmapper) table(table emu.PA, level uint8) bool {
	t := u.t
	idx, n := t.index(u.at, level), t.entries(level)
	from := table + emu.PA(idx*8) // first entry changed and not yet flushed
	more := true
	for more && idx < n {
		slot := table + emu.PA(idx*8)
		raw := t.mem.Load64(slot)
		e := t.decode(raw, level)
		switch e.Kind {
		case Leaf:
			slots := uint64(1) << (e.Lg2 - t.g.shift(level))
			more = u.leaf(slot, raw, e, level, slots)
			idx += slots
		case SubTable:
			more = u.subTable(slot, &e, level)
			idx++
		case Malformed:
			u.err, u.entry, u.raw = ErrCorrupt, slot, raw
			more = false
		default:
			more = false
		}
	}
	if to := table + emu.PA(min(idx, n)*8); to > from {
		t.mem.Flush(from, int(to-from))
	}
	return more
}

// leaf removes one leaf with all its slots.
func (u *unmapper) leaf(slot emu.PA, raw uint64, e Entry, level uint8, slots uint64) bool {
	t := u.t
	mask := emu.IOVA(1)<<e.Lg2 - 1
	if u.at&mask != 0 {
		return false
	}
	if slots > 1 {
		if _, whole := t.group(slot, e, level, slots); !whole {
			u.err, u.entry, u.raw = ErrCorrupt, slot, raw
			return false
		}
	}
	for s := range slots {
		t.mem.Store64(slot+emu.PA(s*8), 0)
	}
	if u.gather != nil {
		u.gather.addLeaf(u.at, u.at|mask, level)
	}
	return u.removed(u.at | mask)
}

// removed notes progress up to end and tells whether there is more to do.
func (u *unmapper) removed(end emu.IOVA) bool {
	u.any, u.end = true, end
	if end >= u.last {
		return false
	}
	u.at = end + 1
	return true
}

// subTable removes what lies below a link, and the link if nothing is left. Behind what a link that
// skips levels reaches there is a hole.
func (u *unmapper) subTable(slot emu.PA, e *Entry, level uint8) bool {
	t := u.t
	if !t.reaches(e, level, u.at) {
		return false
	}
	mask := emu.IOVA(1)<<t.g.reach(e, level) - 1
	first := u.at
	more := u.table(e.OA, t.g.below(e, level))
	if u.gather != nil && u.any && first&mask == 0 && u.end >= first|mask {
		t.mem.Store64(slot, 0)
		u.gather.addLink(first, first|mask, level)
		u.gather.addPage(t.pages, e.OA, t.g.tableLg2())
	}
	return more && e.Lg2 == 0
}
