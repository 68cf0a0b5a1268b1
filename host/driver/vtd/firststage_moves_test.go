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

// Moves between kinds of entries: what is stored first, what is named in the invalidations.
func TestVTDQuirk46_BetweenStages(t *testing.T) {
	r := start(t, nested)
	first, second := r.In(host.StageFirst, 0x10000, target), r.In(host.StageSecond, 0x10000, target+0x1000)
	pass := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
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
		r.Reaches(dev, 5, 0x10000, c.pa)
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
			a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
			r.Reaches(dev, emu.NoPASID, 0x10000, target)
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
			r.Reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
			if c.old {
				r.Reaches(other, emu.NoPASID, 0x10000, target)
			}
			if c.new {
				r.Reaches(third, emu.NoPASID, 0x10000, target+0x1000)
			}
			require.Equal(t, uint32(4), r.Domain(host.DomainSpec{}).ID(), "the temporary id is free again")
		})
	}
}

// The same domain under another PASID has translations of its own.
func TestFirstStage_AnotherPASIDOfTheDomainIsNoNeighbour(t *testing.T) {
	r := start(t, nested)
	a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, 5, a))
	require.NoError(t, r.d.Attach(dev, 6, a))
	rep, err := r.d.Replace(dev, 5, b, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Stores)
	r.Reaches(dev, 5, 0x10000, target+0x1000)
	r.Reaches(dev, 6, 0x10000, target)
}

// With the last id in use there is none to go by.
func TestFirstStage_NoFreeIDIsDisruptive(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.ND = 0 })
	a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
	for _, at := range []struct {
		sid emu.SourceID
		d   host.Domain
	}{{dev, a}, {0x800, a}, {0x808, b}} {
		require.NoError(t, r.d.Attach(at.sid, emu.NoPASID, at.d))
	}
	for range 12 {
		r.Domain(host.DomainSpec{})
	}
	rep, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictDisruptive, rep.Verdict)
	require.Contains(t, rep.Reason, "no free id to go by")
	r.Reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
}

// A temporary id that caches may still hold is nobody else's until they have been flushed.
func TestFirstStage_TemporaryIDWaitsForItsFlush(t *testing.T) {
	for fail := 1; fail <= 3; fail++ {
		r := start(t, nested)
		a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
		for _, at := range []struct {
			sid emu.SourceID
			d   host.Domain
		}{{dev, a}, {0x800, a}, {0x808, b}} {
			require.NoError(t, r.d.Attach(at.sid, emu.NoPASID, at.d))
		}
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		seen := 0
		r.cpu.Hook = func(off uint32) {
			if off == spec.OffIQT {
				if seen++; seen == fail {
					r.cpu.Drop[spec.OffIQT] = true // from here on no invalidation gets through
				}
			}
		}
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.ErrorIs(t, err, host.ErrTimeout)
		r.cpu.Hook, r.cpu.Drop[spec.OffIQT] = nil, false
		res := r.Access(dev, emu.NoPASID, 0x10000, emu.Read)
		require.Contains(t, []emu.PA{target, target + 0x1000}, res.PA, "the entry is whole at each step")

		next := r.In(host.StageFirst, 0x10000, target+0x2000)
		require.Equal(t, uint32(5), next.ID(), "4 is quarantined")
		require.ErrorIs(t, b.Free(), host.ErrBusy)
		rep, err := r.d.Replace(dev, emu.NoPASID, next, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictHitless, rep.Verdict)
		r.Reaches(dev, emu.NoPASID, 0x10000, target+0x2000)
		require.Equal(t, uint32(4), r.Domain(host.DomainSpec{}).ID())
		require.NoError(t, r.d.Detach(0x808, emu.NoPASID))
		require.NoError(t, b.Free())
		r.Reaches(0x800, emu.NoPASID, 0x10000, target)
	}
}

// A driver with one invalidation removed has a visible victim in the first stage too.
func TestOmit_FirstStageHasVictims(t *testing.T) {
	for _, c := range []struct {
		omit entry.Omit
		want emu.PA
	}{{0, target + 0x1000}, {entry.OmitPASID, target}, {entry.OmitIOTLB, target + 0x1000}} {
		r := start(t, nested)
		a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		r.d.SetOmit(c.omit)
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, c.want, r.Access(dev, emu.NoPASID, 0x10000, emu.Read).PA)
	}
	r := start(t, nested)
	a := r.In(host.StageFirst, 0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	r.d.SetOmit(entry.OmitIOTLB)
	_, err := a.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
}

// A move that goes by the new id and does not flush it leaves the old pages under it.
func TestOmit_TheIDGoneByHasAVictim(t *testing.T) {
	for _, omit := range []entry.Omit{0, entry.OmitIOTLB} {
		r := start(t, nested)
		a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		require.NoError(t, r.d.Attach(0x800, emu.NoPASID, a))
		r.d.SetOmit(omit)
		seen := 0
		r.cpu.Hook = func(off uint32) {
			if off == spec.OffIQT {
				r.Access(dev, emu.NoPASID, 0x10000, emu.Read) // while the old table is under the new id
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
		require.Equal(t, want, r.Access(dev, emu.NoPASID, 0x10000, emu.Read).PA)
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
		a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
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
		r.Reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
		rep, err = r.d.Replace(dev, emu.NoPASID, b, c.w)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictNop, rep.Verdict)
	}
}
