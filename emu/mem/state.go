package mem

import "github.com/iommulab/iommulab/emu"

const (
	stateName    = "mem"
	stateVersion = 1
)

// Save appends content, limit and bus error regions to e. Memories that are equal in these save
// the same bytes.
func (m *Memory) Save(e *emu.Encoder) {
	e.Section(stateName, stateVersion)
	e.U64(uint64(m.limit))
	e.U64(uint64(m.lastID))
	e.U64(uint64(len(m.errors)))
	for _, b := range m.errors {
		e.U64(uint64(b.First))
		e.U64(uint64(b.Last))
		e.U64(uint64(b.ID))
		e.U64(uint64(b.Kinds))
	}
	n := uint64(0)
	for _, p := range m.Pages() {
		if *p != zeroPage {
			n++
		}
	}
	e.U64(n)
	for pa, p := range m.Pages() {
		if *p != zeroPage {
			e.U64(uint64(pa))
			e.Struct(p[:])
		}
	}
}

// Restore replaces content, limit and bus error regions with what Save wrote. Watch hooks stay and
// are not called. On an error the memory is left as it was.
func (m *Memory) Restore(d *emu.Decoder) error {
	d.Section(stateName, stateVersion)
	n := New()
	n.limit = emu.PA(d.U64())
	n.lastID = ErrorID(d.U64())
	for i := d.U64(); i > 0 && d.Err() == nil; i-- {
		b := busError{First: emu.PA(d.U64()), Last: emu.PA(d.U64()), ID: ErrorID(d.U64())}
		kinds := d.U64()
		if kinds&^uint64(emu.RW) != 0 {
			d.Fail("bus error region has kinds %#x, want read and write only", kinds)
		}
		b.Kinds = emu.Access(kinds)
		n.errors = append(n.errors, b)
	}
	for i := d.U64(); i > 0 && d.Err() == nil; i-- {
		pa := emu.PA(d.U64())
		if d.Err() == nil && pa != pageOf(pa) {
			d.Fail("page at %#x is not page aligned", pa)
		}
		var p Page
		d.Struct(p[:])
		if d.Err() == nil {
			*n.ensure(pa) = p
		}
	}
	if d.Err() != nil {
		return d.Err()
	}
	n.watch = m.watch
	*m = *n
	return nil
}
