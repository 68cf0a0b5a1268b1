package pagetable

import "fmt"

// LPAES2 is stage 2 of Arm's VMSAv8-64 tables, as SMMUv3 walks them from S2TTB of a stream table entry
// (Arm ARM D8.3, IHI 0070 section 3.4): like LPAES1, with rights for reading and for writing apart, none in
// links, and up to 16 concatenated tables as root (Config.VABits above what Levels give).
type LPAES2 struct {
	// Granule is the log2 size of a page: 12 (S2TG 4K), 14 or 16. Anything else is 12.
	Granule uint8
	// OAS is the effective output size: the lesser of S2PS and the unit's OAS; see LPAES1.
	OAS uint8
	// LPA: entries hold addresses of 52 bits (S2DS=1 but for the granule of 64 KiB); see LPAES1.
	LPA bool
	// HA: a leaf without AF is as good as any (S2HA, S2AFFD); see LPAES1.
	HA bool
	// HD: hardware keeps the dirty state (S2HD, together with HA). A leaf with DBM set may be
	// written to. It is dirty if S2AP[1] is set.
	HD bool
	// Preset: Map sets AF although HA is set, and makes leaves that grant Write dirty.
	Preset bool
	// FWB: the memory type of a leaf is decided here and not combined with that of stage 1
	// (S2FWB). MemAttr then has three bits with values of their own, and bit 5 is ignored.
	FWB bool
	// Exec: XN is looked at, and Map sets it in what grants no Exec; otherwise execution is no
	// permission of the format. Of XN[1:0] (XNX) it is what unprivileged requests see: XN[1].
	Exec bool
}

// The attributes of a stage-2 leaf.
const (
	LPAES2MemAttr      Attr = 15 << 0 // MemAttr, bits 5:2 (4:2 with FWB)
	LPAES2Shareability Attr = 3 << 4  // SH, bits 9:8: 0 none, 2 outer, 3 inner. Not with LPA and granules below 64 KiB
)

// Values of LPAES2MemAttr without FWB. Normal memory has its outer type in bits 3:2 and its inner one in 1:0.
const (
	LPAES2DeviceNGnRnE Attr = 0
	LPAES2DeviceNGnRE  Attr = 1
	LPAES2DeviceNGRE   Attr = 2
	LPAES2DeviceGRE    Attr = 3
	LPAES2NonCacheable Attr = 5
	LPAES2WriteThrough Attr = 10
	LPAES2WriteBack    Attr = 15
)

// Values of LPAES2MemAttr with FWB. Those below 4 are devices, as without.
const (
	LPAES2ForceNonCacheable Attr = 5
	LPAES2ForceWriteBack    Attr = 6
	LPAES2KeepStage1        Attr = 7
)

const (
	s2MemAttrShift = 2
	s2R, s2W       = 1 << 6, 1 << 7 // S2AP
	s2APShift      = 6
	s2XN           = 1 << 54 // XN[1]
	s2Leaves       = s2R | s2W | 15<<s2MemAttrShift | 3<<53
)

func (f LPAES2) layout() lpae { return makeLPAE(f.Granule, f.OAS, f.LPA) }

// hd tells whether hardware keeps the dirty state.
func (f LPAES2) hd() bool { return f.HA && f.HD }

// perms is all that a leaf can grant.
func (f LPAES2) perms() Perm {
	if f.Exec {
		return Read | Write | Exec
	}
	return Read | Write
}

// memAttr is the memory types there are.
func (f LPAES2) memAttr() Attr {
	if f.FWB {
		return 7
	}
	return LPAES2MemAttr
}

// Geometry describes the format.
func (f LPAES2) Geometry() Geometry {
	l := f.layout()
	g := l.geometry("lpaes2")
	g.Perms, g.Attrs, g.Concat = f.perms(), f.memAttr(), 4
	if l.shared() {
		g.Attrs |= LPAES2Shareability
	}
	if l.granule == 14 && !l.lpa {
		g.MaxLevels = 3 // lookup level 0 is none to begin at; a root of two tables makes up for it
	}
	g.Dirty, g.DirtyIsWrite, g.Preset = f.hd(), true, f.Preset || !f.HA
	return g
}

// leafPerm returns what a leaf grants.
func (f LPAES2) leafPerm(raw uint64) Perm {
	if raw&lpaeAF == 0 && !f.HA {
		return 0
	}
	p := Perm(raw >> s2APShift & 3)
	if f.hd() && raw&lpaeDBM != 0 {
		p |= Write
	}
	if f.Exec && raw&s2XN == 0 {
		p |= Exec
	}
	return p
}

// Decode interprets an entry; level 0 is lookup level 3, level 4 is lookup level -1.
func (f LPAES2) Decode(raw uint64, level uint8) Entry {
	l := f.layout()
	e := l.decode(raw, level)
	switch e.Kind {
	case SubTable:
		e.Perm = f.perms()
	case Leaf:
		e.Perm = f.leafPerm(raw)
		e.Accessed = raw&lpaeAF != 0
		e.Dirty = f.hd() && raw&s2W != 0
		e.Attr = Attr(raw>>s2MemAttrShift) & f.memAttr()
		if l.shared() {
			e.Attr |= Attr(raw>>lpaeSHShift&3) << 4
		}
	}
	return e
}

// Encode builds an entry.
func (f LPAES2) Encode(e Entry, level uint8) uint64 {
	l := f.layout()
	raw := l.encode(&e, level)
	if e.Kind == SubTable {
		return raw
	}
	ap := e.Perm & (Read | Write)
	if f.hd() && ap&Write != 0 {
		raw |= lpaeDBM
		if !e.Dirty {
			ap &^= Write
		}
	}
	raw |= uint64(ap) << s2APShift
	if f.Exec && e.Perm&Exec == 0 {
		raw |= s2XN
	}
	if e.Accessed {
		raw |= lpaeAF
	}
	raw |= uint64(e.Attr&LPAES2MemAttr) << s2MemAttrShift
	if l.shared() {
		raw |= uint64(e.Attr&LPAES2Shareability) >> 4 << lpaeSHShift
	}
	return raw
}

// SetDirty changes S2AP[1] of a leaf that may be written to, and makes sure that hardware may change it
// back.
func (f LPAES2) SetDirty(raw uint64, _ uint8, dirty bool) uint64 {
	switch {
	case raw&(s2W|lpaeDBM) == 0 || !f.hd():
		return raw
	case dirty:
		return raw | s2W
	default:
		return raw&^s2W | lpaeDBM
	}
}

// Significant keeps address, size, rights and attributes of a leaf.
func (f LPAES2) Significant(raw uint64, level uint8) uint64 {
	keep := uint64(s2Leaves)
	if f.FWB {
		keep &^= 1 << 5
	}
	sig := f.layout().significant(raw, level, keep)
	if (level == 0 || raw&lpaeTable == 0) && f.hd() && raw&lpaeDBM != 0 {
		sig |= s2W
	}
	return sig
}

// String names the variant.
func (f LPAES2) String() string {
	l := f.layout()
	return fmt.Sprintf("lpaes2(granule %dK oas %d lpa %t ha %t hd %t preset %t fwb %t exec %t)",
		1<<l.granule>>10, l.oas, l.lpa, f.HA, f.hd(), f.Preset, f.FWB, f.Exec)
}
