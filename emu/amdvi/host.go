package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Host tables (v1), 2.2.3. A walk runs in Frame[0], or, on behalf of a guest table, in Frame[1].

// entryLg2 is log2 of the bytes below an entry of a level: of the level's page.
func entryLg2(level int8) uint8 { return 12 + 9*uint8(level) }

// hostFrame returns the frame that the host walk of t runs in.
func hostFrame(t *emu.Txn) *emu.Frame { return &t.Frame[auxOnBehalf.Of(t.Aux[0])] }

// hostTag is what host translations of t's domain are cached under.
func hostTag(t *emu.Txn) emu.Tag { return emu.MakeTag(ClassHost, t.Tag.Domain(), emu.NoPASID) }

// hostBegin starts a walk that must find rights n: at what the paging-structure caches know, or at
// the top.
func (u *Unit) hostBegin(t *emu.Txn, n emu.Access) {
	t.Aux[0] = t.Aux[0]&^auxNeed.Mask() | auxNeed.Put(uint64(n))
	t.Entry[6] = hostWant(&t.Req, t.Entry[0], n)
	c, walk := emu.CacheWalk, u.cache.Walk
	if auxOnBehalf.On(t.Aux[0]) {
		c, walk = emu.CacheWalk2, u.cache.Walk2
	}
	if walk == nil {
		u.hostTop(t)
		return
	}
	t.Probe(c, emu.Key{Tag: hostTag(t), Addr: hostFrame(t).In}, StepWalkCache, stHostWalkProbed)
}

func (u *Unit) hostWalkProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.hostTop(t)
		return
	}
	f := hostFrame(t)
	f.Perm = emu.Access(walkPerm.Of(t.In[0]))
	u.hostVersion(t, t.In[2])
	if emu.Access(auxNeed.Of(t.Aux[0]))&^f.Perm != 0 { // as the walk would have found on the way
		u.fault(t, FaultPermission, StepWalkCache, 0)
		return
	}
	hostFetch(t, f, emu.PA(t.In[0]&walkTable.Mask()), int8(walkLevel.Of(t.In[0])))
}

// hostVersion notes under which DTE the host tables in use were found. On behalf of a guest table only
// another one than that in force matters to the result, and only to requests that go by the DTE.
func (u *Unit) hostVersion(t *emu.Txn, v uint64) {
	t.Aux[1] = v
	if !auxOnBehalf.On(t.Aux[0]) || t.Req.PASID == emu.NoPASID && v != t.Ver {
		t.Aux[2] = v
	}
}

// hostTop starts at the table of the DTE in force.
func (u *Unit) hostTop(t *emu.Txn) {
	f, w0 := hostFrame(t), t.Entry[0]
	f.Perm = emu.RW
	u.hostVersion(t, t.Ver)
	hostFetch(t, f, emu.PA(w0&spec.DteHostRoot.Mask()), int8(spec.DteMode.Of(w0))-1)
}

// hostFetch reads the entry of a level from its table, in the frame of the host walk.
func hostFetch(t *emu.Txn, f *emu.Frame, table emu.PA, level int8) {
	f.Table, f.Level = table, level
	f.At = table + emu.PA(f.In>>(entryLg2(level)&63)&511*8)
	step := StepHostTable
	if level == 0 {
		step = StepHostLeaf
	}
	t.Fetch(f.At, 8, step, stHostEntry)
}

// hostDescend goes on after the fill of a paging-structure cache.
func (u *Unit) hostDescend(t *emu.Txn) {
	f := hostFrame(t)
	hostFetch(t, f, f.Table, f.Level)
}

// hostWant returns what an entry must have, at its place in the entry, to be accepted without a further
// look: the rights n, and the flags that would be set. Translation requests want what none has.
func hostWant(q *emu.Request, w0 uint64, n emu.Access) uint64 {
	if q.Type != emu.Untranslated {
		return ^uint64(0)
	}
	want := spec.PtePR.Mask() | uint64(n&emu.RW)<<61
	if accessed(w0) {
		want |= spec.PteA.Mask()
		if dirty(w0) && n&emu.Write != 0 {
			want |= spec.PteD.Mask()
		}
	}
	return want
}

// hostEntryRead takes the entry. One that has all that it must have, no reserved bit and nothing unusual
// in NextLevel is accepted here, which is how almost all end; hostEntry looks at the others step by step.
func (u *Unit) hostEntryRead(t *emu.Txn) {
	f, e, want := hostFrame(t), t.In[0], t.Entry[6]
	if t.Ans == emu.AnsOK && emu.Access(want>>61)&emu.RW&^f.Perm == 0 {
		switch next := int8(spec.PteNextLevel.Of(e)); {
		case next == spec.NextLevelPage && f.Level < spec.MaxMode-1:
			if e&(want|spec.PteReserved.Mask()) == want {
				f.Entry, f.Lg2 = e, entryLg2(f.Level)
				f.Perm &= hostRights(e)
				u.hostLeaf(t)
				return
			}
		case next == f.Level:
			if want &^= spec.PteD.Mask(); e&(want|spec.PdeReserved.Mask()) == want {
				f.Perm &= hostRights(e)
				if u.lim.walk|u.lim.walk2 == 0 {
					hostFetch(t, f, emu.PA(e&spec.PteAddr.Mask()), next-1)
					return
				}
				u.hostDown(t, f, e)
				return
			}
		}
	}
	if t.Ans == emu.AnsError {
		u.fault(t, FaultPTERead, StepHostTable, f.At)
		return
	}
	u.hostEntry(t, e)
}

// mapsPage reports whether an entry of a host table maps a page, whatever its level.
func mapsPage(e uint64) bool {
	n := spec.PteNextLevel.Of(e)
	return n == spec.NextLevelPage || n == spec.NextLevelSize
}

// hostRights returns the rights of an entry of a host table.
func hostRights(e uint64) emu.Access { return emu.Access(e>>61) & emu.RW }

// hostEntry checks the entry e of the level, in this order: present, reserved bits, rights, then what
// it points to.
func (u *Unit) hostEntry(t *emu.Txn, e uint64) {
	f := hostFrame(t)
	f.Entry = e
	page := mapsPage(e)
	rsvd := spec.PdeReserved
	if page {
		rsvd = spec.PteReserved
	}
	perm := f.Perm & hostRights(e)
	c := uint16(0)
	switch {
	case !spec.PtePR.On(e):
		c = FaultNotPresent
	case rsvd.On(e):
		c = FaultReserved
	case emu.Access(auxNeed.Of(t.Aux[0]))&^perm != 0:
		c = FaultPermission
	case page:
		c = hostPage(f)
	default:
		c = hostNext(f)
	}
	switch c {
	case 0:
	case FaultNotPresent:
		u.absent(t, c, StepHostTable, f)
		return
	default:
		u.fault(t, c, StepHostTable, f.At)
		return
	}
	if ad := u.hostFlags(t, page, perm); e&ad != ad {
		t.Swap(f.At, e, e|ad, StepHostUpdate, stHostUpdated)
		return
	}
	u.hostAccepted(t)
}

// hostPage sets the size of the page that the entry of f maps, or returns a fault. NextLevel=7 encodes
// a size between that of the level and that of the next. Level 6 of the specification maps none.
func hostPage(f *emu.Frame) uint16 {
	f.Lg2 = entryLg2(f.Level)
	switch {
	case f.Level == spec.MaxMode-1:
		return FaultLevel
	case spec.PteNextLevel.Of(f.Entry) == spec.NextLevelPage:
		return 0
	}
	lg2, ok := spec.PageSizeLg2(f.Entry)
	if !ok || lg2 <= f.Lg2 || lg2 >= entryLg2(f.Level+1) {
		return FaultPageSize
	}
	f.Lg2 = lg2
	return 0
}

// hostNext returns the fault of an entry that points to a table: it must be of a lower level, and the
// address bits of the levels that it skips must be 0.
func hostNext(f *emu.Frame) uint16 {
	next := int8(spec.PteNextLevel.Of(f.Entry)) - 1
	if next >= f.Level {
		return FaultLevel
	}
	if skipped := reg.Ones(entryLg2(f.Level)) &^ reg.Ones(entryLg2(next+1)); f.In&skipped != 0 {
		return FaultSkip
	}
	return 0
}

// hostFlags returns the accessed and dirty flags that an entry in use must have.
func (u *Unit) hostFlags(t *emu.Txn, page bool, perm emu.Access) uint64 {
	w0 := t.Entry[0]
	if !accessed(w0) {
		return 0
	}
	if page && dirty(w0) && hostWrites(t, perm) {
		return spec.PteA.Mask() | spec.PteD.Mask()
	}
	return spec.PteA.Mask()
}

// hostWrites reports whether what the host walk is for may write, given rights perm.
func hostWrites(t *emu.Txn, perm emu.Access) bool {
	if !guest(t) {
		return dirties(&t.Req, perm&dteRights(t.Entry[0]))
	}
	if t.Frame[1].Ret == retData && t.Req.Type == emu.TranslationReq {
		return perm&grant(&t.Req, t.Entry[0], ClassNested, t.Frame[0].Perm)&emu.Write != 0
	}
	return auxNeed.Of(t.Aux[0])&uint64(emu.Write) != 0
}

// hostUpdated goes on after the flags of an entry were set by a compare-and-swap: if it changed
// meanwhile it is looked at anew.
func (u *Unit) hostUpdated(t *emu.Txn) {
	f := hostFrame(t)
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultPTERead, StepHostUpdate, f.At)
	case emu.AnsMiss:
		u.hostEntry(t, t.In[0])
	default:
		f.Entry = t.Act.Data[2]
		u.hostAccepted(t)
	}
}

// hostAccepted goes down to the table that the entry points to, past the paging-structure cache of its
// level if there is one, or ends the walk.
func (u *Unit) hostAccepted(t *emu.Txn) {
	f := hostFrame(t)
	e := f.Entry
	f.Perm &= hostRights(e)
	if mapsPage(e) {
		u.hostLeaf(t)
		return
	}
	u.hostDown(t, f, e)
}

// hostDown goes down to the table that entry e of f points to.
func (u *Unit) hostDown(t *emu.Txn, f *emu.Frame, e uint64) {
	table, level := emu.PA(e&spec.PteAddr.Mask()), int8(spec.PteNextLevel.Of(e))-1
	lg2, c, have := entryLg2(level+1), emu.CacheWalk, u.lim.walk
	if auxOnBehalf.On(t.Aux[0]) {
		c, have = emu.CacheWalk2, u.lim.walk2
	}
	if have>>(lg2&63)&1 == 0 {
		hostFetch(t, f, table, level)
		return
	}
	f.Table, f.Level = table, level
	v := &t.Act.Data
	v[0] = uint64(table) | walkPerm.Put(uint64(f.Perm)) | walkLevel.Put(uint64(level))
	v[1], v[2], v[3] = 0, t.Aux[1], 0
	t.Fill(c, emu.Key{Tag: hostTag(t), Addr: f.In}, lg2, 0, StepWalkFill, stHostDescend)
}

// hostLeaf ends a walk.
func (u *Unit) hostLeaf(t *emu.Txn) {
	if auxOnBehalf.On(t.Aux[0]) {
		u.stage2Found(t)
		return
	}
	f := &t.Frame[0]
	e := f.Entry
	clean := dirty(t.Entry[0]) && !spec.PteD.On(e)
	attr := tlbClean.PutBool(clean) | tlbU.Put(spec.PteU.Of(e)) | tlbFC.Put(spec.PteFC.Of(e))
	u.translated(t, e&spec.PteAddr.Mask()&^reg.Ones(f.Lg2), f.Lg2, f.Perm, attr, f.At)
}
