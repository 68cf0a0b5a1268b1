package hitless

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// toy is a unit whose transactions ask the questions of a list, one after the other, and end with what
// the last load or look-up brought as their address. A look-up that hits skips to the end.
type toy struct {
	emu.Unit // of which nothing else is called
	ask      []emu.Act
	also     []emu.Act // of the device toyOther
	class    emu.Class // of the settled tag
	loop     bool      // begins again instead of ending
	forget   bool      // does not keep what a load brought
	observer emu.Observer
	show     bool // reports each load as a structure
}

func (u *toy) Start(t *emu.Txn, q *emu.Request) { *t = emu.Txn{Req: *q} }
func (u *toy) Observe(o emu.Observer)           { u.observer = o }
func (u *toy) Describe(emu.Step) emu.StepInfo   { return emu.StepInfo{Name: "toy step"} }
func (u *toy) Step(t *emu.Txn) {
	ask := u.ask
	if t.Req.Source == toyOther {
		ask = u.also
	}
	t.Known, t.Tag = emu.KnownLive|emu.KnownDomain, emu.MakeTag(u.class, 1, emu.NoPASID)
	switch {
	case t.State == 0:
	case t.Act.Op == emu.OpFetch:
		if u.show && u.observer != nil {
			u.observer.Assembled(t, emu.StructDevice, t.Act.Addr, t.In[:1])
		}
		t.Aux[0] = t.In[0]
	case t.Act.Op == emu.OpProbe && t.Ans == emu.AnsOK:
		t.Aux[0] = t.In[0]
		t.State = uint16(len(ask))
	}
	if u.forget {
		t.In, t.Aux = [4]uint64{}, [4]uint64{}
	}
	if u.loop && int(t.State) == len(ask) {
		t.State = 0
	}
	if int(t.State) == len(ask) {
		t.Act = emu.Act{Op: emu.OpDone}
		t.Res.Status, t.Res.PA = emu.OK, emu.PA(t.Aux[0])
		return
	}
	t.Act = ask[t.State]
	if t.Act.Op == emu.OpFill {
		t.Act.Data[0] = t.Aux[0]
	}
	t.State++
}

const (
	toyPA    = emu.PA(0x1000)
	toyOther = emu.SourceID(2)
)

func load(at emu.PA) emu.Act { return emu.Act{Op: emu.OpFetch, Addr: at, Size: 8} }

// A request that loads early may fill late: behind an invalidation that does not concern it, but would
// have dropped what it fills.
func TestFill_MayFallBehindAnInvalidationThatTheRequestPasses(t *testing.T) {
	const mine, filled = 1, 2
	key := emu.Key{Tag: emu.MakeTag(filled, 1, emu.NoPASID)}
	u := &toy{class: mine, ask: []emu.Act{
		{Op: emu.OpProbe, Cache: emu.CacheStage2, Key: key}, load(toyPA), {Op: emu.OpFill, Cache: emu.CacheStage2, Key: key, Lg2: 12},
	}}
	sc := Scenario{Unit: u, Memory: mem.New(), Program: []Step{
		Store64("new", toyPA, 0x5000),
		Sync("what is filled", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << filled}),
		Sync("something else", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 3}),
	}}
	rep, err := Explore(&sc)
	require.NoError(t, err)
	require.NotEmpty(t, rep.Stale(), "the old value is held behind the invalidation")

	// An invalidation that concerns the request is not passed: the same program is safe.
	u.class = filled
	rep, err = Explore(&sc)
	require.NoError(t, err)
	require.Empty(t, rep.Stale())
}

// What another request leaves in a cache, this one finds; how the other goes is not told.
func TestExplore_OthersActThroughCaches(t *testing.T) {
	key := emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID)}
	probe := emu.Act{Op: emu.OpProbe, Cache: emu.CacheStage2, Key: key}
	u := &toy{class: 1, ask: []emu.Act{probe}, also: []emu.Act{load(toyPA), {Op: emu.OpFill, Cache: emu.CacheStage2, Key: key, Lg2: 12}}}
	sc := Scenario{Unit: u, Memory: mem.New(), Program: []Step{Store64("new", toyPA, 0x5000)}}
	ends := func() map[emu.PA]bool {
		rep, err := Explore(&sc)
		require.NoError(t, err)
		m := map[emu.PA]bool{}
		for _, s := range rep.All {
			m[s.PA] = true
		}
		return m
	}
	require.Equal(t, map[emu.PA]bool{0: true}, ends(), "a miss")
	sc.Others = []emu.Request{{Source: toyOther}}
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true}, ends())
	sc.Program = append(sc.Program, Sync("all", emu.Selector{Caches: emu.AllCaches}), Store64("newest", toyPA, 0x6000))
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true, 0x6000: true}, ends())
	u.ask, u.also = u.also, u.ask
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true, 0x6000: true}, ends(), "it loads itself")
	u.ask = u.also
	require.Equal(t, map[emu.PA]bool{0: true}, ends(), "nobody fills")
}

// explorerOf begins an exploration.
func explorerOf(t *testing.T, sc *Scenario) *explorer {
	x, err := newExplorer(sc)
	require.NoError(t, err)
	return x
}

// begin puts a request that begins after step h on the worklist.
func begin(x *explorer, h int) {
	w := walk{at: last(h), entries: none, from: none}
	x.sc.Unit.Start(&w.t, &emu.Request{})
	x.work.add(w)
}

// The points of a fill end at the horizon, and stores make none.
func TestFill_FallsAtOnceAndBehindInvalidations(t *testing.T) {
	u := &toy{class: 1, ask: []emu.Act{load(toyPA), {Op: emu.OpFill, Cache: emu.CacheIOTLB}, {Op: emu.OpDelay}}}
	x := explorerOf(t, &Scenario{Unit: u, Memory: mem.New(), Program: []Step{
		Sync("passed", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 3}),
		Store64("store", toyPA+8, 1),
		Sync("met", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 1}),
		Sync("behind", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 3}),
	}})
	begin(x, 0)
	var filled []point
	for x.work.Len() > 0 {
		n := x.work.next()
		if n.t.Act.Op == emu.OpFill {
			filled = append(filled, n.at)
			require.Equal(t, n.at.done > 0, n.path.len() == 2, "a late fill is told")
		}
		require.NoError(t, x.step(n))
	}
	require.Equal(t, []point{last(0), last(1)}, filled, "at once, and behind the one that is passed; not behind the one that is met")
}

// A load may fall while the invalidation that concerns it has not ended, and no later.
func TestHorizon_IsTheStepBeforeTheInvalidation(t *testing.T) {
	u := &toy{class: 1, ask: []emu.Act{load(toyPA + 64), load(toyPA)}}
	sc := Scenario{Unit: u, Memory: mem.New(), Program: []Step{
		Store64("before", toyPA, 0x5000),
		Sync("concerns it", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 1}),
		Store64("after", toyPA, 0x6000),
	}}
	var begun [4]map[emu.PA]bool
	for h := range begun {
		begun[h] = map[emu.PA]bool{}
		x := explorerOf(t, &sc)
		begin(x, h)
		for x.work.Len() > 0 {
			require.NoError(t, x.step(x.work.next()))
		}
		for _, s := range x.out {
			begun[h][s.PA] = true
		}
	}
	require.Equal(t, [4]map[emu.PA]bool{
		{0: true, 0x5000: true}, {0x5000: true}, {0x5000: true, 0x6000: true}, {0x6000: true},
	}, begun)
}

// Nor does it find what is filled only behind that invalidation.
func TestProbe_FindsNothingFilledBehindTheHorizon(t *testing.T) {
	u := &toy{class: 1, ask: []emu.Act{load(toyPA), {Op: emu.OpProbe, Cache: emu.CacheIOTLB}}}
	for since, want := range map[int]int{1: 2, 2: 1} {
		x := explorerOf(t, &Scenario{Unit: u, Memory: mem.New(), Program: []Step{
			Store64("elsewhere", toyPA+64, 1),
			Sync("concerns it", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 1}),
		}})
		x.copies = []copyOf{{cache: emu.CacheIOTLB, val: [4]uint64{7}, since: last(since), until: 2}}
		begin(x, 0)
		for x.work.Len() > 0 {
			require.NoError(t, x.step(x.work.next()))
		}
		require.Len(t, x.out, want, "held since %d", since)
	}
}

func TestExplore_UnsupportedOperationsAreErrors(t *testing.T) {
	for op, name := range map[emu.Op]string{
		emu.OpStore: "store", emu.OpCAS: "compare and swap", emu.OpSend: "send", emu.OpResume: "resume",
		emu.OpInvalidate: "invalidate", emu.OpDrain: "drain", emu.OpPark: "park", emu.OpNone: "no operation", 99: "operation 99",
	} {
		_, err := Explore(&Scenario{Unit: &toy{ask: []emu.Act{load(toyPA), {Op: op}}}, Memory: mem.New()})
		require.ErrorIs(t, err, ErrUnsupported, name)
		require.ErrorContains(t, err, name+` at step "toy step"`)
	}
	for _, op := range []emu.Op{emu.OpAcquire, emu.OpRelease, emu.OpDelay} {
		rep, err := Explore(&Scenario{Unit: &toy{ask: []emu.Act{{Op: op}}}, Memory: mem.New()})
		require.NoError(t, err)
		require.Len(t, rep.All, 1)
	}
}

// A mark falls at any point from the load before it on. It fails where a store came between, and what it
// sets is not kept.
func TestMark_FallsAnywhereAndIsNotKept(t *testing.T) {
	cas := emu.Act{Op: emu.OpCAS, Addr: toyPA, Size: 8, Data: [4]uint64{1, 0, 0x21, 0}}
	u := &toy{ask: []emu.Act{cas, load(toyPA)}}
	m := mem.New()
	m.Store64(toyPA, 1)
	sc := Scenario{Unit: u, Memory: m, Program: []Step{Store64("a", toyPA, 2), Store64("b", toyPA, 1), Store64("c", toyPA+64, 1)}}
	x := explorerOf(t, &sc)
	begin(x, 0)
	require.NoError(t, x.step(x.work.next()))
	answers := map[point]emu.Answer{}
	for x.work.Len() > 0 {
		w := x.work.next()
		answers[w.at] = w.t.Ans
	}
	require.Equal(t, map[point]emu.Answer{last(0): emu.AnsOK, last(1): emu.AnsMiss}, answers, "after step 2 memory is as after 0")
	rep, err := Explore(&sc)
	require.NoError(t, err)
	for _, s := range rep.All {
		require.Contains(t, []emu.PA{1, 2}, s.PA)
	}

	// What changes an address, or is wider, is not a mark.
	for _, bad := range []emu.Act{
		{Op: emu.OpCAS, Addr: toyPA, Size: 8, Data: [4]uint64{0x1001, 0, 1, 0}},
		{Op: emu.OpCAS, Addr: toyPA, Size: 16, Data: [4]uint64{1, 0, 3, 0}},
	} {
		_, err := Explore(&Scenario{Unit: &toy{ask: []emu.Act{bad}}, Memory: mem.New()})
		require.ErrorIs(t, err, ErrUnsupported)
	}
}

// failing is memory whose loads fail from the second on, with the value of an empty page.
type failing struct {
	emu.Memory
	loads int
}

func (m *failing) Load(emu.PA, uint8, *[4]uint64) bool {
	m.loads++
	return m.loads == 1
}

func TestFetch_ABusErrorIsNotTheValueZero(t *testing.T) {
	u := &toy{ask: []emu.Act{load(toyPA)}}
	x := explorerOf(t, &Scenario{Unit: u, Memory: &failing{}, Program: []Step{Store64("elsewhere", 0x8000, 1)}})
	w := walk{entries: none, from: none}
	u.Step(&w.t)
	x.fetch(&w)
	require.Equal(t, 2, x.work.Len())
	require.Equal(t, emu.AnsOK, x.work.next().t.Ans)
	bad := x.work.next()
	require.Equal(t, emu.AnsError, bad.t.Ans)
	require.Contains(t, x.tell(bad.path)[0], "bus error")
}

// Loads at 0 and 1 host steps lead to states that are there already for a request that began later.
func TestStates_AreCountedOnce(t *testing.T) {
	u := &toy{forget: true, ask: []emu.Act{load(toyPA), load(toyPA + 64)}}
	sc := Scenario{Unit: u, Memory: mem.New(), Program: []Step{Store64("a", toyPA, 1), Store64("b", toyPA, 2)}}
	rep, err := Explore(&sc)
	require.NoError(t, err)
	// First load after 0, 1; second after 0, 1, 2; end after 0, 1, 2. A request that begins after the
	// last step has three of its own.
	require.Equal(t, 2+3+3+3, rep.States)
	require.Len(t, rep.All, 2, "before and after")
}

// What was assembled on the way is part of a state, although the unit has forgotten it.
func TestStates_KeepWhatWasAssembled(t *testing.T) {
	const x, y = toyPA, toyPA + 64
	u := &toy{forget: true, show: true, ask: []emu.Act{load(x), load(y)}}
	sc := Scenario{Unit: u, Memory: mem.New(), Program: []Step{
		Store64("first", x, 1), Store64("second", y, 1), Store64("elsewhere", toyPA+128, 1),
	}}
	rep, err := Explore(&sc)
	require.NoError(t, err)
	var pairs [][2]uint64
	for _, s := range rep.All {
		if !s.After {
			pairs = append(pairs, [2]uint64{s.Entries[0].Words[0], s.Entries[1].Words[0]})
		}
	}
	require.ElementsMatch(t, [][2]uint64{{0, 0}, {0, 1}, {1, 0}, {1, 1}}, pairs)
	require.Len(t, rep.Torn(x, []uint64{0}), 3, "two ways, and one of a request that began after the last step")
	require.Empty(t, rep.Torn(x, []uint64{0}, []uint64{1}))
	require.Empty(t, rep.Torn(toyPA+128))
}

func TestExplore_EndlessIsAnError(t *testing.T) {
	for name, ask := range map[string][]emu.Act{
		"waits":    {{Op: emu.OpDelay}},
		"polls":    {load(toyPA)},
		"looks up": {{Op: emu.OpProbe, Cache: emu.CacheIOTLB}, {Op: emu.OpDelay}, load(toyPA)},
	} {
		_, err := Explore(&Scenario{Unit: &toy{loop: true, ask: ask}, Memory: mem.New(), Program: []Step{Store64("a", toyPA, 1)}})
		require.ErrorIs(t, err, ErrEndless, name)
	}
}

func TestTimeline_LoadsSeeHalvesOfStores(t *testing.T) {
	m := timeline{mem.New(), []Step{Store128("both", toyPA, 0x1111_1111_2222_2222, 0x3333_3333_4444_4444)}, last(1)}
	for at, want := range map[emu.PA]uint64{0: 0x2222_2222, 4: 0x1111_1111, 8: 0x4444_4444, 12: 0x3333_3333, 16: 0} {
		var v [4]uint64
		require.True(t, m.Load(toyPA+at, 4, &v))
		require.Equal(t, [4]uint64{want}, v)
	}
}

// The number of branches follows that of the states, not that of the paths: 2.7 million here.
func TestStates_ReachedBeforeAreNotFollowed(t *testing.T) {
	u := &toy{forget: true}
	var program []Step
	for i := range 12 {
		u.ask = append(u.ask, load(toyPA))
		program = append(program, Store64("next", toyPA, uint64(i)+1))
	}
	x := explorerOf(t, &Scenario{Unit: u, Memory: mem.New(), Program: program})
	require.NoError(t, x.round())
	require.Less(t, x.work.seq, uint64(2000))
	require.Less(t, len(x.visited.index), 200)
}

// Of ways with as many lines that end alike, the one without a copy is kept.
func TestReport_PrefersLoadsToCopies(t *testing.T) {
	u := &toy{ask: []emu.Act{
		{Op: emu.OpProbe, Cache: emu.CacheIOTLB}, load(toyPA), {Op: emu.OpFill, Cache: emu.CacheIOTLB},
	}}
	rep, err := Explore(&Scenario{Unit: u, Memory: mem.New(), Program: []Step{Store64("new", toyPA, 1)}})
	require.NoError(t, err)
	require.Equal(t, 2, rep.Rounds)
	hits := map[emu.PA]int{}
	for _, s := range rep.All {
		require.Len(t, s.Path, 1)
		if !s.After {
			hits[s.PA] = s.Hits
		}
	}
	require.Equal(t, map[emu.PA]int{0: 0, 1: 0}, hits)
}
