package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// TLB conflicts, 3.20.1 and 3.21.1: software has changed the size of a translation without making the tables
// invalid in between. Below BBML 2 a look-up that then finds two sizes, or a translation and a table that divides
// what it covers, is a conflict. What Contiguous joins is of one size with the rest of its level at BBML 1, and a
// block with nT is not kept.

// conflicts reports whether the unit sees conflicts at all.
func (c *Config) conflicts() bool { return c.BBML < spec.MaxBBML }

// mayConflict reports whether something else may cover what a translation of 2^lg2 bytes in the IOTLB covers: such
// sizes have been filled, or there are caches of such tables.
func (u *Unit) mayConflict(lg2 uint8) bool { return u.s.Sizes>>(lg2&63) > 1 || u.lim.divides(0, lg2) }

// overlapped reports whether anything else does, for a look-up that asks no questions.
func (u *Unit) overlapped(key *emu.Key, lg2 uint8) bool {
	return u.mayConflict(lg2) && (u.cache.IOTLB.Overlaps(key, lg2) || u.lim.divides(0, lg2) && u.cache.Walk.Overlaps(key, lg2))
}

// divides reports whether there are paging-structure caches for regions of at most 2^lg2 bytes, on a unit that
// sees conflicts: Walk, or Walk2 for stage 2 on behalf of stage 1.
func (l *limits) divides(walk int, lg2 uint8) bool { return l.tables[walk]&(2<<(lg2&63)-1) != 0 }

// levelOf returns log2 of the largest that is no other size than 2^lg2 bytes: with BBML 1, a run of that level.
func (u *Unit) levelOf(r regime, lg2 uint8) uint8 {
	g := r.granule()
	if u.cfg.BBML == 0 || g == 0 || lg2 < uint8(g) {
		return lg2
	}
	level := int8((lg2 - uint8(g)) / g.Stride())
	return max(lg2, g.Shift(level)+g.Contig(level))
}

// tlbProbed looks for a conflict before it uses a translation of the ASID, or of a global one.
func (u *Unit) tlbProbed(t *emu.Txn) {
	lg2 := uint8(tlbLg2.Of(t.In[0]))
	if t.Ans != emu.AnsOK || !u.mayConflict(lg2) {
		u.tlbLookedUp(t)
		return
	}
	top := lg2
	if flag(t, auxS1) {
		top = u.levelOf(reg1(t), top)
	}
	if flag(t, auxS2) {
		top = max(top, u.levelOf(reg2(t), lg2))
	}
	if u.s.Sizes>>(top&63) > 1 {
		overlap(t, emu.CacheIOTLB, t.Act.Key.Tag, top, StepIOTLB, stTLBOverlap)
		return
	}
	t.Ans = emu.AnsMiss
	u.tlbOverlap(t)
}

// overlap asks for what else a cache has at the address of the look-up just made.
func overlap(t *emu.Txn, c emu.CacheID, tag emu.Tag, lg2 uint8, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Cache, a.Key.Tag, a.Lg2, a.Step = emu.OpOverlap, c, tag, lg2, step
	t.State = next
}

// tlbOverlap goes on after the question for larger translations, with that for tables.
func (u *Unit) tlbOverlap(t *emu.Txn) {
	lg2 := uint8(tlbLg2.Of(t.In[0]))
	if t.Ans == emu.AnsOK {
		u.tlbConflict(t, FaultTLBConflict)
		return
	}
	if u.lim.divides(0, lg2) {
		overlap(t, emu.CacheWalk, t.Tag, lg2, StepWalkCache, stTLBTables)
		return
	}
	u.tlbTables(t)
}

// tlbTables goes on with a translation that is in conflict with nothing.
func (u *Unit) tlbTables(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.tlbConflict(t, FaultTableConflict)
		return
	}
	t.Ans = emu.AnsOK
	u.tlbLookedUp(t)
}

// tlbConflict ends a transaction that has met a conflict in the IOTLB.
func (u *Unit) tlbConflict(t *emu.Txn, c uint16) {
	setFlag(t, auxFault2, !flag(t, auxS1))
	u.fault(t, c, StepIOTLB, emu.PA(t.In[3]))
}

// stage2Probed looks for conflicts as tlbProbed does, among translations of intermediate addresses.
func (u *Unit) stage2Probed(t *emu.Txn) {
	lg2 := uint8(tlbLg2.Of(t.In[0]))
	if t.Ans != emu.AnsOK {
		u.s2Begin(t)
		return
	}
	if u.s.Sizes2>>(lg2&63) > 1 {
		if top := u.levelOf(reg2(t), lg2); u.s.Sizes2>>(top&63) > 1 {
			overlap(t, emu.CacheStage2, t.Act.Key.Tag, top, StepStage2, stStage2Overlap)
			return
		}
	}
	t.Ans = emu.AnsMiss
	u.stage2Overlap(t)
}

func (u *Unit) stage2Overlap(t *emu.Txn) {
	lg2 := uint8(tlbLg2.Of(t.In[0]))
	if t.Ans == emu.AnsOK {
		u.fault2(t, FaultTLBConflict, StepStage2, emu.PA(t.In[3]))
		return
	}
	if u.lim.divides(1, lg2) {
		overlap(t, emu.CacheWalk2, t.Act.Key.Tag, lg2, StepWalkCache, stStage2Tables)
		return
	}
	u.stage2Found(t)
}

func (u *Unit) stage2Tables(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.fault2(t, FaultTableConflict, StepStage2, emu.PA(t.In[3]))
		return
	}
	u.stage2Found(t)
}

// brief reports whether the leaf descriptor in f is a block that must not be kept (nT). Units with BBML 2 do not
// look at that, those before BBML do not know it.
func (u *Unit) brief(f *emu.Frame) bool {
	return u.cfg.BBML == 1 && f.Level > spec.LevelPage && spec.TtdNT.On(f.Entry)
}

// transient reports whether the translation of t is made from a block with nT, by either stage.
func (u *Unit) transient(t *emu.Txn) bool { return u.brief(&t.Frame[0]) || flag(t, auxBrief) }
