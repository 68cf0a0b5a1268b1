package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

func TestVTDQuirk32_InvalidationNamesTheOldDomain(t *testing.T) {
	r := start(t, legacy)
	a, b := r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a)) // 2
	got := r.during(func() { _, _ = r.d.Replace(dev, emu.NoPASID, b, entry.Hitless) })
	require.Equal(t, []string{"context g3 did 2 sid 108", "fence", "iotlb g2 did 2", "wait"}, got)
	got = r.during(func() { _, _ = r.d.Replace(dev, emu.NoPASID, a, entry.Linux) })
	require.Equal(t, []string{"context g3 did 3 sid 108", "wait", "iotlb g2 did 3", "wait"}, got)

	r = start(t)
	a, b = r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, 5, a))
	got = r.during(func() { _, _ = r.d.Replace(dev, 5, b, entry.Hitless) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 5", "fence", "iotlb g2 did 2", "wait"}, got)
	id := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	_, _ = r.d.Replace(dev, 5, id, entry.Hitless)
	got = r.during(func() { _, _ = r.d.Replace(dev, 5, a, entry.BreakMake) })
	require.Equal(t, []string{"pasid g1 did 1 pasid 5", "fence", "piotlb g2 did 1 pasid 5", "wait"}, got)
	got = r.during(func() { _ = r.d.Detach(dev, 5) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 5", "fence", "iotlb g2 did 2", "wait"}, got)
}

func TestVTDQuirk34_ContextThenPASIDThenIOTLBThenDeviceTLB(t *testing.T) {
	r := start(t, withATS)
	a, b := r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, r.d.Attach(dev, 5, a))
	got := r.during(func() { _, _ = r.d.Replace(dev, 5, b, entry.Hitless) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 5", "fence", "iotlb g2 did 2",
		"pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)
	got = r.during(func() { _ = r.d.Detach(dev, emu.NoPASID) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 0", "fence", "iotlb g2 did 2",
		"devtlb sid 108 0x7ffffffffffff001", "wait"}, got)
	require.NoError(t, r.d.Detach(dev, 5))
	got = r.during(func() { _ = r.d.Release(dev) })
	require.Equal(t, []string{"context g3 did 0 sid 108", "fence", "devtlb sid 108 0x7ffffffffffff001", "wait"}, got)
}

func TestVTDQuirk12_FenceIsAWaitWithNothingToWrite(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	_, err := r.d.Replace(dev, emu.NoPASID, r.Mapped(0x10000, target), entry.Hitless)
	require.NoError(t, err)
	require.Zero(t, r.d.Stats().QueueErrors)
	require.Zero(t, fenceDesc()[0]&(spec.IwSW.Mask()|spec.IwIF.Mask()))
}

func TestVTDQuirk38_HintOnlyIfNoTableIsFreed(t *testing.T) {
	r := start(t)
	a := r.Domain(host.DomainSpec{})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x20_0000, target, 0x20_0000, emu.RW))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW)) // 4K pages: a table
	got := r.during(func() { _, _ = a.Unmap(0x20_0000, 0x20_0000) })
	require.Equal(t, []string{"iotlb did 2 0x200000 am 9 ih 1", "wait"}, got)
	got = r.during(func() { _, _ = a.Unmap(0x40_0000, 0x3000) })
	require.Equal(t, []string{"iotlb did 2 0x400000 am 2 ih 1", "wait"}, got)
	require.NoError(t, a.Map(0x40_0000, target, 0x3000, emu.RW))
	got = r.during(func() { _, _ = a.Unmap(0x40_0000, 0x20_0000) })
	require.Equal(t, []string{"iotlb did 2 0x400000 am 9 ih 0", "wait"}, got)
}

func TestVTDQuirk37_DomainInvalidationIfTheMaskIsTooLarge(t *testing.T) {
	r := start(t, func(c *hw.Config) { c.MAMV = 9 })
	a := r.Domain(host.DomainSpec{})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target, 0x40_0000, emu.RW))
	got := r.during(func() { _, _ = a.Unmap(0x40_0000, 0x40_0000) })
	require.Equal(t, []string{"iotlb g2 did 2", "wait"}, got)
	require.NoError(t, a.Map(0x40_0000, target, 0x20_0000, emu.RW))
	got = r.during(func() { _, _ = a.Unmap(0x40_0000, 0x20_0000) })
	require.Equal(t, []string{"iotlb did 2 0x400000 am 9 ih 1", "wait"}, got)

	r = start(t, func(c *hw.Config) { c.PSI = false })
	a = r.Mapped(0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	got = r.during(func() { _, _ = a.Unmap(0x10000, 0x1000) })
	require.Equal(t, []string{"iotlb g2 did 2", "wait"}, got)
}

func TestVTDQuirk35_CachingModeInvalidatesWhatBecomesPresent(t *testing.T) {
	for _, mode := range []func(*hw.Config){scalable, legacy} {
		r := start(t, mode, func(c *hw.Config) { c.CM = true })
		r.Blocked(dev, emu.NoPASID, 0x10000) // the absence may be cached from here on
		a := r.Domain(host.DomainSpec{})
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Blocked(dev, emu.NoPASID, 0x10000)
		got := r.during(func() { require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW)) })
		require.Equal(t, []string{"iotlb did 2 0x10000 am 0 ih 0", "wait"}, got)
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
	}
	r := start(t, legacy, func(c *hw.Config) { c.CM = true })
	got := r.during(func() { _ = r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)) })
	require.Equal(t, []string{"context g3 did 0 sid 108", "fence", "iotlb g2 did 2", "wait"}, got)
	r = start(t, func(c *hw.Config) { c.CM = true })
	got = r.during(func() { _ = r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)) })
	require.Equal(t, []string{"pasid g1 did 2 pasid 0", "fence", "piotlb g2 did 2 pasid 0", "wait",
		"context g3 did 0 sid 108", "fence", "iotlb g2 did 0", "wait"}, got)
}

func TestVTDQuirk47_TablesAreFreedBehindTheWait(t *testing.T) {
	r := start(t)
	r.frames.SetPoison(true)
	a := r.Domain(host.DomainSpec{})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	r.Reaches(dev, emu.NoPASID, 0x40_0000, target+0x1000)
	freed, seen := r.frames.Stats().Freed, 0
	r.cpu.Hook = func(off uint32) {
		if off == spec.OffIQT {
			seen++
			require.Equal(t, freed, r.frames.Stats().Freed, "still in the tree of what hardware may hold")
		}
	}
	_, err := a.Unmap(0x40_0000, 0x20_0000)
	require.NoError(t, err)
	require.Equal(t, 1, seen)
	require.Greater(t, r.frames.Stats().Freed, freed)
}

// Without the answer to the wait nothing is freed, and the caller hears of it.
func TestUnmap_TimeoutKeepsTheTables(t *testing.T) {
	r := start(t)
	a := r.Domain(host.DomainSpec{})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	freed := r.frames.Stats().Freed
	r.cpu.Drop[spec.OffIQT] = true
	_, err := a.Unmap(0x40_0000, 0x20_0000)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.ErrorContains(t, err, "invalidation wait")
	require.Equal(t, freed, r.frames.Stats().Freed)
}

func TestVTDQuirk44_DetachClearsOnlyPBeforeTheFlush(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
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

// A driver with one invalidation removed has a visible victim.
func TestOmit_EachHasAVictim(t *testing.T) {
	move := func(omit entry.Omit, change ...func(*hw.Config)) emu.PA {
		r := start(t, change...)
		a, b := r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		r.d.SetOmit(omit)
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.NoError(t, err)
		return r.Access(dev, emu.NoPASID, 0x10000, emu.Read).PA
	}
	require.Equal(t, target+0x1000, move(0, legacy))
	require.Equal(t, target+0x1000, move(0))
	require.Equal(t, target, move(entry.OmitContext, legacy))
	require.Equal(t, target, move(entry.OmitPASID))
	require.Equal(t, target+0x1000, move(entry.OmitIOTLB), "the new entry has a domain id of its own")

	r := start(t)
	a := r.Mapped(0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	r.d.SetOmit(entry.OmitIOTLB)
	_, err := a.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	r.d.SetOmit(entry.OmitWait)
	for range 1000 { // the queue does not overflow
		require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW))
		_, err = a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
	}
}

func TestQueue_WrapsAround(t *testing.T) {
	r := start(t)
	a := r.Mapped(0, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	for i := range 1000 {
		iova := emu.IOVA(i+1) << 12
		require.NoError(t, a.Map(iova, target+0x1000, 0x1000, emu.RW))
		r.Reaches(dev, emu.NoPASID, iova, target+0x1000)
		_, err := a.Unmap(iova, 0x1000)
		require.NoError(t, err)
		r.Blocked(dev, emu.NoPASID, iova)
	}
	require.GreaterOrEqual(t, r.d.Stats().Descriptors, uint64(2000))
}

// First-stage entries, which this driver does not make itself, go through the same writers: the second
// stage to first stage move fills its second unit first, and waits in between.
func TestVTDQuirk46_TwoStepsWithAPASIDCacheInvalidationBetween(t *testing.T) {
	r := start(t)
	r.d.formatPASID = entry.VTD{CAP: r.d.caps.cap, ECAP: r.d.caps.ecap | spec.EcapFSTS.Mask()}.PASID()
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, 5, r.Mapped(0x10000, target)))
	at, second := r.d.EntryAt(dev, 5)
	tgt, err := arch{r.d}.Target(r.d.k.Devices[dev], 5, nil, false)
	require.NoError(t, err)
	require.Equal(t, at, tgt.At)
	require.Equal(t, r.d.formatPASID, r.d.EntryFormat())
	first := make([]uint64, 8)
	first[0] = 1 | spec.PasidPGTT.Put(spec.PGTTFirst)
	spec.PasidDID.Set(first, 9)
	spec.PasidFSPTPTR.Set(first, 0x77)
	got := r.during(func() { _, err = entry.Hitless.Write(tgt, first) })
	require.NoError(t, err)
	require.Equal(t, []string{"pasid g1 did 2 pasid 5", "wait", "pasid g1 did 2 pasid 5", "fence", "iotlb g2 did 2", "wait"}, got)
	got = r.during(func() { _, err = entry.Hitless.Write(tgt, second) })
	require.NoError(t, err)
	require.Equal(t, []string{"pasid g1 did 9 pasid 5", "fence", "piotlb g2 did 9 pasid 5", "wait"}, got)
	r.Reaches(dev, 5, 0x10000, target)
}

func TestDomain_FlushNamesWhatItsEntriesAreTaggedWith(t *testing.T) {
	r := start(t, withATS)
	id := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	tr, ok := id.Lookup(0x1234)
	require.True(t, ok)
	require.Equal(t, emu.PA(0x1234), tr.PA)
	_, ok = r.Domain(host.DomainSpec{Kind: host.DomainBlocked}).Lookup(0)
	require.False(t, ok)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, id))
	require.NoError(t, r.d.Attach(dev, 7, id))
	require.NoError(t, r.d.Attach(0x800, emu.NoPASID, id))
	got := r.during(func() { require.NoError(t, id.Flush()) })
	require.Equal(t, []string{"piotlb g2 did 1 pasid 0", "piotlb g2 did 1 pasid 7",
		"devtlb sid 108 0x7ffffffffffff001", "pdevtlb sid 108 pasid 7 0x7ffffffffffff800", "wait"}, got)
}
