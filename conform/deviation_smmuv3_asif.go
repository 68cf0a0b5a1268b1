package conform

import (
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuQuestion is an asIf for an SMMUv3, with other values of registers.
type smmuQuestion struct {
	asIf
	regs map[uint32]uint64
	edit func(e *spec.Event) // what the record is instead
}

// smmuSetUp are the registers that a translation depends on, in the order in which they are written.
var smmuSetUp = []uint32{
	spec.OffCR2, spec.OffSTRTABBase, spec.OffSTRTABBaseCfg, spec.OffEVENTQBase, spec.OffEVENTQProd, spec.OffEVENTQCons, spec.OffCR0,
}

// smmuAnswer is what an access comes to.
type smmuAnswer struct {
	ok    bool
	pa    emu.PA
	event *spec.Event // nil: none
	ours  *spec.Event // as our unit would write it
}

// register returns a register as the question has it.
func (q *smmuQuestion) register(c *Case, off uint32) uint64 {
	if v, ok := q.regs[off]; ok {
		return v
	}
	return c.was(ours, off)
}

// word returns a word of memory as the question has it.
func (q *smmuQuestion) word(c *Case, pa emu.PA) uint64 {
	if w, ok := q.words[pa]; ok {
		return w
	}
	return c.model.word(pa)
}

// smmuSetUp programs a unit as ours is, but for some registers. Its event queue is empty, and no error is
// active.
func (c *Case) smmuSetUp(q *smmuQuestion) func(f *emu.Functional) {
	return func(f *emu.Functional) {
		for _, off := range smmuSetUp {
			v := q.register(c, off)
			if off == spec.OffEVENTQProd || off == spec.OffEVENTQCons {
				v = 0
			}
			f.WriteReg(0, off, smmuRegisters[smmuIndex(off)].Size, v)
		}
	}
}

// smmuAsk returns what the other side makes of the access of the step if it does as our unit would, but
// for how it writes events. The event is what there is if there was room for it.
func (c *Case) smmuAsk(q smmuQuestion) (a smmuAnswer, ok bool) {
	ste, _ := c.smmuSTEOf(&q)
	w0, w2 := q.word(c, ste), q.word(c, ste+16)
	with := q.asIf
	if second := spec.SteConfig.Of(w0)&6 == 6; second && !spec.SteS2R.On(w2) {
		with.words = maps.Clone(q.words)
		if with.words == nil {
			with.words = make(map[emu.PA]uint64)
		}
		with.words[ste+16] = w2 | spec.SteS2R.Mask() // so that the event is known
	}
	r, words := c.ask(with, c.smmuSetUp(&q))
	if r == nil {
		return a, false
	}
	if r.Status == emu.OK {
		return smmuAnswer{ok: c.answers(r.PA), pa: r.PA}, true
	}
	base := c.was(ours, spec.OffEVENTQBase)
	lg2 := min(spec.QBaseLog2.Of(base), spec.MaxQueueSize)
	size := max(uint64(spec.EventSize)<<lg2, spec.EventSize)
	at := emu.PA(base & spec.QBaseAddr.Mask() &^ (size - 1))
	if _, written := words[at]; !written {
		return a, true
	}
	a.ours = &spec.Event{words[at], words[at+8], words[at+16], words[at+24]}
	e := *a.ours
	cd := q.word(c, emu.PA(w0&spec.SteS1Context.Mask()))
	if smmuRecorded(&e, spec.SteS2R.On(w2), spec.CdR.On(cd)) {
		g := spec.GranuleTG0(spec.CdTG0.Of(cd))
		if upper := e[2]>>55&1 != 0; upper {
			g = spec.GranuleTG1(spec.CdTG1.Of(cd))
		}
		smmuForm(&e, g)
		if q.edit != nil {
			q.edit(&e)
		}
		a.event = &e
	}
	return a, true
}

// smmuOfStage2 reports whether an event is one of stage 2, for a reason.
func smmuOfStage2(e *spec.Event, class uint64) bool {
	return e != nil && e.Number() >= spec.EvWalkEABT && spec.EvtS2.On(e[1]) && spec.EvtClass.Of(e[1]) == class
}

// smmuRecorded reports whether the other side records an event, by S2R of the STE and R of the CD.
func smmuRecorded(e *spec.Event, s2r, r bool) bool {
	switch n := e.Number(); {
	case n < spec.EvTranslation || n > spec.EvPermission || !spec.EvtS2.On(e[1]):
		return true // as our unit does it
	case smmuOfStage2(e, spec.ClassTT):
		return r
	}
	return s2r
}

// smmuForm makes of an event what the other side writes for it. Tables of stage 1 have a granule.
func smmuForm(e *spec.Event, g spec.Granule) {
	switch {
	case e.Number() == spec.EvCDFetch:
		e[2], e[3] = e[3], 0
	case e.Number() == spec.EvWalkEABT:
	case smmuOfStage2(e, spec.ClassIN):
		e[3] |= e[2] & 0xfff
	case smmuOfStage2(e, spec.ClassCD):
		e[1] |= spec.EvtRnW.Mask()
	case smmuOfStage2(e, spec.ClassTT):
		e[1] &^= spec.EvtS2.Mask()
		e[3] &^= 1<<g - 1
	}
}

// smmuWould returns what our unit would make of the access with other memory.
func (c *Case) smmuWould(q smmuQuestion) *emu.Result {
	r, _ := c.ask(q.asIf, c.smmuSetUp(&q))
	return r
}

// smmuShows reports whether the other side shows an answer in everything that is compared. If so it notes
// what memory only the other side has written.
func (c *Case) smmuShows(a smmuAnswer) bool {
	v := c.after[theirs]
	if v.ok != a.ok || a.ok && !c.landed(a.pa) {
		return false
	}
	regs := slices.Clone(c.before[theirs])
	get := func(off uint32) *uint64 { return &regs[smmuIndex(off)] }
	var back []emu.PA
	if a.event != nil && spec.Cr0EVENTQEN.On(*get(spec.OffCR0)) {
		base, prod, cons := *get(spec.OffEVENTQBase), get(spec.OffEVENTQProd), *get(spec.OffEVENTQCons)
		lg2 := min(spec.QBaseLog2.Of(base), spec.MaxQueueSize)
		m := reg.Ones(uint8(lg2) + 1)
		if (*prod^cons)&m == 1<<lg2 { // full
			if g := get(spec.OffGERROR); (*g^*get(spec.OffGERRORN))&spec.GerrEVENTQAbt.Mask() == 0 {
				*g ^= spec.GerrEVENTQAbt.Mask()
			}
		} else {
			at := emu.PA(base&spec.QBaseAddr.Mask()) + emu.PA(*prod&(m>>1)*spec.EventSize)
			for i, w := range a.event {
				if got, err := word(c.peers[theirs], at+emu.PA(8*i)); at >= c.model.mach.First && (err != nil || got != w) {
					return false
				}
				back = append(back, at+emu.PA(8*i))
			}
			*prod = *prod&^m | (*prod+1)&m
		}
	}
	if !slices.Equal(regs, v.regs) {
		return false
	}
	if a.ok && c.step.Write {
		back = append(back, a.pa)
	}
	c.back = append(c.back, back...)
	return true
}

// smmuClaim claims everything if the other side does what our unit would make of a question. What a cached
// translation may have refused need not be recorded: see deviation hit-not-reported.
func (c *Case) smmuClaim(q smmuQuestion) {
	if len(c.unexplained()) == 0 {
		return
	}
	if a, ok := c.smmuAsk(q); ok {
		c.smmuClaimAnswer(a)
	}
	if a, ok := c.smmuHit(q); ok {
		c.smmuClaimAnswer(a)
	}
	if len(c.unexplained()) > 0 && c.smmuAllow(&q) {
		c.smmuClaim(q)
	}
}

// smmuAllow takes out of a question what keeps unprivileged accesses out, if it refuses the access: see
// deviation unprivileged.
func (c *Case) smmuAllow(q *smmuQuestion) bool {
	r := c.smmuWould(*q)
	if r == nil || r.Fault.Code != smmuv3.FaultS1Permission {
		return false
	}
	words := make(map[emu.PA]uint64)
	found := c.smmuWithout(spec.S1APTable1.Mask(), words)
	e := q.word(c, r.Fault.At)
	words[r.Fault.At] = e | spec.S1AP1.Mask()
	maps.Copy(words, q.words)
	if q.words[r.Fault.At] == words[r.Fault.At] || !found && spec.S1AP1.On(e) {
		return false
	}
	words[r.Fault.At] |= spec.S1AP1.Mask()
	q.words = words
	return true
}

// smmuHit returns what the other side makes of an access that stage 2 refuses, to a page that was accessed
// before: a cached translation refuses it.
func (c *Case) smmuHit(q smmuQuestion) (a smmuAnswer, ok bool) {
	if len(c.unexplained()) == 0 {
		return a, false
	}
	r := c.smmuWould(q)
	if r == nil || r.Fault.Code != smmuv3.FaultS2Permission {
		return a, false
	}
	if ste, _ := c.smmuSTEOf(&q); spec.SteConfig.Of(q.word(c, ste)) == spec.ConfigNested {
		if a, _ = c.smmuAsk(q); a.event != nil {
			a.event[3] = 0
		}
	}
	words := map[emu.PA]uint64{r.Fault.At: c.model.word(r.Fault.At) | spec.S2AP.Mask()}
	maps.Copy(words, q.words)
	words[r.Fault.At] |= spec.S2AP.Mask()
	q.words = words
	return a, c.accessed(c.smmuWould(q))
}

// accessed reports whether the page of a result was accessed before in the program.
func (c *Case) accessed(r *emu.Result) bool {
	return r != nil && r.Status == emu.OK && slices.ContainsFunc(c.prog.Steps[:c.index], func(s Step) bool {
		return s.Op == Transfer && (s.Addr^c.step.Addr)>>r.Lg2 == 0
	})
}

// smmuClaimAnswer claims everything if that is what the other side does.
func (c *Case) smmuClaimAnswer(a smmuAnswer) {
	if len(c.unexplained()) > 0 && c.smmuShows(a) {
		for i := range c.diffs {
			d := &c.diffs[i]
			if c.claim(d); d.Kind == DiffMemory {
				c.back = append(c.back, d.PA)
			}
		}
	}
}
