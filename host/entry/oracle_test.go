package entry_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/host/entry"
)

// shape writes the steps of a plan in short.
func shape(p entry.Plan) string {
	var s []string
	for _, st := range p.Steps {
		switch st.Op {
		case entry.OpStore:
			s = append(s, fmt.Sprintf("store%d", st.Size))
		case entry.OpSyncEntry:
			s = append(s, "entry")
		default:
			s = append(s, "all")
		}
	}
	return strings.Join(s, " ")
}

// requirePlan checks a plan by simulating every reader: one that reads each unit at any moment of its
// own between two synchronisations. It shares nothing with the planner but the rule of used bits.
func requirePlan(t require.TestingT, f *entry.Format, old, new []uint64, p entry.Plan) {
	f = safeBetween(f, old, new)
	epochs := [][][]uint64{{slices.Clone(old)}} // what memory holds, over time, by synchronisations before it
	cur := slices.Clone(old)
	for i, s := range p.Steps {
		if s.Op == entry.OpStore {
			copy(cur[s.Offset/8:], s.Value[:s.Size/8])
			require.Zero(t, s.Offset%s.Size, "aligned")
			require.LessOrEqual(t, s.Size, f.Unit)
			now := &epochs[len(epochs)-1]
			*now = append(*now, slices.Clone(cur))
		} else {
			epochs = append(epochs, [][]uint64{slices.Clone(cur)})
		}
		require.Equal(t, cur, p.States[i])
	}
	require.True(t, f.Same(cur, new), "ends with the new content")
	if p.Verdict == entry.VerdictNop {
		require.Empty(t, p.Steps)
		return
	}
	for _, epoch := range epochs {
		eachMixture(f, epoch, func(pick []int, mix []uint64) {
			blocks := p.Verdict == entry.VerdictDisruptive || !f.Present(old) || !f.Present(new)
			ok := f.Apart == nil && (sees(f, mix, old) || sees(f, mix, new)) || blocks && !f.Present(mix)
			if f.Apart != nil { // one kind of requests at a time
				rest, apart := apartFrom(f, mix, f.Apart), only(f, mix, f.Apart)
				ok = (blocks && !f.Present(mix) || seesAs(rest, apartFrom(f, old, f.Apart), apartFrom(f, new, f.Apart))) &&
					seesAs(apart, only(f, old, f.Apart), only(f, new, f.Apart))
			}
			require.True(t, ok, "units read at %v of\n%x\nold %x\nnew %x\nmix %x", pick, epoch, old, new, mix)
		})
	}
}

// safeBetween returns f with all bits that are safe in a rewrite.
func safeBetween(f *entry.Format, old, new []uint64) *entry.Format {
	if f.SafeBetween == nil {
		return f
	}
	g := *f
	g.Safe = slices.Clone(f.SafeBetween(old, new))
	for i, m := range f.Safe {
		g.Safe[i] |= m
	}
	return &g
}

// eachMixture calls do with everything that one reader can put together of the contents of one epoch, and
// with the moments at which it reads the units.
func eachMixture(f *entry.Format, epoch [][]uint64, do func(pick []int, mix []uint64)) {
	n := f.Unit / 8
	moments := make([][]int, f.Words/n) // that differ, for each unit
	for u := range moments {
		for m := range epoch {
			if m == 0 || f.Handshake || f.Whole || !slices.Equal(epoch[m][u*n:(u+1)*n], epoch[m-1][u*n:(u+1)*n]) {
				moments[u] = append(moments[u], m)
			}
		}
	}
	at, pick := make([]int, len(moments)), make([]int, len(moments))
	for {
		for u, i := range at {
			pick[u] = moments[u][i]
		}
		if readable(f, epoch, pick) {
			do(pick, assemble(f, epoch, pick))
		}
		u := 0
		for ; u < len(at); u++ {
			if at[u]++; at[u] < len(moments[u]) {
				break
			}
			at[u] = 0
		}
		if u == len(at) {
			return
		}
	}
}

// readable reports whether one reader can read its units at these moments.
func readable(f *entry.Format, epoch [][]uint64, pick []int) bool {
	for _, m := range pick {
		if f.Whole && m != pick[0] {
			return false
		}
		// Architectural guarantee: an entry seen present has been read behind what was stored before.
		if f.Handshake && !f.Present(epoch[0]) && f.Present(epoch[pick[0]]) && m < pick[0] {
			return false
		}
	}
	return true
}

func assemble(f *entry.Format, contents [][]uint64, pick []int) []uint64 {
	mix := make([]uint64, f.Words)
	n := f.Unit / 8
	for u, m := range pick {
		copy(mix[u*n:(u+1)*n], contents[m][u*n:(u+1)*n])
	}
	return mix
}

// only returns what hardware looks at of the bits of mask, apartFrom that of all others; both without safe bits.
func only(f *entry.Format, raw, mask []uint64) []uint64 {
	e := clearSafe(f, f.Effective(raw))
	for i := range e {
		e[i] &= mask[i]
	}
	return e
}

func apartFrom(f *entry.Format, raw, mask []uint64) []uint64 {
	e := clearSafe(f, f.Effective(raw))
	for i := range min(len(e), len(mask)) {
		e[i] &^= mask[i]
	}
	return e
}

// seesAs reports whether raw is one of the two.
func seesAs(raw, old, new []uint64) bool { return slices.Equal(raw, old) || slices.Equal(raw, new) }

// sees reports whether hardware does the same with both, but for recording faults.
func sees(f *entry.Format, a, b []uint64) bool {
	ea, eb := f.Effective(a), f.Effective(b)
	for i, s := range f.Safe {
		ea[i] &^= s
		eb[i] &^= s
	}
	return slices.Equal(ea, eb)
}

// leftover is what hardware can hold at some moment of a rewrite: copies of the entry, and tags of
// translations with the tables that they came from.
type leftover struct {
	f       *entry.Format
	entries [][]uint64
	made    []madeOf
	below   [][]uint64 // contents whose structures below are in a cache by device
}

type madeOf struct {
	id  uint64
	raw []uint64 // without the id
}

// see lets a reader use an entry.
func (l *leftover) see(raw []uint64) {
	if !l.f.Present(raw) {
		return
	}
	if !slices.ContainsFunc(l.entries, func(e []uint64) bool { return slices.Equal(e, raw) }) {
		l.entries = append(l.entries, slices.Clone(raw))
	}
	l.make(raw)
	if l.f.Below == nil {
		return
	}
	l.below = append(l.below, slices.Clone(raw))
	for _, e := range l.entries {
		for _, b := range l.below {
			if mix := l.f.Below(e, b); mix != nil {
				l.make(mix)
			}
		}
	}
}

// make notes translations made by raw.
func (l *leftover) make(raw []uint64) {
	m := madeOf{idOf(l.f, raw), tablesOf(l.f, raw)}
	if !slices.ContainsFunc(l.made, func(o madeOf) bool { return o.id == m.id && slices.Equal(o.raw, m.raw) }) {
		l.made = append(l.made, m)
	}
}

// tablesOf returns what raw translates with, under whatever id.
func tablesOf(f *entry.Format, raw []uint64) []uint64 {
	e := apartFrom(f, raw, f.Apart)
	f.ID.Set(e, 0)
	return e
}

// idOf returns what tags the translations made by raw; 0 if nothing does.
func idOf(f *entry.Format, raw []uint64) uint64 { return f.ID.Get(f.Effective(raw)) }

func idsOf(f *entry.Format, list [][]uint64) []uint64 {
	var ids []uint64
	for _, raw := range list {
		if id := idOf(f, raw); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (l *leftover) drop(s *entry.Step) {
	l.below = nil
	ids := idsOf(l.f, s.Entries)
	l.entries = slices.DeleteFunc(l.entries, func(e []uint64) bool { return slices.Contains(ids, idOf(l.f, e)) })
	ids = idsOf(l.f, s.Made)
	l.made = slices.DeleteFunc(l.made, func(m madeOf) bool { return slices.Contains(ids, m.id) })
}

// requireIDs plays a plan against hardware that caches as much as it may: every entry that a reader
// can assemble is cached, under its id, and goes on making translations until it is dropped.
func requireIDs(t require.TestingT, f *entry.Format, old, new []uint64, p entry.Plan, m entry.Means) {
	f = safeBetween(f, old, new)
	l := &leftover{f: f}
	l.see(old)
	a, b := idOf(f, old), idOf(f, new)
	epoch := [][]uint64{slices.Clone(old)}
	cur := slices.Clone(old)
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Op != entry.OpStore {
			// Nothing asked, nobody waited for: where an entry that is not present is not cached either.
			if len(s.Entries)+len(s.Made) > 0 || !f.Handshake {
				epoch = [][]uint64{slices.Clone(cur)}
			}
			// What is in a cache and not dropped goes on being used.
			l.drop(s)
			for _, e := range slices.Clone(l.entries) {
				l.see(e)
			}
			if f.Present(cur) {
				l.see(cur)
			}
			continue
		}
		copy(cur[s.Offset/8:], s.Value[:s.Size/8])
		epoch = append(epoch, slices.Clone(cur))
		eachMixture(f, epoch, func(_ []int, mix []uint64) { l.see(mix) })
		for _, x := range l.made {
			sameOld, sameNew := slices.Equal(x.raw, tablesOf(f, old)), slices.Equal(x.raw, tablesOf(f, new))
			if !f.Present(old) || !f.Present(new) {
				continue
			}
			switch {
			case len(m.Alike) > 0 || p.Verdict != entry.VerdictHitless:
			case !sameOld && !sameNew:
				require.Fail(t, "neither table", "%#x", x.raw)
			case x.id == a && a != b && !sameOld:
				require.True(t, m.OldAlone, "the new table under the old id")
			case x.id == b && a != b && !sameNew:
				require.True(t, m.NewAlone, "the old table under the new id")
			case x.id != a && x.id != b:
				require.Equal(t, uint64(m.Temp), x.id)
			}
		}
	}
	for _, e := range l.entries {
		require.True(t, f.Same(e, new), "still cached: %#x", e)
	}
	for _, x := range l.made {
		require.True(t, f.Present(new) && x.id == b && slices.Equal(x.raw, tablesOf(f, new)) || f.Same(old, new), "left of %#x under %d", x.raw, x.id)
	}
}

func clearSafe(f *entry.Format, raw []uint64) []uint64 {
	raw = slices.Clone(raw)
	for i, s := range f.Safe {
		raw[i] &^= s
	}
	return raw
}
