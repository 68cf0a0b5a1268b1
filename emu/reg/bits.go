package reg

// Bits is a range of bits in a register or a structure, counted from bit 0 of its first word. It is
// written as hi_lo with three digits for the low end, so that a table of constants reads like the
// specification:
//
//	const DID reg.Bits = 87_072 // bits 87:72
//	const P   reg.Bits = 0_000  // bit 0
//
// A range has at most 64 bits and may cross a word. Methods on a constant inline to a shift and a
// mask; they are written out, since what calls others costs its callers too much to be inlined in turn.
type Bits uint32

// Lo returns the lowest bit.
func (b Bits) Lo() uint { return uint(b) % 1000 }

// Hi returns the highest bit.
func (b Bits) Hi() uint { return uint(b) / 1000 }

// Width returns the number of bits.
func (b Bits) Width() uint { return b.Hi() - b.Lo() + 1 }

// Word returns the index of the 64-bit word in which the range starts.
func (b Bits) Word() uint { return b.Lo() / 64 }

// Max returns the largest value that fits.
func (b Bits) Max() uint64 { return 2<<((b/1000-b%1000)&63) - 1 }

// Mask returns the range as ones within its first word.
func (b Bits) Mask() uint64 { return (2<<((b/1000-b%1000)&63) - 1) << (b % 1000 % 64) }

// Of returns the value of the range in w, the word in which it starts. The range must not cross
// that word.
func (b Bits) Of(w uint64) uint64 { return w >> (b % 1000 % 64) & (2<<((b/1000-b%1000)&63) - 1) }

// On reports whether any bit of the range is set in w, the word in which it starts.
func (b Bits) On(w uint64) bool { return w&((2<<((b/1000-b%1000)&63)-1)<<(b%1000%64)) != 0 }

// Put returns v at its place in the word in which the range starts. Bits of v that do not fit are
// cut off.
func (b Bits) Put(v uint64) uint64 { return v & (2<<((b/1000-b%1000)&63) - 1) << (b % 1000 % 64) }

// PutBool returns Put(1) or 0.
func (b Bits) PutBool(v bool) uint64 {
	if v {
		return b.Put(1)
	}
	return 0
}

// Get returns the value of the range in words. Words that are missing count as zero.
func (b Bits) Get(words []uint64) uint64 {
	i, s := b.Word(), b.Lo()%64
	if i >= uint(len(words)) {
		return 0
	}
	v := words[i] >> s
	if b.Hi()/64 != i && i+1 < uint(len(words)) {
		v |= words[i+1] << (64 - s)
	}
	return v & b.Max()
}

// Set stores v in the range of words. Bits of v that do not fit are cut off; words that are missing
// are not stored.
func (b Bits) Set(words []uint64, v uint64) {
	i, s := b.Word(), b.Lo()%64
	v &= b.Max()
	if i >= uint(len(words)) {
		return
	}
	words[i] = words[i]&^(b.Max()<<s) | v<<s
	if b.Hi()/64 != i && i+1 < uint(len(words)) {
		words[i+1] = words[i+1]&^(b.Max()>>(64-s)) | v>>(64-s)
	}
}

// Field describes the range under a name.
func (b Bits) Field(name, help string) Field {
	return Field{Name: name, Lo: uint16(b.Lo()), Hi: uint16(b.Hi()), Help: help}
}

// Ones returns a word with the n lowest bits set.
func Ones(n uint8) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return uint64(1)<<n - 1
}
