package cli

import (
	"context"
	"fmt"
	"math/bits"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem/snapshot"
	"github.com/iommulab/iommulab/pagetable"
)

// tables shows each table once, with all who use it.
func (x *inspection) tables(ctx context.Context, s *snap, keep func(emu.SourceID) bool) error {
	type key struct{ root, parent root }
	index := make(map[key]int)
	show := func(user string, r, parent root) error {
		if r.levels == 0 {
			return nil
		}
		k := key{r, parent}
		k.root.domain, k.parent.domain = 0, 0
		if i, known := index[k]; known {
			if users := x.Tables[i].Users; users[len(users)-1] != user {
				x.Tables[i].Users = append(users, user)
			}
			return nil
		}
		index[k] = len(x.Tables)
		t := tableValue{
			Users: []string{user}, Stage: r.kind, At: hexOf(uint64(r.table)), Levels: r.levels,
			Domain: r.domain, Ranges: []rangeValue{},
		}
		if parent.levels != 0 {
			t.Over = hexOf(uint64(parent.table))
		}
		err := t.read(ctx, s, r, parent)
		x.Tables = append(x.Tables, t)
		return err
	}
	return s.arch.devices(s, func(e *entry) error {
		if !keep(e.sid) {
			return nil
		}
		user := showSID(e.sid)
		if e.pasid != emu.NoPASID {
			user += "/" + showPASID(e.pasid)
		}
		for _, r := range append([]root{e.root}, e.more...) {
			if err := show(user, r, e.parent); err != nil {
				return err
			}
		}
		return show(user, e.parent, root{})
	})
}

// read collects the ranges of one table.
func (t *tableValue) read(ctx context.Context, s *snap, r, parent root) error {
	view := newTableView(s)
	view.big = r.big
	if parent.levels != 0 {
		if err := view.over(parent); err != nil {
			t.Note = err.Error()
			return nil
		}
	}
	table, err := r.open(view)
	if err != nil {
		t.Note = err.Error()
		return nil
	}
	if err := table.Check(); err != nil {
		t.Note = err.Error()
	}
	var m merger
	for l := range table.Leaves(0, ^emu.IOVA(0)) {
		if t.Leaves++; t.Leaves%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if r.wxn && l.Perm&pagetable.Write != 0 {
			l.Perm &^= pagetable.Exec
		}
		if m.add(&l) {
			continue
		}
		if len(t.Ranges) == maxRows {
			return fmt.Errorf("table at %s: more than %d ranges, want tables that end", t.At, maxRows)
		}
		t.Ranges = append(t.Ranges, m.take())
		m.add(&l)
	}
	if m.pages > 0 {
		t.Ranges = append(t.Ranges, m.take())
	}
	switch {
	case view.tired():
		return fmt.Errorf("table at %s: many times more entries than the snapshot has, want tables that end", t.At)
	case view.lost != "":
		t.Note = view.lost
	}
	return nil
}

// open opens the tables of r.
func (r *root) open(m pagetable.Memory) (*pagetable.Table, error) {
	return pagetable.Open(r.format, m, nil, r.table, pagetable.Config{
		Levels: uint8(r.levels), SignExtend: r.signed, VABits: r.vaBits, Upper: r.upper, TBI: r.tbi,
	})
}

// tableView is the memory of a snapshot for software that looks at page tables. What cannot be read is
// 0 and noted; stores are dropped.
type tableView struct {
	snap *snap
	big  bool             // entries are big-endian
	in   snapshot.Segment // the last that was read
	left int              // entries that may still be read: damaged tables may go round
	lost string           // the first entry that could not be read, and why

	// For nested tables, whose addresses a second stage translates:
	parent *pagetable.Table
	view   *tableView // through which parent is read
	gpa    emu.PA     // the page translated last
	hpa    emu.PA     // and where it is
}

// newTableView returns a view that allows each entry of the snapshot to be read a few times over.
func newTableView(s *snap) *tableView {
	const perPage, times = emu.PageSize / 8, 8
	return &tableView{
		snap: s, in: snapshot.Segment{First: 1}, gpa: ^emu.PA(0), // none yet
		left: 1<<20 + s.mem.Allocated()*perPage*times,
	}
}

// over puts the tables of parent below the view.
func (v *tableView) over(parent root) (err error) {
	v.view = newTableView(v.snap)
	v.view.big = parent.big
	v.parent, err = parent.open(v.view)
	return err
}

// tired reports whether reading was given up.
func (v *tableView) tired() bool { return v.left < 0 || v.view != nil && v.view.left < 0 }

// Load64 reads an entry.
func (v *tableView) Load64(at emu.PA) uint64 {
	if v.left--; v.left < 0 {
		return 0
	}
	pa := at
	if v.parent != nil {
		var ok bool
		if pa, ok = v.translate(at); !ok {
			return 0
		}
	}
	if !v.covers(pa) {
		v.lose(fmt.Sprintf("entry at %#x: not in the snapshot", uint64(pa)))
		return 0
	}
	e, _ := v.snap.mem.Load64(pa)
	if v.big {
		e = bits.ReverseBytes64(e)
	}
	return e
}

// translate is the second stage of a nested table's address.
func (v *tableView) translate(at emu.PA) (pa emu.PA, ok bool) {
	const offset = emu.PageSize - 1
	if at&^offset == v.gpa {
		return v.hpa | at&offset, true
	}
	tr, ok := v.parent.Lookup(emu.IOVA(at))
	switch {
	case ok && tr.Perm&pagetable.Read != 0:
	case v.view.lost != "":
		v.lose("second stage: " + v.view.lost)
		return 0, false
	default:
		v.lose(fmt.Sprintf("entry at %#x: the second stage does not let it be read", uint64(at)))
		return 0, false
	}
	v.gpa, v.hpa = at&^offset, tr.PA&^offset
	return tr.PA, true
}

// covers reports whether the snapshot has the entry at pa.
func (v *tableView) covers(pa emu.PA) bool {
	if v.in.First <= pa && pa <= v.in.Last {
		return true
	}
	for _, s := range v.snap.core.Segments {
		if s.First <= pa && pa <= s.Last {
			v.in = s
			return true
		}
	}
	return false
}

func (v *tableView) lose(why string) {
	if v.lost == "" {
		v.lost = why
	}
}

func (*tableView) Store64(emu.PA, uint64)            {}
func (*tableView) CAS64(emu.PA, uint64, uint64) bool { return false }
func (*tableView) Flush(emu.PA, int)                 {}

// merger joins leaves of one size that are adjacent on both sides.
type merger struct {
	first pagetable.Mapping
	pages int
}

// add takes l if it continues the range, or begins one.
func (m *merger) add(l *pagetable.Mapping) bool {
	if m.pages == 0 {
		m.first, m.pages = *l, 1
		return true
	}
	n := uint64(m.pages) << m.first.Lg2
	if l.Lg2 != m.first.Lg2 || l.Perm != m.first.Perm || uint64(l.IOVA) != uint64(m.first.IOVA)+n || uint64(l.PA) != uint64(m.first.PA)+n {
		return false
	}
	m.pages++
	return true
}

// take ends the range.
func (m *merger) take() rangeValue {
	f := &m.first
	r := rangeValue{
		First: hexOf(uint64(f.IOVA)), Last: hexOf(uint64(f.IOVA) + uint64(m.pages)<<f.Lg2 - 1), PA: hexOf(uint64(f.PA)),
		Perm: strings.ToUpper(f.Perm.String()), PageSize: hexOf(1 << f.Lg2), Pages: m.pages,
	}
	m.pages = 0
	return r
}
