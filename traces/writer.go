package traces

import (
	"encoding/binary"
	"encoding/json"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Writer writes the native format. It is a Sink.
type Writer struct {
	w       io.Writer
	enc     *zstd.Encoder
	err     error
	off     int64
	n       uint64 // events taken
	last    uint64 // time of the latest event
	base    uint64 // time of the first event of the block
	records []byte
	payload []byte
	zbuf    []byte
	table   []Space
	numbers map[Space]int
	recent  Space // of the latest event, with its number: most events repeat it
	number  int
	blocks  []blockInfo
}

var _ Sink = (*Writer)(nil)

// NewWriter writes the header h to w and returns a Writer for its events. Nothing is complete before
// Close.
func NewWriter(w io.Writer, h *Header) (*Writer, error) {
	h, err := h.normalize()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, &Error{Field: "header", Err: err}
	}
	if len(text) > maxHeader {
		return nil, &Error{Field: "header", Want: "at most 1 MiB of JSON", Got: len(text)}
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	tw := &Writer{w: w, enc: enc, numbers: make(map[Space]int)}
	b := binary.LittleEndian.AppendUint32(nil, magicHeader)
	b = binary.LittleEndian.AppendUint32(b, uint32(headerFixed+len(text)))
	b = append(b, headerSign...)
	b = binary.LittleEndian.AppendUint32(b, Version)
	b = binary.LittleEndian.AppendUint32(b, crc(text))
	tw.out(append(b, text...))
	return tw, tw.err
}

// Write takes p. An event that the format cannot hold, or that is older than the one before it, is an
// *Error whose Offset is the number of the event, and the file is not usable any more.
func (w *Writer) Write(p []Event) error {
	for i := range p {
		if w.err != nil {
			return w.err
		}
		w.add(&p[i])
	}
	return w.err
}

func (w *Writer) add(e *Event) {
	if field, want, ok := e.check(); !ok {
		w.err = &Error{File: nameOf(w.w), Offset: int64(w.n), Field: "event " + field, Want: want}
		return
	}
	if e.Time < w.last {
		w.err = &Error{File: nameOf(w.w), Offset: int64(w.n), Field: "event time", Want: "not before that of the event before it", Got: e.Time}
		return
	}
	if len(w.records) == blockRecords*recordSize || (len(w.records) > 0 && e.Time-w.base > low48) {
		w.flush()
	}
	if len(w.records) == 0 {
		w.base = e.Time
	}
	s := Space{e.SID, e.PASID}
	if s != w.recent || len(w.table) == 0 {
		number, known := w.numbers[s]
		if !known {
			number = len(w.table)
			w.table = append(w.table, s)
			w.numbers[s] = number
		}
		w.recent, w.number = s, number
	}
	n := len(w.records)
	w.records = append(w.records, make([]byte, recordSize)...)
	putRecord(w.records[n:], e, w.base, w.number)
	w.last = e.Time
	w.n++
}

// flush writes the block that was collected.
func (w *Writer) flush() {
	if len(w.records) == 0 || w.err != nil {
		return
	}
	w.payload = w.payload[:0]
	for _, s := range w.table {
		w.payload = binary.LittleEndian.AppendUint32(w.payload, uint32(s.SID))
		w.payload = binary.LittleEndian.AppendUint32(w.payload, uint32(s.PASID))
	}
	w.payload = append(w.payload, w.records...)
	w.zbuf = w.enc.EncodeAll(w.payload, w.zbuf[:0])
	bi := blockInfo{
		offset: w.off, records: uint32(len(w.records) / recordSize), streams: uint32(len(w.table)),
		zstd: uint32(len(w.zbuf)), sum: crc(w.zbuf), first: w.base, last: w.last,
	}
	var head [skipSize + blockSize]byte
	bi.put(head[:])
	w.out(head[:])
	w.out(w.zbuf)
	w.blocks = append(w.blocks, bi)
	w.records, w.table = w.records[:0], w.table[:0]
	clear(w.numbers)
}

// Close writes the last block and the index. It does not close the writer below.
func (w *Writer) Close() error {
	w.flush()
	if w.err != nil {
		return w.err
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, magicIndex)
	b = le.AppendUint32(b, uint32(len(w.blocks)*indexEntrySize+footerSize))
	for i := range w.blocks {
		bi := &w.blocks[i]
		b = le.AppendUint64(b, uint64(bi.offset))
		b = le.AppendUint64(b, bi.first)
		b = le.AppendUint64(b, bi.last)
		b = le.AppendUint64(b, uint64(bi.records))
	}
	b = le.AppendUint64(b, w.n)
	b = le.AppendUint32(b, uint32(len(w.blocks)))
	b = le.AppendUint32(b, crc(b))
	w.out(append(b, indexSign...))
	err := w.err
	if w.err == nil {
		w.err = &Error{File: nameOf(w.w), Offset: w.off, Field: "writer", Want: "no use after Close"}
	}
	return err
}

func (w *Writer) out(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.off += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = &Error{File: nameOf(w.w), Offset: w.off, Field: "write", Err: err}
	}
}
