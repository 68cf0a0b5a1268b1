package mem

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/emu"
)

// Read fills b from the bytes at pa, of any alignment. False is a bus error somewhere; what lies
// below it was read.
func (m *Memory) Read(pa emu.PA, b []byte) bool {
	var w [8]byte
	for len(b) > 0 {
		v, ok := m.Load64(pa &^ 7)
		if !ok {
			return false
		}
		binary.LittleEndian.PutUint64(w[:], v)
		n := copy(b, w[pa&7:])
		b, pa = b[n:], pa+emu.PA(n)
	}
	return true
}

// Write stores b at pa, of any alignment, in words of 8 bytes. False is a bus error somewhere; what
// lies below it was written.
func (m *Memory) Write(pa emu.PA, b []byte) bool {
	for len(b) > 0 {
		if pa&7 == 0 && len(b) >= 8 {
			if !m.Store64(pa, binary.LittleEndian.Uint64(b)) {
				return false
			}
			b, pa = b[8:], pa+8
			continue
		}
		p := m.storePage(pa&^7, 8)
		if p == nil {
			return false
		}
		var w [8]byte
		word := &p[pa>>3%WordsPerPage]
		binary.LittleEndian.PutUint64(w[:], *word)
		n := copy(w[pa&7:], b)
		*word = binary.LittleEndian.Uint64(w[:])
		m.stored(pa&^7, 8)
		b, pa = b[n:], pa+emu.PA(n)
	}
	return true
}

// Zero clears the page that pa lies in. A page that was never written stays unallocated. False is
// a bus error.
func (m *Memory) Zero(pa emu.PA) bool {
	first, last := pageOf(pa), pageOf(pa)+emu.PageSize-1
	if pa >= m.limit || m.errorIn(first, last, emu.Write) {
		return false
	}
	if p := m.find(pa); p != nil {
		*p = Page{}
	}
	if m.watched(first, last) {
		for a := first; a < last; a += 8 {
			m.stored(a, 8)
		}
	}
	return true
}
