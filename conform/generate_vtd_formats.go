package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Paging entries of both stages. Rights are written as in second-stage entries: bit 0 read, bit 1
// write. A first-stage entry that is present can be read.

// present reports whether hardware goes on at an entry.
func (g *vtdGen) present(e uint64) bool {
	if g.first {
		return spec.FSP.On(e)
	}
	return e&3 != 0
}

// vtdIgnored are bits that hardware ignores in second-stage leaves without memory types: EMT, IPAT, 8
// to 10, 61:52, 63.
const vtdIgnored = 0x8000_0000_0000_0000 | 0x3ff0_0000_0000_0000 | 0x7<<8 | 0x7<<3 | 1<<6

// fsIgnored are those of first-stage leaves: PWT, PCD, G, 9 to 11, 62:52.
const fsIgnored = 0x7ff0_0000_0000_0000 | 0xf<<8 | 0x3<<3

// leaf composes a leaf entry. Bits that hardware ignores are set now and then (9.7, 9.8). In the first
// stage the flags are set beforehand: walks are not coherent, and could not set them.
func (g *vtdGen) leaf(pa emu.PA, level int, perm uint64) uint64 {
	e := uint64(pa) | perm
	if g.first {
		e = uint64(pa) | spec.FSP.Put(1) | spec.FSRW.Put(perm>>1) | spec.FSUS.Put(1) | spec.FSA.Put(1) | spec.FSD.Put(perm>>1)
	}
	if level > 0 {
		e |= spec.SSPS.Put(1) // FSPS is the same bit
	}
	if g.chance(20) {
		ignored := uint64(vtdIgnored)
		if g.first {
			ignored = fsIgnored
		}
		e |= g.r.Uint64() & ignored
	}
	return e
}

// tableEntry composes an entry that points to a table.
func (g *vtdGen) tableEntry(table emu.PA) uint64 {
	perm := one[uint64](&g.builder, 3, 3, 3, 3, 3, 3, 3, 3, 1, 2)
	if g.first {
		return uint64(table) | spec.FSP.Put(1) | spec.FSRW.Put(perm>>1) | spec.FSUS.Put(1) | spec.FSA.Put(1)
	}
	return uint64(table) | perm
}

// wrongLeaf changes an entry of either stage into one that hardware refuses, or takes in another way than
// it looks. leaf says that it maps a page.
func (g *vtdGen) wrongPaging(e uint64, level int, leaf bool) uint64 {
	addr := spec.SSADDR.Mask() // FSADDR is the same
	switch g.r.IntN(8) {
	case 0:
		return ^uint64(0)
	case 1:
		return e &^ 3 // present in no way, other bits set
	case 2:
		return e&^addr | uint64(g.hole)
	case 3:
		if leaf && level > 0 {
			return e | 1<<(13+g.r.IntN(9*level-1))
		}
		return e ^ spec.SSPS.Mask()
	case 4:
		return e | 1<<(48+g.r.IntN(4))
	}
	if g.first {
		return g.wrongFirst(e)
	}
	switch g.r.IntN(3) {
	case 0:
		return e ^ spec.SSSNP.Mask()
	case 1:
		return e ^ spec.SSTM.Mask()
	}
	return e ^ 1<<g.r.IntN(2) // rights, for what they are worth
}

// wrongFirst changes what only first-stage entries have.
func (g *vtdGen) wrongFirst(e uint64) uint64 {
	b := one(&g.builder, spec.FSXD, spec.FSUS, spec.FSRW, spec.FSA, spec.FSA, spec.FSD, spec.FSD)
	return e ^ b.Mask()
}
