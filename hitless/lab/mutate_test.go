package lab

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host/entry"
)

// mutant is a program with one mistake in it, as it may take effect: an invalidation that is not waited for
// can fall behind stores that come after it, or behind the end.
type mutant struct {
	name string
	// i and j are the steps that are swapped; without j, i is left out.
	i, j  int
	ways  [][]hitless.Step
	whole []hitless.Step // without the mistake
}

func isStore(s *hitless.Step) bool { return s.Size != 0 }
func isWait(s *hitless.Step) bool  { return s.Size == 0 && s.Invalidate == nil }
func isDrop(s *hitless.Step) bool  { return s.Invalidate != nil }

// mutants makes mistakes in a program: one invalidation or wait left out, two steps in the reverse order. Each step
// is a store, an invalidation or a wait.
func mutants(steps []hitless.Step) (list []mutant) {
	for i := range steps {
		if !isStore(&steps[i]) {
			m := slices.Delete(slices.Clone(steps), i, i+1)
			list = append(list, mutant{fmt.Sprintf("without step %d (%s)", i+1, &steps[i]), i, -1, effects(m), steps})
		}
		for j := i + 1; j < len(steps); j++ {
			a, b := steps[i], steps[j]
			a.Fence, b.Fence, a.Label, b.Label = false, false, "", ""
			if reflect.DeepEqual(a, b) {
				continue
			}
			m := slices.Clone(steps)
			m[i], m[j] = m[j], m[i]
			m[i].Fence, m[j].Fence = m[j].Fence, m[i].Fence
			list = append(list, mutant{fmt.Sprintf("steps %d (%s) and %d (%s) swapped", i+1, &steps[i], j+1, &steps[j]), i, j, effects(m), steps})
		}
	}
	return list
}

// effects returns the orders in which the steps of a program can take effect: the queue is processed in order,
// and an invalidation has taken effect when the next wait is over. What nobody waits for may not have taken
// effect in the end.
func effects(steps []hitless.Step) (list [][]hitless.Step) {
	var try func(done, queue []hitless.Step, rest []hitless.Step)
	try = func(done, queue, rest []hitless.Step) {
		if len(queue) > 0 { // the next of the queue takes effect now
			try(append(slices.Clip(done), queue[0]), queue[1:], rest)
		}
		switch {
		case len(rest) == 0:
			list = append(list, done)
		case isDrop(&rest[0]):
			try(done, append(slices.Clip(queue), rest[0]), rest[1:])
		case isStore(&rest[0]), len(queue) == 0:
			try(append(slices.Clip(done), rest[0]), queue, rest[1:])
		}
	}
	try(nil, nil, steps)
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(p []hitless.Step) bool {
		key := fmt.Sprint(p)
		dup := seen[key]
		seen[key] = true
		return dup
	})
}

// survives reports whether every way of a mutant is hitless.
func (r *run) survives(m *mutant) (bool, error) {
	for _, steps := range m.ways {
		bad := *r
		bad.steps = steps
		if !bad.reaches() {
			return false, nil
		}
		res, err := bad.explore()
		if err != nil || res.Found != Hitless {
			return false, err
		}
	}
	return true, nil
}

// reaches reports whether the program leaves the entry as it should be.
func (r *run) reaches() bool {
	states := r.report.States
	got := slices.Clone(states[0])
	for i := range r.steps {
		r.apply(got, &r.steps[i])
	}
	return r.f.Same(got, states[len(states)-1])
}

// A plan whose mistakes are looked for.
type planned struct {
	k        *Kind
	from, to Form
}

// hitlessPlans are the rewrites of the matrix for which the plan is hitless, but for those of page-table entries:
// see TestPTE_EachInvalidationIsNeeded.
func hitlessPlans(t *testing.T) (list []planned) {
	for _, k := range Kinds() {
		if k.pte != nil {
			continue
		}
		for _, from := range k.Forms[:k.Core] {
			for _, to := range k.Forms[:k.Core] {
				p, err := k.Plan(MatrixOptions(), entry.Hitless, from.Raw, to.Raw)
				require.NoError(t, err)
				if p.Verdict == entry.VerdictHitless && k.plain(&from, &to) {
					list = append(list, planned{k, from, to})
				}
			}
		}
	}
	return list
}

// plain reports whether the obligations have all that matters: not the order of the entries of a row, nor that no
// cache keeps a block with nT. For these there is TestPTE_MutantsAreCaught.
func (k *Kind) plain(from, to *Form) bool {
	return k.pte == nil || k.pte.BBML != 1 && k.Format(MatrixOptions()).Paging.Entries(from.Raw[0], to.Raw[0]) == 1
}

// Each mistake in a plan that is hitless is found: an invalidation or a wait left out, or two steps swapped; but
// for those that do no harm, and for each of these a class says why. Of the plans a sample without
// IOMMULAB_LONG.
func TestMutants_AreCaught(t *testing.T) {
	plans := hitlessPlans(t)
	if os.Getenv("IOMMULAB_LONG") == "" {
		plans = slices.DeleteFunc(plans, func(p planned) bool { return !slices.ContainsFunc(sample, p.is) })
		require.Len(t, plans, len(sample))
	}
	var mu sync.Mutex
	total := 0
	used := map[string]int{}
	next := make(chan planned)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for p := range next {
				n, found, err := p.mutate()
				mu.Lock()
				if err != nil {
					t.Errorf("%v: %v", p, err)
				}
				total += n
				for _, f := range found {
					used[f.class]++
				}
				mu.Unlock()
			}
		})
	}
	for _, p := range plans {
		next <- p
	}
	close(next)
	workers.Wait()
	t.Logf("%d plans, %d mistakes", len(plans), total)
	for _, class := range slices.Sorted(maps.Keys(used)) {
		t.Logf("%6d do no harm: %s", used[class], class)
	}
}

// sample are the plans that are mutated without IOMMULAB_LONG.
var sample = []string{
	"vtd context, table 1, id 1 to table 2, id 2",
	"vtd pasid, first 1, id 3 to first 2, id 4",
	"amdvi dte, v2 table 1, id 3 to v2 table 2, id 4",
	"smmuv3 ste, stage 2 table 1, VMID 1 to stage 2 table 2, VMID 2",
	"smmuv3 cd, table 1, ASID 1 to table 2, ASID 2",
}

func (p planned) String() string {
	return fmt.Sprintf("%s %s, %s to %s", p.k.IOMMU, p.k.Name, p.from.Name, p.to.Name)
}

func (p planned) is(name string) bool { return p.String() == name }
