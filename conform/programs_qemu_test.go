package conform_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/internal/qemutest"
)

// peer starts QEMU in the mode of a target.
func peer(t *testing.T, target *conform.Target) conform.Peer {
	mode, err := qemu.ParseMode(target.IOMMU, target.PeerMode())
	require.NoError(t, err)
	return qemutest.Peer(t, qemu.Options{Mode: mode})
}

// Our unit and QEMU's differ in the known ways only, and in all of them. .ci/run has many more programs.
func TestPrograms_OnQEMU(t *testing.T) {
	for _, target := range conform.Targets("") {
		t.Run(target.IOMMU+"/"+target.Mode, func(t *testing.T) {
			mode, err := qemu.ParseMode(target.IOMMU, target.PeerMode())
			require.NoError(t, err)
			first := qemutest.Peer(t, qemu.Options{Mode: mode})
			id, err := target.ReadIdentity(first)
			require.NoError(t, err)
			if id != target.Words {
				qemutest.Need(t, fmt.Errorf("%s has identity registers %#x, the known deviations are those of a unit with %#x: %w", first.Name(), id, target.Words, qtest.ErrUnsupported), "known deviations")
			}

			doc, err := conform.Campaign(context.Background(), conform.Options{
				Targets: []*conform.Target{target}, Programs: 30, Seed: 1, Jobs: 2, Directed: conform.Directed,
				Open: func(*conform.Target) (conform.Peer, error) { return qemu.Open(qemu.Options{Mode: mode}) },
				Keep: func(p *conform.Program, name string) (string, error) {
					t.Logf("%s\n%s", name, lines(t, p))
					return "", nil
				},
			})
			require.NoError(t, err)
			m := &doc.Modes[0]
			require.Empty(t, m.Differences)
			require.Empty(t, m.Gone)
			require.Empty(t, m.NotExpressed)
			require.Equal(t, 30, m.Programs)
		})
	}
}
