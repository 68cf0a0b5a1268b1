package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Memory attributes, 13. Requests bring none: the attributes of an access begin with those that the unit
// makes up for it (13.1.3). What translation says is kept with each cached translation, as spec.MemAttr.

// incoming are the attributes of requests, 13.1.3.
var incoming = spec.MakeMemAttr(spec.NormalWB, spec.ShNone)

// Attributes in W1 of the IOTLB and of the cache of stage 2 translations: of stage 1, or what both stages
// make of them; of stage 2 alone what it makes of normal write-back memory, which is its own.
const (
	tlbForce reg.Bits = 2_002  // stage 2: write-back whatever comes in
	tlbAttr  reg.Bits = 14_005 // spec.MemAttr
)

// attrOf returns the attributes in W1 of a value.
func attrOf(w1 uint64) spec.MemAttr { return spec.MemAttr(tlbAttr.Of(w1)) }

// mairAttr returns what an attribute of MAIR means, in the same encoding without those that are reserved (5.4,
// MAIR0).
func mairAttr(m uint8) uint8 {
	switch {
	case m>>4 == 0:
		return m &^ 3
	case m&15 == 0:
		return m | 3
	}
	return m
}

// s1AttrIndex returns what the leaf descriptor e of stage 1 says of attributes: that of MAIR, and above it the
// shareability.
func s1AttrIndex(t *emu.Txn, e uint64) uint16 {
	r := reg1(t)
	sh := spec.TtdSH.Of(e)
	if r.ds() && r.granule() != spec.Granule64K { // the bits are of the address
		sh = spec.CdSH0.Of(t.Entry[4])
		if flag(t, auxUpper) {
			sh = spec.CdSH1.Of(t.Entry[4])
		}
	}
	return uint16(mairOf(t)>>(8*spec.S1AttrIndx.Of(e))&0xff | sh<<8)
}

// s1Attr returns the attributes that stage 1 gives by s1AttrIndex, before they are consistent.
func s1Attr(i uint16) spec.MemAttr { return spec.MakeMemAttr(mairAttr(uint8(i)), uint64(i>>8)) }

// s1Attrs has them consistent.
var s1Attrs = func() (all [4 << 8]spec.MemAttr) {
	for i := range all {
		all[i] = consistent(s1Attr(uint16(i)))
	}
	return all
}()

// s2Attr returns the attributes of the leaf descriptor e of stage 2, in place for W1. What they are combined with
// does not make those of device and non-cacheable memory other than outer shareable.
func (u *Unit) s2Attr(t *emu.Txn, e uint64) uint64 {
	r := reg2(t)
	sh := spec.TtdSH.Of(e)
	if r.ds() && r.granule() != spec.Granule64K {
		sh = spec.SteS2SH0.Of(t.Entry[2])
	}
	v := spec.S2MemAttr.Of(e) | sh<<4
	if u.cfg.FWB && spec.SteS2FWB.On(t.Entry[1]) {
		return s2Attrs[1][v&0x3f]
	}
	if u.cfg.MTEPERM && v&15 == spec.S2NoTagAccess {
		v |= spec.S2WriteBack
	}
	return s2Attrs[0][v&0x3f]
}

// s2Attrs has what s2Attr returns, without and with S2FWB, by shareability and MemAttr.
var s2Attrs = func() (all [2][64]uint64) {
	for fwb := range all {
		for i := range uint64(64) {
			m, force := s2Type(i&15, fwb == 1)
			all[fwb][i] = tlbAttr.Put(uint64(consistent(spec.MakeMemAttr(m, i>>4)))) | tlbForce.PutBool(force)
		}
	}
	return all
}()

// s2Type returns a MemAttr of stage 2 as an attribute of MAIR, with the hints of what does not say any, and
// whether it takes the place of what comes in instead of being combined with it (S2FWB). With S2FWB bit 3 denies
// access to tags, which the unit never makes (3.23.1).
func s2Type(v uint64, fwb bool) (mair uint8, force bool) {
	half := [4]uint8{1: spec.NormalNC & 15, 2: 0xb, 3: 0xf}
	switch {
	case fwb && v&4 == 0, !fwb && v>>2 == 0:
		return uint8(v&3) << 2, false
	case fwb && v&3 == 2:
		return spec.NormalWB, true
	case fwb && v&3 == 3: // as it comes in
		return spec.NormalWB, false
	case fwb:
		return spec.NormalNC, false
	case v&3 == 0: // reserved
		return spec.DevicenGnRnE, false
	}
	return half[v>>2]<<4 | half[v&3], false
}

// combined returns what stage 2 makes of attributes, 13.1.5 and 13.1.6, before they are consistent.
func combined(a, s2 spec.MemAttr, force bool) spec.MemAttr {
	m, n := a.MAIR(), s2.MAIR()
	switch {
	case force && m>>4 == 0:
		m = n
	case force:
		m = forced(m>>4)<<4 | forced(m&15)
	case a.Device() && s2.Device():
		m = min(m, n)
	case s2.Device():
		m = n
	case !a.Device():
		m = weaker(m>>4, n>>4)<<4 | weaker(m&15, n&15)
	}
	return spec.MakeMemAttr(m, strongerSH(a.SH(), s2.SH()))
}

// strongerSH returns the stronger shareability: outer before inner before none. The reserved one is none.
func strongerSH(a, b uint64) uint64 {
	switch {
	case a == spec.ShOuter || b == spec.ShOuter:
		return spec.ShOuter
	case a == spec.ShInner || b == spec.ShInner:
		return spec.ShInner
	}
	return spec.ShNone
}

const (
	halfNC  = spec.NormalNC & 15
	halfWB  = 4 // of a half: write-back, not write-through
	halfNTR = 8 // not transient
	halfRA  = 2
	halfWA  = 1
)

// weaker combines halves of attributes of normal memory: each bit of one that is cached is clear for the
// stronger.
func weaker(a, b uint8) uint8 {
	if a == halfNC || b == halfNC {
		return halfNC
	}
	return sane(a & b)
}

// sane makes what allocates nothing not transient, 13.1.7.
func sane(half uint8) uint8 {
	if half&(halfRA|halfWA) == 0 {
		half |= halfNTR
	}
	return half
}

// forced makes half an attribute write-back, with the hints that it has.
func forced(half uint8) uint8 {
	if half == halfNC {
		return spec.NormalWB & 15
	}
	return half | halfWB
}

// consistent returns attributes as they leave the unit, 13.1.7.
func consistent(a spec.MemAttr) spec.MemAttr {
	if a.Device() || a.MAIR() == spec.NormalNC {
		return spec.MakeMemAttr(a.MAIR(), spec.ShOuter)
	}
	return spec.MakeMemAttr(a.MAIR(), strongerSH(a.SH(), spec.ShNone))
}

// steTypes are the bits of W1 of an STE that make a difference to the attributes of requests: MTCFG, the
// highest bit of ALLOCCFG and that of SHCFG. Others let them be as they are.
const steTypes = 1<<(100-64) | 1<<(104-64) | 1<<(109-64)

// replaced returns attributes with what overrides of an STE or of GBPA make of them, 13.1.4, before they are
// consistent. Hints are those of cacheable memory only.
func replaced(a spec.MemAttr, mtcfg bool, memAttr, alloc, sh uint64) spec.MemAttr {
	m := a.MAIR()
	if mtcfg {
		m, _ = s2Type(memAttr, false)
	}
	if hints := uint8(alloc); hints&8 != 0 && m>>4 != 0 {
		h := hints>>1&3 | halfNTR&^(hints<<3)
		m = hinted(m>>4, h)<<4 | hinted(m&15, h)
	}
	if sh == spec.ShCfgIncoming {
		sh = a.SH()
	}
	return spec.MakeMemAttr(m, sh)
}

// hinted returns half an attribute with other hints.
func hinted(half, hints uint8) uint8 {
	if half == halfNC {
		return half
	}
	return sane(half&halfWB | hints)
}

// pulledDown returns what stage 1 makes of requests that do not come in as usual: hints that stage 1 gives and
// they do not have are gone (13.4.2). Types and shareability are those of stage 1.
func pulledDown(a, in spec.MemAttr) spec.MemAttr {
	m, n := a.MAIR(), in.MAIR()
	if a.Device() || in.Device() {
		return a
	}
	down := func(half, in uint8) uint8 {
		if half == halfNC || in == halfNC {
			return half
		}
		return sane(half & (in | halfWB))
	}
	return spec.MakeMemAttr(down(m>>4, n>>4)<<4|down(m&15, n&15), a.SH())
}

// replaceAttr makes the attributes of the result in t those under the overrides of its STE. w1 is that of the
// IOTLB value. ATOS and translated transactions have none (13.1.4, table 13.5).
func (u *Unit) replaceAttr(t *emu.Txn, w1 uint64) {
	ste := t.Entry[1]
	if ste&u.lim.types == 0 || t.Req.Job != 0 || t.Req.Type == emu.Translated {
		return
	}
	in := replaced(incoming, spec.SteMTCFG.On(ste), spec.SteMemAttr.Of(ste), spec.SteALLOCCFG.Of(ste), spec.SteSHCFG.Of(ste))
	switch a := spec.MemAttr(t.Res.Attr); {
	case flag(t, auxS1):
		in = pulledDown(a, in)
	case flag(t, auxS2):
		in = combined(in, a, tlbForce.On(w1))
	}
	t.Res.Attr = uint16(consistent(in))
}

// globalAttr makes the attributes in r those under GBPA, 13.2.
func (u *Unit) globalAttr(r *emu.Result) {
	if g := u.s.GBPA; u.cfg.AttrTypesOvr {
		in := replaced(incoming, spec.GbpaMTCFG.On(g), spec.GbpaMemAttr.Of(g), spec.GbpaALLOCCFG.Of(g), spec.GbpaSHCFG.Of(g))
		r.Attr = uint16(consistent(in))
	}
}

// AttrName returns memory attributes in words, as emu.Result.Attr has them.
func (u *Unit) AttrName(a uint16) string { return spec.MemAttr(a).String() }

// MAIR of a CD that is cached is kept aside: a cached value has no room for it. A unit keeps so many values,
// all that have come so far; a CD with yet another one is not cached.
const maxMAIRs = 64

// cdMAIR is where the number of its MAIR is in W2 of a cached CD: bits that are reserved there.
const cdMAIR reg.Bits = 185_180

// mairs are the values of MAIR that cached CDs may have, in the order in which they came.
type mairs struct {
	N     uint8
	Value [maxMAIRs]uint64
}

// number returns the number of a value, and false if there is no room for it.
func (m *mairs) number(v uint64) (uint64, bool) {
	for i := range m.Value[:min(m.N, maxMAIRs)] {
		if m.Value[i] == v {
			return uint64(i), true
		}
	}
	if m.N >= maxMAIRs {
		return 0, false
	}
	m.Value[m.N] = v
	m.N++
	return uint64(m.N) - 1, true
}

// mairOf returns MAIR of the CD of a transaction that stage 1 translates.
func mairOf(t *emu.Txn) uint64 { return t.Aux[3] }

// readMAIR takes word 3 of a CD that was just read. It returns false if the CD cannot be cached.
func (u *Unit) readMAIR(t *emu.Txn) bool {
	t.Frame[0].Entry = t.Entry[7]
	n, ok := u.s.MAIRs.number(t.Entry[7])
	t.Entry[6] = t.Entry[6]&^cdMAIR.Mask() | cdMAIR.Put(n)
	return ok
}

// cachedMAIR finds MAIR of a cached CD.
func (u *Unit) cachedMAIR(t *emu.Txn) {
	t.Frame[0].Entry = u.s.MAIRs.Value[cdMAIR.Of(t.Entry[6])%maxMAIRs]
}
