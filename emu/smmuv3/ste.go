package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// steReady goes on with the STE in t.Entry, 3.3.2.
func (u *Unit) steReady(t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	switch {
	case !spec.SteV.On(w0):
		u.fault(t, FaultSTEInvalid, StepSTE, t.At)
		return
	case steIllegal.On(w1):
		u.fault(t, FaultSTEIllegal, StepSTE, t.At)
		return
	case t.Req.Type == emu.PageRequest:
		u.respondUnderSTE(t)
		return
	case t.Req.Job != 0:
		u.atosStream(t)
		return
	case spec.SteConfig.Of(w0)&4 == 0:
		u.fault(t, FaultConfig, StepSTE, t.At)
		return
	}
	if t.Req.Type != emu.Untranslated && t.Req.Type < emu.Job && !u.atsAllowed(t) {
		return
	}
	aux, c := u.flags(&t.Req, w0, w1)
	if c != 0 {
		u.fault(t, c, StepSubstream, t.At)
		return
	}
	t.Aux[0] = aux
	if auxS2.On(aux) {
		t.Aux[2] = s2Version(t.Entry[:4])
	}
	if auxS1.On(aux) {
		u.context(t, auxIndex.Of(aux))
		return
	}
	u.stage1Bypassed(t)
}

// stage1Bypassed goes on with a transaction that stage 1 does not translate: its address is the
// intermediate or the output address, and must be one (3.4).
func (u *Unit) stage1Bypassed(t *emu.Txn) {
	if configOnly(t) {
		return
	}
	t.Aux[1] = configVersion(t.Entry[0], t.Entry[1], t.Entry[2])
	t.Ver = t.Aux[1] + t.Aux[2]
	t.Res.Prov.Entry = t.Ver
	q := &t.Req
	if uint64(q.Addr)>>u.lim.oas != 0 {
		u.fault(t, FaultInput, StepInput, 0)
		return
	}
	if !flag(t, auxS2) {
		pass(q, &t.Res)
		u.replaceAttr(t, 0)
		u.passCompletion(t)
		u.ends(t, StepInput)
		return
	}
	t.Tag = emu.MakeTag(ClassS2, u.vmid(t.Entry[2]), emu.NoPASID)
	t.Known |= emu.KnownDomain
	u.stage2Only(t)
}

// substream says how the SubstreamID of a transaction, or its absence, is treated under an STE: which CD
// it selects and whether stage 1 translates at all, or a fault (3.3.2, 5.2: S1DSS, S1CDMax).
func (u *Unit) substream(q *emu.Request, w0, w1 uint64) (index uint64, s1 bool, fault uint16) {
	s1 = spec.SteConfig.Of(w0)&1 != 0
	cds := spec.SteS1CDMax.Of(w0)
	if u.cfg.SSIDSIZE == 0 {
		cds = 0
	}
	p := q.PASID
	if q.Type == emu.Translated && !u.cfg.PASIDTT {
		p = emu.NoPASID
	}
	if p == emu.NoPASID {
		switch {
		case !s1 || cds == 0:
			return 0, s1, 0
		case spec.SteS1DSS.Of(w1) == spec.DSSSSID0:
			return 0, true, 0
		case spec.SteS1DSS.Of(w1) == spec.DSSBypass:
			return 0, false, 0
		}
		return 0, false, FaultNoSubstream
	}
	switch {
	case !s1 || cds == 0:
		return 0, false, FaultSubstreamNone
	case uint64(p)>>cds != 0:
		return 0, false, FaultSubstreamRange
	case p == 0 && spec.SteS1DSS.Of(w1) == spec.DSSSSID0:
		return 0, false, FaultSubstream0
	}
	return uint64(p), true, 0
}

// steFlagsOf returns what is worked out of an STE once.
func (u *Unit) steFlagsOf(e *spec.STE) uint64 {
	if u.illegalSTE(e) {
		return steIllegal.Mask()
	}
	if !e.V() || !e.S2() {
		return 0
	}
	r := u.s2Regime(e[2], e[3])
	_, level, _ := u.s2Geometry(e[2], e[3], r)
	return steReg2.Put(uint64(r)) | steLevel.Put(uint64(level))
}

// illegalSTE reports whether a field of an STE makes it invalid (5.2, ILLEGAL). What the configuration
// ignores is not looked at.
func (u *Unit) illegalSTE(e *spec.STE) bool {
	if !e.V() || e.Config()&4 == 0 {
		return false
	}
	if e.S1() && !u.cfg.S1P || e.S2() && !u.cfg.S2P {
		return true
	}
	if e.Config() == spec.ConfigBypass {
		return false
	}
	return u.illegalEATS(e) || e.S1() && u.illegalS1(e) || e.S2() && u.illegalS2(e) || u.illegalVMID(e)
}

func (u *Unit) illegalEATS(e *spec.STE) bool {
	if !u.cfg.ATS {
		return false
	}
	stalls := spec.SteS2S.On(e[2])
	switch spec.SteEATS.Of(e[1]) {
	case spec.EATSSplit:
		return e.Config() != spec.ConfigNested || stalls || u.cfg.NS1ATS
	case spec.EATSFull:
		return e.S2() && stalls
	}
	return false
}

func (u *Unit) illegalVMID(e *spec.STE) bool {
	return u.cfg.S2P && !u.cfg.VMID16 && u.streamWorld(e[0], e[1]) == worldEL1 && e.S2VMID() > 0xff
}

func (u *Unit) illegalS1(e *spec.STE) bool {
	c := &u.cfg
	switch {
	case e.Config() == spec.ConfigS1 && c.HYP && spec.SteSTRW.Of(e[1])&1 != 0:
		return true
	case spec.SteS1STALLD.On(e[1]) && c.StallModel != spec.StallBoth:
		return true
	case c.SSIDSIZE != 0 && e.S1CDMax() > uint64(c.SSIDSIZE):
		return true
	case c.SSIDSIZE != 0 && e.S1CDMax() != 0 && !c.CD2L && spec.CDSplit(spec.SteS1Fmt.Of(e[0])) != 0:
		return true
	}
	return c.Minor >= 1 && e.S1ContextPtr()>>u.lim.oas != 0
}

func (u *Unit) illegalS2(e *spec.STE) bool {
	c, w2 := &u.cfg, e[2]
	s, ha, hd := spec.SteS2S.On(w2), spec.SteS2HA.On(w2), spec.SteS2HD.On(w2)
	r := u.s2Regime(e[2], e[3])
	switch {
	case s && c.StallModel == spec.StallNever, !s && c.StallModel == spec.StallAlways:
		return true
	case !spec.SteS2AA64.On(w2): // VMSAv8-32 tables
		return true
	case (ha || hd) && c.HTTU == spec.HTTUNone, hd && c.HTTU == spec.HTTUAccess:
		return true
	case c.HTTU == spec.HTTUTable && spec.SteS2HAFT.On(w2) && !ha:
		return true
	case !u.has(r), !r.fits(e.S2TTB()), u.wrongEndian(spec.SteS2ENDI.On(w2)):
		return true
	}
	_, _, ok := u.s2Geometry(e[2], e[3], r)
	return !ok
}

// wrongEndian reports whether the unit cannot walk tables of a byte order.
func (u *Unit) wrongEndian(big bool) bool {
	return big && u.cfg.TTENDIAN == spec.TTEndianLE || !big && u.cfg.TTENDIAN == spec.TTEndianBE
}
