package pagetable

import "fmt"

// LPAES1 is stage 1 of Arm's VMSAv8-64 tables, as SMMUv3 walks them from the TTBs of a context
// descriptor (Arm ARM D8.3, IHI 0070 section 3.4): granules of 4, 16 and 64 KiB, addresses of 48 or 52 bits,
// blocks, the contiguous hint.
//
// The tables are read as unprivileged requests of a device see them, unless Privileged is set. Write is
// granted together with Read only. Not part of the table, and so not looked at: EPD, E0PD, PAN and WXN of
// the context descriptor.
//
// Config.Upper makes the table the one of TTB1. Config.TBI is TBI0 or TBI1, whichever belongs to the table.
type LPAES1 struct {
	// Granule is the log2 size of a page: 12 (TG 4K), 14 or 16. Anything else is 12.
	Granule uint8
	// OAS is the effective output size: the lesser of CD.IPS and the unit's OAS, in bits. 0 is the
	// most that entries hold: 48, or 52 with LPA. Larger addresses in an entry are an error
	// (F_ADDR_SIZE).
	OAS uint8
	// LPA: entries hold addresses of 52 bits, and the table translates as many. With the granules
	// of 4 and 16 KiB that is CD.DS=1: address bits 51:50 take the place of SH, and there are
	// leaves of 512 GiB and 64 GiB. With that of 64 KiB it is a unit of 52 bits: address bits 51:48 are
	// in 15:12, and there are leaves of 4 TiB. Without LPA all these bits are ignored.
	LPA bool
	// HA: a leaf without AF is as good as any: hardware sets AF (CD.HA), or does not care (AFFD).
	// Otherwise such a leaf faults (F_ACCESS), and so grants nothing; Map then always sets AF.
	HA bool
	// HD: hardware keeps the dirty state (CD.HD, together with HA, without which it does nothing).
	// A leaf with DBM set may be written to. It is dirty if AP[2] is clear, and so is one without
	// DBM that may be written to.
	HD bool
	// Preset: Map sets AF although HA is set, and makes leaves that grant Write dirty.
	Preset bool
	// HAD: hierarchical attributes are disabled (CD.HAD0, HAD1): bits 62:59 of a link are ignored.
	HAD bool
	// Exec: UXN is looked at, and Map sets UXN and PXN of what grants no Exec. Otherwise execution is no
	// permission of the format, and neither bit is set. It has no effect with Privileged.
	Exec bool
	// Privileged reads the tables as privileged data accesses see them: AP[1] does not count, and
	// is the attribute LPAES1Privileged of a leaf.
	Privileged bool
}

// The attributes of a stage-1 leaf.
const (
	LPAES1AttrIndx     Attr = 7 << 0 // index into MAIR, bits 4:2
	LPAES1Shareability Attr = 3 << 3 // SH, bits 9:8: 0 none, 2 outer, 3 inner. Not with LPA and granules below 64 KiB
	LPAES1NonGlobal    Attr = 1 << 5 // nG, bit 11
	LPAES1Privileged   Attr = 1 << 6 // AP[1] (bit 6) is clear; only with LPAES1.Privileged
)

const (
	s1AttrShift = 2
	s1AP1, s1RO = 1 << 6, 1 << 7 // AP[1], AP[2]
	s1nG        = 1 << 11
	s1PXN       = 1 << 53
	s1UXN       = 1 << 54
	s1UXNTable  = 1 << 60
	s1APTable1  = 1 << 61 // nothing below for unprivileged requests
	s1APTable2  = 1 << 62 // no writes below
	s1Links     = 15 << 59
	s1Leaves    = s1AP1 | s1RO | s1nG | 7<<s1AttrShift | s1PXN | s1UXN
)

func (f LPAES1) layout() lpae { return makeLPAE(f.Granule, f.OAS, f.LPA) }

// exec tells whether execution is a permission.
func (f LPAES1) exec() bool { return f.Exec && !f.Privileged }

// hd tells whether hardware keeps the dirty state.
func (f LPAES1) hd() bool { return f.HA && f.HD }

// perms is all that an entry can grant.
func (f LPAES1) perms() Perm {
	if f.exec() {
		return Read | Write | Exec
	}
	return Read | Write
}

// Geometry describes the format.
func (f LPAES1) Geometry() Geometry {
	l := f.layout()
	g := l.geometry("lpaes1")
	g.Perms, g.Implied = f.perms(), Read
	g.Attrs = LPAES1AttrIndx | LPAES1NonGlobal
	if l.shared() {
		g.Attrs |= LPAES1Shareability
	}
	if f.Privileged {
		g.Attrs |= LPAES1Privileged
	}
	g.Dirty, g.DirtyIsWrite, g.Preset, g.Upper, g.TBI = f.hd(), true, f.Preset || !f.HA, true, true
	return g
}

// writable tells whether a leaf may be written to, by whom ever.
func (f LPAES1) writable(raw uint64) bool {
	return raw&s1RO == 0 || f.hd() && raw&lpaeDBM != 0
}

// leafPerm returns what a leaf grants.
func (f LPAES1) leafPerm(raw uint64) (p Perm) {
	if raw&lpaeAF == 0 && !f.HA {
		return 0
	}
	if raw&s1AP1 != 0 || f.Privileged {
		p = Read
		if f.writable(raw) {
			p |= Write
		}
	}
	if f.exec() && raw&s1UXN == 0 {
		p |= Exec
	}
	return p
}

// linkPerm returns what a link leaves of the rights below it.
func (f LPAES1) linkPerm(raw uint64) Perm {
	p := f.perms()
	if f.HAD {
		return p
	}
	if raw&s1APTable1 != 0 && !f.Privileged {
		p &^= Read | Write
	}
	if raw&s1APTable2 != 0 {
		p &^= Write
	}
	if raw&s1UXNTable != 0 {
		p &^= Exec
	}
	return p
}

// Decode interprets an entry; level 0 is lookup level 3, level 4 is lookup level -1.
func (f LPAES1) Decode(raw uint64, level uint8) Entry {
	l := f.layout()
	e := l.decode(raw, level)
	switch e.Kind {
	case SubTable:
		e.Perm = f.linkPerm(raw)
	case Leaf:
		e.Perm = f.leafPerm(raw)
		e.Accessed = raw&lpaeAF != 0
		e.Dirty = f.hd() && raw&s1RO == 0
		e.Attr = Attr(raw>>s1AttrShift)&LPAES1AttrIndx | Attr(raw>>6)&LPAES1NonGlobal
		if l.shared() {
			e.Attr |= Attr(raw>>lpaeSHShift&3) << 3
		}
		if f.Privileged && raw&s1AP1 == 0 {
			e.Attr |= LPAES1Privileged
		}
	}
	return e
}

// Encode builds an entry.
func (f LPAES1) Encode(e Entry, level uint8) uint64 {
	l := f.layout()
	raw := l.encode(&e, level)
	lacks := f.perms() &^ e.Perm
	if e.Kind == SubTable {
		if lacks&Read != 0 {
			raw |= s1APTable1
		}
		if lacks&Write != 0 {
			raw |= s1APTable2
		}
		if lacks&Exec != 0 {
			raw |= s1UXNTable
		}
		return raw
	}
	if lacks&Exec != 0 {
		raw |= s1UXN | s1PXN
	}
	if lacks&Read == 0 && e.Attr&LPAES1Privileged == 0 {
		raw |= s1AP1
	}
	switch {
	case lacks&Write != 0:
		raw |= s1RO
	case f.hd():
		raw |= lpaeDBM
		if !e.Dirty {
			raw |= s1RO
		}
	}
	if e.Accessed {
		raw |= lpaeAF
	}
	raw |= uint64(e.Attr&LPAES1AttrIndx)<<s1AttrShift | uint64(e.Attr&LPAES1NonGlobal)<<6
	if l.shared() {
		raw |= uint64(e.Attr&LPAES1Shareability) >> 3 << lpaeSHShift
	}
	return raw
}

// SetDirty changes AP[2] of a leaf that may be written to, and makes sure that hardware may change it back.
func (f LPAES1) SetDirty(raw uint64, _ uint8, dirty bool) uint64 {
	switch {
	case !f.hd() || !f.writable(raw):
		return raw
	case dirty:
		return raw &^ s1RO
	default:
		return raw | s1RO | lpaeDBM
	}
}

// Significant keeps address, size, rights and attributes of a leaf; the rights of a link.
func (f LPAES1) Significant(raw uint64, level uint8) uint64 {
	sig := f.layout().significant(raw, level, s1Leaves)
	switch {
	case level == 0 || raw&lpaeTable == 0:
		if f.writable(raw) {
			sig &^= s1RO
		}
	case !f.HAD:
		sig |= raw & s1Links
	}
	return sig
}

// String names the variant.
func (f LPAES1) String() string {
	l := f.layout()
	return fmt.Sprintf("lpaes1(granule %dK oas %d lpa %t ha %t hd %t preset %t had %t exec %t privileged %t)",
		1<<l.granule>>10, l.oas, l.lpa, f.HA, f.hd(), f.Preset, f.HAD, f.Exec, f.Privileged)
}
