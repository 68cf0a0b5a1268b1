package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// streamTable is what the registers say of the stream table, 6.3.23 and 6.3.24.
type streamTable struct {
	base    emu.PA
	streams uint64 // StreamIDs that it has
	split   uint8  // of a two-level table; 0: linear
}

// setStreamTable follows a change of the registers. The base is aligned to the size of the table as
// LOG2SIZE says it, the StreamIDs are also bounded by SIDSIZE.
func (u *Unit) setStreamTable() {
	cfg := u.reg.Get(rStrtabCfg)
	log2 := uint8(spec.StrtabLog2.Of(cfg))
	s := streamTable{streams: uint64(1) << min(log2, u.cfg.SIDSIZE)}
	align := log2 + 6
	if u.cfg.STLevel == spec.STLevel2 && spec.StrtabFmt.Of(cfg) == spec.StrtabFmt2Lvl {
		s.split = uint8(spec.StrtabSplits[0])
		for _, v := range spec.StrtabSplits {
			if spec.StrtabSplit.Of(cfg) == v {
				s.split = uint8(v)
			}
		}
		align = 6
		if log2 > s.split {
			align = max(6, log2-s.split+3)
		}
	}
	s.base = emu.PA(u.reg.Get(rStrtabBase) & spec.StrtabAddr.Mask() &^ ones(align))
	u.streams = s
}

// stream finds the STE of the transaction, 3.3.1.
func (u *Unit) stream(t *emu.Txn) {
	if uint64(t.Req.Source) >= u.streams.streams {
		u.fault(t, FaultStreamRange, StepStream, 0)
		return
	}
	if t.Solo && !u.pm.on && u.cache.Entry != nil && u.s.MaxCONT == 0 {
		// A hit that nobody counts or could do something in the middle of needs no question.
		key := steKey(t.Req.Source)
		if e, h := u.cache.Entry.Find(&key); e != nil {
			u.cache.Entry.Touch(h)
			t.Res.Touched |= emu.CacheEntry.Set()
			*(*[4]uint64)(t.Entry[:4]) = *e
			u.steReady(t)
			return
		}
	}
	u.probeSTE(t)
}

// probeSTE looks into the STE cache.
func (u *Unit) probeSTE(t *emu.Txn) {
	if u.cache.Entry == nil {
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stSTEWalker)
		return
	}
	t.Probe(emu.CacheEntry, steKey(t.Req.Source), StepSTECache, stSTEProbed)
}

func (u *Unit) steProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.steCached(t, &t.In)
		return
	}
	if u.s.MaxCONT != 0 {
		u.neighbours(t, false)
		return
	}
	t.Acquire(emu.SlotEntry, steKey(t.Req.Source), StepSTEMiss, stSTESlot)
}

func (u *Unit) steSlot(t *emu.Txn) {
	switch {
	case t.Ans == emu.AnsMerged && !steIsL1.On(t.In[1]):
		u.steCached(t, &t.In)
	case t.Ans == emu.AnsMerged, t.Ans == emu.AnsRetry:
		u.probeSTE(t)
	default:
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stSTEWalker)
	}
}

// steCached uses value v of the STE cache.
func (u *Unit) steCached(t *emu.Txn, v *[4]uint64) {
	*(*[4]uint64)(t.Entry[:4]) = *v
	if u.s.MaxCONT != 0 {
		u.neighbours(t, true)
		return
	}
	u.steReady(t)
}

// fetchStream begins with the level 1 descriptor of a two-level table, or the STE of a linear one.
func (u *Unit) fetchStream(t *emu.Txn) {
	s := &u.streams
	if u.pm.on {
		u.counts(spec.PmcgConfigCacheMiss, t)
	}
	switch {
	case s.split == 0:
		u.fetchSTE(t, s.base+emu.PA(t.Req.Source)*spec.STESize)
	case u.cacheL1() && u.cache.Entry != nil:
		t.Probe(emu.CacheEntry, u.l1stdKey(t.Req.Source), StepSTECache, stL1STDProbed)
	default:
		u.fetchL1STD(t)
	}
}

func (u *Unit) cacheL1() bool { return u.cfg.CacheL1 }

func (u *Unit) l1stdKey(s emu.SourceID) emu.Key {
	return emu.Key{Tag: emu.MakeTag(ClassL1STD, 0, emu.NoPASID), Addr: uint64(s) &^ ones(u.streams.split)}
}

func (u *Unit) l1stdProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.useL1STD(t, spec.L1STD(t.In[0]))
		return
	}
	u.fetchL1STD(t)
}

func (u *Unit) fetchL1STD(t *emu.Txn) {
	t.At = u.streams.base + emu.PA(t.Req.Source>>u.streams.split)*spec.DescSize
	if uint64(t.At)>>u.lim.oas != 0 {
		u.fault(t, FaultL1STDFetch, StepL1STD, t.At)
		return
	}
	u.counts(spec.PmcgConfigStruct, t)
	t.Fetch(t.At, spec.DescSize, StepL1STD, stL1STD)
}

func (u *Unit) l1std(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultL1STDFetch, StepL1STD, t.At)
		return
	}
	if u.cacheL1() && u.cache.Entry != nil {
		t.Aux[3] = t.In[0]
		setFlag(t, auxHaveL1, true)
	}
	u.useL1STD(t, spec.L1STD(t.In[0]))
}

// useL1STD goes on with a level 1 descriptor. One without the STE is cached at once, others when the STE
// is: until then other transactions wait for that.
func (u *Unit) useL1STD(t *emu.Txn, d spec.L1STD) {
	split := u.streams.split
	index := uint64(t.Req.Source) & ones(split)
	if n := d.STEs(); n == 0 || n > 1<<split || index >= n {
		u.setFault(t, FaultSpan, StepL1STD, t.At)
		u.fillL1STD(t, stFaultFilled)
		return
	}
	u.fetchSTE(t, d.L2Ptr()+emu.PA(index)*spec.STESize)
}

// fillL1STD caches the level 1 descriptor in Aux[3] if it was just read, and goes on with next.
func (u *Unit) fillL1STD(t *emu.Txn, next uint16) {
	if !flag(t, auxHaveL1) {
		u.goOn(t, next)
		return
	}
	setFlag(t, auxHaveL1, false)
	t.Act.Data = [4]uint64{t.Aux[3], steIsL1.Mask()}
	t.Fill(emu.CacheEntry, u.l1stdKey(t.Req.Source), 0, 0, StepSTEFill, next)
}

// fetchSTE reads the STE word by word, or two words at a time: what a transaction makes of an STE that
// changes meanwhile is seen (3.21.3).
func (u *Unit) fetchSTE(t *emu.Txn, at emu.PA) {
	t.At = at
	if uint64(at)>>u.lim.oas != 0 {
		u.fault(t, FaultSTEFetch, StepSTE, at)
		return
	}
	u.counts(spec.PmcgConfigStruct, t)
	t.Fetch(at, u.cfg.FetchSize, StepSTE, stSTEWord)
}

// steWord takes a part of the STE; the last one completes it. Any STE is cached, invalid ones too.
func (u *Unit) steWord(t *emu.Txn) {
	at, size := t.Act.Addr, u.cfg.FetchSize
	if t.Ans == emu.AnsError {
		u.fault(t, FaultSTEFetch, StepSTE, at)
		return
	}
	i := (at - t.At) / 8 & 7
	t.Entry[i] = t.In[0]
	if size == 16 {
		t.Entry[i|1] = t.In[1]
	}
	if at += emu.PA(size); at < t.At+spec.STESize {
		t.FetchMore(at, size, StepSTE, stSTEWord)
		return
	}
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructDevice, t.At, t.Entry[:])
	}
	t.Entry[1] = t.Entry[1]&^steFlags.Mask() | u.steFlagsOf((*spec.STE)(&t.Entry))
	if u.cache.Entry == nil {
		u.steFilled(t)
		return
	}
	u.noteSpan(t)
	t.Act.Data = [4]uint64{t.Entry[0], t.Entry[1], t.Entry[2], t.Entry[3]}
	t.Fill(emu.CacheEntry, steKey(t.Req.Source), 0, u.vmid(t.Entry[2]), StepSTEFill, stSTEFilled)
}

func (u *Unit) steFilled(t *emu.Txn) { u.fillL1STD(t, stL1STDFilled) }

func (u *Unit) l1stdFilled(t *emu.Txn) { t.Release(emu.SlotWalker, StepWalker, stSTEReady) }
