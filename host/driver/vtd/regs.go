package vtd

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// levels are the bits of GCMD that a write has to restate: all but the one-shot commands (11.4.4.1).
const levels = 0xffff_ffff &^ uint64(1<<30|1<<29|1<<27|1<<24) // SRTP, SFL, WBF, SIRTP

// command writes GCMD with one bit changed and waits until GSTS shows it. For one-shot commands set is
// true; status tells when the command is done.
func (d *Driver) command(name string, bit reg.Bits, set bool, done func(gsts uint64) bool) error {
	v := d.k.Read(spec.OffGSTS, 4) & levels
	if set {
		v |= bit.Mask()
	} else {
		v &^= bit.Mask()
	}
	d.k.Write(spec.OffGCMD, 4, v)
	return d.k.Poll("GCMD."+name, func() bool { return done(d.k.Read(spec.OffGSTS, 4)) })
}

// level switches a function on or off.
func (d *Driver) level(name string, bit reg.Bits, on bool) error {
	return d.command(name, bit, on, func(gsts uint64) bool { return bit.On(gsts) == on })
}

// off switches a function off if it is on.
func (d *Driver) off(name string, bit reg.Bits) error {
	if !bit.On(d.k.Read(spec.OffGSTS, 4)) {
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
	d.count.WriteBuffer++
	return d.command("WBF", spec.GcmdWBF, true, func(gsts uint64) bool { return !spec.GstsWBFS.On(gsts) })
}
