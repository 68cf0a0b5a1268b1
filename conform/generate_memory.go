package conform

import "github.com/iommulab/iommulab/emu"

// Where data is: the second and third 2 MiB that lie whole in memory, so that pages of all sizes reach
// it. Tables are below.
const (
	dataArea  = 3 << 20 // from the beginning of memory
	dataPages = 5
)

// mapping is a leaf that is mapped.
type mapping struct {
	iova emu.IOVA
	lg2  uint8
	pa   emu.PA
	perm uint64 // bit 0: read, bit 1: write
}

// fillData makes the pages with known content that devices access.
func (b *builder) fillData() {
	for i := range dataPages {
		pa := b.p.RAM + dataArea + emu.PA(b.r.IntN(1024))*emu.PageSize
		if b.isData(pa) || pa+emu.PageSize > b.p.RAM+emu.PA(b.p.Size) {
			continue
		}
		b.data = append(b.data, pa)
		b.fill(pa, 0xda7a_0000_0000_0000|uint64(i)<<32, "data page %d", i)
	}
}

func (b *builder) isData(pa emu.PA) bool {
	for _, p := range b.data {
		if p == pa&^(emu.PageSize-1) {
			return true
		}
	}
	return false
}

// somePA draws what a leaf of 2^lg2 bytes maps: mostly a page with known content.
func (b *builder) somePA(lg2 uint8) emu.PA {
	pa := one(b, b.data...)
	if b.chance(5) {
		pa = b.hole + emu.PA(b.r.IntN(16))<<30
	}
	return pa &^ (1<<lg2 - 1)
}

// direct is an address as memory has it: what untranslated devices use.
func (b *builder) direct() emu.IOVA {
	if b.chance(5) {
		return emu.IOVA(b.hole) + emu.IOVA(b.r.IntN(1<<20))<<12
	}
	return emu.IOVA(one(b, b.data...)) + emu.IOVA(b.r.IntN(512))*8
}

// access lets a device read or write where it may be allowed to.
func (b *builder) access(dev int, at emu.IOVA, what string) { b.dma(dev, at, b.chance(50), "%s", what) }

// inside draws an address of a leaf: with large pages one that ends in a page with known content, at
// the edges, or anywhere.
func (b *builder) inside(m *mapping) emu.IOVA {
	size := uint64(1) << m.lg2
	off := b.r.Uint64() % size
	switch b.r.IntN(4) {
	case 0:
		off = one(b, 0, size-8, size/2)
	case 1, 2:
		if pa := one(b, b.data...); uint64(pa)-uint64(m.pa) < size {
			off = uint64(pa) - uint64(m.pa) + uint64(b.r.IntN(512))*8
		}
	}
	if pa := uint64(m.pa) + off; !b.mayWrite(emu.PA(pa)) {
		if pa := one(b, b.data...); uint64(pa)-uint64(m.pa) < size {
			return m.iova + emu.IOVA(uint64(pa)-uint64(m.pa))
		}
	}
	return m.iova + emu.IOVA(off)
}

// mayWrite reports whether a device may write to an address without changing what the program
// relies on: tables, queues, what lies below memory.
func (b *builder) mayWrite(pa emu.PA) bool { return pa >= b.p.RAM+dataArea }

// safe reports whether an access to an address harms nothing, wherever it ends.
func (b *builder) safe(maps []mapping, at emu.IOVA) bool {
	for i := range maps {
		m := &maps[i]
		if at >= m.iova && at-m.iova < 1<<m.lg2 {
			return b.mayWrite(m.pa + emu.PA(at-m.iova))
		}
	}
	return true
}

// current returns words as they are in memory.
func (b *builder) current(at emu.PA, n int) []uint64 {
	w := make([]uint64, n)
	for i := range w {
		w[i] = b.mem[at+emu.PA(8*i)]
	}
	return w
}

// with changes words at a place, does something, and puts them back. flush is what each of the two
// changes needs.
func (b *builder) with(at emu.PA, words []uint64, flush, do func(), format string, a ...any) {
	old := b.current(at, len(words))
	b.store(at, words, format, a...)
	flush()
	do()
	b.store(at, old, "as before")
	flush()
}

// flip returns words with some bits of mask changed: one, mostly.
func (b *builder) flip(words []uint64, mask []uint64) []uint64 {
	out := append([]uint64(nil), words...)
	for range 1 + b.r.IntN(10)/9 {
		i := b.r.IntN(len(words))
		for n := 0; mask[i] == 0 && n < 8; n++ {
			i = b.r.IntN(len(words))
		}
		for range 64 {
			if x := uint64(1) << b.r.IntN(64); mask[i]&x != 0 {
				out[i] ^= x
				break
			}
		}
	}
	return out
}
