package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdActions is what a driver and its devices do. All of it is legal; accesses that are refused are so
// for what is mapped.
var vtdActions = []choice[*vtdGen]{
	{30, (*vtdGen).actAccess},
	{8, (*vtdGen).actNear},
	{4, (*vtdGen).actBeyond},
	{12, (*vtdGen).actFaults},
	{8, (*vtdGen).actMap},
	{10, (*vtdGen).actChange},
	{4, (*vtdGen).actDrop},
	{8, (*vtdGen).actMove},
	{3, (*vtdGen).actDetach},
	{3, (*vtdGen).actFlush},
	{3, (*vtdGen).actEvents},
	{3, (*vtdGen).actMessage},
	{6, (*vtdGen).actRemap},
	{4, func(g *vtdGen) { g.readSome(vtdRegisters) }},
	{2, (*vtdGen).actToggle},
	{2, (*vtdGen).actRoot},
	{2, (*vtdGen).actQueue},
	{1, (*vtdGen).actWrap},
	{1, func(g *vtdGen) { g.pass() }},
}

// device draws a device; most of the time one that is translated.
func (g *vtdGen) device() *vtdDevice {
	return likely(&g.builder, g.devs, func(d *vtdDevice) bool { return len(d.maps()) > 0 })
}

func (g *vtdGen) actAccess() {
	d := g.device()
	g.accessSome(d.index, d.maps())
}

func (g *vtdGen) actNear() {
	d := g.device()
	g.accessNear(d.index, d.maps())
}

// actBeyond accesses addresses beyond the width of a domain.
func (g *vtdGen) actBeyond() {
	d := g.device()
	if g.chance(20) {
		d = one(&g.builder, g.devs...)
	}
	if d.pass {
		g.access(d.index, one(&g.builder, emu.IOVA(1)<<48, emu.IOVA(1)<<63|g.direct()), "beyond what the machine can address")
	}
	if d.dom == nil {
		return
	}
	w := d.dom.width()
	at := one(&g.builder, emu.IOVA(1)<<w, emu.IOVA(1)<<w|0x1000, emu.IOVA(1)<<62, ^emu.IOVA(7), emu.IOVA(1)<<47,
		emu.IOVA(1)<<47-8, vtdHighHalf, vtdHighHalf-8)
	g.accessLimit(d.index, at, d.dom.maps)
}

// actFaults looks for faults and clears them, as a driver does.
func (g *vtdGen) actFaults() {
	g.read(spec.OffFSTS, 4, "FSTS_REG")
	g.read(vtdFRO+spec.FRCDStatus, 4, "fault record, bits 127:96")
	if g.chance(40) {
		g.read(vtdFRO+8, 4, "fault record, bits 95:64")
		g.read(vtdFRO, 8, "fault record, bits 63:0")
	}
	if g.chance(30) {
		g.write(vtdFRO+8, 8, spec.FrF.Put(1), "clear the fault record")
	} else {
		g.write(vtdFRO+spec.FRCDStatus, 4, 1<<31, "clear the fault record")
	}
	if g.chance(80) {
		g.write(spec.OffFSTS, 4, spec.FstsPFO.Put(1)|spec.FstsPPF.Put(1), "clear FSTS_REG")
	}
}

func (g *vtdGen) actMap() {
	withOne(&g.builder, g.doms, func(d *vtdDomain) {
		g.section("map in domain %d", d.did)
		g.mapSome(d)
	})
}

func (g *vtdGen) actChange() { withOne(&g.builder, g.doms, g.change) }

func (g *vtdGen) actDrop() { withOne(&g.builder, g.doms, g.drop) }

func (g *vtdGen) actMove()   { g.move(one(&g.builder, g.devs...)) }
func (g *vtdGen) actDetach() { g.detach(one(&g.builder, g.devs...)) }

// actFlush invalidates what need not be.
func (g *vtdGen) actFlush() {
	g.section("invalidations that nothing asks for")
	if g.chance(50) || len(g.doms) == 0 {
		g.flushAll()
		return
	}
	d := one(&g.builder, g.doms...)
	g.flushPages(d, g.someIOVA(d), 12, true)
}

// actEvents programs or masks interrupts, and clears what is pending.
func (g *vtdGen) actEvents() {
	switch g.r.IntN(4) {
	case 0:
		g.events()
	case 1:
		g.write(spec.OffFECTL, 4, spec.EventIM.PutBool(g.chance(50)), "FECTL_REG")
	case 2:
		g.write(spec.OffIECTL, 4, spec.EventIM.PutBool(g.chance(50)), "IECTL_REG")
	default:
		g.write(spec.OffICS, 4, spec.IcsIWC.Put(1), "clear ICS_REG")
	}
}

// actMessage lets a device send an interrupt message.
func (g *vtdGen) actMessage() {
	at := emu.IOVA(interruptRange)<<20 | emu.IOVA(g.r.IntN(256))<<12
	g.add(Step{Op: Interrupt, Device: uint8(g.r.IntN(len(g.devs))), Addr: at, Write: true, Value: uint64(0x20 + g.r.IntN(0xe0))},
		"message of a device")
}

// actToggle turns translation off and on again.
func (g *vtdGen) actToggle() {
	g.section("translation off and on")
	g.enable(spec.GcmdTE, false)
	if g.chance(60) {
		g.access(one(&g.builder, g.devs...).index, g.direct(), "untranslated")
	}
	if g.chance(30) {
		g.setRoot()
	}
	if g.chance(50) {
		g.flushAll()
	}
	g.enable(spec.GcmdTE, true)
}

// actRoot moves the root table to another place, with translation on.
func (g *vtdGen) actRoot() {
	old := g.root
	g.root = g.page()
	g.section("another root table")
	for bus := range emu.PA(256) {
		if lo, hi := g.mem[old+bus*16], g.mem[old+bus*16+8]; lo|hi != 0 {
			g.store(g.root+bus*16, []uint64{lo, hi}, "root entry of bus %d", bus)
		}
	}
	g.setRoot()
	if g.chance(50) {
		g.flushAll() // the unit has CAP.ESRTPS: it has done that
	}
}

// actQueue turns the queue off, and mostly on again.
func (g *vtdGen) actQueue() {
	if !g.on(spec.GcmdQIE) {
		g.section("queue on")
		g.queueOn()
		return
	}
	g.section("queue off")
	g.wait()
	g.ring()
	g.enable(spec.GcmdQIE, false)
	if g.scalable || g.chance(80) {
		g.queueOn()
	}
}

// actWrap lets the queue go around its end.
func (g *vtdGen) actWrap() {
	q := &g.queue
	if !g.on(spec.GcmdQIE) || q.qs > 0 {
		return
	}
	g.section("around the end of the queue")
	n := (q.bytes()-q.tail)/q.size() - 1
	w := []uint64{spec.PutDescType(spec.DescIEC), 0, 0, 0}[:q.size()/8]
	var all []uint64
	for range n {
		all = append(all, w...)
	}
	if n > 0 {
		g.store(q.base+emu.PA(q.tail), all, "%d descriptors that do nothing here", n)
		q.tail += n * q.size()
		q.bare = false
		g.ring()
	}
	for range 3 {
		g.wait()
		g.ring()
	}
}

// vtdHighHalf is where the upper half of a 48-bit canonical address space begins.
const vtdHighHalf = 0xffff_8000_0000_0000
