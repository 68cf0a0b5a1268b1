package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdRing is the command buffer as software sees it.
type amdRing struct {
	base emu.PA
	lg2  uint64 // of its length in commands
	tail uint64
	wait uint64 // data of the last COMPLETION_WAIT
}

func (r *amdRing) bytes() uint64 { return spec.CommandSize << r.lg2 }

// newRing makes a command buffer. It has to be off.
func (g *amdGen) newRing() {
	q := &g.ring
	q.lg2 = spec.MinRingLen + uint64(g.r.IntN(2))
	q.base = g.page()
	if q.lg2 > spec.MinRingLen {
		g.page()
	}
	q.tail = 0
	g.long(spec.OffCmdBufBase, uint64(q.base)|spec.RingLen.Put(q.lg2), "Command Buffer Base")
	if g.chance(70) {
		g.write(spec.OffCmdHead, one(&g.builder, uint8(4), 8), 0, "Command Head")
		g.write(spec.OffCmdTail, one(&g.builder, uint8(4), 8), 0, "Command Tail")
	}
}

// put writes a command at the tail, without telling the unit.
func (g *amdGen) put(op int, lo, hi uint64, format string, a ...any) {
	q := &g.ring
	g.store(q.base+emu.PA(q.tail), []uint64{spec.CmdOpcode.Put(uint64(op)) | lo, hi}, format, a...)
	q.tail = (q.tail + spec.CommandSize) % q.bytes()
}

// ring tells the unit of what was put.
func (g *amdGen) ringTail() {
	g.write(spec.OffCmdTail, one(&g.builder, uint8(4), 8), g.ring.tail, "Command Tail")
}

// wait puts a COMPLETION_WAIT.
func (g *amdGen) wait() {
	g.ring.wait++
	lo := spec.CwF.PutBool(g.chance(20))
	if g.chance(15) {
		g.put(spec.CmdCompletionWait, lo|spec.CwI.Put(1), 0, "wait: interrupt")
		return
	}
	at := g.status + emu.PA(g.r.IntN(4))*8
	g.put(spec.CmdCompletionWait, lo|spec.CwS.Put(1)|spec.CwI.PutBool(g.chance(5))|uint64(at), g.ring.wait, "wait: %#x to %#x", g.ring.wait, uint64(at))
}

// flushAll makes the unit forget everything.
func (g *amdGen) flushAll() {
	if g.chance(85) { // see deviation all-keeps-devices
		for _, d := range g.devs {
			g.putDevtab(d)
		}
	}
	g.put(spec.CmdInvalidateAll, 0, 0, "invalidate all")
	g.wait()
	g.ringTail()
}

func (g *amdGen) putDevtab(d *amdDevice) {
	g.put(spec.CmdInvalidateDevtab, uint64(d.sid), 0, "invalidate the entry of device %d", d.index)
}

// putPages invalidates a block of 2^lg2 bytes of a domain; 64 is all of it.
func (g *amdGen) putPages(did uint64, at emu.IOVA, lg2 uint8, tables bool) {
	lo := spec.IpDomainID.Put(did)
	hi := spec.IpPDE.PutBool(tables || g.chance(20))
	switch {
	case lg2 >= 63:
		g.put(spec.CmdInvalidatePages, lo, hi|spec.CmdS.Mask()|spec.AllPages, "invalidate domain %d", did)
		return
	case lg2 > emu.PageShift:
		m := uint64(1)<<lg2 - 1
		hi |= spec.CmdS.Mask() | (uint64(at)&^m|m>>1)&spec.CmdAddr.Mask()
	default:
		hi |= uint64(at) & spec.CmdAddr.Mask()
	}
	g.put(spec.CmdInvalidatePages, lo, hi, "invalidate %#x of domain %d", uint64(at), did)
}

// flushPages makes the unit forget a block of a domain; tables says that tables were taken out.
func (g *amdGen) flushPages(d *amdDomain, at emu.IOVA, lg2 uint8, tables bool) {
	switch g.r.IntN(8) {
	case 0:
		lg2 = 64
	case 1:
		lg2 += uint8(g.r.IntN(4))
	}
	if g.chance(5) {
		g.put(spec.CmdInvalidateAll, 0, 0, "invalidate all")
	} else {
		g.putPages(d.did, at&^(1<<lg2-1), lg2, tables)
	}
	g.wait()
	g.ringTail()
}

// flushEntry makes the unit forget the entry of a device, and with old what its domain was, all
// translations of that.
func (g *amdGen) flushEntry(d *amdDevice, old uint64) {
	if g.chance(92) {
		g.putDevtab(d)
	} else {
		g.put(spec.CmdInvalidateAll, 0, 0, "invalidate all")
	}
	if old != 0 {
		g.putPages(old, 0, 64, true)
	}
	g.wait()
	g.ringTail()
}

// flushInterrupts makes the unit forget the interrupt table of a device.
func (g *amdGen) flushInterrupts(d *amdDevice) {
	if g.chance(95) {
		g.put(spec.CmdInvalidateIntTable, uint64(d.sid), 0, "invalidate the interrupts of device %d", d.index)
	} else {
		g.put(spec.CmdInvalidateAll, 0, 0, "invalidate all")
	}
	g.wait()
	g.ringTail()
}
