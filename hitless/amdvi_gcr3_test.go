package hitless

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// A PASID moves to another domain by one store to its GCR3 table entry. The entry is cached with the
// paging structures: an invalidation that leaves those leaves it.
func TestAMDGCR3_OneStoreMovesAPASID(t *testing.T) {
	for _, cached := range []bool{true, false} {
		for _, inv := range []struct {
			name  string
			list  [][2]uint64
			stale bool
		}{
			{"all with PDE", [][2]uint64{amdAll(amdOldID, true, amdPASID)}, false},
			{"the DTE and all with PDE", [][2]uint64{amdDevtab(), amdAll(amdOldID, true, amdPASID)}, false},
			{"without PDE", [][2]uint64{cleared(amdAll(amdOldID, true, amdPASID), spec.IpPDE.Mask())}, true},
			{"another PASID", [][2]uint64{amdAll(amdOldID, true, amdPASID+1)}, true},
			{"host addresses", [][2]uint64{amdAll(amdOldID, false, 0)}, true},
			{"the DTE", [][2]uint64{amdDevtab()}, true},
		} {
			w := newAMDWorld(t, amdConfig(cached))
			e := amdV2(4)(w, amdOldID, 1<<20)
			w.put(e)
			at := emu.PA(e.GCR3Root()) + emu.PA(amdPASID)*8
			old := w.Load64(at)
			cr3, _ := w.table(pagetable.X86{Preset: true}, w, w.frames, 4, map[emu.IOVA]emu.PA{iova: 2 << 20})
			p, err := entry.AMDVi{}.GCR3().Plan([]uint64{old}, []uint64{uint64(cr3) | 1}, entry.Means{})
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, p.Verdict)
			sc := Scenario{Unit: w.unit, Memory: w.mem, Request: emu.Request{
				Addr: iova, Source: sid, PASID: amdPASID, Len: 8, Access: emu.Write,
			}}
			sc.Program = w.Record(func() {
				w.Store64(at, p.Steps[0].Value[0])
				w.commands(inv.list...)
			})
			w.Functional.Store64(at, old)
			rep, err := Explore(&sc)
			require.NoError(t, err)
			require.Len(t, rep.Old, 1)
			require.Len(t, rep.New, 1)
			require.Equal(t, []emu.PA{1 << 20, 2 << 20}, []emu.PA{rep.Old[0].PA, rep.New[0].PA})
			require.Empty(t, rep.Outside())
			require.Empty(t, rep.Torn(at, []uint64{old}, p.States[0]))
			require.Equal(t, inv.stale && cached, len(rep.Stale()) > 0, inv.name)
		}
	}
}

func cleared(c [2]uint64, bits uint64) [2]uint64 {
	c[1] &^= bits
	return c
}

// Bits that the format calls unused change nothing: what a request of any kind ends with is the same.
func TestAMDFormat_UnusedBitsDoNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	w := newAMDWorld(t, amdConfig(false))
	f := amdFormat(w.unit)
	ends := []amdEnd{amdIdentity, amdV1, amdV2(4), amdV2(5)}
	var made []spec.DTE
	for _, end := range ends {
		e := end(w, amdOldID, 1<<20)
		made = append(made, e)
		for _, m := range []uint64{spec.DteTV.Mask(), spec.DteV.Mask(), amdRights, spec.DteGV.Mask(), spec.DteMode.Mask()} {
			x := e
			x[0] &^= m
			made = append(made, x)
		}
		spec.DteI.Set(e[:], 1)
		made = append(made, e)
	}
	requests := []emu.Request{
		{Addr: iova, PASID: emu.NoPASID, Len: 8, Access: emu.Read}, {Addr: iova, PASID: amdPASID, Len: 8, Access: emu.Write},
		{Addr: iova, PASID: emu.NoPASID, Len: 8, Access: emu.Read, Type: emu.Translated},
		{Addr: iova, PASID: emu.NoPASID, Len: 8, Access: emu.Read, Type: emu.TranslationReq},
		{Addr: 0xfee0_0000, PASID: emu.NoPASID, Len: 4, Access: emu.Write},
	}
	end := func(e []uint64, q emu.Request) emu.Result {
		w.put(spec.DTE(e))
		q.Source = sid
		var res emu.Result
		w.Translate(&q, &res)
		res.Prov, res.Touched = emu.Provenance{}, 0
		return res
	}
	for _, e := range made {
		require.NoError(t, f.Legal(e[:]))
		mask := make([]uint64, 4)
		f.Used(e[:], mask)
		again := make([]uint64, 4)
		for range 40 {
			x := e
			for i := range x {
				x[i] ^= r.Uint64() &^ mask[i]
			}
			clear(again)
			f.Used(x[:], again)
			require.Equal(t, mask, again, "what is used depends on what is used")
			require.True(t, f.Same(e[:], x[:]))
			for _, q := range requests {
				require.Equal(t, end(e[:], q), end(x[:], q), "%#x and %#x, request %+v", e, x, q)
			}
			require.Equal(t, amdvi.DTEVersion(e[:]), amdvi.DTEVersion(x[:]))
		}
	}
}
