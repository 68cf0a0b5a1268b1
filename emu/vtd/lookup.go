package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// hit collects the entries that a look-up has found, to be touched if all are there.
type hit struct {
	ctx, pasid, tlb int32
	touched         emu.CacheSet
}

// Lookup implements emu.Unit: the path of a hit, fused. Where anything is unusual it leaves the
// request to Step; what it answers, Step would answer.
func (u *Unit) Lookup(q *emu.Request, r *emu.Result) bool {
	if u.slow {
		return u.lookupSlow(q, r)
	}
	if q.Type != emu.Untranslated || q.PASID == emu.NoPASID && interruptRange(uint64(q.Addr)) {
		return false
	}
	switch u.mode {
	case modeLegacy:
		return u.lookupLegacy(q, r)
	case modeScalable:
		return u.lookupScalable(q, r)
	case modeOff:
		if u.protected(q) {
			return false
		}
		*r = emu.Result{}
		pass(q, r)
		return true
	}
	return false
}

func (u *Unit) lookupLegacy(q *emu.Request, r *emu.Result) bool {
	if u.cache.Entry == nil || q.PASID != emu.NoPASID {
		return false
	}
	key := entryKey(q.Source)
	v, ctx := u.cache.Entry.Find(&key)
	if v == nil || !valValid.On(v[3]) {
		return false
	}
	h := hit{ctx: ctx, touched: 1 << emu.CacheEntry}
	version := v[2]
	if spec.CtxTT.Of(v[0]) == spec.TTPassThrough {
		return u.lookupPass(q, r, &h, version)
	}
	if uint64(q.Addr)>>u.lim.width[spec.CtxAW.Of(v[1])] != 0 {
		return false
	}
	tag := emu.MakeTag(ClassSS, uint32(spec.CtxDID.Of(v[1])), emu.NoPASID)
	return u.lookupTLB(q, r, &h, tag, need(q, false), 0, version)
}

func (u *Unit) lookupScalable(q *emu.Request, r *emu.Result) bool {
	if u.cache.Entry == nil || u.cache.PASID == nil {
		return false
	}
	key := entryKey(q.Source)
	v, ctx := u.cache.Entry.Find(&key)
	if v == nil || !valValid.On(v[3]) {
		return false
	}
	h := hit{ctx: ctx, touched: 1<<emu.CacheEntry | 1<<emu.CachePASID}
	e := (*spec.SMContextEntry)(v)
	p, priv := u.ridPASID(e)
	if q.PASID != emu.NoPASID {
		var c uint16
		if p, priv, c = u.smPASID(q, e); c != 0 {
			return false
		}
	}
	key = pasidKey(q.Source, p)
	if v, h.pasid = u.cache.PASID.Find(&key); v == nil || !valValid.On(v[1]>>32) {
		return false
	}
	if q.PASID != emu.NoPASID && q.Access&emu.Exec != 0 && !spec.PasidERE.On(v[2]) ||
		priv && !spec.PasidSRE.On(v[2]) {
		return false
	}
	switch spec.PasidPGTT.Of(v[0]) {
	case spec.PGTTSecond:
	case spec.PGTTPassThrough:
		return u.lookupPass(q, r, &h, v[3])
	default:
		return !priv && u.lookupFirst(q, r, &h, p, v)
	}
	if uint64(q.Addr)>>u.lim.width[spec.PasidAW.Of(v[0])] != 0 {
		return false
	}
	tag := emu.MakeTag(ClassSS, uint32(spec.PasidDID.Of(v[1])), emu.NoPASID)
	return u.lookupTLB(q, r, &h, tag, need(q, spec.PasidSSEE.On(v[0])), 0, v[3])
}

// lookupPass answers for a pass-through entry.
func (u *Unit) lookupPass(q *emu.Request, r *emu.Result, h *hit, version uint64) bool {
	if uint64(q.Addr)&u.lim.hawMask != 0 || interruptRange(uint64(q.Addr)) || u.protected(q) {
		return false
	}
	u.touch(h)
	*r = emu.Result{Touched: h.touched, Prov: emu.Provenance{Entry: version}}
	pass(q, r)
	return true
}

// lookupFirst answers a user request from the first-stage and nested translations of the IOTLB. v has
// the PASID entry.
func (u *Unit) lookupFirst(q *emu.Request, r *emu.Result, h *hit, p emu.PASID, v *[4]uint64) bool {
	if !canonical(uint64(q.Addr), spec.PasidFSPM.Of(v[2])) {
		return false
	}
	grant := emu.RW
	if spec.PasidERE.On(v[2]) {
		grant |= emu.Exec
	}
	class := pgttClass[spec.PasidPGTT.Of(v[0])&7]
	tag := emu.MakeTag(class, uint32(spec.PasidDID.Of(v[1])), p)
	return u.lookupTLB(q, r, h, tag, need(q, true), grant, v[3])
}

// lookupTLB answers from the IOTLB. n is what the request needs; grant is 0 for a second stage alone,
// else the rights that the entry allows at most to a user request.
func (u *Unit) lookupTLB(q *emu.Request, r *emu.Result, h *hit, tag emu.Tag, n, grant emu.Access, version uint64) bool {
	if u.cache.IOTLB == nil {
		return false
	}
	key := emu.Key{Tag: tag, Addr: uint64(q.Addr)}
	v, at := u.cache.IOTLB.Find(&key)
	if v == nil {
		return false
	}
	h.tlb = at
	perm := emu.Access(tlbPerm.Of(v[0]))
	if grant != 0 { // as fsGrant has it
		if want := n | n<<3 | fsUser; perm&want != want {
			return false
		}
		perm &= perm >> 3 & grant
	} else if u.missing(q, n, perm) != 0 {
		return false
	}
	lg2 := uint8(tlbLg2.Of(v[0]))
	pa := v[0]&tlbPage.Mask() | uint64(q.Addr)&(1<<lg2-1)
	if v[1]&(tlbNone.Mask()|tlbRsvd.Mask()) != 0 || tlbClean.On(v[1]) && n&emu.Write != 0 || interruptRange(pa) {
		return false
	}
	u.touch(h)
	u.cache.IOTLB.Touch(h.tlb)
	h.touched |= 1 << emu.CacheIOTLB
	// Field by field: a composite literal would be built aside and copied.
	r.PA, r.Data, r.Status, r.Lg2, r.Perm, r.Snoop, r.Touched = emu.PA(pa), 0, emu.OK, lg2, perm, false, h.touched
	r.Prov.Entry, r.Prov.Fill, r.Prov.Leaf, r.Prov.Leaf2 = version, v[2], emu.PA(v[3]), emu.PA(tlbLeaf2.Of(v[1])<<3)
	if r.Fault.Code != 0 {
		r.Fault = emu.Fault{}
	}
	return true
}

// touch counts the hits of the entries that an answer comes from.
func (u *Unit) touch(h *hit) {
	u.cache.Entry.Touch(h.ctx)
	if h.touched.Has(emu.CachePASID) {
		u.cache.PASID.Touch(h.pasid)
	}
}
