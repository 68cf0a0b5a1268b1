package amdvi

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// ErrImage is what an error of Load wraps.
var ErrImage = errors.New("amdvi: register image")

// Load implements emu.Unit. The unit takes the capabilities of the image as far as it models them
// (see Unmodelled) and all registers as they are. EFR2 counts as 0 if the image lacks it. What is in
// PCI configuration space, ATS among it, stays as configured. The caches are emptied. Errors wrap
// ErrImage and name the offset or the register.
func (u *Unit) Load(img emu.RegImage) error {
	m, err := img.Words(spec.WindowPC)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	efr, ok := m.Get(spec.OffEFR, 8)
	if !ok {
		return fmt.Errorf("%w: Extended Feature Register is missing", ErrImage)
	}
	efr2, _ := m.Get(spec.OffEFR2, 8)
	counters, _ := m.Get(spec.OffCounterConfig, 8)
	if err := u.become(efr, efr2, counters); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	for i := range u.reg.Len() {
		r := u.reg.Reg(i)
		if i == rEFR || i == rEFR2 || i == rCounterConfig || r.WO {
			continue
		}
		if v, ok := m.Get(r.Off, r.Size); ok {
			u.reg.Set(i, v)
		}
	}
	u.ctl = u.reg.Get(rControl)
	u.setPerf()
	// What is enabled and does not run has been stopped by an error.
	u.s.CmdHalted = u.cmdBufOn() && !u.status(spec.StsCmdBufRun)
	for i := range logs {
		u.s.LogHalted[i] = u.logOn(i) && !u.status(logs[i].run)
	}
	return nil
}

// become gives the unit the capabilities of registers and resets it. After an error it has those that it had.
func (u *Unit) become(efr, efr2, counters uint64) error {
	next := u.cfg
	next.adopt(efr, efr2)
	next.adoptCounters(efr, counters)
	if err := next.Check(); err != nil {
		return err
	}
	was, adv := u.cfg, u.adv
	u.cfg = next
	u.adv.efr, u.adv.efr2 = efr, efr2
	if err := u.build(); err != nil {
		u.cfg, u.adv = was, adv
		return errors.Join(err, u.build())
	}
	u.Reset(emu.ResetCold)
	return nil
}

// Unmodelled lists what a loaded snapshot advertises or has turned on and this unit does not do, as
// register and field.
func (u *Unit) Unmodelled() []string {
	n := append(spec.EFRLayout.Names("EFR", u.adv.efr&^u.efr), spec.EFR2Layout.Names("EFR2", u.adv.efr2&^u.efr2)...)
	return append(n, spec.ControlLayout.Names("Control", u.ctl&^u.cfg.controlMask())...)
}
