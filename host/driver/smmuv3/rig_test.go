package smmuv3

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/host"
)

// spy is the processor of a functional machine that keeps what the driver did.
type spy struct {
	*emu.Functional
	writes []regWrite
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
}

const (
	ramBase = 0x1000_0000 // table pages and driver structures
	ramSize = 1 << 30
	target  = emu.PA(0x8000_0000) // where tests map to
	dev     = emu.SourceID(0x0100)
)

// machine is a functional machine without driver.
func machine(t tester, mode func(*hw.Config)) *rig {
	c := hw.DefaultConfig()
	if mode != nil {
		mode(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	r := &rig{t: t, mem: mem.New(), unit: u}
	r.cpu = &spy{Functional: emu.NewFunctional(u, r.mem), drop: map[uint32]bool{}, dirty: map[emu.PA]bool{}}
	r.frames, err = host.NewFrames(r.cpu, ramBase, ramSize)
	require.NoError(t, err)
	return r
}

// newRig is a machine with a driver, translation on.
func newRig(t tester, mode func(*hw.Config), opt Options) *rig {
	r := machine(t, mode)
	require.NoError(t, r.boot(opt))
	require.NoError(t, r.d.Enable())
	return r
}

// boot brings a driver up.
func (r *rig) boot(opt Options) error {
	var err error
	if r.d, err = New(r.cpu, r.frames, opt); err == nil {
		r.d.OnFault(func(f host.FaultRecord) { r.faults = append(r.faults, f) })
	}
	return err
}

// domain makes a domain that maps 64 KiB at 0x10000 to pages of its own, by number.
func (r *rig) domain(s host.Stage, i int) host.Domain {
	dom, err := r.d.NewDomain(host.DomainSpec{Stage: s})
	require.NoError(r.t, err)
	require.NoError(r.t, dom.Map(0x10000, page(i), 0x10000, emu.RW))
	return dom
}

// page is where domain i maps to.
func page(i int) emu.PA { return target + emu.PA(i)<<20 }

func (r *rig) attach(sid emu.SourceID, pasid emu.PASID, dom host.Domain) {
	require.NoError(r.t, r.d.Attach(sid, pasid, dom))
}

// access makes a request and returns how it ended.
func (r *rig) access(sid emu.SourceID, pasid emu.PASID, addr emu.IOVA, a emu.Access) emu.Result {
	q := emu.Request{Addr: addr, Source: sid, PASID: pasid, Len: 8, Access: a}
	var res emu.Result
	r.cpu.Translate(&q, &res)
	return res
}

// reads is where a read of a device without PASID at 0x10000 ends; 0 if it is blocked.
func (r *rig) reads(sid emu.SourceID) emu.PA { return r.readsAs(sid, emu.NoPASID) }

func (r *rig) readsAs(sid emu.SourceID, pasid emu.PASID) emu.PA {
	res := r.access(sid, pasid, 0x10000, emu.Read)
	if res.Status != emu.OK {
		return 0
	}
	return res.PA
}
