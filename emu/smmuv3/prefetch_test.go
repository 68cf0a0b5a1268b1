package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func prefetching(c *smmuv3.Config) { c.Prefetch = true }

func prefetchConfig(s emu.SourceID, fields ...field) [2]uint64 {
	return command(spec.CmdPrefetchConfig, append([]field{{spec.CmdSID, uint64(s)}}, fields...)...)
}

func prefetchAddr(addr, size, stride uint64, fields ...field) [2]uint64 {
	return command(spec.CmdPrefetchAddr, append([]field{{spec.CmdSID, uint64(dev)}, {spec.CmdAddr, addr >> 12}, {spec.PfSize, size}, {spec.PfStride, stride}}, fields...)...)
}

func TestPrefetchOfConfiguration(t *testing.T) {
	for _, s1 := range []bool{true, false} {
		r := newRig(t, prefetching).enable()
		if s1 {
			_, root := r.attach(dev)
			r.mapPage(root, iova, 0x5000, s1RW)
		} else {
			r.mapPage(r.attach2(dev), iova, 0x5000, s2RW)
		}
		r.submit(prefetchConfig(dev), sync())
		st := emutest.Stats(r.u)
		require.EqualValues(t, 1, st[emu.CacheEntry].Fills)
		require.Equal(t, s1, st[emu.CachePASID].Fills == 1)
		require.Zero(t, st[emu.CacheIOTLB].Fills)
		require.Zero(t, st[emu.CacheWalk].Fills)
		r.set(r.ste(dev), field{spec.SteV, 0})
		r.RequireOK(r.Do(dma(emu.Read)), 0x5000) // from what was prefetched
	}
	// The SubstreamID says which CD.
	r := newRig(t, prefetching).enable()
	cd := r.Page()
	w := words(cdFields(r.Page())...)
	r.Put(cd+3*spec.CDSize, w[:]...)
	r.bind(dev, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(cd) >> 6}, field{spec.SteS1CDMax, 2})
	r.submit(prefetchConfig(dev, field{spec.CmdSSV, 1}, field{spec.CmdSSID, 3}), sync())
	require.True(t, r.u.Cache(emu.CachePASID).Probe(&emu.Key{Tag: emu.MakeTag(smmuv3.ClassCD, 0, 3), Addr: uint64(dev)}, new([4]uint64)))
}

func TestPrefetchOfAddresses(t *testing.T) {
	for _, c := range []struct {
		minor          uint8
		size, stride   uint64
		pages, missing []uint64
	}{
		{2, 0, 0, []uint64{0}, []uint64{1}}, {2, 2, 0, []uint64{0, 1, 2, 3}, []uint64{4}}, {2, 1, 3, []uint64{0, 8}, []uint64{1, 16}},
		{2, 31, 0, []uint64{0, 15}, []uint64{16}}, {0, 1, 3, []uint64{0, 1}, []uint64{8}},
	} {
		r := newRig(t, prefetching, func(x *smmuv3.Config) { x.Minor = c.minor }).enable()
		_, root := r.attach(dev)
		for i := range uint64(32) {
			r.mapPage(root, iova+i<<12, 0x10_0000+i<<12, s1RW)
		}
		r.submit(prefetchAddr(iova, c.size, c.stride), sync())
		for i, cached := range map[*[]uint64]bool{&c.pages: true, &c.missing: false} {
			for _, p := range *i {
				q := emutest.DMA(dev, emu.NoPASID, iova+p<<12, emu.Read)
				var res emu.Result
				require.Equal(t, cached, r.u.Lookup(&q, &res), "%+v page %d", c, p)
			}
		}
	}
}

// Whatever is wrong, nobody hears of it; and nothing is kept of what failed.
func TestSMMUQuirk50_PrefetchNeverReports(t *testing.T) {
	for name, f := range map[string]func(r *rig){
		"no such stream":   func(r *rig) {},
		"invalid STE":      func(r *rig) { r.bind(dev, field{spec.SteV, 0}) },
		"abort":            func(r *rig) { r.bind(dev, field{spec.SteConfig, 0}) },
		"STE on the bus":   func(r *rig) { r.BusError(r.ste(dev), 64) },
		"invalid CD":       func(r *rig) { cd, _ := r.attach(dev); r.Put(cd, 0) },
		"CD on the bus":    func(r *rig) { cd, _ := r.attach(dev); r.BusError(cd, 64) },
		"nothing mapped":   func(r *rig) { r.attach(dev) },
		"table on the bus": func(r *rig) { _, root := r.attach(dev); r.BusError(root, 4096) },
		"stage 2":          func(r *rig) { r.attach2(dev) },
		"would stall":      func(r *rig) { r.attach(dev, field{spec.CdS, 1}) },
		"bypass":           func(r *rig) { r.bind(dev, field{spec.SteConfig, spec.ConfigBypass}) },
		"beyond the range": func(r *rig) { r.attach(dev, field{spec.CdT0SZ, 39}) },
	} {
		r := newRig(t, prefetching).enable()
		f(r)
		r.submit(prefetchConfig(1<<31), prefetchConfig(dev), prefetchConfig(dev, field{spec.CmdSSV, 1}, field{spec.CmdSSID, 77}),
			prefetchAddr(iova, 4, 9), prefetchAddr(^uint64(0), 31, 31), prefetchAddr(iova, 0, 0, field{spec.CmdSSV, 1}), sync())
		require.Empty(t, r.drain(), name)
		require.Zero(t, r.active(), name)
		require.Zero(t, emutest.Stats(r.u)[emu.CacheIOTLB].Fills, name)
	}
}

// While translation is off nothing is read (4.2).
func TestPrefetchWhileOff(t *testing.T) {
	r := newRig(t, prefetching).queues()
	r.attach(dev)
	r.submit(prefetchConfig(dev), prefetchAddr(iova, 3, 0), sync())
	require.Zero(t, emutest.Stats(r.u)[emu.CacheEntry].Lookups)
	r = newRig(t).enable()
	r.attach(dev)
	r.submit(prefetchConfig(dev), prefetchAddr(iova, 3, 0), sync())
	require.Zero(t, emutest.Stats(r.u)[emu.CacheEntry].Lookups, "an option")
}

// A prefetch is a read: it may mark pages accessed, never dirty (3.13).
func TestPrefetchMarksNothingDirty(t *testing.T) {
	r := newRig(t, prefetching).enable()
	_, root := r.attach(dev, field{spec.CdHA, 1}, field{spec.CdHD, 1})
	at := r.mapPage(root, iova, 0x5000, (s1RW|ro|dbm)&^spec.TtdAF.Mask())
	r.submit(prefetchAddr(iova, 0, 0), sync())
	require.Equal(t, 0x5000|s1RW|ro|dbm, r.Get(at))
	r.RequireOK(r.Do(dma(emu.Write)), 0x5000)
	require.Equal(t, 0x5000|s1RW|dbm, r.Get(at))
}

// An invalidation behind a prefetch drops what that has filled.
func TestPrefetchKeepsTheOrderOfCommands(t *testing.T) {
	r := newRig(t, prefetching).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.submit(prefetchAddr(iova, 0, 0), cfgiSTE(dev, 1), tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	for _, id := range []emu.CacheID{emu.CacheEntry, emu.CachePASID, emu.CacheIOTLB} {
		st := emutest.Stats(r.u)[id]
		require.NotZero(t, st.Fills)
		require.Equal(t, st.Fills, st.Invalidated)
	}
}

// On the timed machine prefetches hold walkers and let them go again, faults too.
func TestTimedPrefetch(t *testing.T) {
	r := newRig(t, prefetching).enable()
	_, root := r.attach(dev)
	for i := range uint64(16) {
		r.mapPage(root, iova+i<<12, 0x10_0000+i<<12, s1RW)
	}
	m := r.Timed(64)
	for i := range uint64(40) {
		r.push(prefetchConfig(emu.SourceID(0x20 + i)))
		r.push(prefetchAddr(iova+i<<16, 4, 0))
	}
	r.push(sync())
	m.Issue(20, dma(emu.Read))
	m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	require.True(t, m.CPU.Poll(func() bool { return m.CPU.ReadReg(0, spec.OffCMDQCons, 4) == r.prod }, 10_000_000))
	m.Settle()
	require.Equal(t, map[emu.Status]int{emu.OK: 20}, m.Status)
	require.Empty(t, r.drain())
	q := emutest.DMA(dev, emu.NoPASID, iova+15<<12, emu.Read)
	var res emu.Result
	require.True(t, r.u.Lookup(&q, &res))
}

// Translation is off only once a prefetch has ended: it fills nothing behind that (3.21.3). The rest of it is
// dropped.
func TestUpdatesWaitForPrefetches(t *testing.T) {
	r := newRig(t, prefetching).enable()
	r.attach(dev)
	r.push(prefetchAddr(iova, 4, 0))
	r.u.WriteReg(spec.OffCMDQProd, 4, r.prod)
	job := func(e emu.Engine) *emutest.Stepper {
		return r.Begin(emu.Request{Type: emu.Job, Job: e, PASID: emu.NoPASID})
	}
	cmd := job(smmuv3.EngineCommand)
	cmd.UntilFetch(r.ste(dev))
	cr0 := r.R32(spec.OffCR0)
	r.u.WriteReg(spec.OffCR0, 4, cr0&^spec.Cr0SMMUEN.Mask())
	control := job(smmuv3.EngineControl)
	control.Until(func(a *emu.Act) bool { return a.Op == emu.OpPark })
	cmd.End()
	require.Equal(t, cr0, r.R32(spec.OffCR0ACK))
	cmd = job(smmuv3.EngineCommand)
	cmd.End()
	require.NotZero(t, cmd.Txn.Wake&smmuv3.EngineControl.Set())
	require.Empty(t, cmd.Fetches())
	control.End()
	require.Equal(t, cr0&^spec.Cr0SMMUEN.Mask(), r.R32(spec.OffCR0ACK))
}
