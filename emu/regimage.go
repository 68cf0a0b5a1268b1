package emu

import "fmt"

// RegValue is one register of a snapshot.
type RegValue struct {
	Off   uint32
	Size  uint8 // bytes: 4 or 8
	Value uint64
}

// RegImage is the register state of a snapshot, in ascending order of offset.
type RegImage []RegValue

// RegWords is a register image by 4-byte words, keyed by offset.
type RegWords map[uint32]uint32

// Words returns the words of img. An error names the register that is no aligned one of 4 or 8 bytes
// inside a window of that many bytes.
func (img RegImage) Words(window uint32) (RegWords, error) {
	m := RegWords{}
	for _, r := range img {
		if r.Size != 4 && r.Size != 8 || r.Off%4 != 0 || r.Off > window-uint32(r.Size) {
			return nil, fmt.Errorf("offset %#x: size %d: want 4 or 8 bytes inside %#x", r.Off, r.Size, window)
		}
		for i := range uint32(r.Size) / 4 {
			m[r.Off+4*i] = uint32(r.Value >> (32 * i))
		}
	}
	return m, nil
}

// Get returns the register of size bytes at off, and false if the image lacks a part of it.
func (m RegWords) Get(off uint32, size uint8) (v uint64, ok bool) {
	for i := range uint32(size) / 4 {
		w, has := m[off+4*i]
		if !has {
			return 0, false
		}
		v |= uint64(w) << (32 * i)
	}
	return v, true
}
