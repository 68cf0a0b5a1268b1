package traces

import (
	"encoding/binary"
	"io"
	"math"
	"sort"
	"strconv"
)

func uitoa(v uint64) string { return strconv.FormatUint(v, 10) }

// readIndex compares the index with the blocks that were read, and ends the trace.
func (r *Reader) readIndex(size uint32) error {
	want := len(r.blocks)*indexEntrySize + footerSize
	if !r.partial && int64(size) != int64(want) {
		return r.fail(r.start+4, "index length", uitoa(uint64(want)), size, nil)
	}
	if r.partial {
		return io.EOF // OpenIndexed has checked the index
	}
	sum := binary.LittleEndian.AppendUint32(nil, magicIndex)
	sum = binary.LittleEndian.AppendUint32(sum, size)
	body, err := r.bytes(nil, want, "index")
	if err != nil {
		return err
	}
	entries, total, err := parseIndex(r.name, append(sum, body...), r.start)
	if err != nil {
		r.err = err
		return err
	}
	var events uint64
	for i := range r.blocks {
		bi, e := &r.blocks[i], &entries[i]
		if bi.offset != e.offset || bi.first != e.first || bi.last != e.last || bi.records != e.records {
			return r.fail(r.start+skipSize+int64(i)*indexEntrySize, "index entry", "that of the block", nil, nil)
		}
		events += uint64(bi.records)
	}
	if events != total {
		return r.fail(r.off-footerSize, "index events", uitoa(events), total, nil)
	}
	var one [1]byte
	if n, _ := io.ReadFull(r.r, one[:]); n != 0 {
		return r.fail(r.off, "end", "nothing after the index", nil, nil)
	}
	return io.EOF
}

// parseIndex decodes the index b, which starts at offset at of the file.
func parseIndex(name string, b []byte, at int64) ([]blockInfo, uint64, error) {
	le := binary.LittleEndian
	foot := b[len(b)-footerSize:]
	footAt := at + int64(len(b)-footerSize)
	if string(foot[16:]) != indexSign {
		return nil, 0, &Error{File: name, Offset: footAt + 16, Field: "index signature", Want: strconv.Quote(indexSign)}
	}
	if le.Uint32(foot[12:]) != crc(b[:len(b)-footerSize+12]) {
		return nil, 0, &Error{File: name, Offset: footAt + 12, Field: "index checksum", Want: "that of the index"}
	}
	body := b[skipSize : len(b)-footerSize]
	if int64(le.Uint32(foot[8:]))*indexEntrySize != int64(len(body)) {
		return nil, 0, &Error{File: name, Offset: footAt + 8, Field: "index blocks", Want: uitoa(uint64(len(body) / indexEntrySize)), Got: le.Uint32(foot[8:])}
	}
	entries := make([]blockInfo, 0, len(body)/indexEntrySize)
	var events uint64
	for i := 0; len(body) > 0; i, body = i+1, body[indexEntrySize:] {
		off, records := le.Uint64(body), le.Uint64(body[24:])
		e := blockInfo{offset: int64(off), first: le.Uint64(body[8:]), last: le.Uint64(body[16:]), records: uint32(records)}
		ordered := i == 0 || (entries[i-1].offset < e.offset && entries[i-1].last <= e.first)
		if off > math.MaxInt64 || int64(off) >= at || records > maxBlockRecords || e.last < e.first || !ordered {
			return nil, 0, &Error{File: name, Offset: at + skipSize + int64(i)*indexEntrySize, Field: "index entry", Want: "blocks in order of place and time"}
		}
		events += records
		entries = append(entries, e)
	}
	if total := le.Uint64(foot); total != events {
		return nil, 0, &Error{File: name, Offset: footAt, Field: "index events", Want: uitoa(events), Got: total}
	}
	return entries, events, nil
}

// Indexed gives access to any block of a native file without reading those before it.
type Indexed struct {
	ra     io.ReaderAt
	name   string
	size   int64
	header *Header
	blocks []blockInfo
	events uint64
}

// OpenIndexed reads the header and the index of the size bytes of ra.
func OpenIndexed(ra io.ReaderAt, size int64) (*Indexed, error) {
	name := nameOf(ra)
	head := &Reader{r: io.NewSectionReader(ra, 0, size), name: name}
	if err := head.readHeader(); err != nil {
		return nil, err
	}
	if size < head.off+skipSize+footerSize {
		return nil, &Error{File: name, Offset: size, Field: "index", Err: ErrNoIndex}
	}
	var foot [footerSize]byte
	if _, err := ra.ReadAt(foot[:], size-footerSize); err != nil {
		return nil, &Error{File: name, Offset: size - footerSize, Field: "index", Err: short(err)}
	}
	n := int64(binary.LittleEndian.Uint32(foot[8:]))
	length := skipSize + n*indexEntrySize + footerSize
	at := size - length
	if string(foot[16:]) != indexSign || at < head.off {
		return nil, &Error{File: name, Offset: size - footerSize, Field: "index", Err: ErrNoIndex}
	}
	b := make([]byte, length) // no more than the file holds
	if _, err := ra.ReadAt(b, at); err != nil {
		return nil, &Error{File: name, Offset: at, Field: "index", Err: short(err)}
	}
	if binary.LittleEndian.Uint32(b) != magicIndex || int64(binary.LittleEndian.Uint32(b[4:])) != length-skipSize {
		return nil, &Error{File: name, Offset: at, Field: "index", Want: "its head"}
	}
	blocks, events, err := parseIndex(name, b, at)
	if err != nil {
		return nil, err
	}
	return &Indexed{ra: ra, name: name, size: size, header: head.header, blocks: blocks, events: events}, nil
}

// Header describes the trace.
func (x *Indexed) Header() *Header { return x.header }

// Events is the number of events in the file.
func (x *Indexed) Events() uint64 { return x.events }

// Blocks is the number of blocks.
func (x *Indexed) Blocks() int { return len(x.blocks) }

// Block returns the number of events of block k and the times of its first and last one in ns.
func (x *Indexed) Block(k int) (events int, first, last uint64) {
	b := &x.blocks[k]
	return int(b.records), b.first, b.last
}

// Find returns the first block that holds an event at time t or later; Blocks() if none does.
func (x *Indexed) Find(t uint64) int {
	return sort.Search(len(x.blocks), func(k int) bool { return x.blocks[k].last >= t })
}

// From returns a Reader that starts with block k, 0 <= k <= Blocks(). Readers are independent.
func (x *Indexed) From(k int) (*Reader, error) {
	off := x.size - (skipSize + int64(len(x.blocks))*indexEntrySize + footerSize)
	if k < len(x.blocks) {
		off = x.blocks[k].offset
	}
	r := &Reader{r: io.NewSectionReader(x.ra, off, x.size-off), name: x.name, header: x.header, off: off, partial: true}
	return r, r.open()
}
