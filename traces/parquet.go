package traces

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/iommulab/iommulab/emu"
	"github.com/parquet-go/parquet-go"
)

// parquetHeader is the key of the file metadata that holds the header as JSON.
const parquetHeader = "iotrace.header"

// parquetRows is the size of a row group: what a reader of other tools holds at a time.
const parquetRows = 1 << 17

// parquetRow has the columns of the CSV form. What is empty there is null here.
type parquetRow struct {
	TimeNS uint64  `parquet:"time_ns,delta"`
	Kind   string  `parquet:"kind,dict"`
	SID    *uint32 `parquet:"sid,optional,dict"`
	PASID  *uint32 `parquet:"pasid,optional,dict"`
	IOVA   uint64  `parquet:"iova"`
	Len    *uint64 `parquet:"len,optional,dict"`
	PA     *uint64 `parquet:"pa,optional"`
	Perm   string  `parquet:"perm,dict"`
}

// ParquetWriter writes events as rows of a Parquet file. It is a Sink and loses nothing.
type ParquetWriter struct {
	w    *parquet.GenericWriter[parquetRow]
	name string
	n    uint64
	last uint64
	err  error
	rows [batch]parquetRow
	nums [batch]struct {
		sid, pasid uint32
		len, pa    uint64
	}
}

var _ Sink = (*ParquetWriter)(nil)

// NewParquetWriter returns a ParquetWriter to w.
func NewParquetWriter(w io.Writer, h *Header) (*ParquetWriter, error) {
	h, err := h.normalize()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, &Error{Field: "header", Err: err}
	}
	return &ParquetWriter{name: nameOf(w), w: parquet.NewGenericWriter[parquetRow](w,
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(parquetRows),
		parquet.CreatedBy("iommulab", "1", ""), parquet.KeyValueMetadata(parquetHeader, string(text)))}, nil
}

// Write takes p; a refused event is an *Error whose Line is its row, from 1.
func (w *ParquetWriter) Write(p []Event) error {
	for len(p) > 0 && w.err == nil {
		n := min(len(p), batch)
		for i := range p[:n] {
			if w.err = w.fill(i, &p[i]); w.err != nil {
				return w.err
			}
		}
		if _, err := w.w.Write(w.rows[:n]); err != nil {
			w.err = &Error{File: w.name, Line: int(w.n), Field: "write", Err: err}
		}
		p = p[n:]
	}
	return w.err
}

func (w *ParquetWriter) fill(i int, e *Event) error {
	w.n++
	if field, want, ok := e.check(); !ok {
		return &Error{File: w.name, Line: int(w.n), Field: field, Want: want}
	}
	if e.Time < w.last {
		return &Error{File: w.name, Line: int(w.n), Field: "time_ns", Want: "not before that of the row before", Got: e.Time}
	}
	w.last = e.Time
	row, num := &w.rows[i], &w.nums[i]
	*row = parquetRow{TimeNS: e.Time, Kind: e.Kind.String(), IOVA: uint64(e.IOVA), Perm: e.Perm.String()}
	num.sid, num.pasid, num.len, num.pa = uint32(e.SID), uint32(e.PASID), e.Len, uint64(e.PA)
	if e.SID != NoSID {
		row.SID = &num.sid
	}
	if e.PASID != emu.NoPASID {
		row.PASID = &num.pasid
	}
	if e.Len != 0 {
		row.Len = &num.len
	}
	if e.HasPA {
		row.PA = &num.pa
	}
	return nil
}

// Close writes the footer. It does not close the writer below.
func (w *ParquetWriter) Close() error {
	if w.err != nil {
		return w.err
	}
	if err := w.w.Close(); err != nil {
		w.err = &Error{File: w.name, Line: int(w.n), Field: "write", Err: err}
		return w.err
	}
	w.err = &Error{File: w.name, Line: int(w.n), Field: "writer", Want: "no use after Close"}
	return nil
}

// ParquetReader reads the rows of a Parquet file that has the columns of the CSV form. It is a Source.
type ParquetReader struct {
	r      *parquet.GenericReader[parquetRow]
	name   string
	header *Header
	n      uint64
	last   uint64
	err    error
	rows   [batch]parquetRow
}

var _ Source = (*ParquetReader)(nil)

// NewParquetReader opens the size bytes of ra. The header is empty if the file was written by something
// else and has none.
func NewParquetReader(ra io.ReaderAt, size int64) (r *ParquetReader, err error) {
	name := nameOf(ra)
	defer guard(name, 0, &err)
	if err := checkFooter(ra, size, name); err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(ra, size, parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, &Error{File: name, Field: "parquet", Err: err}
	}
	want := parquet.SchemaOf(parquetRow{})
	for _, path := range want.Columns() {
		if _, ok := f.Schema().Lookup(path...); !ok {
			return nil, &Error{File: name, Field: "parquet columns", Want: path[0]}
		}
	}
	h := &Header{Version: Version}
	if text, ok := f.Lookup(parquetHeader); ok {
		if len(text) > maxHeader {
			return nil, &Error{File: name, Field: "header", Want: "at most 1 MiB of JSON", Got: len(text)}
		}
		if err := json.Unmarshal([]byte(text), h); err != nil {
			return nil, &Error{File: name, Field: "header", Want: "JSON", Err: err}
		}
		if h.Version != Version {
			return nil, &Error{File: name, Field: "header version", Want: "1", Got: h.Version}
		}
	}
	return &ParquetReader{r: parquet.NewGenericReader[parquetRow](f), name: name, header: h}, nil
}

// checkFooter looks at the end of the file: the library allocates what the footer's length claims.
func checkFooter(ra io.ReaderAt, size int64, name string) error {
	const fixed = 12 // "PAR1" at both ends and the length
	var end [8]byte
	if size < fixed {
		return &Error{File: name, Offset: size, Field: "parquet", Err: io.ErrUnexpectedEOF}
	}
	if _, err := ra.ReadAt(end[:], size-8); err != nil {
		return &Error{File: name, Offset: size - 8, Field: "parquet footer", Err: short(err)}
	}
	if string(end[4:]) != "PAR1" {
		return &Error{File: name, Offset: size - 4, Field: "parquet footer", Want: "PAR1"}
	}
	if n := int64(binary.LittleEndian.Uint32(end[:])); n > size-fixed {
		return &Error{File: name, Offset: size - 8, Field: "parquet footer length", Want: "less than the file's", Got: n}
	}
	return nil
}

// guard turns a panic of the Parquet library, which some damaged files provoke, into an error.
func guard(name string, row uint64, err *error) {
	if p := recover(); p != nil {
		*err = &Error{File: name, Line: int(row), Field: "parquet", Want: "an undamaged file", Err: fmt.Errorf("%v", p)}
	}
}

// Header describes the trace.
func (r *ParquetReader) Header() *Header { return r.header }

// Read implements Source.
func (r *ParquetReader) Read(p []Event) (n int, err error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	defer func() {
		if err != nil {
			r.err = err
		}
	}()
	defer guard(r.name, r.n+1, &err)
	for n == 0 {
		var got int
		got, err = r.r.Read(r.rows[:min(len(p), batch)])
		for i := range r.rows[:got] {
			if r.err = r.event(&p[i], &r.rows[i]); r.err != nil {
				break
			}
			n++
		}
		switch {
		case n > 0:
			if r.err == nil && err != nil && !errors.Is(err, io.EOF) {
				r.err = &Error{File: r.name, Line: int(r.n) + 1, Field: "parquet", Err: err}
			}
			return n, nil
		case r.err != nil:
			return 0, r.err
		case errors.Is(err, io.EOF):
			return 0, io.EOF
		case err != nil:
			return 0, &Error{File: r.name, Line: int(r.n) + 1, Field: "parquet", Err: err}
		}
	}
	return n, nil
}

func (r *ParquetReader) event(e *Event, row *parquetRow) error {
	r.n++
	fail := func(field, want string, got any) error {
		return &Error{File: r.name, Line: int(r.n), Field: field, Want: want, Got: got}
	}
	*e = Event{Time: row.TimeNS, IOVA: emu.IOVA(row.IOVA), SID: NoSID, PASID: emu.NoPASID}
	if !assign(&e.Kind, row.Kind, ParseKind) {
		return fail("kind", "a defined kind", row.Kind)
	}
	if !assign(&e.Perm, row.Perm, ParsePerm) {
		return fail("perm", "a set of r, w, x", row.Perm)
	}
	if row.SID != nil {
		e.SID = emu.SourceID(*row.SID)
	}
	if row.PASID != nil {
		e.PASID = emu.PASID(*row.PASID)
	}
	if row.Len != nil {
		e.Len = *row.Len
	}
	if row.PA != nil {
		e.PA, e.HasPA = emu.PA(*row.PA), true
	}
	if field, want, ok := e.check(); !ok {
		return fail(field, want, nil)
	}
	if e.Time < r.last {
		return fail("time_ns", "not before that of the row before", e.Time)
	}
	r.last = e.Time
	return nil
}
