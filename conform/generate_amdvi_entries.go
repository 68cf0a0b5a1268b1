package conform

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdTarget is where a device goes: a domain, or one of the entries without tables.
type amdTarget struct {
	dom  *amdDomain
	kind amdKind
}

// amdKind is what an entry without tables does.
type amdKind uint8

const (
	amdNone     amdKind = iota // V=0: the device is passed through
	amdPass                    // Mode=0: the same, with rights
	amdBlocked                 // TV=0
	amdNoRights                // Mode=0 without rights
)

func (t amdTarget) String() string {
	if t.dom != nil {
		return fmt.Sprintf("domain %d", t.dom.did)
	}
	return [...]string{"V=0", "identity", "blocked", "blocked by rights"}[t.kind]
}

// someTarget draws where a device may go.
func (g *amdGen) someTarget(d *amdDevice) amdTarget {
	switch {
	case g.chance(25):
		return amdTarget{kind: one(&g.builder, amdNone, amdPass, amdPass, amdBlocked, amdBlocked, amdNoRights)}
	case len(g.doms) == 0 || g.chance(15) && len(g.doms) < 5:
		return amdTarget{dom: g.newDomain()}
	}
	return amdTarget{dom: one(&g.builder, g.doms...)}
}

// freshDID returns a DomainID that nothing has.
func (g *amdGen) freshDID() uint64 {
	for {
		did := uint64(1 + g.r.IntN(12))
		if g.chance(20) {
			did = uint64(1 + g.r.IntN(1<<16-1))
		}
		used := slices.ContainsFunc(g.doms, func(d *amdDomain) bool { return d.did == did }) ||
			slices.ContainsFunc(g.devs, func(d *amdDevice) bool { return d.did == did })
		if !used {
			return did
		}
	}
}

// attach writes the memory half of the entry of a device.
func (g *amdGen) attach(d *amdDevice, t amdTarget) {
	d.dom, d.did = t.dom, 0
	at := g.entryAt(d.sid)
	old := g.current(at, 4)
	var lo, hi uint64
	switch {
	case t.dom != nil:
		d.did = t.dom.did
		lo = 3 | uint64(t.dom.top) | spec.DteMode.Put(t.dom.mode)
		lo |= one(&g.builder, amdRW, amdRW, amdRW, amdRW, amdRW, amdRW, amdRW, amdR, amdW)
	case t.kind == amdPass:
		d.did = g.freshDID()
		lo = 3 | one(&g.builder, amdRW, amdRW, amdRW, amdR, amdW)
	case t.kind == amdBlocked:
		lo = 1
	case t.kind == amdNoRights:
		d.did = g.freshDID()
		lo = 3
	}
	hi = d.did
	if lo != 0 {
		lo, hi = g.extras(lo, hi)
	}
	w := []uint64{lo, hi}
	if g.chance(30) {
		w = append(w, old[2:]...)
	}
	g.store(at, w, "entry of device %d: %v", d.index, t)
}

// Rights as they are in entries: IR and IW.
const (
	amdR  uint64 = 1 << 61
	amdW  uint64 = 1 << 62
	amdRW        = amdR | amdW
)

// extras sets what else an entry may have: suppression of events, the exclusion range, ATS, what is
// done in the special range, hints, guest tables that nothing uses.
func (g *amdGen) extras(lo, hi uint64) (uint64, uint64) {
	hi |= spec.DteSA.PutBool(g.chance(8)) | spec.DteEX.PutBool(g.chance(30)) | spec.DteI.PutBool(g.chance(20))
	if g.chance(20) {
		hi |= spec.DteIoCtl.Put(g.r.Uint64N(3)) | spec.DteSysMgt.Put(g.r.Uint64()) | spec.DteCache.Put(g.r.Uint64()) | spec.DteSD.Put(g.r.Uint64())
	}
	if g.chance(5) {
		lo |= spec.DteGV.Put(1)
		hi |= spec.DteGCR3Mid.Put(g.r.Uint64())
	}
	return lo, hi
}

// detach takes a device out of its domain, and tells the unit.
func (g *amdGen) detach(d *amdDevice) {
	g.section("detach device %d", d.index)
	g.moveTo(d, amdTarget{kind: one(&g.builder, amdBlocked, amdBlocked, amdNone, amdNoRights)})
}

// move rewrites the entry of a device, and tells the unit.
func (g *amdGen) move(d *amdDevice) {
	g.section("move device %d", d.index)
	g.moveTo(d, g.someTarget(d))
}

// moveTo tells the unit of the old domain as well, mostly. It need not: what is cached belongs to the
// domain, which is as it was.
func (g *amdGen) moveTo(d *amdDevice, t amdTarget) {
	old := d.did
	g.attach(d, t)
	if g.chance(8) && old != d.did {
		old = 0
	}
	g.flushEntry(d, old)
}
