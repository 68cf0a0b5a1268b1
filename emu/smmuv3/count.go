package smmuv3

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// counting is what counting needs of the registers, worked out once.
type counting struct {
	on     bool                       // a counter counts
	event  [spec.NumPmcgEvents]uint64 // counters that count it
	filter []streamFilter
	clock  emu.Clock
}

// streamFilter says which StreamIDs a counter counts.
type streamFilter struct{ id, mask uint64 }

// setCounting follows a change of what is counted. While nothing is, counting costs a test for each walk
// and fetch; hits are counted step by step.
func (u *Unit) setCounting() {
	p := &u.pm
	p.on, p.event = false, [spec.NumPmcgEvents]uint64{}
	if u.cfg.Counters == 0 {
		return
	}
	u.reg.Set(rPmIrqCtrlAck, u.reg.Get(rPmIrqCtrl))
	if len(p.filter) != int(u.cfg.Counters) {
		p.filter = make([]streamFilter, u.cfg.Counters)
	}
	if !spec.PmcgCrE.On(u.reg.Get(rPmCR)) {
		return
	}
	for m := u.reg.Get(rPmEnable); m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		typ := u.reg.Get(pmReg(i, pmType))
		e := spec.EvtyperEvent.Of(typ)
		if e >= spec.NumPmcgEvents {
			continue
		}
		p.on = true
		p.event[e] |= 1 << i
		by := i
		if u.cfg.CounterFilter {
			by = 0
		}
		p.filter[i] = makeFilter(u.reg.Get(pmReg(by, pmStream)), spec.EvtyperSIDSpan.On(u.reg.Get(pmReg(by, pmType))))
	}
}

// makeFilter returns the filter of SMR: one StreamID, or as a span, a block whose size the lowest 0 tells.
func makeFilter(smr uint64, span bool) streamFilter {
	if !span {
		return streamFilter{smr, 0}
	}
	n := uint8(bits.TrailingZeros64(^smr))
	return streamFilter{smr, reg.Ones(n + 1)}
}

// counts counts an event of t's transaction.
func (u *Unit) counts(event int, t *emu.Txn) {
	if !u.pm.on || t.Req.Type >= emu.Job {
		return
	}
	sid := uint64(t.Req.Source)
	for m := u.pm.event[event]; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		if f := &u.pm.filter[i]; (sid^f.id)&^f.mask == 0 {
			u.count(i, 1)
		}
	}
	t.Wake = u.counterWake(t.Wake)
}

// countsWalk counts the descriptor that t asks for, if it does.
func (u *Unit) countsWalk(t *emu.Txn) {
	if a := &t.Act; a.Op == emu.OpFetch && (a.Step == StepS1Table || a.Step == StepS2Table) {
		u.counts(spec.PmcgTransTableWalk, t)
	}
}

// countsArrival counts a transaction when it arrives.
func (u *Unit) countsArrival(t *emu.Txn) {
	switch t.Req.Type {
	case emu.PageRequest:
		return
	case emu.TranslationReq:
		u.counts(spec.PmcgATSTransRequest, t)
	}
	u.counts(spec.PmcgTransaction, t)
}

// count moves counter i on, and notes an overflow (10.4, OVSSET).
func (u *Unit) count(i int, n uint64) {
	r := pmReg(i, pmCount)
	top := reg.Ones(u.cfg.CounterBits)
	v, carry := bits.Add64(u.reg.Get(r), n, 0)
	u.reg.Set(r, v&top)
	if carry == 0 && v <= top {
		return
	}
	u.reg.SetBits(rPmOvsClear, 1<<i)
	u.reg.SetBits(rPmOvsSet, 1<<i)
	if spec.EvtyperOVFCAP.On(u.reg.Get(pmReg(i, pmType))) {
		u.capture()
	}
	if u.reg.Get(rPmIntEnable)>>i&1 != 0 && spec.PmcgIrqEn.On(u.reg.Get(rPmIrqCtrl)) {
		u.s.Messages |= msgPMCG
	}
}

// counterWake adds the engine that sends the interrupt of an overflow to w.
func (u *Unit) counterWake(w emu.Wake) emu.Wake {
	if u.s.Messages&msgPMCG != 0 {
		w |= EngineMessage.Set()
	}
	return w
}

// UseClock implements emu.Clocked. Without a clock cycles are not counted.
func (u *Unit) UseClock(c emu.Clock) {
	u.pm.clock = c
	u.s.Ticked = c.Now()
}

// tick counts the cycles since the last time. They are looked at when software looks at the counters, and
// an overflow is noticed then.
func (u *Unit) tick() {
	if u.pm.clock == nil {
		return
	}
	now := u.pm.clock.Now()
	n := now - u.s.Ticked
	if now <= u.s.Ticked {
		return
	}
	u.s.Ticked = now
	for m := u.pm.event[spec.PmcgCycles]; m != 0; m &= m - 1 {
		u.count(bits.TrailingZeros64(m), n)
	}
}
