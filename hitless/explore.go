package hitless

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// Scenario is what is explored.
type Scenario struct {
	Unit    emu.Unit   // programmed, translation enabled
	Memory  emu.Memory // before the first step
	Program []Step
	Request emu.Request
}

// Seen is one way a request can go.
type Seen struct {
	Status emu.Status
	Code   uint16 // fault code, if blocked
	PA     emu.PA
	Prov   emu.Provenance
	// Entries are the structures that the request assembled from memory, in order.
	Entries []Entry
	// After: the request began after the last host step, when the rewrite had been declared complete.
	After bool
	// Path tells what the request read and when, one line each.
	Path []string
}

// Entry is a structure as the unit assembled it.
type Entry struct {
	Kind  emu.StructKind
	At    emu.PA
	Words [8]uint64
}

// same reports whether two ways cannot be told apart by who made the request.
func (s *Seen) same(o *Seen) bool {
	return s.Status == o.Status && s.Code == o.Code && s.PA == o.PA && s.Prov == o.Prov
}

// Report is what an exploration found.
type Report struct {
	Old, New []Seen // ways under the old and under the new entry, undisturbed
	All      []Seen // ways while the program runs, each with the first path that leads to it
	States   int    // transaction states visited
	Rounds   int    // explorations until the cached copies grew no more
}

// Outside returns the ways that are neither old nor new.
func (r *Report) Outside() []Seen {
	var out []Seen
	for i := range r.All {
		s := &r.All[i]
		in := func(list []Seen) bool { return slices.ContainsFunc(list, func(o Seen) bool { return o.same(s) }) }
		if !in(r.Old) && !in(r.New) {
			out = append(out, *s)
		}
	}
	return out
}

// Stale returns the ways of requests that began after the last host step and are not new.
func (r *Report) Stale() []Seen {
	var out []Seen
	for i := range r.All {
		s := &r.All[i]
		if s.After && !slices.ContainsFunc(r.New, func(o Seen) bool { return o.same(s) }) {
			out = append(out, *s)
		}
	}
	return out
}

// Torn returns the ways on which the structure of n words at at was assembled from parts that it
// did not hold together after any step.
func (r *Report) Torn(sc *Scenario, at emu.PA, n int) []Seen {
	var held [][8]uint64
	for h := range len(sc.Program) + 1 {
		var w [8]uint64
		m := timeline{sc.Memory, sc.Program, h}
		for i := range n {
			var v [4]uint64
			m.Load(at+emu.PA(i*8), 8, &v)
			w[i] = v[0]
		}
		held = append(held, w)
	}
	var out []Seen
	for _, s := range r.All {
		for _, e := range s.Entries {
			if e.At == at && !slices.Contains(held, e.Words) {
				out = append(out, s)
				break
			}
		}
	}
	return out
}

// The ways in which an exploration ends early.
var (
	// ErrEndless: a transaction asked more questions than any walk has.
	ErrEndless = errors.New("transaction does not end")
	// ErrState: there are more states than an exploration is allowed.
	ErrState = errors.New("too many states")
)

const (
	maxQuestions = 1000
	maxStates    = 5_000_000
)

// copyOf is a value that a cache may hold: from host step Since on, until step Until.
type copyOf struct {
	cache        emu.CacheID
	key          emu.Key
	lg2          uint8
	attr         uint32
	val          [4]uint64
	since, until int
}

// explorer is one exploration in progress.
type explorer struct {
	sc     *Scenario
	copies []copyOf
	out    []Seen
	states int
	grown  bool
	entry  []Entry // assembled during the present Step
}

// Explore drives the scenario's request through every choice.
//
// Errors: ErrEndless, ErrState.
func Explore(sc *Scenario) (*Report, error) {
	rep := &Report{}
	var err error
	if rep.Old, err = undisturbed(sc, 0); err != nil {
		return nil, err
	}
	if rep.New, err = undisturbed(sc, len(sc.Program)); err != nil {
		return nil, err
	}
	x := &explorer{sc: sc}
	sc.Unit.Observe(x)
	defer sc.Unit.Observe(nil)
	for x.grown = true; x.grown; {
		x.grown = false
		x.out = x.out[:0]
		rep.Rounds++
		for h := range len(sc.Program) + 1 {
			if err := x.start(h); err != nil {
				return nil, err
			}
		}
	}
	rep.All, rep.States = x.out, x.states
	return rep, nil
}

// undisturbed returns how the request goes when memory is and stays as after step h.
func undisturbed(sc *Scenario, h int) ([]Seen, error) {
	still := &Scenario{Unit: sc.Unit, Memory: &frozen{timeline{sc.Memory, sc.Program, h}}, Request: sc.Request}
	x := &explorer{sc: still}
	sc.Unit.Observe(x)
	defer sc.Unit.Observe(nil)
	err := x.start(0)
	// What it read on the way does not matter here.
	return slices.CompactFunc(x.out, func(a, b Seen) bool { return a.same(&b) }), err
}

// frozen is memory as after one step, for good.
type frozen struct{ timeline }

func (*frozen) Store(emu.PA, uint8, *[4]uint64) bool { return true }
func (*frozen) CAS(emu.PA, uint8, *[4]uint64, *[4]uint64, *[4]uint64) (bool, bool) {
	return true, true
}
func (*frozen) Or(emu.PA, uint64) (uint64, bool) { return 0, true }

// Assembled implements emu.Observer.
func (x *explorer) Assembled(_ *emu.Txn, kind emu.StructKind, at emu.PA, words []uint64) {
	e := Entry{Kind: kind, At: at}
	copy(e.Words[:], words)
	x.entry = append(x.entry, e)
}

// walk is one branch: a transaction, where the host is, and what led here.
type walk struct {
	t       emu.Txn
	h       int
	after   bool
	asked   int
	entries []Entry
	path    []string
}

// start begins the request after host step h.
func (x *explorer) start(h int) error {
	w := walk{h: h, after: h == len(x.sc.Program)}
	q := x.sc.Request
	x.sc.Unit.Start(&w.t, &q)
	return x.step(w)
}

// step lets the transaction ask and follows every answer. w is the callee's own.
func (x *explorer) step(w walk) error {
	for {
		if x.states++; x.states > maxStates {
			return ErrState
		}
		if w.asked++; w.asked > maxQuestions {
			return fmt.Errorf("%w: %d questions", ErrEndless, w.asked)
		}
		x.entry = x.entry[:0]
		x.sc.Unit.Step(&w.t)
		w.entries = append(slices.Clip(w.entries), x.entry...)
		a := &w.t.Act
		w.t.Ans = emu.AnsOK
		switch a.Op {
		case emu.OpFetch:
			return x.fetch(w)
		case emu.OpProbe:
			return x.probe(w)
		case emu.OpFill:
			x.hold(&w)
		case emu.OpDone:
			x.done(&w)
			return nil
		}
	}
}

// horizon is the last host step after which a load of t can still fall: a waited-for invalidation
// that concerns t does not end before t does.
func (x *explorer) horizon(w *walk) int {
	for i := w.h; i < len(x.sc.Program); i++ {
		for j := range x.sc.Program[i].Invalidate {
			if w.t.Matches(&x.sc.Program[i].Invalidate[j]) {
				return i
			}
		}
	}
	return len(x.sc.Program)
}

// fetch tries every point at which the load can fall.
func (x *explorer) fetch(w walk) error {
	a := w.t.Act
	var last [4]uint64
	for h := w.h; h <= x.horizon(&w); h++ {
		m := timeline{x.sc.Memory, x.sc.Program, h}
		var v [4]uint64
		ok := m.Load(a.Addr, a.Size, &v)
		if h > w.h && v == last {
			continue
		}
		last = v
		n := w
		n.h = h
		n.t.In = v
		if !ok {
			n.t.Ans = emu.AnsError
		}
		n.note("fetch %#x/%d = %s (%s)", uint64(a.Addr), a.Size, hex(v[:a.Size/8]), x.sc.Unit.Describe(a.Step).Name)
		if err := x.step(n); err != nil {
			return err
		}
	}
	return nil
}

// probe tries a miss and every copy that may be held.
func (x *explorer) probe(w walk) error {
	a := w.t.Act
	miss := w
	miss.t.Ans = emu.AnsMiss
	if err := x.step(miss); err != nil {
		return err
	}
	end := x.horizon(&w)
	for i := range x.copies {
		c := x.copies[i]
		if c.cache != a.Cache || !c.serves(&a.Key) || c.until < w.h || c.since > end {
			continue
		}
		n := w
		n.h = max(w.h, c.since)
		n.t.In = c.val
		n.note("cache %d holds %s (%s)", a.Cache, hex(c.val[:]), x.sc.Unit.Describe(a.Step).Name)
		if err := x.step(n); err != nil {
			return err
		}
	}
	return nil
}

// serves reports whether the copy answers a look-up of k.
func (c *copyOf) serves(k *emu.Key) bool {
	return c.key.Tag == k.Tag && c.key.Addr>>c.lg2 == k.Addr>>c.lg2
}

// hold notes that a cache may hold what w fills from now on.
func (x *explorer) hold(w *walk) {
	a := &w.t.Act
	c := copyOf{cache: a.Cache, key: a.Key, lg2: a.Lg2, attr: a.Attr, val: a.Data, since: w.h, until: len(x.sc.Program)}
	if a.Cache != emu.CacheIOTLB && a.Cache != emu.CacheWalk && a.Cache != emu.CacheWalk2 {
		c.lg2 = 0
	}
	c.key.Addr = c.key.Addr >> c.lg2 << c.lg2
	for i := w.h; i < len(x.sc.Program); i++ {
		if slices.ContainsFunc(x.sc.Program[i].Invalidate, func(s emu.Selector) bool { return c.dropped(&s) }) {
			c.until = i
			break
		}
	}
	for i := range x.copies {
		o := &x.copies[i]
		if o.cache == c.cache && o.key == c.key && o.val == c.val && o.lg2 == c.lg2 && o.until == c.until {
			if c.since < o.since {
				o.since = c.since
				x.grown = true
			}
			return
		}
	}
	x.copies = append(x.copies, c)
	x.grown = true
}

// dropped reports whether an invalidation by s drops the copy.
func (c *copyOf) dropped(s *emu.Selector) bool {
	if !s.Caches.Has(c.cache) {
		return false
	}
	domain := c.key.Tag.Domain()
	if c.cache == emu.CacheEntry || c.cache == emu.CachePASID {
		domain = c.attr
		if s.Match&emu.MatchSource != 0 && (emu.SourceID(c.key.Addr)^s.Source)&^s.SourceMask != 0 {
			return false
		}
	}
	switch {
	case s.Match&emu.MatchDomain != 0 && domain != s.Domain,
		s.Match&emu.MatchPASID != 0 && c.key.Tag.PASID() != s.PASID,
		s.Match&emu.MatchClass != 0 && s.Classes&(1<<c.key.Tag.Class()) == 0,
		s.Match&emu.MatchAddress != 0 && (c.key.Addr > s.Last || c.key.Addr|(1<<c.lg2-1) < s.First):
		return false
	}
	return true
}

// done notes how the request went, unless it can go that way already.
func (x *explorer) done(w *walk) {
	r := &w.t.Res
	s := Seen{Status: r.Status, PA: r.PA, Prov: r.Prov, Entries: w.entries, After: w.after, Path: w.path}
	if r.Status == emu.Blocked {
		s.Code = r.Fault.Code
		s.PA = 0
	}
	for i := range x.out {
		if x.out[i].same(&s) && x.out[i].After == s.After && slices.Equal(x.out[i].Entries, s.Entries) {
			return
		}
	}
	x.out = append(x.out, s)
}

func (w *walk) note(format string, args ...any) {
	line := fmt.Sprintf("after step %d: ", w.h) + fmt.Sprintf(format, args...)
	w.path = append(slices.Clip(w.path), line)
}

func hex(v []uint64) string {
	s := make([]string, len(v))
	for i := range v {
		s[i] = fmt.Sprintf("%#x", v[i])
	}
	return strings.Join(s, " ")
}

// Timeline writes the host's program on the left and what the request did on the right.
func Timeline(sc *Scenario, s *Seen) string {
	var b strings.Builder
	for i := range len(sc.Program) + 1 {
		if i > 0 {
			fmt.Fprintf(&b, "host %d   %s\n", i, sc.Program[i-1].String())
		}
		for _, line := range s.Path {
			if rest, ok := strings.CutPrefix(line, fmt.Sprintf("after step %d: ", i)); ok {
				fmt.Fprintf(&b, "%50s %s\n", "unit", rest)
			}
		}
	}
	return b.String()
}
