package traces

import (
	"encoding/binary"
	"hash/crc32"
)

// Sizes and magic numbers of the native format; the layout is in the package comment.
const (
	magicHeader uint32 = 0x184D2A5E // zstd skippable frames
	magicBlock  uint32 = 0x184D2A5D
	magicIndex  uint32 = 0x184D2A5C

	headerSign = "IOTRACE\n"
	indexSign  = "IOTRIDX\n"

	skipSize       = 8  // magic and length of a skippable frame
	headerFixed    = 16 // sign, version, CRC
	blockSize      = 40 // payload of a block's skippable frame
	streamSize     = 8
	recordSize     = 32
	indexEntrySize = 32
	footerSize     = 24

	// Limits that a reader enforces before it allocates.
	maxHeader       = 1 << 20 // bytes of JSON
	maxBlockRecords = 1 << 16
	maxBlockStreams = 1 << 16
	maxBlockBytes   = maxBlockRecords*recordSize + maxBlockStreams*streamSize
	maxBlockZstd    = maxBlockBytes + 4096 // incompressible data grows by 3 bytes per 128 KiB

	// blockRecords is what the writer puts into a block: 1 MiB decoded.
	blockRecords = 1 << 15

	low48      = 1<<48 - 1
	kindShift  = 48
	permShift  = 56
	hasPABit   = 1 << 59
	word3Zero  = 0xf << 60
	streamBits = 48
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// putRecord packs e. The caller has checked that its fields fit.
func putRecord(b []byte, e *Event, base uint64, str int) {
	_ = b[recordSize-1]
	w3 := e.Len | uint64(e.Kind)<<kindShift | uint64(e.Perm)<<permShift
	if e.HasPA {
		w3 |= hasPABit
	}
	binary.LittleEndian.PutUint64(b[0:], uint64(e.IOVA))
	binary.LittleEndian.PutUint64(b[8:], uint64(e.PA))
	binary.LittleEndian.PutUint64(b[16:], (e.Time-base)|uint64(str)<<streamBits)
	binary.LittleEndian.PutUint64(b[24:], w3)
}

// blockInfo is the fixed part of a block, and an entry of the index.
type blockInfo struct {
	offset      int64
	records     uint32
	streams     uint32
	zstd        uint32
	sum         uint32
	first, last uint64
}

func (bi *blockInfo) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], magicBlock)
	le.PutUint32(b[4:], blockSize)
	p := b[skipSize:]
	le.PutUint32(p[0:], bi.records)
	le.PutUint32(p[4:], bi.streams)
	le.PutUint32(p[8:], bi.zstd)
	le.PutUint32(p[12:], bi.sum)
	le.PutUint64(p[16:], bi.first)
	le.PutUint64(p[24:], bi.last)
	le.PutUint32(p[32:], 0)
	le.PutUint32(p[36:], crc(p[:36]))
}
