package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// Dirty flags are read and cleared while devices write: of no page that was written later than a
// reading ended is the flag missing in the readings behind. Without the invalidation writes get lost.
func TestTimed_NoWriteIsLostToDirtyTracking(t *testing.T) {
	preset, err := timing.LoadPreset("default")
	require.NoError(t, err)
	for i, c := range drivertest.Tracked {
		for _, omit := range []entry.Omit{0, entry.OmitIOTLB} {
			d, m, cpu, _ := timed(t, "default", nested)
			lost := drivertest.LostWrites(t, i, d, m, cpu, dev, preset.Link, func() { d.SetOmit(omit) })
			require.Equal(t, omit != 0, lost > 0, "%s: %d of %d pages lost", c.Name, lost, drivertest.DirtyPages)
		}
	}
}
