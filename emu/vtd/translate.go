package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Txn.Aux of a translation:
//
//	Aux[0]  flags, and the PASID in use
//	Aux[1]  table to read next: root, PASID directory
//	Aux[2]  version that goes with the translation found (Provenance.Fill)
//	Aux[3]  bits that a paging entry must have to need no further look: tables low, leaves high
const (
	auxFPD      reg.Bits = 0_000 // a context, directory or PASID entry on the way has FPD=1
	auxDirFPD   reg.Bits = 1_001
	auxScalable reg.Bits = 2_002
	auxPriv     reg.Bits = 3_003
	auxSSEE     reg.Bits = 4_004 // the PASID entry restricts execution
	auxPASID    reg.Bits = 51_032
	auxWant     reg.Bits = 31_000
	auxWantLeaf reg.Bits = 63_032
)

func scalable(t *emu.Txn) bool { return auxScalable.On(t.Aux[0]) }

// code picks the fault reason of the mode that t is translated in.
func code(t *emu.Txn, legacy, scal uint16) uint16 {
	if scalable(t) {
		return scal
	}
	return legacy
}

// interruptRange reports whether an address is in FEEx_xxxxh (3.15).
func interruptRange(addr uint64) bool { return addr>>20 == 0xfee }

// isInterrupt reports whether q, a request without PASID to the interrupt range, is an interrupt: a
// DWORD write.
func isInterrupt(q *emu.Request) bool {
	return q.Access&^emu.Priv == emu.Write && q.Len == 4 && q.Addr%4 == 0
}

// frontEnd decides what kind of request this is and which tables it uses, 3.4.
func (u *Unit) frontEnd(t *emu.Txn) {
	q := &t.Req
	if q.Type == emu.Untranslated && q.PASID == emu.NoPASID && interruptRange(uint64(q.Addr)) {
		if isInterrupt(q) {
			u.interrupt(t)
			return
		}
		if u.mode != modeOff || u.status(spec.GstsIRES) {
			u.fault(t, FaultIllegalInterrupt, StepInterruptRange, 0)
			return
		}
	}
	if q.Type == emu.Translated && q.PASID != emu.NoPASID && !u.cfg.PTRS {
		u.fault(t, FaultTranslatedPASID, StepTranslated, 0)
		return
	}
	switch u.mode {
	case modeOff:
		u.remappingOff(t)
		return
	case modeInvalid:
		u.fault(t, FaultTTM, StepFrontEnd, 0)
		return
	case modeAbort:
		u.fault(t, FaultAbortMode, StepFrontEnd, 0)
		return
	case modeLegacy:
		if q.Type == emu.PageRequest {
			u.fault(t, FaultLegacyPageRequest, StepFrontEnd, 0)
			return
		}
		if q.PASID != emu.NoPASID {
			u.fault(t, FaultLegacyPASID, StepFrontEnd, 0)
			return
		}
	case modeScalable:
		if q.PASID != emu.NoPASID && q.Access&emu.Exec != 0 && q.Type != emu.PageRequest && u.cfg.VersionMajor >= 8 {
			u.fault(t, FaultExecute, StepFrontEnd, 0)
			return
		}
		t.Aux[0] = auxScalable.Mask()
	}
	t.Aux[1] = u.s.Root & spec.RtaddrRTA.Mask()
	t.Known = emu.KnownLive
	u.probeContext(t)
}

// remappingOff answers while TES=0: addresses pass, but for protected regions and requests that
// need remapping hardware.
func (u *Unit) remappingOff(t *emu.Txn) {
	switch {
	case t.Req.Type != emu.Untranslated: // 4.2.1
		u.fault(t, FaultDisabled, StepFrontEnd, 0)
	case u.protected(&t.Req):
		u.fault(t, FaultProtected, StepProtected, 0)
	default:
		pass(&t.Req, &t.Res)
		t.Done(StepFrontEnd)
	}
}

// pass is the result of a request whose address is not changed.
func pass(q *emu.Request, r *emu.Result) {
	r.Status, r.PA, r.Lg2, r.Perm = emu.OK, emu.PA(q.Addr), 64, emu.RW
}

// passThrough answers for TT=10 and PGTT=100, 3.9.
func (u *Unit) passThrough(t *emu.Txn) {
	addr := uint64(t.Req.Addr)
	switch {
	case addr&u.lim.hawMask != 0:
		u.fault(t, code(t, FaultWidth, FaultHAW), StepPassThrough, 0)
	case u.atsInterruptRange(t):
	case interruptRange(addr):
		u.fault(t, code(t, FaultOutputRange, FaultOutputRangeSM), StepOutputRange, 0)
	case u.protected(&t.Req):
		u.fault(t, FaultProtected, StepProtected, 0)
	default:
		pass(&t.Req, &t.Res)
		u.passCompletion(t)
		t.Done(StepPassThrough)
	}
}

// settled records the domain of t: from now on invalidations can tell whether it is concerned.
func settled(t *emu.Txn, class emu.Class, did uint16, p emu.PASID, version uint64) {
	t.Tag = emu.MakeTag(class, uint32(did), p)
	t.Known |= emu.KnownDomain
	t.Ver = version
	t.Res.Prov.Entry = version
}
