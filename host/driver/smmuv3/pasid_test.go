package smmuv3

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// tables are the kinds of CD tables.
var tables = []struct {
	name   string
	opt    Options
	change func(*hw.Config)
	pasids uint32
	format uint64
}{
	{"a page", Options{}, nil, 64, spec.S1FmtLinear},
	{"leaves of 4 KiB", Options{}, nil, 1000, spec.S1Fmt4K},
	{"leaves of 64 KiB", Options{CDFormat: spec.S1Fmt64K}, nil, 5000, spec.S1Fmt64K},
	{"leaves of 64 KiB, one", Options{CDFormat: spec.S1Fmt64K}, nil, 100, spec.S1Fmt64K},
	{"linear by choice", Options{CDFormat: LinearCDs}, nil, 1000, spec.S1FmtLinear},
	{"linear only", Options{}, flatCDs, 1000, spec.S1FmtLinear},
	{"all", Options{}, nil, 1 << 16, spec.S1Fmt4K},
}

// 64 PASIDs of a device in domains of their own, in tables of all kinds; those without keep theirs.
func TestPASIDs_InTablesOfAllKinds(t *testing.T) {
	for _, c := range tables {
		t.Run(c.name, func(t *testing.T) {
			var change []func(*hw.Config)
			if c.change != nil {
				change = append(change, c.change)
			}
			r := machine(t, change...).up(c.opt)
			require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: c.pasids}))
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.stage(host.StageFirst, 100)))
			step := emu.PASID(c.pasids / 64)
			used := r.Frames.Stats().InUse
			var doms []host.Domain
			for i := emu.PASID(1); i < 64; i++ {
				dom := r.stage(host.StageFirst, int(i))
				require.NoError(t, r.d.Attach(dev, i*step, dom))
				doms = append(doms, dom)
			}
			_, ste := r.d.STEAt(dev)
			require.Equal(t, c.format, spec.SteS1Fmt.Of(ste[0]))
			for i := emu.PASID(1); i < 64; i++ {
				r.Reaches(dev, i*step, iova, page(int(i)))
			}
			r.Reaches(dev, emu.NoPASID, iova, page(100))
			r.Blocked(dev, emu.PASID(c.pasids), iova)
			for i := emu.PASID(1); i < 64; i++ {
				_, err := r.d.Replace(dev, i*step, doms[i%63], entry.Hitless)
				require.NoError(t, err)
				r.Reaches(dev, i*step, iova, page(int(i%63)+1))
			}
			r.Reaches(dev, emu.NoPASID, iova, page(100))
			for i := emu.PASID(1); i < 64; i++ {
				require.NoError(t, r.d.Detach(dev, i*step))
				r.Blocked(dev, i*step, iova)
			}
			r.Reaches(dev, emu.NoPASID, iova, page(100))
			for _, dom := range doms {
				require.NoError(t, dom.Free())
			}
			require.NoError(t, r.d.Detach(dev, emu.NoPASID))
			require.NoError(t, r.d.Release(dev))
			require.Less(t, r.Frames.Stats().InUse, used, "tables are given back")
		})
	}
}

// What requests without PASID do while some with one are attached: S1DSS says so, whatever comes first.
func TestPASIDs_BesideEachKindOfDomain(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 32}))
	identity := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	one, two, with := r.stage(host.StageFirst, 1), r.stage(host.StageFirst, 2), r.stage(host.StageFirst, 9)
	dss := func() uint64 { _, w := r.d.STEAt(dev); return spec.SteS1DSS.Get(w) }

	require.NoError(t, r.d.Attach(dev, 5, with))
	r.Reaches(dev, 5, iova, page(9))
	r.Blocked(dev, emu.NoPASID, iova)
	require.EqualValues(t, spec.DSSTerminate, dss())

	require.NoError(t, r.d.Attach(dev, emu.NoPASID, identity))
	r.Reaches(dev, emu.NoPASID, iova, emu.PA(iova))
	require.EqualValues(t, spec.DSSBypass, dss())
	r.Reaches(dev, 5, iova, page(9))

	for i, dom := range []host.Domain{one, two} {
		rep, err := r.d.Replace(dev, emu.NoPASID, dom, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictHitless, rep.Verdict)
		r.Reaches(dev, emu.NoPASID, iova, page(i+1))
		require.EqualValues(t, spec.DSSSSID0, dss())
		r.Reaches(dev, 5, iova, page(9))
		r.Blocked(dev, 0, iova)
	}
	rep, err := r.d.Replace(dev, emu.NoPASID, identity, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictHitless, rep.Verdict)
	r.Reaches(dev, emu.NoPASID, iova, emu.PA(iova))
	require.NoError(t, two.Free())

	require.NoError(t, r.d.Detach(dev, 5))
	r.Reaches(dev, emu.NoPASID, iova, emu.PA(iova))
	r.Blocked(dev, 5, iova)
	_, ste := r.d.STEAt(dev)
	require.EqualValues(t, spec.ConfigBypass, spec.SteConfig.Of(ste[0]), "the table is not needed any more")
	require.NoError(t, with.Free())
}

// Stage 2 is the whole stream's.
func TestPASIDs_NotBesideStage2(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 32}))
	s1, s2 := r.stage(host.StageFirst, 1), r.stage(host.StageSecond, 2)
	identity := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, s2))
	require.ErrorIs(t, r.d.Attach(dev, 1, s1), host.ErrUnsupported)
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	require.NoError(t, r.d.Attach(dev, 1, s1))
	require.ErrorIs(t, r.d.Attach(dev, emu.NoPASID, s2), host.ErrUnsupported)
	require.ErrorIs(t, r.d.Attach(dev, 2, s2), host.ErrUnsupported)
	require.ErrorIs(t, r.d.Attach(dev, 2, identity), host.ErrUnsupported)
	require.ErrorIs(t, r.d.Attach(dev, 0, s1), host.ErrPASID)
	require.ErrorIs(t, r.d.Attach(dev, 32, s1), host.ErrPASID)
	r.Reaches(dev, 1, iova, page(1))
}

// The writers on the CD of a PASID: what each declares.
func TestPASIDs_Writers(t *testing.T) {
	for _, w := range entry.Writers() {
		r := start(t)
		require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 32}))
		one, two := r.stage(host.StageFirst, 1), r.stage(host.StageFirst, 2)
		require.NoError(t, r.d.Attach(dev, 7, one))
		require.NoError(t, r.d.Attach(dev, 8, one))
		require.NoError(t, r.d.Attach(dev, 9, two))
		rep, err := r.d.Replace(dev, 7, two, w)
		require.NoError(t, err)
		want := entry.VerdictDisruptive
		if w == entry.Hitless {
			want = entry.VerdictHitless
		}
		require.Equal(t, want, rep.Verdict, w.Name())
		require.Equal(t, w == entry.Hitless, rep.Temp != 0)
		r.Reaches(dev, 7, iova, page(2))
		r.Reaches(dev, 8, iova, page(1))
		rep, err = r.d.Replace(dev, 7, two, w)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictNop, rep.Verdict)
		require.Zero(t, rep.Stores+rep.Invalidations)
	}
}

// What PASIDs have in caches stays there when requests without PASID come into another domain.
func TestPASIDs_KeepTheirTranslations(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	one, two := r.stage(host.StageFirst, 1), r.stage(host.StageFirst, 2)
	pass := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	asid := fmt.Sprintf("NH_ASID vmid 0 asid %d", one.ID()-asidBase)
	require.NoError(t, r.d.Attach(dev, 7, one))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, pass))
	for _, m := range []host.Domain{two, pass, r.Domain(host.DomainSpec{Kind: host.DomainBlocked}), two} {
		got := r.during(func() {
			_, err := r.d.Replace(dev, emu.NoPASID, m, entry.Hitless)
			require.NoError(t, err)
		})
		require.NotEmpty(t, got)
		require.NotContains(t, got, asid)
	}
	got := r.during(func() { require.NoError(t, r.d.Detach(dev, emu.NoPASID)) })
	require.NotContains(t, got, asid)
	require.Contains(t, got, fmt.Sprintf("NH_ASID vmid 0 asid %d", two.ID()-asidBase))
	r.Reaches(dev, 7, iova, page(1))
	require.Contains(t, r.during(func() { require.NoError(t, r.d.Detach(dev, 7)) }), asid)
	r.Blocked(dev, 7, iova)
}
