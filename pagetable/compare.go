package pagetable

import (
	"reflect"

	"github.com/iommulab/iommulab/emu"
)

// Range is an inclusive range of addresses.
type Range struct{ First, Last emu.IOVA }

// CompareOptions say what counts as equal. The zero value compares translations: every address is
// either a hole on both sides or goes to the same output address with the same effective permissions
// and attributes. Not compared are then the addresses of tables, the number of levels, the split into
// pages, accessed, dirty, software and ignored bits, and what built the tree. A translation that allows
// nothing is a hole.
type CompareOptions struct {
	// Areas are compared; nil is the union of both apertures.
	Areas []Range
	// Subset accepts more on the b side: what a translates, b translates to the same address
	// with at least the same permissions.
	Subset bool
	// Strict compares the sizes of leaves, too.
	Strict bool
	// Exact compares the sizes of leaves, the number of levels and the significant bits of each
	// entry on the way to a leaf, too. Both tables must have the same format.
	Exact bool
	// MaxRuns caps Comparison.Runs; 0 is 64.
	MaxRuns int
}

// Comparison is the result of Compare.
type Comparison struct {
	Equal bool
	// Runs are the first differing runs, ascending and each as long as possible: neighbours
	// are one run if they differ in the same way and continue each other's addresses.
	Runs []Run
	// Total is the number of runs, without the cap; Bytes is the size of all by kind.
	Total uint64
	Bytes [NumDiffKinds]uint64
	// LeavesA and LeavesB count the leaves met.
	LeavesA, LeavesB uint64
	// Nodes counts table pages entered and Entries entries read, on both sides together.
	Nodes, Entries uint64
	// SkippedShared counts the subtrees that both sides link and that were not entered.
	SkippedShared uint64
}

// Compare compares what two tables translate. Its cost is proportional to the number of entries, not
// to the bytes mapped; tables that both sides link in the same memory are not read beyond the way to
// their first leaf. A malformed entry outside of these is a difference, even if both sides have it.
//
// Preconditions: neither table changes meanwhile, accessed and dirty bits excepted.
//
// Errors: ErrUnsupported (Exact with two formats), ErrLength (an area ends before it starts).
func Compare(a, b *Table, opts CompareOptions) (Comparison, error) {
	same := equal(a.f, b.f)
	if opts.Exact && !same {
		return Comparison{}, &OpError{Op: "compare", Err: ErrUnsupported}
	}
	if opts.MaxRuns == 0 {
		opts.MaxRuns = 64
	}
	areas := opts.Areas
	if areas == nil {
		areas = []Range{{0, ^emu.IOVA(0)}}
	}
	k := comparer{
		opts: opts, same: same, shared: same && equal(a.mem, b.mem),
		a: side{c: cursor{t: a}}, b: side{c: cursor{t: b}},
	}
	for _, r := range areas {
		if r.Last < r.First {
			return Comparison{}, &OpError{Op: "compare", First: r.First, At: r.Last, Err: ErrLength}
		}
		k.area(r)
	}
	k.flush()
	k.out.Equal = k.out.Total == 0
	k.out.LeavesA, k.out.LeavesB = k.a.leaves, k.b.leaves
	k.out.Nodes = k.a.c.visited + k.b.c.visited
	k.out.Entries = k.a.c.reads + k.b.c.reads
	return k.out, nil
}

// equal compares two interface values of whatever type.
func equal(x, y any) bool {
	tx, ty := reflect.TypeOf(x), reflect.TypeOf(y)
	return tx == ty && tx.Comparable() && x == y
}

// side is one of the two tables of a comparison.
type side struct {
	c      cursor
	s      span
	have   bool // s is valid
	leaves uint64
}

// seek makes s the span around at.
func (d *side) seek(at emu.IOVA) {
	if d.have && d.s.first <= at && at <= d.s.last {
		return
	}
	d.s, d.have = d.c.at(at), true
	if d.s.entry.Kind == Leaf {
		d.leaves++
	}
}

// value is what the side translates at to.
func (d *side) value(at emu.IOVA) Value {
	e := &d.s.entry
	if e.Kind != Leaf {
		return Value{Kind: e.Kind}
	}
	return Value{Kind: Leaf, PA: d.s.pa(at), Perm: e.Perm, Attr: e.Attr, Lg2: e.Lg2}
}

// comparer is the state of one comparison.
type comparer struct {
	opts   CompareOptions
	same   bool // same format
	shared bool // and same memory
	a, b   side
	run    Run
	inRun  bool
	out    Comparison
}

// area compares one range with both cursors in step: at each address take the leaf or hole of both
// sides and go on behind the shorter one.
func (k *comparer) area(r Range) {
	for at := r.First; ; {
		k.a.seek(at)
		k.b.seek(at)
		end := min(k.a.s.last, k.b.s.last, r.Last)
		if k.a.c.moved || k.b.c.moved {
			if k.shared {
				if last, ok := k.sharedTable(at); ok {
					k.out.SkippedShared++
					end = min(last, r.Last)
					if end == r.Last {
						return
					}
					at = end + 1
					continue
				}
			}
			k.a.c.moved, k.b.c.moved = false, false
		}
		if kind := k.differ(at); kind != Same {
			k.add(kind, at, end)
		}
		if end == r.Last {
			return
		}
		at = end + 1
	}
}

// sharedTable returns the end of the highest table that both sides reached at the same place, with
// the same permissions so far.
func (k *comparer) sharedTable(at emu.IOVA) (last emu.IOVA, ok bool) {
	a, b := &k.a.c, &k.b.c
	if !a.valid || !b.valid {
		return 0, false
	}
	for level := min(a.t.top, b.t.top); level >= max(a.level, b.level); level-- {
		x, y := &a.path[level], &b.path[level]
		if x.table == y.table && x.last == y.last && x.first <= at && at <= x.last &&
			x.perm == y.perm && (!k.opts.Exact || a.t.top == b.t.top) {
			return x.last, true
		}
		if level == 0 {
			break
		}
	}
	return 0, false
}

// differ compares the two sides at one address; both spans begin there or before.
func (k *comparer) differ(at emu.IOVA) DiffKind {
	x, y := &k.a.s.entry, &k.b.s.entry
	if x.Kind == Malformed || y.Kind == Malformed {
		return Broken
	}
	hasA := x.Kind == Leaf && x.Perm != 0
	hasB := y.Kind == Leaf && y.Perm != 0
	switch {
	case !hasA && !hasB:
		return Same
	case !hasA:
		if k.opts.Subset {
			return Same
		}
		return OnlyB
	case !hasB:
		return OnlyA
	case k.a.s.pa(at) != k.b.s.pa(at):
		return DifferentAddress
	case x.Perm != y.Perm && !(k.opts.Subset && x.Perm&^y.Perm == 0):
		return DifferentPermission
	case k.same && x.Attr != y.Attr:
		return DifferentAttribute
	case (k.opts.Strict || k.opts.Exact) && x.Lg2 != y.Lg2:
		return DifferentSize
	}
	return k.exact()
}

// exact compares the entries on both paths to a leaf, if asked to.
func (k *comparer) exact() DiffKind {
	a, b := &k.a.c, &k.b.c
	if !k.opts.Exact {
		return Same
	}
	f := a.t.f
	if a.t.top != b.t.top ||
		f.Significant(k.a.s.raw, k.a.s.level) != f.Significant(k.b.s.raw, k.b.s.level) {
		return DifferentRaw
	}
	for level := max(a.level, b.level); level < a.t.top; level++ {
		if a.path[level].sig != b.path[level].sig {
			return DifferentRaw
		}
	}
	return Same
}
