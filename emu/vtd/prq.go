package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Page requests, 7.4 to 7.7. A page request is translated as far as its PASID entry (6.5.3.1), and
// written to the page-request queue by one at a time, in the order in which they get there. One that
// cannot be written is answered by hardware if it is the last of its group (table 31): with Success
// when the queue is full, so that the device tries again, with Invalid Request after a fault.

// prsEvents are the status bits of which the first to be set raises a page-request event, 7.5.
const prsEvents reg.Bits = 1_000

// stopMarker reports whether a page request is a stop marker (PCIe 10.4.1.2.1). Nobody answers it, and
// where it cannot be written it is dropped without a trace (ECAP.SMS).
func stopMarker(q *emu.Request) bool {
	_, last := q.PRG()
	return q.Type == emu.PageRequest && last && q.Access&emu.RW == 0
}

// pageRequest goes on with a page request whose PASID entry is valid.
func (u *Unit) pageRequest(t *emu.Txn) {
	t.Acquire(emu.SlotLog, emu.Key{}, StepPageLog, stPageLog)
}

// pageSlot returns the offset of the entry behind the last one, and the one after that.
func (u *Unit) pageSlot() (at, next uint64) {
	size := uint64(emu.PageSize) << spec.PqaPQS.Of(u.reg.Get(rPQA))
	at = u.reg.Get(rPQT) % size
	return at, (at + spec.PageReqSize) % size
}

// pageLog looks for room in the queue and makes hardware forget what it had cached for the address:
// software need not invalidate where it adds rights (6.5.3.1, table 27).
func (u *Unit) pageLog(t *emu.Txn) {
	_, next := u.pageSlot()
	prs := u.reg.Get(rPRS)
	switch {
	case spec.PrsPRO.On(prs):
		u.fault(t, FaultPageOverflow, StepPageLog, 0)
		return
	case next == u.reg.Get(rPQH):
		if !stopMarker(&t.Req) {
			t.Wake |= u.pageStatus(spec.PrsPRO)
		}
		u.fault(t, FaultPageOverflow, StepPageLog, 0)
		return
	}
	s := &t.Act.Sel
	did, addr := spec.PasidDID.Of(t.Entry[1]), uint64(t.Req.Addr)&addrMask
	switch spec.PasidPGTT.Of(t.Entry[0]) {
	case spec.PGTTFirst:
		selProcess(s, spec.GranPASIDPage, did, uint64(pasidOf(t)), addr, 0, false)
	case spec.PGTTNested:
		selDomain(s, spec.GranDomain, did)
	default:
		selPages(s, did, addr, 0, false)
		t.Invalidate(StepPageInvalidate, stPageSecond)
		return
	}
	t.Invalidate(StepPageInvalidate, stPageInvalidated)
}

// pageSecond is the second half of a page-selective invalidation within a domain.
func (u *Unit) pageSecond(t *emu.Txn) {
	selGuest(&t.Act.Sel, spec.PasidDID.Of(t.Entry[1]))
	t.Invalidate(StepPageInvalidate, stPageInvalidated)
}

// pageWrite writes the descriptor behind the last one.
func (u *Unit) pageWrite(t *emu.Txn) {
	at, _ := u.pageSlot()
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, spec.PageReqSize, StepPageWrite
	a.Addr = emu.PA(u.reg.Get(rPQA)&spec.PqaPQA.Mask() + at)
	a.Data = pageDescriptor(&t.Req)
	t.State = stPageWritten
}

// pageDescriptor composes the descriptor, 7.4.1.1.
func pageDescriptor(q *emu.Request) [4]uint64 {
	index, last := q.PRG()
	lo := spec.PrType.Put(spec.PrTypePage) | spec.PrRID.Put(uint64(q.Source))
	if q.PASID != emu.NoPASID {
		lo |= spec.PrPP.Put(1) | spec.PrPASID.Put(uint64(q.PASID)) |
			spec.PrEXE.PutBool(q.Access&emu.Exec != 0) | spec.PrPRIV.PutBool(q.Access&emu.Priv != 0)
	}
	hi := spec.PrR.PutBool(q.Access&emu.Read != 0) | spec.PrW.PutBool(q.Access&emu.Write != 0) |
		spec.PrLPIG.PutBool(last) | spec.PrPRGI.Put(uint64(index)) | uint64(q.Addr)&addrMask
	return [4]uint64{lo, hi}
}

// pageWritten moves PQT behind the descriptor, which software can see by now, and raises the event. A
// descriptor that failed on the bus is not in the queue: it ends like any page request that meets a
// fault before the queue is updated (7.1.3).
func (u *Unit) pageWritten(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultPageWrite, StepPageWrite, t.Act.Addr)
		return
	}
	_, next := u.pageSlot()
	u.reg.Set(rPQT, next)
	t.Wake |= u.pageStatus(spec.PrsPPR)
	t.Res.Status = emu.OK
	t.Release(emu.SlotLog, StepPageLog, stPageReleased)
}

func (u *Unit) pageReleased(t *emu.Txn) { t.Done(StepPageWrite) }

// pageStatus sets a bit of PRS and raises the page-request event if it is the first, 7.5.
func (u *Unit) pageStatus(b reg.Bits) emu.Wake {
	first := !prsEvents.On(u.reg.Get(rPRS))
	u.reg.SetBits(rPRS, b.Mask())
	if first {
		return u.eventCondition(&pageEvent)
	}
	return 0
}

// faulted ends a request that met a fault, recorded by now if it is to be. A page request that is the
// last of its group is answered first, but for one that met a unit that does not take any.
func (u *Unit) faulted(t *emu.Txn, step emu.Step) {
	q := &t.Req
	if t.Res.Status == emu.OK { // a translation request that may be retried
		t.Res.Fault = emu.Fault{}
	}
	index, last := q.PRG()
	off := t.Res.Fault.Code == FaultDisabled || !u.cfg.PRS
	if q.Type != emu.PageRequest || !last || stopMarker(q) || off {
		t.Done(step)
		return
	}
	code := uint8(emu.PRGInvalid)
	if t.Res.Fault.Code == FaultPageOverflow {
		code = emu.PRGSuccess
	}
	t.Act.SetPRGResponse(q.Source, emu.PRGResponse{PASID: q.PASID, Index: index, Code: code})
	t.Act.Step = StepPageResponse
	t.State = stPageResponded
}

func (u *Unit) pageResponded(t *emu.Txn) { t.Done(StepPageResponse) }

// descPageGroup sends the answer of software to a page request group, 7.6.1.
func (u *Unit) descPageGroup(t *emu.Txn) {
	w, a := t.Entry[0], t.Entry[1]
	r := emu.PRGResponse{
		PASID: emu.NoPASID, Code: uint8(spec.PgRC.Of(w)),
		Index: uint16(spec.PgPRGI.Of(a)),
	}
	if spec.PgPP.On(w) {
		r.PASID = emu.PASID(spec.PgPASID.Of(w))
	}
	t.Act.SetPRGResponse(emu.SourceID(spec.PgRID.Of(w)), r)
	t.Act.Step = StepPageResponse
	t.State = stQueueNext
}
