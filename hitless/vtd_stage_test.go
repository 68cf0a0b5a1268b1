package hitless

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Tables of both stages, written by hand. No flag is set in them, so that every walk marks what it uses.

const (
	fsTable = 7    // P, R/W, U/S
	ssTable = 3    // R, W
	large   = 0x80 // PS
	oldDID  = 7
	newDID  = 8
)

// stages is a unit in scalable mode, and memory to put tables into.
type stages struct {
	Scenario
	next emu.PA
	at   emu.PA // PASID entry of sid
}

func newStages(t *testing.T, cached bool) *stages {
	c := vtd.DefaultConfig()
	if !cached {
		none := iotlb.Geometry{}
		c.ContextCache, c.PASIDCache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	u, err := vtd.New(c)
	require.NoError(t, err)
	w := &stages{next: 0x10_0000}
	w.Unit, w.Memory = u, mem.New()
	w.Request = emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Write}
	root, context, dir, table := w.page(), w.page(), w.page(), w.page()
	w.put(root, uint64(context)|1)
	w.put(context+emu.PA(sid)*32, uint64(dir)|1)
	w.put(dir, uint64(table)|1)
	w.at = table
	cpu := emu.NewFunctional(u, w.Memory)
	cpu.WriteReg(0, spec.OffRTADDR, 8, uint64(root)|spec.RtaddrTTM.Put(spec.TTMScalable))
	cpu.WriteReg(0, spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
	cpu.WriteReg(0, spec.OffGCMD, 4, spec.GcmdTE.Mask())
	return w
}

func (w *stages) page() emu.PA {
	w.next += emu.PageSize
	w.put(w.next, 0)
	return w.next
}

func (w *stages) put(pa emu.PA, words ...uint64) {
	for i, v := range words {
		w.Memory.Store(pa+emu.PA(8*i), 8, &[4]uint64{v})
	}
}

// first makes a first-stage table that maps iova to page, and returns where its leaf is.
func (w *stages) first(page uint64) (top, leaf emu.PA) {
	top = w.page()
	table := top
	for shift := 39; ; shift -= 9 {
		at := table + emu.PA(iova>>shift&511*8)
		if shift == 12 {
			w.put(at, page|fsTable)
			return top, at
		}
		table = w.page()
		w.put(at, uint64(table)|fsTable)
	}
}

// second makes a second-stage table: the first GiB, where the tables are, is where it was, the second
// one, where guests have their pages, is at to. It returns where the leaf of that is.
func (w *stages) second(to uint64) (top, leaf emu.PA) {
	top = w.page()
	table := w.page()
	w.put(top, uint64(table)|ssTable)
	w.put(table, large|ssTable, to|large|ssTable)
	return top, table + 8
}

const guestPage = uint64(0x4000_5000)

func firstEntry(fs emu.PA, did uint64) []uint64 {
	return []uint64{spec.PasidP.Put(1) | spec.PasidPGTT.Put(spec.PGTTFirst), spec.PasidDID.Put(did) | spec.PasidPWSNP.Put(1), uint64(fs), 0, 0, 0, 0, 0}
}

func nestedEntry(fs, ss emu.PA, did uint64) []uint64 {
	e := firstEntry(fs, did)
	spec.PasidPGTT.Set(e, spec.PGTTNested)
	spec.PasidAW.Set(e, spec.AW48)
	spec.PasidSSADE.Set(e, 1)
	e[0] |= uint64(ss)
	return e
}

// What the descriptors select.
func pasidCache(did uint32) Step {
	return Sync("PASID cache", emu.Selector{Caches: emu.CachePASID.Set(), Match: emu.MatchDomain | emu.MatchPASID, Domain: did})
}

const translations = 1<<emu.CacheIOTLB | 1<<emu.CacheWalk | 1<<emu.CacheStage2 | 1<<emu.CacheWalk2

func byPASID(did uint32, pages bool) Step {
	s := emu.Selector{Caches: translations, Match: emu.MatchDomain | emu.MatchPASID | emu.MatchClass, Domain: did,
		Classes: 1<<vtd.ClassFS | 1<<vtd.ClassNested}
	if pages {
		s.Match |= emu.MatchAddress
		s.First, s.Last = uint64(iova), uint64(iova)|0xfff
	}
	return Sync("type 6", s)
}

func byDomain(did uint32) Step {
	return Sync("type 2, domain", emu.Selector{Caches: translations, Match: emu.MatchDomain, Domain: did})
}

func byPage(did uint32, first, last uint64) Step {
	return Sync("type 2, page",
		emu.Selector{Caches: translations, Match: emu.MatchDomain | emu.MatchClass | emu.MatchAddress, Domain: did,
			Classes: 1 << vtd.ClassSS, First: first, Last: last},
		emu.Selector{Caches: translations, Match: emu.MatchDomain | emu.MatchClass, Domain: did,
			Classes: 1<<vtd.ClassFS | 1<<vtd.ClassNested})
}

// stageMoves are changes that software may make under DMA. Each is hitless; without its last
// invalidation the old page outlives it where there are caches.
var stageMoves = []struct {
	name string
	make func(w *stages) (entries [][]uint64)
}{
	{"first-stage leaf", func(w *stages) [][]uint64 {
		fs, leaf := w.first(0x5000)
		e := firstEntry(fs, oldDID)
		w.put(w.at, e...)
		w.Program = []Step{Store64("leaf", leaf, 0x6000|fsTable), byPASID(oldDID, true)}
		return [][]uint64{e}
	}},
	{"first-stage table", func(w *stages) [][]uint64 {
		a, _ := w.first(0x5000)
		b, _ := w.first(0x6000)
		old, new := firstEntry(a, oldDID), firstEntry(b, oldDID)
		w.put(w.at, old...)
		w.Program = []Step{Store128("table", w.at+16, new[2], new[3]), pasidCache(oldDID), byPASID(oldDID, false)}
		return [][]uint64{old, new}
	}},
	{"nested, first-stage leaf", func(w *stages) [][]uint64 {
		fs, leaf := w.first(guestPage)
		ss, _ := w.second(0x40_0000_0000)
		e := nestedEntry(fs, ss, oldDID)
		w.put(w.at, e...)
		w.Program = []Step{Store64("leaf", leaf, guestPage+4096|fsTable), byPASID(oldDID, true)}
		return [][]uint64{e}
	}},
	{"nested, second-stage leaf", func(w *stages) [][]uint64 {
		fs, _ := w.first(guestPage)
		ss, leaf := w.second(0x40_0000_0000)
		e := nestedEntry(fs, ss, oldDID)
		w.put(w.at, e...)
		w.Program = []Step{Store64("leaf", leaf, 0x80_0000_0000|large|ssTable), byPage(oldDID, 1<<30, 2<<30-1)}
		return [][]uint64{e}
	}},
	{"nested, first-stage table", func(w *stages) [][]uint64 {
		a, _ := w.first(guestPage)
		b, _ := w.first(guestPage + 4096)
		ss, _ := w.second(0x40_0000_0000)
		old, new := nestedEntry(a, ss, oldDID), nestedEntry(b, ss, oldDID)
		w.put(w.at, old...)
		w.Program = []Step{Store128("table", w.at+16, new[2], new[3]), pasidCache(oldDID), byPASID(oldDID, false)}
		return [][]uint64{old, new}
	}},
	{"nested, second-stage table and domain", func(w *stages) [][]uint64 {
		fs, _ := w.first(guestPage)
		a, _ := w.second(0x40_0000_0000)
		b, _ := w.second(0x80_0000_0000)
		old, new := nestedEntry(fs, a, oldDID), nestedEntry(fs, b, newDID)
		w.put(w.at, old...)
		w.Program = []Step{Store128("table and domain", w.at, new[0], new[1]), byDomain(oldDID), pasidCache(oldDID)}
		return [][]uint64{old, new}
	}},
}

func TestStages_EachStageCanBeMovedUnderDMA(t *testing.T) {
	for _, m := range stageMoves {
		for _, cached := range []bool{true, false} {
			name := m.name + ", without caches"
			if cached {
				name = m.name
			}
			t.Run(name, func(t *testing.T) {
				w := newStages(t, cached)
				entries := m.make(w)
				rep, err := Explore(&w.Scenario)
				require.NoError(t, err)
				require.Len(t, rep.Old, 1)
				require.Len(t, rep.New, 1)
				pages := []emu.PA{rep.Old[0].PA, rep.New[0].PA}
				require.NotEqual(t, pages[0], pages[1])
				var versions []uint64
				for _, e := range entries {
					versions = append(versions, vtd.PASIDVersion(e))
				}
				for i := range rep.All {
					s := &rep.All[i]
					require.Equal(t, emu.OK, s.Status, Timeline(&w.Scenario, s))
					require.Contains(t, pages, s.PA, Timeline(&w.Scenario, s))
					require.Contains(t, versions, s.Prov.Entry)
					require.Contains(t, versions, s.Prov.Fill)
				}
				require.Empty(t, rep.Stale())
				require.Empty(t, rep.Torn(w.at, entries...))
				if !cached { // with caches the simplest ways are hits
					require.Contains(t, strings.Join(rep.All[0].Path, "\n"), "mark ", "flags are set on the way")
				}

				w.Program = w.Program[:len(w.Program)-1]
				rep, err = Explore(&w.Scenario)
				require.NoError(t, err)
				require.Equal(t, cached, len(rep.Stale()) > 0, "without the last invalidation")
			})
		}
	}
}

// Table and domain of a first stage lie in parts that are read one after the other.
func TestVTDQuirk45_FirstStageWithNewDomainIsTorn(t *testing.T) {
	for _, low := range []bool{true, false} {
		for _, cached := range []bool{true, false} {
			w := newStages(t, cached)
			a, _ := w.first(0x5000)
			b, _ := w.first(0x6000)
			old, new := firstEntry(a, oldDID), firstEntry(b, newDID)
			w.put(w.at, old...)
			w.Program = []Step{
				Store128("first part", w.at, new[0], new[1]), Store128("second part", w.at+16, new[2], new[3]),
				pasidCache(oldDID), pasidCache(newDID), byPASID(oldDID, false),
			}
			if !low {
				w.Program[0], w.Program[1] = w.Program[1], w.Program[0]
			}
			rep, err := Explore(&w.Scenario)
			require.NoError(t, err)
			torn := rep.Torn(w.at, old, new)
			newTable, newDomain := slices.Clone(old), slices.Clone(new) // with what is old besides
			newTable[2], newDomain[2] = new[2], old[2]
			seen := func(e []uint64) bool {
				return slices.ContainsFunc(torn, func(s Seen) bool { return s.Prov.Entry == vtd.PASIDVersion(e) })
			}
			require.True(t, seen(newTable), "the parts are read in ascending order")
			require.Equal(t, low, seen(newDomain))
			require.Empty(t, rep.Torn(w.at, old, newTable, newDomain, new), "nothing else comes of it")
			// Under the new domain the old page outlives the rewrite: nobody invalidates what was never
			// meant to be there.
			require.Equal(t, low && cached, len(rep.Stale()) > 0)
		}
	}
}

// FSPTPTR changes its meaning with the type: half an entry walks tables that are none.
func TestVTDQuirk43_FirstStageToNestedIsTorn(t *testing.T) {
	w := newStages(t, false)
	fs, _ := w.first(0x5000)
	guest, _ := w.first(guestPage)
	ss, _ := w.second(0x40_0000_0000)
	old, new := firstEntry(fs, oldDID), nestedEntry(guest, ss, newDID)
	w.put(w.at, old...)
	w.Program = []Step{
		Store128("first part", w.at, new[0], new[1]), Store128("second part", w.at+16, new[2], new[3]),
		pasidCache(oldDID), byPASID(oldDID, false),
	}
	rep, err := Explore(&w.Scenario)
	require.NoError(t, err)
	require.EqualValues(t, 0x5000, rep.Old[0].PA)
	require.EqualValues(t, 0x40_0000_5000, rep.New[0].PA)
	out := rep.Outside()
	require.NotEmpty(t, out)
	require.True(t, slices.ContainsFunc(out, func(s Seen) bool { return s.Status == emu.OK && s.PA == 0x5000 }),
		"the page of the old table, taken as an address of the guest")
}
