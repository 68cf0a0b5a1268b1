package amdvi_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// crowd gives devices 300h to 30bh all sorts of entries and tables.
func crowd(r *rig, rng *rand.Rand) {
	g := r.guests(4, 0, 3)
	base := [2]uint64{r.Get(r.dte(dev)), r.Get(r.dte(dev) + 8)}
	for p := range uint64(3) {
		for range 4 {
			g.gmap(p, rng.Uint64N(8)<<12, 0x10_0000+rng.Uint64N(16)<<12, gP|rng.Uint64N(4)<<1|rng.Uint64N(2)<<63)
		}
	}
	for i := range emu.SourceID(12) {
		e := spec.DTE{base[0], base[1]}
		set := func(f field) { f.b.Set(e[:], f.v) }
		set(field{spec.DteDomainID, 1 + rng.Uint64N(4)})
		set(field{spec.DteMode, []uint64{0, 3, 3, 3, 4, 7}[rng.IntN(6)]})
		set(field{spec.DteGV, rng.Uint64N(2)})
		set(field{spec.DteGIoV, rng.Uint64N(2)})
		set(field{spec.DteHAD, []uint64{0, 0, 1, 3}[rng.IntN(4)]})
		set(field{spec.DteI, rng.Uint64N(2)})
		set(field{spec.DteEX, rng.Uint64N(2)})
		set(field{spec.DteIR, uint64(min(rng.IntN(8), 1))})
		set(field{spec.DteIW, uint64(min(rng.IntN(4), 1))})
		set(field{spec.DteTV, uint64(min(rng.IntN(8), 1))})
		set(field{spec.DteV, uint64(min(rng.IntN(8), 1))})
		set(field{spec.DteSysMgt, rng.Uint64N(4)})
		if rng.IntN(10) == 0 {
			e[0] |= 4
		}
		r.Put(r.dte(0x300+i), e[:]...)
	}
	for range 6 {
		r.mapPage(g.host, rng.Uint64N(8)<<12, rng.Uint64N(1<<20)<<12, pr|rng.Uint64N(4)<<61)
	}
	r.Put(r.pte(g.host, 3, 0x8000_0000, 2), 0x4000_0000|pRW)
}

func randomRequest(rng *rand.Rand, q *emu.Request) {
	a := []uint64{rng.Uint64N(8) << 12, rng.Uint64N(8) << 12, 0x8000_0000 + rng.Uint64N(512)<<12, 0xfee0_0000,
		0xfd_f910_0000, rng.Uint64()}[rng.IntN(6)]
	*q = emu.Request{
		Source: emu.SourceID(0x300 + rng.IntN(13)), Addr: emu.IOVA(a), PASID: emu.NoPASID,
		Len: uint32(rng.IntN(2) * 4), Access: emu.Access(rng.Uint32N(32)),
	}
	if rng.IntN(3) == 0 {
		q.PASID = emu.PASID(rng.Uint32N(4))
	}
	if rng.IntN(8) == 0 {
		q.Type = emu.ReqType(rng.IntN(4))
	}
}

func TestLookupAnswersAsStepDoes(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := fullRig(t, func(c *amdvi.Config) { c.HtRangeIgnore, c.NpCache = seed&1 != 0, seed&2 != 0 })
		crowd(r, rng)
		r.W64(spec.OffExclLimit, 0x2000)
		if seed&2 != 0 {
			r.W64(spec.OffExclBase, 0x2000|spec.ExclEn.Mask()|spec.ExclAllow.PutBool(seed&4 != 0))
		}
		hits := 0
		for range 10000 {
			var q emu.Request
			randomRequest(rng, &q)
			if !r.LookupAgrees(&q) {
				continue
			}
			hits++
			if rng.IntN(50) == 0 {
				r.events()
				r.submit(invAll())
			}
		}
		require.Greater(t, hits, 500, "seed %d", seed)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	for _, kind := range []string{"host", "guest", "nested"} {
		r := fullRig(t)
		r.messages()
		var mapOne func(addr, pa uint64)
		switch kind {
		case "host":
			top := r.attach(dev, 3)
			mapOne = func(addr, pa uint64) { r.mapPage(top, addr, pa, pRW) }
		case "guest":
			g := r.guests(4, 1, 0, giov)
			mapOne = func(addr, pa uint64) { g.gmap(0, addr, pa, gAll) }
		default:
			g := r.guests(4, 1, 3, giov, had(spec.HADAD))
			mapOne = func(addr, pa uint64) { g.gmap(0, addr, pa, gAll) }
		}
		for i := range uint64(64) {
			mapOne(i<<12, 0x10_0000+i<<12)
		}
		status := r.Page()
		w := wait(status, 1)
		w[0] |= spec.CwI.Mask()
		r.push(invAll())
		r.push(w)
		var q emu.Request
		var res emu.Result
		q = emu.Request{Source: dev, PASID: emu.NoPASID, Len: 64, Access: emu.RW}
		faults := 0
		e := r.Engines()
		n := testing.AllocsPerRun(50, func() {
			for i := range uint64(65) { // the last one faults
				q.Addr = emu.IOVA(i << 12)
				r.F.Translate(&q, &res)
				r.F.Translate(&q, &res)
				if res.Status == emu.Blocked {
					faults++
				}
			}
			e.Write(spec.OffCmdHead, 4, 0)
			e.Write(spec.OffCmdTail, 4, r.tail)
			e.Write(spec.OffStatus, 8, ^uint64(0))
			e.Write(spec.OffEventHead, 4, r.u.ReadReg(spec.OffEventTail, 4))
		})
		require.Zero(t, n, kind)
		require.Equal(t, 51, faults)
		require.EqualValues(t, 1, r.Get(status))
	}
}

func benchRig(b *testing.B, guest bool, n uint64) *rig {
	r := newRig(b).enable()
	if guest {
		g := r.guests(4, 0, 0, giov)
		for i := range n {
			g.gmap(0, i<<12, 0x1000_0000+i<<12, gAll|gA|gD)
		}
		return r
	}
	top := r.attach(dev, 3)
	for i := range n {
		r.mapPage(top, i<<12, 0x1000_0000+i<<12, pRW)
	}
	return r
}

func BenchmarkLookup(b *testing.B) {
	for name, guest := range map[string]bool{"host": false, "guest": true} {
		b.Run(name, func(b *testing.B) {
			r := benchRig(b, guest, 64)
			q, res := dma(emu.Read), emu.Result{}
			for i := range uint64(64) {
				q.Addr = emu.IOVA(i << 12)
				r.F.Translate(&q, &res)
			}
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				q.Addr = emu.IOVA(i & 63 << 12)
				i++
				if !r.u.Lookup(&q, &res) {
					b.Fatal("miss")
				}
			}
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	for name, guest := range map[string]bool{"host": false, "guest": true} {
		b.Run(name, func(b *testing.B) {
			r := benchRig(b, guest, 1<<14)
			q, res := dma(emu.Read), emu.Result{}
			b.ReportAllocs()
			x := uint64(1)
			for b.Loop() {
				x = x*6364136223846793005 + 1442695040888963407
				q.Addr = emu.IOVA(x >> 50 << 12)
				r.F.Translate(&q, &res)
			}
		})
	}
}
