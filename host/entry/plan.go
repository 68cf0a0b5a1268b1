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
	OpSyncAll             // invalidate all that was derived from contents before, and wait
)

// Step is one step of a plan.
type Step struct {
	Op     Op
	Offset int       // bytes from the start of the entry
	Size   int       // 8 or 16
	Value  [2]uint64 // low word first
	Fence  bool      // earlier stores must be visible before this one
	// Swap: hardware may mark the entry at the same time, and the store must not overwrite that: it is a
	// compare-and-swap, tried again if hardware came first.
	Swap bool
	// Entries are the contents that caches of the entry may hold and that a synchronisation has to
	// drop.
	Entries [][]uint64
	// Made are the contents that translations, to be dropped by OpSyncAll, may have been made from.
	Made [][]uint64
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
	if s.Swap {
		return fmt.Sprintf("%sswap +%#x/8 %#016x", fence, s.Offset, s.Value[0])
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
	How     Batching   // how synchronisations are given to hardware
	// Turn is the step from which on the content translates as the new one does.
	Turn int
	Temp uint32 // the temporary id, if the plan goes by it
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
//   - hitless: the shortest way over contents that each translate as old or as new does. One hop
//     changes, of the bits in use, one unit: bits that are not in use before are filled first, then one
//     unit is stored. Where there is no way in one hop, m may offer ids to go by. A wait
//     stands only where a reader could otherwise combine units from before and after. Bits that new
//     does not use are filled last.
//   - disruptive: there is no such way. The plan blocks the entry, waits, fills it and makes it
//     present: the shortest window in which requests are blocked.
//
// Errors: ErrSize, ErrIllegal.
func (f *Format) Plan(old, new []uint64, m Means) (Plan, error) {
	if err := f.check(old, new); err != nil {
		return Plan{}, err
	}
	if f.Same(old, new) {
		return Plan{Verdict: VerdictNop}, nil
	}
	f = f.between(old, new).with(old, new, m)
	if m.SameBelow {
		alone := *f
		alone.Below = nil
		f = &alone
	}
	b, reason := f.search(f.sides(old, new, m))
	if reason == "" && !b.proved() {
		reason = "no order of single stores keeps every mixture of units old or new"
	}
	if reason == "" {
		p := b.plan(VerdictHitless, "")
		if f.ID != 0 && m.Temp != 0 && slices.ContainsFunc(p.States, func(c []uint64) bool { return f.ID.Get(c) == uint64(m.Temp) }) {
			p.Temp = m.Temp
		}
		return p, nil
	}
	return f.detour(old, new, f.Block).plan(VerdictDisruptive, reason), nil
}

// PlanBlocked lays out the rewrite that blocks first, whatever else would do.
//
// Errors: ErrSize, ErrIllegal.
func (f *Format) PlanBlocked(old, new []uint64) (Plan, error) {
	return f.planBy(old, new, "the entry blocks while it is rewritten", func(f *Format) *builder { return f.detour(old, new, f.Block) })
}

// PlanPass lays out the rewrite that lets requests pass first, which nobody should do.
//
// Errors: ErrSize, ErrIllegal, ErrNoForm.
func (f *Format) PlanPass(old, new []uint64) (Plan, error) {
	if f.Pass == nil {
		return Plan{}, fmt.Errorf("entry: %s: none lets requests pass untranslated: %w", f.Name, ErrNoForm)
	}
	return f.planBy(old, new, "requests pass untranslated while the entry is rewritten", func(f *Format) *builder {
		return f.detour(old, new, f.Pass)
	})
}

// PlanLinux lays out what Linux 7.3 does when a device moves to another domain: what is there is torn
// down before anything is set up, and each invalidation is waited for by itself.
//
// Errors: ErrSize, ErrIllegal.
func (f *Format) PlanLinux(old, new []uint64) (Plan, error) {
	p, err := f.planBy(old, new, "the entry is torn down before it is set up", func(f *Format) *builder {
		b := newBuilder(f, f.sides(old, new, Means{}))
		if f.linux != nil {
			f.linux(b)
		} else {
			linuxByWord(b)
		}
		return b
	})
	p.How = WaitEach
	return p, err
}

// planBy makes a plan of given steps. It is disruptive, for the reason, unless all that is seen on the way is
// one of the two contents, or blocks as the one does that is not in use.
func (f *Format) planBy(old, new []uint64, reason string, lay func(f *Format) *builder) (Plan, error) {
	if err := f.check(old, new); err != nil {
		return Plan{}, err
	}
	if f.Same(old, new) {
		return Plan{Verdict: VerdictNop}, nil
	}
	b := lay(f.between(old, new))
	if b.lossy() {
		return b.plan(VerdictDisruptive, lossy), nil
	}
	if b.ended() || b.proved() {
		return b.plan(VerdictHitless, ""), nil
	}
	return b.plan(VerdictDisruptive, reason), nil
}

// search lays out the shortest way through sides. It returns the steps, or why there is no way.
func (f *Format) search(sides []side) (*builder, string) {
	old, new := sides[0].raw, sides[len(sides)-1].raw
	way := f.path(sides)
	if way == nil {
		return nil, f.reason(sides)
	}
	b := newBuilder(f, sides)
	for i, s := range way {
		b.hop(s.raw, i > 0)
	}
	usedNew := f.used(new)
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

// hop makes the entry like to, whose bits in use differ in one unit at most. What to leaves free in the
// content before may be filled at any time; the one unit is stored once no reader has what was there
// before the last hop.
func (b *builder) hop(to []uint64, again bool) {
	f, from, first := b.f, slices.Clone(b.cur), len(b.steps)
	usedFrom, usedTo := f.used(from), f.used(to)
	filled, critical := f.fill(from, to), f.critical(from, to)
	for u := range f.units() {
		if !slices.Contains(critical, u) && (!f.Present(from) || f.needs(from, to, usedFrom, usedTo, u)) {
			b.store(u, f.unit(filled, u))
		}
	}
	if len(critical) == 0 {
		return
	}
	switch {
	case f.Whole && !slices.ContainsFunc(b.epoch, func(c []uint64) bool { return !f.passes(b.sides, c, to) }):
		// Nobody combines units, nor what lies below them.
	case again, len(b.steps) > first && !f.Whole && (f.Present(from) || !f.Handshake):
		b.sync(OpSyncEntry)
	}
	c := critical[0]
	val := slices.Clone(f.unit(to, c))
	if !f.Present(to) && f.Paging == nil {
		// Only what blocks; the rest when no cache can refetch it.
		for i := range val {
			w := c*f.perUnit() + i
			val[i] = b.cur[w]&^usedTo[w] | to[w]&usedTo[w]
		}
	}
	b.store(c, val)
}

// fill returns old with all bits that it leaves free, and the safe ones, as new has them.
func (f *Format) fill(old, new []uint64) []uint64 {
	filled := f.used(old)
	for i := range filled {
		hold := filled[i] &^ f.safe(i)
		filled[i] = old[i]&hold | new[i]&^hold
	}
	return filled
}

// critical returns the units in which filling does not make old into new.
func (f *Format) critical(old, new []uint64) []int {
	filled, usedNew := f.fill(old, new), f.used(new)
	var units []int
	for i := range filled {
		u := i / f.perUnit()
		if (filled[i]^new[i])&usedNew[i] != 0 && !slices.Contains(units, u) {
			units = append(units, u)
		}
	}
	return units
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
func (f *Format) reason(sides []side) string {
	old, new := sides[0].raw, sides[len(sides)-1].raw
	filled, usedNew := f.fill(old, new), f.used(new)
	if why := f.clash(old, new); why != "" {
		return breakMake + why
	}
	var parts []string
	for _, u := range f.critical(old, new) {
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
	text := fmt.Sprintf("%s: in use before and after, and no single %d-byte store changes all of it",
		strings.Join(parts, " and "), f.Unit)
	if len(parts) == 1 {
		text = parts[0] + ": a cache can still hold what lies below the old content when hardware reads the new one"
	}
	if id := f.freeID(old, new); id != 0 && f.path(f.sides(old, new, Means{Temp: id})) != nil {
		text += "; no free id to go by"
	}
	return text
}

// freeID returns an id that neither content has, or 0.
func (f *Format) freeID(old, new []uint64) uint32 {
	if f.ID == 0 {
		return 0
	}
	for id := uint64(1); id <= min(f.ID.Max(), 3); id++ {
		if id != f.ID.Get(old) && id != f.ID.Get(new) {
			return uint32(id)
		}
	}
	return 0
}

// detour is the order that gives the entry another form, blocking it or letting requests pass, while it
// is rewritten.
func (f *Format) detour(old, new []uint64, form func([]uint64)) *builder {
	b := newBuilder(f, f.sides(old, new, Means{}))
	between := slices.Clone(old)
	if f.Present(old) {
		form(between)
		b.store(0, f.unit(between, 0))
		b.sync(OpSyncAll)
	}
	n := len(b.steps)
	for u := 1; u < f.units(); u++ {
		b.store(u, f.unit(new, u))
	}
	if len(b.steps) > n && !f.Whole && !f.Handshake && f.Present(new) {
		b.sync(OpSyncEntry)
	}
	b.store(0, f.unit(new, 0))
	switch {
	case f.Present(between):
		b.sync(OpSyncAll) // nothing else drops it from the caches
	case !f.Present(new) && !f.Same(between, new):
		b.sync(OpSyncEntry) // what is not present may be cached, too, and blocks in another way
	}
	return b
}
