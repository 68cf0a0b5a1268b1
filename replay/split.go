package replay

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// split cuts an access of n bytes at a into the requests that a device would make of it: none
// crosses a 4 KiB boundary, none is longer than the link allows. It calls f with each until f
// returns false. n = 0 is an access of unknown length.
func split(p *timing.Params, a emu.IOVA, n uint64, access emu.Access, f func(a emu.IOVA, n uint32) bool) {
	limit := uint64(p.MaxRead)
	if access&emu.Write != 0 {
		limit = uint64(p.MaxPayload)
	}
	if n == 0 {
		n = min(uint64(p.UnknownLength), emu.PageSize-uint64(a)%emu.PageSize)
	}
	for n > 0 {
		part := min(n, emu.PageSize-uint64(a)%emu.PageSize, limit-uint64(a)%limit)
		if !f(a, uint32(part)) {
			return
		}
		a += emu.IOVA(part)
		n -= part
		if a == 0 {
			return // wrapped around the address space
		}
	}
}
