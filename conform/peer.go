// Package conform compares machines: the same program of register accesses, memory writes,
// invalidations and DMAs runs on several of them, and what each shows is compared step by step.
package conform

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/emu"
)

// Peer is a machine with memory, one IOMMU and some devices, as a program sees it from outside:
// through registers, memory, DMA and interrupt messages. Implementations are our own machine and
// QEMU under its qtest protocol. An error means that the peer itself failed (died, hung, refused
// the protocol), never that the IOMMU refused something; after one the peer can only be closed.
type Peer interface {
	// Name says who it is, with its version.
	Name() string
	// Reset returns the machine to power-on: IOMMU registers and caches, devices, all of RAM zero.
	Reset() error
	// ReadReg reads size bytes (4 or 8) at off in the register window of the IOMMU.
	ReadReg(off uint32, size uint8) (uint64, error)
	// WriteReg writes size bytes (4 or 8) at off in the register window of the IOMMU. What the write
	// sets off has ended when it returns.
	WriteReg(off uint32, size uint8, v uint64) error
	// Read reads RAM as the processor does, without IOMMU.
	Read(pa emu.PA, b []byte) error
	// Write writes RAM as the processor does.
	Write(pa emu.PA, b []byte) error
	// DMA lets a device do one access and waits for its end.
	DMA(d *DMA) (Outcome, error)
	// Messages returns the interrupt messages that have left the IOMMU since the last call, its own
	// and those of devices, in order.
	Messages() ([]Message, error)
	// Step lets ns nanoseconds of simulated time pass.
	Step(ns uint64) error
	// Machine describes what programs may use.
	Machine() Machine
	// Close ends the peer.
	Close() error
}

// Machine is what a peer offers to programs.
type Machine struct {
	RAM     emu.PA // base of the memory that programs may use
	Size    uint64 // bytes
	First   emu.PA // where memory begins: what is below belongs to devices and is not compared
	Hole    emu.PA // nothing answers in the 4 GiB from here: an access is aborted
	Devices []Device
	// MSI is the interrupt message of a unit that has it in its PCI configuration space, as it is after
	// Reset; nil: there is none, registers say what the unit sends.
	MSI *Message
}

// Device is a requester.
type Device struct {
	Source emu.SourceID // its RID on the IOMMU's bus, aliases applied
	PASID  bool         // can send requests with PASID
}

// DMA is one access of a device.
type DMA struct {
	Device int // index in Machine.Devices
	Addr   emu.IOVA
	PASID  emu.PASID // emu.NoPASID for most peers
	Write  bool
	// Data is what is written, or the buffer for what is read: 8 bytes, aligned to 8. What is written is
	// one of the Tags, for not every device can make data up. A write of 4 bytes is an interrupt message,
	// to 0xFEExxxxx and aligned to 4, with a value below 2^16. What a refused read leaves in the buffer
	// means nothing.
	Data []byte
}

// Tags is how many values DMA can write.
const Tags = 256

// Tag returns value number i of those, i below Tags. No two are equal, none is 0.
func Tag(i int) [8]byte {
	x := uint64(i+1) * 0x9e37_79b9_7f4a_7c15 // SplitMix64
	x = (x ^ x>>30) * 0xbf58_476d_1ce4_e5b9
	x = (x ^ x>>27) * 0x94d0_49bb_1331_11eb
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], x^x>>31)
	return b
}

// Outcome is what the device saw.
type Outcome struct {
	// OK: the access was carried out, all of it. Otherwise it was aborted, or the message blocked.
	OK bool
}

// Message is an interrupt message as it left the IOMMU: after remapping, if that is on.
type Message struct {
	Addr emu.PA
	Data uint32
}
