package hitless

import (
	"errors"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Scenario is what is explored.
type Scenario struct {
	Unit    emu.Unit   // programmed, translation enabled
	Memory  emu.Memory // before the first step
	Program []Step
	Request emu.Request
	// Others are requests that may come as well, at any time. What they leave in caches is offered to
	// Request, and to each of them; how they go themselves is not told.
	Others []emu.Request
	// Weak: stores become visible in any order between two fences, as on Arm. Otherwise in that of the
	// program.
	Weak bool
}

// The ways in which an exploration ends early.
var (
	// ErrEndless: a transaction asked more questions than any walk has, or can come back to where it
	// was.
	ErrEndless = errors.New("transaction does not end")
	// ErrState: there are more states than an exploration is allowed.
	ErrState = errors.New("too many states")
	// ErrUnsupported: a transaction asked for an operation whose effect is not explored: a store, a
	// message, an atomic that does more than change flags of an entry. The error names the operation and
	// the step that asked for it.
	ErrUnsupported = errors.New("operation is not explored")
	// ErrOrders: the stores of a weakly ordered program have more orders than an exploration is allowed.
	ErrOrders = errors.New("too many orders of stores")
)

const (
	maxQuestions = 1000
	maxStates    = 5_000_000
	maxPoints    = 1 << 15
)

// explorer is one exploration in progress.
type explorer struct {
	sc     *Scenario
	points []point
	copies []copyOf
	grown  bool    // copies did, in this round
	each   bool    // others are told of as well
	entry  []Entry // assembled during the present Step

	history []history
	chain   map[history]int32 // index in history

	// Of the present round:
	work    worklist
	visited visited
	out     []Seen
	told    map[outcome]bool
	marks   []Mark
}

// outcome is by what ways are told apart.
type outcome struct {
	who     int
	status  emu.Status
	code    uint16
	pa      emu.PA
	data    uint32
	prov    emu.Provenance
	after   bool
	entries int32
}

// Explore drives the scenario's request through every choice.
//
// It errs on the side of finding too much, never too little. What is found is a superset of what one
// machine can do, because each choice is judged by what is known when it is made:
//
//   - an invalidation that matched the transaction while its domain was unknown, but does not match
//     the settled tag, is taken to fall behind the moment of settling, whenever that moment can be
//     early enough. A machine whose load is on its way for long is held up by it;
//   - each copy that some request can leave in a cache is offered together with each other one, though
//     one may have displaced the other;
//   - in a weakly ordered program, copies from different orders of its stores are offered together. A
//     request that has seen one store without the other, and finds a copy made of the other without the
//     one, has seen what no machine shows.
//
// So a report without findings is a proof, within the limits of the package, and a finding is a path
// to be read. The premise is that
// what is learned of a transaction only rules out invalidations: one that does not match it now will
// not later (emu.Txn.Matches; true of every unit that settles its tag once).
//
// Registers of the unit that requests change, as the fault log, are left changed; caches are not.
//
// Errors: ErrEndless, ErrState, ErrUnsupported, ErrOrders.
func Explore(sc *Scenario) (*Report, error) {
	list, err := explore(sc, false)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// ExploreEach is Explore for the request and for each of the others, in one go: a report for each, in this order. The
// first has the States of all.
//
// Errors: those of Explore.
func ExploreEach(sc *Scenario) ([]*Report, error) { return explore(sc, true) }

func explore(sc *Scenario, each bool) ([]*Report, error) {
	list := make([]*Report, 1)
	if each {
		list = make([]*Report, 1+len(sc.Others))
	}
	x, err := newExplorer(sc)
	if err != nil {
		return nil, err
	}
	before, err := undisturbed(sc, 0, each)
	if err != nil {
		return nil, err
	}
	after, err := undisturbed(sc, len(sc.Program), each)
	if err != nil {
		return nil, err
	}
	x.each = each
	rounds, err := x.explore()
	if err != nil {
		return nil, err
	}
	held, heldOld, heldNew := x.held(), before.held(), after.held()
	for who := range list {
		list[who] = &Report{
			Old: before.ends(who), New: after.ends(who), All: x.ways(who), Rounds: rounds,
			Held: held, HeldOld: heldOld, HeldNew: heldNew, Marks: x.marks,
		}
	}
	list[0].States = len(x.visited.index)
	return list, nil
}

// ways returns the ways that a request can go: 0 is that of the scenario, the others follow.
func (x *explorer) ways(who int) (list []Seen) {
	for _, s := range x.out {
		if s.who == who {
			list = append(list, s)
		}
	}
	return list
}

// ends is ways, where what it read on the way does not matter.
func (x *explorer) ends(who int) (list []Seen) {
	for _, s := range x.ways(who) {
		if !s.in(list) {
			list = append(list, s)
		}
	}
	return list
}

func newExplorer(sc *Scenario) (*explorer, error) {
	points, err := sc.points()
	return &explorer{sc: sc, points: points, chain: map[history]int32{}, visited: newVisited(), told: map[outcome]bool{}}, err
}

// Undisturbed returns how a request goes when nothing happens beside it, the simplest way first.
//
// Errors: those of Explore.
func Undisturbed(u emu.Unit, m emu.Memory, q emu.Request) ([]Seen, error) {
	x, err := undisturbed(&Scenario{Unit: u, Memory: m, Request: q}, 0, false)
	if err != nil {
		return nil, err
	}
	return x.ends(0), nil
}

// undisturbed explores how requests go when memory is and stays as after the first h steps.
func undisturbed(sc *Scenario, h int, each bool) (*explorer, error) {
	m := &frozen{timeline{sc.Memory, sc.Program, last(h)}}
	x, err := newExplorer(&Scenario{Unit: sc.Unit, Memory: m, Request: sc.Request, Others: sc.Others})
	if err == nil {
		x.each = each
		_, err = x.explore()
	}
	return x, err
}

// explore goes round until the copies grow no more, and returns how often that was. What the last
// round found is in x.
func (x *explorer) explore() (rounds int, err error) {
	x.sc.Unit.Observe(x)
	defer x.sc.Unit.Observe(nil)
	for x.grown = true; x.grown; {
		x.grown = false
		rounds++
		if err := x.round(); err != nil {
			return rounds, err
		}
	}
	if x.visited.circular() {
		return rounds, fmt.Errorf("%w: it can come back to an earlier state", ErrEndless)
	}
	return rounds, nil
}

// round follows every branch once. A request may begin at every point; others end without a trace but in caches.
func (x *explorer) round() error {
	x.out, x.told, x.visited, x.work, x.marks = nil, map[outcome]bool{}, newVisited(), worklist{}, nil
	for _, at := range x.points {
		w := walk{at: at, after: at == last(len(x.sc.Program)), entries: none, from: none}
		x.begin(w, x.sc.Request)
		for i, q := range x.sc.Others {
			w.who = i + 1
			x.begin(w, q)
		}
	}
	for x.work.Len() > 0 {
		if err := x.step(x.work.next()); err != nil {
			return err
		}
	}
	return nil
}

func (x *explorer) begin(w walk, q emu.Request) {
	x.sc.Unit.Start(&w.t, &q)
	x.work.add(w)
}

// Assembled implements emu.Observer.
func (x *explorer) Assembled(_ *emu.Txn, kind emu.StructKind, at emu.PA, words []uint64) {
	e := Entry{Kind: kind, At: at}
	copy(e.Words[:], words)
	x.entry = append(x.entry, e)
}

// step lets the transaction ask until there is a choice, and puts every answer on the worklist.
func (x *explorer) step(w *walk) error {
	for {
		if w.asked++; w.asked > maxQuestions {
			return fmt.Errorf("%w: %d questions", ErrEndless, w.asked)
		}
		x.entry = x.entry[:0]
		x.sc.Unit.Step(&w.t)
		for _, e := range x.entry {
			w.entries = x.link(history{w.entries, e})
		}
		w.t.Ans = emu.AnsOK
		if !x.visited.visit(w) {
			return nil // by a simpler way
		}
		if len(x.visited.index) > maxStates {
			return ErrState
		}
		switch a := &w.t.Act; a.Op {
		case emu.OpFetch, emu.OpAtomicOr:
			x.fetch(w)
			return nil
		case emu.OpProbe:
			x.probe(w)
			return nil
		case emu.OpCAS:
			if a.Size != 8 || (a.Data[0]^a.Data[2])&addressBits != 0 {
				return x.unsupported(a)
			}
			x.mark(w)
			return nil
		case emu.OpOverlap:
			x.overlap(w)
			return nil
		case emu.OpFill:
			x.fill(w)
			return nil
		case emu.OpDelay, emu.OpAcquire, emu.OpRelease, emu.OpOrder:
			// Time has no meaning here, and nobody else holds a slot: the answer is OK.
		case emu.OpHold:
			w.note([4]uint64{}, 0, "")
			w.t.Res.Status = emu.Pending
			x.done(w)
			return nil
		case emu.OpDone:
			x.done(w)
			return nil
		default:
			return x.unsupported(a)
		}
	}
}

func (x *explorer) unsupported(a *emu.Act) error {
	return fmt.Errorf("%w: %s at step %q", ErrUnsupported, opName(a.Op), x.sc.Unit.Describe(a.Step).Name)
}

// name says what a step is, and the clause of the specification.
func (x *explorer) name(s emu.Step) string {
	i := x.sc.Unit.Describe(s)
	if i.Clause == "" {
		return i.Name
	}
	return i.Name + ", " + i.Clause
}

// link returns the index of a history.
func (x *explorer) link(h history) int32 {
	i, ok := x.chain[h]
	if !ok {
		i = int32(len(x.history))
		x.history = append(x.history, h)
		x.chain[h] = i
	}
	return i
}

// horizon is the last moment at which something that w does next can fall: after the smallest number i
// of steps, not before w.at, such that the next one, Program[i], waits and an invalidation that matches
// the transaction has taken effect by then; or at the end if there is none. The invalidation marks the
// transaction, and the wait is not over before the transaction has ended. So
//
//   - after i steps is allowed: it falls while Program[i] has not ended;
//   - after i+1 is not: Program[i] would have ended with a marked transaction under way.
func (x *explorer) horizon(w *walk) point {
	marked := w.t.Marked
	for i := int(w.at.done); i < len(x.sc.Program); i++ {
		s := &x.sc.Program[i]
		if s.Size != 0 {
			continue
		}
		if marked = marked || s.matches(&w.t); marked && !s.NoWait {
			return last(i)
		}
	}
	return last(len(x.sc.Program))
}

// matches reports whether the step invalidates what t may have used.
func (s *Step) matches(t *emu.Txn) bool {
	for j := range s.Invalidate {
		if t.Matches(&s.Invalidate[j]) {
			return true
		}
	}
	return false
}

// move takes w to a later moment. An invalidation on the way that nobody waits for yet marks it.
func (x *explorer) move(w *walk, to point) {
	for i := int(w.at.done); i < int(to.done) && !w.t.Marked; i++ {
		s := &x.sc.Program[i]
		w.t.Marked = s.NoWait && s.matches(&w.t)
	}
	w.at = to
}

// within calls f for each point from one to another, in an order of which every legal one is a part.
func (x *explorer) within(from, to point, f func(point)) {
	for _, p := range x.points {
		if !from.not(p) && !p.not(to) {
			f(p)
		}
	}
}

// answer is what a load brings: equal ones have one future.
type answer struct {
	v  [4]uint64
	ok bool
}

// answers calls f with what a load of the present question can bring, and where it falls then. Of points
// with the same answer it takes the first: what can follow a later one can follow that as well. Of
// points of which none comes first it takes each.
func (x *explorer) answers(w *walk, f func(at point, now answer)) {
	a := &w.t.Act
	tried := map[answer][]point{}
	x.within(w.at, x.horizon(w), func(at point) {
		m := timeline{x.sc.Memory, x.sc.Program, at}
		var now answer
		now.ok = m.Load(a.Addr, a.Size, &now.v)
		if slices.ContainsFunc(tried[now], func(p point) bool { return !p.not(at) }) {
			return
		}
		tried[now] = append(tried[now], at)
		f(at, now)
	})
}

// fetch tries every point at which the load can fall. An atomic that sets bits is a load to who asks for it:
// what it sets is not kept, as that of a mark is not.
func (x *explorer) fetch(w *walk) {
	a := &w.t.Act
	x.answers(w, func(at point, now answer) {
		n := *w
		x.move(&n, at)
		n.t.In = now.v
		what := ""
		if !now.ok {
			n.t.Ans = emu.AnsError
			what = "bus error"
		}
		n.note(now.v, int(max(1, a.Size/8)), what)
		x.work.add(n)
	})
}

// addressBits of an entry are those that a mark leaves alone; on all architectures the address is there.
const addressBits = 1<<48 - 1<<12

// mark tries every point at which a compare-and-swap that changes flags can fall: it succeeds where memory has
// what is expected, and brings what memory has where not. What it sets is not kept, as if software
// cleared it at once: a later load brings the entry unmarked, and it is marked again. A program's
// store to the same place writes over it in any case.
func (x *explorer) mark(w *walk) {
	a := &w.t.Act
	x.answers(w, func(at point, now answer) {
		n := *w
		x.move(&n, at)
		n.t.In = now.v
		what := fmt.Sprintf("makes it %#x", a.Data[2])
		switch {
		case !now.ok:
			n.t.Ans, what = emu.AnsError, "bus error"
		case now.v[0] != a.Data[0]:
			n.t.Ans, what = emu.AnsMiss, fmt.Sprintf("finds %#x", now.v[0])
		}
		n.note(now.v, 0, what)
		if n.t.Ans == emu.AnsOK {
			n.marked = true
			x.overwritten(&n)
		}
		x.work.add(n)
	})
}

// overwritten takes note of a mark that the program overwrites.
func (x *explorer) overwritten(w *walk) {
	a := &w.t.Act
	m := Mark{Addr: a.Addr, Was: a.Data[0], Now: a.Data[2], Path: x.tell(w.path)}
	for i := range x.sc.Program {
		s := &x.sc.Program[i]
		if s.Size == 0 || w.at.over(i) || a.Addr < s.Addr || a.Addr >= s.Addr+emu.PA(s.Size) {
			continue
		}
		m.Step = i
		known := func(o Mark) bool { return o.Addr == m.Addr && o.Was == m.Was && o.Now == m.Now && o.Step == m.Step }
		if !slices.ContainsFunc(x.marks, known) {
			x.marks = append(x.marks, m)
		}
		return
	}
}

// overlap tries whether another copy can be in conflict with what the look-up before has found: none is, or each
// that may be held.
func (x *explorer) overlap(w *walk) {
	a := &w.t.Act
	none := *w
	none.t.Ans = emu.AnsMiss
	x.work.add(none)
	end := x.horizon(w)
	for i := range x.copies {
		c := &x.copies[i]
		at := w.at.join(c.since)
		if c.cache != a.Cache || !a.Overlaps(c.lg2) || !c.serves(&a.Key) || c.until < int(at.done) || at.not(end) {
			continue
		}
		n := *w
		x.move(&n, at)
		n.t.Ans = emu.AnsOK
		n.hits++
		n.note(c.val, len(c.val), "")
		x.work.add(n)
	}
}

// probe tries a miss and every copy that may be held at a point that the look-up can fall on.
func (x *explorer) probe(w *walk) {
	a := &w.t.Act
	miss := *w
	miss.t.Ans = emu.AnsMiss
	x.work.add(miss)
	end := x.horizon(w)
	for i := range x.copies {
		c := &x.copies[i]
		at := w.at.join(c.since)
		if c.cache != a.Cache || !c.serves(&a.Key) || c.until < int(at.done) || at.not(end) {
			continue
		}
		n := *w
		x.move(&n, at)
		n.t.In = c.val
		n.hits++
		n.note(c.val, len(c.val), "")
		x.work.add(n)
	}
}

// fill tries every point at which the fill makes a difference: at once, and just behind each
// invalidation that the transaction can pass. What was loaded before the invalidation is then held
// behind it. A transaction that the invalidation matches does not pass: it is marked, and what it
// fills after that is suppressed.
func (x *explorer) fill(w *walk) {
	x.work.add(*w)
	if w.t.Marked {
		return
	}
	x.hold(w, w.at)
	for i, end := int(w.at.done), int(x.horizon(w).done); i < end; i++ {
		if len(x.sc.Program[i].Invalidate) == 0 {
			continue
		}
		n := *w
		if x.move(&n, last(i+1)); n.t.Marked {
			return
		}
		n.note([4]uint64{}, 0, "")
		x.hold(&n, n.at)
		x.work.add(n)
	}
}

// done notes how the request went, unless it can go that way already: that way was simpler.
func (x *explorer) done(w *walk) {
	if w.who != 0 && !x.each {
		return
	}
	r := &w.t.Res
	o := outcome{who: w.who, status: r.Status, pa: r.PA, data: r.Data, prov: r.Prov, after: w.after, entries: w.entries}
	if r.Status == emu.Blocked || r.Status == emu.Pending {
		o.code, o.pa, o.data = r.Fault.Code, 0, 0
	}
	if x.told[o] {
		return
	}
	x.told[o] = true
	s := Seen{who: w.who, Status: o.status, Code: o.code, PA: o.pa, Data: o.data, Prov: o.prov, After: o.after, Path: x.tell(w.path), Hits: w.hits}
	for i := w.entries; i != none; i = x.history[i].prev {
		s.Entries = append(s.Entries, x.history[i].last)
	}
	slices.Reverse(s.Entries)
	x.out = append(x.out, s)
}

// opNames are the operations that are not explored, for people.
var opNames = map[emu.Op]string{
	emu.OpNone: "no operation", emu.OpStore: "store", emu.OpCAS: "compare and swap",
	emu.OpInvalidate: "invalidate", emu.OpDrain: "drain", emu.OpPark: "park", emu.OpSend: "send", emu.OpResume: "resume",
}

func opName(op emu.Op) string {
	if s, ok := opNames[op]; ok {
		return s
	}
	return fmt.Sprintf("operation %d", op)
}
