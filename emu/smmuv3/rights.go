package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Rights of a translation are six: read, write and execute of unprivileged accesses in bits 2:0, of
// privileged ones in bits 5:3.
const (
	rightsUser emu.Access = 7
	rightsPriv emu.Access = 7 << priv
	rightsAll             = rightsUser | rightsPriv
)

// What table descriptors of stage 1 take away from all that is below them.
const (
	limitPXN emu.Access = 1 << iota
	limitUXN
	limitUser // no unprivileged accesses
	limitRead // read-only
)

// limitsOf returns the limits of a table descriptor.
func limitsOf(e uint64) emu.Access { return emu.Access(e >> spec.S1PXNTable.Lo() & 0xf) }

// s1Rights returns the rights that a leaf descriptor of stage 1 grants under the limits above it, DDI 0487
// D8.4. clean is set if the right to write is there only because hardware will mark the page dirty.
func (u *Unit) s1Rights(cd *[3]uint64, world uint64, upper bool, e uint64, limit emu.Access) (perm emu.Access, clean bool) {
	const ha = 3 << 42 // HD and HA
	readOnly := spec.S1AP2.On(e)
	write := limit&limitRead == 0 && (!readOnly || cd[0]&ha == ha && spec.TtdDBM.On(e))
	clean = write && readOnly
	w := emu.Access(0)
	if write {
		w = emu.Write
	}
	wxn := spec.CdWXN.On(cd[0])
	if world == worldEL2 { // no unprivileged accesses: all have the same rights
		p := emu.Read | w
		if !spec.S1UXN.On(e) && limit&limitUXN == 0 && !(wxn && write) {
			p |= emu.Exec
		}
		return p | p<<priv, clean
	}
	p := emu.Read | w
	var n emu.Access
	if spec.S1AP1.On(e) && limit&limitUser == 0 {
		n = p
	}
	user := n != 0
	if !spec.S1UXN.On(e) && limit&limitUXN == 0 && !(wxn && n&emu.Write != 0) {
		n |= emu.Exec
	}
	if spec.CdPAN.On(cd[0]) && (user || u.cfg.EPAN && spec.CdEPAN.On(cd[1]) && n&emu.Exec != 0) {
		p = 0
	}
	if !spec.S1PXN.On(e) && limit&limitPXN == 0 && n&emu.Write == 0 && !(wxn && write) {
		p |= emu.Exec
	}
	return n | p<<priv, clean
}

// s2Restricts are the bits of a leaf descriptor of stage 2 that restrict execution or the right to write.
const s2Restricts = uint64(1<<51 | 3<<53)

// s2Plain is s2Rights of a descriptor without those bits.
func s2Plain(e uint64) emu.Access {
	p := emu.Access(spec.S2AP.Of(e)) | emu.Exec
	return p | p<<priv
}

// s2Rights returns the rights that a leaf descriptor of stage 2 grants.
func (u *Unit) s2Rights(w2, e uint64) (perm emu.Access, clean bool) {
	const ha = 3 << 55 // S2HD and S2HA
	p := emu.Access(spec.S2AP.Of(e))
	if p&emu.Write == 0 && w2&ha == ha && spec.TtdDBM.On(e) {
		p, clean = p|emu.Write, true
	}
	perm = p | p<<priv
	if !u.cfg.XNX {
		if !spec.S2XN1.On(e) {
			perm |= emu.Exec | emu.Exec<<priv
		}
		return perm, clean
	}
	switch spec.S2XN.Of(e) {
	case spec.S2XNAll:
		perm |= emu.Exec | emu.Exec<<priv
	case spec.S2XNUser:
		perm |= emu.Exec
	case spec.S2XNPriv:
		perm |= emu.Exec << priv
	}
	return perm, clean
}

// mine returns those of six rights that concern accesses of a privilege.
func mine(perm emu.Access, isPriv bool) emu.Access {
	if isPriv {
		perm >>= priv
	}
	return perm & rightsUser
}

// dirties reports whether t, given the rights of a translation, may write and so needs pages marked dirty.
func dirties(t *emu.Txn, perm emu.Access) bool {
	q := &t.Req
	if q.Type == emu.TranslationReq {
		return q.Access&emu.NoWrite == 0 && mine(perm, flag(t, auxPriv))&emu.Write != 0
	}
	return writes(q)
}
