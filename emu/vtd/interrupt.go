package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Interrupt requests, 5.1: DWORD writes without PASID to FEEx_xxxxh. The index is settled in Txn.Tag,
// the address of the entry in Txn.At, both by the table pointer in force when the request came.

// auxExtended in Aux[0]: the table has extended-mode entries (EIME). Bit 0 is auxFPD.
const auxExtended reg.Bits = 5_005

// interrupt decides by format what becomes of an interrupt request, 5.1.4.
func (u *Unit) interrupt(t *emu.Txn) {
	t.Uses = emu.CacheInterrupt.Set()
	t.Tag = emu.MakeTag(ClassInterrupt, 0, emu.NoPASID)
	t.Known = emu.KnownLive
	addr, extended := uint64(t.Req.Addr), spec.IrtaEIME.On(u.s.IRTA)
	switch {
	case !u.status(spec.GstsIRES) && u.cfg.IRREQ:
		u.fault(t, FaultIRRequired, StepInterruptRange, 0)
	case !u.status(spec.GstsIRES) || u.s.InterruptsOff:
		u.sendInterrupt(t, emu.PA(addr), t.Req.Data)
	case !u.cfg.IR:
		u.fault(t, FaultNoRemapping, StepInterruptRange, 0)
	case u.cfg.EIMER && !extended:
		u.fault(t, FaultEIMRequired, StepInterruptRange, 0)
	case spec.MsiFormat.On(addr):
		t.Aux[0] = auxExtended.PutBool(extended)
		u.remappable(t)
	case extended || !u.status(spec.GstsCFIS):
		u.fault(t, FaultCompatibility, StepInterruptRange, 0)
	default:
		u.sendInterrupt(t, emu.PA(addr), t.Req.Data)
	}
}

// remappable finds the entry of a request in remappable format, 5.1.2.2.
func (u *Unit) remappable(t *emu.Txn) {
	addr, data := uint64(t.Req.Addr), uint64(t.Req.Data)
	index := uint16(spec.MsiHandleL.Of(addr) | spec.MsiHandleH.Of(addr)<<15)
	if spec.MsiSHV.On(addr) {
		if spec.MsiSubRsvd.On(data) {
			u.fault(t, FaultIRRequest, StepInterruptRange, 0)
			return
		}
		index += uint16(spec.MsiSub.Of(data))
	}
	t.Tag = emu.MakeTag(ClassInterrupt, uint32(index), emu.NoPASID)
	t.Known |= emu.KnownIndex
	t.At = emu.PA(u.s.IRTA&spec.IrtaIRTA.Mask()) + emu.PA(index)*spec.IRTESize
	switch {
	case uint64(index) >= 2<<spec.IrtaS.Of(u.s.IRTA), uint64(t.At)&u.lim.hawMask != 0:
		u.fault(t, FaultIRIndex, StepInterruptIndex, 0)
	case u.cache.Interrupt == nil:
		u.missIRTE(t)
	default:
		t.Probe(emu.CacheInterrupt, irteKey(t), StepInterruptCache, stIRTEProbed)
	}
}

// irteKey is the key of the entry in the interrupt-entry cache.
func irteKey(t *emu.Txn) emu.Key { return emu.Key{Addr: uint64(t.Tag.Domain())} }

func (u *Unit) irteProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.missIRTE(t)
		return
	}
	t.Entry[0], t.Entry[1] = t.In[0], t.In[1]
	u.irteReady(t)
}

func (u *Unit) missIRTE(t *emu.Txn) {
	if t.Solo {
		u.fetchIRTE(t)
		return
	}
	t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stIRTEWalker)
}

func (u *Unit) fetchIRTE(t *emu.Txn) { t.Fetch(t.At, spec.IRTESize, StepIRTE, stIRTE) }

// irteFetched checks the entry, 5.1.4. Only one without fault is cached.
func (u *Unit) irteFetched(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultIRTERead, StepIRTE, t.At)
		return
	}
	t.Entry[0], t.Entry[1] = t.In[0], t.In[1]
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructInterrupt, t.At, t.Entry[:2])
	}
	e := (*spec.IRTE)(t.Entry[:2])
	t.Aux[0] |= auxFPD.PutBool(e.FPD())
	rsvd := &u.lim.irte[auxExtended.Of(t.Aux[0])][0]
	if e.Posted() && u.cfg.PI {
		rsvd = &u.lim.irte[auxExtended.Of(t.Aux[0])][1]
	}
	switch {
	case !e.P():
		u.fault(t, FaultIRTEAbsent, StepIRTE, t.At)
	case e[0]&rsvd[0]|e[1]&rsvd[1] != 0 && !verified(e, t.Req.Source): // the source is checked first
		u.fault(t, FaultIRTESource, StepInterruptSource, t.At)
	case e[0]&rsvd[0]|e[1]&rsvd[1] != 0:
		u.fault(t, FaultIRTEReserved, StepIRTE, t.At)
	case u.cache.Interrupt == nil:
		u.irteFilled(t)
	default:
		t.Act.Data = [4]uint64{e[0], e[1]}
		t.Fill(emu.CacheInterrupt, irteKey(t), 0, 0, StepInterruptFill, stIRTEFilled)
	}
}

func (u *Unit) irteFilled(t *emu.Txn) {
	if t.Solo {
		u.irteReady(t)
		return
	}
	t.Release(emu.SlotWalker, StepWalker, stIRTEReady)
}

// irteReady goes on with a valid entry in t.Entry.
func (u *Unit) irteReady(t *emu.Txn) {
	e := (*spec.IRTE)(t.Entry[:2])
	t.Aux[0] |= auxFPD.PutBool(e.FPD())
	switch {
	case !verified(e, t.Req.Source):
		u.fault(t, FaultIRTESource, StepInterruptSource, t.At)
	case e.Posted():
		u.post(t)
	default:
		addr, data := remapped(e, auxExtended.On(t.Aux[0]))
		u.sendInterrupt(t, addr, data)
	}
}

// verified reports whether an entry is for a source, 9.9. For a bus range SID has the first bus in
// its high byte and the last one in its low byte.
func verified(e *spec.IRTE, source emu.SourceID) bool {
	sid := e.SID()
	switch e.SVT() {
	case spec.SVTNone:
		return true
	case spec.SVTSID:
		return (source^emu.SourceID(sid))&^fmMask(uint64(e.SQ())) == 0
	case spec.SVTBus:
		bus := uint16(source >> 8)
		return sid>>8 <= bus && bus <= sid&0xff
	}
	return false
}

// remapped composes the message that a remapped-format entry stands for: that of the compatibility
// format, with destination bits 31:8 in address bits 63:40 in extended mode.
func remapped(e *spec.IRTE, extended bool) (emu.PA, uint32) {
	addr := messageAddress(e.DST(extended)) | emu.PA(spec.MsiRH.Put(spec.IrteRH.Of(e[0]))|spec.MsiDM.Put(spec.IrteDM.Of(e[0])))
	data := messageData(e.V()) | uint32(spec.MsiDLM.Put(spec.IrteDLM.Of(e[0]))|spec.MsiTM.Put(spec.IrteTM.Of(e[0])))
	return addr, data
}

// messageAddress is for a physical destination.
func messageAddress(dst uint32) emu.PA {
	return emu.PA(spec.MsiBase | spec.MsiDest.Put(uint64(dst)) | spec.MsiDestHi.Put(uint64(dst>>8)))
}

// messageData is for edge-triggered fixed delivery. What hardware sends is always an assertion.
func messageData(vector uint8) uint32 {
	return uint32(spec.MsiV.Put(uint64(vector)) | spec.MsiAssert.Mask())
}

// sendInterrupt ends t with a message, which stays behind the requester's earlier writes.
func (u *Unit) sendInterrupt(t *emu.Txn, addr emu.PA, data uint32) {
	t.Res.PA, t.Res.Data = addr, data
	t.Order(StepInterruptOrder, stIRQOrdered)
}

func (u *Unit) interruptOrdered(t *emu.Txn) {
	r := &t.Res
	r.Status, r.Perm, r.Lg2 = emu.Interrupt, emu.Write, 64
	t.Done(StepIRQMessage)
}

// setInterruptLimits works out the reserved bits of entries by mode and format, 9.9 and 9.10, and of
// the control word of posted-interrupt descriptors, 9.11.
func (u *Unit) setInterruptLimits() {
	all := []uint64{^uint64(0), ^uint64(0), 0, 0, ^uint64(0)}
	plain, post, pid := spec.IRTELayout.Reserved(all), spec.PostedIRTELayout.Reserved(all), spec.PIDLayout.Reserved(all)
	for extended := range u.lim.irte {
		l := &u.lim.irte[extended]
		l[0], l[1] = [2]uint64{plain[0], plain[1]}, [2]uint64{post[0], post[1]}
		u.lim.pid[extended] = pid[4]
		if extended == 0 {
			l[0][0] |= spec.IrteDST.Mask() &^ spec.IrteDST8.Mask()
			u.lim.pid[extended] |= spec.PidNDST.Mask() &^ spec.PidNDST8.Mask()
		}
		if !u.cfg.PI {
			l[0][0] |= spec.IrteIM.Mask()
		}
	}
}
