package entry

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// x86Span is log2 of what an entry of a level covers; level 0 maps pages of 4 KiB.
func x86Span(level int8) uint8 { return 12 + 9*uint8(level) }

// SSPTE describes an entry of a second-stage table (9.8) of a level; level 0 maps pages of 4 KiB. ade: the
// PASID entry has SSADE set, so that hardware marks entries.
//
// Caches hold no entry that is not present, but in caching mode (6.1). Of two translations of different
// sizes hardware may use either.
func (v VTD) SSPTE(level int8, ade bool) *Format {
	leaf := func(raw uint64) bool { return level == 0 || spec.SSPS.On(raw) && level <= 2 }
	const rights = 3 // R and W; SSEE is 0
	p := &Paging{Span: x86Span(level), Tracked: true}
	p.Shape = func(raw uint64) Shape {
		s := Shape{Addr: raw & spec.SSADDR.Mask(), Run: 1, Lg2: p.Span}
		switch {
		case raw&rights == 0:
			return Shape{}
		case !leaf(raw):
			s.Kind = Table
			return s
		}
		s.Kind, s.Write = Leaf, spec.SSW.On(raw)
		s.Type = raw & (spec.SSEMT.Mask() | spec.SSIPAT.Mask() | spec.SSSNP.Mask())
		s.Dirty = ade && spec.SSD.On(raw)
		return s
	}
	p.Clean = func(raw uint64) uint64 {
		if s := p.Shape(raw); !ade || s.Kind != Leaf || !s.Write {
			return 0
		}
		return spec.SSD.Mask() &^ raw
	}
	used := func(raw uint64) uint64 {
		m := rights | spec.SSADDR.Mask() | spec.SSTM.Mask() | spec.SSSNP.Mask()
		if level > 0 {
			m |= spec.SSPS.Mask()
		}
		if leaf(raw) {
			m |= spec.SSEMT.Mask() | spec.SSIPAT.Mask()
		}
		switch {
		case ade && leaf(raw):
			m |= spec.SSA.Mask() | spec.SSD.Mask()
		case ade:
			m |= spec.SSA.Mask()
		}
		return m
	}
	legal := func(raw uint64) error {
		switch {
		case spec.SSTM.On(raw):
			return fmt.Errorf("bit 62 is reserved")
		case spec.SSSNP.On(raw) && !leaf(raw):
			return fmt.Errorf("SNP is reserved in an entry that points to a table")
		case spec.SSSNP.On(raw) && !v.ecap(spec.EcapSC):
			return fmt.Errorf("SNP is not supported by this unit")
		case level > 2 && spec.SSPS.On(raw):
			return fmt.Errorf("PS is reserved in level %d", level)
		case level > 0 && leaf(raw) && spec.CapSSLPS.Of(v.CAP)>>(level-1)&1 == 0:
			return fmt.Errorf("pages of 2^%d bytes are not supported by this unit", p.Span)
		}
		return v.legalAddr(raw&spec.SSADDR.Mask(), leaf(raw), p.Span)
	}
	return pagingFormat("second-stage paging entry", p, rights, used, legal,
		func(mask []uint64) []string { return fieldNames(&spec.SSLayout, mask) })
}

// legalAddr checks the address of a paging entry: its width, and that of a large page its low bits.
func (v VTD) legalAddr(addr uint64, leaf bool, lg2 uint8) error {
	haw := v.HAW
	if haw == 0 {
		haw = 52
	}
	switch {
	case addr>>haw != 0:
		return fmt.Errorf("address %#x is wider than %d bits", addr, haw)
	case leaf && addr&reg.Ones(lg2) != 0:
		return fmt.Errorf("address bits %d:12 of a page of 2^%d bytes are reserved: %#x", lg2-1, lg2, addr)
	}
	return nil
}

// FSPTE describes an entry of a first-stage table (9.7) of a level; level 0 maps pages of 4 KiB. Hardware
// always marks entries. XD counts (NXE=1 in the PASID entry). Caches hold no entry that is not present,
// caching mode or not (6.1).
func (v VTD) FSPTE(level int8) *Format {
	p := x86Paging(level)
	legal := func(raw uint64) error {
		addr := raw & spec.FSADDR.Mask()
		leaf := p.Shape(raw).Kind == Leaf
		switch {
		case level > 2 && spec.FSPS.On(raw):
			return fmt.Errorf("PS is reserved in level %d", level)
		case level == 2 && leaf && !spec.CapFS1GP.On(v.CAP):
			return fmt.Errorf("pages of 1 GiB are not supported by this unit")
		case level > 0 && leaf:
			addr &^= spec.FSPAT.Mask()
		}
		return v.legalAddr(addr, leaf, p.Span)
	}
	return pagingFormat("first-stage paging entry", p, spec.FSP.Mask(),
		func(raw uint64) uint64 { return x86Used(level, p.Shape(raw).Kind) }, legal,
		func(mask []uint64) []string { return fieldNames(&spec.FSLayout, mask) })
}
