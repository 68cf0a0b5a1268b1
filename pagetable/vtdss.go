package pagetable

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// VTDSS is Intel VT-d second-stage paging (VT-d 4.1 section 9.8): 3 to 5 levels, 4 KiB, 2 MiB and
// 1 GiB leaves, permissions accumulated over the levels.
type VTDSS struct {
	// HAW is the host address width; 0 is 52.
	HAW uint8
	// Without has bit 21 or bit 30 set for large leaves that the unit lacks (CAP.SSLPS).
	Without uint64
	// Exec: bit 2 is the execute permission (SSEE set in the PASID entry). Otherwise it is
	// ignored.
	Exec bool
	// Snoop: bit 11 of a leaf forces snooping (ECAP.SC). Otherwise it is reserved.
	Snoop bool
	// Dirty: hardware sets accessed and dirty bits (SSADE set in the PASID entry). Otherwise
	// bits 8 and 9 are ignored.
	Dirty bool
}

// The attributes of a second-stage leaf.
const (
	VTDSSMemType Attr = 7 << 0 // EMT, bits 5:3 of the entry
	VTDSSIgnPAT  Attr = 1 << 3 // IPAT, bit 6
	VTDSSSnoop   Attr = 1 << 4 // SNP, bit 11
)

const (
	vtdR, vtdW, vtdX = 1 << 0, 1 << 1, 1 << 2
	vtdMemTypeShift  = 3
	vtdPS            = 1 << 7
	vtdA, vtdD       = 1 << 8, 1 << 9
	vtdSNP           = 1 << 11
	vtdReserved62    = 1 << 62
	vtdPending       = 1 << 52 // bits 61:52 are ignored
	vtdAddr          = (1<<52 - 1) &^ (1<<12 - 1)
)

// Geometry describes the format.
func (f VTDSS) Geometry() Geometry {
	g := Geometry{
		Name: "vtdss", Granule: 12, Bits: 9, MinLevels: 3, MaxLevels: 5, VABits: 57, OABits: f.haw(),
		PageSizes: (1<<12 | 1<<21 | 1<<30) &^ (f.Without &^ (1 << 12)),
		Perms:     Read | Write, Attrs: VTDSSMemType | VTDSSIgnPAT,
		Dirty: f.Dirty, Pending: vtdPending,
	}
	if f.Exec {
		g.Perms |= Exec
	}
	if f.Snoop {
		g.Attrs |= VTDSSSnoop
	}
	return g
}

func (f VTDSS) haw() uint8 {
	if f.HAW == 0 || f.HAW > 52 {
		return 52
	}
	return f.HAW
}

// perm returns the permissions of an entry. There is no present bit: an entry without permissions is
// empty.
func (f VTDSS) perm(raw uint64) Perm {
	p := Perm(raw & (vtdR | vtdW))
	if f.Exec {
		p |= Perm(raw & vtdX)
	}
	return p
}

// Decode interprets an entry; level 0 is the page table, 4 the PML5.
func (f VTDSS) Decode(raw uint64, level uint8) Entry {
	perm := f.perm(raw)
	if perm == 0 {
		return Entry{}
	}
	addr := raw & vtdAddr
	if raw&vtdReserved62 != 0 || addr>>f.haw() != 0 {
		return Entry{Kind: Malformed}
	}
	e := Entry{OA: emu.PA(addr), State: State{Perm: perm, Accessed: f.Dirty && raw&vtdA != 0}}
	if level > 0 && raw&vtdPS == 0 {
		if raw&vtdSNP != 0 {
			return Entry{Kind: Malformed}
		}
		e.Kind = SubTable
		return e
	}
	lg2 := 12 + 9*level
	if level > 2 || level > 0 && f.Without>>lg2&1 != 0 || addr&(uint64(1)<<lg2-1) != 0 {
		return Entry{Kind: Malformed}
	}
	if raw&vtdSNP != 0 {
		if !f.Snoop {
			return Entry{Kind: Malformed}
		}
		e.Attr = VTDSSSnoop
	}
	e.Kind, e.Lg2 = Leaf, lg2
	e.Attr |= Attr(raw>>vtdMemTypeShift) & (VTDSSMemType | VTDSSIgnPAT)
	e.Dirty = f.Dirty && raw&vtdD != 0
	return e
}

// Encode builds an entry.
func (f VTDSS) Encode(e Entry, level uint8) uint64 {
	raw := uint64(e.OA)&vtdAddr | uint64(e.Perm)
	if e.Accessed {
		raw |= vtdA
	}
	if e.Kind == SubTable {
		return raw
	}
	if level > 0 {
		raw |= vtdPS
	}
	raw |= uint64(e.Attr&(VTDSSMemType|VTDSSIgnPAT)) << vtdMemTypeShift
	if e.Attr&VTDSSSnoop != 0 {
		raw |= vtdSNP
	}
	if e.Dirty {
		raw |= vtdD
	}
	return raw
}

// SetDirty changes bit 9.
func (f VTDSS) SetDirty(raw uint64, _ uint8, dirty bool) uint64 {
	if dirty {
		return raw | vtdD
	}
	return raw &^ vtdD
}

// Significant keeps address, permissions and attributes of a leaf, the permissions of a link.
func (f VTDSS) Significant(raw uint64, level uint8) uint64 {
	perm := uint64(f.perm(raw))
	if level > 0 && raw&vtdPS == 0 {
		return perm
	}
	sig := raw&(vtdAddr|15<<vtdMemTypeShift|vtdSNP) | perm
	if level > 0 {
		sig |= vtdPS
	}
	return sig
}

// String names the variant.
func (f VTDSS) String() string {
	return fmt.Sprintf("vtdss(haw %d exec %t snoop %t dirty %t)", f.haw(), f.Exec, f.Snoop, f.Dirty)
}
