package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
)

const (
	saveName    = "smmuv3"
	saveVersion = 2
)

// Save implements emu.Unit. The capabilities are part of it: a unit that has loaded a snapshot restores
// into one that has not.
func (u *Unit) Save(e *emu.Encoder) {
	e.Section(saveName, saveVersion)
	e.Struct(&u.id)
	e.Struct(&u.adv)
	u.reg.Save(e)
	e.Struct(&u.s)
	e.Struct(u.stalls)
	u.cache.Save(e)
}

// Restore implements emu.Unit. After an error the unit is in no defined state but a Reset one can be made
// of it.
func (u *Unit) Restore(d *emu.Decoder) error {
	d.Section(saveName, saveVersion)
	var id, adv ids
	d.Struct(&id)
	if d.Struct(&adv); d.Err() != nil {
		return d.Err()
	}
	if id != u.id {
		if err := u.become(&id); err != nil {
			d.Fail("capabilities: %v", err)
			return d.Err()
		}
	}
	u.adv = adv
	if err := u.reg.Restore(d); err != nil {
		return err
	}
	u.restart()
	var s state
	if d.Struct(&s); d.Err() != nil {
		return d.Err()
	}
	u.s = s
	if u.cfg.Counters == 0 {
		u.s.Messages &^= msgPMCG
	}
	if d.Struct(u.stalls); d.Err() != nil {
		return d.Err()
	}
	return u.cache.Restore(d)
}
