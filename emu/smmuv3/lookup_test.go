package smmuv3_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// crowd gives streams 300h to 30bh all sorts of entries and tables.
func crowd(n *nested, rng *rand.Rand) {
	r := n.rig
	plain := r.Page()
	for range 8 {
		n.leaf(rng.Uint64N(8)<<12, 0x40_0000_0000+rng.Uint64N(8)<<12, 3|rng.Uint64N(4)<<6|rng.Uint64N(2)<<10|rng.Uint64N(2)<<11|rng.Uint64N(4)<<53|rng.Uint64N(2)<<51)
		r.mapPage(plain, rng.Uint64N(8)<<12, rng.Uint64N(1<<20)<<12, 3|rng.Uint64N(4)<<6|1<<10|rng.Uint64N(2)<<11|rng.Uint64N(4)<<53|rng.Uint64N(2)<<51)
		r.mapPage(n.s2, 0x40_0000_0000+rng.Uint64N(8)<<12, rng.Uint64N(1<<20)<<12, 3|rng.Uint64N(4)<<6|1<<10|rng.Uint64N(4)<<53|0xf<<2|rng.Uint64N(2)<<51)
		r.mapPage(n.s2, rng.Uint64N(8)<<12, rng.Uint64N(1<<20)<<12, 3|rng.Uint64N(4)<<6|1<<10|0xf<<2)
	}
	cds := n.stage1Page()
	flat := r.Page()
	for i := range emu.PA(4) {
		for _, c := range []struct{ at, root emu.PA }{{cds + distance, n.root}, {flat, plain}} {
			w := words(append(cdFields(c.root), field{spec.CdASID, 0x30 + rng.Uint64N(2)}, field{spec.CdHA, rng.Uint64N(2)}, field{spec.CdHD, rng.Uint64N(2)},
				field{spec.CdPAN, rng.Uint64N(2)}, field{spec.CdTBI0, rng.Uint64N(2)}, field{spec.CdR, rng.Uint64N(2)})...)
			r.Put(c.at+i*spec.CDSize, w[:]...)
		}
	}
	for i := range emu.SourceID(12) {
		config := []uint64{0, 4, 5, 5, 5, 6, 7, 7}[rng.IntN(8)]
		table := flat
		if config == spec.ConfigNested {
			table = cds
		}
		e := r.bind(0x300+i, append(s2Fields(n.s2), field{spec.SteConfig, config}, field{spec.SteS1Context, uint64(table) >> 6},
			field{spec.SteS1CDMax, rng.Uint64N(3)}, field{spec.SteS1DSS, rng.Uint64N(4)}, field{spec.SteS2VMID, 1 + rng.Uint64N(2)}, field{spec.SteEATS, rng.Uint64N(2)},
			field{spec.StePRIVCFG, []uint64{0, 0, 2, 3}[rng.IntN(4)]}, field{spec.SteINSTCFG, []uint64{0, 0, 0, 3}[rng.IntN(4)]},
			field{spec.SteS2HA, rng.Uint64N(2)}, field{spec.SteS2HD, rng.Uint64N(2)}, field{spec.SteV, uint64(min(rng.IntN(8), 1))})...)
		_ = e
	}
}

func randomRequest(rng *rand.Rand, q *emu.Request) {
	a := []uint64{rng.Uint64N(8) << 12, rng.Uint64N(8)<<12 | 0xab<<56, rng.Uint64N(8) << 12, rng.Uint64()}[rng.IntN(4)]
	*q = emu.Request{
		Source: emu.SourceID(0x300 + rng.IntN(13)), Addr: emu.IOVA(a), PASID: emu.NoPASID, Len: 64, Access: emu.Access(rng.Uint32N(32)),
	}
	if rng.IntN(3) == 0 {
		q.PASID = emu.PASID(rng.Uint32N(5))
	}
	if rng.IntN(8) == 0 {
		q.Type = emu.ReqType(rng.IntN(4))
	}
}

func TestLookupAnswersAsStepDoes(t *testing.T) {
	hits := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := newNested(t)
		crowd(n, rng)
		var q emu.Request
		for range 300 {
			randomRequest(rng, &q)
			n.LookupAgrees(&q)
			if n.LookupAgrees(&q) {
				hits++
			}
			n.drain()
		}
		n.update(false, spec.Cr0SMMUEN)
		for range 20 {
			randomRequest(rng, &q)
			n.LookupAgrees(&q)
		}
	}
	require.Greater(t, hits, 500)
}

func TestHotPathAllocatesNothing(t *testing.T) {
	n := newNested(t)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	_, root := n.attach(other)
	n.mapPage(root, iova, 0x5000, s1RW)
	var res emu.Result
	for name, q := range map[string]emu.Request{"nested": dma(emu.Write), "stage 1": emutest.DMA(other, emu.NoPASID, iova, emu.Read),
		"fault": emutest.DMA(other, emu.NoPASID, iova, emu.Write|emu.Exec|emu.Atomic)} {
		require.Zero(t, testing.AllocsPerRun(100, func() { n.F.Translate(&q, &res) }), name)
	}
	e := n.Engines()
	for i, w := range [][2]uint64{cfgiAll(), command(spec.CmdTlbiNSNHAll), sync()} {
		n.Put(n.cmd+emu.PA(16*i), w[0], w[1])
	}
	q := dma(emu.Write)
	prod := uint64(0)
	require.Zero(t, testing.AllocsPerRun(50, func() { // walks, and the commands that make them needed
		n.W32(spec.OffEVENTQCons, n.R32(spec.OffEVENTQProd))
		n.F.Translate(&q, &res)
		prod = (prod + 3) & 0x1ff
		for i := range uint64(3) {
			at := n.cmd + emu.PA((prod-3+i)&0xff*16)
			w := [...][2]uint64{cfgiAll(), command(spec.CmdTlbiNSNHAll), sync()}[i]
			n.Mem.Store64(at, w[0])
			n.Mem.Store64(at+8, w[1])
		}
		e.Write(spec.OffCMDQProd, 4, prod)
	}))
	require.Equal(t, emu.OK, res.Status)
	require.Equal(t, prod, n.R32(spec.OffCMDQCons))
}

func BenchmarkHitStage1(b *testing.B) {
	r := newRig(b).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	q := dma(emu.Read)
	var res emu.Result
	r.F.Translate(&q, &res)
	b.ReportAllocs()
	for b.Loop() {
		r.F.Translate(&q, &res)
	}
}

func BenchmarkWalkStage1(b *testing.B) {
	r := newRig(b, func(c *smmuv3.Config) { c.IOTLB.Sets = 0 }).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	q := dma(emu.Read)
	var res emu.Result
	b.ReportAllocs()
	for b.Loop() {
		r.F.Translate(&q, &res)
	}
}
