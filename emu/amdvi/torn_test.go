package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// A processor stores a DTE in two halves, and the unit reads it in one piece: between the stores it reads a
// mix, which has a version of its own if both halves steer translation. That is so only where
// GuestPagingMode changes.
func TestTornDTEIsRecognisedByItsVersion(t *testing.T) {
	type half = [2]uint64
	guest := func(r *rig, levels int) spec.DTE {
		g := r.guests(levels, 0, 0, giov)
		g.gmap(0, iova, 0x5000+uint64(levels)<<12, gAll|gA|gD)
		w := func(i emu.PA) uint64 { return r.Get(r.dte(dev) + 8*i) }
		return spec.DTE{w(0), w(1), w(2), w(3)}
	}
	host := func(r *rig, pa uint64) spec.DTE {
		top := r.Page()
		r.mapPage(top, iova, pa, pRW)
		return r.bind(dev, field{spec.DteMode, 3}, field{spec.DteHostRoot, uint64(top) >> 12})
	}
	for name, c := range map[string]struct {
		old, new func(r *rig) spec.DTE
		torn     bool
	}{
		"guest, 4 to 5 levels":  {func(r *rig) spec.DTE { return guest(r, 4) }, func(r *rig) spec.DTE { return guest(r, 5) }, true},
		"guest, the same depth": {func(r *rig) spec.DTE { return guest(r, 4) }, func(r *rig) spec.DTE { return guest(r, 4) }, false},
		"host to host":          {func(r *rig) spec.DTE { return host(r, 0x5000) }, func(r *rig) spec.DTE { return host(r, 0x6000) }, false},
		"host to guest":         {func(r *rig) spec.DTE { return host(r, 0x5000) }, func(r *rig) spec.DTE { return guest(r, 5) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t, noCaches)
			after := c.new(r)
			before := c.old(r) // in force
			vOld, vNew := amdvi.DTEVersion(before[:]), amdvi.DTEVersion(after[:])
			require.NotEqual(t, vOld, vNew)
			m := r.Timed(64)
			seen := map[uint64]int{}
			r.u.Observe(emutest.Observer(func(kind emu.StructKind, _ emu.PA, words []uint64) {
				if kind == emu.StructDevice {
					seen[amdvi.DTEVersion(words)]++
				}
			}))
			at := r.dte(dev)
			for step, v := range []half{half(after[2:]), half(after[:2])} { // upper half first, as drivers do
				m.Issue(20, dma(emu.Read))
				m.Machine.RunUntil(m.Machine.Now() + 200)
				m.CPU.Store128(at+emu.PA(16*(1-step)), v[0], v[1])
				m.CPU.Fence()
			}
			m.Issue(20, dma(emu.Read))
			m.Settle()
			require.NotZero(t, seen[vOld])
			require.NotZero(t, seen[vNew])
			mixed := len(seen) - 2
			require.Equal(t, c.torn, mixed == 1, "%x: %x to %x", seen, vOld, vNew)
			if !c.torn {
				require.Zero(t, mixed)
			}
		})
	}
}
