package vtd

import (
	"fmt"
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Taking over from an earlier system: root and context tables are copied by value into own ones, PASID
// tables and page tables stay where they are. TE is never written.

// What is read of an earlier system's PASID tables is bounded, whatever memory holds.
const (
	maxPASIDTables  = 1 << 15 // in all directories together
	maxPASIDEntries = 1 << 16 // present ones
)

// running reports whether translation is on, and in which table mode.
func (d *Driver) running() (ttm uint64, on bool) {
	return spec.RtaddrTTM.Of(d.k.Read(spec.OffRTADDR, 8)), spec.GstsTES.On(d.k.Read(spec.OffGSTS, 4))
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
	d.k.Heritage, d.dirs = driver.NewHeritage(), make(map[emu.PA]emu.SourceID)
	return nil
}

// found counts PASID tables and present entries.
type found struct{ tables, entries int }

// copyTables copies root and context tables, and notes what is in use.
func (d *Driver) copyTables() error {
	root := emu.PA(d.k.Read(spec.OffRTADDR, 8) & spec.RtaddrRTA.Mask())
	var n found
	for bus := range 256 {
		for half := range 2 {
			word := d.k.CPU.Load64(root + emu.PA(bus*16+half*8))
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
			raw[w] = d.k.CPU.Load64(from + emu.PA(i*size+w*8))
			if raw[w] != 0 {
				d.k.CPU.Store64(to+emu.PA(i*size+w*8), raw[w])
			}
		}
		if spec.CtxP.On(raw[0]) {
			if err := d.inherit(first+emu.SourceID(i), raw, n); err != nil {
				return err
			}
		}
	}
	d.k.Flush(to, emu.PageSize)
	return nil
}

// inherited is what an earlier system has left of a device in scalable mode.
type inherited struct {
	dir    emu.PA
	pdts   uint8
	tables map[emu.PASID]emu.PA
	shared bool // the directory is another device's too
}

func left(x *driver.Inherited) *inherited { return x.Arch.(*inherited) }

// inherit notes a device that has a present context entry.
func (d *Driver) inherit(sid emu.SourceID, raw []uint64, n *found) error {
	noted := d.k.Inherit(sid)
	if !d.scalable {
		noted.Spec.ATS = spec.CtxTT.Of(raw[0]) == spec.TTAll
		d.k.Note(noted, 0, raw)
		return nil
	}
	x := &inherited{dir: emu.PA(raw[0] & spec.SMCtxPASIDDIRPTR.Mask()), pdts: uint8(spec.SMCtxPDTS.Of(raw[0]))}
	noted.Arch = x
	noted.Spec.ATS, noted.Spec.PRI = spec.SMCtxDTE.On(raw[0]), spec.SMCtxPRE.On(raw[0])
	if spec.SMCtxPASIDE.On(raw[0]) {
		noted.Spec.PASIDs = min(d.caps.pasids, 1<<(x.pdts+pdtsBits+pasidTableBits))
	}
	x.tables = make(map[emu.PASID]emu.PA)
	if other, ok := d.dirs[x.dir]; ok {
		x.shared, left(d.k.Heritage.Devices[other]).shared = true, true
	}
	d.dirs[x.dir] = sid
	for i := range emu.PASID(1) << (x.pdts + pdtsBits) {
		word := d.k.CPU.Load64(x.dir + emu.PA(i)*8)
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
			if !spec.PasidP.On(d.k.CPU.Load64(at)) {
				continue
			}
			if n.entries++; n.entries > maxPASIDEntries {
				return fmt.Errorf("vtd: %#04x: more than %d PASIDs in use: %w", uint32(sid), maxPASIDEntries, ErrTakeOver)
			}
			raw := make([]uint64, 8)
			for w := range raw {
				raw[w] = d.k.CPU.Load64(at + emu.PA(w*8))
			}
			d.k.Note(noted, i<<pasidTableBits|k, raw)
		}
	}
	return nil
}

// takeDevice makes a device known that an earlier system has left at work.
func (d *Driver) takeDevice(v *device, noted *driver.Inherited) error {
	if !d.scalable {
		return nil
	}
	x := left(noted)
	if x.shared {
		return fmt.Errorf("vtd: %#04x shares its PASID directory with another device: %w", uint32(v.SID), ErrTakeOver)
	}
	if n := uint32(1) << (x.pdts + pdtsBits + pasidTableBits); v.Spec.PASIDs > n {
		return fmt.Errorf("vtd: %#04x: %d PASIDs, the directory that was left has %d: %w", uint32(v.SID), v.Spec.PASIDs, n, ErrTakeOver)
	}
	v.live, v.old = true, true
	v.dir, v.pdts, v.table = x.dir, x.pdts, maps.Clone(x.tables)
	v.lent = maps.Clone(x.tables)
	return nil
}

// Lent returns the memory of an earlier system that the unit still reads PASID directories and tables
// from, in ascending order. Page tables are not among it: adopted ones belong to their domains.
func (d *Driver) Lent() []host.Block {
	var list []host.Block
	for _, dev := range d.k.Devices {
		v := of(dev)
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

// IDOf returns the domain id in an entry of the mode that the unit runs in.
func (d arch) IDOf(_ *driver.Inherited, raw []uint64) uint32 {
	if d.scalable {
		return pasidDID(raw)
	}
	return legacyDID(raw)
}

// SameTables compares an entry with the one that m would have.
func (d arch) SameTables(_ *driver.Inherited, _ emu.PASID, raw []uint64, m *driver.Domain) bool {
	if !d.scalable {
		w := d.contextWords(m, false)
		return (raw[0]^w[0])&spec.CtxSSPTPTR.Mask() == 0 && (raw[1]^w[1])&spec.CtxAW.Mask() == 0
	}
	w := d.pasidWords(m)
	pgtt := spec.PasidPGTT.Of(raw[0])
	same := pgtt == spec.PasidPGTT.Of(w[0])
	if pgtt == spec.PGTTSecond || pgtt == spec.PGTTNested {
		same = same && (raw[0]^w[0])&(spec.PasidSSPTPTR.Mask()|spec.PasidAW.Mask()) == 0
	}
	if pgtt == spec.PGTTFirst || pgtt == spec.PGTTNested {
		same = same && (raw[2]^w[2])&(spec.PasidFSPTPTR.Mask()|spec.PasidFSPM.Mask()) == 0
	}
	return same
}

// Block clears P of all the context entries, then everything is invalidated once, then the entries are zeroed.
func (d arch) Block(sids []emu.SourceID) error {
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
		d.k.CPU.Store64(at[sid], d.k.CPU.Load64(at[sid])&^spec.CtxP.Mask())
		d.k.Flush(at[sid], 8)
		if d.k.Left(sid).Spec.ATS && d.caps.has(spec.EcapDT) && d.queue != nil {
			ops = append(ops, deviceTLB(sid, emu.NoPASID, 0, wholeSpace))
		}
	}
	d.k.CPU.Fence()
	if err := d.invalidate(entry.OneWait, ops...); err != nil {
		return err
	}
	for _, sid := range sids {
		for w := 0; w < size; w += 8 {
			d.k.CPU.Store64(at[sid]+emu.PA(w), 0)
		}
		d.k.Flush(at[sid], size)
	}
	return nil
}
