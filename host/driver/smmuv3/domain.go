package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/pagetable"
)

// Domain implements driver.Arch.
func (d arch) Domain(m *driver.Domain) (build func() error, err error) {
	if m.Spec.Snoop {
		return nil, fmt.Errorf("smmuv3: forced snooping: %w", host.ErrUnsupported)
	}
	switch m.Kind() {
	case host.DomainIdentity:
		return nil, nil
	case host.DomainNested:
		return d.nestedDomain(m)
	}
	c := &d.caps
	m.First = m.Spec.Stage == host.StageFirst || m.Spec.Stage == host.StageAny && !c.s2
	if m.First && !c.s1 || !m.First && !c.s2 {
		return nil, fmt.Errorf("smmuv3: stage %d translation: %w", 2-b2i(m.First), host.ErrUnsupported)
	}
	levels, bits, ok := d.shape(m.First, m.Spec.Width)
	if !ok {
		return nil, fmt.Errorf("smmuv3: %d address bits in stage %d: %w", m.Spec.Width, 2-b2i(m.First), host.ErrUnsupported)
	}
	if m.Spec.Levels != 0 {
		levels = m.Spec.Levels
	}
	if m.First {
		m.From(&d.asids)
	}
	cfg := pagetable.Config{Levels: levels, VABits: bits, Incoherent: !d.c.Tables.Coherent, Attr: pagetable.LPAES2WriteBack | pagetable.LPAES2Shareability}
	if m.First {
		cfg.Attr = attrWriteBack | pagetable.LPAES1Shareability | pagetable.LPAES1NonGlobal // inner shareable is 3
	}
	if c.ds() { // the bits of the shareability belong to the address, and that of the tables counts
		cfg.Attr &^= pagetable.LPAES2Shareability
		if m.First {
			cfg.Attr = attrWriteBack | pagetable.LPAES1NonGlobal
		}
	}
	return func() error { return m.OpenTable(cfg) }, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// addressBits is how many bits of input addresses a stage has at most (3.4).
func (d *Driver) addressBits(first bool) uint8 {
	c := &d.caps
	switch {
	case !first:
		return c.out()
	case c.wide && spec.Idr5VAX.Of(c.idr5) != spec.VAX48:
		return 52
	}
	return 48
}

// shape returns levels and address bits of tables for want bits, or for as many as there are with 0. Of the
// second stage it takes as few levels as up to 16 tables side by side at the top allow (3.4.1.1).
func (d *Driver) shape(first bool, want uint8) (levels, bits uint8, ok bool) {
	most, least := d.addressBits(first), uint8(25)
	if bits = want; bits == 0 {
		bits = most
	}
	bits = max(bits, least)
	g := d.caps.granule
	side := uint8(0)
	if !first {
		side = spec.MaxConcatenated
	}
	for levels = 1; uint8(g)+levels*g.Stride()+side < bits; levels++ {
	}
	if levels == 1 && g == spec.Granule4K {
		levels = 2 // a walk of one level needs small tables (IDR3.STT)
	}
	return levels, bits, bits <= most
}

// Format implements driver.Arch. Where hardware keeps flags it always does; what is not tracked has them set
// beforehand.
func (d arch) Format(m *driver.Domain) pagetable.Format {
	c := &d.caps
	if m.First {
		return pagetable.LPAES1{Granule: uint8(c.granule), OAS: c.out(), LPA: c.wide, HA: c.flags, HD: c.flags, Preset: !m.Dirty}
	}
	return pagetable.LPAES2{Granule: uint8(c.granule), OAS: c.out(), LPA: c.wide, HA: c.flags, HD: c.flags, Preset: !m.Dirty}
}

// CanTrack implements driver.Arch.
func (d arch) CanTrack(*driver.Domain) bool { return d.caps.flags }

// Present implements driver.Arch: what has been stored is visible before anybody rings a device. An entry
// that translates nothing is not cached (3.21.2).
func (d arch) Present(*driver.Domain, emu.IOVA, emu.IOVA) error {
	d.c.CPU.Fence()
	return nil
}
