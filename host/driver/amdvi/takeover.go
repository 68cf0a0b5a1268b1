package amdvi

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Taking over from an earlier system: IommuEn stays set, and the device table stays where it is, as it does
// with Linux 7.3. Command buffer and logs are exchanged while they stand still.

// What is read of an earlier system's GCR3 tables is bounded, whatever memory holds.
const (
	maxGCR3Tables  = 1 << 15 // of all devices together
	maxGCR3Entries = 1 << 16 // valid ones
)

// inherited is what an earlier system has left of a device.
type inherited struct {
	dte    spec.DTE
	tables map[uint32]emu.PA // of its GCR3 table the lowest level, by PASID>>9
	upper  []emu.PA          // and those above
	pasids int               // valid entries but the one of PASID 0
}

func left(x *driver.Inherited) *inherited { return x.Arch.(*inherited) }

// found counts GCR3 tables and valid entries.
type found struct{ tables, entries int }

// takeTable takes over the device table, and notes what is in use. The table may end before the last
// device that firmware tells of: those behind cannot be used.
func (d *Driver) takeTable() error {
	d.caps.segments = uint8(spec.CtlDevTblSegEn.Of(d.ctl))
	per := emu.SourceID(maxDevice+1) >> d.caps.segments
	end := emu.SourceID(0)
	for i := range 1 << d.caps.segments {
		off := uint32(spec.OffDevTabBase)
		if i > 0 {
			off = spec.OffDevTabSeg1 + uint32(i-1)*8
		}
		base := d.k.Read(off, 8)
		pa, n := emu.PA(base&spec.DevTabBase.Mask()), emu.SourceID(spec.DevTabSize.Of(base)+1)*emu.PageSize/spec.DTESize
		d.table = append(d.table, pa)
		d.lent = append(d.lent, host.Block{PA: pa, Lg2: lg2(int(n) * spec.DTESize)})
		if end == emu.SourceID(i)*per {
			end += min(n, per)
		}
	}
	d.opt.LastDevice = min(d.opt.LastDevice, end-1)
	aliases := make(map[emu.SourceID]bool)
	for _, fw := range d.opt.Firmware {
		for _, sid := range fw.Aliases {
			aliases[sid] = true
		}
	}
	var n found
	for sid := range d.opt.LastDevice + 1 {
		if !aliases[sid] {
			if err := d.inherit(sid, &n); err != nil {
				return err
			}
		}
	}
	if d.identity == 0 { // it is a domain's
		var err error
		if d.identity, err = d.k.IDs.Take(0); err != nil {
			return err
		}
	}
	return nil
}

// readDTE reads the entry of a device.
func (d *Driver) readDTE(sid emu.SourceID) (e spec.DTE) {
	at := d.dteAt(sid)
	for i := range e {
		e[i] = d.k.CPU.Load64(at + emu.PA(i*8))
	}
	return e
}

// inherit notes a device whose entry does not block. Of all entries it keeps what no domain changes.
func (d *Driver) inherit(sid emu.SourceID, n *found) error {
	e := d.readDTE(sid)
	if e == (spec.DTE{spec.DteV.Mask()}) || !e.V() {
		return nil // V=0 is nobody's: Finish blocks it
	}
	fixed := e
	d.formatDTE.Block(fixed[:])
	spec.DteGuestPagingMode.Set(fixed[:], 0)
	d.fixed[sid] = &fixed
	if !d.formatDTE.Present(e[:]) {
		return nil
	}
	if e.DomainID() == identityID && (e.GV() || e.Mode() != spec.ModeIdentity) {
		d.identity = 0
	}
	noted, x := d.k.Inherit(sid), &inherited{dte: e, tables: make(map[uint32]emu.PA)}
	noted.Arch = x
	noted.Spec.ATS, noted.Spec.PRI = e.I(), spec.DtePPR.On(e[0])
	if !e.GV() {
		d.k.Note(noted, 0, e[:])
		return nil
	}
	if e.Mode() != spec.ModeIdentity && spec.CtlGCR3TRPMode.On(d.ctl) {
		return fmt.Errorf("amdvi: %#04x: its GCR3 table is at an address of the guest: %w", uint32(sid), ErrTakeOver)
	}
	rid := !e.GIoV()
	err := d.walkGCR3(emu.PA(e.GCR3Root()), int(e.GLX()), 0, x, n, func(pasid uint32, raw uint64) {
		if pasid == 0 {
			rid = true
			return
		}
		x.pasids++
		d.k.Note(noted, emu.PASID(pasid), []uint64{raw})
	})
	if err != nil {
		return fmt.Errorf("amdvi: %#04x: %w", uint32(sid), err)
	}
	if rid {
		d.k.Note(noted, 0, e[:])
	}
	if x.pasids > 0 {
		noted.Spec.PASIDs = min(d.caps.pasids, 1<<(gcr3Bits*(uint32(e.GLX())+1)))
	}
	return nil
}

// walkGCR3 calls visit for the valid entries of a GCR3 table.
func (d *Driver) walkGCR3(table emu.PA, level int, index uint32, x *inherited, n *found, visit func(pasid uint32, raw uint64)) error {
	if n.tables++; n.tables > maxGCR3Tables {
		return fmt.Errorf("more than %d GCR3 tables: %w", maxGCR3Tables, ErrTakeOver)
	}
	if level == 0 {
		x.tables[index] = table
	} else {
		x.upper = append(x.upper, table)
	}
	for i := range uint32(1) << gcr3Bits {
		raw := d.k.CPU.Load64(table + emu.PA(i)*8)
		switch {
		case !spec.Gcr3V.On(raw):
		case level > 0:
			if err := d.walkGCR3(emu.PA(raw&spec.Gcr3Addr.Mask()), level-1, index<<gcr3Bits|i, x, n, visit); err != nil {
				return err
			}
		default:
			if n.entries++; n.entries > maxGCR3Entries {
				return fmt.Errorf("more than %d PASIDs in use: %w", maxGCR3Entries, ErrTakeOver)
			}
			visit(index<<gcr3Bits|i, raw)
		}
	}
	return nil
}

// takeDevice makes a device known that an earlier system has left at work. Its PASIDs go on in the GCR3 table
// that it has, under the id that it has.
func (d *Driver) takeDevice(v *device, x *inherited) error {
	if x.pasids == 0 {
		return nil
	}
	e := &x.dte
	if n := uint32(1) << (gcr3Bits * (uint32(e.GLX()) + 1)); v.Spec.PASIDs > n {
		return fmt.Errorf("amdvi: %#04x: %d PASIDs, the GCR3 table that was left has %d: %w", uint32(v.SID), v.Spec.PASIDs, n, ErrTakeOver)
	}
	for _, other := range d.k.Heritage.Devices {
		if o := left(other); o != x && o.pasids > 0 && o.dte.DomainID() == e.DomainID() {
			return fmt.Errorf("amdvi: %#04x shares domain id %d with another device that has PASIDs: %w", uint32(v.SID), e.DomainID(), ErrTakeOver)
		}
	}
	v.glx, v.gcr3, v.tables, v.upper, v.id = e.GLX(), emu.PA(e.GCR3Root()), x.tables, x.upper, uint32(e.DomainID())
	v.own, v.giov = true, e.GIoV()
	for _, pa := range v.tables {
		v.lent = append(v.lent, pa)
	}
	v.lent = append(v.lent, v.upper...)
	d.k.Hold(v.id)
	return nil
}

// leftPASIDs reports whether PASIDs of v besides pasid are still as an earlier system has left them.
func (d *Driver) leftPASIDs(v *device, pasid emu.PASID) bool {
	x := d.k.Left(v.SID)
	if x == nil {
		return false
	}
	for slot := range x.Entries {
		if slot != 0 && slot != pasid {
			return true
		}
	}
	return false
}

// leftRID reports whether requests of v without PASID go by what an earlier system has left.
func (d *Driver) leftRID(v *device) bool {
	x := d.k.Left(v.SID)
	return x != nil && x.Entries[0] != nil
}

// checkLeft says what cannot be attached beside what an earlier system has left.
func (d *Driver) checkLeft(v *device, pasid emu.PASID, m *driver.Domain, s shape) error {
	if pasid != emu.NoPASID && d.leftRID(v) && !v.own {
		return fmt.Errorf("requests without PASID are as an earlier system has left them: %w", host.ErrBusy)
	}
	if !d.leftPASIDs(v, pasid) {
		return nil
	}
	old, new := left(d.k.Left(v.SID)).dte, d.dteWords(v, s)
	for _, b := range []reg.Bits{spec.DteMode, spec.DteHostRoot, spec.DteGuestPagingMode} {
		if isGuest(m) && b.Get(old[:]) != b.Get(new) {
			return fmt.Errorf("PASIDs that an earlier system has left have other host tables or another depth: %w", host.ErrBusy)
		}
	}
	return nil
}

// IDOf returns the domain id of a device table entry; that of PASIDs is the one of their device.
func (d arch) IDOf(x *driver.Inherited, _ []uint64) uint32 { return uint32(left(x).dte.DomainID()) }

// SameTables compares the tables that an entry leads to with those of m.
func (d arch) SameTables(x *driver.Inherited, slot emu.PASID, raw []uint64, m *driver.Domain) bool {
	e := left(x).dte
	host := make([]uint64, 4)
	switch {
	case m.Parent != nil:
		hostWords(host, m.Parent)
	case !m.First:
		hostWords(host, m)
	}
	for _, b := range []reg.Bits{spec.DteMode, spec.DteHostRoot} {
		if b.Get(host) != b.Get(e[:]) {
			return false
		}
	}
	if slot == 0 && !e.GV() || !m.First {
		return !e.GV() && !m.First
	}
	if slot == 0 {
		table := left(x).tables[0]
		raw = []uint64{d.k.CPU.Load64(table)}
	}
	return raw[0] == slotWords(m)[0] && guestOf(m).levels == 4+e.GuestPagingMode()
}

// Block stores the blocking form, drops all that is cached of the devices, and clears the rest.
func (d arch) Block(sids []emu.SourceID) error {
	var ops, devices []op
	for _, sid := range sids {
		x := d.k.Left(sid)
		e := d.fixedOf(sid)
		for _, name := range append([]emu.SourceID{sid}, d.opt.Firmware[sid].Aliases...) {
			d.k.CPU.Store128(d.dteAt(name), e[0], e[1])
			ops = append(ops, devtab(name))
		}
		id := d.IDOf(x, nil)
		devices = add(devices, allPages(id, emu.NoPASID))
		for slot := range x.Entries {
			devices = add(devices, allPages(id, slot))
		}
		if left(x).dte.I() && d.caps.ats {
			devices = append(devices, deviceIOTLB(sid, emu.NoPASID, 0, 64))
			for slot := range x.Entries {
				if slot != 0 {
					devices = append(devices, deviceIOTLB(sid, slot, 0, 64))
				}
			}
		}
	}
	slices.SortStableFunc(devices, func(a, b op) int { return int(a.pasid) - int(b.pasid) })
	d.k.CPU.Fence()
	if err := d.invalidate(entry.OneWait, append(ops, devices...)...); err != nil {
		return err
	}
	for _, sid := range sids {
		for _, name := range append([]emu.SourceID{sid}, d.opt.Firmware[sid].Aliases...) {
			d.k.CPU.Store64(d.dteAt(name)+16, d.fixedOf(sid)[2])
		}
	}
	return nil
}

// BlockRest blocks interrupts that nobody has claimed, and sanitises the entries that are no device's: those that
// let requests pass, or, with interrupt remapping, interrupts.
func (d arch) BlockRest() error {
	if err := d.blockIRQs(); err != nil {
		return err
	}
	var ops []op
	for sid := range d.opt.LastDevice + 1 {
		e := d.readDTE(sid)
		open := !e.V()
		if !open && (d.irqs == nil || e.IV()) {
			continue
		}
		at := d.dteAt(sid)
		if d.irqs != nil {
			fixed := d.fixedOf(sid)
			spec.DteIV.Set(fixed[:], 1)
			d.k.CPU.Store64(at+16, fixed[2]|e[2]&spec.DteGuestPagingMode.Mask())
		}
		if open {
			d.k.CPU.Fence()
			d.k.CPU.Store128(at, spec.DteV.Mask(), 0)
		}
		ops = append(ops, devtab(sid))
	}
	d.k.CPU.Fence()
	return d.invalidate(entry.OneWait, ops...)
}

// Lent returns the memory of an earlier system that the unit still reads the device table and GCR3 tables
// from, in ascending order. Page tables are not among it: adopted ones belong to their domains.
func (d *Driver) Lent() []host.Block {
	list := slices.Clone(d.lent)
	for _, v := range d.k.Devices {
		for _, pa := range of(v).lent {
			list = append(list, host.Block{PA: pa, Lg2: emu.PageShift})
		}
	}
	for _, t := range d.irqTables() {
		if t.lent {
			list = append(list, host.Block{PA: t.base, Lg2: lg2(t.slots.Len() * d.irqs.size)})
		}
	}
	slices.SortFunc(list, func(a, b host.Block) int { return int(int64(a.PA) - int64(b.PA)) })
	return list
}
