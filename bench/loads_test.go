package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

// loads counts what is read.
type loads struct {
	emu.Memory
	n int
}

func (l *loads) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	l.n++
	return l.Memory.Load(pa, size, v)
}

// TestNestedWalk_Loads counts what a nested translation reads on random access over 64 MiB in pages of 4 KiB:
// every entry without caches of translations and of paging structures, at most five with those of the default
// configuration. AMD-Vi reads one more, the entry of its GCR3 table.
func TestNestedWalk_Loads(t *testing.T) {
	for _, unit := range []struct {
		name    string
		entries float64
		build   func(t *testing.T, s nestedCaches) *rig
	}{
		{"VT-d", 24, func(t *testing.T, s nestedCaches) *rig {
			c := vtd.DefaultConfig()
			s.leave(&c.IOTLB, &c.Stage2, &c.Walk, &c.Walk2)
			return &newVTDOf(t, vtdNested, c).rig
		}},
		{"AMD-Vi", 25, func(t *testing.T, s nestedCaches) *rig {
			c := amdvi.DefaultConfig()
			s.leave(&c.IOTLB, &c.Stage2, &c.Walk, &c.Walk2)
			if s == noCache {
				c.GCR3Cache = iotlb.Geometry{}
			}
			return &newAMDOf(t, amdNested, c).rig
		}},
		{"SMMUv3", 24, func(t *testing.T, s nestedCaches) *rig {
			c := smmuv3.DefaultConfig()
			s.leave(&c.IOTLB, &c.Stage2, &c.Walk, &c.Walk2)
			return &newSMMUOf(t, smmuNested, c).rig
		}},
	} {
		for _, c := range []struct {
			caches      nestedCaches
			least, most float64
		}{
			{noCache, unit.entries, unit.entries},
			{walkCaches, 1, 5},
			{allCaches, 1, 5},
		} {
			t.Run(unit.name+"/"+string(c.caches), func(t *testing.T) {
				n := loadsPerTranslation(t, unit.build(t, c.caches))
				t.Logf("%.3f loads per translation", n)
				require.GreaterOrEqual(t, n, c.least)
				require.LessOrEqual(t, n, c.most)
			})
		}
	}
}

// nestedCaches says which caches of the default configuration a unit has.
type nestedCaches string

const (
	noCache    nestedCaches = "no cache"
	walkCaches nestedCaches = "default without an IOTLB"
	allCaches  nestedCaches = "default"
)

// leave takes the other caches out of a configuration.
func (s nestedCaches) leave(tlb, stage2 *iotlb.Geometry, walk, walk2 *[]iotlb.Level) {
	if s != allCaches {
		*tlb = iotlb.Geometry{}
	}
	if s == noCache {
		*stage2, *walk, *walk2 = iotlb.Geometry{}, nil, nil
	}
}

// loadsPerTranslation is the mean over random pages, when the caches are warm.
func loadsPerTranslation(t *testing.T, r *rig) float64 {
	counted := &loads{Memory: r.mem}
	r.f = emu.NewFunctional(r.unit, counted)
	addrs := r.addrs(iotlbtest.Stream(1<<15, pages, 2))
	q := r.request(0)
	var res emu.Result
	for i, addr := range addrs {
		if i == len(addrs)/2 {
			counted.n = 0
		}
		r.translate(&q, addr, &res)
		require.Equal(t, emu.OK, res.Status)
	}
	return float64(counted.n) / float64(len(addrs)/2)
}
