// Package traces holds recordings of what happens around an IOMMU: device accesses, the mappings that
// make them legal, invalidations, register accesses and interrupts.
//
// # Model
//
// A trace is a [Header] and a sequence of [Event] values in order of time. Replaying one needs nothing
// else: Map and Unmap events say which pages an address space holds at each moment, Read, Write, Access
// and Exec events are the DMA. An address space belongs to a requester and a PASID; equal IOVAs of two
// requesters have nothing to do with each other.
//
// [Source] and [Sink] stream events; [Trace] holds them in memory. Everything that reads or writes a
// file is one of the two: [Reader] and [Writer] for the native format, [CSVReader] and [CSVWriter],
// [ParquetReader] and [ParquetWriter]; [Generator] makes synthetic ones; [ImportQEMU] and
// [ImportFtrace] read the logs of others.
//
// # Native format
//
// An .iotrace file is a sequence of zstd frames: the header, each block and the index are framed by
// zstd skippable frames, so that the whole file is a valid zstd stream and `zstd -dc` yields the bare
// records. All numbers are little-endian.
//
//	header  u32 0x184D2A5E, u32 n, then n bytes: "IOTRACE\n", u32 version (1), u32 CRC-32C of the JSON, JSON
//	block   u32 0x184D2A5D, u32 40, then: u32 records, u32 streams, u32 zstd bytes, u32 CRC-32C of
//	        the zstd frame, u64 time of the first record, u64 time of the last record, u32 0,
//	        u32 CRC-32C of the 36 bytes before it; after it one zstd frame
//	index   u32 0x184D2A5C, u32 n, then per block u64 file offset, u64 first time, u64 last time,
//	        u64 records; at the end of the file u64 events, u32 blocks, u32 CRC-32C of everything in the
//	        index before it, "IOTRIDX\n"
//
// The payload of a block is its stream table, 8 bytes each (u32 source ID, u32 PASID), and then its
// records of 32 bytes:
//
//	word 0  IOVA
//	word 1  PA (or the value that the kind defines)
//	word 2  bits 47:0 time since the first record of the block in ns, bits 63:48 index into the stream table
//	word 3  bits 47:0 length in bytes, bits 55:48 kind, bits 58:56 permission, bit 59 PA is valid, rest 0
//
// A block is decoded without any other block. Times never decrease. Lengths of 2^48 and more do not fit
// and are refused by the writer; a block ends early where its time would not fit.
//
// # What it does not hold
//
// Data is not recorded, nor are the contents of tables. Texts (marks) live once in the header, and
// Marker events refer to them by number.
package traces
