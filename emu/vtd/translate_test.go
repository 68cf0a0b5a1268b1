package vtd_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

func TestPageSizes(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	r.mapPage(top, 0x1000, 0xabc_d000, ssRW)
	r.Put(r.pte(top, 0x4000_0000, 1), 0x1_2340_0000|ssRW|1<<7)
	r.Put(r.pte(top, 0x80_0000_0000, 2), 0x40_0000_0000|ssRW|1<<7)
	r.legacy()
	for range 2 { // cold and warm
		for _, c := range []struct {
			iova, pa uint64
			lg2      uint8
		}{{0x1678, 0xabc_d678, 12}, {0x4012_3456, 0x1_2352_3456, 21}, {0x80_3fff_ffff, 0x40_3fff_ffff, 30}} {
			res := r.Access(sid, c.iova, emu.Read)
			r.RequireOK(res, c.pa)
			require.Equal(t, c.lg2, res.Lg2)
			require.Equal(t, emu.RW, res.Perm)
			require.Equal(t, res.Prov.Entry, res.Prov.Fill)
		}
	}
}

func TestRightsAreAndedOverTheLevels(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x5000, ssRW)
	at := r.pte(top, iova, 2)
	r.Put(at, r.Get(at)&^ssW)
	r.legacy()
	for range 2 {
		require.Equal(t, emu.Read, r.Access(sid, iova, emu.Read).Perm)
		r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultWrite)
	}
}

func TestZeroLengthReadOfAWriteOnlyPage(t *testing.T) {
	for _, zlr := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.ZLR = zlr })
		r.mapPage(r.attach(sid, 7), iova, 0x5000, ssW)
		r.legacy()
		q := dma(emu.Read)
		q.Len = 0
		for range 2 {
			if res := r.Do(q); zlr {
				r.RequireOK(res, 0x5000)
			} else {
				r.RequireFault(res, vtd.FaultRead)
			}
		}
		q.Len = 1
		r.RequireFault(r.Do(q), vtd.FaultRead)
	}
}

func TestExecuteRightsCountWithSSEE(t *testing.T) {
	r := newRig(t)
	top := r.bind(sid, 5, spec.PGTTSecond, 7, with(spec.PasidSSEE, 1), with(spec.PasidERE, 1))
	at := r.mapPage(top, iova, 0x5000, ssRW|ssX)
	r.scalable()
	for range 2 {
		res := r.pasidAccess(5, iova, emu.Read|emu.Exec)
		r.RequireOK(res, 0x5000)
		require.Equal(t, emu.RW|emu.Exec, res.Perm)
	}
	r.Put(at, 0x5000|ssX)
	r.submitGlobal()
	r.RequireFault(r.pasidAccess(5, iova, emu.Read|emu.Exec), vtd.FaultReadSM)
}

func TestRequestsWithoutPASIDUseRIDPASID(t *testing.T) {
	for _, rps := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.RPS = rps })
		pa := map[emu.PASID]uint64{0: 0x5000, 9: 0x6000}
		for p, at := range pa {
			r.mapPage(r.bind(sid, p, spec.PGTTSecond, 7+uint64(p)), iova, at, ssRW)
		}
		rid, other := emu.PASID(0), emu.PASID(9)
		if rps {
			rid, other = other, rid
			r.Put(r.smContext(sid)+8, uint64(rid))
		}
		r.scalable()
		for range 2 {
			r.RequireOK(r.Access(sid, iova, emu.Read), pa[rid])
			r.RequireOK(r.pasidAccess(other, iova, emu.Read), pa[other])
			r.RequireFault(r.pasidAccess(rid, iova, emu.Read), vtd.FaultRIDPASID)
		}
	}
}

func TestPassThrough(t *testing.T) {
	r := newRig(t)
	r.bind(sid, 0, spec.PGTTPassThrough, 7)
	r.scalable()
	for range 2 {
		res := r.Access(sid, 0xffff_ffff_f000, emu.Write)
		r.RequireOK(res, 0xffff_ffff_f000)
		require.EqualValues(t, 64, res.Lg2)
		require.Zero(t, res.Prov.Leaf)
		require.NotZero(t, res.Prov.Entry)
	}
}

// ats gives sid an entry that allows device-TLB requests.
func ats(t *testing.T, bits uint64) (*rig, emu.PA) {
	r := newRig(t, func(c *vtd.Config) { c.DT, c.NWFS = true, true })
	top := r.Page()
	e := legacyEntry(spec.TTAll, top, spec.AW48, 7)
	r.Put(r.context(sid), e[0], e[1])
	at := r.mapPage(top, iova, 0x5000, bits)
	r.legacy()
	return r, at
}

func TestTranslationRequests(t *testing.T) {
	r, _ := ats(t, ssRW)
	q := dma(emu.RW)
	q.Type = emu.TranslationReq
	for range 2 {
		res := r.Do(q)
		r.RequireOK(res, 0x5000)
		require.Equal(t, emu.RW, res.Perm)
	}
	q.Access |= emu.NoWrite
	require.Equal(t, emu.Read, r.Do(q).Perm)
	q.Type, q.Access = emu.Translated, emu.Write
	r.RequireOK(r.Do(q), iova) // the address is taken as translated
}

func TestTranslationRequestForAnAbsentPageSucceedsWithoutRights(t *testing.T) {
	r, at := ats(t, 0)
	q := dma(emu.RW)
	q.Type = emu.TranslationReq
	r.Put(at, 0)
	res := r.Do(q)
	require.Equal(t, emu.OK, res.Status)
	require.Zero(t, res.Perm)
	require.Zero(t, r.R32(spec.OffFSTS), "nothing is recorded")
	r.Put(at, 0x5000|ssR)
	require.Equal(t, emu.Read, r.Do(q).Perm)
}

func TestTranslationRequestWithAStructuralErrorIsRecorded(t *testing.T) {
	r, at := ats(t, ssRW)
	r.Put(at, 0x5000|ssRW|1<<62)
	q := dma(emu.RW)
	q.Type = emu.TranslationReq
	r.RequireFault(r.Do(q), vtd.FaultSSReserved)
	rec := r.record(0)
	require.EqualValues(t, emu.TranslationReq, spec.FrAT.Get(rec[:]))
}

func TestTranslationRequestForTheInterruptRangeGrantsWriteOnly(t *testing.T) {
	r, _ := ats(t, ssRW)
	q := dma(emu.RW)
	q.Type, q.Addr = emu.TranslationReq, 0xfee0_0000
	res := r.Do(q)
	r.RequireOK(res, 0xfee0_0000)
	require.Equal(t, emu.Write|emu.UntranslatedOnly, res.Perm)
	q.Access |= emu.NoWrite
	res = r.Do(q)
	r.RequireOK(res, 0xfee0_0000)
	require.Zero(t, res.Perm)
}

func TestTranslationRequestForWriteSetsDirty(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.DT, c.NWFS = true, true })
	pte, _ := ade(r)
	ctx := r.smContext(sid)
	r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
	r.scalable()
	q := dma(emu.RW | emu.NoWrite)
	q.Type = emu.TranslationReq
	require.Equal(t, emu.Read, r.Do(q).Perm)
	require.Zero(t, r.Get(pte)&(1<<9))
	q.Access = emu.RW
	require.Equal(t, emu.RW, r.Do(q).Perm)
	require.NotZero(t, r.Get(pte)&(1<<9))
}

func TestTranslationRequestWithoutPASIDEntrySucceedsWithoutRights(t *testing.T) {
	r := newRig(t, dt)
	r.pasidEntry(sid, 0)
	ctx := r.smContext(sid)
	r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
	r.scalable()
	q := dma(emu.RW)
	q.Type = emu.TranslationReq
	res := r.Do(q)
	require.Equal(t, emu.OK, res.Status)
	require.Zero(t, res.Perm)
}

func TestUnitWithoutCachesWalksEveryTime(t *testing.T) {
	r := newRig(t, noCaches)
	at := r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.Put(at, 0x6000|ssRW)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
	s := r.Begin(dma(emu.Read))
	s.End()
	for _, a := range s.Acts {
		require.NotContains(t, []emu.Op{emu.OpProbe, emu.OpFill}, a.Op)
		require.False(t, a.Op == emu.OpAcquire && a.Slot != emu.SlotWalker)
	}
}

func noCaches(c *vtd.Config) {
	none := iotlb.Geometry{}
	c.ContextCache, c.PASIDCache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
}

func TestVersionsAreEqualOnlyIfTheEntriesTranslateAlike(t *testing.T) {
	base := legacyEntry(spec.TTUntranslated, 0x80000, spec.AW48, 7)
	v := vtd.ContextVersion(base[:])
	for _, e := range [][2]uint64{
		legacyEntry(spec.TTAll, 0x80000, spec.AW48, 7),
		legacyEntry(spec.TTUntranslated, 0x81000, spec.AW48, 7),
		legacyEntry(spec.TTUntranslated, 0x80000, spec.AW57, 7),
		legacyEntry(spec.TTUntranslated, 0x80000, spec.AW48, 8),
	} {
		require.NotEqual(t, v, vtd.ContextVersion(e[:]))
	}
	same := base
	same[0] |= spec.CtxFPD.Mask()
	same[1] |= spec.CtxAVAIL.Mask()
	require.Equal(t, v, vtd.ContextVersion(same[:]))
	pt, other := legacyEntry(spec.TTPassThrough, 0x80000, spec.AW57, 7), legacyEntry(spec.TTPassThrough, 0, spec.AW57, 7)
	require.Equal(t, vtd.ContextVersion(pt[:]), vtd.ContextVersion(other[:]), "the pointer is ignored")

	e := make([]uint64, 8)
	spec.PasidPGTT.Set(e, spec.PGTTSecond)
	v = vtd.PASIDVersion(e)
	spec.PasidFSPTPTR.Set(e, 5)
	require.Equal(t, v, vtd.PASIDVersion(e), "the first stage is ignored")
	spec.PasidSSPTPTR.Set(e, 5)
	require.NotEqual(t, v, vtd.PASIDVersion(e))
}

func TestVersionsOfEachTypeHoldWhatSteersIt(t *testing.T) {
	fields := map[string]reg.Bits{
		"AW": spec.PasidAW, "SSEE": spec.PasidSSEE, "SSPTPTR": spec.PasidSSPTPTR, "DID": spec.PasidDID, "FSPM": spec.PasidFSPM,
		"WPE": spec.PasidWPE, "NXE": spec.PasidNXE, "SMEP": spec.PasidSMEP, "FSPTPTR": spec.PasidFSPTPTR,
		"FPD": spec.PasidFPD, "SSADE": spec.PasidSSADE, "PWSNP": spec.PasidPWSNP, "EAFE": spec.PasidEAFE, "SRE": spec.PasidSRE,
	}
	seen := map[uint64]bool{}
	for pgtt, used := range map[uint64]string{
		spec.PGTTFirst:       "DID FSPM WPE NXE SMEP FSPTPTR",
		spec.PGTTSecond:      "DID AW SSEE SSPTPTR",
		spec.PGTTNested:      "DID AW SSEE SSPTPTR FSPM WPE NXE SMEP FSPTPTR",
		spec.PGTTPassThrough: "DID",
	} {
		base := make([]uint64, 8)
		spec.PasidPGTT.Set(base, pgtt)
		v := vtd.PASIDVersion(base)
		require.False(t, seen[v])
		seen[v] = true
		for name, b := range fields {
			e := slices.Clone(base)
			b.Set(e, 1)
			steers := slices.Contains(strings.Fields(used), name)
			require.Equal(t, steers, vtd.PASIDVersion(e) != v, "PGTT %d %s", pgtt, name)
			if steers {
				require.False(t, seen[vtd.PASIDVersion(e)], "PGTT %d %s", pgtt, name)
				seen[vtd.PASIDVersion(e)] = true
			}
		}
	}
}

// Pointers, domains and widths that software uses lie close together: no two of a million entries for
// nested translation have one version.
func TestNestedVersionsOfManyEntriesDiffer(t *testing.T) {
	seen := make(map[uint64]bool, 1<<20)
	e := make([]uint64, 8)
	spec.PasidPGTT.Set(e, spec.PGTTNested)
	for fs := range uint64(64) {
		for ss := range uint64(64) {
			for did := range uint64(64) {
				for flags := range uint64(4) {
					spec.PasidFSPTPTR.Set(e, fs)
					spec.PasidSSPTPTR.Set(e, ss)
					spec.PasidDID.Set(e, did)
					spec.PasidWPE.Set(e, flags&1)
					spec.PasidAW.Set(e, 2+flags>>1)
					seen[vtd.PASIDVersion(e)] = true
				}
			}
		}
	}
	require.Len(t, seen, 1<<20)
}

func TestProvenanceNamesTheEntryThatFilled(t *testing.T) {
	r := newRig(t)
	at := r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	r.queue(false)
	old := r.Access(sid, iova, emu.Read)
	require.Equal(t, old.Prov.Entry, old.Prov.Fill)
	require.Equal(t, at, old.Prov.Leaf)
	r.attach(sid, 7) // same domain, new tables, context-cache flushed but not the IOTLB
	r.submit(ccInv(spec.GranGlobal, 0, 0, 0), 0)
	stale := r.Access(sid, iova, emu.Read)
	r.RequireOK(stale, 0x5000)
	require.NotEqual(t, old.Prov.Entry, stale.Prov.Entry)
	require.Equal(t, old.Prov.Fill, stale.Prov.Fill)
	// Table pointers that outlive an IOTLB flush carry the old version on.
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(iova, 0, true))
	again := r.Access(sid, iova, emu.Read)
	r.RequireOK(again, 0x5000)
	require.Equal(t, old.Prov.Fill, again.Prov.Fill)
}

func TestEveryStepAndFaultHasAName(t *testing.T) {
	r := newRig(t)
	for s := vtd.StepFrontEnd; s <= vtd.StepEventMessage; s++ {
		info := r.u.Describe(s)
		require.NotEmpty(t, info.Name)
		require.NotEmpty(t, info.Clause, info.Name)
	}
	require.Contains(t, r.u.FaultName(vtd.FaultContextAbsent), "LCT.2")
	require.Equal(t, "fault 0xfff", r.u.FaultName(0xfff))
	require.Equal(t, "step 999", r.u.Describe(999).Name)
}
