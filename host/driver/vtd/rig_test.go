package vtd

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// rig is a functional machine with a driver.
type rig struct {
	*drivertest.Rig
	t      drivertest.Tester
	mem    *mem.Memory
	cpu    *drivertest.Spy
	frames *host.Frames
	unit   *hw.Unit
	d      *Driver
}

const target = drivertest.Target // where tests map to

// scalable and legacy are the units most tests run on.
func scalable(*hw.Config) {}

func legacy(c *hw.Config) {
	c.NoScalable()
	c.ADMS = false
}

// noQueue is a unit that has none; interrupt remapping needs one.
func noQueue(c *hw.Config) {
	c.QI, c.IR, c.EIM, c.PI, c.MHMV = false, false, false, false, 0
}

// firstOnly has the first stage alone, nested has both and one on top of the other.
func firstOnly(c *hw.Config) { c.FSTS, c.SSTS, c.SSADS, c.NEST = true, false, false, false }
func nested(c *hw.Config)    { c.FSTS, c.NEST = true, true }

func withATS(c *hw.Config) { c.DT, c.NWFS = true, true }

// machine builds a unit and a processor.
func machine(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	c := hw.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	m := drivertest.New(t, u)
	return &rig{Rig: m, t: t, mem: m.Mem, cpu: m.CPU, frames: m.Frames, unit: u}
}

// up starts a driver on the machine and turns translation on.
func (r *rig) up(o Options) *rig {
	if o.HAW == 0 {
		o.HAW = r.unit.Config().HAW
	}
	var err error
	r.d, err = New(r.cpu, r.frames, o)
	require.NoError(r.t, err)
	r.Use(r.d)
	return r
}

func start(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	return machine(t, change...).up(Options{})
}

// during returns, decoded from the queue's memory, what f gave to the queue.
func (r *rig) during(f func()) []string {
	base, size, n, ok := r.d.Queue()
	require.True(r.t, ok)
	tail := func() int { return int(r.cpu.Functional.ReadReg(0, spec.OffIQT, 8)) / size }
	from := tail()
	f()
	var list []string
	for i := from; i != tail(); i = (i + 1) % n {
		at := base + emu.PA(i*size)
		list = append(list, decode([2]uint64{r.cpu.Load64(at), r.cpu.Load64(at + 8)}))
	}
	return list
}

// decode writes a descriptor in words. It takes the positions from the tables of 6.5.2, not from the
// driver.
func decode(w [2]uint64) string {
	bits := func(i, hi, lo uint) uint64 { return w[i] >> lo & (1<<(hi-lo+1) - 1) }
	did := bits(0, 31, 16)
	switch bits(0, 3, 0) {
	case 1:
		return fmt.Sprintf("context g%d did %d sid %x", bits(0, 5, 4), did, bits(0, 47, 32))
	case 2:
		if bits(0, 5, 4) == 3 {
			return fmt.Sprintf("iotlb did %d %#x am %d ih %d", did, w[1]&^0xfff, bits(1, 5, 0), bits(1, 6, 6))
		}
		return fmt.Sprintf("iotlb g%d did %d", bits(0, 5, 4), did)
	case 3:
		return fmt.Sprintf("devtlb sid %x %#x", bits(0, 47, 32), w[1])
	case 4:
		return fmt.Sprintf("interrupts g%d index %d im %d", bits(0, 4, 4), bits(0, 47, 32), bits(0, 31, 27))
	case 5:
		switch {
		case bits(0, 5, 5) == 0:
			return "fence"
		case bits(0, 7, 7) == 1:
			return "wait for page requests"
		}
		return "wait"
	case 6:
		if bits(0, 5, 4) == 3 {
			return fmt.Sprintf("piotlb did %d pasid %x %#x am %d ih %d", did, bits(0, 51, 32), w[1]&^0xfff, bits(1, 5, 0), bits(1, 6, 6))
		}
		return fmt.Sprintf("piotlb g%d did %d pasid %x", bits(0, 5, 4), did, bits(0, 51, 32))
	case 7:
		return fmt.Sprintf("pasid g%d did %d pasid %x", bits(0, 5, 4), did, bits(0, 51, 32))
	case 9:
		p := "-"
		if bits(0, 4, 4) == 1 {
			p = fmt.Sprintf("%x", bits(0, 51, 32))
		}
		return fmt.Sprintf("response sid %x pasid %s index %x code %x", bits(0, 31, 16), p, bits(1, 11, 3), bits(0, 15, 12))
	case 8:
		return fmt.Sprintf("pdevtlb sid %x pasid %x %#x", bits(0, 31, 16), bits(0, 51, 32), w[1])
	}
	return fmt.Sprintf("?%#x %#x", w[0], w[1])
}
