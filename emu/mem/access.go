package mem

import "github.com/iommulab/iommulab/emu"

// Load64 reads the 8 bytes at pa. False is a bus error.
func (m *Memory) Load64(pa emu.PA) (uint64, bool) {
	if e := look(&m.loads, pa); e.tag == pa&tagMask {
		return e.page[pa>>3%WordsPerPage], true
	}
	return m.load64(pa)
}

// load64 is Load64 of a page that is not in the look-aside.
func (m *Memory) load64(pa emu.PA) (uint64, bool) {
	p := m.loadable(pa, 8)
	if p == nil {
		return 0, false
	}
	return p[pa>>3%WordsPerPage], true
}

// Load128 reads the 16 bytes at pa at once. False is a bus error.
func (m *Memory) Load128(pa emu.PA) (lo, hi uint64, ok bool) {
	p := m.loadPage(pa, 16)
	if p == nil {
		return 0, 0, false
	}
	i := pa >> 3 % WordsPerPage
	return p[i&^1], p[i|1], true
}

// Store64 writes the 8 bytes at pa. False is a bus error.
func (m *Memory) Store64(pa emu.PA, v uint64) bool {
	if e := look(&m.stores, pa); e.tag == pa&tagMask {
		e.page[pa>>3%WordsPerPage] = v
		return true
	}
	p := m.storable(pa, 8)
	if p == nil {
		return false
	}
	p[pa>>3%WordsPerPage] = v
	m.stored(pa, 8)
	return true
}

// Load reads size (4, 8, 16 or 32) bytes at pa into the low words of v. False is a bus error. Words
// come first: table walks read nothing else.
func (m *Memory) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	if e := look(&m.loads, pa); size == 8 && e.tag == pa&tagMask {
		v[0] = e.page[pa>>3%WordsPerPage]
		return true
	}
	return m.load(pa, size, v)
}

// load is Load of another size, or of a page that is not in the look-aside.
func (m *Memory) load(pa emu.PA, size uint8, v *[4]uint64) bool {
	p := m.loadPage(pa, size)
	if p == nil {
		return false
	}
	i := pa >> 3 % WordsPerPage
	switch size {
	case 8:
		v[0] = p[i]
	case 16:
		v[0], v[1] = p[i&^1], p[i|1]
	case 32:
		*v = [4]uint64(p[i&^3:][:4])
	case 4:
		v[0] = uint64(uint32(p[i] >> (pa & 4 * 8)))
	}
	return true
}

// Store writes size (4, 8, 16 or 32) bytes at pa from the low words of v. False is a bus error.
func (m *Memory) Store(pa emu.PA, size uint8, v *[4]uint64) bool {
	p := m.storePage(pa, size)
	if p == nil {
		return false
	}
	i := pa >> 3 % WordsPerPage
	switch size {
	case 8:
		p[i] = v[0]
	case 16:
		p[i&^1], p[i|1] = v[0], v[1]
	case 32:
		*(*[4]uint64)(p[i&^3:]) = *v
	case 4:
		s := pa & 4 * 8
		p[i] = p[i]&^(0xffff_ffff<<s) | uint64(uint32(v[0]))<<s
	}
	m.stored(pa, size)
	return true
}

// CAS compares the size (8 or 16) bytes at pa with old, stores new if they are equal, and leaves
// what was there in found. ok is false on a bus error: the access needs both directions.
func (m *Memory) CAS(pa emu.PA, size uint8, old, new, found *[4]uint64) (swapped, ok bool) {
	if size != 8 && size != 16 || m.loadPage(pa, size) == nil {
		return false, false
	}
	p := m.storePage(pa, size)
	if p == nil {
		return false, false
	}
	i := pa >> 3 % WordsPerPage
	if size == 8 {
		found[0] = p[i]
		if swapped = found[0] == old[0]; swapped {
			p[i] = new[0]
		}
	} else {
		found[0], found[1] = p[i&^1], p[i|1]
		if swapped = found[0] == old[0] && found[1] == old[1]; swapped {
			p[i&^1], p[i|1] = new[0], new[1]
		}
	}
	if swapped {
		m.stored(pa, size)
	}
	return swapped, true
}

// Or sets bits in the 8 bytes at pa and returns what was there. ok is false on a bus error: the
// access needs both directions.
func (m *Memory) Or(pa emu.PA, bits uint64) (found uint64, ok bool) {
	if m.loadPage(pa, 8) == nil {
		return 0, false
	}
	p := m.storePage(pa, 8)
	if p == nil {
		return 0, false
	}
	w := &p[pa>>3%WordsPerPage]
	found = *w
	*w |= bits
	m.stored(pa, 8)
	return found, true
}

// aligned reports whether size is one that the bus has and pa a multiple of it.
func aligned(pa emu.PA, size uint8) bool {
	const sizes = 1<<4 | 1<<8 | 1<<16 | 1<<32
	return size <= 32 && uint64(sizes)>>size&1 != 0 && pa&emu.PA(size-1) == 0
}

// loadPage returns the page to load size bytes from, or nil on a bus error.
func (m *Memory) loadPage(pa emu.PA, size uint8) *Page {
	if e := look(&m.loads, pa); e.tag == pageOf(pa) && aligned(pa, size) {
		return e.page
	}
	return m.loadable(pa, size)
}

// storePage returns the page to store size bytes to, or nil on a bus error.
func (m *Memory) storePage(pa emu.PA, size uint8) *Page {
	if e := look(&m.stores, pa); e.tag == pageOf(pa) && aligned(pa, size) {
		return e.page
	}
	return m.storable(pa, size)
}

// loadable checks a load in full and keeps the page for the next one if nothing stands against it.
func (m *Memory) loadable(pa emu.PA, size uint8) *Page {
	if pa >= m.limit || !aligned(pa, size) {
		return nil
	}
	p := m.find(pa)
	if p == nil {
		p = &zeroPage
	}
	if len(m.errors) != 0 && m.errorIn(pageOf(pa), pageOf(pa)+emu.PageSize-1, emu.Read) {
		if m.errorIn(pa, pa+emu.PA(size-1), emu.Read) {
			return nil
		}
		return p
	}
	*look(&m.loads, pa) = lookEntry{pageOf(pa), p}
	return p
}

// storable checks a store in full and keeps the page for the next one if nothing stands against it
// and nobody watches.
func (m *Memory) storable(pa emu.PA, size uint8) *Page {
	if pa >= m.limit || !aligned(pa, size) {
		return nil
	}
	first, last := pageOf(pa), pageOf(pa)+emu.PageSize-1
	errs := len(m.errors) != 0 && m.errorIn(first, last, emu.Write)
	if errs && m.errorIn(pa, pa+emu.PA(size-1), emu.Write) {
		return nil
	}
	p := m.ensure(pa)
	if !errs && !m.watched(first, last) {
		*look(&m.stores, pa) = lookEntry{first, p}
	}
	return p
}
