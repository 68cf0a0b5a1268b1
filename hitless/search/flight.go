package search

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// flight is a place for a request in flight: the request, by number, or 0.
type flight struct {
	txn   int32
	owns  [numMiss]int16 // what it fetches that others may wait for: number of the key, or 0
	on    int16          // place of the request that it waits for, or none
	class emu.SlotClass  // of what it waits for
	told  bool           // it is the one whose ends are told
	after bool           // it began when the program was over
	given bool           // another request has answered its question, in Txn.Ans and Txn.In
}

const none int16 = -1

// numMiss is how many slot classes are miss statuses: SlotEntry, SlotPASID, SlotMiss.
const numMiss = emu.SlotMiss + 1

// missOf is the class of the fetches that end with a fill of a cache.
var missOf = map[emu.CacheID]emu.SlotClass{
	emu.CacheEntry: emu.SlotEntry, emu.CachePASID: emu.SlotPASID, emu.CacheIOTLB: emu.SlotMiss,
}

// act does what can be done with the question of flight i.
func (m *machine) act(s *state, i int, f func(state, *end)) {
	n := *s
	fl := &n.fly[i]
	id := fl.txn
	a := &m.txns[id].Act
	if fl.given {
		fl.given = false
		t := &m.txns[id]
		if m.tell != nil {
			m.note(s, i, "what another has fetched: %#x", t.In)
		}
		fl.txn = m.answer(id, t.Ans, t.In)
		m.emit(&n, i, f)
		return
	}
	switch a.Op {
	case emu.OpFetch:
		m.noteFetch(s, i)
		fl.txn = m.fetched(s, i)
		m.emit(&n, i, f)
	case emu.OpCAS:
		if a.Size != 8 {
			m.unsupported(a)
			return
		}
		m.swap(s, i, f)
	case emu.OpProbe:
		m.probe(s, i, f)
	case emu.OpOverlap:
		m.overlap(s, i, f)
	case emu.OpFill:
		if !m.txns[id].Marked {
			n.cache = m.filled(s.cache, a)
		}
		if m.tell != nil {
			m.note(s, i, "fill cache %d: %#x (%s)", a.Cache, a.Data, m.step(a))
		}
		data := a.Data
		fl.txn = m.ok(id)
		if c, ok := missOf[a.Cache]; ok {
			m.release(&n, i, c, &data)
		}
		m.emit(&n, i, f)
	case emu.OpAcquire:
		m.acquire(s, i, f)
	case emu.OpRelease:
		fl.txn = m.ok(id)
		if a.Slot < numMiss {
			m.release(&n, i, a.Slot, nil)
		}
		m.emit(&n, i, f)
	case emu.OpDelay, emu.OpOrder:
		fl.txn = m.ok(id)
		m.emit(&n, i, f)
	case emu.OpDone:
		m.done(&n, i, f)
	default:
		m.unsupported(a)
	}
}

func (m *machine) unsupported(a *emu.Act) {
	m.err = fmt.Errorf("%w: operation %d at step %q", ErrUnsupported, a.Op, m.sc.Unit.Describe(a.Step).Name)
}

func (m *machine) step(a *emu.Act) string { return m.sc.Unit.Describe(a.Step).Name }

// fetched is the request of flight i with what it loads now.
func (m *machine) fetched(s *state, i int) int32 {
	id := s.fly[i].txn
	a := &m.txns[id].Act
	v, ok := m.load(s.mem, a.Addr, a.Size)
	if !ok {
		return m.answer(id, emu.AnsError, v)
	}
	return m.answer(id, emu.AnsOK, v)
}

func (m *machine) noteFetch(s *state, i int) {
	if m.tell != nil {
		a := &m.txns[s.fly[i].txn].Act
		v, _ := m.load(s.mem, a.Addr, a.Size)
		m.note(s, i, "fetch %#x/%d = %#x (%s)", uint64(a.Addr), a.Size, v[:max(1, a.Size/8)], m.step(a))
	}
}

// swap is a compare-and-swap of 8 bytes.
func (m *machine) swap(s *state, i int, f func(state, *end)) {
	n := *s
	fl := &n.fly[i]
	a := &m.txns[fl.txn].Act
	v, ok := m.load(s.mem, a.Addr, 8)
	ans := emu.AnsOK
	switch {
	case !ok:
		ans = emu.AnsError
	case v[0] != a.Data[0]:
		ans = emu.AnsMiss
	default:
		n.mem = m.stored(s.mem, a.Addr, a.Data[2:3])
		m.hot[a.Addr] = true
	}
	if m.tell != nil {
		m.note(s, i, "swap %#x: %#x for %#x, finds %#x (%s)", uint64(a.Addr), a.Data[2], a.Data[0], v[0], m.step(a))
	}
	fl.txn = m.answer(fl.txn, ans, v)
	m.emit(&n, i, f)
}

// probe finds what is in the cache. If lines are only lost when they would be found, each of those that would be
// may be lost now.
func (m *machine) probe(s *state, i int, f func(state, *end)) {
	id := s.fly[i].txn
	a := &m.txns[id].Act
	lines := m.found(s.cache, a)
	n := *s
	for _, l := range lines {
		h := n
		h.fly[i].txn = m.answer(id, emu.AnsOK, m.lines[l].val)
		if m.tell != nil {
			m.note(s, i, "cache %d has %#x (%s)", a.Cache, m.lines[l].val, m.step(a))
		}
		m.emit(&h, i, f)
		switch {
		case m.bounds.Plain:
			return
		case !m.bounds.Crowded:
			n.cache = m.without(n.cache, l)
		}
	}
	n.fly[i].txn = m.answer(id, emu.AnsMiss, m.txns[id].In)
	if m.tell != nil {
		m.note(s, i, "cache %d has nothing (%s)", a.Cache, m.step(a))
	}
	m.emit(&n, i, f)
}

// overlap finds whether a line that is in conflict is in the cache as well. Those may be lost now, too.
func (m *machine) overlap(s *state, i int, f func(state, *end)) {
	id := s.fly[i].txn
	a := &m.txns[id].Act
	n, ans := *s, emu.AnsMiss
	for _, l := range m.found(s.cache, a) {
		if a.Overlaps(m.lines[l].lg2) {
			ans = emu.AnsOK
			if !m.bounds.Crowded {
				n.cache = m.without(n.cache, l)
			}
		}
	}
	h := *s
	h.fly[i].txn = m.answer(id, ans, m.txns[id].In)
	m.emit(&h, i, f)
	if ans == emu.AnsOK && !m.bounds.Plain {
		n.fly[i].txn = m.answer(id, emu.AnsMiss, m.txns[id].In)
		m.emit(&n, i, f)
	}
}

// acquire takes a slot, or waits for one who fetches the same and is not marked. Of walkers and of room in logs
// there is enough.
func (m *machine) acquire(s *state, i int, f func(state, *end)) {
	id := s.fly[i].txn
	a := &m.txns[id].Act
	n := *s
	if a.Slot < numMiss {
		key := m.keyNumber(a.Key)
		for j := range s.fly {
			o := &s.fly[j]
			if j != i && o.owns[a.Slot] == key && !m.txns[o.txn].Marked && s.fly[i].owns[a.Slot] == 0 {
				n.fly[i].on, n.fly[i].class = int16(j), a.Slot
				if m.tell != nil {
					m.note(s, i, "waits for %s (%s)", m.names[j], m.step(a))
				}
				m.emit(&n, -1, f)
				n = *s
			}
		}
		n.fly[i].owns[a.Slot] = key
	}
	n.fly[i].txn = m.ok(id)
	m.emit(&n, i, f)
}

// release ends what flight i fetches. Those who wait for it get the value; without one the first of them
// fetches, and the others wait for that.
func (m *machine) release(n *state, i int, c emu.SlotClass, val *[4]uint64) {
	fl := &n.fly[i]
	key := fl.owns[c]
	if key == 0 {
		return
	}
	fl.owns[c] = 0
	heir := none
	for j := range n.fly {
		w := &n.fly[j]
		if w.txn == 0 || w.on != int16(i) || w.class != c {
			continue
		}
		if heir != none {
			w.on = heir
			continue
		}
		t := m.txns[w.txn]
		t.Ans = emu.AnsOK
		if val != nil {
			t.Ans, t.In = emu.AnsMerged, *val
		} else {
			heir = int16(j)
			w.owns[c] = key
		}
		w.txn, w.given, w.on, w.class = m.number(t), true, none, 0
	}
}

// done ends flight i.
func (m *machine) done(n *state, i int, f func(state, *end)) {
	for c := range numMiss {
		m.release(n, i, c, nil)
	}
	fl := n.fly[i]
	n.fly[i] = flight{}
	var e *end
	if fl.told {
		e = &end{res: m.txns[fl.txn].Res, after: fl.after}
	}
	m.emitEnd(n, e, f)
}

// emit hands a state on. Unless everything is plain, flight i goes on first as far as nobody could tell.
func (m *machine) emit(n *state, i int, f func(state, *end)) {
	if !m.bounds.Plain && i >= 0 && m.settle(n, i) {
		m.done(n, i, f)
		return
	}
	m.emitEnd(n, nil, f)
}

func (m *machine) emitEnd(n *state, e *end, f func(state, *end)) { f(*n, e) }

// settle lets flight i ask on while its questions are about what nobody changes, and what invalidations
// compare of it stays as it is: whether others act before or behind that, all is the same. It reports whether the
// request has ended and nothing waits for that: it ends at once.
func (m *machine) settle(n *state, i int) (ended bool) {
	fl := &n.fly[i]
	for !fl.given && fl.on == none {
		t := &m.txns[fl.txn]
		a := &t.Act
		var next int32
		switch {
		case a.Op == emu.OpFetch && m.fixed(a.Addr, a.Size):
			next = m.fetched(n, i)
		case a.Op == emu.OpDelay || a.Op == emu.OpOrder,
			(a.Op == emu.OpAcquire || a.Op == emu.OpRelease) && a.Slot >= numMiss:
			next = m.ok(fl.txn)
		case a.Op == emu.OpDone:
			return true
		default:
			return false
		}
		if u := &m.txns[next]; u.Known != t.Known || u.Tag != t.Tag || u.Uses != t.Uses || u.Classes != t.Classes {
			return false
		}
		if a.Op == emu.OpFetch {
			m.noteFetch(n, i)
		}
		fl.txn = next
	}
	return false
}
