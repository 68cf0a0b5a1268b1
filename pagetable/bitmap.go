package pagetable

import "github.com/iommulab/iommulab/emu"

// Bitmap records dirty pages of 2^Lg2 bytes: bit i of the words is the page at Base + i<<Lg2. Its Set
// method is a visitor for ReadAndClearDirty.
type Bitmap struct {
	Base  emu.IOVA
	Lg2   uint8
	Words []uint64
}

// Set marks the pages that touch first..last, as far as the bitmap covers them.
func (b *Bitmap) Set(first, last emu.IOVA) {
	if last < b.Base || len(b.Words) == 0 {
		return
	}
	lo := uint64(max(first, b.Base)-b.Base) >> b.Lg2
	hi := min(uint64(last-b.Base)>>b.Lg2, uint64(len(b.Words))*64-1)
	for i := lo; i <= hi; i++ {
		if i&63 == 0 && hi-i >= 63 {
			b.Words[i>>6] = ^uint64(0)
			i += 63
			continue
		}
		b.Words[i>>6] |= 1 << (i & 63)
	}
}

// Get tells whether the page at iova is marked.
func (b *Bitmap) Get(iova emu.IOVA) bool {
	i := uint64(iova-b.Base) >> b.Lg2
	return iova >= b.Base && i>>6 < uint64(len(b.Words)) && b.Words[i>>6]>>(i&63)&1 != 0
}
