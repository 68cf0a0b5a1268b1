package conform

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// Limits of a program file: what a reader allocates is bounded by them, and by the file's size.
const (
	MaxLine    = 1 << 16 // bytes of a line
	MaxSteps   = 1 << 16
	MaxDevices = 1 << 8
	maxTotal   = 1 << 20 // words that all steps together write
)

// Error says what in a program file is not as it has to be.
type Error struct {
	File  string // name, if known
	Line  int    // from 1
	Field string // what was being read
	Want  string // what was expected
	Got   string // what was found; may be empty
}

// Error returns one line: the place, the field, what was expected and what was found.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	fmt.Fprintf(&b, "line %d: %s: want %s", e.Line, e.Field, e.Want)
	if e.Got != "" {
		got := e.Got
		if len(got) > 40 {
			got = got[:40] + "..."
		}
		fmt.Fprintf(&b, ", got %q", got)
	}
	return b.String()
}

// Parse reads a program file; name is for errors, which are of type *Error or come from r.
func Parse(r io.Reader, name string) (*Program, error) {
	p := &parser{name: name, prog: &Program{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), MaxLine)
	for sc.Scan() {
		p.line++
		if err := p.take(sc.Text()); err != nil {
			return nil, err
		}
	}
	if err := sc.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			p.line++
			return nil, p.fail("line", fmt.Sprintf("at most %d bytes", MaxLine), "")
		}
		return nil, err
	}
	return p.end()
}

type parser struct {
	name  string
	line  int
	prog  *Program
	seen  map[string]bool // header keywords
	title string
	words int
}

func (p *parser) fail(field, want, got string) error {
	return &Error{File: p.name, Line: p.line, Field: field, Want: want, Got: got}
}

// take reads one line.
func (p *parser) take(line string) error {
	if p.line == 1 {
		if strings.TrimSpace(line) != Version {
			return p.fail("version", Version, strings.TrimSpace(line))
		}
		p.seen = make(map[string]bool)
		return nil
	}
	body, note, noted := strings.Cut(line, "#")
	words := strings.Fields(body)
	if len(words) == 0 {
		p.comment(note, noted)
		return nil
	}
	if h, ok := headers[words[0]]; ok {
		return p.header(h, words)
	}
	if len(p.prog.Steps) == MaxSteps {
		return p.fail("step", fmt.Sprintf("at most %d steps", MaxSteps), "")
	}
	s := Step{PASID: emu.NoPASID, Title: p.title, Note: strings.TrimSpace(note)}
	if err := p.step(&s, words); err != nil {
		return err
	}
	p.title = ""
	p.prog.Steps = append(p.prog.Steps, s)
	return nil
}

// comment takes a line that is nothing else: a heading, or before the first step what the program is
// about. Others are dropped.
func (p *parser) comment(text string, noted bool) {
	heading, ok := strings.CutPrefix(text, "#")
	switch {
	case !noted:
	case ok:
		p.title = strings.TrimSpace(heading)
	case len(p.prog.Steps) == 0 && p.title == "":
		p.prog.About = append(p.prog.About, strings.TrimSpace(text))
	}
}

// header is a keyword of the header.
type header struct {
	args string // what follows, for errors
	min  int    // words that follow, at least
	max  int    // at most
	many bool   // may come more than once
	set  func(p *parser, args []string) error
}

var headers = map[string]header{
	"iommu":  {"a unit", 1, 1, false, func(p *parser, a []string) error { p.prog.IOMMU = a[0]; return nil }},
	"mode":   {"a mode", 1, 1, false, func(p *parser, a []string) error { p.prog.Mode = a[0]; return nil }},
	"shows":  {"ids of deviations", 1, 64, false, func(p *parser, a []string) error { p.prog.Shows = a; return nil }},
	"seed":   {"a number", 1, 1, false, (*parser).seed},
	"ram":    {"base and size", 2, 2, false, (*parser).ram},
	"device": {"index and source-id", 2, 2, true, (*parser).device},
}

func (p *parser) header(h header, words []string) error {
	key, args := words[0], words[1:]
	switch {
	case len(p.prog.Steps) > 0:
		return p.fail(key, "the header before the first step", "")
	case p.seen[key] && !h.many:
		return p.fail(key, "it once", "")
	case len(args) < h.min || len(args) > h.max:
		return p.fail(key, h.args, strings.Join(args, " "))
	}
	p.seen[key] = true
	return h.set(p, args)
}

func (p *parser) seed(a []string) (err error) {
	p.prog.Seed, err = p.number("seed", a[0], 64)
	return err
}

func (p *parser) ram(a []string) error {
	base, err := p.number("ram base", a[0], 52)
	if err != nil {
		return err
	}
	size, err := p.number("ram size", a[1], 52)
	if err != nil {
		return err
	}
	if base%emu.PageSize != 0 || size%emu.PageSize != 0 || size == 0 {
		return p.fail("ram", "whole pages, one at least", strings.Join(a, " "))
	}
	p.prog.RAM, p.prog.Size = emu.PA(base), size
	return nil
}

func (p *parser) device(a []string) error {
	i, err := p.number("device index", a[0], 16)
	if err != nil {
		return err
	}
	sid, err := p.number("device source-id", a[1], 16)
	if err != nil {
		return err
	}
	if int(i) != len(p.prog.Devices) || i >= MaxDevices {
		return p.fail("device index", strconv.Itoa(len(p.prog.Devices)), a[0])
	}
	p.prog.Devices = append(p.prog.Devices, emu.SourceID(sid))
	return nil
}

// end checks that the header is complete.
func (p *parser) end() (*Program, error) {
	for _, key := range []string{"iommu", "mode", "ram", "device"} {
		if !p.seen[key] {
			p.line = max(p.line, 1)
			return nil, p.fail(key, "the header to have it", "")
		}
	}
	return p.prog, nil
}

// number reads a number of at most so many bits.
func (p *parser) number(field, s string, bits int) (uint64, error) {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil || strings.ContainsRune(s, '_') || bits < 64 && v>>bits != 0 {
		return 0, p.fail(field, fmt.Sprintf("a number of at most %d bits", bits), s)
	}
	return v, nil
}
