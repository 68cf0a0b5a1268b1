package conform

import (
	"encoding/binary"
	"maps"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// overlay is memory in which some words read as others and some are not there. What is stored goes into
// the overlay.
type overlay struct {
	*mem.Memory
	words map[emu.PA]uint64
	gone  map[emu.PA]bool
}

// Load implements emu.Memory.
func (o *overlay) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	if o.gone[pa] || !o.Memory.Load(pa, size, v) {
		return false
	}
	for i := range emu.PA(size / 8) {
		if w, ok := o.words[pa+8*i]; ok {
			v[i] = w
		}
	}
	return true
}

// Store implements emu.Memory. Nothing here stores less than a word.
func (o *overlay) Store(pa emu.PA, size uint8, v *[4]uint64) bool {
	for i := range emu.PA(size / 8) {
		o.words[pa+8*i] = v[i]
	}
	return true
}

// CAS implements emu.Memory.
func (o *overlay) CAS(pa emu.PA, size uint8, old, new, found *[4]uint64) (swapped, ok bool) {
	if !o.Load(pa, size, found) {
		return false, false
	}
	if found[0] != old[0] {
		return false, true
	}
	return true, o.Store(pa, size, new)
}

// Or implements emu.Memory.
func (o *overlay) Or(pa emu.PA, bits uint64) (found uint64, ok bool) {
	var v [4]uint64
	if ok = o.Load(pa, 8, &v); ok {
		o.words[pa] = v[0] | bits
	}
	return v[0], ok
}

// asIf is a question: what would our unit make of the access of the step if words of memory were
// others, or were not there, and the unit was built a bit differently?
type asIf struct {
	words   map[emu.PA]uint64
	gone    map[emu.PA]bool
	variant string // of Model.bare
}

// ask returns what our unit would make of the access, and the words that it would have written.
// Nothing that it does is visible. setUp programs the unit.
func (c *Case) ask(q asIf, setUp func(f *emu.Functional)) (*emu.Result, map[emu.PA]uint64) {
	u, err := c.model.bare(q.variant)
	if err != nil {
		return nil, nil
	}
	words := maps.Clone(q.words)
	if words == nil {
		words = make(map[emu.PA]uint64)
	}
	f := emu.NewFunctional(u, &overlay{c.model.mem.Memory, words, q.gone})
	setUp(f)
	req := c.model.request(c.dma())
	var r emu.Result
	f.Translate(&req, &r)
	maps.DeleteFunc(words, func(pa emu.PA, w uint64) bool { v, ok := q.words[pa]; return ok && v == w })
	return &r, words
}

// dma is the access of the step.
func (c *Case) dma() *DMA { return c.step.dma(new([8]byte)) }

// dma returns the access of a Transfer or Interrupt. buf holds what is read or written.
func (s *Step) dma(buf *[8]byte) *DMA {
	d := &DMA{Device: int(s.Device), Addr: s.Addr, PASID: s.PASID, Write: s.Write, Data: buf[:]}
	switch {
	case s.Op == Interrupt:
		binary.LittleEndian.PutUint64(buf[:], s.Value)
		d.Data = buf[:4]
	case s.Write:
		*buf = Tag(int(s.Value))
	}
	return d
}

// answers reports whether there is memory at an address.
func (c *Case) answers(pa emu.PA) bool {
	_, ok := c.model.mem.Load64(pa)
	return ok
}
