package lab

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host/entry"
)

// mutant is a program with one mistake in it.
type mutant struct {
	name  string
	steps []hitless.Step
}

// mutants makes mistakes in a program: one wait left out, so that what was waited for may take effect as late
// as what is waited for next; two steps in the reverse order, but for those that are equal.
func mutants(steps []hitless.Step) (list []mutant) {
	for i, s := range steps {
		next := i + 1
		for next < len(steps) && steps[next].Invalidate == nil {
			next++
		}
		if s.Invalidate != nil && next < len(steps) {
			m := slices.Clone(steps)
			m[next].Invalidate = append(slices.Clone(s.Invalidate), m[next].Invalidate...)
			list = append(list, mutant{fmt.Sprintf("step %d not waited for", i+1), slices.Delete(m, i, i+1)})
		}
		for j := i + 1; j < len(steps); j++ {
			m := slices.Clone(steps)
			m[i], m[j] = m[j], m[i]
			m[i].Fence, m[j].Fence = m[j].Fence, m[i].Fence
			if !reflect.DeepEqual(m[i].Invalidate, steps[i].Invalidate) || s.Size != 0 {
				list = append(list, mutant{fmt.Sprintf("steps %d and %d swapped", i+1, j+1), m})
			}
		}
	}
	return list
}

// Why a mistake may do no harm.
const (
	together = "what one wait covers takes effect at once in an exploration; the order of the two is tried by swapping them"
	anyDrop  = "both hold back who has read a part of the entry, and the copies that each drops are whole ones"
	nobody   = "there is nothing that the command would drop: of that kind the two contents make nothing"
)

// mutated are the rewrites that mistakes are made in, and the mistakes that do no harm.
var mutated = []struct {
	iommu, kind, from, to string
	harmless              map[string]string
}{
	{"vtd", "context", "table 1, id 1", "table 2, id 2", map[string]string{"step 2 not waited for": together}},
	{"vtd", "pasid", "first 1, id 3", "first 2, id 4", map[string]string{"step 6 not waited for": together, "steps 2 and 4 swapped": anyDrop}},
	{"vtd", "pasid", "second 1, id 1", "first 1, id 3", map[string]string{"step 4 not waited for": together}},
	{"amdvi", "dte", "v1 table 1, id 1", "v1 table 2, id 2", map[string]string{"step 2 not waited for": together}},
	{"amdvi", "dte", "v2 table 1, id 3", "v2 table 2, id 4", map[string]string{"step 6 not waited for": together, "without command 5": nobody, "without command 7": nobody}},
	{"smmuv3", "ste", "stage 1, CDs 1", "stage 1, CDs 2", map[string]string{"step 2 not waited for": together}},
	{"smmuv3", "ste", "stage 2 table 1, VMID 1", "stage 2 table 2, VMID 2", map[string]string{"step 6 not waited for": together}},
	{"smmuv3", "cd", "table 1, ASID 1", "table 2, ASID 2", map[string]string{"step 6 not waited for": together}},
}

// Each mistake in a plan that is hitless is found: a command or a wait left out, or two steps swapped.
func TestMutants_AreCaught(t *testing.T) {
	for _, c := range mutated {
		k := find(t, c.iommu, c.kind)
		from, to := k.formNamed(t, c.from), k.formNamed(t, c.to)
		whole, err := k.start(MatrixOptions(), entry.Hitless, from, to, 0)
		require.NoError(t, err)
		all := mutants(whole.steps)
		for n := 1; n <= whole.report.Invalidations; n++ {
			r, err := k.start(MatrixOptions(), entry.Hitless, from, to, n)
			require.NoError(t, err)
			all = append(all, mutant{fmt.Sprintf("without command %d", n), r.steps})
		}
		harmless := map[string]bool{}
		for _, m := range all {
			r := *whole
			r.steps = m.steps
			res, err := r.explore()
			require.NoError(t, err)
			if res.Found == Hitless {
				harmless[m.name] = true
			}
		}
		for name := range harmless {
			require.Contains(t, c.harmless, name, "%s %s, %s to %s", c.iommu, c.kind, c.from, c.to)
		}
		require.Len(t, harmless, len(c.harmless), "%s %s, %s to %s: a mistake that was harmless is not", c.iommu, c.kind, c.from, c.to)
	}
}
