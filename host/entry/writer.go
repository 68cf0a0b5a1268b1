package entry

import "slices"

// Writer rewrites an entry. What it leaves behind is complete: the entry holds the new content, or one
// that hardware does not tell from it, and nothing of the old one is in any cache.
//
// If an invalidation fails, the rewrite stops where it is and the error comes with the report so far.
type Writer interface {
	// Name is the writer's name in reports and on the command line.
	Name() string
	// Write makes the entry hold new.
	//
	// Errors: ErrSize, ErrIllegal, with nothing stored; what the Invalidator returns.
	Write(t *Target, new []uint64) (Report, error)
}

// The writers. All of them do nothing at all if hardware would see no difference.
var (
	// Hitless follows the plan. Where there is no hitless one it breaks and makes, and says so.
	Hitless Writer = &planned{"hitless", planHitless}
	// Linux does what Linux 7.3 does when a device moves to another domain: it tears the old entry
	// down, waits for each invalidation, and sets the new one up.
	Linux Writer = &planned{"linux", func(t *Target, old, new []uint64) (Plan, error) { return t.Format.PlanLinux(old, new) }}
	// Naive copies the new entry over the old with plain 8-byte stores in ascending order, and
	// invalidates once.
	Naive Writer = naive{}
	// BreakMake installs the blocking form, invalidates once, and builds the new entry behind it.
	BreakMake Writer = &planned{"breakmake", func(t *Target, old, new []uint64) (Plan, error) { return t.Format.PlanBlocked(old, new) }}
	// Leak is wrong on purpose, and not one of Writers: it builds the new entry behind a form that lets
	// requests pass untranslated, where there is one.
	Leak Writer = &planned{"leak", func(t *Target, old, new []uint64) (Plan, error) { return t.Format.PlanPass(old, new) }}
)

// Writers returns the writers to be compared, in the order of the documentation.
func Writers() []Writer { return []Writer{Hitless, Linux, Naive, BreakMake} }

// WriterByName returns a writer by its name; Leak is one of them.
func WriterByName(name string) (Writer, bool) {
	for _, w := range append(Writers(), Leak) {
		if w.Name() == name {
			return w, true
		}
	}
	return nil, false
}

// planned is a writer that carries out a plan.
type planned struct {
	name string
	plan func(t *Target, old, new []uint64) (Plan, error)
}

// Name returns the writer's name.
func (w *planned) Name() string { return w.name }

// Write follows the plan.
func (w *planned) Write(t *Target, new []uint64) (Report, error) {
	r, done, err := t.begin(w.name, new)
	if done {
		return r.rep, err
	}
	p, err := w.plan(t, r.old, new)
	if err != nil {
		return r.rep, err
	}
	return r.follow(p, new)
}

// planHitless asks for means only if there is no way without.
func planHitless(t *Target, old, new []uint64) (Plan, error) {
	p, err := t.Format.Plan(old, new, Means{})
	if err == nil && p.Verdict == VerdictDisruptive && t.Means != nil {
		p, err = t.Format.Plan(old, new, t.Means(old, new))
	}
	return p, err
}

// follow carries out a plan.
func (r *run) follow(p Plan, new []uint64) (Report, error) {
	f := r.t.Format
	r.rep.Verdict, r.rep.Reason, r.rep.Temp = p.Verdict, p.Reason, p.Temp
	blocked := !f.Present(r.old)
	for i, s := range p.Steps {
		var err error
		switch s.Op {
		case OpStore:
			if i == p.Turn {
				r.rep.Turn = len(r.rep.States)
			}
			err = r.store(s, true)
			blocked = blocked || !f.Present(r.cur)
		case OpSyncEntry:
			r.t.CPU.Fence()
			err = r.t.Inv.SyncEntry(s.Entries)
		case OpSyncAll:
			r.t.CPU.Fence()
			err = r.t.Inv.SyncAll(s.Entries, s.Made, p.How)
		}
		if err != nil {
			return r.end(err)
		}
	}
	if blocked {
		return r.end(r.install(new, p.How))
	}
	r.t.CPU.Fence()
	return r.end(nil)
}

type naive struct{}

// Name returns "naive".
func (naive) Name() string { return "naive" }

// Write copies.
func (w naive) Write(t *Target, new []uint64) (Report, error) {
	r, done, err := t.begin(w.Name(), new)
	if done {
		return r.rep, err
	}
	f := t.Format.between(r.old, new)
	if t.Means != nil {
		f = f.with(r.old, new, t.Means(r.old, new))
	}
	changed := 0
	usedOld, usedNew := f.used(r.old), f.used(new)
	for i := range new {
		if (r.old[i]^new[i])&(usedOld[i]|usedNew[i]) != 0 {
			changed++
		}
	}
	r.rep.Verdict = VerdictHitless
	switch sides := f.sides(r.old, new, Means{}); {
	case changed > 1:
		r.rep.Verdict, r.rep.Reason = VerdictDisruptive, "the entry is present while it is half written"
	case f.clash(r.old, new) != "":
		r.rep.Verdict, r.rep.Reason = VerdictDisruptive, breakMake+f.clash(r.old, new)
	case f.Paging.Loses(r.old[0], new[0]):
		r.rep.Verdict, r.rep.Reason = VerdictDisruptive, lossy
	case !f.passes(sides, r.old, new):
		r.rep.Verdict, r.rep.Reason = VerdictDisruptive, "a cache can still hold what lies below the old content when hardware reads the new one"
	}
	for i, v := range new {
		if err := r.store(Step{Op: OpStore, Offset: i * 8, Size: 8, Value: [2]uint64{v}}, false); err != nil {
			return r.end(err)
		}
	}
	r.rep.Turn = len(r.rep.States)
	r.rep.States = append(r.rep.States, slices.Clone(new))
	if f.Present(r.old) {
		past := [][]uint64{r.old}
		t.CPU.Fence()
		return r.end(t.Inv.SyncAll(past, past, OneWait))
	}
	return r.end(r.install(new, OneWait))
}
