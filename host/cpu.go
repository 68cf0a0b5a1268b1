// Package host is the software side of the lab: what an operating system's IOMMU stack does. This
// package holds what all of it stands on, the processor; drivers and the layers above are in the
// packages below it. Host code reaches hardware through a [CPU] and through nothing else.
package host

import "github.com/iommulab/iommulab/emu"

// CPU is one processor as host code sees it. Each call first lets the hardware run up to the
// processor's own time, then takes effect and costs cycles. Stores go through a store buffer: they
// become visible in program order, or, if the processor's order is weak, in any order between fences. A
// locked operation, a register access and Fence wait for the buffer to drain.
//
// Interrupt handlers run between two calls, on the processor that registered them.
type CPU interface {
	// Load64 reads 8 bytes of memory, own buffered stores included. A bus error reads as all ones.
	Load64(pa emu.PA) uint64
	// Store64 writes 8 bytes.
	Store64(pa emu.PA, v uint64)
	// Store128 writes 16 aligned bytes in one single-copy atomic store.
	Store128(pa emu.PA, lo, hi uint64)
	// Zero clears n bytes, a multiple of the cache line, of memory that nobody else uses yet. It is
	// what an operating system's page clearing is: fast, and behind all earlier stores.
	Zero(pa emu.PA, n int)
	// CAS64 replaces old by v, locked, and reports whether it did.
	CAS64(pa emu.PA, old, v uint64) bool
	// CAS128 replaces 16 aligned bytes if they equal old, locked, and reports whether it did.
	CAS128(pa emu.PA, old, v [2]uint64) bool
	// ReadReg reads size bytes (4 or 8) at off in the register window of unit number unit.
	ReadReg(unit int, off uint32, size uint8) uint64
	// WriteReg writes size bytes (4 or 8) at off in the register window of unit number unit.
	WriteReg(unit int, off uint32, size uint8, v uint64)
	// Fence makes all earlier stores visible before any later one.
	Fence()
	// Flush writes n bytes from pa back to memory, for walkers that do not snoop caches.
	Flush(pa emu.PA, n int)
	// Poll evaluates cond until it is true or timeout cycles have gone, and returns its last value.
	Poll(cond func() bool, timeout uint64) bool
	// OnIRQ registers a handler and returns the message (address, data) that invokes it.
	OnIRQ(handler func()) (addr emu.PA, data uint32)
	// Compute lets cycles pass.
	Compute(cycles uint64)
	// Now is the processor's time in cycles.
	Now() uint64
}

// Wired is a CPU whose interrupt controller has the interrupt lines of units, for those that send no messages
// and for software that wants none.
type Wired interface {
	// OnWire registers the handler of an interrupt line of unit number unit, in the place of an earlier one.
	// Lines are numbered as the unit's spec says.
	OnWire(unit int, line uint32, handler func())
}
