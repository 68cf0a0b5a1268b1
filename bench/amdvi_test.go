package bench

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Kinds of translation of AMD-Vi.
const (
	amdHost   = "v1"     // host tables, pages of 4 KiB
	amdSized  = "v1-64K" // host tables, pages of 64 KiB by NextLevel=7
	amdLarge  = "v1-2M"
	amdHuge   = "v1-1G"
	amdGuest  = "v2"
	amdNested = "nested" // guest tables over host tables
)

// Bits of entries, flags set, so that no walk has to.
const (
	hostEntry  = 1 | 3<<61
	guestEntry = 0x67 // P, R/W, U/S, A, D
)

// amdRig is a unit of AMD-Vi with tables of four levels, written by hand.
type amdRig struct {
	rig
	kind  string
	host  emu.PA
	guest uint64 // guest table; guest-physical if nested
}

// newAMD makes a unit without caches of paging structures.
func newAMD(tb testing.TB, kind string, tlb iotlb.Geometry) *amdRig {
	c := amdvi.DefaultConfig()
	c.IOTLB, c.Stage2, c.GCR3Cache = tlb, iotlb.Geometry{}, iotlb.Geometry{}
	c.Walk, c.Walk2 = nil, nil
	return newAMDOf(tb, kind, c)
}

func newAMDOf(tb testing.TB, kind string, c amdvi.Config) *amdRig {
	u, err := amdvi.New(c)
	require.NoError(tb, err)
	lg2 := map[string]uint8{amdSized: 16, amdLarge: 21, amdHuge: 30}[kind]
	r := &amdRig{rig: newRig(u, max(lg2, emu.PageShift)), kind: kind}
	r.base = 1 << 46 // far from the interrupt range
	var e spec.DTE
	set := func(b interface{ Set([]uint64, uint64) }, v uint64) { b.Set(e[:], v) }
	set(spec.DteV, 1)
	set(spec.DteTV, 1)
	set(spec.DteIR, 1)
	set(spec.DteIW, 1)
	set(spec.DteDomainID, 7)
	if kind != amdGuest {
		r.host = r.frame()
		set(spec.DteMode, 4)
		set(spec.DteHostRoot, uint64(r.host)>>12)
	}
	if kind == amdGuest || kind == amdNested {
		gcr3 := r.frame()
		r.guest = r.table()
		r.mem.Store64(gcr3, r.guest|1)
		set(spec.DteGV, 1)
		set(spec.DteGIoV, 1)
		e.SetGCR3Root(uint64(gcr3))
	}
	for p := range uint64(pages) {
		gpa := 1<<32 | (p^1)<<12
		switch kind {
		case amdGuest:
			r.mapGuest(r.addr(p), r.target(p))
		case amdNested:
			r.mapHost(gpa, r.target(p))
			r.mapGuest(r.addr(p), gpa)
		default:
			r.mapHost(r.addr(p), r.target(p))
		}
	}
	devices := r.frame()
	for i, w := range e {
		r.mem.Store64(devices+emu.PA(sid)*spec.DTESize+emu.PA(8*i), w)
	}
	r.f.WriteReg(0, spec.OffDevTabBase, 8, uint64(devices))
	r.f.WriteReg(0, spec.OffControl, 8, spec.CtlIommuEn.Mask()|spec.CtlGTEn.Mask())
	r.byHand = func(addr uint64) (emu.PA, bool) { return r.walkHost(addr, 1) }
	if r.guest != 0 {
		r.byHand = func(addr uint64) (emu.PA, bool) { return r.walkGuest(gcr3Of(&e), addr) }
	}
	return r
}

func gcr3Of(e *spec.DTE) emu.PA { return emu.PA(e.GCR3Root()) }

// table returns the address of a new guest table. With host tables it is 2^40 below where it is.
func (r *amdRig) table() uint64 {
	spa := r.frame()
	if r.kind != amdNested {
		return uint64(spa)
	}
	gpa := uint64(spa) - 1<<40
	r.mapHost(gpa, uint64(spa))
	return gpa
}

// at returns where a guest table is.
func (r *amdRig) at(table uint64) emu.PA {
	if r.kind == amdNested {
		return emu.PA(table + 1<<40)
	}
	return emu.PA(table)
}

// mapHost maps a page of the rig's size: in one entry, or in one for each 4 KiB.
func (r *amdRig) mapHost(addr, out uint64) {
	table := r.host
	leaf, level := out|hostEntry, int(r.lg2-12)/9
	if r.lg2 != uint8(12+9*level) {
		leaf |= spec.PageSizeAddr(0, r.lg2) | 7<<9
	}
	for l := 3; l > level; l-- {
		at := table + emu.PA(addr>>(12+9*l)&511*8)
		e, _ := r.mem.Load64(at)
		if e == 0 {
			e = uint64(r.frame()) | hostEntry | uint64(l)<<9
			r.mem.Store64(at, e)
		}
		table = emu.PA(e & addressMask)
	}
	for i := range uint64(1) << (r.lg2 - uint8(12+9*level)) {
		r.mem.Store64(table+emu.PA((addr>>(12+9*level)+i)&511*8), leaf)
	}
}

// mapGuest maps a page of the guest.
func (r *amdRig) mapGuest(addr, out uint64) {
	r.set(r.at(r.guest), addr, out|guestEntry, func() uint64 { return r.table() | guestEntry }, func(e uint64) emu.PA { return r.at(e & addressMask) })
}

// Reserved bits of host entries: of those that point to a table, and of leaves.
const (
	pdeReserved = 0x1ff << 52
	pteReserved = 0x07f << 52
)

// walkHost is the walk of a table of four levels: of each entry the bus error, PR, the reserved bits, the
// rights so far, the level that it points to, or the size of its page.
func (r *amdRig) walkHost(addr uint64, want uint64) (emu.PA, bool) {
	table, rights := r.host, uint64(3)
	for level := 3; ; {
		shift := 12 + 9*level
		if !r.bus.Load(table+emu.PA(addr>>shift&511*8), 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		rights &= e >> 61
		if e&1 == 0 || rights&want != want {
			return 0, false
		}
		next := int(e >> 9 & 7)
		if next == 0 || next == 7 {
			if next == 7 {
				size := 13 + bits.TrailingZeros64(^e>>12)
				if size <= shift || size >= shift+9 {
					return 0, false
				}
				shift = size
			}
			page := uint64(1)<<shift - 1
			return emu.PA(e&addressMask&^page | addr&page), e&pteReserved == 0
		}
		if e&pdeReserved != 0 || next > level || addr>>(12+9*next)&(1<<(9*(level-next))-1) != 0 {
			return 0, false
		}
		table, level = emu.PA(e&addressMask), next-1
	}
}

// walkGuest is the walk of a GCR3 table and a guest table of four levels: of each entry the bus error, P
// and A, the rights so far, whether it is a leaf. What the entries say goes through the host table first
// where there is one.
func (r *amdRig) walkGuest(gcr3 emu.PA, addr uint64) (emu.PA, bool) {
	if !r.bus.Load(gcr3, 8, &r.word) || r.word[0]&1 == 0 {
		return 0, false
	}
	table, rights, ok := emu.PA(r.word[0]&addressMask), ^uint64(0), true
	nested := r.kind == amdNested
	for shift := 39; ; shift -= 9 {
		at := table + emu.PA(addr>>shift&511*8)
		if nested {
			if at, ok = r.walkHost(uint64(at), 1); !ok {
				return 0, false
			}
		}
		if !r.bus.Load(at, 8, &r.word) {
			return 0, false
		}
		e := r.word[0]
		if rights &= e; rights&fsUsed != fsUsed {
			return 0, false
		}
		if shift == 12 || e&pageSize != 0 {
			page := uint64(1)<<shift - 1
			out := e&addressMask&^page | addr&page
			if nested {
				return r.walkHost(out, 1)
			}
			return emu.PA(out), shift <= 30
		}
		table = emu.PA(e & addressMask)
	}
}

// A hit. Bar: 4.
func BenchmarkAMDViHit(b *testing.B) {
	for _, kind := range []string{amdHost, amdSized, amdLarge, amdHuge, amdGuest, amdNested} {
		b.Run(kind, func(b *testing.B) { newAMD(b, kind, geometries[0].g).benchmarkHit(b, geometries[0].g) })
	}
	b.Run(amdHost+"/4096", func(b *testing.B) { newAMD(b, amdHost, geometries[1].g).benchmarkHit(b, geometries[1].g) })
}

// A walk: of four, three or two host entries, of a GCR3 entry and four guest entries, of 25 of both. Bar: 4
// alone, 5 for two entries, 5.5 for the guest table.
func BenchmarkAMDViWalk(b *testing.B) {
	for _, kind := range []string{amdHost, amdSized, amdLarge, amdHuge, amdGuest, amdNested} {
		for _, w := range walks {
			b.Run(kind+"/"+w.name, func(b *testing.B) { newAMD(b, kind, w.g).benchmarkWalk(b, 1<<15) })
		}
	}
}

// On the timed machine. Bars: 15 and 6.
func BenchmarkAMDViTimedHit(b *testing.B) {
	for _, kind := range []string{amdHost, amdGuest, amdNested} {
		b.Run(kind, func(b *testing.B) { newAMD(b, kind, geometries[0].g).benchmarkTimedHit(b, geometries[0].g) })
	}
}

func BenchmarkAMDViTimedWalk(b *testing.B) {
	for _, kind := range []string{amdHost, amdSized, amdLarge, amdHuge, amdGuest, amdNested} {
		b.Run(kind, func(b *testing.B) { newAMD(b, kind, walks[1].g).benchmarkTimedWalk(b) })
	}
}
