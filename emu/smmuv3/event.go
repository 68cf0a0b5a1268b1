package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Records of the event queue and the PRI queue, 3.5 and 7.4. Txn.Entry[4:8] holds the record, Aux[3] the
// following.
const (
	recNext reg.Bits = 15_000 // state that goes on
	recKind reg.Bits = 16_016 // which ring
	recLost reg.Bits = 17_017 // there was no room
	recOff  reg.Bits = 18_018 // the queue is off
)

func ringOf(t *emu.Txn) *ring { return &rings[recKind.Of(t.Aux[3])] }

// writeRecord writes the record in t.Entry and goes on with next. Records are written one after the
// other.
func (u *Unit) writeRecord(t *emu.Txn, kind uint64, next uint16) {
	t.Aux[3] = recNext.Put(uint64(next)) | recKind.Put(kind)
	t.Acquire(emu.SlotLog, emu.Key{}, StepRecord, stRecordSlot)
}

// recordSlot looks for room in the queue. One that is full loses the record and says so (7.4, 8.1).
func (u *Unit) recordSlot(t *emu.Txn) {
	r := ringOf(t)
	switch {
	case !u.ringOn(r):
		u.recordEnds(t, recOff)
	case r.queue == &eventq && u.mergesInto(t):
		t.Release(emu.SlotLog, StepRecord, stRecordReleased) // as good as written
	case u.full(r.queue):
		if !u.overflow(r.queue) && recNext.Of(t.Aux[3]) != uint64(stStallRecorded) { // which will come back
			u.reg.Set(r.prod, u.reg.Get(r.prod)^spec.QOverflow.Mask())
		}
		u.recordEnds(t, recLost)
	case r.overflow && u.overflow(r.queue):
		u.recordEnds(t, recLost)
	default:
		t.Delay(emu.DelayFault, StepRecord, stRecordReady)
	}
}

// recordEnds gives the queue to the next one. why says why nothing was written.
func (u *Unit) recordEnds(t *emu.Txn, why reg.Bits) {
	t.Aux[3] |= why.Mask()
	t.Release(emu.SlotLog, StepRecord, stRecordReleased)
}

// recordReady stores the record.
func (u *Unit) recordReady(t *emu.Txn) {
	r := ringOf(t)
	prod, _ := u.indexes(r.queue)
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, uint8(r.size), r.step
	a.Addr = u.entry(r.queue, prod)
	a.Data = [4]uint64(t.Entry[4:8])
	t.State = stRecordWritten
}

// recordWritten moves PROD behind the record, and interrupts if the queue was empty. One that failed on
// the bus is lost, and the queue is closed until software acknowledges the error.
func (u *Unit) recordWritten(t *emu.Txn) {
	r := ringOf(t)
	if t.Ans == emu.AnsError {
		t.Wake |= u.globalError(r.abt)
		u.recordEnds(t, recOff)
		return
	}
	was := u.empty(r.queue)
	u.advance(r.queue, r.prod)
	if r.queue == &eventq {
		u.eventWritten(t)
	}
	if u.interrupts(r, t, was) {
		t.Wake |= u.message(r.msg)
	}
	t.Release(emu.SlotLog, StepRecord, stRecordReleased)
}

// interrupts reports whether the record just written causes an interrupt: that the queue is no longer
// empty does, or, if software has asked for that, the last page request of a group (6.3.39).
func (u *Unit) interrupts(r *ring, t *emu.Txn, was bool) bool {
	if r.queue == &priq && spec.IrqCfg2LO.On(u.reg.Get(rPriqIrq2)) {
		return spec.PriLast.On(t.Entry[4])
	}
	return was
}

// recordReleased goes on with who wanted the record written.
func (u *Unit) recordReleased(t *emu.Txn) {
	t.State = uint16(recNext.Of(t.Aux[3]))
	u.Step(t)
}
