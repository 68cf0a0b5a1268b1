// Package mem is the physical memory of an emulated machine, as the processor and the DMA of its
// devices see it: sparse pages, accesses of 4, 8, 16 and 32 bytes that are atomic in simulated
// time, regions that answer with a bus error, and watch hooks.
//
// Memory that was never written reads as zero and takes no room. Words are little-endian.
//
// A [Memory] is not safe for concurrent use. What is not modelled: caches of the processor,
// memory types, error correction, latency (executors own time).
package mem
