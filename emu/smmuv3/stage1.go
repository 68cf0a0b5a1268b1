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
	if world != worldEL2 && va>>55&1 != 0 {
		in = topByte(va, spec.CdTBI1.On(cd[0]))
		return in, true, spec.CdEPD1.On(cd[0]) || ^in>>((64-spec.CdT1SZ.Of(cd[0]))&63) == 0
	}
	in = topByte(va, spec.CdTBI0.On(cd[0]))
	off := spec.CdEPD0.On(cd[0]) && world != worldEL2 // TxSZ does not count: the walk will fail
	return in, false, off || in>>((64-spec.CdT0SZ.Of(cd[0]))&63) == 0
}

// topByte returns an address with its top byte replaced if it is ignored.
func topByte(va uint64, ignored bool) uint64 {
	if ignored {
		return uint64(int64(va<<8) >> 8)
	}
	return va
}

// e0pd reports whether unprivileged accesses must not use a half.
func (u *Unit) e0pd(cd *[3]uint64, world uint64, upper, isPriv bool) bool {
	return u.cfg.E0PD && !isPriv && world != worldEL2 && halfE0PD(cd, upper)
}

func halfE0PD(cd *[3]uint64, upper bool) bool {
	if upper {
		return spec.CdE0PD1.On(cd[2])
	}
	return spec.CdE0PD0.On(cd[1])
}

// stage1 selects the half of the address space and begins with the IOTLB.
func (u *Unit) stage1(t *emu.Txn) {
	cd := cdOf(t)
	in, upper, ok := u.s1Input(cd, world(t), uint64(t.Req.Addr))
	t.Aux[0] = t.Aux[0]&^(auxUpper.Mask()|auxReg1.Mask()) | auxUpper.PutBool(upper) | auxReg1.Put(uint64(u.s1Regime(cd, upper)))
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
	t.Frame[0].Perm = emu.Access(walkLimit.Of(t.In[0]))
	t.Aux[1] = t.In[2]
	u.s1Go(t, u.format(reg1(t)), t.In[0]&walkTable.Mask(), int8(walkLevel.Of(t.In[0])))
}

// s1Top starts at the table of the CD.
func (u *Unit) s1Top(t *emu.Txn) {
	cd, k := cdOf(t), u.format(reg1(t))
	tsz, ttb := spec.CdT0SZ.Of(cd[0]), cd[1]&spec.CdTTB0.Mask()
	if flag(t, auxUpper) {
		tsz, ttb = spec.CdT1SZ.Of(cd[0]), cd[2]&spec.CdTTB1.Mask()
	}
	level, bits := k.start(uint8(64 - tsz))
	f := &t.Frame[0]
	f.Perm, f.Level = 0, level
	u.s1Fetch(t, k.startAddress(k.tableBase(ttb, bits), f.In, level, bits))
}

// s1Go reads the descriptor of a level from a table below the start. Both come in registers: through the frame,
// each level of a walk would take longer by the way to memory and back.
func (u *Unit) s1Go(t *emu.Txn, k *format, table uint64, level int8) {
	f := &t.Frame[0]
	f.Level = level
	u.s1Fetch(t, k.entryAddress(table, f.In, level))
}

// s1Fetch reads the descriptor at an address, which is an intermediate one if stage 2 is on.
func (u *Unit) s1Fetch(t *emu.Txn, at uint64) {
	if flag(t, auxS2) {
		u.resolve(t, at, emu.Read<<priv, retTable)
		return
	}
	s1FetchAt(t, emu.PA(at))
}

// s1FetchAt reads the descriptor at its physical address.
func s1FetchAt(t *emu.Txn, at emu.PA) {
	t.Frame[0].At = at
	t.Fetch(at, spec.DescSize, StepS1Table, stS1Entry)
}

// s1Descend goes on after the fill of a paging-structure cache.
func (u *Unit) s1Descend(t *emu.Txn) {
	u.s1Go(t, u.format(reg1(t)), uint64(t.Frame[0].Table), t.Frame[0].Level)
}

// s1Read takes the descriptor. A plain one is used at once, which is how almost all end; s1Entry looks at the
// others step by step.
func (u *Unit) s1Read(t *emu.Txn) {
	f, e, r := &t.Frame[0], t.In[0], reg1(t)
	k := u.format(r)
	switch {
	case t.Ans == emu.AnsError:
		u.fault(t, FaultS1Fetch, StepS1Table, f.At)
	case f.Level != spec.LevelPage && k.table[0].is(e):
		f.Entry = e
		u.s1Down(t, k, e&k.address)
	case k.leaf[f.Level&7].is(e):
		f.Entry = e
		page, lg2 := k.leafOf(e, f.Level)
		u.s1Page(t, e, page, lg2)
	default:
		u.s1Entry(t, r, r.order(e))
	}
}

// s1Entry checks the descriptor e of the level: valid, its address; for a leaf the access flag.
func (u *Unit) s1Entry(t *emu.Txn, r regime, e uint64) {
	f := &t.Frame[0]
	f.Entry = e
	switch {
	case isTable(e, f.Level):
		u.s1Next(t, r, e)
		return
	case !r.valid(e, f.Level):
		u.fault(t, FaultS1Translation, StepS1Table, f.At)
		return
	}
	page, lg2 := r.leaf(e, f.In, f.Level)
	switch {
	case r.beyond(page):
		u.fault(t, FaultS1AddrSize, StepS1Table, f.At)
	case !spec.TtdAF.On(e) && !spec.CdHA.On(t.Entry[4]) && !spec.CdAFFD.On(t.Entry[4]):
		u.fault(t, FaultS1Access, StepS1Table, f.At)
	default:
		u.s1Page(t, e, page, lg2)
	}
}

// s1Page has the page of leaf descriptor e: it looks at the rights, and whether e must be marked.
func (u *Unit) s1Page(t *emu.Txn, e, page uint64, lg2 uint8) {
	perm, clean := u.s1Rights(cdOf(t), world(t), flag(t, auxUpper), e, t.Frame[0].Perm)
	switch {
	case needs(t.Aux[0])&^perm != 0:
		u.fault(t, FaultS1Permission, StepS1Table, t.Frame[0].At)
	case spec.CdHA.On(t.Entry[4]) && u.s1Marked(t, e, clean, perm) != e:
		u.s1ResolveMark(t)
	default:
		u.s1Leaf(t, page, lg2, perm, clean)
	}
}

// s1ResolveMark looks for the address of the descriptor, to write to it.
func (u *Unit) s1ResolveMark(t *emu.Txn) {
	ipa := uint64(t.Frame[0].At)
	if flag(t, auxS2) {
		ipa = t.Frame[1].In
	}
	u.resolve(t, ipa, (emu.Read|emu.Write)<<priv, retMark)
}

// s1Marked returns the leaf descriptor e as hardware has to leave it: accessed, and without AP[2] if it
// is written to (3.13).
func (u *Unit) s1Marked(t *emu.Txn, e uint64, clean bool, perm emu.Access) uint64 {
	if !spec.CdHA.On(t.Entry[4]) || flag(t, auxPassive) {
		return e
	}
	e |= spec.TtdAF.Mask()
	if clean && dirties(t, perm) {
		e &^= spec.S1AP2.Mask()
	}
	return e
}

// s1Mark marks the descriptor by a compare-and-swap against what was read, so that nothing that software did
// meanwhile is lost. It has the address for writing in Frame[1].
func (u *Unit) s1Mark(t *emu.Txn) {
	f, r := &t.Frame[0], reg1(t)
	f.At = t.Frame[1].Table
	next := f.Entry | spec.TtdAF.Mask()
	if !isTable(f.Entry, f.Level) {
		perm, clean := u.s1Rights(cdOf(t), world(t), flag(t, auxUpper), f.Entry, f.Perm)
		next = u.s1Marked(t, f.Entry, clean, perm)
	}
	t.Swap(f.At, r.order(f.Entry), r.order(next), StepS1Update, stS1Marked)
}

// s1MarkedEntry goes on after the compare-and-swap, with the descriptor as it is then.
func (u *Unit) s1MarkedEntry(t *emu.Txn) {
	r := reg1(t)
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultS1Fetch, StepS1Update, t.Frame[0].At)
	case emu.AnsMiss:
		u.s1Entry(t, r, r.order(t.In[0]))
	default:
		u.s1Entry(t, r, r.order(t.Act.Data[2]))
	}
}

// s1Next goes on with a table descriptor: its address must be one, and with HAFT it is marked accessed.
func (u *Unit) s1Next(t *emu.Txn, r regime, e uint64) {
	f := &t.Frame[0]
	next := r.address(e, uint8(r.granule()))
	switch {
	case r.beyond(next):
		u.fault(t, FaultS1AddrSize, StepS1Table, f.At)
		return
	case u.cfg.HTTU == spec.HTTUTable && !spec.TtdAF.On(e) && spec.CdHAFT.On(t.Entry[5]) && spec.CdHA.On(t.Entry[4]) && !flag(t, auxPassive):
		u.s1ResolveMark(t)
		return
	}
	if l := limitsOf(e); l != 0 && !u.hierarchyOff(t) {
		f.Perm |= l
	}
	u.s1Down(t, u.format(r), next)
}

// s1Down goes down to the table next, past the paging-structure cache of the level if there is one.
func (u *Unit) s1Down(t *emu.Txn, k *format, next uint64) {
	f := &t.Frame[0]
	a, lg2 := t.Aux[0], k.shift(f.Level)
	f.Level--
	switch {
	case u.fillsWalk(a, 0, lg2):
		u.s1FillWalk(t, next, lg2)
	case auxS2.On(a): // as s1Fetch has it
		u.resolve(t, k.entryAddress(next, f.In, f.Level), emu.Read<<priv, retTable)
	default:
		s1FetchAt(t, emu.PA(k.entryAddress(next, f.In, f.Level)))
	}
}

// s1FillWalk fills the paging-structure cache for regions of 2^lg2 bytes with the table next.
func (u *Unit) s1FillWalk(t *emu.Txn, next uint64, lg2 uint8) {
	f, v := &t.Frame[0], &t.Act.Data
	f.Table = emu.PA(next)
	v[0] = next | walkLimit.Put(uint64(f.Perm)) | walkLevel.Put(uint64(f.Level))
	v[1], v[2], v[3] = 0, t.Aux[1], 0
	t.Fill(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: f.In}, lg2, kindOf(reg1(t), f.Level+1, true), StepWalkFill, stS1Descend)
}

// hierarchyOff reports whether table descriptors of the half take nothing away (HAD).
func (u *Unit) hierarchyOff(t *emu.Txn) bool {
	had := spec.CdHAD0.On(t.Entry[5])
	if flag(t, auxUpper) {
		had = spec.CdHAD1.On(t.Entry[6])
	}
	return had && u.cfg.HAD
}

// cleanLeaf in Frame[0].Ret: the leaf of stage 1 must be marked dirty before a write.
const cleanLeaf = 1

// s1Leaf has the page that stage 1 translates to. Where stage 2 has to translate that, page and rights are
// kept in Frame[0].
func (u *Unit) s1Leaf(t *emu.Txn, page uint64, lg2 uint8, perm emu.Access, clean bool) {
	f := &t.Frame[0]
	if t.Req.Type == emu.TranslationReq && mine(perm, flag(t, auxPriv)) == 0 {
		withoutRights(&t.Req, &t.Res)
		t.Done(StepATS)
		return
	}
	if !flag(t, auxS2) || flag(t, auxOnlyS1) {
		attr := tlbClean.PutBool(clean) | tlbAttr.Put(uint64(s1Attrs[s1AttrIndex(t, f.Entry)&0x3ff]))
		u.translated(t, s1LeafTag(t), page, lg2, perm, attr, f.At)
		return
	}
	f.Lg2, f.Perm, f.Ret = lg2, perm, 0
	if clean {
		f.Ret = cleanLeaf
	}
	u.resolve(t, page|f.In&ones(lg2), needs(t.Aux[0]), retData)
}

// s1LeafTag returns the tag of the translation that the leaf makes: a global one has a class of its own.
func s1LeafTag(t *emu.Txn) emu.Tag {
	if spec.S1NG.On(t.Frame[0].Entry) {
		return t.Tag
	}
	tag, _ := globalTag(t.Tag)
	return tag
}

// s1Translated has the output of both stages: in Frame[1], what stage 2 made of the page. What the stages
// have in common is cached.
func (u *Unit) s1Translated(t *emu.Txn) {
	f, s2 := &t.Frame[0], &t.Frame[1]
	lg2 := min(f.Lg2, s2.Lg2)
	attr := tlbClean.PutBool(f.Ret == cleanLeaf || tlbClean.On(s2.Entry)) | tlbLeaf2.Put(uint64(s2.At)>>3)
	out := consistent(combined(s1Attr(s1AttrIndex(t, f.Entry)), attrOf(s2.Entry), tlbForce.On(s2.Entry)))
	attr |= tlbAttr.Put(uint64(out))
	u.translated(t, s1LeafTag(t), uint64(s2.Table)&^ones(lg2), lg2, f.Perm&s2.Perm, attr, f.At)
}
