package replay

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
	"github.com/iommulab/iommulab/traces"
)

// layout says where things lie in a machine whose physical addresses have so many bits. Pages of the trace
// keep their number in the lowest; the color of a generation is in the three bits above, so that "every
// page elsewhere" never meets a page of another generation; tables lie above all colors.
type layout uint8

const (
	colorMask = 7
	tableSize = 1 << 40
)

// trace is how many bits the trace's physical addresses may have.
func (l layout) trace() int { return int(l) - 5 }

// tables is where the host's tables begin.
func (l layout) tables() emu.PA { return 1 << (l - 1) }

// next returns the color after another.
func (l layout) next(color emu.PA) emu.PA { return (color>>l.trace() + 1) & colorMask << l.trace() }

// generation is one translation that a stream was attached to.
type generation struct {
	dom     host.Domain // what maps: the domain, or a guest's tables of a nested one
	hw      host.Domain // what the device is attached to
	vm      *vm         // nested: the guest's memory
	shares  bool        // nested, not yet in use: the tables are those of the generation in use
	color   emu.PA      // added to every PA of the trace
	version uint64      // of the entry that points to it
	tables  tableSet
}

// newGeneration makes what a stream begins with, or moves to from what it has.
func (c *cell) newGeneration(s *stream) (*generation, error) {
	switch {
	case c.mode.nested && s.cur == nil:
		return c.firstNested(s)
	case c.mode.nested:
		return c.nextNested(s)
	}
	dom, err := c.drv.NewDomain(host.DomainSpec{Kind: host.DomainPaging, Stage: c.mode.stage, Width: c.mode.limit})
	if err != nil {
		return nil, err
	}
	g := &generation{dom: dom, hw: dom, tables: tableSet{}}
	if s.cur != nil {
		g.color = s.cur.color
		if c.spec.to == ToChanged {
			g.color = c.lay.next(g.color)
		}
	}
	return g, nil
}

// mapPages maps n bytes at iova to where pa of the trace is in this generation.
func (g *generation) mapPages(iova emu.IOVA, pa emu.PA, n uint64, perm emu.Access) error {
	if g.vm != nil {
		if err := g.vm.need(pa|g.color, n); err != nil {
			return err
		}
	}
	if g.shares {
		return nil
	}
	return g.dom.Map(iova, pa|g.color, n, perm)
}

// unmapPages takes n bytes out.
func (g *generation) unmapPages(iova emu.IOVA, n uint64) error {
	if g.shares {
		return nil
	}
	_, err := g.dom.Unmap(iova, n)
	return err
}

// drop frees what g had and keep does not have.
func (g *generation) drop(keep *generation) error {
	if g.vm != nil {
		return g.dropNested(keep)
	}
	return g.dom.Free()
}

// pa is where a page of the trace is in memory.
func (g *generation) pa(pa emu.PA) emu.PA {
	if g.vm != nil {
		pa |= g.vm.color
	}
	return pa | g.color
}

// owns reports whether the leaf entries of a translation lie in tables of g.
func (g *generation) owns(p *emu.Provenance) bool {
	return g.tables.holds(p.Leaf) && (g.vm == nil || g.vm.tables.holds(p.Leaf2))
}

// left reports whether a translation used tables that g had and next does not have.
func (g *generation) left(p *emu.Provenance, next *generation) bool {
	if g.tables.holds(p.Leaf) && !next.tables.holds(p.Leaf) {
		return true
	}
	return g.vm != nil && g.vm.tables.holds(p.Leaf2) && !next.vm.tables.holds(p.Leaf2)
}

// tableSet has the pages of tables, and the level of each.
type tableSet map[emu.PA]uint8

// holds reports whether the entry at pa lies in one of the tables. A pass-through has none.
func (t tableSet) holds(pa emu.PA) bool {
	_, ok := t[pa&^(emu.PageSize-1)]
	return ok
}

// snapshot notes which pages the tables of g are in at present. The lab reads them from memory
// itself: the processor's time does not pass.
func (g *generation) snapshot(m emu.Memory) {
	if g.vm != nil {
		g.snapshotNested(m)
		return
	}
	clear(g.tables)
	tablePages(g.dom.Tables(), labMemory{m}, 0, g.tables)
}

// tablePages adds the pages of t, which are at off from where t says, to set.
func tablePages(t *pagetable.Table, m pagetable.Memory, off emu.PA, set tableSet) {
	root, levels := t.Root()
	view, err := pagetable.Open(t.Format(), m, nil, root, pagetable.Config{Levels: levels})
	if err != nil {
		panic(fmt.Sprintf("replay: tables of a domain in use: %v", err)) // made by the driver a moment ago
	}
	for p := range view.TablePages() {
		for pa, end := p.PA, p.PA+1<<p.Lg2; pa < end; pa += emu.PageSize {
			set[pa+off] = p.Level
		}
	}
}

// labMemory is memory as the lab looks at it: without a processor, without time. It never writes.
type labMemory struct{ m emu.Memory }

func (l labMemory) Load64(pa emu.PA) uint64 {
	var v [4]uint64
	l.m.Load(pa, 8, &v)
	return v[0]
}
func (labMemory) Store64(emu.PA, uint64)            { panic("replay: the lab does not write tables") }
func (labMemory) CAS64(emu.PA, uint64, uint64) bool { panic("replay: the lab does not write tables") }
func (labMemory) Flush(emu.PA, int)                 {}

func access(p traces.Perm) emu.Access {
	var a emu.Access
	if p&traces.PermR != 0 {
		a |= emu.Read
	}
	if p&traces.PermW != 0 {
		a |= emu.Write
	}
	return a
}
