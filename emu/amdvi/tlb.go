package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// What all walks have in common: the IOTLB before them, the wait for whoever walks for the same page,
// the walker, the answer.

// probeTLB looks into the IOTLB.
func (u *Unit) probeTLB(t *emu.Txn) {
	if u.cache.IOTLB == nil {
		if t.Solo {
			u.walkBegin(t)
			return
		}
		u.askWalker(t)
		return
	}
	t.Probe(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, StepIOTLB, stTLBProbed)
}

func (u *Unit) tlbProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK && u.tlbHit(t) {
		return
	}
	if t.Solo {
		u.walkBegin(t)
		return
	}
	key := emu.Key{Tag: t.Tag, Addr: t.Frame[0].In &^ (emu.PageSize - 1)}
	t.Acquire(emu.SlotMiss, key, StepIOTLBMiss, stMissSlot)
}

func (u *Unit) missSlot(t *emu.Txn) {
	switch t.Ans {
	case emu.AnsMerged:
		if !u.tlbHit(t) {
			u.probeTLB(t)
		}
	case emu.AnsRetry:
		u.probeTLB(t)
	default:
		u.askWalker(t)
	}
}

// askWalker asks for a walker, unless all are free anyway.
func (u *Unit) askWalker(t *emu.Txn) {
	if t.Solo {
		u.walkBegin(t)
		return
	}
	t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stMissWalker)
}

func (u *Unit) walkBegin(t *emu.Txn) {
	if guest(t) {
		u.guestBegin(t)
		return
	}
	u.hostBegin(t, hostNeed(&t.Req))
}

// hostNeed returns the rights that a host walk for the data of q must find: a translation request is
// content with any.
func hostNeed(q *emu.Request) emu.Access {
	if q.Type != emu.Untranslated {
		return 0
	}
	return need(q)
}

// isUser reports whether q is a user request: those without PASID are.
func isUser(q *emu.Request) bool { return q.PASID == emu.NoPASID || q.Access&emu.Priv == 0 }

// grant returns what the rights of a translation grant to q under a DTE. Those of the DTE are not in
// the translation: devices of a domain share it (2.2.3).
func grant(q *emu.Request, w0 uint64, class emu.Class, have emu.Access) emu.Access {
	g := have & dteRights(w0)
	if class == ClassHost {
		return g
	}
	if g == 0 || isUser(q) && have&permUser == 0 {
		return 0
	}
	return g | have&emu.Exec | q.Access&emu.Priv
}

// denied returns the fault of a request that the rights of a translation do not allow, or 0.
func denied(q *emu.Request, w0 uint64, class emu.Class, have emu.Access) uint16 {
	if q.Type != emu.Untranslated {
		return 0
	}
	switch {
	case class != ClassHost && isUser(q) && have&permUser == 0:
		return FaultUser
	case need(q)&^(have&dteRights(w0)) != 0:
		if class == ClassHost {
			return FaultPermission
		}
		return FaultGuestPermission
	case class != ClassHost && q.PASID != emu.NoPASID && q.Access&emu.Exec != 0 && have&emu.Exec == 0:
		return FaultExec
	}
	return 0
}

// dirties reports whether t, given the rights of a translation, may write and so needs dirty flags.
func dirties(q *emu.Request, granted emu.Access) bool {
	if q.Type == emu.TranslationReq {
		return granted&emu.Write != 0
	}
	return need(q)&emu.Write != 0
}

// tlbHit uses the IOTLB value in t.In. It returns false if the tables must be walked all the same: to
// set a dirty flag, or to find out which of two stages denies a right.
func (u *Unit) tlbHit(t *emu.Txn) bool {
	v, q, class := &t.In, &t.Req, t.Tag.Class()
	if tlbNone.On(v[1]) {
		u.knownAbsent(t, v)
		return true
	}
	have := emu.Access(tlbPerm.Of(v[0]))
	if c := denied(q, t.Entry[0], class, have); c != 0 {
		if class == ClassNested {
			return false
		}
		u.fault(t, c, StepIOTLB, emu.PA(v[3]))
		return true
	}
	perm := grant(q, t.Entry[0], class, have)
	if tlbClean.On(v[1]) && dirties(q, perm) {
		return false
	}
	lg2 := uint8(tlbLg2.Of(v[0]))
	u.answer(t, v[0]&tlbPage.Mask()|t.Frame[0].In&reg.Ones(lg2), lg2, perm, v[1], v[2], v[3])
	t.Done(StepIOTLB)
	return true
}

// absent ends a walk at an entry that is not present, with fault c. With NpCache it is remembered for all
// addresses below the entry (2.4.3).
func (u *Unit) absent(t *emu.Txn, c uint16, step emu.Step, f *emu.Frame) {
	if !u.cfg.NpCache || u.cache.IOTLB == nil {
		u.fault(t, c, step, f.At)
		return
	}
	lg2, host := entryLg2(f.Level), auxOnBehalf.On(t.Aux[0])
	v := &t.Act.Data
	v[0], v[1] = tlbLg2.Put(uint64(lg2)), tlbNone.Mask()
	if host { // which addresses of the guest lead there is not known
		lg2 = emu.PageShift
		v[0], v[1] = tlbLg2.Put(uint64(lg2))|f.In&tlbPage.Mask(), tlbNone.Mask()|tlbHost.Mask()
	}
	v[2], v[3] = t.Aux[2], uint64(f.At)
	t.Fill(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, lg2, 0, StepIOTLBFill, stAbsentFilled)
}

func (u *Unit) absentFilled(t *emu.Txn) {
	v := t.Act.Data
	u.knownAbsent(t, &v)
}

// knownAbsent is the fault of a translation that is known not to be there.
func (u *Unit) knownAbsent(t *emu.Txn, v *[4]uint64) {
	c := uint16(FaultNotPresent)
	switch {
	case tlbHost.On(v[1]):
		t.Aux[0] |= auxOnBehalf.Mask()
		t.Frame[1].In, t.Frame[1].Ret = v[0]&tlbPage.Mask(), retData
	case t.Tag.Class() != ClassHost:
		c = FaultGuestNotPresent
	}
	u.fault(t, c, StepIOTLB, emu.PA(v[3]))
}

// answer sets the result of a translation. The last three are W1 to W3 of its IOTLB value.
func (u *Unit) answer(t *emu.Txn, pa uint64, lg2 uint8, perm emu.Access, attr, version, leaf uint64) {
	r := &t.Res
	r.Status, r.PA, r.Lg2, r.Perm = emu.OK, emu.PA(pa), lg2, perm
	r.Prov.Fill, r.Prov.Leaf, r.Prov.Leaf2 = version, emu.PA(leaf), emu.PA(tlbLeaf2.Of(attr)<<3)
	if t.Req.PASID != emu.NoPASID {
		r.Prov.Entry = version
	}
	completion(&t.Req, r, attr)
}

// translated has the translation of 2^lg2 bytes to page: it answers the request and fills the IOTLB.
// attr is W1 of the value.
func (u *Unit) translated(t *emu.Txn, page uint64, lg2 uint8, have emu.Access, attr uint64, leaf emu.PA) {
	in, version := t.Frame[0].In, t.Aux[2]
	u.answer(t, page|in&reg.Ones(lg2), lg2, grant(&t.Req, t.Entry[0], t.Tag.Class(), have), attr, version, uint64(leaf))
	if u.cache.IOTLB == nil {
		t.Done(StepHostLeaf)
		return
	}
	v := &t.Act.Data
	v[0] = page | tlbLg2.Put(uint64(lg2)) | tlbPerm.Put(uint64(have))
	v[1], v[2], v[3] = attr, version, uint64(leaf)
	t.Fill(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: in}, lg2, 0, StepIOTLBFill, stTLBFilled)
}

func (u *Unit) tlbFilled(t *emu.Txn) { t.Done(StepIOTLBFill) }

// accessed and dirty say which flags of host tables a DTE asks for.
func accessed(w0 uint64) bool { return spec.DteHAD.Of(w0)&spec.HADA != 0 }
func dirty(w0 uint64) bool    { return spec.DteHAD.Of(w0) == spec.HADAD }
