package lab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/host/entry"
)

// pteKinds are the kinds that are entries of page tables.
func pteKinds() (list []*Kind) {
	for _, k := range Kinds() {
		if k.pte != nil {
			list = append(list, k)
		}
	}
	return list
}

// Hardware never sees anything but the old entry or the new one where software stores a word and drops what was
// made of the old one; each command that the plan has is needed.
func TestPTE_EachInvalidationIsNeeded(t *testing.T) {
	for _, k := range pteKinds() {
		for _, move := range [][2]string{{"block A", "block B"}, {"block A", "not present"}, {"block A", "table like A"}, {"table like A", "block A"}, {"block A, read-only", "block A"}} {
			from, to := k.formNamed(t, move[0]), k.formNamed(t, move[1])
			p, err := k.Plan(MatrixOptions(), entry.Hitless, from, to)
			require.NoError(t, err)
			if p.Verdict != entry.VerdictHitless {
				continue
			}
			for n := 1; n <= p.Invalidations; n++ {
				r, err := k.start(MatrixOptions(), entry.Hitless, from, to, n)
				require.NoError(t, err)
				res, err := r.explore()
				require.NoError(t, err)
				require.Equal(t, Unsafe, res.Found, "%s %s: %s to %s without command %d", k.IOMMU, k.Variant, move[0], move[1], n)
			}
		}
	}
}

// What was not present is in no cache: no command is needed. Units that cache it need one.
func TestPTE_NotPresentIsNotCached(t *testing.T) {
	for _, k := range pteKinds() {
		from, to := k.formNamed(t, "not present"), k.formNamed(t, "block A")
		p, err := k.Plan(MatrixOptions(), entry.Hitless, from, to)
		require.NoError(t, err)
		require.Zero(t, p.Invalidations, "%s %s", k.IOMMU, k.Variant)
		require.Len(t, p.Steps, 1)
	}
}

// A store over an entry that hardware marks must be a compare-and-swap. Who stores plainly loses the mark.
func TestPTE_PlainStoreLosesDirty(t *testing.T) {
	for _, k := range pteKinds() {
		from, to := k.formNamed(t, "block A, clean"), k.formNamed(t, "not present")
		p, err := k.Plan(MatrixOptions(), entry.Hitless, from, to)
		require.NoError(t, err)
		if k.table(MatrixOptions()).Dirty || k.Stage == 1 && k.IOMMU != "smmuv3" {
			require.True(t, p.Steps[0].Swap, "%s %s", k.IOMMU, k.Variant)
			for _, w := range []entry.Writer{entry.Linux, entry.Naive} {
				r, err := k.Explore(MatrixOptions(), w, from, to)
				require.NoError(t, err)
				require.Equal(t, Unsafe, r.Found)
				require.Contains(t, r.Counterexample, "nobody learns that the page is dirty")
				require.Contains(t, r.Reason, "loses the dirty flag")
			}
		}
	}
}
