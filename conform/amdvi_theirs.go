package conform

import (
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// The unit of QEMU reports nearly every fault in its own way, keeps registers as they are written and
// does not stop for errors. Its deviations come in company. So what it has to show of a step is worked
// out here, from the deviations in the table: each rule that is not that of the specification names the
// one it belongs to. If the other side shows exactly that, in all that is compared, each deviation that
// took part may claim the differences that are its own. Otherwise none is explained.

// amdState is what the unit of QEMU remembers besides its registers.
type amdState struct {
	devTab           emu.PA // as it was taken over
	cmdBase, evtBase emu.PA
	cmdLen, evtLen   uint64            // bytes
	head, tail       uint64            // of the command buffer
	remap            map[uint8]bool    // devices that are not passed through
	tlb              map[amdKey]amdTLB // translations that are kept
}

type amdKey struct {
	device uint8
	page   uint64
}

// amdTLB is what is kept of a translation.
type amdTLB struct {
	pa     uint64 // of the page of 4 KiB
	rights emu.Access
	domain uint64
}

func newAMDState() any {
	return &amdState{
		cmdLen: spec.CommandSize, evtLen: spec.EventSize, // the length that 0 stands for
		remap: make(map[uint8]bool), tlb: make(map[amdKey]amdTLB),
	}
}

func (t *track) amd() *amdState { return t.state.(*amdState) }

// amdStory is what the other side has to show of a step.
type amdStory struct {
	c    *Case
	s    *amdState
	regs []uint64

	ok    bool              // Transfer, Interrupt: it was carried out
	pa    emu.PA            // Transfer: where
	words map[emu.PA]uint64 // memory that the unit has written
	msgs  []Message
	by    map[string]bool // deviations that took part
	holds bool            // the other side shows it
}

// amdHangs reports whether the command buffer would run for ever: its tail is beyond its end, or it has
// none.
func amdHangs(c *Case) bool {
	if s := c.step; s.Op != RegWrite || s.Off&^7 != spec.OffControl && s.Off&^7 != spec.OffCmdHead && s.Off&^7 != spec.OffCmdTail {
		return false
	}
	state := *c.track.amd()
	state.remap, state.tlb = maps.Clone(state.remap), maps.Clone(state.tlb)
	f := newAMDStory(c, &state)
	f.write(c.step.Off, c.step.Size, c.step.Value)
	on := f.control(spec.CtlIommuEn) && f.control(spec.CtlCmdBufEn)
	return on && state.head != state.tail
}

func newAMDStory(c *Case, s *amdState) *amdStory {
	return &amdStory{c: c, s: s, regs: slices.Clone(c.before[theirs]), words: make(map[emu.PA]uint64), by: make(map[string]bool)}
}

// amdForesee works out the story of a step and looks whether it holds. It returns the memory that the other
// side should have written.
func amdForesee(c *Case) []emu.PA {
	f := newAMDStory(c, c.track.amd())
	switch s := c.step; {
	case c.index < 0:
		f.powerOn()
	case s.Op == RegWrite:
		f.write(s.Off, s.Size, s.Value)
	case s.Op == Transfer:
		f.access()
	case s.Op == Interrupt:
		f.interrupt()
	}
	f.holds = f.compare()
	c.story = f
	return slices.Sorted(maps.Keys(f.words))
}

// compare reports whether the other side shows the story.
func (f *amdStory) compare() bool {
	v := f.c.after[theirs]
	slices.SortStableFunc(f.msgs, compareMessages)
	if !slices.Equal(v.regs, f.regs) || !slices.Equal(v.msgs, f.msgs) {
		return false
	}
	for pa, w := range f.words {
		if got, err := word(f.c.peers[theirs], pa); err != nil || got != w {
			return false
		}
	}
	switch s := f.c.step; {
	case s.Op != Transfer && s.Op != Interrupt:
		return true
	case s.Op == Transfer && pcROM <= f.pa && f.pa < 1<<20: // a PC has ROM there: whatever it shows
		f.ok = v.ok
		return true
	case v.ok != f.ok || s.Op == Interrupt || !f.ok:
		return v.ok == f.ok
	}
	return f.c.landed(f.pa)
}

// powerOn is the state after a reset: all registers are 0 but those that say what the unit can do.
func (f *amdStory) powerOn() {
	clear(f.regs)
	f.dev(amdResetValues)
}

// dev notes that a deviation has its part in the story.
func (f *amdStory) dev(id string) { f.by[id] = true }

func amdIndex(off uint32) int {
	return slices.IndexFunc(amdRegisters, func(r Register) bool { return r.Off == off })
}

func (f *amdStory) reg(off uint32) uint64       { return f.regs[amdIndex(off)] }
func (f *amdStory) setReg(off uint32, v uint64) { f.regs[amdIndex(off)] = v }

// control and status look at bits of the registers.
func (f *amdStory) control(b reg.Bits) bool { return b.On(f.reg(spec.OffControl)) }
func (f *amdStory) status(b reg.Bits) bool  { return b.On(f.reg(spec.OffStatus)) }

func (f *amdStory) setStatus(b reg.Bits, on bool) {
	f.setReg(spec.OffStatus, f.reg(spec.OffStatus)&^b.Mask()|b.PutBool(on))
}

// ours returns a register of our unit after the step.
func (f *amdStory) ours(off uint32) uint64 { return f.c.is(ours, off) }

// load reads 8 bytes of the tables, which are the same on both sides.
func (f *amdStory) load(pa emu.PA) (uint64, bool) {
	if w, ok := f.words[pa]; ok {
		return w, true
	}
	return f.c.model.mem.Load64(pa)
}

// send is an interrupt of the unit itself.
func (f *amdStory) send() {
	m := *f.c.model.mach.MSI
	if f.control(spec.CtlIntCapXTEn) && f.c.target.Mode == amdX2APIC {
		x := f.reg(spec.OffXTIntControl)
		m = Message{
			Addr: emu.PA(interruptRange<<20 | spec.MsiAddrDest.Put(spec.XtDestLo.Of(x)) | spec.MsiAddrDM.PutBool(spec.XtDestMode.On(x))),
			Data: uint32(spec.XtVector.Of(x) | spec.MsiDataMT.Put(spec.XtDM.Of(x))),
		}
	}
	f.msgs = append(f.msgs, m)
}

// event logs an event: its code, its flags as QEMU has them, and its device. There is never an address.
func (f *amdStory) event(code, flags uint64, device uint64) {
	if !f.control(spec.CtlIommuEn) || !f.control(spec.CtlEventLogEn) || f.status(spec.StsEventOverflow) {
		return
	}
	if !spec.StsEventLogRun.On(f.ours(spec.OffStatus)) {
		f.dev(amdOverflow)
		f.shortRings()
	}
	interrupts := f.control(spec.CtlEventIntEn)
	tail := spec.RingPtr.Mask() & f.reg(spec.OffEventTail)
	next := (tail + spec.EventSize) % f.s.evtLen
	if next == f.reg(spec.OffEventHead)&spec.RingPtr.Mask() {
		f.dev(amdOverflow)
		if interrupts {
			f.setStatus(spec.StsEventOverflow, true)
			f.send()
		}
		return
	}
	at := f.s.evtBase + emu.PA(tail)
	if _, ok := f.load(at); ok {
		f.words[at] = spec.EvtCode.Put(code) | flags | spec.EvtDeviceID.Put(device)
		f.words[at+8] = 0
	} else {
		f.dev(amdLostLog)
	}
	f.setReg(spec.OffEventTail, next)
	if !interrupts {
		f.dev(amdLogIntNeedsEnable)
		return
	}
	switch {
	case f.status(spec.StsEventLogInt):
		f.dev(amdMessageForEach)
	case spec.StsEventLogInt.On(f.c.was(ours, spec.OffStatus)):
		f.dev(amdLogIntNeedsEnable) // ours has had the condition before
	}
	f.setStatus(spec.StsEventLogInt, true)
	f.send()
}

// amdRecords are the deviations in what events say.
var amdRecords = map[uint64]string{
	spec.EventIllegalDTE: amdIllegalEntryRecord, spec.EventPageFault: amdPageFaultRecord, spec.EventDevTabHW: amdHardwareRecord,
	spec.EventPageTabHW: amdHardwareRecord, spec.EventIllegalCommand: amdIllegalCommandRecord, spec.EventCommandHW: amdHardwareRecord,
}

// record logs an event that our unit logs as well, if with other words.
func (f *amdStory) record(code, flags, device uint64) {
	f.dev(amdRecords[code])
	if code == spec.EventDevTabHW || code == spec.EventPageTabHW || code == spec.EventCommandHW {
		f.dev(amdNoHardwareRegisters)
	}
	f.event(code, flags, device)
}

// amdTouches says what a deviation may claim: registers and fields by the beginning of their names, and
// what else is compared.
type amdTouches struct {
	registers []string
	memory    bool // what the unit writes
	outcome   bool // whether and where an access ends
	messages  bool
}

// amdBy returns the match of a deviation.
func amdBy(id string, t amdTouches) func(*Case) {
	return func(c *Case) {
		f, ok := c.story.(*amdStory)
		if !ok || !f.holds || !f.by[id] {
			return
		}
		for i := range c.diffs {
			if d := &c.diffs[i]; t.touches(d) {
				c.shares = true
				c.claim(d)
			}
		}
		f.back()
	}
}

func (t *amdTouches) touches(d *Diff) bool {
	switch d.Kind {
	case DiffRegister:
		return slices.ContainsFunc(t.registers, func(n string) bool { return len(d.Name) >= len(n) && d.Name[:len(n)] == n })
	case DiffOutcome, DiffData:
		return t.outcome
	case DiffMemory:
		return t.memory || t.outcome
	case DiffMessage:
		return t.messages
	}
	return false
}

// back notes where the other side has written data that ours has not.
func (f *amdStory) back() {
	s := f.c.step
	if s.Op == Transfer && s.Write && f.ok && !slices.Contains(f.c.back, f.pa) {
		f.c.back = append(f.c.back, f.pa)
	}
	for i := range f.c.diffs {
		if d := &f.c.diffs[i]; d.Kind == DiffMemory && !slices.Contains(f.c.back, d.PA) {
			f.c.back = append(f.c.back, d.PA)
		}
	}
}
