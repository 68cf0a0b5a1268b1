package emu

// PA is an address on the memory bus of the machine: what the specifications call host physical
// address (HPA) or system physical address (SPA). Guest-physical addresses that a first stage
// produces under nesting are IOVA-typed inputs of the second stage, never PA.
type PA uint64

// IOVA is an address as a device puts it on the bus, before translation.
type IOVA uint64

// SourceID names the requester: a PCI requester ID (bus<<8 | device<<3 | function) in its low 16
// bits, or the stream number of a device that is not on PCI.
type SourceID uint32

// PASID is a 20-bit process address space ID (SSID, substream ID), or NoPASID.
type PASID uint32

// NoPASID marks a request that carries no PASID prefix. It is not the same as PASID 0.
const NoPASID PASID = 0xffff_ffff

// MaxPASID is the largest value a PASID prefix can carry (PCIe 6.20).
const MaxPASID PASID = 1<<20 - 1

// PageShift is log2 of the smallest page and of the unit in which requests are split.
const PageShift = 12

// PageSize is the smallest page in bytes.
const PageSize = 1 << PageShift
