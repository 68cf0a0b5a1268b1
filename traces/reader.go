package traces

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"github.com/iommulab/iommulab/emu"
	"github.com/klauspost/compress/zstd"
)

// Reader reads the native format from front to back. It is a Source. What it allocates is bounded by
// one block (2.5 MiB) plus its compressed form, whatever the file claims.
type Reader struct {
	r       io.Reader
	name    string
	header  *Header
	dec     *zstd.Decoder
	err     error
	off     int64 // of the next byte of r
	start   int64 // of the current block, for errors
	last    uint64
	blocks  []blockInfo // seen, to compare with the index
	partial bool        // started in the middle: the index is not compared
	zbuf    []byte
	payload []byte
	table   []Space
	records []byte // rest of the current block
	base    uint64
}

var _ Source = (*Reader)(nil)

// NewReader reads the header from r. An error is an *Error with the offset in it.
func NewReader(r io.Reader) (*Reader, error) {
	tr := &Reader{r: r, name: nameOf(r)}
	if err := tr.readHeader(); err != nil {
		return nil, err
	}
	return tr, tr.open()
}

func (r *Reader) open() (err error) {
	r.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlockBytes), zstd.WithDecoderLowmem(true))
	return err
}

// Header describes the trace.
func (r *Reader) Header() *Header { return r.header }

func (r *Reader) fail(off int64, field, want string, got any, cause error) error {
	r.err = &Error{File: r.name, Offset: off, Field: field, Want: want, Got: got, Err: cause}
	return r.err
}

// full reads exactly len(b) bytes.
func (r *Reader) full(b []byte, field string) error {
	n, err := io.ReadFull(r.r, b)
	r.off += int64(n)
	if err != nil {
		return r.fail(r.off, field, "", nil, short(err))
	}
	return nil
}

func (r *Reader) readHeader() error {
	var b [skipSize + headerFixed]byte
	if err := r.full(b[:], "header"); err != nil {
		return err
	}
	le := binary.LittleEndian
	size := le.Uint32(b[4:])
	switch {
	case le.Uint32(b[0:]) != magicHeader || string(b[8:16]) != headerSign:
		return r.fail(0, "header", "an .iotrace file", nil, nil)
	case le.Uint32(b[16:]) != Version:
		return r.fail(16, "header version", "1", le.Uint32(b[16:]), nil)
	case size < headerFixed || size > headerFixed+maxHeader:
		return r.fail(4, "header length", "at most 1 MiB", size, nil)
	}
	text, err := r.bytes(nil, int(size-headerFixed), "header")
	if err != nil {
		return err
	}
	if got := crc(text); got != le.Uint32(b[20:]) {
		return r.fail(20, "header checksum", "that of the text", nil, nil)
	}
	r.header = new(Header)
	if err := json.Unmarshal(text, r.header); err != nil {
		return r.fail(skipSize+headerFixed, "header", "JSON", nil, err)
	}
	if r.header.Version != Version {
		return r.fail(skipSize+headerFixed, "header version", "1", r.header.Version, nil)
	}
	return nil
}

// bytes reads n bytes, growing the buffer only as far as the input goes.
func (r *Reader) bytes(buf []byte, n int, field string) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < n {
		step := min(n-len(buf), 64<<10)
		if cap(buf) >= n {
			step = n - len(buf)
		}
		old := len(buf)
		buf = append(buf, make([]byte, step)...)
		if err := r.full(buf[old:], field); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// Read implements Source. After the last event it checks the index; its absence is an error that wraps
// ErrNoIndex.
func (r *Reader) Read(p []Event) (int, error) {
	n := 0
	for n < len(p) {
		if len(r.records) == 0 {
			if n > 0 {
				return n, nil // what comes next, an error perhaps, is for the next call
			}
			if r.err == nil {
				r.err = r.nextBlock()
			}
			if r.err != nil {
				return 0, r.err
			}
		}
		n += r.decode(p[n:])
		if r.err != nil {
			r.records = nil
		}
	}
	return n, nil
}

// decode unpacks as many records as fit into p.
func (r *Reader) decode(p []Event) int {
	le := binary.LittleEndian
	recs, table, base, last := r.records, r.table, r.base, r.last
	n := min(len(p), len(recs)/recordSize)
	for i := range p[:n] {
		b := recs[i*recordSize : i*recordSize+recordSize : i*recordSize+recordSize]
		w2, w3 := le.Uint64(b[16:]), le.Uint64(b[24:])
		str := w2 >> streamBits
		time := base + w2&low48
		kind := Kind(w3 >> kindShift)
		if str >= uint64(len(table)) || time < last || kind >= numKinds || w3&word3Zero != 0 {
			r.last = last
			r.badRecord(i, str, time, kind)
			return i
		}
		last = time
		s := &table[str]
		p[i] = Event{
			Time: time, IOVA: emu.IOVA(le.Uint64(b[0:])), PA: emu.PA(le.Uint64(b[8:])), Len: w3 & low48,
			SID: s.SID, PASID: s.PASID, Kind: kind, Perm: Perm(w3>>permShift) & permAll, HasPA: w3&hasPABit != 0,
		}
	}
	r.last = last
	r.records = recs[n*recordSize:]
	return n
}

// badRecord says what is wrong with record i of those left. The place is the block: records are
// compressed.
func (r *Reader) badRecord(i int, str, time uint64, kind Kind) {
	bi := r.blocks[len(r.blocks)-1]
	field := "record " + uitoa(uint64(int(bi.records)-len(r.records)/recordSize+i)) + " of the block"
	switch {
	case str >= uint64(len(r.table)):
		r.fail(r.start, field+", stream", "less than "+uitoa(uint64(len(r.table))), str, nil)
	case kind >= numKinds:
		r.fail(r.start, field+", kind", "a defined kind", uint8(kind), nil)
	case time < r.last:
		r.fail(r.start, field+", time", "not before that of the record before it", time, nil)
	default:
		r.fail(r.start, field+", reserved bits", "zero", nil, nil)
	}
}

// nextBlock reads the block at the current place, or the index and io.EOF.
func (r *Reader) nextBlock() error {
	r.start = r.off
	var head [skipSize + blockSize]byte
	n, err := io.ReadFull(r.r, head[:skipSize])
	r.off += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		return r.fail(r.off, "index", "", nil, ErrNoIndex)
	case err != nil:
		return r.fail(r.off, "block", "", nil, short(err))
	}
	le := binary.LittleEndian
	magic, size := le.Uint32(head[0:]), le.Uint32(head[4:])
	switch {
	case magic == magicIndex:
		return r.readIndex(size)
	case magic != magicBlock:
		return r.fail(r.start, "block", "a block or the index", magic, nil)
	case size != blockSize:
		return r.fail(r.start+4, "block length", "40", size, nil)
	}
	if err := r.full(head[skipSize:], "block"); err != nil {
		return err
	}
	bi, err := r.parseBlock(head[skipSize:])
	if err != nil {
		return err
	}
	r.blocks = append(r.blocks, bi)
	if err := r.readPayload(&bi); err != nil {
		r.records = nil
		return err
	}
	return nil
}

func (r *Reader) parseBlock(p []byte) (blockInfo, error) {
	le := binary.LittleEndian
	at := r.start + skipSize
	bi := blockInfo{
		offset: r.start, records: le.Uint32(p[0:]), streams: le.Uint32(p[4:]), zstd: le.Uint32(p[8:]),
		sum: le.Uint32(p[12:]), first: le.Uint64(p[16:]), last: le.Uint64(p[24:]),
	}
	switch {
	case le.Uint32(p[36:]) != crc(p[:36]):
		return bi, r.fail(at+36, "block checksum", "that of the block's head", nil, nil)
	case bi.records == 0 || bi.records > maxBlockRecords:
		return bi, r.fail(at, "block records", "1 to 65536", bi.records, nil)
	case bi.streams == 0 || bi.streams > bi.records:
		return bi, r.fail(at+4, "block streams", "1 to the number of records", bi.streams, nil)
	case bi.zstd > maxBlockZstd:
		return bi, r.fail(at+8, "block size", "at most 2.5 MiB", bi.zstd, nil)
	case bi.first < r.last || bi.last < bi.first:
		return bi, r.fail(at+16, "block time", "not before that of the block before it", bi.first, nil)
	}
	return bi, nil
}

// readPayload decodes the records of the block bi, whose head was read.
func (r *Reader) readPayload(bi *blockInfo) (err error) {
	at := r.off
	if r.zbuf, err = r.bytes(r.zbuf, int(bi.zstd), "block data"); err != nil {
		return err
	}
	if crc(r.zbuf) != bi.sum {
		return r.fail(at, "block data checksum", "that of the data", nil, nil)
	}
	if r.payload, err = r.dec.DecodeAll(r.zbuf, r.payload[:0]); err != nil {
		return r.fail(at, "block data", "a zstd frame", nil, err)
	}
	tableBytes := int(bi.streams) * streamSize
	if want := tableBytes + int(bi.records)*recordSize; len(r.payload) != want {
		return r.fail(at, "block data", uitoa(uint64(want))+" bytes", len(r.payload), nil)
	}
	r.table = r.table[:0]
	for b := r.payload[:tableBytes]; len(b) > 0; b = b[streamSize:] {
		s := Space{emu.SourceID(binary.LittleEndian.Uint32(b)), emu.PASID(binary.LittleEndian.Uint32(b[4:]))}
		if s.PASID != emu.NoPASID && s.PASID > emu.MaxPASID {
			return r.fail(at, "stream PASID", "20 bits or none", uint32(s.PASID), nil)
		}
		r.table = append(r.table, s)
	}
	r.records = r.payload[tableBytes:]
	r.base = bi.first
	if first := binary.LittleEndian.Uint64(r.records[16:]) & low48; first != 0 {
		return r.fail(at, "time of the first record", "that of the block", first, nil)
	}
	lastRec := r.records[len(r.records)-recordSize:]
	if end := r.base + binary.LittleEndian.Uint64(lastRec[16:])&low48; end != bi.last {
		return r.fail(at, "time of the last record", uitoa(bi.last), end, nil)
	}
	return nil
}
