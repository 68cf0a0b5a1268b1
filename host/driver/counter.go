package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
)

// Stats counts what a driver did since it was made.
type Stats struct {
	Stores        uint64 // to memory: structures, tables, what goes to hardware, status words
	RegReads      uint64
	RegWrites     uint64
	Invalidations uint64 // requests given to hardware
	Waits         uint64 // completions waited for
	LazyFlushes   uint64 // times that collected ranges were flushed
	ForcedFlushes uint64 // those because an address was to be mapped again
	Faults        uint64 // records taken out of the unit
	LostFaults    uint64 // times that the unit reported an overflow
	PageRequests  uint64 // read from the unit
	PageGroups    uint64 // complete ones, handed on or refused
	PageOverflows uint64 // times that page requests were lost
}

// Counter is the processor, with stores counted.
type Counter struct {
	host.CPU
	stats *Stats
}

// Store64 counts.
func (c *Counter) Store64(pa emu.PA, v uint64) {
	c.stats.Stores++
	c.CPU.Store64(pa, v)
}

// Store128 counts.
func (c *Counter) Store128(pa emu.PA, lo, hi uint64) {
	c.stats.Stores++
	c.CPU.Store128(pa, lo, hi)
}

// CAS64 counts.
func (c *Counter) CAS64(pa emu.PA, old, v uint64) bool {
	c.stats.Stores++
	return c.CPU.CAS64(pa, old, v)
}

// CAS128 counts.
func (c *Counter) CAS128(pa emu.PA, old, v [2]uint64) bool {
	c.stats.Stores++
	return c.CPU.CAS128(pa, old, v)
}

// TableMemory is the processor as page tables see it.
type TableMemory struct {
	*Counter
	Coherent bool // the walker snoops
}

// Flush writes back what the walker would not see.
func (m *TableMemory) Flush(pa emu.PA, n int) {
	if !m.Coherent {
		m.Counter.Flush(pa, n)
	}
}

// Read reads a register of the unit.
func (c *Core) Read(off uint32, size uint8) uint64 {
	c.Count.RegReads++
	return c.CPU.ReadReg(c.Unit, off, size)
}

// Write writes a register of the unit.
func (c *Core) Write(off uint32, size uint8, v uint64) {
	c.Count.RegWrites++
	c.CPU.WriteReg(c.Unit, off, size, v)
}

// Poll waits until cond holds; what says in the error what was waited for.
//
// Errors: host.ErrTimeout.
func (c *Core) Poll(what string, cond func() bool) error {
	if c.CPU.Poll(cond, c.Timeout) {
		return nil
	}
	return fmt.Errorf("%s: unit %d: %s: %w", c.Name, c.Unit, what, host.ErrTimeout)
}
