package entry_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host/entry"
)

// smmu is an SMMUv3 with both stages, 48-bit addresses, 20-bit SubstreamIDs, stalls and ATS.
var smmu = entry.SMMUv3{
	IDR0: uint32(spec.Idr0S2P.Mask() | spec.Idr0S1P.Mask() | spec.Idr0TTF.Put(spec.TTFAArch64) | spec.Idr0HTTU.Put(spec.HTTUDirty) |
		spec.Idr0HYP.Mask() | spec.Idr0ATS.Mask() | spec.Idr0ASID16.Mask() | spec.Idr0VMID16.Mask() | spec.Idr0CD2L.Mask() |
		spec.Idr0TTENDIAN.Put(spec.TTEndianLE) | spec.Idr0PRI.Mask() | spec.Idr0STLevel.Put(spec.STLevel2)),
	IDR1: uint32(spec.Idr1SIDSIZE.Put(16) | spec.Idr1SSIDSIZE.Put(20) | spec.Idr1AttrTypesOvr.Mask() | spec.Idr1AttrPermsOvr.Mask()),
	IDR3: uint32(spec.Idr3HAD.Mask() | spec.Idr3XNX.Mask() | spec.Idr3FWB.Mask() | spec.Idr3RIL.Mask() | spec.Idr3BBML.Put(2)),
	IDR5: uint32(spec.Idr5OAS.Put(5) | spec.Idr5GRAN4K.Mask() | spec.Idr5GRAN16K.Mask() | spec.Idr5GRAN64K.Mask()),
}

// wideSMMU is read and stored 16 bytes at a time.
var wideSMMU = func() entry.SMMUv3 { v := smmu; v.Wide = true; return v }()

// val is a field with a value.
type val struct {
	bits reg.Bits
	v    uint64
}

func words8(list []val) []uint64 {
	raw := make([]uint64, 8)
	for _, f := range list {
		f.bits.Set(raw, f.v)
	}
	return raw
}

// ste is a valid STE.
func ste(config uint64, list ...val) []uint64 {
	return words8(append([]val{{spec.SteV, 1}, {spec.SteConfig, config}}, list...))
}

var steAbort, steBypass = ste(spec.ConfigAbort), ste(spec.ConfigBypass, val{spec.SteSHCFG, spec.ShCfgIncoming})

// ste1 is a stage 1 with its CD at cd.
func ste1(cd, vmid uint64, more ...val) []uint64 {
	return ste(spec.ConfigS1, append([]val{
		{spec.SteS1Context, cd >> 6}, {spec.SteS1CIR, 1}, {spec.SteS1COR, 1}, {spec.SteS1CSH, 3}, {spec.SteS2VMID, vmid},
	}, more...)...)
}

// stage2 are the fields of a stage 2 of 48 bits.
func stage2(ttb, vmid uint64) []val {
	return []val{
		{spec.SteSHCFG, spec.ShCfgIncoming}, {spec.SteS2VMID, vmid}, {spec.SteS2T0SZ, 16}, {spec.SteS2SL0, 2}, {spec.SteS2IR0, 1}, {spec.SteS2OR0, 1},
		{spec.SteS2SH0, 3}, {spec.SteS2PS, 5}, {spec.SteS2AA64, 1}, {spec.SteS2PTW, 1}, {spec.SteS2R, 1}, {spec.SteS2TTB, ttb >> 4},
	}
}

func ste2(ttb, vmid uint64, more ...val) []uint64 {
	return ste(spec.ConfigS2, append(stage2(ttb, vmid), more...)...)
}

// ste12 is nested: CDs at an address of stage 2.
func ste12(cd, ttb, vmid uint64) []uint64 {
	return ste(spec.ConfigNested, append(stage2(ttb, vmid), []val{
		{spec.SteS1Context, cd >> 6}, {spec.SteS1CIR, 1}, {spec.SteS1COR, 1}, {spec.SteS1CSH, 3},
	}...)...)
}

// cd is a CD with its lower half at ttb.
func cd(ttb, asid uint64, more ...val) []uint64 {
	return words8(append([]val{
		{spec.CdV, 1}, {spec.CdT0SZ, 16}, {spec.CdIR0, 1}, {spec.CdOR0, 1}, {spec.CdSH0, 3}, {spec.CdEPD1, 1}, {spec.CdIPS, 5}, {spec.CdAA64, 1},
		{spec.CdR, 1}, {spec.CdA, 1}, {spec.CdASET, 1}, {spec.CdASID, asid}, {spec.CdTTB0, ttb >> 4}, {spec.CdMAIR0, 0xff44}, {spec.CdMAIR1, 4},
	}, more...))
}

func withVals(raw []uint64, list ...val) []uint64 {
	raw = slices.Clone(raw)
	for _, f := range list {
		f.bits.Set(raw, f.v)
	}
	return raw
}

func TestPlan_SMMUv3(t *testing.T) {
	zero := make([]uint64, 8)
	s, c := smmu.STE(), smmu.CD(nil)
	for _, x := range []struct {
		name     string
		f        *entry.Format
		old, new []uint64
		m        entry.Means
		verdict  entry.Verdict
		steps    string
		syncs    int
		reason   string
	}{
		{"stage 1 to a fresh CD table", s, ste1(0x1000, 0), ste1(0x2000, 0), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"stage 1, ignored bits only", s, ste1(0x1000, 0), ste1(0x1000, 0, val{spec.SteSHCFG, 1}, val{spec.SteS2TTB, 99}, val{spec.SteSWReserved, 3}),
			entry.Means{}, entry.VerdictNop, "", 0, ""},
		{"stage 1, events may be merged", s, ste1(0x1000, 0), ste1(0x1000, 0, val{spec.SteMEV, 1}), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"stage 1, ATS on", s, ste1(0x1000, 0), ste1(0x1000, 0, val{spec.SteEATS, 1}), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"stage 1 to a fresh CD table with ATS", s, ste1(0x1000, 0), ste1(0x2000, 0, val{spec.SteEATS, 1}), entry.Means{}, entry.VerdictHitless,
			"store8 store8 all", 1, ""},
		{"nested to split-stage ATS with other CDs", s, ste12(0x1000, 0x4000, 7), withVals(ste12(0x2000, 0x4000, 7), val{spec.SteEATS, 2}), entry.Means{}, entry.VerdictDisruptive,
			"store8 all store8 entry store8", 2, "S1ContextPtr in unit 0 and EATS in unit 1: in use before and after, and no single 8-byte store changes all of it"},
		{"bypass to stage 1", s, steBypass, ste1(0x1000, 0), entry.Means{}, entry.VerdictHitless, "store8 entry store8 all store8", 2, ""},
		{"stage 1 to bypass", s, ste1(0x1000, 0), steBypass, entry.Means{}, entry.VerdictHitless, "store8 entry store8 all store8", 2, ""},
		{"bypass to stage 2", s, steBypass, ste2(0x4000, 7), entry.Means{}, entry.VerdictHitless, "store8 store8 entry store8 all", 2, ""},
		{"stage 2 to bypass", s, ste2(0x4000, 7), steBypass, entry.Means{}, entry.VerdictHitless, "store8 all store8 store8", 1, ""},
		{"abort to stage 1", s, steAbort, ste1(0x1000, 0), entry.Means{}, entry.VerdictHitless, "store8 entry store8", 1, ""},
		{"nothing to stage 2", s, zero, ste2(0x4000, 7), entry.Means{}, entry.VerdictHitless, "store8 store8 store8 entry store8", 1, ""},
		{"stage 1 to abort", s, ste1(0x1000, 0), steAbort, entry.Means{}, entry.VerdictHitless, "store8 all store8 store8", 1, ""},
		{"stage 2 to nothing", s, ste2(0x4000, 7), zero, entry.Means{}, entry.VerdictHitless, "store8 all store8 store8 store8 store8", 1, ""},
		{"stage 2, same VMID", s, ste2(0x4000, 7), ste2(0x8000, 7), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"stage 2, same tables", s, ste2(0x4000, 7), ste2(0x4000, 8), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"stage 2", s, ste2(0x4000, 7), ste2(0x8000, 8), entry.Means{}, entry.VerdictDisruptive, "store8 all store8 store8 entry store8", 2,
			"S2VMID in unit 2 and S2TTB in unit 3: in use before and after, and no single 8-byte store changes all of it; no free id to go by"},
		{"stage 2, temporary VMID", s, ste2(0x4000, 7), ste2(0x8000, 8), entry.Means{Temp: 9}, entry.VerdictHitless, "store8 entry store8 entry store8 all", 3, ""},
		{"stage 2, old VMID alone", s, ste2(0x4000, 7), ste2(0x8000, 8), entry.Means{OldAlone: true}, entry.VerdictHitless, "store8 entry store8 all", 2, ""},
		{"stage 2, new VMID alone", s, ste2(0x4000, 7), ste2(0x8000, 8), entry.Means{NewAlone: true}, entry.VerdictHitless, "store8 entry store8 all", 2, ""},
		{"stage 2, narrower", s, ste2(0x4000, 7), ste2(0x8000, 8, val{spec.SteS2T0SZ, 25}, val{spec.SteS2SL0, 1}), entry.Means{Temp: 9}, entry.VerdictDisruptive,
			"store8 all store8 store8 entry store8", 2, "S2VMID, S2T0SZ, S2SL0 in unit 2 and S2TTB in unit 3: in use before and after, and no single 8-byte store changes all of it"},
		{"stage 2, 16 bytes at a time", wideSMMU.STE(), ste2(0x4000, 7), ste2(0x8000, 8), entry.Means{}, entry.VerdictHitless, "store16 all", 1, ""},
		{"stage 2 to nested, same parent", s, ste2(0x4000, 7), ste12(0x1000, 0x4000, 7), entry.Means{}, entry.VerdictHitless, "store8 entry store8 all", 2, ""},
		{"nested to stage 2, same parent", s, ste12(0x1000, 0x4000, 7), ste2(0x4000, 7), entry.Means{}, entry.VerdictHitless, "store8 all store8", 1, ""},
		{"nested, same parent", s, ste12(0x1000, 0x4000, 7), ste12(0x2000, 0x4000, 7), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"stage 1 to stage 2", s, ste1(0x1000, 0), ste2(0x4000, 7), entry.Means{}, entry.VerdictDisruptive, "store8 all store8 store8 store8 entry store8", 2,
			"Config in unit 0 and S2VMID in unit 2: in use before and after, and no single 8-byte store changes all of it; no free id to go by"},
		{"stage 1 to stage 2, same VMID", s, ste1(0x1000, 7), ste2(0x4000, 7), entry.Means{}, entry.VerdictHitless, "store8 store8 store8 entry store8 all store8", 2, ""},
		{"stage 1 to stage 2, new VMID alone", s, ste1(0x1000, 0), ste2(0x4000, 7), entry.Means{NewAlone: true}, entry.VerdictHitless,
			"store8 store8 store8 store8 entry store8 all store8", 2, ""},
		{"stage 1 to nested, same VMID", s, ste1(0x1000, 7), ste12(0x2000, 0x4000, 7), entry.Means{}, entry.VerdictDisruptive, "store8 all store8 store8 store8 entry store8", 2,
			"Config, S1ContextPtr in unit 0: a cache can still hold what lies below the old content when hardware reads the new one"},
		{"stage 1 to nested, CDs at the same number", s, ste1(0x1000, 7), ste12(0x1000, 0x4000, 7), entry.Means{}, entry.VerdictDisruptive, "store8 all store8 store8 store8 entry store8", 2,
			"Config in unit 0: a cache can still hold what lies below the old content when hardware reads the new one"},
		{"CD", c, cd(0x4000, 1), cd(0x8000, 2), entry.Means{}, entry.VerdictDisruptive, "store8 all store8 entry store8", 2,
			"ASID in unit 0 and TTB0 in unit 1: in use before and after, and no single 8-byte store changes all of it; no free id to go by"},
		{"CD, temporary ASID", c, cd(0x4000, 1), cd(0x8000, 2), entry.Means{Temp: 3}, entry.VerdictHitless, "store8 entry store8 entry store8 all", 3, ""},
		{"CD, old ASID alone", c, cd(0x4000, 1), cd(0x8000, 2), entry.Means{OldAlone: true}, entry.VerdictHitless, "store8 entry store8 all", 2, ""},
		{"CD, 16 bytes at a time", wideSMMU.CD(nil), cd(0x4000, 1), cd(0x8000, 2), entry.Means{}, entry.VerdictHitless, "store16 all", 1, ""},
		{"CD, same ASID", c, cd(0x4000, 1), cd(0x8000, 1), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"CD, MAIR", c, cd(0x4000, 1), cd(0x4000, 1, val{spec.CdMAIR1, 0xf4}), entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"CD, upper half ignored", c, cd(0x4000, 1), cd(0x4000, 1, val{spec.CdTTB1, 0x99}, val{spec.CdT1SZ, 3}), entry.Means{}, entry.VerdictNop, "", 0, ""},
		{"CD, lower half off", c, cd(0x4000, 1), cd(0, 1, val{spec.CdEPD0, 1}, val{spec.CdT0SZ, 0}, val{spec.CdIR0, 0}), entry.Means{}, entry.VerdictHitless, "store8 all store8", 1, ""},
		{"CD from nothing", c, zero, cd(0x4000, 1), entry.Means{}, entry.VerdictHitless, "store8 store8 entry store8", 1, ""},
		{"CD to nothing", c, cd(0x4000, 1), zero, entry.Means{}, entry.VerdictHitless, "store8 all store8 store8 store8", 1, ""},
		{"L1STD from nothing", smmu.L1STD(), []uint64{0}, []uint64{0x10_0000 | 9}, entry.Means{}, entry.VerdictHitless, "store8", 0, ""},
		{"L1STD to another table", smmu.L1STD(), []uint64{0x10_0000 | 9}, []uint64{0x20_0000 | 9}, entry.Means{}, entry.VerdictHitless, "store8 all", 1, ""},
		{"L1CD to nothing", smmu.L1CD(), []uint64{0x10_0001}, []uint64{0}, entry.Means{}, entry.VerdictHitless, "store8 all store8", 1, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p, err := x.f.Plan(x.old, x.new, x.m)
			require.NoError(t, err)
			require.Equal(t, x.verdict, p.Verdict, p.Reason)
			require.Equal(t, x.reason, p.Reason)
			require.Equal(t, x.steps, shape(p))
			require.Equal(t, x.syncs, p.Syncs)
		})
	}
}

// Each rule of 5.2 and 5.4 that makes an entry ILLEGAL, and those of reserved fields.
func TestLegal_SMMUv3(t *testing.T) {
	poor := entry.SMMUv3{
		IDR0: uint32(spec.Idr0S2P.Mask() | spec.Idr0S1P.Mask() | spec.Idr0TTF.Put(spec.TTFAArch64) | spec.Idr0TTENDIAN.Put(spec.TTEndianLE) |
			spec.Idr0StallModel.Put(spec.StallNever) | spec.Idr0TermModel.Mask()),
		IDR1: uint32(spec.Idr1SIDSIZE.Put(8)),
		IDR5: uint32(spec.Idr5OAS.Put(2) | spec.Idr5GRAN4K.Mask()),
	}
	stalls := poor
	stalls.IDR0 = uint32(spec.Idr0StallModel.Put(spec.StallAlways)) | poor.IDR0&^uint32(spec.Idr0StallModel.Mask())
	only := func(idr0 reg.Bits) entry.SMMUv3 {
		v := smmu
		v.IDR0 &^= uint32(idr0.Mask())
		return v
	}
	flat2 := []val{{spec.SteS2T0SZ, 24}, {spec.SteS2SL0, 1}, {spec.SteSHCFG, 0}}
	for _, c := range []struct {
		f    *entry.Format
		raw  []uint64
		want string
	}{
		{smmu.STE(), make([]uint64, 8), ""},
		{smmu.STE(), words8([]val{{spec.SteSTRW, 3}, {spec.SteConfig, 7}}), ""},
		{smmu.STE(), steAbort, ""},
		{smmu.STE(), steBypass, ""},
		{smmu.STE(), ste(2), "reserved Config=2"},
		{smmu.STE(), ste(4, val{spec.SteCONT, 1}), "CONT=1"},
		{smmu.STE(), ste(4, val{spec.SteNSCFG, 1}), "[NSCFG] needs Secure streams"},
		{smmu.STE(), ste(4, val{spec.SteMECID, 1}), "[MECID] needs RME_IMPL"},
		{smmu.STE(), ste(4, val{reg.Bits(256_256), 1}), "reserved bits 0x1 set in word 4"},
		{poor.STE(), steBypass, "[SHCFG] needs ATTR_TYPES_OVR"},
		{poor.STE(), ste(4), ""},
		{only(spec.Idr0S1P).STE(), ste1(0x1000, 0), "stage 1 is not supported"},
		{only(spec.Idr0S2P).STE(), ste2(0x4000, 7), "stage 2 is not supported"},
		{only(spec.Idr0S2P).STE(), ste1(0x1000, 0), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteEATS, 1}), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteEATS, 2}), "EATS=2 needs both stages"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteEATS, 3}), "EATS=3 needs device permission tables"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteEATS, 1}, val{spec.SteS2S, 1}), "EATS=1 with S2S=1"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2S, 1}), ""},
		{smmu.STE(), ste12(0x1000, 0x4000, 7), ""},
		{smmu.STE(), withVals(ste12(0x1000, 0x4000, 7), val{spec.SteEATS, 2}), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteSTRW, 2}), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteSTRW, 1}), "STRW=1 is reserved"},
		{only(spec.Idr0VMID16).STE(), ste1(0x1000, 0x100), "S2VMID 0x100 of 8 bits"},
		{only(spec.Idr0VMID16).STE(), ste1(0x1000, 0x100, val{spec.SteSTRW, 2}), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1STALLD, 1}), ""},
		{poor.STE(), ste1(0x1000, 0, val{spec.SteS1STALLD, 1}), "S1STALLD=1 with STALL_MODEL=1"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 21}), "S1CDMax 21, SubstreamIDs have 20 bits"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 6}, val{spec.SteS1DSS, 2}), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 7}), "S1ContextPtr 0x1000 is not aligned to the 8192 bytes"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 7}, val{spec.SteS1Fmt, 1}), ""},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 20}, val{spec.SteS1Fmt, 2}), "not aligned to the 8192 bytes"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 6}, val{spec.SteS1Fmt, 3}), "S1Fmt=3"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 6}, val{spec.SteS1DSS, 3}), "S1DSS=3 is reserved"},
		{only(spec.Idr0CD2L).STE(), ste1(0x1000, 0, val{spec.SteS1CDMax, 6}, val{spec.SteS1Fmt, 1}), "S1Fmt=1"},
		{smmu.STE(), ste1(0x1000, 0, val{spec.SteS1Fmt, 3}), ""},
		{smmu.STE(), ste1(1<<48, 0), "S1ContextPtr 0x1000000000000 is wider than 48 bits"},
		{poor.STE(), ste1(1<<40, 0), "wider than 40 bits"},
		{poor.STE(), ste2(0x4000, 7, append(flat2, val{spec.SteS2S, 1})...), "S2S=1 with STALL_MODEL=1"},
		{stalls.STE(), ste2(0x4000, 7, flat2...), "S2S=0 with STALL_MODEL=2"},
		{poor.STE(), ste2(0x4000, 7, flat2...), ""},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2AA64, 0}), "S2AA64=0"},
		{poor.STE(), ste2(0x4000, 7, append(flat2, val{spec.SteS2HA, 1})...), "HA=true, HD=false with HTTU=0"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2HA, 1}, val{spec.SteS2HD, 1}), ""},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2ENDI, 1}), "ENDI=true with TTENDIAN=2"},
		{poor.STE(), ste2(0x4000, 7, append(flat2, val{spec.SteS2TG, 2})...), "granule of 2^14 bytes is not supported"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2TG, 3}), "granule of 2^0 bytes"},
		{poor.STE(), ste2(0x4000, 7, val{spec.SteSHCFG, 0}), "S2T0SZ 16, want 24 to 39"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2T0SZ, 40}), "S2T0SZ 40, want 16 to 39"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2SL0, 3}), "S2SL0 3 is reserved"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2SL0, 1}), "S2T0SZ 16 does not go with a walk from level 2"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2T0SZ, 34}, val{spec.SteS2SL0, 1}), "S2T0SZ 34 does not go with"},
		{smmu.STE(), ste2(0x4000, 7, val{spec.SteS2T0SZ, 21}, val{spec.SteS2SL0, 1}), "S2TTB 0x4000 is not aligned to the 65536 bytes"},
		{smmu.STE(), ste2(0x1_0000, 7, val{spec.SteS2T0SZ, 21}, val{spec.SteS2SL0, 1}), ""},
		{smmu.STE(), ste2(1<<40, 7, val{spec.SteS2PS, 2}), "S2TTB 0x10000000000 is wider than 40 bits"},
		{smmu.CD(nil), make([]uint64, 8), ""},
		{smmu.CD(nil), cd(0x4000, 1), ""},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdNSCFG0, 1}), "[NSCFG0] needs Secure streams"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdE0PD0, 1}), "[E0PD0] needs E0PD"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdS, 1}), ""},
		{smmu.CD(ste1(0, 0, val{spec.SteS1STALLD, 1})), cd(0x4000, 1, val{spec.CdS, 1}), "S=1 under an STE with S1STALLD=1"},
		{poor.CD(nil), cd(0x4000, 1, val{spec.CdS, 1}), "STALL_MODEL=1 with S=1"},
		{stalls.CD(nil), cd(0x4000, 1), "STALL_MODEL=2 with S=0"},
		{poor.CD(nil), cd(0x4000, 1, val{spec.CdA, 0}), "A=0 with TERM_MODEL=1"},
		{poor.CD(nil), cd(0x4000, 0x100), "ASID 0x100 of 8 bits"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdAA64, 0}), "AA64=0"},
		{poor.CD(nil), cd(0x4000, 1, val{spec.CdHA, 1}), "HA=true, HD=false with HTTU=0"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdENDI, 1}), "ENDI=true with TTENDIAN=2"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdTG0, 3}), "TTB0: granule of 2^0 bytes"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdT0SZ, 15}), "TTB0: TxSZ 15, want 16 to 39"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdT0SZ, 15}, val{spec.CdEPD0, 1}), ""},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdEPD1, 0}, val{spec.CdT1SZ, 16}), "TTB1: granule of 2^0 bytes"},
		{smmu.CD(nil), cd(0x4000, 1, val{spec.CdEPD1, 0}, val{spec.CdT1SZ, 16}, val{spec.CdTG1, 2}), ""},
		{smmu.CD(ste1(0, 0, val{spec.SteSTRW, 2})), cd(0x4000, 1, val{spec.CdEPD1, 0}), ""},
		{smmu.CD(nil), cd(1<<42, 1, val{spec.CdIPS, 2}), "TTB0: table 0x40000000000 is wider than 40 bits"},
		{smmu.L1STD(), []uint64{0}, ""},
		{smmu.L1STD(), []uint64{0x4000 | 9}, ""},
		{smmu.L1STD(), []uint64{0x1000 | 9}, "L2Ptr 0x1000 of 256 STEs is not aligned"},
		{smmu.L1STD(), []uint64{12}, "reserved Span 12"},
		{smmu.L1STD(), []uint64{0x20}, "reserved bits 0x20"},
		{poor.L1STD(), []uint64{1<<40 | 1}, "wider than 40 bits"},
		{smmu.L1CD(), []uint64{0}, ""},
		{smmu.L1CD(), []uint64{0x1001}, ""},
		{smmu.L1CD(), []uint64{0x1003}, "reserved bits 0x2"},
		{poor.L1CD(), []uint64{1<<40 | 1}, "wider than 40 bits"},
	} {
		_, err := c.f.Plan(make([]uint64, c.f.Words), c.raw, entry.Means{})
		if c.want == "" {
			require.NoError(t, err, "%x", c.raw)
			continue
		}
		require.ErrorIs(t, err, entry.ErrIllegal, c.want)
		require.ErrorContains(t, err, c.want)
	}
}

func genSTE(t *rapid.T, label string) []uint64 {
	ptr := func(s string) uint64 { return rapid.Uint64Range(1, 2).Draw(t, label+s) << 14 }
	vmid := rapid.Uint64Range(4, 6).Draw(t, label+"vmid")
	var e []uint64
	switch rapid.IntRange(0, 6).Draw(t, label+"type") {
	case 0:
		e = withVals(ste12(ptr("cd"), ptr("ttb"), vmid), val{spec.SteV, 0})
	case 1:
		e = withVals(ste2(ptr("ttb"), vmid), val{spec.SteConfig, 0})
	case 2:
		e = slices.Clone(steBypass)
	case 3:
		e = ste1(ptr("cd"), vmid)
	case 4:
		e = ste2(ptr("ttb"), vmid)
	default:
		e = ste12(ptr("cd"), ptr("ttb"), vmid)
	}
	for _, b := range []reg.Bits{spec.SteMEV, spec.SteEATS, spec.SteSWReserved, spec.SteS2HA, spec.SteS1CDMax} {
		if rapid.Bool().Draw(t, label+"flag") {
			b.Set(e, 1)
		}
	}
	return e
}

// Quirk 65: an STE of stage 1 uses S2VMID, so that between stage 1 and stage 2 two words change unless the
// VMIDs are one; SHCFG counts at stage 1 where requests without SubstreamID bypass it.
func TestSMMUQuirk65_S2VMIDCountsAtStage1(t *testing.T) {
	f := smmu.STE()
	for _, c := range []struct {
		name     string
		old, new []uint64
		linux    entry.Verdict
	}{
		{"stage 1 to stage 2, VMIDs differ", ste1(0x1000, 0), ste2(0x4000, 7), entry.VerdictDisruptive},
		{"stage 2 to stage 1, VMIDs differ", ste2(0x4000, 7), ste1(0x1000, 0), entry.VerdictDisruptive},
		{"stage 1 to stage 2, one VMID", ste1(0x1000, 7), ste2(0x4000, 7), entry.VerdictHitless},
		{"stage 2 to stage 1, one VMID", ste2(0x4000, 7), ste1(0x1000, 7), entry.VerdictHitless},
		{"stage 2 to nested, one VMID", ste2(0x4000, 7), ste12(0x1000, 0x4000, 7), entry.VerdictHitless},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := f.PlanLinux(c.old, c.new)
			require.NoError(t, err)
			require.Equal(t, c.linux, p.Verdict, p.Reason)
			requirePlan(t, f, c.old, c.new, p)
		})
	}
	used := func(raw []uint64, b reg.Bits) bool {
		mask := make([]uint64, 8)
		f.Used(raw, mask)
		return b.Get(mask) != 0
	}
	require.True(t, used(ste1(0x1000, 7), spec.SteS2VMID))
	require.False(t, used(ste1(0x1000, 7, val{spec.SteSTRW, spec.STRWEL2}), spec.SteS2VMID))
	require.False(t, used(ste1(0x1000, 7), spec.SteSHCFG))
	require.True(t, used(ste1(0x1000, 7, val{spec.SteS1CDMax, 1}, val{spec.SteS1DSS, spec.DSSBypass}), spec.SteSHCFG))
}

func genCD(t *rapid.T, label string) []uint64 {
	ptr := func(s string) uint64 { return rapid.Uint64Range(1, 2).Draw(t, label+s) << 14 }
	e := cd(ptr("ttb"), rapid.Uint64Range(4, 6).Draw(t, label+"asid"))
	for _, v := range []val{{spec.CdV, 0}, {spec.CdMAIR1, 7}, {spec.CdT0SZ, 25}, {spec.CdEPD0, 1}, {spec.CdTTB1, 5}, {spec.CdHA, 1}} {
		if rapid.IntRange(0, 3).Draw(t, label+"field") == 0 {
			v.bits.Set(e, v.v)
		}
	}
	return e
}

// Whatever is rewritten, by whatever means and whoever writes: a reader that reads each word at a moment of
// its own sees the old or the new content, or that the entry blocks if the plan says so; and nothing is
// left of the old one.
func TestSMMUv3_EveryPlanIsCleanToTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SampledFrom([]entry.SMMUv3{smmu, wideSMMU}).Draw(t, "unit")
		f, gen := v.STE(), genSTE
		if rapid.Bool().Draw(t, "CD") {
			f, gen = v.CD(nil), genCD
		}
		old, new := gen(t, "old "), gen(t, "new ")
		p, err := f.Plan(old, new, entry.Means{})
		require.NoError(t, err)
		requirePlan(t, f, old, new, p)
		requireIDs(t, f, old, new, p, entry.Means{})
		m := entry.Means{OldAlone: rapid.Bool().Draw(t, "old alone"), NewAlone: rapid.Bool().Draw(t, "new alone")}
		if rapid.Bool().Draw(t, "temp") {
			m.Temp = temp
		}
		p, err = f.Plan(old, new, m)
		require.NoError(t, err)
		requireIDs(t, f, old, new, p, m)
		for _, plan := range []func(old, new []uint64) (entry.Plan, error){f.PlanBlocked, f.PlanLinux} {
			b, err := plan(old, new)
			require.NoError(t, err)
			requirePlan(t, f, old, new, b)
			requireIDs(t, f, old, new, b, entry.Means{})
		}
	})
}

// What Linux does: one word decides, or V=0.
func TestWriters_SMMUv3(t *testing.T) {
	zero := make([]uint64, 8)
	for _, c := range []struct {
		name     string
		w        entry.Writer
		f        *entry.Format
		old, new []uint64
		log      []string
		verdict  entry.Verdict
	}{
		{"linux, fresh CD table", entry.Linux, smmu.STE(), ste1(0x1000, 0), ste1(0x2000, 0), []string{"0", "all 1"}, entry.VerdictHitless},
		{"linux, bypass to stage 1", entry.Linux, smmu.STE(), steBypass, ste1(0x1000, 0), []string{"1", "entry", "0", "entry", "1", "all 1"}, entry.VerdictHitless},
		{"linux, stage 2", entry.Linux, smmu.STE(), ste2(0x4000, 7), ste2(0x8000, 8),
			[]string{"0", "all 1", "2", "3", "entry", "0", "install 1"}, entry.VerdictDisruptive},
		{"linux, stage 1 to 2", entry.Linux, smmu.STE(), ste1(0x1000, 0), ste2(0x8000, 8),
			[]string{"0", "all 1", "1", "2", "3", "entry", "0", "install 1"}, entry.VerdictDisruptive},
		{"linux, CD", entry.Linux, smmu.CD(nil), cd(0x4000, 1), cd(0x8000, 2),
			[]string{"0", "all 1", "1", "entry", "0", "install 1"}, entry.VerdictDisruptive},
		{"linux, table of a CD", entry.Linux, smmu.CD(nil), cd(0x4000, 1), cd(0x8000, 1), []string{"1", "all 1"}, entry.VerdictHitless},
		{"linux, first use", entry.Linux, smmu.STE(), zero, ste1(0x1000, 0), []string{"1", "entry", "0", "install 1"}, entry.VerdictHitless},
		{"linux, retire", entry.Linux, smmu.STE(), ste1(0x1000, 0), steAbort, []string{"0", "entry", "1", "all 1"}, entry.VerdictHitless},
		{"breakmake, CD", entry.BreakMake, smmu.CD(nil), cd(0x4000, 1), cd(0x8000, 2),
			[]string{"0", "all 0", "1", "entry", "0", "install 0"}, entry.VerdictDisruptive},
		{"naive, CD", entry.Naive, smmu.CD(nil), cd(0x4000, 1), cd(0x8000, 2),
			[]string{"0", "1", "2", "3", "4", "5", "6", "7", "all 0"}, entry.VerdictDisruptive},
		{"hitless, stage 2 without means", entry.Hitless, smmu.STE(), ste2(0x4000, 7), ste2(0x8000, 8),
			[]string{"0", "all 0", "2", "3", "entry", "0", "install 0"}, entry.VerdictDisruptive},
	} {
		m, r, err := rewrite(c.f, c.w, c.old, c.new)
		require.NoError(t, err, c.name)
		require.Equal(t, c.log, m.log, c.name)
		require.Equal(t, c.verdict, r.Verdict, c.name)
		require.Equal(t, c.new, m.mem, c.name)
	}
}
