package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

const ssA, ssD = uint64(1 << 8), uint64(1 << 9)

// ssFlags are A and D of the second-stage leaf of a guest-physical address.
func (g *guest) ssFlags(gpa uint64) uint64 { return g.Get(g.pte(g.ss, gpa, 0)) & (ssA | ssD) }

// preset sets flags in all first-stage entries on the way to va.
func (g *guest) preset(va, flags uint64) {
	for level := range g.levels {
		at := g.at(g.entry(va, level))
		g.Put(at, g.Get(at)|flags)
	}
}

func TestVTDQuirk49_NestedFlagsOfBothStages(t *testing.T) {
	for name, change := range map[string]func(*vtd.Config){"cached": func(*vtd.Config) {}, "no caches": noCaches} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change)
			g := r.nest(sid, 5, 7, 0, with(spec.PasidSSADE, 1))
			fs, _ := g.mapTwo(iova, gpa, 0x5000)
			r.scalable()

			r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
			require.Equal(t, ssA, g.ssFlags(gpa), "read")
			require.Equal(t, fsA, r.Get(fs)&(fsA|fsD))
			for level := range 4 {
				at := g.entry(iova, level)
				require.Equal(t, fsA, r.Get(g.at(at))&(fsA|fsD))
				require.Equal(t, ssA|ssD, g.ssFlags(at), "tables count as written")
				require.Equal(t, ssA, r.Get(r.pte(g.ss, at, 2))&(ssA|ssD))
			}

			r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
			require.Equal(t, ssA|ssD, g.ssFlags(gpa))
			require.Equal(t, fsA|fsD, r.Get(fs)&(fsA|fsD))
			require.Equal(t, fsA, r.Get(g.at(g.entry(iova, 1)))&(fsA|fsD), "D is for leaves")
		})
	}
}

// With SSADE first-stage tables are accessed as if they were written, whether or not they are (3.8.1).
// Without, they need write rights only where a flag has to be set.
func TestNestedTablesAndWriteRightsOfTheSecondStage(t *testing.T) {
	for _, ade := range []uint64{0, 1} {
		for _, level := range []int{3, 2, 0} {
			r := newRig(t)
			g := r.nest(sid, 5, 7, 0, with(spec.PasidSSADE, ade))
			g.mapTwo(iova, gpa, 0x5000)
			g.preset(iova, fsA)
			table := g.entry(iova, level)
			at := r.pte(g.ss, table, 0)
			r.Put(at, r.Get(at)&^ssW)
			r.scalable()
			if ade != 0 {
				r.RequireFault(r.pasidAccess(5, iova, emu.Read), vtd.FaultFSWriteDenied)
				r.Put(at, r.Get(at)|ssW)
				r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
				require.Equal(t, ssA|ssD, g.ssFlags(table))
				continue
			}
			r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
			if level == 0 { // D
				r.RequireFault(r.pasidAccess(5, iova, emu.Write), vtd.FaultFSWriteDenied)
				require.Zero(t, r.Get(g.at(table))&fsD)
				continue
			}
			r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
		}
	}
}

// Without SSADE the second stage keeps no flags, the first always does.
func TestNestedWithoutSSADE(t *testing.T) {
	r := newRig(t)
	g := r.nest(sid, 5, 7, 0)
	fs, _ := g.mapTwo(iova, gpa, 0x5000)
	r.scalable()
	r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
	require.Equal(t, fsA|fsD, r.Get(fs)&(fsA|fsD))
	require.Zero(t, g.ssFlags(gpa))
	require.Zero(t, g.ssFlags(g.entry(iova, 0)))
}

// Software changes an entry of either stage between the read and the compare-and-swap.
func TestVTDQuirk49_NestedFlagUpdatesLoseNoConcurrentStore(t *testing.T) {
	r := newRig(t)
	g := r.nest(sid, 0, 7, 0, with(spec.PasidSSADE, 1))
	fs, ss := g.mapTwo(iova, gpa, 0x5000)
	g.mapPage(g.ss, gpa+4096, 0x6000, ssRW)
	r.scalable()
	for _, c := range []struct {
		at    emu.PA
		store uint64
		pa    uint64
	}{
		{fs, gpa + 4096 | fsRWU | fsA, 0x6000},
		{ss, 0x7000 | ssRW | ssA, 0x7000},
	} {
		r.Put(fs, gpa|fsRWU)
		r.Put(ss, 0x5000|ssRW)
		r.submitGlobal()
		s := r.Begin(dma(emu.Write))
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == c.at })
		r.Put(c.at, c.store)
		r.RequireOK(s.End(), c.pa)
		flags := ssA | ssD
		if c.at == fs {
			flags = fsA | fsD
		}
		require.Equal(t, c.store|flags, r.Get(c.at))
	}
}

func nestedATS(t *testing.T, fs, ss uint64) (r *rig, g *guest, q emu.Request) {
	r = newRig(t, func(c *vtd.Config) { c.DT, c.NWFS = true, true })
	g = r.nest(sid, 5, 7, 0, with(spec.PasidSSADE, 1))
	g.mapTwo(iova, gpa, 0x5000)
	r.Put(g.at(g.entry(iova, 0)), gpa|fs)
	r.Put(r.pte(g.ss, gpa, 0), 0x5000|ss)
	ctx := r.smContext(sid)
	r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
	r.scalable()
	q = dma(emu.RW)
	q.Type, q.PASID = emu.TranslationReq, 5
	return r, g, q
}

// D is set in both stages if and only if the completion grants W.
func TestNestedTranslationRequests(t *testing.T) {
	for _, c := range []struct {
		name    string
		fs, ss  uint64
		noWrite emu.Access
		perm    emu.Access
	}{
		{"writable", fsRWU, ssRW, 0, emu.RW},
		{"will not write", fsRWU, ssRW, emu.NoWrite, emu.Read},
		{"read-only in the first stage", fsP | fsU, ssRW, 0, emu.Read},
		{"read-only in the second stage", fsRWU, ssR, 0, emu.Read},
		{"write-only in the second stage", fsRWU, ssW, 0, emu.Write},
		{"nothing in common", fsP | fsU, ssW, 0, 0},
		{"supervisor page", fsP | fsW, ssRW, 0, 0},
		{"absent in the first stage", fsU | fsW, ssRW, 0, 0},
		{"absent in the second stage", fsRWU, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, g, q := nestedATS(t, c.fs, c.ss)
			q.Access |= c.noWrite
			for range 2 {
				res := r.Do(q)
				require.Equal(t, emu.OK, res.Status, "%#x", res.Fault.Code)
				require.Equal(t, c.perm, res.Perm)
				if c.perm != 0 {
					require.EqualValues(t, 0x5000, res.PA)
				}
				written := c.perm&emu.Write != 0
				require.Equal(t, written, g.ssFlags(gpa)&ssD != 0)
				require.Equal(t, written, r.Get(g.at(g.entry(iova, 0)))&fsD != 0)
			}
			require.Zero(t, r.R32(spec.OffFSTS), "nothing is recorded")
		})
	}
}

// A first-stage table that the second stage does not grant is not the device's fault: it may retry.
func TestNestedTranslationRequestsWithoutRightsToATable(t *testing.T) {
	for of, code := range map[int]uint16{3: 0x75, 0: 0x76} {
		r, g, q := nestedATS(t, fsRWU, ssRW)
		at := r.pte(g.ss, g.entry(iova, of), 0)
		r.Put(at, r.Get(at)&^ssR)
		res := r.Do(q)
		require.Equal(t, emu.OK, res.Status, "%#x", code)
		require.Zero(t, res.Perm)
		q.Type = emu.Untranslated
		r.RequireFault(r.Do(q), code)
	}
}
