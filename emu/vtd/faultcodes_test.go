package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Answers to a translation request, table 30.
const (
	na = iota
	ur // Unsupported Request
	ca // Completer Abort
	without
)

// tables15and30 is what revision 5.1 says of each reason (5.1.4.1, 7.1.3): whether FPD suppresses the
// record, and how a translation request is answered.
var tables15and30 = map[uint16]struct {
	condition string
	qualified bool
	answer    int
}{
	0x08: {"LRT.1", false, ca}, 0x01: {"LRT.2", false, ur}, 0x0a: {"LRT.3", false, ca},
	0x09: {"LCT.1", false, ca}, 0x02: {"LCT.2", true, ur}, 0x0b: {"LCT.3", true, ca}, 0x03: {"LCT.4", true, ca}, 0x0d: {"LCT.5", true, ur},
	0x07: {"LSS.1", true, ca}, 0x0c: {"LSS.2", true, ca},
	0x04: {"LGN.1", true, without}, 0x05: {"LGN.2", true, without}, 0x06: {"LGN.3", true, without}, 0x0e: {"LGN.4", true, ca},
	0x20: {"", false, na}, 0x21: {"", false, na}, 0x22: {"", true, na}, 0x23: {"", false, na}, 0x24: {"", true, na}, 0x25: {"", false, na},
	0x26: {"", true, na}, 0x27: {"", true, na}, 0x28: {"", true, na}, 0x29: {"", false, na}, 0x2a: {"", false, na}, 0x2b: {"", false, na},
	0x30: {"RTA.1", false, ca}, 0x31: {"RTA.2", false, ur}, 0x32: {"RTA.3", false, na}, 0x33: {"RTA.4", false, ur}, 0x34: {"RTA.5", false, ur},
	0x38: {"SRT.1", false, ca}, 0x39: {"SRT.2", false, ur}, 0x3a: {"SRT.3", false, ca},
	0x40: {"SCT.1", false, ca}, 0x41: {"SCT.2", true, ur}, 0x42: {"SCT.3", true, ca}, 0x43: {"SCT.4", true, ca}, 0x44: {"SCT.5", true, ur},
	0x45: {"SCT.6", true, ur}, 0x46: {"SCT.7", true, ur}, 0x47: {"SCT.8", true, na}, 0x48: {"SCT.9", true, ur}, 0x49: {"SCT.10", true, na},
	0x50: {"SPD.1", false, ca}, 0x51: {"SPD.2", true, without}, 0x52: {"SPD.3", true, ca},
	0x58: {"SPT.1", false, ca}, 0x59: {"SPT.2", true, without}, 0x5a: {"SPT.3", true, ca}, 0x5b: {"SPT.4", true, ca},
	0x5c: {"SPT.5", true, without}, 0x5d: {"SPT.6", true, without}, 0x60: {"SPT.9", true, na},
	0x70: {"SFS.1", true, without}, 0x71: {"SFS.2", true, without}, 0x72: {"SFS.3", true, without}, 0x73: {"SFS.4", true, without},
	0x74: {"SFS.5", true, without}, 0x75: {"SFS.6", true, without}, 0x76: {"SFS.7", true, without}, 0x77: {"SFS.8", true, without},
	0x90: {"SFS.9", true, without}, 0x91: {"SFS.10", true, without},
	0x78: {"SSS.1", true, ca}, 0x79: {"SSS.2", true, without}, 0x7a: {"SSS.3", true, ca}, 0x7b: {"SSS.4", true, ca},
	0x7c: {"SSS.5", true, ca}, 0x7d: {"SSS.6", true, ca},
	0x80: {"SGN.1", true, without}, 0x81: {"SGN.2", true, without}, 0x83: {"SGN.4", true, without}, 0x84: {"SGN.5", true, without},
	0x85: {"SGN.6", true, without}, 0x86: {"SGN.7", true, without}, 0x87: {"SGN.8", true, ca}, 0x89: {"SGN.10", true, ur},
	0xa0: {"HPT.1", true, na}, 0xa1: {"HPT.2", true, na}, 0xa2: {"HPT.3", true, na}, 0xa3: {"HPT.4", true, na},
	0xa4: {"HPT.5", true, na}, 0xa5: {"HPT.6", true, na},
}

// hostPermission are the reasons of host permission tables, which are not modelled (ECAP.HPTS=0).
var hostPermission = []uint16{0x60, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5}

func TestFaultReasonsAreThoseOfTheSpecification(t *testing.T) {
	known := map[uint16]bool{}
	for _, c := range vtd.FaultCodes() {
		if c > 0xff { // no number, never recorded
			continue
		}
		known[c] = true
		qualified, bare, refused := vtd.FaultFacts(c)
		if c == vtd.FaultExec { // SGN.3 of revisions with execute requests
			require.True(t, qualified && bare)
			continue
		}
		row, ok := tables15and30[c]
		require.True(t, ok, "%#x", c)
		require.Equal(t, row.qualified, qualified, "%#x", c)
		require.Equal(t, row.answer == without, bare, "%#x", c)
		require.Equal(t, row.answer == ur, refused, "%#x", c)
		if row.condition != "" {
			require.Contains(t, newRig(t).u.FaultName(c), row.condition+" ")
		}
	}
	for c := range tables15and30 {
		if !known[c] {
			require.Contains(t, hostPermission, c, "%#x", c)
		}
	}
}

func TestExecuteRequestsEndWithVersion8(t *testing.T) {
	for major := range uint8(16) {
		r := newRig(t, dt, func(c *vtd.Config) { c.VersionMajor, c.ERS, c.PTRS = major, false, true })
		r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
		ctx := r.smContext(sid)
		r.Put(ctx, r.Get(ctx)|spec.SMCtxDTE.Mask())
		r.scalable()
		want := uint16(vtd.FaultExecDisabled)
		if major >= 8 {
			want = vtd.FaultExecute
		}
		for range 2 { // also with everything cached
			r.RequireFault(r.pasidAccess(5, iova, emu.Read|emu.Exec), want)
			r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
		}
		q := dma(emu.Read | emu.Exec)
		q.PASID, q.Type = 5, emu.TranslationReq
		res := r.Do(q)
		if major < 8 {
			require.Equal(t, emu.OK, res.Status)
			require.Zero(t, res.Perm)
			continue
		}
		r.RequireFault(res, want)
		require.False(t, res.Fault.Abort, "Unsupported Request")
		q.Type = emu.Translated
		r.RequireFault(r.Do(q), want)
		q.Type, q.PASID = emu.Untranslated, emu.NoPASID
		require.NotEqual(t, want, r.Do(q).Fault.Code, "only with PASID")
	}
	c := vtd.DefaultConfig()
	c.VersionMajor = 8
	require.ErrorContains(t, c.Check(), "ERS")
}

func TestUnitThatRequiresRemappingBlocksInterruptsWithout(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.IRREQ = true })
	require.EqualValues(t, 1, r.R64(spec.OffECAP)>>62&1)
	for _, addr := range []uint64{0xfee0_1000, handle(5)} {
		r.RequireFault(r.irq(sid, addr, 0x31), vtd.FaultIRRequired)
		rec := r.record(0)
		require.EqualValues(t, 0x2b, rec.FR())
		require.Zero(t, rec[0], "no index")
		r.clearFaults()
	}
	table := r.remapping(false)
	r.putIRTE(table, 5, irte(0x41))
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
	r.command(spec.GcmdIRE, false)
	r.RequireFault(r.irq(sid, handle(5), 0), vtd.FaultIRRequired)

	c := vtd.DefaultConfig()
	c.IR, c.EIM, c.PI, c.MHMV, c.IRREQ = false, false, false, 0, true
	require.ErrorContains(t, c.Check(), "IRREQ")
}

func TestUnitThatRequiresExtendedModeBlocksInterruptsWithout(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.EIMER = true })
	require.EqualValues(t, 1, r.R64(spec.OffECAP)>>61&1)
	r.interrupts(r.irq(sid, 0xfee0_1000, 0x31), 0xfee0_1000, 0x31) // remapping is off
	table := r.remapping(false)
	r.putIRTE(table, 5, irte(0x41))
	r.command(spec.GcmdCFI, true)
	for _, addr := range []uint64{0xfee0_1000, handle(5), handle(99)} {
		r.RequireFault(r.irq(sid, addr, 0), vtd.FaultEIMRequired)
		rec := r.record(0)
		require.EqualValues(t, 0x2a, rec.FR())
		require.Zero(t, rec[0], "no index")
		r.clearFaults()
	}
	r.command(spec.GcmdIRE, false)
	table = r.remapping(true)
	r.putIRTE(table, 5, [2]uint64{0x0000_0002_0041_0001})
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
	r.RequireFault(r.irq(sid, 0xfee0_1000, 0x31), vtd.FaultCompatibility)

	c := vtd.DefaultConfig()
	c.EIM, c.EIMER = false, true
	require.ErrorContains(t, c.Check(), "EIMER")
}

// An entry that is wrong in both ways belongs to another source (5.1.4).
func TestInterruptSourceIsCheckedBeforeReservedBits(t *testing.T) {
	r := newRig(t)
	table := r.remapping(false)
	r.putIRTE(table, 5, irte(0x41, with(12_012, 1), with(83_082, 1), with(79_064, uint64(sid))))
	r.RequireFault(r.irq(sid+1, handle(5), 0), vtd.FaultIRTESource)
	r.RequireFault(r.irq(sid, handle(5), 0), vtd.FaultIRTEReserved)
}

// 7.2.1: while nothing is remapped recording goes back to the first record.
func TestRecordingRestartsWhenNothingIsRemapped(t *testing.T) {
	fault := func(r *rig) {
		r.Access(hiSID, iova, emu.Read)
	}
	for name, c := range map[string]struct {
		between func(r *rig)
		want    int
	}{
		"nothing":           {func(*rig) {}, 1},
		"both off":          {func(r *rig) { r.command(spec.GcmdTE, false); r.command(spec.GcmdIRE, false) }, 0},
		"remapping stays":   {func(r *rig) { r.command(spec.GcmdTE, false) }, 1},
		"translation stays": {func(r *rig) { r.command(spec.GcmdIRE, false) }, 1},
		"warm reset":        {func(r *rig) { r.u.Reset(emu.ResetWarm) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.attach(sid, 7)
			r.remapping(false)
			r.legacy()
			fault(r)
			rec := r.record(0)
			require.True(t, rec.F())
			r.clearFaults()
			c.between(r)
			r.legacy()
			fault(r)
			require.EqualValues(t, c.want, spec.FstsFRI.Of(r.R32(spec.OffFSTS)))
			rec = r.record(c.want)
			require.True(t, rec.F())
		})
	}
}
