package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func TestVTDQuirk49_FirstStageAccessedAndDirtyFlags(t *testing.T) {
	const flags = fsA | fsD | fsEA
	for _, eafe := range []uint64{0, 1} {
		r := newRig(t)
		top := r.first(sid, 5, 7, with(spec.PasidEAFE, eafe))
		at := r.fsMap(top, iova, 0x5000, fsRWU)
		r.scalable()
		used := fsA | eafe<<10
		r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
		for level := range 4 {
			require.Equal(t, used, r.Get(r.fsEntry(top, 4, iova, level))&flags, "level %d", level)
		}
		// A write finds the cached translation clean and walks again.
		r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
		require.Equal(t, used|fsD, r.Get(at)&flags)
		require.Equal(t, used, r.Get(r.fsEntry(top, 4, iova, 1))&flags, "D is for leaves")
		// Cached as dirty now: software that clears D must invalidate.
		r.Put(at, 0x5000|fsRWU|used)
		r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
		require.Zero(t, r.Get(at)&fsD)
		r.submitGlobal()
		r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
		require.NotZero(t, r.Get(at)&fsD)
	}
}

// Tables above the one that faults have been used; the leaf has not.
func TestVTDQuirk49_RequestThatFaultsMarksOnlyTheTables(t *testing.T) {
	r := newRig(t)
	top := r.first(sid, 5, 7)
	at := r.fsMap(top, iova, 0x5000, fsP|fsU)
	r.scalable()
	r.RequireFault(r.pasidAccess(5, iova, emu.Write), vtd.FaultWriteSM)
	require.Zero(t, r.Get(at)&(fsA|fsD))
	require.NotZero(t, r.Get(r.fsEntry(top, 4, iova, 1))&fsA)
}

// A compare-and-swap that fails has lost nothing: the entry is looked at anew.
func TestVTDQuirk49_FirstStageFlagUpdateLosesNoConcurrentStore(t *testing.T) {
	for _, c := range []struct {
		name  string
		store uint64 // by software, between the read and the compare-and-swap
		left  uint64
		code  uint16
	}{
		{"D cleared again", 0x5000 | fsRWU | fsA, 0x5000 | fsRWU | fsA | fsD, 0},
		{"moved", 0x6000 | fsRWU, 0x6000 | fsRWU | fsA | fsD, 0},
		{"made read-only", 0x5000 | fsP | fsU, 0x5000 | fsP | fsU, vtd.FaultWriteSM},
		{"made supervisor", 0x5000 | fsP | fsW, 0x5000 | fsP | fsW, vtd.FaultUser},
		{"unmapped", 0, 0, vtd.FaultFSAbsent},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			at := r.fsMap(r.first(sid, 5, 7), iova, 0x5000, fsRWU)
			r.scalable()
			q := dma(emu.Write)
			q.PASID = 5
			s := r.Begin(q)
			s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
			r.Put(at, c.store)
			res := s.End()
			if c.code != 0 {
				r.RequireFault(res, c.code)
			} else {
				r.RequireOK(res, c.left&0xf000)
			}
			require.Equal(t, c.left, r.Get(at))
			cas := 0
			for _, a := range s.Acts {
				if a.Op == emu.OpCAS && a.Addr == at {
					cas++
				}
				require.NotEqual(t, emu.OpStore, a.Op)
			}
			require.Equal(t, 2-min(1, int(c.code)), cas)
		})
	}
}

// A table entry that turns into a leaf meanwhile is one.
func TestFirstStageTableReplacedByALargePageMeanwhile(t *testing.T) {
	r := newRig(t)
	top := r.first(sid, 5, 7)
	r.fsMap(top, iova, 0x5000, fsRWU)
	at := r.fsEntry(top, 4, iova, 1)
	r.scalable()
	q := dma(emu.Read)
	q.PASID = 5
	s := r.Begin(q)
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
	r.Put(at, 0x40_0000|fsRWU|fsPS)
	res := s.End()
	r.RequireOK(res, 0x40_0000|iova&0x1f_ffff)
	require.EqualValues(t, 21, res.Lg2)
	require.Equal(t, at, res.Prov.Leaf)
}

func TestFirstStageFlagsThatAreSetNeedNoCoherentWalk(t *testing.T) {
	for name, change := range map[string]func(*vtd.Config){
		"PWSNP=0":  func(*vtd.Config) {},
		"SMPWCS=0": func(c *vtd.Config) { c.SMPWCS = false },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change)
			top := r.first(sid, 5, 7, with(spec.PasidPWSNP, 0))
			r.fsMap(top, iova, 0x5000, fsRWU|fsA)
			for level := 1; level < 4; level++ {
				at := r.fsEntry(top, 4, iova, level)
				r.Put(at, r.Get(at)|fsA)
			}
			r.scalable()
			r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
			r.RequireFault(r.pasidAccess(5, iova, emu.Write), vtd.FaultFSNoncoherent)
		})
	}
}

func TestFirstStageFlagsOfASnapshotAreSet(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.SMPWCS, c.SnoopedWalks = false, true })
	at := r.fsMap(r.first(sid, 5, 7, with(spec.PasidPWSNP, 0)), iova, 0x5000, fsRWU)
	r.scalable()
	r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
	require.Equal(t, uint64(fsA|fsD), r.Get(at)&(fsA|fsD))
}

func firstATS(t *testing.T, bits uint64) (*rig, emu.PA, emu.Request) {
	r := newRig(t, func(c *vtd.Config) { c.DT, c.NWFS = true, true })
	at := r.fsMap(r.first(sid, 5, 7, ones(spec.PasidSRE, spec.PasidERE)), iova, 0x5000, bits)
	ctx := r.smContext(sid)
	r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
	r.scalable()
	q := dma(emu.RW)
	q.Type, q.PASID = emu.TranslationReq, 5
	return r, at, q
}

func TestFirstStageTranslationRequests(t *testing.T) {
	r, at, q := firstATS(t, fsRWU)
	q.Access |= emu.NoWrite
	require.Equal(t, emu.Read, r.Do(q).Perm, "X is granted to who asks")
	q.Access |= emu.Exec
	for range 2 {
		res := r.Do(q)
		r.RequireOK(res, 0x5000)
		require.Equal(t, emu.Read|emu.Exec, res.Perm)
		require.Zero(t, r.Get(at)&fsD)
	}
	q.Access = emu.Read | emu.Exec // W is granted all the same, so the page counts as written
	for range 2 {
		require.Equal(t, emu.RW|emu.Exec, r.Do(q).Perm)
		require.NotZero(t, r.Get(at)&fsD)
	}
	q.Access |= emu.Priv
	require.Equal(t, emu.RW|emu.Exec|emu.Priv, r.Do(q).Perm)

	r, at, q = firstATS(t, fsP|fsU)
	q.Access |= emu.Exec
	require.Equal(t, emu.Read|emu.Exec, r.Do(q).Perm)
	require.Zero(t, r.Get(at)&fsD, "no right to write, nothing written")
}

func TestFirstStageTranslationRequestsThatMayBeRetriedSucceedWithoutRights(t *testing.T) {
	for name, bits := range map[string]uint64{"71 absent": 0, "81 supervisor page": fsP | fsW} {
		t.Run(name, func(t *testing.T) {
			r, at, q := firstATS(t, bits)
			for range 2 {
				res := r.Do(q)
				r.RequireOK(res, iova)
				require.Zero(t, res.Perm)
				require.Zero(t, r.R32(spec.OffFSTS), "nothing is recorded")
			}
			require.Zero(t, r.Get(at)&(fsA|fsD))
			if bits != 0 { // cached for the supervisor, still nothing for users
				q.Access |= emu.Priv
				require.Equal(t, emu.RW|emu.Priv, r.Do(q).Perm)
				q.Access &^= emu.Priv
				require.Zero(t, r.Do(q).Perm)
			}
		})
	}
}

// Table 30: whatever is wrong with first-stage tables is for the device to report (7.1.2), except for
// an update that failed: that is recorded too.
func TestFirstStageErrorsOfTranslationRequestsAreRecoverable(t *testing.T) {
	for code, c := range map[uint16]struct {
		ruin     func(r *rig, at emu.PA, q *emu.Request)
		recorded bool
	}{
		0x70: {ruin: func(r *rig, at emu.PA, _ *emu.Request) { r.BusError(at, 8) }},
		0x72: {ruin: func(r *rig, at emu.PA, _ *emu.Request) { r.Put(at, 1<<50|fsRWU) }},
		0x80: {ruin: func(_ *rig, _ emu.PA, q *emu.Request) { q.Addr = 1 << 47 }},
		0x91: {ruin: func(r *rig, at emu.PA, _ *emu.Request) { r.Mem.AddBusError(at, at+7, emu.Write) }, recorded: true},
	} {
		r, at, q := firstATS(t, fsRWU)
		c.ruin(r, at, &q)
		res := r.Do(q)
		require.Equal(t, emu.OK, res.Status, "%#x", code)
		require.Zero(t, res.Perm)
		require.Zero(t, res.Fault)
		rec := r.record(0)
		require.Equal(t, c.recorded, rec.F(), "%#x", code)
		if c.recorded {
			require.EqualValues(t, code, rec.FR())
		}
	}
}

// First-stage entries are never cached while absent, caching mode or not (6.1).
func TestVTDQuirk35_CachingModeDoesNotConcernTheFirstStage(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.CM = true })
	top := r.first(sid, 5, 7)
	at := r.fsMap(top, iova, 0, 0)
	r.scalable()
	r.RequireFault(r.pasidAccess(5, iova, emu.Read), vtd.FaultFSAbsent)
	r.Put(at, 1<<51|fsP)
	r.RequireFault(r.pasidAccess(5, iova, emu.Read), vtd.FaultFSReserved)
	r.Put(at, 0x5000|fsRWU)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
}
