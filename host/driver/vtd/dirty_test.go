package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// dirty returns the first addresses of the dirty leaves of a range.
func (r *rig) dirty(d host.Domain, iova emu.IOVA, n uint64, clear bool) []emu.IOVA {
	r.t.Helper()
	var list []emu.IOVA
	require.NoError(r.t, d.ReadDirty(iova, n, clear, func(first, last emu.IOVA) { list = append(list, first) }))
	return list
}

func (r *rig) write(pasid emu.PASID, iova emu.IOVA) {
	r.t.Helper()
	require.Equal(r.t, emu.OK, r.Access(dev, pasid, iova, emu.Write).Status)
}

var stages = map[string]host.Stage{"first": host.StageFirst, "second": host.StageSecond}

func TestDirty_WhatIsWrittenIsReportedOnce(t *testing.T) {
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			r := start(t, nested)
			d := r.Domain(host.DomainSpec{Stage: stage, Dirty: true})
			require.NoError(t, d.Map(0x10000, target, 0x4000, emu.RW))
			require.NoError(t, d.Map(0x20_0000, target, 0x20_0000, emu.RW))
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
			require.Empty(t, r.dirty(d, 0, 1<<30, true))
			r.Reaches(dev, emu.NoPASID, 0x10000, target)
			require.Empty(t, r.dirty(d, 0, 1<<30, true), "reading does not dirty")
			r.write(emu.NoPASID, 0x10000)
			r.write(emu.NoPASID, 0x12008)
			r.write(emu.NoPASID, 0x20_5000)
			require.Equal(t, []emu.IOVA{0x10000, 0x12000, 0x20_0000}, r.dirty(d, 0, 1<<30, false))
			require.Equal(t, []emu.IOVA{0x12000}, r.dirty(d, 0x11000, 0x3000, true))
			require.Equal(t, []emu.IOVA{0x10000, 0x20_0000}, r.dirty(d, 0, 1<<30, true))
			require.Empty(t, r.dirty(d, 0, 1<<30, true))
			// The caches knew the pages as dirty: they have been told.
			r.write(emu.NoPASID, 0x12000)
			require.Equal(t, []emu.IOVA{0x12000}, r.dirty(d, 0, 1<<30, true))
		})
	}
}

func TestDirty_InvalidatesWhatItClears(t *testing.T) {
	for stage, want := range map[host.Stage]string{
		host.StageFirst: "piotlb did 2 pasid 0 0x10000 am 2 ih 1", host.StageSecond: "iotlb did 2 0x10000 am 2 ih 1",
	} {
		r := start(t, nested)
		d := r.Domain(host.DomainSpec{Stage: stage, Dirty: true})
		require.NoError(t, d.Map(0x10000, target, 0x4000, emu.RW))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		r.write(emu.NoPASID, 0x10000)
		r.write(emu.NoPASID, 0x12000)
		require.Empty(t, r.during(func() { r.dirty(d, 0, 1<<30, false) }))
		require.Equal(t, []string{want, "wait"}, r.during(func() { r.dirty(d, 0, 1<<30, true) }))
		require.Empty(t, r.during(func() { r.dirty(d, 0, 1<<30, true) }), "nothing was dirty")
	}
}

// SSADE is one store in place; everything under the id is flushed.
func TestDirty_SecondStageInPlace(t *testing.T) {
	r := start(t, nested, withATS)
	d := r.In(host.StageSecond, 0x10000, target)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	require.NoError(t, r.d.Attach(dev, 5, d))
	r.write(emu.NoPASID, 0x10000)
	require.ErrorIs(t, d.ReadDirty(0, 0x1000, true, nil), host.ErrNotTracking)
	stores := r.d.Stats().Stores
	_, old := r.d.EntryAt(dev, 5)
	got := r.during(func() { require.NoError(t, d.SetDirty(true)) })
	require.Equal(t, []string{
		"pasid g1 did 2 pasid 0", "fence", "iotlb g2 did 2", "devtlb sid 108 0x7ffffffffffff001", "wait",
		"pasid g1 did 2 pasid 5", "fence", "iotlb g2 did 2", "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait",
	}, got)
	require.Equal(t, stores+2+uint64(2*len(got))+2, r.d.Stats().Stores, "one in each entry; the others are descriptors and status words")
	_, raw := r.d.EntryAt(dev, 5)
	old[0] |= spec.PasidSSADE.Mask()
	require.Equal(t, old, raw)
	require.Empty(t, r.during(func() { require.NoError(t, d.SetDirty(true)) }), "nothing to change")
	require.Empty(t, r.dirty(d, 0, 1<<30, true))
	r.write(5, 0x10000)
	require.Equal(t, []emu.IOVA{0x10000}, r.dirty(d, 0, 1<<30, false))

	require.NoError(t, d.SetDirty(false))
	_, raw = r.d.EntryAt(dev, 5)
	require.Zero(t, raw[0]&spec.PasidSSADE.Mask())
	require.NoError(t, d.SetDirty(true))
	require.Empty(t, r.dirty(d, 0, 1<<30, true), "begins clean")
}

func TestDirty_FirstStageOnTheFly(t *testing.T) {
	r := start(t, nested)
	d := r.In(host.StageFirst, 0x10000, target)
	require.NoError(t, d.Map(0x11000, target, 0x1000, emu.RW))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	r.write(emu.NoPASID, 0x10000)
	require.NoError(t, d.SetDirty(true))
	require.Empty(t, r.dirty(d, 0, 1<<30, true))
	r.write(emu.NoPASID, 0x10000)
	require.NoError(t, d.Map(0x12000, target, 0x1000, emu.RW))
	r.write(emu.NoPASID, 0x12000)
	require.Equal(t, []emu.IOVA{0x10000, 0x12000}, r.dirty(d, 0, 1<<30, true))
	require.NoError(t, d.SetDirty(false))
	require.NoError(t, d.Map(0x13000, target, 0x1000, emu.RW))
	for m := range d.Tables().Leaves(0x13000, 0x13fff) {
		require.True(t, m.Dirty, "set beforehand again")
	}
	r.write(emu.NoPASID, 0x11000)
}

func TestDirty_Errors(t *testing.T) {
	for _, c := range []struct {
		name  string
		unit  func(*hw.Config)
		stage host.Stage
	}{
		{"legacy mode", legacy, host.StageAny},
		{"no SSADS", func(c *hw.Config) { nested(c); c.SSADS = false }, host.StageSecond},
		{"second stage does not snoop", func(c *hw.Config) { nested(c); c.SMPWCS = false }, host.StageSecond},
		{"first stage does not snoop", func(c *hw.Config) { nested(c); c.SMPWCS = false }, host.StageFirst},
	} {
		r := start(t, c.unit)
		_, err := r.d.NewDomain(host.DomainSpec{Stage: c.stage, Dirty: true})
		require.ErrorIs(t, err, host.ErrUnsupported, c.name)
		require.ErrorIs(t, r.Domain(host.DomainSpec{Stage: c.stage}).SetDirty(true), host.ErrUnsupported, c.name)
	}
	r := start(t, nested)
	require.ErrorIs(t, r.Domain(host.DomainSpec{Kind: host.DomainIdentity}).SetDirty(true), host.ErrUnsupported)
	d := r.Domain(host.DomainSpec{Dirty: true})
	require.ErrorIs(t, d.ReadDirty(0x1000, 0, true, nil), pagetable.ErrLength)
	require.ErrorIs(t, d.ReadDirty(0x1000, ^uint64(0), true, nil), pagetable.ErrLength)
}

// Tracking that failed half-way is completed by asking again.
func TestDirty_TimeoutAndAgain(t *testing.T) {
	r := start(t, nested)
	d := r.In(host.StageSecond, 0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	require.NoError(t, r.d.Attach(0x800, emu.NoPASID, d))
	r.write(emu.NoPASID, 0x10000)
	r.cpu.Drop[spec.OffIQT] = true
	require.ErrorIs(t, d.SetDirty(true), host.ErrTimeout)
	r.cpu.Drop[spec.OffIQT] = false
	require.NoError(t, d.SetDirty(true))
	for _, sid := range []emu.SourceID{dev, 0x800} {
		_, raw := r.d.EntryAt(sid, emu.NoPASID)
		require.NotZero(t, raw[0]&spec.PasidSSADE.Mask())
	}
	r.write(emu.NoPASID, 0x10000)
	require.Equal(t, []emu.IOVA{0x10000}, r.dirty(d, 0, 1<<30, true))
}
