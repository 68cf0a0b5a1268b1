package conform

import (
	"encoding/binary"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
)

// CPU is a processor on a peer: it lets a driver of package host run on somebody else's IOMMU. There is
// one processor, so a locked operation is a load and a store. A cycle is a nanosecond of the peer's
// time; accesses cost none, Compute and Poll do. Interrupt handlers run at the beginning of the first
// call after their message, and at the end of a register write.
//
// host.CPU has no errors. The first failure of the peer stays in Err; from then on loads and registers
// read as zero, Poll gives up at once, and nothing else happens.
type CPU struct {
	// Unclaimed, if set, receives the messages that no handler of OnIRQ has asked for.
	Unclaimed func(Message)

	p        Peer
	m        Machine
	now      uint64
	err      error
	handlers []func()
	inIRQ    bool
	buf      [16]byte
}

var _ host.CPU = (*CPU)(nil)

// NewCPU returns a processor on p.
func NewCPU(p Peer) *CPU { return &CPU{p: p, m: p.Machine()} }

// Err returns what ended the processor, nil if nothing did.
func (c *CPU) Err() error { return c.err }

// firstVector is the data of the first message that OnIRQ hands out.
const firstVector = 0x20

// OnIRQ registers a handler.
func (c *CPU) OnIRQ(handler func()) (emu.PA, uint32) {
	c.handlers = append(c.handlers, handler)
	return emu.MSIAddress, uint32(firstVector + len(c.handlers) - 1)
}

// sync runs the handlers of the messages that have come. It reports whether the processor lives.
func (c *CPU) sync() bool {
	if c.err != nil || c.inIRQ {
		return c.err == nil
	}
	list, err := c.p.Messages()
	if err != nil {
		c.err = err
		return false
	}
	c.inIRQ = true
	defer func() { c.inIRQ = false }()
	for _, m := range list {
		switch i := int(m.Data) - firstVector; {
		case m.Addr == emu.MSIAddress && i >= 0 && i < len(c.handlers):
			c.handlers[i]()
		case c.Unclaimed != nil:
			c.Unclaimed(m)
		}
	}
	return c.err == nil
}

// inRAM reports whether n bytes at pa are memory.
func (c *CPU) inRAM(pa emu.PA, n int) bool {
	off := uint64(pa - c.m.RAM)
	return off < c.m.Size && uint64(n) <= c.m.Size-off
}

// load reads n bytes into buf. A bus error reads as all ones.
func (c *CPU) load(pa emu.PA, n int) bool {
	switch {
	case !c.sync():
		clear(c.buf[:])
		return false
	case !c.inRAM(pa, n):
		for i := range c.buf {
			c.buf[i] = 0xff
		}
		return false
	}
	c.err = c.p.Read(pa, c.buf[:n])
	return c.err == nil
}

// store writes b. A bus error is dropped.
func (c *CPU) store(pa emu.PA, b []byte) {
	if c.sync() && c.inRAM(pa, len(b)) {
		c.err = c.p.Write(pa, b)
	}
}

// Load64 reads 8 bytes.
func (c *CPU) Load64(pa emu.PA) uint64 {
	c.load(pa, 8)
	return binary.LittleEndian.Uint64(c.buf[:])
}

// Store64 writes 8 bytes.
func (c *CPU) Store64(pa emu.PA, v uint64) {
	c.store(pa, binary.LittleEndian.AppendUint64(c.buf[:0], v))
}

// Store128 writes 16 bytes; the IOMMU does nothing meanwhile.
func (c *CPU) Store128(pa emu.PA, lo, hi uint64) {
	c.store(pa, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(c.buf[:0], lo), hi))
}

// Zero clears n bytes.
func (c *CPU) Zero(pa emu.PA, n int) {
	var zero [4096]byte
	for ; n > 0; n, pa = n-len(zero), pa+emu.PA(len(zero)) {
		c.store(pa, zero[:min(n, len(zero))])
	}
}

// CAS64 replaces old by v.
func (c *CPU) CAS64(pa emu.PA, old, v uint64) bool {
	if !c.load(pa, 8) || binary.LittleEndian.Uint64(c.buf[:]) != old {
		return false
	}
	c.err = c.p.Write(pa, binary.LittleEndian.AppendUint64(c.buf[:0], v))
	return c.err == nil
}

// CAS128 replaces 16 bytes if they equal old.
func (c *CPU) CAS128(pa emu.PA, old, v [2]uint64) bool {
	if !c.load(pa, 16) || binary.LittleEndian.Uint64(c.buf[:]) != old[0] || binary.LittleEndian.Uint64(c.buf[8:]) != old[1] {
		return false
	}
	b := binary.LittleEndian.AppendUint64(c.buf[:0], v[0])
	c.err = c.p.Write(pa, binary.LittleEndian.AppendUint64(b, v[1]))
	return c.err == nil
}

// unit requires that there is a unit of this number.
func (c *CPU) unit(n int) bool {
	if n != 0 && c.err == nil {
		c.err = fmt.Errorf("conform: unit %d of %s, which has one", n, c.p.Name())
	}
	return c.sync()
}

// ReadReg reads a register.
func (c *CPU) ReadReg(unit int, off uint32, size uint8) uint64 {
	if !c.unit(unit) {
		return 0
	}
	v, err := c.p.ReadReg(off, size)
	c.err = err
	return v
}

// WriteReg writes a register.
func (c *CPU) WriteReg(unit int, off uint32, size uint8, v uint64) {
	if !c.unit(unit) {
		return
	}
	c.err = c.p.WriteReg(off, size, v)
	c.sync()
}

// Fence does nothing: stores are visible in program order.
func (c *CPU) Fence() { c.sync() }

// Flush does nothing: memory is coherent.
func (c *CPU) Flush(emu.PA, int) { c.sync() }

// Compute lets cycles pass.
func (c *CPU) Compute(cycles uint64) {
	if c.sync() {
		c.err = c.p.Step(cycles)
		c.now += cycles
		c.sync()
	}
}

// firstWait is how many cycles lie between the first two looks of Poll. Each pause is twice as long as
// the one before, so that a long time-out takes few looks.
const firstWait = 100

// Poll evaluates cond until it is true or timeout cycles have gone.
func (c *CPU) Poll(cond func() bool, timeout uint64) bool {
	for wait := uint64(firstWait); c.sync(); wait *= 2 {
		if cond() {
			return c.err == nil
		}
		if timeout == 0 {
			return false
		}
		wait = min(wait, timeout)
		c.Compute(wait)
		timeout -= wait
	}
	return false
}

// Now returns the processor's time.
func (c *CPU) Now() uint64 { return c.now }
