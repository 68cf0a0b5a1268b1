package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// variants are the units and settings that are tested against plain maps.
var variants = []struct {
	name   string
	change []func(*hw.Config)
	opt    Options
}{
	{"present-day", nil, Options{}},
	{"no SubstreamIDs", []func(*hw.Config){noSubstreams}, Options{}},
	{"no SubstreamIDs, temporary ASIDs", []func(*hw.Config){noSubstreams}, Options{Move: MoveASID}},
	{"stage 1 only, no flags", []func(*hw.Config){stage1Only, noFlags}, Options{}},
	{"stage 2 only, no messages", []func(*hw.Config){stage2Only, noMessages}, Options{}},
	{"one interrupt line", nil, Options{Wires: true, Combined: true}},
	{"no ranges, small ids", []func(*hw.Config){noRanges, smallIDs}, Options{}},
	{"linear tables", []func(*hw.Config){flatCDs}, Options{Linear: true, StreamBits: 13, Move: MoveASID}},
	{"CD leaves of 64 KiB, polling", nil, Options{CDFormat: 2, PollCons: true}},
	{"16 bytes at a time", []func(*hw.Config){func(c *hw.Config) { c.FetchSize = 16 }}, Options{Wide: true, Move: MoveASID}},
	{"52 bits", []func(*hw.Config){preset("full")}, Options{}},
}

// Each access through the unit ends as plain maps say, on every unit.
func TestDriver_AgainstModel(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				o := v.opt
				o.LazyEntries = 4
				r := machine(rt, v.change...).up(o)
				first := drivertest.ModelDevices[0]
				c := r.unit.Config()
				if c.ATS {
					e := r.Endpoint(r.NewBus(), first, func(c *hwdev.EndpointConfig) { c.Pages = 0 })
					r.Through = map[emu.SourceID]*drivertest.Endpoint{first: e}
				}
				s := drivertest.ModelSpec{PASIDs: c.S1P && c.SSIDSIZE > 0, Refuses: true, Track: func(d host.Domain) bool {
					return arch{r.d}.CanTrack(d.(*driver.Domain))
				}}
				if c.S1P && c.S2P {
					s.Stages = []host.Stage{host.StageAny, host.StageFirst, host.StageSecond}
					s.Nested = true
					asid := uint16(0)
					s.Guest = func() guest.Spec {
						asid++
						return guest.Spec{Kind: guest.Arm{ASID: asid, Flags: r.d.caps.flags}}
					}
				}
				for _, sid := range drivertest.ModelDevices {
					p := host.DeviceSpec{ATS: sid == first}
					if s.PASIDs {
						p.PASIDs = 128
					}
					require.NoError(rt, r.d.Probe(sid, p))
				}
				r.RunModel(rt, s)
			})
		})
	}
}
