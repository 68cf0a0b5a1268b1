package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// context finds the CD of the transaction, 3.3.2.
func (u *Unit) context(t *emu.Txn, index uint64) {
	if u.cache.PASID == nil {
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stCDWalker)
		return
	}
	key := cdKey(t.Req.Source, index)
	if t.Solo && !u.pm.on { // as in stream
		if e, h := u.cache.PASID.Find(&key); e != nil {
			u.cache.PASID.Touch(h)
			t.Res.Touched |= emu.CachePASID.Set()
			u.takeCD(t, e)
			u.cdReady(t)
			return
		}
	}
	t.Probe(emu.CachePASID, key, StepCDCache, stCDProbed)
}

func cdIndex(t *emu.Txn) uint64 { return auxIndex.Of(t.Aux[0]) }

func (u *Unit) cdProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.cdCached(t, &t.In)
		return
	}
	t.Acquire(emu.SlotPASID, cdKey(t.Req.Source, cdIndex(t)), StepCDMiss, stCDSlot)
}

func (u *Unit) cdSlot(t *emu.Txn) {
	switch {
	case t.Ans == emu.AnsMerged && !cdIsL1.On(t.In[1]):
		u.cdCached(t, &t.In)
	case t.Ans == emu.AnsMerged, t.Ans == emu.AnsRetry:
		u.context(t, cdIndex(t))
	default:
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stCDWalker)
	}
}

// cdCached uses value v of the CD cache.
func (u *Unit) cdCached(t *emu.Txn, v *[4]uint64) {
	u.takeCD(t, v)
	u.cdReady(t)
}

// takeCD takes value v of the CD cache.
func (u *Unit) takeCD(t *emu.Txn, v *[4]uint64) {
	*(*[4]uint64)(t.Entry[4:]) = *v
	t.At = 0
	u.cachedMAIR(t)
}

// cdSplit returns how many bits of a SubstreamID the leaves of the stream's CD table index, 0 for a
// linear table or a single CD.
func (u *Unit) cdSplit(w0 uint64) uint {
	if u.cfg.SSIDSIZE == 0 || spec.SteS1CDMax.Of(w0) == 0 {
		return 0
	}
	return spec.CDSplit(spec.SteS1Fmt.Of(w0))
}

// contextTable aligns S1ContextPtr to the size of what it points to.
func (u *Unit) contextTable(w0 uint64) uint64 {
	max, lg2 := uint(spec.SteS1CDMax.Of(w0)), uint(6)
	if u.cfg.SSIDSIZE == 0 {
		max = 0
	}
	if split := u.cdSplit(w0); split == 0 {
		lg2 += max
	} else if max > split {
		lg2 = 3 + max - split
	}
	return w0 & spec.SteS1Context.Mask() &^ ones(uint8(lg2))
}

// fetchContext begins with the level 1 descriptor of a two-level CD table, or the CD of a linear one.
func (u *Unit) fetchContext(t *emu.Txn) {
	w0, index := t.Entry[0], cdIndex(t)
	if t.At == 0 { // else the STE was missing too
		u.counts(spec.PmcgConfigCacheMiss, t)
	}
	table := u.contextTable(w0)
	split := u.cdSplit(w0)
	if split == 0 {
		u.resolve(t, table+index*spec.CDSize, emu.Read<<priv, retCD)
		return
	}
	if u.cacheL1() && u.cache.PASID != nil {
		t.Probe(emu.CachePASID, u.l1cdKey(t), StepCDCache, stL1CDProbed)
		return
	}
	u.fetchL1CD(t)
}

// l1cdKey is the key of a level 1 descriptor: the index of the first CD below it.
func (u *Unit) l1cdKey(t *emu.Txn) emu.Key {
	first := cdIndex(t) &^ ones(uint8(u.cdSplit(t.Entry[0])))
	return emu.Key{Tag: emu.MakeTag(ClassL1CD, 0, emu.PASID(first)), Addr: uint64(t.Req.Source)}
}

func (u *Unit) l1cdProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.useL1CD(t, t.In[0])
		return
	}
	u.fetchL1CD(t)
}

func (u *Unit) fetchL1CD(t *emu.Txn) {
	w0 := t.Entry[0]
	u.resolve(t, u.contextTable(w0)+cdIndex(t)>>u.cdSplit(w0)*spec.DescSize, emu.Read<<priv, retL1CD)
}

func (u *Unit) l1cd(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultL1CDFetch, StepL1CD, t.At)
		return
	}
	if u.cacheL1() && u.cache.PASID != nil {
		t.Aux[3] = t.In[0]
		setFlag(t, auxHaveL1, true)
	}
	u.useL1CD(t, t.In[0])
}

// useL1CD goes on with a level 1 descriptor, which is cached as useL1STD does it.
func (u *Unit) useL1CD(t *emu.Txn, d uint64) {
	leaf := d & spec.L1cdL2Ptr.Mask()
	split := u.cdSplit(t.Entry[0])
	leaf &^= ones(uint8(split) + 6)
	c := uint16(0)
	switch {
	case !spec.L1cdV.On(d):
		c = FaultL1CDInvalid
	case u.cfg.Minor >= 1 && leaf>>u.lim.oas != 0:
		c = FaultL1CDPointer
	}
	if c != 0 {
		u.setFault(t, c, StepL1CD, t.At)
		u.fillL1CD(t, stFaultFilled)
		return
	}
	index := cdIndex(t) & ones(uint8(split))
	u.resolve(t, leaf+index*spec.CDSize, emu.Read<<priv, retCD)
}

func (u *Unit) fillL1CD(t *emu.Txn, next uint16) {
	if !flag(t, auxHaveL1) {
		u.goOn(t, next)
		return
	}
	setFlag(t, auxHaveL1, false)
	t.Act.Data = [4]uint64{t.Aux[3], cdIsL1.Mask()}
	t.Fill(emu.CachePASID, u.l1cdKey(t), 0, u.vmid(t.Entry[2]), StepCDFill, next)
}

// fetchL1CDAt reads the level 1 descriptor at the address that stage 2 has found.
func (u *Unit) fetchL1CDAt(t *emu.Txn, at emu.PA) {
	t.At = at
	if uint64(at)>>u.lim.oas != 0 {
		u.fault(t, FaultL1CDFetch, StepL1CD, at)
		return
	}
	u.counts(spec.PmcgConfigStruct, t)
	t.Fetch(at, spec.DescSize, StepL1CD, stL1CD)
}

// fetchCDAt reads the CD at the address that stage 2 has found.
func (u *Unit) fetchCDAt(t *emu.Txn, at emu.PA) {
	t.At = at
	if uint64(at)>>u.lim.oas != 0 {
		u.fault(t, FaultCDFetch, StepCD, at)
		return
	}
	u.counts(spec.PmcgConfigStruct, t)
	t.Fetch(at, u.cfg.FetchSize, StepCD, stCDWord)
}

// cdWord takes a part of the CD as steWord does of the STE.
func (u *Unit) cdWord(t *emu.Txn) {
	at, size := t.Act.Addr, u.cfg.FetchSize
	if t.Ans == emu.AnsError {
		u.fault(t, FaultCDFetch, StepCD, at)
		return
	}
	i := uint64(at-t.At) / 8 & 7
	keepCD(t, i, t.In[0])
	if size == 16 {
		keepCD(t, i|1, t.In[1])
	}
	if at += emu.PA(size); at < t.At+spec.CDSize {
		t.FetchMore(at, size, StepCD, stCDWord)
		return
	}
	f := &t.Frame[0]
	if u.obs != nil {
		words := [8]uint64{t.Entry[4], t.Entry[5], t.Entry[6], t.Entry[7], uint64(f.Table), f.In, f.Entry, uint64(f.At)}
		u.obs.Assembled(t, emu.StructPASID, t.At, words[:])
	}
	t.Entry[5] = t.Entry[5]&^cdFlags.Mask() | cdIllegal.PutBool(u.illegalCD(t))
	keep := u.readMAIR(t)
	t.Entry[7] = cdVersion(cdOf(t))
	if u.cache.PASID == nil || !keep {
		u.cdFilled(t)
		return
	}
	t.Act.Data = [4]uint64{t.Entry[4], t.Entry[5], t.Entry[6], t.Entry[7]}
	t.Fill(emu.CachePASID, cdKey(t.Req.Source, cdIndex(t)), 0, u.vmid(t.Entry[2]), StepCDFill, stCDFilled)
}

// keepCD keeps word i of the CD that is being read.
func keepCD(t *emu.Txn, i, v uint64) {
	f := &t.Frame[0]
	switch i {
	case 4:
		f.Table = emu.PA(v)
	case 5:
		f.In = v
	case 6:
		f.Entry = v
	case 7:
		f.At = emu.PA(v)
	default:
		t.Entry[4+i] = v
	}
}

func (u *Unit) cdFilled(t *emu.Txn) { u.fillL1CD(t, stL1CDFilled) }

func (u *Unit) l1cdFilled(t *emu.Txn) { t.Release(emu.SlotWalker, StepWalker, stCDReady) }
