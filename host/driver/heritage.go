package driver

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// Taking over from an earlier system: translation is on, devices are at work, and the structures in memory
// are those of a kernel that is gone. Devices go on as before until somebody attaches a domain to them;
// Finish blocks those that nobody asked for.

var (
	// ErrNoUnit: there is nothing at the registers.
	ErrNoUnit = errors.New("no remapping unit answers")
	// ErrTakeOver: what an earlier system has left cannot be gone on from.
	ErrTakeOver = errors.New("tables of the earlier system cannot be taken over")
)

// Heritage is what an earlier system has left.
type Heritage struct {
	Devices map[emu.SourceID]*Inherited
	ids     map[uint32]int // entries by domain id
}

// Inherited is what it has left of a device.
type Inherited struct {
	SID emu.SourceID
	// Entries that nobody has claimed, by Slot.
	Entries map[emu.PASID][]uint64
	Spec    host.DeviceSpec
	Arch    any // what the architecture keeps of it
}

// NewHeritage returns one that is empty.
func NewHeritage() *Heritage {
	return &Heritage{Devices: make(map[emu.SourceID]*Inherited), ids: make(map[uint32]int)}
}

// Inherit notes a device.
func (c *Core) Inherit(sid emu.SourceID) *Inherited {
	x := &Inherited{SID: sid, Entries: make(map[emu.PASID][]uint64)}
	c.Heritage.Devices[sid] = x
	return x
}

// Note notes an entry of x. Its id is taken from now on.
func (c *Core) Note(x *Inherited, slot emu.PASID, raw []uint64) {
	x.Entries[slot] = raw
	id := c.arch.IDOf(x, raw)
	c.Heritage.ids[id]++
	c.idsOf(id).Reserve(id)
}

// Hold keeps an id taken for as long as it is somebody's, besides the entries that have it.
func (c *Core) Hold(id uint32) { c.Heritage.ids[id]++ }

// Left returns what an earlier system has left of a device, or nil.
func (c *Core) Left(sid emu.SourceID) *Inherited {
	if c.Heritage == nil {
		return nil
	}
	return c.Heritage.Devices[sid]
}

// inherits reports whether the entry of (sid, pasid) is still as an earlier system has left it.
func (c *Core) inherits(sid emu.SourceID, pasid emu.PASID) bool {
	x := c.Left(sid)
	if x == nil {
		return false
	}
	_, ok := x.Entries[Slot(pasid)]
	return ok
}

// inheritedBy reports whether an entry besides that of (sid, pasid) still has an id from an earlier
// system.
func (c *Core) inheritedBy(id uint32, sid emu.SourceID, pasid emu.PASID) bool {
	if c.Heritage == nil {
		return false
	}
	n := c.Heritage.ids[id]
	if x := c.Left(sid); x != nil {
		if raw, ok := x.Entries[Slot(pasid)]; ok && c.arch.IDOf(x, raw) == id {
			n--
		}
	}
	return n > 0
}

// disinherit is told that the entry of (sid, pasid) is an own one from now on, and that nothing of
// the old one is in a cache.
func (c *Core) disinherit(sid emu.SourceID, pasid emu.PASID) {
	if !c.inherits(sid, pasid) {
		return
	}
	h, x := c.Heritage, c.Heritage.Devices[sid]
	id := c.arch.IDOf(x, x.Entries[Slot(pasid)])
	delete(x.Entries, Slot(pasid))
	if h.ids[id]--; h.ids[id] == 0 && c.Domains[id] == nil {
		c.idsOf(id).Put(id)
	}
}

// leftID reports whether the id asked for is one that entries of an earlier system have, and that no
// domain has claimed.
func (c *Core) leftID(s *host.DomainSpec) bool {
	return c.Heritage != nil && !c.none(s.ID) && c.Heritage.ids[s.ID] > 0 && c.Domains[s.ID] == nil &&
		(s.Root != 0 || s.Kind == host.DomainNested)
}

// claim lets m have an id that an earlier system uses, if it has the same tables: entries that share
// an id share tables.
func (c *Core) claim(m *Domain) error {
	h := c.Heritage
	for _, sid := range slices.Sorted(maps.Keys(h.Devices)) {
		x := h.Devices[sid]
		for _, slot := range slices.Sorted(maps.Keys(x.Entries)) {
			if raw := x.Entries[slot]; c.arch.IDOf(x, raw) == m.id && !c.arch.SameTables(x, slot, raw, m) {
				return fmt.Errorf("%s: domain id %d: %s uses it with another table: %w", c.Name, m.id, Label(sid, slot), host.ErrBusy)
			}
		}
	}
	return nil
}

// Inherited returns the devices that an earlier system has left at work and that Finish would block, in
// ascending order.
func (d *Driver) Inherited() []emu.SourceID {
	var list []emu.SourceID
	if h := d.c.Heritage; h != nil {
		for sid, x := range h.Devices {
			if d.c.Devices[sid] == nil || len(x.Entries) > 0 {
				list = append(list, sid)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Finish ends a take-over: what nobody has claimed - devices, single PASIDs of devices that were, and
// interrupts - is blocked, and ids that only an earlier system used are free. Of its structures those
// that Lent names are read on, and no others. It does nothing without a take-over, and can be
// repeated after an error.
//
// Errors: host.ErrTimeout.
func (d *Driver) Finish() error {
	c := d.c
	defer c.Enter().Leave()
	h := c.Heritage
	if h == nil {
		return nil
	}
	if err := c.Block(c.unknown()...); err != nil {
		return err
	}
	for _, sid := range slices.Sorted(maps.Keys(h.Devices)) {
		v, x := c.Devices[sid], h.Devices[sid]
		for _, pasid := range slices.Sorted(maps.Keys(x.Entries)) {
			if pasid == 0 {
				pasid = emu.NoPASID
			}
			if _, err := c.Rewrite(v, pasid, nil, entry.Hitless); err != nil {
				return fmt.Errorf("%s: blocking %s: %w", c.Name, Label(sid, pasid), err)
			}
		}
	}
	if err := c.arch.BlockRest(); err != nil {
		return err
	}
	c.Heritage = nil
	return nil
}

// unknown returns the devices that an earlier system has left and nobody has made known.
func (c *Core) unknown() []emu.SourceID {
	var sids []emu.SourceID
	for sid := range c.Heritage.Devices {
		if c.Devices[sid] == nil {
			sids = append(sids, sid)
		}
	}
	slices.Sort(sids)
	return sids
}

// Block blocks devices that an earlier system has left, and forgets what it has left of them.
func (c *Core) Block(sids ...emu.SourceID) error {
	if len(sids) == 0 {
		return nil
	}
	if err := c.arch.Block(sids); err != nil {
		return err
	}
	for _, sid := range sids {
		for slot := range maps.Clone(c.Heritage.Devices[sid].Entries) {
			c.disinherit(sid, slot)
		}
		delete(c.Heritage.Devices, sid)
	}
	return nil
}
