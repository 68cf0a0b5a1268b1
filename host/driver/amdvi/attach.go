package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// arch is the driver as package driver sees it.
type arch struct{ *Driver }

var _ driver.Arch = arch{}

// Check says what cannot be side by side on one device: host tables of requests without PASID and guest
// tables of PASIDs; guest tables of different depth, or on different host tables.
func (d arch) Check(dev *driver.Device, pasid emu.PASID, m *driver.Domain) error {
	fail := func(err error, format string, a ...any) error {
		return fmt.Errorf("amdvi: %s: %s: %w", driver.Label(dev.SID, pasid), fmt.Sprintf(format, a...), err)
	}
	if pasid != emu.NoPASID {
		switch {
		case d.caps.pasids == 0:
			return fail(host.ErrUnsupported, "the unit has no PASIDs")
		case pasid == 0:
			return fail(host.ErrPASID, "0 is for requests without PASID")
		case uint32(pasid) >= dev.Spec.PASIDs:
			return fail(host.ErrPASID, "the device has %d", dev.Spec.PASIDs)
		case m != nil && m.Kind() != host.DomainBlocked && !isGuest(m):
			return fail(host.ErrUnsupported, "a domain without guest tables")
		}
	}
	if m == nil {
		return nil
	}
	v := of(dev)
	s := d.shapeWith(v, pasid, m)
	if s.own && s.rid != nil && !s.rid.First && (s.rid.Kind() == host.DomainPaging || s.base != nil) {
		return fail(host.ErrBusy, "requests without PASID have domain %d, which has no guest tables", s.rid.ID())
	}
	if err := d.checkLeft(v, pasid, m, s); err != nil {
		return fail(err, "beside an earlier system")
	}
	for p, other := range v.Domains {
		if p != pasid && isGuest(m) && isGuest(other) && (other.Parent != m.Parent || guestOf(other).levels != guestOf(m).levels) {
			return fail(host.ErrBusy, "guest tables of %s have other host tables or another depth", driver.Label(dev.SID, p))
		}
	}
	return nil
}

// slotted reports whether what (v, pasid) has, or is to have, is told by a GCR3 table entry: of a PASID always,
// of requests without one while the device has a table of its own and both ends go by entry 0.
func (d *Driver) slotted(v *device, pasid emu.PASID, m *driver.Domain) bool {
	if pasid != emu.NoPASID {
		return true
	}
	then := d.shapeWith(v, pasid, m)
	return v.own && v.giov && then.own && (then.rid == nil || then.rid.First)
}

// Target is the entry that steers (v, pasid).
func (d arch) Target(dev *driver.Device, pasid emu.PASID, m *driver.Domain, build bool) (*entry.Target, error) {
	v := of(dev)
	if !d.slotted(v, pasid, m) {
		t := d.dteTarget(v)
		t.Means = func(old, new []uint64) entry.Means { return d.means(v, m, old, new) }
		return t, nil
	}
	at, err := d.slot(v, driver.Slot(pasid), build)
	return &entry.Target{
		CPU: d.k.CPU, Format: d.formatGCR3, At: at, Inv: &slotCaches{caches{d: d.Driver, dev: v, pasid: pasid}},
	}, err
}

// dteTarget is the device table entry of v for a writer.
func (d *Driver) dteTarget(v *device) *entry.Target {
	return &entry.Target{
		CPU: d.k.CPU, Format: d.formatDTE, At: v.at, Copies: v.copies, Swap: true,
		Inv: &dteCaches{caches{d: d, dev: v, pasid: emu.NoPASID}},
	}
}

// Words is what the entry of (v, pasid) has to hold for m.
func (d arch) Words(dev *driver.Device, pasid emu.PASID, m *driver.Domain) []uint64 {
	v := of(dev)
	if d.slotted(v, pasid, m) {
		return slotWords(m)
	}
	return d.dteWords(v, d.shapeWith(v, pasid, m))
}

// Prepare fills entry 0 of the device's own GCR3 table for a device table entry that is about to use it.
func (d arch) Prepare(dev *driver.Device, pasid emu.PASID, m *driver.Domain) error {
	v := of(dev)
	if v.own && !d.slotted(v, pasid, m) && isGuest(m) {
		return d.putSlot0(v, m)
	}
	return nil
}

// Settle brings the device table entry in line with what is attached: with the first PASID it gets the
// device's own GCR3 table, with the last it loses it. A single entry is hitless for who stays.
func (d arch) Settle(dev *driver.Device, pasid emu.PASID, m *driver.Domain) error {
	v := of(dev)
	if pasid != emu.NoPASID && d.leftRID(v) {
		return nil // who knows the domain of requests without PASID will see to it
	}
	s := d.shapeWith(v, pasid, m)
	if s.own && !v.own && isGuest(s.rid) {
		if err := d.putSlot0(v, s.rid); err != nil {
			return err
		}
	}
	t := d.dteTarget(v)
	t.Means = func(old, new []uint64) entry.Means { return d.means(v, s.rid, old, new) }
	v.mixed = v.mixed || s.own != v.own
	if _, err := entry.Hitless.Write(t, d.dteWords(v, s)); err != nil {
		return fmt.Errorf("device table entry: %w", err)
	}
	v.own, v.mixed = s.own, false
	v.giov = s.own && (s.rid == nil || s.rid.First)
	if v.gcr3 == 0 || isGuest(s.rid) && s.own {
		return nil
	}
	return d.dropSlot0(v)
}

// putSlot0 fills entry 0 of the GCR3 table of v, which is not in use.
func (d *Driver) putSlot0(v *device, m *driver.Domain) error {
	at, err := d.slot(v, 0, true)
	if err == nil {
		d.k.CPU.Store64(at, slotWords(m)[0])
	}
	return err
}

// dropSlot0 clears it, and what was made of it.
func (d *Driver) dropSlot0(v *device) error {
	at, err := d.slot(v, 0, false)
	if err != nil || at == 0 || d.k.CPU.Load64(at) == 0 {
		return err
	}
	d.k.CPU.Store64(at, 0)
	d.k.CPU.Fence()
	if !v.own {
		return nil // nothing leads there any more
	}
	return (&slotCaches{caches{d: d, dev: v, pasid: emu.NoPASID}}).SyncAll(nil, nil, entry.OneWait)
}

// means is what a rewrite of the device table entry of v for requests without PASID, to be those of next, may
// use. Of two domains with the same guest tables, the GCR3 table entries are alike.
func (d *Driver) means(v *device, next *driver.Domain, old, new []uint64) entry.Means {
	m := entry.Means{Temp: d.k.IDs.Peek(), OldAlone: d.alone(v, old), NewAlone: d.alone(v, new)}
	prev := v.Domains[emu.NoPASID]
	if !isGuest(prev) || !isGuest(next) {
		return m
	}
	m.SameBelow = cr3(prev) == cr3(next) && guestOf(prev).levels == guestOf(next).levels && (prev.Parent == nil) == (next.Parent == nil)
	if prev.Parent != nil && next.Parent != nil && driver.Alike(prev.Parent, next.Parent) {
		m.Alike = make([]uint64, len(old))
		m.Alike[0] = spec.DteHostRoot.Mask() | spec.DteMode.Mask()
	}
	return m
}

// alone reports whether no other device makes translations with the id of an entry of v.
func (d *Driver) alone(v *device, raw []uint64) bool {
	id := dteID(raw)
	if v.id != 0 && id == v.id {
		return true
	}
	return d.k.Alone(d.k.Domains[id], v.Device, emu.NoPASID, func(u driver.User) bool {
		o := of(u.Device)
		return !o.own || o.mixed
	})
}
