package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Stage 1, 3.3 and DDI 0487 D8.2. The walk runs in Frame[0]; where stage 2 is on, each descriptor's
// address is resolved through it first.

// s1Input returns the address that stage 1 translates for a virtual address: the top byte replaced where
// it is ignored. half is the upper one of the address space, ok false if the address is beyond it.
func (u *Unit) s1Input(cd *[3]uint64, world, va uint64) (in uint64, upper, ok bool) {
	upper = world != worldEL2 && va>>55&1 != 0
	tbi, tsz, epd := spec.CdTBI0, spec.CdT0SZ.Of(cd[0]), spec.CdEPD0.On(cd[0])
	if upper {
		tbi, tsz, epd = spec.CdTBI1, spec.CdT1SZ.Of(cd[0]), spec.CdEPD1.On(cd[0])
	}
	in = va
	if tbi.On(cd[0]) {
		in = uint64(int64(va<<8) >> 8)
	}
	if epd && world != worldEL2 { // TxSZ does not count: the walk will fail
		return in, upper, true
	}
	size := uint8(64 - tsz)
	if upper {
		return in, true, ^in>>size == 0
	}
	return in, false, in>>size == 0
}

// e0pd reports whether unprivileged accesses must not use a half.
func (u *Unit) e0pd(cd *[3]uint64, world uint64, upper, isPriv bool) bool {
	if !u.cfg.E0PD || isPriv || world == worldEL2 {
		return false
	}
	if upper {
		return spec.CdE0PD1.On(cd[2])
	}
	return spec.CdE0PD0.On(cd[1])
}

// stage1 selects the half of the address space and begins with the IOTLB.
func (u *Unit) stage1(t *emu.Txn) {
	cd := cdOf(t)
	in, upper, ok := u.s1Input(cd, world(t), uint64(t.Req.Addr))
	setFlag(t, auxUpper, upper)
	setAux(t, auxReg1, uint64(u.s1Regime(cd, upper)))
	t.Frame[0].In = in
	switch {
	case !ok:
		u.fault(t, FaultS1Range, StepS1Range, 0)
	case u.e0pd(cd, world(t), upper, flag(t, auxPriv)):
		u.fault(t, FaultE0PD, StepS1Range, 0)
	default:
		u.probeTLB(t)
	}
}

// s1Begin starts a walk: at what the paging-structure caches know, or at the top.
func (u *Unit) s1Begin(t *emu.Txn) {
	if !u.halfIsOn(t.Entry[4], world(t), flag(t, auxUpper)) {
		u.fault(t, FaultEPD, StepS1Range, 0)
		return
	}
	if u.cache.Walk == nil {
		u.s1Top(t)
		return
	}
	t.Probe(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, StepWalkCache, stS1WalkProbed)
}

func (u *Unit) s1WalkProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.s1Top(t)
		return
	}
	f := &t.Frame[0]
	f.Table, f.Level = emu.PA(t.In[0]&walkTable.Mask()), int8(walkLevel.Of(t.In[0]))
	f.Perm = emu.Access(walkLimit.Of(t.In[0]))
	t.Aux[1] = t.In[2]
	u.s1Fetch(t, reg1(t).granule().Stride())
}

// s1Top starts at the table of the CD.
func (u *Unit) s1Top(t *emu.Txn) {
	cd, r, f := cdOf(t), reg1(t), &t.Frame[0]
	tsz, ttb := spec.CdT0SZ.Of(cd[0]), cd[1]&spec.CdTTB0.Mask()
	if flag(t, auxUpper) {
		tsz, ttb = spec.CdT1SZ.Of(cd[0]), cd[2]&spec.CdTTB1.Mask()
	}
	in := uint8(64 - tsz)
	f.Level, f.Perm = r.startLevel(in), 0
	f.Table = emu.PA(r.tableBase(ttb, in, f.Level))
	u.s1Fetch(t, in-r.granule().Shift(f.Level))
}

// s1Fetch reads the descriptor of the level; bits of the address select it.
func (u *Unit) s1Fetch(t *emu.Txn, bits uint8) {
	u.resolve(t, entryAddress(&t.Frame[0], reg1(t).granule(), bits), emu.Read<<priv, retTable)
}

func (u *Unit) s1Descend(t *emu.Txn) { u.s1Fetch(t, reg1(t).granule().Stride()) }

func (u *Unit) s1Read(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultS1Fetch, StepS1Table, t.Frame[0].At)
		return
	}
	u.s1Entry(t, reg1(t).order(t.In[0]))
}

// s1Entry checks the descriptor e of the level: valid, its address; for a leaf the access flag, then the
// rights.
func (u *Unit) s1Entry(t *emu.Txn, e uint64) {
	f, r := &t.Frame[0], reg1(t)
	f.Entry = e
	if !r.valid(e, f.Level) {
		u.fault(t, FaultS1Translation, StepS1Table, f.At)
		return
	}
	if isTable(e, f.Level) {
		u.s1Next(t)
		return
	}
	page, lg2 := r.leaf(e, f.In, f.Level)
	perm, clean := u.s1Rights(cdOf(t), world(t), flag(t, auxUpper), e, f.Perm)
	n := needOf(t)
	var c uint16
	switch ha := spec.CdHA.On(t.Entry[4]); {
	case r.beyond(page):
		c = FaultS1AddrSize
	case !spec.TtdAF.On(e) && !ha && !spec.CdAFFD.On(t.Entry[4]):
		c = FaultS1Access
	case n&^perm != 0:
		c = FaultS1Permission
	}
	if c != 0 {
		u.fault(t, c, StepS1Table, f.At)
		return
	}
	f.Lg2 = lg2
	if u.s1Marked(t, e, clean, perm) != e {
		u.resolve(t, uint64(t.Frame[1].In), (emu.Read|emu.Write)<<priv, retMark)
		return
	}
	u.s1Leaf(t)
}

// s1Marked returns the leaf descriptor e as hardware has to leave it: accessed, and without AP[2] if it
// is written to (3.13).
func (u *Unit) s1Marked(t *emu.Txn, e uint64, clean bool, perm emu.Access) uint64 {
	if !spec.CdHA.On(t.Entry[4]) {
		return e
	}
	e |= spec.TtdAF.Mask()
	if clean && dirties(t, perm) {
		e &^= spec.S1AP2.Mask()
	}
	return e
}

// s1Mark marks the leaf by a compare-and-swap against the descriptor as read, so that nothing that
// software did meanwhile is lost. It has the address for writing in Frame[1].
func (u *Unit) s1Mark(t *emu.Txn) {
	f, r := &t.Frame[0], reg1(t)
	f.At = t.Frame[1].Table
	perm, clean := u.s1Rights(cdOf(t), world(t), flag(t, auxUpper), f.Entry, f.Perm)
	next := f.Entry | spec.TtdAF.Mask()
	if !isTable(f.Entry, f.Level) {
		next = u.s1Marked(t, f.Entry, clean, perm)
	}
	t.Swap(f.At, r.order(f.Entry), r.order(next), StepS1Update, stS1Marked)
}

// s1MarkedEntry goes on after the compare-and-swap; if the descriptor changed meanwhile it is looked at
// anew.
func (u *Unit) s1MarkedEntry(t *emu.Txn) {
	f, r := &t.Frame[0], reg1(t)
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultS1Fetch, StepS1Update, f.At)
	case emu.AnsMiss:
		u.s1Entry(t, r.order(t.In[0]))
	default:
		f.Entry = r.order(t.Act.Data[2])
		if isTable(f.Entry, f.Level) {
			u.s1Down(t)
			return
		}
		u.s1Leaf(t)
	}
}

// s1Next goes on with a table descriptor: its address must be one, and with HAFT it is marked accessed.
func (u *Unit) s1Next(t *emu.Txn) {
	f, r := &t.Frame[0], reg1(t)
	if r.beyond(r.address(f.Entry, uint8(r.granule()))) {
		u.fault(t, FaultS1AddrSize, StepS1Table, f.At)
		return
	}
	if u.cfg.HTTU == spec.HTTUTable && spec.CdHAFT.On(t.Entry[5]) && spec.CdHA.On(t.Entry[4]) && !spec.TtdAF.On(f.Entry) {
		u.resolve(t, uint64(t.Frame[1].In), (emu.Read|emu.Write)<<priv, retMark)
		return
	}
	u.s1Down(t)
}

// s1Down goes down to the table that a descriptor points to, past the paging-structure cache of its level
// if there is one.
func (u *Unit) s1Down(t *emu.Txn) {
	f, r := &t.Frame[0], reg1(t)
	cd := cdOf(t)
	had := spec.CdHAD0.On(cd[1])
	if flag(t, auxUpper) {
		had = spec.CdHAD1.On(cd[2])
	}
	if !had || !u.cfg.HAD {
		f.Perm |= limitsOf(f.Entry)
	}
	lg2 := r.granule().Shift(f.Level)
	f.Table, f.Level = emu.PA(r.address(f.Entry, uint8(r.granule()))), f.Level-1
	if u.lim.walk>>(lg2&63)&1 == 0 {
		u.s1Descend(t)
		return
	}
	v := &t.Act.Data
	v[0] = uint64(f.Table) | walkLimit.Put(uint64(f.Perm)) | walkLevel.Put(uint64(f.Level))
	v[1], v[2], v[3] = 0, t.Aux[1], 0
	t.Fill(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: f.In}, lg2, 0, StepWalkFill, stS1Descend)
}

// s1Leaf has the page that stage 1 translates to; stage 2 may have to translate that.
func (u *Unit) s1Leaf(t *emu.Txn) {
	f := &t.Frame[0]
	page, lg2 := reg1(t).leaf(f.Entry, f.In, f.Level)
	f.Lg2 = lg2
	if perm, _ := u.s1Rights(cdOf(t), world(t), flag(t, auxUpper), f.Entry, f.Perm); t.Req.Type == emu.TranslationReq && mine(perm, flag(t, auxPriv)) == 0 {
		withoutRights(&t.Req, &t.Res)
		t.Done(StepATS)
		return
	}
	u.resolve(t, page|f.In&ones(lg2), needOf(t), retData)
}

// s1Translated has the output of both stages: in Frame[1], what stage 2 made of the page. What the stages
// have in common is cached.
func (u *Unit) s1Translated(t *emu.Txn) {
	f, s2 := &t.Frame[0], &t.Frame[1]
	perm, clean := u.s1Rights(cdOf(t), world(t), flag(t, auxUpper), f.Entry, f.Perm)
	clean = clean || tlbClean.On(s2.Entry)
	lg2 := min(f.Lg2, s2.Lg2)
	attr := tlbClean.PutBool(clean) | tlbLeaf2.Put(uint64(s2.At)>>3)
	global, _ := globalTag(t.Tag)
	if spec.S1NG.On(f.Entry) {
		global = t.Tag
	}
	u.translated(t, global, uint64(s2.Table)&^ones(lg2), lg2, perm&s2.Perm, attr, f.At)
}
