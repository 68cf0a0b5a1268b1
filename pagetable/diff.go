package pagetable

import (
	"fmt"
	"math"

	"github.com/iommulab/iommulab/emu"
)

// DiffKind is how two tables differ at an address. Of several reasons the first applies.
type DiffKind uint8

// The kinds of a difference.
const (
	Same                DiffKind = iota
	Broken                       // a malformed entry, on one side or both
	OnlyA                        // only the first table translates
	OnlyB                        // only the second table translates
	DifferentAddress             // the output addresses differ
	DifferentPermission          // the effective permissions differ
	DifferentAttribute           // the attributes differ (same format only)
	DifferentSize                // the leaf sizes differ (strict)
	DifferentRaw                 // significant bits of an entry differ (exact)
	NumDiffKinds
)

var diffNames = [NumDiffKinds]string{
	"same", "malformed", "only-A", "only-B", "different-address", "different-permission",
	"different-attribute", "different-size", "different-raw",
}

// String returns the kind as it appears in reports.
func (k DiffKind) String() string {
	if k < NumDiffKinds {
		return diffNames[k]
	}
	return fmt.Sprintf("DiffKind(%d)", uint8(k))
}

// Value is what one table has at the start of a run. For a hole only Kind is set.
type Value struct {
	Kind Kind
	PA   emu.PA
	Perm Perm
	Attr Attr
	Lg2  uint8
}

// Run is a differing range.
type Run struct {
	First, Last emu.IOVA
	Kind        DiffKind
	A, B        Value
}

// String describes the run in one line.
func (r Run) String() string {
	return fmt.Sprintf("%#x..%#x %s: %s | %s", uint64(r.First), uint64(r.Last), r.Kind, r.A, r.B)
}

// String describes the value in a few words.
func (v Value) String() string {
	if v.Kind != Leaf {
		return v.Kind.String()
	}
	return fmt.Sprintf("%#x %s attr %#x 2^%d", uint64(v.PA), v.Perm, v.Attr, v.Lg2)
}

// add notes a difference, as part of the current run if it continues it.
func (k *comparer) add(kind DiffKind, first, last emu.IOVA) {
	next := Run{First: first, Last: last, Kind: kind, A: k.a.value(first), B: k.b.value(first)}
	if size := uint64(last - first); k.out.Bytes[kind] > math.MaxUint64-1-size {
		k.out.Bytes[kind] = math.MaxUint64
	} else {
		k.out.Bytes[kind] += size + 1
	}
	if k.inRun && k.run.Last+1 == first && k.run.Kind == kind {
		off := emu.PA(first - k.run.First)
		if continues(k.run.A, next.A, off, kind) && continues(k.run.B, next.B, off, kind) {
			k.run.Last = last
			return
		}
	}
	k.flush()
	k.run, k.inRun = next, true
}

// continues tells whether v, off bytes behind the start of a run with value start, continues it.
func continues(start, v Value, off emu.PA, kind DiffKind) bool {
	if start.Kind == Leaf {
		start.PA += off
	}
	if kind != DifferentSize {
		start.Lg2 = v.Lg2
	}
	return start == v
}

// flush ends the current run.
func (k *comparer) flush() {
	if !k.inRun {
		return
	}
	k.out.Total++
	if len(k.out.Runs) < k.opts.MaxRuns {
		k.out.Runs = append(k.out.Runs, k.run)
	}
	k.inRun = false
}
