package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// irte is an interrupt-remapping table entry (9.9, 9.10).
type irte [2]uint64

// requestMessage is what a device sends for the entries from index on: remappable format, with the
// subhandle that MSI counts in the data (5.1.2.2).
func requestMessage(index int) host.Message {
	addr := spec.MsiBase | spec.MsiFormat.Mask() | spec.MsiSHV.Mask() |
		spec.MsiHandleL.Put(uint64(index)) | spec.MsiHandleH.Put(uint64(index>>15))
	return host.Message{Addr: emu.PA(addr)}
}

// source lets an entry be used by sid only.
func source(sid emu.SourceID) uint64 {
	return spec.IrteSID.Put(uint64(sid)) | spec.IrteSVT.Put(spec.SVTSID)
}

// remapped makes the entry that stands for a message.
func (t *irqTable) remapped(source uint64, to host.Message) (irte, error) {
	q, err := driver.ParseX86IRQ(to)
	if err != nil {
		return irte{}, err
	}
	dest, err := t.destination(q.Dest)
	if err != nil {
		return irte{}, err
	}
	lo := spec.IrteP.Mask() | dest | spec.IrteDLM.Put(uint64(q.Mode)) | spec.IrteV.Put(uint64(q.Vector)) | spec.IrteTM.PutBool(q.Level) |
		spec.IrteRH.PutBool(q.Redirect) | spec.IrteDM.PutBool(q.Logical)
	return irte{lo, source}, nil
}

// destination returns a destination at its place in an entry.
func (t *irqTable) destination(dest uint32) (uint64, error) {
	switch {
	case t.extended:
		return spec.IrteDST.Put(uint64(dest)), nil
	case dest > 0xff:
		return 0, fmt.Errorf("destination %#x without extended interrupt mode: %w", dest, host.ErrUnsupported)
	}
	return spec.IrteDST8.Put(uint64(dest)), nil
}

// posted makes an entry in posted format.
func posted(source uint64, descriptor emu.PA, vector uint8, urgent bool) irte {
	pda := uint64(descriptor)
	return irte{
		spec.IrteP.Mask() | spec.IrteIM.Mask() | spec.IrteURG.PutBool(urgent) | spec.IrteV.Put(uint64(vector)) |
			spec.IrtePDAL.Put(pda>>6),
		spec.IrtePDAH.Put(pda>>32) | source,
	}
}

// notification makes the control word of a posted-interrupt descriptor (9.11). A notification is
// always a fixed, edge-triggered interrupt of one processor.
func (t *irqTable) notification(to host.Message) (uint64, error) {
	q, err := driver.ParseX86IRQ(to)
	if err == nil && (q.Redirect || q.Logical || q.Mode != 0 || to.Data > 0xff) {
		err = fmt.Errorf("data %#x to %#x: %w", to.Data, uint64(to.Addr), host.ErrUnsupported)
	}
	if err == nil {
		_, err = t.destination(q.Dest)
	}
	if err != nil {
		return 0, fmt.Errorf("vtd: notification: %w", err)
	}
	w := spec.PidNV.Put(uint64(q.Vector))
	if t.extended {
		return w | spec.PidNDST.Put(uint64(q.Dest)), nil
	}
	return w | spec.PidNDST8.Put(uint64(q.Dest)), nil
}
