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

// generation is one domain that a stream was attached to.
type generation struct {
	dom     host.Domain
	color   emu.PA // added to every PA of the trace
	version uint64 // of the entry that points to it
	tables  map[emu.PA]struct{}
}

// owns reports whether the leaf entry at pa lies in a table of g. A pass-through has none.
func (g *generation) owns(pa emu.PA) bool {
	_, ok := g.tables[pa&^(emu.PageSize-1)]
	return ok
}

// snapshot notes which pages the tables of g are in at present. The lab reads them from memory
// itself: the processor's time does not pass.
func (g *generation) snapshot(m emu.Memory) {
	clear(g.tables)
	t := g.dom.Tables()
	root, levels := t.Root()
	view, err := pagetable.Open(t.Format(), labMemory{m}, nil, root, pagetable.Config{Levels: levels})
	if err != nil {
		panic(fmt.Sprintf("replay: tables of a domain in use: %v", err)) // made by the driver a moment ago
	}
	for p := range view.TablePages() {
		for pa, end := p.PA, p.PA+1<<p.Lg2; pa < end; pa += emu.PageSize {
			g.tables[pa] = struct{}{}
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
