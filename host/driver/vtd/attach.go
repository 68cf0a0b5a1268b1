package vtd

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// Attach gives (sid, pasid) a domain. In scalable mode the first attachment of a device makes its
// context entry present.
func (d *Driver) Attach(sid emu.SourceID, pasid emu.PASID, dom host.Domain) error {
	defer d.restOfFaults()
	m, err := d.own(dom)
	if err != nil {
		return err
	}
	v := d.devices[sid]
	if v == nil {
		if v, err = d.probe(sid, host.DeviceSpec{}); err != nil {
			return err
		}
	}
	if err := d.checkPASID(v, pasid); err != nil {
		return err
	}
	if v.domains[pasid] != nil {
		return fmt.Errorf("vtd: attach to %s: %w", name(sid, pasid), host.ErrBusy)
	}
	if _, err := d.rewrite(v, pasid, m, entry.Hitless); err != nil {
		return fmt.Errorf("vtd: attach to %s: %w", name(sid, pasid), err)
	}
	return nil
}

// Detach blocks (sid, pasid) and takes its domain away.
func (d *Driver) Detach(sid emu.SourceID, pasid emu.PASID) error {
	v, _, err := d.attached(sid, pasid)
	if err != nil {
		return fmt.Errorf("vtd: detach: %w", err)
	}
	if _, err := d.rewrite(v, pasid, nil, entry.Hitless); err != nil {
		return fmt.Errorf("vtd: detach from %s: %w", name(sid, pasid), err)
	}
	return nil
}

// Replace gives (sid, pasid) another domain with the writer w. If it fails half-way the old domain stays
// the attached one, and neither can be freed until a later change of the entry succeeds.
func (d *Driver) Replace(sid emu.SourceID, pasid emu.PASID, dom host.Domain, w entry.Writer) (entry.Report, error) {
	defer d.restOfFaults()
	m, err := d.own(dom)
	if err != nil {
		return entry.Report{}, err
	}
	v, _, err := d.attached(sid, pasid)
	if err != nil {
		return entry.Report{}, fmt.Errorf("vtd: replace: %w", err)
	}
	rep, err := d.rewrite(v, pasid, m, w)
	if err != nil {
		err = fmt.Errorf("vtd: replace in %s: %w", name(sid, pasid), err)
	}
	return rep, err
}

// rewrite makes next, or nothing, what (v, pasid) is attached to.
func (d *Driver) rewrite(v *device, pasid emu.PASID, next *domain, w entry.Writer) (entry.Report, error) {
	t, err := d.target(v, pasid, true)
	if err != nil {
		return entry.Report{}, err
	}
	words := make([]uint64, t.Format.Words)
	if next != nil {
		words = next.entryFor(v)
		next.addUser(v, pasid) // from here on its id may get into caches
	}
	rep, err := w.Write(t, words)
	if err == nil && next != nil && d.scalable {
		err = d.setContext(v)
	}
	if err == nil {
		err = d.settle(v, pasid, t)
	}
	switch {
	case err == nil:
		v.domains[pasid] = next
		if next == nil {
			delete(v.domains, pasid)
		}
	case next != nil && rep.Stores == 0:
		next.removeUser(v, pasid) // nothing has happened
	case next != nil:
		// Hardware may hold the old entry or the new one, whatever memory says.
		v.suspects[pasid] = append(v.suspects[pasid], next)
	}
	return rep, err
}

// settle ends what was attached before, once the entry is gone from memory and caches. After a change
// that failed, caches may hold more than one entry: those are dropped first.
func (d *Driver) settle(v *device, pasid emu.PASID, t *entry.Target) error {
	past := v.suspects[pasid]
	if len(past) > 0 {
		if old := v.domains[pasid]; old != nil {
			past = append(slices.Clip(past), old)
		}
		for _, m := range past {
			if err := t.Inv.SyncAll([][]uint64{m.entryFor(v)}, [][]uint64{m.entryFor(v)}, entry.OneWait); err != nil {
				return err
			}
		}
		delete(v.suspects, pasid)
	} else if old := v.domains[pasid]; old != nil {
		past = append(past, old)
	}
	for _, m := range past {
		m.removeUser(v, pasid)
		if len(m.users) == 0 {
			m.stale = false // the invalidation of the last entry was by domain
		}
	}
	return nil
}

// own returns the domain behind the interface if it is one of this driver.
func (d *Driver) own(dom host.Domain) (*domain, error) {
	m, ok := dom.(*domain)
	if !ok || m.d != d || m.freed {
		return nil, fmt.Errorf("vtd: unit %d: %w", d.opt.Unit, host.ErrForeign)
	}
	return m, nil
}

func (d *Driver) checkPASID(v *device, pasid emu.PASID) error {
	switch {
	case pasid == emu.NoPASID:
		return nil
	case !d.scalable:
		return fmt.Errorf("vtd: %s in legacy mode: %w", name(v.sid, pasid), host.ErrUnsupported)
	case pasid == 0:
		return fmt.Errorf("vtd: %s: 0 is for requests without PASID: %w", name(v.sid, pasid), host.ErrPASID)
	case uint32(pasid) >= v.spec.PASIDs:
		return fmt.Errorf("vtd: %s: the device has %d: %w", name(v.sid, pasid), v.spec.PASIDs, host.ErrPASID)
	}
	return nil
}

func (d *Driver) attached(sid emu.SourceID, pasid emu.PASID) (*device, *domain, error) {
	if v := d.devices[sid]; v != nil {
		if m := v.domains[pasid]; m != nil {
			return v, m, nil
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", name(sid, pasid), host.ErrNotAttached)
}

// Attached returns the domain of (sid, pasid), or nil.
func (d *Driver) Attached(sid emu.SourceID, pasid emu.PASID) host.Domain {
	if _, m, err := d.attached(sid, pasid); err == nil {
		return m
	}
	return nil
}

// target is the entry that steers (sid, pasid), for a writer.
func (d *Driver) target(v *device, pasid emu.PASID, build bool) (*entry.Target, error) {
	c := caches{d: d, dev: v, pasid: pasid}
	t := &entry.Target{CPU: d.cpu, Noncoherent: !d.caps.coherent}
	if !d.scalable {
		t.Format, t.At, t.Inv = d.formatContext, v.context, &legacyCaches{c}
		return t, nil
	}
	at, err := d.pasidEntry(v, ridPASID(pasid), build)
	t.Format, t.At, t.Inv = d.formatPASID, at, &pasidCaches{c}
	return t, err
}

// EntryAt returns where the entry that steers (sid, pasid) lies, and what it holds: the context entry
// in legacy mode, the PASID-table entry in scalable mode.
func (d *Driver) EntryAt(sid emu.SourceID, pasid emu.PASID) (at emu.PA, raw []uint64) {
	v := d.devices[sid]
	if v == nil || d.checkPASID(v, pasid) != nil {
		return 0, nil
	}
	t, err := d.target(v, pasid, false)
	if err != nil || t.At == 0 {
		return 0, nil
	}
	return t.At, t.Read()
}

// ContextAt returns where the context entry of sid lies, and what it holds.
func (d *Driver) ContextAt(sid emu.SourceID) (at emu.PA, raw []uint64) {
	v := d.devices[sid]
	if v == nil {
		return 0, nil
	}
	return v.context, d.contextTarget(v).Read()
}

// EntryFormat describes the entries that EntryAt returns.
func (d *Driver) EntryFormat() *entry.Format {
	if d.scalable {
		return d.formatPASID
	}
	return d.formatContext
}

func name(sid emu.SourceID, pasid emu.PASID) string {
	s := fmt.Sprintf("%02x:%02x.%x", sid>>8, sid>>3&0x1f, sid&7)
	if pasid != emu.NoPASID {
		s += fmt.Sprintf(" PASID %#x", uint32(pasid))
	}
	return s
}
