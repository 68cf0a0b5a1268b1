package traces

import (
	"fmt"
	"io"
	"strconv"

	"github.com/iommulab/iommulab/emu"
)

// csvColumns is the first line after the metadata. Numbers are decimal (time_ns, len) or hexadecimal with
// 0x (sid, pasid, iova, pa); a cell is empty where there is no value.
const csvColumns = "time_ns,kind,sid,pasid,iova,len,pa,perm"

// CSVWriter writes one line per event, after lines `# key: value` with the header. It is a Sink and
// loses nothing.
type CSVWriter struct {
	w    io.Writer
	buf  []byte
	err  error
	line int
	last uint64
}

var _ Sink = (*CSVWriter)(nil)

// NewCSVWriter writes the header to w and returns a CSVWriter for the events.
func NewCSVWriter(w io.Writer, h *Header) (*CSVWriter, error) {
	h, err := h.normalize()
	if err != nil {
		return nil, err
	}
	c := &CSVWriter{w: w}
	for _, f := range csvMeta {
		for _, v := range f.get(h) {
			c.buf = fmt.Appendf(c.buf, "# %s: %s\n", f.key, v)
			c.line++
		}
	}
	c.buf = append(c.buf, csvColumns+"\n"...)
	c.line++
	return c, c.drain()
}

// csvMeta are the metadata lines: how each is taken from a header and put into one.
var csvMeta = []struct {
	key string
	get func(*Header) []string
	set func(*Header, string) error
}{
	{"iotrace", func(h *Header) []string { return []string{strconv.Itoa(h.Version)} },
		func(h *Header, s string) (err error) { h.Version, err = strconv.Atoi(s); return err }},
	{"iommu", func(h *Header) []string { return quoted(h.IOMMU) }, func(h *Header, s string) error { h.IOMMU = s; return nil }},
	{"source", func(h *Header) []string { return quoted(h.Source) }, func(h *Header, s string) error { h.Source = s; return nil }},
	{"clock", func(h *Header) []string { return quoted(h.Clock) }, func(h *Header, s string) error { h.Clock = s; return nil }},
	{"start", func(h *Header) []string { return quoted(h.Start) }, func(h *Header, s string) error { h.Start = s; return nil }},
	{"seed", func(h *Header) []string {
		if h.Seed == 0 {
			return nil
		}
		return []string{uitoa(h.Seed)}
	}, func(h *Header, s string) (err error) { h.Seed, err = strconv.ParseUint(s, 0, 64); return err }},
	{"synthetic", func(h *Header) []string {
		if !h.Synthetic {
			return nil
		}
		return []string{"true"}
	}, func(h *Header, s string) (err error) { h.Synthetic, err = strconv.ParseBool(s); return err }},
	{"device", func(h *Header) (v []string) {
		for _, d := range h.Devices {
			v = append(v, fmt.Sprintf("%#04x", uint32(d)))
		}
		return v
	}, func(h *Header, s string) error {
		d, err := strconv.ParseUint(s, 0, 32)
		h.Devices = append(h.Devices, emu.SourceID(d))
		return err
	}},
	{"mark", func(h *Header) []string { return quotedAll(h.Marks) }, func(h *Header, s string) error { h.Marks = append(h.Marks, s); return nil }},
	{"note", func(h *Header) []string { return quotedAll(h.Notes) }, func(h *Header, s string) error { h.Notes = append(h.Notes, s); return nil }},
}

// quoted quotes a text, so that blanks at its ends and control characters survive; an empty one is left out.
func quoted(s string) []string {
	if s == "" {
		return nil
	}
	return []string{strconv.Quote(s)}
}

func quotedAll(texts []string) (v []string) {
	for _, s := range texts {
		v = append(v, strconv.Quote(s))
	}
	return v
}

// Write takes p; a refused event is an *Error whose Line is the line it would have been.
func (c *CSVWriter) Write(p []Event) error {
	for i := range p {
		if c.err != nil {
			return c.err
		}
		e := &p[i]
		c.line++
		if field, want, ok := e.check(); !ok {
			c.err = &Error{File: nameOf(c.w), Line: c.line, Field: field, Want: want}
			return c.err
		}
		if e.Time < c.last {
			c.err = &Error{File: nameOf(c.w), Line: c.line, Field: "time_ns", Want: "not before that of the line before", Got: e.Time}
			return c.err
		}
		c.last = e.Time
		c.buf = appendCSV(c.buf, e)
		if len(c.buf) > 32<<10 {
			c.drain()
		}
	}
	return c.err
}

// Close writes what is left. It does not close the writer below.
func (c *CSVWriter) Close() error { return c.drain() }

func (c *CSVWriter) drain() error {
	if c.err == nil && len(c.buf) > 0 {
		if _, err := c.w.Write(c.buf); err != nil {
			c.err = &Error{File: nameOf(c.w), Line: c.line, Field: "write", Err: err}
		}
		c.buf = c.buf[:0]
	}
	return c.err
}

func appendCSV(b []byte, e *Event) []byte {
	hex := func(b []byte, v uint64) []byte { return strconv.AppendUint(append(b, "0x"...), v, 16) }
	b = strconv.AppendUint(b, e.Time, 10)
	b = append(b, ',')
	b = append(b, e.Kind.String()...)
	b = append(b, ',')
	if e.SID != NoSID {
		b = hex(b, uint64(e.SID))
	}
	b = append(b, ',')
	if e.PASID != emu.NoPASID {
		b = hex(b, uint64(e.PASID))
	}
	b = append(b, ',')
	b = hex(b, uint64(e.IOVA))
	b = append(b, ',')
	if e.Len != 0 {
		b = strconv.AppendUint(b, e.Len, 10)
	}
	b = append(b, ',')
	if e.HasPA {
		b = hex(b, uint64(e.PA))
	}
	b = append(b, ',')
	b = append(b, e.Perm.String()...)
	return append(b, '\n')
}
