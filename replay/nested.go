package replay

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/pagetable"
)

// In nested mode each stream is a device of a guest. Its first-stage tables are in the guest's memory
// and lead from the addresses of the trace to addresses of the guest; the parent's second-stage tables
// lead from there to the machine. A rewrite replaces one of the two, in turn: the first stage over the
// same parent, or the parent under the same first stage. Who wants both makes two rewrites of it.

const (
	guestColors   = 3
	guestTableLg2 = 30
	guestBlock    = 1 << 21 // the parent maps the guest's memory in blocks of this size
)

// guest is how many bits the trace's physical addresses may have in a guest. Above them is the color that
// the first stage adds, above all that the pages of first-stage tables.
func (l layout) guest() int { return l.trace() - 2 }

// guestTables is where the pages of first-stage tables begin in a guest.
func (l layout) guestTables() emu.PA { return 1 << l.trace() }

// guestPoison is where poisoned tables lead to in nested mode, read as those of either stage: it is at the
// same address in the guest and in the machine.
func (l layout) guestPoison() emu.PA { return l.guestTables() + 1<<guestTableLg2 }

// guestTableHost is where the machine has the pages of guests' tables.
func (l layout) guestTableHost() emu.PA { return l.tables() + tableSize }

// vm is the memory of a guest: a parent domain, and how the guest's processor sees it.
type vm struct {
	dom    host.Domain
	lay    layout
	cpu    *guest.CPU
	color  emu.PA          // added to every address of the guest but those of tables
	blocks []emu.PA        // mapped, in the order of first use
	mapped map[emu.PA]bool // the same as a set
	tables tableSet
}

// newVM makes a parent domain that maps the blocks of like, or those of an empty guest.
func (c *cell) newVM(color emu.PA, like *vm) (*vm, error) {
	dom, err := c.drv.NewDomain(host.DomainSpec{Kind: host.DomainPaging, Stage: host.StageSecond, Width: 48})
	if err != nil {
		return nil, err
	}
	v := &vm{dom: dom, lay: c.lay, color: color, mapped: map[emu.PA]bool{}, tables: tableSet{}}
	if err := dom.Map(emu.IOVA(c.lay.guestTables()), c.lay.guestTableHost(), 1<<guestTableLg2, emu.RW); err != nil {
		return nil, err
	}
	if err := dom.Map(emu.IOVA(c.lay.guestPoison()), c.lay.guestPoison(), 1<<poisonLg2, emu.RW); err != nil {
		return nil, err
	}
	if like == nil {
		v.cpu = guest.NewCPU(c.cpu, dom)
	} else {
		v.cpu = like.cpu // the guest stays the same
		for _, b := range like.blocks {
			if err := v.need(b, guestBlock); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// need maps the blocks of the guest's memory that hold n bytes at gpa.
func (v *vm) need(gpa emu.PA, n uint64) error {
	for b := gpa &^ (guestBlock - 1); b < gpa+emu.PA(n); b += guestBlock {
		if v.mapped[b] {
			continue
		}
		if err := v.dom.Map(emu.IOVA(b), b|v.color, guestBlock, emu.RW); err != nil {
			return fmt.Errorf("memory of the guest at %#x: %w", uint64(b), err)
		}
		v.mapped[b] = true
		v.blocks = append(v.blocks, b)
	}
	return nil
}

// guestFrames returns the allocator of guests' table pages, which all guests of the cell share. It
// has a view of the memory for itself: guests come and go.
func (c *cell) guestFrames() (*host.Frames, error) {
	if c.gframes != nil {
		return c.gframes, nil
	}
	v, err := c.newVM(0, nil)
	if err != nil {
		return nil, err
	}
	f, err := host.NewFrames(v.cpu, c.lay.guestTables(), 1<<guestTableLg2)
	if err != nil {
		return nil, err
	}
	f.Quarantine(quarantine)
	c.gframes = f
	return f, nil
}

// firstNested makes the generation that a stream begins with.
func (c *cell) firstNested(s *stream) (*generation, error) {
	v, err := c.newVM(0, nil)
	if err != nil {
		return nil, err
	}
	return c.newFirstStage(s, v, 0)
}

// newFirstStage makes empty first-stage tables over v.
func (c *cell) newFirstStage(s *stream, v *vm, color emu.PA) (*generation, error) {
	frames, err := c.guestFrames()
	if err != nil {
		return nil, err
	}
	var spec guest.Spec
	if c.mode.guest != nil {
		spec.Kind = c.mode.guest(s.turn)
	}
	dom, err := guest.New(c.drv, v.cpu, frames, spec)
	if err != nil {
		return nil, err
	}
	return &generation{dom: dom, hw: dom.Behind(), vm: v, color: color, tables: tableSet{}}, nil
}

// nextNested prepares what the next rewrite of s moves to. The generation's tables are filled by the
// caller if they are new.
func (c *cell) nextNested(s *stream) (*generation, error) {
	old := s.cur
	s.turn++
	if s.turn%2 != 0 {
		color := old.color
		if c.spec.to == ToChanged {
			color = (color>>c.lay.guest() + 1) & guestColors << c.lay.guest()
		}
		return c.newFirstStage(s, old.vm, color)
	}
	to := old.vm.color
	if c.spec.to == ToChanged {
		to = c.lay.next(to)
	}
	v, err := c.newVM(to, old.vm)
	if err != nil {
		return nil, err
	}
	hw, err := c.drv.NewDomain(old.dom.(*guest.Domain).Over(v.dom))
	if err != nil {
		return nil, err
	}
	return &generation{dom: old.dom, hw: hw, vm: v, shares: true, color: old.color, tables: tableSet{}}, nil
}

// settleNested makes the tables that s.cur shares with its predecessor its own: the guest lives on over
// the new parent.
func (g *generation) settleNested() {
	g.shares = false
	g.dom.(*guest.Domain).Rebase(g.hw, g.vm.dom)
}

// guestMemory is the lab's view of a guest's tables.
type guestMemory struct {
	labMemory
	lay layout
}

// Load64 reads 8 bytes of the guest's.
func (g guestMemory) Load64(gpa emu.PA) uint64 {
	return g.labMemory.Load64(gpa - g.lay.guestTables() + g.lay.guestTableHost())
}

// snapshotNested notes which pages both stages of g are in.
func (g *generation) snapshotNested(m emu.Memory) {
	clear(g.vm.tables)
	tablePages(g.vm.dom.Tables(), labMemory{m}, 0, g.vm.tables)
	lay := g.vm.lay
	tablePages(g.dom.Tables(), guestMemory{labMemory{m}, lay}, lay.guestTableHost()-lay.guestTables(), g.tables)
}

// dropNested is drop.
func (g *generation) dropNested(keep *generation) error {
	if g.dom != keep.dom {
		return g.dom.Free() // its nested domain too; the parent is the same
	}
	if err := g.hw.Free(); err != nil {
		return err
	}
	return g.vm.dom.Free()
}

var _ pagetable.Memory = guestMemory{}
