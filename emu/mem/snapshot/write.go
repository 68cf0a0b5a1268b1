package snapshot

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// WriteCore writes the memory m as an ELF64 core with c's machine, segments and notes. Without
// segments in c, runs of allocated pages are written. Segments are stored in full.
func WriteCore(w io.Writer, m *mem.Memory, c *Core) error {
	segs := c.Segments
	if len(segs) == 0 {
		segs = runs(m)
	}
	notes := encodeNotes(c.Notes)
	phnum := len(segs)
	if len(notes) > 0 {
		phnum++
	}
	le := binary.LittleEndian

	h := make([]byte, headerSize, headerSize+sectionSize+phnum*programSize)
	copy(h, elf.ELFMAG)
	h[elf.EI_CLASS], h[elf.EI_DATA], h[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	le.PutUint16(h[16:], uint16(elf.ET_CORE))
	le.PutUint16(h[18:], uint16(c.Machine))
	le.PutUint32(h[20:], uint32(elf.EV_CURRENT))
	le.PutUint16(h[52:], headerSize)
	le.PutUint16(h[54:], programSize)
	if phnum < manyHeaders {
		le.PutUint16(h[56:], uint16(phnum))
	} else {
		le.PutUint64(h[40:], headerSize) // e_shoff: section 0 holds the number
		le.PutUint16(h[56:], manyHeaders)
		le.PutUint16(h[58:], sectionSize)
		le.PutUint16(h[60:], 1)
		h = append(h, make([]byte, sectionSize)...)
		le.PutUint32(h[headerSize+44:], uint32(phnum))
	}
	le.PutUint64(h[32:], uint64(len(h)))

	at := uint64(len(h) + phnum*programSize)
	if len(notes) > 0 {
		h = appendProgram(h, elf.PT_NOTE, at, 0, uint64(len(notes)), 4)
		at += uint64(len(notes))
	}
	pad := -at % emu.PageSize
	at += pad
	for _, s := range segs {
		if s.Last < s.First || s.Last >= m.Limit() {
			return errors.New("snapshot: a segment lies outside of memory")
		}
		n := uint64(s.Last-s.First) + 1
		h = appendProgram(h, elf.PT_LOAD, at, uint64(s.First), n, emu.PageSize)
		at += n
	}

	b := bufio.NewWriterSize(w, 1<<16)
	for _, part := range [][]byte{h, notes, make([]byte, pad)} {
		if _, err := b.Write(part); err != nil {
			return err
		}
	}
	for _, s := range segs {
		if err := writeSegment(b, m, s); err != nil {
			return err
		}
	}
	return b.Flush()
}

func writeSegment(w io.Writer, m *mem.Memory, s Segment) error {
	var buf [emu.PageSize]byte
	for pa := s.First; pa <= s.Last; {
		p := buf[:min(emu.PA(len(buf)), s.Last-pa+1)]
		if !m.Read(pa, p) {
			return errors.New("snapshot: a segment lies in a bus error region")
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		pa += emu.PA(len(p))
	}
	return nil
}

// runs returns the ranges of adjacent allocated pages.
func runs(m *mem.Memory) []Segment {
	var segs []Segment
	for pa := range m.Pages() {
		if n := len(segs); n > 0 && segs[n-1].Last+1 == pa {
			segs[n-1].Last += emu.PageSize
		} else {
			segs = append(segs, Segment{First: pa, Last: pa + emu.PageSize - 1})
		}
	}
	return segs
}

func appendProgram(h []byte, typ elf.ProgType, off, pa, size, align uint64) []byte {
	le := binary.LittleEndian
	h = le.AppendUint32(h, uint32(typ))
	h = le.AppendUint32(h, uint32(elf.PF_R|elf.PF_W))
	for _, v := range []uint64{off, 0, pa, size, size, align} {
		h = le.AppendUint64(h, v)
	}
	return h
}

func encodeNotes(notes []Note) []byte {
	var b []byte
	le := binary.LittleEndian
	for _, n := range notes {
		b = le.AppendUint32(b, uint32(len(n.Name)+1))
		b = le.AppendUint32(b, uint32(len(n.Desc)))
		b = le.AppendUint32(b, n.Type)
		b = append(b, n.Name...)
		b = append(b, make([]byte, 4-len(n.Name)%4)...)
		b = append(b, n.Desc...)
		b = append(b, make([]byte, -len(n.Desc)&3)...)
	}
	return b
}
