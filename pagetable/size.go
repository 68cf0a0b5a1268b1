package pagetable

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
)

// BestPageSize chooses the leaves for the start of a range: the largest size of the bitmap sizes that
// both addresses are aligned to and that fits the length, and how many of that size to take before
// the choice has to be made again. A count ends at the next larger boundary if both addresses are
// congruent modulo the next larger size. ok is false if no size fits.
func BestPageSize(sizes uint64, iova emu.IOVA, pa emu.PA, length uint64) (lg2 uint8, count uint64, ok bool) {
	if length == 0 {
		return 0, 0, false
	}
	return bestSize(sizes, uint64(iova), uint64(pa), length-1)
}

// bestSize is BestPageSize with the length minus one.
func bestSize(sizes, va, oa, less uint64) (lg2 uint8, count uint64, ok bool) {
	top := 63
	if less != ^uint64(0) {
		top = bits.Len64(less+1) - 1
	}
	top = min(top, bits.TrailingZeros64(va|oa))
	fit := sizes & (^uint64(0) >> (63 - top))
	if fit == 0 {
		return 0, 0, false
	}
	lg2 = uint8(bits.Len64(fit) - 1)
	if larger := sizes &^ (uint64(2)<<lg2 - 1); larger != 0 {
		low := larger&-larger - 1
		if (va^oa)&low == 0 {
			less = min(less, low-va&low)
		}
	}
	mask := uint64(1)<<lg2 - 1
	count = less >> lg2
	if less&mask == mask {
		count++
	}
	return lg2, count, true
}
