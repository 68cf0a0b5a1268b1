package driver

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// Attach gives (sid, pasid) a domain. What an earlier system has left is replaced without a hit where
// possible.
func (d *Driver) Attach(sid emu.SourceID, pasid emu.PASID, dom host.Domain) error {
	c := d.c
	defer c.Enter().Leave()
	m, err := c.Own(dom)
	if err != nil {
		return err
	}
	v := c.Devices[sid]
	if v == nil {
		var s host.DeviceSpec
		if x := c.Left(sid); x != nil {
			s = x.Spec
		}
		if v, err = c.probe(sid, s); err != nil {
			return err
		}
	}
	if err := c.arch.Check(v, pasid, m); err != nil {
		return err
	}
	if v.Domains[pasid] != nil {
		return fmt.Errorf("%s: attach to %s: %w", c.Name, Label(sid, pasid), host.ErrBusy)
	}
	if _, err := c.Rewrite(v, pasid, m, entry.Hitless); err != nil {
		return fmt.Errorf("%s: attach to %s: %w", c.Name, Label(sid, pasid), err)
	}
	return nil
}

// Detach blocks (sid, pasid), takes its domain away and answers the page requests that are left. If only
// the last fails the domain is detached.
func (d *Driver) Detach(sid emu.SourceID, pasid emu.PASID) error {
	c := d.c
	defer c.Enter().Leave()
	v, err := c.replaceable(sid, pasid)
	if err != nil {
		return fmt.Errorf("%s: detach: %w", c.Name, err)
	}
	old := v.Domains[pasid]
	_, err = c.Rewrite(v, pasid, nil, entry.Hitless)
	if err == nil && v.PRI && c.Groups != nil && old != nil {
		err = c.arch.Drain(v, pasid, old)
	}
	if err != nil {
		return fmt.Errorf("%s: detach from %s: %w", c.Name, Label(sid, pasid), err)
	}
	return nil
}

// Replace gives (sid, pasid) another domain with the writer w. If it fails half-way the old domain stays
// the attached one, and neither can be freed until a later change of the entry succeeds.
func (d *Driver) Replace(sid emu.SourceID, pasid emu.PASID, dom host.Domain, w entry.Writer) (entry.Report, error) {
	c := d.c
	defer c.Enter().Leave()
	m, err := c.Own(dom)
	if err != nil {
		return entry.Report{}, err
	}
	v, err := c.replaceable(sid, pasid)
	if err == nil {
		err = c.arch.Check(v, pasid, m)
	}
	if err != nil {
		return entry.Report{}, fmt.Errorf("%s: replace: %w", c.Name, err)
	}
	rep, err := c.Rewrite(v, pasid, m, w)
	if err != nil {
		err = fmt.Errorf("%s: replace in %s: %w", c.Name, Label(sid, pasid), err)
	}
	return rep, err
}

// Rewrite makes next, or nothing, what (v, pasid) is attached to.
func (c *Core) Rewrite(v *Device, pasid emu.PASID, next *Domain, w entry.Writer) (entry.Report, error) {
	t, err := c.arch.Target(v, pasid, next, true)
	if err == nil && next != nil {
		err = c.clear(v, pasid, t)
	}
	if err == nil {
		err = c.arch.Prepare(v, pasid, next)
	}
	if err != nil {
		return entry.Report{}, err
	}
	words := c.arch.Words(v, pasid, next)
	if next != nil {
		next.addUser(v, pasid) // from here on its id may get into caches
	}
	rep, err := w.Write(t, words)
	if err == nil {
		err = c.arch.Settle(v, pasid, next)
	}
	if err == nil && next == nil {
		err = c.clear(v, pasid, t) // blocked it is in any case
	}
	switch {
	case err == nil:
		if old := v.Domains[pasid]; old != nil {
			old.leave(v, pasid)
		}
		c.disinherit(v.SID, pasid)
		v.Domains[pasid] = next
		if next == nil {
			delete(v.Domains, pasid)
		}
	case rep.Stores == 0: // nothing has happened
		if next != nil {
			next.removeUser(v, pasid)
		}
	default:
		c.suspect(v, pasid, t, next, &rep)
	}
	return rep, err
}

// leave ends an attachment whose entry is gone from memory and caches.
func (m *Domain) leave(v *Device, pasid emu.PASID) {
	m.removeUser(v, pasid)
	if !m.inUse() {
		m.Stale = false // the invalidation of the last entry left nothing
	}
}

// suspect is what a change that failed half-way has left: hardware may hold the entry as it was at any
// time, whatever memory says.
type suspect struct {
	next   *Domain    // what was to be attached, or nil
	states [][]uint64 // contents of the entry
	temp   uint32     // temporary id, or 0
	ids    *IDs       // that temp is one of
}

// Tagged is an entry.Invalidator of entries whose ids are not of Core.IDs.
type Tagged interface{ IDs() *IDs }

// temporary are the ids that a rewrite of t may borrow one of.
func (c *Core) temporary(t *entry.Target) *IDs {
	if x, ok := t.Inv.(Tagged); ok {
		return x.IDs()
	}
	return &c.IDs
}

// suspect notes a change that failed. The domains keep what they have, and the temporary id stays
// taken, until clear succeeds.
func (c *Core) suspect(v *Device, pasid emu.PASID, t *entry.Target, next *Domain, rep *entry.Report) {
	s := suspect{next: next, states: rep.States, ids: c.temporary(t)}
	if rep.Temp != 0 {
		s.temp, _ = s.ids.Take(s.ids.base + rep.Temp) // it was free a moment ago
	}
	v.suspects[pasid] = append(v.suspects[pasid], s)
}

// clear drops from the caches what changes that failed may have left there, so that they hold what
// memory holds.
func (c *Core) clear(v *Device, pasid emu.PASID, t *entry.Target) error {
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
			s.ids.Put(s.temp)
		}
	}
	return nil
}

func (c *Core) attached(sid emu.SourceID, pasid emu.PASID) (*Device, *Domain, error) {
	if v := c.Devices[sid]; v != nil {
		if m := v.Domains[pasid]; m != nil {
			return v, m, nil
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", Label(sid, pasid), host.ErrNotAttached)
}

// replaceable returns the device if (sid, pasid) has a domain, or what an earlier system has left.
func (c *Core) replaceable(sid emu.SourceID, pasid emu.PASID) (*Device, error) {
	if v := c.Devices[sid]; v != nil && c.inherits(sid, pasid) {
		return v, nil
	}
	v, _, err := c.attached(sid, pasid)
	return v, err
}

// Attached returns the domain of (sid, pasid), or nil.
func (d *Driver) Attached(sid emu.SourceID, pasid emu.PASID) host.Domain {
	if _, m, err := d.c.attached(sid, pasid); err == nil {
		return m
	}
	return nil
}

// EntryAt returns where the entry that steers (sid, pasid) lies, and what it holds.
func (d *Driver) EntryAt(sid emu.SourceID, pasid emu.PASID) (at emu.PA, raw []uint64) {
	c := d.c
	v := c.Devices[sid]
	if v == nil || c.arch.Check(v, pasid, nil) != nil {
		return 0, nil
	}
	t, err := c.arch.Target(v, pasid, v.Domains[pasid], false)
	if err != nil || t.At == 0 {
		return 0, nil
	}
	return t.At, t.Read()
}

// Alone reports whether, of the entries that share the tag of the translations of (v, pasid) in m, that one
// is the only one: tagged says whether another user of m shares it.
func (c *Core) Alone(m *Domain, v *Device, pasid emu.PASID, tagged func(u User) bool) bool {
	return m != nil && !c.inheritedBy(m.id, v.SID, pasid) && !slices.ContainsFunc(m.Users, func(u User) bool {
		return (u.Device != v || u.PASID != pasid) && tagged(u)
	})
}

// Alike reports whether two tables translate alike.
func Alike(a, b *Domain) bool {
	if a == b {
		return true
	}
	c, err := pagetable.Compare(a.Table, b.Table, pagetable.CompareOptions{MaxRuns: 1})
	return err == nil && c.Equal
}

// Slot is the index of pasid in tables by PASID: requests without one have 0.
func Slot(pasid emu.PASID) emu.PASID {
	if pasid == emu.NoPASID {
		return 0
	}
	return pasid
}
