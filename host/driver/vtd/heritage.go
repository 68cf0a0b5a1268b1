package vtd

import (
	"fmt"
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// heritage is what an earlier system has left.
type heritage struct {
	devices map[emu.SourceID]*inherited
	entries map[uint32]int          // PASID-table or context entries by domain id
	dirs    map[emu.PA]emu.SourceID // PASID directories
}

// inherited is what it has left of a device.
type inherited struct {
	entry map[emu.PASID][]uint64 // that nobody has claimed; in legacy mode the context entry, under PASID 0
	spec  host.DeviceSpec        // as the context entry has it
	// Scalable mode:
	dir    emu.PA
	pdts   uint8
	tables map[emu.PASID]emu.PA
	shared bool // the directory is another device's too
}

// didOf returns the domain id in an entry of the mode that the unit runs in.
func (d *Driver) didOf(raw []uint64) uint32 {
	if d.scalable {
		return pasidDID(raw)
	}
	return legacyDID(raw)
}

// note notes an entry of x.
func (d *Driver) note(x *inherited, pasid emu.PASID, raw []uint64) {
	x.entry[pasid] = raw
	d.heritage.entries[d.didOf(raw)]++
}

// inherits reports whether the entry of (sid, pasid) is still as an earlier system has left it.
func (d *Driver) inherits(sid emu.SourceID, pasid emu.PASID) bool {
	x := d.left(sid)
	if x == nil {
		return false
	}
	_, ok := x.entry[ridPASID(pasid)]
	return ok
}

// left returns what an earlier system has left of a device, or nil.
func (d *Driver) left(sid emu.SourceID) *inherited {
	if d.heritage == nil {
		return nil
	}
	return d.heritage.devices[sid]
}

// inheritedBy reports whether an entry besides that of (sid, pasid) still has an id from an earlier
// system.
func (d *Driver) inheritedBy(id uint32, sid emu.SourceID, pasid emu.PASID) bool {
	if d.heritage == nil {
		return false
	}
	n := d.heritage.entries[id]
	if x := d.left(sid); x != nil {
		if raw, ok := x.entry[ridPASID(pasid)]; ok && d.didOf(raw) == id {
			n--
		}
	}
	return n > 0
}

// disinherit is told that the entry of (sid, pasid) is an own one from now on, and that nothing of
// the old one is in a cache.
func (d *Driver) disinherit(sid emu.SourceID, pasid emu.PASID) {
	if !d.inherits(sid, pasid) {
		return
	}
	h, x := d.heritage, d.heritage.devices[sid]
	did := d.didOf(x.entry[ridPASID(pasid)])
	delete(x.entry, ridPASID(pasid))
	if h.entries[did]--; h.entries[did] == 0 && d.domains[did] == nil {
		d.ids.put(did)
	}
}

// leftID reports whether the id asked for is one that entries of an earlier system have, and that no
// domain has claimed.
func (d *Driver) leftID(s *host.DomainSpec) bool {
	return d.heritage != nil && s.ID >= didFirst && d.heritage.entries[s.ID] > 0 && d.domains[s.ID] == nil &&
		(s.Root != 0 || s.Kind == host.DomainNested)
}

// claim lets dom have an id that an earlier system uses, if it has the same tables: entries that share
// an id share tables.
func (d *Driver) claim(dom *domain) error {
	h, id := d.heritage, dom.id
	var words []uint64
	if d.scalable {
		words = dom.pasidWords()
	} else {
		words = dom.contextWords(&device{})
	}
	for _, sid := range slices.Sorted(maps.Keys(h.devices)) {
		x := h.devices[sid]
		for _, pasid := range slices.Sorted(maps.Keys(x.entry)) {
			if raw := x.entry[pasid]; d.didOf(raw) == id && !d.sameTables(raw, words) {
				return fmt.Errorf("vtd: domain id %d: %s uses it with another table: %w", id, name(sid, pasid), host.ErrBusy)
			}
		}
	}
	return nil
}

// sameTables reports whether two entries translate with the same tables.
func (d *Driver) sameTables(a, b []uint64) bool {
	if !d.scalable {
		return (a[0]^b[0])&spec.CtxSSPTPTR.Mask() == 0 && (a[1]^b[1])&spec.CtxAW.Mask() == 0
	}
	pgtt := spec.PasidPGTT.Of(a[0])
	same := pgtt == spec.PasidPGTT.Of(b[0])
	if pgtt == spec.PGTTSecond || pgtt == spec.PGTTNested {
		same = same && (a[0]^b[0])&(spec.PasidSSPTPTR.Mask()|spec.PasidAW.Mask()) == 0
	}
	if pgtt == spec.PGTTFirst || pgtt == spec.PGTTNested {
		same = same && (a[2]^b[2])&(spec.PasidFSPTPTR.Mask()|spec.PasidFSPM.Mask()) == 0
	}
	return same
}
