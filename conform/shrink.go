package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// ShrinkLimit is how many times Shrink runs a program at most, if nothing else is wanted.
const ShrinkLimit = 1500

// Shrink returns a smaller program that shows the same difference as p: the same kind in the same
// place, for no known reason. It drops steps, then makes what is left simpler, and runs at most limit
// programs. The result is a function of p and of what the machines do. A program without a difference
// is returned as it is.
func Shrink(r *Runner, p *Program, limit int) (*Program, error) {
	return shrink(r, p, limit, func(o *Outcomes) string {
		if o.Same() {
			return ""
		}
		return o.Diffs[0].place()
	})
}

// ShrinkTo returns a smaller program that shows the known deviation with this id and nothing unknown. A
// program that does not is returned as it is.
func ShrinkTo(r *Runner, p *Program, id string, limit int) (*Program, error) {
	return shrink(r, p, limit, func(o *Outcomes) string {
		if !o.Same() || o.Seen[id] == 0 {
			return ""
		}
		return id
	})
}

// shrink returns a smaller program of which what says the same as of p.
func shrink(r *Runner, p *Program, limit int, what func(*Outcomes) string) (*Program, error) {
	s := &shrinker{r: r, what: what, left: limit}
	want, err := s.run(p)
	if err != nil || want == "" {
		return p, err
	}
	s.want = want
	best := p.clone()
	for n := len(best.Steps) + 1; len(best.Steps) < n && s.left > 0; {
		n = len(best.Steps)
		if best, err = s.drop(best); err != nil {
			return nil, err
		}
		if best, err = s.squeeze(best); err != nil {
			return nil, err
		}
		if best, err = s.simplify(best); err != nil {
			return nil, err
		}
	}
	best.About = append([]string{"shrunken: " + want}, p.About...)
	return best, nil
}

type shrinker struct {
	r    *Runner
	what func(*Outcomes) string
	want string
	left int // programs that may still be run
}

func (s *shrinker) run(p *Program) (string, error) {
	s.left--
	o, err := s.r.Run(p)
	if err != nil {
		return "", err
	}
	return s.what(o), nil
}

// place says what differs and where, without the values. Memory is one place: addresses move.
func (d *Diff) place() string {
	if d.Kind == DiffRegister {
		return d.Name
	}
	return [...]string{
		DiffRead: "the answer to a register read", DiffOutcome: "whether a DMA is carried out", DiffData: "what a DMA reads",
		DiffMemory: "memory", DiffMessage: "messages",
	}[d.Kind]
}

// shows reports whether p shows the difference; when the budget is spent nothing does.
func (s *shrinker) shows(p *Program) (bool, error) {
	if s.left <= 0 {
		return false, nil
	}
	got, err := s.run(p)
	return got == s.want, err
}

// drop leaves out steps: large parts first, then smaller ones, from the end.
func (s *shrinker) drop(p *Program) (*Program, error) {
	for size := max(len(p.Steps)/2, 1); ; size /= 2 {
		for at := len(p.Steps) - size; at > -size && s.left > 0; at -= size {
			from := max(at, 0)
			q := *p
			q.Steps = slices.Concat(p.Steps[:from], p.Steps[min(at+size, len(p.Steps)):])
			ok, err := s.shows(&q)
			if err != nil {
				return nil, err
			}
			if ok {
				p = &q
			}
		}
		if size == 1 || s.left <= 0 {
			return p, nil
		}
	}
}

// squeeze takes out single steps where what comes later has to move for it.
func (s *shrinker) squeeze(p *Program) (*Program, error) {
	for i := len(p.Steps) - 1; i >= 0 && s.left > 0; i-- {
		q, ok := s.r.target.squeeze(p, i)
		if !ok {
			continue
		}
		ok, err := s.shows(q)
		if err != nil {
			return nil, err
		}
		if ok {
			p = q
		}
	}
	return p, nil
}

// squeezeRing takes an entry of a queue of software out: those behind it move up, and the tails that
// software writes move with them. The queue has registers for its base and its tail, and entries of one
// of the sizes.
func squeezeRing(p *Program, i int, base, tail uint32, sizes ...int) (*Program, bool) {
	s := &p.Steps[i]
	n := emu.PA(8 * s.Words())
	if s.Op != MemWrite || !slices.Contains(sizes, int(n)) {
		return nil, false
	}
	q := p.clone()
	moved := false
	for k := i + 1; k < len(q.Steps); k++ {
		t := &q.Steps[k]
		switch {
		case t.Op == RegWrite && t.Off == base:
			k = len(q.Steps) // another queue
		case t.Op == RegWrite && t.Off == tail && t.Value >= uint64(n):
			t.Value -= uint64(n)
			moved = true
		case t.Op == MemWrite && t.PA > s.PA && t.PA < s.PA+2*emu.PageSize:
			t.PA -= n
		}
	}
	q.Steps = append(q.Steps[:i], q.Steps[i+1:]...)
	return q, moved
}

// simplify makes the steps that are left simpler, one change at a time, from the end.
func (s *shrinker) simplify(p *Program) (*Program, error) {
	for i := len(p.Steps) - 1; i >= 0 && s.left > 0; i-- {
		for _, change := range changes(&p.Steps[i]) {
			q := p.clone()
			if !change(&q.Steps[i]) {
				continue
			}
			ok, err := s.shows(q)
			if err != nil {
				return nil, err
			}
			if ok {
				p = q
			}
		}
	}
	return p, nil
}

// changes lists what may make a step simpler. Each returns false if it changes nothing.
func changes(s *Step) []func(*Step) bool {
	var list []func(*Step) bool
	switch s.Op {
	case MemWrite:
		for i := len(s.Runs) - 1; i >= 0; i-- {
			list = append(list, func(s *Step) bool { return shorten(s, i) })
			for b := 63; b >= 0; b-- {
				list = append(list, func(s *Step) bool { return i < len(s.Runs) && clearBit(&s.Runs[i].Word, b) })
			}
		}
	case RegWrite:
		for b := 63; b >= 0; b-- {
			list = append(list, func(s *Step) bool { return clearBit(&s.Value, b) })
		}
	case Transfer:
		list = append(list,
			func(s *Step) bool { was := s.Device; s.Device = 0; return was != 0 },
			func(s *Step) bool { was := s.Value; s.Value = 0; return was != 0 },
			func(s *Step) bool { was := s.Addr; s.Addr &^= 0xfff; return was != s.Addr })
	}
	return list
}

// shorten takes away a run at the end, or makes one shorter.
func shorten(s *Step, i int) bool {
	switch {
	case i >= len(s.Runs):
		return false
	case i == len(s.Runs)-1 && i > 0:
		s.Runs = s.Runs[:i]
	case s.Runs[i].Count > 1:
		s.Runs[i].Count, s.Runs[i].Add = 1, 0
	default:
		return false
	}
	return true
}

func clearBit(w *uint64, b int) bool {
	was := *w
	*w &^= 1 << b
	return was != *w
}
