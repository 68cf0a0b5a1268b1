// Package snapshot reads and writes the state of a machine at one instant as files: guest-physical
// memory as an ELF64 core, plain or zstd, and the registers of an IOMMU as JSON.
//
// Readers allocate no more than a multiple of what they are given and report bad input as an
// [*Error] that says where.
package snapshot
