package vtd

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

const (
	saveName    = "vtd"
	saveVersion = 5
)

// Save implements emu.Unit. The capabilities are part of it: a unit that has loaded a snapshot
// restores into one that has not.
func (u *Unit) Save(e *emu.Encoder) {
	e.Section(saveName, saveVersion)
	e.U64(uint64(u.cfg.HAW))
	e.Struct([]uint64{u.registerVersion(), u.cap, u.ecap, u.adv.ver, u.adv.cap, u.adv.ecap})
	e.Words(u.cfg.perfWords())
	u.reg.Save(e)
	e.Struct(&u.s)
	u.cache.Save(e)
}

func (u *Unit) registerVersion() uint64 { return u.reg.Get(rVER) }

// Restore implements emu.Unit. After an error the unit is in no defined state but a Reset one can
// be made of it.
func (u *Unit) Restore(d *emu.Decoder) error {
	d.Section(saveName, saveVersion)
	if haw := d.U64(); d.Err() == nil && haw != uint64(u.cfg.HAW) {
		d.Fail("host address width %d, want %d", haw, u.cfg.HAW)
	}
	caps := make([]uint64, 6)
	d.Struct(caps)
	if d.Err() != nil {
		return d.Err()
	}
	perf := d.Words()
	if d.Err() != nil {
		return d.Err()
	}
	if !slices.Equal(perf, u.cfg.perfWords()) || caps[0] != u.registerVersion() || caps[1] != u.cap || caps[2] != u.ecap || caps[4] != u.adv.cap || caps[5] != u.adv.ecap {
		if err := u.become(caps[0], caps[1], caps[2], perf); err != nil {
			d.Fail("capabilities: %v", err)
			return d.Err()
		}
	}
	u.adv.ver, u.adv.cap, u.adv.ecap = caps[3], caps[4], caps[5]
	u.setLimits()
	if err := u.reg.Restore(d); err != nil {
		return err
	}
	var s state
	if d.Struct(&s); d.Err() != nil {
		return d.Err()
	}
	if s.NextFault >= uint32(u.cfg.FaultRecords) {
		d.Fail("fault record %d of %d", s.NextFault, u.cfg.FaultRecords)
		return d.Err()
	}
	u.s = s
	u.setMode()
	u.setPerf()
	u.s.Perf = s.Perf // nothing begins to count anew
	return u.cache.Restore(d)
}
