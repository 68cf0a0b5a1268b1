package vtd

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// device is what the driver knows of one requester.
type device struct {
	sid      emu.SourceID
	spec     host.DeviceSpec
	ats      bool // the device may hold translations
	pri      bool // the device may request pages
	domains  map[emu.PASID]*domain
	suspects map[emu.PASID][]suspect

	context emu.PA // its context entry
	// Scalable mode only:
	live  bool                 // the context entry is present
	old   bool                 // as an earlier system has left it
	dir   emu.PA               // PASID directory
	pdts  uint8                // its size code
	table map[emu.PASID]emu.PA // PASID tables by PASID>>6
	lent  map[emu.PASID]emu.PA // those that are an earlier system's, as is the directory; nil if it is not
}

// The shape of PASID structures (9.5, 9.6).
const (
	pasidTableBits = 6  // log2 entries of a PASID table
	pasidEntrySize = 64 // bytes
	pdtsBits       = 7  // log2 directory entries with PDTS=0
)

// Probe makes a device known and builds what its entries hang on.
func (d *Driver) Probe(sid emu.SourceID, s host.DeviceSpec) error {
	defer d.enter().leave()
	_, err := d.probe(sid, s)
	return err
}

func (d *Driver) probe(sid emu.SourceID, s host.DeviceSpec) (*device, error) {
	if d.devices[sid] != nil {
		return nil, fmt.Errorf("vtd: %#04x probed twice: %w", uint32(sid), host.ErrDevice)
	}
	if sid > 0xffff {
		return nil, fmt.Errorf("vtd: %#x is no requester id: %w", uint32(sid), host.ErrDevice)
	}
	if s.PASIDs > d.caps.pasids {
		return nil, fmt.Errorf("vtd: %#04x: %d PASIDs, the unit has %d: %w", uint32(sid), s.PASIDs, d.caps.pasids, host.ErrUnsupported)
	}
	v := &device{
		sid: sid, spec: s, domains: make(map[emu.PASID]*domain), suspects: make(map[emu.PASID][]suspect),
		ats: s.ATS && d.caps.has(spec.EcapDT) && d.queue != nil,
	}
	v.pri = s.PRI && v.ats && d.prq != nil
	table, err := d.contextTable(sid)
	if err != nil {
		return nil, err
	}
	if d.scalable {
		v.context = table + emu.PA(sid&0x7f)*32
	} else {
		v.context = table + emu.PA(sid&0xff)*16
	}
	switch x := d.left(sid); {
	case x != nil:
		err = d.takeDevice(v, x)
	case d.scalable:
		err = d.makeDirectory(v)
	}
	if err != nil {
		return nil, err
	}
	d.devices[sid] = v
	return v, nil
}

// contextTable returns the context table of sid, and makes it if need be. A root entry has one 8-byte
// half that counts, so one store makes the table present (9.1, 9.2).
func (d *Driver) contextTable(sid emu.SourceID) (emu.PA, error) {
	at := d.root + emu.PA(sid>>8)*16
	key := uint16(sid >> 8 << 1)
	if d.scalable {
		half := sid >> 7 & 1
		at += emu.PA(half) * 8
		key |= uint16(half)
	}
	if pa, ok := d.context[key]; ok {
		return pa, nil
	}
	pa, err := d.alloc(emu.PageShift)
	if err != nil {
		return 0, err
	}
	d.cpu.Fence()
	d.cpu.Store64(at, uint64(pa)|spec.RootP.Mask())
	d.flush(at, 8)
	d.context[key] = pa
	return pa, nil
}

// makeDirectory makes the PASID directory of v, no larger than its PASIDs need.
func (d *Driver) makeDirectory(v *device) error {
	n := max(v.spec.PASIDs, 1)
	if b := bits.Len32(n - 1); b > pdtsBits+pasidTableBits {
		v.pdts = uint8(b - pdtsBits - pasidTableBits)
	}
	v.table = make(map[emu.PASID]emu.PA)
	var err error
	v.dir, err = d.alloc(v.pdts + pdtsBits + 3)
	return err
}

// pasidEntry returns where the entry of pasid is. With build, the table is built if it is missing.
func (d *Driver) pasidEntry(v *device, pasid emu.PASID, build bool) (at emu.PA, err error) {
	index := pasid >> pasidTableBits
	table, ok := v.table[index]
	if !ok {
		if !build {
			return 0, nil
		}
		if table, err = d.alloc(emu.PageShift); err != nil {
			return 0, err
		}
		slot := v.dir + emu.PA(index)*8
		d.cpu.Fence()
		d.cpu.Store64(slot, uint64(table)|spec.PDirP.Mask())
		d.flush(slot, 8)
		v.table[index] = table
	}
	return table + emu.PA(pasid%(1<<pasidTableBits))*pasidEntrySize, nil
}

// setContext makes the scalable-mode context entry of v present.
func (d *Driver) setContext(v *device) error {
	if v.live && !v.old {
		return nil
	}
	w := make([]uint64, 4)
	w[0] = spec.SMCtxP.Mask() | uint64(v.dir) | spec.SMCtxPDTS.Put(uint64(v.pdts)) | spec.SMCtxDTE.PutBool(v.ats) |
		spec.SMCtxPASIDE.PutBool(v.spec.PASIDs > 0) | spec.SMCtxPRE.PutBool(v.pri)
	if _, err := entry.Hitless.Write(d.contextTarget(v), w); err != nil {
		return fmt.Errorf("vtd: context entry of %#04x: %w", uint32(v.sid), err)
	}
	v.live, v.old = true, false
	return nil
}

// contextTarget is the context entry of v for a writer.
func (d *Driver) contextTarget(v *device) *entry.Target {
	return &entry.Target{
		CPU: d.cpu, Format: d.formatContext, At: v.context, Noncoherent: !d.caps.coherent,
		Inv: &contextCaches{caches{d: d, dev: v, pasid: emu.NoPASID}},
	}
}

// Release forgets a device and frees what belonged to it alone.
func (d *Driver) Release(sid emu.SourceID) error {
	defer d.enter().leave()
	v := d.devices[sid]
	if v == nil {
		return fmt.Errorf("vtd: %#04x released: %w", uint32(sid), host.ErrDevice)
	}
	if len(v.domains) > 0 || len(v.suspects) > 0 {
		return fmt.Errorf("vtd: %#04x released with %d domains: %w", uint32(sid), len(v.domains), host.ErrBusy)
	}
	if d.left(sid) != nil {
		if err := d.blockContexts(sid); err != nil {
			return err
		}
	} else if v.live {
		if _, err := entry.Hitless.Write(d.contextTarget(v), make([]uint64, 4)); err != nil {
			return fmt.Errorf("vtd: context entry of %#04x: %w", uint32(sid), err)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(v.table)) {
		if v.lent[index] == 0 {
			d.pages.Free(v.table[index], emu.PageShift)
		}
	}
	if v.dir != 0 && v.lent == nil {
		d.pages.Free(v.dir, v.pdts+pdtsBits+3)
	}
	delete(d.devices, sid)
	return nil
}
