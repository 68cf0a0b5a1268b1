package reg

import "math/bits"

// Field is a named range of bits in a structure.
type Field struct {
	Name   string
	Lo, Hi uint16 // bit positions in the whole structure
	Help   string // what it means, in a few words
	Clause string // where it is written; empty: as the Layout
}

// Bits returns the range of the field.
func (f Field) Bits() Bits { return Bits(f.Hi)*1000 + Bits(f.Lo) }

// Get returns the value of the field in words.
func (f Field) Get(words []uint64) uint64 { return f.Bits().Get(words) }

// Set stores v in the field. Bits of v that do not fit are cut off.
func (f Field) Set(words []uint64, v uint64) { f.Bits().Set(words, v) }

// Layout describes a structure: an entry, a descriptor, a register. Bits that no field covers are
// reserved.
type Layout struct {
	Name   string
	Bits   uint16 // size
	Clause string
	Fields []Field // ascending
	Joints []Joint // values that are in several fields; may be nil
}

// Joint is a value that a structure keeps in pieces.
type Joint struct {
	Name   string
	Help   string // what it means, in a few words
	Pieces []Piece
}

// Piece is a part of a Joint: what is in Bits is the value's bits from Shift on.
type Piece struct {
	Bits  Bits
	Shift uint8
}

// At returns the range as the piece of a value that begins with bit shift.
func (b Bits) At(shift uint8) Piece { return Piece{b, shift} }

// Get returns the value of the joint in words.
func (j *Joint) Get(words []uint64) (v uint64) {
	for _, p := range j.Pieces {
		v |= p.Bits.Get(words) << (p.Shift & 63)
	}
	return v
}

// Words returns the size in 64-bit words, rounded up.
func (l *Layout) Words() int { return (int(l.Bits) + 63) / 64 }

// Field returns the field called name.
func (l *Layout) Field(name string) (Field, bool) {
	for _, f := range l.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// Covered returns, for each word, the bits that some field covers.
func (l *Layout) Covered() []uint64 {
	m := make([]uint64, l.Words())
	for _, f := range l.Fields {
		one := make([]uint64, len(m))
		f.Set(one, ^uint64(0))
		for i := range m {
			m[i] |= one[i]
		}
	}
	return m
}

// Reserved returns the bits set in words that no field covers.
func (l *Layout) Reserved(words []uint64) []uint64 {
	c := l.Covered()
	for i := range c {
		var w uint64
		if i < len(words) {
			w = words[i]
		}
		if i == len(c)-1 && l.Bits%64 != 0 {
			w &= 1<<(l.Bits%64) - 1
		}
		c[i] = w &^ c[i]
	}
	return c
}

// Names returns the fields, each behind prefix and a dot, that have a bit of word, the first of the
// structure's words.
func (l *Layout) Names(prefix string, word uint64) []string {
	var names []string
	for ; word != 0; word &= word - 1 {
		at := uint16(bits.TrailingZeros64(word))
		for _, f := range l.Fields {
			name := prefix + "." + f.Name
			if f.Lo <= at && at <= f.Hi && (len(names) == 0 || names[len(names)-1] != name) {
				names = append(names, name)
			}
		}
	}
	return names
}
