package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Nested translation, 2.2.7: what guest tables hold are guest physical addresses, which go through the
// host table where the DTE has one.

// What a guest physical address is resolved for: Frame[1].Ret.
const (
	retGCR3  uint16 = iota // to read a GCR3 table entry
	retGuest               // to read an entry of a guest table
	retFlags               // to set flags of that entry
	retData                // for the request
)

// resolve finds the system physical address of a guest physical one, with rights n, and goes on with
// ret. The result is in Frame[1]: Table the address, Lg2, Perm, At the leaf.
func (u *Unit) resolve(t *emu.Txn, gpa uint64, n emu.Access, ret uint16) {
	f := &t.Frame[1]
	f.In, f.Ret = gpa, ret
	if t.Tag.Class() != ClassNested {
		f.Table, f.Perm, f.Lg2, f.At, f.Entry = emu.PA(gpa), emu.RW, 64, 0, spec.PteD.Mask()
		u.resolved(t)
		return
	}
	t.Aux[0] = t.Aux[0]&^auxNeed.Mask() | auxNeed.Put(uint64(n)) | auxOnBehalf.Mask()
	if beyond(gpa, uint8(spec.DteMode.Of(t.Entry[0]))) {
		u.fault(t, FaultAddress, StepAddressWidth, 0)
		return
	}
	if u.cache.Stage2 == nil {
		u.hostBegin(t, n)
		return
	}
	t.Probe(emu.CacheStage2, emu.Key{Tag: hostTag(t), Addr: gpa}, StepStage2, stStage2Probed)
}

// stage2Probed uses a cached host translation, unless a flag must be set.
func (u *Unit) stage2Probed(t *emu.Txn) {
	f, v, n := &t.Frame[1], &t.In, emu.Access(auxNeed.Of(t.Aux[0]))
	if t.Ans != emu.AnsOK {
		u.hostBegin(t, n)
		return
	}
	perm := emu.Access(tlbPerm.Of(v[0]))
	if n&^perm != 0 {
		u.fault(t, FaultPermission, StepStage2, emu.PA(v[3]))
		return
	}
	if tlbClean.On(v[1]) && hostWrites(t, perm) {
		u.hostBegin(t, n)
		return
	}
	f.Lg2, f.Perm, f.At = uint8(tlbLg2.Of(v[0])), perm, emu.PA(v[3])
	f.Table = emu.PA(v[0]&tlbPage.Mask() | f.In&reg.Ones(f.Lg2))
	f.Entry = spec.PteD.PutBool(!tlbClean.On(v[1])) | spec.PteU.Put(tlbU.Of(v[1])) | spec.PteFC.Put(tlbFC.Of(v[1]))
	u.hostVersion(t, v[2])
	u.resolved(t)
}

// stage2Found has walked the host table to a leaf.
func (u *Unit) stage2Found(t *emu.Txn) {
	f := &t.Frame[1]
	page := f.Entry & spec.PteAddr.Mask() &^ reg.Ones(f.Lg2)
	f.Table = emu.PA(page | f.In&reg.Ones(f.Lg2))
	if u.cache.Stage2 == nil {
		u.resolved(t)
		return
	}
	clean := dirty(t.Entry[0]) && !spec.PteD.On(f.Entry)
	v := &t.Act.Data
	v[0] = page | tlbLg2.Put(uint64(f.Lg2)) | tlbPerm.Put(uint64(f.Perm))
	v[1] = tlbClean.PutBool(clean) | tlbU.Put(spec.PteU.Of(f.Entry)) | tlbFC.Put(spec.PteFC.Of(f.Entry))
	v[2], v[3] = t.Aux[1], uint64(f.At)
	t.Fill(emu.CacheStage2, emu.Key{Tag: hostTag(t), Addr: f.In}, f.Lg2, 0, StepStage2Fill, stStage2Filled)
}

// resolved goes on with what the address was for.
func (u *Unit) resolved(t *emu.Txn) {
	t.Aux[0] &^= auxOnBehalf.Mask()
	switch t.Frame[1].Ret {
	case retGCR3:
		t.Fetch(t.Frame[1].Table, 8, StepGCR3, stGCR3)
	case retGuest:
		t.Frame[0].At = t.Frame[1].Table
		t.Fetch(t.Frame[0].At, 8, StepGuestTable, stGuestEntry)
	case retFlags:
		u.guestSwap(t)
	default:
		u.guestTranslated(t)
	}
}
