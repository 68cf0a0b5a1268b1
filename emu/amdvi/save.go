package amdvi

import "github.com/iommulab/iommulab/emu"

const (
	saveName    = "amdvi"
	saveVersion = 3
)

// Save implements emu.Unit. The capabilities are part of it: a unit that has loaded a snapshot
// restores into one that has not.
func (u *Unit) Save(e *emu.Encoder) {
	e.Section(saveName, saveVersion)
	e.Struct([]uint64{u.efr, u.efr2, u.adv.efr, u.adv.efr2, u.cfg.pciWord(), u.cfg.counterWord()})
	u.reg.Save(e)
	e.Struct(&u.s)
	u.cache.Save(e)
}

// pciWord is what no register of the window tells.
func (c *Config) pciWord() uint64 {
	w := uint64(c.PAsize) | uint64(c.VAsize)<<8
	if c.IotlbSup {
		w |= 1 << 16
	}
	if c.NpCache {
		w |= 1 << 18
	}
	if c.IRTCacheDis {
		w |= 1 << 17
	}
	return w
}

// Restore implements emu.Unit. After an error the unit is in no defined state but a Reset one can
// be made of it.
func (u *Unit) Restore(d *emu.Decoder) error {
	d.Section(saveName, saveVersion)
	caps := make([]uint64, 6)
	if d.Struct(caps); d.Err() != nil {
		return d.Err()
	}
	if caps[4] != u.cfg.pciWord() {
		d.Fail("capabilities of configuration space %#x, want %#x", caps[4], u.cfg.pciWord())
		return d.Err()
	}
	if caps[0] != u.efr || caps[1] != u.efr2 || caps[5] != u.cfg.counterWord() {
		if err := u.become(caps[0], caps[1], caps[5]); err != nil {
			d.Fail("capabilities: %v", err)
			return d.Err()
		}
	}
	u.adv.efr, u.adv.efr2 = caps[2], caps[3]
	u.setLimits()
	if err := u.reg.Restore(d); err != nil {
		return err
	}
	u.ctl = u.reg.Get(rControl)
	var s state
	if d.Struct(&s); d.Err() != nil {
		return d.Err()
	}
	u.s = s
	u.setPerf()
	return u.cache.Restore(d)
}
