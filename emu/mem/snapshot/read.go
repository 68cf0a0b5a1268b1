package snapshot

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// A zstd file may decode to decodedBase bytes plus decodedRatio times its size.
const (
	decodedBase  = 64 << 20
	decodedRatio = 1024
)

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// ReadCore reads an ELF64 little-endian core, plain or zstd, whose PT_LOAD segments lie at their
// p_paddr. name is the file's name in errors.
func ReadCore(r io.Reader, name string) (*mem.Memory, *Core, error) {
	b, err := readAll(r, name)
	if err != nil {
		return nil, nil, err
	}
	c := coreReader{b: b, name: name, mem: mem.New(), core: new(Core)}
	if err := c.read(); err != nil {
		return nil, nil, err
	}
	return c.mem, c.core, nil
}

// readAll returns the content of r, decompressed.
func readAll(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !bytes.HasPrefix(b, zstdMagic) {
		return b, nil
	}
	limit := decodedBase + decodedRatio*int64(len(b))
	z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)))
	if err != nil {
		return nil, &Error{File: name, Offset: -1, Field: "zstd", Err: err}
	}
	defer z.Close()
	d, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil && !errors.Is(err, zstd.ErrDecoderSizeExceeded) && !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, &Error{File: name, Offset: int64(len(d)), Field: "zstd", Err: err}
	}
	if err != nil || int64(len(d)) > limit {
		return nil, &Error{File: name, Offset: int64(len(d)), Field: "zstd", Msg: fmt.Sprintf("%d bytes decode to more than %d", len(b), limit)}
	}
	return d, nil
}

// coreReader is a read in progress.
type coreReader struct {
	b    []byte
	name string
	mem  *mem.Memory
	core *Core

	phoff, phnum uint64
	stored       uint64 // bytes of all PT_LOAD segments so far
}

func (c *coreReader) fail(off uint64, field, format string, args ...any) error {
	return &Error{File: c.name, Offset: int64(off), Field: field, Msg: fmt.Sprintf(format, args...)}
}

func (c *coreReader) u16(off uint64) uint16 { return binary.LittleEndian.Uint16(c.b[off:]) }
func (c *coreReader) u32(off uint64) uint32 { return binary.LittleEndian.Uint32(c.b[off:]) }
func (c *coreReader) u64(off uint64) uint64 { return binary.LittleEndian.Uint64(c.b[off:]) }

func (c *coreReader) read() error {
	if err := c.header(); err != nil {
		return err
	}
	for i := range c.phnum {
		off := c.phoff + i*programSize
		var err error
		switch elf.ProgType(c.u32(off)) {
		case elf.PT_LOAD:
			err = c.load(off)
		case elf.PT_NOTE:
			err = c.notes(off)
		}
		if err != nil {
			return err
		}
	}
	return c.overlaps()
}

// header checks the ELF header and finds the program headers.
func (c *coreReader) header() error {
	if len(c.b) < headerSize {
		return c.fail(0, "ELF header", "the file has %d bytes, want at least %d", len(c.b), headerSize)
	}
	if string(c.b[:4]) != elf.ELFMAG {
		return c.fail(0, "e_ident", "magic % x, want 7f 45 4c 46 (ELF) or 28 b5 2f fd (zstd)", c.b[:4])
	}
	size := uint64(len(c.b))
	for _, f := range []struct {
		off       uint64
		name      string
		got, want uint64
		help      string
	}{
		{elf.EI_CLASS, "EI_CLASS", uint64(c.b[elf.EI_CLASS]), uint64(elf.ELFCLASS64), "64-bit"},
		{elf.EI_DATA, "EI_DATA", uint64(c.b[elf.EI_DATA]), uint64(elf.ELFDATA2LSB), "little-endian"},
		{16, "e_type", uint64(c.u16(16)), uint64(elf.ET_CORE), "core"},
		{54, "e_phentsize", uint64(c.u16(54)), programSize, "ELF64 program header"},
	} {
		if f.got != f.want {
			return c.fail(f.off, f.name, "%d, want %d (%s)", f.got, f.want, f.help)
		}
	}
	c.core.Machine = elf.Machine(c.u16(18))
	c.phoff, c.phnum = c.u64(32), uint64(c.u16(56))
	if c.phnum == manyHeaders {
		shoff := c.u64(40)
		if shoff < headerSize || shoff > size || size-shoff < sectionSize {
			return c.fail(40, "e_shoff", "%#x, want section 0 inside the file of %#x bytes", shoff, size)
		}
		c.phnum = uint64(c.u32(shoff + 44))
	}
	if c.phnum == 0 {
		return c.fail(56, "e_phnum", "0, want at least 1 program header")
	}
	if c.phoff < headerSize || c.phoff > size || (size-c.phoff)/programSize < c.phnum {
		return c.fail(32, "e_phoff", "%d program headers at %#x, want them inside the file of %#x bytes", c.phnum, c.phoff, size)
	}
	return nil
}

// span checks that the file has the bytes of the program header at off.
func (c *coreReader) span(off uint64) ([]byte, error) {
	at, n, size := c.u64(off+8), c.u64(off+32), uint64(len(c.b))
	if at > size || n > size-at {
		return nil, c.fail(off+8, "p_offset, p_filesz", "%#x and %#x, want a range inside the file of %#x bytes", at, n, size)
	}
	return c.b[at : at+n], nil
}

// load brings a PT_LOAD segment into memory.
func (c *coreReader) load(off uint64) error {
	data, err := c.span(off)
	if err != nil {
		return err
	}
	pa, n := c.u64(off+24), c.u64(off+40)
	if uint64(len(data)) > n {
		return c.fail(off+40, "p_memsz", "%#x, want at least p_filesz %#x", n, len(data))
	}
	limit := uint64(c.mem.Limit())
	if pa > limit || n > limit-pa {
		return c.fail(off+24, "p_paddr, p_memsz", "%#x and %#x, want a range below %#x", pa, n, limit)
	}
	// Segments that share bytes of the file would make memory larger than the file.
	if c.stored += uint64(len(data)); c.stored > uint64(len(c.b)) {
		return c.fail(off+32, "p_filesz", "segments of %#x bytes so far, want no more than the file's %#x", c.stored, len(c.b))
	}
	if n == 0 {
		return nil
	}
	c.core.Segments = append(c.core.Segments, Segment{emu.PA(pa), emu.PA(pa + n - 1), uint64(len(data))})
	for len(data) > 0 {
		k := min(uint64(len(data)), emu.PageSize-pa%emu.PageSize)
		if !zero(data[:k]) {
			c.mem.Write(emu.PA(pa), data[:k])
		}
		data, pa = data[k:], pa+k
	}
	return nil
}

// zero reports whether all of b is 0.
func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// notes reads a PT_NOTE segment.
func (c *coreReader) notes(off uint64) error {
	data, err := c.span(off)
	if err != nil {
		return err
	}
	at := c.u64(off + 8)
	for p := uint64(0); p < uint64(len(data)); {
		left := uint64(len(data)) - p
		if left < 12 {
			return c.fail(at+p, "note", "%d bytes, want a header of 12", left)
		}
		h := data[p:]
		name, desc := uint64(binary.LittleEndian.Uint32(h)), uint64(binary.LittleEndian.Uint32(h[4:]))
		end := 12 + (name+3)&^3 + desc
		if end > left {
			return c.fail(at+p, "n_namesz, n_descsz", "%d and %d, want a note inside the segment's last %d bytes", name, desc, left)
		}
		c.core.Notes = append(c.core.Notes, Note{
			Name: string(bytes.TrimRight(h[12:12+name], "\x00")),
			Type: binary.LittleEndian.Uint32(h[8:]),
			Desc: slices.Clone(h[12+(name+3)&^3 : end]),
		})
		p += (end + 3) &^ 3
	}
	return nil
}

// overlaps checks that no two segments hold the same memory.
func (c *coreReader) overlaps() error {
	s := slices.Clone(c.core.Segments)
	slices.SortFunc(s, func(a, b Segment) int { return cmp.Compare(a.First, b.First) })
	for i := 1; i < len(s); i++ {
		if s[i].First <= s[i-1].Last {
			return c.fail(c.phoff, "p_paddr", "segments %#x-%#x and %#x-%#x overlap, want disjoint ones",
				uint64(s[i-1].First), uint64(s[i-1].Last), uint64(s[i].First), uint64(s[i].Last))
		}
	}
	return nil
}
