package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/pagetable"
)

// The ids that are not handed out: 0, and the one of all identity domains.
const (
	identityID = 1
	firstID    = 2
)

// guestTables is what a domain with guest tables has: a GCR3 table for devices without PASIDs, of which entry 0
// leads to the tables.
type guestTables struct {
	gcr3   emu.PA
	levels uint8 // of the guest tables
}

func guestOf(m *driver.Domain) *guestTables { return m.Arch.(*guestTables) }

// Domain checks what is asked of a domain.
func (d arch) Domain(m *driver.Domain) (build func() error, err error) {
	switch m.Kind() {
	case host.DomainIdentity:
		m.SetID(d.identity)
		return nil, nil
	case host.DomainNested:
		return d.checkNested(m)
	}
	c := &d.caps
	m.First = m.Spec.Stage == host.StageFirst || m.Spec.Stage == host.StageAny && c.levels == 0
	if m.First {
		return d.checkGuest(m)
	}
	levels, _, ok := c.hostWidth(m.Spec.Width)
	if !ok {
		return nil, fmt.Errorf("amdvi: %d address bits in host tables: %w", m.Spec.Width, host.ErrUnsupported)
	}
	if l := m.Spec.Levels; m.Spec.Root != 0 && l != 0 {
		if l > c.levels {
			return nil, fmt.Errorf("amdvi: host table of %d levels: %w", l, host.ErrUnsupported)
		}
		levels = l
	}
	cfg := pagetable.Config{Levels: levels, Attr: pagetable.AMDv1ForceCoherent}
	return func() error { return m.OpenTable(cfg) }, nil
}

// checkGuest checks what is asked of a domain with guest tables. No field of theirs makes accesses
// snoop.
func (d *Driver) checkGuest(m *driver.Domain) (build func() error, err error) {
	levels, ok := d.caps.guestWidth(m.Spec.Width)
	if m.Spec.Root != 0 && m.Spec.Levels != 0 {
		levels, ok = m.Spec.Levels, m.Spec.Levels >= 4 && m.Spec.Levels <= d.caps.guestLevels
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("amdvi: %d address bits in guest tables: %w", m.Spec.Width, host.ErrUnsupported)
	case m.Spec.Snoop:
		return nil, fmt.Errorf("amdvi: forced snooping in guest tables: %w", host.ErrUnsupported)
	}
	return func() error {
		if err := m.OpenTable(pagetable.Config{Levels: levels}); err != nil {
			return err
		}
		root, _ := m.Table.Root()
		return d.makeGuest(m, root, levels)
	}, nil
}

// checkNested checks what is asked of a nested domain and returns what makes it.
func (d *Driver) checkNested(m *driver.Domain) (build func() error, err error) {
	if d.caps.levels == 0 || d.caps.guestLevels == 0 {
		return nil, fmt.Errorf("amdvi: nested translation: %w", host.ErrUnsupported)
	}
	p, err := d.k.ParentOf(m)
	if err != nil {
		return nil, err
	}
	levels := m.Spec.Levels
	if levels == 0 {
		levels = 4
	}
	if levels < 4 || levels > d.caps.guestLevels {
		return nil, fmt.Errorf("amdvi: guest tables of %d levels: %w", levels, host.ErrUnsupported)
	}
	return func() error {
		m.Nest(p, levels)
		return d.makeGuest(m, m.Spec.Root, levels)
	}, nil
}

// makeGuest makes the GCR3 table of a domain.
func (d *Driver) makeGuest(m *driver.Domain, cr3 emu.PA, levels uint8) error {
	g := &guestTables{levels: levels}
	m.Arch = g
	var err error
	if g.gcr3, err = m.Pages().Alloc(emu.PageShift); err == nil {
		d.k.CPU.Store64(g.gcr3, uint64(cr3)|spec.Gcr3V.Mask())
	}
	return err
}

// cr3 is where the guest tables of m begin; with host tables below an address of those.
func cr3(m *driver.Domain) emu.PA {
	if m.Parent != nil {
		return m.Root
	}
	root, _ := m.Top()
	return root
}

// Format is that of host tables or of guest tables. Of the latter, unless they are to be tracked,
// accessed and dirty flags are set beforehand, as Linux 7.3 does.
func (d arch) Format(m *driver.Domain) pagetable.Format {
	if m.First {
		return pagetable.X86{HAW: d.opt.HAW, Preset: !m.Dirty, Dirty: m.Dirty}
	}
	_, most, _ := d.caps.hostWidth(m.Spec.Width)
	return pagetable.AMDv1{MaxLevels: max(most, m.Spec.Levels), Dirty: d.CanTrack(m)}
}

// CanTrack reports whether hardware keeps dirty flags: those of guest tables always, those of host tables
// with HDSup.
func (d arch) CanTrack(m *driver.Domain) bool {
	return m.First || d.caps.has(spec.EfrHDSup) && d.caps.has(spec.EfrHASup)
}
