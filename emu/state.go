package emu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Encoder collects the state of a checkpoint as little-endian words. Each component writes a name
// and a version first, so that a restore into the wrong shape is an error and not garbage.
type Encoder struct{ b []byte }

// Section starts the state of a component.
func (e *Encoder) Section(name string, version uint32) {
	e.String(name)
	e.U64(uint64(version))
}

// U64 appends one word.
func (e *Encoder) U64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }

// Bool appends a truth value.
func (e *Encoder) Bool(v bool) {
	if v {
		e.U64(1)
	} else {
		e.U64(0)
	}
}

// Words appends the length of v and its words.
func (e *Encoder) Words(v []uint64) {
	e.U64(uint64(len(v)))
	for _, w := range v {
		e.U64(w)
	}
}

// String appends a length and the bytes of s.
func (e *Encoder) String(s string) {
	e.U64(uint64(len(s)))
	e.b = append(e.b, s...)
}

// Struct appends v, a fixed-size value or a slice of such, as encoding/binary lays it out. It
// panics if v has no fixed size, which is an error in this program.
func (e *Encoder) Struct(v any) {
	n := binary.Size(v)
	if n < 0 {
		panic(fmt.Sprintf("emu: %T has no fixed size", v))
	}
	e.U64(uint64(n))
	var err error
	if e.b, err = binary.Append(e.b, binary.LittleEndian, v); err != nil {
		panic("emu: " + err.Error())
	}
}

// Sealed appends what save writes, behind its length and CRC-32C.
func (e *Encoder) Sealed(save func(e *Encoder)) {
	e.U64(0)
	e.U64(0)
	at := len(e.b)
	save(e)
	binary.LittleEndian.PutUint64(e.b[at-16:], uint64(len(e.b)-at))
	binary.LittleEndian.PutUint64(e.b[at-8:], uint64(crc32.Checksum(e.b[at:], castagnoli)))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Bytes returns what was collected.
func (e *Encoder) Bytes() []byte { return e.b }

// ErrState is what a restore of a damaged or foreign checkpoint wraps.
var ErrState = errors.New("checkpoint does not fit")

// Decoder reads back what an Encoder wrote. The first error sticks; later reads return zero.
type Decoder struct {
	b   []byte
	off int
	err error
}

// NewDecoder reads from b.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

// Err returns the first error, which wraps ErrState and has the offset in it.
func (d *Decoder) Err() error { return d.err }

// Left returns how many bytes have not been read: a bound for what a count in them can ask for.
func (d *Decoder) Left() int { return len(d.b) - d.off }

// Sealed reads what Encoder.Sealed wrote. restore is called only if it is undamaged, and has to read
// all of it.
func (d *Decoder) Sealed(restore func(d *Decoder) error) error {
	n, sum := d.U64(), d.U64()
	p := d.take(n)
	if d.err != nil {
		return d.err
	}
	if got := uint64(crc32.Checksum(p, castagnoli)); got != sum {
		d.Fail("checksum of the %d bytes before is %#x, want %#x", n, got, sum)
		return d.err
	}
	inner := &Decoder{b: d.b[:d.off], off: d.off - int(n)}
	err := restore(inner)
	if err == nil && inner.err == nil && inner.Left() != 0 {
		inner.Fail("%d bytes left over", inner.Left())
	}
	if err == nil {
		err = inner.err
	}
	d.err = err
	return err
}

// Fail records an error unless there is one already.
func (d *Decoder) Fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: offset %d: %s", ErrState, d.off, fmt.Sprintf(format, args...))
	}
}

// Section checks the start of a component.
func (d *Decoder) Section(name string, version uint32) {
	if got := d.String(); d.err == nil && got != name {
		d.Fail("section %q, want %q", got, name)
	}
	if got := d.U64(); d.err == nil && got != uint64(version) {
		d.Fail("section %q has version %d, want %d", name, got, version)
	}
}

func (d *Decoder) take(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.b)-d.off) {
		d.Fail("ends early: %d bytes wanted, %d left", n, len(d.b)-d.off)
		return nil
	}
	p := d.b[d.off : d.off+int(n)]
	d.off += int(n)
	return p
}

// U64 reads one word.
func (d *Decoder) U64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// Bool reads a truth value.
func (d *Decoder) Bool() bool { return d.U64() != 0 }

// Words reads a slice of words.
func (d *Decoder) Words() []uint64 {
	n := d.U64()
	if n > uint64(len(d.b)-d.off)/8 {
		d.Fail("%d words do not fit", n)
		return nil
	}
	v := make([]uint64, n)
	for i := range v {
		v[i] = d.U64()
	}
	return v
}

// String reads a string.
func (d *Decoder) String() string { return string(d.take(d.U64())) }

// Struct reads into v, a pointer to a fixed-size value or a slice of such with the length that was
// written.
func (d *Decoder) Struct(v any) {
	n := d.U64()
	if want := binary.Size(v); d.err == nil && uint64(want) != n {
		d.Fail("%T has %d bytes, want %d", v, n, want)
		return
	}
	p := d.take(n)
	if p == nil {
		return
	}
	if _, err := binary.Decode(p, binary.LittleEndian, v); err != nil {
		d.Fail("%T: %v", v, err)
	}
}
