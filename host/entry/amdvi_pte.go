package entry

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// PTE describes an entry of a host table (v1, 2.2.3) of a level; level 0 maps pages of 4 KiB, and is level 1
// of the specification. had: the device table entry lets hardware mark entries (HAD=3).
//
// A page whose size lies in the entry (NextLevel=7) is repeated in all entries that it takes. Caches hold no
// entry that is not present, but with NpCache (2.4.3).
func (v AMDVi) PTE(level int8, had bool) *Format {
	p := &Paging{Span: x86Span(level), Tracked: true}
	leaf := func(raw uint64) bool {
		n := spec.PteNextLevel.Of(raw)
		return n == spec.NextLevelPage || n == spec.NextLevelSize
	}
	p.Shape = func(raw uint64) Shape {
		s := Shape{Kind: Table, Addr: raw & spec.PteAddr.Mask(), Run: 1, Lg2: p.Span}
		switch {
		case !spec.PtePR.On(raw):
			return Shape{}
		case !leaf(raw):
			return s
		}
		if lg2, ok := spec.PageSizeLg2(raw); ok && spec.PteNextLevel.Of(raw) == spec.NextLevelSize && lg2 > p.Span && lg2 < p.Span+9 {
			s.Lg2, s.Run = lg2, 1<<(lg2-p.Span)
		}
		s.Kind, s.Addr = Leaf, s.Addr&^reg.Ones(s.Lg2)
		s.Write, s.Dirty = spec.PteIW.On(raw), had && spec.PteD.On(raw)
		s.Type = raw & (spec.PteFC.Mask() | spec.PteU.Mask())
		return s
	}
	p.Clean = func(raw uint64) uint64 {
		if s := p.Shape(raw); !had || s.Kind != Leaf || !s.Write {
			return 0
		}
		return spec.PteD.Mask() &^ raw
	}
	used := func(raw uint64) uint64 {
		m := spec.PtePR.Mask() | spec.PteNextLevel.Mask() | spec.PteAddr.Mask() | spec.PteIR.Mask() | spec.PteIW.Mask()
		if had {
			m |= spec.PteA.Mask()
		}
		if !leaf(raw) {
			return m | spec.PdeReserved.Mask()
		}
		if spec.PteNextLevel.Of(raw) == spec.NextLevelPage {
			m &^= reg.Ones(p.Span) & spec.PteAddr.Mask()
		}
		if had {
			m |= spec.PteD.Mask()
		}
		return m | spec.PteReserved.Mask() | spec.PteU.Mask() | spec.PteFC.Mask()
	}
	legal := func(raw uint64) error {
		next := int8(spec.PteNextLevel.Of(raw))
		lg2, ok := spec.PageSizeLg2(raw)
		switch {
		case leaf(raw) && spec.PteReserved.On(raw), !leaf(raw) && spec.PdeReserved.On(raw):
			return fmt.Errorf("reserved bits %#x set", raw&(spec.PteReserved.Mask()|spec.PdeReserved.Mask()))
		case leaf(raw) && level == spec.MaxMode-1:
			return fmt.Errorf("NextLevel=%d: level %d maps no pages", next, level+1)
		case next == spec.NextLevelSize && (!ok || lg2 <= p.Span || lg2 >= p.Span+9):
			return fmt.Errorf("NextLevel=7 with a page of 2^%d bytes: level %d has 2^%d to 2^%d", lg2, level+1, p.Span+1, p.Span+8)
		case !leaf(raw) && next > level:
			return fmt.Errorf("NextLevel=%d in level %d: the table must be of a lower one", next, level+1)
		}
		return v.width("address", emu.PA(raw&spec.PteAddr.Mask()))
	}
	return pagingFormat("host page table entry", p, spec.PtePR.Mask(), used, legal,
		func(mask []uint64) []string { return fieldNames(&spec.PTELayout, mask) })
}

// GuestPTE describes an entry of a guest table (v2, 2.2.6) of a level; level 0 maps pages of 4 KiB. Hardware
// marks entries, unless GAUpdateDis and GDUpdateDis say otherwise.
func (v AMDVi) GuestPTE(level int8) *Format {
	p := x86Paging(level)
	legal := func(raw uint64) error {
		addr := raw & spec.GptAddr.Mask()
		leaf := p.Shape(raw).Kind == Leaf
		switch {
		case level > 2 && spec.GptPS.On(raw):
			return fmt.Errorf("PS is reserved in level %d", level+1)
		case level > 0 && leaf && addr&reg.Ones(p.Span)&^spec.GptPAT.Mask() != 0:
			return fmt.Errorf("address bits %d:13 of a page of 2^%d bytes are reserved: %#x", p.Span-1, p.Span, addr)
		}
		return v.width("address", emu.PA(addr))
	}
	return pagingFormat("guest paging entry", p, spec.GptP.Mask(),
		func(raw uint64) uint64 { return x86Used(level, p.Shape(raw).Kind) }, legal,
		func(mask []uint64) []string { return fieldNames(&spec.GuestLayout, mask) })
}
