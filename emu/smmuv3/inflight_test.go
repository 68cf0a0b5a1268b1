package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func TestWalkerIsNeverHeldWhileWaitingForAMiss(t *testing.T) {
	n := newNested(t)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	s := n.Begin(dma(emu.Read))
	n.RequireOK(s.End(), 0x99_0000)
	walker := false
	var order []emu.SlotClass
	for _, a := range s.Acts {
		switch a.Op {
		case emu.OpAcquire:
			order = append(order, a.Slot)
			require.False(t, walker, "%v", a.Slot)
			walker = a.Slot == emu.SlotWalker
		case emu.OpRelease:
			walker = walker && a.Slot != emu.SlotWalker
		}
	}
	require.Equal(t, []emu.SlotClass{emu.SlotEntry, emu.SlotWalker, emu.SlotPASID, emu.SlotWalker, emu.SlotMiss, emu.SlotWalker}, order)
}

func TestWhatIsKnownOfATransaction(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	s := r.Begin(dma(emu.Read))
	s.Next()
	far := emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: 99}
	require.True(t, s.Txn.Matches(&far), "from the first question on")
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpProbe && a.Cache == emu.CacheIOTLB })
	require.False(t, s.Txn.Matches(&far))
	require.True(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchDomain | emu.MatchPASID | emu.MatchClass, Domain: vmid, PASID: asid, Classes: 1 << smmuv3.ClassEL1}))
	require.False(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchDomain | emu.MatchPASID, Domain: vmid, PASID: asid + 1}))
	require.True(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchDomain | emu.MatchClass, Domain: vmid, Classes: 1 << smmuv3.ClassEL1Global}), "it may find a global page")
	require.False(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchClass, Classes: 1 << smmuv3.ClassS2}))
	for _, c := range []emu.Class{smmuv3.ClassSTE, smmuv3.ClassCD, smmuv3.ClassL1STD, smmuv3.ClassL1CD} {
		require.True(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchSource | emu.MatchClass, Source: dev, Classes: 1 << c}))
		require.False(t, s.Txn.Matches(&emu.Selector{Match: emu.MatchSource | emu.MatchClass, Source: other, Classes: 1 << c}))
	}
}

func TestMarkedWalkFillsNothing(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	at := r.mapPage(root, iova, 0x5000, s1RW)
	s := r.Begin(dma(emu.Read))
	s.UntilFetch(at)
	s.Txn.Marked = true // an invalidation came between
	r.RequireOK(s.End(), 0x5000)
	r.Put(at, 0x6000|s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x6000)
}

// What another transaction has filled is used, whatever it was.
func TestMissesMergeAndRetry(t *testing.T) {
	r := newRig(t)
	_, l2 := r.twoLevel(dev, 16, 8, 9)
	r.enable()
	cd, root := r.Page(), r.Page()
	w := words(cdFields(root)...)
	r.Put(cd, w[:]...)
	w = words(field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(cd) >> 6})
	r.Put(l2+0x10*spec.STESize, w[:]...)
	r.mapPage(root, iova, 0x5000, s1RW)
	owner := r.Begin(dma(emu.Read))
	owner.End()
	fills := map[emu.SlotClass][4]uint64{}
	l1 := map[emu.SlotClass][4]uint64{}
	slot := map[emu.CacheID]emu.SlotClass{emu.CacheEntry: emu.SlotEntry, emu.CachePASID: emu.SlotPASID, emu.CacheIOTLB: emu.SlotMiss}
	for _, a := range owner.Acts {
		if a.Op != emu.OpFill || a.Cache == emu.CacheWalk {
			continue
		}
		if a.Key.Tag.Class() == smmuv3.ClassL1STD {
			l1[emu.SlotEntry] = a.Data
		} else {
			fills[slot[a.Cache]] = a.Data
		}
	}
	require.Len(t, fills, 3)
	require.Len(t, l1, 1)
	try := func(ans emu.Answer, in map[emu.SlotClass][4]uint64) {
		r.submit(cfgiAll(), command(spec.CmdTlbiNSNHAll), sync())
		s := r.Begin(dma(emu.Read))
		asked := map[emu.SlotClass]bool{}
		for s.Next() {
			a := s.Txn.Act
			if v, ok := in[a.Slot]; a.Op == emu.OpAcquire && ok && !asked[a.Slot] {
				asked[a.Slot] = true
				s.Txn.Ans, s.Txn.In = ans, v
			}
		}
		r.RequireOK(s.Txn.Res, 0x5000)
		require.Len(t, asked, len(in))
	}
	try(emu.AnsMerged, fills)
	try(emu.AnsRetry, fills)
	try(emu.AnsMerged, l1)
}

// Requests, and a rewrite of one or the other structure in the middle of them: none sees anything but the
// old or the new state, and none the old one once SYNC is complete.
func TestNothingOldAfterSync(t *testing.T) {
	for name, prepare := range map[string]func(n *nested) (change func(), cmds [][2]uint64){
		"leaf": func(n *nested) (func(), [][2]uint64) {
			return func() { n.leaf(iova, 0x78_0000, s1RW) }, [][2]uint64{tlbiVA(spec.CmdTlbiNHVA, iova, field{spec.CmdLeaf, 1})}
		},
		"stage 2 leaf": func(n *nested) (func(), [][2]uint64) {
			return func() { n.mapPage(n.s2, 0x77_0000, 0xaa_0000, s2RW) }, [][2]uint64{
				command(spec.CmdTlbiS2IPA, field{spec.CmdVMID, vmid}, field{spec.CmdIPA, 0x77_0000 >> 12}), command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid})}
		},
		"CD": func(n *nested) (func(), [][2]uint64) {
			was := n.root
			n.root = n.stage1Page()
			n.leaf(iova, 0x78_0000, s1RW)
			next := n.root
			n.root = was
			return func() { n.set(n.cd+distance, field{spec.CdTTB0, uint64(next) >> 4}) },
				[][2]uint64{cfgiCD(dev, 0, 1), command(spec.CmdTlbiNHASID, field{spec.CmdVMID, vmid}, field{spec.CmdASID, asid})}
		},
		"STE": func(n *nested) (func(), [][2]uint64) {
			root := n.stage1Page()
			was := n.root
			n.root = root
			n.leaf(iova, 0x78_0000, s1RW)
			n.root = was
			cd := n.stage1Page()
			w := words(append(cdFields(root), field{spec.CdASID, asid + 1})...)
			n.Put(cd+distance, w[:]...)
			return func() { n.set(n.ste(dev), field{spec.SteS1Context, uint64(cd) >> 6}) }, [][2]uint64{cfgiSTE(dev, 1)}
		},
	} {
		for _, caches := range []change{func(*smmuv3.Config) {}, noCaches} {
			t.Run(name, func(t *testing.T) {
				for seed := range uint64(40) {
					n := newNested(t, caches)
					n.leaf(iova, 0x77_0000, s1RW)
					n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
					n.mapPage(n.s2, 0x78_0000, 0xaa_0000, s2RW)
					change, cmds := prepare(n)
					n.submit(cfgiAll(), sync())
					n.Crew(seed).NothingOld(emutest.Rewrite{
						Request: dma(emu.Write), Old: 0x99_0000, New: 0xaa_0000, Turns: 400,
						Change: func() {
							change()
							for _, w := range append(cmds, sync()) {
								n.push(w)
							}
						},
						Bell:     func() emu.Wake { return n.u.WriteReg(spec.OffCMDQProd, 4, n.prod) },
						Complete: func() bool { return n.R32(spec.OffCMDQCons) == n.prod },
					})
				}
			})
		}
	}
}

func TestSMMUQuirk49_SyncWaitsForWhatUsedRemovedEntries(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	at := r.mapPage(root, iova, 0x5000, s1RW)
	c := r.Crew(1)
	x := c.Start(dma(emu.Read))
	for x.Act.Op != emu.OpFetch || x.Act.Addr != at {
		c.Step(x)
	}
	r.push(tlbiVA(spec.CmdTlbiNHVA, iova))
	r.push(sync())
	c.StartEngine(r.u.WriteReg(spec.OffCMDQProd, 4, r.prod))
	c.RunEngine()
	require.True(t, c.Blocked())
	require.EqualValues(t, 1, r.R32(spec.OffCMDQCons), "the SYNC is not consumed")
	for !c.Step(x) {
	}
	c.Active = nil
	c.RunEngine()
	require.EqualValues(t, 2, r.R32(spec.OffCMDQCons))
	// One that was terminated has its event in the queue by then.
	y := c.Start(emutest.DMA(dev, emu.NoPASID, iova+0x1000, emu.Read))
	for y.Act.Op != emu.OpStore {
		c.Step(y)
	}
	r.push(tlbiVA(spec.CmdTlbiNHVA, iova))
	r.push(sync())
	c.StartEngine(r.u.WriteReg(spec.OffCMDQProd, 4, r.prod))
	c.RunEngine()
	require.True(t, c.Blocked())
}
