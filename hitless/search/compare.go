package search

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
)

// Explore is hitless.Explore by searching: a report of what the machine can do while the program runs, and
// undisturbed with memory as before its first step and as behind its last.
//
// Errors: those of Run.
func Explore(sc *hitless.Scenario, b Bounds) (*hitless.Report, error) {
	undisturbed := func(steps []hitless.Step) (*Result, error) {
		alone := *sc
		alone.Memory, alone.Program = settled(sc.Memory, steps), nil
		return Run(&alone, b)
	}
	old, err := undisturbed(nil)
	if err != nil {
		return nil, err
	}
	new, err := undisturbed(sc.Program)
	if err != nil {
		return nil, err
	}
	all, err := Run(sc, b)
	if err != nil {
		return nil, err
	}
	return &hitless.Report{
		Old: old.Seen, New: new.Seen, All: all.Seen, States: all.States, Rounds: 1,
		Held: all.Held, HeldOld: old.Held, HeldNew: new.Held,
	}, nil
}

// rewritten is memory with stores on top, for loads: requests store to the machine's own.
type rewritten struct {
	memory
	id int32
}

func settled(base emu.Memory, steps []hitless.Step) emu.Memory {
	r := &rewritten{memory: newMemory(&hitless.Scenario{Memory: base})}
	for i := range steps {
		r.id = r.stored(r.id, steps[i].Addr, steps[i].Data[:steps[i].Size/8])
	}
	return r
}

func (r *rewritten) Load(at emu.PA, size uint8, v *[4]uint64) (ok bool) {
	*v, ok = r.load(r.id, at, size)
	return ok
}
func (*rewritten) Store(emu.PA, uint8, *[4]uint64) bool { return false }
func (*rewritten) CAS(emu.PA, uint8, *[4]uint64, *[4]uint64, *[4]uint64) (swapped, ok bool) {
	return false, false
}
func (*rewritten) Or(emu.PA, uint64) (found uint64, ok bool) { return 0, false }

// Difference is something that one report has and another has not.
type Difference struct {
	What string   // one line
	Path []string // that leads there
}

// Missing returns what report a found that report b did not: ways by their end, provenance, and whether they began
// when the program was over; copies by cache, key, value, and whether they are there when it is over.
func Missing(a, b *hitless.Report) (list []Difference) {
	for _, c := range []struct {
		when         string
		a, b         []hitless.Seen
		heldA, heldB []hitless.Copy
	}{
		{"undisturbed under the old content", a.Old, b.Old, a.HeldOld, b.HeldOld},
		{"undisturbed under the new content", a.New, b.New, a.HeldNew, b.HeldNew},
		{"meanwhile", a.All, b.All, a.Held, b.Held},
	} {
		list = append(list, missingWays(c.when, c.a, c.b)...)
		list = append(list, missingCopies(c.when, c.heldA, c.heldB)...)
	}
	return list
}

func missingWays(when string, a, b []hitless.Seen) (list []Difference) {
	told := map[way]bool{}
	for i := range b {
		told[wayOf(&b[i])] = true
	}
	for i := range a {
		w := wayOf(&a[i])
		if told[w] {
			continue
		}
		told[w] = true
		began := "before"
		if w.after {
			began = "after"
		}
		list = append(list, Difference{fmt.Sprintf("%s: a request that began %s the end: status %d, fault %#x, at %#x, leaf %#x, entry %#x, filled under %#x",
			when, began, w.status, w.code, uint64(w.pa), uint64(w.prov.Leaf), w.prov.Entry, w.prov.Fill), a[i].Path})
	}
	return list
}

func wayOf(s *hitless.Seen) way {
	return way{s.Status, s.Code, s.PA, s.Data, s.Prov, s.After}
}

// missingCopies takes a copy that is there at the end for one that has been there, too.
func missingCopies(when string, a, b []hitless.Copy) (list []Difference) {
	for i := range a {
		c := &a[i]
		same := func(o hitless.Copy) bool {
			return o.Cache == c.Cache && o.Key == c.Key && o.Val == c.Val && (o.AtEnd || !c.AtEnd)
		}
		if slices.ContainsFunc(b, same) || slices.ContainsFunc(a[:i], same) {
			continue
		}
		still := ""
		if c.AtEnd {
			still = ", at the end too"
		}
		list = append(list, Difference{fmt.Sprintf("%s: cache %d for %#x under %#x: %#x%s", when, c.Cache, c.Key.Addr, uint64(c.Key.Tag), c.Val, still), c.Path})
	}
	return list
}
