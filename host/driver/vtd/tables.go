package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/pagetable"
)

// Domain checks what is asked of a domain. Identity needs ECAP.PT, a stage its ECAP.SSTS or FSTS in
// scalable mode, a nested domain ECAP.NEST.
func (d arch) Domain(m *driver.Domain) (build func() error, err error) {
	if m.Spec.Snoop && !d.caps.has(spec.EcapSC) && m.Kind() != host.DomainIdentity {
		return nil, fmt.Errorf("vtd: forced snooping: %w", host.ErrUnsupported)
	}
	switch m.Kind() {
	case host.DomainIdentity:
		if !d.caps.has(spec.EcapPT) {
			return nil, fmt.Errorf("vtd: pass-through: %w", host.ErrUnsupported)
		}
		m.SetID(didIdentity)
		return nil, nil
	case host.DomainNested:
		return d.checkNested(m)
	}
	return d.checkPaging(m)
}

// checkPaging checks what is asked of a paging domain and returns what makes its table, once it has an id.
func (d *Driver) checkPaging(m *driver.Domain) (build func() error, err error) {
	c := &d.caps
	width, what := c.width, "second"
	m.First = m.Spec.Stage == host.StageFirst || m.Spec.Stage == host.StageAny && !c.second
	if m.First {
		width, what = c.firstWidth, "first"
	}
	if m.First && !c.first || !m.First && !c.second {
		return nil, fmt.Errorf("vtd: %s-stage translation: %w", what, host.ErrUnsupported)
	}
	levels, bits, ok := width(m.Spec.Width)
	if !ok {
		return nil, fmt.Errorf("vtd: %d address bits in the %s stage: %w", m.Spec.Width, what, host.ErrUnsupported)
	}
	if l := m.Spec.Levels; m.Spec.Root != 0 && l != 0 && l != levels {
		levels, bits = l, min(12+9*l, uint8(spec.CapMGAW.Of(c.cap))+1)
		if m.First {
			bits = min(12+9*l-1, bits)
		}
	}
	cfg := pagetable.Config{Levels: levels, VABits: bits, Incoherent: !d.k.Tables.Coherent}
	if m.Spec.Snoop && !m.First {
		cfg.Attr = pagetable.VTDSSSnoop
	}
	return func() error { return m.OpenTable(cfg) }, nil
}

// Format is that of the stage.
func (d arch) Format(m *driver.Domain) pagetable.Format {
	if m.First {
		return d.firstFormat(m.Dirty)
	}
	return d.secondFormat(d.CanTrack(m))
}

// CanTrack: hardware writes flags by atomic operations, which it cannot where it does not snoop (90h,
// 7Ch).
func (d arch) CanTrack(m *driver.Domain) bool {
	return d.scalable && d.k.Tables.Coherent && (m.First || d.caps.has(spec.EcapSSADS))
}

// secondFormat is what second-stage entries of this unit look like (9.8).
func (d *Driver) secondFormat(dirty bool) pagetable.Format {
	c := &d.caps
	f := pagetable.VTDSS{HAW: d.opt.HAW, Snoop: c.has(spec.EcapSC), Dirty: dirty}
	sslps := spec.CapSSLPS.Of(c.cap)
	if sslps&spec.SSLPS2M == 0 {
		f.Without |= 1 << 21
	}
	if sslps&spec.SSLPS1G == 0 {
		f.Without |= 1 << 30
	}
	return f
}

// firstFormat is what first-stage entries look like (9.7). Unless they are to be tracked, accessed and
// dirty flags are set beforehand, as Linux does: hardware then never writes to the tables, which it
// could not do where it does not snoop (reason 90h).
func (d *Driver) firstFormat(dirty bool) pagetable.Format {
	f := pagetable.X86{HAW: d.opt.HAW, Preset: !dirty, Dirty: dirty}
	if !spec.CapFS1GP.On(d.caps.cap) {
		f.Without |= 1 << 30
	}
	return f
}

// checkNested checks what is asked of a nested domain and returns what makes it.
func (d *Driver) checkNested(m *driver.Domain) (build func() error, err error) {
	if !d.caps.nest {
		return nil, fmt.Errorf("vtd: nested translation: %w", host.ErrUnsupported)
	}
	p, err := d.k.ParentOf(m)
	if err != nil {
		return nil, err
	}
	levels := m.Spec.Levels
	if levels == 0 {
		var ok bool
		if levels, _, ok = d.caps.firstWidth(m.Spec.Width); !ok {
			return nil, fmt.Errorf("vtd: %d address bits in the first stage: %w", m.Spec.Width, host.ErrUnsupported)
		}
	}
	if levels != 4 && (levels != 5 || !spec.CapFS5LP.On(d.caps.cap)) {
		return nil, fmt.Errorf("vtd: first stage of %d levels: %w", levels, host.ErrUnsupported)
	}
	return func() error {
		m.Nest(p, levels)
		return nil
	}, nil
}
