package vtd_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// crowd is a machine with entries of many kinds, good and bad.
func crowd(r *rig, rng *rand.Rand, sm bool) {
	for i := range emu.SourceID(12) {
		s := emu.SourceID(0x100) + i
		did := 1 + rng.Uint64N(6)
		var top emu.PA
		if sm {
			for p := range emu.PASID(3) {
				pgtt := []uint64{spec.PGTTSecond, spec.PGTTFirst, spec.PGTTPassThrough, spec.PGTTNested}[rng.IntN(4)]
				bits := rng.Uint64()
				if pgtt == spec.PGTTNested {
					guestPages(r.nest(s, p, did, 0, with(spec.PasidSSADE, bits&1), with(spec.PasidSSEE, bits>>1&1), firstFlags(bits)), rng)
					continue
				}
				if pgtt == spec.PGTTFirst {
					fsPages(r, rng, r.first(s, p, did+8, firstFlags(bits)))
					continue
				}
				top = r.bind(s, p, pgtt, did, with(spec.PasidSSADE, bits&1), with(spec.PasidSSEE, bits>>1&1),
					with(spec.PasidERE, bits>>2&1), with(spec.PasidSRE, bits>>3&1), with(spec.PasidFPD, bits>>4&1))
				if pgtt == spec.PGTTSecond {
					pages(r, rng, top)
				}
			}
			ctx := r.smContext(s)
			r.Put(ctx, r.Get(ctx)&^(rng.Uint64N(2)<<3), rng.Uint64N(3))
			continue
		}
		top = r.Page()
		tt := []uint64{spec.TTUntranslated, spec.TTAll, spec.TTPassThrough, 3}[rng.IntN(4)]
		aw := uint64(spec.AW48)
		if tt == spec.TTPassThrough {
			aw = spec.AW57
		}
		e := legacyEntry(tt, top, aw, did)
		r.Put(r.context(s), e[0], e[1])
		pages(r, rng, top)
	}
}

func pages(r *rig, rng *rand.Rand, top emu.PA) {
	for range 6 {
		r.mapPage(top, rng.Uint64N(8)<<12, rng.Uint64N(1<<20)<<12, rng.Uint64N(8))
	}
	r.Put(r.pte(top, 0x4000_0000, 1), 0xfee0_0000|ssRW|1<<7)
	r.Put(r.pte(top, 0x8000_0000, 2), 0x40_0000_0000|ssRW|1<<7)
}

// firstFlags sets fields by bits from 2 on.
func firstFlags(bits uint64) func([]uint64) {
	return func(e []uint64) {
		for i, b := range []reg.Bits{spec.PasidERE, spec.PasidSRE, spec.PasidFPD, spec.PasidWPE, spec.PasidSMEP, spec.PasidNXE, spec.PasidEAFE} {
			b.Set(e, bits>>(i+2)&1)
		}
	}
}

func guestPages(g *guest, rng *rand.Rand) {
	for range 6 {
		page := rng.Uint64N(16) << 12
		g.fsMap(rng.Uint64N(8)<<12, page, rng.Uint64N(8)|fsP|rng.Uint64N(2)<<63)
		g.mapPage(g.ss, page, rng.Uint64N(1<<20)<<12, rng.Uint64N(8))
	}
	g.Put(g.at(g.entry(0x4000_0000, 1)), 0x8000_0000|fsRWU|fsPS)
	g.Put(g.at(g.entry(0x8000_0000, 2)), 0x40_0000_0000|fsRWU|fsPS)
	g.Put(g.pte(g.ss, 0x8000_0000, 1), 0xfee0_0000|ssRW|1<<7)
	g.Put(g.pte(g.ss, 0x40_0000_0000, 1), 0x60_0000_0000|ssRW|1<<7)
}

func fsPages(r *rig, rng *rand.Rand, top emu.PA) {
	for range 6 {
		r.fsMap(top, rng.Uint64N(8)<<12, rng.Uint64N(1<<20)<<12, rng.Uint64N(8)|fsP|rng.Uint64N(2)<<63)
	}
	r.Put(r.fsEntry(top, 4, 0x4000_0000, 1), 0xfee0_0000|fsRWU|fsPS)
	r.Put(r.fsEntry(top, 4, 0x8000_0000, 2), 0x40_0000_0000|fsRWU|fsPS)
}

func randomRequest(rng *rand.Rand, q *emu.Request) {
	addr := []uint64{rng.Uint64N(8) << 12, 0x4000_0000 + rng.Uint64N(512)<<12, 0x8000_0000 + rng.Uint64N(1<<18)<<12,
		0xfee0_0000, rng.Uint64()}[rng.IntN(5)]
	*q = emu.Request{
		Source: emu.SourceID(0x100 + rng.IntN(13)), Addr: emu.IOVA(addr), PASID: emu.NoPASID,
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
		sm, cm := seed&1 != 0, seed&2 != 0
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newRig(t, func(c *vtd.Config) {
			c.CM, c.DT, c.NWFS = cm, true, true
			c.VersionMajor = 1 // later ones look up nothing in one go while regions are protected
		})
		crowd(r, rng, sm)
		if sm {
			r.scalable()
		} else {
			r.legacy()
		}
		r.W32(spec.OffPLMBASE, 0x20_0000)
		r.W32(spec.OffPLMLIMIT, 0x20_0000)
		if seed&4 != 0 {
			r.W32(spec.OffPMEN, spec.PmenEPM.Mask())
		}
		hits := 0
		for range 20000 {
			var q emu.Request
			randomRequest(rng, &q)
			if !r.LookupAgrees(&q) {
				continue
			}
			hits++
			if rng.IntN(50) == 0 {
				r.clearFaults()
				r.submitGlobal()
			}
		}
		require.Greater(t, hits, 1000, "seed %d", seed)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	for _, kind := range translations {
		r := newRig(t, func(c *vtd.Config) { c.DT = true })
		sm := r.translate(kind, 64, 0x10_0000)
		r.queue(sm)
		r.W32(spec.OffIECTL, 0)
		lo, hi := wait(1, r.status())
		r.push(iotlbInv(spec.GranPage, 7), pageInv(0, 6, false))
		r.push(ccInv(spec.GranGlobal, 0, 0, 0), 0)
		r.push(lo|spec.IwIF.Mask(), hi)
		var q emu.Request
		var res emu.Result
		q = emu.Request{Source: sid, PASID: emu.NoPASID, Len: 64, Access: emu.Read}
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
			e.Write(spec.OffIQA, 8, uint64(r.iq)|spec.IqaDW.PutBool(sm))
			e.Write(spec.OffIQT, 4, r.tail)
			e.Write(spec.OffICS, 4, 1)
			for i := range uint32(8) {
				e.Write(0x600+16*i+12, 4, 1<<31)
			}
			e.Write(spec.OffFSTS, 4, spec.FstsPFO.Mask())
			e.Write(spec.OffGCMD, 4, spec.GcmdTE.Mask()|spec.GcmdQIE.Mask()|spec.GcmdSRTP.Mask())
		})
		require.Zero(t, n)
		require.Equal(t, 51, faults)
		require.Zero(t, r.R32(spec.OffFSTS))
		require.EqualValues(t, 1, r.Get(r.status()))
	}
}

// translations are the ways in which an address is translated.
var translations = []string{"legacy", "second stage", "first stage", "nested"}

// translate turns translation on with n pages from 0 mapped to pa onwards, and says whether that is in
// scalable mode.
func (r *rig) translate(kind string, n, pa uint64) (sm bool) {
	switch kind {
	case "legacy":
		top := r.attach(sid, 7)
		for i := range n {
			r.mapPage(top, i<<12, pa+i<<12, ssRW)
		}
		r.legacy()
		return false
	case "second stage":
		top := r.bind(sid, 0, spec.PGTTSecond, 7)
		for i := range n {
			r.mapPage(top, i<<12, pa+i<<12, ssRW)
		}
	case "first stage":
		top := r.first(sid, 0, 7)
		for i := range n {
			r.fsMap(top, i<<12, pa+i<<12, fsRWU)
		}
	case "nested":
		g := r.nest(sid, 0, 7, 0)
		for i := range n {
			g.mapTwo(i<<12, 1<<32+i<<12, pa+i<<12)
		}
	}
	r.scalable()
	return true
}

func BenchmarkLookup(b *testing.B) {
	for _, kind := range translations {
		b.Run(kind, func(b *testing.B) {
			r := newRig(b)
			r.translate(kind, 64, 0x1000_0000)
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
	for _, kind := range translations {
		b.Run(kind, func(b *testing.B) {
			r := newRig(b)
			r.translate(kind, 1<<14, 0x1000_0000)
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
