package search

import (
	"encoding/binary"
	"sort"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
)

// memory is what memory can hold: the base, and each set of words that were stored over it, by number.
type memory struct {
	base   emu.Memory
	words  [][]word // each in ascending order of addresses
	number map[string]int32
	hot    map[emu.PA]bool // words, by address, that somebody stores to
}

type word struct {
	at emu.PA
	v  uint64
}

func newMemory(sc *hitless.Scenario) memory {
	m := memory{base: sc.Memory, words: [][]word{nil}, number: map[string]int32{"": 0}, hot: map[emu.PA]bool{}}
	for i := range sc.Program {
		s := &sc.Program[i]
		for at := s.Addr; at < s.Addr+emu.PA(s.Size); at += 8 {
			m.hot[at] = true
		}
	}
	return m
}

// stored is memory with words stored from an address on.
func (m *memory) stored(id int32, at emu.PA, v []uint64) int32 {
	list := append([]word(nil), m.words[id]...)
	for i, x := range v {
		w := word{at + emu.PA(8*i), x}
		j := sort.Search(len(list), func(j int) bool { return list[j].at >= w.at })
		if j == len(list) || list[j].at != w.at {
			list = append(list, word{})
			copy(list[j+1:], list[j:])
		}
		list[j] = w
	}
	var key []byte
	for _, w := range list {
		key = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(key, uint64(w.at)), w.v)
	}
	n, ok := m.number[string(key)]
	if !ok {
		n = int32(len(m.words))
		m.words = append(m.words, list)
		m.number[string(key)] = n
	}
	return n
}

// load reads memory; false is a bus error.
func (m *memory) load(id int32, at emu.PA, size uint8) (v [4]uint64, ok bool) {
	if !m.base.Load(at, size, &v) {
		return v, false
	}
	for _, w := range m.words[id] {
		if size == 4 {
			if w.at == at&^7 {
				v[0] = w.v >> (8 * (at & 4)) & 0xffff_ffff
			}
		} else if w.at >= at && w.at < at+emu.PA(size) {
			v[(w.at-at)/8] = w.v
		}
	}
	return v, true
}

// fixed reports whether nobody stores to a place.
func (m *memory) fixed(at emu.PA, size uint8) bool {
	for a := at &^ 7; a < at+emu.PA(size); a += 8 {
		if m.hot[a] {
			return false
		}
	}
	return true
}
