package smmuv3

import (
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// A format is what walks need of a regime, worked out once: where descriptors are, and which of them have
// nothing about them that needs a look at one field after the other. It describes the same as regime.
type format struct {
	page    uint8    // log2 of the bytes of a page
	stride  uint8    // address bits that a table translates
	inverse uint32   // 2^16 by stride
	index   uint64   // place in a table, in bytes
	least   uint8    // log2 of the least alignment of a start table
	address uint64   // address bits of a plain descriptor
	table   [2]plain // table descriptors that limit nothing: of stage 1, of stage 2
	leaf    [8]plain // leaves of each level that were accessed and are no part of a run
}

// plain are the descriptors that have the bits of want, of those in mask.
type plain struct{ mask, want uint64 }

func (p *plain) is(e uint64) bool { return e&p.mask == p.want }

// nothing is a plain that no descriptor is.
var nothing = plain{mask: 0, want: 1}

// formats has the formats of all regimes, with access flags of tables managed by hardware and without.
var formats = func() (all [2][128]format) {
	for haft := range all {
		for r := range all[haft] {
			all[haft][r] = makeFormat(regime(r), haft == 1)
		}
	}
	return all
}()

func makeFormat(r regime, haft bool) format {
	g := r.granule()
	k := format{page: uint8(g), stride: g.Stride(), inverse: 1<<16/uint32(g.Stride()) + 1, index: ones(g.Stride()) * spec.DescSize, least: 3}
	if r.out() > 48 {
		k.least = 6
	}
	for level := range k.leaf {
		k.leaf[level] = nothing
	}
	k.table = [2]plain{nothing, nothing}
	if g == 0 || regBE.On(uint64(r)) {
		return k
	}
	k.address = spec.TtdAddr.Mask() &^ ones(k.page)
	beyond := spec.TtdAddr.Mask() &^ ones(r.out())
	if r.ds() {
		beyond |= (spec.TtdAddrDS.Mask() | spec.TtdOAHiDS.Mask()) &^ spec.TtdAddr.Mask()
		if g == spec.Granule64K {
			beyond = spec.TtdOAHi64.Mask() | spec.TtdAddr.Mask()&^ones(r.out())
		}
	}
	const valid, table = 1, 3
	k.table[1] = plain{mask: table | beyond, want: table}
	if haft {
		k.table[1].mask |= spec.TtdAF.Mask()
		k.table[1].want |= spec.TtdAF.Mask()
	}
	const limits = 0xf << 59 // see limitsOf
	k.table[0] = plain{mask: k.table[1].mask | limits, want: k.table[1].want}
	mask := table | beyond | spec.TtdAF.Mask() | spec.TtdContig.Mask()
	k.leaf[spec.LevelPage] = plain{mask: mask, want: table | spec.TtdAF.Mask()}
	for level := spec.LevelPage + 1; level <= spec.LevelTop; level++ {
		if r.valid(valid, level) {
			k.leaf[level] = plain{mask: mask, want: valid | spec.TtdAF.Mask()}
		}
	}
	return k
}

// shift is Granule.Shift.
func (k *format) shift(level int8) uint8 { return (k.page + uint8(level)*k.stride) & 63 }

// start returns the level at which a walk of stage 1 starts, of an address of in bits, and the bits of it that
// select the descriptor.
func (k *format) start(in uint8) (level int8, bits uint8) {
	level = int8(uint32(in-1-k.page) * k.inverse >> 16)
	return level, in - k.shift(level)
}

// leafOf returns the output of the plain leaf e of a level, and log2 of what it covers.
func (k *format) leafOf(e uint64, level int8) (page uint64, lg2 uint8) {
	lg2 = k.shift(level)
	return e & k.address >> lg2 << lg2, lg2
}

// tableBase returns where the start table of a level begins that has 2^bits descriptors: it is aligned to
// its size, and to 64 bytes where addresses have more than 48 bits.
func (k *format) tableBase(ttb uint64, bits uint8) uint64 {
	return ttb &^ (1<<(max(bits+3, k.least)&63) - 1)
}

// startAddress returns the address of the descriptor of level that in selects in a start table: by all bits of
// the address that are left.
func (k *format) startAddress(table, in uint64, level int8, bits uint8) uint64 {
	return table + in>>k.shift(level)&(1<<(bits&63)-1)*spec.DescSize
}

// entryAddress is startAddress of another table.
func (k *format) entryAddress(table, in uint64, level int8) uint64 {
	return table + in>>k.shift(level)*spec.DescSize&k.index
}

// format returns the format of a regime.
func (u *Unit) format(r regime) *format { return &u.lim.formats[r&127] }
