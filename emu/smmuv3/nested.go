package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Both stages, 3.3: the addresses of context descriptors, of descriptors of stage 1 and of its pages are
// intermediate physical addresses, which go through stage 2 where that is on.

// What an intermediate physical address is resolved for: Frame[1].Ret.
const (
	retL1CD  uint16 = iota // to read an L1CD
	retCD                  // to read a CD
	retTable               // to read a descriptor of stage 1
	retMark                // to mark that descriptor
	retData                // for the transaction
)

// classOf is the CLASS of events about each.
var classOf = [...]uint64{retL1CD: spec.ClassCD, retCD: spec.ClassCD, retTable: spec.ClassTT, retMark: spec.ClassTT, retData: spec.ClassIN}

// resolve finds the physical address of an intermediate one, with rights n, and goes on with ret. The
// result is in Frame[1]: Table the address, Lg2, Perm, At the leaf, Entry its attributes as in W1 of the
// IOTLB.
func (u *Unit) resolve(t *emu.Txn, ipa uint64, n emu.Access, ret uint16) {
	f := &t.Frame[1]
	f.In, f.Ret = ipa, ret
	if !flag(t, auxS2) {
		f.Table, f.Perm, f.Lg2, f.At, f.Entry = emu.PA(ipa), rightsAll, 64, 0, 0
		u.resolved(t)
		return
	}
	t.Aux[0] = t.Aux[0]&^(auxNeed.Mask()|auxClass.Mask()) | auxNeed.Put(uint64(n)) | auxClass.Put(classOf[ret]) | auxOnBehalf.Mask()
	if u.s2Beyond(t, ipa) {
		u.fault2(t, FaultS2Range, StepS2Range, 0)
		return
	}
	switch {
	case u.cache.Stage2 != nil:
		t.Probe(emu.CacheStage2, emu.Key{Tag: u.s2Tag(t), Addr: ipa}, StepStage2, stStage2Probed)
	case u.cache.Walk2 != nil:
		u.s2Begin(t)
	default:
		u.s2Top(t)
	}
}

// stage2Found uses a cached translation, unless its page must be marked.
func (u *Unit) stage2Found(t *emu.Txn) {
	f, v := &t.Frame[1], &t.In
	perm := emu.Access(tlbPerm.Of(v[0]))
	if c := s2Denied(t, perm, tlbDevice.On(v[1])); c != 0 {
		u.fault2(t, c, StepStage2, emu.PA(v[3]))
		return
	}
	if tlbClean.On(v[1]) && u.s2Dirties(t, perm) {
		u.s2Begin(t)
		return
	}
	f.Lg2, f.Perm, f.At, f.Entry = uint8(tlbLg2.Of(v[0])), perm, emu.PA(v[3]), v[1]
	f.Table = emu.PA(v[0]&tlbPage.Mask() | f.In&ones(f.Lg2))
	u.s2Used(t, v[2])
	u.resolved(t)
}

// resolvedBy has walked stage 2 to a leaf.
func (u *Unit) resolvedBy(t *emu.Txn, page, attr uint64) {
	f := &t.Frame[1]
	brief := u.brief(f)
	f.Entry = attr
	f.Table = emu.PA(page | f.In&ones(f.Lg2))
	if brief && f.Ret == retData {
		setFlag(t, auxBrief, true)
	}
	if u.cache.Stage2 == nil || brief || flag(t, auxPassive) {
		u.resolved(t)
		return
	}
	if u.cfg.conflicts() {
		u.s.Sizes2 |= 1 << (f.Lg2 & 63)
	}
	v := &t.Act.Data
	v[0] = page | tlbLg2.Put(uint64(f.Lg2)) | tlbPerm.Put(uint64(f.Perm))
	v[1], v[2], v[3] = attr, t.Aux[2], uint64(f.At)
	t.Fill(emu.CacheStage2, emu.Key{Tag: u.s2Tag(t), Addr: f.In}, f.Lg2, kindOf(reg2(t), f.Level, false), StepStage2Fill, stStage2Filled)
}

// resolved goes on with what the address was for.
func (u *Unit) resolved(t *emu.Txn) {
	t.Aux[0] &^= auxOnBehalf.Mask()
	at := t.Frame[1].Table
	switch t.Frame[1].Ret {
	case retL1CD:
		u.fetchL1CDAt(t, at)
	case retCD:
		u.fetchCDAt(t, at)
	case retTable:
		s1FetchAt(t, at)
	case retMark:
		u.s1Mark(t)
	default:
		u.s1Translated(t)
	}
}
