package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// actInterrupt lets a device send a message, or does something with its table.
func (g *amdGen) actInterrupt() {
	d := one(&g.builder, g.devs...)
	switch {
	case g.chance(15):
		g.plainMessage()
	case d.irt == 0 || len(d.used) == 0:
		g.interruptsOn(d)
	case g.chance(60):
		g.send(d, uint64(one(&g.builder, d.used...)))
	case g.chance(50):
		g.changeIRTE(d)
	case g.chance(50):
		g.send(d, g.r.Uint64N(1<<d.lenT)) // maybe without entry
	case g.chance(50):
		g.otherKind(d)
	default:
		g.interruptControl(d)
	}
}

// plainMessage lets a device send a message as it would without remapping.
func (g *amdGen) plainMessage() {
	g.send(one(&g.builder, g.devs...), 0x20+g.r.Uint64N(0xe0))
}

// send lets a device send a message to a processor that is not there.
func (g *amdGen) send(d *amdDevice, data uint64) {
	at := interruptRange<<20 | spec.MsiAddrDest.Put(1+g.r.Uint64N(255)) | spec.MsiAddrDM.PutBool(g.chance(20))
	g.add(Step{Op: Interrupt, Device: uint8(d.index), Addr: emu.IOVA(at), Write: true, Value: data}, "message of device %d", d.index)
}

// interruptsOn gives a device an interrupt table.
func (g *amdGen) interruptsOn(d *amdDevice) {
	g.section("interrupts of device %d are remapped", d.index)
	d.irt, d.lenT, d.used = g.page(), uint64(3+g.r.IntN(5)), nil // what the table has at its end is 128 entries
	for range 2 + g.r.IntN(3) {
		g.newIRTE(d, g.r.IntN(1<<d.lenT))
	}
	g.interruptHalf(d, spec.IntCtlRemap)
}

// interruptHalf writes the half of an entry that interrupts go by, and tells the unit.
func (g *amdGen) interruptHalf(d *amdDevice, ctl uint64) {
	lo := uint64(d.irt) | spec.DteIV.Mask() | spec.DteIntTabLen.Put(d.lenT) | spec.DteIntCtl.Put(ctl) | spec.DteIG.PutBool(g.chance(10)) |
		spec.DteInitPass.PutBool(g.chance(30)) | spec.DteEIntPass.PutBool(g.chance(30)) | spec.DteNMIPass.PutBool(g.chance(30))
	hi := uint64(0)
	if g.chance(20) {
		lo |= spec.DteLint0Pass.Put(g.r.Uint64()) | spec.DteLint1Pass.Put(g.r.Uint64())
		hi = spec.DteGuestID.Put(g.r.Uint64())
	}
	g.store(g.entryAt(d.sid)+16, []uint64{lo, hi}, "entry of device %d: interrupts, IntCtl=%d", d.index, ctl)
	g.putDevtab(d)
	g.flushInterrupts(d)
}

// interruptControl changes what is done with the messages of a device.
func (g *amdGen) interruptControl(d *amdDevice) {
	g.section("interrupts of device %d", d.index)
	ctl := one[uint64](&g.builder, spec.IntCtlAbort, spec.IntCtlPass, spec.IntCtlRemap)
	g.interruptHalf(d, ctl)
	g.send(d, 0x20+g.r.Uint64N(0xe0))
	if ctl != spec.IntCtlRemap {
		g.interruptHalf(d, spec.IntCtlRemap)
	}
}

// otherKind sends a message that is not remapped but passes, or does not.
func (g *amdGen) otherKind(d *amdDevice) {
	kind := one[uint64](&g.builder, 2, 3, 4, 5, 6, 7)
	g.send(d, spec.MsiDataMT.Put(kind)|0x20+g.r.Uint64N(0xe0))
}

func (g *amdGen) irteSize() emu.PA {
	if g.wide {
		return spec.IRTESize128
	}
	return spec.IRTESize32
}

// newIRTE writes an entry that does not remap yet.
func (g *amdGen) newIRTE(d *amdDevice, index int) {
	if at := d.irt + emu.PA(index)*g.irteSize(); g.mem[at&^7]>>(8*(at&4))&1 != 0 {
		return
	}
	g.storeIRTE(d, index, g.irte(), "interrupt entry %d of device %d", index, d.index)
	d.used = append(d.used, index)
}

// storeIRTE writes an entry. Those of 4 bytes are written with their neighbour.
func (g *amdGen) storeIRTE(d *amdDevice, index int, e []uint64, format string, a ...any) {
	at := d.irt + emu.PA(index)*g.irteSize()
	if !g.wide {
		shift := 8 * (at & 4)
		at &^= 7
		e = []uint64{g.mem[at]&^(0xffff_ffff<<shift) | e[0]<<shift}
	}
	g.store(at, e, format, a...)
}

// irte composes an entry.
func (g *amdGen) irte() []uint64 {
	lo := spec.IrteRemapEn.Mask() | spec.IrteIntType.Put(g.r.Uint64N(2)) | spec.IrteDM.Put(g.r.Uint64()) |
		spec.IrteSupIOPF.PutBool(g.chance(20)) | spec.IrteRqEoi.PutBool(g.chance(20))
	vector := 0x20 + g.r.Uint64N(0xe0)
	if !g.wide {
		return []uint64{lo | spec.IrteDest.Put(1+g.r.Uint64N(255)) | spec.IrteVector.Put(vector)}
	}
	hi := spec.Irte128Vector.Put(vector)
	lo |= spec.Irte128DestLo.Put(1 + g.r.Uint64N(255))
	if g.on(spec.CtlXTEn) {
		lo |= spec.Irte128DestLo.Put(g.r.Uint64())
		hi |= spec.Irte128DestHi.Put(g.r.Uint64())
	}
	return []uint64{lo, hi}
}

// changeIRTE rewrites or removes an entry, and tells the unit.
func (g *amdGen) changeIRTE(d *amdDevice) {
	i := g.r.IntN(len(d.used))
	index := d.used[i]
	g.section("change interrupt entry %d of device %d", index, d.index)
	if g.chance(30) {
		d.used = append(d.used[:i], d.used[i+1:]...)
		g.storeIRTE(d, index, []uint64{0, 0}[:g.irteWords()], "interrupt entry %d: none", index)
	} else {
		g.storeIRTE(d, index, g.irte(), "interrupt entry %d", index)
	}
	g.flushInterrupts(d)
}

func (g *amdGen) irteWords() int {
	if g.wide {
		return 2
	}
	return 1
}
