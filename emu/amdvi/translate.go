package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Txn.Aux of a translation:
//
//	Aux[0]  flags, and the PASID in use
//	Aux[1]  version of the DTE under which the host tables in use were found
//	Aux[2]  version that goes with the translation found (Provenance.Fill)
//	Aux[3]  what follows the writing of a log entry (log.go)
//
// Txn.Entry holds the DTE in words 0 to 3, as values.go says, a log entry in words 4 and 5. Words 6 and 7
// are an interrupt table entry, or what entries of the host and of the guest table must have to need no
// further look (hostWant, guestWant).
const (
	auxGuest     reg.Bits = 0_000 // a guest table translates
	auxOnBehalf  reg.Bits = 1_001 // the host walk under way is for an address of a guest table: Frame[1]
	auxHostFault reg.Bits = 2_002 // the fault is one of that walk
	auxInterrupt reg.Bits = 3_003
	auxNeed      reg.Bits = 5_004 // rights that the host walk must find
	auxGLX       reg.Bits = 7_006 // level of the GCR3 table to read
	auxSupIOPF   reg.Bits = 8_008 // the interrupt table entry suppresses events
	auxPASID     reg.Bits = 51_032
)

func guest(t *emu.Txn) bool     { return auxGuest.On(t.Aux[0]) }
func pasidOf(t *emu.Txn) uint64 { return auxPASID.Of(t.Aux[0]) }

// frontEnd decides what kind of request this is, 2.1.
func (u *Unit) frontEnd(t *emu.Txn) {
	q := &t.Req
	if !u.control(spec.CtlIommuEn) {
		u.off(t)
		return
	}
	t.Known = emu.KnownLive
	if q.Type == emu.PageRequest {
		if !u.control(spec.CtlPPREn) {
			u.fault(t, FaultPPRDisabled, StepFrontEnd, 0)
			return
		}
		u.probeDevice(t)
		return
	}
	if interruptRange(uint64(q.Addr)) && !u.interruptAddress(t) {
		return
	}
	u.probeDevice(t)
}

// off answers while IommuEn=0: everything passes. There is nobody to answer a translation request.
func (u *Unit) off(t *emu.Txn) {
	switch {
	case t.Req.Type == emu.TranslationReq || t.Req.Type == emu.PageRequest:
		u.fault(t, FaultDisabled, StepFrontEnd, 0)
	case isInterrupt(&t.Req):
		u.passInterrupt(t)
	default:
		pass(&t.Req, &t.Res)
		t.Done(StepFrontEnd)
	}
}

// pass is the result of a request whose address is not changed.
func pass(q *emu.Request, r *emu.Result) {
	r.Status, r.PA, r.Lg2, r.Perm = emu.OK, emu.PA(q.Addr), 64, emu.RW
}

// request goes on with a memory request and a DTE that has V=1, and no illegal value in its memory
// half, 2.2.2.
func (u *Unit) request(t *emu.Txn) {
	q, w0, w1 := &t.Req, t.Entry[0], t.Entry[1]
	switch {
	case q.Type == emu.TranslationReq && !spec.DteI.On(w1):
		u.fault(t, FaultTRDisabled, StepRequestCheck, 0)
		return
	case q.Type == emu.Translated && !spec.DteI.On(w1):
		u.fault(t, FaultTranslated, StepRequestCheck, 0)
		return
	case q.Type == emu.Translated:
		pass(q, &t.Res)
		t.Done(StepRequestCheck)
		return
	case hyperTransportRange(uint64(q.Addr)) && !u.cfg.HtRangeIgnore && !u.hyperTransport(t):
		return
	case u.excluded(q, w1):
		pass(q, &t.Res)
		passCompletion(q, &t.Res)
		t.Done(StepExclusion)
		return
	case !spec.DteTV.On(w0):
		u.fault(t, FaultTV, StepRequestCheck, 0)
		return
	}
	u.selectTables(t)
}

// excluded reports whether the exclusion range lets a request of a device with DTE word w1 pass.
func (u *Unit) excluded(q *emu.Request, w1 uint64) bool {
	return spec.ExclEn.On(u.reg.Get(rExclBase)) && u.inExclusion(q, w1)
}

// inExclusion is excluded with the range enabled.
func (u *Unit) inExclusion(q *emu.Request, w1 uint64) bool {
	base := u.reg.Get(rExclBase)
	if !spec.ExclAllow.On(base) && !spec.DteEX.On(w1) {
		return false
	}
	addr, last := uint64(q.Addr), u.reg.Get(rExclLimit)&spec.ExclAddr.Mask()|0xfff
	return base&spec.ExclAddr.Mask() <= addr && addr <= last
}

// usesGuest reports whether a request uses the guest tables of a DTE: it has a PASID, or GIoV says so.
func (u *Unit) usesGuest(q *emu.Request, w0 uint64) bool {
	const giov = 3 << 54 // GIoV and GV
	return q.PASID != emu.NoPASID || w0&giov == giov && u.control(spec.CtlGTEn)
}

// pasidFault returns what forbids a PASID under a DTE, or 0.
func (u *Unit) pasidFault(q *emu.Request, w0 uint64) uint16 {
	switch p := uint64(q.PASID); {
	case q.PASID == emu.NoPASID:
		return 0
	case !spec.DteGV.On(w0) || !u.control(spec.CtlGTEn):
		return FaultPASIDDisabled
	case p >= u.lim.pasidTop || p>>(9*(spec.DteGLX.Of(w0)+1)) != 0:
		return FaultPASIDRange
	}
	return 0
}

// selectTables picks the tables that translate the request and begins with the IOTLB.
func (u *Unit) selectTables(t *emu.Txn) {
	q, w0 := &t.Req, t.Entry[0]
	mode := uint8(spec.DteMode.Of(w0))
	class := ClassHost // as t.Tag is
	if u.usesGuest(q, w0) {
		p := emu.PASID(0)
		class = ClassGuest
		if mode != spec.ModeIdentity {
			class = ClassNested
		}
		if q.PASID != emu.NoPASID {
			p = q.PASID
		}
		t.Aux[0] |= auxGuest.Mask() | auxPASID.Put(uint64(p))
		t.Tag = emu.MakeTag(class, t.Tag.Domain(), p)
	}
	t.Frame[0].In = uint64(q.Addr)
	if class == ClassNested {
		t.Classes = 1 << ClassHost
	}
	if q.PASID != emu.NoPASID {
		if c := u.pasidFault(q, w0); c != 0 {
			u.fault(t, c, StepRequestCheck, 0)
			return
		}
	}
	if q.Type == emu.Untranslated && need(q)&^dteRights(w0) != 0 {
		u.fault(t, FaultPermission, StepRequestCheck, 0)
		return
	}
	if mode > u.lim.maxMode {
		u.fault(t, FaultMode, StepRequestCheck, 0)
		return
	}
	switch {
	case class != ClassHost:
		u.guestRequest(t)
	case mode == spec.ModeIdentity:
		u.identity(t)
	case beyond(uint64(q.Addr), mode):
		u.fault(t, FaultAddress, StepAddressWidth, 0)
	default:
		u.probeTLB(t)
	}
}

// identity answers for Mode=0: the address is not changed, the rights of the DTE count.
func (u *Unit) identity(t *emu.Txn) {
	pass(&t.Req, &t.Res)
	t.Res.Perm = dteRights(t.Entry[0])
	passCompletion(&t.Req, &t.Res)
	t.Done(StepIdentity)
}

// dteRights returns the rights that a DTE grants.
func dteRights(w0 uint64) emu.Access {
	return emu.Access(w0>>61) & emu.RW // IR and IW stand as in entries of host tables
}

// beyond reports whether an address has bits that a host table of mode levels does not translate.
func beyond(addr uint64, mode uint8) bool { return mode < spec.MaxMode && addr>>(12+9*mode) != 0 }

// need returns the rights that q must find.
func need(q *emu.Request) emu.Access {
	n := q.Access & emu.RW
	if q.Access&emu.Atomic != 0 {
		n = emu.RW
	}
	if n == 0 {
		n = emu.Read
	}
	return n
}
