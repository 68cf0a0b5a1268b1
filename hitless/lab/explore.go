package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host/entry"
)

// The verdicts of an exploration.
const (
	Nop        = "nop"        // nothing is stored
	Hitless    = "hitless"    // each request ends as under the old entry or as under the new one
	Disruptive = "disruptive" // some requests do not; all of those fault
	Unsafe     = "unsafe"     // some are translated otherwise, or translations outlive the rewrite or get under an id of others
)

// Result is what an exploration found.
type Result struct {
	entry.Report
	Found          string // verdict
	Transparent    bool   // neither end blocks a request
	From, To       string // how a request ends under the old entry, and under the new one
	States         int    // explored
	Counterexample string // why it is not hitless; empty if it is
}

// Agrees reports whether what the writer says of its rewrite is what was found.
func (r *Result) Agrees() bool {
	return r.Found == r.Verdict.String() || r.Verdict == entry.VerdictDisruptive && r.Found != Nop
}

// run is a rewrite on the bench.
type run struct {
	k      *Kind
	o      *Options
	f      *entry.Format
	b      *bench
	report entry.Report
	steps  []hitless.Step
}

// start carries the rewrite out once and takes down its program. The omit-th command, counted from 1, is left
// out: fault injection.
func (k *Kind) start(o *Options, w entry.Writer, old, new []uint64, omit int) (*run, error) {
	o, b, err := k.lay(o, old, new)
	if err != nil {
		return nil, err
	}
	b.omit = omit
	r := &run{k: k, o: o, f: k.Format(o), b: b}
	r.steps = b.Record(func() { r.report, err = w.Write(k.target(o, b, b, b.at), new) })
	if err != nil {
		return nil, err
	}
	b.reset()
	b.quiet()
	r.steps = r.seen(r.changing(r.steps))
	return r, nil
}

// lay puts an entry on a bench where old is to become new.
func (k *Kind) lay(o *Options, old, new []uint64) (*Options, *bench, error) {
	o = k.prepare(o, old, new)
	b, err := k.bench(o, [][]uint64{old, new})
	if err != nil {
		return nil, nil, err
	}
	if len(b.further) > 0 {
		if err := b.choose(old, new); err != nil {
			return nil, nil, err
		}
	}
	b.drops = k.drops(o)
	b.put(b.at, k.row(o, old)...)
	return o, b, nil
}

// changing leaves out stores of what is there already: no request can tell. Who goes without keeps their
// fences.
func (r *run) changing(steps []hitless.Step) (out []hitless.Step) {
	words := map[emu.PA]uint64{}
	fence := false
	for _, s := range steps {
		same := s.Size != 0
		for i := range int(s.Size) / 8 {
			at := s.Addr + emu.PA(i*8)
			v, ok := words[at]
			if !ok {
				v = r.b.Functional.Load64(at)
			}
			same = same && v == s.Data[i]
			words[at] = s.Data[i]
		}
		fence = fence || s.Fence
		if same {
			continue
		}
		s.Fence, fence = fence, false
		out = append(out, s)
	}
	return out
}

// Explore carries the rewrite out on the bench and tries every way that a request can go meanwhile.
//
// Errors: entry.ErrSize, entry.ErrIllegal; those of hitless.Explore.
func (k *Kind) Explore(o *Options, w entry.Writer, old, new []uint64) (*Result, error) {
	for _, raw := range [][]uint64{old, new} {
		if err := k.Check(o, raw); err != nil {
			return nil, err
		}
	}
	r, err := k.start(o, w, old, new, 0)
	if err != nil {
		return nil, err
	}
	return r.explore()
}

// explore tries the program of the run for each request, on a unit that reads the parts of an entry in
// ascending order and on one that reads them in descending order: the architectures fix none.
func (r *run) explore() (*Result, error) { return r.judged(r.told) }

// find judges what is found in another way.
func (r *run) find(by func(*hitless.Scenario) (*hitless.Report, error)) (*Result, error) {
	return r.judged(func(f finding) error { return r.each(by, f) })
}

// finding is called with what is found for a request on a unit.
type finding func(*hitless.Scenario, *hitless.Report)

func (r *run) judged(find func(finding) error) (*Result, error) {
	res := &Result{Report: r.report, Found: Hitless, Transparent: true}
	if err := find(func(sc *hitless.Scenario, rep *hitless.Report) { r.judge(res, sc, rep) }); err != nil {
		return nil, err
	}
	if r.report.Verdict == entry.VerdictNop {
		res.Found, res.Counterexample = Nop, ""
	}
	return res, nil
}

// each calls f with what is found for each unit and request.
func (r *run) each(by func(*hitless.Scenario) (*hitless.Report, error), f finding) error {
	for _, sc := range r.scenarios() {
		rep, err := by(sc)
		if err != nil {
			return err
		}
		f(sc, rep)
	}
	return nil
}

// told is each by exploration, of all requests in one go.
func (r *run) told(f finding) error {
	list := r.scenarios()
	for n := len(r.b.requests); len(list) > 0; list = list[n:] {
		all := *list[0]
		all.Others = r.b.requests[1:]
		reps, err := hitless.ExploreEach(&all)
		if err != nil {
			return err
		}
		for i, rep := range reps {
			f(list[i], rep)
		}
	}
	return nil
}

// scenarios are the program of the run with each request, on each unit.
func (r *run) scenarios() (list []*hitless.Scenario) {
	units := []emu.Unit{r.b.unit}
	if r.k.reverse != nil && !r.handshake() {
		units = append(units, r.k.reverse(r.b.unit))
	}
	for _, u := range units {
		for _, q := range r.b.requests {
			sc := &hitless.Scenario{Unit: u, Memory: r.b.mem, Program: r.steps, Request: q, Weak: r.k.Weak}
			if len(r.b.requests) > 1 {
				sc.Others = r.b.requests
			}
			list = append(list, sc)
		}
	}
	return list
}

// handshake reports whether the entry becomes present on the way and readers then look at its presence first,
// which those in descending order do not.
func (r *run) handshake() bool {
	return r.f.Handshake && slices.ContainsFunc(r.report.States, func(raw []uint64) bool { return !r.f.Present(raw) })
}

// rank orders verdicts by how bad they are.
var rank = map[string]int{Nop: 0, Hitless: 1, Disruptive: 2, Unsafe: 3}

// judge adds what one exploration found.
func (r *run) judge(res *Result, sc *hitless.Scenario, rep *hitless.Report) {
	res.States += rep.States
	if res.From == "" {
		res.From, res.To = r.ends(&rep.Old[0]), r.ends(&rep.New[0])
	}
	blocked := func(s hitless.Seen) bool { return stops(&s) }
	if slices.ContainsFunc(rep.Old, blocked) || slices.ContainsFunc(rep.New, blocked) {
		res.Transparent = false
	}
	worse := func(found, text string) {
		if rank[found] > rank[res.Found] {
			res.Found, res.Counterexample = found, text
		}
	}
	// Where a torn entry is to blame, it is shown.
	for _, torn := range []bool{true, false} {
		if list := rep.Foreign(r.private); len(list) > 0 && !torn {
			worse(Unsafe, r.tellCopy(sc, &list[0], "others who share the id find it"))
		}
		for i := range rep.All {
			s := &rep.All[i]
			ends := rep.New
			if !s.After {
				ends = append(rep.New[:len(rep.New):len(rep.New)], rep.Old...)
			}
			found := Unsafe
			if stops(s) {
				found = Disruptive
			}
			if !among(s, ends) && rank[found] > rank[res.Found] && (r.torn(s) != nil || !torn) {
				worse(found, r.tell(sc, rep, s))
			}
		}
	}
	if m := r.lost(rep); m != nil {
		worse(Unsafe, r.program(sc, m.Path)+fmt.Sprintf("host step %d overwrites the mark %#x: nobody learns that the page is dirty\n", m.Step+1, m.Was^m.Now))
	}
	if list := rep.Left(r.k.same(r.o)); len(list) > 0 {
		worse(Unsafe, r.tellCopy(sc, &list[0], "it is still there when the rewrite is complete"))
	}
}

// stops reports whether a request does not get through: it faults, or is held.
func stops(s *hitless.Seen) bool { return s.Status == emu.Blocked || s.Status == emu.Pending }

// among reports whether a request ended as one of list.
func among(s *hitless.Seen, list []hitless.Seen) bool {
	return slices.ContainsFunc(list, func(o hitless.Seen) bool {
		if s.Status != o.Status || stops(s) {
			return s.Status == o.Status && s.Code == o.Code
		}
		return s.PA == o.PA && s.Prov.Leaf == o.Prov.Leaf
	})
}

// private reports whether nobody else has translations under a tag. An id that both contents have is theirs:
// what is under it is of the one or of the other, and what comes of that is judged by where requests end.
func (r *run) private(t emu.Tag) bool {
	if r.f.Paging != nil {
		return true // the table is that of all who have the id
	}
	if r.f.ID == 0 {
		return false
	}
	m, id := &r.o.Means, r.k.id(t)
	states := r.report.States
	if old := r.f.ID.Get(states[0]); id == old && old == r.f.ID.Get(states[len(states)-1]) {
		return true
	}
	return r.report.Temp != 0 && id == uint64(r.report.Temp) || m.OldAlone && id == r.f.ID.Get(states[0]) ||
		m.NewAlone && id == r.f.ID.Get(states[len(states)-1])
}

// torn returns the content with which a request has read the entry, if that is none of those that the writer
// stands for; else nil.
func (r *run) torn(s *hitless.Seen) []uint64 {
	for _, e := range s.Entries {
		words := e.Words[:min(r.k.Words, len(e.Words))]
		if e.At == r.b.at && !slices.ContainsFunc(r.report.States, func(d []uint64) bool { return r.f.Same(d, words) }) {
			return words
		}
	}
	return nil
}

// tell writes a way as a person reads it.
func (r *run) tell(sc *hitless.Scenario, rep *hitless.Report, s *hitless.Seen) string {
	var b strings.Builder
	b.WriteString(r.program(sc, s.Path))
	if words := r.torn(s); words != nil {
		fmt.Fprintf(&b, "the entry as it was read, which nobody has declared: %s\n", Hex(words))
	}
	when := "a request"
	if len(r.b.requests) > 1 {
		when = fmt.Sprintf("a %s at %#x", map[bool]string{true: "write", false: "read"}[sc.Request.Access == emu.Write], uint64(sc.Request.Addr))
	}
	if s.After {
		when += " that began when the rewrite was complete"
	}
	fmt.Fprintf(&b, "%s %s; under the old entry it %s, under the new one it %s\n", when, r.ends(s), r.ends(&rep.Old[0]), r.ends(&rep.New[0]))
	return b.String()
}

// ends says how a request ended.
func (r *run) ends(s *hitless.Seen) string {
	switch s.Status {
	case emu.Pending:
		return fmt.Sprintf("is held with %#x, %s", s.Code, r.b.unit.FaultName(s.Code))
	case emu.Blocked:
		return fmt.Sprintf("faults with %#x, %s", s.Code, r.b.unit.FaultName(s.Code))
	}
	return fmt.Sprintf("reaches %#x", uint64(s.PA))
}

// tellCopy writes how a copy got into a cache.
func (r *run) tellCopy(sc *hitless.Scenario, c *hitless.Copy, problem string) string {
	return r.program(sc, c.Path) + fmt.Sprintf("%s then holds for %#x under id %#x: %s; %s\n", cacheNames[c.Cache], c.Key.Addr, r.tagID(c.Key.Tag), hexWords(c.Val[:]), problem)
}

var cacheNames = [emu.NumCaches]string{
	emu.CacheEntry: "the cache of device entries", emu.CachePASID: "the cache of PASID entries", emu.CacheIOTLB: "the IOTLB",
	emu.CacheWalk: "the paging-structure cache", emu.CacheWalk2: "the paging-structure cache of the second stage",
	emu.CacheStage2: "the cache of the second stage", emu.CacheInterrupt: "the cache of interrupt entries",
}

func (r *run) tagID(t emu.Tag) uint64 {
	if r.k.id == nil {
		return uint64(t.Domain())
	}
	return r.k.id(t)
}

func hexWords(v []uint64) string {
	var s []string
	for _, w := range v {
		s = append(s, fmt.Sprintf("%#x", w))
	}
	return strings.Join(s, " ")
}

func (r *run) program(sc *hitless.Scenario, path []string) string {
	return hitless.PathTimeline(sc, r.b.below(path))
}
