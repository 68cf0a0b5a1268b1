package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdMistakes is what software must not do. Each is followed by accesses that may meet it, and is
// undone, with the invalidations that both need.
var amdMistakes = []choice[*amdGen]{
	{12, (*amdGen).badEntry},
	{14, (*amdGen).badPaging},
	{12, (*amdGen).badCommand},
	{3, (*amdGen).badWait},
	{6, (*amdGen).badInterrupt},
	{3, (*amdGen).badTable},
	{3, (*amdGen).shortTable},
	{5, (*amdGen).fullLog},
	{2, (*amdGen).lostLog},
	{2, (*amdGen).shortRings},
	{2, (*amdGen).lostRing},
	{3, (*amdGen).baseInUse},
	{2, (*amdGen).halfBase},
	{4, (*amdGen).rawRegisters},
}

func (g *amdGen) mistake() { pick(g.r, amdMistakes)(g) }

// probe lets a device read and write what it has mapped, and serves the events in between.
func (g *amdGen) probe(d *amdDevice, mayWrite bool) {
	g.accessWrong(d.index, d.maps(), mayWrite, g.actEvents)
}

// badEntry changes fields of a device table entry to what they must not be.
func (g *amdGen) badEntry() {
	d := g.device()
	at := g.entryAt(d.sid)
	g.section("a wrong entry")
	w := g.current(at, 4)
	mayWrite := true
	switch g.r.IntN(6) {
	case 0:
		w[0] = w[0]&^spec.DteMode.Mask() | spec.DteMode.Put(7)
	case 1:
		w[0] = w[0]&^spec.DteMode.Mask() | spec.DteMode.Put(g.r.Uint64())
		mayWrite = false // tables of another level may map anything
	case 2:
		w[0] = w[0]&^spec.DteHostRoot.Mask() | uint64(g.hole)
	case 3:
		w[0] &^= uint64(1 + g.r.IntN(3)) // V, TV
	default:
		w = g.flip(w, []uint64{^(spec.DteMode.Mask() | spec.DteHostRoot.Mask()), ^uint64(0xffff), ^spec.DteIRTRoot.Mask(), ^uint64(0)})
	}
	g.with(at, w, func() { g.flushEntry(d, spec.DteDomainID.Of(g.mem[at+8])); g.flushInterrupts(d) }, func() {
		g.probe(d, mayWrite)
		if g.chance(30) {
			g.send(d, g.r.Uint64N(16))
		}
	}, "entry of device %d", d.index)
}

// badPaging changes an entry on the way to a page.
func (g *amdGen) badPaging() {
	d := g.device()
	if d.dom == nil || len(d.dom.maps) == 0 {
		return
	}
	m := one(&g.builder, d.dom.maps...)
	slots, levels := g.path(d.dom, m.iova)
	i := g.r.IntN(len(slots))
	if g.chance(40) {
		i = len(slots) - 1
	}
	g.section("a wrong paging entry, level %d", levels[i])
	e, mayWrite := g.wrongPaging(g.mem[slots[i]], levels[i], i == len(slots)-1)
	words := []uint64{e}
	if i == len(slots)-1 {
		words = slices.Repeat(words, replicas(m.lg2)) // which must be equal: a cache may have seen any
	}
	lg2 := below(levels[i])
	flush := func() { g.flushPages(d.dom, m.iova&^(1<<lg2-1), uint8(min(max(lg2, uint64(m.lg2)), 64)), true) }
	g.with(slots[i], words, flush, func() {
		for _, write := range []bool{false, true} {
			if mayWrite || !write {
				g.dma(d.index, g.inside(&m), write, "meets it")
			}
			if g.chance(60) {
				g.actEvents()
			}
		}
	}, "level %d entry of domain %d for %#x", levels[i], d.dom.did, uint64(m.iova))
}

// wrongPaging changes an entry into one that hardware refuses, or takes in another way than it looks.
func (g *amdGen) wrongPaging(e, level uint64, leaf bool) (wrong uint64, mayWrite bool) {
	next := spec.PteNextLevel.Mask()
	switch g.r.IntN(8) {
	case 0:
		return ^uint64(0), true
	case 1:
		return e &^ 1, true
	case 2:
		return e&^(spec.PteAddr.Mask()) | uint64(g.hole), true
	case 3:
		return e ^ one(&g.builder, amdR, amdW, amdRW), true
	case 4:
		return e | 1<<(52+g.r.IntN(7)), true
	case 5:
		return e&^next | spec.PteNextLevel.Put(g.r.Uint64()), false
	case 6:
		if !leaf {
			return e | 1<<(59+g.r.IntN(2)), true
		}
		fallthrough
	default:
		lg2 := uint8(13 + g.r.IntN(22))
		pa := uint64(g.hole)
		if lg2 <= 22 {
			pa = uint64(g.somePA(lg2))
		}
		return 1 | amdRW | spec.PteNextLevel.Put(spec.NextLevelSize) | spec.PageSizeAddr(pa, lg2), lg2 <= 22 && level <= 2
	}
}

// badCommand puts a command in the buffer that the unit must refuse, and then does what a driver does:
// it turns the buffer off, leaves the command out, and turns it on again.
func (g *amdGen) badCommand() {
	if !g.on(spec.CtlIommuEn) {
		return
	}
	op, lo, hi, what := g.wrongCommand()
	g.section("a wrong command: %s", what)
	if g.chance(40) {
		g.wait() // in the same batch
	}
	g.put(op, lo, hi, "%s", what)
	g.ringTail()
	g.recover()
}

// recover goes on behind a command that has stopped the buffer.
func (g *amdGen) recover() {
	g.read(spec.OffStatus, 4, "Status")
	g.read(spec.OffCmdHead, 8, "Command Head")
	g.set(spec.CtlCmdBufEn, false)
	g.write(spec.OffCmdHead, one(&g.builder, uint8(4), 8), g.ring.tail, "Command Head: behind it")
	if g.chance(50) {
		g.actEvents()
	}
	g.set(spec.CtlCmdBufEn, true)
	if g.chance(50) {
		g.wait()
		g.ringTail()
	}
}

func (g *amdGen) wrongCommand() (op int, lo, hi uint64, what string) {
	sid := uint64(one(&g.builder, g.devs...).sid)
	if g.chance(30) {
		return one(&g.builder, 0, 9, 10, 11, 12, 13, 14, 15), g.r.Uint64() >> 4, g.r.Uint64(), "unknown"
	}
	op = 1 + g.r.IntN(8)
	switch op {
	case spec.CmdInvalidateDevtab, spec.CmdInvalidateIOTLB, spec.CmdInvalidateIntTable, spec.CmdPrefetchPages, spec.CmdCompletePPR:
		lo = sid
	case spec.CmdCompletionWait:
		lo = spec.CwS.Mask() | uint64(g.status)
	}
	all := []uint64{^uint64(0) >> 4, ^uint64(0)}
	if op == spec.CmdInvalidateIOTLB && g.chance(30) {
		return op, lo, spec.ItType.Put(1 + g.r.Uint64N(3)), "a type that there is not"
	}
	w := g.flip([]uint64{lo, hi}, spec.CmdLayouts[op].Reserved(all))
	return op, w[0], w[1], "reserved bits"
}

// badWait waits with a store to where nothing is.
func (g *amdGen) badWait() {
	g.section("a wait that cannot store")
	g.put(spec.CmdCompletionWait, spec.CwS.Mask()|spec.CwI.PutBool(g.chance(30))|uint64(g.hole), 1, "wait: to nowhere")
	g.ringTail()
	g.recover()
}

// badInterrupt has mistakes in an interrupt entry, or in the message.
func (g *amdGen) badInterrupt() {
	d := one(&g.builder, g.devs...)
	if d.irt == 0 || len(d.used) == 0 {
		g.interruptsOn(d)
	}
	index := one(&g.builder, d.used...)
	g.section("a wrong interrupt")
	if g.chance(20) {
		g.send(d, 1<<d.lenT+g.r.Uint64N(120)) // beyond the table
		return
	}
	if g.chance(20) {
		at := g.entryAt(d.sid) + 16
		w := []uint64{g.mem[at]&^spec.DteIRTRoot.Mask() | uint64(g.hole)}
		g.with(at, w, func() { g.putDevtab(d); g.flushInterrupts(d) }, func() { g.send(d, uint64(index)) }, "interrupt table nowhere")
		return
	}
	old := d.irt + emu.PA(index)*g.irteSize()
	e := g.current(old&^7, g.irteWords())
	if !g.wide {
		e[0] = e[0] >> (8 * (old & 4)) & 0xffff_ffff
	}
	keep := append([]uint64(nil), e...)
	if g.wide {
		e = g.flip(e, []uint64{^(spec.Irte128DestLo.Mask()), ^uint64(0)})
	} else {
		e = g.flip(e, []uint64{0xff00_00ff})
	}
	g.storeIRTE(d, index, e, "interrupt entry %d", index)
	g.flushInterrupts(d)
	for range 2 {
		g.send(d, uint64(index))
		if g.chance(50) {
			g.actEvents()
		}
	}
	g.storeIRTE(d, index, keep, "as before")
	g.flushInterrupts(d)
}

// badTable points the unit at a device table that is not there.
func (g *amdGen) badTable() {
	g.section("a device table that is not there")
	g.write(spec.OffDevTabBase, 8, uint64(g.hole)|(g.pages-1), "Device Table Base")
	g.flushAll()
	g.probe(one(&g.builder, g.devs...), true)
	g.setTable()
	g.flushAll()
}

// shortTable makes the device table too short for some devices.
func (g *amdGen) shortTable() {
	g.section("a device table that is too short")
	g.write(spec.OffDevTabBase, 8, uint64(g.table), "Device Table Base")
	g.flushAll()
	for range 2 {
		g.probe(one(&g.builder, g.devs...), true)
	}
	if g.chance(40) {
		g.plainMessage()
	}
	g.setTable()
	g.flushAll()
}

// fullLog moves the head of the event log so that there is room for a few events only, and makes more.
func (g *amdGen) fullLog() {
	g.section("a log without room")
	g.restartLog()
	g.write(spec.OffEventHead, 4, uint64(1+g.r.IntN(4))*spec.EventSize, "Event Head: ahead of the tail")
	for range 2 + g.r.IntN(4) {
		if d := g.device(); d.dom != nil && d.dom.mode < 6 {
			g.access(d.index, emu.IOVA(1)<<62, "beyond what is mapped")
		}
	}
	if g.chance(50) {
		g.actEvents()
	}
	g.restartLog()
}

// lostLog has the event log where nothing is.
func (g *amdGen) lostLog() {
	g.section("a log that is not there")
	g.set(spec.CtlEventLogEn, false)
	g.write(spec.OffStatus, 4, amdConditions, "clear Status")
	g.write(spec.OffEventLogBase, 8, uint64(g.hole)|spec.RingLen.Put(spec.MinRingLen), "Event Log Base")
	g.set(spec.CtlEventLogEn, true)
	g.probe(g.device(), true)
	g.set(spec.CtlEventLogEn, false)
	g.write(spec.OffStatus, 4, amdConditions, "clear Status")
	g.newLog()
	g.set(spec.CtlEventLogEn, true)
}

// shortRings gives the rings lengths that are reserved.
func (g *amdGen) shortRings() {
	g.section("rings that are too short")
	g.set(spec.CtlCmdBufEn, false)
	g.set(spec.CtlEventLogEn, false)
	g.write(spec.OffStatus, 4, amdConditions, "clear Status")
	g.write(spec.OffCmdBufBase, 8, uint64(g.ring.base)|spec.RingLen.Put(4+g.r.Uint64N(4)), "Command Buffer Base")
	g.write(spec.OffCmdHead, 4, 0, "Command Head")
	g.write(spec.OffCmdTail, 4, 0, "Command Tail")
	g.write(spec.OffEventLogBase, 8, uint64(g.log)|spec.RingLen.Put(4+g.r.Uint64N(4)), "Event Log Base")
	g.set(spec.CtlCmdBufEn, true)
	g.set(spec.CtlEventLogEn, true)
	g.read(spec.OffStatus, 4, "Status")
	g.store(g.ring.base, []uint64{spec.CmdOpcode.Put(spec.CmdInvalidateAll), 0}, "invalidate all")
	g.write(spec.OffCmdTail, 4, spec.CommandSize, "Command Tail")
	g.probe(g.device(), true)
	g.set(spec.CtlCmdBufEn, false)
	g.set(spec.CtlEventLogEn, false)
	g.write(spec.OffStatus, 4, amdConditions, "clear Status")
	g.newRing()
	g.newLog()
	g.set(spec.CtlCmdBufEn, true)
	g.set(spec.CtlEventLogEn, true)
}

// lostRing has the command buffer where nothing is.
func (g *amdGen) lostRing() {
	g.section("a command buffer that is not there")
	g.set(spec.CtlCmdBufEn, false)
	g.write(spec.OffCmdBufBase, 8, uint64(g.hole)|spec.RingLen.Put(spec.MinRingLen), "Command Buffer Base")
	g.write(spec.OffCmdHead, 4, 0, "Command Head")
	g.write(spec.OffCmdTail, 4, 0, "Command Tail")
	g.set(spec.CtlCmdBufEn, true)
	g.write(spec.OffCmdTail, 4, spec.CommandSize, "Command Tail")
	g.read(spec.OffStatus, 4, "Status")
	g.set(spec.CtlCmdBufEn, false)
	g.newRing()
	g.set(spec.CtlCmdBufEn, true)
}

// baseInUse moves rings that run.
func (g *amdGen) baseInUse() {
	g.section("moving what runs")
	if g.chance(50) {
		g.write(spec.OffEventLogBase, 8, uint64(g.page())|spec.RingLen.Put(spec.MinRingLen), "Event Log Base")
		g.probe(g.device(), true)
		g.restartLog()
		return
	}
	g.write(spec.OffCmdBufBase, 8, uint64(g.page())|spec.RingLen.Put(spec.MinRingLen), "Command Buffer Base")
	g.read(spec.OffCmdHead, 8, "Command Head")
	g.set(spec.CtlCmdBufEn, false)
	g.newRing()
	g.set(spec.CtlCmdBufEn, true)
}

// halfBase writes the two halves of the base of the device table one after the other, with time between.
func (g *amdGen) halfBase() {
	g.section("half a base")
	empty := g.page()
	for range g.pages - 1 {
		g.page()
	}
	g.write(spec.OffDevTabBase, 4, uint64(empty)|(g.pages-1), "Device Table Base, low half")
	g.flushAll()
	g.access(one(&g.builder, g.devs...).index, g.direct(), "untranslated, or not")
	g.setTable()
	g.flushAll()
}

// amdRaw are registers with bits that they do not have, and registers that cannot be written.
var amdRaw = []struct {
	off  uint32
	bits uint64
	what string
}{
	{spec.OffEFR, ^uint64(0), "Extended Feature"},
	{spec.OffEFR2, ^uint64(0), "Extended Feature 2"},
	{spec.OffHWEventUpper, ^uint64(0), "HW Event Upper"},
	{spec.OffHWEventLower, ^uint64(0), "HW Event Lower"},
	{spec.OffHWEventStatus, 3, "HW Event Status"},
	{spec.OffExclLimit, 0xfff, "Exclusion Limit"},
	{spec.OffStatus, ^uint64(0), "Status"},
	{spec.OffPPRHead, ^uint64(0), "PPR Head"},
	{spec.OffPPRTail, ^uint64(0), "PPR Tail"},
	{spec.OffXTIntControl, ^(0xffff<<16 | spec.XtDestHi.Mask()), "XT interrupt control"}, // QEMU shows 8 bits of a destination
}

// rawRegisters writes bits that there are not.
func (g *amdGen) rawRegisters() {
	g.section("writes to what cannot be written")
	for range 1 + g.r.IntN(3) {
		if g.chance(30) {
			extra := uint64(0x3f<<18|0xffff<<28) & g.r.Uint64()
			g.write(spec.OffControl, 8, g.control|extra, "Control: what the unit does not have")
			g.write(spec.OffControl, 8, g.control, "Control")
			continue
		}
		r := one(&g.builder, amdRaw...)
		g.write(r.off, 8, r.bits&(g.r.Uint64()|g.r.Uint64()), "%s", r.what)
		g.read(r.off, 8, "%s", r.what)
	}
}
