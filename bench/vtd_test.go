package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Kinds of translation of VT-d: legacy mode is a second stage alone.
const (
	vtdLegacy = "legacy"
	vtdFirst  = "first"
	vtdNested = "nested"
)

// Bits of entries, flags set, so that no walk has to.
const (
	fsEntry = 0x67 // P, R/W, U/S, A, D
	ssEntry = 0x3
)

// vtdRig is a unit of VT-d with tables of four levels, written by hand.
type vtdRig struct {
	rig
	kind string
	fs   uint64 // first-stage table; guest-physical if nested
	ss   emu.PA
}

// newVTD makes a unit without caches of paging structures.
func newVTD(tb testing.TB, kind string, tlb iotlb.Geometry) *vtdRig {
	c := vtd.DefaultConfig()
	c.IOTLB, c.Stage2 = tlb, iotlb.Geometry{}
	c.Walk, c.Walk2 = nil, nil
	return newVTDOf(tb, kind, c)
}

func newVTDOf(tb testing.TB, kind string, c vtd.Config) *vtdRig {
	c.HAW = 52
	u, err := vtd.New(c)
	require.NoError(tb, err)
	r := &vtdRig{rig: newRig(u, emu.PageShift), kind: kind}
	pgtt := uint64(spec.PGTTFirst)
	if kind != vtdFirst {
		pgtt, r.ss = spec.PGTTNested, r.frame()
	}
	if kind != vtdLegacy {
		r.fs = r.table()
	}
	for p := range uint64(pages) {
		gpa := 1<<32 | (p^1)<<12
		switch kind {
		case vtdLegacy:
			r.map2(p<<12, r.target(p))
		case vtdFirst:
			r.map1(p<<12, r.target(p))
		default:
			r.map2(gpa, r.target(p))
			r.map1(p<<12, gpa)
		}
	}
	root, context := r.frame(), r.frame()
	r.mem.Store64(root, uint64(context)|1)
	ttm := uint64(spec.TTMScalable)
	if kind == vtdLegacy {
		ttm = spec.TTMLegacy
		r.mem.Store64(context+emu.PA(sid)*16, uint64(r.ss)|spec.CtxP.Put(1))
		r.mem.Store64(context+emu.PA(sid)*16+8, spec.CtxAW.Put(spec.AW48)|spec.CtxDID.Put(7))
	} else {
		dir, entries := r.frame(), r.frame()
		r.mem.Store64(context+emu.PA(sid)*32, uint64(dir)|1)
		r.mem.Store64(dir, uint64(entries)|1)
		for i, w := range []uint64{
			uint64(r.ss) | spec.PasidP.Put(1) | spec.PasidPGTT.Put(pgtt) | spec.PasidAW.Put(spec.AW48), spec.PasidDID.Put(7), r.fs,
		} {
			r.mem.Store64(entries+emu.PA(8*i), w)
		}
	}
	r.f.WriteReg(0, spec.OffRTADDR, 8, uint64(root)|spec.RtaddrTTM.Put(ttm))
	r.f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
	r.f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdTE.Mask())
	r.byHand = func(addr uint64) (emu.PA, bool) { return r.walkSecond(addr, emu.Read) }
	if kind != vtdLegacy {
		r.byHand = func(addr uint64) (emu.PA, bool) { return r.walkFirst(addr, fsUsed) }
	}
	return r
}

// table returns the address of a new first-stage table. Guests have theirs 2^40 below where it is.
func (r *vtdRig) table() uint64 {
	hpa := r.frame()
	if r.kind != vtdNested {
		return uint64(hpa)
	}
	gpa := uint64(hpa) - 1<<40
	r.map2(gpa, uint64(hpa))
	return gpa
}

// at returns where a first-stage table is.
func (r *vtdRig) at(table uint64) emu.PA {
	if r.kind == vtdNested {
		return emu.PA(table + 1<<40)
	}
	return emu.PA(table)
}

// map2 maps a page of the second stage.
func (r *vtdRig) map2(addr, out uint64) {
	r.set(r.ss, addr, out|ssEntry, func() uint64 { return uint64(r.frame()) | ssEntry }, func(e uint64) emu.PA { return emu.PA(e & addressMask) })
}

// map1 maps a page of the first stage.
func (r *vtdRig) map1(addr, out uint64) {
	r.set(r.at(r.fs), addr, out|fsEntry, func() uint64 { return r.table() | fsEntry }, func(e uint64) emu.PA { return r.at(e & addressMask) })
}

// set puts the leaf for addr into a table of four levels with entries of 9 bits, making tables on the way.
func (r *rig) set(table emu.PA, addr, leaf uint64, make func() uint64, at func(entry uint64) emu.PA) {
	for shift := 39; ; shift -= 9 {
		pa := table + emu.PA(addr>>shift&511*8)
		if shift == 12 {
			r.mem.Store64(pa, leaf)
			return
		}
		e, _ := r.mem.Load64(pa)
		if e == 0 {
			e = make()
			r.mem.Store64(pa, e)
		}
		table = at(e)
	}
}

// The bits of a second-stage entry that any walk has to look at.
const (
	addressMask  = 1<<52 - 1<<12
	reservedMask = 1 << 62
	pageSize     = 1 << 7
)

// walkSecond is four dependent loads, and of each entry the bus error, the rights so far, the reserved
// bit, whether it is a leaf, and the address.
func (r *vtdRig) walkSecond(iova uint64, want emu.Access) (emu.PA, bool) {
	table, rights := r.ss, emu.RW
	for shift := 39; ; shift -= 9 {
		if !r.bus.Load(table+emu.PA(iova>>shift&511*8), 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		if rights &= emu.Access(e); rights&want != want || e&reservedMask != 0 {
			return 0, false
		}
		if shift == 12 || e&pageSize != 0 {
			page := uint64(1)<<shift - 1
			return emu.PA(e&addressMask&^page | iova&page), shift <= 30
		}
		table = emu.PA(e & addressMask)
	}
}

// walkFirst is the same for the first stage: of each entry the bus error, P and A, the rights so far, the
// reserved bit, whether it is a leaf. A table address of a guest, and the output, go through the second
// stage first.
func (r *vtdRig) walkFirst(addr uint64, want uint64) (emu.PA, bool) {
	table, rights, ok := emu.PA(r.fs), ^uint64(0), true
	nested := r.kind == vtdNested
	for shift := 39; ; shift -= 9 {
		at := table + emu.PA(addr>>shift&511*8)
		if nested {
			if at, ok = r.walkSecond(uint64(at), emu.Read); !ok {
				return 0, false
			}
		}
		if !r.bus.Load(at, 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		if rights &= e; rights&want != want || e&fsReserved != 0 {
			return 0, false
		}
		if shift == 12 || e&pageSize != 0 {
			page := uint64(1)<<shift - 1
			out := e&addressMask&^page | addr&page
			if nested {
				return r.walkSecond(out, emu.Read)
			}
			return emu.PA(out), shift <= 30
		}
		table = emu.PA(e & addressMask)
	}
}

const (
	fsUsed     = 0x25    // P, U/S, A
	fsReserved = 1 << 63 // XD
)

// A hit in legacy mode. Bar: 4.
func BenchmarkFunctionalHit(b *testing.B) {
	for _, g := range geometries {
		b.Run(g.name, func(b *testing.B) { newVTD(b, vtdLegacy, g.g).benchmarkHit(b, g.g) })
	}
}

// A walk of four levels in legacy mode. Bar: 4, alone.
func BenchmarkFunctionalWalk(b *testing.B) {
	for _, w := range walks {
		b.Run(w.name, func(b *testing.B) { newVTD(b, vtdLegacy, w.g).benchmarkWalk(b, 1<<16) })
	}
}

// A hit on a translation of the first stage, or of both. Bar: 4, although scalable mode looks up a
// PASID entry on the way.
func BenchmarkStageHit(b *testing.B) {
	for _, kind := range []string{vtdFirst, vtdNested} {
		b.Run(kind, func(b *testing.B) { newVTD(b, kind, geometries[0].g).benchmarkHit(b, geometries[0].g) })
	}
}

// A walk of four first-stage entries, and of 24 entries of both stages. Bar: 5.5 and 4.
func BenchmarkStageWalk(b *testing.B) {
	for _, kind := range []string{vtdFirst, vtdNested} {
		b.Run(kind, func(b *testing.B) { newVTD(b, kind, iotlb.Geometry{}).benchmarkWalk(b, 1<<15) })
	}
}

// A hit on the timed machine. Bar: 15.
func BenchmarkTimedHit(b *testing.B) {
	newVTD(b, vtdLegacy, geometries[0].g).benchmarkTimedHit(b, geometries[0].g)
}

// A walk on the timed machine. Bar: 6.
func BenchmarkTimedWalk(b *testing.B) {
	newVTD(b, vtdLegacy, walks[1].g).benchmarkTimedWalk(b)
}
