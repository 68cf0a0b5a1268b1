package vtd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func TestFirstStagePageSizes(t *testing.T) {
	for _, levels := range []int{4, 5} {
		r := newRig(t)
		top := r.first(sid, 5, 7, with(spec.PasidFSPM, uint64(levels-4)))
		base := uint64(0)
		if levels == 5 {
			base = 0x12_3400_0000_0000
		}
		r.Put(r.fsEntry(top, levels, base|0x1000, 0), 0xabc_d000|fsRWU|fsPS) // PAT
		r.Put(r.fsEntry(top, levels, base|0x4000_0000, 1), 0x1_2340_0000|fsRWU|fsPS|1<<12)
		r.Put(r.fsEntry(top, levels, base|0x80_0000_0000, 2), 0x40_0000_0000|fsRWU|fsPS|1<<12)
		r.scalable()
		for range 2 { // cold and warm
			for _, c := range []struct {
				va, pa uint64
				lg2    uint8
			}{{0x1678, 0xabc_d678, 12}, {0x4012_3456, 0x1_2352_3456, 21}, {0x80_3fff_ffff, 0x40_3fff_ffff, 30}} {
				res := r.pasidAccess(5, base|c.va, emu.Read)
				r.RequireOK(res, c.pa)
				require.Equal(t, c.lg2, res.Lg2)
				require.Equal(t, emu.RW, res.Perm)
				require.Equal(t, res.Prov.Entry, res.Prov.Fill)
				require.NotZero(t, res.Prov.Leaf)
				require.Zero(t, res.Prov.Leaf2)
			}
		}
	}
}

func TestFirstStageFaultReasons(t *testing.T) {
	const p = emu.PASID(0x45)
	all := []func([]uint64){ones(spec.PasidSRE, spec.PasidERE, spec.PasidNXE, spec.PasidWPE, spec.PasidSMEP)}
	bound := func(set ...func([]uint64)) func(*rig) {
		return func(r *rig) { r.fsMap(r.first(sid, p, 7, append(all, set...)...), iova, 0x5000, fsRWU) }
	}
	// mapped: as bound, with the entry of a level replaced.
	mapped := func(level int, bits uint64, set ...func([]uint64)) func(*rig) {
		return func(r *rig) {
			top := r.first(sid, p, 7, append(all, set...)...)
			if level > 0 && bits&(fsP|fsPS) == fsP {
				at := r.fsMap(top, iova, 0x5000, fsRWU)
				require.NotZero(r.T, at)
				at = r.fsEntry(top, 4, iova, level)
				r.Put(at, r.Get(at)&spec.FSADDR.Mask()|bits)
				return
			}
			r.Put(r.fsEntry(top, 4, iova, level), bits)
		}
	}
	unreadable := func(level int) func(*rig) {
		return func(r *rig) {
			top := r.first(sid, p, 7)
			r.fsMap(top, iova, 0x5000, fsRWU)
			r.BusError(r.fsEntry(top, 4, iova, level), 8)
		}
	}
	unwritable := func(level int) func(*rig) {
		return func(r *rig) {
			top := r.first(sid, p, 7)
			r.fsMap(top, iova, 0x5000, fsRWU)
			at := r.fsEntry(top, 4, iova, level)
			r.Mem.AddBusError(at, at+7, emu.Write)
		}
	}
	write, priv, privWrite, exec, privExec := emu.Request{Access: emu.Write}, emu.Request{Access: asPriv},
		emu.Request{Access: emu.Write | emu.Priv}, emu.Request{Access: asExec}, emu.Request{Access: asExec | emu.Priv}
	cases := []faultCase{
		{name: "EAFE without EAFS", code: 0x5a, setup: bound(with(spec.PasidEAFE, 1)),
			config: func(c *vtd.Config) { c.EAFS = false }},
		{name: "SRE without SRS", code: 0x5a, setup: bound(), config: func(c *vtd.Config) { c.SRS = false }},
		{name: "ERE without ERS", code: 0x5a, setup: bound(), config: func(c *vtd.Config) { c.ERS = false }},
		{name: "FSPTPTR beyond HAW", code: 0x5a, setup: bound(func(e []uint64) { e[2] |= 1 << 48 })},
		{name: "first-stage fields without FSTS", code: 0x5a, setup: bound(), config: (*vtd.Config).NoFirstStage},
		{name: "first stage without FSTS", code: 0x5b, config: (*vtd.Config).NoFirstStage, setup: func(r *rig) {
			r.first(sid, p, 7, func(e []uint64) { e[2] = 0 })
		}},
		{name: "5 levels without FS5LP", code: 0x5b, setup: bound(with(spec.PasidFSPM, spec.FSPM5)),
			config: func(c *vtd.Config) { c.FS5LP = false }},
		{name: "FSPM reserved", code: 0x5b, setup: bound(with(spec.PasidFSPM, 2))},
		{name: "execute with ERE=0", code: 0x5c, setup: bound(with(spec.PasidERE, 0)), q: exec},
		{name: "supervisor with SRE=0", code: 0x5d, setup: bound(with(spec.PasidSRE, 0)), q: priv},
		{name: "leaf not readable", code: 0x70, setup: unreadable(0)},
		{name: "table not readable", code: 0x70, setup: unreadable(2)},
		{name: "leaf absent", code: 0x71, setup: mapped(0, 0x5000|fsW|fsU)},
		{name: "top absent", code: 0x71, setup: mapped(3, 0), q: write},
		{name: "PS at level 4", code: 0x72, setup: mapped(3, 0x8000|fsRWU|fsPS)},
		{name: "1G without FS1GP", code: 0x72, setup: mapped(2, fsRWU|fsPS), config: func(c *vtd.Config) { c.FS1GP = false }},
		{name: "1G not aligned", code: 0x72, setup: mapped(2, 1<<29|fsRWU|fsPS)},
		{name: "2M not aligned", code: 0x72, setup: mapped(1, 1<<13|fsRWU|fsPS)},
		{name: "leaf beyond HAW", code: 0x72, setup: mapped(0, 1<<48|fsRWU)},
		{name: "table beyond HAW", code: 0x72, setup: mapped(1, 1<<51|fsRWU)},
		{name: "XD without NXE", code: 0x72, setup: mapped(0, 0x5000|fsRWU|fsXD, with(spec.PasidNXE, 0))},
		{name: "XD without NXE in a table", code: 0x72, setup: mapped(3, fsRWU|fsXD, with(spec.PasidNXE, 0))},
		{name: "top not readable", code: 0x73, setup: unreadable(3)},
		{name: "bit 47 and 48 differ", code: 0x80, setup: bound(), q: emu.Request{Addr: 1 << 47}},
		{name: "bit 63 alone", code: 0x80, setup: bound(), q: emu.Request{Addr: 1<<63 | iova}},
		{name: "bit 56 and 57 differ", code: 0x80, setup: bound(with(spec.PasidFSPM, spec.FSPM5)), q: emu.Request{Addr: 1 << 56}},
		{name: "user on a supervisor page", code: 0x81, setup: mapped(0, 0x5000|fsP|fsW)},
		{name: "user below a supervisor table", code: 0x81, setup: mapped(2, fsP|fsW), q: write},
		{name: "execute of an XD page", code: 0x82, setup: mapped(0, 0x5000|fsRWU|fsXD), q: exec},
		{name: "execute below an XD table", code: 0x82, setup: mapped(1, fsRWU|fsXD), q: exec},
		{name: "supervisor executes an XD page", code: 0x82, setup: mapped(0, 0x5000|fsP|fsW|fsXD), q: privExec},
		{name: "supervisor executes a user page with SMEP", code: 0x82, setup: bound(), q: privExec},
		{name: "write of a read-only page", code: 0x85, setup: mapped(0, 0x5000|fsP|fsU), q: write},
		{name: "write below a read-only table", code: 0x85, setup: mapped(1, fsP|fsU), q: write},
		{name: "AtomicOp on a read-only page", code: 0x85, setup: mapped(0, 0x5000|fsP|fsU),
			q: emu.Request{Access: emu.RW | emu.Atomic}},
		{name: "supervisor writes a read-only page with WPE", code: 0x85, setup: mapped(0, 0x5000|fsP), q: privWrite},
		{name: "output in interrupt range", code: 0x87, setup: mapped(0, 0xfee0_1000|fsRWU)},
		{name: "accessed flag in a walk that does not snoop", code: 0x90, setup: bound(with(spec.PasidPWSNP, 0))},
		{name: "flag update of a leaf fails", code: 0x91, setup: unwritable(0)},
		{name: "flag update of a table fails", code: 0x91, setup: unwritable(2)},
	}
	for _, c := range cases {
		c.q.PASID = p
		t.Run(fmt.Sprintf("%02X %s", c.code, c.name), func(t *testing.T) { c.run(t, (*rig).scalable) })
	}
}

// What is checked first wins: an entry with everything wrong is repaired step by step.
func TestVTDQuirk22_FirstStagePresentThenReservedThenRightsThenFlags(t *testing.T) {
	r := newRig(t)
	top := r.first(sid, 5, 7, with(spec.PasidPWSNP, 0))
	at := r.fsEntry(top, 4, iova, 0)
	for level := 3; level > 0; level-- {
		table := r.fsEntry(top, 4, iova, level)
		r.Put(table, r.Get(table)|fsA)
	}
	r.scalable()
	for _, c := range []struct {
		entry uint64
		code  uint16
	}{
		{1<<51 | fsXD, vtd.FaultFSAbsent},
		{1<<51 | fsP, vtd.FaultFSReserved},
		{fsXD | fsP, vtd.FaultFSReserved},
		{0xfee0_1000 | fsP, vtd.FaultUser},
		{0xfee0_1000 | fsP | fsU, vtd.FaultWriteSM},
		{0xfee0_1000 | fsRWU, vtd.FaultFSNoncoherent},
		{0xfee0_1000 | fsRWU | fsA, vtd.FaultFSNoncoherent},
		{0xfee0_1000 | fsRWU | fsA | fsD, vtd.FaultOutputRangeSM},
	} {
		r.Put(at, c.entry)
		r.RequireFault(r.pasidAccess(5, iova, emu.Write), c.code)
	}
	r.Put(at, 0x5000|fsRWU|fsA|fsD)
	r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
}

func TestFirstStagePrivilege(t *testing.T) {
	type want struct {
		access emu.Access
		code   uint16 // 0: allowed
	}
	const r, w, x = emu.Read, emu.Write, asExec
	const pr, pw, px = asPriv, emu.Write | emu.Priv, asExec | emu.Priv
	for _, c := range []struct {
		name  string
		bits  uint64
		entry func([]uint64)
		want  []want
		user  emu.Access // Result.Perm of a user read
		super emu.Access // and of a supervisor one, without Priv
	}{
		{"user page", fsRWU, ones(), []want{{r, 0}, {w, 0}, {x, 0}, {pr, 0}, {pw, 0}, {px, 0}}, emu.RW | emu.Exec, emu.RW | emu.Exec},
		{"read-only user page", fsP | fsU, ones(), []want{{w, 0x85}, {pw, 0}}, r | emu.Exec, emu.RW | emu.Exec},
		{"read-only user page, WPE", fsP | fsU, ones(spec.PasidWPE), []want{{w, 0x85}, {pw, 0x85}}, r | emu.Exec, r | emu.Exec},
		{"supervisor page", fsP | fsW, ones(), []want{{r, 0x81}, {w, 0x81}, {x, 0x81}, {pr, 0}, {pw, 0}, {px, 0}}, 0, emu.RW | emu.Exec},
		{"supervisor page, SMEP", fsP | fsW, ones(spec.PasidSMEP), []want{{px, 0}}, 0, emu.RW | emu.Exec},
		{"user page, SMEP", fsRWU, ones(spec.PasidSMEP), []want{{x, 0}, {px, 0x82}}, emu.RW | emu.Exec, emu.RW},
		{"XD, NXE", fsRWU | fsXD, ones(spec.PasidNXE), []want{{r, 0}, {x, 0x82}, {px, 0x82}}, emu.RW, emu.RW},
	} {
		t.Run(c.name, func(t *testing.T) {
			rig := newRig(t)
			top := rig.first(sid, 5, 7, ones(spec.PasidSRE, spec.PasidERE), c.entry)
			rig.fsMap(top, iova, 0x5000, c.bits)
			rig.scalable()
			for range 2 { // walked, then from the IOTLB where a right was granted
				for _, want := range c.want {
					res := rig.pasidAccess(5, iova, want.access)
					if want.code != 0 {
						rig.RequireFault(res, want.code)
						continue
					}
					rig.RequireOK(res, 0x5000)
					if want.access&emu.Priv == 0 {
						require.Equal(t, c.user, res.Perm)
					} else {
						require.Equal(t, c.super|emu.Priv, res.Perm)
					}
				}
			}
		})
	}
}

// Without execute requests (ERS=0), what is about them in entries is ignored.
func TestFirstStageWithoutExecuteRequests(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.ERS = false })
	top := r.first(sid, 5, 7, ones(spec.PasidSRE, spec.PasidSMEP))
	r.fsMap(top, iova, 0x5000, fsRWU|fsXD)
	r.scalable()
	for range 2 {
		r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
		r.RequireOK(r.pasidAccess(5, iova, asPriv), 0x5000)
		r.RequireFault(r.pasidAccess(5, iova, asExec), vtd.FaultExecDisabled)
	}
}

// Requests without PASID are translated by the entry of RID_PASID, with the privilege of RID_PRIV.
func TestFirstStageOfRequestsWithoutPASID(t *testing.T) {
	r := newRig(t)
	top := r.first(sid, 9, 7, ones(spec.PasidSRE))
	r.fsMap(top, iova, 0x5000, fsP|fsW)
	at := r.smContext(sid)
	r.Put(at+8, 9)
	r.scalable()
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultUser)
	r.Put(at+8, 9|spec.SMCtxRIDPRIV.Mask())
	r.submitGlobal()
	for range 2 {
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		r.RequireFault(r.pasidAccess(9, iova, emu.Read), vtd.FaultRIDPASID)
	}
}

func TestVTDQuirk50_FirstStageInputsAreCanonical(t *testing.T) {
	for levels, c := range map[int]struct{ ok, bad []uint64 }{
		4: {[]uint64{0x7fff_ffff_f000, 0xffff_8000_0000_0000}, []uint64{0x8000_0000_0000, 0xffff_7fff_ffff_f000, 1 << 63}},
		5: {[]uint64{0xff_ffff_ffff_f000, 0xff00_0000_0000_0000}, []uint64{0x100_0000_0000_0000, 0xfeff_ffff_ffff_f000, 1 << 63}},
	} {
		r := newRig(t, func(c *vtd.Config) { c.MGAW = 48 }) // which limits the second stage only
		top := r.first(sid, 5, 7, with(spec.PasidFSPM, uint64(levels-4)))
		for i, va := range c.ok {
			r.Put(r.fsEntry(top, levels, va, 0), uint64(0x5000+i<<12)|fsRWU)
		}
		r.scalable()
		for range 2 {
			for i, va := range c.ok {
				r.RequireOK(r.pasidAccess(5, va, emu.Read), uint64(0x5000+i<<12))
			}
			for _, va := range c.bad {
				r.RequireFault(r.pasidAccess(5, va, emu.Read), vtd.FaultCanonical)
			}
		}
	}
}
