package drivertest

import "github.com/iommulab/iommulab/emu"

// Spy is the processor of a functional machine that keeps what the driver did.
type Spy struct {
	*emu.Functional
	Writes []RegWrite
	Reads  map[uint32]int
	Fake   func(off uint32, v uint64) uint64 // changes what a register reads as
	Drop   map[uint32]bool                   // writes that get lost
	Dirty  map[emu.PA]bool                   // cache lines stored and not flushed
	Hook   func(off uint32)                  // before a register write
}

// RegWrite is one write to a register.
type RegWrite struct {
	Off uint32
	V   uint64
}

// ReadReg is that of the processor.
func (s *Spy) ReadReg(u int, off uint32, size uint8) uint64 {
	s.Reads[off]++
	v := s.Functional.ReadReg(u, off, size)
	if s.Fake != nil {
		v = s.Fake(off, v)
	}
	return v
}

// WriteReg is that of the processor.
func (s *Spy) WriteReg(u int, off uint32, size uint8, v uint64) {
	if s.Hook != nil {
		s.Hook(off)
	}
	s.Writes = append(s.Writes, RegWrite{off, v})
	if !s.Drop[off] {
		s.Functional.WriteReg(u, off, size, v)
	}
}

// Store64 is that of the processor.
func (s *Spy) Store64(pa emu.PA, v uint64) {
	s.Dirty[pa&^63] = true
	s.Functional.Store64(pa, v)
}

// Store128 is that of the processor.
func (s *Spy) Store128(pa emu.PA, lo, hi uint64) {
	s.Dirty[pa&^63] = true
	s.Functional.Store128(pa, lo, hi)
}

// Zero is that of the processor.
func (s *Spy) Zero(pa emu.PA, n int) {
	for l := pa; l < pa+emu.PA(n); l += 64 {
		s.Dirty[l] = true
	}
	s.Functional.Zero(pa, n)
}

// CAS64 is that of the processor.
func (s *Spy) CAS64(pa emu.PA, old, v uint64) bool {
	if old^v != 1<<52 && old^v != 1<<55 { // software's own bit, which no walker looks at
		s.Dirty[pa&^63] = true
	}
	return s.Functional.CAS64(pa, old, v)
}

// Flush is that of the processor.
func (s *Spy) Flush(pa emu.PA, n int) {
	for l := pa &^ 63; l < pa+emu.PA(n); l += 64 {
		delete(s.Dirty, l)
	}
}

// CAS128 is that of the processor.
func (s *Spy) CAS128(pa emu.PA, old, v [2]uint64) bool {
	s.Dirty[pa&^63] = true
	return s.Functional.CAS128(pa, old, v)
}
