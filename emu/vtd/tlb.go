package vtd

import "github.com/iommulab/iommulab/emu"

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

// tlbHit uses the IOTLB value in t.In. It returns false if the tables must be walked all the same,
// to set a D flag.
func (u *Unit) tlbHit(t *emu.Txn) bool {
	if t.Tag.Class() != ClassSS {
		return u.fsHit(t)
	}
	return u.ssHit(t)
}

// walkBegin starts a walk.
func (u *Unit) walkBegin(t *emu.Txn) {
	if t.Tag.Class() != ClassSS {
		u.fsBegin(t)
		return
	}
	u.ssBegin(t)
}

// need returns the rights that q must find, 3.7.1. ssee says whether execute rights count.
func need(q *emu.Request, ssee bool) emu.Access {
	n := q.Access & emu.RW
	if q.Access&emu.Atomic != 0 {
		n = emu.RW
	}
	if n == 0 {
		n = emu.Read
	}
	if ssee && q.PASID != emu.NoPASID {
		n |= q.Access & emu.Exec
	}
	return n
}

// missing returns which of the rights n are not in perm. A zero-length read of a write-only page is
// allowed with CAP.ZLR.
func (u *Unit) missing(q *emu.Request, n, perm emu.Access) emu.Access {
	m := n &^ perm
	if m == emu.Read && q.Len == 0 && n == emu.Read && u.cfg.ZLR && perm&emu.Write != 0 {
		return 0
	}
	return m
}

// dirties reports whether t, given rights perm, needs the D flag of the leaf set.
func (u *Unit) dirties(q *emu.Request, n, perm emu.Access) bool {
	if q.Type == emu.TranslationReq {
		return !u.noWrite(q) && perm&emu.Write != 0
	}
	return n&emu.Write != 0
}

// permissionCode is the fault of rights m missing.
func permissionCode(t *emu.Txn, m emu.Access) uint16 {
	switch {
	case m&emu.Write != 0:
		return code(t, FaultWrite, FaultWriteSM)
	case m&emu.Read != 0:
		return code(t, FaultRead, FaultReadSM)
	}
	return FaultExec
}

// answer sets the result of a translation.
func (u *Unit) answer(t *emu.Txn, pa uint64, lg2 uint8, perm emu.Access, version uint64, leaf emu.PA) {
	r := &t.Res
	r.Status, r.PA, r.Lg2, r.Perm = emu.OK, emu.PA(pa), lg2, perm
	r.Prov.Fill, r.Prov.Leaf = version, leaf
}

func (u *Unit) tlbFilled(t *emu.Txn) { t.Done(StepIOTLBFill) }
