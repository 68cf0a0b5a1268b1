package replay

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
	"github.com/iommulab/iommulab/traces"
)

// Where things lie in the machine's physical address space. Pages of the trace keep their number
// below bit 47; the color of a generation is in the bits above, so that "every page elsewhere"
// never meets a page of another generation; tables lie above all colors.
const (
	tracePABits = 47
	colorMask   = 7
	tableBase   = emu.PA(1) << 51
	tableSize   = 1 << 40
)

// generation is one translation that a stream was attached to.
type generation struct {
	dom     host.Domain // what maps: the domain, or a guest's tables of a nested one
	hw      host.Domain // what the device is attached to
	under   host.Domain // nested: the parent
	color   emu.PA      // added to every PA of the trace
	version uint64      // of the entry that points to it
	tables  map[emu.PA]struct{}
	second  map[emu.PA]struct{} // nested: tables of the parent
}

// owns reports whether the leaf entries of a translation lie in tables of g.
func (g *generation) owns(p *emu.Provenance) bool {
	if !holds(g.tables, p.Leaf) {
		return false
	}
	return g.under == nil || holds(g.second, p.Leaf2)
}

// left reports whether a translation used tables that g had and next does not have.
func (g *generation) left(p *emu.Provenance, next *generation) bool {
	return holds(g.tables, p.Leaf) && !holds(next.tables, p.Leaf) ||
		holds(g.second, p.Leaf2) && !holds(next.second, p.Leaf2)
}

// holds reports whether the entry at pa lies in one of the tables. A pass-through has none.
func holds(tables map[emu.PA]struct{}, pa emu.PA) bool {
	_, ok := tables[pa&^(emu.PageSize-1)]
	return ok
}

// snapshot notes which pages the tables of g are in at present. The lab reads them from memory
// itself: the processor's time does not pass.
func (g *generation) snapshot(m emu.Memory) {
	clear(g.tables)
	tablePages(g.dom.Tables(), m, g.tables)
}

// tablePages adds the pages of t to set.
func tablePages(t *pagetable.Table, m emu.Memory, set map[emu.PA]struct{}) {
	root, levels := t.Root()
	view, err := pagetable.Open(t.Format(), labMemory{m}, nil, root, pagetable.Config{Levels: levels})
	if err != nil {
		panic(fmt.Sprintf("replay: tables of a domain in use: %v", err)) // made by the driver a moment ago
	}
	for p := range view.TablePages() {
		for pa, end := p.PA, p.PA+1<<p.Lg2; pa < end; pa += emu.PageSize {
			set[pa] = struct{}{}
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

// pa is where a page of the trace lies for this generation.
func (g *generation) pa(pa emu.PA) emu.PA { return pa | g.color }

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
