package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/internal/drivertest"
	"github.com/iommulab/iommulab/pagetable"
)

// The bits are counted by hand from 9.6.
func TestNested_Entry(t *testing.T) {
	for _, c := range []struct {
		parent host.DomainSpec
		spec   guest.Spec
		flags  [3]uint64
	}{
		{host.DomainSpec{Width: 48}, guest.Spec{}, [3]uint64{2 << 2, 0, 0}},
		{host.DomainSpec{Width: 48, Snoop: true}, guest.Spec{}, [3]uint64{2 << 2, 1 << 24, 0}},
		{host.DomainSpec{Width: 57}, guest.Spec{Levels: 5}, [3]uint64{3 << 2, 0, 1 << 2}},
		{host.DomainSpec{Width: 48, Dirty: true}, guest.Spec{}, [3]uint64{2<<2 | 1<<9, 0, 0}},
	} {
		r := start(t, nested, func(c *hw.Config) { c.FS5LP = true })
		g := r.Guest(drivertest.GuestBase, c.parent)
		d := g.Domain(c.spec)
		require.Equal(t, host.DomainNested, d.Kind())
		require.NotEqual(t, g.Parent.ID(), d.ID(), "an id of its own")
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
		second, _ := g.Parent.Tables().Root()
		first, _ := d.Tables().Root()
		_, raw := r.d.EntryAt(dev, emu.NoPASID)
		require.Equal(t, []uint64{1 | 3<<6 | c.flags[0] | uint64(second), 1<<23 | c.flags[1] | uint64(d.ID()), c.flags[2] | uint64(first), 0, 0, 0, 0, 0}, raw)
		require.Less(t, first, emu.PA(16<<20), "an address of the guest")
	}
}

func TestNested_Errors(t *testing.T) {
	r := start(t, nested)
	parent := r.Domain(host.DomainSpec{Stage: host.StageSecond, Width: 48})
	other := start(t, nested)
	for _, c := range []struct {
		name string
		spec host.DomainSpec
		want error
	}{
		{"no parent", host.DomainSpec{}, host.ErrUnsupported},
		{"parent of another unit", host.DomainSpec{Parent: other.Domain(host.DomainSpec{})}, host.ErrForeign},
		{"parent of the first stage", host.DomainSpec{Parent: r.Domain(host.DomainSpec{Stage: host.StageFirst})}, host.ErrUnsupported},
		{"parent without tables", host.DomainSpec{Parent: r.Domain(host.DomainSpec{Kind: host.DomainIdentity})}, host.ErrUnsupported},
		{"dirty tracking", host.DomainSpec{Parent: parent, Dirty: true}, host.ErrUnsupported},
		{"three levels", host.DomainSpec{Parent: parent, Levels: 3}, host.ErrUnsupported},
		{"table not aligned", host.DomainSpec{Parent: parent, Root: 0x800}, pagetable.ErrGeometry},
		{"table beyond the parent", host.DomainSpec{Parent: parent, Root: 1 << 48}, pagetable.ErrGeometry},
		{"id in use", host.DomainSpec{Parent: parent, ID: parent.ID()}, host.ErrBusy},
	} {
		c.spec.Kind = host.DomainNested
		_, err := r.d.NewDomain(c.spec)
		require.ErrorIs(t, err, c.want, c.name)
	}
	_, err := r.d.NewDomain(host.DomainSpec{Parent: parent})
	require.ErrorIs(t, err, host.ErrUnsupported, "a parent for a paging domain")
	flat := start(t, func(c *hw.Config) { c.NEST = false })
	_, err = flat.d.NewDomain(host.DomainSpec{Kind: host.DomainNested, Parent: flat.Domain(host.DomainSpec{})})
	require.ErrorIs(t, err, host.ErrUnsupported, "no NEST")

	n := r.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: parent})
	require.ErrorIs(t, n.Map(0, 0, 0x1000, emu.RW), host.ErrUnsupported)
	_, err = n.Unmap(0, 0x1000)
	require.ErrorIs(t, err, host.ErrUnsupported)
	require.ErrorIs(t, n.SetDirty(true), host.ErrUnsupported)
	require.Nil(t, n.Tables())
	require.ErrorIs(t, parent.Free(), host.ErrBusy)
	require.NoError(t, n.Free())
	require.NoError(t, parent.Free())
}

func TestNested_AttachedIsTheDomainBehind(t *testing.T) {
	r := start(t, nested)
	d := r.Guest(drivertest.GuestBase, host.DomainSpec{}).Mapped(0x10000, 0x5000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	require.Equal(t, d.Behind(), r.d.Attached(dev, emu.NoPASID))
}

// The guest's own changes: pages of its PASIDs. The parent's: pages of each id that is nested on it, all
// of the devices' own caches.
func TestNested_Invalidations(t *testing.T) {
	r := start(t, nested, withATS)
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{}) // 2
	a, b := g.Mapped(0x10000, 0x5000), g.Mapped(0x10000, 0x6000)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true}))
	require.NoError(t, r.d.Attach(dev, 5, a))
	require.NoError(t, r.d.Attach(0x800, emu.NoPASID, b))
	got := r.during(func() { _, _ = a.Unmap(0x10000, 0x1000) })
	require.Equal(t, []string{"piotlb did 3 pasid 5 0x10000 am 0 ih 1", "pdevtlb sid 108 pasid 5 0x10000", "wait"}, got)
	require.Empty(t, r.during(func() { require.NoError(t, a.Map(0x10000, 0x5000, 0x1000, emu.RW)) }))
	got = r.during(func() { require.NoError(t, a.Flush()) })
	require.Equal(t, []string{"piotlb g2 did 3 pasid 5", "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)

	got = r.during(func() { _, _ = g.Parent.Unmap(0x20_0000, 0x20_0000) })
	require.Equal(t, []string{
		"iotlb did 3 0x200000 am 9 ih 1", "iotlb did 4 0x200000 am 9 ih 1",
		"pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait",
	}, got)
	require.NoError(t, r.d.Attach(0x808, emu.NoPASID, g.Parent))
	got = r.during(func() { require.NoError(t, g.Parent.Flush()) })
	require.Equal(t, []string{"iotlb g2 did 2", "iotlb g2 did 3", "iotlb g2 did 4", "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)

	got = r.during(func() { require.NoError(t, r.d.Detach(0x800, emu.NoPASID)) })
	require.Equal(t, []string{"pasid g1 did 4 pasid 0", "fence", "iotlb g2 did 4", "wait"}, got)
	got = r.during(func() { require.NoError(t, g.Parent.Flush()) })
	require.Equal(t, []string{"iotlb g2 did 2", "iotlb g2 did 3", "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", "wait"}, got)
}

// In caching mode the absence of second-stage entries may be cached under the ids nested on them.
func TestVTDQuirk35_ParentMapsInvalidateTheChildren(t *testing.T) {
	r := start(t, nested, func(c *hw.Config) { c.CM = true })
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
	a := g.Mapped(0x10000, 0x5000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	got := r.during(func() { require.NoError(t, g.Parent.Map(0x4000_0000, drivertest.GuestBase, 0x1000, emu.RW)) })
	require.Equal(t, []string{"iotlb did 3 0x40000000 am 0 ih 0", "wait"}, got)
	require.Empty(t, r.during(func() { require.NoError(t, a.Map(0x11000, 0x5000, 0x1000, emu.RW)) }))
}

// The ways between nested domains, and between these and others.
func TestNested_Moves(t *testing.T) {
	r := start(t, nested)
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{})               // 2
	a, b := g.Mapped(0x10000, 0x5000), g.Mapped(0x10000, 0x6000)        // 3, 4
	copied := g.Again()                                                 // 5
	c := copied.Mapped(0x10000, 0x7000)                                 // 6
	elsewhere := r.Guest(drivertest.GuestBase+1<<30, host.DomainSpec{}) // 7
	require.NoError(t, elsewhere.Mapped(0x10000, 0x5000).Free())
	_, err := elsewhere.Frames.Alloc(12) // so that the table is not where that of c is
	require.NoError(t, err)
	e := elsewhere.Mapped(0x10000, 0x5000)          // 8
	first := r.In(host.StageFirst, 0x10000, target) // 9
	pass := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, g.Parent))
	for _, m := range []struct {
		name    string
		to      host.Domain
		verdict entry.Verdict
		ids     []uint64
		stores  int
	}{
		{"second stage to nested on it", a, entry.VerdictHitless, []uint64{2, 2, 3}, 2},
		{"to another first stage", b, entry.VerdictHitless, []uint64{3, 3, 4}, 2},
		{"to another first stage on a parent that translates alike", c, entry.VerdictHitless, []uint64{4, 4, 6}, 2},
		{"to another parent", e, entry.VerdictDisruptive, []uint64{6, 6, 6, 8}, 3},
		{"to pass-through", pass, entry.VerdictHitless, []uint64{8, 1, 1}, 2},
		{"from pass-through", a, entry.VerdictHitless, []uint64{1, 1, 3}, 2},
		{"to first stage", first, entry.VerdictDisruptive, []uint64{3, 3, 3, 9}, 3},
		{"from first stage", b, entry.VerdictDisruptive, []uint64{9, 9, 9, 4}, 3},
		{"to the second stage", g.Parent, entry.VerdictHitless, []uint64{4, 2, 2}, 2},
	} {
		rep, err := r.d.Replace(dev, emu.NoPASID, m.to, entry.Hitless)
		require.NoError(t, err, m.name)
		require.Equal(t, m.verdict, rep.Verdict, "%s: %s", m.name, rep.Reason)
		require.Equal(t, m.stores, rep.Stores, m.name)
		var ids []uint64
		for _, s := range rep.States {
			ids = append(ids, spec.PasidDID.Get(s))
		}
		require.Equal(t, m.ids, ids, m.name)
	}
}

func TestNested_TheSameFirstStageOnAnotherParentIsOneStore(t *testing.T) {
	r := start(t, nested)
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
	copied := g.Again()
	a := g.Mapped(0x10000, 0x5000)
	root, levels := a.Tables().Root()
	b := r.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: copied.Parent, Root: root, Levels: levels})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	rep, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictHitless, rep.Verdict)
	require.Equal(t, 1, rep.Stores)
}

// Dirty flags of the parent's tables are kept through the entries that are nested on it.
func TestNested_DirtyTrackingOfTheParent(t *testing.T) {
	r := start(t, nested)
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, g.Mapped(0x10000, 0x5000)))
	got := r.during(func() { require.NoError(t, g.Parent.SetDirty(true)) })
	require.Equal(t, []string{"pasid g1 did 3 pasid 0", "fence", "iotlb g2 did 3", "wait"}, got)
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.NotZero(t, raw[0]&spec.PasidSSADE.Mask())
}

func TestNested_TranslatesThroughBothAndSeesBothChange(t *testing.T) {
	for _, omit := range []entry.Omit{0, entry.OmitIOTLB} {
		r := start(t, nested)
		g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
		a := g.Mapped(0x10000, 0x5000)
		require.NoError(t, g.Parent.Map(0x4000_0000, target, 0x1000, emu.RW))
		require.NoError(t, a.Map(0x11000, 0x4000_0000, 0x1000, emu.RW))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10008, drivertest.GuestBase+0x5008)
		r.Reaches(dev, emu.NoPASID, 0x11000, target)
		tr, ok := a.Lookup(0x11000)
		require.True(t, ok)
		require.Equal(t, target, tr.PA)

		r.d.SetOmit(omit)
		_, err := a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
		_, err = g.Parent.Unmap(0x4000_0000, 0x1000)
		require.NoError(t, err)
		if omit != 0 { // both have a victim
			r.Reaches(dev, emu.NoPASID, 0x10008, drivertest.GuestBase+0x5008)
			r.Reaches(dev, emu.NoPASID, 0x11000, target)
			continue
		}
		require.Equal(t, uint16(0x71), r.Blocked(dev, emu.NoPASID, 0x10008).Fault.Code, "first stage")
		require.Equal(t, uint16(0x79), r.Blocked(dev, emu.NoPASID, 0x11000).Fault.Code, "second stage")
		require.NoError(t, g.Parent.Map(0x4000_0000, target+0x1000, 0x1000, emu.RW))
		r.Reaches(dev, emu.NoPASID, 0x11000, target+0x1000)
	}
}

// Hardware keeps the guest's flags where the guest left them to it, and the parent's of all that is
// written: data, and the guest's tables, which count as written by every walk (3.8.1).
func TestNested_DirtyFlagsOfBoth(t *testing.T) {
	for _, dirty := range []bool{false, true} {
		r := start(t, nested)
		g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
		require.NoError(t, g.Parent.Map(0x4000_0000, target, 0x4000, emu.RW))
		a := g.Domain(guest.Spec{Dirty: dirty})
		require.NoError(t, a.Map(0x10000, 0x4000_0000, 0x4000, emu.RW))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.write(emu.NoPASID, 0x10000)
		require.NoError(t, g.Parent.SetDirty(true))
		r.write(emu.NoPASID, 0x11000)
		r.Reaches(dev, emu.NoPASID, 0x12000, target+0x2000)
		require.Equal(t, []emu.IOVA{0x4000_1000}, r.dirty(g.Parent, 0x4000_0000, 0x4000, true))
		require.NotEmpty(t, r.dirty(g.Parent, 0, 16<<20, true), "the guest's tables")
		r.write(emu.NoPASID, 0x11000)
		require.Equal(t, []emu.IOVA{0x4000_1000}, r.dirty(g.Parent, 0x4000_0000, 0x4000, true), "seen again")
		if !dirty {
			require.ErrorIs(t, a.ReadDirty(0, 1<<30, true, nil), host.ErrNotTracking)
			continue
		}
		require.Equal(t, []emu.IOVA{0x10000, 0x11000}, r.dirty(a, 0, 1<<30, true))
		require.Empty(t, r.dirty(a, 0, 1<<30, true))
		r.write(emu.NoPASID, 0x13000)
		require.Equal(t, []emu.IOVA{0x13000}, r.dirty(a, 0, 1<<30, true))
	}
}

// The second stage is replaced under a guest that goes on: no request finds anything else than before.
func TestNested_ParentReplacedUnderTheGuest(t *testing.T) {
	r := start(t, nested)
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
	a := g.Mapped(0x10000, 0x5000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.Reaches(dev, emu.NoPASID, 0x10000, drivertest.GuestBase+0x5000)
	copied := g.Again()
	root, levels := a.Tables().Root()
	b := r.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: copied.Parent, Root: root, Levels: levels})
	_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
	require.NoError(t, err)
	r.Reaches(dev, emu.NoPASID, 0x10000, drivertest.GuestBase+0x5000)
	require.NoError(t, a.Behind().Free())
	require.NoError(t, g.Parent.Free())
	r.Reaches(dev, emu.NoPASID, 0x10000, drivertest.GuestBase+0x5000)
	_, err = copied.Parent.Unmap(0, 16<<20)
	require.NoError(t, err)
	r.Blocked(dev, emu.NoPASID, 0x10000)
}
