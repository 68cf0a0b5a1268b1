package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// protected reports whether q touches a protected memory region in effect, 3.15. It concerns
// requests whose address is not translated by tables.
func (u *Unit) protected(q *emu.Request) bool {
	if !spec.PmenPRS.On(u.reg.Get(rPMEN)) {
		return false
	}
	first := uint64(q.Addr)
	last := first
	if q.Len > 1 {
		last += uint64(q.Len) - 1
	}
	in := func(base, limit int) bool {
		b, l := u.reg.Get(base), u.reg.Get(limit)|pmrMask
		return b <= l && first <= l && last >= b
	}
	return u.cfg.PLMR && in(rPLMBASE, rPLMLIMIT) || u.cfg.PHMR && in(rPHMBASE, rPHMLIMIT)
}

// setPMEN lets PRS follow EPM.
func (u *Unit) setPMEN() {
	v := u.reg.Get(rPMEN)
	u.reg.Set(rPMEN, v&^spec.PmenPRS.Mask()|spec.PmenPRS.PutBool(spec.PmenEPM.On(v)))
}
