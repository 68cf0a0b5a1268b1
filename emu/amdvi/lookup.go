package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Lookup implements emu.Unit: the path of a hit, fused. Where anything is unusual it leaves the
// request to Step; what it answers, Step would answer.
func (u *Unit) Lookup(q *emu.Request, r *emu.Result) bool {
	addr := uint64(q.Addr)
	if q.Type != emu.Untranslated || interruptRange(addr) || u.perf.on {
		return false
	}
	if !u.control(spec.CtlIommuEn) {
		*r = emu.Result{}
		pass(q, r)
		return true
	}
	if u.cache.Entry == nil {
		return false
	}
	key := deviceKey(q.Source)
	e, h := u.cache.Entry.Find(&key)
	if e == nil || valMem.On(e[3]) {
		return false
	}
	w0, n := e[0], need(q)
	switch {
	case !spec.DteV.On(w0):
		return u.lookupPass(q, r, h, e, emu.RW)
	case hyperTransportRange(addr) && !u.cfg.HtRangeIgnore:
		return false
	case u.excluded(q, e[1]):
		return u.lookupPass(q, r, h, e, emu.RW)
	case !spec.DteTV.On(w0) || n&^dteRights(w0) != 0:
		return false
	}
	class, mode := ClassHost, uint8(spec.DteMode.Of(w0))
	tag := emu.MakeTag(ClassHost, uint32(spec.DteDomainID.Of(e[1])), emu.NoPASID)
	switch {
	case mode > u.lim.maxMode:
		return false
	case u.usesGuest(q, w0):
		if u.pasidFault(q, w0) != 0 || !guestWidth(q, e[2]) {
			return false
		}
		class = ClassGuest
		if mode != spec.ModeIdentity {
			class = ClassNested
		}
		p := q.PASID
		if p == emu.NoPASID {
			p = 0
		}
		tag = emu.MakeTag(class, tag.Domain(), p)
	case mode == spec.ModeIdentity:
		return u.lookupPass(q, r, h, e, dteRights(w0))
	case beyond(addr, mode):
		return false
	}
	return u.lookupTLB(q, r, h, e, tag, class, n)
}

// lookupPass answers for a DTE that does not change the address.
func (u *Unit) lookupPass(q *emu.Request, r *emu.Result, h int32, e *[4]uint64, perm emu.Access) bool {
	u.cache.Entry.Touch(h)
	*r = emu.Result{Touched: 1 << emu.CacheEntry, Prov: emu.Provenance{Entry: DTEVersion(e[:])}}
	pass(q, r)
	r.Perm = perm
	return true
}

// lookupTLB answers from the IOTLB a request that needs rights n, which the DTE grants.
func (u *Unit) lookupTLB(q *emu.Request, r *emu.Result, h int32, e *[4]uint64, tag emu.Tag, class emu.Class, n emu.Access) bool {
	if u.cache.IOTLB == nil {
		return false
	}
	key := emu.Key{Tag: tag, Addr: uint64(q.Addr)}
	v, at := u.cache.IOTLB.Find(&key)
	if v == nil {
		return false
	}
	have := emu.Access(tlbPerm.Of(v[0]))
	if tlbClean.On(v[1]) && n&emu.Write != 0 {
		return false
	}
	rights := dteRights(e[0])
	if class != ClassHost {
		n |= permUser
		rights |= emu.Exec
	}
	perm := have & rights
	if n&^have != 0 || class != ClassHost && q.Access&(emu.Exec|emu.Priv) != 0 {
		if denied(q, e[0], class, have) != 0 {
			return false
		}
		perm = grant(q, e[0], class, have)
	}
	u.cache.Entry.Touch(h)
	u.cache.IOTLB.Touch(at)
	lg2 := uint8(tlbLg2.Of(v[0]))
	entry := v[2]
	if q.PASID == emu.NoPASID {
		entry = DTEVersion(e[:])
	}
	// Field by field: a composite literal would be built aside and copied.
	r.PA, r.Data, r.Status, r.Lg2 = emu.PA(v[0]&tlbPage.Mask()|uint64(q.Addr)&reg.Ones(lg2)), 0, emu.OK, lg2
	r.Snoop = false
	r.Perm, r.Touched = perm, 1<<emu.CacheEntry|1<<emu.CacheIOTLB
	r.Prov.Entry, r.Prov.Fill, r.Prov.Leaf, r.Prov.Leaf2 = entry, v[2], emu.PA(v[3]), emu.PA(tlbLeaf2.Of(v[1])<<3)
	if r.Fault.Code != 0 {
		r.Fault = emu.Fault{}
	}
	return true
}
