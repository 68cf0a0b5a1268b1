package amdvi_test

import "github.com/iommulab/iommulab/emu"

// stepper drives one transaction question by question, as an executor would, so that a test can do
// something between two questions.
type stepper struct {
	*rig
	txn  emu.Txn
	acts []emu.Act
}

func (r *rig) begin(q emu.Request) *stepper {
	s := &stepper{rig: r}
	r.u.Start(&s.txn, &q)
	return s
}

// next asks one question and answers it. It returns false at the end.
func (s *stepper) next() bool {
	t := &s.txn
	s.u.Step(t)
	s.acts = append(s.acts, t.Act)
	t.Ans = emu.AnsOK
	switch t.Act.Op {
	case emu.OpFetch, emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		t.Ans = emu.MemoryAnswer(s.m, t)
	case emu.OpProbe:
		t.Ans = emu.AnsMiss
		if c := s.u.Cache(t.Act.Cache); c != nil && c.Probe(&t.Act.Key, &t.In) {
			t.Ans = emu.AnsOK
		}
	case emu.OpFill:
		if c := s.u.Cache(t.Act.Cache); c != nil && !t.Marked {
			c.Fill(&t.Act.Key, t.Act.Lg2, t.Act.Attr, &t.Act.Data)
		}
	}
	return t.Act.Op != emu.OpDone
}

// until goes on to the first question that f picks, and answers it.
func (s *stepper) until(f func(a *emu.Act) bool) {
	for s.next() {
		if f(&s.txn.Act) {
			return
		}
	}
	s.t.Fatal("the transaction ended first")
}

func (s *stepper) end() emu.Result {
	for s.next() {
	}
	return s.txn.Res
}

// fetches returns size and address of each memory read so far.
func (s *stepper) fetches() (sizes []uint8, at []emu.PA) {
	for _, a := range s.acts {
		if a.Op == emu.OpFetch {
			sizes, at = append(sizes, a.Size), append(at, a.Addr)
		}
	}
	return sizes, at
}
