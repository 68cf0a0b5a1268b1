package vtd

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// Attach gives (sid, pasid) a domain. In scalable mode the first attachment of a device makes its
// context entry present. What an earlier system has left is replaced without a hit where possible.
func (d *Driver) Attach(sid emu.SourceID, pasid emu.PASID, dom host.Domain) error {
	defer d.enter().leave()
	defer d.restOfFaults()
	m, err := d.own(dom)
	if err != nil {
		return err
	}
	v := d.devices[sid]
	if v == nil {
		var s host.DeviceSpec
		if x := d.left(sid); x != nil {
			s = x.spec
		}
		if v, err = d.probe(sid, s); err != nil {
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

// Detach blocks (sid, pasid), takes its domain away and answers the page requests that are left. If only
// the last fails the domain is detached.
func (d *Driver) Detach(sid emu.SourceID, pasid emu.PASID) error {
	defer d.enter().leave()
	v, err := d.replaceable(sid, pasid)
	if err != nil {
		return fmt.Errorf("vtd: detach: %w", err)
	}
	old := v.domains[pasid]
	_, err = d.rewrite(v, pasid, nil, entry.Hitless)
	if err == nil {
		err = d.drainPages(v, pasid, old)
	}
	if err != nil {
		return fmt.Errorf("vtd: detach from %s: %w", name(sid, pasid), err)
	}
	return nil
}

// Replace gives (sid, pasid) another domain with the writer w. If it fails half-way the old domain stays
// the attached one, and neither can be freed until a later change of the entry succeeds.
func (d *Driver) Replace(sid emu.SourceID, pasid emu.PASID, dom host.Domain, w entry.Writer) (entry.Report, error) {
	defer d.enter().leave()
	defer d.restOfFaults()
	m, err := d.own(dom)
	if err != nil {
		return entry.Report{}, err
	}
	v, err := d.replaceable(sid, pasid)
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
	if err == nil && next != nil {
		err = d.clear(v, pasid, t)
	}
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
	if err == nil && next == nil {
		err = d.clear(v, pasid, t) // blocked it is in any case
	}
	switch {
	case err == nil:
		if old := v.domains[pasid]; old != nil {
			old.leave(v, pasid)
		}
		d.disinherit(v.sid, pasid)
		v.domains[pasid] = next
		if next == nil {
			delete(v.domains, pasid)
		}
	case rep.Stores == 0: // nothing has happened
		if next != nil {
			next.removeUser(v, pasid)
		}
	default:
		d.suspect(v, pasid, next, &rep)
	}
	return rep, err
}

// leave ends an attachment whose entry is gone from memory and caches.
func (m *domain) leave(v *device, pasid emu.PASID) {
	m.removeUser(v, pasid)
	if len(m.users) == 0 {
		m.stale = false // the invalidation of the last entry left nothing
	}
}

// suspect is what a change that failed half-way has left: hardware may hold the entry as it was at any
// time, whatever memory says.
type suspect struct {
	next   *domain    // what was to be attached, or nil
	states [][]uint64 // contents of the entry
	temp   uint32     // temporary id, or 0
}

// suspect notes a change that failed. The domains keep what they have, and the temporary id stays
// taken, until clear succeeds.
func (d *Driver) suspect(v *device, pasid emu.PASID, next *domain, rep *entry.Report) {
	if rep.Temp != 0 {
		_, _ = d.ids.take(rep.Temp) // it was free a moment ago
	}
	v.suspects[pasid] = append(v.suspects[pasid], suspect{next, rep.States, rep.Temp})
}

// clear drops from the caches what changes that failed may have left there, so that they hold what
// memory holds.
func (d *Driver) clear(v *device, pasid emu.PASID, t *entry.Target) error {
	list := v.suspects[pasid]
	if len(list) == 0 {
		return nil
	}
	var states [][]uint64
	for _, s := range list {
		states = append(states, slices.DeleteFunc(slices.Clone(s.states), func(w []uint64) bool { return !t.Format.Present(w) })...)
	}
	if err := t.Inv.SyncAll(states, states, entry.OneWait); err != nil {
		return err
	}
	delete(v.suspects, pasid)
	for _, s := range list {
		if s.next != nil {
			s.next.leave(v, pasid)
		}
		if s.temp != 0 {
			d.ids.put(s.temp)
		}
	}
	return nil
}

// own returns the domain of this driver that the interface stands for.
func (d *Driver) own(dom host.Domain) (*domain, error) {
	m, ok := host.Underlying(dom).(*domain)
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

// replaceable returns the device if (sid, pasid) has a domain, or what an earlier system has left.
func (d *Driver) replaceable(sid emu.SourceID, pasid emu.PASID) (*device, error) {
	if v := d.devices[sid]; v != nil && d.inherits(sid, pasid) {
		return v, nil
	}
	v, _, err := d.attached(sid, pasid)
	return v, err
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
	t.Means = func(old, new []uint64) entry.Means { return d.means(v, pasid, old, new) }
	return t, err
}

// means is what a rewrite of the PASID entry of (v, pasid) may use. An id is free for it if no other
// entry makes translations with the same tag: same id, same PASID.
func (d *Driver) means(v *device, pasid emu.PASID, old, new []uint64) entry.Means {
	a, b := d.holder(pasidDID(old)), d.holder(pasidDID(new))
	m := entry.Means{Temp: d.ids.peek(), OldAlone: d.alone(a, v, pasid), NewAlone: d.alone(b, v, pasid)}
	if a != nil && b != nil && a.parent != nil && b.parent != nil && d.alike(a.parent, b.parent) {
		m.Alike = make([]uint64, len(old))
		m.Alike[0] = spec.PasidSSPTPTR.Mask() | spec.PasidAW.Mask()
	}
	return m
}

// holder returns the domain with an id, or nil.
func (d *Driver) holder(id uint32) *domain { return d.domains[id] }

// alone reports whether (v, pasid) is the only one whose translations have the tag that they have in m.
func (d *Driver) alone(m *domain, v *device, pasid emu.PASID) bool {
	return m != nil && !d.inheritedBy(m.id, v.sid, pasid) && !slices.ContainsFunc(m.users, func(u user) bool {
		return (u.dev != v || u.pasid != pasid) && ridPASID(u.pasid) == ridPASID(pasid)
	})
}

// alike reports whether two tables translate alike.
func (d *Driver) alike(a, b *domain) bool {
	c, err := pagetable.Compare(a.table, b.table, pagetable.CompareOptions{MaxRuns: 1})
	return err == nil && c.Equal
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
