package entry

import "slices"

// builder collects steps.
type builder struct {
	f      *Format
	cur    []uint64
	steps  []Step
	states [][]uint64
}

func newBuilder(f *Format, old []uint64) *builder {
	return &builder{f: f, cur: slices.Clone(old)}
}

// store makes unit u hold val with the smallest store that does, or with none.
func (b *builder) store(u int, val []uint64) {
	first := u * b.f.perUnit()
	lo, hi := -1, -1
	for i, v := range val {
		if b.cur[first+i] != v {
			if lo < 0 {
				lo = i
			}
			hi = i
		}
	}
	if lo < 0 {
		return
	}
	s := Step{Op: OpStore, Offset: (first + lo) * 8, Size: 8, Value: [2]uint64{val[lo]}}
	if hi > lo {
		s = Step{Op: OpStore, Offset: first * 8, Size: 16, Value: [2]uint64{val[0], val[1]}}
	}
	// The store that decides about the presence comes behind what it refers to.
	s.Fence = u == 0 && len(b.steps) > 0
	copy(b.cur[first:], val)
	b.add(s)
}

func (b *builder) sync(op Op) { b.add(Step{Op: op}) }

func (b *builder) add(s Step) {
	b.steps = append(b.steps, s)
	b.states = append(b.states, slices.Clone(b.cur))
}

func (b *builder) plan(v Verdict, reason string) Plan {
	p := Plan{Verdict: v, Reason: reason, Steps: b.steps, States: b.states}
	for _, s := range b.steps {
		if s.Op != OpStore {
			p.Syncs++
		}
	}
	return p
}

// proved checks the steps of b against the definition: between two synchronisations every mixture of
// units is, in what hardware looks at, the old entry or the new one.
func (f *Format) proved(old, new []uint64, b *builder) bool {
	epoch := [][]uint64{old}
	for i, s := range b.steps {
		if s.Op == OpStore {
			epoch = append(epoch, b.states[i])
			continue
		}
		if !f.mixtures(old, new, epoch) {
			return false
		}
		epoch = [][]uint64{b.states[i]}
	}
	return f.mixtures(old, new, epoch)
}

// mixtures checks what readers of one epoch can assemble. With the handshake, a reader that found the
// entry present has read the units behind the first not before it.
func (f *Format) mixtures(old, new []uint64, epoch [][]uint64) bool {
	mix := make([]uint64, f.Words)
	var try func(u, from int) bool
	try = func(u, from int) bool {
		if u == f.units() {
			return f.like(mix, old) || f.like(mix, new)
		}
		for i := from; i < len(epoch); i++ {
			if i > from && !f.differ(epoch[i], epoch[i-1], u) {
				continue
			}
			copy(f.unit(mix, u), f.unit(epoch[i], u))
			next := from
			if u == 0 && f.Handshake && !f.Present(old) {
				next = i
			}
			if !try(u+1, next) {
				return false
			}
		}
		return true
	}
	return try(0, 0)
}
