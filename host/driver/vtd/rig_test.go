package vtd

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// spy is the processor of a functional machine that keeps what the driver did.
type spy struct {
	*emu.Functional
	writes []regWrite
	reads  map[uint32]int
	fake   func(off uint32, v uint64) uint64 // changes what a register reads as
	drop   map[uint32]bool                   // writes that get lost
	dirty  map[emu.PA]bool                   // cache lines stored and not flushed
	hook   func(off uint32)                  // before a register write
}

type regWrite struct {
	off uint32
	v   uint64
}

func (s *spy) ReadReg(u int, off uint32, size uint8) uint64 {
	s.reads[off]++
	v := s.Functional.ReadReg(u, off, size)
	if s.fake != nil {
		v = s.fake(off, v)
	}
	return v
}

func (s *spy) WriteReg(u int, off uint32, size uint8, v uint64) {
	if s.hook != nil {
		s.hook(off)
	}
	s.writes = append(s.writes, regWrite{off, v})
	if !s.drop[off] {
		s.Functional.WriteReg(u, off, size, v)
	}
}

func (s *spy) Store64(pa emu.PA, v uint64) {
	s.dirty[pa&^63] = true
	s.Functional.Store64(pa, v)
}

func (s *spy) Store128(pa emu.PA, lo, hi uint64) {
	s.dirty[pa&^63] = true
	s.Functional.Store128(pa, lo, hi)
}

func (s *spy) Zero(pa emu.PA, n int) {
	for l := pa; l < pa+emu.PA(n); l += 64 {
		s.dirty[l] = true
	}
	s.Functional.Zero(pa, n)
}

func (s *spy) CAS64(pa emu.PA, old, v uint64) bool {
	if old^v != 1<<52 { // software's own bit, which no walker looks at
		s.dirty[pa&^63] = true
	}
	return s.Functional.CAS64(pa, old, v)
}

func (s *spy) Flush(pa emu.PA, n int) {
	for l := pa &^ 63; l < pa+emu.PA(n); l += 64 {
		delete(s.dirty, l)
	}
}

// tester is a test or a property.
type tester interface {
	require.TestingT
	Helper()
}

// rig is a functional machine with a driver.
type rig struct {
	t      tester
	mem    *mem.Memory
	unit   *hw.Unit
	cpu    *spy
	frames *host.Frames
	d      *Driver
	faults []host.FaultRecord
	// through are devices with a device-TLB: what they access goes through it.
	through map[emu.SourceID]*endpoint
}

const (
	ramBase = 0x1000_0000 // table pages and driver structures
	ramSize = 1 << 30
	target  = emu.PA(0x8000_0000) // where tests map to
)

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
func machine(t tester, change ...func(*hw.Config)) *rig {
	c := hw.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	r := &rig{t: t, mem: mem.New(), unit: u}
	r.cpu = &spy{Functional: emu.NewFunctional(u, r.mem), reads: map[uint32]int{}, drop: map[uint32]bool{}, dirty: map[emu.PA]bool{}}
	r.cpu.OnATSInvalidate = func(*emu.Txn) bool { return true }
	r.frames, err = host.NewFrames(r.cpu, ramBase, ramSize)
	require.NoError(t, err)
	return r
}

// up starts a driver on the machine and turns translation on.
func (r *rig) up(o Options) *rig {
	if o.HAW == 0 {
		o.HAW = r.unit.Config().HAW
	}
	var err error
	r.d, err = New(r.cpu, r.frames, o)
	require.NoError(r.t, err)
	r.d.OnFault(func(f host.FaultRecord) { r.faults = append(r.faults, f) })
	require.NoError(r.t, r.d.Enable())
	return r
}

func start(t tester, change ...func(*hw.Config)) *rig { return machine(t, change...).up(Options{}) }

func (r *rig) domain(s host.DomainSpec) host.Domain {
	d, err := r.d.NewDomain(s)
	require.NoError(r.t, err)
	return d
}

// mapped returns a domain with one page at iova that goes to pa.
func (r *rig) mapped(iova emu.IOVA, pa emu.PA) host.Domain {
	d := r.domain(host.DomainSpec{})
	require.NoError(r.t, d.Map(iova, pa, 0x1000, emu.RW))
	return d
}

// in is mapped with the stage chosen.
func (r *rig) in(stage host.Stage, iova emu.IOVA, pa emu.PA) host.Domain {
	d := r.domain(host.DomainSpec{Stage: stage})
	require.NoError(r.t, d.Map(iova, pa, 0x1000, emu.RW))
	return d
}

func (r *rig) access(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA, a emu.Access) emu.Result {
	if e := r.through[sid]; e != nil {
		res, _ := e.access(pasid, iova, a)
		return res
	}
	var res emu.Result
	r.cpu.Translate(&emu.Request{Addr: iova, Source: sid, PASID: pasid, Len: 4, Access: a}, &res)
	return res
}

// reaches requires that a read goes to pa.
func (r *rig) reaches(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA, pa emu.PA) {
	r.t.Helper()
	res := r.access(sid, pasid, iova, emu.Read)
	require.Equal(r.t, emu.OK, res.Status, "fault %#x at %#x", res.Fault.Code, uint64(res.Fault.At))
	require.Equal(r.t, pa, res.PA)
}

// blocked requires that a read is refused.
func (r *rig) blocked(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA) emu.Result {
	r.t.Helper()
	res := r.access(sid, pasid, iova, emu.Read)
	require.Equal(r.t, emu.Blocked, res.Status, "goes to %#x", uint64(res.PA))
	return res
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
