package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
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
}

// smmuAsk returns what our unit would make of the access of the step. The event is what it would write if
// there was room.
func (c *Case) smmuAsk(q smmuQuestion) (a smmuAnswer, ok bool) {
	value := func(off uint32) uint64 {
		if v, ok := q.regs[off]; ok {
			return v
		}
		return c.was(ours, off)
	}
	r, words := c.ask(q.asIf, func(f *emu.Functional) {
		for _, off := range smmuSetUp {
			v := value(off)
			switch off {
			case spec.OffEVENTQProd, spec.OffEVENTQCons:
				v = 0
			}
			f.WriteReg(0, off, smmuRegisters[smmuIndex(off)].Size, v)
		}
	})
	if r == nil {
		return a, false
	}
	if r.Status == emu.OK {
		return smmuAnswer{ok: c.answers(r.PA), pa: r.PA}, true
	}
	lg2 := min(spec.QBaseLog2.Of(value(spec.OffEVENTQBase)), spec.MaxQueueSize)
	size := max(uint64(spec.EventSize)<<lg2, spec.EventSize)
	at := emu.PA(value(spec.OffEVENTQBase) & spec.QBaseAddr.Mask() &^ (size - 1))
	if _, written := words[at]; written {
		a.event = &spec.Event{words[at], words[at+8], words[at+16], words[at+24]}
		if q.edit != nil {
			q.edit(a.event)
		}
	}
	return a, true
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
				if got, err := word(c.peers[theirs], at+emu.PA(8*i)); err != nil || got != w {
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

// smmuClaim claims everything if the other side does what our unit would make of a question.
func (c *Case) smmuClaim(q smmuQuestion) {
	if len(c.diffs) == 0 || len(c.unexplained()) == 0 {
		return
	}
	if a, ok := c.smmuAsk(q); ok && c.smmuShows(a) {
		for i := range c.diffs {
			d := &c.diffs[i]
			if c.claim(d); d.Kind == DiffMemory {
				c.back = append(c.back, d.PA)
			}
		}
	}
}
