package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// cdReady goes on with the CD in t.Entry.
func (u *Unit) cdReady(t *emu.Txn) {
	cd := cdOf(t)
	t.Aux[1] = configVersion(t.Entry[0], t.Entry[1], t.Entry[2]) + t.Entry[7]
	t.Ver = t.Aux[1]
	if flag(t, auxS2) {
		t.Ver += s2Version(t.Entry[:4])
	}
	t.Res.Prov.Entry = t.Ver
	t.Aux[3] = t.Frame[0].Entry // MAIR
	switch {
	case !spec.CdV.On(cd[0]):
		u.fault(t, FaultCDInvalid, StepCD, t.At)
		return
	case cdIllegal.On(cd[1]), spec.CdS.On(cd[0]) && spec.SteS1STALLD.On(t.Entry[1]):
		u.fault(t, FaultCDIllegal, StepCD, t.At)
		return
	}
	t.Tag = u.s1Tag(world(t), t.Entry[2], cd[0])
	t.Known |= emu.KnownDomain
	t.Classes |= globalClasses(t.Tag.Class())
	if flag(t, auxS2) {
		t.Classes |= 1 << ClassS2
	}
	if !configOnly(t) {
		u.stage1(t)
	}
}

// illegalCD reports whether a field of the CD in t.Entry makes it invalid (5.4, ILLEGAL). What the
// configuration ignores is not looked at.
func (u *Unit) illegalCD(t *emu.Txn) bool {
	cd, c := cdOf(t), &u.cfg
	if !spec.CdV.On(cd[0]) {
		return false
	}
	ha, hd := spec.CdHA.On(cd[0]), spec.CdHD.On(cd[0])
	s := spec.CdS.On(cd[0])
	switch {
	case !spec.CdA.On(cd[0]) && c.TermModel,
		s && c.StallModel == spec.StallNever,
		!s && c.StallModel == spec.StallAlways:
		return true
	case !spec.CdAA64.On(cd[0]): // VMSAv8-32 tables
		return true
	case (ha || hd) && c.HTTU == spec.HTTUNone, hd && c.HTTU == spec.HTTUAccess:
		return true
	case c.HTTU == spec.HTTUTable && spec.CdHAFT.On(cd[1]) && !ha:
		return true
	case !c.ASID16 && world(t) != worldEL2 && spec.CdASID.Of(cd[0]) > 0xff:
		return true
	}
	lower, upper := u.halfIsOn(cd[0], world(t), false), u.halfIsOn(cd[0], world(t), true)
	if (lower || upper) && u.wrongEndian(spec.CdENDI.On(cd[0])) {
		return true
	}
	return lower && u.illegalHalf(cd, false) || upper && u.illegalHalf(cd, true)
}

// halfIsOn reports whether the fields of a half of the address space count. Regimes without ASIDs have
// one half, which cannot be turned off.
func (u *Unit) halfIsOn(w0, world uint64, upper bool) bool {
	if world == worldEL2 {
		return !upper
	}
	if upper {
		return !spec.CdEPD1.On(w0)
	}
	return !spec.CdEPD0.On(w0)
}

// illegalHalf reports whether size, granule or table of a half are not valid.
func (u *Unit) illegalHalf(cd *[3]uint64, upper bool) bool {
	r := u.s1Regime(cd, upper)
	tsz, ttb := spec.CdT0SZ.Of(cd[0]), cd[1]&spec.CdTTB0.Mask()
	if upper {
		tsz, ttb = spec.CdT1SZ.Of(cd[0]), cd[2]&spec.CdTTB1.Mask()
	}
	g := r.granule()
	least := uint64(16)
	if u.cfg.VAX == spec.VAX52 && (g == spec.Granule64K || r.ds()) {
		least = 12
	}
	return !u.has(r) || tsz < least || tsz > u.largestTSZ(g) || !r.fits(ttb)
}
