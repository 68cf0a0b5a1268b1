package conform

import "github.com/iommulab/iommulab/emu"

// What drivers and devices do is the same for all units in much: here is what needs to know of a device no
// more than its pages.

// likely draws one of a list; most of the time one that is as it should be.
func likely[T any](b *builder, list []T, should func(T) bool) T {
	for range 4 {
		if x := one(b, list...); should(x) {
			return x
		}
	}
	return one(b, list...)
}

// withOne does something with one of a list, if there is any.
func withOne[T any](b *builder, list []T, do func(T)) {
	if len(list) > 0 {
		do(one(b, list...))
		b.title = ""
	}
}

// pass lets time pass.
func (b *builder) pass() { b.add(Step{Op: Clock, Value: uint64(1 + b.r.IntN(1_000_000))}, "") }

// accessSome accesses one of the pages of a device.
func (b *builder) accessSome(dev int, maps []mapping) {
	if len(maps) == 0 {
		b.access(dev, b.direct(), "device without pages")
		return
	}
	m := one(b, maps...)
	b.accessPage(dev, &m, b.inside(&m))
}

// accessPage accesses an address of a page, in the right and in the wrong direction.
func (b *builder) accessPage(dev int, m *mapping, at emu.IOVA) {
	switch {
	case b.chance(15): // twice: from the tables, from the caches
		b.access(dev, at, "mapped")
		b.access(dev, at, "again")
	case m.perm == 3 || b.chance(30):
		b.access(dev, at, "mapped")
	default:
		b.dma(dev, at, m.perm == 2, "mapped, as far as it is allowed")
	}
}

// accessNear accesses the neighbourhood of one of the pages.
func (b *builder) accessNear(dev int, maps []mapping) {
	if len(maps) == 0 {
		b.access(dev, b.direct(), "device without pages")
		return
	}
	m := one(b, maps...)
	at := one(b, m.iova-8, m.iova+1<<m.lg2, m.iova^1<<21, m.iova^1<<30, m.iova^1<<38, m.iova^1<<47)
	if b.safe(maps, at) {
		b.access(dev, at, "beside what is mapped")
	}
}

// accessLimit accesses an address at the limits of the tables that have the pages.
func (b *builder) accessLimit(dev int, at emu.IOVA, maps []mapping) {
	if b.safe(maps, at) {
		b.access(dev, at, "at the limits of the address width")
	}
}

// accessWrong meets a mistake: at a page of a device, or untranslated if there is none. between is done now
// and then.
func (b *builder) accessWrong(dev int, maps []mapping, mayWrite bool, between func()) {
	at := b.direct()
	if len(maps) > 0 {
		m := one(b, maps...)
		at = b.inside(&m)
	}
	for _, write := range []bool{false, true} {
		if (mayWrite || !write) && b.chance(80) {
			b.dma(dev, at, write, "meets it")
		}
		if b.chance(60) {
			between()
		}
	}
}

// someAddress draws an address of that many bits: near what is mapped, or at places that are easily got
// wrong. It may have more bits.
func (b *builder) someAddress(maps []mapping, width uint8) emu.IOVA {
	top := emu.IOVA(1) << width // 0 for 64 bits
	at := one(b, 0, 0x1000, 0x20_0000, 0x4000_0000, 0xbff0_0000, 0x1_0000_0000, top-0x1000, top-0x20_0000, emu.IOVA(1)<<(width-1))
	if len(maps) > 0 && b.chance(50) {
		m := one(b, maps...)
		at = m.iova + emu.IOVA(b.r.IntN(4))<<m.lg2
	} else if b.chance(30) {
		at = emu.IOVA(b.r.Uint64())
	}
	return at
}

// readSome reads registers, whole and in halves.
func (b *builder) readSome(list []Register) {
	for range 1 + b.r.IntN(3) {
		r := one(b, list...)
		off, size := r.Off, r.Size
		if size == 8 && b.chance(40) {
			size, off = 4, off+uint32(b.r.IntN(2))*4
		}
		b.read(off, size, "%s", r.Name)
	}
}
