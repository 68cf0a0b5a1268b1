package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

func TestResetValues(t *testing.T) {
	r := newRig(t)
	require.EqualValues(t, 0x8000_0000, r.r32(spec.OffFECTL))
	require.EqualValues(t, 0x8000_0000, r.r32(spec.OffIECTL))
	require.EqualValues(t, 0x0800_0000_0000_0000, r.r64(spec.OffCCMD))
	require.EqualValues(t, 0x0200_0000_0000_0000, r.r64(r.u.Config().IOTLBOffset+spec.OffIOTLB))
	require.EqualValues(t, 0x50, r.r32(spec.OffVER))
	require.Zero(t, r.r32(spec.OffGSTS))
}

func TestCapabilitiesAreComposedFromTheConfiguration(t *testing.T) {
	r := newRig(t)
	c, cap, ecap := r.u.Config(), r.r64(spec.OffCAP), r.r64(spec.OffECAP)
	require.EqualValues(t, c.MGAW, spec.CapMGAW.Of(cap)+1)
	require.EqualValues(t, c.FaultRecords, spec.CapNFR.Of(cap)+1)
	require.EqualValues(t, c.FaultOffset, spec.CapFRO.Of(cap)*16)
	require.EqualValues(t, c.IOTLBOffset, spec.EcapIRO.Of(ecap)*16)
	require.True(t, spec.EcapSMTS.On(ecap))
	for name, b := range map[string]bool{
		"PRS": spec.EcapPRS.On(ecap),
		"PMS": spec.EcapPMS.On(ecap), "AFL": spec.CapAFL.On(cap),
		"ECMDS": spec.CapECMDS.On(cap),
	} {
		require.False(t, b, "%s is not modelled and must not be advertised", name)
	}
}

func TestRegistersNotModelledReadZero(t *testing.T) {
	r := newRig(t)
	for _, off := range []uint32{spec.OffAFLOG, spec.OffPQA, spec.OffPECTL, spec.OffMTRRCAP, spec.OffPERFCAP, spec.OffECMD} {
		r.w64(off&^7, ^uint64(0))
		require.Zero(t, r.r32(off), "%#x", off)
	}
}

func TestReadOnlyRegistersTakeNothing(t *testing.T) {
	r := newRig(t)
	for _, off := range []uint32{spec.OffCAP, spec.OffECAP, spec.OffIQH, spec.OffIQERCD, r.u.Config().FaultOffset} {
		v := r.r64(off)
		r.w64(off, ^v)
		require.Equal(t, v, r.r64(off), "%#x", off)
	}
}

func TestLongRegistersCanBeWrittenAsTwoHalves(t *testing.T) {
	r := newRig(t)
	r.w32(spec.OffRTADDR, 0x1234_5400)
	r.w32(spec.OffRTADDR+4, 0x9)
	require.EqualValues(t, 0x9_1234_5400, r.r64(spec.OffRTADDR))
	require.EqualValues(t, 0x9, r.r32(spec.OffRTADDR+4))
}

func TestOddAccessesReadZeroAndAreDropped(t *testing.T) {
	r := newRig(t)
	r.w64(spec.OffRTADDR, 0x1000)
	for _, a := range []struct {
		off  uint32
		size uint8
	}{{spec.OffRTADDR, 1}, {spec.OffRTADDR, 2}, {spec.OffRTADDR + 4, 8}, {spec.OffRTADDR + 1, 4}, {spec.OffRTADDR, 16}, {0xffff_fff8, 8}, {spec.Window, 4}} {
		require.Zero(t, r.u.ReadReg(a.off, a.size))
		require.Zero(t, r.u.WriteReg(a.off, a.size, ^uint64(0)))
	}
	require.EqualValues(t, 0x1000, r.r64(spec.OffRTADDR))
}

func TestWriteBufferFlushIsABusyFlag(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.RWBF = true })
	w := r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdWBF.Mask())
	require.True(t, spec.GstsWBFS.On(r.r32(spec.OffGSTS)))
	r.f.Wake(w)
	require.False(t, spec.GstsWBFS.On(r.r32(spec.OffGSTS)))
}

func TestWriteBufferFlushWithoutRWBFIsIgnored(t *testing.T) {
	r := newRig(t)
	r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdWBF.Mask())
	require.False(t, spec.GstsWBFS.On(r.r32(spec.OffGSTS)))
}

func TestSRTPWithESRTPSInvalidatesAllCaches(t *testing.T) {
	for _, esrtps := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.ESRTPS = esrtps })
		top := r.attach(sid, 7)
		r.mapPage(top, iova, 0x5000, ssRW)
		r.legacy()
		r.ok(r.access(sid, iova, emu.Read), 0x5000)
		r.root = r.page()
		r.setRoot(spec.TTMLegacy)
		if res := r.access(sid, iova, emu.Read); esrtps {
			r.faults(res, vtd.FaultRootAbsent)
		} else {
			r.ok(res, 0x5000) // stale, until software flushes
		}
	}
}

func TestOneWriteWithSeveralCommandsDoesThemInOrder(t *testing.T) {
	r := newRig(t)
	r.w64(spec.OffRTADDR, uint64(r.root))
	r.w32(spec.OffGCMD, spec.GcmdSRTP.Mask()|spec.GcmdQIE.Mask()|spec.GcmdTE.Mask())
	require.Equal(t, spec.GstsRTPS.Mask()|spec.GstsQIES.Mask()|spec.GstsTES.Mask(), r.r32(spec.OffGSTS))
}

func TestRegisterBasedInvalidationOfContexts(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	fill := func() { r.access(sid, iova, emu.Read) }
	try := func(v uint64) bool {
		fill()
		n := r.u.Cache(emu.CacheEntry).Stats().Invalidated
		r.w64(spec.OffCCMD, v|spec.CcmdICC.Mask())
		require.False(t, spec.CcmdICC.On(r.r64(spec.OffCCMD)))
		return r.u.Cache(emu.CacheEntry).Stats().Invalidated > n
	}
	caig := func() uint64 { return spec.CcmdCAIG.Of(r.r64(spec.OffCCMD)) }
	require.True(t, try(spec.CcmdCIRG.Put(1)))
	require.EqualValues(t, 1, caig())
	require.True(t, try(spec.CcmdCIRG.Put(2)|spec.CcmdDID.Put(7)))
	require.EqualValues(t, 2, caig())
	require.False(t, try(spec.CcmdCIRG.Put(2)|spec.CcmdDID.Put(8)))
	require.True(t, try(spec.CcmdCIRG.Put(3)|spec.CcmdDID.Put(7)|spec.CcmdSID.Put(uint64(sid))))
	require.EqualValues(t, 3, caig())
	require.False(t, try(spec.CcmdCIRG.Put(3)|spec.CcmdDID.Put(7)|spec.CcmdSID.Put(uint64(sid^4))))
	require.True(t, try(spec.CcmdCIRG.Put(3)|spec.CcmdDID.Put(7)|spec.CcmdSID.Put(uint64(sid^4))|spec.CcmdFM.Put(1)))
	require.False(t, try(0), "reserved granularity is rejected")
	require.Zero(t, caig())
}

func TestRegisterBasedInvalidationStartsWithTheHighHalf(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	r.access(sid, iova, emu.Read)
	r.w32(spec.OffCCMD, 7)
	require.Zero(t, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
	r.w32(spec.OffCCMD+4, (spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(2))>>32)
	require.EqualValues(t, 1, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
}

func TestRegisterBasedInvalidationOfPages(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	pte := r.mapPage(top, iova, 0x5000, ssRW)
	r.legacy()
	iva := r.u.Config().IOTLBOffset
	for i, c := range []struct {
		iva, cmd, iaig uint64
		dropped        bool
	}{
		{0, spec.IotlbIIRG.Put(1), 1, true},
		{0, spec.IotlbIIRG.Put(2) | spec.IotlbDID.Put(7), 2, true},
		{0, spec.IotlbIIRG.Put(2) | spec.IotlbDID.Put(6), 2, false},
		{iova, spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 3, true},
		{iova + 4096, spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 3, false},
		{iova + 4096 | spec.IvaAM.Put(4), spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 3, true},
		{iova | spec.IvaAM.Put(0x1f), spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 0, false},
	} {
		r.put(pte, 0x5000|ssRW)
		r.ok(r.access(sid, iova, emu.Read), 0x5000)
		r.put(pte, 0x6000|ssRW)
		r.w64(iva+spec.OffIVA, c.iva)
		r.w64(iva+spec.OffIOTLB, c.cmd|spec.IotlbIVT.Mask())
		v := r.r64(iva + spec.OffIOTLB)
		require.False(t, spec.IotlbIVT.On(v))
		require.Equal(t, c.iaig, spec.IotlbIAIG.Of(v), "case %d", i)
		if c.dropped {
			r.ok(r.access(sid, iova, emu.Read), 0x6000)
		} else {
			r.ok(r.access(sid, iova, emu.Read), 0x5000)
		}
		r.w64(iva+spec.OffIOTLB, spec.IotlbIIRG.Put(1)|spec.IotlbIVT.Mask())
	}
}

func TestRegisterBasedInvalidationIsRejectedWhileTheQueueIsOn(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	r.access(sid, iova, emu.Read)
	r.queue(false)
	r.w64(spec.OffCCMD, spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(1))
	require.Zero(t, spec.CcmdCAIG.Of(r.r64(spec.OffCCMD)))
	require.False(t, spec.CcmdICC.On(r.r64(spec.OffCCMD)))
	require.Zero(t, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
}

func TestProtectedRegionsBlockWhatTablesDoNotTranslate(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.VersionMajor = 1 })
	r.w32(spec.OffPLMBASE, 0xffff_ffff)
	require.EqualValues(t, 0xffe0_0000, r.r32(spec.OffPLMBASE), "granularity is 2 MiB")
	r.w32(spec.OffPLMBASE, 0x40_0000)
	r.w32(spec.OffPLMLIMIT, 0x60_0000)
	r.w64(spec.OffPHMBASE, 0x1_0000_0000)
	r.w64(spec.OffPHMLIMIT, 0x1_0000_0000)
	r.ok(r.access(sid, 0x40_0000, emu.Read), 0x40_0000)
	r.w32(spec.OffPMEN, spec.PmenEPM.Mask())
	require.Equal(t, spec.PmenEPM.Mask()|1, r.r32(spec.OffPMEN))
	for addr, in := range map[uint64]bool{
		0x3f_ff00: false, 0x3f_ffe0: true, 0x40_0000: true, 0x7f_ffff: true, 0x80_0000: false,
		0x1_0000_0000: true, 0x1_001f_f000: true, 0x1_0020_0000: false,
	} {
		if res := r.access(sid, addr, emu.Read); in {
			r.faults(res, vtd.FaultProtected)
		} else {
			r.ok(res, addr)
		}
	}
	require.Zero(t, r.r32(spec.OffFSTS), "nothing is recorded")

	// With translation on, tables decide; pass-through stays blocked.
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x40_0000, ssRW)
	e := legacyEntry(spec.TTPassThrough, 0, spec.AW57, 8)
	r.put(r.context(hiSID), e[0], e[1])
	r.legacy()
	r.ok(r.access(sid, iova, emu.Write), 0x40_0000)
	r.faults(r.access(hiSID, 0x40_0000, emu.Write), vtd.FaultProtected)
	r.ok(r.access(hiSID, 0x20_0000, emu.Write), 0x20_0000)
	r.w32(spec.OffPMEN, 0)
	require.Zero(t, r.r32(spec.OffPMEN))
	r.ok(r.access(hiSID, 0x40_0000, emu.Write), 0x40_0000)
}

func TestWarmResetKeepsStickyStatus(t *testing.T) {
	r := newRig(t)
	r.legacy()
	r.faults(r.access(sid, iova, emu.Read), vtd.FaultRootAbsent)
	r.u.Reset(emu.ResetWarm)
	require.True(t, spec.FstsPPF.On(r.r32(spec.OffFSTS)))
	rec := r.record(0)
	require.True(t, rec.F())
	require.Zero(t, r.r32(spec.OffGSTS))
	require.Zero(t, r.r64(spec.OffRTADDR))
	r.u.Reset(emu.ResetCold)
	require.Zero(t, r.r32(spec.OffFSTS))
	rec = r.record(0)
	require.False(t, rec.F())
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, f := range map[string]func(*vtd.Config){
		"HAW":          func(c *vtd.Config) { c.HAW = 53 },
		"ND":           func(c *vtd.Config) { c.ND = 7 },
		"SAGAW":        func(c *vtd.Config) { c.SAGAW = 1 },
		"MGAW":         func(c *vtd.Config) { c.MGAW = 0 },
		"FaultRecords": func(c *vtd.Config) { c.FaultRecords = 0 },
		"FaultOffset":  func(c *vtd.Config) { c.FaultOffset = 0xff8 },
		"IOTLBOffset":  func(c *vtd.Config) { c.IOTLBOffset = 0x1000 },
		"SMTS":         func(c *vtd.Config) { c.QI = false },
		"PSS":          func(c *vtd.Config) { c.PSS = 20 },
		"IOTLB":        func(c *vtd.Config) { c.IOTLB = iotlb.Geometry{Sets: 3, Ways: 1} },
		"overlap":      func(c *vtd.Config) { c.FaultOffset = 0x500 },
	} {
		c := vtd.DefaultConfig()
		f(&c)
		_, err := vtd.New(c)
		require.ErrorIs(t, err, vtd.ErrConfig, field)
		require.ErrorContains(t, err, field)
	}
}
