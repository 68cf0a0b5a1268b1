package entry

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict says what a rewrite does to DMA that runs through the entry.
type Verdict uint8

// The verdicts.
const (
	VerdictNop        Verdict = iota // hardware sees no difference: nothing is stored, nothing invalidated
	VerdictHitless                   // each request sees the old entry or the new one
	VerdictDisruptive                // some requests may see neither; with a plan, those are blocked
)

// String returns the verdict in one word.
func (v Verdict) String() string { return [4]string{"nop", "hitless", "disruptive", "?"}[v&3] }

// Op is what a step does.
type Op uint8

// The operations of a step.
const (
	OpStore     Op = iota // store Size bytes of Value at Offset
	OpSyncEntry           // invalidate the cached entry and wait: no reader has older units
	OpSyncAll             // invalidate all that was derived from the old entry, and wait
)

// Step is one step of a plan.
type Step struct {
	Op     Op
	Offset int       // bytes from the start of the entry
	Size   int       // 8 or 16
	Value  [2]uint64 // low word first
	Fence  bool      // earlier stores must be visible before this one
}

// String writes the step as in "store +0x10/16 0x...".
func (s Step) String() string {
	switch s.Op {
	case OpSyncEntry:
		return "sync entry"
	case OpSyncAll:
		return "sync all"
	}
	fence := ""
	if s.Fence {
		fence = "fence; "
	}
	if s.Size == 8 {
		return fmt.Sprintf("%sstore +%#x/8 %#016x", fence, s.Offset, s.Value[0])
	}
	return fmt.Sprintf("%sstore +%#x/16 %#016x%016x", fence, s.Offset, s.Value[1], s.Value[0])
}

// Plan is a rewrite laid out.
type Plan struct {
	Verdict Verdict
	Reason  string     // why it is not hitless; empty otherwise
	Steps   []Step     // in order
	States  [][]uint64 // States[i] is the content after Steps[i]
	Syncs   int        // steps that invalidate and wait
}

// Final returns the content that the plan ends with.
func (p *Plan) Final(old []uint64) []uint64 {
	if len(p.States) == 0 {
		return old
	}
	return p.States[len(p.States)-1]
}

// Plan lays out the rewrite of an entry from old to new.
//
//   - nop: hardware looks at the same bits with the same values in both.
//   - hitless: bits that old does not use are filled first, one unit with bits in use is stored, bits
//     that new does not use are filled last. A wait stands only where a reader could otherwise
//     combine units from before and after.
//   - disruptive: the used bits differ in several units. The plan blocks the entry, waits, fills it and
//     makes it present: the shortest window in which requests are blocked.
//
// Errors: ErrSize, ErrIllegal.
func (f *Format) Plan(old, new []uint64) (Plan, error) {
	if err := f.check(old, new); err != nil {
		return Plan{}, err
	}
	if f.Same(old, new) {
		return Plan{Verdict: VerdictNop}, nil
	}
	b, reason := f.search(old, new)
	if reason == "" && !f.proved(old, new, b) {
		reason = "no order of single stores keeps every mixture of units old or new"
	}
	if reason == "" {
		return b.plan(VerdictHitless, ""), nil
	}
	return f.breakMake(old, new).plan(VerdictDisruptive, reason), nil
}

// PlanBlocked lays out the rewrite that blocks first, whatever else would do.
//
// Errors: ErrSize, ErrIllegal.
func (f *Format) PlanBlocked(old, new []uint64) (Plan, error) {
	if err := f.check(old, new); err != nil {
		return Plan{}, err
	}
	if f.Same(old, new) {
		return Plan{Verdict: VerdictNop}, nil
	}
	v := VerdictDisruptive
	if !f.Present(old) || !f.Present(new) {
		v = VerdictHitless
	}
	return f.breakMake(old, new).plan(v, ""), nil
}

// search looks for a hitless order. It returns the steps, or why there is none. It knows the
// sequences with one critical store; a search over entry states can take its place.
func (f *Format) search(old, new []uint64) (*builder, string) {
	b := newBuilder(f, old)
	usedOld, usedNew := f.used(old), f.used(new)

	// What the entry looks like when all bits that old leaves free have been filled; and the units in
	// which that is not enough.
	filled := make([]uint64, f.Words)
	var critical []int
	for i := range filled {
		hold := usedOld[i] &^ f.safe(i)
		filled[i] = old[i]&hold | new[i]&^hold
		u := i / f.perUnit()
		if (filled[i]^new[i])&usedNew[i] != 0 && !slices.Contains(critical, u) {
			critical = append(critical, u)
		}
	}
	if len(critical) > 1 {
		return nil, f.reason(filled, new, usedNew, critical)
	}
	for u := range f.units() {
		if !slices.Contains(critical, u) && (!f.Present(old) || f.needs(old, new, usedOld, usedNew, u)) {
			b.store(u, f.unit(filled, u))
		}
	}
	if len(critical) == 1 {
		if len(b.steps) > 0 && (f.Present(old) || !f.Handshake) {
			b.sync(OpSyncEntry)
		}
		c := critical[0]
		val := slices.Clone(f.unit(new, c))
		if !f.Present(new) {
			// Only what blocks; the rest when no cache can refetch it.
			for i := range val {
				w := c*f.perUnit() + i
				val[i] = b.cur[w]&^usedNew[w] | new[w]&usedNew[w]
			}
		}
		b.store(c, val)
	}
	for u := range f.units() {
		b.store(u, f.withSafe(b.cur, new, usedNew, u))
	}
	if f.Present(old) {
		b.sync(OpSyncAll)
	}
	for u := range f.units() {
		b.store(u, f.unit(new, u))
	}
	return b, ""
}

// needs reports whether unit u has bits to be filled before new can be used.
func (f *Format) needs(old, new, usedOld, usedNew []uint64, u int) bool {
	n := f.perUnit()
	for i := u * n; i < min((u+1)*n, f.Words); i++ {
		if (old[i]^new[i])&usedNew[i]&^(usedOld[i]&f.safe(i)) != 0 {
			return true
		}
	}
	return false
}

// withSafe returns unit u of cur with the safe bits that new uses.
func (f *Format) withSafe(cur, new, usedNew []uint64, u int) []uint64 {
	val := slices.Clone(f.unit(cur, u))
	for i := range val {
		w := u*f.perUnit() + i
		m := f.safe(w) & usedNew[w]
		val[i] = val[i]&^m | new[w]&m
	}
	return val
}

// reason says which bits stand in the way.
func (f *Format) reason(filled, new, usedNew []uint64, units []int) string {
	var parts []string
	for _, u := range units {
		diff := make([]uint64, f.Words)
		for i := range diff {
			if i/f.perUnit() == u {
				diff[i] = (filled[i] ^ new[i]) & usedNew[i]
			}
		}
		what := "bits"
		if f.Fields != nil {
			what = strings.Join(f.Fields(diff), ", ")
		}
		parts = append(parts, fmt.Sprintf("%s in unit %d", what, u))
	}
	return fmt.Sprintf("%s: in use before and after, and no single %d-byte store changes all of it",
		strings.Join(parts, " and "), f.Unit)
}

// breakMake is the order that blocks the entry while it is rewritten.
func (f *Format) breakMake(old, new []uint64) *builder {
	b := newBuilder(f, old)
	if f.Present(old) {
		blocked := slices.Clone(old)
		f.Block(blocked)
		b.store(0, f.unit(blocked, 0))
		b.sync(OpSyncAll)
	}
	n := len(b.steps)
	for u := 1; u < f.units(); u++ {
		b.store(u, f.unit(new, u))
	}
	if len(b.steps) > n && !f.Handshake && f.Present(new) {
		b.sync(OpSyncEntry)
	}
	b.store(0, f.unit(new, 0))
	return b
}
