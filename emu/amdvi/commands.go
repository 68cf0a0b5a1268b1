package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// command says how one opcode is treated, 2.4.
type command struct {
	begin  func(u *Unit, t *emu.Txn)                         // asks the first question; nil: unknown
	second func(u *Unit, s *emu.Selector, w *[8]uint64) bool // a further selector, if any
	legal  func(u *Unit, w *[8]uint64) bool                  // nil: always
	rsvd   [2]uint64
}

// setCommands makes the table of the commands that this unit has.
func (u *Unit) setCommands() {
	c := &u.cfg
	u.cmd = [spec.NumCmdOpcodes]command{}
	add := func(op int, have bool, d command) {
		if !have {
			return
		}
		r := spec.CmdLayouts[op].Reserved([]uint64{^uint64(0), ^uint64(0)})
		d.rsvd = [2]uint64{r[0], r[1]}
		u.cmd[op] = d
	}
	add(spec.CmdCompletionWait, true, command{begin: (*Unit).cmdWait})
	add(spec.CmdInvalidateDevtab, true, command{begin: (*Unit).cmdDevtab})
	add(spec.CmdInvalidatePages, true, command{begin: (*Unit).cmdPages, second: secondPages, legal: legalGN})
	add(spec.CmdInvalidateIOTLB, c.IotlbSup, command{begin: (*Unit).cmdIOTLB, legal: legalGN})
	add(spec.CmdInvalidateIntTable, true, command{begin: (*Unit).cmdIntTable})
	add(spec.CmdPrefetchPages, c.PreFSup, command{begin: (*Unit).cmdPrefetch, legal: legalGN})
	add(spec.CmdCompletePPR, c.PPRSup, command{begin: (*Unit).cmdCompletePPR, legal: legalGN})
	add(spec.CmdInvalidateAll, c.IASup, command{begin: (*Unit).cmdAll})
	if !c.InvIotlbTypeSup {
		u.cmd[spec.CmdInvalidateIOTLB].rsvd[1] |= spec.ItType.Mask()
	}
}

// legalGN reports whether a command may name a PASID.
func legalGN(u *Unit, w *[8]uint64) bool { return u.cfg.GTSup || !spec.CmdGN.On(w[1]) }

// cmdSecond does the second half of a command that needs two selectors.
func (u *Unit) cmdSecond(t *emu.Txn) {
	c := &u.cmd[spec.CmdOpcode.Of(t.Entry[0])]
	if c.second == nil || !c.second(u, &t.Act.Sel, &t.Entry) {
		u.cmdNext(t)
		return
	}
	t.Invalidate(StepInvalidate, stCmdNext)
}

// cmdDevtab executes INVALIDATE_DEVTAB_ENTRY, 2.4.2. Translations are not reached: they do not know
// the device.
func (u *Unit) cmdDevtab(t *emu.Txn) {
	t.Act.Sel = emu.Selector{
		Caches: emu.CacheEntry.Set() | emu.CachePASID.Set(),
		Match:  emu.MatchSource, Source: emu.SourceID(spec.CmdDeviceID.Of(t.Entry[0])),
	}
	t.Invalidate(StepInvalidate, stCmdNext)
}

// cmdPages executes INVALIDATE_IOMMU_PAGES, 2.4.3.
func (u *Unit) cmdPages(t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	did, pde := uint32(spec.IpDomainID.Of(w0)), spec.IpPDE.On(w1)
	if spec.CmdGN.On(w1) {
		selGuest(&t.Act.Sel, did, emu.PASID(spec.IpPASID.Of(w0)), w1, pde)
	} else {
		selHost(&t.Act.Sel, did, w1, pde)
	}
	t.Invalidate(StepInvalidate, stCmdSecond)
}

// secondPages selects what an invalidation of guest physical addresses drops besides host
// translations.
func secondPages(_ *Unit, s *emu.Selector, w *[8]uint64) bool {
	if spec.CmdGN.On(w[1]) {
		return false
	}
	selNested(s, uint32(spec.IpDomainID.Of(w[0])), spec.IpPDE.On(w[1]))
	return true
}

// cmdIntTable executes INVALIDATE_INTERRUPT_TABLE, 2.4.5.
func (u *Unit) cmdIntTable(t *emu.Txn) {
	id := uint32(spec.CmdDeviceID.Of(t.Entry[0]))
	t.Act.Sel = emu.Selector{
		Caches: emu.CacheInterrupt.Set(), Match: emu.MatchDomain | emu.MatchClass | emu.MatchSource,
		Classes: 1 << ClassInterrupt, Domain: id, Source: emu.SourceID(id),
	}
	t.Invalidate(StepInvalidate, stCmdNext)
}

// cmdPrefetch executes PREFETCH_IOMMU_PAGES, 2.4.6. It is a hint, and nothing is prefetched; what Inval
// asks to be dropped first is dropped for all domains, since the command does not name one.
func (u *Unit) cmdPrefetch(t *emu.Txn) {
	w1 := t.Entry[1]
	if !spec.PfInval.On(w1) {
		u.cmdNext(t)
		return
	}
	s := &t.Act.Sel
	*s = emu.Selector{Caches: tlbCaches, Match: emu.MatchClass, Classes: 1<<ClassHost | 1<<ClassNested}
	if spec.CmdGN.On(w1) {
		s.Classes = 1<<ClassGuest | 1<<ClassNested
	}
	t.Invalidate(StepInvalidate, stCmdNext)
}

// cmdAll executes INVALIDATE_IOMMU_ALL, 2.4.8.
func (u *Unit) cmdAll(t *emu.Txn) {
	t.Act.Sel = emu.Selector{Caches: emu.AllCaches}
	t.Invalidate(StepInvalidate, stCmdNext)
}
