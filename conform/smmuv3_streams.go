package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuState is what a runner remembers of a program for an SMMUv3.
type smmuState struct {
	split uint64 // the last SPLIT of a two-level stream table; 0: there was none
}

func (t *track) smmu() *smmuState { return t.state.(*smmuState) }

// smmuObserve notes the format of stream tables.
func smmuObserve(r *Runner, s *Step) {
	if s.Op == RegWrite && s.Off == spec.OffSTRTABBaseCfg && spec.StrtabFmt.Of(s.Value) == spec.StrtabFmt2Lvl {
		r.track.smmu().split = spec.StrtabSplit.Of(s.Value)
	}
}

// smmuSTE returns where the STE of the step is.
func smmuSTE(c *Case) (emu.PA, bool) {
	base, cfg := c.was(ours, spec.OffSTRTABBase)&spec.StrtabAddr.Mask(), c.was(ours, spec.OffSTRTABBaseCfg)
	sid, log2 := uint64(c.source()), spec.StrtabLog2.Of(cfg)
	if spec.StrtabFmt.Of(cfg) != spec.StrtabFmt2Lvl {
		return emu.PA(base&^(64<<log2-1) + sid*spec.STESize), sid>>log2 == 0
	}
	split := spec.StrtabSplit.Of(cfg)
	lg2 := uint64(6)
	if log2 > split {
		lg2 = max(lg2, log2-split+3)
	}
	d := spec.L1STD(c.model.word(emu.PA(base&^(1<<lg2-1) + sid>>split*spec.DescSize)))
	i := sid & (1<<split - 1)
	return d.L2Ptr() + emu.PA(i*spec.STESize), i < d.STEs()
}

// smmuTheirSTE returns where the other side has the STE of the step: it aligns tables to half their size,
// takes a span for twice of what it is, and stays with two levels once it had them.
func smmuTheirSTE(c *Case) (emu.PA, bool) {
	base, cfg := c.was(ours, spec.OffSTRTABBase)&spec.StrtabAddr.Mask(), c.was(ours, spec.OffSTRTABBaseCfg)
	sid, log2, split := uint64(c.source()), spec.StrtabLog2.Of(cfg), c.track.smmu().split
	if split == 0 {
		return emu.PA(base&^(32<<log2-1) + sid*spec.STESize), sid>>log2 == 0
	}
	lg2 := uint64(5)
	if log2 > split {
		lg2 = max(lg2, log2-split+2)
	}
	d := spec.L1STD(c.model.word(emu.PA(base&^(1<<lg2-1) + sid>>split*spec.DescSize)))
	i := sid & (1<<split - 1)
	span := spec.L1stdSpan.Of(uint64(d))
	return emu.PA(uint64(d)&spec.L1stdL2Ptr.Mask() + i*spec.STESize), sid>>log2 == 0 && span != 0 && i < 1<<span
}
