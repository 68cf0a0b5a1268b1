package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// irte is an interrupt table entry (2.2.5); one of 32 bits is in the low half of the first word.
type irte [2]uint64

// remapped makes the entry that stands for a message. Only fixed and lowest-priority interrupts that are
// triggered by edge are remapped.
func (d *Driver) remapped(to host.Message) (irte, error) {
	q, err := driver.ParseX86IRQ(to)
	switch {
	case err != nil:
		return irte{}, err
	case q.Mode > spec.IntTypeArbitrated || q.Level:
		return irte{}, fmt.Errorf("message data %#x: delivery mode %d, level %t: %w", to.Data, q.Mode, q.Level, host.ErrUnsupported)
	case q.Dest > 0xff && !d.irqs.wide():
		return irte{}, fmt.Errorf("destination %#x in 8 bits: %w", q.Dest, host.ErrUnsupported)
	}
	w := spec.IrteRemapEn.Mask() | spec.IrteIntType.Put(uint64(q.Mode)) | spec.IrteDM.PutBool(q.Logical)
	if d.irqs.size == spec.IRTESize32 {
		return irte{w | spec.IrteDest.Put(uint64(q.Dest)) | spec.IrteVector.Put(uint64(q.Vector))}, nil
	}
	e := irte{w}
	setDest(&e, q.Dest)
	spec.Irte128Vector.Set(e[:], uint64(q.Vector))
	return e, nil
}

// setDest puts a destination into an entry of 128 bits.
func setDest(e *irte, dest uint32) {
	spec.Irte128DestLo.Set(e[:], uint64(dest))
	spec.Irte128DestHi.Set(e[:], uint64(dest)>>24)
}

// posted makes the entry of an interrupt for a virtual processor whose virtual APIC page is at page
// (GuestMode): as long as it does not run, an interrupt is told by a GA log entry with tag.
func posted(page emu.PA, vector uint8, tag uint32) irte {
	e := irte{spec.IrteRemapEn.Mask() | spec.IrteGuestMode.Mask() | spec.IrteGALogIntr.Mask() | spec.IrteGATag.Put(uint64(tag))}
	spec.Irte128Vector.Set(e[:], uint64(vector))
	spec.IrteVAPICRoot.Set(e[:], uint64(page)>>12)
	return e
}
