package conform

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// Version is the first line of a program file.
const Version = "iommulab.conform/1"

// Write writes p as a program file; Parse reads it back. The format:
//
//	iommulab.conform/1                    the version, first
//	# text                                what the program is about
//	iommu vtd                             header: keyword and value
//	mode legacy
//	seed 0x2a                             absent: written by hand
//	ram 0x100000 0x1000000                base and size of the memory that is used
//	device 0 0x0018                       index and source-id
//	shows id ...                          deviations that the program was written to show
//	## text                               heading of the steps that follow
//	mem 0x101000 0x102001 0x0*3 # note    memory write: address, then words of 8 bytes
//	mem 0x103000 0x200003*16+0x1000       sixteen words, each 0x1000 more than the one before
//	write4 0x018 0x40000000               register write: offset, value; write8 for 8 bytes
//	read4 0x01c                           register read; read8 for 8 bytes
//	dma 0 w 0x1000 tag 7                  device, write, address, number of the Tag that is written
//	dma 0 r 0x1000 pasid 0x5              device, read, address, PASID if the request has one
//	msi 0 0xfee01000 0x41                 device, address and data of an interrupt message
//	clock 1000                            nanoseconds
//
// Numbers are decimal, or hexadecimal with 0x.
func (p *Program) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, Version)
	for _, l := range p.About {
		fmt.Fprintln(b, strings.TrimRight("# "+l, " "))
	}
	fmt.Fprintf(b, "iommu %s\nmode %s\n", p.IOMMU, p.Mode)
	if p.Seed != 0 {
		fmt.Fprintf(b, "seed %#x\n", p.Seed)
	}
	fmt.Fprintf(b, "ram %#x %#x\n", uint64(p.RAM), p.Size)
	for i, d := range p.Devices {
		fmt.Fprintf(b, "device %d %#04x\n", i, uint16(d))
	}
	if len(p.Shows) > 0 {
		fmt.Fprintf(b, "shows %s\n", strings.Join(p.Shows, " "))
	}
	fmt.Fprintln(b)
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Title != "" {
			if i > 0 {
				fmt.Fprintln(b)
			}
			fmt.Fprintf(b, "## %s\n", s.Title)
		}
		fmt.Fprintln(b, s)
	}
	return b.Flush() // the first error sticks
}

// String returns the step as its line in a file.
func (s *Step) String() string {
	t := s.text()
	if s.Note != "" {
		t = fmt.Sprintf("%-40s # %s", t, s.Note)
	}
	return t
}

func (s *Step) text() string {
	switch s.Op {
	case RegWrite:
		return fmt.Sprintf("write%d %#03x %#x", s.Size, s.Off, s.Value)
	case RegRead:
		return fmt.Sprintf("read%d %#03x", s.Size, s.Off)
	case MemWrite:
		var b strings.Builder
		fmt.Fprintf(&b, "mem %#x", uint64(s.PA))
		for _, r := range s.Runs {
			fmt.Fprintf(&b, " %#x", r.Word)
			if r.Count != 1 {
				fmt.Fprintf(&b, "*%d", r.Count)
			}
			if r.Add != 0 {
				fmt.Fprintf(&b, "+%#x", r.Add)
			}
		}
		return b.String()
	case Transfer:
		t := fmt.Sprintf("dma %d r %#x", s.Device, uint64(s.Addr))
		if s.Write {
			t = fmt.Sprintf("dma %d w %#x tag %d", s.Device, uint64(s.Addr), s.Value)
		}
		if s.PASID != emu.NoPASID {
			t += fmt.Sprintf(" pasid %#x", uint32(s.PASID))
		}
		return t
	case Interrupt:
		return fmt.Sprintf("msi %d %#x %#x", s.Device, uint64(s.Addr), s.Value)
	default:
		return fmt.Sprintf("clock %d", s.Value)
	}
}
