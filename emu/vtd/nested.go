package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Nested translation, 3.8: the first stage runs in guest-physical addresses. Each address of one of
// its tables, and its output, is translated by the second stage: in Txn.Frame[1], for a purpose that
// Frame[1].Ret names. Of Txn.Entry a nested walk uses, behind the PASID entry:
//
//	Entry[3]  rights that the second stage grants to the table being indexed
//	Entry[4]  the output of the first stage translated, W0 of an IOTLB value
//	Entry[5]  W1 of it
//	Entry[6]  second-stage version of the translation in progress
//
// Aux[1] and Aux[2] are the two halves of the version that Provenance.Fill is made of. They start as
// those of the entry in force, and follow what comes from a cache.
const (
	entryTable  = 3
	entryOutput = 4
	entryAttr   = 5
	entrySSVer  = 6
)

// What a guest-physical address is translated for.
const (
	retTable  uint16 = iota // to access an entry of a first-stage table
	retOutput               // it is the output of the first stage
)

func nested(t *emu.Txn) bool { return t.Tag.Class() == ClassNested }

// beyondGuest reports whether a guest-physical address is beyond the width of the second stage.
func (u *Unit) beyondGuest(t *emu.Txn, gpa uint64) bool {
	return gpa>>u.lim.width[spec.PasidAW.Of(t.Entry[0])] != 0
}

// stage2Key is the key of a guest-physical address in the caches of the second stage.
func stage2Key(t *emu.Txn) emu.Key {
	return emu.Key{Tag: emu.MakeTag(ClassSS, t.Tag.Domain(), emu.NoPASID), Addr: t.Frame[1].In}
}

// fsTableAt reads the first-stage entry of a level whose table is at a guest-physical address.
func (u *Unit) fsTableAt(t *emu.Txn, gpa uint64, level int8) {
	t.Frame[0].Level = level
	u.translateGPA(t, gpa|t.Frame[0].In>>(entryLg2(level)&63)&511*8, retTable)
}

// translateGPA translates a guest-physical address: from what is cached, or by a walk.
func (u *Unit) translateGPA(t *emu.Txn, gpa uint64, ret uint16) {
	t.Frame[1].In, t.Frame[1].Ret = gpa, ret
	if u.cache.Stage2 == nil {
		u.stage2Walk(t)
		return
	}
	t.Probe(emu.CacheStage2, stage2Key(t), StepStage2, stStage2Probed)
}

func (u *Unit) stage2Probed(t *emu.Txn) {
	if t.Ans != emu.AnsOK || !u.stage2Hit(t) {
		u.stage2Walk(t)
	}
}

// stage2Hit uses the cached translation in t.In. It returns false if the tables must be walked all the
// same, to set the D flag.
func (u *Unit) stage2Hit(t *emu.Txn) bool {
	v := &t.In
	leaf := emu.PA(tlbLeaf2.Of(v[1]) << 3)
	perm := emu.Access(tlbPerm.Of(v[0]))
	n, d := u.stage2Need(t)
	m := u.stage2Missing(t, n, perm)
	switch {
	case tlbNone.On(v[1]):
		u.fault(t, FaultSSAbsent, StepStage2, leaf)
	case tlbRsvd.On(v[1]):
		u.fault(t, FaultSSReservedSM, StepStage2, leaf)
	case m != 0:
		u.fault(t, stage2Denied(t, m), StepStage2, leaf)
	case tlbClean.On(v[1]) && d&perm != 0:
		return false
	default:
		u.stage2Done(t, v)
	}
	return true
}

// stage2Need returns the rights that the present purpose needs of the second stage, and whether it
// writes if it may: emu.Write or nothing. With SSADE=1 first-stage tables are accessed as if they were
// written (3.8.1).
func (u *Unit) stage2Need(t *emu.Txn) (n, d emu.Access) {
	if t.Frame[1].Ret == retTable {
		if spec.PasidSSADE.On(t.Entry[0]) {
			return emu.RW, emu.Write
		}
		return emu.Read, 0
	}
	q := &t.Req
	n = need(q, ssee(t))
	if q.Type == emu.Untranslated {
		return n, n & emu.Write
	}
	f := &t.Frame[0]
	if u.dirties(q, n, fsGrant(t, f.Perm&fsRights(f.Entry))) {
		d = emu.Write
	}
	return 0, d
}

// stage2Missing returns which of the rights n are not in perm. That zero-length reads may need none
// concerns the output only.
func (u *Unit) stage2Missing(t *emu.Txn, n, perm emu.Access) emu.Access {
	if t.Frame[1].Ret == retOutput {
		return u.missing(&t.Req, n, perm)
	}
	return n &^ perm
}

// stage2Denied is the fault of rights m missing in the second stage, by what they are missing for.
func stage2Denied(t *emu.Txn, m emu.Access) uint16 {
	switch {
	case t.Frame[1].Ret == retOutput:
		return permissionCode(t, m)
	case m&emu.Read == 0:
		return FaultFSWriteDenied
	case t.Frame[0].Level == fsTopLevel(t):
		return FaultFSTopDenied
	}
	return FaultFSReadDenied
}

// stage2Walk walks the second-stage tables: from what the paging-structure caches know, or from the
// top. Like ssWants it first notes what an entry must have to need no further look.
func (u *Unit) stage2Walk(t *emu.Txn) {
	t.Aux[3] = auxWant.Mask() | auxWantLeaf.Mask()
	if n, d := u.stage2Need(t); n != 0 {
		t.Aux[3] = uint64(n) | u.wantedFlags(t, false, false) | (uint64(n)|u.wantedFlags(t, true, d != 0))<<32
	}
	if u.cache.Walk2 == nil {
		u.stage2Top(t)
		return
	}
	t.Probe(emu.CacheWalk2, stage2Key(t), StepWalk2, stWalk2Probed)
}

func (u *Unit) walk2Probed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.stage2Top(t)
		return
	}
	t.Frame[1].Perm = emu.Access(walkPerm.Of(t.In[0]))
	t.Entry[entrySSVer] = t.In[2]
	stage2Fetch(t, emu.PA(t.In[0]&walkTable.Mask()), int8(walkLevel.Of(t.In[0])))
}

func (u *Unit) stage2Top(t *emu.Txn) {
	t.Frame[1].Perm = ssAll
	t.Entry[entrySSVer] = secondVersion((*[4]uint64)(t.Entry[:4]))
	stage2Fetch(t, emu.PA(t.Entry[0]&spec.PasidSSPTPTR.Mask()), int8(spec.PasidAW.Of(t.Entry[0])+1))
}

func stage2Fetch(t *emu.Txn, table emu.PA, level int8) {
	f := &t.Frame[1]
	f.Table, f.Level = table, level
	f.At = table + emu.PA(f.In>>(entryLg2(level)&63)&511*8)
	t.Fetch(f.At, 8, ssStep[level&7], stStage2Entry)
}

func (u *Unit) stage2Descend(t *emu.Txn) { stage2Fetch(t, t.Frame[1].Table, t.Frame[1].Level) }

// stage2EntryRead takes the entry, as ssEntryRead does.
func (u *Unit) stage2EntryRead(t *emu.Txn) {
	f, e := &t.Frame[1], t.In[0]
	want, kind := t.Aux[3], isTable
	if mapsPage(f.Level, e) {
		want, kind = want>>32, isLeaf
	}
	want &= auxWant.Mask()
	if t.Ans == emu.AnsError || e&want != want || emu.Access(want)&^f.Perm != 0 || e&u.lim.rsvd[f.Level&7][kind] != 0 {
		u.stage2Entry(t, e)
		return
	}
	f.Entry = e
	u.stage2Down(t)
}

// stage2Entry checks the entry e of the level.
func (u *Unit) stage2Entry(t *emu.Txn, e uint64) {
	f := &t.Frame[1]
	if t.Ans == emu.AnsError {
		u.fault(t, u.ssUnreadable(t, f), StepSSTable, f.At)
		return
	}
	f.Entry = e
	n, d := u.stage2Need(t)
	m := u.stage2Missing(t, n, f.Perm&rights(e, ssee(t)))
	switch v, flags := u.ssCheck(t, f, m, d); v {
	case ssAbsent:
		u.failStage2(t, FaultSSAbsent, tlbNone.Mask())
	case ssDenied:
		u.fault(t, stage2Denied(t, m), StepSSTable, f.At)
	case ssReserved:
		u.failStage2(t, FaultSSReservedSM, tlbRsvd.Mask())
	case ssFlags:
		u.ssUpdate(t, f, flags, stStage2Updated)
	default:
		u.stage2Down(t)
	}
}

// stage2Updated goes on after the compare-and-swap, as ssUpdated does.
func (u *Unit) stage2Updated(t *emu.Txn) {
	f := &t.Frame[1]
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultSSUpdate, StepSSUpdate, f.At)
	case emu.AnsMiss:
		u.stage2Entry(t, t.In[0])
	default:
		f.Entry = t.Act.Data[2]
		u.stage2Down(t)
	}
}

// stage2Down goes one level down with an accepted entry, or ends the walk at a leaf.
func (u *Unit) stage2Down(t *emu.Txn) {
	f := &t.Frame[1]
	f.Perm &= rights(f.Entry, ssee(t))
	table, level := emu.PA(f.Entry&spec.SSADDR.Mask()), f.Level
	switch {
	case mapsPage(level, f.Entry):
		u.stage2Leaf(t)
	case u.lim.walk2>>(entryLg2(level)&63)&1 != 0:
		f.Table, f.Level = table, level-1
		v := &t.Act.Data
		v[0] = uint64(table) | walkPerm.Put(uint64(f.Perm)) | walkLevel.Put(uint64(level-1))
		v[1], v[2], v[3] = 0, t.Entry[entrySSVer], 0
		t.Fill(emu.CacheWalk2, stage2Key(t), entryLg2(level), 0, StepWalkFill, stStage2Descend)
	default:
		stage2Fetch(t, table, level-1)
	}
}

// stage2Leaf has the translation of a guest-physical address and caches it.
func (u *Unit) stage2Leaf(t *emu.Txn) {
	f := &t.Frame[1]
	lg2 := entryLg2(f.Level)
	v := &t.Act.Data
	v[0] = f.Entry&spec.SSADDR.Mask()&^reg.Ones(lg2) | tlbLg2.Put(uint64(lg2)) | tlbPerm.Put(uint64(f.Perm))
	v[1] = tlbClean.PutBool(spec.PasidSSADE.On(t.Entry[0]) && !spec.SSD.On(f.Entry)) |
		tlbSNP.Put(spec.SSSNP.Of(f.Entry)) | tlbLeaf2.Put(uint64(f.At)>>3)
	v[2], v[3] = t.Entry[entrySSVer], 0
	if u.cache.Stage2 == nil || f.Perm&emu.RW == 0 {
		u.stage2Done(t, v)
		return
	}
	t.Fill(emu.CacheStage2, stage2Key(t), lg2, 0, StepStage2Fill, stStage2Filled)
}

func (u *Unit) stage2Filled(t *emu.Txn) { u.stage2Done(t, &t.Act.Data) }

// failStage2 is failSS for the second stage of nested translation.
func (u *Unit) failStage2(t *emu.Txn, c uint16, attr uint64) {
	f := &t.Frame[1]
	u.setFault(t, c, StepSSTable, f.At)
	if !u.cfg.CM || u.cache.Stage2 == nil {
		u.raise(t)
		return
	}
	lg2 := entryLg2(f.Level)
	t.Act.Data = [4]uint64{tlbLg2.Put(uint64(lg2)), attr | tlbLeaf2.Put(uint64(f.At)>>3), t.Entry[entrySSVer], 0}
	t.Fill(emu.CacheStage2, stage2Key(t), lg2, 0, StepStage2Fill, stFaultFilled)
}

// stage2Done goes on with a guest-physical address translated, v.
func (u *Unit) stage2Done(t *emu.Txn, v *[4]uint64) {
	if v[2] != secondVersion((*[4]uint64)(t.Entry[:4])) {
		t.Aux[1] = v[2] // what is stale stays so
	}
	g := &t.Frame[1]
	f := &t.Frame[0]
	if g.Ret == retOutput {
		t.Entry[entryOutput], t.Entry[entryAttr] = v[0], v[1]
		if c := u.fsDenied(t, fsHave(t)); c != 0 {
			u.fault(t, c, StepSSLeaf, emu.PA(tlbLeaf2.Of(v[1])<<3))
			return
		}
		u.fsFlags(t)
		return
	}
	t.Entry[entryTable] = tlbPerm.Of(v[0])
	f.Table = emu.PA(v[0]&tlbPage.Mask() | g.In&reg.Ones(uint8(tlbLg2.Of(v[0])))&^(emu.PageSize-1))
	if f.Level < fsTopLevel(t) && u.lim.walk>>(entryLg2(f.Level+1)&63)&1 != 0 {
		u.fsFillWalk(t)
		return
	}
	u.fsDescend(t)
}
