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
						r.RequireOK(res, 0x7008)
						require.EqualValues(t, 12, res.Lg2)
						require.Equal(t, emu.RW|emu.Exec, res.Perm)
						require.Equal(t, at, res.Prov.Leaf)
						require.Equal(t, mode != 0, res.Prov.Leaf2 != 0)
						require.Equal(t, amdvi.GCR3Version(r.Get(g.slot(p))), res.Prov.Entry)
						require.Equal(t, res.Prov.Entry, res.Prov.Fill)
					}
					require.EqualValues(t, gA|gD, r.Get(at)&(gA|gD))
					require.EqualValues(t, gA, r.Get(g.gpte(p, addr, 2))&(gA|gD))
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
				r.Put(at, r.Get(at)|gA)
			}
			if trp { // the GCR3 tables as the guest sees them: identity
				for table := g.gcr3; ; {
					r.mapPage(g.host, table&^0xfff, table&^0xfff, pRW)
					if table == uint64(g.slot(p))&^0xfff {
						break
					}
					table = r.Get(emu.PA(table)) &^ 0xfff
				}
			}
			s := r.Begin(emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: emu.PASID(p), Len: 8, Access: emu.Read})
			r.RequireOK(s.End(), 0x7000)
			sizes, _ := fetched(s)
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
			r.Put(at, e)
			off := iova & (1<<lg2 - 1)
			want := lg2
			if mode != 0 { // a host page of 8 KiB below it
				want = min(lg2, 13)
				for _, page := range []uint64{0, 1} {
					r.Put(r.pte(g.host, 3, gpa+off&^0x1fff+page<<12, 1), spec.PageSizeAddr(0x80_0000_0000+off, 13)|pRW|nextLevel(7))
				}
			}
			pa := gpa + off
			if mode != 0 {
				pa = 0x80_0000_0000 + off
			}
			for range 2 {
				res := r.Access(dev, iova, emu.Read)
				r.RequireOK(res, pa)
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
				r.Put(at, r.Get(at)&spec.GptAddr.Mask()|c.bits)
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
								r.RequireOK(res, 0x7000)
							} else {
								r.RequireFault(res, want)
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
		r.Put(g.gpte(5, iova, level), e)
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
	{name: "reserved in the GCR3 entry", code: amdvi.FaultGCR3Reserved, setup: func(r *rig) { g := r.guests(4, 0, 0); r.Put(g.slot(5), 1|2) }, q: pasid(5), flags: fGN | fUS | fPR | fRZ, id: 5},
	{name: "GCR3 table not readable", code: amdvi.FaultGCR3Read, setup: func(r *rig) { g := r.guests(4, 0, 0); r.BusError(g.slot(5), 8) }, q: pasid(5),
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
		r.BusError(g.gpte(5, iova, 4), 8)
	}, q: pasid(5), flags: fGN | 1<<57, id: 5, at: func(r *rig) uint64 { return r.Get(r.gcr3Slot(5))&^0xfff + iova>>39*8 }},

	// Below guest tables the fault of the host table shows the guest physical address.
	{name: "host entry of a guest table", code: amdvi.FaultNotPresent, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		g.gmap(5, iova, 0x7000, gAll)
		r.Put(r.pte(g.host, 3, r.Get(g.slot(5))&^0xfff, 1), 0)
	}, q: all(pasid(5), write), flags: 0, id: did, at: func(r *rig) uint64 { return r.Get(r.gcr3Slot(5))&^0xfff + iova>>39*8 }},
	{name: "host entry of the page", code: amdvi.FaultPermission, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		at := g.gmap(5, iova, 0x7000, gAll)
		r.Put(r.pte(g.host, 3, r.Get(at)&^0xfff, 1), 0x7000|pr|ir)
	}, q: all(pasid(5), write), flags: fPR | fPE | fRW, id: did, at: func(r *rig) uint64 { return 0x4000_5000 }},
	{name: "host page of a guest table not writable", code: amdvi.FaultPermission, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		g.gmap(5, iova, 0x7000, gAll)
		root := r.Get(g.slot(5)) &^ 0xfff
		r.Put(r.pte(g.host, 3, root, 1), uint64(g.spa(root))|pr|ir)
	}, q: pasid(5), flags: fPR | fPE | fRW, id: did, at: func(r *rig) uint64 { return r.Get(r.gcr3Slot(5))&^0xfff + iova>>39*8 }},
	{name: "guest physical address beyond the host table", code: amdvi.FaultAddress, setup: func(r *rig) {
		g := r.guests(4, 0, 3)
		r.Put(g.gmap(5, iova, 0x7000, gAll), 1<<39|gAll)
	}, q: pasid(5), id: did, at: func(*rig) uint64 { return 1 << 39 }},
}

// gcr3Slot returns where the entry of p in a GCR3 table of one level is.
func (r *rig) gcr3Slot(p uint64) emu.PA {
	e := spec.DTE{r.Get(r.dte(dev)), r.Get(r.dte(dev) + 8)}
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
		r.RequireOK(r.Access(dev, high, emu.Read), 0x7000)
		r.RequireFault(r.Access(dev, high|^uint64(0)<<width, emu.Read), amdvi.FaultCanonical)
		r.RequireFault(r.Access(dev, high|1<<width, emu.Read), amdvi.FaultCanonical)
		// With a PASID it is the other way round.
		r.RequireFault(r.pasidAccess(0, high, emu.Read), amdvi.FaultCanonical)
		r.RequireOK(r.pasidAccess(0, high|^uint64(0)<<width, emu.Read), 0x7000)
	}
}

func TestAMDQuirk16_WithoutGIoVOnlyRequestsWithPASIDUseGuestTables(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 0)
	g.gmap(0, iova, 0x7000, gAll)
	r.RequireOK(r.Access(dev, iova, emu.Read), iova) // identity
	r.RequireOK(r.pasidAccess(0, iova, emu.Read), 0x7000)

	r = fullRig(t)
	g = r.guests(4, 0, 3)
	g.gmap(0, iova, 0x7000, gAll)
	r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultNotPresent)
	r.mapPage(g.host, iova, 0x9000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x9000)
	r.RequireOK(r.pasidAccess(0, iova, emu.Read), 0x7000)

	// GIoV counts only with guest translation on.
	r = fullRig(t)
	g = r.guests(4, 0, 0, giov)
	g.gmap(0, iova, 0x7000, gAll)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x7000)
	r.control(false, spec.CtlGTEn)
	r.RequireOK(r.Access(dev, iova, emu.Read), iova)
}

func TestAMDQuirk17_GuestTablesAreAtGuestPhysicalAddresses(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 1, 3)
	g.gmap(0x345, iova, 0x7000, gAll)
	r.RequireOK(r.pasidAccess(0x345, iova, emu.Read), 0x7000) // the GCR3 tables are at system physical ones

	// With GCR3TRPMode they are not: as nothing maps them, that is a fault of the host table.
	r.control(true, spec.CtlGCR3TRPMode)
	r.submit(invAll())
	r.RequireFault(r.pasidAccess(0x345, iova, emu.Read), amdvi.FaultNotPresent)
	e := r.event()
	require.Equal(t, g.gcr3+8, e[1])
	require.Zero(t, flags(e)&fGN)
	upper := r.Get(emu.PA(g.gcr3)+8) &^ 0xfff
	r.mapPage(g.host, g.gcr3, g.gcr3, pRW)
	r.mapPage(g.host, upper, upper, pRW)
	r.RequireOK(r.pasidAccess(0x345, iova, emu.Read), 0x7000)
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
		r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
		require.Equal(t, c.want&gA, r.Get(at)&(gA|gD))
		r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x7000)
		require.Equal(t, c.want, r.Get(at)&(gA|gD))
	}
}

func TestNestedDirtyFlags(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 0, 3, had(spec.HADAD))
	at := g.gmap(5, iova, 0x7000, gAll)
	page := r.pte(g.host, 3, r.Get(at)&^0xfff, 1)
	table := r.pte(g.host, 3, g.next-emu.PageSize, 1) // of the page's entry
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
	require.EqualValues(t, pteA, r.Get(page)&(pteA|pteD))
	require.EqualValues(t, pteA|pteD, r.Get(table)&(pteA|pteD), "the accessed flag was stored there")
	require.EqualValues(t, gA, r.Get(at)&(gA|gD))
	r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x7000)
	require.EqualValues(t, pteA|pteD, r.Get(page)&(pteA|pteD))
	require.EqualValues(t, gA|gD, r.Get(at)&(gA|gD))
}

func TestGuestFlagUpdateLosesNoConcurrentStore(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 0, mode)
		at := g.gmap(5, iova, 0x7000, gAll)
		other := g.gmap(5, iova+4096, 0x8000, gAll)
		q := dma(emu.Write)
		q.PASID = 5
		s := r.Begin(q)
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == at })
		r.Put(at, r.Get(other))
		r.RequireOK(s.End(), 0x8000)
		require.Equal(t, r.Get(other)|gA|gD, r.Get(at))
	}
}
