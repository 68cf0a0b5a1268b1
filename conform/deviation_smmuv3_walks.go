package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func smmuHit(c *Case) {
	if _, ok := c.transfer(); !ok {
		return
	}
	if a, ok := c.smmuHit(smmuQuestion{}); ok && (a.event == nil) == (c.smmuConfig() == spec.ConfigS2) {
		c.smmuClaimAnswer(a)
	}
}

// smmuConfig returns STE.Config of the step.
func (c *Case) smmuConfig() uint64 {
	at, _ := smmuSTE(c)
	return spec.SteConfig.Of(c.model.word(at))
}

// smmuSideBySide asks about start tables that are all the first one.
func smmuSideBySide(c *Case) {
	at, ok := smmuSTE(c)
	w0, w2, w3 := c.model.word(at), c.model.word(at+16), c.model.word(at+24)
	if !ok || c.step.Op != Transfer || spec.SteConfig.Of(w0)&6 != 6 {
		return
	}
	g := spec.GranuleTG0(spec.SteS2TG.Of(w2))
	if g == 0 {
		return
	}
	level, ok := spec.S2StartLevel(g, spec.SteS2SL0.Of(w2))
	bits := 64 - uint8(spec.SteS2T0SZ.Of(w2)) - g.Shift(level)
	if !ok || bits <= g.Stride() || bits > g.Stride()+spec.MaxConcatenated {
		return
	}
	top := emu.PA(w3 & spec.SteS2TTB.Mask() &^ (8<<bits - 1))
	words := make(map[emu.PA]uint64)
	for i := emu.PA(1) << g.Stride(); i < 1<<bits; i++ {
		if e, first := c.model.word(top+i*spec.DescSize), c.model.word(top+i&(1<<g.Stride()-1)*spec.DescSize); e != first {
			words[top+i*spec.DescSize] = first
		}
	}
	c.smmuClaim(smmuQuestion{asIf: asIf{words: words}})
}

// smmuUnprivileged asks about descriptors without what keeps unprivileged accesses out.
func smmuUnprivileged(c *Case) {
	if _, ok := c.transfer(); !ok {
		return
	}
	if q := (smmuQuestion{}); c.smmuAllow(&q) {
		c.smmuClaim(q)
	}
}

// smmuForgotten asks about table descriptors that allow everything, for a page that was accessed before.
func smmuForgotten(c *Case) {
	r, ok := c.transfer()
	if !ok || !c.step.Write || r.Fault.Code != smmuv3.FaultS1Permission {
		return
	}
	words := map[emu.PA]uint64{r.Fault.At: c.model.word(r.Fault.At) | spec.S1AP1.Mask()}
	c.smmuWithout(spec.S1APTable1.Mask()|spec.S1APTable2.Mask(), words)
	q := smmuQuestion{asIf: asIf{words: words}}
	if _, hit := c.smmuHit(q); hit || c.accessed(c.smmuWould(q)) {
		c.smmuClaim(q)
	}
}

// smmuTableRights expects F_PERMISSION if a table descriptor forbids the access.
func smmuTableRights(c *Case) {
	if _, ok := c.transfer(); !ok || !c.step.Write || len(c.unexplained()) == 0 || !c.smmuWithout(spec.S1APTable2.Mask(), make(map[emu.PA]uint64)) {
		return
	}
	var a smmuAnswer
	if at, _ := smmuSTE(c); spec.CdR.On(c.model.word(emu.PA(c.model.word(at) & spec.SteS1Context.Mask()))) {
		a.event = &spec.Event{spec.EvtNumber.Put(spec.EvPermission) | spec.EvtSID.Put(uint64(c.source())), spec.EvtClass.Put(spec.ClassIN), uint64(c.step.Addr)}
	}
	c.smmuClaimAnswer(a)
}

// smmuTableSize asks about a table where no memory is, but not beyond the output size.
func smmuTableSize(c *Case) {
	r, ok := c.transfer()
	if !ok || r.Fault.Code&0xff != spec.EvAddrSize {
		return
	}
	const high = 0xff << 40
	e := c.model.word(r.Fault.At)
	near := e&^high | uint64(c.model.mach.Hole)
	c.smmuClaim(smmuQuestion{
		asIf: asIf{words: map[emu.PA]uint64{r.Fault.At: near}},
		edit: func(ev *spec.Event) { ev[3] ^= (e ^ near) & spec.TtdAddr.Mask() },
	})
}

// smmuFaultOrder asks about a leaf with an address of memory.
func smmuFaultOrder(c *Case) {
	if r, ok := c.transfer(); ok && r.Fault.Code&0xff == spec.EvAddrSize {
		e := c.model.word(r.Fault.At) &^ (0xff << 40)
		c.smmuClaim(smmuQuestion{asIf: asIf{words: map[emu.PA]uint64{r.Fault.At: e}}})
	}
}

// smmuTablesOfCDs asks about a table of a CD that stage 2 has, for a device whose CD was read before.
func smmuTablesOfCDs(c *Case) {
	r, ok := c.transfer()
	if !ok || len(c.unexplained()) == 0 || !slices.ContainsFunc(c.prog.Steps[:c.index], func(s Step) bool { return s.Op == Transfer && s.Device == c.step.Device }) {
		return
	}
	base, prod := c.was(ours, spec.OffEVENTQBase), c.was(ours, spec.OffEVENTQProd)
	at := emu.PA(base&spec.QBaseAddr.Mask() + prod&(1<<spec.QBaseLog2.Of(base)-1)*spec.EventSize)
	event := &spec.Event{c.model.word(at), c.model.word(at + 8), c.model.word(at + 16), c.model.word(at + 24)}
	if c.is(ours, spec.OffEVENTQProd) == prod || !smmuOfStage2(event, spec.ClassTT) {
		return
	}
	ste, _ := smmuSTE(c)
	cd := emu.PA(c.model.word(ste) & spec.SteS1Context.Mask())
	ipa := event[3] & spec.EvtIPA.Mask()
	for _, ttb := range []uint64{c.model.word(cd+8) & spec.CdTTB0.Mask(), c.model.word(cd+16) & spec.CdTTB1.Mask()} {
		if ttb>>12 == ipa>>12 {
			e := c.model.word(r.Fault.At) | spec.TtdValid.Mask() | spec.TtdAF.Mask() | spec.S2AP.Mask()
			c.smmuClaim(smmuQuestion{asIf: asIf{words: map[emu.PA]uint64{r.Fault.At: e}}})
		}
	}
}
