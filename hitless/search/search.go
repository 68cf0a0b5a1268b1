package search

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
)

// Result is what a search found.
type Result struct {
	Seen    []hitless.Seen // how the request ended, each with a shortest path; Entries and Hits are left out
	Held    []hitless.Copy // what caches have held
	States  int
	Actions int // state to state, and to the same state
	Caches  int // distinct contents of the caches
}

// end is the end of a request that is told of.
type end struct {
	res   emu.Result
	after bool
}

// way is by what ends are told apart.
type way struct {
	status emu.Status
	code   uint16
	pa     emu.PA
	data   uint32
	prov   emu.Provenance
	after  bool
}

func (e *end) way() way {
	r := &e.res
	w := way{status: r.Status, pa: r.PA, data: r.Data, prov: r.Prov, after: e.after}
	if r.Status == emu.Blocked {
		w.code, w.pa, w.data = r.Fault.Code, 0, 0
	}
	return w
}

// found is where something was found: an action of a state.
type found struct {
	from   int32
	action int
}

// search is a run in progress.
type search struct {
	m *machine
	known
	from  []int32 // by state: the one before it on a shortest path
	ways  map[way]found
	order []way
	held  map[int32]found // by line
	atEnd map[int32]bool
	// What caches have been seen to hold already: contents, and contents when the program was over.
	shown [2]map[int32]bool
	acts  int
}

// Run searches.
//
// Errors: ErrBounds, ErrStates, ErrUnsupported.
func Run(sc *hitless.Scenario, b Bounds) (*Result, error) {
	m, err := newMachine(sc, b)
	for err == nil {
		s := &search{m: m, known: newKnown(), ways: map[way]found{}, held: map[int32]found{}, atEnd: map[int32]bool{}}
		s.shown = [2]map[int32]bool{{}, {}}
		hot := len(m.hot)
		if err = s.run(); err != nil {
			break
		}
		if len(m.hot) == hot || b.Plain {
			return s.result(), nil
		}
		// Requests have stored to places that were taken to be fixed: from the beginning.
	}
	return nil, err
}

func (s *search) run() error {
	m := s.m
	s.add(m.first(), none32)
	for i := 0; i < len(s.states); i++ {
		now, action := s.states[i], 0
		m.next(&now, func(n state, e *end) {
			s.acts++
			s.add(n, int32(i))
			if e != nil {
				if w := e.way(); !has(s.ways, w) {
					s.ways[w] = found{int32(i), action}
					s.order = append(s.order, w)
				}
			}
			s.show(&n, found{int32(i), action})
			action++
		})
		if m.err != nil {
			return m.err
		}
		if len(s.states) > m.bounds.States {
			return fmt.Errorf("%w: %d", ErrStates, m.bounds.States)
		}
	}
	return nil
}

const none32 int32 = -1

func has[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}

// add notes a state that is new.
func (s *search) add(n state, from int32) {
	s.m.sort(&n, nil)
	if s.meet(&n) {
		s.from = append(s.from, from)
	}
}

// sort puts flights in one order: the places are alike. names, if any, go with them.
func (m *machine) sort(n *state, names *[MaxInFlight]string) {
	if m.bounds.Plain {
		return
	}
	for i := 1; i < m.bounds.InFlight; i++ {
		for j := i; j > 0 && before(&n.fly[j], &n.fly[j-1]); j-- {
			n.fly[j], n.fly[j-1] = n.fly[j-1], n.fly[j]
			for k := range n.fly {
				switch fl := &n.fly[k]; {
				case fl.txn == 0:
				case fl.on == int16(j):
					fl.on = int16(j - 1)
				case fl.on == int16(j-1):
					fl.on = int16(j)
				}
			}
			if names != nil {
				names[j], names[j-1] = names[j-1], names[j]
			}
		}
	}
}

// before orders flights: those that there are first.
func before(a, b *flight) bool {
	if a.txn == 0 || b.txn == 0 {
		return a.txn != 0 && b.txn == 0
	}
	return cmp.Or(
		cmp.Compare(a.txn, b.txn), compare(a.told, b.told), compare(a.after, b.after), compare(a.given, b.given),
		slices.Compare(a.owns[:], b.owns[:]),
	) < 0
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// show takes note of what the caches hold.
func (s *search) show(n *state, at found) {
	m := s.m
	if !s.shown[0][n.cache] {
		s.shown[0][n.cache] = true
		for _, l := range m.sets[n.cache] {
			if !has(s.held, l) {
				s.held[l] = at
			}
		}
	}
	if m.over(&n.host) && !s.shown[1][n.cache] {
		s.shown[1][n.cache] = true
		for _, l := range m.sets[n.cache] {
			s.atEnd[l] = true
		}
	}
}

func (s *search) result() *Result {
	r := &Result{States: len(s.states), Actions: s.acts, Caches: len(s.m.sets)}
	for _, w := range s.order {
		r.Seen = append(r.Seen, hitless.Seen{
			Status: w.status, Code: w.code, PA: w.pa, Data: w.data, Prov: w.prov, After: w.after, Path: s.path(s.ways[w]),
		})
	}
	for id, l := range s.m.lines {
		if at, ok := s.held[int32(id)]; ok {
			r.Held = append(r.Held, hitless.Copy{Cache: l.cache, Key: l.key, Val: l.val, AtEnd: s.atEnd[int32(id)], Path: s.path(at)})
		}
	}
	return r
}

// path tells what led to an action, and the action: it is done once more, and somebody listens.
func (s *search) path(to found) []string {
	var way []int32
	for i := to.from; i != none32; i = s.from[i] {
		way = append(way, i)
	}
	slices.Reverse(way)
	m := s.m
	var path, lines []string
	m.tell = func(line string) { lines = append(lines, line) }
	m.names, m.fresh = [MaxInFlight]string{}, "request 1"
	begun := 1
	defer func() { m.tell = nil }()
	for i, at := range way {
		now, action, done := s.states[at], 0, false
		names := m.names
		var after [MaxInFlight]string
		m.next(&now, func(n state, _ *end) {
			here := m.names
			m.sort(&n, &here)
			last := i == len(way)-1
			if !done && (last && action == to.action || !last && n == s.states[way[i+1]]) {
				done, after = true, here
				path = append(path, lines...)
			}
			lines, action = nil, action+1
			m.names = names
		})
		m.names = after
		if slices.Contains(after[:], m.fresh) {
			begun++
			m.fresh = fmt.Sprintf("request %d", begun)
		}
	}
	return path
}
