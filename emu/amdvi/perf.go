package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Performance counters, 3.4. Each counts one source, of requests that its match registers let pass. One
// that comes to 0 may log EVENT_COUNTER_ZERO.

// perf is what counting needs of the registers, worked out once.
type perf struct {
	on     bool // a counter counts
	source [spec.NumSources][]uint16
}

// Registers of one counter, relative to its first; counters come last in the table of registers.
const (
	cCount = iota
	cSource
	cPASID
	cDomain
	cDevice
	cReport
	cLen
)

// counters returns how many counters the unit has.
func (c *Config) counters() int {
	if !c.PCSup {
		return 0
	}
	return int(c.Banks) * int(c.BankCounters)
}

// Window returns the size of the register window, 3.4.
func (c *Config) Window() uint32 {
	if c.PCSup {
		return spec.WindowPC
	}
	return spec.Window
}

// perfRegisters returns the registers of performance counters.
func (c *Config) perfRegisters() []reg.Reg {
	if !c.PCSup {
		return nil
	}
	rw := func(name string, off uint32, mask uint64, e reg.Effect, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: 8, RW: mask, Effect: e, Layout: l, Clause: "3.4"}
	}
	banks := reg.Ones(c.Banks)
	t := []reg.Reg{
		{Name: "Counter Configuration", Off: spec.OffCounterConfig, Size: 8, Reset: c.counterWord(), Layout: &spec.CounterConfigLayout, Clause: "3.4"},
		rw("Counter PASID Bank Lock", spec.OffCounterPASIDLock, banks, effNone, nil),
		rw("Counter Domain Bank Lock", spec.OffCounterDomainLock, banks, effNone, nil),
		rw("Counter DeviceID Bank Lock", spec.OffCounterDeviceLock, banks, effNone, nil),
	}
	id := uint64(0xffff | 0xffff<<32)
	for i := range c.counters() {
		b, n := i/int(c.BankCounters), i%int(c.BankCounters)
		at := spec.CounterOffset(b, n)
		name := func(s string) string { return fmt.Sprintf("%s[%d][%d]", s, b, n) }
		t = append(t,
			rw(name("Counter"), at+spec.OffCounter, spec.PcCount.Mask(), effNone, &spec.CounterLayout),
			rw(name("Counter Source"), at+spec.OffCounterSource, spec.PcSource.Mask(), effCounter, &spec.CounterSourceLayout),
			rw(name("Counter PASID Match"), at+spec.OffPASIDMatch, spec.PcMatch.Mask()|spec.PcMask.Mask()|spec.PcEn.Mask(), effMatch, &spec.CounterMatchLayout),
			rw(name("Counter Domain Match"), at+spec.OffDomainMatch, id|spec.PcEn.Mask(), effMatch, &spec.CounterMatchLayout),
			rw(name("Counter DeviceID Match"), at+spec.OffDeviceMatch, id|spec.PcEn.Mask(), effMatch, &spec.CounterMatchLayout),
			rw(name("Counter Report"), at+spec.OffCounterReport, spec.PcNote.Mask()|spec.PcCERE.Mask(), effNone, &spec.CounterReportLayout),
		)
	}
	return t
}

// counterWord composes Counter Configuration.
func (c *Config) counterWord() uint64 {
	if !c.PCSup {
		return 0
	}
	return spec.PcNCounter.Put(uint64(c.BankCounters)) | spec.PcNCounterBanks.Put(uint64(c.Banks))
}

// adoptCounters sets the number of counters from a register.
func (c *Config) adoptCounters(efr, config uint64) {
	c.PCSup = spec.EfrPCSup.On(efr)
	c.Banks, c.BankCounters = uint8(spec.PcNCounterBanks.Of(config)), uint8(spec.PcNCounter.Of(config))
	if c.counters() == 0 {
		c.PCSup, c.Banks, c.BankCounters = false, 0, 0
	}
}

// Registers of the counters, by index into the table of a unit that has them.
const (
	rCounterConfig = rSegment1 + spec.MaxSegments - 1 + iota
	rPASIDLock
	rDomainLock
	rDeviceLock
	rCounter // the first of all counters
)

// counterReg returns the index of register r of counter i.
func counterReg(i, r int) int { return rCounter + i*cLen + r }

// setPerf follows a change of what is counted. While nothing is, counting costs one test per step.
func (u *Unit) setPerf() {
	p := &u.perf
	p.on = false
	for i := range p.source {
		p.source[i] = p.source[i][:0]
	}
	for i := range u.cfg.counters() {
		if s := spec.PcSource.Of(u.reg.Get(counterReg(i, cSource))); s != 0 && s < spec.NumSources {
			p.source[s] = append(p.source[s], uint16(i))
			p.on = true
		}
	}
	u.states = numStates
	if p.on {
		u.states = 0
	}
}

// writeMatch follows a write to a match register: it is dropped while the bank's register is locked.
func (u *Unit) writeMatch(c *reg.Change) {
	i := c.Index - rCounter
	lock := rPASIDLock + i%cLen - cPASID
	if bank := i / cLen / int(u.cfg.BankCounters); u.reg.Get(lock)>>bank&1 != 0 {
		u.reg.Set(c.Index, c.Old)
	}
}

// cause is what match registers look at: what an event is about, as far as it is known then.
type cause struct {
	device, domain, pasid    uint64
	hasDevice, hasDom, hasID bool
}

// matches reports whether a match register lets an event with a value pass. What it cannot tell does not.
func matches(r, v uint64, known bool) bool {
	return !spec.PcEn.On(r) || known && (v^spec.PcMatch.Of(r))&spec.PcMask.Of(r) == 0
}

// count counts one event of a source.
func (u *Unit) count(source int, c *cause) {
	for _, n := range u.perf.source[source] {
		i := int(n)
		if matches(u.reg.Get(counterReg(i, cPASID)), c.pasid, c.hasID) &&
			matches(u.reg.Get(counterReg(i, cDomain)), c.domain, c.hasDom) &&
			matches(u.reg.Get(counterReg(i, cDevice)), c.device, c.hasDevice) {
			u.advance(i)
		}
	}
}

// advance moves counter i on. One that comes to 0 is reported if software wants that.
func (u *Unit) advance(i int) {
	v := (u.reg.Get(counterReg(i, cCount)) + 1) & spec.PcCount.Mask()
	u.reg.Set(counterReg(i, cCount), v)
	if v == 0 && spec.PcCERE.On(u.reg.Get(counterReg(i, cReport))) {
		u.s.Zero[i/64] |= 1 << (i % 64)
		u.s.Wake |= EngineCounter.Set()
	}
}

// perfWake returns the engines that counters have given work.
func (u *Unit) perfWake() emu.Wake {
	w := u.s.Wake
	u.s.Wake = 0
	return w
}

// counterNext logs EVENT_COUNTER_ZERO for the counters that have come to 0, 2.5.11.
func (u *Unit) counterNext(t *emu.Txn) {
	for i := range u.cfg.counters() {
		if u.s.Zero[i/64]>>(i%64)&1 == 0 {
			continue
		}
		u.s.Zero[i/64] &^= 1 << (i % 64)
		note := spec.PcNote.Of(u.reg.Get(counterReg(i, cReport)))
		t.Entry[4] = spec.EvtCode.Put(spec.EventCounterZero)
		t.Entry[5] = spec.EvtNoteHi.Put(note>>32) | spec.EvtNoteLo.Put(note)
		u.writeLog(t, logEvents, stCounterLogged)
		return
	}
	t.Done(StepCounterZero)
}
