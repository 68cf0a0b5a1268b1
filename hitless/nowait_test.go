package hitless

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// ends returns where the request can end, and where it can if it begins after the program.
func ends(t *testing.T, sc *Scenario) (all, after map[emu.PA]bool) {
	rep, err := Explore(sc)
	require.NoError(t, err)
	all, after = map[emu.PA]bool{}, map[emu.PA]bool{}
	for _, s := range rep.All {
		if all[s.PA] = true; s.After {
			after[s.PA] = true
		}
	}
	return all, after
}

// An invalidation that nobody waits for yet lets a request go on that it has met: what that loads may be older
// than a store behind it. A wait ends it.
func TestDrop_LetsRequestsGoOnUntilTheWait(t *testing.T) {
	u := &toy{class: 1, ask: []emu.Act{load(toyPA + 64), load(toyPA)}}
	it := emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 1}
	// Which of the stores a request can see that begins before the first.
	from := func(program ...Step) map[emu.PA]bool {
		x := explorerOf(t, &Scenario{Unit: u, Memory: mem.New(), Program: program})
		begin(x, 0)
		seen := map[emu.PA]bool{}
		for x.work.Len() > 0 {
			require.NoError(t, x.step(x.work.next()))
		}
		for _, s := range x.out {
			seen[s.PA] = true
		}
		return seen
	}
	a, b, c := Store64("a", toyPA, 0x5000), Store64("b", toyPA, 0x6000), Store64("c", toyPA, 0x7000)
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true}, from(a, Sync("it", it), b))
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true, 0x6000: true}, from(a, Drop("it", it), b, Wait(), c))
	other := emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 2}
	require.Len(t, from(a, Drop("another", other), b, Wait(), c), 4, "the wait is not for this one")
}

// What a request fills that an invalidation has met is dropped; so no wait is needed for that.
func TestDrop_SuppressesFills(t *testing.T) {
	key := emu.Key{Tag: emu.MakeTag(1, 1, emu.NoPASID)}
	u := &toy{class: 1, ask: []emu.Act{
		{Op: emu.OpProbe, Cache: emu.CacheStage2, Key: key}, load(toyPA), {Op: emu.OpFill, Cache: emu.CacheStage2, Key: key, Lg2: 12},
	}}
	it := emu.Selector{Caches: emu.AllCaches, Match: emu.MatchClass, Classes: 1 << 1}
	sc := Scenario{Unit: u, Memory: mem.New(), Program: []Step{Store64("new", toyPA, 0x5000), Drop("it", it), Wait()}}
	_, after := ends(t, &sc)
	require.Equal(t, map[emu.PA]bool{0x5000: true}, after)
	// In front of the store it drops nothing of use.
	sc.Program = []Step{Drop("it", it), Store64("new", toyPA, 0x5000), Wait()}
	_, after = ends(t, &sc)
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true}, after)
}

// A request that is held has ended as far as the exploration goes. Bits that it sets are read, and not kept.
func TestExplore_HeldAndAtomicOr(t *testing.T) {
	rep, err := Explore(&Scenario{Unit: &toy{ask: []emu.Act{load(toyPA), {Op: emu.OpHold}}}, Memory: mem.New()})
	require.NoError(t, err)
	require.Len(t, rep.All, 1)
	require.Equal(t, emu.Pending, rep.All[0].Status)
	require.Contains(t, rep.All[0].Path[1], "is held until software lets it go")

	or := emu.Act{Op: emu.OpAtomicOr, Addr: toyPA, Size: 8, Data: [4]uint64{1 << 12}}
	all, _ := ends(t, &Scenario{
		Unit: &toy{ask: []emu.Act{or, load(toyPA)}}, Memory: mem.New(), Program: []Step{Store64("new", toyPA, 0x5000)},
	})
	require.Equal(t, map[emu.PA]bool{0: true, 0x5000: true}, all)
}
