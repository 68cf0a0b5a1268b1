package smmuv3

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
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
	deaf bool // the processor has no interrupt lines
}

// machine builds a unit and a processor.
func machine(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	c := hw.DefaultConfig()
	c.SIDSIZE = 16
	for _, f := range change {
		f(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	return &rig{Rig: drivertest.New(t, u), unit: u}
}

// up starts a driver on the machine and turns translation on.
func (r *rig) up(o Options) *rig {
	var err error
	var cpu host.CPU = r.CPU
	if r.deaf {
		cpu = struct{ host.CPU }{r.CPU}
	}
	r.d, err = New(cpu, r.Frames, o)
	require.NoError(r.T, err)
	r.Use(r.d)
	return r
}

func start(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	return machine(t, change...).up(Options{})
}

// Units that differ from a present-day one.
func stage1Only(c *hw.Config) {
	c.S2P, c.HYP, c.XNX, c.FWB = false, false, false, false
}

func stage2Only(c *hw.Config) {
	c.S1P, c.HYP, c.SSIDSIZE, c.CD2L, c.PASIDTT = false, false, 0, false, false
}

func noSubstreams(c *hw.Config) { c.SSIDSIZE, c.PASIDTT = 0, false }
func noFlags(c *hw.Config)      { c.HTTU = spec.HTTUNone }
func noMessages(c *hw.Config)   { c.MSI = false }
func noRanges(c *hw.Config)     { c.RIL = false }
func smallIDs(c *hw.Config)     { c.ASID16, c.VMID16 = false, false }
func linear(c *hw.Config)       { c.SIDSIZE, c.STLevel = 6, spec.STLevelLinear }
func flatCDs(c *hw.Config)      { c.CD2L = false }
func stalls(c *hw.Config)       { c.StallModel, c.StallMax = spec.StallBoth, 16 }
func neverStall(c *hw.Config)   { c.StallModel, c.StallMax = spec.StallNever, 0 }
func noATS(c *hw.Config)        { c.ATS, c.PRI, c.ATSRECERR = false, false, false }

// during returns, decoded from the queue's memory, what f gave to the command queue.
func (r *rig) during(f func()) []string {
	base, n := r.d.Queue()
	prod := func() int { return int(r.CPU.Functional.ReadReg(0, spec.OffCMDQProd, 4)) }
	from := prod()
	f()
	var list []string
	for i := from; i != prod(); i = (i + 1) % (2 * n) {
		at := base + emu.PA(i%n*16)
		list = append(list, decode([2]uint64{r.CPU.Load64(at), r.CPU.Load64(at + 8)}))
	}
	return list
}

// decode writes a command in words. It takes the positions from the tables of chapter 4, not from the driver.
func decode(w [2]uint64) string {
	bits := func(i, hi, lo uint) uint64 { return w[i] >> lo & (1<<(hi-lo+1) - 1) }
	leaf := map[uint64]string{0: "", 1: " leaf"}[bits(1, 0, 0)]
	where := func() string {
		s := fmt.Sprintf(" %#x%s", w[1]&^0xfff, leaf)
		if tg := bits(1, 11, 10); tg != 0 {
			s += fmt.Sprintf(" %dx2^%d of %dK", bits(0, 16, 12)+1, bits(0, 25, 20), []int{0, 4, 16, 64}[tg])
		}
		return s
	}
	switch op := bits(0, 7, 0); op {
	case 0x03:
		return fmt.Sprintf("CFGI_STE %#x%s", bits(0, 63, 32), leaf)
	case 0x04:
		return fmt.Sprintf("CFGI_STE_RANGE %#x %d", bits(0, 63, 32), bits(1, 4, 0))
	case 0x05:
		return fmt.Sprintf("CFGI_CD %#x %d%s", bits(0, 63, 32), bits(0, 31, 12), leaf)
	case 0x10:
		return fmt.Sprintf("NH_ALL vmid %d", bits(0, 47, 32))
	case 0x11:
		return fmt.Sprintf("NH_ASID vmid %d asid %d", bits(0, 47, 32), bits(0, 63, 48))
	case 0x12:
		return fmt.Sprintf("NH_VA vmid %d asid %d", bits(0, 47, 32), bits(0, 63, 48)) + where()
	case 0x13:
		return fmt.Sprintf("NH_VAA vmid %d", bits(0, 47, 32)) + where()
	case 0x20:
		return "EL2_ALL"
	case 0x28:
		return fmt.Sprintf("S12_VMALL vmid %d", bits(0, 47, 32))
	case 0x2a:
		return fmt.Sprintf("S2_IPA vmid %d", bits(0, 47, 32)) + where()
	case 0x30:
		return "NSNH_ALL"
	case 0x40:
		s := fmt.Sprintf("ATC_INV %#x", bits(0, 63, 32))
		if bits(0, 11, 11) != 0 {
			s += fmt.Sprintf(" ssid %d", bits(0, 31, 12))
		}
		return s + fmt.Sprintf(" %#x 2^%d", w[1]&^0xfff, bits(1, 5, 0))
	case 0x41:
		return fmt.Sprintf("PRI_RESP %#x group %d %d", bits(0, 63, 32), bits(1, 8, 0), bits(1, 13, 12))
	case 0x44:
		return fmt.Sprintf("RESUME %#x stag %d ac %d ab %d", bits(0, 63, 32), bits(1, 15, 0), bits(0, 12, 12), bits(0, 13, 13))
	case 0x45:
		return fmt.Sprintf("STALL_TERM %#x", bits(0, 63, 32))
	case 0x46:
		return map[uint64]string{0: "SYNC", 1: "SYNC message", 2: "SYNC event"}[bits(0, 13, 12)]
	case 0: // a SYNC that has written over its own first word
		return "SYNC done"
	default:
		return fmt.Sprintf("command %#x", op)
	}
}

// page is where the domain with a number maps to.
func page(i int) emu.PA { return target + emu.PA(i)<<20 }

const iova = emu.IOVA(0x10000)

// stage makes a domain that maps iova to a page of its own, by number.
func (r *rig) stage(s host.Stage, i int) host.Domain { return r.In(s, iova, page(i)) }
