package entry

import "slices"

// builder collects steps.
type builder struct {
	f      *Format
	sides  []side
	cur    []uint64
	steps  []Step
	states [][]uint64
	epoch  [][]uint64 // contents since the last synchronisation, the present one last
	past   [][]uint64 // all contents that hardware may have acted by
}

func newBuilder(f *Format, sides []side) *builder {
	old := sides[0].raw
	return &builder{f: f, sides: sides, cur: slices.Clone(old), epoch: [][]uint64{old}, past: [][]uint64{old}}
}

func (b *builder) new() []uint64 { return b.sides[len(b.sides)-1].raw }

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
	s.Swap = b.loses(val[0])
	// The store that decides about the presence comes behind what it refers to.
	s.Fence = u == 0 && len(b.steps) > 0
	copy(b.cur[first:], val)
	b.add(s)
}

// word stores one word, if it changes it.
func (b *builder) word(i int, v uint64, fence bool) {
	if b.cur[i] == v {
		return
	}
	b.cur[i] = v
	b.add(Step{Op: OpStore, Offset: i * 8, Size: 8, Value: [2]uint64{v}, Fence: fence})
}

// whole stores all of unit u of raw, if it changes any of it.
func (b *builder) whole(u int, raw []uint64) {
	if !b.f.differ(b.cur, raw, u) {
		return
	}
	val := b.f.unit(raw, u)
	s := Step{Op: OpStore, Offset: u * b.f.Unit, Size: len(val) * 8, Fence: u == 0 && len(b.steps) > 0}
	copy(s.Value[:], val)
	copy(b.f.unit(b.cur, u), val)
	b.add(s)
}

// sync waits until no cache and no reader has a content of this epoch but the present one; with
// OpSyncAll, until nothing is left that was made of a content that translates as the old one does, or
// that is under an id that the entry gives up.
func (b *builder) sync(op Op) {
	s := Step{Op: op, Entries: b.held(b.epoch[:len(b.epoch)-1])}
	if op == OpSyncAll {
		s.Made = b.held(b.past)
	}
	b.add(s)
	b.epoch = b.epoch[len(b.epoch)-1:]
}

// held returns those of list that hardware can have in a cache and that are not the new content.
func (b *builder) held(list [][]uint64) [][]uint64 {
	var out [][]uint64
	for _, c := range list {
		if b.f.Present(c) && !b.f.Same(c, b.new()) && !slices.ContainsFunc(out, func(o []uint64) bool { return b.f.Same(o, c) }) {
			out = append(out, c)
		}
	}
	return out
}

func (b *builder) add(s Step) {
	b.steps = append(b.steps, s)
	state := slices.Clone(b.cur)
	b.states = append(b.states, state)
	if s.Op == OpStore {
		for _, c := range b.epoch {
			for _, m := range [][]uint64{b.f.below(c, state), b.f.below(state, c)} {
				if m != nil {
					b.past = append(b.past, m)
				}
			}
		}
		b.epoch, b.past = append(b.epoch, state), append(b.past, state)
	}
}

func (b *builder) plan(v Verdict, reason string) Plan {
	p := Plan{Verdict: v, Reason: reason, Steps: b.steps, States: b.states, Turn: len(b.steps)}
	for _, s := range b.steps {
		if s.Op != OpStore {
			p.Syncs++
		}
	}
	for p.Turn > 0 && b.turned(b.states[p.Turn-1]) {
		p.Turn--
	}
	return p
}

// turned reports whether c translates as the new content does.
func (b *builder) turned(c []uint64) bool {
	if b.f.like(c, b.new()) {
		return true
	}
	i := slices.IndexFunc(b.sides, func(s side) bool { return b.f.like(c, s.raw) })
	return i >= 0 && b.sides[i].new
}

// ended reports whether one end is not in use, and all contents on the way are ends.
func (b *builder) ended() bool {
	f, old, new := b.f, b.sides[0].raw, b.new()
	return (!f.Present(old) || !f.Present(new)) && !slices.ContainsFunc(b.states, func(c []uint64) bool {
		return !allowed(f, b.sides, c)
	})
}

// proved checks the steps of b against the definition: each content on the way is one of the sides, and
// between two synchronisations every mixture of units is, in what hardware looks at, one that the
// entry has held meanwhile.
func (b *builder) proved() bool {
	f, old := b.f, b.sides[0].raw
	epoch := [][]uint64{old}
	made := [][]uint64{old} // what translations that caches hold may be of
	for i, s := range b.steps {
		if s.Op == OpSyncAll {
			made = [][]uint64{b.states[i]}
		}
		if s.Op == OpStore {
			if !allowed(f, b.sides, b.states[i]) {
				return false
			}
			for _, c := range made {
				if !f.crosses(b.sides, c, b.states[i]) {
					return false
				}
			}
			made = append(made, b.states[i])
			for _, c := range epoch {
				if !f.passes(b.sides, c, b.states[i]) || f.clash(c, b.states[i]) != "" {
					return false
				}
			}
			epoch = append(epoch, b.states[i])
			continue
		}
		if !f.mixtures(old, epoch) {
			return false
		}
		epoch = [][]uint64{b.states[i]}
	}
	return f.mixtures(old, epoch)
}

// allowed reports whether raw is one of the contents that a rewrite may pass through.
func allowed(f *Format, sides []side, raw []uint64) bool {
	return slices.ContainsFunc(sides, func(s side) bool { return f.like(raw, s.raw) })
}

// mixtures checks what readers of one epoch can assemble. With the handshake, a reader that found the
// entry present has read the units behind the first not before it.
func (f *Format) mixtures(old []uint64, epoch [][]uint64) bool {
	if f.Whole {
		return true // they assemble nothing
	}
	mix := make([]uint64, f.Words)
	var try func(u, from int) bool
	try = func(u, from int) bool {
		if u == f.units() {
			return slices.ContainsFunc(epoch, func(c []uint64) bool { return f.like(mix, c) })
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
