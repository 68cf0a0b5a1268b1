package emutest

import "github.com/iommulab/iommulab/emu"

// Stepper drives one transaction question by question, as an executor would, so that a test can do
// something between two questions.
type Stepper struct {
	Txn  emu.Txn
	Acts []emu.Act // the questions so far
	rig  *Rig
}

// Begin starts a request.
func (r *Rig) Begin(q emu.Request) *Stepper {
	s := &Stepper{rig: r}
	r.Unit.Start(&s.Txn, &q)
	return s
}

// Next asks one question and answers it. It returns false at the end.
func (s *Stepper) Next() bool {
	s.rig.step(&s.Txn)
	s.Acts = append(s.Acts, s.Txn.Act)
	return s.Txn.Act.Op != emu.OpDone
}

// Until goes on to the first question that f picks, and answers it.
func (s *Stepper) Until(f func(a *emu.Act) bool) {
	for s.Next() {
		if f(&s.Txn.Act) {
			return
		}
	}
	s.rig.T.Fatal("the transaction ended first")
}

// UntilFetch goes on until what is at pa was read.
func (s *Stepper) UntilFetch(pa emu.PA) {
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == pa })
}

// End goes on to the end.
func (s *Stepper) End() emu.Result {
	for s.Next() {
	}
	return s.Txn.Res
}

// Fetches returns the memory reads so far.
func (s *Stepper) Fetches() (list []emu.Act) {
	for _, a := range s.Acts {
		if a.Op == emu.OpFetch {
			list = append(list, a)
		}
	}
	return list
}

// step lets t ask a question and answers it from memory and caches. Slots are free, and nothing else is
// in flight.
func (r *Rig) step(t *emu.Txn) {
	r.Unit.Step(t)
	a := &t.Act
	t.Ans = emu.AnsOK
	switch a.Op {
	case emu.OpFetch, emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		t.Ans = emu.MemoryAnswer(r.Mem, t)
	case emu.OpProbe:
		t.Ans = emu.AnsMiss
		if c := r.Unit.Cache(a.Cache); c != nil && c.Probe(&a.Key, &t.In) {
			t.Ans = emu.AnsOK
		}
	case emu.OpFill:
		if c := r.Unit.Cache(a.Cache); c != nil && !t.Marked {
			c.Fill(&a.Key, a.Lg2, a.Attr, &a.Data)
		}
	case emu.OpOverlap:
		t.Ans = emu.OverlapAnswer(r.Unit.Cache(a.Cache), a)
	case emu.OpInvalidate:
		for id := range emu.NumCaches {
			if c := r.Unit.Cache(id); c != nil && a.Sel.Caches.Has(id) {
				c.Invalidate(&a.Sel)
			}
		}
	}
}
