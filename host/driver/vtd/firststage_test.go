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
		r.Reaches(dev, emu.NoPASID, 0x10008, target+8)
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
		d := r.Domain(c.spec)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		root, _ := d.Tables().Root()
		_, raw := r.d.EntryAt(dev, emu.NoPASID)
		require.Equal(t, []uint64{1 | 1<<6 | c.flags[0], c.flags[1] | uint64(d.ID()), c.flags[2] | uint64(root), 0, 0, 0, 0, 0}, raw)
	}
}

func TestVTDQuirk50_FirstStageTakesTheLowerHalf(t *testing.T) {
	for five, bits := range map[bool]int{false: 47, true: 56} {
		r := start(t, nested, func(c *hw.Config) { c.FS5LP = five })
		d := r.Domain(host.DomainSpec{Stage: host.StageFirst})
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		top := emu.IOVA(1)<<bits - 0x1000
		require.NoError(t, d.Map(top, target, 0x1000, emu.RW))
		r.Reaches(dev, emu.NoPASID, top, target)
		require.ErrorIs(t, d.Map(top+0x1000, target, 0x1000, emu.RW), pagetable.ErrRange)
		require.Equal(t, uint16(0x80), r.Blocked(dev, emu.NoPASID, top+0x1000).Fault.Code, "not canonical")
	}
}

// Accessed and dirty flags are there before hardware looks for them, so that it never writes: where it
// does not snoop it could not (90h).
func TestVTDQuirk49_FlagsAreSetBeforehand(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.SMPWCS = false })
	d := r.In(host.StageFirst, 0x10000, target)
	require.NoError(t, d.Map(0x11000, target, 0x1000, emu.Read))
	for m := range d.Tables().Leaves(0, 0xfffff) {
		require.True(t, m.Accessed)
		require.Equal(t, m.IOVA == 0x10000, m.Dirty)
	}
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	r.Reaches(dev, emu.NoPASID, 0x11000, target)
	require.Equal(t, emu.OK, r.Access(dev, emu.NoPASID, 0x10000, emu.Write).Status)
	require.Equal(t, emu.Blocked, r.Access(dev, emu.NoPASID, 0x11000, emu.Write).Status)
}

// Translations are tagged with domain and PASID: each PASID of a domain is named, once for all its
// devices.
func TestFirstStage_UnmapNamesEachPASID(t *testing.T) {
	r := start(t, nested, withATS)
	a := r.Domain(host.DomainSpec{Stage: host.StageFirst})
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
	a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
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
	a := r.Domain(host.DomainSpec{Stage: host.StageFirst})
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
	a := r.Domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	got := r.during(func() { _, _ = a.Unmap(0x40_0000, 0x3000) })
	require.Equal(t, []string{"piotlb did 2 pasid 0 0x400000 am 2 ih 1", "wait"}, got)
	require.NoError(t, a.Map(0x40_0000, target, 0x3000, emu.RW))
	r.Reaches(dev, emu.NoPASID, 0x40_0000, target)
	got = r.during(func() { _, _ = a.Unmap(0x40_0000, 0x20_0000) })
	require.Equal(t, []string{"piotlb did 2 pasid 0 0x400000 am 9 ih 0", "wait"}, got)
}

// Caching mode does not extend to first-stage entries, but to PASID entries.
func TestVTDQuirk35_FirstStageEntriesAreNotCachedAbsent(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.CM = true })
	r.Blocked(dev, emu.NoPASID, 0x10000)
	a := r.Domain(host.DomainSpec{Stage: host.StageFirst})
	got := r.during(func() { require.NoError(t, r.d.Attach(dev, emu.NoPASID, a)) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 0", "fence", "piotlb g2 did 2 pasid 0", "wait",
		"context g3 did 0 sid 108", "fence", "iotlb g2 did 0", "wait"}, got)
	r.Blocked(dev, emu.NoPASID, 0x10000)
	require.Empty(t, r.during(func() { require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW)) }))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
}

func TestVTDQuirk48_StagesNeverShareAnID(t *testing.T) {
	r := start(t, nested)
	ids := map[uint32]host.Stage{1: 99} // pass-through
	for i := range 20 {
		stage := host.StageFirst + host.Stage(i%2)
		d := r.Domain(host.DomainSpec{Stage: stage})
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

func TestVTDQuirk44_FirstStageDetachClearsOnlyPBeforeTheFlush(t *testing.T) {
	r := start(t, nested)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.In(host.StageFirst, 0x10000, target)))
	_, old := r.d.EntryAt(dev, emu.NoPASID)
	r.cpu.Hook = func(off uint32) {
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
	a := r.Domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	freed, seen := r.frames.Stats().Freed, 0
	r.cpu.Hook = func(off uint32) {
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
