package amdvi_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// The caches of nested translation, and what drops them.
func TestInvalidationOfGuestTranslations(t *testing.T) {
	fetched := func(r *rig, p emu.PASID) int {
		q := dma(emu.Read)
		q.PASID = p
		s := r.Begin(q)
		r.RequireOK(s.End(), 0x7000+uint64(p)<<12)
		sizes, _ := fetched(s)
		return len(sizes)
	}
	for _, c := range []struct {
		name string
		mode uint64
		w    [2]uint64
		want [2]int // memory reads of PASID 5 and 6 afterwards
	}{
		{"this page of this PASID", 0, invGuest(did, 5, iova), [2]int{1, 0}},
		{"another page", 0, invGuest(did, 5, iova+4096), [2]int{0, 0}},
		{"another domain", 0, invGuest(did+1, 5, spec.AllPages|invS|invPDE), [2]int{0, 0}},
		{"all of this PASID", 0, invGuest(did, 5, spec.AllPages|invS), [2]int{1, 0}},
		{"all of this PASID, tables too", 0, invGuest(did, 5, spec.AllPages|invS|invPDE), [2]int{5, 0}},
		{"host pages, no host table", 0, invPages(did, spec.AllPages|invS|invPDE), [2]int{0, 0}},
		{"all of this PASID, nested", 3, invGuest(did, 5, spec.AllPages|invS|invPDE), [2]int{5, 0}},
		{"host page elsewhere", 3, invPages(did, 0x1000), [2]int{1, 1}},
		{"all host pages", 3, invPages(did, spec.AllPages|invS), [2]int{3, 3}},
		// GCR3 entry; four guest entries and a page, behind host walks of which the first has three reads and
		// the others, in the same 2 MiB, one.
		{"all host pages, tables too", 3, invPages(did, spec.AllPages|invS|invPDE), [2]int{1 + 4 + 3 + 4, 1 + 4 + 5}},
		{"device", 0, invDevtab(dev), [2]int{1, 0}},
	} {
		r := fullRig(t)
		g := r.guests(4, 0, c.mode)
		for p := uint64(5); p <= 6; p++ {
			g.gmap(p, iova, 0x7000+p<<12, gAll)
			r.RequireOK(r.pasidAccess(emu.PASID(p), iova, emu.Read), 0x7000+p<<12)
		}
		r.submit(c.w)
		got := [2]int{fetched(r, 5), fetched(r, 6)}
		require.Equal(t, c.want, got, c.name)
	}
}

// A cached nested translation does not tell which stage denies a right: the walk does.
func TestNestedHitWithoutTheRightIsWalked(t *testing.T) {
	for _, host := range []bool{false, true} {
		r := fullRig(t)
		g := r.guests(4, 0, 3)
		at := g.gmap(5, iova, 0x7000, gAll)
		if host {
			page := r.pte(g.host, 3, r.Get(at)&spec.GptAddr.Mask(), 1)
			r.Put(page, r.Get(page)&^iw)
		} else {
			r.Put(at, r.Get(at)&^gRW)
		}
		r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
		res := r.pasidAccess(5, iova, emu.Write)
		if host {
			r.RequireFault(res, amdvi.FaultPermission)
			require.Equal(t, fPR|fPE|fRW, flags(r.event()))
		} else {
			r.RequireFault(res, amdvi.FaultGuestPermission)
			require.Equal(t, fGN|fUS|fPR|fPE|fRW, flags(r.event()))
		}
	}
}

func TestPASIDBeyondPASmax(t *testing.T) {
	r := newRig(t).enable() // 16 bits, two levels
	g := r.guests(4, 1, 0)
	g.gmap(0xffff, iova, 0x7000, gAll)
	r.RequireOK(r.pasidAccess(0xffff, iova, emu.Read), 0x7000)
	r.RequireFault(r.pasidAccess(0x1_0000, iova, emu.Read), amdvi.FaultPASIDRange)
}

func TestStaleGCR3EntryUntilItsPASIDIsInvalidated(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 0)
	g.gmap(5, iova, 0x7000, gAll)
	g.gmap(6, iova, 0x8000, gAll)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
	r.Put(g.slot(5), r.Get(g.slot(6)))
	far := iova + 1<<39 // nothing cached but the GCR3 entry
	r.RequireFault(r.pasidAccess(5, far, emu.Read), amdvi.FaultGuestNotPresent)
	r.submit(invGuest(did, 5, spec.AllPages|invS))
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
	r.submit(invGuest(did, 5, spec.AllPages|invS|invPDE))
	res := r.pasidAccess(5, iova, emu.Read)
	r.RequireOK(res, 0x8000)
	require.Equal(t, amdvi.GCR3Version(r.Get(g.slot(6))), res.Prov.Entry)
}

func TestTranslationRequestsOfGuests(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 0, mode, field{spec.DteI, 1}, had(spec.HADAD))
		at := g.gmap(5, iova, 0x7000, gP|gUS)
		q := dma(emu.RW)
		q.PASID, q.Type = 5, emu.TranslationReq
		for range 2 {
			res := r.Do(q)
			r.RequireOK(res, 0x7000)
			require.Equal(t, emu.Read, res.Perm)
		}
		q.Access |= emu.Exec
		require.Equal(t, emu.Read|emu.Exec, r.Do(q).Perm)
		require.EqualValues(t, gA, r.Get(at)&(gA|gD))
		r.Put(at, r.Get(at)&^gUS)
		r.submit(invAll())
		require.Zero(t, r.Do(q).Perm, "user request, supervisor page")
		q.Access |= emu.Priv
		require.Equal(t, emu.Read|emu.Exec|emu.Priv, r.Do(q).Perm)
		r.Put(at, r.Get(at)|gRW)
		r.submit(invAll())
		require.Equal(t, emu.RW|emu.Exec|emu.Priv, r.Do(q).Perm)
		require.EqualValues(t, gA|gD, r.Get(at)&(gA|gD), "it may write from now on")
		if mode != 0 {
			page := r.pte(g.host, 3, r.Get(at)&spec.GptAddr.Mask(), 1)
			require.EqualValues(t, pteA|pteD, r.Get(page)&(pteA|pteD))
		}
		require.Empty(t, r.events())
	}
}

func TestVersions(t *testing.T) {
	base := spec.DTE{3 | irw | 3<<9 | 0x1234_5000, did}
	v := amdvi.DTEVersion(base[:])
	same := func(d spec.DTE, change func(*spec.DTE)) bool {
		v := amdvi.DTEVersion(d[:])
		change(&d)
		return amdvi.DTEVersion(d[:]) == v
	}
	set := func(b interface{ Set([]uint64, uint64) }, v uint64) func(*spec.DTE) {
		return func(d *spec.DTE) { b.Set(d[:], v) }
	}
	guest := base
	spec.DteGV.Set(guest[:], 1)
	guest.SetGCR3Root(0x77_7000)
	for name, c := range map[string]struct {
		d      spec.DTE
		change func(*spec.DTE)
		same   bool
	}{
		"V":                      {base, set(spec.DteV, 0), false},
		"TV":                     {base, set(spec.DteTV, 0), false},
		"Mode":                   {base, set(spec.DteMode, 4), false},
		"root":                   {base, set(spec.DteHostRoot, 1), false},
		"IR":                     {base, set(spec.DteIR, 0), false},
		"IW":                     {base, set(spec.DteIW, 0), false},
		"domain":                 {base, set(spec.DteDomainID, 8), false},
		"EX":                     {base, set(spec.DteEX, 1), false},
		"GV":                     {base, set(spec.DteGV, 1), false},
		"I":                      {base, set(spec.DteI, 1), true},
		"HAD":                    {base, set(spec.DteHAD, 3), true},
		"SE":                     {base, set(spec.DteSE, 1), true},
		"interrupts":             {base, set(spec.DteIV, 1), true},
		"GuestPagingMode unused": {base, set(spec.DteGuestPagingMode, 1), true},
		"GCR3 unused":            {base, func(d *spec.DTE) { d.SetGCR3Root(0x1000) }, true},
		"GCR3":                   {guest, func(d *spec.DTE) { d.SetGCR3Root(0x77_6000) }, false},
		"GCR3 bit 30":            {guest, func(d *spec.DTE) { d.SetGCR3Root(0x4077_7000) }, false},
		"GCR3 bit 51":            {guest, func(d *spec.DTE) { d.SetGCR3Root(0x8_0000_0077_7000) }, false},
		"EX of guest":            {guest, set(spec.DteEX, 1), false},
		"IW of guest":            {guest, set(spec.DteIW, 0), false},
		"mode of guest":          {guest, set(spec.DteMode, 4), false},
		"SE of guest":            {guest, set(spec.DteSE, 1), true},
		"GLX":                    {guest, set(spec.DteGLX, 1), false},
		"GIoV":                   {guest, set(spec.DteGIoV, 1), false},
		"GuestPagingMode":        {guest, set(spec.DteGuestPagingMode, 1), false},
		"root below guest":       {guest, set(spec.DteHostRoot, 1), false},
		"domain of guest":        {guest, set(spec.DteDomainID, 8), false},
		"V=0":                    {spec.DTE{}, set(spec.DteHostRoot, 9), true},
		"TV=0":                   {spec.DTE{1}, set(spec.DteHostRoot, 9), true},
		"identity":               {spec.DTE{3 | irw, did}, set(spec.DteHostRoot, 9), true},
	} {
		require.Equal(t, c.same, same(c.d, c.change), name)
	}
	require.NotEqual(t, v, amdvi.GCR3Version(0x1234_5001))
	require.NotEqual(t, amdvi.GCR3Version(0x1000), amdvi.GCR3Version(0x1001))
}

// With NpCache what is not present is cached, too: a page that is mapped needs an invalidation. Without,
// it needs none.
func TestNpCache(t *testing.T) {
	type world struct {
		find  func() emu.Result
		fill  func() // maps what is missing
		inv   [2]uint64
		event uint64 // address in the event
		gn    bool
	}
	host := func(level int) func(r *rig) world {
		return func(r *rig) world {
			top := r.attach(dev, 3)
			at := r.pte(top, 3, iova, level)
			return world{
				find: func() emu.Result { return r.Access(dev, iova, emu.Read) },
				fill: func() { r.Put(at, 0); r.mapPage(top, iova, 0x5000, pRW) },
				inv:  invPages(did, iova), event: iova,
			}
		}
	}
	for name, make := range map[string]func(r *rig) world{
		"host page": host(1), "host table": host(2),
		"guest page": func(r *rig) world {
			g := r.guests(4, 1, 0)
			at := g.gpte(5, iova, 1)
			return world{
				find: func() emu.Result { return r.pasidAccess(5, iova, emu.Read) },
				fill: func() { r.Put(at, 0x5000|gAll) },
				inv:  invGuest(did, 5, iova), event: iova, gn: true,
			}
		},
		"nested, guest page": func(r *rig) world {
			g := r.guests(4, 1, 3)
			g.gpte(5, iova, 1)
			return world{
				find: func() emu.Result { return r.pasidAccess(5, iova, emu.Read) },
				fill: func() { g.gmap(5, iova, 0x5000, gAll) },
				inv:  invGuest(did, 5, iova), event: iova, gn: true,
			}
		},
		"nested, host page": func(r *rig) world {
			g := r.guests(4, 1, 3)
			at := g.gmap(5, iova, 0x5000, gAll)
			gpa := r.Get(at) & spec.GptAddr.Mask()
			page := r.pte(g.host, 3, gpa, 1)
			r.Put(page, 0)
			return world{
				find: func() emu.Result { return r.pasidAccess(5, iova, emu.Read) },
				fill: func() { r.Put(page, 0x5000|pRW) },
				inv:  invPages(did, gpa), event: gpa,
			}
		},
	} {
		for _, np := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, NpCache %v", name, np), func(t *testing.T) {
				r := fullRig(t, func(c *amdvi.Config) { c.NpCache = np })
				w := make(r)
				absent := func() {
					res := w.find()
					require.Equal(t, emu.Blocked, res.Status)
					require.Contains(t, []uint16{amdvi.FaultNotPresent, amdvi.FaultGuestNotPresent}, res.Fault.Code)
					e := r.event()
					require.Equal(t, w.event, e[1])
					require.Equal(t, w.gn, spec.EvtGN.On(e[0]))
				}
				absent()
				absent()
				w.fill()
				if np {
					absent()
					r.submit(w.inv)
				}
				r.RequireOK(w.find(), 0x5000)
				require.Equal(t, np, r.u.ReadConfig(r.capability(spec.CapID)+3, 1)&4 != 0)
			})
		}
	}
}
