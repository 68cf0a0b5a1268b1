package hitless

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

const flagPA, dataPA = toyPA, toyPA + 64

// pairs are what a request finds that reads the flag, then the data.
func pairs(t *testing.T, sc Scenario) (list [][2]uint64) {
	sc.Unit = &toy{forget: true, show: true, ask: []emu.Act{load(flagPA), load(dataPA)}}
	sc.Memory = mem.New()
	rep, err := Explore(&sc)
	require.NoError(t, err)
	for _, s := range rep.All {
		p := [2]uint64{s.Entries[0].Words[0], s.Entries[1].Words[0]}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// Data that is stored before the flag that announces it is there when the flag is: in program order, and
// behind a fence or a wait; not on a weakly ordered processor without.
func TestOrder_TheFlagMayPassTheData(t *testing.T) {
	data, flag := Store64("data", dataPA, 1), Store64("flag", flagPA, 1)
	safe := [][2]uint64{{0, 0}, {0, 1}, {1, 1}}
	torn := append(slices.Clip(safe), [2]uint64{1, 0})
	for _, c := range []struct {
		name    string
		weak    bool
		program []Step
		want    [][2]uint64
	}{
		{"in order", false, []Step{data, flag}, safe},
		{"weak", true, []Step{data, flag}, torn},
		{"weak, fence", true, []Step{data, flag.Fenced()}, safe},
		{"weak, fence in front of both", true, []Step{data.Fenced(), flag}, torn},
		{"weak, wait", true, []Step{data, Sync("of nothing"), flag}, safe},
		{"weak, fence behind another store", true, []Step{data, Store64("elsewhere", 0x8000, 1).Fenced(), flag}, safe},
	} {
		require.ElementsMatch(t, c.want, pairs(t, Scenario{Program: c.program, Weak: c.weak}), c.name)
	}
}

func TestOrder_StoresToOnePlaceStayInOrder(t *testing.T) {
	got := pairs(t, Scenario{Weak: true, Program: []Step{
		Store64("one", dataPA, 1), Store64("two", dataPA, 2), Store128("both", flagPA, 1, 0), Store64("half", flagPA+8, 1),
	}})
	require.ElementsMatch(t, [][2]uint64{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}}, got)
	sc := Scenario{Weak: true, Program: []Step{Store128("both", toyPA, 1, 1), Store64("half", toyPA+8, 2)}}
	points, err := sc.points()
	require.NoError(t, err)
	require.Equal(t, []point{last(0), last(1), last(2)}, points)
}

// What is filled from memory as it is in one order is held in that order only as far as is known: a
// copy that goes with a later load leads to where both are.
func TestOrder_CopiesMeetInTheJoin(t *testing.T) {
	u := &toy{ask: []emu.Act{
		{Op: emu.OpProbe, Cache: emu.CacheIOTLB}, load(dataPA), {Op: emu.OpFill, Cache: emu.CacheIOTLB},
	}}
	sc := Scenario{Unit: u, Memory: mem.New(), Weak: true, Program: []Step{
		Store64("flag", flagPA, 1), Store64("data", dataPA, 1), Sync("both", emu.Selector{Caches: emu.AllCaches}),
	}}
	x := explorerOf(t, &sc)
	_, err := x.explore()
	require.NoError(t, err)
	var since []point
	for _, c := range x.copies {
		if c.val[0] == 1 {
			since = append(since, c.since)
		}
	}
	require.Contains(t, since, point{0, 2}, "the data passes the flag")
	require.NotContains(t, since, last(2), "which is later than that in every order")
	rep, err := Explore(&sc)
	require.NoError(t, err)
	require.Empty(t, rep.Stale())
	require.Contains(t, Timeline(&sc, &rep.All[slices.IndexFunc(rep.All, func(s Seen) bool { return s.PA == 1 && !s.After })]), "already visible: step 2")
}

// set is a point as the list of steps that are over.
func (p point) set(n int) (s uint64) {
	for i := range n {
		if p.over(i) {
			s |= 1 << i
		}
	}
	return s
}

func pointOf(set uint64) (p point) {
	for i := range 20 {
		if set>>i&1 != 0 {
			p = p.join(point{0, 1 << i}.join(point{}))
		}
	}
	return p
}

func TestPoint_IsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64Range(0, 1<<20-1).Draw(t, "a"), rapid.Uint64Range(0, 1<<20-1).Draw(t, "b")
		p, q := pointOf(a), pointOf(b)
		require.Equal(t, a, p.set(20))
		require.Zero(t, p.early&1)
		require.Equal(t, a&^b != 0, p.not(q))
		require.Equal(t, a|b, p.join(q).set(20))
		require.Equal(t, p.join(q), q.join(p))
	})
	require.True(t, last(40).not(last(3)))
	require.False(t, last(3).not(last(40)))
	require.True(t, point{3, 1 << 31}.not(last(34)))
	require.Equal(t, last(40), last(40).join(point{3, 4}))
}

// For a request without caches, a weakly ordered program does what its orders do one by one.
func TestOrder_IsTheUnionOfAllOrders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := &toy{forget: true, show: true}
		place := rapid.SampledFrom([]emu.PA{toyPA, toyPA + 8, toyPA + 16})
		for range rapid.IntRange(1, 3).Draw(t, "loads") {
			u.ask = append(u.ask, load(place.Draw(t, "load")))
		}
		sc := Scenario{Unit: u, Memory: mem.New(), Weak: true}
		for i := range rapid.IntRange(1, 5).Draw(t, "steps") {
			s := Store64("store", place.Draw(t, "at"), uint64(i)+1)
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				s = Sync("of nothing")
			case 1:
				s = s.Fenced()
			case 2:
				s = Store128("two", toyPA, uint64(i)+1, uint64(i)+1)
			}
			sc.Program = append(sc.Program, s)
		}
		seen := func(sc Scenario, into map[[3]uint64]bool) {
			rep, err := Explore(&sc)
			require.NoError(t, err)
			for _, s := range rep.All {
				var k [3]uint64
				for i, e := range s.Entries {
					k[i] = e.Words[0]
				}
				into[k] = true
			}
		}
		got, want := map[[3]uint64]bool{}, map[[3]uint64]bool{}
		seen(sc, got)
		eachOrder(sc.Program, func(p []Step) { seen(Scenario{Unit: u, Memory: sc.Memory, Program: p}, want) })
		require.Equal(t, want, got)
	})
}

// eachOrder calls f with every legal order of a program, found without package code: two neighbours
// may change places if both are stores, to different places, and no fence is between them.
func eachOrder(program []Step, f func([]Step)) {
	type item struct{ i, part int } // part of the program between fences
	var items []item
	part := 0
	for i, s := range program {
		if s.Fence || s.Size == 0 {
			part++
		}
		items = append(items, item{i, part})
		if s.Size == 0 {
			part++
		}
	}
	var order func(done []item, left []item)
	order = func(done, left []item) {
		if len(left) == 0 {
			var p []Step
			for _, d := range done {
				s := program[d.i]
				s.Fence = false
				p = append(p, s)
			}
			f(p)
			return
		}
		for k, c := range left {
			legal := true
			for _, o := range left[:k] {
				a, b := program[o.i], program[c.i]
				same := a.Addr == b.Addr || a.Size == 16 && a.Addr+8 == b.Addr || b.Size == 16 && b.Addr+8 == a.Addr
				legal = legal && o.part == c.part && !same
			}
			if legal {
				order(append(slices.Clone(done), c), slices.Delete(slices.Clone(left), k, k+1))
			}
		}
	}
	order(nil, items)
}

func TestOrder_TooManyIsAnError(t *testing.T) {
	for n, want := range map[int]bool{16: true, 17: true, 40: true, 15: false} {
		sc := Scenario{Unit: &toy{ask: []emu.Act{load(toyPA)}}, Memory: mem.New(), Weak: true}
		for i := range n {
			sc.Program = append(sc.Program, Store64("store", toyPA+emu.PA(i*8), 1))
		}
		_, err := sc.points()
		if want {
			require.ErrorIs(t, err, ErrOrders)
			_, err = Explore(&sc)
			require.ErrorIs(t, err, ErrOrders)
		} else {
			require.NoError(t, err)
		}
		sc.Weak = false
		_, err = Explore(&sc)
		require.NoError(t, err)
	}
}
