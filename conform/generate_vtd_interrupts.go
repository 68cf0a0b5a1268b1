package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdIRT is the interrupt-remapping table as software sees it.
type vtdIRT struct {
	base emu.PA
	size uint64 // IRTA.S: 2^(S+1) entries
	used []int  // entries that are present
}

// actRemap does something with interrupt remapping, and turns it on first. It needs the queue: there
// is no other way to invalidate.
func (g *vtdGen) actRemap() {
	switch {
	case !g.on(spec.GcmdQIE):
	case !g.on(spec.GcmdIRE):
		g.remapOn()
	case g.chance(50) && len(g.irt.used) > 0:
		g.remapped(one(&g.builder, g.irt.used...))
	case g.chance(60):
		g.changeIRTE()
	case g.chance(60):
		g.actMessage() // of the compatibility format
	case g.chance(50):
		g.remapped(g.r.IntN(int(2 << g.irt.size))) // maybe not present
	default:
		g.section("interrupt remapping off")
		g.enable(spec.GcmdIRE, false)
	}
}

// remapOn makes a table and turns remapping on.
func (g *vtdGen) remapOn() {
	g.section("interrupt remapping on")
	if g.irt.base == 0 || g.chance(20) {
		g.irt = vtdIRT{base: g.page(), size: uint64(3 + g.r.IntN(5))}
	}
	for range 2 + g.r.IntN(3) {
		g.newIRTE(g.r.IntN(int(2 << g.irt.size)))
	}
	v := uint64(g.irt.base) | spec.IrtaS.Put(g.irt.size)
	g.long(spec.OffIRTA, v, "IRTA_REG")
	g.shot(spec.GcmdSIRTP, "SIRTP")
	g.putIEC(0, false)
	g.wait()
	g.ring()
	g.enable(spec.GcmdIRE, true)
}

// putIEC invalidates interrupt entries: one, or all.
func (g *vtdGen) putIEC(index int, selective bool) {
	lo := spec.PutDescType(spec.DescIEC)
	if !selective {
		g.put(lo, 0, "invalidate interrupt entries: global")
		return
	}
	g.put(lo|spec.IeG.Put(1)|spec.IeIIDX.Put(uint64(index))|spec.IeIM.Put(uint64(g.r.IntN(2))), 0, "invalidate interrupt entry %d", index)
}

// newIRTE writes an entry that is not present yet.
func (g *vtdGen) newIRTE(index int) {
	at := g.irt.base + emu.PA(index)*spec.IRTESize
	if g.mem[at]&1 != 0 {
		return
	}
	e := g.irte()
	g.store(at, e, "interrupt entry %d", index)
	g.irt.used = append(g.irt.used, index)
}

// irte composes an entry: for any source, for a device, or for a range of buses.
func (g *vtdGen) irte() []uint64 {
	lo := spec.IrteP.Put(1) | spec.IrteFPD.PutBool(g.chance(10)) | spec.IrteDM.Put(g.r.Uint64()) | spec.IrteRH.Put(g.r.Uint64()) |
		spec.IrteTM.Put(g.r.Uint64()) | spec.IrteDLM.Put(g.r.Uint64N(2)) | spec.IrteV.Put(0x20+g.r.Uint64N(0xe0)) |
		spec.IrteDST8.Put(1+g.r.Uint64N(255))
	if g.chance(20) {
		lo |= spec.IrteAVAIL.Put(g.r.Uint64())
	}
	var hi uint64
	switch g.r.IntN(4) {
	case 0, 1:
		hi = spec.IrteSVT.Put(1) | spec.IrteSQ.Put(g.r.Uint64()) | spec.IrteSID.Put(uint64(one(&g.builder, g.devs...).sid))
	case 2:
		first := g.r.Uint64N(2)
		hi = spec.IrteSVT.Put(2) | spec.IrteSID.Put(first<<8|(first+g.r.Uint64N(2)))
	}
	return []uint64{lo, hi}
}

// changeIRTE rewrites an entry, and tells the unit.
func (g *vtdGen) changeIRTE() {
	if len(g.irt.used) == 0 {
		g.newIRTE(g.r.IntN(int(2 << g.irt.size)))
		return
	}
	i := g.r.IntN(len(g.irt.used))
	index := g.irt.used[i]
	g.section("change interrupt entry %d", index)
	at := g.irt.base + emu.PA(index)*spec.IRTESize
	if g.chance(30) {
		g.irt.used = append(g.irt.used[:i], g.irt.used[i+1:]...)
		g.store(at, []uint64{0, 0}, "interrupt entry %d: none", index)
	} else {
		g.store(at, g.irte(), "interrupt entry %d", index)
	}
	g.flushIRTE(index)
}

func (g *vtdGen) flushIRTE(index int) {
	g.putIEC(index, g.chance(70))
	g.wait()
	g.ring()
}

// remapped lets a device send a message in remappable format for an entry, with a subhandle or without.
func (g *vtdGen) remapped(index int) {
	handle, sub, shv := uint64(index), g.r.Uint64N(1<<16), uint64(0)
	if g.chance(30) {
		shv = 1
		sub = g.r.Uint64N(uint64(index) + 1)
		handle -= sub
	}
	at := emu.IOVA(interruptRange)<<20 | emu.IOVA(spec.MsiFormat.Put(1)|spec.MsiSHV.Put(shv)|spec.MsiHandleL.Put(handle)|spec.MsiHandleH.Put(handle>>15))
	g.add(Step{Op: Interrupt, Device: uint8(g.r.IntN(len(g.devs))), Addr: at, Write: true, Value: sub}, "message for entry %d", index)
}

// badInterrupt has mistakes in an entry, or in the message.
func (g *vtdGen) badInterrupt() {
	if !g.on(spec.GcmdQIE) {
		return
	}
	if !g.on(spec.GcmdIRE) {
		g.remapOn()
	}
	if len(g.irt.used) == 0 {
		g.newIRTE(1)
	}
	index := one(&g.builder, g.irt.used...)
	g.section("a wrong interrupt")
	if g.chance(20) {
		g.remapped(int(2<<g.irt.size) + g.r.IntN(300)) // beyond the table
		g.actFaults()
		return
	}
	at := g.irt.base + emu.PA(index)*spec.IRTESize
	w := g.current(at, 2)
	switch g.r.IntN(4) {
	case 0:
		w[0] ^= spec.IrteIM.Mask()
	case 1:
		spec.IrteSVT.Set(w, 3)
	case 2:
		w[0] &^= 1
	default:
		w = g.flip(w, []uint64{0xffff_00ff_ff00_3000, 0xffff_ffff_fff0_0000})
	}
	if g.chance(20) {
		w[0] |= spec.IrteFPD.Mask()
	}
	g.with(at, w, func() { g.flushIRTE(index) }, func() {
		for range 2 {
			g.remapped(index)
			g.actFaults()
		}
	}, "interrupt entry %d", index)
}
