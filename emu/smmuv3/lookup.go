package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Lookup implements emu.Unit: the path of a hit, fused. Where anything is unusual it leaves the
// transaction to Step; what it answers, Step would answer.
func (u *Unit) Lookup(q *emu.Request, r *emu.Result) bool {
	addr := uint64(q.Addr)
	switch {
	case q.Type != emu.Untranslated || u.pm.on || u.lim.refuses && u.unsupported(q) != 0:
		return false
	case !u.on:
		if spec.GbpaABORT.On(u.s.GBPA) || addr>>u.lim.oas != 0 {
			return false
		}
		*r = emu.Result{}
		pass(q, r)
		u.globalAttr(r)
		return true
	case u.cache.Entry == nil || uint64(q.Source) >= u.streams.streams:
		return false
	}
	key := steKey(q.Source)
	ste, h := u.cache.Entry.Find(&key)
	if ste == nil || u.s.MaxCONT != 0 && u.covered(q.Source) {
		return false
	}
	w0, w1 := ste[0], ste[1]
	if !spec.SteV.On(w0) || w1&u.lim.unusual != 0 || spec.SteConfig.Of(w0)&4 == 0 {
		return false
	}
	aux, c := u.flags(q, w0, w1)
	switch {
	case c != 0:
		return false
	case auxS1.On(aux):
		return u.lookupS1(q, r, h, ste, aux)
	case addr>>u.lim.oas != 0:
		return false
	case spec.SteConfig.Of(w0)&2 == 0:
		u.cache.Entry.Touch(h)
		*r = emu.Result{Touched: 1 << emu.CacheEntry, Prov: emu.Provenance{Entry: s1Version(ste[:], nil)}}
		pass(q, r)
		return true
	case addr>>((64-spec.SteS2T0SZ.Of(ste[2]))&63) != 0:
		return false
	}
	tag := emu.MakeTag(ClassS2, u.vmid(ste[2]), emu.NoPASID)
	if !u.lookupTLB(q, r, tag, addr, aux) {
		return false
	}
	u.cache.Entry.Touch(h)
	r.Touched, r.Prov.Entry = 1<<emu.CacheEntry|1<<emu.CacheIOTLB, s1Version(ste[:], nil)+s2Version(ste[:])
	return true
}

// lookupS1 answers from the CD cache and the IOTLB.
func (u *Unit) lookupS1(q *emu.Request, r *emu.Result, h int32, ste *[4]uint64, aux uint64) bool {
	if u.cache.PASID == nil {
		return false
	}
	key := cdKey(q.Source, auxIndex.Of(aux))
	e, hc := u.cache.PASID.Find(&key)
	if e == nil || !spec.CdV.On(e[0]) || cdIllegal.On(e[1]) || spec.CdS.On(e[0]) && spec.SteS1STALLD.On(ste[1]) {
		return false
	}
	cd := (*[3]uint64)(e[:3])
	w := auxWorld.Of(aux)
	in, upper, ok := u.s1Input(cd, w, uint64(q.Addr))
	if !ok || u.e0pd(cd, w, upper, auxPriv.On(aux)) {
		return false
	}
	if !u.lookupTLB(q, r, u.s1Tag(w, ste[2], e[0]), in, aux) {
		return false
	}
	u.cache.Entry.Touch(h)
	u.cache.PASID.Touch(hc)
	r.Touched = 1<<emu.CacheEntry | 1<<emu.CachePASID | 1<<emu.CacheIOTLB
	r.Prov.Entry = configVersion(ste[0], ste[1], ste[2]) + e[3]
	if spec.SteConfig.Of(ste[0])&2 != 0 {
		r.Prov.Entry += s2Version(ste[:])
	}
	return true
}

// lookupTLB answers from a translation that grants what a transaction with flags aux needs, and needs no marking;
// what the entries say is still to be set. A global one is left to Step, which counts both look-ups.
func (u *Unit) lookupTLB(q *emu.Request, r *emu.Result, tag emu.Tag, in, aux uint64) bool {
	if u.cache.IOTLB == nil {
		return false
	}
	key := emu.Key{Tag: tag, Addr: in}
	v, at := u.cache.IOTLB.Find(&key)
	if v == nil || needs(aux)&^emu.Access(tlbPerm.Of(v[0])) != 0 || tlbClean.On(v[1]) && writes(q) || u.overlapped(&key, uint8(tlbLg2.Of(v[0]))) {
		return false
	}
	u.cache.IOTLB.Touch(at)
	lg2 := uint8(tlbLg2.Of(v[0]))
	// Field by field: a composite literal would be built aside and copied.
	r.PA, r.Data, r.Status, r.Lg2, r.Snoop = emu.PA(v[0]&tlbPage.Mask()|in&ones(lg2)), 0, emu.OK, lg2, false
	r.Perm, r.Attr = grant(q, emu.Access(tlbPerm.Of(v[0])), auxPriv.On(aux)), uint16(tlbAttr.Of(v[1]))
	r.Prov.Fill, r.Prov.Leaf, r.Prov.Leaf2 = v[2], emu.PA(v[3]), emu.PA(tlbLeaf2.Of(v[1])<<3)
	if r.Fault.Code != 0 {
		r.Fault = emu.Fault{}
	}
	return true
}
