package pagetable

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// Info describes a table to the layers above.
type Info struct {
	Format     string   // name of the format
	PageSizes  uint64   // bit n: leaves of 2^n bytes; never the whole aperture
	First      emu.IOVA // lowest address that can be mapped
	Last       emu.IOVA // highest address that can be mapped, after growth if the table can grow
	SignExtend bool     // addresses between the two halves cannot be mapped
	Levels     uint8    // of the present tree
	OABits     uint8    // width of an output address
	Perms      Perm     // permissions that can be mapped
	Implied    Perm     // those of them that are granted unasked
	Dirty      bool     // hardware sets dirty bits
}

// Info returns what can be mapped.
func (t *Table) Info() Info {
	i := Info{
		Format: t.g.Name, PageSizes: t.sizes, SignExtend: t.cfg.SignExtend,
		Levels: t.top + 1, OABits: t.g.OABits, Perms: t.g.Perms, Implied: t.g.Implied, Dirty: t.g.Dirty,
	}
	width := t.vaBits
	if t.g.Dynamic {
		width = min(t.g.shift(t.g.MaxLevels), t.g.VABits, 64)
		i.PageSizes = t.g.PageSizes & (uint64(1)<<width - 1)
	}
	i.First, i.Last = t.start(), ^emu.IOVA(0)
	if !t.cfg.SignExtend && !t.cfg.Upper {
		i.Last >>= 64 - width
	}
	return i
}

// start is the lowest address that the root's slot 0 translates, sign extension left aside.
func (t *Table) start() emu.IOVA {
	if t.cfg.Upper {
		return -(emu.IOVA(1) << t.vaBits)
	}
	return 0
}

// region splits the 64-bit space at the ends of the aperture: it returns the part that iova lies in
// and whether the table can translate it.
func (t *Table) region(iova emu.IOVA) (first, last emu.IOVA, inside bool) {
	end := ^emu.IOVA(0)
	if t.cfg.Upper {
		if start := t.start(); iova < start {
			return 0, start - 1, false
		} else {
			return start, end, true
		}
	}
	if !t.cfg.SignExtend {
		if limit := end >> (64 - t.vaBits); iova > limit {
			return limit + 1, end, false
		} else {
			return 0, limit, true
		}
	}
	half := emu.IOVA(1) << (t.vaBits - 1)
	switch {
	case iova < half:
		return 0, half - 1, true
	case iova >= -half:
		return -half, end, true
	default:
		return half, -half - 1, false
	}
}

// IncreaseTop makes a dynamic table reach last: it stacks new roots on the old one, which becomes
// slot 0 of the lowest of them, and hands the highest to Config.OnTop before using it. It does
// nothing if the table reaches last already.
//
// Precondition: no other operation on the table runs.
//
// Errors: ErrRange, ErrNoMemory, and what OnTop returns; the table is unchanged then.
func (t *Table) IncreaseTop(last emu.IOVA) error {
	if err := t.grow(last); err != nil {
		return &OpError{Op: "grow", First: last, At: last, Err: err}
	}
	return nil
}

func (t *Table) grow(last emu.IOVA) error {
	if _, end, inside := t.region(last); inside && last <= end {
		return nil
	}
	g := &t.g
	if !g.Dynamic {
		return ErrRange
	}
	level := t.top
	for bits.Len64(uint64(last)) > int(min(g.shift(level+1), g.VABits)) {
		if level++; level >= g.MaxLevels {
			return ErrRange
		}
	}
	root, n := t.root, 0
	var stack [maxLevels]emu.PA
	undo := func() {
		for _, pa := range stack[:n] {
			t.pages.Free(pa, g.tableLg2())
		}
	}
	for l := t.top + 1; l <= level; l++ {
		pa, err := t.alloc(g.tableLg2())
		if err != nil {
			undo()
			return err
		}
		stack[n] = pa
		n++
		t.mem.Store64(pa, t.linkTo(root, l))
		t.mem.Flush(pa, 8)
		root = pa
	}
	if t.cfg.OnTop != nil {
		if err := t.cfg.OnTop(root, level+1); err != nil {
			undo()
			return err
		}
	}
	t.root = root
	t.setTop(level)
	return nil
}
