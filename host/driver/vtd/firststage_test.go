package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

func TestStage_AsAsked(t *testing.T) {
	noSecond, noFirst := firstOnly, func(c *hw.Config) { c.FSTS, c.NEST, c.FS1GP, c.FS5LP, c.EAFS = false, false, false, false, false }
	for _, c := range []struct {
		unit  func(*hw.Config)
		stage host.Stage
		pgtt  uint64 // 0: refused
	}{
		{nested, host.StageAny, spec.PGTTSecond}, {nested, host.StageFirst, spec.PGTTFirst}, {nested, host.StageSecond, spec.PGTTSecond},
		{noSecond, host.StageAny, spec.PGTTFirst}, {noSecond, host.StageFirst, spec.PGTTFirst}, {noSecond, host.StageSecond, 0},
		{noFirst, host.StageAny, spec.PGTTSecond}, {noFirst, host.StageFirst, 0}, {noFirst, host.StageSecond, spec.PGTTSecond},
		{legacy, host.StageFirst, 0},
	} {
		r := start(t, c.unit)
		d, err := r.d.NewDomain(host.DomainSpec{Stage: c.stage})
		if c.pgtt == 0 {
			require.ErrorIs(t, err, host.ErrUnsupported)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, d.Map(0x10000, target, 0x1000, emu.RW))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		_, raw := r.d.EntryAt(dev, emu.NoPASID)
		require.Equal(t, c.pgtt, spec.PasidPGTT.Of(raw[0]))
		r.reaches(dev, emu.NoPASID, 0x10008, target+8)
	}
}

// The bits are counted by hand from 9.6.
func TestFirstStage_Entry(t *testing.T) {
	for _, c := range []struct {
		unit  func(*hw.Config)
		spec  host.DomainSpec
		flags [3]uint64
	}{
		{func(*hw.Config) {}, host.DomainSpec{Width: 47}, [3]uint64{2 << 2, 1 << 23, 0}},
		{func(*hw.Config) {}, host.DomainSpec{Width: 47, Snoop: true}, [3]uint64{2 << 2, 1<<23 | 1<<24, 0}},
		{func(c *hw.Config) { c.SMPWCS = false }, host.DomainSpec{Width: 47}, [3]uint64{2 << 2, 0, 0}},
		{func(c *hw.Config) { c.FS5LP = true }, host.DomainSpec{}, [3]uint64{3 << 2, 1 << 23, 1 << 2}},
	} {
		r := start(t, nested, c.unit)
		c.spec.Stage = host.StageFirst
		d := r.domain(c.spec)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		root, _ := d.Tables().Root()
		_, raw := r.d.EntryAt(dev, emu.NoPASID)
		require.Equal(t, []uint64{1 | 1<<6 | c.flags[0], c.flags[1] | uint64(d.ID()), c.flags[2] | uint64(root), 0, 0, 0, 0, 0}, raw)
	}
}

func TestVTDQuirk50_FirstStageTakesTheLowerHalf(t *testing.T) {
	for five, bits := range map[bool]int{false: 47, true: 56} {
		r := start(t, nested, func(c *hw.Config) { c.FS5LP = five })
		d := r.domain(host.DomainSpec{Stage: host.StageFirst})
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		top := emu.IOVA(1)<<bits - 0x1000
		require.NoError(t, d.Map(top, target, 0x1000, emu.RW))
		r.reaches(dev, emu.NoPASID, top, target)
		require.ErrorIs(t, d.Map(top+0x1000, target, 0x1000, emu.RW), pagetable.ErrRange)
		require.Equal(t, uint16(0x80), r.blocked(dev, emu.NoPASID, top+0x1000).Fault.Code, "not canonical")
	}
}

// Accessed and dirty flags are there before hardware looks for them, so that it never writes: where it
// does not snoop it could not (90h).
func TestVTDQuirk49_FlagsAreSetBeforehand(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.SMPWCS = false })
	d := r.in(host.StageFirst, 0x10000, target)
	require.NoError(t, d.Map(0x11000, target, 0x1000, emu.Read))
	for m := range d.Tables().Leaves(0, 0xfffff) {
		require.True(t, m.Accessed)
		require.Equal(t, m.IOVA == 0x10000, m.Dirty)
	}
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	r.reaches(dev, emu.NoPASID, 0x11000, target)
	require.Equal(t, emu.OK, r.access(dev, emu.NoPASID, 0x10000, emu.Write).Status)
	require.Equal(t, emu.Blocked, r.access(dev, emu.NoPASID, 0x11000, emu.Write).Status)
}

// Translations are tagged with domain and PASID: each PASID of a domain is named, once for all its
// devices.
func TestFirstStage_UnmapNamesEachPASID(t *testing.T) {
	r := start(t, nested, withATS)
	a := r.domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true, PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, r.d.Attach(dev, 5, a))
	require.NoError(t, r.d.Attach(0x800, emu.NoPASID, a))
	require.NoError(t, a.Map(0x10000, target, 0x4000, emu.RW))
	got := r.during(func() { _, _ = a.Unmap(0x10000, 0x4000) })
	require.Equal(t, []string{
		"piotlb did 2 pasid 0 0x10000 am 2 ih 1", "piotlb did 2 pasid 5 0x10000 am 2 ih 1",
		"devtlb sid 108 0x11001", "pdevtlb sid 108 pasid 5 0x11800", "wait",
	}, got)
	got = r.during(func() { require.NoError(t, a.Flush()) })
	require.Equal(t, []string{
		"piotlb g2 did 2 pasid 0", "piotlb g2 did 2 pasid 5",
		"devtlb sid 108 0x7ffffffffffff001", "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait",
	}, got)
	got = r.during(func() { require.NoError(t, r.d.Detach(dev, 5)) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 5", "fence", "piotlb g2 did 2 pasid 5", "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)
}

func TestVTDQuirk34_FirstStageOrder(t *testing.T) {
	r := start(t, nested, withATS)
	a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true}))
	require.NoError(t, r.d.Attach(dev, 5, a))
	got := r.during(func() { _, _ = r.d.Replace(dev, 5, b, entry.Linux) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 5", "wait", "piotlb g2 did 2 pasid 5", "wait",
		"pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)
	got = r.during(func() { _, _ = r.d.Replace(dev, 5, a, entry.BreakMake) })
	require.Equal(t, []string{"pasid g1 did 3 pasid 5", "fence", "piotlb g2 did 3 pasid 5",
		"pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)
}

// Neither the mask nor the capability for pages of a domain limits pages of a PASID.
func TestVTDQuirk37_FirstStageKnowsNoLargestMask(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.MAMV, c.PSI = 0, false })
	a := r.domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x4000_0000, target, 1<<30, emu.RW))
	got := r.during(func() { _, _ = a.Unmap(0x4000_0000, 1<<30) })
	require.Equal(t, []string{"piotlb did 2 pasid 0 0x40000000 am 18 ih 1", "wait"}, got)
	got = r.during(func() { require.NoError(t, a.Invalidate(0, ^uint64(0), true)) })
	require.Equal(t, []string{"piotlb g2 did 2 pasid 0", "wait"}, got)
	got = r.during(func() { require.NoError(t, a.Invalidate(0x7000, 0x2000, true)) })
	require.Equal(t, []string{"piotlb did 2 pasid 0 0x0 am 4 ih 0", "wait"}, got)
	require.Empty(t, r.during(func() { require.NoError(t, a.Invalidate(0x7000, 0, true)) }))
}

func TestVTDQuirk38_FirstStageHintOnlyIfNoTableIsFreed(t *testing.T) {
	r := start(t, nested)
	a := r.domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	got := r.during(func() { _, _ = a.Unmap(0x40_0000, 0x3000) })
	require.Equal(t, []string{"piotlb did 2 pasid 0 0x400000 am 2 ih 1", "wait"}, got)
	require.NoError(t, a.Map(0x40_0000, target, 0x3000, emu.RW))
	r.reaches(dev, emu.NoPASID, 0x40_0000, target)
	got = r.during(func() { _, _ = a.Unmap(0x40_0000, 0x20_0000) })
	require.Equal(t, []string{"piotlb did 2 pasid 0 0x400000 am 9 ih 0", "wait"}, got)
}

// Caching mode does not extend to first-stage entries, but to PASID entries.
func TestVTDQuirk35_FirstStageEntriesAreNotCachedAbsent(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.CM = true })
	r.blocked(dev, emu.NoPASID, 0x10000)
	a := r.domain(host.DomainSpec{Stage: host.StageFirst})
	got := r.during(func() { require.NoError(t, r.d.Attach(dev, emu.NoPASID, a)) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 0", "fence", "piotlb g2 did 2 pasid 0", "wait",
		"context g3 did 0 sid 108", "fence", "iotlb g2 did 0", "wait"}, got)
	r.blocked(dev, emu.NoPASID, 0x10000)
	require.Empty(t, r.during(func() { require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW)) }))
	r.reaches(dev, emu.NoPASID, 0x10000, target)
}

func TestVTDQuirk48_StagesNeverShareAnID(t *testing.T) {
	r := start(t, nested)
	ids := map[uint32]host.Stage{1: 99} // pass-through
	for i := range 20 {
		stage := host.StageFirst + host.Stage(i%2)
		d := r.domain(host.DomainSpec{Stage: stage})
		require.NotContains(t, ids, d.ID())
		ids[d.ID()] = stage
	}
	for id := range ids {
		for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
			_, err := r.d.NewDomain(host.DomainSpec{Stage: stage, ID: id})
			require.ErrorIs(t, err, host.ErrBusy)
		}
	}
}

// Moves between kinds of entries: what is stored first, what is named in the invalidations.
func TestVTDQuirk46_BetweenStages(t *testing.T) {
	r := start(t, nested)
	first, second := r.in(host.StageFirst, 0x10000, target), r.in(host.StageSecond, 0x10000, target+0x1000)
	pass := r.domain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, 5, second))
	for _, c := range []struct {
		to   host.Domain
		pa   emu.PA
		want []string
	}{
		{first, target, []string{"pasid g1 did 3 pasid 5", "wait", "pasid g1 did 3 pasid 5", "fence", "iotlb g2 did 3", "wait"}},
		{second, target + 0x1000, []string{"pasid g1 did 2 pasid 5", "fence", "piotlb g2 did 2 pasid 5", "wait"}},
		{pass, 0x10000, []string{"pasid g1 did 3 pasid 5", "fence", "iotlb g2 did 3", "wait"}},
		{first, target, []string{"pasid g1 did 1 pasid 5", "wait", "pasid g1 did 1 pasid 5", "fence", "piotlb g2 did 1 pasid 5", "wait"}},
		{pass, 0x10000, []string{"pasid g1 did 2 pasid 5", "fence", "piotlb g2 did 2 pasid 5", "wait"}},
	} {
		var rep entry.Report
		var err error
		got := r.during(func() { rep, err = r.d.Replace(dev, 5, c.to, entry.Hitless) })
		require.NoError(t, err)
		require.Equal(t, entry.VerdictHitless, rep.Verdict, rep.Reason)
		require.Equal(t, c.want, got)
		r.reaches(dev, 5, 0x10000, c.pa)
	}
}

// Which id a move between first-stage tables goes by depends on who else has the ids.
func TestVTDQuirk45_FirstStageMovesByAnID(t *testing.T) {
	const other, third = emu.SourceID(0x800), emu.SourceID(0x808)
	for _, c := range []struct {
		name     string
		old, new bool // shared with another device
		states   []uint64
		want     []string
	}{
		{"alone", false, false, []uint64{2, 2, 3}, []string{
			"pasid g1 did 2 pasid 0", "wait", "pasid g1 did 2 pasid 0", "fence", "piotlb g2 did 2 pasid 0", "wait"}},
		{"the new one is", true, false, []uint64{2, 3, 3}, []string{
			"pasid g1 did 2 pasid 0", "wait", "pasid g1 did 3 pasid 0", "fence", "piotlb g2 did 2 pasid 0", "piotlb g2 did 3 pasid 0", "wait"}},
		{"none is", true, true, []uint64{2, 4, 4, 3}, []string{
			"pasid g1 did 2 pasid 0", "wait", "pasid g1 did 4 pasid 0", "wait",
			"pasid g1 did 4 pasid 0", "fence", "piotlb g2 did 2 pasid 0", "piotlb g2 did 4 pasid 0", "wait"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, nested)
			a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
			r.reaches(dev, emu.NoPASID, 0x10000, target)
			if c.old {
				require.NoError(t, r.d.Attach(other, emu.NoPASID, a))
			}
			if c.new {
				require.NoError(t, r.d.Attach(third, emu.NoPASID, b))
			}
			var rep entry.Report
			var err error
			got := r.during(func() { rep, err = r.d.Replace(dev, emu.NoPASID, b, entry.Hitless) })
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, rep.Verdict, rep.Reason)
			require.Equal(t, c.want, got)
			var ids []uint64
			for _, s := range rep.States {
				ids = append(ids, spec.PasidDID.Get(s))
			}
			require.Equal(t, c.states, ids)
			r.reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
			if c.old {
				r.reaches(other, emu.NoPASID, 0x10000, target)
			}
			if c.new {
				r.reaches(third, emu.NoPASID, 0x10000, target+0x1000)
			}
			require.Equal(t, uint32(4), r.domain(host.DomainSpec{}).ID(), "the temporary id is free again")
		})
	}
}

// The same domain under another PASID has translations of its own.
func TestFirstStage_AnotherPASIDOfTheDomainIsNoNeighbour(t *testing.T) {
	r := start(t, nested)
	a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, 5, a))
	require.NoError(t, r.d.Attach(dev, 6, a))
	rep, err := r.d.Replace(dev, 5, b, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Stores)
	r.reaches(dev, 5, 0x10000, target+0x1000)
	r.reaches(dev, 6, 0x10000, target)
}

// With the last id in use there is none to go by.
func TestFirstStage_NoFreeIDIsDisruptive(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.ND = 0 })
	a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
	for _, at := range []struct {
		sid emu.SourceID
		d   host.Domain
	}{{dev, a}, {0x800, a}, {0x808, b}} {
		require.NoError(t, r.d.Attach(at.sid, emu.NoPASID, at.d))
	}
	for range 12 {
		r.domain(host.DomainSpec{})
	}
	rep, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictDisruptive, rep.Verdict)
	require.Contains(t, rep.Reason, "no free id to go by")
	r.reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
}

// A temporary id that caches may still hold is nobody else's until they have been flushed.
func TestFirstStage_TemporaryIDWaitsForItsFlush(t *testing.T) {
	for fail := 1; fail <= 3; fail++ {
		r := start(t, nested)
		a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
		for _, at := range []struct {
			sid emu.SourceID
			d   host.Domain
		}{{dev, a}, {0x800, a}, {0x808, b}} {
			require.NoError(t, r.d.Attach(at.sid, emu.NoPASID, at.d))
		}
		r.reaches(dev, emu.NoPASID, 0x10000, target)
		seen := 0
		r.cpu.hook = func(off uint32) {
			if off == spec.OffIQT {
				if seen++; seen == fail {
					r.cpu.drop[spec.OffIQT] = true // from here on no invalidation gets through
				}
			}
		}
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.ErrorIs(t, err, host.ErrTimeout)
		r.cpu.hook, r.cpu.drop[spec.OffIQT] = nil, false
		res := r.access(dev, emu.NoPASID, 0x10000, emu.Read)
		require.Contains(t, []emu.PA{target, target + 0x1000}, res.PA, "the entry is whole at each step")

		next := r.in(host.StageFirst, 0x10000, target+0x2000)
		require.Equal(t, uint32(5), next.ID(), "4 is quarantined")
		require.ErrorIs(t, b.Free(), host.ErrBusy)
		rep, err := r.d.Replace(dev, emu.NoPASID, next, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictHitless, rep.Verdict)
		r.reaches(dev, emu.NoPASID, 0x10000, target+0x2000)
		require.Equal(t, uint32(4), r.domain(host.DomainSpec{}).ID())
		require.NoError(t, r.d.Detach(0x808, emu.NoPASID))
		require.NoError(t, b.Free())
		r.reaches(0x800, emu.NoPASID, 0x10000, target)
	}
}

func TestVTDQuirk44_FirstStageDetachClearsOnlyPBeforeTheFlush(t *testing.T) {
	r := start(t, nested)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.in(host.StageFirst, 0x10000, target)))
	_, old := r.d.EntryAt(dev, emu.NoPASID)
	r.cpu.hook = func(off uint32) {
		if off == spec.OffIQT {
			_, raw := r.d.EntryAt(dev, emu.NoPASID)
			require.Equal(t, old[0]&^1, raw[0])
			require.Equal(t, old[1:], raw[1:])
		}
	}
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.Equal(t, make([]uint64, 8), raw)
}

func TestVTDQuirk47_FirstStageTablesAreFreedBehindTheWait(t *testing.T) {
	r := start(t, nested)
	r.frames.SetPoison(true)
	a := r.domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	freed, seen := r.frames.Stats().Freed, 0
	r.cpu.hook = func(off uint32) {
		if off == spec.OffIQT {
			seen++
			require.Equal(t, freed, r.frames.Stats().Freed)
		}
	}
	_, err := a.Unmap(0x40_0000, 0x20_0000)
	require.NoError(t, err)
	require.Equal(t, 1, seen)
	require.Greater(t, r.frames.Stats().Freed, freed)
}

// A driver with one invalidation removed has a visible victim in the first stage too.
func TestOmit_FirstStageHasVictims(t *testing.T) {
	for _, c := range []struct {
		omit entry.Omit
		want emu.PA
	}{{0, target + 0x1000}, {entry.OmitPASID, target}, {entry.OmitIOTLB, target + 0x1000}} {
		r := start(t, nested)
		a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.reaches(dev, emu.NoPASID, 0x10000, target)
		r.d.SetOmit(c.omit)
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, c.want, r.access(dev, emu.NoPASID, 0x10000, emu.Read).PA)
	}
	r := start(t, nested)
	a := r.in(host.StageFirst, 0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.reaches(dev, emu.NoPASID, 0x10000, target)
	r.d.SetOmit(entry.OmitIOTLB)
	_, err := a.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	r.reaches(dev, emu.NoPASID, 0x10000, target)
}

// A move that goes by the new id and does not flush it leaves the old pages under it.
func TestOmit_TheIDGoneByHasAVictim(t *testing.T) {
	for _, omit := range []entry.Omit{0, entry.OmitIOTLB} {
		r := start(t, nested)
		a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		require.NoError(t, r.d.Attach(0x800, emu.NoPASID, a))
		r.d.SetOmit(omit)
		seen := 0
		r.cpu.hook = func(off uint32) {
			if off == spec.OffIQT {
				r.access(dev, emu.NoPASID, 0x10000, emu.Read) // while the old table is under the new id
				seen++
			}
		}
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, 2, seen)
		want := target + 0x1000
		if omit != 0 {
			want = target
		}
		require.Equal(t, want, r.access(dev, emu.NoPASID, 0x10000, emu.Read).PA)
	}
}

func TestFirstStage_WhatWritersReport(t *testing.T) {
	for _, c := range []struct {
		w       entry.Writer
		stores  int
		verdict entry.Verdict
		cost    entry.Cost
	}{
		{entry.Hitless, 2, entry.VerdictHitless, entry.Cost{Invalidations: 3, Waits: 2}},
		{entry.Linux, 8, entry.VerdictDisruptive, entry.Cost{Invalidations: 2, Waits: 2}},
		{entry.Naive, 8, entry.VerdictDisruptive, entry.Cost{Invalidations: 2, Waits: 1}},
		{entry.BreakMake, 3, entry.VerdictDisruptive, entry.Cost{Invalidations: 2, Waits: 1}},
	} {
		r := start(t, nested)
		a, b := r.in(host.StageFirst, 0x10000, target), r.in(host.StageFirst, 0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		_, old := r.d.EntryAt(dev, emu.NoPASID)
		rep, err := r.d.Replace(dev, emu.NoPASID, b, c.w)
		require.NoError(t, err)
		_, now := r.d.EntryAt(dev, emu.NoPASID)
		require.Equal(t, c.stores, rep.Stores, c.w.Name())
		require.Equal(t, c.verdict, rep.Verdict, c.w.Name())
		require.Equal(t, c.cost, rep.Cost, c.w.Name())
		require.Equal(t, old, rep.States[0])
		require.Equal(t, now, rep.States[len(rep.States)-1])
		r.reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
		rep, err = r.d.Replace(dev, emu.NoPASID, b, c.w)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictNop, rep.Verdict)
	}
}
