package search

import (
	"errors"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
)

// Bounds are how far a search goes. Within them it leaves nothing out.
type Bounds struct {
	InFlight int // requests under way at once, at most MaxInFlight
	Requests int // that begin in all; 0: as many as like
	States   int // more are ErrStates
	// Plain makes every action a step of its own. Otherwise two kinds are not, which changes nothing that can
	// be found (docs/hitless.md): one that no other party could tell from its absence is taken at once, and a
	// line is lost when it would next be found.
	Plain bool
	// Crowded caches keep what a fill would replace, and look-ups find any of it. No machine is like that, but the
	// explorer's is; what only the explorer finds shows whether that is why. It is not for Plain.
	Crowded bool
}

// MaxInFlight is how many requests may be under way at once.
const MaxInFlight = 3

// Errors of Run.
var (
	// ErrStates: there are more states than Bounds allow.
	ErrStates = errors.New("more states than allowed")
	// ErrUnsupported: a request asked for what the machine does not have. The error names it.
	ErrUnsupported = errors.New("operation is not searched")
	// ErrBounds: Bounds, or the scenario, are beyond what the machine can be built for.
	ErrBounds = errors.New("beyond the machine")
)

// state is the whole machine. Memory, caches, and requests are numbers of what is kept once in machine. Its fields
// leave no gaps, here and below: it is hashed, and compared, as bytes.
type state struct {
	host  host
	mem   int32
	cache int32
	fly   [MaxInFlight]flight
}

// machine is what states are of.
type machine struct {
	sc     *hitless.Scenario
	bounds Bounds

	txns    []emu.Txn
	txnID   map[emu.Txn]int32
	stepped map[question]int32 // what Unit.Step makes of an answer
	begun   []int32            // by requester: its first question
	marked  map[int32]int32

	memory
	caches

	keys map[emu.Key]int16 // of miss statuses

	// While a path is told: names of the flights, that of the next one, and where lines go.
	names [MaxInFlight]string
	fresh string
	tell  func(line string)
	err   error
}

// question is a request that has an answer.
type question struct {
	txn int32
	ans emu.Answer
	in  [4]uint64
}

func newMachine(sc *hitless.Scenario, b Bounds) (*machine, error) {
	switch {
	case b.InFlight < 1 || b.InFlight > MaxInFlight:
		return nil, fmt.Errorf("%w: %d requests in flight, want 1 to %d", ErrBounds, b.InFlight, MaxInFlight)
	case b.Plain && b.Crowded:
		return nil, fmt.Errorf("%w: plain, and crowded", ErrBounds)
	case b.Requests < 0 || b.Requests > 1<<14:
		return nil, fmt.Errorf("%w: %d requests, want 0 to %d", ErrBounds, b.Requests, 1<<14)
	case len(sc.Program) > maxProgram:
		return nil, fmt.Errorf("%w: %d host steps, want at most %d", ErrBounds, len(sc.Program), maxProgram)
	}
	m := &machine{
		sc: sc, bounds: b,
		txnID: map[emu.Txn]int32{}, stepped: map[question]int32{}, marked: map[int32]int32{}, keys: map[emu.Key]int16{},
		memory: newMemory(sc), caches: newCaches(sc.Unit, b.Crowded),
	}
	m.txns = append(m.txns, emu.Txn{}) // number 0: no request
	for _, q := range append([]emu.Request{sc.Request}, sc.Others...) {
		var t emu.Txn
		sc.Unit.Start(&t, &q)
		sc.Unit.Step(&t)
		m.begun = append(m.begun, m.number(t))
	}
	return m, nil
}

// number is the number of a request. What becomes of its record in a log, and which engine that wakes, is up to
// registers that the machine does not have.
func (m *machine) number(t emu.Txn) int32 {
	t.Wake, t.Res.Fault.Dropped = 0, false
	id, ok := m.txnID[t]
	if !ok {
		id = int32(len(m.txns))
		m.txns = append(m.txns, t)
		m.txnID[t] = id
	}
	return id
}

// answer gives a request the answer to its question, and returns it with the next one.
func (m *machine) answer(id int32, ans emu.Answer, in [4]uint64) int32 {
	q := question{id, ans, in}
	next, ok := m.stepped[q]
	if !ok {
		t := m.txns[id]
		t.Ans, t.In = ans, in
		m.sc.Unit.Step(&t)
		next = m.number(t)
		m.stepped[q] = next
	}
	return next
}

// keyNumber is the number of a key, from 1 on.
func (m *machine) keyNumber(k emu.Key) int16 {
	n, ok := m.keys[k]
	if !ok {
		n = int16(len(m.keys) + 1)
		m.keys[k] = n
	}
	return n
}

// ok gives a request the answer that has no data.
func (m *machine) ok(id int32) int32 { return m.answer(id, emu.AnsOK, m.txns[id].In) }

// first is the machine before anything has happened.
func (m *machine) first() state {
	s := state{host: host{left: int32(m.bounds.Requests)}}
	if !m.bounds.Plain {
		m.issue(&s.host)
	}
	return s
}

// next calls f with every state that one action makes of s, and what ended with it: nil, or the request.
func (m *machine) next(s *state, f func(state, *end)) {
	m.hostActs(s, f)
	free := slices.IndexFunc(s.fly[:m.bounds.InFlight], func(fl flight) bool { return fl.txn == 0 })
	if free >= 0 && (m.bounds.Requests == 0 || s.host.left > 0) {
		for who := range m.begun {
			n := *s
			if m.bounds.Requests != 0 {
				n.host.left--
			}
			n.fly[free] = flight{txn: m.begun[who], told: who == 0, after: m.over(&s.host), on: none}
			if m.tell != nil {
				m.names[free] = m.fresh
				m.note(s, free, "begins")
			}
			m.emit(&n, free, f)
		}
	}
	for i := range s.fly {
		if s.fly[i].txn != 0 && s.fly[i].on == none {
			m.act(s, i, f)
		}
	}
	if m.bounds.Plain {
		for _, line := range m.sets[s.cache] {
			n := *s
			n.cache = m.without(s.cache, line)
			if m.tell != nil {
				m.note(s, -1, "cache %d loses %#x", m.lines[line].cache, m.lines[line].val)
			}
			f(n, nil)
		}
	}
}

// note tells what is being done; i is the flight, or -1.
func (m *machine) note(s *state, i int, format string, args ...any) {
	who := ""
	if i >= 0 {
		who = m.names[i] + ": "
	}
	m.tell(m.when(&s.host) + ": " + who + fmt.Sprintf(format, args...))
}
