package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// Each access through the unit ends as plain maps say, on every unit.
func TestDriver_AgainstModel(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				o := v.opt
				o.LazyEntries = 4
				r := machine(rt, v.change...).up(o)
				first := drivertest.ModelDevices[0]
				if r.unit.Config().DT {
					e := r.Endpoint(r.NewBus(), first, func(c *hwdev.EndpointConfig) { c.Pages = 0 })
					r.Through = map[emu.SourceID]*drivertest.Endpoint{first: e}
				}
				s := drivertest.ModelSpec{Nested: r.d.caps.nest, PASIDs: r.d.Scalable(), Track: func(d host.Domain) bool {
					return arch{r.d}.CanTrack(d.(*driver.Domain))
				}}
				if c := &r.d.caps; c.first && c.second {
					s.Stages = []host.Stage{host.StageAny, host.StageFirst, host.StageSecond}
				}
				for _, sid := range drivertest.ModelDevices {
					if r.d.Scalable() {
						require.NoError(rt, r.d.Probe(sid, host.DeviceSpec{PASIDs: 128, ATS: sid == first}))
					}
				}
				r.RunModel(rt, s)
			})
		})
	}
}
