package replay

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/traces"
)

// complete takes the completion of a request of e.
func (c *cell) complete(e *engine, r *timing.Completion) {
	q := r.Request
	c.count.Requests++
	c.latency(r.Done - r.Issued)
	if e.waiting.n > 0 && e.waiting.holds(q) {
		e.waiting.n--
	}
	s := e.streams[q.PASID]
	o := outcome{
		read: r.Read, visible: r.Done - c.pre.Link,
		status: r.Result.Status, prov: r.Result.Prov, pa: r.Result.PA,
	}
	m, ok := c.maps.Lookup(s.space, q.Addr)
	if !ok || access(m.Perm)&q.Access != q.Access || o.status == emu.Interrupt {
		// The unmap waited for all requests before it, so this one was never covered; an interrupt
		// message is no DMA.
		c.count.NotApplicable++
		return
	}
	o.want = m.PA + emu.PA(q.Addr-m.IOVA)
	if s.busy {
		s.outcomes = append(s.outcomes, o)
		return
	}
	c.judge(s, &o)
}

// judge counts what o shows about the generations of s.
func (c *cell) judge(s *stream, o *outcome) {
	if o.status != emu.OK {
		c.count.Faulted++
		return
	}
	c.count.Translated++
	at, from := s.retired.origin(o)
	stale := from && o.read > at
	if !stale && s.cur.made(o, s.between, c.m.Memory()) {
		return
	}
	switch {
	case stale, s.old != nil && o.read > s.doneAt && s.old.left(&o.prov, s.cur):
		c.count.Stale++
	case from && o.visible > at:
		c.count.Late++
	case s.old != nil && s.old.made(o, s.between, nil):
	default:
		c.count.Wrong++
	}
}

// retired is the versions of the generations that a stream has left, and when.
type retired map[uint64]uint64

// origin reports whether o comes in any part from a retired entry, and when that was retired; the
// earliest if there are two.
func (r retired) origin(o *outcome) (at uint64, from bool) {
	for _, v := range []uint64{o.prov.Entry, o.prov.Fill} {
		if t, ok := r[v]; ok && (!from || t < at) {
			at, from = t, true
		}
	}
	return at, from
}

// made reports whether o comes from generation g in all its parts. Between are the versions of the
// entry on its way from one generation to the next: which of the two they lead to shows in the leaf.
// Tables of a generation in use may have been added since the last look: m is where to look again, nil
// for one that is no longer used.
func (g *generation) made(o *outcome, between []uint64, m emu.Memory) bool {
	mine := func(v uint64) bool { return v == g.version || slices.Contains(between, v) }
	if !mine(o.prov.Entry) || !mine(o.prov.Fill) || o.pa != g.pa(o.want) {
		return false
	}
	if g.owns(&o.prov) {
		return true
	}
	if m == nil {
		return false
	}
	g.snapshot(m)
	return g.owns(&o.prov)
}

// Assembled implements emu.Observer: it is shown every entry that the unit puts together.
func (c *cell) Assembled(_ *emu.Txn, _ emu.StructKind, at emu.PA, words []uint64) {
	s := c.entries[at]
	if s == nil {
		return
	}
	a := assembly{n: min(len(words), len(assembly{}.words))}
	copy(a.words[:], words)
	if s.busy {
		s.assembled = append(s.assembled, a)
		return
	}
	c.judgeAssembly(s, &a)
}

// judgeAssembly counts a as torn unless it was declared content of the entry.
func (c *cell) judgeAssembly(s *stream, a *assembly) {
	eff := s.kind.format.Effective(a.words[:a.n])
	if !slices.ContainsFunc(s.declared, func(d []uint64) bool { return slices.Equal(d, eff) }) {
		c.count.TornReads++
	}
}

// pending reports how many requests of e in the range have left the trace and are not completed.
func (e *engine) pending(sp traces.Space, first, last emu.IOVA) int {
	w := waiting{pasid: sp.PASID, first: first, last: last}
	n := 0
	count := func(q *emu.Request) {
		if w.holds(q) {
			n++
		}
	}
	e.feed.queue.Each(count)
	e.player.Each(count)
	return n
}
