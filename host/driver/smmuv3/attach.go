package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// isStage1 reports whether m translates by tables of the driver's in a CD.
func isStage1(m *driver.Domain) bool { return m != nil && m.Kind() == host.DomainPaging && m.First }

// hasStage2 reports whether m leaves no room for CDs of the driver's.
func hasStage2(m *driver.Domain) bool {
	return m != nil && (m.Kind() == host.DomainNested || m.Kind() == host.DomainPaging && !m.First)
}

// substreams reports whether a domain is attached to some PASID of v, other than but.
func substreams(v *driver.Device, but emu.PASID) bool {
	for pasid := range v.Domains {
		if pasid != emu.NoPASID && pasid != but {
			return true
		}
	}
	return false
}

// Check implements driver.Arch. A PASID has a CD in the table of its device; stage 2 is the stream's as a
// whole.
func (d arch) Check(v *driver.Device, pasid emu.PASID, m *driver.Domain) error {
	label := driver.Label(v.SID, pasid)
	if pasid == emu.NoPASID {
		if hasStage2(m) && substreams(v, pasid) {
			return fmt.Errorf("smmuv3: %s: stage 2 while PASIDs are attached: %w", label, host.ErrUnsupported)
		}
		return nil
	}
	switch {
	case pasid == 0:
		return fmt.Errorf("smmuv3: %s: 0 is for requests without PASID: %w", label, host.ErrPASID)
	case uint32(pasid) >= v.Spec.PASIDs:
		return fmt.Errorf("smmuv3: %s: the device has %d: %w", label, v.Spec.PASIDs, host.ErrPASID)
	case m != nil && !isStage1(m) && m.Kind() != host.DomainBlocked:
		return fmt.Errorf("smmuv3: %s: a domain without stage 1 tables: %w", label, host.ErrUnsupported)
	case m != nil && hasStage2(v.Domains[emu.NoPASID]):
		return fmt.Errorf("smmuv3: %s: the stream has a stage 2: %w", label, host.ErrUnsupported)
	}
	return nil
}

// inPlace reports whether the step from what requests without PASID have at present to m is one of CD 0.
func (d *Driver) inPlace(v *driver.Device, m *driver.Domain) bool {
	s := streamOf(v)
	if !isStage1(m) || s.table == nil || !s.usesCD0(d.steTarget(v).Read()) {
		return false
	}
	if s.table.cdmax > 0 || d.opt.Move == MoveASID {
		return true
	}
	t, err := d.cdTarget(v, s.table, 0, false)
	return err == nil && t.Format.Same(t.Read(), d.cdWords(v, m)) // there is nothing to do
}

// usesCD0 reports whether an STE sends requests without PASID to CD 0 of the stream's table.
func (s *stream) usesCD0(ste []uint64) bool {
	return s.tableAt(ste) == s.table && spec.SteConfig.Of(ste[0]) == spec.ConfigS1 &&
		(s.table.cdmax == 0 || spec.SteS1DSS.Get(ste) == spec.DSSSSID0)
}

// Target implements driver.Arch: the CD of a PASID, and of requests without one if that alone changes; the
// STE otherwise.
func (d arch) Target(v *driver.Device, pasid emu.PASID, m *driver.Domain, build bool) (*entry.Target, error) {
	s := streamOf(v)
	if pasid == emu.NoPASID && !d.inPlace(v, m) {
		return d.steTarget(v), nil
	}
	if s.table == nil {
		if !build {
			return &entry.Target{}, nil
		}
		if _, err := d.addTable(v); err != nil {
			return nil, err
		}
	}
	t := s.table
	if t == nil {
		t = s.tables[len(s.tables)-1]
	}
	return d.cdTarget(v, t, driver.Slot(pasid), build)
}

// addTable makes a CD table for v that its STE does not have yet.
func (d *Driver) addTable(v *driver.Device) (*cdTable, error) {
	s := streamOf(v)
	if s.table == nil && len(s.tables) > 0 && v.Spec.PASIDs > 0 {
		return s.tables[len(s.tables)-1], nil // of an attempt that failed
	}
	t, err := d.newCDTable(v)
	if err == nil {
		s.tables = append(s.tables, t)
	}
	return t, err
}

// Prepare implements driver.Arch: whoever is about to use CD 0 by a new STE finds it written.
func (d arch) Prepare(v *driver.Device, pasid emu.PASID, m *driver.Domain) error {
	s := streamOf(v)
	if pasid != emu.NoPASID {
		d.tableOf(v).used[pasid] = true
		return nil
	}
	if !isStage1(m) || d.inPlace(v, m) {
		return nil
	}
	t := s.table
	if t == nil || t.cdmax == 0 {
		var err error
		if t, err = d.addTable(v); err != nil {
			return err
		}
	}
	return d.writeCD0(v, t, m)
}

// tableOf is the table that an STE of v has, or will have.
func (d *Driver) tableOf(v *driver.Device) *cdTable {
	s := streamOf(v)
	if s.table != nil || len(s.tables) == 0 {
		return s.table
	}
	return s.tables[len(s.tables)-1]
}

// writeCD0 writes the CD of requests without PASID, which none uses at present; nil: none is to.
func (d *Driver) writeCD0(v *driver.Device, t *cdTable, m *driver.Domain) error {
	target, err := d.cdTarget(v, t, 0, true)
	if err != nil {
		return err
	}
	t.used[0] = m != nil
	words := d.cdWords(v, m)
	if streamOf(v).table == t {
		_, err = entry.Hitless.Write(target, words)
		return err
	}
	for i, w := range words {
		d.c.CPU.Store64(target.At+emu.PA(i*8), w)
	}
	d.c.Flush(target.At, len(words)*8)
	d.c.CPU.Fence()
	return nil
}

// Words implements driver.Arch.
func (d arch) Words(v *driver.Device, pasid emu.PASID, m *driver.Domain) []uint64 {
	if pasid != emu.NoPASID || d.inPlace(v, m) {
		return d.cdWords(v, m)
	}
	return d.steWords(v, m, d.tableFor(v, m, substreams(v, emu.NoPASID)))
}

// tableFor is the table that the STE has if requests without PASID are in m: the newest for stage 1; for
// the sake of PASIDs that are in use otherwise.
func (d *Driver) tableFor(v *driver.Device, m *driver.Domain, pasids bool) *cdTable {
	s := streamOf(v)
	if isStage1(m) && (s.table == nil || s.table.cdmax == 0) || s.table == nil && pasids {
		return s.tables[len(s.tables)-1]
	}
	if isStage1(m) || pasids {
		return s.table
	}
	return nil
}

// Settle implements driver.Arch: the STE of a PASID's first domain, and of the last one's end; what is no
// longer used is given back.
func (d arch) Settle(v *driver.Device, pasid emu.PASID, m *driver.Domain) error {
	s := streamOf(v)
	if pasid == emu.NoPASID {
		if d.inPlace(v, m) {
			return nil
		}
		s.table = s.tableAt(d.steTarget(v).Read())
		d.trim(s)
		if s.table != nil && !isStage1(m) && s.table.used[0] {
			if err := d.writeCD0(v, s.table, nil); err != nil {
				return err
			}
			delete(s.table.used, 0)
		}
		return nil
	}
	if m == nil {
		delete(d.tableOf(v).used, pasid)
	}
	rid := v.Domains[emu.NoPASID]
	t := d.tableFor(v, rid, m != nil || substreams(v, pasid))
	if t == s.table {
		return nil
	}
	if _, err := entry.Hitless.Write(d.steTarget(v), d.steWords(v, rid, t)); err != nil {
		return err
	}
	s.table = t
	if t == nil {
		d.trim(s)
	}
	return nil
}
