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

// smmuTablesOf returns the table descriptors of stage 1 on the way to the address of the step, where stage 2
// has memory as it is, and whether HAD says that they take nothing away.
func (c *Case) smmuTablesOf() (slots []emu.PA, had bool) {
	ste, ok := smmuSTE(c)
	w0 := c.model.word(ste)
	if !ok || spec.SteConfig.Of(w0)&5 != 5 {
		return nil, false
	}
	at := emu.PA(w0 & spec.SteS1Context.Mask())
	cd := [3]uint64{c.model.word(at), c.model.word(at + 8), c.model.word(at + 16)}
	g, in, ttb := spec.GranuleTG0(spec.CdTG0.Of(cd[0])), 64-uint8(spec.CdT0SZ.Of(cd[0])), cd[1]&spec.CdTTB0.Mask()
	had = spec.CdHAD0.On(cd[1])
	if uint64(c.step.Addr)>>55&1 != 0 {
		g, in, ttb = spec.GranuleTG1(spec.CdTG1.Of(cd[0])), 64-uint8(spec.CdT1SZ.Of(cd[0])), cd[2]&spec.CdTTB1.Mask()
		had = spec.CdHAD1.On(cd[2])
	}
	if g == 0 || in <= uint8(g) || in > 48 {
		return nil, had
	}
	level := int8((in - 1 - uint8(g)) / g.Stride())
	bits, table := in-g.Shift(level), emu.PA(ttb)
	for ; level > 0; level-- {
		slot := table + emu.PA(uint64(c.step.Addr)>>g.Shift(level)&(1<<bits-1)*spec.DescSize)
		e := c.model.word(slot)
		if !spec.TtdValid.On(e) || !spec.TtdTable.On(e) {
			break
		}
		slots = append(slots, slot)
		bits, table = g.Stride(), emu.PA(e&spec.TtdAddr.Mask()&^(1<<g-1))
	}
	return slots, had
}

// smmuWithout adds the table descriptors of stage 1 that have any of bits, without them. It reports whether
// there are any that count.
func (c *Case) smmuWithout(bits uint64, words map[emu.PA]uint64) bool {
	slots, had := c.smmuTablesOf()
	found := false
	for _, slot := range slots {
		if e := c.model.word(slot); e&bits != 0 && !had {
			words[slot] = e &^ bits
			found = true
		}
	}
	return found
}
