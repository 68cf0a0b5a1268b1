package conform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// stepKinds are the keywords of steps.
var stepKinds = map[string]struct {
	op       Op
	size     uint8
	args     string // what follows, for errors
	min, max int    // words that follow
	read     func(p *parser, s *Step, args []string) error
}{
	"mem":    {MemWrite, 0, "an address and words", 2, MaxWords, (*parser).memWrite},
	"write4": {RegWrite, 4, "an offset and a value", 2, 2, (*parser).regWrite},
	"write8": {RegWrite, 8, "an offset and a value", 2, 2, (*parser).regWrite},
	"read4":  {RegRead, 4, "an offset", 1, 1, (*parser).regRead},
	"read8":  {RegRead, 8, "an offset", 1, 1, (*parser).regRead},
	"dma":    {Transfer, 0, "device, r or w, address, tag and number, pasid and number", 3, 7, (*parser).transfer},
	"msi":    {Interrupt, 0, "device, address and data", 3, 3, (*parser).message},
	"clock":  {Clock, 0, "nanoseconds", 1, 1, (*parser).clock},
}

// step reads a step.
func (p *parser) step(s *Step, words []string) error {
	k, ok := stepKinds[words[0]]
	if !ok {
		var names []string
		for n := range stepKinds {
			names = append(names, n)
		}
		slices.Sort(names)
		return p.fail("step", strings.Join(names, ", "), words[0])
	}
	args := words[1:]
	if len(args) < k.min || len(args) > k.max {
		return p.fail(words[0], k.args, strings.Join(args, " "))
	}
	s.Op, s.Size = k.op, k.size
	return k.read(p, s, args)
}

func (p *parser) regRead(s *Step, a []string) error {
	off, err := p.number("offset", a[0], 20)
	if err != nil {
		return err
	}
	if off%uint64(s.Size) != 0 {
		return p.fail("offset", fmt.Sprintf("a multiple of %d", s.Size), a[0])
	}
	s.Off = uint32(off)
	return nil
}

func (p *parser) regWrite(s *Step, a []string) (err error) {
	if err = p.regRead(s, a); err == nil {
		s.Value, err = p.number("value", a[1], int(s.Size)*8)
	}
	return err
}

func (p *parser) clock(s *Step, a []string) (err error) {
	s.Value, err = p.number("nanoseconds", a[0], 40)
	return err
}

func (p *parser) memWrite(s *Step, a []string) error {
	pa, err := p.number("address", a[0], 52)
	if err != nil {
		return err
	}
	if pa%8 != 0 {
		return p.fail("address", "a multiple of 8", a[0])
	}
	s.PA = emu.PA(pa)
	n := 0
	for _, w := range a[1:] {
		r, err := p.run(w)
		if err != nil {
			return err
		}
		n += int(r.Count)
		if p.words += int(r.Count); n > MaxWords || p.words > maxTotal {
			return p.fail("words", fmt.Sprintf("at most %d in a step and %d in a program", MaxWords, maxTotal), w)
		}
		s.Runs = append(s.Runs, r)
	}
	ram := uint64(p.prog.RAM)
	if pa < ram || pa-ram > p.prog.Size || uint64(8*n) > p.prog.Size-(pa-ram) {
		return p.fail("address", fmt.Sprintf("inside the ram of the header, %#x bytes at %#x", p.prog.Size, ram), a[0])
	}
	return nil
}

// run reads WORD, WORD*COUNT or WORD*COUNT+ADD.
func (p *parser) run(text string) (r Run, err error) {
	word, rest, counted := strings.Cut(text, "*")
	r.Count = 1
	if counted {
		count, add, added := strings.Cut(rest, "+")
		n, err := p.number("count", count, 32)
		if err != nil {
			return r, err
		}
		if n == 0 || n > MaxWords {
			return r, p.fail("count", fmt.Sprintf("1 to %d", MaxWords), count)
		}
		r.Count = uint32(n)
		if added {
			if r.Add, err = p.number("difference", add, 64); err != nil {
				return r, err
			}
		}
	}
	r.Word, err = p.number("word", word, 64)
	return r, err
}

// which reads the index of a device.
func (p *parser) which(s *Step, text string) error {
	dev, err := p.number("device", text, 8)
	if err != nil {
		return err
	}
	if int(dev) >= len(p.prog.Devices) {
		return p.fail("device", fmt.Sprintf("one of the %d of the header", len(p.prog.Devices)), text)
	}
	s.Device = uint8(dev)
	return nil
}

func (p *parser) transfer(s *Step, a []string) error {
	if err := p.which(s, a[0]); err != nil {
		return err
	}
	addr, err := p.number("address", a[2], 64)
	if err != nil {
		return err
	}
	if addr%8 != 0 || addr>>20 == interruptRange {
		return p.fail("address", "a multiple of 8 outside of the interrupt range", a[2])
	}
	s.Addr = emu.IOVA(addr)
	rest := a[3:]
	switch a[1] {
	case "r":
	case "w":
		s.Write = true
		if len(rest) < 2 || rest[0] != "tag" {
			return p.fail("dma", "tag and its number", strings.Join(rest, " "))
		}
		if s.Value, err = p.number("tag", rest[1], 16); err != nil {
			return err
		}
		if s.Value >= Tags {
			return p.fail("tag", fmt.Sprintf("a number below %d", Tags), rest[1])
		}
		rest = rest[2:]
	default:
		return p.fail("direction", "r or w", a[1])
	}
	switch {
	case len(rest) == 0:
		return nil
	case len(rest) != 2 || rest[0] != "pasid":
		return p.fail("dma", "pasid and its number, or the end of the line", strings.Join(rest, " "))
	}
	v, err := p.number("pasid", rest[1], 20)
	s.PASID = emu.PASID(v)
	return err
}

// interruptRange is the upper part of the addresses that belong to interrupts on x86: FEEx_xxxxh.
const interruptRange = 0xfee

func (p *parser) message(s *Step, a []string) error {
	if err := p.which(s, a[0]); err != nil {
		return err
	}
	addr, err := p.number("address", a[1], 32)
	if err != nil {
		return err
	}
	if addr%4 != 0 || addr>>20 != interruptRange {
		return p.fail("address", "a multiple of 4 in the interrupt range", a[1])
	}
	s.Write, s.Addr = true, emu.IOVA(addr)
	s.Value, err = p.number("data", a[2], 16)
	return err
}
