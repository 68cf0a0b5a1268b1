package reg

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// Effect numbers what a write to a register sets off. Values are a unit's own; 0 is none.
type Effect uint16

// Reg is one register of a window. Bits in neither RW nor W1C are read-only for software.
type Reg struct {
	Name   string
	Off    uint32
	Size   uint8  // 4 or 8 bytes
	Reset  uint64 // value after a reset
	Sticky uint64 // bits that survive a warm reset
	RW     uint64 // bits software writes
	W1C    uint64 // bits software clears by writing 1
	WO     bool   // software reads 0
	Effect Effect
	Layout *Layout // may be nil
	Clause string
}

// Table names the registers of a specification.
type Table []Reg

// At returns the register at an offset, or one of no size, which NewFile refuses.
func (t Table) At(off uint32) Reg {
	for i := range t {
		if t[i].Off == off {
			return t[i]
		}
	}
	return Reg{Off: off}
}

// Change is what a write by software did to one register.
type Change struct {
	Index   int    // of the register in the table
	Effect  Effect // of the register
	Raw     uint64 // bits that software put on the bus, at their place in the register
	Written uint64 // mask of the bits that the access covered
	Old     uint64 // value before
	New     uint64 // value after
}

// File is a window of registers. Accesses are 4 or 8 bytes wide and naturally aligned: a 64-bit
// register can be accessed as two halves, and an 8-byte access that covers two 4-byte registers is
// two 4-byte accesses, low half first. Everything else, and places where no register is, read 0 and
// drop what is written. Software sees Read and Write; hardware uses Get and Set by index into the
// table.
type File struct {
	regs  []Reg
	val   []uint64
	dword []*page // by 4 KiB of the window; nil: no register
}

// page has, per 4 bytes of a page of the window, 0 for nothing, else (index+1)<<1 | half.
type page [1024]uint16

// NewFile returns a file over window bytes with the registers of table, at their cold reset values.
// It keeps table. An error names the register whose description is wrong.
func NewFile(window uint32, table []Reg) (*File, error) {
	f := &File{regs: table, val: make([]uint64, len(table)), dword: make([]*page, (window+4095)/4096)}
	for i := range table {
		r := &table[i]
		if r.Size != 4 && r.Size != 8 || r.Off%uint32(r.Size) != 0 || r.Off+uint32(r.Size) > window {
			return nil, fmt.Errorf("register %s at %#x: size %d does not fit a window of %#x bytes", r.Name, r.Off, r.Size, window)
		}
		if max := width(r.Size); (r.Reset|r.RW|r.W1C|r.Sticky)&^max != 0 || r.RW&r.W1C != 0 {
			return nil, fmt.Errorf("register %s at %#x: masks overlap or exceed %d bytes", r.Name, r.Off, r.Size)
		}
		for h := range uint32(r.Size) / 4 {
			p := &f.dword[r.Off/4096]
			if *p == nil {
				*p = new(page)
			}
			d := &(*p)[(r.Off/4+h)%1024]
			if *d != 0 {
				return nil, fmt.Errorf("register %s at %#x overlaps %s", r.Name, r.Off, table[*d>>1-1].Name)
			}
			*d = uint16(i+1)<<1 | uint16(h)
		}
	}
	f.Reset(emu.ResetCold)
	return f, nil
}

func width(size uint8) uint64 { return ^uint64(0) >> (64 - 8*uint(size)) }

// Reset sets all registers to their reset values; a warm reset keeps the sticky bits.
func (f *File) Reset(kind emu.ResetKind) {
	for i := range f.regs {
		r := &f.regs[i]
		if kind == emu.ResetWarm {
			f.val[i] = f.val[i]&r.Sticky | r.Reset&^r.Sticky
		} else {
			f.val[i] = r.Reset
		}
	}
}

// Len returns the number of registers.
func (f *File) Len() int { return len(f.regs) }

// Reg describes register i.
func (f *File) Reg(i int) *Reg { return &f.regs[i] }

// At returns the index of the register that covers the 4 bytes at off, and which half of it that is.
func (f *File) At(off uint32) (index int, half int, ok bool) {
	if off%4 != 0 || off/4096 >= uint32(len(f.dword)) || f.dword[off/4096] == nil {
		return 0, 0, false
	}
	d := f.dword[off/4096][off/4%1024]
	return int(d>>1) - 1, int(d & 1), d != 0
}

// Get returns the value of register i.
func (f *File) Get(i int) uint64 { return f.val[i] }

// Set stores v in register i as hardware does: no mask applies but the register's width.
func (f *File) Set(i int, v uint64) { f.val[i] = v & width(f.regs[i].Size) }

// SetBits sets the bits of mask in register i.
func (f *File) SetBits(i int, mask uint64) { f.Set(i, f.val[i]|mask) }

// ClearBits clears the bits of mask in register i.
func (f *File) ClearBits(i int, mask uint64) { f.val[i] &^= mask }

// Read returns what software reads.
func (f *File) Read(off uint32, size uint8) uint64 {
	switch {
	case size == 4:
		return f.read4(off)
	case size == 8 && off%8 == 0:
		return f.read4(off) | f.read4(off+4)<<32
	}
	return 0
}

func (f *File) read4(off uint32) uint64 {
	i, half, ok := f.At(off)
	if !ok || f.regs[i].WO {
		return 0
	}
	return f.val[i] >> (32 * half) & 0xffff_ffff
}

// Write stores what software writes and reports the registers concerned in c, low one first. It
// returns how many there are: 0, 1 or 2.
func (f *File) Write(off uint32, size uint8, v uint64, c *[2]Change) int {
	switch {
	case size == 4:
		return f.write4(off, v, c, 0)
	case size == 8 && off%8 == 0:
		if i, _, ok := f.At(off); ok && f.regs[i].Size == 8 {
			f.store(i, v, ^uint64(0), &c[0])
			return 1
		}
		n := f.write4(off, v, c, 0)
		return f.write4(off+4, v>>32, c, n)
	}
	return 0
}

func (f *File) write4(off uint32, v uint64, c *[2]Change, n int) int {
	i, half, ok := f.At(off)
	if !ok {
		return n
	}
	s := 32 * half
	f.store(i, v&0xffff_ffff<<s, 0xffff_ffff<<s, &c[n])
	return n + 1
}

func (f *File) store(i int, raw, written uint64, c *Change) {
	r, old := &f.regs[i], f.val[i]
	rw := r.RW & written
	f.val[i] = old&^rw&^(raw&r.W1C&written) | raw&rw
	*c = Change{Index: i, Effect: r.Effect, Raw: raw, Written: written, Old: old, New: f.val[i]}
}

// Save appends all values to e.
func (f *File) Save(e *emu.Encoder) { e.Words(f.val) }

// Restore reads back what Save wrote.
func (f *File) Restore(d *emu.Decoder) error {
	v := d.Words()
	if len(v) != len(f.val) {
		d.Fail("%d registers, want %d", len(v), len(f.val))
	}
	if d.Err() == nil {
		copy(f.val, v)
	}
	return d.Err()
}
