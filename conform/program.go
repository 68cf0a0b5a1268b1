package conform

import (
	"github.com/iommulab/iommulab/emu"
)

// Program is one test: what is done, in order, on machines that start at power-on. It is plain data;
// everything that it needs is in it, so it can be written to a file, replayed and shrunk.
type Program struct {
	About   []string // what it is about, lines of text
	IOMMU   string   // the unit it is for: "vtd"
	Mode    string   // the mode of the unit, a name of Target.Mode
	Seed    uint64   // what it was generated from; 0: written by hand
	RAM     emu.PA   // the memory it uses lies in [RAM, RAM+Size)
	Size    uint64
	Devices []emu.SourceID // by the index that steps use
	Shows   []string       // deviations that it was written to show, by id
	Legal   bool           // generated without mistakes of software; not in files
	File    string         // name of the file it was read from, if any
	Steps   []Step
}

// Op says what a step does.
type Op uint8

// The operations of steps.
const (
	RegWrite  Op = iota // Size bytes of Value to register Off
	RegRead             // Size bytes of register Off
	MemWrite            // Runs to memory at PA, by the processor
	Transfer            // Device accesses 8 bytes at Addr: writes Tag number Value, or reads
	Interrupt           // Device sends a message: 4 bytes of Value to Addr, in the interrupt range
	Clock               // Value nanoseconds pass
	numOps
)

// Step is one step of a program.
type Step struct {
	Op     Op
	Size   uint8  // RegWrite, RegRead: 4 or 8 bytes
	Write  bool   // Transfer: the device writes
	Device uint8  // Transfer, Interrupt: index in Program.Devices
	Off    uint32 // RegWrite, RegRead
	PA     emu.PA // MemWrite, a multiple of 8
	Addr   emu.IOVA
	PASID  emu.PASID // Transfer: NoPASID for most
	Value  uint64
	Runs   []Run  // MemWrite
	Title  string // heading of the steps from here on
	Note   string // what the step is, for people
}

// Run is Count words of 8 bytes in a row: Word, Word+Add, Word+2*Add, ...
type Run struct {
	Word, Add uint64
	Count     uint32
}

// MaxWords is how many words one step may write.
const MaxWords = 1 << 16

// Words returns how many words a MemWrite writes.
func (s *Step) Words() int {
	n := 0
	for i := range s.Runs {
		n += int(s.Runs[i].Count)
	}
	return n
}

// each calls f for every word of a MemWrite.
func (s *Step) each(f func(pa emu.PA, w uint64)) {
	pa := s.PA
	for i := range s.Runs {
		r := &s.Runs[i]
		for n := range uint64(r.Count) {
			f(pa, r.Word+n*r.Add)
			pa += 8
		}
	}
}

// bytes returns what a MemWrite writes, in buf if that is large enough.
func (s *Step) bytes(buf []byte) []byte {
	buf = buf[:0]
	s.each(func(_ emu.PA, w uint64) {
		buf = append(buf, byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
	})
	return buf
}

// pack returns words as runs: equal ones and ascending ones are put together.
func pack(words []uint64) []Run {
	var runs []Run
	for _, w := range words {
		if len(runs) > 0 {
			r := &runs[len(runs)-1]
			if r.Count == 1 && r.Add == 0 {
				if d := w - r.Word; d == 0 || d&(emu.PageSize-1) == 0 && d>>40 == 0 && r.Word != 0 {
					r.Add, r.Count = d, 2
					continue
				}
			} else if w == r.Word+uint64(r.Count)*r.Add {
				r.Count++
				continue
			}
		}
		runs = append(runs, Run{Word: w, Count: 1})
	}
	return runs
}

// clone returns a program that shares nothing that a change could reach.
func (p *Program) clone() *Program {
	q := *p
	q.Steps = make([]Step, len(p.Steps))
	copy(q.Steps, p.Steps)
	for i := range q.Steps {
		q.Steps[i].Runs = append([]Run(nil), p.Steps[i].Runs...)
	}
	return &q
}
