package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Kinds of translation of SMMUv3.
const (
	smmuS1     = "s1" // stage 1, pages of 4 KiB
	smmuS1Huge = "s1-2M"
	smmuS2     = "s2"
	smmuNested = "nested" // both
)

// Bits of descriptors, flags set, so that no walk has to.
const (
	armTable = 3
	armPage  = 3 | 1<<10              // a block without bit 1
	s1Page   = armPage | 1<<6 | 1<<11 // unprivileged, not global
	s2Page   = armPage | 3<<6 | 0xf<<2
)

// smmuRig is an SMMUv3 with tables of four levels, written by hand.
type smmuRig struct {
	rig
	kind string
	s1   uint64 // table of stage 1; intermediate if both stages translate
	s2   emu.PA
}

// newSMMU makes a unit without caches of paging structures.
func newSMMU(tb testing.TB, kind string, tlb iotlb.Geometry) *smmuRig {
	c := smmuv3.DefaultConfig()
	c.IOTLB, c.Stage2 = tlb, iotlb.Geometry{}
	c.Walk, c.Walk2 = nil, nil
	return newSMMUOf(tb, kind, c)
}

func newSMMUOf(tb testing.TB, kind string, c smmuv3.Config) *smmuRig {
	u, err := smmuv3.New(c)
	require.NoError(tb, err)
	lg2 := uint8(emu.PageShift)
	if kind == smmuS1Huge {
		lg2 = 21
	}
	r := &smmuRig{rig: newRig(u, lg2), kind: kind}
	var ste, cd [8]uint64
	spec.SteV.Set(ste[:], 1)
	spec.SteS2VMID.Set(ste[:], 7)
	config := uint64(spec.ConfigS1)
	if kind == smmuS2 || kind == smmuNested {
		config = spec.ConfigS2
		r.s2 = r.frame()
		spec.SteS2AA64.Set(ste[:], 1)
		spec.SteS2T0SZ.Set(ste[:], 16)
		spec.SteS2SL0.Set(ste[:], 2)
		spec.SteS2PS.Set(ste[:], 5)
		spec.SteS2TTB.Set(ste[:], uint64(r.s2)>>4)
	}
	if kind != smmuS2 {
		config |= 1
		r.s1 = r.table()
		at := r.table()
		spec.SteS1Context.Set(ste[:], at>>6)
		spec.CdV.Set(cd[:], 1)
		spec.CdAA64.Set(cd[:], 1)
		spec.CdT0SZ.Set(cd[:], 16)
		spec.CdEPD1.Set(cd[:], 1)
		spec.CdIPS.Set(cd[:], 5)
		spec.CdASID.Set(cd[:], 1)
		spec.CdTTB0.Set(cd[:], r.s1>>4)
		for i, w := range cd {
			r.mem.Store64(r.at(at)+emu.PA(8*i), w)
		}
	}
	spec.SteConfig.Set(ste[:], config|4)
	for p := range uint64(pages) {
		ipa := 1<<32 | (p^1)<<12
		switch kind {
		case smmuS2:
			r.map2(r.addr(p), r.target(p))
		case smmuNested:
			r.map2(ipa, r.target(p))
			r.map1(r.addr(p), ipa)
		default:
			r.map1(r.addr(p), r.target(p))
		}
	}
	streams := r.frame()
	for i, w := range ste {
		r.mem.Store64(streams+emu.PA(sid)*spec.STESize+emu.PA(8*i), w)
	}
	r.f.WriteReg(0, spec.OffSTRTABBase, 8, uint64(streams))
	r.f.WriteReg(0, spec.OffSTRTABBaseCfg, 4, 6)
	r.f.WriteReg(0, spec.OffCR0, 4, spec.Cr0SMMUEN.Mask())
	r.byHand = r.walk1
	if kind == smmuS2 {
		r.byHand = func(addr uint64) (emu.PA, bool) { return r.walk2(addr, 1) }
	}
	return r
}

// table returns the address of a new table of stage 1. With both stages it is 2^40 below where it is.
func (r *smmuRig) table() uint64 {
	pa := r.frame()
	if r.kind != smmuNested {
		return uint64(pa)
	}
	ipa := uint64(pa) - 1<<40
	r.map2(ipa, uint64(pa))
	return ipa
}

// at returns where a table of stage 1 is.
func (r *smmuRig) at(table uint64) emu.PA {
	if r.kind == smmuNested {
		return emu.PA(table + 1<<40)
	}
	return emu.PA(table)
}

// map1 maps a page of stage 1, map2 one of stage 2.
func (r *smmuRig) map1(addr, out uint64) {
	table := r.at(r.s1)
	level := int(r.lg2-12) / 9
	for l := 3; l > level; l-- {
		at := table + emu.PA(addr>>(12+9*l)&511*8)
		e, _ := r.mem.Load64(at)
		if e == 0 {
			e = r.table() | armTable
			r.mem.Store64(at, e)
		}
		table = r.at(e & armAddress)
	}
	leaf := out | s1Page
	if level != 0 {
		leaf &^= 2
	}
	r.mem.Store64(table+emu.PA(addr>>r.lg2&511*8), leaf)
}

func (r *smmuRig) map2(addr, out uint64) {
	table := r.s2
	for l := 3; l > 0; l-- {
		at := table + emu.PA(addr>>(12+9*l)&511*8)
		e, _ := r.mem.Load64(at)
		if e == 0 {
			e = uint64(r.frame()) | armTable
			r.mem.Store64(at, e)
		}
		table = emu.PA(e & armAddress)
	}
	r.mem.Store64(table+emu.PA(addr>>12&511*8), out|s2Page)
}

const armAddress = 1<<48 - 1<<12

// walk2 is the walk of stage 2: of each descriptor the bus error, its type, its address; of the leaf the
// access flag and the rights.
func (r *smmuRig) walk2(addr uint64, want uint64) (emu.PA, bool) {
	table := r.s2
	for shift := 39; ; shift -= 9 {
		if !r.bus.Load(table+emu.PA(addr>>shift&511*8), 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		if e&1 == 0 {
			return 0, false
		}
		if shift == 12 || e&2 == 0 {
			page := uint64(1)<<shift - 1
			return emu.PA(e&armAddress&^page | addr&page), e&(1<<10) != 0 && e>>6&want == want && (shift == 12) == (e&2 != 0) && shift <= 30
		}
		table = emu.PA(e & armAddress)
	}
}

// walk1 is the walk of stage 1: the same, and the rights that tables take away. What the descriptors say goes
// through stage 2 first where that is on.
func (r *smmuRig) walk1(addr uint64) (emu.PA, bool) {
	table, ok, limits := emu.PA(r.s1), true, uint64(0)
	nested := r.kind == smmuNested
	for shift := 39; ; shift -= 9 {
		at := table + emu.PA(addr>>shift&511*8)
		if nested {
			if at, ok = r.walk2(uint64(at), 1); !ok {
				return 0, false
			}
		}
		if !r.bus.Load(at, 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		if e&1 == 0 {
			return 0, false
		}
		if shift == 12 || e&2 == 0 {
			page := uint64(1)<<shift - 1
			out := e&armAddress&^page | addr&page
			if e&(1<<10|1<<6) != 1<<10|1<<6 || limits&(1<<61) != 0 || (shift == 12) != (e&2 != 0) || shift > 30 {
				return 0, false
			}
			if nested {
				return r.walk2(out, 1)
			}
			return emu.PA(out), true
		}
		limits |= e
		table = emu.PA(e & armAddress)
	}
}

// A hit. Bar: 4.
func BenchmarkSMMUHit(b *testing.B) {
	for _, kind := range []string{smmuS1, smmuS1Huge, smmuS2, smmuNested} {
		b.Run(kind, func(b *testing.B) { newSMMU(b, kind, geometries[0].g).benchmarkHit(b, geometries[0].g) })
	}
	b.Run(smmuS1+"/4096", func(b *testing.B) { newSMMU(b, smmuS1, geometries[1].g).benchmarkHit(b, geometries[1].g) })
}

// A walk: of four or three descriptors of stage 1, of four of stage 2, of 24 of both. Bar: 6, 7, 5 and 4,
// alone.
func BenchmarkSMMUWalk(b *testing.B) {
	for _, kind := range []string{smmuS1, smmuS1Huge, smmuS2, smmuNested} {
		for _, w := range walks {
			b.Run(kind+"/"+w.name, func(b *testing.B) { newSMMU(b, kind, w.g).benchmarkWalk(b, 1<<15) })
		}
	}
}

// On the timed machine. Bars: 15 and 6.
func BenchmarkSMMUTimedHit(b *testing.B) {
	for _, kind := range []string{smmuS1, smmuS2, smmuNested} {
		b.Run(kind, func(b *testing.B) { newSMMU(b, kind, geometries[0].g).benchmarkTimedHit(b, geometries[0].g) })
	}
}

func BenchmarkSMMUTimedWalk(b *testing.B) {
	for _, kind := range []string{smmuS1, smmuS1Huge, smmuS2, smmuNested} {
		b.Run(kind, func(b *testing.B) { newSMMU(b, kind, walks[1].g).benchmarkTimedWalk(b) })
	}
}
