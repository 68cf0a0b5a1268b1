package vtd

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// device is what hangs on one requester.
type device struct {
	*driver.Device
	context emu.PA // its context entry
	// Scalable mode only:
	live  bool                 // the context entry is present
	old   bool                 // as an earlier system has left it
	dir   emu.PA               // PASID directory
	pdts  uint8                // its size code
	table map[emu.PASID]emu.PA // PASID tables by PASID>>6
	lent  map[emu.PASID]emu.PA // those that are an earlier system's, as is the directory; nil if it is not
}

func of(v *driver.Device) *device { return v.Arch.(*device) }

// The shape of PASID structures (9.5, 9.6).
const (
	pasidTableBits = 6  // log2 entries of a PASID table
	pasidEntrySize = 64 // bytes
	pdtsBits       = 7  // log2 directory entries with PDTS=0
)

// Probe finds the place of the context entry and makes the PASID directory.
func (d arch) Probe(dev *driver.Device) error {
	s := dev.Spec
	if s.PASIDs > d.caps.pasids {
		return fmt.Errorf("vtd: %#04x: %d PASIDs, the unit has %d: %w", uint32(dev.SID), s.PASIDs, d.caps.pasids, host.ErrUnsupported)
	}
	v := &device{Device: dev}
	dev.Arch = v
	dev.ATS = s.ATS && d.caps.has(spec.EcapDT) && d.queue != nil
	dev.PRI = s.PRI && dev.ATS && d.prq != nil
	table, err := d.contextTable(dev.SID)
	if err != nil {
		return err
	}
	if d.scalable {
		v.context = table + emu.PA(dev.SID&0x7f)*32
	} else {
		v.context = table + emu.PA(dev.SID&0xff)*16
	}
	switch x := d.k.Left(dev.SID); {
	case x != nil:
		return d.takeDevice(v, x)
	case d.scalable:
		return d.makeDirectory(v)
	}
	return nil
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
	pa, err := d.k.Alloc(emu.PageShift)
	if err != nil {
		return 0, err
	}
	d.k.CPU.Fence()
	d.k.CPU.Store64(at, uint64(pa)|spec.RootP.Mask())
	d.k.Flush(at, 8)
	d.context[key] = pa
	return pa, nil
}

// makeDirectory makes the PASID directory of v, no larger than its PASIDs need.
func (d *Driver) makeDirectory(v *device) error {
	n := max(v.Spec.PASIDs, 1)
	if b := bits.Len32(n - 1); b > pdtsBits+pasidTableBits {
		v.pdts = uint8(b - pdtsBits - pasidTableBits)
	}
	v.table = make(map[emu.PASID]emu.PA)
	var err error
	v.dir, err = d.k.Alloc(v.pdts + pdtsBits + 3)
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
		if table, err = d.k.Alloc(emu.PageShift); err != nil {
			return 0, err
		}
		slot := v.dir + emu.PA(index)*8
		d.k.CPU.Fence()
		d.k.CPU.Store64(slot, uint64(table)|spec.PDirP.Mask())
		d.k.Flush(slot, 8)
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
	w[0] = spec.SMCtxP.Mask() | uint64(v.dir) | spec.SMCtxPDTS.Put(uint64(v.pdts)) | spec.SMCtxDTE.PutBool(v.ATS) |
		spec.SMCtxPASIDE.PutBool(v.Spec.PASIDs > 0) | spec.SMCtxPRE.PutBool(v.PRI)
	if _, err := entry.Hitless.Write(d.contextTarget(v), w); err != nil {
		return fmt.Errorf("vtd: context entry of %#04x: %w", uint32(v.SID), err)
	}
	v.live, v.old = true, false
	return nil
}

// contextTarget is the context entry of v for a writer.
func (d *Driver) contextTarget(v *device) *entry.Target {
	return &entry.Target{
		CPU: d.k.CPU, Format: d.formatContext, At: v.context, Noncoherent: !d.k.Coherent,
		Inv: &contextCaches{caches{d: d, dev: v, pasid: emu.NoPASID}},
	}
}

// Release takes the context entry and the PASID tables back.
func (d arch) Release(dev *driver.Device) error {
	v := of(dev)
	if v.live {
		if _, err := entry.Hitless.Write(d.contextTarget(v), make([]uint64, 4)); err != nil {
			return fmt.Errorf("vtd: context entry of %#04x: %w", uint32(v.SID), err)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(v.table)) {
		if v.lent[index] == 0 {
			d.k.Pages.Free(v.table[index], emu.PageShift)
		}
	}
	if v.dir != 0 && v.lent == nil {
		d.k.Pages.Free(v.dir, v.pdts+pdtsBits+3)
	}
	return nil
}
