package vtd

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// Taking over from an earlier system: translation is on, devices are at work, and the tables in memory
// are those of a kernel that is gone. Root and context tables are copied by value into own ones,
// PASID tables and page tables stay where they are. TE is never written. Devices go on as before
// until somebody attaches a domain to them; Finish blocks those that nobody asked for.

// ErrTakeOver is what New returns if it cannot go on from the tables of an earlier system.
var ErrTakeOver = errors.New("tables of the earlier system cannot be taken over")

// What is read of an earlier system's PASID tables is bounded, whatever memory holds.
const (
	maxPASIDTables  = 1 << 15 // in all directories together
	maxPASIDEntries = 1 << 16 // present ones
)

// running reports whether translation is on, and in which table mode.
func (d *Driver) running() (ttm uint64, on bool) {
	return spec.RtaddrTTM.Of(d.read(spec.OffRTADDR, 8)), spec.GstsTES.On(d.read(spec.OffGSTS, 4))
}

// inheritedMode settles the mode if there is something to take over: TTM cannot change while TE is on
// (11.4.5).
func (d *Driver) inheritedMode() error {
	ttm, on := d.running()
	if !d.opt.TakeOver || !on {
		return nil
	}
	mode, known := map[uint64]Mode{spec.TTMLegacy: ModeLegacy, spec.TTMScalable: ModeScalable}[ttm]
	if !known || d.opt.Mode != ModeAuto && d.opt.Mode != mode {
		return fmt.Errorf("vtd: unit %d runs in table mode %d: %w", d.opt.Unit, ttm, ErrTakeOver)
	}
	d.opt.Mode = mode
	d.heritage = &heritage{
		devices: make(map[emu.SourceID]*inherited), entries: make(map[uint32]int),
		dirs: make(map[emu.PA]emu.SourceID),
	}
	return nil
}

// found counts PASID tables and present entries.
type found struct{ tables, entries int }

// copyTables copies root and context tables, and notes what is in use.
func (d *Driver) copyTables() error {
	h := d.heritage
	root := emu.PA(d.read(spec.OffRTADDR, 8) & spec.RtaddrRTA.Mask())
	var n found
	for bus := range 256 {
		for half := range 2 {
			word := d.cpu.Load64(root + emu.PA(bus*16+half*8))
			if !spec.RootP.On(word) || half == 1 && !d.scalable {
				continue
			}
			first := emu.SourceID(bus<<8 | half<<7)
			own, err := d.contextTable(first)
			if err != nil {
				return err
			}
			if err := d.copyContexts(own, emu.PA(word&spec.RootCTP.Mask()), first, &n); err != nil {
				return err
			}
		}
	}
	for id := range h.entries {
		d.ids.reserve(id)
	}
	return nil
}

// contextSize returns the size of a context entry, and how many there are in a table.
func (d *Driver) contextSize() (size, n int) {
	if d.scalable {
		return 32, 128
	}
	return 16, 256
}

// copyContexts copies one context table; first is the device of its first entry.
func (d *Driver) copyContexts(to, from emu.PA, first emu.SourceID, n *found) error {
	size, count := d.contextSize()
	for i := range count {
		raw := make([]uint64, size/8)
		for w := range raw {
			raw[w] = d.cpu.Load64(from + emu.PA(i*size+w*8))
			if raw[w] != 0 {
				d.cpu.Store64(to+emu.PA(i*size+w*8), raw[w])
			}
		}
		if spec.CtxP.On(raw[0]) {
			if err := d.inherit(first+emu.SourceID(i), raw, n); err != nil {
				return err
			}
		}
	}
	d.flush(to, emu.PageSize)
	return nil
}

// inherit notes a device that has a present context entry.
func (d *Driver) inherit(sid emu.SourceID, raw []uint64, n *found) error {
	h := d.heritage
	x := &inherited{entry: make(map[emu.PASID][]uint64)}
	h.devices[sid] = x
	if !d.scalable {
		x.spec.ATS = spec.CtxTT.Of(raw[0]) == spec.TTAll
		d.note(x, 0, raw)
		return nil
	}
	x.spec.ATS, x.spec.PRI = spec.SMCtxDTE.On(raw[0]), spec.SMCtxPRE.On(raw[0])
	x.dir, x.pdts = emu.PA(raw[0]&spec.SMCtxPASIDDIRPTR.Mask()), uint8(spec.SMCtxPDTS.Of(raw[0]))
	if spec.SMCtxPASIDE.On(raw[0]) {
		x.spec.PASIDs = min(d.caps.pasids, 1<<(x.pdts+pdtsBits+pasidTableBits))
	}
	x.tables = make(map[emu.PASID]emu.PA)
	if other, ok := h.dirs[x.dir]; ok {
		x.shared, h.devices[other].shared = true, true
	}
	h.dirs[x.dir] = sid
	for i := range emu.PASID(1) << (x.pdts + pdtsBits) {
		word := d.cpu.Load64(x.dir + emu.PA(i)*8)
		if !spec.PDirP.On(word) {
			continue
		}
		if n.tables++; n.tables > maxPASIDTables {
			return fmt.Errorf("vtd: %#04x: more than %d PASID tables: %w", uint32(sid), maxPASIDTables, ErrTakeOver)
		}
		table := emu.PA(word & spec.PDirSMPTBLPTR.Mask())
		x.tables[i] = table
		for k := range emu.PASID(1) << pasidTableBits {
			at := table + emu.PA(k)*pasidEntrySize
			if !spec.PasidP.On(d.cpu.Load64(at)) {
				continue
			}
			if n.entries++; n.entries > maxPASIDEntries {
				return fmt.Errorf("vtd: %#04x: more than %d PASIDs in use: %w", uint32(sid), maxPASIDEntries, ErrTakeOver)
			}
			raw := make([]uint64, 8)
			for w := range raw {
				raw[w] = d.cpu.Load64(at + emu.PA(w*8))
			}
			d.note(x, i<<pasidTableBits|k, raw)
		}
	}
	return nil
}

// takeDevice makes a device known that an earlier system has left at work.
func (d *Driver) takeDevice(v *device, x *inherited) error {
	if !d.scalable {
		return nil
	}
	if x.shared {
		return fmt.Errorf("vtd: %#04x shares its PASID directory with another device: %w", uint32(v.sid), ErrTakeOver)
	}
	if n := uint32(1) << (x.pdts + pdtsBits + pasidTableBits); v.spec.PASIDs > n {
		return fmt.Errorf("vtd: %#04x: %d PASIDs, the directory that was left has %d: %w", uint32(v.sid), v.spec.PASIDs, n, ErrTakeOver)
	}
	v.live, v.old = true, true
	v.dir, v.pdts, v.table = x.dir, x.pdts, maps.Clone(x.tables)
	v.lent = maps.Clone(x.tables)
	return nil
}

// Inherited returns the devices that an earlier system has left at work and that Finish would block, in
// ascending order.
func (d *Driver) Inherited() []emu.SourceID {
	var list []emu.SourceID
	if d.heritage != nil {
		for sid, x := range d.heritage.devices {
			if d.devices[sid] == nil || len(x.entry) > 0 {
				list = append(list, sid)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Lent returns the memory of an earlier system that the unit still reads PASID directories and tables
// from, in ascending order. Page tables are not among it: adopted ones belong to their domains.
func (d *Driver) Lent() []host.Block {
	var list []host.Block
	for _, v := range d.devices {
		if v.lent == nil {
			continue
		}
		list = append(list, host.Block{PA: v.dir, Lg2: max(v.pdts+pdtsBits+3, emu.PageShift)})
		for _, pa := range v.lent {
			list = append(list, host.Block{PA: pa, Lg2: emu.PageShift})
		}
	}
	slices.SortFunc(list, func(a, b host.Block) int { return int(int64(a.PA) - int64(b.PA)) })
	return list
}

// Finish ends a take-over: what nobody has claimed - devices, single PASIDs of devices that were, and
// interrupts - is blocked, and ids that only an earlier system used are free. Its root and context tables, and
// all but Lent of its PASID tables, are no longer read. It does nothing without a take-over, and can be
// repeated after an error.
//
// Errors: host.ErrTimeout.
func (d *Driver) Finish() error {
	defer d.enter().leave()
	h := d.heritage
	if h == nil {
		return nil
	}
	if err := d.blockContexts(d.unknown()...); err != nil {
		return err
	}
	for _, sid := range slices.Sorted(maps.Keys(h.devices)) {
		v, x := d.devices[sid], h.devices[sid]
		for _, pasid := range slices.Sorted(maps.Keys(x.entry)) {
			if pasid == 0 {
				pasid = emu.NoPASID
			}
			if _, err := d.rewrite(v, pasid, nil, entry.Hitless); err != nil {
				return fmt.Errorf("vtd: blocking %s: %w", name(sid, pasid), err)
			}
		}
	}
	if err := d.dropInheritedIRQs(); err != nil {
		return err
	}
	d.heritage = nil
	return nil
}

// unknown returns the devices that an earlier system has left and nobody has made known.
func (d *Driver) unknown() []emu.SourceID {
	var sids []emu.SourceID
	for sid := range d.heritage.devices {
		if d.devices[sid] == nil {
			sids = append(sids, sid)
		}
	}
	slices.Sort(sids)
	return sids
}

// blockContexts blocks devices that an earlier system has left: their context entries are all cleared
// of P, then everything is invalidated once, then the entries are zeroed.
func (d *Driver) blockContexts(sids ...emu.SourceID) error {
	if len(sids) == 0 {
		return nil
	}
	h := d.heritage
	size, _ := d.contextSize()
	ops := []op{contextGlobal()}
	if d.scalable {
		ops = append(ops, pasidGlobal())
	}
	ops = append(ops, iotlbGlobal())
	at := make(map[emu.SourceID]emu.PA)
	for _, sid := range sids {
		table, err := d.contextTable(sid)
		if err != nil {
			return err
		}
		at[sid] = table + emu.PA(int(sid)%(emu.PageSize/size)*size)
		d.cpu.Store64(at[sid], d.cpu.Load64(at[sid])&^spec.CtxP.Mask())
		d.flush(at[sid], 8)
		if h.devices[sid].spec.ATS && d.caps.has(spec.EcapDT) && d.queue != nil {
			ops = append(ops, deviceTLB(sid, emu.NoPASID, 0, wholeSpace))
		}
	}
	d.cpu.Fence()
	if err := d.invalidate(entry.OneWait, ops...); err != nil {
		return err
	}
	for _, sid := range sids {
		for w := 0; w < size; w += 8 {
			d.cpu.Store64(at[sid]+emu.PA(w), 0)
		}
		d.flush(at[sid], size)
		for pasid := range maps.Clone(h.devices[sid].entry) {
			d.disinherit(sid, pasid)
		}
		delete(h.devices, sid)
	}
	return nil
}
