package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// arch is the driver as package driver sees it.
type arch struct{ *Driver }

var _ driver.Arch = arch{}

// Check says what requests a device may have a domain for.
func (d arch) Check(v *driver.Device, pasid emu.PASID, _ *driver.Domain) error {
	switch {
	case pasid == emu.NoPASID:
		return nil
	case !d.scalable:
		return fmt.Errorf("vtd: %s in legacy mode: %w", driver.Label(v.SID, pasid), host.ErrUnsupported)
	case pasid == 0:
		return fmt.Errorf("vtd: %s: 0 is for requests without PASID: %w", driver.Label(v.SID, pasid), host.ErrPASID)
	case uint32(pasid) >= v.Spec.PASIDs:
		return fmt.Errorf("vtd: %s: the device has %d: %w", driver.Label(v.SID, pasid), v.Spec.PASIDs, host.ErrPASID)
	}
	return nil
}

// Prepare has nothing to do.
func (arch) Prepare(*driver.Device, emu.PASID, *driver.Domain) error { return nil }

// Settle makes the context entry of a device present once one of its PASID entries is.
func (d arch) Settle(v *driver.Device, _ emu.PASID, m *driver.Domain) error {
	if m == nil || !d.scalable {
		return nil
	}
	return d.setContext(of(v))
}

// Target is the context entry in legacy mode, the PASID-table entry in scalable mode.
func (d arch) Target(v *driver.Device, pasid emu.PASID, _ *driver.Domain, build bool) (*entry.Target, error) {
	c := caches{d: d.Driver, dev: of(v), pasid: pasid}
	t := &entry.Target{CPU: d.k.CPU, Noncoherent: !d.k.Coherent}
	if !d.scalable {
		t.Format, t.At, t.Inv = d.formatContext, of(v).context, &legacyCaches{c}
		return t, nil
	}
	at, err := d.pasidEntry(of(v), driver.Slot(pasid), build)
	t.Format, t.At, t.Inv = d.formatPASID, at, &pasidCaches{c}
	t.Means = func(old, new []uint64) entry.Means { return d.means(v, pasid, old, new) }
	return t, err
}

// means is what a rewrite of the PASID entry of (v, pasid) may use. An id is free for it if no other
// entry makes translations with the same tag: same id, same PASID.
func (d *Driver) means(v *driver.Device, pasid emu.PASID, old, new []uint64) entry.Means {
	a, b := d.k.Domains[pasidDID(old)], d.k.Domains[pasidDID(new)]
	tagged := func(u driver.User) bool { return driver.Slot(u.PASID) == driver.Slot(pasid) }
	m := entry.Means{Temp: d.k.IDs.Peek(), OldAlone: d.k.Alone(a, v, pasid, tagged), NewAlone: d.k.Alone(b, v, pasid, tagged)}
	if a != nil && b != nil && a.Parent != nil && b.Parent != nil && driver.Alike(a.Parent, b.Parent) {
		m.Alike = make([]uint64, len(old))
		m.Alike[0] = spec.PasidSSPTPTR.Mask() | spec.PasidAW.Mask()
	}
	return m
}

// ContextAt returns where the context entry of sid lies, and what it holds.
func (d *Driver) ContextAt(sid emu.SourceID) (at emu.PA, raw []uint64) {
	v := d.k.Devices[sid]
	if v == nil {
		return 0, nil
	}
	return of(v).context, d.contextTarget(of(v)).Read()
}

// EntryFormat describes the entries that EntryAt returns.
func (d *Driver) EntryFormat() *entry.Format {
	if d.scalable {
		return d.formatPASID
	}
	return d.formatContext
}
