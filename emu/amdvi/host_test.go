package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// At every level, every size that is legal there, at the first and the last byte of the page.
func TestHostPagesOfEverySize(t *testing.T) {
	for level := 1; level <= 5; level++ {
		lo, hi := uint8(3+9*level), uint8(12+9*level)
		for lg2 := lo; lg2 < hi && lg2 <= 51; lg2++ {
			r := newRig(t).enable()
			top := r.attach(dev, 6)
			first := uint64(1) << 52 &^ (1<<lg2 - 1) // IOVA: a multiple of every size
			pa := uint64(5) << lg2 & spec.PteAddr.Mask()
			entry := pa | pRW
			if lg2 > lo {
				entry = spec.PageSizeAddr(pa, lg2) | pRW | nextLevel(7)
			}
			at := r.pte(top, 6, first, level)
			for i := range emu.PA(1) << (lg2 - lo) { // all replicas
				r.Put(at+8*i, entry)
			}
			for _, off := range []uint64{0, 1<<lg2 - 8, 1 << (lg2 - 1)} {
				res := r.Access(dev, first+off, emu.Read)
				r.RequireOK(res, pa+off)
				require.Equal(t, lg2, res.Lg2, "level %d", level)
			}
			require.NotEqual(t, emu.OK, r.Access(dev, first+1<<lg2, emu.Read).Status, "nothing behind it")
		}
	}
}

func TestAMDQuirk06_DefaultSizeOfLevelThreeIsOneGiB(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3)
	r.Put(r.pte(top, 3, 0x4000_0000, 3), 0x80_3fff_f000|pRW) // low address bits are not looked at
	res := r.Access(dev, 0x4000_0000+0x1234_5678&^7, emu.Read)
	r.RequireOK(res, 0x80_0000_0000+0x1234_5678&^7)
	require.EqualValues(t, 30, res.Lg2)
}

func TestAMDQuirk04_AddressBitsAboveTheModeMustBeZero(t *testing.T) {
	for mode := uint64(1); mode <= 6; mode++ {
		r := newRig(t).enable()
		top := r.attach(dev, mode)
		r.Put(r.pte(top, int(mode), 0, 1), 0x5000|pRW)
		r.RequireOK(r.Access(dev, 0, emu.Read), 0x5000)
		if mode == 6 {
			last := ^uint64(0) &^ 0xfff
			r.Put(r.pte(top, 6, last, 1), 0x6000|pRW)
			r.RequireOK(r.Access(dev, last, emu.Read), 0x6000)
			require.Equal(t, top+127*8, r.pte(top, 6, last, 6), "128 entries are live")
			continue
		}
		for bit := 12 + 9*mode; bit < 64; bit++ {
			r.RequireFault(r.Access(dev, 1<<bit, emu.Read), amdvi.FaultAddress)
		}
	}
}

func TestAMDQuirk05_LeafAndTableByNextLevel(t *testing.T) {
	for _, c := range []struct {
		name  string
		level int
		entry uint64
		fault uint16
	}{
		{"level 1, NextLevel 1", 1, 0x5000 | pRW | nextLevel(1), amdvi.FaultLevel},
		{"level 1, NextLevel 6", 1, 0x5000 | pRW | nextLevel(6), amdvi.FaultLevel},
		{"level 2, NextLevel 2", 2, 0x5000 | pRW | nextLevel(2), amdvi.FaultLevel},
		{"level 2, NextLevel 5", 2, 0x5000 | pRW | nextLevel(5), amdvi.FaultLevel},
		{"level 6, a page", 6, 0x5000 | pRW, amdvi.FaultLevel},
		{"level 6, a page with a size", 6, 0x5000 | pRW | nextLevel(7), amdvi.FaultLevel},
		{"level 1, 2 MiB", 1, spec.PageSizeAddr(0, 21) | pRW | nextLevel(7), amdvi.FaultPageSize},
		{"level 2, 1 MiB", 2, spec.PageSizeAddr(0, 20) | pRW | nextLevel(7), amdvi.FaultPageSize},
		{"level 2, 2 MiB", 2, spec.PageSizeAddr(0, 21) | pRW | nextLevel(7), amdvi.FaultPageSize},
		{"level 2, 1 GiB", 2, spec.PageSizeAddr(0, 30) | pRW | nextLevel(7), amdvi.FaultPageSize},
		{"no zero in the address", 5, spec.PteAddr.Mask() | pRW | nextLevel(7), amdvi.FaultPageSize},
	} {
		r := newRig(t).enable()
		top := r.attach(dev, 6)
		r.Put(r.pte(top, 6, iova, c.level), c.entry)
		r.RequireFault(r.Access(dev, iova, emu.Read), c.fault)
		e := r.event()
		require.Equal(t, spec.EvtPR.Mask(), flags(e), "%s: PR=1, PE=0, RZ=0", c.name)
	}
}

func TestAMDQuirk08_SkippedLevels(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 4)
	const base = uint64(5) << 39
	pt := r.Page()
	r.Put(r.pte(top, 4, base, 4), uint64(pt)|pRW|nextLevel(1)) // from level 4 to level 1
	r.Put(pt+3*8, 0x5000|pRW)
	r.RequireOK(r.Access(dev, base+3<<12, emu.Read), 0x5000)
	for bit := 21; bit < 39; bit++ {
		r.RequireFault(r.Access(dev, base|3<<12|1<<bit, emu.Read), amdvi.FaultSkip)
	}
	// From level 4 to level 2: bits 38:30 must be zero, bits 29:21 are the index.
	pd := r.Page()
	r.Put(r.pte(top, 4, 6<<39, 4), uint64(pd)|pRW|nextLevel(2))
	r.Put(pd+7*8, 0x4000_0000|pRW)
	r.RequireOK(r.Access(dev, 6<<39|7<<21|0x12348, emu.Read), 0x4000_0000|0x12348)
	r.RequireFault(r.Access(dev, 6<<39|7<<21|1<<30, emu.Read), amdvi.FaultSkip)
	r.RequireFault(r.Access(dev, 6<<39|7<<21|1<<38, emu.Read), amdvi.FaultSkip)
	require.Len(t, r.events(), 18+2)
}

func TestWalkFetchesOneEntryPerLevel(t *testing.T) {
	for mode := uint64(1); mode <= 6; mode++ {
		r := newRig(t).enable()
		top := r.attach(dev, mode)
		r.Put(r.pte(top, int(mode), 0x5000, 1), 0x5000|pRW)
		q := dma(emu.Read)
		q.Addr = 0x5000
		s := r.Begin(q)
		r.RequireOK(s.End(), 0x5000)
		sizes, _ := fetched(s)
		want := []uint8{32}
		for range mode {
			want = append(want, 8)
		}
		require.Equal(t, want, sizes)
	}
}

func TestAMDQuirk09_RightsAreAndedOverAllLevels(t *testing.T) {
	// Each of the four places in turn lacks a right: DTE, two tables, page.
	for place := range 4 {
		for _, lacks := range []uint64{ir, iw} {
			r := newRig(t).enable()
			top := r.attach(dev, 3)
			r.mapPage(top, iova, 0x5000, pRW)
			at := r.dte(dev)
			if place > 0 {
				at = r.pte(top, 3, iova, 4-place)
			}
			r.Put(at, r.Get(at)&^lacks)
			for range 2 {
				for _, a := range []emu.Access{emu.Read, emu.Write, emu.RW | emu.Atomic} {
					res := r.Access(dev, iova, a)
					if a&emu.Read != 0 && lacks == ir || a&emu.Write != 0 && lacks == iw {
						r.RequireFault(res, amdvi.FaultPermission)
					} else {
						r.RequireOK(res, 0x5000)
					}
				}
			}
		}
	}
}

// A right that a table entry lacks is missed before what lies below is looked at, also where a
// paging-structure cache holds the entry.
func TestAMDQuirk09_MissingRightsComeBeforeWhatLiesBelow(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3)
	leaf := r.mapPage(top, iova, 0x5000, pRW)
	at := r.pte(top, 3, iova, 2)
	r.Put(at, r.Get(at)&^iw)
	next := iova + 0x1000
	r.Put(leaf+8, 0x6000|pRW|1<<52) // reserved bit
	r.RequireFault(r.Access(dev, next, emu.Write), amdvi.FaultPermission)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000) // fills
	r.RequireFault(r.Access(dev, next, emu.Write), amdvi.FaultPermission)
	r.RequireFault(r.Access(dev, next, emu.Read), amdvi.FaultReserved)
}

func TestAMDQuirk09_RightsOfADTEAreNotInSharedTranslations(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3)
	e := r.bind(other, field{spec.DteMode, 3}, field{spec.DteHostRoot, uint64(top) >> 12}, field{spec.DteIW, 0})
	require.False(t, e.IW())
	r.mapPage(top, iova, 0x5000, pRW)
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000) // fills
	before := r.u.Cache(emu.CacheIOTLB).Stats().Fills
	res := r.Access(dev, iova, emu.Write)
	r.RequireOK(res, 0x5000)
	require.Equal(t, emu.RW, res.Perm)
	require.Equal(t, before, r.u.Cache(emu.CacheIOTLB).Stats().Fills, "a hit")
	r.RequireFault(r.Access(other, iova, emu.Write), amdvi.FaultPermission)
	require.Equal(t, emu.Read, r.Access(other, iova, emu.Read).Perm)
}

func had(v uint64) field { return field{spec.DteHAD, v} }

func TestAccessedAndDirtyFlags(t *testing.T) {
	for mode, want := range map[uint64][2]uint64{0: {0, 0}, spec.HADA: {pteA, pteA}, spec.HADAD: {pteA, pteA | pteD}} {
		r := newRig(t).enable()
		top := r.attach(dev, 3, had(mode))
		at := r.mapPage(top, iova, 0x5000, pRW)
		r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
		require.Equal(t, want[0], r.Get(at)&(pteA|pteD))
		require.Equal(t, want[0], r.Get(r.pte(top, 3, iova, 2))&(pteA|pteD))
		r.RequireOK(r.Access(dev, iova, emu.Write), 0x5000)
		require.Equal(t, want[1], r.Get(at)&(pteA|pteD))
		far := iova + 1<<30
		r.mapPage(top, far, 0x6000, pRW)
		r.RequireOK(r.Access(dev, far, emu.Write), 0x6000)
		require.Equal(t, want[0], r.Get(r.pte(top, 3, far, 3))&(pteA|pteD), "D is for pages")
	}
}

func TestAMDQuirk52_ClearedDirtyFlagIsLostWithoutAFlush(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3, had(spec.HADAD))
	at := r.mapPage(top, iova, 0x5000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Write), 0x5000)
	r.Put(at, r.Get(at)&^pteD)
	r.RequireOK(r.Access(dev, iova, emu.Write), 0x5000)
	require.Zero(t, r.Get(at)&pteD, "the translation remembers")
	r.submit(invPages(did, iova))
	r.RequireOK(r.Access(dev, iova, emu.Write), 0x5000)
	require.NotZero(t, r.Get(at)&pteD)
}

func TestAMDQuirk07_DirtyIsSetInTheReplicaThatIsRead(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3, had(spec.HADAD))
	at := r.pte(top, 3, iova&^0xffff, 1)
	for i := range emu.PA(16) { // 64 KiB
		r.Put(at+8*i, spec.PageSizeAddr(0x50_0000, 16)|pRW|nextLevel(7))
	}
	r.RequireOK(r.Access(dev, iova, emu.Write), 0x50_0000|iova&0xffff)
	for i := range uint64(16) {
		require.Equal(t, i == iova>>12&15, r.Get(at+emu.PA(8*i))&pteD != 0, "%d", i)
	}
	fills := r.u.Cache(emu.CacheIOTLB).Stats().Fills
	r.RequireOK(r.Access(dev, iova^0x8000, emu.Write), 0x50_0000|(iova^0x8000)&0xffff)
	require.Equal(t, fills, r.u.Cache(emu.CacheIOTLB).Stats().Fills, "one entry of 64 KiB")
}

func TestFlagUpdateLosesNoConcurrentStore(t *testing.T) {
	r := newRig(t).enable()
	at := r.mapPage(r.attach(dev, 3, had(spec.HADAD)), iova, 0x5000, pRW)
	s := r.Begin(dma(emu.Write))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.Put(at, 0x6000|pRW) // between the read and the compare-and-swap
	r.RequireOK(s.End(), 0x6000)
	require.Equal(t, 0x6000|pRW|pteA|pteD, r.Get(at))

	r.submit(invAll())
	r.Put(at, 0x6000|pRW)
	s = r.Begin(dma(emu.Write))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.Put(at, 0)
	r.RequireFault(s.End(), amdvi.FaultNotPresent)
	require.Zero(t, r.Get(at), "no flag in an entry that is gone")
}

func TestAMDQuirk48_NotPresentIsNeverCached(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3)
	for level := 3; level > 0; level-- {
		r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultNotPresent)
		r.pte(top, 3, iova, level) // makes the tables down to it
	}
	r.mapPage(top, iova, 0x5000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
}

func TestAMDQuirk10_TranslationsAreTaggedByDomainOnly(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.mapPage(r.attach(other, 3), iova, 0x6000, pRW) // the same domain, other tables: a mistake of software
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	res := r.Access(other, iova, emu.Read)
	r.RequireOK(res, 0x5000)
	require.NotEqual(t, res.Prov.Entry, res.Prov.Fill, "it shows where the translation came from")
	// Another domain sees its own, and invalidating a DTE does not drop translations.
	r.mapPage(r.attach(0x400, 3, field{spec.DteDomainID, 8}), iova, 0x7000, pRW)
	r.RequireOK(r.Access(0x400, iova, emu.Read), 0x7000)
	r.submit(invDevtab(other))
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000)
	r.submit(invPages(did, spec.AllPages|invS|invPDE))
	r.RequireOK(r.Access(other, iova, emu.Read), 0x6000)
}

func TestAMDQuirk20_WalkCacheSurvivesAnInvalidationWithoutPDE(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3)
	r.mapPage(top, iova, 0x5000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	pde := r.pte(top, 3, iova, 2)
	old := emu.PA(r.Get(pde) & spec.PteAddr.Mask())
	fresh := r.Page()
	r.Put(fresh+emu.PA(iova>>12&511)*8, 0x6000|pRW)
	r.Put(pde, uint64(fresh)|pRW|nextLevel(1))
	r.submit(invPages(did, spec.AllPages|invS))
	r.Put(old+emu.PA(iova>>12&511)*8, 0x9000|pRW) // the old table is in use for something else by now
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x9000)
	r.submit(invPages(did, spec.AllPages|invS|invPDE))
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x6000)
}

// A table pointer that was cached under an old DTE makes translations of that DTE, however deep the walk
// goes from there.
func TestProvenanceOfTablesCachedUnderAnOldDTE(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3)
	for _, far := range []uint64{0, 4 << 21, 4<<21 + 4096} {
		r.mapPage(top, iova+far, 0x5000+far, pRW)
	}
	old := r.Access(dev, iova, emu.Read).Prov.Fill
	r.attach(dev, 3)
	r.submit(invDevtab(dev))
	for _, far := range []uint64{4 << 21, 4<<21 + 4096} {
		res := r.Access(dev, iova+far, emu.Read)
		r.RequireOK(res, 0x5000+far)
		require.Equal(t, old, res.Prov.Fill)
		require.NotEqual(t, old, res.Prov.Entry)
	}
}

func TestTranslationRequestsGrantWhatTheTablesDo(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3, field{spec.DteI, 1}, had(spec.HADAD))
	at := r.mapPage(top, iova, 0x5000, pr|ir|spec.PteU.Mask()|spec.PteFC.Mask())
	q := dma(emu.RW)
	q.Type = emu.TranslationReq
	res := r.Do(q)
	r.RequireOK(res, 0x5000)
	require.Equal(t, emu.Read|emu.UntranslatedOnly, res.Perm)
	require.True(t, res.Snoop, "FC")
	require.Zero(t, r.Get(at)&pteD, "no right to write")
	require.Equal(t, res.Perm, r.Do(q).Perm, "from the cache")
	r.Put(at, 0x5000|pRW)
	r.submit(invAll())
	require.Equal(t, emu.RW, r.Do(q).Perm)
	require.NotZero(t, r.Get(at)&pteD, "it may write from now on without asking")
	require.False(t, r.Do(q).Snoop)
	require.Empty(t, r.events())
}

func TestTranslationRequestsWhereAddressesPass(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.DteI, 1}, field{spec.DteIW, 0})
	q := dma(emu.RW)
	q.Type = emu.TranslationReq
	res := r.Do(q)
	r.RequireOK(res, iova)
	require.Equal(t, emu.Read, res.Perm)
	require.EqualValues(t, 12, res.Lg2)
	r.W64(spec.OffExclLimit, iova)
	r.W64(spec.OffExclBase, iova|spec.ExclEn.Mask()|spec.ExclAllow.Mask())
	require.Equal(t, emu.RW, r.Do(q).Perm)
}

func TestHowABlockedTranslationRequestIsCompleted(t *testing.T) {
	for name, c := range map[string]struct {
		setup func(*rig)
		abort bool
	}{
		"I=0":         {leaf(pRW), false},
		"V=0":         {func(*rig) {}, false},
		"illegal DTE": {raw(1|1<<2, spec.DteI.Put(1)), true},
		"no DTE":      {func(r *rig) { r.BusError(r.dte(dev), 32) }, true},
	} {
		r := newRig(t).enable()
		c.setup(r)
		q := dma(emu.Read)
		q.Type = emu.TranslationReq
		res := r.Do(q)
		require.Equal(t, emu.Blocked, res.Status, name)
		require.Equal(t, c.abort, res.Fault.Abort, name)
	}
}
