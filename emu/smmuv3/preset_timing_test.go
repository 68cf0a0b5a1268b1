package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/timing"
)

// A unit can be built with the caches of every timing preset, and translates with them.
func TestCachesOfTimingPresets(t *testing.T) {
	for _, name := range timing.PresetNames() {
		p, err := timing.LoadPreset(name)
		require.NoError(t, err)
		n := newNested(t, func(c *smmuv3.Config) {
			k := &p.Caches
			c.STECache, c.CDCache, c.IOTLB, c.Stage2 = k.Entry, k.PASID, k.IOTLB, k.Stage2
			c.Walk, c.Walk2 = smmuv3.WalkLevels(k.Walk), smmuv3.WalkLevels(k.Walk2)
		})
		n.leaf(iova, 0x77_0000, s1RW)
		n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
		for range 3 {
			n.RequireOK(n.Do(dma(emu.Write)), 0x99_0000)
		}
	}
}
