package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

type variant struct {
	name   string
	change []func(*hw.Config)
	opt    Options
}

// variants are units that a driver meets.
var variants = []variant{
	{"default", nil, Options{}},
	{"full", []func(*hw.Config){preset("full")}, Options{}},
	{"zen2", []func(*hw.Config){preset("zen2")}, Options{}},
	{"zen1", []func(*hw.Config){preset("zen1")}, Options{}},
	{"qemu", []func(*hw.Config){preset("qemu")}, Options{}},
	{"minimal", []func(*hw.Config){minimal}, Options{LastDevice: 0x7ff}},
	{"segments", nil, Options{Segments: 3}},
	{"without ATS", []func(*hw.Config){noATS}, Options{}},
	{"NpCache", []func(*hw.Config){func(c *hw.Config) { c.NpCache = true }}, Options{}},
	{"NpCache said, not there", nil, Options{NpCache: true}},
	{"8-bit destinations", nil, Options{XAPIC: true}},
	{"no interrupts", []func(*hw.Config){func(c *hw.Config) { c.XTSup, c.MsiCapMmioSup = false, false }}, Options{}},
}

func TestBringUp_EveryUnit(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			r := machine(t, v.change...).up(v.opt)
			r.Blocked(dev, emu.NoPASID, 0x10000)
			a := r.Mapped(0x10000, target)
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
			r.Reaches(dev, emu.NoPASID, 0x10010, target+0x10)
			r.Blocked(dev, emu.NoPASID, 0x11000)

			require.NoError(t, a.Map(0x11000, target+0x5000, 0x1000, emu.Read))
			r.Reaches(dev, emu.NoPASID, 0x11000, target+0x5000)
			require.Equal(t, emu.Blocked, r.Access(dev, emu.NoPASID, 0x11000, emu.Write).Status)

			require.NoError(t, a.Map(0x4000_0000, target, 1<<30, emu.RW))
			r.Reaches(dev, emu.NoPASID, 0x4123_4567, target+0x123_4567)
			n, err := a.Unmap(0x4000_0000, 1<<30)
			require.NoError(t, err)
			require.Equal(t, uint64(1<<30), n)
			r.Blocked(dev, emu.NoPASID, 0x4123_4567)

			for i, w := range entry.Writers() {
				b := r.Mapped(0x11000, target+emu.PA(i+8)<<12)
				rep, err := r.d.Replace(dev, emu.NoPASID, b, w)
				require.NoError(t, err)
				require.NotEqual(t, entry.VerdictNop, rep.Verdict)
				r.Reaches(dev, emu.NoPASID, 0x11000, target+emu.PA(i+8)<<12)
				require.Equal(t, b, r.d.Attached(dev, emu.NoPASID))
			}
			require.NoError(t, r.d.Detach(dev, emu.NoPASID))
			r.Blocked(dev, emu.NoPASID, 0x11000)
			require.NoError(t, r.d.Release(dev))
			require.NoError(t, r.d.Shutdown())
			r.Reaches(dev, emu.NoPASID, 0x11000, 0x11000)
		})
	}
}

// Each access through the unit ends as plain maps say, on every unit.
func TestDriver_AgainstModel(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				o := v.opt
				o.LazyEntries, o.LastDevice = 4, 0x1234
				r := machine(rt, v.change...).up(o)
				first := drivertest.ModelDevices[0]
				if r.d.caps.ats {
					e := r.Endpoint(r.NewBus(), first, func(c *hwdev.EndpointConfig) { c.Pages = 0 })
					r.Through = map[emu.SourceID]*drivertest.Endpoint{first: e}
				}
				c := &r.d.caps
				s := drivertest.ModelSpec{
					Nested: c.guestLevels != 0, PASIDs: c.pasids != 0, Refuses: true, DirtyReads: r.d.caps.ats, Absence: r.d.opt.NpCache,
					Track: func(d host.Domain) bool { return arch{r.d}.CanTrack(d.(*driver.Domain)) },
				}
				if c.guestLevels != 0 {
					s.Stages = []host.Stage{host.StageAny, host.StageFirst, host.StageSecond}
				}
				for _, sid := range drivertest.ModelDevices {
					require.NoError(rt, r.d.Probe(sid, host.DeviceSpec{PASIDs: min(c.pasids, 128), ATS: sid == first}))
				}
				r.RunModel(rt, s)
			})
		})
	}
}
