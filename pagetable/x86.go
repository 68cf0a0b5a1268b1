package pagetable

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// X86 is the paging of x86-64 processors: VT-d first stage (VT-d 4.1 section 9.7), AMD v2. 4 or 5
// levels, 4 KiB, 2 MiB and 1 GiB leaves.
//
// Write is granted where R/W is set at every level, Exec where XD is clear at every level. There is no
// bit for Read: every present entry grants it. U/S is set in all that is written. What an entry without
// it grants depends on who asks, see Supervisor.
//
// G (bit 8) and the extended accessed flag (EA, bit 10) are ignored: neither takes part in a translation
// or a comparison, and Cut does not hand them on.
type X86 struct {
	// HAW is the host address width; 0 is 52. Address bits from there on are reserved. The tables of
	// a nested domain hold addresses of its parent: for them it is the parent's input width.
	HAW uint8
	// Without has bit 30 set if the unit lacks 1 GiB leaves (CAP.FS1GP=0): PS is then reserved in a
	// PDPE. Bit 21 does the same for 2 MiB leaves, which every unit has.
	Without uint64
	// NXE: bit 63 is XD (NXE of the PASID entry). Otherwise it is reserved, every page may be
	// executed, and Exec is no permission of the format.
	NXE bool
	// Supervisor reads the tables as supervisor requests see them (with WPE=1 and SMEP=0): U/S
	// does not count, and is the attribute X86Supervisor of a leaf. Otherwise they are read as user
	// requests see them: an entry without U/S grants nothing, and so does all below it.
	Supervisor bool
	// Dirty: the dirty bits that hardware sets may be read and cleared. Accessed and dirty bits are
	// decoded either way.
	Dirty bool
	// Preset writes new entries with their accessed bit, and new leaves that grant Write with their
	// dirty bit. A walker that does not snoop cannot set them and would fault (reason 90h).
	Preset bool
	// Unsigned: input addresses are plain numbers of 48 or 57 bits, as AMD takes them from requests
	// without PASID. Otherwise they have to be canonical: Config.SignExtend gives both halves, and
	// without it a table has the lower half.
	Unsigned bool
}

// The attributes of an x86 leaf.
const (
	X86WriteThrough Attr = 1 << 0 // PWT, bit 3
	X86CacheDisable Attr = 1 << 1 // PCD, bit 4
	X86PAT          Attr = 1 << 2 // PAT, bit 7 of a 4 KiB leaf, bit 12 of a larger one
	X86Supervisor   Attr = 1 << 3 // U/S (bit 2) is clear; only with X86.Supervisor
)

const (
	x86P          = 1 << 0
	x86RW         = 1 << 1
	x86US         = 1 << 2
	x86CacheShift = 3
	x86Cache      = 3 << x86CacheShift // PWT, PCD
	x86A, x86D    = 1 << 5, 1 << 6
	x86PS         = 1 << 7
	x86PATSmall   = 1 << 7
	x86PATLarge   = 1 << 12
	x86Pending    = 1 << 52 // bits 62:52 are ignored
	x86XD         = 1 << 63
	x86Addr       = (1<<52 - 1) &^ (1<<12 - 1)
	x86Links      = x86P | x86RW | x86US | x86Cache | x86XD // what counts in a link, but for the address
)

// Geometry describes the format.
func (f X86) Geometry() Geometry {
	g := Geometry{
		Name: "x86", Granule: 12, Bits: 9, MinLevels: 4, MaxLevels: 5, VABits: 57, OABits: f.haw(),
		PageSizes: (1<<12 | 1<<21 | 1<<30) &^ (f.Without &^ (1 << 12)),
		Perms:     Read | Write, Implied: Read, Attrs: X86WriteThrough | X86CacheDisable | X86PAT,
		Dirty: f.Dirty, Preset: f.Preset, Canonical: !f.Unsigned, Pending: x86Pending,
	}
	if f.NXE {
		g.Perms |= Exec
	}
	if f.Supervisor {
		g.Attrs |= X86Supervisor
	}
	return g
}

func (f X86) haw() uint8 {
	if f.HAW == 0 || f.HAW > 52 {
		return 52
	}
	return f.HAW
}

// perm returns what a present entry grants.
func (f X86) perm(raw uint64) Perm {
	if raw&x86US == 0 && !f.Supervisor {
		return 0
	}
	p := Read | Perm(raw&x86RW)
	if f.NXE && raw&x86XD == 0 {
		p |= Exec
	}
	return p
}

// Decode interprets an entry; level 0 is the page table, 4 the PML5.
func (f X86) Decode(raw uint64, level uint8) Entry {
	if raw&x86P == 0 {
		return Entry{}
	}
	addr := raw & x86Addr
	if addr>>f.haw() != 0 || raw&x86XD != 0 && !f.NXE {
		return Entry{Kind: Malformed}
	}
	e := Entry{State: State{Perm: f.perm(raw), Accessed: raw&x86A != 0}}
	if level > 0 && raw&x86PS == 0 {
		e.Kind, e.OA = SubTable, emu.PA(addr)
		return e
	}
	pat := uint64(x86PATSmall)
	if level > 0 {
		pat = x86PATLarge
		addr &^= x86PATLarge
	}
	lg2 := 12 + 9*level
	if level > 2 || level > 0 && f.Without>>lg2&1 != 0 || addr&(uint64(1)<<lg2-1) != 0 {
		return Entry{Kind: Malformed}
	}
	e.Kind, e.OA, e.Lg2 = Leaf, emu.PA(addr), lg2
	e.Dirty = raw&x86D != 0
	e.Attr = Attr(raw&x86Cache) >> x86CacheShift
	if raw&pat != 0 {
		e.Attr |= X86PAT
	}
	if f.Supervisor && raw&x86US == 0 {
		e.Attr |= X86Supervisor
	}
	return e
}

// Encode builds an entry.
func (f X86) Encode(e Entry, level uint8) uint64 { return x86Encode(e, level, f.NXE) }

// x86Encode is apart from Encode because its arguments fit the registers; those of Encode do not.
func x86Encode(e Entry, level uint8, nxe bool) uint64 {
	raw := x86P | uint64(e.OA)&x86Addr | uint64(e.Perm&Write)
	if e.Perm != 0 && e.Attr&X86Supervisor == 0 {
		raw |= x86US
	}
	if nxe && e.Perm&Exec == 0 {
		raw |= x86XD
	}
	if e.Accessed {
		raw |= x86A
	}
	if e.Kind == SubTable {
		return raw
	}
	if e.Dirty {
		raw |= x86D
	}
	raw |= uint64(e.Attr<<x86CacheShift) & x86Cache
	pat := uint64(x86PATSmall)
	if level > 0 {
		raw |= x86PS
		pat = x86PATLarge
	}
	if e.Attr&X86PAT != 0 {
		raw |= pat
	}
	return raw
}

// SetDirty changes bit 6.
func (f X86) SetDirty(raw uint64, _ uint8, dirty bool) uint64 {
	if dirty {
		return raw | x86D
	}
	return raw &^ x86D
}

// Significant keeps address, rights and memory type of a leaf, rights and memory type of a link.
func (f X86) Significant(raw uint64, level uint8) uint64 {
	if level > 0 && raw&x86PS == 0 {
		return raw & x86Links
	}
	return raw & (x86Links | x86PS | x86Addr) // PS is PAT in a small leaf
}

// String names the variant.
func (f X86) String() string {
	return fmt.Sprintf("x86(haw %d nxe %t supervisor %t dirty %t preset %t unsigned %t)",
		f.haw(), f.NXE, f.Supervisor, f.Dirty, f.Preset, f.Unsigned)
}
