package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// interrupt returns our unit's answer if the step is a message of a device.
func (c *Case) interrupt() (*emu.Result, bool) {
	return c.model.Result(), c.step.Op == Interrupt
}

// irte returns where the entry of the message is, and its index.
func (c *Case) irte() (at emu.PA, index uint64) {
	addr := uint64(c.step.Addr)
	index = spec.MsiHandleL.Of(addr) | spec.MsiHandleH.Of(addr)<<15
	if spec.MsiSHV.On(addr) {
		index += c.step.Value
	}
	return emu.PA(c.track.vtd().irta&spec.IrtaIRTA.Mask()) + emu.PA(index)*spec.IRTESize, index
}

// vtdTheirInterrupt returns what our unit would make of the message if it read the entry as the other
// side does: some reserved bits are not looked at, and the ends of a range of buses are exchanged.
func (c *Case) vtdTheirInterrupt() *emu.Result {
	at, _ := c.irte()
	w := c.cleaned(at, 2, func(_ *Case, e []uint64) {
		e[0] &^= spec.IrteIM.Mask() | spec.IrteDST.Mask()&^spec.IrteDST8.Mask()
		if s := spec.IrteSID.Get(e); spec.IrteSVT.Get(e) == spec.SVTBus {
			spec.IrteSID.Set(e, s>>8|s<<8)
		}
	})
	r, _ := c.ask(w, func(f *emu.Functional) {
		f.WriteReg(0, spec.OffIRTA, 8, c.track.vtd().irta)
		f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdSIRTP.Mask())
		f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdIRE.Mask())
	})
	return r
}

// vtdDelivers claims the differences of the step if the other side shows what r says: the message that
// left, or how it was reported that none did.
func (c *Case) vtdDelivers(r *emu.Result) {
	v := c.after[theirs]
	delivered := r.Status == emu.Interrupt
	reason := uint64(0)
	if !delivered && !r.Fault.Quiet {
		reason = uint64(r.Fault.Code)
	}
	_, index := c.irte()
	hi := spec.FrSID.Put(uint64(c.source())) | spec.FrFR.Put(reason) | spec.FrF.Put(1)
	events, ok := c.vtdReported(reason, index<<48, hi)
	want := events
	if delivered {
		want++
		ok = ok && slices.Contains(v.msgs, Message{r.PA, r.Data})
	}
	if ok && v.ok == delivered && len(v.msgs) == want {
		c.claimAccess()
	}
}

// vtdCompatibility: our unit blocks a message of the compatibility format, the other one lets it pass.
func vtdCompatibility(c *Case) {
	if r, ok := c.interrupt(); ok && r.Fault.Code == vtd.FaultCompatibility {
		c.vtdDelivers(&emu.Result{Status: emu.Interrupt, PA: emu.PA(c.step.Addr), Data: uint32(c.step.Value)})
	}
}

// vtdIRTEDestination: our unit finds bits of DST set that are reserved without EIME.
func vtdIRTEDestination(c *Case) {
	if at, _ := c.irte(); !spec.IrteIM.On(c.model.word(at)) {
		c.vtdUnchecked()
	}
}

// vtdIRTEPosted: our unit finds IM set; bits of DST may be set besides.
func vtdIRTEPosted(c *Case) {
	if at, _ := c.irte(); spec.IrteIM.On(c.model.word(at)) {
		c.vtdUnchecked()
	}
}

// vtdUnchecked: our unit blocks a message for reserved bits that the other side does not look at.
func (c *Case) vtdUnchecked() {
	if r, ok := c.interrupt(); ok && r.Fault.Code == vtd.FaultIRTEReserved {
		c.vtdDelivers(c.vtdTheirInterrupt())
	}
}

// vtdIRTEOrder: the entry has reserved bits and is for another source.
func vtdIRTEOrder(c *Case) {
	at, _ := c.irte()
	r, ok := c.interrupt()
	if !ok || r.Fault.Code != vtd.FaultIRTESource || c.model.word(at)&vtdIRTEReserved == 0 && c.model.word(at+8)>>20 == 0 {
		return
	}
	l := *r
	l.Fault.Code = vtd.FaultIRTEReserved
	c.vtdDelivers(&l)
}

// vtdIRTEReserved are the bits of the first word that are reserved in entries of either mode.
const vtdIRTEReserved = 0xff<<24 | 3<<12

// vtdBusRange: the range of buses has its ends exchanged.
func vtdBusRange(c *Case) {
	at, _ := c.irte()
	r, ok := c.interrupt()
	hi := []uint64{0, c.model.word(at + 8)}
	if !ok || spec.IrteSVT.Get(hi) != spec.SVTBus || r.Status != emu.Interrupt && r.Fault.Code != vtd.FaultIRTESource {
		return
	}
	c.vtdDelivers(c.vtdTheirInterrupt())
}
