package smmuv3

import (
	"fmt"
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// Taking over from an earlier system: translation is on, devices are at work. The stream table cannot be
// exchanged while the unit is on (6.3.23), so that it stays where it is, as CD tables and page tables do.
// SMMUEN is never written.

// What is read of an earlier system's tables is bounded, whatever memory holds.
const (
	maxL1STDLg2 = 12      // entries of the first level of the stream table
	maxCDs      = 1 << 16 // in all tables together
	maxL1CDLg2  = 14      // entries of the first level of a CD table
)

// inheritedStream is what an earlier system has left of a device.
type inheritedStream struct {
	ste   [8]uint64
	table *cdTable
}

// stage1 reports whether requests go by CDs.
func (x *inheritedStream) stage1() bool { return spec.SteConfig.Of(x.ste[0]) == spec.ConfigS1 }

// inherit notes the stream table that the unit uses, and what is in it.
func (d *Driver) inherit() error {
	d.c.Heritage = driver.NewHeritage()
	cfg := d.c.Read(spec.OffSTRTABBaseCfg, 4)
	t := &d.streams
	t.bits = uint8(min(spec.StrtabLog2.Of(cfg), spec.Idr1SIDSIZE.Of(d.caps.idr1)))
	t.lent = true
	base := d.c.Read(spec.OffSTRTABBase, 8) & spec.StrtabAddr.Mask()
	two := spec.StrtabFmt.Of(cfg) == spec.StrtabFmt2Lvl && spec.Idr0STLevel.Of(d.caps.idr0) == spec.STLevel2
	n := 0
	if !two {
		t.base = emu.PA(base &^ (1<<(t.bits+steLg2) - 1))
		if t.bits > maxStreamBits {
			return fmt.Errorf("smmuv3: unit %d: a linear stream table for %d bits: %w", d.opt.Unit, t.bits, driver.ErrTakeOver)
		}
		return d.inheritSTEs(t.base, 0, 1<<t.bits, &n)
	}
	t.split = uint8(spec.StrtabSplit.Of(cfg))
	if !slices.Contains(spec.StrtabSplits[:], uint64(t.split)) {
		t.split = uint8(spec.StrtabSplits[0])
	}
	l1 := max(t.bits, t.split) - t.split
	t.base = emu.PA(base &^ (1<<max(l1+descLg2, steLg2) - 1))
	t.leaf = make(map[uint32]emu.PA)
	if l1 > maxL1STDLg2 {
		return fmt.Errorf("smmuv3: unit %d: a stream table for %d bits: %w", d.opt.Unit, t.bits, driver.ErrTakeOver)
	}
	for i := range uint32(1) << l1 {
		desc := spec.L1STD(d.c.CPU.Load64(t.base + emu.PA(i)*spec.DescSize))
		stes := desc.STEs()
		if stes == 0 || stes > 1<<t.split {
			continue
		}
		if stes != 1<<t.split {
			return fmt.Errorf("smmuv3: StreamIDs from %#x on: a table of %d: %w", i<<t.split, stes, driver.ErrTakeOver)
		}
		t.leaf[i] = desc.L2Ptr()
		t.old = append(t.old, host.Block{PA: desc.L2Ptr(), Lg2: t.split + steLg2})
		if err := d.inheritSTEs(desc.L2Ptr(), emu.SourceID(i<<t.split), int(stes), &n); err != nil {
			return err
		}
	}
	return nil
}

// inheritSTEs notes the devices of one table; first is that of its first STE, n counts CDs.
func (d *Driver) inheritSTEs(base emu.PA, first emu.SourceID, count int, n *int) error {
	for i := range count {
		at := base + emu.PA(i)*spec.STESize
		if w := d.c.CPU.Load64(at); !spec.SteV.On(w) || spec.SteConfig.Of(w)&4 == 0 {
			continue
		}
		if err := d.inheritSTE(at, first+emu.SourceID(i), n); err != nil {
			return err
		}
	}
	return nil
}

// inheritSTE notes a device whose requests pass.
func (d *Driver) inheritSTE(at emu.PA, sid emu.SourceID, n *int) error {
	s := &inheritedStream{}
	for i := range s.ste {
		s.ste[i] = d.c.CPU.Load64(at + emu.PA(i*8))
	}
	x := d.c.Inherit(sid)
	x.Arch = s
	x.Spec.ATS = spec.SteEATS.Get(s.ste[:]) != 0
	if !s.stage1() {
		d.c.Note(x, 0, s.ste[:])
		return nil
	}
	t, err := d.inheritCDs(sid, s.ste[:], n)
	if err != nil {
		return err
	}
	s.table = t
	if t.cdmax > 0 {
		x.Spec.PASIDs = 1 << t.cdmax
	}
	for _, slot := range slices.Sorted(maps.Keys(t.used)) {
		pa, _ := t.at(slot)
		raw := make([]uint64, 8)
		for i := range raw {
			raw[i] = d.c.CPU.Load64(pa + emu.PA(i*8))
		}
		x.Spec.Stall = x.Spec.Stall || spec.CdS.On(raw[0])
		d.c.Note(x, slot, raw)
	}
	return nil
}

// inheritCDs notes the table of CDs of an STE. CD 0 counts only if requests without PASID use it.
func (d *Driver) inheritCDs(sid emu.SourceID, ste []uint64, n *int) (*cdTable, error) {
	t := &cdTable{
		base: emu.PA(ste[0] & spec.SteS1Context.Mask()), cdmax: uint8(spec.SteS1CDMax.Of(ste[0])), lent: true, used: make(map[emu.PASID]bool),
	}
	t.lg2 = t.cdmax + cdLg2
	if t.cdmax > 0 && spec.CDSplit(spec.SteS1Fmt.Of(ste[0])) != 0 {
		t.format, t.leaf = spec.SteS1Fmt.Of(ste[0]), make(map[uint32]emu.PA)
		t.lg2 = max(t.cdmax, t.split()) - t.split() + descLg2
		if t.lg2-descLg2 > maxL1CDLg2 {
			return nil, fmt.Errorf("smmuv3: %#04x: a CD table of 2^%d leaves: %w", uint32(sid), t.lg2-descLg2, driver.ErrTakeOver)
		}
		for i := range uint32(1) << (t.lg2 - descLg2) {
			if l1 := d.c.CPU.Load64(t.base + emu.PA(i)*spec.DescSize); spec.L1cdV.On(l1) {
				t.leaf[i] = emu.PA(l1 & spec.L1cdL2Ptr.Mask())
				t.old = append(t.old, host.Block{PA: t.leaf[i], Lg2: t.split() + cdLg2})
			}
		}
	}
	for slot := emu.PASID(0); slot < 1<<t.cdmax; slot++ {
		at, ok := t.at(slot)
		if !ok {
			slot |= 1<<t.split() - 1 // nothing in this leaf
			continue
		}
		if *n++; *n > maxCDs {
			return nil, fmt.Errorf("smmuv3: %#04x: more than %d CDs: %w", uint32(sid), maxCDs, driver.ErrTakeOver)
		}
		if spec.CdV.On(d.c.CPU.Load64(at)) && (slot > 0 || t.cdmax == 0 || spec.SteS1DSS.Get(ste) == spec.DSSSSID0) {
			t.used[slot] = true
		}
	}
	return t, nil
}

// takeDevice makes a device known that an earlier system has left at work.
func (d *Driver) takeDevice(v *driver.Device, s *stream, x *driver.Inherited) error {
	h := x.Arch.(*inheritedStream)
	if h.table == nil {
		return nil
	}
	if v.Spec.PASIDs > 1<<h.table.cdmax {
		return fmt.Errorf("smmuv3: %#04x: %d PASIDs, the table that was left has %d: %w",
			uint32(v.SID), v.Spec.PASIDs, 1<<h.table.cdmax, driver.ErrTakeOver)
	}
	s.table, s.tables = h.table, []*cdTable{h.table}
	return nil
}

// IDOf implements driver.Arch.
func (d arch) IDOf(x *driver.Inherited, raw []uint64) uint32 {
	if x.Arch.(*inheritedStream).stage1() {
		return asidBase + uint32(spec.CdASID.Get(raw))
	}
	return uint32(spec.SteS2VMID.Get(raw))
}

// SameTables implements driver.Arch.
func (d arch) SameTables(x *driver.Inherited, _ emu.PASID, raw []uint64, m *driver.Domain) bool {
	v := &driver.Device{SID: x.SID, Arch: &stream{}}
	words, fields := d.steWords(v, m, nil), steTables
	if x.Arch.(*inheritedStream).stage1() {
		if !isStage1(m) {
			return false
		}
		words, fields = d.cdWords(v, m), cdTables
	}
	for _, b := range fields {
		if b.Get(raw) != b.Get(words) {
			return false
		}
	}
	return true
}

// The fields by which entries share tables.
var (
	steTables = []reg.Bits{spec.SteConfig, spec.SteS2TTB, spec.SteS2T0SZ, spec.SteS2SL0, spec.SteS2SL02, spec.SteS2DS, spec.SteS2TG}
	cdTables  = []reg.Bits{spec.CdTTB0, spec.CdT0SZ, spec.CdTG0, spec.CdDS}
)

// Block implements driver.Arch: the STEs of the devices abort, then everything is dropped once, then the rest
// of them is cleared.
func (d arch) Block(sids []emu.SourceID) error {
	list := []command{newCommand(spec.CmdTlbiNSNHAll)}
	for _, sid := range sids {
		at, err := d.steOf(sid)
		if err != nil {
			return err
		}
		d.c.CPU.Store64(at, steAbort)
		d.c.Flush(at, 8)
		list = append([]command{cfgiSTE(sid, false)}, list...)
		if x := d.c.Left(sid); x != nil && x.Spec.ATS && d.caps.ats {
			list = append(list, atcInv(sid, emu.NoPASID, 0, 64))
		}
	}
	d.c.CPU.Fence()
	if err := d.invalidate(0, list...); err != nil {
		return err
	}
	for _, sid := range sids {
		at, err := d.steOf(sid)
		if err != nil {
			return err
		}
		for w := 8; w < spec.STESize; w += 8 {
			d.c.CPU.Store64(at+emu.PA(w), 0)
		}
		d.c.Flush(at, spec.STESize)
	}
	return nil
}

// BlockRest implements driver.Arch: the unit remaps none.
func (d arch) BlockRest() error { return nil }

// Lent returns the memory of an earlier system that the unit still reads the stream table and CD tables from,
// in ascending order. Page tables are not among it: adopted ones belong to their domains.
func (d *Driver) Lent() []host.Block {
	t := &d.streams
	if !t.lent {
		return nil
	}
	list := slices.Clone(t.old)
	size := t.bits + steLg2
	if t.split > 0 {
		size = max(t.bits, t.split) - t.split + descLg2
	}
	list = append(list, host.Block{PA: t.base, Lg2: max(size, emu.PageShift)})
	for _, v := range d.c.Devices {
		for _, c := range streamOf(v).tables {
			if c.lent {
				list = append(list, host.Block{PA: c.base, Lg2: max(c.lg2, emu.PageShift)})
				list = append(list, c.old...)
			}
		}
	}
	slices.SortFunc(list, func(a, b host.Block) int { return int(int64(a.PA) - int64(b.PA)) })
	return list
}
