package traces

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// CSVReader reads what CSVWriter writes, and what people write by hand: numbers may have any base that
// Go literals have, texts of the metadata need no quotes. It is a Source.
type CSVReader struct {
	lines  *lineReader
	header *Header
	last   uint64
	err    error
}

var _ Source = (*CSVReader)(nil)

// NewCSVReader reads the metadata and the line with the names of the columns.
func NewCSVReader(r io.Reader) (*CSVReader, error) {
	c := &CSVReader{lines: newLineReader(r, ""), header: &Header{Version: Version}}
	for {
		line, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil, c.fail("columns", csvColumns, nil, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return nil, err
		}
		if text, ok := strings.CutPrefix(line, "#"); ok {
			if err := c.meta(text); err != nil {
				return nil, err
			}
			continue
		}
		if line != csvColumns {
			return nil, c.fail("columns", csvColumns, line, nil)
		}
		return c, nil
	}
}

// Header describes the trace.
func (c *CSVReader) Header() *Header { return c.header }

func (c *CSVReader) fail(field, want string, got any, cause error) error {
	c.err = &Error{File: c.lines.name, Line: max(c.lines.n, 1), Field: field, Want: want, Got: got, Err: cause}
	return c.err
}

// next returns the next line. A last line without an end was cut off.
func (c *CSVReader) next() (string, error) {
	line, whole, err := c.lines.next()
	switch {
	case err != nil:
		c.err = err
		return "", err
	case !whole:
		return "", c.fail("line", "a line end", nil, io.ErrUnexpectedEOF)
	}
	return line, nil
}

// meta takes a metadata line. An unknown key is kept as a note.
func (c *CSVReader) meta(text string) error {
	key, value, found := strings.Cut(strings.TrimSpace(text), ":")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	for _, f := range csvMeta {
		if !found || f.key != key {
			continue
		}
		plain := value
		if strings.HasPrefix(value, `"`) {
			var err error
			if plain, err = strconv.Unquote(value); err != nil {
				return c.fail(key, "a quoted text", value, err)
			}
		}
		if err := f.set(c.header, plain); err != nil {
			return c.fail(key, "", value, err)
		}
		if c.header.Version != Version {
			return c.fail(key, "1", value, nil)
		}
		return nil
	}
	if note := strings.TrimSpace(text); note != "" {
		c.header.Notes = append(c.header.Notes, note)
	}
	return nil
}

// Read implements Source.
func (c *CSVReader) Read(p []Event) (int, error) {
	for i := range p {
		if c.err == nil {
			c.err = c.row(&p[i])
		}
		if c.err != nil {
			if i > 0 {
				return i, nil
			}
			return 0, c.err
		}
	}
	return len(p), nil
}

// row reads one event.
func (c *CSVReader) row(e *Event) error {
	line, err := c.next()
	if err != nil {
		return err
	}
	var cells [8]string
	rest := line
	for i := range cells {
		cell, tail, more := strings.Cut(rest, ",")
		if more == (i == len(cells)-1) {
			return c.fail("line", "8 cells", line, nil)
		}
		cells[i], rest = cell, tail
	}
	*e = Event{SID: NoSID, PASID: emu.NoPASID}
	for i := range csvCells {
		f := &csvCells[i]
		if cells[i] == "" && f.optional {
			continue
		}
		if !f.set(e, cells[i]) {
			return c.fail(f.name, f.want, cells[i], nil)
		}
	}
	if field, want, ok := e.check(); !ok {
		return c.fail(field, want, line, nil)
	}
	if e.Time < c.last {
		return c.fail("time_ns", "not before that of the line before", e.Time, nil)
	}
	c.last = e.Time
	return nil
}

// csvCells are the columns in order: whether a cell may be empty, and how it is read.
var csvCells = [8]struct {
	name, want string
	optional   bool
	set        func(*Event, string) bool
}{
	{"time_ns", "a time in ns", false, func(e *Event, s string) bool { return number(s, 64, &e.Time) }},
	{"kind", strings.Join(kindNames[:], ", "), false, func(e *Event, s string) (ok bool) { return assign(&e.Kind, s, ParseKind) }},
	{"sid", "a source ID of 32 bits", true, func(e *Event, s string) bool {
		var v uint64
		ok := number(s, 32, &v)
		e.SID = emu.SourceID(v)
		return ok
	}},
	{"pasid", "a PASID of 20 bits", true, func(e *Event, s string) bool {
		var v uint64
		ok := number(s, 20, &v)
		e.PASID = emu.PASID(v)
		return ok
	}},
	{"iova", "an address", false, func(e *Event, s string) bool { return number(s, 64, (*uint64)(&e.IOVA)) }},
	{"len", "a length of 48 bits", true, func(e *Event, s string) bool { return number(s, 48, &e.Len) }},
	{"pa", "an address", true, func(e *Event, s string) bool {
		e.HasPA = true
		return number(s, 64, (*uint64)(&e.PA))
	}},
	{"perm", "a set of r, w, x", true, func(e *Event, s string) bool { return assign(&e.Perm, s, ParsePerm) }},
}

func number(s string, bits int, v *uint64) bool {
	n, err := strconv.ParseUint(s, 0, bits)
	*v = n
	return err == nil
}

func assign[T any](v *T, s string, parse func(string) (T, error)) bool {
	x, err := parse(s)
	*v = x
	return err == nil
}
