package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// What all walks have in common: the IOTLB before them, the wait for whoever walks for the same page, the
// walker, the answer.

// probeTLB looks into the IOTLB.
func (u *Unit) probeTLB(t *emu.Txn) {
	if u.cache.IOTLB == nil || flag(t, auxOnlyS1) || u.split(t) {
		if t.Solo { // as askWalker has it
			u.walkBegin(t)
		} else {
			u.askWalker(t)
		}
		return
	}
	t.Probe(emu.CacheIOTLB, emu.Key{Tag: t.Tag, Addr: t.Frame[0].In}, StepIOTLB, stTLBProbed)
}

// tlbLookedUp uses what the IOTLB has answered, if anything.
func (u *Unit) tlbLookedUp(t *emu.Txn) {
	if t.Ans == emu.AnsOK && u.tlbHit(t) {
		return
	}
	if g, ok := globalTag(t.Tag); ok && u.s.Global && t.Ans != emu.AnsOK && !flag(t, auxGlobal) {
		setFlag(t, auxGlobal, true)
		t.Probe(emu.CacheIOTLB, emu.Key{Tag: g, Addr: t.Frame[0].In}, StepIOTLB, stTLBProbed)
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
	switch {
	case t.Ans == emu.AnsMerged && u.tlbHit(t):
	case t.Ans == emu.AnsMerged, t.Ans == emu.AnsRetry:
		setFlag(t, auxGlobal, false)
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
	if u.pm.on {
		u.counts(spec.PmcgTLBMiss, t)
	}
	if flag(t, auxS1) {
		u.s1Begin(t)
		return
	}
	u.s2Begin(t)
}

// tlbHit uses the IOTLB value in t.In. It returns false if the tables must be walked all the same: to
// mark a page dirty, or to find out which of two stages denies a right.
func (u *Unit) tlbHit(t *emu.Txn) bool {
	v := &t.In
	perm := emu.Access(tlbPerm.Of(v[0]))
	if needs(t.Aux[0])&^perm != 0 {
		switch {
		case !flag(t, auxS1):
			u.fault2(t, FaultS2Permission, StepIOTLB, emu.PA(v[3]))
		case flag(t, auxS2):
			return false
		default:
			u.fault(t, FaultS1Permission, StepIOTLB, emu.PA(v[3]))
		}
		return true
	}
	if tlbClean.On(v[1]) && dirties(t, perm) {
		return false
	}
	lg2 := uint8(tlbLg2.Of(v[0]))
	u.answer(t, v[0]&tlbPage.Mask()|t.Frame[0].In&ones(lg2), lg2, perm, v)
	u.ends(t, StepIOTLB)
	return true
}

// grant returns what rights, those of its privilege, a result shows: that to execute where it matters.
func grant(q *emu.Request, perm emu.Access, isPriv bool) emu.Access {
	return mine(perm, isPriv) & (emu.RW | q.Access&emu.Exec)
}

// answer sets the result of a translation with IOTLB value v.
func (u *Unit) answer(t *emu.Txn, pa uint64, lg2 uint8, perm emu.Access, v *[4]uint64) {
	r := &t.Res
	r.Status, r.PA, r.Lg2, r.Perm = emu.OK, emu.PA(pa), lg2, grant(&t.Req, perm, flag(t, auxPriv))
	r.Prov.Fill, r.Prov.Leaf, r.Prov.Leaf2 = v[2], emu.PA(v[3]), emu.PA(tlbLeaf2.Of(v[1])<<3)
	r.Attr = uint16(attrOf(v[1]))
	u.replaceAttr(t, v[1])
	u.completion(t, perm, tlbClean.On(v[1]))
}

// translated has the translation of 2^lg2 bytes to page: it answers the transaction and fills the IOTLB
// under tag. attr is W1 of the value. A block that must not be used as a translation for long (nT) is not
// cached (3.21.1), nor is what ATOS asks for of one stage or without marking descriptors.
func (u *Unit) translated(t *emu.Txn, tag emu.Tag, page uint64, lg2 uint8, perm emu.Access, attr uint64, leaf emu.PA) {
	v := &t.Act.Data
	v[0] = page | tlbLg2.Put(uint64(lg2)) | tlbPerm.Put(uint64(perm))
	v[1], v[2], v[3] = attr, t.Aux[1]+t.Aux[2], uint64(leaf)
	in := t.Frame[0].In
	u.answer(t, page|in&ones(lg2), lg2, perm, v)
	if u.split(t) {
		u.answerSplit(t)
	}
	if u.cache.IOTLB == nil || u.transient(t) || t.Aux[0]&(auxOnlyS1.Mask()|auxPassive.Mask()) != 0 {
		u.ends(t, StepIOTLBFill)
		return
	}
	u.s.Global = u.s.Global || tag != t.Tag
	if u.cfg.conflicts() {
		u.s.Sizes |= 1 << (lg2 & 63)
	}
	kind := leafKind(t)
	if lg2 < leafSizes[kind&31] {
		u.s.Pieces |= 1 << (kind & 31)
	}
	t.Fill(emu.CacheIOTLB, emu.Key{Tag: tag, Addr: in}, lg2, kind, StepIOTLBFill, stTLBFilled)
}

func (u *Unit) tlbFilled(t *emu.Txn) { u.ends(t, StepIOTLBFill) }

// ends ends a translation that has succeeded.
func (u *Unit) ends(t *emu.Txn, step emu.Step) {
	if t.Req.Job != 0 {
		u.atosTranslated(t)
		return
	}
	t.Done(step)
}
