package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// PTE says which entry of a page table a rewrite concerns, and how it is used.
type PTE struct {
	// IOVA is an address that the entry translates, with the further entries that belong to it.
	IOVA  emu.IOVA
	Level int8 // of the table: 0 has the smallest pages
	// Dirty: hardware marks entries as accessed and dirty, where that is a choice.
	Dirty bool
	// Alike: the two contents translate to the same pages: a table has the leaves that the block is.
	Alike bool
	// Caching: the unit caches entries that are not present, too, as virtual ones do.
	Caching bool
	Granule uint8 // SMMUv3: log2 of the smallest page; 0 is 12
	BBML    uint8 // SMMUv3: break-before-make level, IDR3.BBML

	known   bool  // the pages below the tables of forms are known: see alikeTable
	entries int   // how many entries in a row change
	lg2     uint8 // log2 of the bytes that change
}

// Contents of forms, and what they lead to. What is below alikeTable is what blockA is.
const (
	alikeTable, otherTable = below1, below2
	blockA, blockB         = 0x1_0000_0000, 0x1_8000_0000
)

// table returns which page table o is about: that of the kind, if it says nothing.
func (k *Kind) table(o *Options) *PTE {
	if o.PTE != nil {
		return o.PTE
	}
	return k.pte
}

// prepare fills in what both contents together decide: how many entries in a row change, and whether the
// contents translate alike.
func (k *Kind) prepare(o *Options, old, new []uint64) *Options {
	if k.pte == nil {
		return o
	}
	c, p := *o, *k.table(o)
	pg := k.Format(o).Paging
	p.entries, p.lg2 = pg.Entries(old[0], new[0]), pg.Lg2(old[0], new[0])
	if a, b := pg.Shape(old[0]), pg.Shape(new[0]); p.Alike || p.known && k.leadsTo(pg, &a) == k.leadsTo(pg, &b) {
		c.Means.Alike = []uint64{^uint64(0)}
	}
	c.PTE = &p
	return &c
}

// leadsTo is where a content of a form leads, if that is known, and what memory is there. The leaves of
// alikeTable are like the first leaf among the forms.
func (k *Kind) leadsTo(pg *entry.Paging, s *entry.Shape) [2]uint64 {
	if s.Kind == entry.Table && s.Addr == alikeTable {
		*s = pg.Shape(k.Forms[1].Raw[0])
	}
	return [2]uint64{s.Addr, s.Type}
}

// row returns the contents of the entries in a row of which raw is the first. Of other kinds that is the entry
// itself.
func (k *Kind) row(o *Options, raw []uint64) []uint64 {
	if k.pte == nil || o.PTE.entries == 1 {
		return slices.Clone(raw)
	}
	list, pg := make([]uint64, o.PTE.entries), k.Format(o).Paging
	for i := range list {
		list[i] = pg.Entry(raw[0], i)
	}
	return list
}

// copies are the places of the further entries of a row.
func (p *PTE) copies(at emu.PA) (list []emu.PA) {
	for i := 1; i < p.entries; i++ {
		list = append(list, at+emu.PA(i*8))
	}
	return list
}

// first is the first address that changes.
func (p *PTE) first() emu.IOVA { return p.IOVA &^ (1<<p.lg2 - 1) }

// where are the addresses of requests: one at each end of what changes, if there is more than one page.
func (p *PTE) where() []emu.IOVA {
	if p.lg2 == cmp.Or(p.Granule, emu.PageShift) {
		return []emu.IOVA{p.IOVA}
	}
	return []emu.IOVA{p.IOVA, p.IOVA ^ 1<<(p.lg2-1)}
}

// dropsLeaf reports whether all that has to be dropped are translations: no content was a table.
func dropsLeaf(pg *entry.Paging, entries [][]uint64) bool {
	return !slices.ContainsFunc(entries, func(e []uint64) bool { return pg.Shape(e[0]).Kind == entry.Table })
}

// pteDrops is what drops translations by a page table entry: the cached copies of the entry are the
// translations.
func pteDrops(k *Kind, o *Options, cmd func(p *PTE, leaf bool) []Command, device func(p *PTE) []Command) drops {
	p := o.PTE
	pg := k.Format(o).Paging
	return drops{
		entry: func(entries [][]uint64) []Command {
			if len(entries) == 0 {
				return nil
			}
			return cmd(p, dropsLeaf(pg, entries))
		},
		made:   func([][]uint64) []Command { return nil },
		device: func() []Command { return device(p) },
		install: func(new []uint64) []Command {
			if !p.Caching {
				return nil
			}
			return cmd(p, dropsLeaf(pg, [][]uint64{new}))
		},
	}
}

// pteBench puts an entry into the page table whose root is at root, of a format with so many levels: what
// leads to it, and the tables that contents lead to. Requests read from all addresses that matter, and write
// to one.
func (b *bench) pteBench(pg *entry.Paging, p *PTE, f pagetable.Format, levels uint8, attr pagetable.Attr, root emu.PA, contents [][]uint64) error {
	b.above = slices.DeleteFunc(slices.Clone(b.made), func(pa emu.PA) bool { return pa == root })
	g := f.Geometry()
	shift := func(level int8) uint8 { return g.Granule + g.Bits*uint8(level) }
	bits := uint8(0)
	if g.Concat > 0 {
		bits = 48
	}
	t, err := pagetable.New(f, b.Functional, &rooted{bench: b, root: root}, pagetable.Config{Levels: levels, VABits: bits, Attr: attr})
	if err != nil {
		return err
	}
	page := p.IOVA &^ (1<<g.Granule - 1)
	if _, err := t.Map(page, hostPage(0), 1<<g.Granule, pagetable.Read|pagetable.Write, nil); err != nil {
		return err
	}
	b.at = root
	for level := int8(levels) - 1; ; level-- {
		n := emu.PA(p.IOVA) >> shift(level)
		if level < int8(levels)-1 { // the root may be several tables side by side
			n &= 1<<g.Bits - 1
		}
		if level == p.Level {
			b.at += n &^ emu.PA(p.entries-1) * 8
			break
		}
		slot := b.at + n*8
		e := f.Decode(b.Functional.Load64(slot), uint8(level))
		e.Accessed = true
		b.put(slot, f.Encode(e, uint8(level)))
		b.at = e.OA
	}
	for i, c := range contents {
		for _, at := range p.where() {
			n := int(at-p.first()) >> pg.Span
			b.pteLeaf(pg, p, f, attr, i, at, pg.Entry(c[0], n), contents[1-i][0])
		}
	}
	for _, at := range p.where() {
		b.requests = append(b.requests, emu.Request{Addr: at, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read})
	}
	write := b.requests[0]
	write.Access = emu.Write
	b.requests = append(b.requests, write)
	return nil
}

// pteLeaf makes the leaf for an address below the table that the i-th content leads to, if it is one: as high
// as the format has leaves.
func (b *bench) pteLeaf(pg *entry.Paging, p *PTE, f pagetable.Format, attr pagetable.Attr, i int, at emu.IOVA, raw, other uint64) {
	e := f.Decode(raw, uint8(p.Level))
	if e.Kind != pagetable.SubTable {
		return
	}
	leaf := pagetable.Entry{Kind: pagetable.Leaf}
	leaf.Perm, leaf.Attr, leaf.Accessed, leaf.Dirty = pagetable.Read|pagetable.Write, attr, true, true
	base := emu.PA(i+1) << 40 // pages of its own
	o := pg.Shape(other)
	switch {
	case p.known && e.OA&^0xf_ffff == alikeTable:
		base = blockA
	case p.Alike && o.Kind == entry.Leaf:
		leaf.State = f.Decode(other, uint8(p.Level)).State
		base = emu.PA(o.Addr) &^ (1<<o.Lg2 - 1)
	case p.Alike:
		base = 1 << 40
	}
	g := f.Geometry()
	level := uint8(p.Level) - 1
	if e.Lg2 != 0 {
		level = (e.Lg2-g.Granule)/g.Bits - 1
	}
	for table := e.OA; ; level-- {
		leaf.Lg2 = g.Granule + g.Bits*level
		leaf.OA = base + emu.PA(at-p.first())&^(1<<leaf.Lg2-1)
		slot := table + emu.PA(at)>>leaf.Lg2&(1<<g.Bits-1)*8
		if raw := f.Encode(leaf, level); f.Decode(raw, level).Kind == pagetable.Leaf {
			b.put(slot, raw)
			return
		}
		next := f.Decode(b.Functional.Load64(slot), level)
		if next.Kind != pagetable.SubTable {
			next = pagetable.Entry{Kind: pagetable.SubTable}
			next.OA, _ = b.Alloc(g.Granule)
			next.Perm, next.Accessed = g.Perms, true
			b.put(slot, f.Encode(next, level))
		}
		table = next.OA
	}
}

// seen leaves out stores to entries of a row that no request of the bench is translated by.
func (r *run) seen(steps []hitless.Step) []hitless.Step {
	if r.k.pte == nil {
		return steps
	}
	p, pg := r.o.PTE, r.f.Paging
	return slices.DeleteFunc(steps, func(s hitless.Step) bool {
		return s.Size != 0 && !slices.ContainsFunc(p.where(), func(at emu.IOVA) bool {
			return s.Addr == r.b.at+emu.PA(at-p.first())>>pg.Span*8
		})
	})
}

// below leaves out of a path what leads to the table: it never changes.
func (b *bench) below(path []string) []string {
	return slices.DeleteFunc(slices.Clone(path), func(line string) bool {
		return slices.ContainsFunc(b.above, func(pa emu.PA) bool {
			_, at, found := strings.Cut(line, fmt.Sprintf("fetch %#x", uint64(pa)>>emu.PageShift))
			return found && strings.IndexByte(at, '/') == 3
		})
	})
}

// lost returns a mark that the program overwrites and that nobody learns of; nil: there is none.
func (r *run) lost(rep *hitless.Report) *hitless.Mark {
	pg := r.f.Paging
	if pg == nil {
		return nil
	}
	for i := range rep.Marks {
		m := &rep.Marks[i]
		s := &r.steps[m.Step]
		last := r.b.at + emu.PA(r.o.PTE.entries*8)
		if s.Swap || m.Addr < r.b.at || m.Addr >= last || pg.Clean(m.Was)&(m.Was^m.Now) == 0 {
			continue
		}
		if pg.Loses(m.Was, s.Data[0]) {
			return m
		}
	}
	return nil
}

// checkPTE says what is wrong with the choice of an entry of a page table.
func (k *Kind) checkPTE(o *Options) error {
	p, top := o.PTE, k.levels-1
	if p == nil {
		return nil
	}
	if p.Granule == 16 || p.Granule == 14 && k.Stage == 2 { // larger tables, so fewer levels
		top--
	}
	switch {
	case k.pte == nil:
		return fmt.Errorf("a %s is no entry of a page table", k.Name)
	case p.Level < 0 || p.Level > top:
		return fmt.Errorf("level %d: want 0 to %d", p.Level, top)
	case p.IOVA>>k.width != 0:
		return fmt.Errorf("address %#x is wider than %d bits", uint64(p.IOVA), k.width)
	case k.IOMMU != "smmuv3" && (p.Granule != 0 || p.BBML != 0):
		return fmt.Errorf("granule and BBML are of smmuv3")
	case p.Granule != 0 && p.Granule != 12 && p.Granule != 14 && p.Granule != 16:
		return fmt.Errorf("granule of 2^%d bytes: want 4K, 16K or 64K", p.Granule)
	case p.BBML > 2:
		return fmt.Errorf("BBML %d: want 0 to 2", p.BBML)
	}
	return nil
}

// Title says which entry of which page table it is; "" for other kinds.
func (k *Kind) Title(o *Options) string {
	p := k.table(o)
	if p == nil {
		return ""
	}
	if k.IOMMU == "smmuv3" {
		return fmt.Sprintf("stage %d, BBML %d, level %d, granule %dK", k.Stage, p.BBML, p.Level, 1<<p.granule()>>10)
	}
	return fmt.Sprintf("%s, level %d", k.Variant, p.Level)
}

// assumesPTE says what a plan rests on about the page table.
func (k *Kind) assumesPTE(o *Options) (list []string) {
	p := k.table(o)
	if p == nil {
		return nil
	}
	list = []string{"what the new entry points to is complete, and visible, before the first store"}
	if p.Dirty || k.Stage == 1 && k.IOMMU != "smmuv3" {
		list = append(list, "hardware marks entries as accessed and dirty; flags in a table that is given up are read after the last wait")
	} else {
		list = append(list, "hardware marks no entry as accessed or dirty")
	}
	if p.Alike {
		list = append(list, "both contents translate to the same pages")
	}
	if p.Caching {
		list = append(list, "entries that are not present may be cached")
	} else {
		list = append(list, "no cache holds an entry that is not present")
	}
	return list
}
