package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Txn.Aux of a translation:
//
//	Aux[0]  flags, see below
//	Aux[1]  version of stage 1 and configuration that goes with the translation found
//	Aux[2]  the same of stage 2
//	Aux[3]  a level 1 descriptor that is still to be cached; then MAIR, if stage 1 translates; what follows the
//	        writing of a record (event.go)
//
// Txn.Entry holds the first four words of the STE, then the first three of the CD; in words 4 to 7 an
// event record. Words 4 to 7 of a CD that is being read are in Frame[0]; MAIR is in Frame[0].Entry when it was.
const (
	auxS1       reg.Bits = 0_000  // stage 1 translates
	auxS2       reg.Bits = 1_001  // stage 2 translates
	auxOnBehalf reg.Bits = 2_002  // the stage 2 walk under way is for an address that stage 1 needs: Frame[1]
	auxFault2   reg.Bits = 3_003  // the fault is one of stage 2
	auxPriv     reg.Bits = 4_004  // the transaction is privileged, after overrides
	auxInst     reg.Bits = 5_005  // it is an instruction fetch, after overrides
	auxUpper    reg.Bits = 6_006  // its address is in the upper half
	auxHaveL1   reg.Bits = 7_007  // Aux[3] is to be cached
	auxGlobal   reg.Bits = 8_008  // the IOTLB was asked for a global translation
	auxWorld    reg.Bits = 10_009 // StreamWorld of stage 1
	auxOnlyS1   reg.Bits = 13_013 // ATOS: only stage 1 is asked for, of both
	auxPassive  reg.Bits = 14_014 // ATOS: flags of descriptors stay as they are
	auxClass    reg.Bits = 12_011 // why stage 2 translates: spec.ClassCD, ClassTT, ClassIN
	auxBrief    reg.Bits = 15_015 // stage 2 of the output is a block that must not be kept
	auxNeed     reg.Bits = 21_016 // rights that stage 2 must grant
	auxReg1     reg.Bits = 31_024 // regime of stage 1
	auxReg2     reg.Bits = 39_032 // of stage 2
	auxIndex    reg.Bits = 59_040 // index of the CD
	auxOwn      reg.Bits = 62_060 // rights that the transaction itself must find, of its privilege
)

// StreamWorlds, 3.3.4: whose translations stage 1 makes.
const (
	worldEL1 = iota
	worldEL2
	worldE2H
)

func flag(t *emu.Txn, b reg.Bits) bool { return b.On(t.Aux[0]) }

func setFlag(t *emu.Txn, b reg.Bits, v bool) { t.Aux[0] = t.Aux[0]&^b.Mask() | b.PutBool(v) }

func setAux(t *emu.Txn, b reg.Bits, v uint64) { t.Aux[0] = t.Aux[0]&^b.Mask() | b.Put(v) }

func world(t *emu.Txn) uint64 { return auxWorld.Of(t.Aux[0]) }

func reg1(t *emu.Txn) regime { return regime(auxReg1.Of(t.Aux[0])) }
func reg2(t *emu.Txn) regime { return regime(auxReg2.Of(t.Aux[0])) }

// cdOf returns the words of the CD that are kept.
func cdOf(t *emu.Txn) *[3]uint64 { return (*[3]uint64)(t.Entry[4:7]) }

// frontEnd decides what kind of transaction this is, 3.3.
func (u *Unit) frontEnd(t *emu.Txn) {
	if u.pm.on {
		u.countsArrival(t)
	}
	if u.lim.refuses && u.refused(t) {
		return
	}
	if !u.on {
		u.off(t)
		return
	}
	t.Known, t.Classes = emu.KnownLive, structClasses
	switch t.Req.Type {
	case emu.PageRequest:
		u.pageRequest(t)
		return
	case emu.Translated:
		if !spec.Cr0ATSCHK.On(u.ack) {
			u.passTranslated(t)
			return
		}
	}
	u.stream(t)
}

// off answers while SMMUEN=0, 6.3.14.
func (u *Unit) off(t *emu.Txn) {
	switch q := &t.Req; {
	case q.Type == emu.PageRequest:
		u.pageRequest(t)
	case q.Type == emu.TranslationReq:
		u.fault(t, FaultATSOff, StepFrontEnd, 0)
	case q.Type == emu.Translated:
		u.fault(t, FaultForbiddenOff, StepFrontEnd, 0)
	case spec.GbpaABORT.On(u.s.GBPA):
		u.fault(t, FaultGBPA, StepFrontEnd, 0)
	case uint64(q.Addr)>>u.lim.oas != 0:
		u.fault(t, FaultBypassSize, StepFrontEnd, 0)
	default:
		pass(q, &t.Res)
		u.globalAttr(&t.Res)
		t.Done(StepFrontEnd)
	}
}

// pass is the result of a transaction whose address is not changed, nor its attributes.
func pass(q *emu.Request, r *emu.Result) {
	r.Status, r.PA, r.Lg2, r.Perm, r.Attr = emu.OK, emu.PA(q.Addr), 64, emu.RW|q.Access&emu.Exec, uint16(incoming)
}

// rights6 are rights of unprivileged accesses, and shifted by 3 those of privileged ones.
const (
	unpriv = 0
	priv   = 3
)

// need returns the rights that a transaction must find: those of its data, as instruction fetch or not. A
// translation request is content with any right, a prefetch with none.
func need(q *emu.Request, inst bool) emu.Access {
	switch {
	case q.Type == emu.TranslationReq, q.Type > emu.Job:
		return 0
	case q.Access&emu.Atomic != 0:
		return emu.RW
	case q.Access&emu.Write != 0:
		return q.Access & emu.RW
	case inst:
		return emu.Exec
	}
	return emu.Read
}

// needs returns the rights that a transaction with flags aux must find, for its privilege.
func needs(aux uint64) emu.Access { return emu.Access(auxOwn.Of(aux) << (auxPriv.Of(aux) * priv)) }

// access returns the flags that say what a transaction accesses memory as.
func access(q *emu.Request, isPriv, inst bool) uint64 {
	return auxPriv.PutBool(isPriv) | auxInst.PutBool(inst) | auxOwn.Put(uint64(need(q, inst)))
}

// accesses has access of transactions that no STE overrides, by Access without what is not theirs.
var accesses = func() (all [32]uint64) {
	for a := range emu.Access(32) {
		q := emu.Request{Access: a}
		all[a] = access(&q, a&emu.Priv != 0, a&emu.Exec != 0 && !writes(&q))
	}
	return all
}()

// flags returns Aux[0] of a transaction under an STE that lets it pass, or the fault of its SubstreamID.
func (u *Unit) flags(q *emu.Request, w0, w1 uint64) (aux uint64, fault uint16) {
	if q.PASID == emu.NoPASID && q.Type == emu.Untranslated &&
		w0&spec.SteS1CDMax.Mask()|w1&(spec.StePRIVCFG.Mask()|spec.SteINSTCFG.Mask()|spec.SteSTRW.Mask()) == 0 {
		return spec.SteConfig.Of(w0)&(auxS1.Mask()|auxS2.Mask()) | auxReg2.Put(steReg2.Of(w1)) | accesses[q.Access&31], 0
	}
	return u.moreFlags(q, w0, w1)
}

// moreFlags is flags where SubstreamIDs, overrides or StreamWorlds count.
func (u *Unit) moreFlags(q *emu.Request, w0, w1 uint64) (aux uint64, fault uint16) {
	index, s1, c := u.substream(q, w0, w1)
	isPriv, inst := u.attributes(q, w1)
	return auxS1.PutBool(s1) | spec.SteConfig.Of(w0)&auxS2.Mask() | auxReg2.Put(steReg2.Of(w1)) | access(q, isPriv, inst) |
		auxIndex.Put(index) | auxWorld.Put(u.streamWorld(w0, w1)), c
}

// writes reports whether q writes.
func writes(q *emu.Request) bool { return q.Access&(emu.Write|emu.Atomic) != 0 }

// attributes returns privilege and instruction marking of a transaction under an STE, 3.3.4 and 5.2
// (PRIVCFG, INSTCFG). Writes are always data.
func (u *Unit) attributes(q *emu.Request, w1 uint64) (isPriv, inst bool) {
	isPriv, inst = q.Access&emu.Priv != 0, q.Access&emu.Exec != 0
	if q.Type != emu.Untranslated && q.PASID == emu.NoPASID {
		isPriv = false
	}
	if q.Type != emu.Untranslated && (q.Type == emu.TranslationReq || q.PASID == emu.NoPASID) {
		inst = false
	}
	if u.cfg.AttrPermsOvr {
		switch spec.StePRIVCFG.Of(w1) {
		case spec.PrivUser:
			isPriv = false
		case spec.PrivPriv:
			isPriv = true
		}
		switch spec.SteINSTCFG.Of(w1) {
		case spec.InstData:
			inst = false
		case spec.InstInst:
			inst = true
		}
	}
	return isPriv, inst && !writes(q)
}

// streamWorld returns the StreamWorld of stage 1 under an STE.
func (u *Unit) streamWorld(w0, w1 uint64) uint64 {
	if spec.SteConfig.Of(w0) != spec.ConfigS1 || !u.cfg.HYP || spec.SteSTRW.Of(w1) != spec.STRWEL2 {
		return worldEL1
	}
	if u.e2h {
		return worldE2H
	}
	return worldEL2
}

// vmid returns the VMID that translations under an STE are tagged with.
func (u *Unit) vmid(w2 uint64) uint32 {
	if !u.cfg.S2P {
		return 0
	}
	return uint32(spec.SteS2VMID.Of(w2))
}

// s1Tag returns the tag of stage 1 translations, 3.17.
func (u *Unit) s1Tag(world, w2, cd0 uint64) emu.Tag {
	asid := emu.PASID(spec.CdASID.Of(cd0))
	switch world {
	case worldEL2:
		return emu.MakeTag(ClassEL2, 0, emu.NoPASID)
	case worldE2H:
		return emu.MakeTag(ClassE2H, 0, asid)
	}
	return emu.MakeTag(ClassEL1, u.vmid(w2), asid)
}

// globalTag returns the tag that global translations of the same regime have, and false if there are
// none.
func globalTag(tag emu.Tag) (emu.Tag, bool) {
	switch tag.Class() {
	case ClassEL1:
		return emu.MakeTag(ClassEL1Global, tag.Domain(), emu.NoPASID), true
	case ClassE2H:
		return emu.MakeTag(ClassE2HGlobal, 0, emu.NoPASID), true
	}
	return tag, false
}

// globalClasses are the classes of global translations that a walk under a class may make.
func globalClasses(c emu.Class) uint32 {
	switch c {
	case ClassEL1:
		return 1 << ClassEL1Global
	case ClassE2H:
		return 1 << ClassE2HGlobal
	}
	return 0
}
