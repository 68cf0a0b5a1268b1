package hitless

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/hitless/reverse"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/iotlb"
)

const tempID = 0x77

// move is a rewrite of a PASID entry as it is planned, to be explored.
type move struct {
	Scenario
	at       emu.PA
	old, new []uint64
	plan     entry.Plan
}

// end is a domain at one end of a move: what it maps the address to differs between the two ends.
type end func(t *testing.T, g *guestIn, pa emu.PA) host.Domain

func paging(s host.Stage) end {
	return func(t *testing.T, g *guestIn, pa emu.PA) host.Domain {
		dom, err := g.d.NewDomain(host.DomainSpec{Stage: s, Width: 47})
		require.NoError(t, err)
		require.NoError(t, dom.Map(iova, pa, 4096, emu.RW))
		return dom
	}
}

func passing(t *testing.T, g *guestIn, _ emu.PA) host.Domain {
	dom, err := g.d.NewDomain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, err)
	return dom
}

// guestIn is a guest of the machine, if the move has to do with one.
type guestIn struct {
	d      *vtddriver.Driver
	host   host.CPU
	cpu    *guest.CPU
	frames *host.Frames
}

const guestRAM = 0x1000_0000 // where it lies on the host

// newParent maps the guest's memory, at 0, and all that it may map further up.
func (g *guestIn) newParent(t *testing.T) host.Domain {
	p, err := g.d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
	require.NoError(t, err)
	require.NoError(t, p.Map(0, guestRAM, 1<<22, emu.RW))
	require.NoError(t, p.Map(1<<30, 0, 1<<22, emu.RW))
	g.cpu = guest.NewCPU(g.host, p)
	if g.frames == nil {
		g.frames, err = host.NewFrames(g.cpu, 0x10_0000, 1<<20)
		require.NoError(t, err)
	}
	return p
}

// nested is a domain of the guest: over the parent of the other end, or over another one that maps the
// same.
func nested(another bool) end {
	return func(t *testing.T, g *guestIn, pa emu.PA) host.Domain {
		if g.cpu == nil || another {
			g.newParent(t)
		}
		dom, err := guest.New(g.d, g.cpu, g.frames, guest.Spec{})
		require.NoError(t, err)
		require.NoError(t, dom.Map(iova, 1<<30+pa, 4096, emu.RW))
		return dom
	}
}

func newMove(t *testing.T, r reader, from, to end, means entry.Means) *move {
	u, err := vtd.New(r.config)
	require.NoError(t, err)
	m := mem.New()
	cpu := emu.NewFunctional(u, m)
	frames, err := host.NewFrames(cpu, 1<<32, 1<<28)
	require.NoError(t, err)
	d, err := vtddriver.New(cpu, frames, vtddriver.Options{Mode: vtddriver.ModeScalable, HAW: 48})
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	x := &move{}
	// What the entries are, the driver says: it writes each once.
	g := &guestIn{d: d, host: cpu}
	for i, make := range []end{to, from} {
		dom := make(t, g, emu.PA(2-i)<<20)
		if i > 0 {
			require.NoError(t, d.Detach(sid, emu.NoPASID))
		}
		require.NoError(t, d.Attach(sid, emu.NoPASID, dom))
		x.new = x.old
		x.at, x.old = d.EntryAt(sid, emu.NoPASID)
	}
	x.plan, err = d.EntryFormat().Plan(x.old, x.new, means)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictHitless, x.plan.Verdict, x.plan.Reason)
	for c := range emu.NumCaches {
		if cache := u.Cache(c); cache != nil {
			cache.Reset()
		}
	}
	x.Scenario = Scenario{
		Unit: u, Memory: m,
		Request: emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read},
	}
	if r.reverse {
		x.Unit = reverse.VTD(u)
	}
	x.follow()
	return x
}

// follow makes the program of the plan.
func (x *move) follow() {
	x.Program = nil
	for i := range x.plan.Steps {
		x.Program = append(x.Program, x.step(&x.plan.Steps[i])...)
	}
}

// step is a step of the plan as the host carries it out on VT-d: PASID cache by domain and PASID, then
// translations by what they are tagged with.
func (x *move) step(s *entry.Step) []Step {
	switch {
	case s.Op == entry.OpStore && s.Size == 8:
		return []Step{Store64(s.String(), x.at+emu.PA(s.Offset), s.Value[0])}
	case s.Op == entry.OpStore:
		return []Step{Store128(s.String(), x.at+emu.PA(s.Offset), s.Value[0], s.Value[1])}
	}
	var entries, made []emu.Selector
	for _, w := range s.Entries {
		entries = append(entries, emu.Selector{
			Caches: emu.CachePASID.Set(), Match: emu.MatchDomain | emu.MatchPASID, Domain: uint32(spec.PasidDID.Get(w)),
		})
	}
	for _, w := range s.Made {
		sel := emu.Selector{Caches: emu.CacheIOTLB.Set() | emu.CacheWalk.Set(), Match: emu.MatchDomain, Domain: uint32(spec.PasidDID.Get(w))}
		sel.Caches |= emu.CacheWalk2.Set() | emu.CacheStage2.Set()
		if pgtt := spec.PasidPGTT.Of(w[0]); pgtt == spec.PGTTFirst || pgtt == spec.PGTTPassThrough {
			sel.Match |= emu.MatchPASID | emu.MatchClass
			sel.Classes = 1<<vtd.ClassFS | 1<<vtd.ClassNested | 1<<vtd.ClassPT
		}
		made = append(made, sel)
	}
	steps := []Step{Sync("PASID cache", entries...)}
	if len(made) > 0 {
		steps = append(steps, Sync("IOTLB", made...))
	}
	return steps
}

// states are the declared contents.
func (x *move) states() [][]uint64 {
	list := [][]uint64{x.old}
	for i, s := range x.plan.Steps {
		if s.Op == entry.OpStore {
			list = append(list, x.plan.States[i])
		}
	}
	return list
}

// wrong returns the ways that a hitless rewrite does not have: faults, pages of neither domain, and what
// comes, in whatever part, from an entry that was never declared.
func (x *move) wrong(rep *Report) []Seen {
	var versions []uint64
	for _, s := range x.states() {
		versions = append(versions, vtd.PASIDVersion(s))
	}
	ends := append(slices.Clip(rep.Old), rep.New...)
	return rep.pick(func(s *Seen) bool {
		return !slices.ContainsFunc(ends, func(o Seen) bool {
			return s.Status == o.Status && s.PA == o.PA && s.Prov.Leaf == o.Prov.Leaf
		}) || !slices.Contains(versions, s.Prov.Entry) || s.Prov.Fill != 0 && !slices.Contains(versions, s.Prov.Fill)
	})
}

var (
	onFirst, onSecond = paging(host.StageFirst), paging(host.StageSecond)
	// What of two parents that map the same may be either's.
	parentsAlike = []uint64{spec.PasidSSPTPTR.Mask() | spec.PasidAW.Mask()}
)

var plannedMoves = []struct {
	name     string
	from, to end
	means    entry.Means
	syncs    int // that the way goes by, before the last
}{
	{"first stage, temporary id", onFirst, onFirst, entry.Means{Temp: tempID}, 2},
	{"first stage, old id alone", onFirst, onFirst, entry.Means{OldAlone: true}, 1},
	{"first stage, new id alone", onFirst, onFirst, entry.Means{NewAlone: true}, 1},
	{"second to first stage", onSecond, onFirst, entry.Means{}, 1},
	{"first to second stage", onFirst, onSecond, entry.Means{}, 0},
	{"pass-through to first stage", passing, onFirst, entry.Means{}, 1},
	{"first stage to pass-through", onFirst, passing, entry.Means{}, 0},
	{"nested, temporary id", nested(false), nested(false), entry.Means{Temp: tempID}, 2},
	{"nested, old id alone", nested(false), nested(false), entry.Means{OldAlone: true}, 1},
	{"nested, new id alone", nested(false), nested(false), entry.Means{NewAlone: true}, 1},
	{"nested, parents alike, temporary id", nested(true), nested(true), entry.Means{Temp: tempID, Alike: parentsAlike}, 2},
	{"nested, parents alike, old id alone", nested(true), nested(true), entry.Means{OldAlone: true, Alike: parentsAlike}, 1},
	{"nested, parents alike, new id alone", nested(true), nested(true), entry.Means{NewAlone: true, Alike: parentsAlike}, 1},
	{"second stage to nested", onSecond, nested(false), entry.Means{}, 1},
	{"nested to second stage", nested(false), onSecond, entry.Means{}, 0},
	{"nested to pass-through", nested(false), passing, entry.Means{}, 0},
}

// reader is a unit that is explored.
type reader struct {
	name    string
	config  vtd.Config
	reverse bool
}

func readers() []reader {
	with := vtd.DefaultConfig()
	without := vtd.DefaultConfig()
	without.ContextCache, without.PASIDCache, without.IOTLB, without.Walk = iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}, nil
	return []reader{
		{"with caches", with, false}, {"without caches", without, false},
		{"with caches, descending", with, true}, {"without caches, descending", without, true},
	}
}

// In every legal order of loads and stores, with every copy that a cache may hold: a request sees the
// old translation or the new one, an entry that was declared, and after the rewrite only the new.
func TestPlanned_IsHitless(t *testing.T) {
	for _, m := range plannedMoves {
		for _, r := range readers() {
			t.Run(m.name+", "+r.name, func(t *testing.T) {
				x := newMove(t, r, m.from, m.to, m.means)
				require.Equal(t, m.syncs+1, x.plan.Syncs)
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Len(t, rep.Old, 1)
				require.Len(t, rep.New, 1)
				require.NotEqual(t, rep.Old[0].PA, rep.New[0].PA)
				require.Empty(t, rep.Torn(x.at, x.states()...))
				require.Empty(t, rep.Stale())
				for _, s := range x.wrong(rep) {
					t.Errorf("status %d, pa %#x\n%s", s.Status, uint64(s.PA), Timeline(&x.Scenario, &s))
				}
				for _, s := range x.states() { // each is met by some request
					require.True(t, slices.ContainsFunc(rep.All, func(o Seen) bool {
						return o.Prov.Entry == vtd.PASIDVersion(s)
					}), "%#x", s)
				}
			})
		}
	}
}

// Each wait between two steps is needed: without one, an entry is assembled that was never declared -
// by a unit that reads its parts in the one order, or by one that reads them in the other.
func TestPlanned_WithoutAWaitIsTorn(t *testing.T) {
	for _, m := range plannedMoves {
		for drop := range m.syncs {
			t.Run(fmt.Sprintf("%s, wait %d", m.name, drop), func(t *testing.T) {
				torn := map[bool]int{}
				for _, r := range readers() {
					x := newMove(t, r, m.from, m.to, m.means)
					n := -1
					x.Program = slices.DeleteFunc(x.Program, func(s Step) bool {
						if s.Invalidate != nil {
							n++
						}
						return s.Invalidate != nil && n == drop
					})
					rep, err := Explore(&x.Scenario)
					require.NoError(t, err)
					n = len(rep.Torn(x.at, x.states()...))
					require.Equal(t, n > 0, len(x.wrong(rep)) > 0, "what is made of a torn entry is wrong")
					torn[r.reverse] += n
				}
				require.NotZero(t, torn[false]+torn[true])
				require.True(t, torn[false] == 0 || torn[true] == 0, "one order does no harm: that of the stores")
			})
		}
	}
}

// And so is each of the invalidations at the end, where there are caches.
func TestPlanned_WithoutAnInvalidationIsStale(t *testing.T) {
	for _, m := range plannedMoves {
		x := newMove(t, readers()[0], m.from, m.to, m.means)
		whole := x.Program
		last := len(whole) - 1
		for whole[last].Invalidate == nil { // what is cleaned up behind
			last--
		}
		x.Program = slices.Delete(slices.Clone(whole), last-1, last) // the PASID cache
		rep, err := Explore(&x.Scenario)
		require.NoError(t, err)
		require.NotEmpty(t, rep.Stale(), "%s: the entry before is still cached", m.name)

		x.Program = slices.Delete(slices.Clone(whole), last, last+1)
		rep, err = Explore(&x.Scenario)
		require.NoError(t, err)
		// The victim of translations under an id that the entry has given up is the id's next owner. The
		// new id that was gone by is this entry's own.
		require.Equal(t, m.means.NewAlone, len(rep.Stale()) > 0, m.name)
	}
}

// Who blocks the entry first lets requests fault, and does nothing else to them.
func TestBlockedFirst_OnlyFaults(t *testing.T) {
	for _, m := range plannedMoves {
		for _, r := range readers()[:2] {
			x := newMove(t, r, m.from, m.to, m.means)
			var err error
			x.plan, err = entry.VTD{CAP: spec.CapND.Put(6) | spec.CapSAGAW.Put(14), ECAP: ^uint64(0)}.PASID().PlanBlocked(x.old, x.new)
			require.NoError(t, err)
			x.follow()
			rep, err := Explore(&x.Scenario)
			require.NoError(t, err)
			require.Empty(t, rep.Stale())
			out := rep.Outside()
			require.NotEmpty(t, out)
			for _, s := range out {
				require.Equal(t, emu.Blocked, s.Status, Timeline(&x.Scenario, &s))
				require.Equal(t, uint16(vtd.FaultPASIDAbsent), s.Code)
			}
		}
	}
}

// Plain stores in ascending order, and one invalidation of what was there before: the entry is torn
// between two first stages, and what comes of it outlives the rewrite under the new id.
func TestNaive_FirstStageIsTornAndStale(t *testing.T) {
	for _, r := range readers() {
		x := newMove(t, r, onFirst, onFirst, entry.Means{OldAlone: true})
		last := x.plan.Steps[len(x.plan.Steps)-1]
		last.Entries, last.Made = [][]uint64{x.old}, [][]uint64{x.old}
		x.Program = nil
		for i, v := range x.new {
			x.Program = append(x.Program, Store64("word", x.at+emu.PA(i*8), v))
		}
		x.Program = append(x.Program, x.step(&last)...)
		rep, err := Explore(&x.Scenario)
		require.NoError(t, err)
		// Stores in ascending order harm who reads the first part later than the second, or just before.
		require.NotEmpty(t, rep.Torn(x.at, x.old, x.new))
		require.Equal(t, r.config.IOTLB.Ways > 0, len(rep.Stale()) > 0, r.name)
	}
}

// The next owner of a temporary id that was not flushed finds the tables of those before.
func TestPlanned_TemporaryIDNotFlushed(t *testing.T) {
	for _, flushed := range []bool{true, false} {
		x := newMove(t, readers()[0], onFirst, onFirst, entry.Means{Temp: tempID})
		last := &x.Program[len(x.Program)-1]
		if !flushed {
			last.Invalidate = slices.DeleteFunc(slices.Clone(last.Invalidate), func(s emu.Selector) bool { return s.Domain == tempID })
		}
		// The id's next owner is this very entry.
		next := slices.Clone(x.new)
		spec.PasidDID.Set(next, tempID)
		x.Program = append(x.Program, Store64("the id is given out", x.at+8, next[1]),
			Sync("PASID cache", emu.Selector{Caches: emu.CachePASID.Set(), Match: emu.MatchDomain | emu.MatchPASID, Domain: uint32(spec.PasidDID.Get(x.new))}),
			Sync("IOTLB", emu.Selector{Caches: emu.CacheIOTLB.Set() | emu.CacheWalk.Set(), Match: emu.MatchDomain, Domain: uint32(spec.PasidDID.Get(x.new))}))
		rep, err := Explore(&x.Scenario)
		require.NoError(t, err)
		require.Equal(t, flushed, len(rep.Stale()) == 0)
	}
}
