package amdvi

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// ErrImage is what an error of Load wraps.
var ErrImage = errors.New("amdvi: register image")

// image is a register image by 4-byte words, keyed by offset.
type image map[uint32]uint32

func (m image) get(off uint32, size uint8) (v uint64, ok bool) {
	for i := range uint32(size) / 4 {
		w, has := m[off+4*i]
		if !has {
			return 0, false
		}
		v |= uint64(w) << (32 * i)
	}
	return v, true
}

// Load implements emu.Unit. The unit takes the capabilities of the image as far as it models them
// (see Unmodelled) and all registers as they are. EFR2 counts as 0 if the image lacks it. What is in
// PCI configuration space, ATS among it, stays as configured. The caches are emptied. Errors wrap
// ErrImage and name the offset or the register.
func (u *Unit) Load(img emu.RegImage) error {
	m := image{}
	for _, r := range img {
		if r.Size != 4 && r.Size != 8 || r.Off%4 != 0 || r.Off > spec.WindowPC-uint32(r.Size) {
			return fmt.Errorf("%w: offset %#x: size %d: want 4 or 8 bytes inside %#x", ErrImage, r.Off, r.Size, spec.WindowPC)
		}
		for i := range uint32(r.Size) / 4 {
			m[r.Off+4*i] = uint32(r.Value >> (32 * i))
		}
	}
	efr, ok := m.get(spec.OffEFR, 8)
	if !ok {
		return fmt.Errorf("%w: Extended Feature Register is missing", ErrImage)
	}
	efr2, _ := m.get(spec.OffEFR2, 8)
	if err := u.become(efr, efr2); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	for i := range u.reg.Len() {
		r := u.reg.Reg(i)
		if i == rEFR || i == rEFR2 || r.WO {
			continue
		}
		if v, ok := m.get(r.Off, r.Size); ok {
			u.reg.Set(i, v)
		}
	}
	u.ctl = u.reg.Get(rControl)
	// What is enabled and does not run has been stopped by an error.
	u.s.CmdHalted = u.cmdBufOn() && !u.status(spec.StsCmdBufRun)
	for i := range logs {
		u.s.LogHalted[i] = u.logOn(i) && !u.status(logs[i].run)
	}
	return nil
}

// become gives the unit the capabilities of registers and resets it.
func (u *Unit) become(efr, efr2 uint64) error {
	next := u.cfg
	next.adopt(efr, efr2)
	if err := next.Check(); err != nil {
		return err
	}
	u.cfg = next
	u.adv.efr, u.adv.efr2 = efr, efr2
	if err := u.build(); err != nil {
		return err
	}
	u.Reset(emu.ResetCold)
	return nil
}

// Unmodelled lists what a loaded snapshot advertises or has turned on and this unit does not do, as
// register and field.
func (u *Unit) Unmodelled() []string {
	n := append(unmodelled(&spec.EFRLayout, u.adv.efr, u.efr), unmodelled(&spec.EFR2Layout, u.adv.efr2, u.efr2)...)
	return append(n, unmodelled(&spec.ControlLayout, u.ctl, u.cfg.controlMask())...)
}
