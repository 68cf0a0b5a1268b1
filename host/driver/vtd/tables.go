package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// checkPaging checks what is asked of a paging domain and returns what makes its table, once it has an id.
func (m *domain) checkPaging() (build func() error, err error) {
	c := &m.d.caps
	width, what := c.width, "second"
	switch m.spec.Stage {
	case host.StageFirst:
		m.first = true
	case host.StageAny:
		m.first = !c.second
	}
	if m.first {
		width, what = c.firstWidth, "first"
	}
	if m.first && !c.first || !m.first && !c.second {
		return nil, fmt.Errorf("vtd: %s-stage translation: %w", what, host.ErrUnsupported)
	}
	levels, bits, ok := width(m.spec.Width)
	if !ok {
		return nil, fmt.Errorf("vtd: %d address bits in the %s stage: %w", m.spec.Width, what, host.ErrUnsupported)
	}
	if m.dirty = m.spec.Dirty; m.dirty && !m.canTrack() {
		return nil, fmt.Errorf("vtd: dirty tracking in the %s stage: %w", what, host.ErrUnsupported)
	}
	return func() (err error) {
		m.pages = m.d.frames.For(m.d.opt.Owner + m.id)
		m.table, err = m.openTable(levels, bits)
		return err
	}, nil
}

// openTable makes or adopts the table of m.
func (m *domain) openTable(levels, bits uint8) (*pagetable.Table, error) {
	c := &m.d.caps
	cfg := &m.config
	*cfg = pagetable.Config{Levels: levels, VABits: bits, Incoherent: !c.tablesCoherent}
	var f pagetable.Format
	if m.first {
		f = m.firstFormat()
	} else {
		f = m.secondFormat()
		if m.spec.Snoop {
			cfg.Attr = pagetable.VTDSSSnoop
		}
	}
	if m.spec.Root == 0 {
		return pagetable.New(f, m.d.tables, m.source(), *cfg)
	}
	if l := m.spec.Levels; l != 0 && l != levels {
		cfg.Levels, cfg.VABits = l, min(12+9*l, uint8(spec.CapMGAW.Of(c.cap))+1)
		if m.first {
			cfg.VABits = min(12+9*l-1, cfg.VABits)
		}
	}
	return pagetable.Open(f, m.d.tables, m.source(), m.spec.Root, *cfg)
}

// adopted frees pages of a table that was found in memory. Those that the allocator does not know, or
// not as pages of their own, are an earlier system's and stay.
type adopted struct {
	*host.OwnedFrames
	frames *host.Frames
}

// source is where the table's pages come from and go to.
func (m *domain) source() pagetable.Pages {
	if m.spec.Root != 0 {
		return adopted{m.pages, m.d.frames}
	}
	return m.pages
}

// Free takes a page back.
func (p adopted) Free(pa emu.PA, lg2 uint8) {
	if b, ok := p.frames.BlockAt(pa); ok && b.Lg2 == max(lg2, emu.PageShift) {
		p.OwnedFrames.Free(pa, lg2)
	}
}

// secondFormat is what second-stage entries of this unit look like (9.8).
func (m *domain) secondFormat() pagetable.Format {
	c := &m.d.caps
	f := pagetable.VTDSS{HAW: m.d.opt.HAW, Snoop: c.has(spec.EcapSC), Dirty: m.canTrack()}
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
func (m *domain) firstFormat() pagetable.Format {
	f := pagetable.X86{HAW: m.d.opt.HAW, Preset: !m.dirty, Dirty: m.dirty}
	if !spec.CapFS1GP.On(m.d.caps.cap) {
		f.Without |= 1 << 30
	}
	return f
}

// checkNested checks what is asked of a nested domain and returns what makes it.
func (m *domain) checkNested() (build func() error, err error) {
	d := m.d
	if !d.caps.nest {
		return nil, fmt.Errorf("vtd: nested translation: %w", host.ErrUnsupported)
	}
	if m.spec.Dirty {
		return nil, fmt.Errorf("vtd: dirty tracking in a guest's tables: %w", host.ErrUnsupported)
	}
	p, err := d.own(m.spec.Parent)
	if err != nil {
		return nil, fmt.Errorf("vtd: parent of a nested domain: %w", err)
	}
	if p.kind != host.DomainPaging || p.first {
		return nil, fmt.Errorf("vtd: nested on domain %d, which has no second stage: %w", p.id, host.ErrUnsupported)
	}
	levels := m.spec.Levels
	if levels == 0 {
		var ok bool
		if levels, _, ok = d.caps.firstWidth(m.spec.Width); !ok {
			return nil, fmt.Errorf("vtd: %d address bits in the first stage: %w", m.spec.Width, host.ErrUnsupported)
		}
	}
	if levels != 4 && (levels != 5 || !spec.CapFS5LP.On(d.caps.cap)) {
		return nil, fmt.Errorf("vtd: first stage of %d levels: %w", levels, host.ErrUnsupported)
	}
	if m.spec.Root%emu.PageSize != 0 || emu.IOVA(m.spec.Root) > p.table.Info().Last {
		return nil, fmt.Errorf("vtd: first-stage table at %#x of domain %d: %w", uint64(m.spec.Root), p.id, pagetable.ErrGeometry)
	}
	return func() error {
		m.parent, m.first, m.root, m.levels = p, true, m.spec.Root, levels
		p.children = append(p.children, m)
		return nil
	}, nil
}
