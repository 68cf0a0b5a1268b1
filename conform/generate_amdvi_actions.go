package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdActions is what a driver and its devices do. All of it is legal; accesses that are refused are so
// for what is mapped.
var amdActions = []choice[*amdGen]{
	{30, (*amdGen).actAccess},
	{8, (*amdGen).actNear},
	{4, (*amdGen).actBeyond},
	{10, (*amdGen).actEvents},
	{8, (*amdGen).actMap},
	{10, (*amdGen).actChange},
	{4, (*amdGen).actDrop},
	{8, (*amdGen).actMove},
	{3, (*amdGen).actDetach},
	{3, (*amdGen).actFlush},
	{5, (*amdGen).actWait},
	{5, (*amdGen).actEnables},
	{10, (*amdGen).actInterrupt},
	{4, func(g *amdGen) { g.readSome(amdRegisters) }},
	{2, (*amdGen).actToggle},
	{2, (*amdGen).actTable},
	{2, (*amdGen).actRing},
	{1, (*amdGen).actWrap},
	{2, (*amdGen).actExclusion},
	{1, (*amdGen).actSpecial},
	{1, (*amdGen).actPPR},
	{1, func(g *amdGen) { g.pass() }},
}

// device draws a device; most of the time one that is translated.
func (g *amdGen) device() *amdDevice {
	return likely(&g.builder, g.devs, func(d *amdDevice) bool { return len(d.maps()) > 0 })
}

func (g *amdGen) actAccess() {
	d := g.device()
	g.accessSome(d.index, d.maps())
}

func (g *amdGen) actNear() {
	d := g.device()
	g.accessNear(d.index, d.maps())
}

// actBeyond accesses addresses beyond the width of a domain.
func (g *amdGen) actBeyond() {
	d := g.device()
	if d.dom == nil || d.dom.mode == 6 {
		return
	}
	w := d.dom.width()
	at := one(&g.builder, emu.IOVA(1)<<w, emu.IOVA(1)<<w|0x1000, emu.IOVA(1)<<62, ^emu.IOVA(7), emu.IOVA(1)<<w-8)
	g.accessLimit(d.index, at, d.dom.maps)
}

// actEvents looks for events and clears what is pending, as a driver does; now and then it starts the
// log anew.
func (g *amdGen) actEvents() {
	g.read(spec.OffStatus, 4, "Status")
	if g.chance(80) {
		g.write(spec.OffStatus, one(&g.builder, uint8(4), 8), amdConditions, "clear Status")
	}
	if g.chance(50) {
		g.read(spec.OffEventTail, 4, "Event Tail")
		g.read(spec.OffEventHead, 4, "Event Head")
	}
	if g.chance(50) {
		g.restartLog()
	}
}

// amdConditions are the bits of Status that software clears.
var amdConditions = spec.StsEventOverflow.Mask() | spec.StsEventLogInt.Mask() | spec.StsComWaitInt.Mask()

// restartLog turns the event log off and on again, empty.
func (g *amdGen) restartLog() {
	on := g.on(spec.CtlEventLogEn)
	g.set(spec.CtlEventLogEn, false)
	if g.chance(80) { // see deviation event-base-kept
		g.write(spec.OffStatus, 4, amdConditions, "clear Status")
	}
	if g.chance(30) {
		g.newLog()
	} else {
		g.write(spec.OffEventHead, one(&g.builder, uint8(4), 8), 0, "Event Head")
		g.write(spec.OffEventTail, one(&g.builder, uint8(4), 8), 0, "Event Tail")
	}
	g.set(spec.CtlEventLogEn, on || g.chance(30))
}

func (g *amdGen) actMap() {
	withOne(&g.builder, g.doms, func(d *amdDomain) {
		g.section("map in domain %d", d.did)
		g.mapSome(d)
	})
}

func (g *amdGen) actChange() { withOne(&g.builder, g.doms, g.change) }

func (g *amdGen) actDrop() { withOne(&g.builder, g.doms, g.drop) }

func (g *amdGen) actMove()   { g.move(one(&g.builder, g.devs...)) }
func (g *amdGen) actDetach() { g.detach(one(&g.builder, g.devs...)) }

// actFlush invalidates what need not be, and gives commands that do nothing here.
func (g *amdGen) actFlush() {
	g.section("commands that nothing asks for")
	d := one(&g.builder, g.devs...)
	switch g.r.IntN(6) {
	case 0:
		g.flushAll()
		return
	case 1:
		g.flushEntry(d, 0)
		return
	case 2:
		g.put(spec.CmdInvalidateIOTLB, uint64(d.sid)|spec.ItMaxPend.Put(1)|spec.ItQueueID.Put(uint64(d.sid)),
			uint64(g.r.IntN(512))<<12|spec.CmdS.PutBool(g.chance(50)), "invalidate the translations that device %d has", d.index)
	case 3:
		g.put(spec.CmdPrefetchPages, uint64(d.sid)|spec.PfCount.Put(g.r.Uint64()), uint64(g.r.IntN(512))<<12|spec.PfInval.PutBool(g.chance(50)), "prefetch")
	case 4:
		g.put(spec.CmdInvalidateIntTable, uint64(d.sid), 0, "invalidate the interrupts of device %d", d.index)
	default:
		if len(g.doms) > 0 {
			d := one(&g.builder, g.doms...)
			g.flushPages(d, g.someIOVA(d), 12, false)
			return
		}
	}
	g.wait()
	g.ringTail()
}

// actWait waits, in all ways, some in one batch.
func (g *amdGen) actWait() {
	g.section("waits")
	for range 1 + g.r.IntN(3) {
		g.wait()
	}
	g.ringTail()
	if g.chance(50) {
		g.read(spec.OffStatus, 4, "Status")
	}
}

// actEnables turns interrupts of the unit on and off.
func (g *amdGen) actEnables() {
	b := one(&g.builder, spec.CtlEventIntEn, spec.CtlComWaitIntEn)
	g.set(b, !g.on(b))
}

// actToggle turns the unit off and on again.
func (g *amdGen) actToggle() {
	g.section("the unit off and on")
	g.set(spec.CtlIommuEn, false)
	if g.chance(60) {
		g.access(one(&g.builder, g.devs...).index, g.direct(), "untranslated")
	}
	if g.chance(30) {
		g.plainMessage()
	}
	if g.chance(30) {
		g.setTable()
	}
	g.set(spec.CtlIommuEn, true)
	if g.chance(50) {
		g.flushAll()
	}
}

// actTable moves the device table to another place.
func (g *amdGen) actTable() {
	old := g.table
	g.section("another device table")
	g.newTable()
	for _, d := range g.devs {
		off := emu.PA(d.sid) * spec.DTESize
		g.store(g.table+off, g.current(old+off, 4), "entry of device %d", d.index)
	}
	g.setTable()
	g.flushAll()
}

// actRing moves the command buffer.
func (g *amdGen) actRing() {
	g.section("another command buffer")
	g.set(spec.CtlCmdBufEn, false)
	g.newRing()
	g.set(spec.CtlCmdBufEn, true)
}

// actWrap lets the command buffer go around its end.
func (g *amdGen) actWrap() {
	q := &g.ring
	g.section("around the end of the command buffer")
	n := (q.bytes()-q.tail)/spec.CommandSize - 1
	var all []uint64
	for range n {
		all = append(all, spec.CmdOpcode.Put(spec.CmdInvalidateIntTable), 0)
	}
	if n > 0 {
		g.store(q.base+emu.PA(q.tail), all, "%d commands that do nothing here", n)
		q.tail += n * spec.CommandSize
		g.ringTail()
	}
	for range 3 {
		g.wait()
		g.ringTail()
	}
}

// actExclusion lets an address range pass untranslated for a while.
func (g *amdGen) actExclusion() {
	at := uint64(one(&g.builder, g.data...))
	g.section("the exclusion range")
	g.long(spec.OffExclLimit, at+uint64(g.r.IntN(2))<<12, "Exclusion Limit")
	g.write(spec.OffExclBase, 8, at|spec.ExclEn.Mask()|spec.ExclAllow.PutBool(g.chance(60)), "Exclusion Base")
	for range 2 {
		g.access(one(&g.builder, g.devs...).index, emu.IOVA(at)+emu.IOVA(g.r.IntN(512))*8, "in it, if it may")
	}
	g.write(spec.OffExclBase, 8, at, "Exclusion Base: off")
}

// actSpecial accesses the range of HyperTransport's own.
func (g *amdGen) actSpecial() {
	at := one(&g.builder, emu.IOVA(0xfd_0000_0000), 0xfd_f910_0000, 0xfd_f920_0000, 0xfd_fc00_0000, 0xfd_fe00_0000, 0xff_ffff_fff8, 0x100_0000_0000, 0xfc_ffff_fff8)
	for range 2 {
		g.access(one(&g.builder, g.devs...).index, at, "in the special range")
	}
}

// actPPR sets the log of page requests up, which nobody makes.
func (g *amdGen) actPPR() {
	g.section("a log for page requests")
	g.write(spec.OffPPRLogBase, 8, uint64(g.page())|spec.RingLen.Put(spec.MinRingLen), "PPR Log Base")
	g.write(spec.OffPPRHead, 8, 0, "PPR Head")
	g.write(spec.OffPPRTail, 8, 0, "PPR Tail")
	g.control ^= spec.CtlPPRLogEn.Mask() | spec.CtlPPREn.Mask()
	g.write(spec.OffControl, 8, g.control, "Control: PPRLogEn=%d", spec.CtlPPRLogEn.Of(g.control))
	g.read(spec.OffStatus, 4, "Status")
}
