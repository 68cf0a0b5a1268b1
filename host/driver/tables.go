package driver

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// OpenTable makes the table of m, or adopts the one that its Spec names. A table that grows gives its new
// root to the entries of all users before it uses it.
//
// Errors: those of pagetable.New and pagetable.Open.
func (m *Domain) OpenTable(cfg pagetable.Config) (err error) {
	f := m.c.arch.Format(m)
	if f.Geometry().Dynamic {
		cfg.OnTop = m.grow
	}
	m.Config = cfg
	if m.Spec.Root == 0 {
		m.Table, err = pagetable.New(f, m.c.Tables, m.source(), cfg)
	} else {
		m.Table, err = pagetable.Open(f, m.c.Tables, m.source(), m.Spec.Root, cfg)
	}
	return err
}

// Top returns the root of the table and its levels, as entries have to have them.
func (m *Domain) Top() (root emu.PA, levels uint8) {
	if m.top.levels != 0 {
		return m.top.root, m.top.levels
	}
	return m.Table.Root()
}

// top is a root that entries are given before the table itself uses it.
type top struct {
	root   emu.PA
	levels uint8
	err    error // that of an entry; others may have the root already
}

// grow gives a new root to the entries of all users. Once an entry has it, or may have it, there is no
// way back: the error is Map's to report, and the root stays.
func (m *Domain) grow(root emu.PA, levels uint8) error {
	m.top = top{root: root, levels: levels}
	stored, err := m.c.refreshUsers(m)
	m.top.levels = 0
	if stored {
		m.top.err, err = err, nil
	}
	return err
}

// grown returns what went wrong when the table grew, once.
func (m *Domain) grown() (err error) {
	m.top.err, err = nil, m.top.err
	return err
}

// reopen goes on with the table in a format that has changed.
func (m *Domain) reopen() (err error) {
	root, levels := m.Table.Root()
	cfg := m.Config
	cfg.Levels = levels
	m.Table, err = pagetable.Open(m.c.arch.Format(m), m.c.Tables, m.source(), root, cfg)
	return err
}

// adopted frees pages of a table that was found in memory. Those that the allocator does not know, or
// not as pages of their own, are an earlier system's and stay.
type adopted struct {
	*host.OwnedFrames
	frames *host.Frames
}

// source is where the table's pages come from and go to.
func (m *Domain) source() pagetable.Pages {
	if m.Spec.Root != 0 {
		return adopted{m.pages, m.c.Frames}
	}
	return m.pages
}

// Free takes a page back.
func (p adopted) Free(pa emu.PA, lg2 uint8) {
	if b, ok := p.frames.BlockAt(pa); ok && b.Lg2 == max(lg2, emu.PageShift) {
		p.OwnedFrames.Free(pa, lg2)
	}
}
