package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

var giov = field{spec.DteGIoV, 1}

// fullRig is a unit with everything that the widest configuration has.
func fullRig(t testing.TB, change ...func(*amdvi.Config)) *rig {
	c, err := amdvi.Preset("full")
	require.NoError(t, err)
	return newRig(t, append([]func(*amdvi.Config){func(p *amdvi.Config) { *p = c }}, change...)...).enable()
}

func TestGuestTranslation(t *testing.T) {
	for _, levels := range []int{4, 5} {
		for glx := range uint64(3) {
			for _, mode := range []uint64{0, 3} {
				for _, c := range []func(*amdvi.Config){func(*amdvi.Config) {}, noCaches} {
					r := fullRig(t, c)
					g := r.guests(levels, glx, mode)
					p := min(uint64(0x4_5678), 1<<(9*(glx+1))-1)
					addr := iova | uint64(5)<<38
					at := g.gmap(p, addr, 0x7000, gAll)
					for range 2 {
						res := r.pasidAccess(emu.PASID(p), addr+8, emu.Write)
						r.ok(res, 0x7008)
						require.EqualValues(t, 12, res.Lg2)
						require.Equal(t, emu.RW|emu.Exec, res.Perm)
						require.Equal(t, at, res.Prov.Leaf)
						require.Equal(t, mode != 0, res.Prov.Leaf2 != 0)
						require.Equal(t, amdvi.GCR3Version(r.get(g.slot(p))), res.Prov.Entry)
						require.Equal(t, res.Prov.Entry, res.Prov.Fill)
					}
					require.EqualValues(t, gA|gD, r.get(at)&(gA|gD))
					require.EqualValues(t, gA, r.get(g.gpte(p, addr, 2))&(gA|gD))
				}
			}
		}
	}
}

// Memory reads without caches: GCR3 table, then each guest level behind a host walk, then the host walk
// of the page.
func TestNestedWalkReadsWhatTheFormulaSays(t *testing.T) {
	for _, trp := range []bool{false, true} {
		for _, glx := range []uint64{0, 2} {
			r := fullRig(t, noCaches)
			g := r.guests(4, glx, 3)
			if trp {
				r.control(true, spec.CtlGCR3TRPMode)
			}
			p := uint64(3)
			g.gmap(p, iova, 0x7000, gAll|gA|gD)
			for l := 2; l <= 4; l++ {
				at := g.gpte(p, iova, l)
				r.put(at, r.get(at)|gA)
			}
			if trp { // the GCR3 tables as the guest sees them: identity
				for table := g.gcr3; ; {
					r.mapPage(g.host, table&^0xfff, table&^0xfff, pRW)
					if table == uint64(g.slot(p))&^0xfff {
						break
					}
					table = r.get(emu.PA(table)) &^ 0xfff
				}
			}
			s := r.begin(emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: emu.PASID(p), Len: 8, Access: emu.Read})
			r.ok(s.end(), 0x7000)
			sizes, _ := s.fetches()
			const m, levels = 3, 4
			slots := (int(glx) + 1)
			if trp {
				slots *= m + 1
			}
			require.Len(t, sizes, 1+slots+levels*(m+1)+m, "trp %v glx %d", trp, glx)
		}
	}
}

func TestGuestPageSizes(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		for level, lg2 := range map[int]uint8{1: 12, 2: 21, 3: 30} {
			r := fullRig(t)
			g := r.guests(4, 0, mode, giov)
			at := g.gpte(0, iova, level)
			var gpa uint64 = 3 << 30
			e := gpa | gAll
			if level > 1 {
				e |= gPS | 1<<12 // PAT is no address bit
			}
			r.put(at, e)
			off := iova & (1<<lg2 - 1)
			want := lg2
			if mode != 0 { // a host page of 8 KiB below it
				want = min(lg2, 13)
				for _, page := range []uint64{0, 1} {
					r.put(r.pte(g.host, 3, gpa+off&^0x1fff+page<<12, 1), spec.PageSizeAddr(0x80_0000_0000+off, 13)|pRW|nextLevel(7))
				}
			}
			pa := gpa + off
			if mode != 0 {
				pa = 0x80_0000_0000 + off
			}
			for range 2 {
				res := r.access(dev, iova, emu.Read)
				r.ok(res, pa)
				require.Equal(t, want, res.Lg2, "mode %d level %d", mode, level)
			}
		}
	}
}

func TestGuestRights(t *testing.T) {
	// Who may do what, by what the entries of one level have.
	for _, c := range []struct {
		bits  uint64
		user  emu.Access
		super emu.Access
	}{
		{gAll, emu.RW | emu.Exec, emu.RW | emu.Exec},
		{gP | gUS, emu.Read | emu.Exec, emu.Read | emu.Exec},
		{gP | gRW, 0, emu.RW | emu.Exec},
		{gP, 0, emu.Read | emu.Exec},
		{gAll | gNX, emu.RW, emu.RW},
	} {
		for level := 1; level <= 4; level++ {
			for _, mode := range []uint64{0, 3} {
				r := fullRig(t)
				g := r.guests(4, 0, mode)
				g.gmap(5, iova, 0x7000, gAll)
				at := g.gpte(5, iova, level)
				r.put(at, r.get(at)&spec.GptAddr.Mask()|c.bits)
				for range 2 {
					for a, code := range map[emu.Access]uint16{
						emu.Read: amdvi.FaultUser, emu.Write: amdvi.FaultGuestPermission, emu.Read | emu.Exec: amdvi.FaultExec,
					} {
						for _, who := range []struct{ priv, may emu.Access }{{0, c.user}, {emu.Priv, c.super}} {
							res := r.pasidAccess(5, iova, a|who.priv)
							want := code
							if who.may&emu.Read == 0 {
								want = amdvi.FaultUser
							}
							if a&^who.may == 0 {
								r.ok(res, 0x7000)
							} else {
								r.faults(res, want)
							}
						}
					}
				}
			}
		}
	}
}

func pasid(p emu.PASID) func(*emu.Request) { return func(q *emu.Request) { q.PASID = p } }

// gcase sets up guest tables without host tables, PASID 5, with an entry at a level.
func guestEntry(level int, e uint64) func(*rig) {
	return func(r *rig) {
		g := r.guests(4, 0, 0)
		g.gmap(5, iova, 0x7000, gAll)
		r.put(g.gpte(5, iova, level), e)
	}
}

var guestFaults = []faultCase{
	{name: "GTEn=0", code: amdvi.FaultPASIDDisabled, setup: func(r *rig) { r.guests(4, 0, 0); r.control(false, spec.CtlGTEn) }, q: pasid(5), flags: fGN | fUS, id: 5},
	{name: "PASID beyond the GCR3 table", code: amdvi.FaultPASIDRange, setup: func(r *rig) { r.guests(4, 0, 0) }, q: pasid(0x200), flags: fGN | fUS, id: 0x200},
	{name: "guest paging mode", code: amdvi.FaultDTEValue, setup: func(r *rig) { r.guests(6, 0, 0) }, q: pasid(5), flags: fGN, id: 5},
	{name: "GCR3 entry not valid", code: amdvi.FaultGCR3, setup: func(r *rig) { r.guests(4, 0, 0) }, q: all(pasid(5), write), flags: fGN | fUS | fRW, id: 5},
	{name: "GCR3 entry, supervisor", code: amdvi.FaultGCR3, setup: func(r *rig) { r.guests(4, 0, 0) },
		q: all(pasid(5), func(q *emu.Request) { q.Access |= emu.Priv | emu.Exec }), flags: fGN | fNX, id: 5},
	{name: "GCR3 entry of the upper level", code: amdvi.FaultGCR3, setup: func(r *rig) { r.guests(4, 1, 0) }, q: pasid(0x1ff), flags: fGN | fUS, id: 0x1ff},
	{name: "reserved in the GCR3 entry", code: amdvi.FaultGCR3Reserved, setup: func(r *rig) { g := r.guests(4, 0, 0); r.put(g.slot(5), 1|2) }, q: pasid(5), flags: fGN | fUS | fPR | fRZ, id: 5},
	{name: "GCR3 table not readable", code: amdvi.FaultGCR3Read, setup: func(r *rig) { g := r.guests(4, 0, 0); busError(r, g.slot(5), 8) }, q: pasid(5),
		flags: fGN | 1<<57, id: 5, at: func(r *rig) uint64 { return uint64(r.gcr3Slot(5)) }},
	{name: "not canonical", code: amdvi.FaultCanonical, setup: guestEntry(1, 0), q: all(pasid(5), addr(1<<47)), flags: fGN | fUS, id: 5},
	{name: "guest page not present", code: amdvi.FaultGuestNotPresent, setup: guestEntry(1, 0), q: pasid(5), flags: fGN | fUS, id: 5},
	{name: "guest table not present", code: amdvi.FaultGuestNotPresent, setup: guestEntry(3, gRW), q: all(pasid(5), write), flags: fGN | fUS | fRW, id: 5},
	{name: "PS at the top", code: amdvi.FaultGuestReserved, setup: guestEntry(4, gAll|gPS), q: pasid(5), flags: fGN | fUS | fPR | fRZ, id: 5},
	{name: "address bits of a large page", code: amdvi.FaultGuestReserved, setup: guestEntry(2, gAll|gPS|1<<13), q: pasid(5), flags: fGN | fUS | fPR | fRZ, id: 5},
	{name: "write to a read-only page", code: amdvi.FaultGuestPermission, setup: guestEntry(1, gP|gUS), q: all(pasid(5), write), flags: fGN | fUS | fPR | fPE | fRW, id: 5},
	{name: "supervisor page", code: amdvi.FaultUser, setup: guestEntry(1, gP|gRW), q: pasid(5), flags: fGN | fUS | fPR | fPE, id: 5},
	{name: "execute", code: amdvi.FaultExec, setup: guestEntry(1, gAll|gNX), q: all(pasid(5), func(q *emu.Request) { q.Access |= emu.Exec }), flags: fGN | fNX | fUS | fPR | fPE, id: 5},
	{name: "20 bits of PASID", code: amdvi.FaultGCR3, setup: func(r *rig) { r.guests(4, 2, 0) }, q: pasid(0xf_1234), flags: fGN | fUS, id: 0x1234, hi: 0xf},
	{name: "rights of the DTE", code: amdvi.FaultPermission, setup: func(r *rig) { r.guests(4, 0, 0, field{spec.DteIR, 0}) }, q: pasid(5), flags: fGN | fUS | fPR | fPE, id: 5},
	{name: "without PASID, GIoV", code: amdvi.FaultGCR3, setup: func(r *rig) { r.guests(4, 0, 0, giov) }, q: func(*emu.Request) {}, flags: fGN | fUS, id: 0},
	{name: "guest table not readable", code: amdvi.FaultGuestRead, setup: func(r *rig) {
		g := r.guests(4, 0, 0)
		busError(r, g.gpte(5, iova, 4), 8)
	}, q: pasid(5), flags: fGN | 1<<57, id: 5, at: func(r *rig) uint64 { return r.get(r.gcr3Slot(5))&^0xfff + iova>>39*8 }},

	// Below guest tables the fault of the host table shows the guest physical address.
	{name: "host entry of a guest table", code: amdvi.FaultNotPresent, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		g.gmap(5, iova, 0x7000, gAll)
		r.put(r.pte(g.host, 3, r.get(g.slot(5))&^0xfff, 1), 0)
	}, q: all(pasid(5), write), flags: 0, id: did, at: func(r *rig) uint64 { return r.get(r.gcr3Slot(5))&^0xfff + iova>>39*8 }},
	{name: "host entry of the page", code: amdvi.FaultPermission, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		at := g.gmap(5, iova, 0x7000, gAll)
		r.put(r.pte(g.host, 3, r.get(at)&^0xfff, 1), 0x7000|pr|ir)
	}, q: all(pasid(5), write), flags: fPR | fPE | fRW, id: did, at: func(r *rig) uint64 { return 0x4000_5000 }},
	{name: "host page of a guest table not writable", code: amdvi.FaultPermission, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		g.gmap(5, iova, 0x7000, gAll)
		root := r.get(g.slot(5)) &^ 0xfff
		r.put(r.pte(g.host, 3, root, 1), uint64(g.spa(root))|pr|ir)
	}, q: pasid(5), flags: fPR | fPE | fRW, id: did, at: func(r *rig) uint64 { return r.get(r.gcr3Slot(5))&^0xfff + iova>>39*8 }},
	{name: "guest physical address beyond the host table", code: amdvi.FaultAddress, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		r.put(g.gmap(5, iova, 0x7000, gAll), 1<<39|gAll)
	}, q: pasid(5), id: did, at: func(*rig) uint64 { return 1 << 39 }},
}

// gcr3Slot returns where the entry of p in a GCR3 table of one level is.
func (r *rig) gcr3Slot(p uint64) emu.PA {
	e := spec.DTE{r.get(r.dte(dev)), r.get(r.dte(dev) + 8)}
	return emu.PA(e.GCR3Root() + p*8)
}

func TestGuestFaultsAndTheirEvents(t *testing.T) {
	for _, c := range guestFaults {
		for name, change := range map[string]func(*amdvi.Config){"": func(*amdvi.Config) {}, ", no caches": noCaches} {
			t.Run(c.name+name, func(t *testing.T) { fullRig(t, change).run(t, &c) })
		}
	}
}

func TestAMDQuirk15_RequestsWithoutPASIDAreNotSignExtended(t *testing.T) {
	for levels, width := range map[int]uint{4: 48, 5: 57} {
		r := fullRig(t)
		g := r.guests(levels, 0, 0, giov)
		high := uint64(1)<<(width-1) | iova
		g.gmap(0, high, 0x7000, gAll)
		r.ok(r.access(dev, high, emu.Read), 0x7000)
		r.faults(r.access(dev, high|^uint64(0)<<width, emu.Read), amdvi.FaultCanonical)
		r.faults(r.access(dev, high|1<<width, emu.Read), amdvi.FaultCanonical)
		// With a PASID it is the other way round.
		r.faults(r.pasidAccess(0, high, emu.Read), amdvi.FaultCanonical)
		r.ok(r.pasidAccess(0, high|^uint64(0)<<width, emu.Read), 0x7000)
	}
}

func TestAMDQuirk16_WithoutGIoVOnlyRequestsWithPASIDUseGuestTables(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 0)
	g.gmap(0, iova, 0x7000, gAll)
	r.ok(r.access(dev, iova, emu.Read), iova) // identity
	r.ok(r.pasidAccess(0, iova, emu.Read), 0x7000)

	r = fullRig(t)
	g = r.guests(4, 0, 3)
	g.gmap(0, iova, 0x7000, gAll)
	r.faults(r.access(dev, iova, emu.Read), amdvi.FaultNotPresent)
	r.mapPage(g.host, iova, 0x9000, pRW)
	r.ok(r.access(dev, iova, emu.Read), 0x9000)
	r.ok(r.pasidAccess(0, iova, emu.Read), 0x7000)

	// GIoV counts only with guest translation on.
	r = fullRig(t)
	g = r.guests(4, 0, 0, giov)
	g.gmap(0, iova, 0x7000, gAll)
	r.ok(r.access(dev, iova, emu.Read), 0x7000)
	r.control(false, spec.CtlGTEn)
	r.ok(r.access(dev, iova, emu.Read), iova)
}

func TestAMDQuirk17_GuestTablesAreAtGuestPhysicalAddresses(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 1, 3)
	g.gmap(0x345, iova, 0x7000, gAll)
	r.ok(r.pasidAccess(0x345, iova, emu.Read), 0x7000) // the GCR3 tables are at system physical ones

	// With GCR3TRPMode they are not: as nothing maps them, that is a fault of the host table.
	r.control(true, spec.CtlGCR3TRPMode)
	r.submit(invAll())
	r.faults(r.pasidAccess(0x345, iova, emu.Read), amdvi.FaultNotPresent)
	e := r.event()
	require.Equal(t, g.gcr3+8, e[1])
	require.Zero(t, flags(e)&fGN)
	upper := r.get(emu.PA(g.gcr3)+8) &^ 0xfff
	r.mapPage(g.host, g.gcr3, g.gcr3, pRW)
	r.mapPage(g.host, upper, upper, pRW)
	r.ok(r.pasidAccess(0x345, iova, emu.Read), 0x7000)
}

func TestGuestFlagUpdatesCanBeTurnedOff(t *testing.T) {
	for _, c := range []struct {
		off  []field
		want uint64
	}{
		{nil, gA | gD}, {[]field{{spec.CtlGDUpdateDis, 1}}, gA}, {[]field{{spec.CtlGAUpdateDis, 1}}, gD},
		{[]field{{spec.CtlGDUpdateDis, 1}, {spec.CtlGAUpdateDis, 1}}, 0},
	} {
		r := fullRig(t)
		for _, f := range c.off {
			r.control(true, f.b)
		}
		g := r.guests(4, 0, 0)
		at := g.gmap(5, iova, 0x7000, gAll)
		r.ok(r.pasidAccess(5, iova, emu.Read), 0x7000)
		require.Equal(t, c.want&gA, r.get(at)&(gA|gD))
		r.ok(r.pasidAccess(5, iova, emu.Write), 0x7000)
		require.Equal(t, c.want, r.get(at)&(gA|gD))
	}
}

func TestNestedDirtyFlags(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 3, had(spec.HADAD))
	at := g.gmap(5, iova, 0x7000, gAll)
	page := r.pte(g.host, 3, r.get(at)&^0xfff, 1)
	table := r.pte(g.host, 3, g.next-emu.PageSize, 1) // of the page's entry
	r.ok(r.pasidAccess(5, iova, emu.Read), 0x7000)
	require.EqualValues(t, pteA, r.get(page)&(pteA|pteD))
	require.EqualValues(t, pteA|pteD, r.get(table)&(pteA|pteD), "the accessed flag was stored there")
	require.EqualValues(t, gA, r.get(at)&(gA|gD))
	r.ok(r.pasidAccess(5, iova, emu.Write), 0x7000)
	require.EqualValues(t, pteA|pteD, r.get(page)&(pteA|pteD))
	require.EqualValues(t, gA|gD, r.get(at)&(gA|gD))
}

func TestGuestFlagUpdateLosesNoConcurrentStore(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 0, mode)
		at := g.gmap(5, iova, 0x7000, gAll)
		other := g.gmap(5, iova+4096, 0x8000, gAll)
		q := dma(emu.Write)
		q.PASID = 5
		s := r.begin(q)
		s.until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
		r.put(at, r.get(other))
		r.ok(s.end(), 0x8000)
		require.Equal(t, r.get(other)|gA|gD, r.get(at))
	}
}

// The caches of nested translation, and what drops them.
func TestInvalidationOfGuestTranslations(t *testing.T) {
	fetched := func(r *rig, p emu.PASID) int {
		q := dma(emu.Read)
		q.PASID = p
		s := r.begin(q)
		r.ok(s.end(), 0x7000+uint64(p)<<12)
		sizes, _ := s.fetches()
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
			r.ok(r.pasidAccess(emu.PASID(p), iova, emu.Read), 0x7000+p<<12)
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
			page := r.pte(g.host, 3, r.get(at)&spec.GptAddr.Mask(), 1)
			r.put(page, r.get(page)&^iw)
		} else {
			r.put(at, r.get(at)&^gRW)
		}
		r.ok(r.pasidAccess(5, iova, emu.Read), 0x7000)
		res := r.pasidAccess(5, iova, emu.Write)
		if host {
			r.faults(res, amdvi.FaultPermission)
			require.Equal(t, fPR|fPE|fRW, flags(r.event()))
		} else {
			r.faults(res, amdvi.FaultGuestPermission)
			require.Equal(t, fGN|fUS|fPR|fPE|fRW, flags(r.event()))
		}
	}
}

func TestPASIDBeyondPASmax(t *testing.T) {
	r := newRig(t).enable() // 16 bits, two levels
	g := r.guests(4, 1, 0)
	g.gmap(0xffff, iova, 0x7000, gAll)
	r.ok(r.pasidAccess(0xffff, iova, emu.Read), 0x7000)
	r.faults(r.pasidAccess(0x1_0000, iova, emu.Read), amdvi.FaultPASIDRange)
}

func TestStaleGCR3EntryUntilItsPASIDIsInvalidated(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 0)
	g.gmap(5, iova, 0x7000, gAll)
	g.gmap(6, iova, 0x8000, gAll)
	r.ok(r.pasidAccess(5, iova, emu.Read), 0x7000)
	r.put(g.slot(5), r.get(g.slot(6)))
	far := iova + 1<<39 // nothing cached but the GCR3 entry
	r.faults(r.pasidAccess(5, far, emu.Read), amdvi.FaultGuestNotPresent)
	r.submit(invGuest(did, 5, spec.AllPages|invS))
	r.ok(r.pasidAccess(5, iova, emu.Read), 0x7000)
	r.submit(invGuest(did, 5, spec.AllPages|invS|invPDE))
	res := r.pasidAccess(5, iova, emu.Read)
	r.ok(res, 0x8000)
	require.Equal(t, amdvi.GCR3Version(r.get(g.slot(6))), res.Prov.Entry)
}

func TestTranslationRequestsOfGuests(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 0, mode, field{spec.DteI, 1}, had(spec.HADAD))
		at := g.gmap(5, iova, 0x7000, gP|gUS)
		q := dma(emu.RW)
		q.PASID, q.Type = 5, emu.TranslationReq
		for range 2 {
			res := r.do(q)
			r.ok(res, 0x7000)
			require.Equal(t, emu.Read, res.Perm)
		}
		q.Access |= emu.Exec
		require.Equal(t, emu.Read|emu.Exec, r.do(q).Perm)
		require.EqualValues(t, gA, r.get(at)&(gA|gD))
		r.put(at, r.get(at)&^gUS)
		r.submit(invAll())
		require.Zero(t, r.do(q).Perm, "user request, supervisor page")
		q.Access |= emu.Priv
		require.Equal(t, emu.Read|emu.Exec|emu.Priv, r.do(q).Perm)
		r.put(at, r.get(at)|gRW)
		r.submit(invAll())
		require.Equal(t, emu.RW|emu.Exec|emu.Priv, r.do(q).Perm)
		require.EqualValues(t, gA|gD, r.get(at)&(gA|gD), "it may write from now on")
		if mode != 0 {
			page := r.pte(g.host, 3, r.get(at)&spec.GptAddr.Mask(), 1)
			require.EqualValues(t, pteA|pteD, r.get(page)&(pteA|pteD))
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
