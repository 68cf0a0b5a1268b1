package conform

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdEntry is where a device goes: a domain, pass-through, or nowhere.
type vtdEntry struct {
	dom  *vtdDomain
	pass bool
	fpd  bool
}

// someTarget draws where a device may go.
func (g *vtdGen) someTarget() vtdEntry {
	t := vtdEntry{fpd: g.chance(10)}
	switch {
	case g.chance(15):
		t.pass = true
	case len(g.doms) == 0 || g.chance(15) && len(g.doms) < 5:
		t.dom = g.newDomain()
	default:
		t.dom = one(&g.builder, g.doms...)
	}
	return t
}

// contextAt returns where the context entry of a requester is, and makes the way to it.
func (g *vtdGen) contextAt(sid emu.SourceID) emu.PA {
	bus, devfn := sid>>8, sid&0xff
	key, slot := bus<<8, g.root+emu.PA(bus)*16
	if g.scalable {
		key |= devfn & 0x80
		slot += emu.PA(devfn>>7) * 8
	}
	t, ok := g.tables[key]
	if !ok {
		t = g.page()
		g.tables[key] = t
		g.store(slot, []uint64{uint64(t) | 1}, "root entry of bus %d%s", bus, g.half(devfn))
	}
	if g.scalable {
		return t + emu.PA(devfn&0x7f)*32
	}
	return t + emu.PA(devfn)*16
}

func (g *vtdGen) half(devfn emu.SourceID) string {
	switch {
	case !g.scalable:
		return ""
	case devfn >= 0x80:
		return ", upper half"
	}
	return ", lower half"
}

// attach writes the entries of a device that has none in force.
func (g *vtdGen) attach(d *vtdDevice, t vtdEntry) {
	d.dom, d.pass = t.dom, t.pass
	if t.dom != nil {
		d.did = t.dom.did
	} else {
		d.did = g.freshDID()
	}
	if g.scalable {
		g.attachScalable(d, t)
		return
	}
	at := g.contextAt(d.sid)
	lo, hi := spec.CtxP.Put(1)|spec.CtxFPD.PutBool(t.fpd), spec.CtxDID.Put(d.did)
	if t.pass {
		lo |= spec.CtxTT.Put(spec.TTPassThrough)
		hi |= spec.CtxAW.Put(spec.AW48)
	} else {
		lo |= uint64(t.dom.top)
		hi |= spec.CtxAW.Put(t.dom.aw)
	}
	if g.chance(20) {
		hi |= spec.CtxAVAIL.Put(g.r.Uint64())
	}
	g.store(at, []uint64{lo, hi}, "context entry of device %d: %s", d.index, g.where(t, d.did))
}

func (g *vtdGen) where(t vtdEntry, did uint64) string {
	if t.pass {
		return fmt.Sprintf("pass-through, domain %d", did)
	}
	return fmt.Sprintf("domain %d", did)
}

// attachScalable writes the PASID entry of a device, and the way to it if it is not there yet.
func (g *vtdGen) attachScalable(d *vtdDevice, t vtdEntry) {
	if d.dir == 0 {
		d.dir, d.table = g.page(), g.page()
		g.store(d.dir, []uint64{uint64(d.table) | spec.PDirP.Put(1)}, "PASID directory of device %d", d.index)
	}
	e := g.pasidEntry(t, d.did)
	g.store(d.table, e[:], "PASID 0 of device %d: %s", d.index, g.where(t, d.did))
	at := g.contextAt(d.sid)
	if g.mem[at]&1 == 0 {
		lo := uint64(d.dir) | spec.SMCtxP.Put(1) | spec.SMCtxPDTS.Put(uint64(g.r.IntN(2)))
		g.store(at, []uint64{lo, 0, 0, 0}, "context entry of device %d", d.index)
	}
}

// pasidEntry composes a PASID entry.
func (g *vtdGen) pasidEntry(t vtdEntry, did uint64) [8]uint64 {
	var e [8]uint64
	e[0] = spec.PasidP.Put(1) | spec.PasidFPD.PutBool(t.fpd)
	e[1] = spec.PasidDID.Put(did)
	if t.pass {
		e[0] |= spec.PasidPGTT.Put(spec.PGTTPassThrough) | spec.PasidAW.Put(spec.AW48)
	} else if t.dom.first {
		e[0] |= spec.PasidPGTT.Put(spec.PGTTFirst) | spec.PasidAW.Put(t.dom.aw) // see deviation canonical-width
		e[2] |= uint64(t.dom.top)
	} else {
		e[0] |= spec.PasidPGTT.Put(spec.PGTTSecond) | spec.PasidAW.Put(t.dom.aw) | uint64(t.dom.top)
	}
	return e
}

// detach takes the entry of a device out of force, and tells the unit.
func (g *vtdGen) detach(d *vtdDevice) {
	if d.dom == nil && !d.pass {
		return
	}
	at := g.contextAt(d.sid)
	if g.scalable {
		at = d.table
	}
	g.section("detach device %d", d.index)
	g.store(at, []uint64{g.mem[at] &^ 1}, "entry of device %d: P=0", d.index)
	g.flushEntry(d, false)
	d.dom, d.pass = nil, false
}

// move rewrites the entry of a device that is in force, and tells the unit.
func (g *vtdGen) move(d *vtdDevice) {
	old := *d
	g.section("move device %d", d.index)
	g.attach(d, g.someTarget())
	if old.dom != nil || old.pass {
		g.flushEntry(&old, false)
	}
}
