package smmuv3

import (
	"maps"
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// cdTable is a table of CDs (3.4): one, a linear table, or one of two levels.
type cdTable struct {
	base   emu.PA
	lg2    uint8 // bytes of the table, or of its first level
	cdmax  uint8 // log2 of the CDs
	format uint64
	leaf   map[uint32]emu.PA // two levels: by SubstreamID >> split
	used   map[emu.PASID]bool

	lent bool         // an earlier system's
	old  []host.Block // of its leaves
}

const (
	cdLg2     = 6
	linearCDs = 6 // log2 of the CDs up to which a table is linear: a page
)

// newCDTable makes a table for the PASIDs of v.
func (d *Driver) newCDTable(v *driver.Device) (*cdTable, error) {
	t := &cdTable{used: make(map[emu.PASID]bool)}
	if n := v.Spec.PASIDs; n > 0 {
		t.cdmax = uint8(max(bits.Len32(n-1), 1))
	}
	t.lg2 = t.cdmax + cdLg2
	if d.caps.has0(spec.Idr0CD2L) && t.cdmax > linearCDs && d.opt.CDFormat != LinearCDs {
		t.format, t.leaf = max(uint64(d.opt.CDFormat), spec.S1Fmt4K), make(map[uint32]emu.PA)
		split := uint8(spec.CDSplit(t.format))
		t.lg2 = max(t.cdmax, split) - split + descLg2
	}
	var err error
	t.base, err = d.c.Alloc(t.lg2)
	return t, err
}

// split is the log2 of the CDs of a leaf.
func (t *cdTable) split() uint8 { return uint8(spec.CDSplit(t.format)) }

// at returns where a CD is; false if the leaf that it would be in is missing.
func (t *cdTable) at(slot emu.PASID) (emu.PA, bool) {
	if t.leaf == nil {
		return t.base + emu.PA(slot)*spec.CDSize, true
	}
	leaf, ok := t.leaf[uint32(slot)>>t.split()]
	return leaf + emu.PA(uint32(slot)&(1<<t.split()-1))*spec.CDSize, ok
}

// cdAt returns where a CD is. With build, the leaf that it is in is made if it is missing; otherwise it
// returns 0 then.
func (d *Driver) cdAt(v *driver.Device, t *cdTable, slot emu.PASID, build bool) (emu.PA, error) {
	if _, ok := t.at(slot); !ok && !build {
		return 0, nil
	} else if !ok {
		i := uint32(slot) >> t.split()
		leaf, err := d.c.Alloc(t.split() + cdLg2)
		if err != nil {
			return 0, err
		}
		desc := t.base + emu.PA(i)*spec.DescSize
		d.c.CPU.Fence()
		d.c.CPU.Store64(desc, uint64(leaf)|spec.L1cdV.Mask())
		d.c.Flush(desc, spec.DescSize)
		d.c.CPU.Fence()
		t.leaf[i] = leaf
		if streamOf(v).table == t {
			// The descriptor without CDs may be cached (3.21.1).
			if err := d.invalidate(entry.OneWait, cfgiCD(v.SID, slot, true)); err != nil {
				return 0, err
			}
		}
	}
	at, _ := t.at(slot)
	return at, nil
}

// freeTable gives a table back, but for what is an earlier system's.
func (d *Driver) freeTable(t *cdTable) {
	for _, i := range slices.Sorted(maps.Keys(t.leaf)) {
		if !slices.ContainsFunc(t.old, func(b host.Block) bool { return b.PA == t.leaf[i] }) {
			d.c.Pages.Free(t.leaf[i], t.split()+cdLg2)
		}
	}
	if !t.lent {
		d.c.Pages.Free(t.base, t.lg2)
	}
}

// trim gives back all tables of a stream but the one that its STE has.
//
// Precondition: no other is in a cache.
func (d *Driver) trim(s *stream) {
	for _, t := range s.tables {
		if t != s.table {
			d.freeTable(t)
		}
	}
	s.tables = s.tables[:0]
	if s.table != nil {
		s.tables = append(s.tables, s.table)
	}
}

// tableAt returns the table of s that an STE names, or nil.
func (s *stream) tableAt(ste []uint64) *cdTable {
	if spec.SteConfig.Of(ste[0])&5 != 5 {
		return nil
	}
	ptr := emu.PA(ste[0] & spec.SteS1Context.Mask())
	if i := slices.IndexFunc(s.tables, func(t *cdTable) bool { return t.base == ptr }); i >= 0 {
		return s.tables[i]
	}
	return nil
}

// asidsIn returns the ASIDs of the CDs in a table.
func (d *Driver) asidsIn(v *driver.Device, t *cdTable) (list []uint32) {
	for _, slot := range slices.Sorted(maps.Keys(t.used)) {
		at, err := d.cdAt(v, t, slot, false)
		if err != nil || at == 0 {
			continue
		}
		if w := d.c.CPU.Load64(at); spec.CdV.On(w) {
			list = append(list, uint32(spec.CdASID.Of(w)))
		}
	}
	return list
}

// cdTarget is a CD for a writer.
func (d *Driver) cdTarget(v *driver.Device, t *cdTable, slot emu.PASID, build bool) (*entry.Target, error) {
	at, err := d.cdAt(v, t, slot, build)
	return &entry.Target{
		CPU: d.c.CPU, Format: d.caps.formats.CD(nil), At: at, Noncoherent: !d.c.Coherent,
		Inv:   &cdCaches{caches{d: d, v: v}, slot},
		Means: func(old, new []uint64) entry.Means { return d.asidMeans(v, slot, old, new) },
	}, err
}
