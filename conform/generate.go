package conform

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/clock"
)

// builder writes a program down step by step. It knows what the steps leave in memory, so that a
// generator can look at what it has built.
type builder struct {
	p     *Program
	r     *clock.Stream
	mem   map[emu.PA]uint64 // what the steps so far leave in memory; absent: 0
	next  emu.PA            // first page not yet used
	hole  emu.PA            // nothing answers from here on
	data  []emu.PA          // pages with known content
	tags  uint64
	title string
}

// newProgram returns an empty program for a machine.
func newProgram(iommu, mode string, seed uint64, m Machine) *Program {
	p := &Program{IOMMU: iommu, Mode: mode, Seed: seed, RAM: m.RAM, Size: m.Size}
	for _, d := range m.Devices {
		p.Devices = append(p.Devices, d.Source)
	}
	return p
}

// newBuilder returns a builder for a program. Half of all programs are legal throughout.
func newBuilder(p *Program, m Machine, name string) builder {
	b := builder{p: p, r: clock.NewStream(p.Seed, name), mem: make(map[emu.PA]uint64), next: p.RAM, hole: m.Hole}
	p.Legal = b.chance(50)
	kind := "legal throughout"
	if !p.Legal {
		kind = "with mistakes"
	}
	p.About = []string{"generated, " + kind}
	return b
}

// How long programs are.
const (
	minActions = 8
	maxActions = 30
	mistakes   = 4 // at most, in a program that is not legal
)

// body is what the program is about: actions, and mistakes among them if it is not legal.
func (b *builder) body(mistake, action func()) {
	n := minActions + b.r.IntN(maxActions-minActions)
	wrong := make(map[int]bool)
	if !b.p.Legal {
		for range 1 + b.r.IntN(mistakes) {
			wrong[b.r.IntN(n)] = true
		}
	}
	for i := range n {
		if !wrong[i] {
			action()
			continue
		}
		mistake()
		b.title = ""
	}
}

// chance is true in n of 100 cases.
func (b *builder) chance(n int) bool { return b.r.IntN(100) < n }

// one returns one of the values, each as likely as the others.
func one[T any](b *builder, of ...T) T { return of[b.r.IntN(len(of))] }

// page takes a page that nothing else uses.
func (b *builder) page() emu.PA {
	p := b.next
	b.next += emu.PageSize
	return p
}

// section gives the steps from here on a heading.
func (b *builder) section(format string, a ...any) { b.title = fmt.Sprintf(format, a...) }

func (b *builder) add(s Step, format string, a ...any) {
	s.Title, b.title = b.title, ""
	s.Note = fmt.Sprintf(format, a...)
	if s.Op != Transfer {
		s.PASID = emu.NoPASID
	}
	b.p.Steps = append(b.p.Steps, s)
}

// store writes words to memory.
func (b *builder) store(pa emu.PA, words []uint64, format string, a ...any) {
	s := Step{Op: MemWrite, PA: pa, Runs: pack(words)}
	s.each(func(pa emu.PA, w uint64) { b.mem[pa] = w })
	b.add(s, format, a...)
}

// fill writes a page of words that count upwards from first.
func (b *builder) fill(pa emu.PA, first uint64, format string, a ...any) {
	b.add(Step{Op: MemWrite, PA: pa, Runs: []Run{{Word: first, Add: 1, Count: emu.PageSize / 8}}}, format, a...)
}

func (b *builder) write(off uint32, size uint8, v uint64, format string, a ...any) {
	if size == 4 {
		v &= 0xffff_ffff
	}
	b.add(Step{Op: RegWrite, Off: off, Size: size, Value: v}, format, a...)
}

// long writes a register of 8 bytes, at once or as halves: the high one has what starts it.
func (b *builder) long(off uint32, v uint64, what string) {
	if b.chance(50) {
		b.write(off, 8, v, "%s", what)
		return
	}
	b.write(off, 4, v, "%s, low half", what)
	b.write(off+4, 4, v>>32, "%s, high half", what)
}

func (b *builder) read(off uint32, size uint8, format string, a ...any) {
	b.add(Step{Op: RegRead, Off: off, Size: size}, format, a...)
}

// dma lets a device access 8 bytes at an address, unless a PC has something else than memory there.
func (b *builder) dma(dev int, at emu.IOVA, write bool, format string, a ...any) {
	if pcDevices <= at && at < 1<<32 || pcROM <= at && at < 1<<20 {
		return
	}
	s := Step{Op: Transfer, Device: uint8(dev), Addr: at &^ 7, Write: write, PASID: emu.NoPASID}
	if write {
		s.Value = b.tags % Tags
		b.tags++
	}
	b.add(s, format, a...)
}

// Where a PC has devices and ROM instead of memory, up to 4 GiB and up to 1 MiB (see Unsuitable).
const (
	pcDevices = 0xc000_0000
	pcROM     = 0xa_0000
)

// choice is one thing that a generator may do next.
type choice[G any] struct {
	weight int
	do     func(g G)
}

// pick draws one of the choices by weight.
func pick[G any](r *clock.Stream, list []choice[G]) func(G) {
	sum := 0
	for i := range list {
		sum += list[i].weight
	}
	n := r.IntN(sum)
	i := slices.IndexFunc(list, func(c choice[G]) bool { n -= c.weight; return n < 0 })
	return list[i].do
}
