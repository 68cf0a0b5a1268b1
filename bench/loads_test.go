package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
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

// TestNestedWalk_Loads counts what a nested translation reads on random access over 64 MiB: 24 entries
// without caches of paging structures, at most five with those of the default configuration.
func TestNestedWalk_Loads(t *testing.T) {
	for _, c := range []struct {
		name        string
		change      func(*vtd.Config)
		least, most float64
	}{
		{"no cache", func(c *vtd.Config) { c.IOTLB, c.Stage2, c.Walk, c.Walk2 = iotlb.Geometry{}, iotlb.Geometry{}, nil, nil }, 24, 24},
		{"default", func(*vtd.Config) {}, 1, 5},
		{"default without an IOTLB", func(c *vtd.Config) { c.IOTLB = iotlb.Geometry{} }, 1, 5},
	} {
		cfg := vtd.DefaultConfig()
		c.change(&cfg)
		r := newVTDOf(t, vtdNested, cfg)
		counted := &loads{Memory: r.mem}
		r.f = emu.NewFunctional(r.unit, counted)
		addrs := r.addrs(iotlbtest.Stream(1<<15, pages, 2))
		q := r.request(0)
		var res emu.Result
		for i, addr := range addrs {
			if i == len(addrs)/2 { // warm
				counted.n = 0
			}
			r.translate(&q, addr, &res)
			require.Equal(t, emu.OK, res.Status)
		}
		n := float64(counted.n) / float64(len(addrs)/2)
		require.GreaterOrEqual(t, n, c.least, c.name)
		require.LessOrEqual(t, n, c.most, c.name)
	}
}
