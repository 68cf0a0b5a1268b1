package entry

// What the tables of AMD64 processors are like wherever an IOMMU walks them. Both architectures refer to the
// processors' own definition.
const (
	x86P    = 1 << 0
	x86RW   = 1 << 1
	x86US   = 1 << 2
	x86Type = 3 << 3 // PWT, PCD
	x86A    = 1 << 5
	x86D    = 1 << 6
	x86PS   = 1 << 7 // PAT in a page of 4 KiB
	x86PAT  = 1 << 12
	x86Addr = (1<<52 - 1) &^ (1<<12 - 1)
	x86XD   = 1 << 63
)

// x86Paging describes an entry of a level. Hardware marks entries as accessed and dirty.
func x86Paging(level int8) *Paging {
	p := &Paging{Span: x86Span(level)}
	p.Shape = func(raw uint64) Shape {
		s := Shape{Kind: Table, Addr: raw & x86Addr, Run: 1, Lg2: p.Span}
		switch {
		case raw&x86P == 0:
			return Shape{}
		case level == 0:
			s.Type = raw & (x86Type | x86PS)
		case raw&x86PS == 0 || level > 2:
			return s
		default:
			s.Type = raw & (x86Type | x86PAT)
			s.Addr &^= x86PAT
		}
		s.Kind, s.Write, s.Dirty = Leaf, raw&x86RW != 0, raw&x86D != 0
		return s
	}
	p.Clean = func(raw uint64) uint64 {
		if s := p.Shape(raw); s.Kind != Leaf || !s.Write {
			return 0
		}
		return x86D &^ raw
	}
	return p
}

// x86Used are the bits that hardware looks at.
func x86Used(level int8, kind ShapeKind) uint64 {
	m := uint64(x86P | x86RW | x86US | x86Type | x86A | x86Addr | x86XD)
	if kind == Leaf || level > 0 {
		m |= x86PS
	}
	if kind == Leaf {
		m |= x86D
	}
	return m
}
