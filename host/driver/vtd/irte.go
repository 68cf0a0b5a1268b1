package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
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

// remapped makes the entry that stands for a message in compatibility format, or in that of
// extended mode: destination bits 31:8 in address bits 63:40.
func (t *irqTable) remapped(source uint64, to host.Message) (irte, error) {
	addr, data := uint64(to.Addr), uint64(to.Data)
	dest, err := t.destination(addr)
	if err != nil {
		return irte{}, err
	}
	dlm, v := spec.MsiDLM.Of(data), spec.MsiV.Of(data)
	const known = 0xff | 7<<8 | 3<<14 // vector, delivery mode, level and trigger mode
	switch {
	case data&^known != 0, dlm == 3, dlm == 6:
		return irte{}, fmt.Errorf("message data %#x has reserved values: %w", data, host.ErrUnsupported)
	case dlm <= 1 && v < 16:
		return irte{}, fmt.Errorf("message data %#x: vector %d is one of the processor's own: %w", data, v, host.ErrUnsupported)
	}
	lo := spec.IrteP.Mask() | dest | spec.IrteDLM.Put(dlm) | spec.IrteV.Put(v) | spec.IrteTM.Put(spec.MsiTM.Of(data)) |
		spec.IrteRH.Put(spec.MsiRH.Of(addr)) | spec.IrteDM.Put(spec.MsiDM.Of(addr))
	return irte{lo, source}, nil
}

// destination returns the destination of a message's address at its place in an entry.
func (t *irqTable) destination(addr uint64) (uint64, error) {
	dest := spec.MsiDest.Of(addr) | spec.MsiDestHi.Of(addr)<<8
	covered := spec.MsiDest.Mask() | spec.MsiDestHi.Mask() | spec.MsiRH.Mask() | spec.MsiDM.Mask()
	switch {
	case addr&^covered != spec.MsiBase:
		return 0, fmt.Errorf("message address %#x is none of an interrupt: %w", addr, host.ErrUnsupported)
	case t.extended:
		return spec.IrteDST.Put(dest), nil
	case dest > 0xff:
		return 0, fmt.Errorf("destination %#x without extended interrupt mode: %w", dest, host.ErrUnsupported)
	}
	return spec.IrteDST8.Put(dest), nil
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
	addr, data := uint64(to.Addr), uint64(to.Data)
	if spec.MsiRH.On(addr) || spec.MsiDM.On(addr) || data < 16 || data > 0xff {
		return 0, fmt.Errorf("vtd: notification by %#x to %#x: %w", data, addr, host.ErrUnsupported)
	}
	if _, err := t.destination(addr); err != nil {
		return 0, fmt.Errorf("vtd: notification: %w", err)
	}
	dest := spec.MsiDest.Of(addr) | spec.MsiDestHi.Of(addr)<<8
	w := spec.PidNV.Put(data)
	if t.extended {
		return w | spec.PidNDST.Put(dest), nil
	}
	return w | spec.PidNDST8.Put(dest), nil
}
