package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// secondStage begins second-stage translation, 3.7: the address must fit the width, then the IOTLB
// is asked.
func (u *Unit) secondStage(t *emu.Txn, aw uint8) {
	f := &t.Frame[0]
	f.In, f.Level = uint64(t.Req.Addr), int8(aw+1)
	if uint64(t.Req.Addr)>>u.lim.width[aw] != 0 {
		u.fault(t, code(t, FaultWidth, FaultWidthSM), StepAddressWidth, 0)
		return
	}
	if u.atsInterruptRange(t) {
		return
	}
	u.probeTLB(t)
}

// ssee reports whether execute rights are restricted.
func ssee(t *emu.Txn) bool { return auxSSEE.On(t.Aux[0]) }

// ssHit is tlbHit for second-stage translations.
func (u *Unit) ssHit(t *emu.Txn) bool {
	v := &t.In
	leaf := emu.PA(v[3])
	switch {
	case tlbNone.On(v[1]):
		u.fault(t, absentCode(t), StepIOTLB, leaf)
		return true
	case tlbRsvd.On(v[1]):
		u.fault(t, code(t, FaultSSReserved, FaultSSReservedSM), StepIOTLB, leaf)
		return true
	}
	q := &t.Req
	n, perm := need(q, ssee(t)), emu.Access(tlbPerm.Of(v[0]))
	if q.Type == emu.Untranslated {
		if m := u.missing(q, n, perm); m != 0 {
			u.fault(t, permissionCode(t, m), StepIOTLB, leaf)
			return true
		}
	}
	if tlbClean.On(v[1]) && u.dirties(q, n, perm) {
		return false
	}
	lg2 := uint8(tlbLg2.Of(v[0]))
	pa := v[0]&tlbPage.Mask() | t.Frame[0].In&reg.Ones(lg2)
	if outputInterrupt(q, pa, lg2) {
		u.fault(t, code(t, FaultOutputRange, FaultOutputRangeSM), StepOutputRange, leaf)
		return true
	}
	u.answer(t, pa, lg2, perm, v[2], leaf)
	u.completion(t, tlbSNP.On(v[1]))
	t.Done(StepIOTLB)
	return true
}

// absentCode is the fault of a second-stage entry without any right.
func absentCode(t *emu.Txn) uint16 {
	if scalable(t) {
		return FaultSSAbsent
	}
	return permissionCode(t, need(&t.Req, false))
}

// ssBegin starts a walk: at what the paging-structure caches know, or at the top.
func (u *Unit) ssBegin(t *emu.Txn) {
	u.ssWants(t)
	if u.cache.Walk == nil {
		u.walkTop(t)
		return
	}
	t.Probe(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, StepWalkCache, stWalkProbed)
}

// walkProbed goes on below what is cached. A right that the entries above lack is missed here, as it
// would be on the way from the top.
func (u *Unit) walkProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.walkTop(t)
		return
	}
	f, q := &t.Frame[0], &t.Req
	f.Perm = emu.Access(walkPerm.Of(t.In[0]))
	t.Aux[2] = t.In[2]
	if m := u.missing(q, need(q, ssee(t)), f.Perm); m != 0 && q.Type == emu.Untranslated {
		u.fault(t, permissionCode(t, m), StepWalkCache, 0)
		return
	}
	ssFetch(t, emu.PA(t.In[0]&walkTable.Mask()), int8(walkLevel.Of(t.In[0])))
}

// walkTop starts at the table of the entry in force.
func (u *Unit) walkTop(t *emu.Txn) {
	t.Frame[0].Perm = emu.RW | emu.Exec
	t.Aux[2] = t.Ver
	table := emu.PA(t.Entry[0] & spec.PasidSSPTPTR.Mask()) // same place in both kinds of entry
	ssFetch(t, table, int8(u.awOf(t)+1))
}

func (u *Unit) awOf(t *emu.Txn) uint8 {
	if scalable(t) {
		return uint8(spec.PasidAW.Of(t.Entry[0]))
	}
	return uint8(spec.CtxAW.Of(t.Entry[1]))
}

// ssFetch reads the entry of a level from its table. Both come in registers: through the frame, each
// level of a walk would take longer by the way to memory and back.
func ssFetch(t *emu.Txn, table emu.PA, level int8) {
	f := &t.Frame[0]
	f.Table, f.Level = table, level
	f.At = table + emu.PA(f.In>>(entryLg2(level)&63)&511*8)
	t.Fetch(f.At, 8, ssStep[level&7], stSSEntry)
}

// ssStep is the step that reads an entry of a level.
var ssStep = [8]emu.Step{StepSSLeaf, StepSSTable, StepSSTable, StepSSTable, StepSSTable}

// ssDescend goes on after the fill of a paging-structure cache.
func (u *Unit) ssDescend(t *emu.Txn) { ssFetch(t, t.Frame[0].Table, t.Frame[0].Level) }

// ssEntryRead takes the entry. One that has every bit the request wants and none that is reserved
// is accepted here, which is how almost all end; ssEntry looks at the others step by step.
func (u *Unit) ssEntryRead(t *emu.Txn) {
	f, e := &t.Frame[0], t.In[0]
	want, kind := t.Aux[3], isTable
	if mapsPage(f.Level, e) {
		want, kind = want>>32, isLeaf
	}
	want &= auxWant.Mask()
	if t.Ans == emu.AnsError || e&want != want || emu.Access(want)&^f.Perm != 0 ||
		e&u.lim.rsvd[f.Level&7][kind] != 0 {
		u.ssEntry(t, e)
		return
	}
	f.Entry = e
	f.Perm &= rights(e, ssee(t))
	if kind == isTable && u.lim.walk>>(entryLg2(f.Level)&63)&1 == 0 {
		ssFetch(t, emu.PA(e&spec.SSADDR.Mask()), f.Level-1)
		return
	}
	u.ssDown(t, e, kind == isLeaf)
}

// The kinds of an entry, index of limits.rsvd.
const (
	isTable = iota
	isLeaf
)

// mapsPage reports whether the entry e of a level maps a page.
func mapsPage(level int8, e uint64) bool { return level == 0 || level <= 2 && spec.SSPS.On(e) }

// ssWants notes for the whole walk what an entry must have to need no further look: the rights that
// the request needs, with SSADE the flags that it would set. Others than ordinary requests want
// more than any entry has.
func (u *Unit) ssWants(t *emu.Txn) {
	q := &t.Req
	if q.Type != emu.Untranslated {
		t.Aux[3] = auxWant.Mask() | auxWantLeaf.Mask()
		return
	}
	n := need(q, ssee(t))
	dirty := u.dirties(q, n, 0)
	t.Aux[3] = uint64(n) | u.wantedFlags(t, false, dirty) | (uint64(n)|u.wantedFlags(t, true, dirty))<<32
}

// ssUnreadable is the fault of an entry that cannot be read. That of the top entry is the fault of the
// context entry.
func (u *Unit) ssUnreadable(t *emu.Txn, f *emu.Frame) uint16 {
	if f.Level == int8(u.awOf(t)+1) {
		return code(t, FaultContextInvalid, FaultSSTopRead)
	}
	return code(t, FaultSSRead, FaultSSReadSM)
}

// ssEntry checks the entry e of the level.
func (u *Unit) ssEntry(t *emu.Txn, e uint64) {
	f, q := &t.Frame[0], &t.Req
	if t.Ans == emu.AnsError {
		u.fault(t, u.ssUnreadable(t, f), StepSSTable, f.At)
		return
	}
	f.Entry = e
	x := ssee(t)
	perm := f.Perm & rights(e, x)
	n := need(q, x)
	m, d := emu.Access(0), emu.Access(0)
	if q.Type == emu.Untranslated {
		m = u.missing(q, n, perm)
	}
	if u.dirties(q, n, perm) {
		d = emu.Write
	}
	switch v, flags := u.ssCheck(t, f, m, d); v {
	case ssAbsent:
		u.failSS(t, absentCode(t), tlbNone.Mask())
	case ssDenied:
		u.fault(t, permissionCode(t, m), StepSSTable, f.At)
	case ssReserved:
		u.failSS(t, code(t, FaultSSReserved, FaultSSReservedSM), tlbRsvd.Mask())
	case ssFlags:
		u.ssUpdate(t, f, flags, stSSUpdated)
	default:
		u.ssAccepted(t)
	}
}

// What ssCheck finds.
const (
	ssGood     = iota
	ssAbsent   // no right at all is left
	ssDenied   // rights are missing
	ssReserved // reserved bits are set
	ssFlags    // flags must be set first
)

// ssCheck looks at a second-stage entry in the order of 3.7.1: rights, of which m are missing,
// reserved bits, accessed and dirty flags. d is emu.Write if the page is to be written where that is
// allowed.
func (u *Unit) ssCheck(t *emu.Txn, f *emu.Frame, m, d emu.Access) (is int, flags uint64) {
	e, x := f.Entry, ssee(t)
	leaf, kind := mapsPage(f.Level, e), isTable
	if leaf {
		kind = isLeaf
	}
	switch {
	case f.Perm&rights(e, x)&^exec(!x) == 0:
		return ssAbsent, 0
	case m != 0:
		return ssDenied, 0
	case e&u.lim.rsvd[f.Level&7][kind] != 0:
		return ssReserved, 0
	}
	flags = u.wantedFlags(t, leaf, d&f.Perm&rights(e, x) != 0)
	if e&flags != flags {
		return ssFlags, flags
	}
	return ssGood, 0
}

// rights returns the rights of an entry. Without SSEE execute is not restricted.
func rights(e uint64, ssee bool) emu.Access {
	return emu.Access(e&7) | exec(!ssee)
}

func exec(v bool) emu.Access {
	if v {
		return emu.Exec
	}
	return 0
}

// wantedFlags returns the A and D flags that must be set in an entry that is used, 3.7.2.
func (u *Unit) wantedFlags(t *emu.Txn, leaf, dirty bool) uint64 {
	if !scalable(t) || !spec.PasidSSADE.On(t.Entry[0]) {
		return 0
	}
	if leaf && dirty {
		return spec.SSA.Mask() | spec.SSD.Mask()
	}
	return spec.SSA.Mask()
}

// ssUpdate sets flags by a compare-and-swap against the entry as read, so that nothing software
// did meanwhile is lost. It needs a coherent walk.
func (u *Unit) ssUpdate(t *emu.Txn, f *emu.Frame, flags uint64, next uint16) {
	if !u.snoops(t) {
		u.fault(t, FaultSSNoncoherent, StepSSUpdate, f.At)
		return
	}
	t.Swap(f.At, f.Entry, f.Entry|flags, StepSSUpdate, next)
}

// ssUpdated goes on after the compare-and-swap; if the entry changed meanwhile it is looked at anew.
func (u *Unit) ssUpdated(t *emu.Txn) {
	f := &t.Frame[0]
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultSSUpdate, StepSSUpdate, f.At)
	case emu.AnsMiss:
		u.ssEntry(t, t.In[0])
	default:
		f.Entry = t.Act.Data[2]
		u.ssAccepted(t)
	}
}

// ssAccepted goes on with an entry that ssEntry has looked at.
func (u *Unit) ssAccepted(t *emu.Txn) {
	f := &t.Frame[0]
	f.Perm &= rights(f.Entry, ssee(t))
	u.ssDown(t, f.Entry, mapsPage(f.Level, f.Entry))
}

// ssDown goes one level down, past the paging-structure cache of the level if there is one, or ends
// the walk at a leaf.
func (u *Unit) ssDown(t *emu.Txn, e uint64, leaf bool) {
	level, table := t.Frame[0].Level, emu.PA(e&spec.SSADDR.Mask())
	switch {
	case leaf:
		u.ssLeaf(t)
	case u.lim.walk>>(entryLg2(level)&63)&1 != 0:
		u.ssFillWalk(t, table, level-1)
	default:
		ssFetch(t, table, level-1)
	}
}

// ssFillWalk fills the paging-structure cache with a table.
func (u *Unit) ssFillWalk(t *emu.Txn, table emu.PA, level int8) {
	f := &t.Frame[0]
	f.Table, f.Level = table, level
	v := &t.Act.Data
	v[0] = uint64(table) | walkPerm.Put(uint64(f.Perm)) | walkLevel.Put(uint64(level))
	v[1], v[2], v[3] = 0, t.Aux[2], 0
	t.Fill(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: f.In}, entryLg2(level+1), 0, StepWalkFill, stSSDescend)
}

// entryLg2 is log2 of the bytes below an entry of a level.
func entryLg2(level int8) uint8 { return 12 + 9*uint8(level) }

// ssLeaf has the translation: it checks the output address and fills the IOTLB.
func (u *Unit) ssLeaf(t *emu.Txn) {
	f := &t.Frame[0]
	f.Lg2 = entryLg2(f.Level)
	page := f.Entry & spec.SSADDR.Mask() &^ reg.Ones(f.Lg2)
	pa := page | f.In&reg.Ones(f.Lg2)
	if outputInterrupt(&t.Req, pa, f.Lg2) && f.Perm&emu.RW != 0 {
		u.fault(t, code(t, FaultOutputRange, FaultOutputRangeSM), StepOutputRange, f.At)
		return
	}
	if !ssee(t) {
		f.Perm &= emu.RW
	}
	u.answer(t, pa, f.Lg2, f.Perm, t.Aux[2], f.At)
	u.completion(t, spec.SSSNP.On(f.Entry))
	if u.cache.IOTLB == nil || f.Perm&emu.RW == 0 {
		t.Done(StepSSLeaf)
		return
	}
	ade := scalable(t) && spec.PasidSSADE.On(t.Entry[0])
	v := &t.Act.Data
	v[0] = page | tlbLg2.Put(uint64(f.Lg2)) | tlbPerm.Put(uint64(f.Perm))
	v[1] = tlbClean.PutBool(ade && !spec.SSD.On(f.Entry)) | tlbSNP.Put(spec.SSSNP.Of(f.Entry))
	v[2] = t.Aux[2]
	v[3] = uint64(f.At)
	t.Fill(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: f.In}, f.Lg2, 0, StepIOTLBFill, stTLBFilled)
}

// failSS ends the request with the fault of an entry without rights or with reserved bits set. In
// caching mode the entry is cached all the same (6.1).
func (u *Unit) failSS(t *emu.Txn, c uint16, attr uint64) {
	f := &t.Frame[0]
	u.setFault(t, c, StepSSTable, f.At)
	if !u.cfg.CM || u.cache.IOTLB == nil {
		u.raise(t)
		return
	}
	lg2 := entryLg2(f.Level)
	t.Act.Data = [4]uint64{tlbLg2.Put(uint64(lg2)), attr, t.Aux[2], uint64(f.At)}
	t.Fill(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: f.In}, lg2, 0, StepIOTLBFill, stFaultFilled)
}
