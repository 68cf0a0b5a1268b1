package search

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/hitless"
)

// script is a unit whose requests ask a list of questions and end with the last two words that they got, as
// address and as provenance. A request of a device with another number asks from there on.
type script struct {
	emu.Unit // of which nothing else is called
	ask      []emu.Act
	lacks    emu.CacheSet
}

func (u *script) Cache(id emu.CacheID) emu.Cache {
	if u.lacks.Has(id) {
		return nil
	}
	return struct{ emu.Cache }{}
}

func (u *script) Start(t *emu.Txn, q *emu.Request) {
	*t = emu.Txn{Req: *q, State: uint16(q.Source)}
}

func (u *script) Describe(emu.Step) emu.StepInfo { return emu.StepInfo{Name: "line of a script"} }

func (u *script) Step(t *emu.Txn) {
	switch {
	case t.Act.Op == emu.OpFetch, t.Act.Op == emu.OpProbe && t.Ans == emu.AnsOK, t.Act.Op == emu.OpAcquire && t.Ans == emu.AnsMerged:
		t.Aux[1], t.Aux[0] = t.Aux[0], t.In[0]
	}
	if t.Act.Op == emu.OpProbe && t.Ans == emu.AnsOK || t.Ans == emu.AnsMerged {
		t.State = uint16(len(u.ask)) // it has what it wants
	}
	t.In, t.Ans = [4]uint64{}, emu.AnsOK
	t.Known, t.Tag = emu.KnownLive|emu.KnownDomain, emu.MakeTag(1, 1, emu.NoPASID)
	if int(t.State) >= len(u.ask) || u.ask[t.State].Op == emu.OpDone {
		t.Act = emu.Act{Op: emu.OpDone}
		t.Res.Status, t.Res.PA, t.Res.Prov.Leaf = emu.OK, emu.PA(t.Aux[0]), emu.PA(t.Aux[1])
		return
	}
	t.Act = u.ask[t.State]
	if t.Act.Op == emu.OpFill {
		t.Act.Data[0] = t.Aux[0]
	}
	t.State++
}

const place = emu.PA(0x1000)

var (
	key      = emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID)}
	probeIt  = emu.Act{Op: emu.OpProbe, Cache: emu.CacheIOTLB, Key: key}
	fillIt   = emu.Act{Op: emu.OpFill, Cache: emu.CacheIOTLB, Key: key, Lg2: 12}
	takeSlot = emu.Act{Op: emu.OpAcquire, Slot: emu.SlotMiss, Key: key}
	dropIt   = hitless.Sync("drop", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchDomain, Domain: 1})
	dropElse = hitless.Sync("drop something else", emu.Selector{Caches: emu.AllCaches, Match: emu.MatchDomain, Domain: 2})
)

func fetch(at emu.PA) emu.Act { return emu.Act{Op: emu.OpFetch, Addr: at, Size: 8} }

// run searches plainly and not, which has to find the same, and returns what.
func run(t *testing.T, sc *hitless.Scenario, inFlight, requests int) *Result {
	t.Helper()
	b := Bounds{InFlight: inFlight, Requests: requests, States: 1_000_000}
	r, err := Run(sc, b)
	require.NoError(t, err)
	b.Plain = true
	plain, err := Run(sc, b)
	require.NoError(t, err)
	require.Equal(t, ends(plain), ends(r))
	report := func(r *Result) *hitless.Report { return &hitless.Report{Held: r.Held} }
	require.Empty(t, Missing(report(plain), report(r)))
	require.Empty(t, Missing(report(r), report(plain)))
	require.Less(t, r.States, plain.States)
	return r
}

// pair is the last two words that a request got, the last one first.
type pair struct {
	last, before uint64
	after        bool
}

func ends(r *Result) map[pair]bool {
	m := map[pair]bool{}
	for _, s := range r.Seen {
		m[pair{uint64(s.PA), uint64(s.Prov.Leaf), s.After}] = true
	}
	return m
}

func set(list ...pair) map[pair]bool {
	m := map[pair]bool{}
	for _, p := range list {
		m[p] = true
	}
	return m
}

func scenario(u emu.Unit, program ...hitless.Step) *hitless.Scenario {
	return &hitless.Scenario{Unit: u, Memory: mem.New(), Program: program}
}

// Loads of two places see the stores to them in the order of the program, or, weakly ordered and without a fence,
// in any.
func TestStores_BecomeVisibleInOrder(t *testing.T) {
	u := &script{ask: []emu.Act{fetch(place + 64), fetch(place)}}
	first, second := hitless.Store64("first", place, 1), hitless.Store64("second", place+64, 2)
	inOrder := set(pair{0, 0, false}, pair{1, 0, false}, pair{1, 2, false}, pair{1, 2, true})
	sc := scenario(u, first, second)
	require.Equal(t, inOrder, ends(run(t, sc, 1, 0)))
	sc.Weak = true
	anyOrder := set(pair{0, 2, false})
	for p := range inOrder {
		anyOrder[p] = true
	}
	require.Equal(t, anyOrder, ends(run(t, sc, 1, 0)))
	sc.Program[1] = second.Fenced()
	require.Equal(t, inOrder, ends(run(t, sc, 1, 0)))
}

func TestStores_ToOnePlaceStayInOrder(t *testing.T) {
	sc := scenario(&script{ask: []emu.Act{fetch(place), fetch(place)}}, hitless.Store64("a", place, 1), hitless.Store128("b", place, 2, 0))
	sc.Weak = true
	require.NotContains(t, ends(run(t, sc, 1, 0)), pair{1, 2, false})
}

// A wait ends only when who was marked has, and what those fill is dropped.
func TestInvalidation_MarksAndWaits(t *testing.T) {
	u := &script{ask: []emu.Act{probeIt, fetch(place), fillIt, fetch(place + 64)}}
	store, late := hitless.Store64("new", place, 1), hitless.Store64("late", place+64, 9)
	r := run(t, scenario(u, store, dropIt, late), 2, 3)
	require.NotContains(t, ends(r), pair{9, 0, false}, "the wait did not wait")
	for _, c := range r.Held {
		require.True(t, c.Val[0] == 1 || !c.AtEnd, "the old value is still held")
	}
	r = run(t, scenario(u, store, dropElse, late), 2, 3)
	require.Contains(t, ends(r), pair{9, 0, false})
	require.True(t, slices.ContainsFunc(r.Held, func(c hitless.Copy) bool { return c.Val[0] == 0 && c.AtEnd }))
}

// A look-up finds what another has filled, or nothing, if the line is lost.
func TestProbe_FindsWhatIsThere(t *testing.T) {
	u := &script{ask: []emu.Act{probeIt, fetch(place), fillIt}}
	store := hitless.Store64("new", place, 1)
	require.Equal(t, set(pair{0, 0, false}, pair{1, 0, false}, pair{0, 0, true}, pair{1, 0, true}), ends(run(t, scenario(u, store), 1, 2)))
	require.Equal(t, set(pair{0, 0, false}, pair{1, 0, false}, pair{1, 0, true}), ends(run(t, scenario(u, store), 1, 1)), "nobody fills")
	u.lacks = emu.CacheIOTLB.Set()
	require.Equal(t, set(pair{0, 0, false}, pair{1, 0, false}, pair{1, 0, true}), ends(run(t, scenario(u, store), 1, 3)), "there is no cache")
}

// Who wants what another fetches gets it, although it came too late for the cache.
func TestAcquire_GetsWhatAnotherHasFetched(t *testing.T) {
	ask := []emu.Act{takeSlot, fetch(place), {Op: emu.OpDelay}, fillIt, fetch(place + 64)}
	sc := scenario(&script{ask: ask}, hitless.Store64("new", place, 1), dropElse)
	require.Contains(t, ends(run(t, sc, 2, 2)), pair{0, 0, true}, "an old value for one that began when all was over")
	require.NotContains(t, ends(run(t, sc, 1, 2)), pair{0, 0, true})
	ask[3] = emu.Act{Op: emu.OpRelease, Slot: emu.SlotMiss}
	require.NotContains(t, ends(run(t, sc, 2, 2)), pair{0, 0, true}, "the owner had nothing to give: they fetch themselves")
}

func TestSwap_IsKept(t *testing.T) {
	u := &script{ask: []emu.Act{{Op: emu.OpCAS, Addr: place, Size: 8, Data: [4]uint64{0, 0, 5, 0}}, fetch(place)}}
	require.Equal(t, set(pair{5, 0, true}), ends(run(t, scenario(u), 2, 2)))
}

func TestRun_Errors(t *testing.T) {
	sc := scenario(&script{ask: []emu.Act{{Op: emu.OpSend}}})
	_, err := Run(sc, Bounds{InFlight: 1, States: 10})
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, "line of a script")
	for _, b := range []Bounds{{}, {InFlight: MaxInFlight + 1}, {InFlight: 1, Requests: -1}} {
		_, err := Run(sc, b)
		require.ErrorIs(t, err, ErrBounds)
	}
	_, err = Run(scenario(&script{ask: []emu.Act{fetch(place)}}, hitless.Store64("new", place, 1)), Bounds{InFlight: 1, States: 3})
	require.ErrorIs(t, err, ErrStates)
}

// A path tells each action of the requests on the way, and when it happened.
func TestPath_TellsWhatHappened(t *testing.T) {
	r := run(t, scenario(&script{ask: []emu.Act{probeIt, fetch(place), fillIt}}, hitless.Store64("new", place, 1)), 1, 2)
	i := slices.IndexFunc(r.Seen, func(s hitless.Seen) bool { return s.After && s.PA == 0 })
	require.Equal(t, []string{
		"after step 0: request 1: begins",
		"after step 0: request 1: cache 2 has nothing (line of a script)",
		"after step 0: request 1: fetch 0x1000/8 = [0x0] (line of a script)",
		"after step 1: request 1: fill cache 2: [0x0 0x0 0x0 0x0] (line of a script)",
		"after step 1: request 2: begins",
		"after step 1: request 2: cache 2 has [0x0 0x0 0x0 0x0] (line of a script)",
	}, r.Seen[i].Path)
}
