package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// probeContext looks into the context-cache (both modes). A hit that nobody counts or could do something
// in the middle of needs no question.
func (u *Unit) probeContext(t *emu.Txn) {
	if u.cache.Entry == nil {
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stContextWalker)
		return
	}
	key := entryKey(t.Req.Source)
	if t.Solo && !u.slow {
		if e, h := u.cache.Entry.Find(&key); e != nil {
			u.cache.Entry.Touch(h)
			t.Res.Touched |= emu.CacheEntry.Set()
			u.contextCached(t, e)
			return
		}
	}
	t.Probe(emu.CacheEntry, key, StepContextCache, stContextProbed)
}

func (u *Unit) contextProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.contextCached(t, &t.In)
		return
	}
	t.Acquire(emu.SlotEntry, entryKey(t.Req.Source), StepContextMiss, stContextSlot)
}

func (u *Unit) contextSlot(t *emu.Txn) {
	switch t.Ans {
	case emu.AnsMerged:
		u.contextCached(t, &t.In)
	case emu.AnsRetry:
		u.probeContext(t)
	default:
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stContextWalker)
	}
}

// contextCached uses value v of the context-cache.
func (u *Unit) contextCached(t *emu.Txn, v *[4]uint64) {
	t.Entry[0], t.Entry[1], t.Ver = v[0], v[1], v[2]
	t.Aux[0] |= auxFPD.Put(spec.CtxFPD.Of(v[0]))
	if !valValid.On(v[3]) { // caching mode
		u.fault(t, uint16(valCode.Of(v[3])), StepContextCache, 0)
		return
	}
	u.contextReady(t)
}

// fetchRoot reads the root entry of the bus.
func (u *Unit) fetchRoot(t *emu.Txn) {
	t.At = emu.PA(t.Aux[1]) + emu.PA(t.Req.Source>>8&0xff)*16
	t.Fetch(t.At, 16, StepRoot, stRoot)
}

// rootEntry checks the root entry and reads the context entry of the function.
func (u *Unit) rootEntry(t *emu.Txn) {
	devfn := uint8(t.Req.Source)
	e := (*spec.RootEntry)(t.In[:2])
	sm := scalable(t)
	switch {
	case t.Ans == emu.AnsError:
		u.fault(t, code(t, FaultRootRead, FaultRootReadSM), StepRoot, t.At)
	case sm:
		p, table := e.Half(devfn)
		if !p {
			u.failContext(t, FaultRootAbsentSM, StepRoot)
		} else if e[devfn>>7]&u.lim.root != 0 {
			u.failContext(t, FaultRootReservedSM, StepRoot)
		} else {
			t.At = table + emu.PA(devfn&0x7f)*32
			t.Fetch(t.At, 16, StepContext, stSMContext0)
		}
	case !e.P():
		u.failContext(t, FaultRootAbsent, StepRoot)
	case e[0]&u.lim.root != 0 || e[1] != 0:
		u.failContext(t, FaultRootReserved, StepRoot)
	default:
		t.At = e.CTP() + emu.PA(devfn)*16
		t.Fetch(t.At, 16, StepContext, stContext)
	}
}

// contextEntry checks a legacy context entry.
func (u *Unit) contextEntry(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultContextRead, StepContext, t.At)
		return
	}
	t.Entry[0], t.Entry[1] = t.In[0], t.In[1]
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructDevice, t.At, t.Entry[:2])
	}
	e := (*spec.ContextEntry)(t.Entry[:2])
	t.Aux[0] |= auxFPD.PutBool(e.FPD())
	if c := u.checkContext(e); c != 0 {
		u.failContext(t, c, StepContext)
		return
	}
	u.fillContext(t, uint32(e.DID()))
}

// checkContext returns the fault of an entry, or 0.
func (u *Unit) checkContext(e *spec.ContextEntry) uint16 {
	tt := e.TT()
	rsvd := e[0]&u.lim.ctx[0] | e[1]&u.lim.ctx[1]
	if tt != spec.TTPassThrough {
		rsvd |= e[0] & spec.CtxSSPTPTR.Mask() & u.lim.hawMask
	}
	switch {
	case !e.P():
		return FaultContextAbsent
	case rsvd != 0:
		return FaultContextReserved
	case tt == spec.TTAll && !u.cfg.DT, tt == spec.TTPassThrough && !u.cfg.PT, tt > spec.TTPassThrough:
		return FaultContextInvalid
	case u.lim.width[e.AW()] == 0:
		return FaultContextInvalid
	case tt == spec.TTPassThrough && e.AW() != u.lim.maxAW:
		return FaultWidth
	}
	return 0
}

// fillContext puts the entry into the context-cache, which ends the miss status.
func (u *Unit) fillContext(t *emu.Txn, did uint32) {
	t.Ver = ContextVersion(t.Entry[:2])
	if u.cache.Entry == nil {
		u.contextFilled(t)
		return
	}
	t.Act.Data = [4]uint64{t.Entry[0], t.Entry[1], t.Ver, valValid.Mask()}
	t.Fill(emu.CacheEntry, entryKey(t.Req.Source), 0, did, StepContextFill, stContextFilled)
}

func (u *Unit) contextFilled(t *emu.Txn) {
	t.Release(emu.SlotWalker, StepWalker, stContextReady)
}

// failContext ends the request with the fault of a root or context entry that was read. In caching
// mode the entry is cached all the same (6.1), without a domain unless it is present.
func (u *Unit) failContext(t *emu.Txn, c uint16, step emu.Step) {
	u.setFault(t, c, step, t.At)
	if !u.cfg.CM || u.cache.Entry == nil {
		u.raise(t)
		return
	}
	var did uint32
	if step == StepContext && !scalable(t) && spec.CtxP.On(t.Entry[0]) {
		did = uint32(spec.CtxDID.Of(t.Entry[1]))
	}
	if step == StepRoot {
		t.Entry[0], t.Entry[1] = 0, 0
	}
	t.Act.Data = [4]uint64{t.Entry[0], t.Entry[1], 0, valCode.Put(uint64(c))}
	t.Fill(emu.CacheEntry, entryKey(t.Req.Source), 0, did, StepContextFill, stFaultFilled)
}

// contextReady goes on with a valid context entry in t.Entry and, as if it were a legacy one, its version
// in t.Ver.
func (u *Unit) contextReady(t *emu.Txn) {
	if scalable(t) {
		u.smRequest(t)
		return
	}
	e := (*spec.ContextEntry)(t.Entry[:2])
	class := ClassSS
	if e.TT() == spec.TTPassThrough {
		class = ClassPT
	}
	settled(t, class, e.DID(), emu.NoPASID, t.Ver)
	switch {
	case t.Req.Type != emu.Untranslated && e.TT() != spec.TTAll:
		u.fault(t, FaultBlockedATS, StepRequestCheck, 0)
	case t.Req.Type == emu.Translated:
		u.translated(t)
	case e.TT() == spec.TTPassThrough:
		u.passThrough(t)
	default:
		u.secondStage(t, e.AW())
	}
}
