package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// A span of four streams: 310h to 313h.
const inSpan = dev + 2

func cont(n uint64) field { return field{spec.SteCONT, n} }

// spanRig has streams of a span with stage 2 of their own: dev reaches 1000h and inSpan 2000h at iova.
func spanRig(t *testing.T, n uint64, change ...func(*smmuv3.Config)) *rig {
	r := newRig(t, append([]func(*smmuv3.Config){func(c *smmuv3.Config) { c.CONT = true }}, change...)...).enable()
	for i, s := range []emu.SourceID{dev, inSpan} {
		root := r.attach2(s, cont(n), field{spec.SteS2VMID, uint64(i) + 1})
		r.mapPage(root, iova, uint64(i+1)<<12, s2RW)
	}
	return r
}

func (r *rig) reaches(s emu.SourceID, pa uint64) {
	r.T.Helper()
	r.RequireOK(r.Access(s, iova, emu.Read), pa)
}

func TestSMMUQuirk63_CachedSTEServesItsSpan(t *testing.T) {
	r := spanRig(t, 2)
	r.reaches(dev, 0x1000)
	r.reaches(inSpan, 0x1000) // the victim
	require.EqualValues(t, 1, emutest.Stats(r.u)[emu.CacheEntry].Fills)
	r.reaches(inSpan, 0x1000)
	// The STE goes by its own StreamID, not by that of whom it serves.
	r.submit(cfgiSTE(inSpan, 1), sync())
	r.reaches(inSpan, 0x1000)
	r.submit(cfgiSTE(dev, 1), sync())
	r.reaches(inSpan, 0x2000)
	r.reaches(dev, 0x2000)
	// An option, and off by default.
	r = spanRig(t, 2, func(c *smmuv3.Config) { c.CONT = smmuv3.DefaultConfig().CONT })
	r.reaches(dev, 0x1000)
	r.reaches(inSpan, 0x2000)
}

func TestSMMUQuirk63_TwoThatDifferAreAConflict(t *testing.T) {
	r := spanRig(t, 0)
	r.reaches(inSpan, 0x2000) // by itself, and cached so
	r.set(r.ste(dev), cont(2))
	r.reaches(dev, 0x1000)
	for _, q := range []emu.Request{emutest.DMA(inSpan, emu.NoPASID, iova, emu.Read), emutest.DMA(inSpan, 5, iova, emu.Read)} {
		want := spec.Event{uint64(inSpan)<<32 | spec.EvCFGConflict, uint64(dev)}
		if q.PASID != emu.NoPASID {
			want[0] |= 5<<12 | 1<<11
		}
		require.Equal(t, want, r.requireEvent(q, smmuv3.FaultCFGConflict))
	}
	r.reaches(dev, 0x1000) // whose STE covers it is not covered itself
	var res emu.Result
	q := emutest.DMA(inSpan, emu.NoPASID, iova, emu.Read)
	require.False(t, r.u.Lookup(&q, &res))
	// Either command ends it.
	r.submit(cfgiSTE(inSpan, 1), sync())
	r.reaches(inSpan, 0x1000)
	r.submit(cfgiSTE(dev, 1), sync())
	r.set(r.ste(dev), cont(0))
	r.reaches(dev, 0x1000)
	r.reaches(inSpan, 0x2000)
}

// For a translation request it is a configuration error: Completer Abort, recorded if software asks for that
// (3.9.1.2).
func TestConflictsOfTranslationRequests(t *testing.T) {
	for _, record := range []bool{true, false} {
		r := spanRig(t, 0, recordsATS)
		r.update(false, spec.Cr0SMMUEN)
		r.W32(spec.OffCR2, spec.Cr2RecCfgATS.PutBool(record))
		r.update(true, spec.Cr0SMMUEN)
		r.reaches(inSpan, 0x2000)
		r.set(r.ste(dev), cont(2))
		r.reaches(dev, 0x1000)
		q := emutest.DMA(inSpan, emu.NoPASID, iova, emu.Read)
		q.Type = emu.TranslationReq
		res := r.Do(q)
		r.RequireFault(res, smmuv3.FaultCFGConflict)
		require.True(t, res.Fault.Abort)
		require.Equal(t, record, len(r.drain()) == 1)
	}
}

// Of two neighbours that cover a stream and differ neither is used.
func TestNeighboursThatDifferAreAConflict(t *testing.T) {
	r := spanRig(t, 0)
	r.reaches(dev, 0x1000)
	r.reaches(inSpan, 0x2000)
	r.submit(cfgiAll(), sync())
	// Fetched at the same time, neither hits the other.
	r.set(r.ste(dev), cont(2))
	r.set(r.ste(inSpan), cont(2))
	a, b := r.Begin(emutest.DMA(dev, emu.NoPASID, iova, emu.Read)), r.Begin(emutest.DMA(inSpan, emu.NoPASID, iova, emu.Read))
	for _, s := range []*emutest.Stepper{a, b} {
		s.Until(func(x *emu.Act) bool { return x.Op == emu.OpFetch })
	}
	r.RequireOK(a.End(), 0x1000)
	r.RequireOK(b.End(), 0x2000)
	for _, s := range []emu.SourceID{dev, dev + 1, inSpan, dev + 3} {
		e := r.requireEvent(emutest.DMA(s, emu.NoPASID, iova, emu.Read), smmuv3.FaultCFGConflict)
		require.Contains(t, []uint64{uint64(dev), uint64(inSpan)}, e[1])
	}
	require.NotEqual(t, smmuv3.FaultCFGConflict, r.Access(dev+4, iova, emu.Read).Fault.Code)
}

// Equal STEs, but for CONT and what is software's own, do not conflict.
func TestSpansOfEqualSTEs(t *testing.T) {
	r := spanRig(t, 0)
	w := words(append(s2Fields(emu.PA(spec.SteS2TTB.Of(r.Get(r.ste(dev)+24))<<4)), field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigS2}, field{spec.SteS2VMID, 1})...)
	for i := range emu.SourceID(4) {
		r.Put(r.ste(dev+i), w[:]...)
		r.reaches(dev+i, 0x1000)
	}
	for i := range emu.SourceID(4) {
		r.set(r.ste(dev+i), cont(2), field{spec.SteSWReserved, uint64(i)})
		r.submit(cfgiSTE(dev+i, 1), sync())
		for j := range emu.SourceID(4) {
			r.reaches(dev+j, 0x1000)
		}
	}
}

// What CONT reaches: its span, not beyond a level 2 table, and not from an STE that is invalid.
func TestSizeOfSpans(t *testing.T) {
	for _, c := range []struct {
		cont, split uint64
		s           emu.SourceID
		served      bool
	}{
		{1, 0, dev + 1, true}, {1, 0, dev + 2, false}, {2, 0, dev + 3, true}, {2, 0, dev - 1, false}, {15, 0, 5, true},
		{15, 0, 1<<streamBits - 1, true}, {15, 0, 1 << streamBits, false}, {15, 6, dev ^ 0x20, true}, {15, 6, dev ^ 0x40, false},
	} {
		r := newRig(t, func(x *smmuv3.Config) { x.CONT = true })
		at := r.ste(dev)
		if c.split != 0 {
			_, l2 := r.twoLevel(dev, streamBits, c.split, 7)
			at = l2 + emu.PA(dev&0x3f)*spec.STESize
		}
		r.enable()
		for _, valid := range []uint64{0, 1} {
			w := words(field{spec.SteV, valid}, field{spec.SteConfig, spec.ConfigBypass}, cont(c.cont))
			r.Put(at, w[:]...)
			r.submit(cfgiAll(), sync())
			r.Access(dev, iova, emu.Read)
			res := r.Access(c.s, iova, emu.Read)
			require.Equal(t, c.served && valid == 1, res.Status == emu.OK, "%+v %v", c, valid)
		}
	}
}

// A transaction that uses a neighbour's STE is one that an invalidation of that has to wait for.
func TestInvalidationOfANeighboursSTE(t *testing.T) {
	block := emu.SourceID(3)
	for name, w := range map[string][2]uint64{"STE": cfgiSTE(dev, 1), "with L1STD": cfgiSTE(dev, 0),
		"range": command(spec.CmdCfgiSTERange, field{spec.CmdSID, uint64(dev &^ block)}, field{spec.CfgiRange, 0})} {
		for _, far := range []bool{false, true} {
			r := spanRig(t, 2)
			r.reaches(dev, 0x1000)
			s := r.Begin(emutest.DMA(inSpan, emu.NoPASID, iova+0x1000, emu.Read))
			s.Until(func(x *emu.Act) bool { return x.Op == emu.OpProbe && x.Cache == emu.CacheIOTLB })
			if far {
				w[0] ^= 0x40 << 32
			}
			r.push(w)
			r.u.WriteReg(spec.OffCMDQProd, 4, r.prod)
			marked := false
			for cmd := r.Begin(emu.Request{Type: emu.Job, Job: smmuv3.EngineCommand}); cmd.Next(); {
				marked = marked || cmd.Txn.Act.Op == emu.OpInvalidate && s.Txn.Matches(&cmd.Txn.Act.Sel)
			}
			require.Equal(t, !far, marked, name)
		}
	}
}

func TestSpansAreForgottenOldestFirst(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.CONT, c.STECache.Sets = true, 64 }).enable()
	for i := range emu.SourceID(34) {
		r.bind(2*i, field{spec.SteConfig, spec.ConfigBypass}, cont(1))
		r.reaches(2*i, iova)
	}
	for i := range emu.SourceID(34) {
		require.Equal(t, i >= 2, r.Access(2*i+1, iova, emu.Read).Status == emu.OK, i)
	}
}
