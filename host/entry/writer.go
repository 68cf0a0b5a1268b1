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
	Hitless Writer = hitless{}
	// Linux does what Linux 7.3 does on VT-d when a device moves to another domain: P is cleared, each
	// cache invalidated and waited for, the entry zeroed and set up from scratch with 8-byte stores,
	// P last.
	Linux Writer = linux{}
	// Naive copies the new entry over the old with plain 8-byte stores in ascending order, and
	// invalidates once.
	Naive Writer = naive{}
	// BreakMake installs the blocking form, invalidates once, and builds the new entry behind it.
	BreakMake Writer = breakMake{}
)

// Writers returns all writers in the order of the documentation.
func Writers() []Writer { return []Writer{Hitless, Linux, Naive, BreakMake} }

// WriterByName returns a writer by its name.
func WriterByName(name string) (Writer, bool) {
	for _, w := range Writers() {
		if w.Name() == name {
			return w, true
		}
	}
	return nil, false
}

type hitless struct{}

// Name returns "hitless".
func (hitless) Name() string { return "hitless" }

// Write follows the plan.
func (w hitless) Write(t *Target, new []uint64) (Report, error) {
	r, done, err := t.begin(w.Name(), new)
	if done {
		return r.rep, err
	}
	p, err := t.Format.Plan(r.old, new, Means{})
	if err == nil && p.Verdict == VerdictDisruptive && t.Means != nil {
		p, err = t.Format.Plan(r.old, new, t.Means(r.old, new))
	}
	if err != nil {
		return r.rep, err
	}
	return r.follow(p, new)
}

type breakMake struct{}

// Name returns "breakmake".
func (breakMake) Name() string { return "breakmake" }

// Write blocks, waits and builds.
func (w breakMake) Write(t *Target, new []uint64) (Report, error) {
	r, done, err := t.begin(w.Name(), new)
	if done {
		return r.rep, err
	}
	p, err := t.Format.PlanBlocked(r.old, new)
	if err != nil {
		return r.rep, err
	}
	return r.follow(p, new)
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
			r.store(s, true)
			blocked = blocked || !f.Present(r.cur)
		case OpSyncEntry:
			r.t.CPU.Fence()
			err = r.t.Inv.SyncEntry(s.Entries)
		case OpSyncAll:
			r.t.CPU.Fence()
			err = r.t.Inv.SyncAll(s.Entries, s.Made, OneWait)
		}
		if err != nil {
			return r.end(err)
		}
	}
	if blocked {
		return r.end(r.install(new, OneWait))
	}
	r.t.CPU.Fence()
	return r.end(nil)
}

type linux struct{}

// Name returns "linux".
func (linux) Name() string { return "linux" }

// Write tears down and sets up.
func (w linux) Write(t *Target, new []uint64) (Report, error) {
	r, done, err := t.begin(w.Name(), new)
	if done {
		return r.rep, err
	}
	f := t.Format
	past := [][]uint64{r.old}
	r.rep.Verdict = VerdictHitless
	if f.Present(r.old) {
		if f.Present(new) {
			r.rep.Verdict, r.rep.Reason = VerdictDisruptive, "the entry is torn down before it is set up"
		}
		blocked := slices.Clone(r.old)
		f.Block(blocked)
		for i, v := range blocked {
			r.word(i, v, false, true)
		}
		t.CPU.Fence()
		if err := t.Inv.SyncAll(past, past, WaitEach); err != nil {
			return r.end(err)
		}
	}
	if f.Present(new) {
		// A fresh entry is zeroed, filled, and made present.
		for i := range r.cur {
			r.word(i, 0, false, true)
		}
		draft := slices.Clone(new)
		f.Block(draft)
		for i, v := range draft {
			r.word(i, v, false, true)
		}
	}
	for i, v := range new {
		r.word(i, v, f.Present(new), true)
	}
	r.rep.Turn = len(r.rep.States) - 1
	return r.end(r.install(new, WaitEach))
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
	f := t.Format
	changed := 0
	usedOld, usedNew := f.used(r.old), f.used(new)
	for i := range new {
		if (r.old[i]^new[i])&(usedOld[i]|usedNew[i]) != 0 {
			changed++
		}
	}
	r.rep.Verdict = VerdictHitless
	if changed > 1 {
		r.rep.Verdict, r.rep.Reason = VerdictDisruptive, "the entry is present while it is half written"
	}
	for i, v := range new {
		r.store(Step{Op: OpStore, Offset: i * 8, Size: 8, Value: [2]uint64{v}}, false)
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
