package entry_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/entry"
)

// unit is a VT-d that has everything.
var unit = entry.VTD{
	CAP: spec.CapND.Put(6) | spec.CapSAGAW.Put(spec.SAGAW39|spec.SAGAW48) | spec.CapMGAW.Put(47),
	ECAP: spec.EcapDT.Mask() | spec.EcapPT.Mask() | spec.EcapSC.Mask() | spec.EcapNEST.Mask() | spec.EcapPASID.Mask() |
		spec.EcapSMTS.Mask() | spec.EcapSSTS.Mask() | spec.EcapFSTS.Mask() | spec.EcapSMPWCS.Mask() |
		spec.EcapSSADS.Mask() | spec.EcapPRS.Mask() | spec.EcapRPS.Mask(),
	HAW: 46,
}

func ctx(tt, ptr, aw, did uint64) []uint64 {
	return []uint64{1 | spec.CtxTT.Put(tt) | ptr, spec.CtxAW.Put(aw) | spec.CtxDID.Put(did)}
}

func ss(ptr, did uint64) []uint64 {
	return []uint64{1 | spec.PasidAW.Put(2) | spec.PasidPGTT.Put(spec.PGTTSecond) | ptr, spec.PasidDID.Put(did), 0, 0, 0, 0, 0, 0}
}

func pt(did uint64) []uint64 {
	return []uint64{1 | spec.PasidAW.Put(2) | spec.PasidPGTT.Put(spec.PGTTPassThrough), spec.PasidDID.Put(did), 0, 0, 0, 0, 0, 0}
}

func fs(ptr, did uint64) []uint64 {
	return []uint64{1 | spec.PasidPGTT.Put(spec.PGTTFirst), spec.PasidDID.Put(did), spec.PasidNXE.Mask() | ptr, 0, 0, 0, 0, 0}
}

func nested(ssptr, fsptr, did uint64) []uint64 {
	return []uint64{1 | spec.PasidAW.Put(2) | spec.PasidPGTT.Put(spec.PGTTNested) | ssptr, spec.PasidDID.Put(did),
		spec.PasidNXE.Mask() | fsptr, 0, 0, 0, 0, 0}
}

func with(raw []uint64, b interface{ Set([]uint64, uint64) }, v uint64) []uint64 {
	raw = slices.Clone(raw)
	b.Set(raw, v)
	return raw
}

func TestPlan(t *testing.T) {
	privileged := unit
	privileged.ECAP |= spec.EcapRPRIVS.Mask()
	zero2, zero8 := make([]uint64, 2), make([]uint64, 8)
	for _, c := range []struct {
		name     string
		f        *entry.Format
		old, new []uint64
		verdict  entry.Verdict
		steps    string
		syncs    int
		reason   string
	}{
		{"context identical", unit.Context(), ctx(0, 0x1000, 2, 5), ctx(0, 0x1000, 2, 5), entry.VerdictNop, "", 0, ""},
		{"context ignored bits only", unit.Context(), ctx(0, 0x1000, 2, 5), with(ctx(0, 0x1000, 2, 5), spec.CtxAVAIL, 9), entry.VerdictNop, "", 0, ""},
		{"context pass-through, pointer ignored", unit.Context(), ctx(2, 0x1000, 2, 1), ctx(2, 0, 2, 1), entry.VerdictNop, "", 0, ""},
		{"context to another domain", unit.Context(), ctx(0, 0x1000, 2, 5), ctx(0, 0x2000, 2, 6), entry.VerdictHitless, "store16 all", 1, ""},
		{"context same domain id", unit.Context(), ctx(0, 0x1000, 2, 5), ctx(0, 0x2000, 2, 5), entry.VerdictHitless, "store8 all", 1, ""},
		{"context to pass-through", unit.Context(), ctx(0, 0x1000, 1, 5), ctx(2, 0, 2, 1), entry.VerdictHitless, "store16 all", 1, ""},
		{"context to nothing", unit.Context(), ctx(0, 0x1000, 2, 5), zero2, entry.VerdictHitless, "store8 all store16", 1, ""},
		{"context from nothing", unit.Context(), zero2, ctx(0, 0x1000, 2, 5), entry.VerdictHitless, "store16", 0, ""},
		{"context fault processing", unit.Context(), ctx(0, 0x1000, 2, 5), with(ctx(0, 0x1000, 2, 5), spec.CtxFPD, 1), entry.VerdictHitless, "store8 all", 1, ""},
		{"root", unit.Root(), []uint64{0x1001, 0}, []uint64{0x2001, 0}, entry.VerdictHitless, "store8 all", 1, ""},
		{"root half", unit.SMRootHalf(), []uint64{0x1001}, []uint64{0x2001}, entry.VerdictHitless, "store8 all", 1, ""},
		{"PASID directory", unit.PASIDDir(), []uint64{0}, []uint64{0x2001}, entry.VerdictHitless, "store8", 0, ""},
		{"SM context directory, RID_PRIV", privileged.SMContext(), []uint64{0x1001, 0, 0, 0}, []uint64{0x2001, 1 << 20, 0, 0}, entry.VerdictDisruptive, "store8 all store16", 1,
			"PASIDDIRPTR, RID_PRIV in unit 0: a cache can still hold what lies below the old content when hardware reads the new one"},
		{"SM context directory, any PASID", unit.SMContext(), []uint64{0x1009, 0, 0, 0}, []uint64{0x2009, 1, 0, 0}, entry.VerdictDisruptive, "store8 all store16", 1,
			"PASIDDIRPTR, RID_PASID in unit 0: a cache can still hold what lies below the old content when hardware reads the new one"},
		{"SM context directory", unit.SMContext(), []uint64{0x1001, 0, 0, 0}, []uint64{0x2001, 1, 0, 0}, entry.VerdictHitless, "store16 all", 1, ""},
		{"SS to SS", unit.PASID(), ss(0x1000, 5), ss(0x2000, 6), entry.VerdictHitless, "store16 all", 1, ""},
		{"SS to PT", unit.PASID(), ss(0x1000, 5), pt(1), entry.VerdictHitless, "store16 all", 1, ""},
		{"PT to SS", unit.PASID(), pt(1), ss(0x1000, 5), entry.VerdictHitless, "store16 all", 1, ""},
		{"SS to FS", unit.PASID(), ss(0x1000, 5), fs(0x2000, 6), entry.VerdictHitless, "store8 entry store16 all", 2, ""},
		{"SS to nested, same parent", unit.PASID(), ss(0x1000, 5), nested(0x1000, 0x7000, 6), entry.VerdictHitless, "store8 entry store16 all", 2, ""},
		{"PT to FS", unit.PASID(), pt(1), fs(0x2000, 6), entry.VerdictHitless, "store8 entry store16 all", 2, ""},
		{"FS to SS", unit.PASID(), fs(0x2000, 6), ss(0x1000, 5), entry.VerdictHitless, "store16 all store8", 1, ""},
		{"nested to PT", unit.PASID(), nested(0x1000, 0x7000, 6), pt(1), entry.VerdictHitless, "store16 all store8", 1, ""},
		{"FS to FS, same id", unit.PASID(), fs(0x2000, 6), fs(0x3000, 6), entry.VerdictHitless, "store8 all", 1, ""},
		{"FS to FS, same table", unit.PASID(), fs(0x2000, 6), fs(0x2000, 7), entry.VerdictHitless, "store8 all", 1, ""},
		{"FS to FS, new id", unit.PASID(), fs(0x2000, 6), fs(0x3000, 7), entry.VerdictDisruptive, "store8 all store8 store16", 1,
			"DID in unit 0 and FSPTPTR in unit 1: in use before and after, and no single 16-byte store changes all of it; no free id to go by"},
		{"FS to nested", unit.PASID(), fs(0x2000, 6), nested(0x1000, 0x7000, 6), entry.VerdictDisruptive, "store8 all store8 store8", 1,
			"PGTT in unit 0 and FSPTPTR in unit 1: in use before and after, and no single 16-byte store changes all of it"},
		{"FS to nothing", unit.PASID(), fs(0x2000, 6), zero8, entry.VerdictHitless, "store8 all store16 store8", 1, ""},
		{"FS from nothing", unit.PASID(), zero8, fs(0x2000, 6), entry.VerdictHitless, "store8 store16", 0, ""},
		{"SS dirty tracking on", unit.PASID(), ss(0x1000, 5), with(ss(0x1000, 5), spec.PasidSSADE, 1), entry.VerdictHitless, "store8 all", 1, ""},
		{"SS force snoop", unit.PASID(), ss(0x1000, 5), with(ss(0x1000, 5), spec.PasidPGSNP, 1), entry.VerdictHitless, "store8 all", 1, ""},
		{"FS table and FPD", unit.PASID(), fs(0x2000, 6), with(fs(0x3000, 6), spec.PasidFPD, 1), entry.VerdictHitless, "store8 store8 all", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := c.f.Plan(c.old, c.new, entry.Means{})
			require.NoError(t, err)
			require.Equal(t, c.verdict, p.Verdict, p.Reason)
			require.Equal(t, c.steps, shape(p))
			require.Equal(t, c.syncs, p.Syncs)
			require.Equal(t, c.reason, p.Reason)
			require.True(t, c.f.Same(p.Final(c.old), c.new))
			requirePlan(t, c.f, c.old, c.new, p)
		})
	}
}

// The store that makes an entry present is fenced: what it refers to is visible first.
func TestPlan_PresentLastBehindFence(t *testing.T) {
	p, err := unit.PASID().Plan(make([]uint64, 8), fs(0x2000, 6), entry.Means{})
	require.NoError(t, err)
	last := p.Steps[len(p.Steps)-1]
	require.Zero(t, last.Offset)
	require.True(t, last.Fence)
}

func TestPlan_Errors(t *testing.T) {
	for _, c := range []struct {
		name string
		f    *entry.Format
		new  []uint64
		want error
		text string
	}{
		{"size", unit.Context(), []uint64{1}, entry.ErrSize, "2 and 1 words, want 2"},
		{"context reserved", unit.Context(), []uint64{1 | 1<<4, spec.CtxAW.Put(2)}, entry.ErrIllegal, "reserved bits 0x10 set in word 0"},
		{"context AW", unit.Context(), ctx(0, 0x1000, 3, 5), entry.ErrIllegal, "address width code 3"},
		{"context pass-through AW", unit.Context(), ctx(2, 0, 1, 5), entry.ErrIllegal, "want 2"},
		{"context TT", unit.Context(), ctx(3, 0, 2, 5), entry.ErrIllegal, "TT=3"},
		{"context address", unit.Context(), ctx(0, 1<<46, 2, 5), entry.ErrIllegal, "wider than 46 bits"},
		{"PASID PGTT", unit.PASID(), with(ss(0x1000, 5), spec.PasidPGTT, 6), entry.ErrIllegal, "PGTT=6"},
		{"PASID FSPM", unit.PASID(), with(fs(0x1000, 5), spec.PasidFSPM, 1), entry.ErrIllegal, "FSPM=1"},
		{"nested PASID FSPTPTR", unit.PASID(), with(with(ss(0x1000, 5), spec.PasidPGTT, spec.PGTTNested), spec.PasidFSPTPTR, 1<<36), entry.ErrIllegal,
			"FSPTPTR 0x1000000000000 is beyond the 48 bits of the second stage"},
		{"PASID ERE without ERS", unit.PASID(), with(fs(0x1000, 5), spec.PasidERE, 1), entry.ErrIllegal, "[ERE]"},
		{"SM context RID_PASID", unit.SMContext(), []uint64{0x1001, 1 << 13, 0, 0}, entry.ErrIllegal, "beyond the directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.f.Plan(make([]uint64, c.f.Words), c.new, entry.Means{})
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
		})
	}
	caching := unit
	caching.CAP |= spec.CapCM.Mask()
	_, err := caching.Context().Plan(make([]uint64, 2), ctx(0, 0x1000, 2, 0), entry.Means{})
	require.ErrorContains(t, err, "domain 0 in caching mode")
}

func TestVTDQuirk45_SecondStageMovesInOneStoreFirstStageDoesNot(t *testing.T) {
	p, err := unit.PASID().Plan(ss(0x1000, 5), ss(0x2000, 6), entry.Means{})
	require.NoError(t, err)
	require.Equal(t, "store16 all", shape(p))
	p, err = unit.PASID().Plan(fs(0x1000, 5), fs(0x2000, 6), entry.Means{})
	require.NoError(t, err)
	require.Equal(t, entry.VerdictDisruptive, p.Verdict)
}

func TestVTDQuirk46_TwoStepPlanWaitsBetweenTheSteps(t *testing.T) {
	p, err := unit.PASID().Plan(ss(0x1000, 5), fs(0x2000, 6), entry.Means{})
	require.NoError(t, err)
	require.Equal(t, entry.OpSyncEntry, p.Steps[1].Op)
}

func TestVTDQuirk44_RetiringClearsOnlyPFirst(t *testing.T) {
	old := ss(0x1000, 5)
	p, err := unit.PASID().Plan(old, make([]uint64, 8), entry.Means{})
	require.NoError(t, err)
	require.Equal(t, old[0]&^1, p.States[0][0])
	require.Equal(t, old[1:], p.States[0][1:])
	require.Equal(t, entry.OpSyncAll, p.Steps[1].Op)
}

func genPASID(t *rapid.T, label string) []uint64 {
	ptr := func(s string) uint64 { return rapid.Uint64Range(1, 3).Draw(t, label+s) << 12 }
	did := rapid.Uint64Range(4, 6).Draw(t, label+"did")
	var e []uint64
	switch rapid.IntRange(0, 4).Draw(t, label+"type") {
	case 0:
		e = make([]uint64, 8)
		e[0] = ptr("junk") &^ 1
		e[2] = ptr("junk2")
	case 1:
		e = ss(ptr("ss"), did)
	case 2:
		e = fs(ptr("fs"), did)
	case 3:
		e = nested(ptr("ss"), ptr("fs"), did)
	default:
		e = pt(did)
	}
	for _, b := range []interface{ Set([]uint64, uint64) }{spec.PasidFPD, spec.PasidSSADE, spec.PasidPGSNP, spec.PasidNXE, spec.PasidWPE} {
		if rapid.Bool().Draw(t, label+"flag") {
			b.Set(e, 1)
		}
	}
	return e
}

func genContext(t *rapid.T, label string) []uint64 {
	e := ctx(rapid.SampledFrom([]uint64{0, 1, 2}).Draw(t, label+"tt"), rapid.Uint64Range(1, 3).Draw(t, label+"ptr")<<12, 2,
		rapid.Uint64Range(4, 6).Draw(t, label+"did"))
	e[0] &^= rapid.Uint64Range(0, 1).Draw(t, label+"absent")
	e[0] |= rapid.Uint64Range(0, 1).Draw(t, label+"fpd") << 1
	return e
}

// Every mixture of units that a reader can assemble during a hitless plan is the old entry or the new
// one; and a plan is disruptive only if two units have to change at once.
func TestPlan_EveryMixtureIsOldOrNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, gen := unit.PASID(), genPASID
		if rapid.Bool().Draw(t, "context") {
			f, gen = unit.Context(), genContext
		}
		old, new := gen(t, "old "), gen(t, "new ")
		p, err := f.Plan(old, new, entry.Means{})
		require.NoError(t, err)
		requirePlan(t, f, old, new, p)
		b, err := f.PlanBlocked(old, new)
		require.NoError(t, err)
		requirePlan(t, f, old, new, b)
	})
}
