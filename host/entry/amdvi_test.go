package entry_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	amd "github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/host/entry"
)

// amdUnit is an AMD-Vi that has everything.
var amdUnit = entry.AMDVi{
	EFR: amd.EfrGTSup.Mask() | amd.EfrGIoSup.Mask() | amd.EfrPPRSup.Mask() | amd.EfrEPHSup.Mask() | amd.EfrHASup.Mask() |
		amd.EfrHDSup.Mask() | amd.EfrHATS.Put(amd.HATS5) | amd.EfrGATS.Put(amd.GATS5) | amd.EfrGLXSup.Put(1),
	HAW: 48,
}

const rights = 3 << 61 // IR, IW

// dteBlocked is what a driver leaves for a device without a domain; its interrupts are remapped.
func dteBlocked() []uint64 {
	return []uint64{amd.DteV.Mask(), 0, amd.DteIV.Mask() | amd.DteIntCtl.Put(amd.IntCtlRemap) | amd.DteIRTRoot.Put(0x77), 0}
}

func dteIdentity(did uint64) []uint64 {
	e := dteBlocked()
	e[0] |= amd.DteTV.Mask() | rights
	amd.DteDomainID.Set(e, did)
	return e
}

// v1 has host tables.
func v1(root, did uint64) []uint64 {
	e := dteIdentity(did)
	e[0] |= root
	amd.DteMode.Set(e, 3)
	return e
}

// v2 has guest tables, for requests without PASID too.
func v2(gcr3, did uint64) []uint64 { return onGuest(dteIdentity(did), gcr3) }

// v2on has guest tables on host tables.
func v2on(root, gcr3, did uint64) []uint64 { return onGuest(v1(root, did), gcr3) }

func onGuest(e []uint64, gcr3 uint64) []uint64 {
	e[0] |= amd.DteGV.Mask() | amd.DteGIoV.Mask()
	(*amd.DTE)(e).SetGCR3Root(gcr3)
	return e
}

// levels5 makes the guest tables five levels deep.
func levels5(e []uint64) []uint64 { return with(e, amd.DteGuestPagingMode, 1) }

var hostTables = maskFields(amd.DteMode, amd.DteHostRoot)
var guestTables = maskFields(amd.DteGCR3Lo, amd.DteGCR3Mid, amd.DteGCR3Hi)

func maskFields(f ...reg.Bits) []uint64 {
	m := make([]uint64, 4)
	for _, b := range f {
		b.Set(m, ^uint64(0))
	}
	return m
}

func TestDTE_Plan(t *testing.T) {
	alone := entry.Means{OldAlone: true, NewAlone: true, Temp: temp}
	pass := []uint64{0, 0, 0, 0}
	for _, c := range []struct {
		name     string
		old, new []uint64
		means    entry.Means
		verdict  entry.Verdict
		steps    string
		reason   string
	}{
		{"identical", v1(0x1000, 5), v1(0x1000, 5), entry.Means{}, entry.VerdictNop, "", ""},
		{"hints", v1(0x1000, 5), with(with(v1(0x1000, 5), amd.DteCache, 1), amd.DteHPTMode, 1), entry.Means{}, entry.VerdictNop, "", ""},
		{"identity, pointer ignored", dteIdentity(5), with(dteIdentity(5), amd.DteHostRoot, 9), entry.Means{}, entry.VerdictNop, "", ""},
		{"guest paging mode without guest tables", v1(0x1000, 5), levels5(v1(0x1000, 5)), entry.Means{}, entry.VerdictNop, "", ""},
		{"v1 to v1", v1(0x1000, 5), v1(0x2000, 6), entry.Means{}, entry.VerdictHitless, "store16 all", ""},
		{"v1 to v1, same id", v1(0x1000, 5), v1(0x2000, 5), entry.Means{}, entry.VerdictHitless, "store8 all", ""},
		{"v1, another level on top", v1(0x1000, 5), with(v1(0x2000, 5), amd.DteMode, 4), entry.Means{}, entry.VerdictHitless, "store8 all", ""},
		{"v1 to identity", v1(0x1000, 5), dteIdentity(1), entry.Means{}, entry.VerdictHitless, "store16 all", ""},
		{"v1, dirty flags on", v1(0x1000, 5), with(v1(0x1000, 5), amd.DteHAD, amd.HADAD), entry.Means{}, entry.VerdictHitless, "store8 all", ""},
		{"v1 to v2", v1(0x1000, 5), v2(0x8000_3000, 6), entry.Means{}, entry.VerdictHitless, "store16 all", ""},
		{"v1 to v2, five levels", v1(0x1000, 5), levels5(v2(0x3000, 6)), entry.Means{}, entry.VerdictHitless, "store8 store16 all", ""},
		{"v2, five levels, to v1", levels5(v2(0x3000, 6)), v1(0x1000, 5), entry.Means{}, entry.VerdictHitless, "store16 all store8", ""},
		{"v1 to nested", v1(0x1000, 5), v2on(0x1000, 0x3000, 6), entry.Means{}, entry.VerdictHitless, "store16 all", ""},
		{"v1 to blocked", v1(0x1000, 5), dteBlocked(), entry.Means{}, entry.VerdictHitless, "store8 all store16", ""},
		{"blocked to v1", dteBlocked(), v1(0x1000, 5), entry.Means{}, entry.VerdictHitless, "store16", ""},
		{"blocked to v2, five levels", dteBlocked(), levels5(v2(0x3000, 5)), entry.Means{}, entry.VerdictHitless, "store8 store16", ""},
		{"untranslated to v1", pass, with(v1(0x1000, 5), amd.DteIV, 0), entry.Means{}, entry.VerdictHitless, "store16 all store8", ""},
		{"interrupt table", v1(0x1000, 5), with(v1(0x1000, 5), amd.DteIRTRoot, 0x99), entry.Means{}, entry.VerdictHitless, "store8 all", ""},

		{"v1 to v1, interrupt table too", v1(0x1000, 5), with(v1(0x2000, 6), amd.DteIRTRoot, 0x99), entry.Means{}, entry.VerdictHitless, "store8 store16 all", ""},
		{"v1 to blocked, interrupts off", v1(0x1000, 5), with(dteBlocked(), amd.DteIV, 0), entry.Means{}, entry.VerdictHitless, "store8 store8 all store16", ""},
		{"v2 to v2, interrupt table too, temporary id", v2(0x3000, 5), with(v2(0x4000, 6), amd.DteIRTRoot, 0x99), entry.Means{Temp: temp},
			entry.VerdictHitless, "store8 store8 entry store8 entry store8 all", ""},

		{"v2 to v2, both alone", v2(0x3000, 5), v2(0x4000, 6), alone, entry.VerdictHitless, "store16 all", ""},
		{"v2 to v2, old id alone", v2(0x3000, 5), v2(0x4000, 6), entry.Means{OldAlone: true}, entry.VerdictHitless, "store8 entry store8 all", ""},
		{"v2 to v2, new id alone", v2(0x3000, 5), v2(0x4000, 6), entry.Means{NewAlone: true}, entry.VerdictHitless, "store8 entry store8 all", ""},
		{"v2 to v2, temporary id", v2(0x3000, 5), v2(0x4000, 6), entry.Means{Temp: temp}, entry.VerdictHitless, "store8 entry store8 entry store8 all", ""},
		{"v2 to v2, same id", v2(0x3000, 5), v2(0x4000, 5), entry.Means{}, entry.VerdictHitless, "store8 all", ""},
		{"v2 to v2, nothing to go by", v2(0x3000, 5), v2(0x4000, 6), entry.Means{}, entry.VerdictDisruptive, "store16 all store16",
			"GCR3Lo, DomainID in unit 0: a cache can still hold what lies below the old content when hardware reads the new one; no free id to go by"},
		{"v2 to v2, more levels", v2(0x3000, 5), levels5(v2(0x4000, 6)), alone, entry.VerdictDisruptive, "store16 all store8 store16",
			"GCR3Lo, DomainID in unit 0 and GuestPagingMode in unit 1: in use before and after"},
		{"v2 to nested", v2(0x3000, 5), v2on(0x1000, 0x4000, 6), alone, entry.VerdictDisruptive, "store16 all store16", "Mode, GCR3Lo, DomainID in unit 0: a cache"},
		{"nested to nested, same parent", v2on(0x1000, 0x3000, 5), v2on(0x1000, 0x4000, 6), alone, entry.VerdictHitless, "store16 all", ""},
		{"nested to nested, same guest", v2on(0x1000, 0x3000, 5), v2on(0x2000, 0x3000, 6), entry.Means{}, entry.VerdictHitless, "store16 all", ""},
		{"nested to nested", v2on(0x1000, 0x3000, 5), v2on(0x2000, 0x4000, 6), alone, entry.VerdictDisruptive, "store16 all store16", "a cache can still hold"},
		{"nested to nested, parents alike", v2on(0x1000, 0x3000, 5), v2on(0x2000, 0x4000, 6),
			entry.Means{OldAlone: true, NewAlone: true, Alike: hostTables}, entry.VerdictHitless, "store16 all", ""},
		{"nested to nested, guests alike", v2on(0x1000, 0x3000, 5), v2on(0x2000, 0x4000, 6),
			entry.Means{OldAlone: true, NewAlone: true, Alike: guestTables}, entry.VerdictHitless, "store16 all", ""},
		{"nested to nested, same guest by another GCR3 table", v2on(0x1000, 0x3000, 5), v2on(0x2000, 0x4000, 6),
			entry.Means{SameBelow: true}, entry.VerdictHitless, "store16 all", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := amdUnit.DTE()
			p, err := f.Plan(c.old, c.new, c.means)
			require.NoError(t, err)
			require.Equal(t, c.verdict, p.Verdict, p.Reason)
			require.Equal(t, c.steps, shape(p))
			if c.reason == "" {
				require.Empty(t, p.Reason)
			}
			require.Contains(t, p.Reason, c.reason)
			require.True(t, f.Same(p.Final(c.old), c.new))
			if c.means.Temp == 0 && c.means.Alike == nil && !c.means.OldAlone && !c.means.NewAlone {
				requirePlan(t, f, c.old, c.new, p)
			}
			if c.means.SameBelow {
				f.Below = nil
			}
			requireIDs(t, f, c.old, c.new, p, c.means)
		})
	}
}

func TestGCR3_Plan(t *testing.T) {
	f := amdUnit.GCR3()
	for _, c := range []struct {
		old, new uint64
		verdict  entry.Verdict
		steps    string
	}{
		{0x3001, 0x3001, entry.VerdictNop, ""},
		{0x3000, 0x4000, entry.VerdictNop, ""},
		{0x3001, 0x4001, entry.VerdictHitless, "store8 all"},
		{0, 0x4001, entry.VerdictHitless, "store8"},
		{0x4001, 0, entry.VerdictHitless, "store8 all store8"},
	} {
		p, err := f.Plan([]uint64{c.old}, []uint64{c.new}, entry.Means{})
		require.NoError(t, err)
		require.Equal(t, c.verdict, p.Verdict)
		require.Equal(t, c.steps, shape(p))
		requirePlan(t, f, []uint64{c.old}, []uint64{c.new}, p)
	}
	for _, c := range []struct {
		old, new uint64
		steps    string
	}{{0x3001, 0x4001, "store8 all store8 all"}, {0, 0x4001, "store8 all"}, {0x4001, 0, "store8 all"}} {
		p, err := f.PlanLinux([]uint64{c.old}, []uint64{c.new})
		require.NoError(t, err)
		require.Equal(t, c.steps, shape(p))
	}
	_, err := f.Plan([]uint64{0}, []uint64{0x4003}, entry.Means{})
	require.ErrorIs(t, err, entry.ErrIllegal)
	_, err = f.Plan([]uint64{0}, []uint64{1<<48&amd.Gcr3Addr.Mask()<<1>>1 | 1<<48 | 1}, entry.Means{})
	require.ErrorContains(t, err, "wider than 48 bits")
}

func TestDTE_Illegal(t *testing.T) {
	small := entry.AMDVi{HAW: 48}
	for _, c := range []struct {
		name string
		unit entry.AMDVi
		new  []uint64
		text string
	}{
		{"reserved", amdUnit, with(v1(0x1000, 5), reg.Bits(2_002), 1), "reserved bits 0x4 set in word 0"},
		{"mode", amdUnit, with(v1(0x1000, 5), amd.DteMode, 6), "host table of 6 levels, the unit has 5"},
		{"address", amdUnit, v1(1<<48, 5), "wider than 48 bits"},
		{"GCR3 address", amdUnit, v2(1<<48, 5), "GCR3 table at 0x1000000000000 is wider"},
		{"interrupt table address", amdUnit, with(v1(0x1000, 5), amd.DteIRTRoot, 1<<42), "interrupt table at"},
		{"HAD", amdUnit, with(v1(0x1000, 5), amd.DteHAD, 2), "HAD=2"},
		{"HAD without HDSup", entry.AMDVi{EFR: amd.EfrHASup.Mask()}, with(v1(0x1000, 5), amd.DteHAD, amd.HADAD), "HAD=3"},
		{"HAD without HASup", small, with(v1(0x1000, 5), amd.DteHAD, amd.HADA), "[HAD] is not supported"},
		{"GV without GTSup", small, v2(0x3000, 5), "[GV] is not supported"},
		{"PPR without EPHSup", small, with(v1(0x1000, 5), amd.DtePPR, 1), "[PPR] is not supported"},
		{"GLX", amdUnit, with(v2(0x3000, 5), amd.DteGLX, 2), "GLX=2, the unit has 1"},
		{"guest paging mode", amdUnit, with(v2(0x3000, 5), amd.DteGuestPagingMode, 2), "GuestPagingMode=2"},
		{"IoCtl", amdUnit, with(v1(0x1000, 5), amd.DteIoCtl, 3), "IoCtl=3"},
		{"IntCtl", amdUnit, with(v1(0x1000, 5), amd.DteIntCtl, 3), "IntCtl=3"},
		{"IntTabLen", amdUnit, with(v1(0x1000, 5), amd.DteIntTabLen, 12), "IntTabLen=12"},
		{"interrupts reserved", amdUnit, with(v1(0x1000, 5), reg.Bits(192_192), 1), "reserved bits 0x1 set in word 3"},
	} {
		_, err := c.unit.DTE().Plan(dteBlocked(), c.new, entry.Means{})
		require.ErrorIs(t, err, entry.ErrIllegal, c.name)
		require.ErrorContains(t, err, c.text, c.name)
	}
	// What does not count is not checked.
	for _, e := range [][]uint64{
		{0, ^uint64(0), 0, 0}, {^uint64(1), ^uint64(0), ^uint64(0) &^ amd.DteIV.Mask(), ^uint64(0)},
	} {
		_, err := amdUnit.DTE().Plan(dteBlocked(), e, entry.Means{})
		require.NoError(t, err)
	}
}

// Requests must never pass: the blocking form has V=1 and TV=0, and keeps what belongs to firmware and
// to interrupts.
func TestAMDQuirk01_BlockingIsNotV0(t *testing.T) {
	f := amdUnit.DTE()
	old := with(with(with(levels5(v2on(0x1000, 0x3000, 5)), amd.DteI, 1), amd.DteSysMgt, amd.SysMgtPass), amd.DteHAD, amd.HADAD)
	got := slices.Clone(old)
	f.Block(got)
	require.Equal(t, []uint64{amd.DteV.Mask(), amd.DteSysMgt.Put(amd.SysMgtPass), old[2], 0}, got)
	require.False(t, f.Present(got))
	require.False(t, f.Present(with(dteIdentity(5), reg.Bits(62_061), 0)), "no right")
	require.True(t, f.Present([]uint64{0, 0, 0, 0}), "V=0")
	require.True(t, f.Present(with(dteBlocked(), amd.DteI, 1)), "translated requests pass")
	for _, w := range append(entry.Writers(), entry.Leak) {
		_, r, err := rewrite(f, w, v1(0x1000, 5), levels5(v2(0x3000, 6)))
		require.NoError(t, err)
		passes := slices.ContainsFunc(r.States, func(s []uint64) bool { return !amd.DteV.On(s[0]) })
		require.Equal(t, w == entry.Leak, passes, w.Name())
	}
	_, _, err := rewrite(unit.Context(), entry.Leak, ctx(0, 0x1000, 2, 5), ctx(0, 0x2000, 2, 6))
	require.ErrorIs(t, err, entry.ErrNoForm)
}

// Of the two units the one that the other depends on is stored first, and nothing but the memory side
// changes.
func TestAMDQuirk12_GuestPagingModeIsInTheUpperUnit(t *testing.T) {
	f := amdUnit.DTE()
	for _, w := range append(entry.Writers(), entry.Leak) {
		for _, c := range [][2][]uint64{{v1(0x1000, 5), levels5(v2(0x3000, 6))}, {levels5(v2(0x3000, 6)), v1(0x1000, 5)}} {
			_, r, err := rewrite(f, w, c[0], c[1])
			require.NoError(t, err)
			for _, s := range r.States {
				require.Equal(t, dteBlocked()[2], s[2]&^amd.DteGuestPagingMode.Mask())
				if amd.DteGV.On(s[0]) && w != entry.Naive {
					require.EqualValues(t, 1, amd.DteGuestPagingMode.Get(s), "%s: four levels of five", w.Name())
				}
			}
		}
	}
}

func TestDTE_Writers(t *testing.T) {
	move := [2][]uint64{v1(0x1000, 5), v1(0x2000, 6)}
	up := [2][]uint64{v1(0x1000, 5), levels5(v2(0x3000, 6))}
	for _, c := range []struct {
		w        entry.Writer
		old, new []uint64
		log      []string
	}{
		{entry.Hitless, move[0], move[1], []string{"0+1", "all 0"}},
		{entry.Linux, move[0], move[1], []string{"0+1", "entry", "all 1", "0+1", "entry", "install 1"}},
		{entry.Naive, move[0], move[1], []string{"0", "1", "2", "3", "all 0"}},
		{entry.BreakMake, move[0], move[1], []string{"0+1", "all 0", "0+1", "install 0"}},
		{entry.Leak, move[0], move[1], []string{"0+1", "all 0", "0+1", "all 0"}},
		{entry.Hitless, up[0], up[1], []string{"2", "0+1", "all 0"}},
		{entry.Linux, up[0], up[1], []string{"0+1", "entry", "all 1", "2+3", "0+1", "entry", "install 1"}},
		{entry.Linux, up[1], up[0], []string{"0+1", "2+3", "entry", "all 1", "0+1", "entry", "install 1"}},
		{entry.Linux, dteBlocked(), up[0], []string{"0+1", "entry", "install 1"}},
		{entry.Linux, up[0], dteBlocked(), []string{"0+1", "entry", "all 1"}},
	} {
		m, r, err := rewrite(amdUnit.DTE(), c.w, c.old, c.new)
		require.NoError(t, err)
		require.Equal(t, c.log, m.log, "%s", c.w.Name())
		require.Equal(t, c.new, m.mem)
		require.Equal(t, c.new, r.States[len(r.States)-1])
	}
}

// Stores of 16 bytes are CMPXCHG16B, and the entries of aliases change with that of the device.
func TestDTE_SwapAndCopies(t *testing.T) {
	f := amdUnit.DTE()
	old, new := v1(0x1000, 5), levels5(v2(0x3000, 6))
	c := &tape{at: 0x5000, mem: append(slices.Clone(old), old...)}
	target := &entry.Target{CPU: c, Format: f, At: c.at, Inv: c, Swap: true}
	target.Copies = append(target.Copies, c.at+32)
	r, err := entry.Hitless.Write(target, new)
	require.NoError(t, err)
	require.Equal(t, []string{"2", "6", "swap 0+1", "swap 4+5", "all 0"}, c.log)
	require.Equal(t, append(slices.Clone(new), new...), c.mem)
	require.Equal(t, 4, r.Stores)

	// Somebody else changes the entry between two looks.
	c = &tape{at: 0x5000, mem: slices.Clone(old)}
	target = &entry.Target{CPU: &meddler{tape: c}, Format: f, At: c.at, Inv: c, Swap: true}
	_, err = entry.Hitless.Write(target, new)
	require.ErrorIs(t, err, entry.ErrChanged)
	require.ErrorContains(t, err, "DTE at 0x5000")
	require.True(t, f.Same(c.mem, with(old, amd.DteSE, 1)), "nothing was overwritten")
}

// meddler is a processor with somebody else who sets SE before each swap.
type meddler struct{ *tape }

func (m *meddler) CAS128(pa emu.PA, old, v [2]uint64) bool {
	amd.DteSE.Set(m.mem, 1)
	return m.tape.CAS128(pa, old, v)
}

func genDTE(t *rapid.T, label string) []uint64 {
	root := func(s string) uint64 { return rapid.Uint64Range(1, 2).Draw(t, label+s) << 12 }
	did := rapid.Uint64Range(4, 6).Draw(t, label+"did")
	var e []uint64
	switch rapid.IntRange(0, 5).Draw(t, label+"type") {
	case 0:
		e = dteBlocked()
	case 1:
		e = []uint64{root("junk"), root("junk2"), dteBlocked()[2], 0}
	case 2:
		e = v1(root("host"), did)
	case 3:
		e = v2(root("gcr3"), did)
	case 4:
		e = v2on(root("host"), root("gcr3"), did)
	default:
		e = dteIdentity(did)
	}
	for _, b := range []reg.Bits{amd.DteGuestPagingMode, amd.DteSE, amd.DteCache, amd.DteI} {
		if rapid.Bool().Draw(t, label+"flag") {
			b.Set(e, 1)
		}
	}
	return e
}

// Whatever is rewritten, by whatever means: a reader of the whole entry sees the old or the new content,
// and nothing is left of the old one, nor of what came of both together.
func TestDTE_EveryPlanIsCleanToTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := amdUnit.DTE()
		old, new := genDTE(t, "old "), genDTE(t, "new ")
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
		b, err := f.PlanBlocked(old, new)
		require.NoError(t, err)
		requirePlan(t, f, old, new, b)
	})
}

// The oracle finds what is wrong with a move between guest tables that leaves the id of the new ones
// unflushed, or that has no id to go by.
func TestDTE_OracleFindsMixturesOfEntryAndGCR3Table(t *testing.T) {
	f := amdUnit.DTE()
	old, new := v2(0x3000, 5), v2(0x4000, 6)
	m := entry.Means{OldAlone: true, NewAlone: true}
	p, err := f.Plan(old, new, m)
	require.NoError(t, err)
	last := &p.Steps[len(p.Steps)-1]
	require.ElementsMatch(t, []uint64{5, 6}, idsOf(f, last.Made), "both ids")
	require.NotEmpty(t, broken(func(t require.TestingT) { requireIDs(t, f, old, new, p, entry.Means{OldAlone: true}) }))
	require.NotEmpty(t, broken(func(t require.TestingT) { requireIDs(t, f, old, new, p, entry.Means{NewAlone: true}) }))
	last.Made = last.Made[:1]
	require.NotEmpty(t, broken(func(t require.TestingT) { requireIDs(t, f, old, new, p, m) }))
}
