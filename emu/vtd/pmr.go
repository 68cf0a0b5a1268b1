package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// shieldVersion is the major version from which on protected memory regions hold for all DMA. Before
// it, they hold where tables do not translate (11.4.8.1).
const shieldVersion = 2

// protected reports whether q, whose address is not translated by tables, touches a protected memory
// region in effect.
func (u *Unit) protected(q *emu.Request) bool { return u.protects(uint64(q.Addr), q.Len) }

// protects reports whether an access touches a protected memory region in effect.
func (u *Unit) protects(first uint64, n uint32) bool {
	if !spec.PmenPRS.On(u.reg.Get(rPMEN)) {
		return false
	}
	last := first
	if n > 1 {
		last += uint64(n) - 1
	}
	in := func(base, limit int) bool {
		b, l := u.reg.Get(base), u.reg.Get(limit)|pmrMask
		return b <= l && first <= l && last >= b
	}
	return u.cfg.PLMR && in(rPLMBASE, rPLMLIMIT) || u.cfg.PHMR && in(rPHMBASE, rPHMLIMIT)
}

// shields reports whether translated addresses are looked at too.
func (u *Unit) shields() bool {
	return u.cfg.VersionMajor >= shieldVersion && spec.PmenPRS.On(u.reg.Get(rPMEN))
}

// shield blocks a request that ends in a protected region. It is not recorded.
func (u *Unit) shield(t *emu.Txn) {
	r := &t.Res
	if t.Act.Op != emu.OpDone || t.Req.Type != emu.Untranslated || r.Status != emu.OK || !u.shields() ||
		!u.protects(uint64(r.PA), t.Req.Len) {
		return
	}
	u.setFault(t, FaultProtected, StepProtected, 0)
	r.Fault.Quiet = true
	r.Status, r.PA, r.Perm, r.Lg2 = emu.Blocked, 0, 0, 0
}

// setPMEN lets PRS follow EPM.
func (u *Unit) setPMEN() {
	v := u.reg.Get(rPMEN)
	u.reg.Set(rPMEN, v&^spec.PmenPRS.Mask()|spec.PmenPRS.PutBool(spec.PmenEPM.On(v)))
	u.setSlow()
}
