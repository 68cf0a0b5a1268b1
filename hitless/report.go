package hitless

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// Seen is one way a request can go.
type Seen struct {
	Status emu.Status // Pending: held until software lets the request go; it then ends at once, or as one that begins then
	Code   uint16     // fault code, if blocked or held
	PA     emu.PA
	Data   uint32 // of an interrupt message
	Prov   emu.Provenance
	// Entries are the structures that the request assembled from memory, in order. What it found in a
	// cache is not among them.
	Entries []Entry
	// After: the request began after the last host step, when the rewrite had been declared complete.
	After bool
	// Path tells what the request read and when, one line each.
	Path []string
	// Hits is how many lines of Path are copies found in a cache.
	Hits int

	who int // see walk
}

// Entry is a structure as the unit assembled it.
type Entry struct {
	Kind  emu.StructKind
	At    emu.PA
	Words [8]uint64 // 0 beyond the size of the structure
}

// Mark is a flag that a request sets in an entry that the program overwrites later.
type Mark struct {
	Addr     emu.PA
	Was, Now uint64 // the entry before and after
	Step     int    // of the program, from 0, that overwrites it first
	Path     []string
}

// same reports whether two ways cannot be told apart by who made the request.
func (s *Seen) same(o *Seen) bool {
	return s.Status == o.Status && s.Code == o.Code && s.PA == o.PA && s.Data == o.Data && s.Prov == o.Prov
}

// Report is what an exploration found. Its lists, and what its methods pick from All, have the
// simplest way first: the one with the fewest lines of Path, then with the fewest Hits.
type Report struct {
	Old, New []Seen // ways under the old and under the new entry, undisturbed
	All      []Seen // ways while the program runs, each with a simplest path that leads to it
	States   int    // distinct states of the last round; see state
	Rounds   int    // explorations until the cached copies grew no more

	// Marks are the flags that the request may set in an entry before the program overwrites it.
	Marks []Mark

	Held             []Copy // what caches may hold at some time while the program runs
	HeldOld, HeldNew []Copy // what they may under the old and under the new entry, undisturbed
}

// Outside returns the ways that are neither old nor new.
func (r *Report) Outside() []Seen {
	return r.pick(func(s *Seen) bool { return !s.in(r.Old) && !s.in(r.New) })
}

// Stale returns the ways of requests that began after the last host step and are not new.
func (r *Report) Stale() []Seen {
	return r.pick(func(s *Seen) bool { return s.After && !s.in(r.New) })
}

// Torn returns the ways on which the structure at at was assembled with a content that is none of the
// declared ones. Each of declared is the whole structure from its first word on; words that it leaves
// out are 0. Without any, every way that assembled the structure is returned.
//
// What a rewrite declares are the contents that a request may see: the old one, the new one, and what
// the writer itself puts there on purpose in between, as an entry that is not present. What memory
// holds after a step is not declared by that alone: each step of a torn rewrite is visible.
func (r *Report) Torn(at emu.PA, declared ...[]uint64) []Seen {
	whole := make([][8]uint64, len(declared))
	for i := range declared {
		copy(whole[i][:], declared[i])
	}
	return r.pick(func(s *Seen) bool {
		return slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.At == at && !slices.Contains(whole, e.Words) })
	})
}

func (r *Report) pick(want func(*Seen) bool) []Seen {
	var out []Seen
	for i := range r.All {
		if want(&r.All[i]) {
			out = append(out, r.All[i])
		}
	}
	return out
}

func (s *Seen) in(list []Seen) bool {
	return slices.ContainsFunc(list, func(o Seen) bool { return o.same(s) })
}

// Timeline writes the host's program on the left and what the request did on the right.
func Timeline(sc *Scenario, s *Seen) string { return PathTimeline(sc, s.Path) }

// PathTimeline does the same with the path of a request that filled a copy.
func PathTimeline(sc *Scenario, path []string) string {
	var b strings.Builder
	for i := range len(sc.Program) + 1 {
		if i > 0 {
			fmt.Fprintf(&b, "host %d   %s\n", i, sc.Program[i-1].String())
		}
		for _, line := range path {
			rest, ok := strings.CutPrefix(line, fmt.Sprintf("after step %d", i))
			if does, here := strings.CutPrefix(rest, ": "); ok && here {
				fmt.Fprintf(&b, "%50s %s\n", "unit", does)
			} else if early, here := strings.CutPrefix(rest, " and "); ok && here {
				fmt.Fprintf(&b, "%50s already visible: step %s\n", "unit", early)
			}
		}
	}
	return b.String()
}

func hex(v []uint64) string {
	s := make([]string, len(v))
	for i := range v {
		s[i] = fmt.Sprintf("%#x", v[i])
	}
	return strings.Join(s, " ")
}
