package smmuv3

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// ErrImage is what an error of Load wraps.
var ErrImage = errors.New("smmuv3: register image")

// Load implements emu.Unit. The unit takes the capabilities of the image as far as it models them (see
// Unmodelled) and all registers as they are. IDR3, IIDR, AIDR and the CFGR of a counter group count as 0 if the image lacks them. The
// caches are emptied. Errors wrap ErrImage and name the offset or the register.
func (u *Unit) Load(img emu.RegImage) error {
	m, err := img.Words(spec.WindowAll)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	var id ids
	for _, r := range []struct {
		name string
		off  uint32
		v    *uint64
		must bool
	}{
		{"IDR0", spec.OffIDR0, &id.IDR0, true}, {"IDR1", spec.OffIDR1, &id.IDR1, true}, {"IDR3", spec.OffIDR3, &id.IDR3, false},
		{"IDR5", spec.OffIDR5, &id.IDR5, true}, {"IIDR", spec.OffIIDR, &id.IIDR, false}, {"AIDR", spec.OffAIDR, &id.AIDR, false},
		{"CFGR", spec.OffPMCG + spec.PmcgOffCFGR, &id.CFGR, false},
	} {
		v, ok := m.Get(r.off, 4)
		if !ok && r.must {
			return fmt.Errorf("%w: %s is missing", ErrImage, r.name)
		}
		*r.v = v
	}
	if err := u.become(&id); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	for i := range u.reg.Len() {
		r := u.reg.Reg(i)
		if i <= rAIDR || i == rPmCFGR || r.WO {
			continue
		}
		if v, ok := m.Get(r.Off, r.Size); ok {
			u.reg.Set(i, v)
		}
	}
	for i := range atosGroups { // nothing is under way
		u.reg.ClearBits(atosGroups[i].ctrl, spec.AtosRUN.Mask())
	}
	u.restart()
	return nil
}

// become gives the unit the capabilities of registers and resets it.
func (u *Unit) become(id *ids) error {
	next := u.cfg
	next.adopt(id)
	if err := next.Check(); err != nil {
		return err
	}
	u.cfg = next
	u.adv = *id
	if err := u.build(); err != nil {
		return err
	}
	u.Reset(emu.ResetCold)
	return nil
}

// Unmodelled lists what a loaded snapshot advertises or has turned on and this unit does not do, as
// register and field.
func (u *Unit) Unmodelled() []string {
	var n []string
	n = append(n, spec.IDR0Layout.Names("IDR0", u.adv.IDR0&^u.id.IDR0)...)
	n = append(n, spec.IDR1Layout.Names("IDR1", u.adv.IDR1&^u.id.IDR1)...)
	n = append(n, spec.IDR3Layout.Names("IDR3", u.adv.IDR3&^u.id.IDR3)...)
	n = append(n, spec.IDR5Layout.Names("IDR5", u.adv.IDR5&^u.id.IDR5)...)
	n = append(n, spec.AIDRLayout.Names("AIDR", u.adv.AIDR&^u.id.AIDR)...)
	return append(n, spec.CR0Layout.Names("CR0", u.ack&^u.cfg.cr0Mask())...)
}
