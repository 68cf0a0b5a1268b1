package conform_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
)

func TestShrink_FindsInjectedDefects(t *testing.T) {
	for _, target := range conform.Targets("") {
		for _, c := range defects[target.IOMMU] {
			t.Run(target.IOMMU+"/"+target.Mode+"/"+c.name, func(t *testing.T) {
				r := conform.NewRunner(target.Strict(), model(t, target, true), c.mutant(model(t, target, true)))
				p := firstDifferent(t, r, target, c.within)
				small, err := conform.Shrink(r, p, conform.ShrinkLimit)
				require.NoError(t, err)
				require.LessOrEqual(t, len(small.Steps), c.steps, "%v", lines(t, small))
				require.Less(t, len(small.Steps), len(p.Steps))
				require.Contains(t, small.About[0], c.want)

				o, err := r.Run(small)
				require.NoError(t, err)
				require.False(t, o.Same())

				again, err := conform.Shrink(r, p, conform.ShrinkLimit)
				require.NoError(t, err)
				require.Equal(t, lines(t, small), lines(t, again), "deterministic")

				// The file says the same as the program.
				back, err := conform.Parse(strings.NewReader(lines(t, small)), "")
				require.NoError(t, err)
				o2, err := r.Run(back)
				require.NoError(t, err)
				require.Equal(t, o.Failed, o2.Failed)
				require.Equal(t, len(o.Diffs), len(o2.Diffs))
			})
		}
	}
}

func firstDifferent(t *testing.T, r *conform.Runner, target *conform.Target, within int) *conform.Program {
	for seed := range uint64(within) {
		p := target.Generate(seed+1, machineOf(target))
		o, err := r.Run(p)
		require.NoError(t, err)
		if !o.Same() {
			return p
		}
	}
	require.Fail(t, "the defect was not found")
	return nil
}

func lines(t *testing.T, p *conform.Program) string {
	var b strings.Builder
	require.NoError(t, p.Write(&b))
	return b.String()
}

func TestShrink_LeavesOthersAlone(t *testing.T) {
	target := conform.Targets("vtd")[0]
	r := conform.NewRunner(target.Strict(), model(t, target, true), model(t, target, true))
	p := target.Generate(1, machineOf(target))
	q, err := conform.Shrink(r, p, 10)
	require.NoError(t, err)
	require.Same(t, p, q)
}
