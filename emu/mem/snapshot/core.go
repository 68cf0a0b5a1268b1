package snapshot

import (
	"debug/elf"

	"github.com/iommulab/iommulab/emu"
)

// Core is what an ELF core says besides the content of memory.
type Core struct {
	Machine  elf.Machine
	Segments []Segment // in the order of the file
	Notes    []Note
}

// Segment is a range of guest-physical memory that the core has. What lies outside of all segments
// was left out and is not known to be empty.
type Segment struct {
	First, Last emu.PA // inclusive
	Stored      uint64 // bytes in the file; the rest of the segment is zero
}

// Note is an entry of a PT_NOTE segment.
type Note struct {
	Name string
	Type uint32
	Desc []byte
}

// Covers reports whether the byte at pa is in the core.
func (c *Core) Covers(pa emu.PA) bool {
	for _, s := range c.Segments {
		if s.First <= pa && pa <= s.Last {
			return true
		}
	}
	return false
}

// Note returns the first note of that name and type, or nil.
func (c *Core) Note(name string, typ uint32) *Note {
	for i := range c.Notes {
		if n := &c.Notes[i]; n.Name == name && n.Type == typ {
			return n
		}
	}
	return nil
}

// Sizes and values of ELF64.
const (
	headerSize  = 64
	programSize = 56
	sectionSize = 64
	manyHeaders = 0xffff // e_phnum: the number is in sh_info of section 0
)
