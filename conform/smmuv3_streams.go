package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuState is what a runner remembers of a program for an SMMUv3.
type smmuState struct {
	twoLevel bool   // there was a two-level stream table
	split    uint64 // of the last one
}

func (t *track) smmu() *smmuState { return t.state.(*smmuState) }

// smmuObserve notes the format of stream tables.
func smmuObserve(r *Runner, s *Step) {
	if s.Op == RegWrite && s.Off == spec.OffSTRTABBaseCfg && spec.StrtabFmt.Of(s.Value) == spec.StrtabFmt2Lvl {
		*r.track.smmu() = smmuState{true, spec.StrtabSplit.Of(s.Value)}
	}
}

// smmuStreamSize returns log2 of the size of a stream table, or of its first level.
func smmuStreamSize(cfg uint64) uint64 {
	log2, split := spec.StrtabLog2.Of(cfg), spec.StrtabSplit.Of(cfg)
	switch {
	case spec.StrtabFmt.Of(cfg) != spec.StrtabFmt2Lvl:
		return log2 + 6
	case log2 > split:
		return max(6, log2-split+3)
	}
	return 6
}

// smmuSTE returns where the STE of the step is, and false if it is beyond the stream table.
func smmuSTE(c *Case) (emu.PA, bool) { return c.smmuSTEOf(&smmuQuestion{}) }

// smmuSTEOf is smmuSTE for a question.
func (c *Case) smmuSTEOf(q *smmuQuestion) (emu.PA, bool) {
	cfg := q.register(c, spec.OffSTRTABBaseCfg)
	base := q.register(c, spec.OffSTRTABBase) & spec.StrtabAddr.Mask() &^ (1<<smmuStreamSize(cfg) - 1)
	sid := uint64(c.source())
	in := sid>>spec.StrtabLog2.Of(cfg) == 0
	if spec.StrtabFmt.Of(cfg) != spec.StrtabFmt2Lvl {
		return emu.PA(base + sid*spec.STESize), in
	}
	split := spec.StrtabSplit.Of(cfg)
	d := spec.L1STD(q.word(c, emu.PA(base+sid>>split*spec.DescSize)))
	i, n := sid&(1<<split-1), d.STEs()
	return d.L2Ptr() + emu.PA(i*spec.STESize), in && i < n && n <= 1<<split
}

// smmuStream is how a side finds the STE of a step.
type smmuStream struct {
	at    emu.PA // of the STE
	event uint64 // instead
}

// smmuTheirStream returns where the other side has the STE of the step: it takes a span for twice of what it
// is, and stays with two levels once it had them.
func smmuTheirStream(c *Case) smmuStream {
	cfg := c.was(ours, spec.OffSTRTABBaseCfg)
	sid, split, two := uint64(c.source()), c.track.smmu().split, c.track.smmu().twoLevel
	if sid>>spec.StrtabLog2.Of(cfg) != 0 {
		return smmuStream{event: spec.EvBadStreamID}
	}
	if two {
		cfg = cfg&spec.StrtabLog2.Mask() | spec.StrtabFmt.Put(spec.StrtabFmt2Lvl) | spec.StrtabSplit.Put(split)
	}
	base := c.was(ours, spec.OffSTRTABBase) & spec.StrtabAddr.Mask() &^ (1<<smmuStreamSize(cfg) - 1)
	if !two {
		return smmuStream{at: emu.PA(base + sid*spec.STESize)}
	}
	d := c.model.word(emu.PA(base + sid>>split*spec.DescSize))
	span, i := spec.L1stdSpan.Of(d), sid&(1<<split-1)
	switch {
	case span == 0:
		return smmuStream{event: spec.EvBadStreamID}
	case i>>span != 0:
		return smmuStream{event: spec.EvBadSTE}
	}
	return smmuStream{at: emu.PA(d&spec.L1stdL2Ptr.Mask() + i*spec.STESize)}
}

func smmuTheirSTE(c *Case) (emu.PA, bool) {
	s := smmuTheirStream(c)
	return s.at, s.event == 0
}

// smmuClaimStream claims everything if the other side goes on with its own STE.
func (c *Case) smmuClaimStream() {
	s := smmuTheirStream(c)
	if s.event != 0 {
		c.smmuClaimAnswer(smmuAnswer{event: &spec.Event{spec.EvtNumber.Put(s.event) | spec.EvtSID.Put(uint64(c.source()))}})
		return
	}
	// Our unit finds the same STE if its own stream table, of two levels and in memory that tables are not
	// in, says so.
	const split = 10
	sid := emu.PA(c.source())
	last := c.prog.RAM + emu.PA(c.prog.Size)
	l1, l2 := last-2*(spec.STESize<<split), last-spec.STESize<<split
	words := map[emu.PA]uint64{l1 + sid>>split*spec.DescSize: uint64(l2) | (split + 1)}
	for i := emu.PA(0); i < spec.STESize; i += 8 {
		words[l2+sid&(1<<split-1)*spec.STESize+i] = c.model.word(s.at + i)
	}
	c.smmuClaim(smmuQuestion{asIf: asIf{words: words}, regs: map[uint32]uint64{
		spec.OffSTRTABBase:    uint64(l1),
		spec.OffSTRTABBaseCfg: spec.StrtabLog2.Put(16) | spec.StrtabFmt.Put(spec.StrtabFmt2Lvl) | spec.StrtabSplit.Put(split),
	}})
}

// smmuStreams reports whether the step is an access for which the sides have different STEs.
func (c *Case) smmuStreams() bool {
	if c.step.Op != Transfer || len(c.unexplained()) == 0 {
		return false
	}
	at, ok := smmuSTE(c)
	s := smmuTheirStream(c)
	switch {
	case s.event == 0:
		return !ok || at != s.at
	case s.event == spec.EvBadStreamID:
		return ok
	}
	return true
}

func smmuStaysTwoLevel(c *Case) {
	if two := spec.StrtabFmt.Of(c.was(ours, spec.OffSTRTABBaseCfg)) == spec.StrtabFmt2Lvl; !two && c.track.smmu().twoLevel && c.smmuStreams() {
		c.smmuClaimStream()
	}
}

func smmuSpan(c *Case) {
	if spec.StrtabFmt.Of(c.was(ours, spec.OffSTRTABBaseCfg)) == spec.StrtabFmt2Lvl && c.smmuStreams() {
		c.smmuClaimStream()
	}
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
