package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Stage 2, 3.3 and DDI 0487 D8.2. A walk runs in Frame[0], or, for an address that stage 1 needs, in
// Frame[1].

// s2Frame returns the frame that the stage 2 walk of t runs in.
func s2Frame(t *emu.Txn) *emu.Frame { return &t.Frame[auxOnBehalf.Of(t.Aux[0])] }

// s2Tag is what stage 2 translations of t's VMID are cached under.
func (u *Unit) s2Tag(t *emu.Txn) emu.Tag {
	return emu.MakeTag(ClassS2, u.vmid(t.Entry[2]), emu.NoPASID)
}

// stage2Only goes on with a transaction that only stage 2 translates.
func (u *Unit) stage2Only(t *emu.Txn) {
	f := &t.Frame[0]
	f.In = uint64(t.Req.Addr)
	setAux(t, auxClass, spec.ClassIN)
	setAux(t, auxNeed, uint64(needs(t.Aux[0])))
	if u.s2Beyond(t, f.In) {
		u.fault2(t, FaultS2Range, StepS2Range, 0)
		return
	}
	u.probeTLB(t)
}

// s2Beyond reports whether an address is beyond the tables of stage 2.
func (u *Unit) s2Beyond(t *emu.Txn, ipa uint64) bool {
	return ipa>>((64-spec.SteS2T0SZ.Of(t.Entry[2]))&63) != 0
}

// s2Begin starts a walk: at what the paging-structure caches know, or at the top.
func (u *Unit) s2Begin(t *emu.Txn) {
	c, walk := emu.CacheWalk, u.cache.Walk
	if flag(t, auxOnBehalf) {
		c, walk = emu.CacheWalk2, u.cache.Walk2
	}
	if walk == nil {
		u.s2Top(t)
		return
	}
	t.Probe(c, emu.Key{Tag: u.s2Tag(t), Addr: s2Frame(t).In}, StepWalkCache, stS2WalkProbed)
}

func (u *Unit) s2WalkProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.s2Top(t)
		return
	}
	u.s2Used(t, t.In[2])
	s2Go(t, s2Frame(t), u.format(reg2(t)), t.In[0]&walkTable.Mask(), int8(walkLevel.Of(t.In[0])))
}

// s2Used notes under which version of stage 2 its tables were found. Only another one than that in force
// makes a difference.
func (u *Unit) s2Used(t *emu.Txn, v uint64) {
	if v != s2Version(t.Entry[:4]) {
		t.Aux[2] = v
	}
}

// s2Top starts at the table, or the tables side by side, of the STE.
func (u *Unit) s2Top(t *emu.Txn) {
	k, f, level := u.format(reg2(t)), s2Frame(t), int8(steLevel.Of(t.Entry[1]))
	bits := uint8(64-spec.SteS2T0SZ.Of(t.Entry[2])) - k.shift(level)
	f.Level = level
	f.At = emu.PA(k.startAddress(k.tableBase(t.Entry[3]&spec.SteS2TTB.Mask(), bits), f.In, level, bits))
	t.Fetch(f.At, spec.DescSize, StepS2Table, stS2Entry)
}

// s2Go reads the descriptor of a level from a table below the start, as s1Go does.
func s2Go(t *emu.Txn, f *emu.Frame, k *format, table uint64, level int8) {
	f.Level = level
	f.At = emu.PA(k.entryAddress(table, f.In, level))
	t.Fetch(f.At, spec.DescSize, StepS2Table, stS2Entry)
}

// s2Descend goes on after the fill of a paging-structure cache.
func (u *Unit) s2Descend(t *emu.Txn) {
	f := s2Frame(t)
	s2Go(t, f, u.format(reg2(t)), uint64(f.Table), f.Level)
}

// s2Read takes the descriptor as s1Read does.
func (u *Unit) s2Read(t *emu.Txn) {
	e, a := t.In[0], t.Aux[0]
	f, r := &t.Frame[auxOnBehalf.Of(a)], regime(auxReg2.Of(a))
	k := u.format(r)
	switch {
	case t.Ans == emu.AnsError:
		u.fault2(t, FaultS2Fetch, StepS2Table, f.At)
	case f.Level != spec.LevelPage && k.table[1].is(e):
		f.Entry = e
		if u.fillsWalk(a, auxOnBehalf.Of(a), k.shift(f.Level)) {
			u.s2FillWalk(t, f, k, e&k.address)
		} else {
			s2Go(t, f, k, e&k.address, f.Level-1)
		}
	case k.leaf[f.Level&7].is(e):
		f.Entry = e
		page, lg2 := k.leafOf(e, f.Level)
		u.s2Page(t, f, r, page, lg2)
	default:
		u.s2Entry(t, r, r.order(e))
	}
}

// s2Entry checks the descriptor e of the level as s1Entry does.
func (u *Unit) s2Entry(t *emu.Txn, r regime, e uint64) {
	f, w2 := s2Frame(t), t.Entry[2]
	f.Entry = e
	switch {
	case isTable(e, f.Level):
		u.s2Next(t, r, e)
		return
	case !r.valid(e, f.Level):
		u.fault2(t, FaultS2Translation, StepS2Table, f.At)
		return
	}
	page, lg2 := r.leaf(e, f.In, f.Level)
	switch {
	case r.beyond(page):
		u.fault2(t, FaultS2AddrSize, StepS2Table, f.At)
	case !spec.TtdAF.On(e) && !spec.SteS2HA.On(w2) && !spec.SteS2AFFD.On(w2):
		u.fault2(t, FaultS2Access, StepS2Table, f.At)
	default:
		u.s2Page(t, f, r, page, lg2)
	}
}

// s2Page has the page of the leaf descriptor in f as s1Page does.
func (u *Unit) s2Page(t *emu.Txn, f *emu.Frame, r regime, page uint64, lg2 uint8) {
	e, w2 := f.Entry, t.Entry[2]
	perm, clean := s2Plain(e), false
	if e&s2Restricts != 0 {
		perm, clean = u.s2Rights(w2, e)
	}
	if emu.Access(auxNeed.Of(t.Aux[0]))&^perm != 0 || device(e) {
		if c := s2Denied(t, perm, device(e)); c != 0 {
			u.fault2(t, c, StepS2Table, f.At)
			return
		}
	}
	if spec.SteS2HA.On(w2) {
		if next := u.s2Marked(t, e, clean, perm); next != e {
			t.Swap(f.At, r.order(e), r.order(next), StepS2Update, stS2Marked)
			return
		}
	}
	f.Lg2, f.Perm = lg2, perm
	attr := tlbClean.PutBool(clean) | tlbDevice.PutBool(device(e)) | u.s2Attr(t, e)
	if flag(t, auxOnBehalf) {
		u.resolvedBy(t, page, attr)
		return
	}
	u.translated(t, t.Tag, page, lg2, perm, attr, f.At)
}

// device reports whether a leaf descriptor of stage 2 says device memory, with and without S2FWB.
func device(e uint64) bool { return spec.S2MemAttr.Of(e)>>2 == 0 }

// s2Denied returns what forbids the access that stage 2 translates for, or 0. Structures of stage 1 may be
// kept out of device memory (S2PTW).
func s2Denied(t *emu.Txn, perm emu.Access, dev bool) uint16 {
	switch {
	case emu.Access(auxNeed.Of(t.Aux[0]))&^perm != 0:
		return FaultS2Permission
	case dev && auxClass.Of(t.Aux[0]) != spec.ClassIN && spec.SteS2PTW.On(t.Entry[2]):
		return FaultS2Device
	}
	return 0
}

// s2Marked returns the leaf descriptor e as hardware has to leave it: accessed, and writable if it is
// written to (3.13).
func (u *Unit) s2Marked(t *emu.Txn, e uint64, clean bool, perm emu.Access) uint64 {
	if !spec.SteS2HA.On(t.Entry[2]) || flag(t, auxPassive) {
		return e
	}
	e |= spec.TtdAF.Mask()
	if clean && u.s2Dirties(t, perm) {
		e |= spec.S2APW.Mask()
	}
	return e
}

// s2Dirties reports whether what stage 2 translates for may write.
func (u *Unit) s2Dirties(t *emu.Txn, perm emu.Access) bool {
	if auxClass.Of(t.Aux[0]) != spec.ClassIN {
		return auxNeed.Of(t.Aux[0])&uint64(emu.Write<<priv) != 0
	}
	if flag(t, auxS1) {
		perm &= t.Frame[0].Perm
	}
	return dirties(t, perm)
}

// s2MarkedEntry goes on after the compare-and-swap as s1MarkedEntry does.
func (u *Unit) s2MarkedEntry(t *emu.Txn) {
	r := reg2(t)
	switch t.Ans {
	case emu.AnsError:
		u.fault2(t, FaultS2Fetch, StepS2Update, s2Frame(t).At)
	case emu.AnsMiss:
		u.s2Entry(t, r, r.order(t.In[0]))
	default:
		u.s2Entry(t, r, r.order(t.Act.Data[2]))
	}
}

// s2Next goes on with a table descriptor as s1Next does.
func (u *Unit) s2Next(t *emu.Txn, r regime, e uint64) {
	f, w2 := s2Frame(t), t.Entry[2]
	next := r.address(e, uint8(r.granule()))
	switch {
	case r.beyond(next):
		u.fault2(t, FaultS2AddrSize, StepS2Table, f.At)
		return
	case u.cfg.HTTU == spec.HTTUTable && !spec.TtdAF.On(e) && spec.SteS2HAFT.On(w2) && spec.SteS2HA.On(w2) && !flag(t, auxPassive):
		t.Swap(f.At, r.order(e), r.order(e|spec.TtdAF.Mask()), StepS2Update, stS2Marked)
		return
	}
	u.s2Down(t, f, u.format(r), next)
}

// s2Down goes down to the table next as s1Down does.
func (u *Unit) s2Down(t *emu.Txn, f *emu.Frame, k *format, next uint64) {
	if u.fillsWalk(t.Aux[0], auxOnBehalf.Of(t.Aux[0]), k.shift(f.Level)) {
		u.s2FillWalk(t, f, k, next)
		return
	}
	s2Go(t, f, k, next, f.Level-1)
}

// s2FillWalk fills the paging-structure cache of a level with the table next.
func (u *Unit) s2FillWalk(t *emu.Txn, f *emu.Frame, k *format, next uint64) {
	c, lg2 := emu.CacheWalk, k.shift(f.Level)
	if flag(t, auxOnBehalf) {
		c = emu.CacheWalk2
	}
	f.Table = emu.PA(next)
	f.Level--
	v := &t.Act.Data
	v[0] = next | walkLevel.Put(uint64(f.Level))
	v[1], v[2], v[3] = 0, t.Aux[2], 0
	t.Fill(c, emu.Key{Tag: u.s2Tag(t), Addr: f.In}, lg2, kindOf(reg2(t), f.Level+1, true), StepWalkFill, stS2Descend)
}
