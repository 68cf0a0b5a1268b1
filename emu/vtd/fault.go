package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// fault ends t with a fault found at step, at the structure at.
func (u *Unit) fault(t *emu.Txn, c uint16, step emu.Step, at emu.PA) {
	u.setFault(t, c, step, at)
	u.raise(t)
}

func (u *Unit) setFault(t *emu.Txn, c uint16, step emu.Step, at emu.PA) {
	q := &t.Req
	t.Res.Fault = emu.Fault{Code: c, Step: step, Source: q.Source, PASID: q.PASID, Addr: q.Addr, At: at}
}

func (u *Unit) faultFilled(t *emu.Txn) { u.raise(t) }

// raise decides what becomes of the fault in t.Res (table 30): a translation request that may be
// retried ends without rights, and is not recorded but for one reason; a fault suppressed by FPD
// (7.1.1) or without a number is not recorded, any other is.
func (u *Unit) raise(t *emu.Txn) {
	f, r := &t.Res.Fault, &t.Res
	info := faults[f.Code]
	recovers := info.recoverable && t.Req.Type == emu.TranslationReq
	if recovers {
		withoutRights(&t.Req, r)
	} else {
		r.Status = emu.Blocked
		f.Abort = aborted(&t.Req, f.Code)
	}
	f.Quiet = f.Code > 0xff || info.qualified && auxFPD.On(t.Aux[0]) || stopMarker(&t.Req) ||
		recovers && f.Code != FaultFSUpdate
	if f.Quiet {
		u.faulted(t, f.Step)
		return
	}
	t.Delay(emu.DelayFault, StepFaultRecord, stFaultRecord)
}

func (u *Unit) faultRecord(t *emu.Txn) {
	t.Res.Fault.Dropped = !u.log(t)
	u.faulted(t, StepFaultRecord)
}

// log writes the fault to a recording register, 7.2.1. It returns false if the fault was dropped.
func (u *Unit) log(t *emu.Txn) bool {
	if u.fsts(spec.FstsPFO) {
		return false
	}
	if u.cfg.CompressFaults && u.hasRecord(t.Req.Source) {
		return false
	}
	lo := rFRCD + 2*int(u.s.NextFault)
	if spec.FrF.On(u.reg.Get(lo + 1)) {
		u.reg.SetBits(rFSTS, spec.FstsPFO.Mask())
		return false
	}
	rec := recordOf(t)
	u.reg.Set(lo, rec[0])
	u.reg.Set(lo+1, rec[1])
	if !u.fsts(spec.FstsPPF) {
		first := !u.fsts(fsEvents)
		v := u.reg.Get(rFSTS) &^ spec.FstsFRI.Mask()
		u.reg.Set(rFSTS, v|spec.FstsPPF.Put(1)|spec.FstsFRI.Put(uint64(u.s.NextFault)))
		if first {
			t.Wake |= u.eventCondition(&faultEvent)
		}
	}
	u.s.NextFault = (u.s.NextFault + 1) % uint32(u.cfg.FaultRecords)
	return true
}

// restartRecords takes recording back to the first record while nothing is remapped, 7.2.1.
func (u *Unit) restartRecords() {
	if !u.status(spec.GstsTES) && !u.status(spec.GstsIRES) {
		u.s.NextFault = 0
	}
}

// hasRecord reports whether a record of the source is pending.
func (u *Unit) hasRecord(s emu.SourceID) bool {
	for i := range u.cfg.FaultRecords {
		if w := u.reg.Get(rFRCD + 2*i + 1); spec.FrF.On(w) && spec.FrSID.Of(w) == uint64(s) {
			return true
		}
	}
	return false
}

// recordOf composes the record, 11.4.7.6. PP and PV are those of the request, not of RID_PASID. For an
// interrupt the record has source and index only, and index 0 if none was settled.
func recordOf(t *emu.Txn) spec.FaultRecord {
	q, f := &t.Req, &t.Res.Fault
	hi := spec.FrSID.Put(uint64(q.Source)) | spec.FrFR.Put(uint64(f.Code)) | spec.FrF.Put(1)
	switch {
	case t.Tag.Class() == ClassInterrupt:
		return spec.FaultRecord{spec.FrIndex.Put(uint64(t.Tag.Domain())), hi}
	case q.Type == emu.PageRequest:
		hi |= spec.FrT2.Put(1)
	case q.Access&emu.Atomic != 0:
		hi |= spec.FrT1.Put(1) | spec.FrT2.Put(1)
	case q.Access&emu.Write == 0:
		hi |= spec.FrT1.Put(1)
	}
	if q.Type <= emu.Translated {
		hi |= spec.FrAT.Put(uint64(q.Type))
	}
	if q.PASID != emu.NoPASID {
		hi |= spec.FrPP.Put(1) | spec.FrPV.Put(uint64(q.PASID)) |
			spec.FrEXE.PutBool(q.Access&emu.Exec != 0) | spec.FrPRIV.PutBool(q.Access&emu.Priv != 0)
	}
	return spec.FaultRecord{uint64(q.Addr) & spec.FrFI.Mask(), hi}
}

// fsEvents are the status bits of which none may be set already when another one is to raise a fault
// event, and none may be left for a pending event to be served (11.4.7.2). PFO is one of them although
// it raises none itself.
const fsEvents = reg.Bits(6_000)

// fsts reports whether a bit of FSTS is set. fsEvents includes AFO and APF, which are never set.
func (u *Unit) fsts(b reg.Bits) bool { return b.On(u.reg.Get(rFSTS)) }

// faultStatus sets an error bit of FSTS and raises the fault event if it is the first.
func (u *Unit) faultStatus(b reg.Bits) emu.Wake {
	first := !u.fsts(fsEvents)
	u.reg.SetBits(rFSTS, b.Mask())
	if first {
		return u.eventCondition(&faultEvent)
	}
	return 0
}

// faultCleared follows a write to a fault record: PPF is the OR of all F bits.
func (u *Unit) faultCleared() {
	for i := range u.cfg.FaultRecords {
		if spec.FrF.On(u.reg.Get(rFRCD + 2*i + 1)) {
			return
		}
	}
	u.reg.ClearBits(rFSTS, spec.FstsPPF.Mask()|spec.FstsFRI.Mask())
	u.eventServiced(&faultEvent)
}

// writeFSTS follows a write to FSTS: clearing IQE or ITE restarts the queue at IQH (6.5.2.11).
func (u *Unit) writeFSTS(c *reg.Change) emu.Wake {
	cleared := c.Old &^ c.New
	u.eventServiced(&faultEvent)
	if spec.FstsIQE.On(cleared) {
		u.reg.ClearBits(rIQERCD, spec.IqercdIQEI.Mask())
	}
	if spec.FstsIQE.On(cleared) || spec.FstsITE.On(cleared) {
		return u.queueDoorbell()
	}
	return 0
}

// UnexpectedATSCompletion implements emu.ATSUnit: FSTS.ICE (6.5.2.11).
func (u *Unit) UnexpectedATSCompletion(source emu.SourceID) emu.Wake {
	if u.fsts(spec.FstsICE) {
		return 0
	}
	v := u.reg.Get(rIQERCD) &^ spec.IqercdICESID.Mask()
	u.reg.Set(rIQERCD, v|spec.IqercdICESID.Put(uint64(source)))
	return u.faultStatus(spec.FstsICE)
}
