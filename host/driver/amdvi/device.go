package amdvi

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// device is what hangs on one requester.
type device struct {
	*driver.Device
	at     emu.PA         // its device table entry
	names  []emu.SourceID // its requester id and its aliases
	copies []emu.PA       // the entries of the aliases
	fixed  *spec.DTE      // what no domain changes

	// With PASIDs:
	glx    uint8             // levels of the GCR3 table less one
	gcr3   emu.PA            // 0: not made yet
	tables map[uint32]emu.PA // its tables of the lowest level, by PASID>>9
	upper  []emu.PA          // those above
	id     uint32            // DomainID for guest tables, 0: none yet
	own    bool              // the entry names that GCR3 table and has that id
	giov   bool              // and sends requests without PASID to entry 0 of it
	lent   []emu.PA          // tables that are an earlier system\'s
	mixed  bool              // or the one of the domain: a change of that failed, or is under way
}

func of(v *driver.Device) *device { return v.Arch.(*device) }

// gcr3Bits is log2 of the entries of a GCR3 table.
const gcr3Bits = 9

// makeTable allocates the device table, in which all entries block.
func (d *Driver) makeTable() error {
	n := d.opt.LastDevice + 1
	per := emu.SourceID(maxDevice+1) >> d.caps.segments
	for first := emu.SourceID(0); first < n || len(d.table) < 1<<d.caps.segments; first += per {
		count := max(min(n, first+per), first+1) - first                            // a segment without devices has a page as well
		bytes := (int(count)*spec.DTESize + emu.PageSize - 1) &^ (emu.PageSize - 1) // V=0 would pass: none is left out
		pa, err := d.k.Alloc(uint8(bits.Len(uint(bytes - 1))))
		if err != nil {
			return err
		}
		for at := pa; at < pa+emu.PA(bytes); at += spec.DTESize {
			d.k.CPU.Store64(at, spec.DteV.Mask())
			if d.irqs != nil {
				d.k.CPU.Store64(at+16, spec.DteIV.Mask())
			}
		}
		d.table = append(d.table, pa)
	}
	return nil
}

// installTable gives the device table to the unit.
func (d *Driver) installTable() {
	for i, pa := range d.table {
		per := (maxDevice + 1) >> d.caps.segments
		count := max(min(int(d.opt.LastDevice)+1-i*per, per), 1)
		size := (count*spec.DTESize+emu.PageSize-1)/emu.PageSize - 1
		off := uint32(spec.OffDevTabBase)
		if i > 0 {
			off = spec.OffDevTabSeg1 + uint32(i-1)*8
		}
		d.k.Write(off, 8, uint64(pa)|spec.DevTabSize.Put(uint64(size)))
	}
	if d.caps.segments > 0 {
		d.control(spec.CtlDevTblSegEn, uint64(d.caps.segments))
	}
}

// dteAt is where the device table entry of sid is.
func (d *Driver) dteAt(sid emu.SourceID) emu.PA {
	shift := 16 - d.caps.segments
	return d.table[sid>>shift] + emu.PA(sid&(1<<shift-1))*spec.DTESize
}

// Probe finds the entries of a device.
func (d arch) Probe(dev *driver.Device) error {
	s := dev.Spec
	if s.PASIDs > d.caps.pasids {
		return fmt.Errorf("amdvi: %#04x: %d PASIDs, the unit has %d: %w", uint32(dev.SID), s.PASIDs, d.caps.pasids, host.ErrUnsupported)
	}
	fw := d.opt.Firmware[dev.SID]
	v := &device{Device: dev, names: append([]emu.SourceID{dev.SID}, fw.Aliases...), fixed: d.fixedOf(dev.SID)}
	for _, sid := range v.names {
		switch other := d.names[sid]; {
		case sid > d.opt.LastDevice:
			return fmt.Errorf("amdvi: %#04x: the last device is %#04x: %w", uint32(sid), uint32(d.opt.LastDevice), host.ErrDevice)
		case other != nil:
			return fmt.Errorf("amdvi: requests of %#04x and of %#04x may come from %#04x: %w", uint32(dev.SID), uint32(other.SID), uint32(sid), host.ErrDevice)
		}
	}
	dev.ATS = s.ATS && d.caps.ats
	dev.PRI = s.PRI && dev.ATS && d.pages != nil
	v.at = d.dteAt(dev.SID)
	for _, sid := range v.names[1:] {
		v.copies = append(v.copies, d.dteAt(sid))
	}
	if s.PASIDs > 0 {
		v.glx = uint8(max(bits.Len32(s.PASIDs-1)-1, 0) / gcr3Bits)
		v.tables = make(map[uint32]emu.PA)
	}
	dev.Arch = v
	err := error(nil)
	if x := d.k.Left(dev.SID); x != nil {
		err = d.takeDevice(v, left(x))
	} else {
		err = d.fix(v)
	}
	if err != nil {
		return err
	}
	for _, sid := range v.names {
		d.names[sid] = v
	}
	return nil
}

// entry is what firmware asks for as a device table entry has it.
func (f *Firmware) entry() (e spec.DTE) {
	e[0] = spec.DteV.Mask()
	e[1] = spec.DteSysMgt.Put(uint64(f.SysMgt))
	e[2] = spec.DteInitPass.PutBool(f.InitPass) | spec.DteEIntPass.PutBool(f.EIntPass) | spec.DteNMIPass.PutBool(f.NMIPass) |
		spec.DteLint0Pass.PutBool(f.Lint0Pass) | spec.DteLint1Pass.PutBool(f.Lint1Pass)
	return e
}

// fix puts what no domain changes into the entries of a device that blocks.
func (d *Driver) fix(v *device) error {
	t := d.dteTarget(v)
	words := d.dteWords(v, shape{})
	if t.Format.Same(t.Read(), words) {
		return nil
	}
	for _, at := range append([]emu.PA{v.at}, v.copies...) {
		d.k.CPU.Store128(at+16, words[2], words[3])
		d.k.CPU.Store128(at, words[0], words[1])
	}
	d.k.CPU.Fence()
	return t.Inv.SyncEntry(nil)
}

// Release takes back the GCR3 table of a device, whose entries block.
func (d arch) Release(dev *driver.Device) error {
	v := of(dev)
	for _, sid := range v.names {
		delete(d.names, sid)
	}
	d.freeGCR3(v)
	return nil
}

// makeGCR3 makes the GCR3 table of a device, and gives it an id.
func (d *Driver) makeGCR3(v *device) (err error) {
	if v.gcr3 != 0 {
		return nil
	}
	if v.id, err = d.k.IDs.Take(0); err != nil {
		return err
	}
	if v.gcr3, err = d.k.Alloc(emu.PageShift); err != nil {
		d.k.IDs.Put(v.id)
		v.id, v.gcr3 = 0, 0
		return err
	}
	if v.glx == 0 {
		v.tables[0] = v.gcr3
	} else {
		v.upper = append(v.upper, v.gcr3)
	}
	return nil
}

// freeGCR3 takes back what makeGCR3 and slot have made. No cache holds anything of it.
func (d *Driver) freeGCR3(v *device) {
	if v.gcr3 == 0 {
		return
	}
	for _, pa := range v.tables {
		v.upper = append(v.upper, pa)
	}
	slices.Sort(v.upper)
	for _, pa := range v.upper {
		if !slices.Contains(v.lent, pa) {
			d.k.Pages.Free(pa, emu.PageShift)
		}
	}
	if d.k.Domains[v.id] == nil { // an earlier system's id may have become a domain's
		d.k.IDs.Put(v.id)
	}
	v.lent = nil
	v.gcr3, v.upper, v.tables, v.id = 0, nil, make(map[uint32]emu.PA), 0
}

// slot returns where the GCR3 table entry of pasid is. With build, the tables are built that are missing.
func (d *Driver) slot(v *device, pasid emu.PASID, build bool) (emu.PA, error) {
	p := uint32(pasid)
	if table, ok := v.tables[p>>gcr3Bits]; ok {
		return table + emu.PA(p%(1<<gcr3Bits))*8, nil
	}
	if !build {
		return 0, nil
	}
	if err := d.makeGCR3(v); err != nil {
		return 0, err
	}
	table := v.gcr3
	for level := int(v.glx); level > 0; level-- {
		at := table + emu.PA(p>>(gcr3Bits*level)%(1<<gcr3Bits))*8
		e := d.k.CPU.Load64(at)
		if !spec.Gcr3V.On(e) {
			pa, err := d.k.Alloc(emu.PageShift)
			if err != nil {
				return 0, err
			}
			if level > 1 {
				v.upper = append(v.upper, pa)
			} else {
				v.tables[p>>gcr3Bits] = pa
			}
			e = uint64(pa) | spec.Gcr3V.Mask()
			d.k.CPU.Fence()
			d.k.CPU.Store64(at, e)
		}
		table = emu.PA(e & spec.Gcr3Addr.Mask())
	}
	return table + emu.PA(p%(1<<gcr3Bits))*8, nil
}
