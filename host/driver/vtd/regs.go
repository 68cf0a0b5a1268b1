package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// counter is the processor, with the driver's stores and register accesses counted.
type counter struct {
	host.CPU
	n *Stats
}

// Store64 counts.
func (c *counter) Store64(pa emu.PA, v uint64) {
	c.n.Stores++
	c.CPU.Store64(pa, v)
}

// Store128 counts.
func (c *counter) Store128(pa emu.PA, lo, hi uint64) {
	c.n.Stores++
	c.CPU.Store128(pa, lo, hi)
}

// CAS64 counts.
func (c *counter) CAS64(pa emu.PA, old, v uint64) bool {
	c.n.Stores++
	return c.CPU.CAS64(pa, old, v)
}

// tableMemory is the processor as page tables see it.
type tableMemory struct {
	*counter
	coherent bool // the walker snoops
}

// Flush writes back what the walker would not see.
func (m *tableMemory) Flush(pa emu.PA, n int) {
	if !m.coherent {
		m.counter.Flush(pa, n)
	}
}

func (d *Driver) read(off uint32, size uint8) uint64 {
	d.stats.RegReads++
	return d.cpu.ReadReg(d.opt.Unit, off, size)
}

func (d *Driver) write(off uint32, size uint8, v uint64) {
	d.stats.RegWrites++
	d.cpu.WriteReg(d.opt.Unit, off, size, v)
}

// poll waits until cond holds; what says in the error what was waited for.
func (d *Driver) poll(what string, cond func() bool) error {
	if d.cpu.Poll(cond, d.opt.Timeout) {
		return nil
	}
	return fmt.Errorf("vtd: unit %d: %s: %w", d.opt.Unit, what, host.ErrTimeout)
}

// levels are the bits of GCMD that a write has to restate: all but the one-shot commands (11.4.4.1).
const levels = 0xffff_ffff &^ uint64(1<<30|1<<29|1<<27|1<<24) // SRTP, SFL, WBF, SIRTP

// command writes GCMD with one bit changed and waits until GSTS shows it. For one-shot commands set is
// true; status tells when the command is done.
func (d *Driver) command(name string, bit reg.Bits, set bool, done func(gsts uint64) bool) error {
	v := d.read(spec.OffGSTS, 4) & levels
	if set {
		v |= bit.Mask()
	} else {
		v &^= bit.Mask()
	}
	d.write(spec.OffGCMD, 4, v)
	return d.poll("GCMD."+name, func() bool { return done(d.read(spec.OffGSTS, 4)) })
}

// level switches a function on or off.
func (d *Driver) level(name string, bit reg.Bits, on bool) error {
	return d.command(name, bit, on, func(gsts uint64) bool { return bit.On(gsts) == on })
}

// off switches a function off if it is on.
func (d *Driver) off(name string, bit reg.Bits) error {
	if !bit.On(d.read(spec.OffGSTS, 4)) {
		return nil
	}
	return d.level(name, bit, false)
}

// setRoot makes hardware use what RTADDR holds (SRTP).
func (d *Driver) setRoot() error {
	return d.command("SRTP", spec.GcmdSRTP, true, spec.GstsRTPS.On)
}

// flushWriteBuffer makes stores visible that no invalidation follows, if the unit needs that
// (CAP.RWBF). WBFS is set while the flush runs.
func (d *Driver) flushWriteBuffer() error {
	if !d.caps.rwbf {
		return nil
	}
	d.stats.WriteBuffer++
	return d.command("WBF", spec.GcmdWBF, true, func(gsts uint64) bool { return !spec.GstsWBFS.On(gsts) })
}
