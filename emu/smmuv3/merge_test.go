package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func merging(how uint8) change {
	return func(c *smmuv3.Config) { c.Merge, c.MergeWindow = how, 1000 }
}

var mev = field{spec.SteMEV, 1}

// mergeRig has two streams whose transactions fault: dev merges as MEV says.
func mergeRig(t *testing.T, how uint8, m uint64, cd ...field) *rig {
	r := newRig(t, merging(how), noCrossing).enable()
	r.attach(dev, cd...)
	r.attach(other)
	for _, s := range []emu.SourceID{dev, other} {
		r.set(r.ste(s), field{spec.SteMEV, m})
	}
	return r
}

func TestEventsOfOnePageAreMerged(t *testing.T) {
	for _, c := range []struct {
		how  uint8
		mev  uint64
		want int
	}{{smmuv3.MergeNone, 1, 4}, {smmuv3.MergeMEV, 0, 4}, {smmuv3.MergeAlways, 0, 4}, {smmuv3.MergeMEV, 1, 1}, {smmuv3.MergeAlways, 1, 1}} {
		r := mergeRig(t, c.how, c.mev)
		for i := range uint64(4) {
			res := r.Do(emutest.DMA(dev, emu.NoPASID, iova+8*i, emu.Read))
			r.RequireFault(res, smmuv3.FaultS1Translation)
			require.False(t, res.Fault.Quiet || res.Fault.Dropped, "it is recorded")
		}
		l := r.drain()
		require.Len(t, l, c.want, "%+v", c)
		require.Equal(t, iova, l[0][2], "the first one's address")
	}
}

// Only the last record counts, and only while it is not read.
func TestWhatIsNotMerged(t *testing.T) {
	first := dma(emu.Read)
	for name, f := range map[string]func(r *rig) (n int){
		"another page":   func(r *rig) int { r.Access(dev, iova+0x1000, emu.Read); return 2 },
		"a write":        func(r *rig) int { r.Do(dma(emu.Write)); return 2 },
		"privileged":     func(r *rig) int { r.Do(dma(emu.Read | emu.Priv)); return 2 },
		"another stream": func(r *rig) int { r.Access(other, iova, emu.Read); return 2 },
		"another event":  func(r *rig) int { r.Access(dev, 1<<50, emu.Read); return 2 },
		"one between":    func(r *rig) int { r.Access(other, iova, emu.Read); r.Do(first); return 3 },
		"read meanwhile": func(r *rig) int { require.Len(r.T, r.drain(), 1); r.Do(first); return 1 },
		"MEV cleared": func(r *rig) int {
			r.set(r.ste(dev), field{spec.SteMEV, 0})
			r.submit(cfgiAll(), sync())
			r.Do(first)
			return 2
		},
		"the queue rebuilt": func(r *rig) int {
			r.update(false, spec.Cr0EVENTQEN)
			r.Do(first)
			r.W32(spec.OffEVENTQProd, 3)
			r.W32(spec.OffEVENTQCons, 2)
			r.update(true, spec.Cr0EVENTQEN)
			r.Do(first)
			return 2
		},
	} {
		r := mergeRig(t, smmuv3.MergeMEV, 1)
		r.Do(first)
		n := f(r)
		cons, prod := r.R32(spec.OffEVENTQCons), r.R32(spec.OffEVENTQProd)
		require.EqualValues(t, n, prod-cons, name)
	}
}

// Events before a valid STE merge whatever MEV says, if the unit does that at all: those that are identical.
func TestEventsBeforeAnSTE(t *testing.T) {
	bad := emu.SourceID(0x20)
	far := emutest.DMA(1<<streamBits, emu.NoPASID, iova, emu.Read)
	for how, want := range map[uint8]int{smmuv3.MergeMEV: 2, smmuv3.MergeAlways: 1} {
		for name, q := range map[string]emu.Request{
			"C_BAD_STREAMID": far, "C_BAD_STE": emutest.DMA(bad, emu.NoPASID, iova, emu.Read),
			"F_UUT": crossing(emu.Write), "F_STE_FETCH": emutest.DMA(bad+8, emu.NoPASID, iova, emu.Read),
		} {
			r := mergeRig(t, how, 0)
			r.bind(bad, mev, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteSTRW, 1})
			r.BusError(r.ste(bad+8), 64)
			r.Do(q)
			r.Do(q)
			l := r.drain()
			require.Len(t, l, want, name)
			require.Equal(t, name, spec.EventLayouts[uint64(l[0].Number())].Name)
		}
	}
	// Addresses within a page are a field like others there.
	r := mergeRig(t, smmuv3.MergeAlways, 0)
	q := crossing(emu.Write)
	r.Do(q)
	q.Addr++
	r.Do(q)
	require.Len(t, r.drain(), 2)
}

// A full queue loses nothing by an event that is in it already.
func TestMergedEventsDoNotOverflow(t *testing.T) {
	r := mergeRig(t, smmuv3.MergeMEV, 1)
	for i := range uint64(1 << eventBits) {
		r.Access(dev, iova+i<<12, emu.Read)
	}
	last := iova + (1<<eventBits-1)<<12
	require.False(t, r.Access(dev, last, emu.Read).Fault.Dropped)
	require.Zero(t, r.R32(spec.OffEVENTQProd)>>31)
	require.True(t, r.Access(dev, iova, emu.Read).Fault.Dropped)
	require.NotZero(t, r.R32(spec.OffEVENTQProd)>>31)
}

func TestSMMUQuirk27_StallsAreNotMerged(t *testing.T) {
	r := mergeRig(t, smmuv3.MergeAlways, 1, field{spec.CdS, 1})
	for range 3 {
		require.Equal(t, emu.Pending, r.Do(dma(emu.Read)).Status)
	}
	require.Len(t, r.drain(), 3)
}

// Hints and conflicts come from no one STE.
func TestHintsAreNotMerged(t *testing.T) {
	r := newRig(t, merging(smmuv3.MergeAlways), func(c *smmuv3.Config) { c.PageHints = true }).enable()
	r.Do(hint(emu.NoPASID, emu.Read, 1))
	r.Do(hint(emu.NoPASID, emu.Read, 1))
	require.Len(t, r.drain(), 2)
	r = spanRig(t, 0, merging(smmuv3.MergeAlways))
	r.set(r.ste(inSpan), mev)
	r.reaches(inSpan, 0x2000)
	r.set(r.ste(dev), cont(2), mev)
	r.reaches(dev, 0x1000)
	r.Access(inSpan, iova, emu.Read)
	r.Access(inSpan, iova, emu.Read)
	require.Len(t, r.drain(), 2)
}

// With a clock events must be close in time.
func TestTimedMerging(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.Merge, c.MergeWindow = smmuv3.MergeMEV, 10_000 }).enable()
	r.attach(dev)
	r.set(r.ste(dev), mev)
	m := r.Timed(64)
	m.Issue(20, dma(emu.Read))
	m.Settle()
	require.Len(t, r.drain(), 1)
	m.Issue(1, dma(emu.Read))
	m.Settle()
	m.Machine.RunUntil(m.Machine.Now() + 5_000)
	m.Issue(1, dma(emu.Read))
	m.Settle()
	require.EqualValues(t, 2, r.R32(spec.OffEVENTQProd))
	m.Machine.RunUntil(m.Machine.Now() + 20_000)
	m.Issue(1, dma(emu.Read))
	m.Settle()
	require.EqualValues(t, 3, r.R32(spec.OffEVENTQProd))
}
