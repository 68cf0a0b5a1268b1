package driver

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// Block widens a range to the aligned power of two of bytes that an invalidation can name; lg2 is 64 for
// all addresses.
func Block(first, last emu.IOVA) (addr uint64, lg2 uint8) {
	n := max(bits.Len64(uint64(first^last)), emu.PageShift)
	if n >= 64 {
		return 0, 64
	}
	return uint64(first) &^ (1<<n - 1), uint8(n)
}

// Coded codes 2^lg2 bytes at addr, not all addresses, as ATS has it: with s, the ones from bit 12 upwards
// give the size, ended by a zero (PCIe 10.3.2).
func Coded(addr uint64, lg2 uint8) (coded uint64, s bool) {
	if lg2 <= emu.PageShift {
		return addr &^ (emu.PageSize - 1), false
	}
	size := uint64(1) << lg2
	return (addr&^(size-1) | (size/2 - 1)) &^ (emu.PageSize - 1), true
}
