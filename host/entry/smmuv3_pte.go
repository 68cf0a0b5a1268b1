package entry

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// TTD says which translation table descriptor a format describes (DDI 0487 D8.3).
type TTD struct {
	Granule spec.Granule
	Level   int8 // level 0 maps pages: it is level 3 of the specification
	Dirty   bool // hardware keeps access flag and dirty state (HA and HD, 3.13)
	BBML    uint8
}

// ttdStage is what sets the descriptors of one stage apart.
type ttdStage struct {
	name   string
	layout *reg.Layout
	typ    uint64 // memory type of a leaf
	rights uint64 // of a leaf
	table  uint64 // of a table: what it takes away from all below
	global reg.Bits
	// writable: hardware lets requests write to a leaf as it is; dirty is what it changes to make it so.
	writable func(raw uint64) bool
	dirty    reg.Bits
}

// Stage1TTD describes a descriptor of stage 1. Which changes need a break-before-make sequence is in 3.21.1.
func (v SMMUv3) Stage1TTD(d TTD) *Format {
	return v.ttd(d, &ttdStage{
		name: "stage 1 descriptor", layout: &spec.TTDS1Layout, typ: spec.S1AttrIndx.Mask(),
		rights:   spec.S1AP1.Mask() | spec.S1AP2.Mask() | spec.S1PXN.Mask() | spec.S1UXN.Mask() | spec.S1NG.Mask() | spec.S1NS.Mask(),
		table:    spec.S1PXNTable.Mask() | spec.S1UXNTable.Mask() | spec.S1APTable1.Mask() | spec.S1APTable2.Mask(),
		global:   spec.S1NG,
		writable: func(raw uint64) bool { return !spec.S1AP2.On(raw) },
		dirty:    spec.S1AP2,
	})
}

// Stage2TTD describes a descriptor of stage 2.
func (v SMMUv3) Stage2TTD(d TTD) *Format {
	return v.ttd(d, &ttdStage{
		name: "stage 2 descriptor", layout: &spec.TTDS2Layout, typ: spec.S2MemAttr.Mask(),
		rights:   spec.S2AP.Mask() | spec.S2XN.Mask(),
		writable: func(raw uint64) bool { return spec.S2APW.On(raw) },
		dirty:    spec.S2APW,
	})
}

// table reports whether raw points to a table.
func (d *TTD) table(raw uint64) bool { return d.Level > 0 && spec.TtdTable.On(raw) }

// leaf reports whether raw maps a page or a block, of which not every level has any.
func (d *TTD) leaf(raw uint64) bool {
	if spec.TtdTable.On(raw) || d.Level == 0 {
		return d.Level == 0 && spec.TtdTable.On(raw)
	}
	return d.Level == 1 || d.Level == 2 && d.Granule == spec.Granule4K
}

func (v SMMUv3) ttd(d TTD, st *ttdStage) *Format {
	p := &Paging{Span: d.Granule.Shift(d.Level), Tracked: st.global != 0} // stage 1 only
	p.Shape = func(raw uint64) Shape { return d.shape(p, st, raw) }
	p.Clean = func(raw uint64) uint64 {
		if s := p.Shape(raw); !d.Dirty || s.Kind != Leaf || !s.Write || s.Dirty {
			return 0
		}
		return st.dirty.Mask()
	}
	p.Clash = d.clash
	p.Entry = func(raw uint64, i int) uint64 {
		switch p.Shape(raw).Kind {
		case Table:
			return raw + uint64(i)<<d.Granule
		case Leaf:
			return raw + uint64(i)<<p.Span
		}
		return raw
	}
	if d.BBML == 1 {
		p.Quiet = func(raw uint64) (uint64, bool) {
			return raw | spec.TtdNT.Mask(), d.Level > 0 && p.Shape(raw).Kind == Leaf
		}
	}
	return pagingFormat(st.name, p, spec.TtdValid.Mask(), func(raw uint64) uint64 { return d.used(p, st, raw) },
		func(raw uint64) error { return v.legalTTD(&d, p, raw) },
		func(mask []uint64) []string { return ttdFields(&d, st, mask) })
}

// ttdFields names fields; nT lies in the address of a page.
func ttdFields(d *TTD, st *ttdStage, mask []uint64) []string {
	m := mask[0]
	var names []string
	if d.Level > 0 && spec.TtdNT.On(m) {
		names, m = []string{"nT"}, m&^spec.TtdNT.Mask()
	}
	return append(names, fieldNames(st.layout, []uint64{m})...)
}

// shape takes a descriptor apart. One without access flag faults, if hardware does not set it.
func (d *TTD) shape(p *Paging, st *ttdStage, raw uint64) Shape {
	s := Shape{Kind: Table, Addr: raw & spec.TtdAddr.Mask() &^ reg.Ones(uint8(d.Granule)), Run: 1, Lg2: p.Span}
	switch {
	case !spec.TtdValid.On(raw):
		return Shape{}
	case d.table(raw):
		return s
	case !d.leaf(raw), !spec.TtdAF.On(raw) && !d.Dirty:
		return Shape{}
	}
	s.Kind, s.Addr = Leaf, s.Addr&^reg.Ones(p.Span)
	if c := d.Granule.Contig(d.Level); spec.TtdContig.On(raw) {
		s.Lg2, s.Run = p.Span+c, 1<<c
	}
	s.Type = raw & st.typ
	s.Write = st.writable(raw)
	if d.Dirty {
		s.Dirty = s.Write
		s.Write = s.Write || spec.TtdDBM.On(raw)
	}
	s.Global = st.global != 0 && !st.global.On(raw)
	s.Quiet = d.BBML == 1 && d.Level > 0 && spec.TtdNT.On(raw)
	return s
}

// used marks the bits that count in a valid descriptor.
func (d *TTD) used(p *Paging, st *ttdStage, raw uint64) uint64 {
	m := spec.TtdValid.Mask() | spec.TtdTable.Mask() | spec.TtdAddr.Mask()&^reg.Ones(uint8(d.Granule))
	if d.table(raw) {
		return m | st.table
	}
	m = m&^(reg.Ones(p.Span)&spec.TtdAddr.Mask()) | st.typ | st.rights | spec.TtdSH.Mask() | spec.TtdAF.Mask() | spec.TtdContig.Mask()
	if d.Dirty {
		m |= spec.TtdDBM.Mask()
	}
	if d.BBML == 1 && d.Level > 0 {
		m |= spec.TtdNT.Mask()
	}
	return m
}

// clash is what 3.21.1.1 asks for a break-before-make sequence for, as far as 3.21.1.2 and 3.21.1.3 do not
// allow more: a change of size alone, with nT at level 1.
func (d *TTD) clash(a, b *Shape, alike bool) string {
	switch {
	case a.Kind == Leaf && b.Kind == Leaf:
		switch {
		case a.Addr != b.Addr:
			return "the output address changes (SMMUv3 3.21.1.1)"
		case a.Type != b.Type:
			return "the memory type changes (SMMUv3 3.21.1.1)"
		case b.Global && !a.Global:
			return "a global entry may overlap others that are not (SMMUv3 3.21.1.1)"
		case a.Lg2 != b.Lg2 && d.BBML == 0:
			return "the size changes by the Contiguous bit (SMMUv3 3.21.1.1); BBML is 0"
		}
		return ""
	case !alike:
		return "the output address may change below a table (SMMUv3 3.21.1.1)"
	case a.Kind == b.Kind, d.BBML == 2:
		return ""
	case d.BBML == 0:
		return "the size changes (SMMUv3 3.21.1.1); BBML is 0"
	case a.Quiet || b.Quiet:
		return ""
	}
	return "the size changes without nT (SMMUv3 3.21.1.2); BBML is 1"
}

// legalTTD checks a valid descriptor.
func (v SMMUv3) legalTTD(d *TTD, p *Paging, raw uint64) error {
	out := min(v.oas(), 48)
	switch addr := raw & spec.TtdAddr.Mask() &^ reg.Ones(uint8(d.Granule)); {
	case d.Level == 0 && !spec.TtdTable.On(raw):
		return fmt.Errorf("bits 1:0 are 1: reserved in level %d", spec.Level(d.Level))
	case !d.table(raw) && !d.leaf(raw):
		return fmt.Errorf("a block in level %d, which has none with granules of %d KiB", spec.Level(d.Level), 1<<d.Granule>>10)
	case addr>>out != 0:
		return fmt.Errorf("address %#x is wider than %d bits", addr, out)
	case d.leaf(raw) && spec.TtdSH.Of(raw) == 1:
		return fmt.Errorf("SH=1 is reserved")
	case d.leaf(raw) && spec.TtdContig.On(raw):
		if run := p.Span + d.Granule.Contig(d.Level); addr&reg.Ones(run)&^reg.Ones(p.Span) != 0 {
			return fmt.Errorf("address of the first entry of a run (Contiguous) is not aligned to 2^%d bytes: %#x", run, addr)
		}
	}
	return nil
}
