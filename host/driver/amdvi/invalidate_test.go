package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// What each operation gives to the command buffer, decoded by hand.
func TestInvalidate_Commands(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 16}))
	require.NoError(t, r.d.Probe(0x100, host.DeviceSpec{ATS: true}))
	a, b := r.In(host.StageSecond, 0x10000, target), r.In(host.StageSecond, 0x10000, target+0x1000)
	first := r.In(host.StageFirst, 0x10000, target)
	require.Equal(t, []uint32{2, 3, 4}, []uint32{a.ID(), b.ID(), first.ID()})
	for _, c := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"attach", func() error { return r.d.Attach(dev, emu.NoPASID, a) }, []string{"dte 310", "wait"}},
		{"map", func() error { return a.Map(0x20000, target, 0x1000, emu.RW) }, nil},
		{"unmap", func() error { _, err := a.Unmap(0x20000, 0x1000); return err }, []string{"pages 2 0x20000", "wait"}},
		{"map 64 KiB", func() error { return a.Map(0x20000, target, 0x10000, emu.RW) }, nil},
		{"unmap 64 KiB", func() error { _, err := a.Unmap(0x20000, 0x10000); return err }, []string{"pages 2 0x27001", "wait"}},
		{"map another table", func() error { return a.Map(0x4000_0000, target, 0x1000, emu.RW) }, nil},
		{"replace that table", func() error {
			if _, err := a.Unmap(0x4000_0000, 0x1000); err != nil {
				return err
			}
			return a.Map(0x4000_0000, target, 0x20_0000, emu.RW)
		}, []string{"pages 2 0x40000000", "wait", "pages 2 0x400ff001 pde", "wait"}},
		{"flush", a.Flush, []string{"pages 2 all pde", "wait"}},
		{"invalidate leaves", func() error { return a.Invalidate(0x1000, 0x2000, false) }, []string{"pages 2 0x1001", "wait"}},
		{"replace", func() error { return r.move(b, entry.Hitless) }, []string{"dte 310", "fence", "pages 2 all pde", "wait"}},
		{"replace, linux", func() error { return r.move(a, entry.Linux) },
			[]string{"dte 310", "wait", "dte 310", "wait", "pages 3 all pde", "wait", "dte 310", "wait", "dte 310", "wait"}},
		{"to guest tables", func() error { return r.move(first, entry.Hitless) }, []string{"dte 310", "fence", "pages 2 all pde", "wait"}},
		{"unmap guest", func() error { _, err := first.Unmap(0x10000, 0x1000); return err }, []string{"pages 4 pasid 0 0x10000", "wait"}},
		// The first PASID: the device gets a GCR3 table and an id of its own.
		{"attach PASID", func() error { return r.d.Attach(dev, 5, first) },
			[]string{"dte 310", "fence", "pages 4 pasid 0 all pde", "pages 4 all pde", "wait"}},
		{"another PASID", func() error { return r.d.Attach(dev, 6, first) }, nil},
		{"map guest", func() error { return first.Map(0x10000, target, 0x2000, emu.RW) }, nil},
		{"unmap of three PASIDs", func() error { _, err := first.Unmap(0x10000, 0x2000); return err },
			[]string{"pages 5 pasid 0 0x10001", "pages 5 pasid 5 0x10001", "pages 5 pasid 6 0x10001", "wait"}},
		{"detach PASID", func() error { return r.d.Detach(dev, 6) }, []string{"pages 5 pasid 6 all pde", "wait"}},
		{"detach the last", func() error { return r.d.Detach(dev, 5) },
			[]string{"pages 5 pasid 5 all pde", "wait", "dte 310", "fence", "pages 5 pasid 0 all pde", "pages 5 all pde", "wait"}},
		{"detach", func() error { return r.d.Detach(dev, emu.NoPASID) },
			[]string{"dte 310", "fence", "pages 4 pasid 0 all pde", "pages 4 all pde", "wait"}},
		// A device with an IOTLB.
		{"attach ATS", func() error { return r.d.Attach(0x100, emu.NoPASID, b) }, []string{"dte 100", "wait"}},
		{"unmap ATS", func() error { _, err := b.Unmap(0x10000, 0x1000); return err }, []string{"pages 3 0x10000", "iotlb 100 0x10000", "wait"}},
		{"detach ATS", func() error { return r.d.Detach(0x100, emu.NoPASID) }, []string{"dte 100", "fence", "pages 3 all pde", "iotlb 100 all", "wait"}},
	} {
		got := r.during(func() { require.NoError(t, c.do(), c.name) })
		require.Equal(t, c.want, got, c.name)
	}
}

// move replaces the domain of dev.
func (r *rig) move(to host.Domain, w entry.Writer) error {
	_, err := r.d.Replace(dev, emu.NoPASID, to, w)
	return err
}

// Changes of a parent's tables go to all that is nested on it, under whatever id, and to all of the device
// IOTLBs there.
func TestInvalidate_NestedGoesWithItsParent(t *testing.T) {
	r := start(t)
	g := r.Guest(0x4_0000_0000, host.DomainSpec{Width: 48})
	dom := g.Mapped(0x10000, 0x20_0000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
	require.NoError(t, r.d.Probe(0x100, host.DeviceSpec{PASIDs: 16, ATS: true}))
	require.NoError(t, r.d.Attach(0x100, 5, dom))
	r.Reaches(dev, emu.NoPASID, 0x10000, 0x4_0020_0000)
	r.Reaches(0x100, 5, 0x10000, 0x4_0020_0000)
	require.Equal(t, []uint32{2, 3}, []uint32{g.Parent.ID(), dom.ID()})
	require.Equal(t, []string{"pages 3 0x2ff001 pde", "pages 4 0x2ff001 pde", "iotlb 100 pasid 5 all", "wait"},
		r.during(func() { require.NoError(t, g.Parent.Invalidate(0x20_0000, 0x20_0000, true)) }))
}

// Without one of its invalidations the driver leaves a victim.
func TestOmit_EachHasAVictim(t *testing.T) {
	for _, c := range []struct {
		name string
		omit entry.Omit
		do   func(r *rig) (sid emu.SourceID, pasid emu.PASID)
	}{
		{"device table entry", entry.OmitContext, func(r *rig) (emu.SourceID, emu.PASID) {
			require.NoError(r.T, r.move(r.Domain(host.DomainSpec{Kind: host.DomainBlocked}), entry.Hitless))
			return dev, emu.NoPASID
		}},
		{"translations", entry.OmitIOTLB, func(r *rig) (emu.SourceID, emu.PASID) {
			_, err := r.d.Attached(dev, emu.NoPASID).Unmap(0x10000, 0x1000)
			require.NoError(r.T, err)
			return dev, emu.NoPASID
		}},
		{"GCR3 table entry", entry.OmitPASID, func(r *rig) (emu.SourceID, emu.PASID) {
			require.NoError(r.T, r.d.Detach(0x100, 5))
			return 0x100, 5
		}},
	} {
		for _, omit := range []entry.Omit{0, c.omit} {
			r := start(t)
			a := r.In(host.StageFirst, 0x10000, target)
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
			require.NoError(t, r.d.Probe(0x100, host.DeviceSpec{PASIDs: 16}))
			require.NoError(t, r.d.Attach(0x100, 5, a))
			require.NoError(t, r.d.Attach(0x100, 6, a))
			r.Reaches(dev, emu.NoPASID, 0x10000, target)
			r.Reaches(0x100, 5, 0x10000, target)
			r.d.SetOmit(omit)
			sid, pasid := c.do(r)
			want := emu.Blocked
			if omit != 0 {
				want = emu.OK
			}
			require.Equal(t, want, r.Access(sid, pasid, 0x10000, emu.Read).Status, "%s, omitted %t", c.name, omit != 0)
		}
	}
}

// A failed invalidation leaves a domain attached, and nothing is given out again before a later one succeeds.
func TestReplace_FailureIsMadeUpFor(t *testing.T) {
	r := start(t)
	a, b := r.In(host.StageFirst, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	r.CPU.Drop[spec.OffCmdTail] = true
	_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.Equal(t, a, r.d.Attached(dev, emu.NoPASID))
	require.ErrorIs(t, b.Free(), host.ErrBusy)
	require.ErrorIs(t, r.d.Detach(dev, emu.NoPASID), host.ErrTimeout)
	delete(r.CPU.Drop, spec.OffCmdTail)
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	r.Blocked(dev, emu.NoPASID, 0x10000)
	require.NoError(t, a.Free())
	require.NoError(t, b.Free())
}

// The same with PASIDs, where two entries change.
func TestPASID_FailureIsMadeUpFor(t *testing.T) {
	r := start(t)
	a := r.In(host.StageFirst, 0x10000, target)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 16}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	r.CPU.Drop[spec.OffCmdTail] = true
	require.ErrorIs(t, r.d.Attach(dev, 5, a), host.ErrTimeout)
	delete(r.CPU.Drop, spec.OffCmdTail)
	require.NoError(t, r.d.Attach(dev, 5, a))
	r.Reaches(dev, 5, 0x10000, target)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	r.CPU.Drop[spec.OffCmdTail] = true
	require.ErrorIs(t, r.d.Detach(dev, 5), host.ErrTimeout)
	delete(r.CPU.Drop, spec.OffCmdTail)
	require.NoError(t, r.d.Detach(dev, 5))
	r.Blocked(dev, 5, 0x10000)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	require.NoError(t, r.d.Release(dev))
	require.NoError(t, a.Free())
}

// A host table grows under its devices, and under what is nested on it.
func TestTables_Grow(t *testing.T) {
	r := start(t)
	g := r.Guest(0x4_0000_0000, host.DomainSpec{})
	parent := g.Parent
	dom := g.Mapped(0x10000, 0x1000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, parent))
	require.NoError(t, r.d.Attach(0x100, emu.NoPASID, dom))
	require.NoError(t, r.d.Probe(0x200, host.DeviceSpec{PASIDs: 16}))
	require.NoError(t, r.d.Attach(0x200, 5, dom))
	mode := func(sid emu.SourceID) uint64 {
		e := r.d.readDTE(sid)
		return spec.DteMode.Get(e[:])
	}
	for _, c := range []struct {
		at   emu.IOVA
		mode uint64
	}{{0x7000_0000, 3}, {1 << 39, 4}, {1 << 56, 5}, {1 << 63, 6}} {
		require.NoError(t, parent.Map(c.at, target, 0x1000, emu.RW))
		r.Reaches(dev, emu.NoPASID, c.at, target)
		r.Reaches(dev, emu.NoPASID, 0x1000, 0x4_0000_1000)
		r.Reaches(0x100, emu.NoPASID, 0x10000, 0x4_0000_1000)
		r.Reaches(0x200, 5, 0x10000, 0x4_0000_1000)
		for _, sid := range []emu.SourceID{dev, 0x100, 0x200} {
			require.Equal(t, c.mode, mode(sid), "%#x at %#x", sid, uint64(c.at))
		}
	}
	small := r.Domain(host.DomainSpec{Width: 40})
	require.NoError(t, small.Map(1<<40, target, 0x1000, emu.RW), "four levels have 48 bits")
	require.Error(t, small.Map(1<<48, target, 0x1000, emu.RW), "they do not grow")

	// Once an entry may have the new root it is the table's, whatever else fails.
	r = start(t)
	dom2 := r.In(host.StageSecond, 0x10000, target)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom2))
	r.CPU.Drop[spec.OffCmdTail] = true
	require.ErrorIs(t, dom2.Map(1<<40, target, 0x1000, emu.RW), host.ErrTimeout)
	delete(r.CPU.Drop, spec.OffCmdTail)
	_, levels := dom2.Tables().Root()
	require.EqualValues(t, 4, levels)
	require.NoError(t, dom2.Map(1<<40, target, 0x1000, emu.RW))
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom2))
	r.Reaches(dev, emu.NoPASID, 1<<40, target)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
}

// The names of a device have one domain, and are invalidated together.
func TestAliases(t *testing.T) {
	const alias = emu.SourceID(0x400)
	r := machine(t).up(Options{Firmware: map[emu.SourceID]Firmware{dev: {Aliases: []emu.SourceID{alias}}, 0x500: {Aliases: []emu.SourceID{alias}}}})
	a, b := r.In(host.StageSecond, 0x10000, target), r.In(host.StageFirst, 0x10000, target+0x1000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.Reaches(alias, emu.NoPASID, 0x10000, target)
	for i, w := range append(entry.Writers(), entry.Leak) {
		dom := []host.Domain{b, a}[i%2]
		got := r.during(func() { require.NoError(t, r.move(dom, w)) })
		require.Contains(t, got, "dte 310")
		require.Contains(t, got, "dte 400")
		for _, sid := range []emu.SourceID{dev, alias} {
			r.Reaches(sid, emu.NoPASID, 0x10000, target+emu.PA(1-i%2)<<12)
		}
	}
	for _, sid := range []emu.SourceID{alias, 0x500} {
		require.ErrorIs(t, r.d.Probe(sid, host.DeviceSpec{}), host.ErrDevice, "one device only")
	}
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	r.Blocked(alias, emu.NoPASID, 0x10000)
	require.NoError(t, r.d.Release(dev))
	require.NoError(t, r.d.Probe(0x500, host.DeviceSpec{}))
}

// Host tables are off with HATS=11b, and five guest levels need GATS.
func TestAMDQuirk43_LevelsFollowTheFeatures(t *testing.T) {
	r := machine(t)
	r.CPU.Fake = func(off uint32, v uint64) uint64 {
		if off == spec.OffEFR {
			v |= spec.EfrHATS.Put(3)
		}
		return v
	}
	r.up(Options{})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.Zero(t, spec.DteMode.Get(raw))
	require.EqualValues(t, 1, spec.DteGV.Get(raw), "guest tables")
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	_, err := r.d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
	require.ErrorIs(t, err, host.ErrUnsupported)

	r = start(t, preset("zen2"))
	_, err = r.d.NewDomain(host.DomainSpec{Stage: host.StageFirst, Width: 50})
	require.ErrorIs(t, err, host.ErrUnsupported)

	m := machine(t, minimal)
	m.CPU.Fake = func(off uint32, v uint64) uint64 {
		if off == spec.OffEFR {
			v |= spec.EfrHATS.Put(3)
		}
		return v
	}
	_, err = New(m.CPU, m.Frames, Options{LastDevice: 0xff})
	require.ErrorIs(t, err, host.ErrUnsupported, "neither")
}

// PASIDs and page requests need four features; device IOTLBs only what the capability says.
func TestAMDQuirk42_PASIDsNeedEnhancedPageRequests(t *testing.T) {
	r := start(t, noPPR)
	require.ErrorIs(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 1}), host.ErrUnsupported)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true, PRI: true}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.In(host.StageFirst, 0x10000, target)))
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.EqualValues(t, 1, spec.DteI.Get(raw))
	require.Zero(t, spec.DtePPR.Get(raw))
	for _, c := range []struct {
		change func(*hw.Config)
		want   uint32
	}{
		{func(*hw.Config) {}, 1 << 16}, {func(c *hw.Config) { c.GLXSup = 0 }, 1 << 9}, {func(c *hw.Config) { c.PASmax = 19 }, 1 << 18},
		{preset("full"), 1 << 20}, {func(c *hw.Config) { c.GIoSup = false }, 0},
	} {
		require.Equal(t, c.want, start(t, c.change).d.caps.pasids)
	}
}

func TestNew_NoUnit(t *testing.T) {
	r := machine(t)
	r.CPU.Fake = func(uint32, uint64) uint64 { return ^uint64(0) }
	_, err := New(r.CPU, r.Frames, Options{})
	require.ErrorIs(t, err, ErrNoUnit)
}
