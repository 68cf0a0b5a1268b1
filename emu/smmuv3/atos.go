package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Address translation operations, 9: software asks by registers what a transaction would meet. Each group of
// registers has an engine, whose job becomes a translation: Req.Job says so, Req.Data is the number of the
// request.

// atosGroup are the registers of an interface and its engine.
type atosGroup struct {
	engine               emu.Engine
	ctrl, sid, addr, par int
	virtual              bool // VATOS: for the virtual machine of VATOS_SEL, stage 1 only
}

var atosGroups = [...]atosGroup{
	{EngineGATOS, rGatosCtrl, rGatosSID, rGatosAddr, rGatosPAR, false},
	{EngineVATOS, rVatosCtrl, rVatosSID, rVatosAddr, rVatosPAR, true},
}

// atosSIDMask returns the bits of ATOS_SID that this unit has.
func (c *Config) atosSIDMask() uint64 {
	m := ones(c.SIDSIZE)
	if c.SSIDSIZE != 0 {
		m |= ones(c.SSIDSIZE)<<32 | spec.AtosSSIDValid.Mask()
	}
	return m
}

// vmidMask returns the bits of VATOS_SEL.
func (c *Config) vmidMask() uint64 {
	if !c.VMID16 {
		return 0xff
	}
	return spec.VatosVMID.Mask()
}

// groupOf returns the number of the group of t.
func groupOf(t *emu.Txn) int { return int(t.Req.Job-EngineGATOS) % len(atosGroups) }

// atosRuns reports whether a request of a group is under way.
func (u *Unit) atosRuns(g *atosGroup) bool { return spec.AtosRUN.On(u.reg.Get(g.ctrl)) }

// atosKeeps returns all bits of the register if a request uses it: those take no writes then (6.3).
func (u *Unit) atosKeeps(index int) uint64 {
	for i := range atosGroups {
		g := &atosGroups[i]
		if (index == g.sid || index == g.addr || g.virtual && index == rVatosSel) && u.atosRuns(g) {
			return ^uint64(0)
		}
	}
	return 0
}

// writeAtosCtrl begins a request, if none is under way and translation is on, and stays so.
func (u *Unit) writeAtosCtrl(c *reg.Change) emu.Wake {
	n := 0
	if c.Index == rVatosCtrl {
		n = 1
	}
	switch {
	case spec.AtosRUN.On(c.Old):
		u.reg.Set(c.Index, c.Old)
		return 0
	case !spec.AtosRUN.On(c.New):
		return 0
	case !spec.Cr0SMMUEN.On(u.ack & u.reg.Get(rCR0)):
		u.reg.Set(c.Index, c.Old)
		return 0
	}
	u.s.ATOS[n]++
	return atosGroups[n].engine.Set()
}

// atosNext makes a translation of what the registers ask for, or refuses it.
func (u *Unit) atosNext(t *emu.Txn) {
	n := groupOf(t)
	g := &atosGroups[n]
	if !u.atosRuns(g) {
		t.Done(StepATOS)
		return
	}
	sid, addr := u.reg.Get(g.sid), u.reg.Get(g.addr)
	q := emu.Request{
		Addr: emu.IOVA(addr & spec.AtosAddr.Mask()), Source: emu.SourceID(spec.AtosStreamID.Of(sid)), PASID: emu.NoPASID,
		Access: atosAccess(addr), Type: emu.Untranslated, Job: g.engine, Data: u.s.ATOS[n],
	}
	if spec.AtosSSIDValid.On(sid) {
		q.PASID = emu.PASID(spec.AtosSubstreamID.Of(sid))
	}
	t.Begin(&q, stATOSBegin)
	t.Delay(emu.DelayCommand, StepATOS, stATOSBegin)
}

// atosAccess returns what kind of access ATOS_ADDR is about.
func atosAccess(addr uint64) emu.Access {
	a := emu.Write
	switch {
	case spec.AtosRnW.On(addr) && spec.AtosInD.On(addr):
		a = emu.Read | emu.Exec
	case spec.AtosRnW.On(addr):
		a = emu.Read
	}
	if spec.AtosPnU.On(addr) {
		a |= emu.Priv
	}
	return a
}

// atosType returns the stages that t asks for, as in STE.Config.
func (u *Unit) atosType(t *emu.Txn) uint64 {
	return spec.AtosTYPE.Of(u.reg.Get(atosGroups[groupOf(t)].addr))
}

// atosCurrent reports whether software still waits for t.
func (u *Unit) atosCurrent(t *emu.Txn) bool {
	n := groupOf(t)
	return u.atosRuns(&atosGroups[n]) && t.Req.Data == u.s.ATOS[n]
}

// atosBegin begins the translation.
func (u *Unit) atosBegin(t *emu.Txn) {
	switch {
	case !u.atosCurrent(t):
		t.Done(StepATOS)
	case u.atosMalformed(t):
		u.atosFails(t, spec.ReasonS1, spec.AtosInvReq, 0)
	default:
		t.Known, t.Classes = emu.KnownLive, structClasses
		u.stream(t)
	}
}

// atosMalformed reports whether the request is one that the interface does not have (9.1.3).
func (u *Unit) atosMalformed(t *emu.Txn) bool {
	switch u.atosType(t) {
	case spec.AtosS1:
		return !u.cfg.S1P
	case spec.AtosS2:
		return atosGroups[groupOf(t)].virtual || !u.cfg.S2P || t.Req.PASID != emu.NoPASID
	case spec.AtosS12:
		return atosGroups[groupOf(t)].virtual || !u.cfg.S1P || !u.cfg.S2P
	}
	return true
}

// atosStream goes on with a valid STE, 9.1.5: the stages asked for must be those of the stream, or some of
// them. Overrides of privilege and instruction marking do not count.
func (u *Unit) atosStream(t *emu.Txn) {
	w0, w1, w2 := t.Entry[0], t.Entry[1], t.Entry[2]
	config, stages := spec.SteConfig.Of(w0), u.atosType(t)
	switch {
	case atosGroups[groupOf(t)].virtual && !u.vatosMay(config, w0, w1, w2):
		u.fault(t, FaultSTEVMID, StepATOS, t.At)
		return
	case config&4 == 0 || config&stages != stages:
		u.atosFails(t, spec.ReasonS1, spec.AtosInvStage, 0)
		return
	}
	s1, index := stages&spec.AtosS1 != 0, uint64(0)
	if s1 {
		var c uint16
		if index, s1, c = u.substream(&t.Req, w0, w1); c != 0 {
			u.fault(t, c, StepSubstream, t.At)
			return
		}
	}
	isPriv, inst := u.attributes(&t.Req, 0)
	s2 := config&spec.AtosS2 != 0 && (s1 || stages != spec.AtosS1) // stage 1 has tables behind it
	t.Aux[0] = auxS1.PutBool(s1) | auxS2.PutBool(s2) | access(&t.Req, isPriv, inst) | auxIndex.Put(index) |
		auxWorld.Put(u.streamWorld(w0, w1)) | auxOnlyS1.PutBool(s1 && stages == spec.AtosS1 && s2) |
		auxPassive.PutBool(spec.AtosHTTUI.On(u.reg.Get(atosGroups[groupOf(t)].addr))) | auxReg2.Put(steReg2.Of(w1))
	if s2 {
		t.Aux[2] = s2Version(t.Entry[:4])
	}
	if s1 {
		u.context(t, index)
		return
	}
	u.stage1Bypassed(t)
}

// vatosMay reports whether a virtual machine may ask about a stream: its translations have the VMID of
// VATOS_SEL (9.1.6).
func (u *Unit) vatosMay(config, w0, w1, w2 uint64) bool {
	tagged := u.cfg.S2P && config > spec.ConfigBypass && u.streamWorld(w0, w1) == worldEL1
	return tagged && uint64(u.vmid(w2)) == spec.VatosVMID.Of(u.reg.Get(rVatosSel))
}

// atosTranslated ends a request whose result is in t.Res. What passes stage 1 as it is has the size of the
// smallest page.
func (u *Unit) atosTranslated(t *emu.Txn) {
	r := &t.Res
	lg2 := r.Lg2
	if lg2 > u.lim.oas {
		lg2 = u.smallestPage()
	}
	a := spec.MemAttr(r.Attr)
	page := uint64(r.PA) &^ ones(lg2)
	v := page&spec.ParADDR.Mask() | spec.ParSH.Put(a.SH()) | spec.ParATTR.Put(uint64(a.MAIR()))
	if lg2 > emu.PageShift {
		v |= spec.ParSize.Mask() | 1<<(lg2-1)
	}
	u.atosEnds(t, v)
}

// smallestPage returns log2 of the smallest page that the unit has.
func (u *Unit) smallestPage() uint8 {
	i := 1
	for i < len(granules)-1 && !u.lim.granule[i] {
		i++
	}
	return uint8(granules[i])
}

// atosFault ends a request that met the fault in t.Res, 9.1.4. Where stage 1 alone was asked for, faults of
// stage 2 are ones of what stage 1 reads.
func (u *Unit) atosFault(t *emu.Txn) {
	event := eventOf(t.Res.Fault.Code)
	stages := u.atosType(t)
	switch {
	case stages == spec.AtosS2 && t.Res.Fault.Code != FaultInput:
		u.atosFails(t, spec.ReasonIN, event, 0)
	case !flag(t, auxFault2):
		u.atosFails(t, spec.ReasonS1, event, 0)
	case stages == spec.AtosS1 && auxClass.Of(t.Aux[0]) == spec.ClassCD:
		u.atosFails(t, spec.ReasonS1, spec.EvCDFetch, 0)
	case stages == spec.AtosS1:
		u.atosFails(t, spec.ReasonS1, spec.EvWalkEABT, 0)
	case isTranslationFault(event):
		u.atosFails(t, auxClass.Of(t.Aux[0])+1, event, s2Frame(t).In)
	case event == spec.EvWalkEABT:
		u.atosFails(t, auxClass.Of(t.Aux[0])+1, event, 0)
	default:
		u.atosFails(t, spec.ReasonS1, event, 0)
	}
}

// atosFails ends a request with a fault.
func (u *Unit) atosFails(t *emu.Txn, reason, code, faddr uint64) {
	faddr &= spec.ParFADDR.Mask() & ones(u.lim.oas)
	u.atosEnds(t, spec.ParFAULT.Mask()|spec.ParREASON.Put(reason)|spec.ParFAULTCODE.Put(code)|faddr)
}

// atosEnds shows the result, and then that it is there. Nobody waits for that of a request that was ended.
func (u *Unit) atosEnds(t *emu.Txn, par uint64) {
	if u.atosCurrent(t) {
		u.atosShow(&atosGroups[groupOf(t)], par)
	}
	t.Done(StepATOS)
}

func (u *Unit) atosShow(g *atosGroup, par uint64) {
	u.reg.Set(g.par, par)
	u.reg.ClearBits(g.ctrl, spec.AtosRUN.Mask())
}

// endATOS ends what is under way when SMMUEN becomes 0: what has not begun yet, since the update has waited for
// the rest (6.3.37).
func (u *Unit) endATOS() {
	for i := range atosGroups {
		if g := &atosGroups[i]; u.atosRuns(g) {
			u.atosShow(g, spec.ParFAULT.Mask()|spec.ParFAULTCODE.Put(spec.AtosIntErr))
		}
	}
}
