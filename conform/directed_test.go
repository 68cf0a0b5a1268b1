package conform_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
)

// IOMMULAB_UPDATE=1 writes a program for each known deviation that has none: the first generated one that
// shows it, shrunken.
func TestDirected_WritesWhatIsMissing(t *testing.T) {
	if os.Getenv("IOMMULAB_UPDATE") == "" {
		t.Skip("skipped: writes files, with IOMMULAB_UPDATE=1")
	}
	for _, target := range conform.Targets("") {
		missing := make(map[string]string)
		for _, d := range target.Deviations() {
			if d.Unseen == "" {
				missing[d.ID] = d.What
			}
		}
		programs, err := conform.Directed(target)
		require.NoError(t, err)
		for _, p := range programs {
			for _, id := range p.Shows {
				delete(missing, id)
			}
		}
		if len(missing) == 0 {
			continue
		}
		r, _, err := conform.Pair(target, peer(t, target))
		require.NoError(t, err)
		for seed := uint64(1); len(missing) > 0 && seed < 20_000; seed++ {
			p := target.Generate(seed, machineOf(target))
			o, err := r.Run(p)
			require.NoError(t, err)
			for id, what := range missing {
				if o.Seen[id] == 0 || !o.Same() {
					continue
				}
				delete(missing, id)
				small, err := conform.ShrinkTo(r, p, id, conform.ShrinkLimit)
				require.NoError(t, err)
				small.About, small.Shows, small.Seed = []string{what}, []string{id}, 0
				file := filepath.Join("testdata", target.IOMMU, target.Mode, id+".conform")
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(lines(t, small)), 0o644))
			}
		}
		require.Empty(t, missing, "%s %s: nothing shows it", target.IOMMU, target.Mode)
	}
}
