package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// What counts: the answer that a transaction is about to consume, and the question that it asks next.
// While a counter counts, every request goes step by step.

// stepCounting is Step while a counter counts, and for states that are none.
func (u *Unit) stepCounting(t *emu.Txn) {
	if t.State >= numStates {
		u.ended(t)
		return
	}
	c := u.causeOf(t)
	switch {
	case t.Act.Op == emu.OpProbe && t.State != stFrontEnd:
		u.countProbe(t, &c)
	case t.State == stCmdDecoded:
		u.countCommand(t)
	}
	begins := t.State == stFrontEnd
	onAnswer[t.State%maxStates](u, t)
	c = u.causeOf(t)
	switch t.Act.Op {
	case emu.OpFetch:
		u.countRead(t, &c)
	case emu.OpDone:
		if t.Req.Type != emu.Job {
			u.countEnd(t, &c, begins)
		}
	}
	t.Wake |= u.perfWake()
}

// causeOf returns what is known of the request of t.
func (u *Unit) causeOf(t *emu.Txn) cause {
	q := &t.Req
	if q.Type == emu.Job {
		return cause{}
	}
	c := cause{device: uint64(q.Source), hasDevice: true}
	if t.Known&emu.KnownDomain != 0 {
		c.domain, c.hasDom = spec.DteDomainID.Of(t.Entry[1]), true
	}
	switch {
	case q.PASID != emu.NoPASID:
		c.pasid, c.hasID = uint64(q.PASID), true
	case guest(t):
		c.pasid, c.hasID = pasidOf(t), true
	}
	return c
}

// countProbe counts a look-up in a cache.
func (u *Unit) countProbe(t *emu.Txn, c *cause) {
	hit := 0
	switch id := t.Act.Cache; {
	case id == emu.CacheIOTLB:
		hit = spec.SrcTLBHit
	case id == emu.CacheWalk || id == emu.CacheWalk2:
		hit = spec.SrcPDEHit
	case id == emu.CacheEntry && auxInterrupt.On(t.Aux[0]):
		hit = spec.SrcIntDTEHit
	case id == emu.CacheEntry:
		hit = spec.SrcDTEHit
	default:
		return
	}
	if t.Ans != emu.AnsOK {
		hit++ // the source of misses follows
	}
	u.count(hit, c)
}

// countRead counts a read of a page table. Those of the GCR3 table count as reads of guest tables.
func (u *Unit) countRead(t *emu.Txn, c *cause) {
	switch t.Act.Step {
	case StepHostTable, StepHostLeaf:
		u.count(spec.SrcTableReads, c)
		if auxOnBehalf.On(t.Aux[0]) {
			u.count(spec.SrcTableReadsNested, c)
		}
	case StepGuestTable, StepGCR3:
		u.count(spec.SrcTableReads, c)
		u.count(spec.SrcTableReadsGuest, c)
	}
}

// countEnd counts what became of a request. What passes while IommuEn=0 is not counted.
func (u *Unit) countEnd(t *emu.Txn, c *cause, begins bool) {
	q, r := &t.Req, &t.Res
	switch {
	case begins && !u.control(spec.CtlIommuEn), q.Type == emu.PageRequest:
	case auxInterrupt.On(t.Aux[0]):
		u.countInterrupt(t, c)
	case r.Status == emu.Blocked:
		u.count(spec.SrcTargetAbort, c)
	case r.Status != emu.OK:
	case q.Type == emu.Translated:
		u.count(spec.SrcPassPretranslated, c)
	case t.Act.Step == StepExclusion:
		u.count(spec.SrcPassExcluded, c)
	case t.Act.Step == StepDevice, t.Act.Step == StepIdentity, t.Act.Step == StepSpecialRange:
		u.count(spec.SrcPassUntranslated, c)
	default:
		u.count(spec.SrcTranslated, c)
	}
}

// countInterrupt counts what became of an interrupt.
func (u *Unit) countInterrupt(t *emu.Txn, c *cause) {
	blocked := t.Res.Status == emu.Blocked
	if spec.MsiDataMT.Of(uint64(t.Req.Data)) == typeSMI {
		u.count(spec.SrcSMI, c)
		if blocked {
			u.count(spec.SrcSMIBlocked, c)
		}
	}
	switch {
	case t.Res.Status == emu.Posted:
		u.count(spec.SrcInterruptsGuest, c)
	case !blocked && spec.IrteRemapEn.On(t.Entry[6]):
		u.count(spec.SrcInterruptsNonGuest, c)
	}
}

// countCommand counts a command that is about to be executed.
func (u *Unit) countCommand(t *emu.Txn) {
	w := &t.Entry
	if !u.legal(w) {
		return
	}
	c := cause{device: spec.CmdDeviceID.Of(w[0])}
	tlb, inv := false, true
	switch spec.CmdOpcode.Of(w[0]) {
	case spec.CmdInvalidateDevtab, spec.CmdInvalidateIntTable:
		c.hasDevice = true
	case spec.CmdInvalidateIOTLB:
		c.hasDevice = true
		c.pasid, c.hasID = spec.IotlbPASID(w[0]), spec.CmdGN.On(w[1])
	case spec.CmdInvalidatePages:
		c.domain, c.hasDom = spec.IpDomainID.Of(w[0]), true
		c.pasid, c.hasID = spec.IpPASID.Of(w[0]), spec.CmdGN.On(w[1])
		tlb = true
	case spec.CmdInvalidateAll:
		tlb = true
	case spec.CmdPrefetchPages:
		c.hasDevice = true
		c.pasid, c.hasID = spec.PfPASID.Of(w[0]), spec.CmdGN.On(w[1])
		inv = spec.PfInval.On(w[1])
		tlb = inv
	case spec.CmdCompletePPR:
		c.hasDevice, inv = true, false
		c.pasid, c.hasID = spec.CpPASID.Of(w[0]), spec.CpGN.On(w[1])
	default:
		inv = false
	}
	u.count(spec.SrcCommands, &c)
	if inv {
		u.count(spec.SrcInvalidations, &c)
	}
	if tlb {
		u.count(spec.SrcTLBInvalidations, &c)
	}
}

// countScratch counts a register access to 1FF8h.
func (u *Unit) countScratch(off uint32) {
	if off&^7 == spec.OffReserved {
		u.count(spec.SrcScratchAccesses, &cause{})
	}
}
