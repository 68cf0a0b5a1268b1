package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

// Kinds of translation in scalable mode.
const (
	firstStage = "first"
	nested     = "nested"
)

// Bits of entries, flags set, so that no walk has to.
const (
	fsEntry = 0x67 // P, R/W, U/S, A, D
	ssEntry = 0x3
)

// stageRig is a rig in scalable mode with tables written by hand.
type stageRig struct {
	rig
	next   emu.PA
	fs     uint64 // first-stage table; guest-physical if nested
	ss     emu.PA
	nested bool
}

// newStageRig makes a unit without caches of paging structures.
func newStageRig(tb testing.TB, kind string, tlb iotlb.Geometry) *stageRig {
	c := vtd.DefaultConfig()
	c.HAW = 52
	c.IOTLB, c.Stage2 = tlb, iotlb.Geometry{}
	c.Walk, c.Walk2 = nil, nil
	u, err := vtd.New(c)
	require.NoError(tb, err)
	m := mem.New()
	r := &stageRig{rig: rig{mem: m, bus: m, unit: u, f: emu.NewFunctional(u, m)}, next: 1 << 40, nested: kind == nested}
	pgtt := uint64(spec.PGTTFirst)
	if r.nested {
		pgtt, r.ss = spec.PGTTNested, r.frame()
	}
	r.fs = r.table()
	for p := range uint64(pages) {
		out := 1<<32 | (p^1)<<12
		if r.nested { // guest-physical
			r.set(r.ss, out, 2<<32|(p^1)<<12|ssEntry, ssEntry, func() uint64 { return uint64(r.frame()) })
		}
		r.set(r.at(r.fs), p<<12, out|fsEntry, fsEntry, r.table)
	}
	root, context, dir, entries := r.frame(), r.frame(), r.frame(), r.frame()
	m.Store64(root, uint64(context)|1)
	m.Store64(context+emu.PA(sid)*32, uint64(dir)|1)
	m.Store64(dir, uint64(entries)|1)
	for i, w := range []uint64{
		uint64(r.ss) | spec.PasidP.Put(1) | spec.PasidPGTT.Put(pgtt) | spec.PasidAW.Put(spec.AW48), spec.PasidDID.Put(7), r.fs,
	} {
		m.Store64(entries+emu.PA(8*i), w)
	}
	r.f.WriteReg(0, spec.OffRTADDR, 8, uint64(root)|spec.RtaddrTTM.Put(spec.TTMScalable))
	r.f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
	r.f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdTE.Mask())
	return r
}

func (r *stageRig) frame() emu.PA {
	r.next += emu.PageSize
	return r.next
}

// table returns the address of a new first-stage table. Guests have theirs 2^40 below where it is.
func (r *stageRig) table() uint64 {
	hpa := r.frame()
	if !r.nested {
		return uint64(hpa)
	}
	gpa := uint64(hpa) - 1<<40
	r.set(r.ss, gpa, uint64(hpa)|ssEntry, ssEntry, func() uint64 { return uint64(r.frame()) })
	return gpa
}

// at returns where a first-stage table is.
func (r *stageRig) at(table uint64) emu.PA {
	if r.nested {
		return emu.PA(table + 1<<40)
	}
	return emu.PA(table)
}

// set puts the leaf for addr into a four-level table, making tables on the way.
func (r *stageRig) set(table emu.PA, addr, leaf, bits uint64, make func() uint64) {
	for shift := 39; ; shift -= 9 {
		at := table + emu.PA(addr>>shift&511*8)
		if shift == 12 {
			r.mem.Store64(at, leaf)
			return
		}
		e, _ := r.mem.Load64(at)
		if e == 0 {
			e = make() | bits
			r.mem.Store64(at, e)
		}
		table = emu.PA(e & addressMask)
		if bits == fsEntry {
			table = r.at(e & addressMask)
		}
	}
}

// walkFirst is rig.walk for the first stage: of each entry the bus error, P and A, the rights so far, the
// reserved bit, whether it is a leaf. A table address of a guest, and the output, go through the second
// stage first.
func (r *stageRig) walkFirst(addr uint64, want uint64) (emu.PA, bool) {
	table, rights, ok := emu.PA(r.fs), ^uint64(0), true
	for shift := 39; ; shift -= 9 {
		at := table + emu.PA(addr>>shift&511*8)
		if r.nested {
			if at, ok = r.walk(r.ss, uint64(at), emu.Read); !ok {
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
			if r.nested {
				return r.walk(r.ss, out, emu.Read)
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

// A hit on a translation of the first stage, or of both, against the bare look-up as in
// BenchmarkFunctionalHit. Bar: 6; scalable mode looks up a PASID entry on the way.
func BenchmarkStageHit(b *testing.B) {
	for _, kind := range []string{firstStage, nested} {
		b.Run(kind, func(b *testing.B) {
			g := iotlb.Geometry{Sets: 16, Ways: 4}
			r := newStageRig(b, kind, g)
			n := uint64(g.Entries())
			bare := iotlbtest.NewBare(g.Sets, g.Ways)
			stream := iotlbtest.Stream(stride, n, 1)
			q := r.request(0)
			var res emu.Result
			for p := range n {
				bare.Fill(p, p)
				r.translate(&q, p, &res)
			}
			before := r.unit.Cache(emu.CacheIOTLB).Stats()
			for p := range n {
				r.translate(&q, p, &res)
			}
			require.Equal(b, n, r.unit.Cache(emu.CacheIOTLB).Stats().Hits-before.Hits, "every page is in the IOTLB")
			compare(b, 1<<18,
				func(n int) {
					for i := range n {
						v, _ := bare.Lookup(stream[i&(stride-1)])
						sink += v
					}
				},
				func(n int) {
					for i := range n {
						r.translate(&q, stream[i&(stride-1)], &res)
						sink += uint64(res.PA)
					}
				})
		})
	}
}

// A walk of four first-stage entries, and of 24 entries of both stages, against the same by hand. Bar:
// 6 and 4.
func BenchmarkStageWalk(b *testing.B) {
	for _, kind := range []string{firstStage, nested} {
		b.Run(kind, func(b *testing.B) {
			r := newStageRig(b, kind, iotlb.Geometry{})
			stream := iotlbtest.Stream(stride, pages, 2)
			q := r.request(0)
			var res emu.Result
			for p := range uint64(64) {
				r.translate(&q, p, &res)
				pa, ok := r.walkFirst(uint64(q.Addr), fsUsed)
				require.True(b, ok)
				require.Equal(b, pa, res.PA)
			}
			compare(b, 1<<15,
				func(n int) {
					for i := range n {
						pa, _ := r.walkFirst(stream[i&(stride-1)]<<12^sink&0xfff, fsUsed) // dependent on the last
						sink = uint64(pa)
					}
				},
				func(n int) {
					for i := range n {
						r.translate(&q, stream[i&(stride-1)], &res)
						sink += uint64(res.PA)
					}
				})
		})
	}
}
