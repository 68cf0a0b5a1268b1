package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func pm(off uint32) uint32 { return spec.OffPMCG + off }

// program gives counter i an event of all streams, or of those of a filter, and turns the group on.
func (r *rig) program(i uint32, event uint64, filter ...uint64) {
	smr, span := uint64(0xffff_ffff), uint64(1)
	if len(filter) == 2 {
		smr, span = filter[0], filter[1]
	}
	r.W32(pm(spec.PmcgOffEVTYPER0+4*i), event|spec.EvtyperSIDSpan.Put(span))
	r.W32(pm(spec.PmcgOffSMR0+4*i), smr)
	r.W64(pm(spec.PmcgOffCNTENSET0), 1<<i)
	r.W32(pm(spec.PmcgOffCR), 1)
}

func (r *rig) counter(i uint32) uint64 { return r.R64(pm(spec.PmcgOffEVCNTR0 + 8*i)) }

// 10.3: what each event counts.
func TestCountedEvents(t *testing.T) {
	n := newNested(t)
	for e := range uint32(spec.NumPmcgEvents) {
		n.program(e, uint64(e))
	}
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	read := func() (v [spec.NumPmcgEvents]uint64) {
		for e := range uint32(spec.NumPmcgEvents) {
			v[e] = n.counter(e)
			n.W64(pm(spec.PmcgOffEVCNTR0+8*e), 0)
		}
		return v
	}
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	got := read()
	require.Equal(t, [...]uint64{0, 1, 1, 1, got[spec.PmcgTransTableWalk], 2, 0, 0}, got)
	require.GreaterOrEqual(t, got[spec.PmcgTransTableWalk], uint64(4+4))
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	require.Equal(t, [...]uint64{0, 1, 0, 0, 0, 0, 0, 0}, read(), "a hit")
	n.submit(cfgiCD(dev, 0, 1), sync())
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	require.Equal(t, [...]uint64{0, 1, 0, 1, 0, 1, 0, 0}, read(), "the CD is read anew, stage 2 has its page")
	n.update(true, spec.Cr0ATSCHK)
	n.ats(spec.EATSFull)
	read()
	n.Do(treq(emu.NoPASID, emu.Read))
	n.Do(translated(0x99_0000, emu.Read))
	got = read()
	require.EqualValues(t, 2, got[spec.PmcgTransaction])
	require.EqualValues(t, 1, got[spec.PmcgATSTransRequest])
	require.EqualValues(t, 1, got[spec.PmcgATSTransPassed])
	n.Do(emu.Request{Source: dev, Type: emu.PageRequest})
	require.Equal(t, [spec.NumPmcgEvents]uint64{}, read(), "page requests are no transactions")
}

func TestStreamFilters(t *testing.T) {
	for _, c := range []struct {
		smr, span uint64
		want      uint64
	}{{0x310, 0, 1}, {0x311, 0, 1}, {0x310, 1, 2}, {0x311, 1, 3}, {0x317, 1, 3}, {0x320, 1, 0}, {0xffff_ffff, 1, 4}} {
		r := newRig(t).enable()
		r.program(2, spec.PmcgTransaction, c.smr, c.span)
		for _, s := range []emu.SourceID{0x310, 0x311, 0x313, 0x390} {
			r.Access(s, iova, emu.Read)
		}
		require.Equal(t, c.want, r.counter(2), "%+v", c)
	}
	// One filter for all counters.
	r := newRig(t, func(c *smmuv3.Config) { c.CounterFilter = true }).enable()
	r.program(0, spec.PmcgTLBMiss, 0x310, 0)
	r.program(3, spec.PmcgTransaction, 0x390, 0)
	require.Zero(t, r.R32(pm(spec.PmcgOffSMR0+12)))
	r.Access(0x310, iova, emu.Read)
	r.Access(0x390, iova, emu.Read)
	require.EqualValues(t, 1, r.counter(3))
}

func TestCountersOverflow(t *testing.T) {
	r := newRig(t).enable()
	r.W64(pm(spec.PmcgOffIRQCfg0), 0xfee0_1000)
	r.W32(pm(spec.PmcgOffIRQCfg1), 0x55)
	r.W32(pm(spec.PmcgOffIRQCtrl), 1)
	require.EqualValues(t, 1, r.R32(pm(spec.PmcgOffIRQCtrlAc)))
	r.W32(pm(spec.PmcgOffIRQCfg1), 0x66)
	require.EqualValues(t, 0x55, r.R32(pm(spec.PmcgOffIRQCfg1)), "guarded")
	r.program(1, spec.PmcgTransaction|spec.EvtyperOVFCAP.Mask())
	r.W64(pm(spec.PmcgOffINTENSET0), 2)
	r.W64(pm(spec.PmcgOffEVCNTR0+8), 1<<48-1)
	r.Access(dev, iova, emu.Read)
	require.Zero(t, r.counter(1))
	require.EqualValues(t, 2, r.R64(pm(spec.PmcgOffOVSSET0)))
	require.Equal(t, []uint32{0x55}, r.MSI)
	r.Access(dev, iova, emu.Read)
	require.EqualValues(t, 1, r.counter(1))
	require.Zero(t, r.R64(pm(spec.PmcgOffSVR0+8)), "captured at the overflow")
	r.W32(pm(spec.PmcgOffCAPR), 1)
	require.EqualValues(t, 1, r.R64(pm(spec.PmcgOffSVR0+8)))
	r.W64(pm(spec.PmcgOffOVSCLR0), 2)
	require.Zero(t, r.R64(pm(spec.PmcgOffOVSCLR0)))
	r.W64(pm(spec.PmcgOffOVSSET0), ^uint64(0))
	require.EqualValues(t, 0xff, r.R64(pm(spec.PmcgOffOVSCLR0)))
	// A message that aborts.
	r.W32(pm(spec.PmcgOffIRQCtrl), 0)
	bad := r.Page()
	r.BusError(bad, 8)
	r.W64(pm(spec.PmcgOffIRQCfg0), uint64(bad))
	r.W32(pm(spec.PmcgOffIRQCtrl), 1)
	r.W64(pm(spec.PmcgOffEVCNTR0+8), 1<<48-1)
	r.Access(dev, iova, emu.Read)
	require.EqualValues(t, 1, r.R32(pm(spec.PmcgOffIRQStatus)))
	require.Zero(t, r.active())
}

func TestCountersCanBeStopped(t *testing.T) {
	r := newRig(t).enable()
	r.program(0, spec.PmcgTransaction)
	r.Access(dev, iova, emu.Read)
	r.W64(pm(spec.PmcgOffCNTENCLR0), 1)
	require.Zero(t, r.R64(pm(spec.PmcgOffCNTENSET0)))
	r.Access(dev, iova, emu.Read)
	require.EqualValues(t, 1, r.counter(0))
	r.W64(pm(spec.PmcgOffCNTENSET0), 1)
	r.W32(pm(spec.PmcgOffCR), 0)
	r.Access(dev, iova, emu.Read)
	require.EqualValues(t, 1, r.counter(0))
	r.W32(pm(spec.PmcgOffCR), 1)
	r.W32(pm(spec.PmcgOffEVTYPER0), 99|1<<29) // no such event
	r.Access(dev, iova, emu.Read)
	require.EqualValues(t, 1, r.counter(0))
}

func TestCounterGroupSaysWhatItHas(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.Counters, c.CounterBits, c.MSI = 3, 32, false })
	require.EqualValues(t, 2|31<<8|1<<22, r.R32(pm(spec.PmcgOffCFGR)))
	require.EqualValues(t, 0xff, r.R64(pm(spec.PmcgOffCEID0)))
	r.W32(pm(spec.PmcgOffEVCNTR0+8), ^uint64(0)) // of 4 bytes each
	require.EqualValues(t, 0xffff_ffff, r.R32(pm(spec.PmcgOffEVCNTR0+8)))
	require.Zero(t, r.R32(pm(spec.PmcgOffEVCNTR0+12)))
	r = newRig(t, func(c *smmuv3.Config) { c.Counters = 0 })
	require.Zero(t, r.R32(pm(spec.PmcgOffCFGR)))
	// It is part of snapshots.
	r = newRig(t)
	r.program(1, spec.PmcgTLBMiss)
	img := emutest.Image(r.u, 0, spec.WindowPM)
	u, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Load(img))
	require.Equal(t, img, emutest.Image(u, 0, spec.WindowPM))
}

func TestTimedCycles(t *testing.T) {
	r := newRig(t).enable()
	m := r.Timed(8)
	r.program(0, spec.PmcgCycles)
	start := m.Machine.Now()
	m.Machine.RunUntil(start + 1000)
	require.EqualValues(t, 1000, r.counter(0))
	m.Machine.RunUntil(start + 1500)
	r.W64(pm(spec.PmcgOffCNTENCLR0), 1)
	m.Machine.RunUntil(start + 2000)
	require.EqualValues(t, 1500, r.counter(0))
	r.W64(pm(spec.PmcgOffCNTENSET0), 1)
	m.Machine.RunUntil(start + 2100)
	require.EqualValues(t, 1600, r.counter(0))
}
