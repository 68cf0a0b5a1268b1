package smmuv3

import (
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// setCR0 writes CR0 and waits until the side effects are done (6.3.9).
func (d *Driver) setCR0(v uint64) error {
	d.cr0 = v
	d.c.Write(spec.OffCR0, 4, v)
	return d.c.Poll("CR0ACK", func() bool { return d.c.Read(spec.OffCR0ACK, 4) == v })
}

// enable sets bits of CR0, disable clears them.
func (d *Driver) enable(bits uint64) error  { return d.setCR0(d.cr0 | bits) }
func (d *Driver) disable(bits uint64) error { return d.setCR0(d.cr0 &^ bits) }

// setIRQs writes IRQ_CTRL and waits until it has taken effect (6.3.16).
func (d *Driver) setIRQs(v uint64) error {
	d.c.Write(spec.OffIRQCtrl, 4, v)
	return d.c.Poll("IRQ_CTRLACK", func() bool { return d.c.Read(spec.OffIRQCtrlACK, 4) == v })
}

// abortBypass makes the unit abort what comes while it is off (6.3.14): what it let through so far would
// pass untranslated.
func (d *Driver) abortBypass() error {
	idle := func() bool { return !spec.GbpaUPDATE.On(d.c.Read(spec.OffGBPA, 4)) }
	if err := d.c.Poll("GBPA.UPDATE", idle); err != nil {
		return err
	}
	d.c.Write(spec.OffGBPA, 4, d.c.Read(spec.OffGBPA, 4)|spec.GbpaABORT.Mask()|spec.GbpaUPDATE.Mask())
	return d.c.Poll("GBPA.UPDATE", idle)
}
