package smmuv3

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
)

// Translation is what the unit says that an access would meet (9.1.4).
type Translation struct {
	Fault  uint8        // 0: none; else the number of an event, or spec.AtosIntErr, AtosInvStage, AtosInvReq
	Reason uint8        // of a fault: spec.ReasonS1 and so on
	PA     emu.PA       // output; of a fault of stage 2 the intermediate address, or 0
	Lg2    uint8        // log2 bytes of the page
	Attr   spec.MemAttr // memory attributes, without overrides of the STE
}

// Translate asks the unit by GATOS what an access of a device would meet, through the stages that its STE has (9). It
// uses the unit's caches, and marks pages as the access would unless passive is set. Nothing is recorded.
//
// Errors: host.ErrUnsupported (no ATOS, or translation is off), host.ErrTimeout.
func (d *Driver) Translate(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA, a emu.Access, stages uint64, passive bool) (Translation, error) {
	defer d.c.Enter().Leave()
	if !d.caps.has0(spec.Idr0ATOS) || !spec.Cr0SMMUEN.On(d.cr0) {
		return Translation{}, fmt.Errorf("smmuv3: unit %d: address translation operations: %w", d.opt.Unit, host.ErrUnsupported)
	}
	stream := spec.AtosStreamID.Put(uint64(sid))
	if pasid != emu.NoPASID {
		stream |= spec.AtosSSIDValid.Mask() | spec.AtosSubstreamID.Put(uint64(pasid))
	}
	addr := uint64(iova)&spec.AtosAddr.Mask() | spec.AtosTYPE.Put(stages) | spec.AtosRnW.PutBool(a&emu.Write == 0) |
		spec.AtosInD.PutBool(a&emu.Exec != 0) | spec.AtosPnU.PutBool(a&emu.Priv != 0) | spec.AtosHTTUI.PutBool(passive)
	d.c.Write(spec.OffGATOSSID, 8, stream)
	d.c.Write(spec.OffGATOSAddr, 8, addr)
	d.c.Write(spec.OffGATOSCtrl, 4, spec.AtosRUN.Mask())
	err := d.c.Poll("address translation operation", func() bool { return !spec.AtosRUN.On(d.c.Read(spec.OffGATOSCtrl, 4)) })
	if err != nil {
		return Translation{}, err
	}
	return parOf(d.c.Read(spec.OffGATOSPAR, 8)), nil
}

// parOf decodes ATOS_PAR. A page that is not of 4 KiB has its size in the lowest bit of the address.
func parOf(v uint64) Translation {
	if spec.ParFAULT.On(v) {
		return Translation{
			Fault: uint8(spec.ParFAULTCODE.Of(v)), Reason: uint8(spec.ParREASON.Of(v)), PA: emu.PA(v & spec.ParFADDR.Mask()),
		}
	}
	page, lg2 := v&spec.ParADDR.Mask(), uint8(emu.PageShift)
	if spec.ParSize.On(v) {
		lg2 = uint8(bits.TrailingZeros64(page)) + 1
		page &= page - 1
	}
	return Translation{PA: emu.PA(page), Lg2: lg2, Attr: spec.MakeMemAttr(uint8(spec.ParATTR.Of(v)), spec.ParSH.Of(v))}
}
