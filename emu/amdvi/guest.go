package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Guest tables (v2), 2.2.6: those of AMD64 processors, at guest physical addresses.

// guestAll are the rights at the top of a guest walk.
const guestAll = emu.RW | emu.Exec | permUser

// guestRights returns the rights of an entry of a guest table. Without NXSup execution is not
// restricted.
func (u *Unit) guestRights(e uint64) emu.Access {
	p := emu.Read | emu.Exec | emu.Access(e)&emu.Write | emu.Access(e<<1)&permUser // R/W at its place, U/S one below
	if spec.GptNX.On(e) && u.cfg.NXSup {
		p &^= emu.Exec
	}
	return p
}

// guestTopLevel returns the level of the table that the GCR3 entry points to.
func guestTopLevel(t *emu.Txn) int8 { return int8(3 + spec.DteGuestPagingMode.Of(t.Entry[2])) }

// guestWidth reports whether an address fits the guest tables: that of a request with PASID is
// canonical, that of one without uses all bits of the tables without a sign.
func guestWidth(q *emu.Request, w2 uint64) bool {
	addr, lg2 := uint64(q.Addr), 48+9*spec.DteGuestPagingMode.Of(w2)
	if q.PASID == emu.NoPASID {
		return addr>>lg2 == 0
	}
	s := 64 - lg2
	return uint64(int64(addr<<s)>>s) == addr
}

func (u *Unit) guestRequest(t *emu.Txn) {
	if !guestWidth(&t.Req, t.Entry[2]) {
		u.fault(t, FaultCanonical, StepAddressWidth, 0)
		return
	}
	u.probeTLB(t)
}

// guestBegin starts a walk: at what the paging-structure caches know, or at the GCR3 table.
func (u *Unit) guestBegin(t *emu.Txn) {
	t.Entry[7] = u.guestWant(&t.Req)
	if u.cache.Walk == nil {
		u.gcr3Begin(t)
		return
	}
	t.Probe(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, StepWalkCache, stGuestWalkProbed)
}

func (u *Unit) guestWalkProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.gcr3Begin(t)
		return
	}
	f := &t.Frame[0]
	f.Perm = emu.Access(walkPerm.Of(t.In[0]))
	t.Aux[2] = t.In[2]
	u.guestFetch(t, t.In[0]&walkTable.Mask(), int8(walkLevel.Of(t.In[0])))
}

// guestTop starts at the table of the GCR3 entry.
func (u *Unit) guestTop(t *emu.Txn, table uint64) {
	t.Frame[0].Perm = guestAll
	u.guestFetch(t, table, guestTopLevel(t))
}

// guestFetch reads the entry of a level from its table.
func (u *Unit) guestFetch(t *emu.Txn, table uint64, level int8) {
	f := &t.Frame[0]
	if t.Tag.Class() != ClassNested { // as resolve does
		guestFetchAlone(t, f, table, level)
		return
	}
	f.Table, f.Level = emu.PA(table), level
	u.resolve(t, guestEntryAddress(f), emu.Read, retGuest)
}

// guestFetchAlone is guestFetch without a host table below.
func guestFetchAlone(t *emu.Txn, f *emu.Frame, table uint64, level int8) {
	f.Table, f.Level = emu.PA(table), level
	f.At = emu.PA(guestEntryAddress(f))
	t.Fetch(f.At, 8, StepGuestTable, stGuestEntry)
}

// guestEntryAddress returns the guest physical address of the entry of the level.
func guestEntryAddress(f *emu.Frame) uint64 {
	return uint64(f.Table) + f.In>>(entryLg2(f.Level)&63)&511*8
}

func (u *Unit) guestDescend(t *emu.Txn) {
	u.guestFetch(t, uint64(t.Frame[0].Table), t.Frame[0].Level)
}

// guestWant returns what an entry must have, at its place in the entry, to be accepted without a further
// look, as hostWant does: D counts in pages only. Requests that execute, those of supervisors and
// translation requests want what none has.
func (u *Unit) guestWant(q *emu.Request) uint64 {
	if q.Type != emu.Untranslated || !isUser(q) || q.PASID != emu.NoPASID && q.Access&emu.Exec != 0 {
		return ^uint64(0)
	}
	want := spec.GptP.Mask() | spec.GptUS.Mask()
	if !u.control(spec.CtlGAUpdateDis) {
		want |= spec.GptA.Mask()
	}
	if need(q)&emu.Write != 0 {
		want |= spec.GptRW.Mask()
		if !u.control(spec.CtlGDUpdateDis) {
			want |= spec.GptD.Mask()
		}
	}
	return want
}

// guestEntryRead takes the entry. One that has all that it must have is accepted here if it points to a
// table, or to a page of the lowest level; guestEntry looks at the others step by step.
func (u *Unit) guestEntryRead(t *emu.Txn) {
	f, e, want := &t.Frame[0], t.In[0], t.Entry[7]
	if t.Ans == emu.AnsError {
		u.fault(t, FaultGuestRead, StepGuestTable, f.At)
		return
	}
	if f.Level != 0 {
		want &^= spec.GptD.Mask()
		want |= spec.GptPS.Mask() // must be clear
		e ^= spec.GptPS.Mask()
	}
	if e&want != want || emu.Access(want)&emu.Write&^f.Perm != 0 || f.Perm&permUser == 0 {
		u.guestEntry(t, t.In[0])
		return
	}
	f.Entry = t.In[0]
	if f.Level != 0 && u.lim.walk == 0 && t.Tag.Class() != ClassNested {
		f.Perm &= u.guestRights(f.Entry)
		guestFetchAlone(t, f, f.Entry&spec.GptAddr.Mask(), f.Level-1)
		return
	}
	u.guestAccepted(t)
}

// guestMapsPage reports whether an entry of a level maps a page.
func guestMapsPage(level int8, e uint64) bool { return level == 0 || level <= 2 && spec.GptPS.On(e) }

// guestReserved returns the reserved bits of an entry: PS where there are no large pages, and the
// address bits below a large page but for PAT.
func guestReserved(level int8, e uint64) uint64 {
	switch {
	case level > 2:
		return spec.GptPS.Mask()
	case level > 0 && spec.GptPS.On(e):
		return reg.Ones(entryLg2(level)) & spec.GptAddr.Mask() &^ spec.GptPAT.Mask()
	}
	return 0
}

// guestEntry checks the entry e of the level: present, reserved bits; for a page the rights over all
// levels; then flags.
func (u *Unit) guestEntry(t *emu.Txn, e uint64) {
	f, q := &t.Frame[0], &t.Req
	f.Entry = e
	page := guestMapsPage(f.Level, e)
	have := f.Perm & u.guestRights(e)
	c := uint16(0)
	switch {
	case !spec.GptP.On(e):
		c = FaultGuestNotPresent
	case e&guestReserved(f.Level, e) != 0:
		c = FaultGuestReserved
	case page:
		c = denied(q, t.Entry[0], t.Tag.Class(), have)
	}
	switch c {
	case 0:
	case FaultGuestNotPresent:
		u.absent(t, c, StepGuestTable, f)
		return
	default:
		u.fault(t, c, StepGuestTable, f.At)
		return
	}
	if ad := u.guestFlags(t, page, have); e&ad != ad {
		u.resolve(t, guestEntryAddress(f), emu.RW, retFlags)
		return
	}
	u.guestAccepted(t)
}

// guestFlags returns the accessed and dirty flags that an entry in use must have.
func (u *Unit) guestFlags(t *emu.Txn, page bool, have emu.Access) uint64 {
	var ad uint64
	if !u.control(spec.CtlGAUpdateDis) {
		ad = spec.GptA.Mask()
	}
	if page && !u.control(spec.CtlGDUpdateDis) && dirties(&t.Req, grant(&t.Req, t.Entry[0], t.Tag.Class(), have)) {
		ad |= spec.GptD.Mask()
	}
	return ad
}

// guestSwap sets the flags by a compare-and-swap against the entry as read, so that nothing that
// software did meanwhile is lost. It has the address for writing in Frame[1].
func (u *Unit) guestSwap(t *emu.Txn) {
	f := &t.Frame[0]
	f.At = t.Frame[1].Table
	ad := u.guestFlags(t, guestMapsPage(f.Level, f.Entry), f.Perm&u.guestRights(f.Entry))
	t.Swap(f.At, f.Entry, f.Entry|ad, StepGuestUpdate, stGuestUpdated)
}

// guestUpdated goes on after the compare-and-swap; if the entry changed meanwhile it is looked at anew.
func (u *Unit) guestUpdated(t *emu.Txn) {
	f := &t.Frame[0]
	switch t.Ans {
	case emu.AnsError:
		u.fault(t, FaultGuestRead, StepGuestUpdate, f.At)
	case emu.AnsMiss:
		u.guestEntry(t, t.In[0])
	default:
		f.Entry = t.Act.Data[2]
		u.guestAccepted(t)
	}
}

// guestAccepted goes down to the table that the entry points to, past the paging-structure cache of
// its level if there is one, or resolves the address of the page.
func (u *Unit) guestAccepted(t *emu.Txn) {
	f := &t.Frame[0]
	e := f.Entry
	f.Perm &= u.guestRights(e)
	lg2 := entryLg2(f.Level)
	if guestMapsPage(f.Level, e) {
		f.Lg2 = lg2
		page := reg.Ones(lg2)
		gpa := e&spec.GptAddr.Mask()&^page | f.In&page
		u.resolve(t, gpa, hostNeed(&t.Req), retData)
		return
	}
	f.Table, f.Level = emu.PA(e&spec.GptAddr.Mask()), f.Level-1
	if u.lim.walk>>(lg2&63)&1 == 0 {
		u.guestDescend(t)
		return
	}
	v := &t.Act.Data
	v[0] = uint64(f.Table) | walkPerm.Put(uint64(f.Perm)) | walkLevel.Put(uint64(f.Level))
	v[1], v[2], v[3] = 0, t.Aux[2], 0
	t.Fill(emu.CacheWalk, emu.Key{Tag: t.Tag, Addr: f.In}, lg2, 0, StepWalkFill, stGuestDescend)
}

// guestTranslated has the address of the page in Frame[1]: what both stages have in common is cached.
func (u *Unit) guestTranslated(t *emu.Txn) {
	f, h := &t.Frame[0], &t.Frame[1]
	lg2 := min(f.Lg2, h.Lg2)
	have := f.Perm & (h.Perm | emu.Exec | permUser)
	clean := !u.control(spec.CtlGDUpdateDis) && !spec.GptD.On(f.Entry)
	if t.Tag.Class() == ClassNested && dirty(t.Entry[0]) && !spec.PteD.On(h.Entry) {
		clean = true
	}
	attr := tlbClean.PutBool(clean) | tlbU.Put(spec.PteU.Of(h.Entry)) | tlbFC.Put(spec.PteFC.Of(h.Entry)) |
		tlbLeaf2.Put(uint64(h.At)>>3)
	u.translated(t, uint64(h.Table)&^reg.Ones(lg2), lg2, have, attr, f.At)
}
