package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// First-stage translation, 3.6: alone (PGTT=001), and as the first half of nested translation
// (PGTT=011; nested.go has what differs).
//
// Rights are kept in six bits, so that one word holds what both stages grant; the upper three lie in
// the order of the lower three, as what a user request finds is one and of them:
//
//	5 not XD | 4 R/W | 3 U/S | 2 second-stage X | 1 second-stage W | 0 second-stage R
const (
	fsUser  emu.Access = 1 << 3
	fsWrite emu.Access = 1 << 4
	fsExec  emu.Access = 1 << 5
	fsAll              = fsUser | fsWrite | fsExec
	ssAll              = emu.RW | emu.Exec
)

// fsRights returns the rights of a first-stage entry, with those of the second stage all set.
func fsRights(e uint64) emu.Access {
	return ssAll | emu.Access(e>>2&1<<3|e>>1&1<<4|^e>>63<<5)
}

// fsGrant returns what the rights v of a translation grant to t. Supervisor requests write read-only
// pages unless WPE=1, and with SMEP=1 do not execute user pages.
func fsGrant(t *emu.Txn, v emu.Access) emu.Access {
	w := t.Entry[2]
	g := v & ssAll
	if !auxPriv.On(t.Aux[0]) {
		if v&fsUser == 0 {
			return 0
		}
		g &= v >> 3
	} else {
		g |= emu.Priv
		if v&fsWrite == 0 && spec.PasidWPE.On(w) {
			g &^= emu.Write
		}
		if v&fsExec == 0 || v&fsUser != 0 && spec.PasidSMEP.On(w) {
			g &^= emu.Exec
		}
	}
	if !spec.PasidERE.On(w) {
		g &^= emu.Exec
	}
	return g
}

// fsDenied returns the fault of a request that the rights v do not allow, or 0. A translation request
// is content with any right.
func (u *Unit) fsDenied(t *emu.Txn, v emu.Access) uint16 {
	q := &t.Req
	g := fsGrant(t, v)
	m := u.missing(q, need(q, true), g)
	if q.Type != emu.Untranslated && g&emu.RW != 0 {
		m = 0
	}
	switch {
	case m == 0:
		return 0
	case g&emu.Priv == 0 && v&fsUser == 0:
		return FaultUser
	}
	return permissionCode(t, m)
}

// fsTopLevel returns the level of the table that FSPTPTR points to.
func fsTopLevel(t *emu.Txn) int8 { return int8(3 + spec.PasidFSPM.Of(t.Entry[2])) }

// canonical reports whether the bits of an address above the width of a paging mode are all alike.
func canonical(addr, fspm uint64) bool {
	s := (16 - 9*fspm) & 63
	return uint64(int64(addr<<s)>>s) == addr
}

// firstStage begins first-stage translation: the address must be canonical, then the IOTLB is asked.
func (u *Unit) firstStage(t *emu.Txn) {
	f := &t.Frame[0]
	f.In, f.Level = uint64(t.Req.Addr), fsTopLevel(t)
	if !canonical(f.In, spec.PasidFSPM.Of(t.Entry[2])) {
		u.fault(t, FaultCanonical, StepAddressWidth, 0)
		return
	}
	if u.atsInterruptRange(t) {
		return
	}
	u.probeTLB(t)
}

// fsHit is tlbHit for first-stage and nested translations.
func (u *Unit) fsHit(t *emu.Txn) bool {
	v, q := &t.In, &t.Req
	leaf, have := emu.PA(v[3]), emu.Access(tlbPerm.Of(v[0]))
	if c := u.fsDenied(t, have); c != 0 {
		u.fault(t, c, StepIOTLB, leaf)
		return true
	}
	perm := fsGrant(t, have)
	if tlbClean.On(v[1]) && u.dirties(q, need(q, true), perm) {
		return false
	}
	lg2 := uint8(tlbLg2.Of(v[0]))
	pa := v[0]&tlbPage.Mask() | t.Frame[0].In&reg.Ones(lg2)
	if outputInterrupt(q, pa, lg2) {
		u.fault(t, FaultOutputRangeSM, StepOutputRange, leaf)
		return true
	}
	u.answer(t, pa, lg2, perm, v[2], leaf)
	t.Res.Prov.Leaf2 = emu.PA(tlbLeaf2.Of(v[1]) << 3)
	u.completion(t, false)
	t.Done(StepIOTLB)
	return true
}

// fsBegin starts a walk: at what the paging-structure caches know, or at the top.
func (u *Unit) fsBegin(t *emu.Txn) {
	u.fsWants(t)
	if u.cache.Walk == nil {
		u.fsTop(t)
		return
	}
	t.Probe(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, StepWalkCache, stFSWalkProbed)
}

func (u *Unit) fsWalkProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.fsTop(t)
		return
	}
	v := &t.In
	t.Frame[0].Perm = emu.Access(walkPerm.Of(v[0]))
	t.Entry[entryTable], t.Aux[2], t.Aux[1] = v[1], v[2], v[3]
	fsFetch(t, emu.PA(v[0]&walkTable.Mask()), int8(walkLevel.Of(v[0])))
}

// fsTop starts at the table of the entry in force.
func (u *Unit) fsTop(t *emu.Txn) {
	f, table := &t.Frame[0], t.Entry[2]&spec.PasidFSPTPTR.Mask()
	f.Perm, f.At = fsAll|ssAll, 0
	if nested(t) {
		t.Aux[1], t.Aux[2] = secondVersion((*[4]uint64)(t.Entry[:4])), firstVersion((*[4]uint64)(t.Entry[:4]))
		u.fsTableAt(t, table, fsTopLevel(t))
		return
	}
	t.Aux[1], t.Aux[2] = 0, t.Ver
	fsFetch(t, emu.PA(table), fsTopLevel(t))
}

// fsFetch reads the entry of a level from its table.
func fsFetch(t *emu.Txn, table emu.PA, level int8) {
	f := &t.Frame[0]
	f.Table, f.Level = table, level
	f.At = table + emu.PA(f.In>>(entryLg2(level)&63)&511*8)
	t.Fetch(f.At, 8, fsStep[level&7], stFSEntry)
}

// fsStep is the step that reads an entry of a level.
var fsStep = [8]emu.Step{StepFSLeaf, StepFSTable, StepFSTable, StepFSTable, StepFSTable}

func (u *Unit) fsDescend(t *emu.Txn) { fsFetch(t, t.Frame[0].Table, t.Frame[0].Level) }

// fsAccessed returns the bits that an entry in use has, 3.6.2: P, A, and with EAFE=1 EA.
func fsAccessed(t *emu.Txn) uint64 {
	return spec.FSP.Mask() | spec.FSA.Mask() | spec.FSEA.Put(spec.PasidEAFE.Of(t.Entry[2]))
}

// fsRsvd returns the reserved bits of an entry.
func (u *Unit) fsRsvd(t *emu.Txn, level int8, kind int) uint64 {
	return u.lim.fsRsvd[spec.PasidNXE.Of(t.Entry[2])&1][level&7][kind]
}

// fsWants notes for the whole walk what an entry must have to need no further look, as ssWants does: the
// rights of user requests that do not execute, and the flags that they would set. Others want more
// than any entry has.
func (u *Unit) fsWants(t *emu.Txn) {
	q := &t.Req
	n := need(q, true)
	if q.Type != emu.Untranslated || n&emu.Exec != 0 || auxPriv.On(t.Aux[0]) {
		t.Aux[3] = auxWant.Mask() | auxWantLeaf.Mask()
		return
	}
	want := fsAccessed(t) | spec.FSUS.Mask()
	leaf := want
	if n&emu.Write != 0 {
		want |= spec.FSRW.Mask()
		leaf = want | spec.FSD.Mask()
	}
	t.Aux[3] = want | leaf<<32
}

// fsEntryRead takes the entry. One that has all that is wanted is accepted here; fsEntry looks at the
// others step by step.
func (u *Unit) fsEntryRead(t *emu.Txn) {
	f, e := &t.Frame[0], t.In[0]
	want, kind := t.Aux[3], isTable
	if mapsPage(f.Level, e) {
		want, kind = want>>32, isLeaf
	}
	want &= auxWant.Mask()
	if t.Ans == emu.AnsError || nested(t) || e&want != want || fsRights(want)&^f.Perm&(fsUser|fsWrite) != 0 ||
		e&u.fsRsvd(t, f.Level, kind) != 0 {
		u.fsEntry(t, e)
		return
	}
	f.Entry = e
	switch {
	case kind == isLeaf:
		f.Lg2 = entryLg2(f.Level)
		u.fsTranslated(t)
	case u.lim.walk>>(entryLg2(f.Level)&63)&1 == 0:
		f.Perm &= fsRights(e)
		fsFetch(t, emu.PA(e&spec.FSADDR.Mask()), f.Level-1)
	default:
		u.fsDown(t)
	}
}

// fsEntry checks the entry e of the level: present, reserved bits, then flags; for a leaf the rights
// over all levels, and with nested translation the output, come before the flags.
func (u *Unit) fsEntry(t *emu.Txn, e uint64) {
	f := &t.Frame[0]
	if t.Ans == emu.AnsError {
		c := uint16(FaultFSRead)
		if f.Level == fsTopLevel(t) {
			c = FaultFSTopRead
		}
		u.fault(t, c, StepFSTable, f.At)
		return
	}
	f.Entry = e
	leaf, kind := mapsPage(f.Level, e), isTable
	if leaf {
		kind = isLeaf
	}
	switch {
	case !spec.FSP.On(e):
		u.fault(t, FaultFSAbsent, StepFSTable, f.At)
	case e&u.fsRsvd(t, f.Level, kind) != 0:
		u.fault(t, FaultFSReserved, StepFSTable, f.At)
	case nested(t) && u.beyondGuest(t, e&spec.FSADDR.Mask()):
		u.fault(t, FaultFSWidth, StepFSTable, f.At)
	case leaf:
		u.fsLeaf(t)
	default:
		u.fsFlags(t)
	}
}

// fsDown goes on to the table that the entry points to, past the paging-structure cache of the level
// if there is one.
func (u *Unit) fsDown(t *emu.Txn) {
	f := &t.Frame[0]
	f.Perm &= fsRights(f.Entry)
	table, level := f.Entry&spec.FSADDR.Mask(), f.Level
	switch {
	case nested(t):
		u.fsTableAt(t, table, level-1)
	case u.lim.walk>>(entryLg2(level)&63)&1 != 0:
		f.Table, f.Level = emu.PA(table), level-1
		u.fsFillWalk(t)
	default:
		fsFetch(t, emu.PA(table), level-1)
	}
}

// fsFillWalk fills the paging-structure cache with the table that comes next.
func (u *Unit) fsFillWalk(t *emu.Txn) {
	f, v := &t.Frame[0], &t.Act.Data
	v[0] = uint64(f.Table) | walkPerm.Put(uint64(f.Perm)) | walkLevel.Put(uint64(f.Level))
	v[1], v[2], v[3] = t.Entry[entryTable], t.Aux[2], t.Aux[1]
	t.Fill(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: f.In}, entryLg2(f.Level+1), 0, StepWalkFill, stFSDescend)
}

// fsLeaf checks the rights over all levels.
func (u *Unit) fsLeaf(t *emu.Txn) {
	f := &t.Frame[0]
	f.Lg2 = entryLg2(f.Level)
	if c := u.fsDenied(t, f.Perm&fsRights(f.Entry)); c != 0 {
		u.fault(t, c, StepFSLeaf, f.At)
		return
	}
	if nested(t) {
		u.translateGPA(t, fsOutput(f), retOutput)
		return
	}
	u.fsFlags(t)
}

// fsOutput returns the output of the first stage.
func fsOutput(f *emu.Frame) uint64 {
	page := reg.Ones(f.Lg2)
	return f.Entry&spec.FSADDR.Mask()&^page | f.In&page
}

// fsHave returns the rights of the translation, the second stage's included.
func fsHave(t *emu.Txn) emu.Access {
	f := &t.Frame[0]
	v := f.Perm & fsRights(f.Entry)
	if nested(t) {
		v &= emu.Access(tlbPerm.Of(t.Entry[entryOutput])) | fsAll
	}
	return v
}

// fsWanted returns the flags that must be set in the entry: A, EA, and D in a leaf for what may write.
func (u *Unit) fsWanted(t *emu.Txn) uint64 {
	f, q := &t.Frame[0], &t.Req
	if mapsPage(f.Level, f.Entry) && u.dirties(q, need(q, true), fsGrant(t, fsHave(t))) {
		return fsAccessed(t) | spec.FSD.Mask()
	}
	return fsAccessed(t)
}

// fsFlags sets the flags of the entry, if they are not.
func (u *Unit) fsFlags(t *emu.Txn) {
	f := &t.Frame[0]
	want := u.fsWanted(t)
	if f.Entry&want == want {
		u.fsAccepted(t)
		return
	}
	// By a compare-and-swap against what was read, so that nothing that software did meanwhile is lost.
	switch {
	case !u.snoops(t):
		u.fault(t, FaultFSNoncoherent, StepFSUpdate, f.At)
	case nested(t) && emu.Access(t.Entry[entryTable])&emu.Write == 0:
		u.fault(t, FaultFSWriteDenied, StepFSUpdate, f.At)
	default:
		t.Swap(f.At, f.Entry, f.Entry|want, StepFSUpdate, stFSUpdated)
	}
}

// snoops reports whether walks of t are coherent, without which they set no flags.
func (u *Unit) snoops(t *emu.Txn) bool {
	return u.cfg.SnoopedWalks || u.cfg.SMPWCS && spec.PasidPWSNP.On(t.Entry[1])
}

// fsUpdated goes on after the compare-and-swap; if the entry changed meanwhile it is looked at anew.
func (u *Unit) fsUpdated(t *emu.Txn) {
	f := &t.Frame[0]
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultFSUpdate, StepFSUpdate, f.At)
	case emu.AnsMiss:
		u.fsEntry(t, t.In[0])
	default:
		f.Entry = t.Act.Data[2]
		u.fsAccepted(t)
	}
}

// fsAccepted goes on with an entry that has its flags.
func (u *Unit) fsAccepted(t *emu.Txn) {
	if f := &t.Frame[0]; !mapsPage(f.Level, f.Entry) {
		u.fsDown(t)
		return
	}
	u.fsTranslated(t)
}

// fsTranslated has the translation: it checks the output address and fills the IOTLB.
func (u *Unit) fsTranslated(t *emu.Txn) {
	f := &t.Frame[0]
	have := f.Perm & fsRights(f.Entry)
	pa, lg2, version := fsOutput(f), f.Lg2, t.Aux[2]
	attr := tlbClean.PutBool(!spec.FSD.On(f.Entry))
	if nested(t) {
		out := t.Entry[entryOutput]
		have = fsHave(t)
		lg2b := uint8(tlbLg2.Of(out))
		pa = out&tlbPage.Mask() | pa&reg.Ones(lg2b)
		lg2 = min(lg2, lg2b)
		attr |= t.Entry[entryAttr]
		version = nestedVersion(t.Aux[2], t.Aux[1])
	}
	if outputInterrupt(&t.Req, pa, lg2) {
		u.fault(t, FaultOutputRangeSM, StepOutputRange, f.At)
		return
	}
	u.answer(t, pa, lg2, fsGrant(t, have), version, f.At)
	t.Res.Prov.Leaf2 = emu.PA(tlbLeaf2.Of(attr) << 3)
	u.completion(t, false)
	if u.cache.IOTLB == nil {
		t.Done(StepFSLeaf)
		return
	}
	v := &t.Act.Data
	v[0] = pa&^reg.Ones(lg2) | tlbLg2.Put(uint64(lg2)) | tlbPerm.Put(uint64(have))
	v[1], v[2], v[3] = attr, version, uint64(f.At)
	t.Fill(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: f.In}, lg2, 0, StepIOTLBFill, stTLBFilled)
}
