package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// smContextChunk0 takes the first half of a scalable context entry and reads the second.
func (u *Unit) smContextChunk0(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultContextReadSM, StepContext, t.At)
		return
	}
	t.Entry[0], t.Entry[1] = t.In[0], t.In[1]
	t.FetchMore(t.At+16, 16, StepContext, stSMContext1)
}

// smContextChunk1 checks the assembled scalable context entry.
func (u *Unit) smContextChunk1(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultContextReadSM, StepContext, t.At)
		return
	}
	t.Entry[2], t.Entry[3] = t.In[0], t.In[1]
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructDevice, t.At, t.Entry[:4])
	}
	e := (*spec.SMContextEntry)(t.Entry[:4])
	t.Aux[0] |= auxFPD.PutBool(e.FPD())
	if c := u.checkSMContext(e); c != 0 {
		u.failContext(t, c, StepContext)
		return
	}
	u.fillContext(t, 0)
}

// checkSMContext returns the fault of an entry, or 0 (9.4, table 30).
func (u *Unit) checkSMContext(e *spec.SMContextEntry) uint16 {
	rid, _ := u.ridPASID(e)
	switch {
	case !e.P():
		return FaultContextAbsentSM
	case e[0]&u.lim.smctx[0]|e[1]&u.lim.smctx[1]|e[2]|e[3] != 0:
		return FaultContextReservedSM
	case e.PRE() && !e.DTE(), uint64(rid) >= dirTop(e), e.EPTR() && !e.PASIDE():
		return FaultContextInvalidSM
	}
	return 0
}

// dirTop is the first PASID beyond the directory.
func dirTop(e *spec.SMContextEntry) uint64 { return 1 << (e.PDTS() + 13) }

// ridPASID returns the PASID of requests without one, and whether they are privileged.
func (u *Unit) ridPASID(e *spec.SMContextEntry) (p emu.PASID, priv bool) {
	w := e[1] & u.lim.rid
	return emu.PASID(w) & emu.MaxPASID, spec.SMCtxRIDPRIV.On(w) // RID_PASID is at the lower end
}

// smRequest checks the request against its context entry and finds the PASID, 3.4.3, table 30.
func (u *Unit) smRequest(t *emu.Txn) {
	q := &t.Req
	e := (*spec.SMContextEntry)(t.Entry[:4])
	p, priv, c := u.smPASID(q, e)
	switch {
	case (q.Type == emu.TranslationReq || q.Type == emu.Translated) && !e.DTE():
		c = FaultBlockedATSSM
	case q.Type == emu.PageRequest && !e.PRE():
		c = FaultBlockedPRS
	}
	if c != 0 {
		u.fault(t, c, StepRequestCheck, 0)
		return
	}
	if q.Type == emu.Translated {
		u.translated(t)
		return
	}
	t.Aux[0] |= auxPASID.Put(uint64(p)) | auxPriv.PutBool(priv)
	t.Aux[1] = uint64(e.PASIDDIRPTR())
	u.probePASID(t)
}

// smPASID returns the PASID that q uses and whether it is privileged, or the fault of a PASID that it
// may not use.
func (u *Unit) smPASID(q *emu.Request, e *spec.SMContextEntry) (p emu.PASID, priv bool, c uint16) {
	rid, priv := u.ridPASID(e)
	if p = q.PASID; p == emu.NoPASID {
		return rid, priv, 0
	}
	switch {
	case q.Type == emu.Translated && !e.EPTR():
		c = FaultNoEPTR
	case !e.PASIDE():
		c = FaultBlockedPASID
	case uint64(p) >= dirTop(e), q.Type == emu.PageRequest && uint64(p) >= u.lim.pasidTop:
		c = FaultPASIDRange
	case p == rid:
		c = FaultRIDPASID
	case uint64(p) >= u.lim.pasidTop:
		c = FaultPASIDSize
	}
	return p, q.Access&emu.Priv != 0, c
}

func pasidOf(t *emu.Txn) emu.PASID { return emu.PASID(auxPASID.Of(t.Aux[0])) }

// probePASID looks into the PASID-cache, as probeContext does into the context-cache.
func (u *Unit) probePASID(t *emu.Txn) {
	if u.cache.PASID == nil {
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stPASIDWalker)
		return
	}
	key := pasidKey(t.Req.Source, pasidOf(t))
	if t.Solo && !u.slow {
		if e, h := u.cache.PASID.Find(&key); e != nil {
			u.cache.PASID.Touch(h)
			t.Res.Touched |= emu.CachePASID.Set()
			u.pasidCached(t, e)
			return
		}
	}
	t.Probe(emu.CachePASID, key, StepPASIDCache, stPASIDProbed)
}

func (u *Unit) pasidProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.pasidCached(t, &t.In)
		return
	}
	t.Acquire(emu.SlotPASID, pasidKey(t.Req.Source, pasidOf(t)), StepPASIDMiss, stPASIDSlot)
}

func (u *Unit) pasidSlot(t *emu.Txn) {
	switch t.Ans {
	case emu.AnsMerged:
		u.pasidCached(t, &t.In)
	case emu.AnsRetry:
		u.probePASID(t)
	default:
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stPASIDWalker)
	}
}

// pasidCached uses value v of the PASID-cache.
func (u *Unit) pasidCached(t *emu.Txn, v *[4]uint64) {
	flags := v[1] >> 32
	t.Entry[0], t.Entry[1], t.Entry[2], t.Ver = v[0], v[1], v[2], v[3]
	t.Aux[0] |= auxFPD.Put(spec.PasidFPD.Of(v[0]) | valDirFPD.Of(flags))
	if !valValid.On(flags) { // caching mode
		u.fault(t, uint16(valCode.Of(flags)), StepPASIDCache, 0)
		return
	}
	u.pasidReady(t)
}

// fetchPASIDDir reads the directory entry.
func (u *Unit) fetchPASIDDir(t *emu.Txn) {
	t.At = emu.PA(t.Aux[1]) + emu.PA(pasidOf(t)>>6)*8
	t.Fetch(t.At, 8, StepPASIDDir, stPASIDDir)
}

// pasidDirEntry checks the directory entry and reads the table entry.
func (u *Unit) pasidDirEntry(t *emu.Txn) {
	e := spec.PASIDDirEntry(t.In[0])
	if t.Ans == emu.AnsError {
		u.fault(t, FaultPASIDDirRead, StepPASIDDir, t.At)
		return
	}
	if e.FPD() {
		t.Aux[0] |= auxFPD.Mask() | auxDirFPD.Mask()
	}
	switch {
	case !e.P():
		u.failPASID(t, FaultPASIDDirAbsent, StepPASIDDir)
	case uint64(e)&u.lim.dir != 0:
		u.failPASID(t, FaultPASIDDirReserved, StepPASIDDir)
	default:
		t.At = e.SMPTBLPTR() + emu.PA(pasidOf(t)&63)*64
		t.Fetch(t.At, 16, StepPASIDEntry, stPASID0)
	}
}

// pasidChunk takes one of the four 16-byte parts of a PASID table entry; the last one completes it.
func (u *Unit) pasidChunk(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultPASIDRead, StepPASIDEntry, t.At)
		return
	}
	i := t.State - stPASID0
	t.Entry[2*i], t.Entry[2*i+1] = t.In[0], t.In[1]
	if i < 3 {
		t.FetchMore(t.At+emu.PA(i+1)*16, 16, StepPASIDEntry, t.State+1)
		return
	}
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructPASID, t.At, t.Entry[:8])
	}
	e := (*spec.PASIDEntry)(&t.Entry)
	t.Aux[0] |= auxFPD.PutBool(e.FPD())
	if c := u.checkPASID(e); c != 0 {
		u.failPASID(t, c, StepPASIDEntry)
		return
	}
	u.fillPASID(t, uint32(e.DID()))
}

// checkPASID returns the fault of an entry, or 0.
func (u *Unit) checkPASID(e *spec.PASIDEntry) uint16 {
	l := &u.lim
	pgtt := e.PGTT()
	rsvd := e[0]&l.pasid[0] | e[1]&l.pasid[1] | e[2]&l.pasid[2] | e[3] | e[4] | e[5] | e[6] | e[7]
	switch pgtt {
	case spec.PGTTSecond, spec.PGTTNested:
		rsvd |= e[0] & spec.PasidSSPTPTR.Mask() & l.hawMask
	case spec.PGTTFirst:
		rsvd |= e[2] & spec.PasidFSPTPTR.Mask() & l.hawMask
	}
	width := l.width[e.AW()] != 0
	mode := e.FSPM() == spec.FSPM4 || e.FSPM() == spec.FSPM5 && u.cfg.FS5LP
	switch {
	case !e.P():
		return FaultPASIDAbsent
	case rsvd != 0:
		return FaultPASIDReserved
	case pgtt == spec.PGTTFirst && u.cfg.FSTS && mode,
		pgtt == spec.PGTTSecond && u.cfg.SSTS && width,
		pgtt == spec.PGTTNested && u.cfg.NEST && mode && width && e.FSPTPTR()>>l.width[e.AW()] == 0,
		pgtt == spec.PGTTPassThrough && u.cfg.PT:
		return 0
	}
	return FaultPASIDInvalid
}

// fillPASID puts the entry into the PASID-cache, which ends the miss status.
func (u *Unit) fillPASID(t *emu.Txn, did uint32) {
	t.Ver = PASIDVersion(t.Entry[:3])
	if u.cache.PASID == nil {
		u.pasidFilled(t)
		return
	}
	pasidValue(t, valValid.Mask())
	t.Fill(emu.CachePASID, pasidKey(t.Req.Source, pasidOf(t)), 0, did, StepPASIDFill, stPASIDFilled)
}

// pasidValue makes the value for the PASID-cache of the entry, of its FPD on the way and of further
// flags. The upper half of the second word makes room: PAT steers nothing here.
func pasidValue(t *emu.Txn, flags uint64) {
	flags |= valDirFPD.Put(auxDirFPD.Of(t.Aux[0]))
	t.Act.Data = [4]uint64{t.Entry[0], t.Entry[1]&reg.Ones(32) | flags<<32, t.Entry[2], t.Ver}
}

func (u *Unit) pasidFilled(t *emu.Txn) {
	t.Release(emu.SlotWalker, StepWalker, stPASIDReady)
}

// failPASID is failContext for PASID directory and table entries.
func (u *Unit) failPASID(t *emu.Txn, c uint16, step emu.Step) {
	u.setFault(t, c, step, t.At)
	if !u.cfg.CM || u.cache.PASID == nil {
		u.raise(t)
		return
	}
	var did uint32
	if step == StepPASIDDir {
		t.Entry = [8]uint64{}
	} else if spec.PasidP.On(t.Entry[0]) {
		did = uint32(spec.PasidDID.Of(t.Entry[1]))
	}
	pasidValue(t, valCode.Put(uint64(c)))
	t.Fill(emu.CachePASID, pasidKey(t.Req.Source, pasidOf(t)), 0, did, StepPASIDFill, stFaultFilled)
}

// pasidReady goes on with a valid PASID entry in t.Entry and its version in t.Ver.
func (u *Unit) pasidReady(t *emu.Txn) {
	e := (*spec.PASIDEntry)(&t.Entry)
	class, p := ClassSS, emu.NoPASID
	if c := pgttClass[e.PGTT()]; c != ClassSS {
		class, p = c, pasidOf(t)
	}
	settled(t, class, e.DID(), p, t.Ver)
	if class == ClassNested {
		t.Classes = 1 << ClassSS
	}
	t.Aux[0] |= auxSSEE.PutBool(spec.PasidSSEE.On(t.Entry[0]))
	switch {
	case t.Req.Type == emu.PageRequest:
		u.pageRequest(t)
	case t.Req.PASID != emu.NoPASID && t.Req.Access&emu.Exec != 0 && !e.ERE():
		u.fault(t, FaultExecDisabled, StepRequestCheck, 0)
	case auxPriv.On(t.Aux[0]) && !e.SRE():
		u.fault(t, FaultPrivDisabled, StepRequestCheck, 0)
	case e.PGTT() == spec.PGTTPassThrough:
		u.passThrough(t)
	case e.PGTT() == spec.PGTTSecond:
		u.secondStage(t, e.AW())
	default:
		u.firstStage(t)
	}
}

// pgttClass is the class of what is translated by an entry of each type.
var pgttClass = [8]emu.Class{
	spec.PGTTFirst: ClassFS, spec.PGTTSecond: ClassSS, spec.PGTTNested: ClassNested, spec.PGTTPassThrough: ClassPT,
}
