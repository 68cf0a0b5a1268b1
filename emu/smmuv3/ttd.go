package smmuv3

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Descriptors of translation tables, DDI 0487 D8.3: what both stages have in common.

func swapBytes(e uint64) uint64 { return bits.ReverseBytes64(e) }

// Descriptor returns the descriptor that t has just fetched, with StepS1Table or StepS2Table, in our byte
// order, and whether it points to a table.
func Descriptor(t *emu.Txn) (e uint64, table bool) {
	f, r := &t.Frame[0], reg1(t)
	if t.Act.Step == StepS2Table {
		f, r = s2Frame(t), reg2(t)
	}
	e = r.order(t.In[0])
	return e, isTable(e, f.Level)
}

// isTable reports whether a descriptor of a level points to a table.
func isTable(e uint64, level int8) bool {
	const table = 3 // TtdValid, TtdTable
	return level != spec.LevelPage && e&table == table
}

// valid reports whether e is one that a level may have: not invalid, and a block only where
// there are blocks.
func (r regime) valid(e uint64, level int8) bool {
	if !spec.TtdValid.On(e) {
		return false
	}
	if spec.TtdTable.On(e) {
		return true
	}
	switch r.granule() {
	case spec.Granule4K:
		return level == 1 || level == 2 || level == 3 && r.ds()
	case spec.Granule16K:
		return level == 1 || level == 2 && r.ds()
	default:
		return level == 1 || level == 2 && r.ds()
	}
}

// address returns the address in a descriptor, lg2 of its bits being below what it points to.
func (r regime) address(e uint64, lg2 uint8) uint64 {
	var a uint64
	switch {
	case !r.ds():
		a = e & spec.TtdAddr.Mask()
	case r.granule() == spec.Granule64K:
		a = e&spec.TtdAddr.Mask()&^0xffff | spec.TtdOAHi64.Of(e)<<48
	default:
		a = e&spec.TtdAddrDS.Mask() | spec.TtdOAHiDS.Of(e)<<50
	}
	return a &^ ones(lg2)
}

// beyond reports whether an address of a descriptor is too large for the stage's output.
func (r regime) beyond(addr uint64) bool { return addr>>r.out() != 0 }

// leaf returns the output of a block or page descriptor for the input address in, and log2 of what it
// covers: together with the descriptors that the Contiguous bit joins it to, if its address is in line
// with theirs.
func (r regime) leaf(e, in uint64, level int8) (page uint64, lg2 uint8) {
	g := r.granule()
	lg2 = g.Shift(level)
	page = r.address(e, lg2)
	if !spec.TtdContig.On(e) {
		return page, lg2
	}
	run := lg2 + g.Contig(level)
	if (page^in)&ones(run)&^ones(lg2) != 0 {
		return page, lg2
	}
	return page &^ ones(run), run
}
