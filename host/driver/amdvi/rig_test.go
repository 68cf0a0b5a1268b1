package amdvi

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
)

const (
	dev    = emu.SourceID(0x0310)
	target = drivertest.Target
)

// rig is a functional machine with a driver.
type rig struct {
	*drivertest.Rig
	unit *hw.Unit
	d    *Driver
}

// machine builds a unit and a processor.
func machine(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	c := hw.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	return &rig{Rig: drivertest.New(t, u), unit: u}
}

// up starts a driver on the machine and turns translation on.
func (r *rig) up(o Options) *rig {
	c := r.unit.Config()
	if o.HAW == 0 {
		o.HAW = c.PAsize
	}
	o.NoATS, o.NpCache = o.NoATS || !c.IotlbSup, o.NpCache || c.NpCache // the PCI capability
	if o.LastDevice == 0 {
		o.LastDevice = 0x1fff
	}
	var err error
	r.d, err = New(r.CPU, r.Frames, o)
	require.NoError(r.T, err)
	r.Use(r.d)
	return r
}

func start(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	return machine(t, change...).up(Options{})
}

// during returns, decoded from the buffer's memory, what f gave to the command buffer.
func (r *rig) during(f func()) []string {
	base, n := r.d.CommandBuffer()
	tail := func() int { return int(r.CPU.Functional.ReadReg(0, spec.OffCmdTail, 8)) / 16 }
	from := tail()
	f()
	var list []string
	for i := from; i != tail(); i = (i + 1) % n {
		at := base + emu.PA(i*16)
		list = append(list, decode([2]uint64{r.CPU.Load64(at), r.CPU.Load64(at + 8)}))
	}
	return list
}

// decode writes a command in words. It takes the positions from the tables of 2.4, not from the driver.
func decode(w [2]uint64) string {
	bits := func(i, hi, lo uint) uint64 { return w[i] >> lo & (1<<(hi-lo+1) - 1) }
	span := fmt.Sprintf("%#x", w[1]&^0xfff|bits(1, 0, 0))
	if w[1]&^0xfff|bits(1, 0, 0) == 0x7fff_ffff_ffff_f001 {
		span = "all"
	}
	switch bits(0, 63, 60) {
	case 1:
		switch w[0] & 7 {
		case 1:
			return "wait"
		case 4:
			return "fence"
		}
		return fmt.Sprintf("wait %d", w[0]&7)
	case 2:
		return fmt.Sprintf("dte %x", bits(0, 15, 0))
	case 3:
		s := fmt.Sprintf("pages %d", bits(0, 47, 32))
		if bits(1, 2, 2) == 1 {
			s += fmt.Sprintf(" pasid %x", bits(0, 19, 0))
		}
		s += " " + span
		if bits(1, 1, 1) == 1 {
			s += " pde"
		}
		return s
	case 4:
		s := fmt.Sprintf("iotlb %x", bits(0, 15, 0))
		if bits(1, 2, 2) == 1 {
			s += fmt.Sprintf(" pasid %x", bits(0, 55, 48)|bits(0, 23, 16)<<8|bits(0, 59, 56)<<16)
		}
		return s + " " + span
	case 5:
		return fmt.Sprintf("irt %x", bits(0, 15, 0))
	case 7:
		p := "-"
		if bits(1, 2, 2) == 1 {
			p = fmt.Sprintf("%x", bits(0, 51, 32))
		}
		return fmt.Sprintf("response %x pasid %s group %x status %x", bits(0, 15, 0), p, bits(1, 40, 32), bits(1, 47, 44))
	case 8:
		return "everything"
	}
	return fmt.Sprintf("?%#x %#x", w[0], w[1])
}

// noCaches takes away what a machine can do without.
func minimal(c *hw.Config) {
	m, _ := hw.Preset("minimal")
	*c = m
}

func preset(name string) func(*hw.Config) {
	return func(c *hw.Config) { *c, _ = hw.Preset(name) }
}

func noATS(c *hw.Config) {
	c.IotlbSup, c.InvIotlbTypeSup, c.PPRSup, c.PprEarlySup, c.PPRAutoRspSup, c.EPHSup = false, false, false, false, false, false
}

var _ host.Driver = (*Driver)(nil)
